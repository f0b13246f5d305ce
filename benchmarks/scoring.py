"""Rows scored per second, with and without reasons, beside the goal and beside reading the same file.

    python -m benchmarks.scoring [--rows 200000] [--budget 20]

A model is trained on the sample; a generated table is then scored into a CSV file. Goal: 100,000 rows/s without
reasons. Peer: Polars reading the same table and writing it again, in the same run, in turn: what any scorer has to do.
Memory: highest resident set of this process after the scoring (Linux and macOS).
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import polars as pl

from ecluse.fraud.dataset import open_table
from ecluse.fraud.profile import profile_table
from ecluse.fraud.sample import write_sample
from ecluse.fraud.scoring import FraudModel, load_model, score_table, write_scores
from ecluse.fraud.training import TrainingPlan, train

GOAL = 100_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--budget", type=float, default=20)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = trained(folder, arguments.budget)
        table = write_sample(folder / "big", rows=1000, score_rows=arguments.rows).unlabelled
        plain, reasons, peer = [], [], []
        for _ in range(arguments.runs):
            peer.append(arguments.rows / copy(table, folder / "copy.csv"))
            plain.append(arguments.rows / score(model, table, folder / "scored.csv", reasons=False))
            reasons.append(arguments.rows / score(model, table, folder / "scored.csv", reasons=True))
    without, with_, bare = (statistics.median(rates) for rates in (plain, reasons, peer))
    print(
        f"without reasons: {without:,.0f} rows/s, {without / GOAL:.2f} of the goal, {without / bare:.3f} of a copy"
    )
    print(f"with reasons:    {with_:,.0f} rows/s, {with_ / without:.2f} of the rate without")
    print(f"memory: {peak_memory():.0f} MB at most")


def trained(folder: Path, budget: float) -> FraudModel:
    paths = write_sample(folder / "sample")
    destination = folder / "model"
    destination.mkdir()
    with open_table(paths.labelled) as table:
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


def score(model: FraudModel, source: Path, destination: Path, *, reasons: bool) -> float:
    began = time.perf_counter()
    with open_table(source) as table:
        write_scores(score_table(model, table, reasons=reasons), destination, "csv")
    return time.perf_counter() - began


def copy(source: Path, destination: Path) -> float:
    began = time.perf_counter()
    pl.scan_csv(source, infer_schema=False).sink_csv(destination)
    return time.perf_counter() - began


def peak_memory() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / (1e6 if sys.platform == "darwin" else 1e3)


if __name__ == "__main__":
    main()
