"""Columns that give a label away are found, left out of a training, and kept where a person says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ecluse.apps.fraud.actions.main import plan_training
from ecluse.apps.fraud.errors import UnusableTarget
from ecluse.apps.fraud.features.giveaways import find_giveaways
from ecluse.apps.fraud.performance.parts import GiveawayColumn
from ecluse.apps.fraud.performance.trained import TrainingReport
from ecluse.apps.fraud.profiling.profile import TableProfile, profile_table
from ecluse.apps.fraud.rows.tables import Dataset
from ecluse.apps.fraud.training.card import model_card
from ecluse.apps.fraud.training.plan import TrainingPlan
from ecluse.apps.fraud.training.request import TrainingRequest
from ecluse.apps.fraud.training.training import train
from ecluse.tabular.dataset import open_table

ROWS = 2_000


def silent(stage: str, fraction: float, message: str = "") -> None:
    return None


def honest() -> tuple[pl.DataFrame, np.ndarray]:
    """Columns that tell something of the label, as columns do, and the labels of a fifth fraud."""
    rng = np.random.default_rng(3)
    labels = (rng.random(ROWS) < 0.2).astype(np.int8)
    frame = pl.DataFrame(
        {
            "amount": rng.normal(size=ROWS) + 2.0 * labels,
            "country": rng.choice(["FR", "DE", "IT"], ROWS),
            "merchant": rng.choice([f"m{i}" for i in range(200)], ROWS),
            "foreign": (rng.random(ROWS) < 0.2 + 0.5 * labels).astype(int),
        }
    )
    return frame, labels


def kinds_of(frame: pl.DataFrame) -> dict[str, str]:
    return {name: "category" if dtype == pl.String else "number" for name, dtype in frame.schema.items()}


def leaks(labels: np.ndarray) -> dict[str, pl.Series]:
    rng = np.random.default_rng(4)
    fraud = labels == 1
    half = rng.integers(0, 2, ROWS)
    return {
        "chargeback_date": pl.Series(
            [f"2025-01-{1 + i % 28:02}" if f else None for i, f in enumerate(fraud)]
        ),
        "partly_filled": pl.Series([7.0 if f and i % 3 else None for i, f in enumerate(fraud)]),
        "state": pl.Series(["closed" if f else "open" for f in fraud]),
        # A hundred and forty codes, each of one class only; and numbers of cases with a letter in front.
        "case_code": pl.Series([f"c{i % 10 if f else 10 + i % 130}" for i, f in enumerate(fraud)]),
        "case": pl.Series([f"{'X' if f else 'Y'}{i % 400}" for i, f in enumerate(fraud)]),
        "row_number": pl.Series(np.argsort(np.argsort(-labels, kind="stable")) + 1000),
        # Fraud in the middle of the values: neither end tells.
        "refund": pl.Series(np.where(fraud, 0.0, rng.choice([-5.0, 5.0], ROWS)) + rng.normal(0, 0.1, ROWS)),
        "review": pl.Series(half),
        "verdict": pl.Series(half ^ labels),
    }


def test_honest_columns_are_left_alone() -> None:
    frame, labels = honest()
    assert find_giveaways(frame, kinds_of(frame), labels) == ()


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (("chargeback_date",), "it is filled for fraud only"),
        (("partly_filled",), "it is filled for fraud only"),
        (("state",), "it alone separates the two classes (ROC AUC 1.000)"),
        (("case",), "it alone separates the two classes (ROC AUC 1.000)"),
        (("case_code",), "it alone separates the two classes (ROC AUC"),
        (("row_number",), "it alone separates the two classes (ROC AUC 1.000)"),
        (("refund",), "it alone separates the two classes (ROC AUC"),
        (("review", "verdict"), "it separates the two classes (ROC AUC 1.000), alone it does not"),
    ],
)
def test_a_column_that_tells_the_label_is_found(names: tuple[str, ...], reason: str) -> None:
    frame, labels = honest()
    frame = frame.with_columns(leaks(labels)[name].alias(name) for name in names)
    found = {one.column: one.reason for one in find_giveaways(frame, kinds_of(frame), labels)}
    assert found.keys() == set(names)
    assert all(reason in told for told in found.values())


def test_few_frauds_say_nothing_of_a_column() -> None:
    frame, labels = honest()
    few = np.zeros(ROWS, dtype=np.int8)
    few[np.flatnonzero(labels)[:19]] = 1
    assert find_giveaways(frame.with_columns(copy=pl.Series(few)), {"copy": "number"}, few) == ()


def trained(frame: pl.DataFrame, plan: TrainingPlan, folder: Path) -> TrainingReport:
    frame.write_csv(folder / "t.csv")
    (folder / "model").mkdir()
    with open_table(folder / "t.csv") as table:
        return train(table, plan, folder / "model", silent)


def test_a_column_that_gives_the_label_away_is_off_until_it_is_kept(tmp_path: Path) -> None:
    frame, labels = honest()
    frame = frame.with_columns(
        leaks(labels)["chargeback_date"].alias("chargeback_date"), is_fraud=pl.Series(labels)
    )
    plan = TrainingPlan("is_fraud", budget_s=2)
    (tmp_path / "off").mkdir()
    (tmp_path / "kept").mkdir()
    off = trained(frame, plan, tmp_path / "off")
    kept = trained(frame, TrainingPlan("is_fraud", budget_s=2, keep=("chargeback_date",)), tmp_path / "kept")
    assert off.giveaways == (GiveawayColumn("chargeback_date", "it is filled for fraud only", kept=False),)
    assert "chargeback_date" not in {item.column for item in off.importances}
    assert off.metrics["average_precision"] < 0.99
    assert off.warnings[0].startswith("chargeback_date gives the label away and was left out")
    assert off.doubt is None
    assert "chargeback_date gives the label away and was left out" in model_card(off)
    assert kept.metrics["average_precision"] > 0.99
    assert kept.giveaways[0].kept is True
    assert kept.doubt.columns[0][0] == "chargeback_date"
    assert kept.warnings[0].startswith("An average precision of 1.000 is rarely true")
    assert "chargeback_date (" in kept.warnings[0]


def test_a_table_in_which_every_column_gives_the_label_away_says_the_way_out(tmp_path: Path) -> None:
    _, labels = honest()
    frame = pl.DataFrame({"state": leaks(labels)["state"], "is_fraud": labels})
    with pytest.raises(
        UnusableTarget, match=r"Every column gives the label is_fraud away: state.*--keep COLUMN"
    ):
        trained(frame, TrainingPlan("is_fraud", budget_s=2), tmp_path)


def test_a_profile_keeps_what_gives_the_label_away_and_a_request_what_is_kept(tmp_path: Path) -> None:
    frame, labels = honest()
    frame = frame.with_columns(leaks(labels)["state"].alias("state"), is_fraud=pl.Series(labels))
    frame.write_csv(tmp_path / "t.csv")
    with open_table(tmp_path / "t.csv") as table:
        profile = profile_table(table)
    assert [one.column for one in profile.giveaways] == ["state"]
    assert TableProfile.from_dict(profile.to_dict()) == profile
    assert any(warning.startswith("state gives the label away") for warning in profile.warnings)
    dataset = Dataset(filename="t.csv", state="ready", profile=profile.to_dict())
    request = TrainingRequest("m", keep=("state",))
    assert TrainingRequest.from_dict(request.to_dict()) == request
    assert plan_training(dataset, request).keep == ("state",)
