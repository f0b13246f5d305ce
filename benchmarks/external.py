"""Fit XGBoost on tables larger than memory: peak memory, disk, processor seconds and average precision.

    python -m benchmarks.external --small 500000 --large 1000000,2000000
    python -m benchmarks.external --small 1000000 --large 10000000 --folder FOLDER

writes invented tables of `--columns` numbers as Parquet, in row groups of 100,000, and fits `--rounds` rounds of the
same settings. The small one is fitted three ways in turn: `matrix` holds all rows as numbers, `bins` reads them in
batches and holds their bins, `external` keeps the bins on disk. The large ones are fitted by `external` alone. Each fit
is a process of its own; its peak memory is what `getrusage` says at its end, of which the imports alone are printed.
All models are measured on the same 100,000 other rows. Disk is the most that the folder of bins held. `--runs` repeats
each. Tables are removed one by one: 10 million rows take 1.8 GB and their bins .75 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.fraud.families import FitData, Floats, Matrix, Until
from ecluse.apps.fraud.families import xgboost as family
from ecluse.apps.fraud.measures import average_precision
from ecluse.apps.fraud.training.external import ExternalPlan, train_external

GROUP = 100_000
FILE_ROWS = 500_000
TARGET = "is_fraud"
#: The number of the file whose rows all are measured on; a table has fewer files.
UNSEEN = 1 << 40
MB = 1e6
#: What is printed of a run, with its unit.
FIGURES = {
    "peak": "MB peak", "imports": "MB imports", "disk": "MB of bins on disk", "processor": "s of processor",
    "wall": "s of clock", "precision": "average precision",
}  # fmt: skip
WAYS = ("matrix", "bins", "external")


def main() -> None:
    arguments = _arguments()
    if arguments.way:
        done = write_table if arguments.way == "write" else fit
        print(json.dumps(done(arguments)))
        return
    sizes = {
        int(arguments.small): WAYS,
        **{int(size): WAYS[-1:] for size in arguments.large.split(",") if size},
    }
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for rows, ways in sizes.items():
            table = Path(folder) / str(rows)
            # A process inherits the peak of the one that began it, which so must stay small.
            written = _run("write", table, arguments, rows)
            print(
                f"{rows:,} rows of {arguments.columns} columns, {written['size']:,.0f} MB of Parquet",
                flush=True,
            )
            measure(table, ways, arguments)
            shutil.rmtree(table)


def measure(table: Path, ways: tuple[str, ...], arguments: argparse.Namespace) -> None:
    """Run the ways in turn, and print medians, the least and the most."""
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for _ in range(arguments.runs):
        for way in ways:
            runs[way].append(_run(way, table, arguments))
    for way, results in runs.items():
        print(f"  {way:<9}" + "; ".join(_shown(name, [each[name] for each in results]) for name in FIGURES))
    print(f"  load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)


def write_table(arguments: argparse.Namespace) -> dict[str, float]:
    """Write a folder of files of invented rows, and return their MB."""
    arguments.table.mkdir()
    for number, first in enumerate(range(0, arguments.rows, FILE_ROWS)):
        frame = invented(number, min(FILE_ROWS, arguments.rows - first), arguments.columns)
        frame.write_parquet(arguments.table / f"{number:05}.parquet", compression="lz4", row_group_size=GROUP)
    return {"size": sum(file.stat().st_size for file in arguments.table.iterdir()) / MB}


def invented(number: int, rows: int, columns: int) -> pl.DataFrame:
    """(rows, columns and the target) of which one in twenty is fraud, as four of the columns say together."""
    rng = np.random.default_rng([7, number])
    matrix = rng.standard_normal((rows, columns), dtype=np.float32)
    odds = 2 * matrix[:, 0] + matrix[:, 1] * matrix[:, 2] + matrix[:, 3] ** 2 - 6
    frauds = rng.random(rows) < 1 / (1 + np.exp(-odds))
    return pl.DataFrame(matrix, schema=[f"c{at}" for at in range(columns)]).with_columns(
        pl.Series(TARGET, frauds.astype(np.int8))
    )


def fit(arguments: argparse.Namespace) -> dict[str, float]:
    """Fit the table one way in this process, and return the figures."""
    imports, began, before = _peak(), time.monotonic(), time.process_time()
    with tempfile.TemporaryDirectory(dir=arguments.table.parent) as folder:
        most = [0]

        def heed(stage: str, share: float, message: str) -> None:
            most[0] = max(
                most[0], sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
            )

        predict = _fitted(arguments, Path(folder), heed)
    spent = time.process_time() - before, time.monotonic() - began
    peak = _peak()
    matrix, labels = _rows_of(invented(UNSEEN, GROUP, arguments.columns))
    return {
        "peak": peak, "imports": imports, "disk": most[0] / MB, "processor": spent[0], "wall": spent[1],
        "precision": average_precision(labels, predict(matrix)),
    }  # fmt: skip


def _fitted(
    arguments: argparse.Namespace, folder: Path, heed: Callable[[str, float, str], None]
) -> Callable[[Matrix], Floats]:
    """Fit, and return what gives the margins of other rows."""
    params = {**family.STARTS[0].params, "fixed_rounds": arguments.rounds}
    if arguments.way == "matrix":
        matrix, labels = _rows_of(pl.read_parquet(arguments.table / "*.parquet"))
        data = FitData(matrix, labels, matrix[:1], labels[:1], threads=os.cpu_count() or 1)
        return family.fit(data, params, seed=0, until=Until(), tick=lambda: None).predict_margin
    plan = ExternalPlan(TARGET, memory_bytes=0 if arguments.way == "external" else 1 << 50, params=params)
    fitted = train_external(arguments.table, plan, folder=folder, progress=heed)
    return family.XgBoostModel(fitted.booster).predict_margin


def _rows_of(frame: pl.DataFrame) -> tuple[Matrix, NDArray[np.int8]]:
    return np.ascontiguousarray(frame.drop(TARGET).to_numpy()), frame[TARGET].to_numpy()


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MB


def _run(way: str, table: Path, arguments: argparse.Namespace, rows: int = 0) -> dict[str, float]:
    command = [
        sys.executable, "-m", "benchmarks.external", "--way", way, "--table", str(table),
        "--rows", str(rows), "--rounds", str(arguments.rounds), "--columns", str(arguments.columns),
    ]  # fmt: skip
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def _shown(name: str, values: list[float]) -> str:
    digits = 3 if name == "precision" else 0
    middle = f"{statistics.median(values):,.{digits}f} {FIGURES[name]}"
    return (
        middle if len(values) == 1 else f"{middle} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", default="500000")
    parser.add_argument("--large", default="1000000,2000000")
    parser.add_argument("--columns", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where tables and bins are written; else temporary files")
    parser.add_argument("--way", choices=("write", *WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--table", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
