"""A library of two tiny references, and tables to match with it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from ecluse.apps.fraud.profiling.profile import profile_table
from ecluse.apps.fraud.references.facts import ReferenceFacts
from ecluse.apps.fraud.references.index import ReferenceIndex
from ecluse.apps.fraud.tables.columns import ColumnSpec
from ecluse.apps.fraud.tables.sketches import ColumnSketch
from ecluse.apps.fraud.training.training import TrainingPlan, train
from ecluse.tabular.dataset import open_table


@dataclass(frozen=True)
class Made:
    """A trained reference."""

    facts: ReferenceFacts
    folder: Path


def payments(rows: int = 2_000, seed: int = 1) -> pl.DataFrame:
    """Card payments: large amounts abroad at night are fraud."""
    rng = np.random.default_rng(seed)
    amount, hour = np.exp(rng.normal(3.5, 1.0, rows)).round(2), rng.integers(0, 24, rows)
    country = rng.choice(["domestic", "foreign"], rows, p=[0.85, 0.15])
    age = rng.integers(1, 2_000, rows)
    risk = (amount > 60) * 1.5 + (hour < 6) * 2.0 + (country == "foreign") * 3.0 - age / 1_000
    fraud = (risk + rng.normal(0, 0.7, rows)) > 3.6
    day = np.datetime64("2025-01-06T00:00:00", "s") + rng.integers(0, 60, rows) * 86_400
    at = day + hour * 3_600 + rng.integers(0, 3_600, rows)
    return pl.DataFrame(
        {
            "payment_id": [f"P{seed}{number:07d}" for number in range(rows)],
            "amount": amount,
            "payment_date": at.astype("datetime64[us]"),
            "country": country,
            "card_age_days": age,
            "balance": (rng.gamma(2.0, 800.0, rows)).round(2),
            "is_fraud": fraud.astype(np.int64),
        }
    )


def french(frame: pl.DataFrame) -> pl.DataFrame:
    """The same payments as a French bank writes them: cents, French names and words."""
    return frame.select(
        pl.col("payment_id").alias("id_paiement"),
        (pl.col("amount") * 100).round(0).cast(pl.Int64).alias("montant"),
        pl.col("payment_date").alias("date_paiement"),
        pl.col("country").replace({"domestic": "national", "foreign": "etranger"}).alias("pays"),
        pl.col("card_age_days").alias("age_carte_jours"),
        pl.col("balance").alias("solde"),
        pl.col("is_fraud"),
    )


def claims(rows: int = 2_000, seed: int = 2) -> pl.DataFrame:
    """Insurance claims, of another meaning."""
    rng = np.random.default_rng(seed)
    delay, witnesses = rng.integers(0, 90, rows), rng.integers(0, 4, rows)
    premium = rng.normal(1_100, 200, rows).round(2)
    fraud = (delay / 30 - witnesses + rng.normal(0, 0.7, rows)) > 1.6
    return pl.DataFrame(
        {
            "witnesses": witnesses,
            "report_delay_days": delay,
            "policy_annual_premium": premium,
            "vehicle_year": rng.integers(1998, 2025, rows),
            "incident_type": rng.choice(["theft", "collision", "parked", "fire"], rows),
            "is_fraud": fraud.astype(np.int64),
        }
    )


def visits(rows: int = 2_000, seed: int = 4) -> pl.DataFrame:
    """Shop visits: who buys within minutes of signing up is a fraud."""
    rng = np.random.default_rng(seed)
    fraud = rng.random(rows) < 0.1
    seconds = np.where(fraud, rng.integers(1, 600, rows), rng.integers(3_600, 90 * 86_400, rows))
    signup = np.datetime64("2025-01-01T00:00:00", "s") + rng.integers(0, 90 * 86_400, rows)
    return pl.DataFrame(
        {
            "signup_date": signup.astype("datetime64[us]"),
            "purchase_date": (signup + seconds).astype("datetime64[us]"),
            "age": rng.integers(18, 80, rows),
            "source": rng.choice(["ads", "search", "direct"], rows),
            "is_fraud": fraud.astype(np.int64),
        }
    )


def plants(rows: int = 1_500, seed: int = 3) -> pl.DataFrame:
    """Nothing that the library knows."""
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "petal_length": rng.normal(4, 1, rows).round(2),
            "sepal_width": rng.normal(3, 0.4, rows).round(2),
            "soil_moisture": rng.beta(2, 5, rows).round(3),
            "genus": rng.choice(["rosa", "iris", "acer"], rows),
        }
    )


def make_reference(
    frame: pl.DataFrame, name: str, domain: str, folder: Path, plan: TrainingPlan | None = None
) -> Made:
    path = folder / f"{name}.csv"
    frame.write_csv(path)
    with open_table(path) as table:
        profile = profile_table(table)
        identifiers = tuple(guess.column for guess in profile.guesses.identifiers)
        guessed = TrainingPlan("is_fraud", identifier_columns=identifiers, budget_s=2.0)
        train(table, plan or guessed, folder / name, lambda *_: None)
    report = json.loads((folder / name / "performance.json").read_text(encoding="utf-8"))
    importance: dict[str, float] = {}
    for item in report["importances"]:
        importance[item["column"]] = importance.get(item["column"], 0.0) + item["share"]
    sketches = tuple(sketch for sketch in profile.sketches if sketch.name != "is_fraud")
    rate = float(frame["is_fraud"].mean())  # type: ignore[arg-type]
    return Made(ReferenceFacts(name, domain, sketches, importance, frame.height, rate), folder / name)


def index_of(*made: Made) -> ReferenceIndex:
    return ReferenceIndex.of([one.facts for one in made])


def sketched(path: Path) -> tuple[tuple[ColumnSpec, ...], tuple[ColumnSketch, ...]]:
    with open_table(path) as table:
        profile = profile_table(table)
    return profile.specs, profile.sketches
