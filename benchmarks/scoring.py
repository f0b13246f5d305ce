"""Rows scored per second and per second of the processors, and memory, beside CatBoost and LightGBM alone.

    python -m benchmarks.scoring [--rows 200000] [--trained 20000] [--budget 20] [--numbers] [--sample]

Each contender is trained on a generated table of 30 columns (numbers, categories, a merchant, a device, a date; with
`--numbers` 30 numbers), and scores a larger one from CSV; ours writes its scores as CSV, theirs stay in memory. With
`--sample` ours alone, on the sample of the application, where a row is compared with its customer's past.
`--contenders` names some of them, `--explained` how many rows have reasons. Goal: 300,000 rows/s on two cores without
reasons, 50,000 with.
All run in turn, `--runs` times, each time in a process of its own. Printed are medians, the least and the most, and
the load of the machine: on a busy one the rate per second of the processors says more.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.scoring_contenders import CONTENDERS
from ecluse.apps.fraud.sample import write_sample

CHUNK = 100_000
START = 1_704_067_200  # 2024-01-01
QUARTER = 90 * 86_400
#: Who scores with the model of another.
TRAINED_BY = {name: name.split(",")[0] for name in CONTENDERS}


def main() -> None:
    arguments = _arguments()
    names = arguments.contenders.split(";")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        labelled, table = tables(folder, arguments)
        first = folder / "first.csv"
        with table.open("rb") as whole, first.open("wb") as few:
            few.writelines(line for _, line in zip(range(arguments.explained + 1), whole, strict=False))
        print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        for trainer in dict.fromkeys(TRAINED_BY[each] for each in names):
            (folder / trainer).mkdir()
            if "train" in CONTENDERS[trainer]:
                tell(
                    f"{trainer}: train",
                    arguments.trained,
                    [run(trainer, "train", labelled, folder, arguments)],
                )
        runs: dict[str, list[dict[str, float]]] = {each: [] for each in names}
        for _ in range(arguments.runs):
            for each in names:
                source = first if "explained" in each else table
                runs[each].append(run(each, "score", source, folder, arguments))
        for each in names:
            rows = arguments.explained if "explained" in each else arguments.rows
            tell(f"{each}: score", rows, runs[each])
        print(f"load {os.getloadavg()[0]:.1f}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--explained", type=int, default=50_000)
    parser.add_argument("--trained", type=int, default=20_000)
    parser.add_argument("--budget", type=float, default=20)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--numbers", action="store_true")
    parser.add_argument("--sample", action="store_true")
    parser.add_argument("--contenders", default=";".join(CONTENDERS), help="some of them, with semicolons")
    arguments = parser.parse_args()
    if arguments.sample:
        arguments.contenders = ";".join(name for name in CONTENDERS if TRAINED_BY[name] == "ours")
    arguments.explained = min(arguments.explained, arguments.rows)
    return arguments


def run(name: str, action: str, table: Path, folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """Return what `scoring_contenders` measured of one contender, in a process of its own."""
    own = folder / TRAINED_BY[name]
    words = ["-m", "benchmarks.scoring_contenders", name, action, str(table), str(own), str(arguments.budget)]
    answer = subprocess.run([sys.executable, *words], check=True, stdout=subprocess.PIPE, text=True)
    measured: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    return measured


def tell(title: str, rows: int, runs: list[dict[str, float]]) -> None:
    """Print the medians of some runs over so many rows, with the least and the most."""
    rates = [[rows / each[unit] for each in runs] for unit in ("seconds", "processor_s")]
    each_second, each_processor = (
        f"{statistics.median(rate):>9,.0f} ({min(rate):,.0f} to {max(rate):,.0f})" for rate in rates
    )
    peak = max(each["peak_mb"] for each in runs)
    print(f"{title:34} {each_second} rows/s, {each_processor} per processor second, {peak:,.0f} MB")


def tables(folder: Path, arguments: argparse.Namespace) -> tuple[Path, Path]:
    """A labelled table to train on and an unlabelled one of so many rows."""
    if arguments.sample:
        return write_sample(folder / "few").labelled, write_sample(
            folder / "many", rows=1000, score_rows=arguments.rows
        ).unlabelled
    rng = np.random.default_rng(0)
    make = numbers if arguments.numbers else generated
    labelled, unlabelled = folder / "labelled.csv", folder / "unlabelled.csv"
    for path, rows, dropped in (
        (labelled, arguments.trained, []),
        (unlabelled, arguments.rows, ["is_fraud"]),
    ):
        with path.open("wb") as file:
            for done in range(0, rows, CHUNK):
                part = make(rng, done, min(CHUNK, rows - done)).drop(dropped)
                part.write_csv(file, include_header=done == 0)
    return labelled, unlabelled


def numbers(rng: np.random.Generator, first: int, rows: int) -> pl.DataFrame:
    """Rows of 30 numbers and a label that depends on three of them, about 4 % of them fraud."""
    values = {f"v{i}": np.round(rng.normal(size=rows), 6) for i in range(30)}
    risk = 1.5 * values["v0"] - values["v1"] + (values["v2"] > 1.5) - 4.5
    return pl.DataFrame(
        {"row_id": np.arange(first, first + rows)}
        | values
        | {"is_fraud": (rng.random(rows) < 1 / (1 + np.exp(-risk))).astype(np.int8)}
    )


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


def _named(prefix: str, numbers: np.ndarray) -> pl.Series:
    return pl.select(pl.lit(prefix) + pl.lit(pl.Series(numbers)).cast(pl.String)).to_series()


if __name__ == "__main__":
    main()
