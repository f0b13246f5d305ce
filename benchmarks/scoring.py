"""Rows scored per second, with and without reasons, beside the goal and beside reading the same file.

    python -m benchmarks.scoring [--rows 200000] [--budget 20] [--sample]

A model is trained on a generated table of 30 columns (numbers, categories, a merchant, a device, a date); a larger one
is then scored from CSV into CSV. Goal: 100,000 rows/s on two cores without reasons. With `--sample`, on the sample of
the application instead, where a row is compared with its customer's past. Peer: Polars reading the same table and
writing it again, in the same run, in turn: what any scorer has to do. A rate per second of processor time is told
beside the rate per second, for machines that do other work meanwhile.
Memory: highest resident set of this process after the scoring (Linux and macOS); it also counts pages of the file.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from ecluse.apps.fraud.profiling.profile import profile_table
from ecluse.apps.fraud.sample import write_sample
from ecluse.apps.fraud.scoring.model import FraudModel, load_model
from ecluse.apps.fraud.scoring.results import write_scores
from ecluse.apps.fraud.scoring.scoring import score_table
from ecluse.apps.fraud.training.training import TrainingPlan, train
from ecluse.tabular.dataset import open_table

GOAL = 100_000
TRAINED_ROWS = 20_000
CHUNK = 100_000
START = 1_704_067_200  # 2024-01-01
QUARTER = 90 * 86_400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--budget", type=float, default=20)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--sample", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        labelled, table = tables(folder, arguments.rows, sample=arguments.sample)
        model = trained(labelled, folder / "model", arguments.budget)
        print(
            f"model: {model.fitted.family}, {len(model.features)} features of {len(model.required_columns)} columns"
        )
        plain, processor, peer = [], [], []
        for _ in range(arguments.runs):
            peer.append(rate(arguments.rows, lambda: copy(table, folder / "copy.csv"))[0])
            each = rate(arguments.rows, lambda: score(model, table, folder / "scored.csv", reasons=False))
            plain.append(each[0])
            processor.append(each[1])
        memory = peak_memory()
        explained = rate(arguments.rows, lambda: score(model, table, folder / "scored.csv", reasons=True))[0]
    without, each_core, bare = (statistics.median(rates) for rates in (plain, processor, peer))
    print(
        f"without reasons: {without:,.0f} rows/s, {without / GOAL:.2f} of the goal, {without / bare:.3f} of a copy; "
        f"{each_core:,.0f} rows per second of processor time"
    )
    print(f"with reasons:    {explained:,.0f} rows/s, {explained / without:.2f} of the rate without")
    print(f"memory: {memory:.0f} MB at most without reasons, {peak_memory():.0f} MB with")


def tables(folder: Path, rows: int, *, sample: bool) -> tuple[Path, Path]:
    """A labelled table to train on and an unlabelled one of so many rows."""
    if sample:
        return write_sample(folder / "few").labelled, write_sample(
            folder / "many", rows=1000, score_rows=rows
        ).unlabelled
    rng = np.random.default_rng(0)
    labelled, unlabelled = folder / "labelled.csv", folder / "unlabelled.csv"
    generated(rng, 0, TRAINED_ROWS).write_csv(labelled)
    with unlabelled.open("wb") as file:
        for done in range(0, rows, CHUNK):
            part = generated(rng, done, min(CHUNK, rows - done)).drop("is_fraud")
            part.write_csv(file, include_header=done == 0)
    return labelled, unlabelled


def generated(rng: np.random.Generator, first: int, rows: int) -> pl.DataFrame:
    """Rows of 30 columns and a label that depends on three of them."""
    amounts = {f"amount_{i}": np.round(rng.lognormal(2, 1, rows), 2) for i in range(14)}
    counts = {f"count_{i}": rng.integers(0, 100, rows) for i in range(6)}
    levels = {f"kind_{i}": _named("level", rng.integers(0, 8 + 5 * i, rows)) for i in range(6)}
    entities = {
        "merchant": _named("m", rng.integers(0, 3_000, rows)),
        "device": _named("d", rng.integers(0, 20_000, rows)),
    }
    moments = pl.Series(START + rng.integers(0, QUARTER, rows)).cast(pl.Int64) * 1_000_000
    risk = np.log(amounts["amount_0"] / amounts["amount_1"]) + 2 * (counts["count_0"] > 90) - 3.2
    return pl.DataFrame(
        {"row_id": np.arange(first, first + rows)}
        | amounts
        | counts
        | levels
        | entities
        | {
            "paid_at": moments.cast(pl.Datetime("us")).dt.strftime("%Y-%m-%d %H:%M:%S"),
            "is_fraud": (rng.random(rows) < 1 / (1 + np.exp(-risk))).astype(np.int8),
        }
    )


def trained(labelled: Path, destination: Path, budget: float) -> FraudModel:
    destination.mkdir()
    with open_table(labelled) as table:
        guesses = profile_table(table).guesses
        plan = TrainingPlan(
            target="is_fraud",
            time_column=guesses.timestamp.column if guesses.timestamp else None,
            customer_column=guesses.customer.column if guesses.customer else None,
            identifier_columns=tuple(guess.column for guess in guesses.identifiers),
            budget_s=budget,
        )
        train(table, plan, destination, lambda stage, fraction, message: None)
    return load_model(destination)


def rate(rows: int, work: Callable[[], None]) -> tuple[float, float]:
    """Rows per second, and per second of processor time."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return rows / (time.perf_counter() - wall), rows / (time.process_time() - processor)


def score(model: FraudModel, source: Path, destination: Path, *, reasons: bool) -> None:
    with open_table(source) as table:
        write_scores(score_table(model, table, reasons_for="risky" if reasons else None), destination, "csv")


def copy(source: Path, destination: Path) -> None:
    pl.scan_csv(source, infer_schema=False).sink_csv(destination)


def peak_memory() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / (1e6 if sys.platform == "darwin" else 1e3)


def _named(prefix: str, numbers: np.ndarray) -> pl.Series:
    return pl.select(pl.lit(prefix) + pl.lit(pl.Series(numbers)).cast(pl.String)).to_series()


if __name__ == "__main__":
    main()
