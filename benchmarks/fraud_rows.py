"""Divide a labelled table into rows to train on and rows held out, as `benchmarks.fraud` gives them to all."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.fraud.features.history import times_of
from ecluse.apps.fraud.profiling.profile import TableProfile, profile_table
from ecluse.apps.fraud.tables.columns import ColumnSpec, parse_columns
from ecluse.apps.fraud.tables.meaning import Meaning, fraud_means, meaning_of
from ecluse.errors import InvalidInput
from ecluse.tabular.dataset import open_table

HELD_OUT: Final = 0.3
#: Of the training rows so many, the latest, are what contenders choose by where rows are divided by time.
VALIDATING: Final = 0.2
FEWEST_POSITIVES: Final = 20
#: Below so many positives the latest rows are too few to choose by.
FEWEST_VALIDATING: Final = 5
SCORED_ROWS: Final = 50_000
ENDINGS: Final = (".csv", ".csv.gz", ".parquet", ".xlsx")


class NoSplit(Exception):
    """Why a table cannot be divided as asked."""


@dataclass(frozen=True)
class Target:
    """The column of the label, and the value that means fraud where `INDEX.md` names it."""

    column: str
    positive: str | None = None


@dataclass(frozen=True)
class Parts:
    """The files that all contenders share, in the words of `fraud_peers`; `labels` (rows,) stay with the judge.

    `meaning` is the sentence that says what counts as fraud.
    """

    task: dict[str, Any]
    labels: NDArray[np.int8]
    rows_train: int
    meaning: str


def hold_out(path: Path, kind: str, seed: int, folder: Path) -> Parts:
    """Write the training rows with 0 and 1 as target, and the held-out rows without it, as they stood in the table.

    By time (`kind`) the training rows stand in their order, those without a moment first.
    """
    with open_table(path) as table:
        frame = table.scan().collect().cast(pl.String)
        whole = profile_table(table)
    target = target_of(path, whole)
    if target is None or target.column not in frame.columns:
        raise NoSplit("no target is known")
    frame, labels, meaning = labelled(frame, target)
    guess = whole.guesses.timestamp
    test, moments = divided(frame, labels, whole, kind, seed)
    for part in (labels[test], labels[~test]):
        if min(part.sum(), len(part) - part.sum()) < FEWEST_POSITIVES:
            raise NoSplit(f"{part.sum()} of {len(part)} rows of a side are positive")
    learned = np.flatnonzero(~test)
    latest_rows = 0
    if moments is not None:
        learned = learned[np.argsort(moments[learned], kind="stable")]
        latest_rows = validating(moments[learned], labels[learned])
    paths = written(frame, learned, test, target.column, folder)
    with open_table(paths["train"]) as table:
        roles = profile_table(table).guesses
    task = {
        **{name: str(place) for name, place in paths.items()},
        "target": target.column,
        "time": guess.column if guess is not None and kind == "time" else None,
        "latest": latest_rows,
        "identifiers": [one.column for one in roles.identifiers if one.column != target.column],
    }
    return Parts(task, labels[test], len(learned), fraud_means(target.column, *shown_meaning(meaning)))


def shown_meaning(meaning: Meaning) -> tuple[str, float | None]:
    """The value that counts as fraud and its share; one that is a guess says so."""
    return (meaning.value or "") + ("" if meaning.sure else f" ({meaning.reason})"), meaning.share


def target_of(path: Path, whole: TableProfile) -> Target | None:
    """The target of a table from `INDEX.md` beside it, else from its profile."""
    guess = whole.guesses.target
    return targets(path.parent).get(table_name(path)) or (Target(guess.column) if guess else None)


def targets(folder: Path) -> dict[str, Target]:
    """Target by table, from the Markdown table of `INDEX.md`; nothing where there is none."""
    index = folder / "INDEX.md"
    if not index.exists():
        return {}
    lines = [line.strip() for line in index.read_text(encoding="utf-8").splitlines()]
    rows = [cells_of(line) for line in lines if line.startswith("|")]
    if not rows or not {"name", "target"} <= {*rows[0]}:
        return {}
    by_table = [dict(zip(rows[0], row, strict=False)) for row in rows[2:]]
    return {
        row["name"]: Target(row["target"], row.get("positive") or None)
        for row in by_table
        if row.get("name") and row.get("target")
    }


def cells_of(line: str) -> list[str]:
    """The cells of a row of a Markdown table, those that are empty too; `\\|` is a bar within one."""
    cells = re.split(r"(?<!\\)\|", line.removeprefix("|").removesuffix("|"))
    return [cell.strip().replace("\\|", "|") for cell in cells]


def labelled(frame: pl.DataFrame, target: Target) -> tuple[pl.DataFrame, NDArray[np.int8], Meaning]:
    """The rows with a label, 0 and 1 as that label, and which value was taken for fraud: as a training decides it."""
    values = parse_columns(frame.select(target.column), [ColumnSpec(target.column, "category")])[
        target.column
    ]
    # A row of the target alone is a blank line once that is withheld, and no reader counts blank lines.
    kept = values.is_not_null() & frame.select(
        ~pl.all_horizontal(pl.exclude(target.column).is_null())
    ).to_series().alias("kept")
    frame, values = frame.filter(kept), values.filter(kept)
    labels, meaning = labels_of(values, target.positive)
    return frame.with_columns(pl.Series(target.column, labels)), labels, meaning


def labels_of(values: pl.Series, positive: str | None = None) -> tuple[NDArray[np.int8], Meaning]:
    """1 for the value that means fraud, by the words that the product goes by, else 0; and what was taken for it."""
    levels = {str(value): int(count) for value, count in values.value_counts(sort=True).iter_rows()}
    if len(levels) < 2:
        raise NoSplit(f"the target has {len(levels)} values")
    try:
        meaning = meaning_of(levels, values.name, positive)
    except InvalidInput as error:
        raise NoSplit(str(error)) from error
    if meaning.value is None:
        raise NoSplit(f"{meaning.reason}: name it in a column `positive` of INDEX.md")
    labels: NDArray[np.int8] = values.is_in(list(meaning.fraud)).cast(pl.Int8).to_numpy()
    return labels, meaning


def divided(
    frame: pl.DataFrame, labels: NDArray[np.int8], whole: TableProfile, kind: str, seed: int
) -> tuple[NDArray[np.bool_], NDArray[np.float64] | None]:
    """Which rows (rows,) are held out; by time their moments, too, -inf where there is none."""
    if kind == "stratified":
        return stratified(labels, seed), None
    if whole.guesses.timestamp is None:
        raise NoSplit("no time column is known")
    moments = times(frame, whole, whole.guesses.timestamp.column)
    return latest(moments), np.where(np.isnan(moments), -np.inf, moments)


def stratified(labels: NDArray[np.int8], seed: int) -> NDArray[np.bool_]:
    """Which rows are held out: the same share of each class, drawn with `seed`."""
    rng = np.random.default_rng(seed)
    test = np.zeros(len(labels), dtype=np.bool_)
    for label in (0, 1):
        rows = rng.permutation(np.flatnonzero(labels == label))
        test[rows[: round(HELD_OUT * len(rows))]] = True
    return test


def times(frame: pl.DataFrame, profile: TableProfile, column: str) -> NDArray[np.float64]:
    specs = [spec for spec in profile.specs if spec.name == column]
    return times_of(parse_columns(frame.select(column), specs)[column])


def latest(moments: NDArray[np.float64], share: float = HELD_OUT) -> NDArray[np.bool_]:
    """Which rows are the latest: those from the moment that leaves nearest to the share; no moment is divided.

    Rows without a moment are trained on.
    """
    dated = np.where(np.isnan(moments), -np.inf, moments)
    values, counts = np.unique(dated, return_counts=True)
    if len(values) < 2:
        raise NoSplit("the time column has one value only")
    after = counts[::-1].cumsum()[::-1][1:]
    cut = values[1:][np.argmin(np.abs(after - share * len(moments)))]
    chosen: NDArray[np.bool_] = dated >= cut
    return chosen


def validating(moments: NDArray[np.float64], labels: NDArray[np.int8]) -> int:
    """How many of the training rows, in their order, are the latest to choose by: a fifth; 0 where that is too few."""
    try:
        count = int(latest(moments, VALIDATING).sum())
    except NoSplit:
        return 0
    sides = (labels[: len(labels) - count], labels[len(labels) - count :])
    enough = all(FEWEST_VALIDATING <= side.sum() < len(side) for side in sides)
    return count if enough and count <= len(labels) / 2 else 0


def written(
    frame: pl.DataFrame, learned: NDArray[np.int64], test: NDArray[np.bool_], target: str, folder: Path
) -> dict[str, Path]:
    """The files of the rows to learn from, of those held out, and of these repeated to be scored for their speed."""
    paths = {name: folder / f"{name}.csv" for name in ("train", "test", "big")}
    frame[learned].write_csv(paths["train"])
    held = frame.filter(test).drop(target)
    held.write_csv(paths["test"])
    pl.concat([held] * math.ceil(SCORED_ROWS / held.height)).head(SCORED_ROWS).write_csv(paths["big"])
    return paths


def table_name(path: Path) -> str:
    ending = next(ending for ending in ENDINGS if path.name.lower().endswith(ending))
    return path.name[: -len(ending)]
