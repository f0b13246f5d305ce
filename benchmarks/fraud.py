"""Train on labelled tables beside AutoGluon and tuned CatBoost, with the same budget and rows.

    python -m benchmarks.fraud [--data FOLDER] [--tables hmeq,paysim] [--budget 30] [--splits stratified,time]
                               [--contenders ecluse,autogluon,catboost]

FOLDER is described in `benchmarks.tables`. Thirty percent of each table are held out, drawn for each class
(`stratified`) or the latest (`time`), and no contender sees their labels. Identifiers, which the profile names, are
withheld from all. By time, training rows stand in order, and peers choose by the latest fifth. A split with fewer than
20 positives on a side is left out. AutoGluon trains with its preset `medium_quality`.

Each contender trains in a process of its own, ended after six times the budget and two minutes, and is loaded and
applied in another. Printed are average precision, ROC AUC and Brier score on the held-out rows; seconds of training by
the clock and of the processors; peak memory of the training (MB, of the process and its largest child), size of the
model (MB); and rows a second that are scored from CSV (the held-out rows repeated to 50,000, the fastest of three).
Peers count wall time: on a busy machine they do less.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score
from sklearn.model_selection import train_test_split

from benchmarks import tables
from benchmarks.measuring import DATA, installed, options, print_table, say
from ecluse.apps.fraud.features.history import times_of
from ecluse.apps.fraud.profiling.profile import TableProfile, profile_table
from ecluse.apps.fraud.tables.columns import parse_columns
from ecluse.tabular.dataset import open_table

PINS: Final = {
    "autogluon": ("autogluon.tabular[lightgbm,catboost,xgboost,fastai]==1.6.3", "torch==2.13.0"),
    "catboost": ("catboost==1.2.10", "pandas==2.3.3", "scikit-learn==1.7.2"),
}
HELD_OUT: Final = 0.3
CHOOSING: Final = 0.2
FEWEST_POSITIVES: Final = 20
SCORED_ROWS: Final = 50_000
FIGURES: Final = (
    "average_precision", "roc_auc", "brier", "train_s", "cpu_s", "peak_mb", "model_mb", "rows_per_s",
)  # fmt: skip


class NoSplit(Exception):
    """Why a table cannot be divided."""


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--data", type=Path, default=DATA / "fraud")
    parser.add_argument("--tables", default="", help="all by default")
    parser.add_argument("--budget", type=float, default=30.0)
    parser.add_argument("--splits", default="stratified,time")
    parser.add_argument("--contenders", default="ecluse,autogluon,catboost")
    arguments = parser.parse_args()
    contenders, rows = arguments.contenders.split(","), list[dict[str, Any]]()
    for name, target in tables.targets(arguments.data, arguments.tables).items():
        for split in arguments.splits.split(","):
            case = {"table": name, "split": split, "budget": arguments.budget}
            rows += measure(arguments.data / f"{name}.csv", target, case, contenders)
    print_summary(rows, contenders)


def measure(
    path: Path, target: str, case: dict[str, Any], contenders: Iterable[str]
) -> Iterator[dict[str, Any]]:
    """The figures of each contender on one table and split."""
    with tempfile.TemporaryDirectory(prefix="ecluse-benchmark-") as name:
        try:
            task, labels = hold_out(path, target, case["split"], Path(name))
        except NoSplit as reason:
            say(f"{case['table']}, {case['split']}: left out, {reason}")
            return
        for contender in contenders:
            with tempfile.TemporaryDirectory(prefix="ecluse-contender-") as folder:
                figures = compete(contender, task | {"budget": case["budget"]}, labels, Path(folder))
            yield case | {"contender": contender} | figures
            say(f"{case['table']}, {case['split']}: {contender} {json.dumps(figures)}")


# The rows


def hold_out(path: Path, target: str, split: str, folder: Path) -> tuple[dict[str, Any], NDArray[np.int8]]:
    """Write the files that all contenders share and say what is in them; and the labels of the held-out rows."""
    frame, labels = tables.read(path, target)
    truth = labels.to_numpy()
    with open_table(path) as table:
        profile = profile_table(table)
    time_column, latest, every = None, 0, np.arange(len(truth))
    if split == "stratified":
        learned, held = train_test_split(every, test_size=HELD_OUT, stratify=truth, random_state=0)
    else:
        time_column, moments = times(frame, profile)
        held = np.flatnonzero(moments > np.quantile(moments, 1 - HELD_OUT))
        learned = np.setdiff1d(np.argsort(moments, kind="stable"), held, assume_unique=True)
        choosing = moments[learned] > np.quantile(moments[learned], 1 - CHOOSING)
        latest = int(choosing.sum()) if truth[learned][choosing].sum() >= FEWEST_POSITIVES / 4 else 0
    for part in (truth[held], truth[learned]):
        if min(part.sum(), len(part) - part.sum()) < FEWEST_POSITIVES:
            raise NoSplit(f"{part.sum()} of {len(part)} rows of a side are positive")
    paths = {name: folder / f"{name}.csv" for name in ("train", "test", "big")}
    frame.with_columns(labels.alias(target))[learned].write_csv(paths["train"])
    test = frame[held]
    test.write_csv(paths["test"])
    pl.concat([test] * math.ceil(SCORED_ROWS / test.height)).head(SCORED_ROWS).write_csv(paths["big"])
    with open_table(paths["train"]) as table:
        identifiers = [one.column for one in profile_table(table).guesses.identifiers if one.column != target]
    task = {name: str(place) for name, place in paths.items()}
    task |= {"target": target, "time": time_column, "latest": latest, "identifiers": identifiers}
    return task, truth[held]


def times(frame: pl.DataFrame, profile: TableProfile) -> tuple[str, NDArray[np.float64]]:
    """The time column, and the moment of each row (rows,); those without one come first."""
    if profile.guesses.timestamp is None:
        raise NoSplit("no time column is known")
    column = profile.guesses.timestamp.column
    spec = next(spec for spec in profile.specs if spec.name == column)
    moments = times_of(parse_columns(frame.select(column), [spec])[column])
    return column, np.where(np.isnan(moments), np.nanmin(moments) - 1, moments)


# A contender


def compete(contender: str, task: dict[str, Any], labels: NDArray[np.int8], folder: Path) -> dict[str, Any]:
    """Train and apply one contender; its figures, or why there are none."""
    files = {"folder": "model", "scores": "scores.npy", "answer": "answer.json"}
    task = task | {name: str(folder / file) for name, file in files.items()}
    figures: dict[str, Any] = {}
    for verb, limit in (("train", 6 * task["budget"] + 120), ("apply", 600)):
        try:
            run(contender, verb, task, folder, limit)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            return {"failed": f"{error} {(error.stderr or b'')[-300:].decode(errors='replace')}"}
        figures |= json.loads(Path(task["answer"]).read_text())
    scores = np.clip(np.load(task["scores"]).astype(np.float64), 0.0, 1.0)
    return figures | {
        "average_precision": float(average_precision_score(labels, scores)),
        "roc_auc": float(roc_auc_score(labels, scores)),
        "brier": float(brier_score_loss(labels, scores)),
    }


def run(name: str, verb: str, task: dict[str, Any], folder: Path, limit: float) -> None:
    """Run a verb of `fraud_peers` in a process of its own, for at most `limit` seconds."""
    (folder / "task.json").write_text(json.dumps(task))
    python, environ = Path(sys.executable), dict(os.environ)
    if name != "ecluse":
        python = installed(name, PINS[name])
        environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "CUDA_VISIBLE_DEVICES": ""}
    command = [python, Path(__file__).with_name("fraud_peers.py"), name, verb, folder / "task.json"]
    subprocess.run(command, cwd=folder, env=environ, check=True, capture_output=True, timeout=limit)


# The summary


def print_summary(rows: list[dict[str, Any]], contenders: list[str]) -> None:
    """Average precision of each case, and the means of those that all contenders finished."""
    cases: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = {}
    for row in rows:
        key = (row["table"], row["split"], row["budget"])
        cases.setdefault(key, {})[row["contender"]] = row
        if "failed" in row:
            print(f"{key}: {row['contender']} failed, {row['failed']}")
    print_table(
        ("table", "split", "budget, s", *contenders),
        [
            (*key, *(found.get(name, {}).get(FIGURES[0]) for name in contenders))
            for key, found in cases.items()
        ],
    )
    whole = [
        found for found in cases.values() if all(FIGURES[0] in found.get(name, {}) for name in contenders)
    ]
    if not whole:
        return
    means = [
        (figure, *(statistics.fmean(found[name][figure] for found in whole) for name in contenders))
        for figure in FIGURES
    ]
    print_table((f"mean of {len(whole)} cases", *contenders), means)


if __name__ == "__main__":
    main()
