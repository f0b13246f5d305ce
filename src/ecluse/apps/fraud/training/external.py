"""Fit XGBoost on a Parquet table of numbers that is larger than memory, and measure it on rows it has not seen."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import xgboost
from numpy.typing import NDArray

from ecluse.apps.fraud.clock import Clock, Progress, with_heartbeat
from ecluse.apps.fraud.errors import UnusableTarget
from ecluse.apps.fraud.evaluation.split import check_labels
from ecluse.apps.fraud.families import FitData, Params, Until
from ecluse.apps.fraud.families import xgboost as family
from ecluse.apps.fraud.families.xgboost_external import Batch, fit_batches, most_bytes
from ecluse.apps.fraud.measures import average_precision
from ecluse.disks import LEAST_FREE
from ecluse.errors import DiskUnusable, InvalidInput
from ecluse.sentences import _, ngettext, num
from ecluse.tabular.source import damaged

#: Values of a batch: 32 MB as numbers of 4 bytes.
BATCH_VALUES: Final = 8_000_000
BATCH_ROWS: Final = 100_000
#: Values of the rows that settings are chosen on, and as many of those measured on: 80 MB together.
SAMPLE_VALUES: Final = 10_000_000
SAMPLE_ROWS: Final = 200_000
TESTED_SHARE: Final = 0.2
#: Of the rows that settings are chosen on, so many judge them.
JUDGING_SHARE: Final = 0.25
#: What a search adds to the family's settings: it ends early, as all rows are still to come.
SEARCHED: Final = {"rounds": 600, "patience": 40}
UNHEARD: Progress = lambda stage, share, message: None  # noqa: E731 - a default for `progress`


@dataclass(frozen=True)
class ExternalPlan:
    """What to learn from which columns, and within which memory.

    `target` holds 0 and 1, or truth values. `columns` are numbers or truth values; all but the target where none is
    named. Bins that may take more than `memory_bytes` are kept on disk. With `params`, XGBoost's and `fixed_rounds`, no
    settings are tried.
    """

    target: str
    columns: tuple[str, ...] = ()
    memory_bytes: int = 1 << 30
    params: Params | None = None
    seed: int = 0


@dataclass(frozen=True)
class ExternalFit:
    """A booster over `columns`, fitted for `rounds` on `rows` of a table.

    `average_precision` is that of `tested` other rows, which nothing was chosen on. `on_disk` tells where the bins
    were kept.
    """

    booster: xgboost.Booster
    columns: tuple[str, ...]
    params: Params
    rounds: int
    rows: int
    tested: int
    average_precision: float
    on_disk: bool


def train_external(
    path: Path, plan: ExternalPlan, *, folder: Path | None = None, progress: Progress = UNHEARD
) -> ExternalFit:
    """Fit XGBoost on the rows of a Parquet file, or of all those of a folder, a few at a time.

    Rows are drawn by their position and the seed: at most `SAMPLE_ROWS` are kept back to measure on, as many choose
    between the family's settings and their rounds, and all but the first are fitted on. Rows without a label are left
    out. The bins are kept below `folder`, or where temporary files are, and removed. `progress` is told how far it is
    and may raise to cancel. The same table, plan and number of cores give the same booster.

    Raises:
        UnusableTarget: the target is missing, holds other values than 0 and 1, or none or too few of either.
        InvalidInput: there is no such file, or no column to learn from; one is missing or holds no numbers.
        UnreadableTable: a file is damaged.
        DiskUnusable: the folder has too little room.
    """
    clock = Clock(float("inf"), progress)
    table = with_heartbeat(lambda: _open(path, plan), clock.tick("read", 0.0, _("Reading the table")))
    bins = most_bytes(table.rows, len(table.columns))
    cache = _with_room(folder or Path(tempfile.gettempdir()), bins) if bins > plan.memory_bytes else None
    parts = _divide(table, plan)
    tested, sample = _collect(table, parts, clock)
    params = plan.params if plan.params is not None else _choose(sample, plan, clock)
    del sample
    rows, frauds = table.labelled - len(tested[1]), table.frauds - int(tested[1].sum())
    booster = _fit(table, parts, {**params, "base_score": frauds / rows}, cache, clock)
    clock.say("test", 0.97, _("Measuring on the test rows"))
    score = _score(family.XgBoostModel(booster), tested)
    return ExternalFit(
        booster,
        table.columns,
        params,
        booster.num_boosted_rounds(),
        rows,
        len(tested[1]),
        score,
        cache is not None,
    )


def _fit(
    table: _ParquetTable, parts: _Parts, params: Params, cache: Path | None, clock: Clock
) -> xgboost.Booster:
    """Fit the settings on all rows but those to measure on."""
    rounds = int(params["fixed_rounds"])
    booster = fit_batches(
        partial(_batches, table, parts.tested, 1.0),
        {**params, "seed": table.seed, "nthread": _cores()},
        rounds=rounds,
        folder=cache,
        tick=partial(_say_round, clock, rounds),
    )
    booster.feature_names = list(table.columns)
    return booster


# The table


@dataclass(frozen=True)
class _ParquetTable:
    """Files in order, what is learned from which of their columns, and how many rows and labels they hold."""

    files: tuple[Path, ...]
    rows_of_files: tuple[int, ...]
    target: str
    columns: tuple[str, ...]
    seed: int
    labelled: int
    frauds: int

    @property
    def rows(self) -> int:
        return sum(self.rows_of_files)


def _open(path: Path, plan: ExternalPlan) -> _ParquetTable:
    if not path.exists():
        raise InvalidInput(
            _("There is no %(file)s. Name a Parquet file, or a folder of such files.", file=str(path))
        )
    files = tuple(sorted(path.glob("*.parquet"))) if path.is_dir() else (path,)
    if not files:
        raise InvalidInput(_("%(file)s holds no Parquet file. Name another folder.", file=path.name))
    try:
        scan = pl.scan_parquet(list(files), glob=False)
        columns = _numbers(path.name, scan.collect_schema(), plan)
        rows = tuple(pl.scan_parquet(file, glob=False).select(pl.len()).collect().item() for file in files)
        labelled, frauds = _count_labels(scan, plan.target)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise damaged(path.name, error) from error
    if labelled == 0:
        raise UnusableTarget(
            _(
                'No row of %(file)s has a value in "%(column)s". Add labelled rows, or choose another column.',
                file=path.name,
                column=plan.target,
            )
        )
    return _ParquetTable(files, rows, plan.target, columns, plan.seed, labelled, frauds)


def _numbers(shown: str, schema: pl.Schema, plan: ExternalPlan) -> tuple[str, ...]:
    """Return the columns to learn from."""
    columns = tuple(dict.fromkeys(plan.columns)) or tuple(name for name in schema if name != plan.target)
    for name in (plan.target, *columns):
        if name not in schema:
            raise (UnusableTarget if name == plan.target else InvalidInput)(
                _(
                    '%(file)s has no column "%(column)s". Its columns: %(columns)s.',
                    file=shown,
                    column=name,
                    columns=", ".join(list(schema)[:20]) + (", …" if len(schema) > 20 else ""),
                )
            )
    if not columns:
        raise InvalidInput(
            _(
                '%(file)s has no column besides "%(column)s". Add columns of numbers to learn from.',
                file=shown,
                column=plan.target,
            )
        )
    if plan.target in columns:
        raise InvalidInput(
            _(
                '"%(column)s" is the target and cannot have another role. Choose another column.',
                column=plan.target,
            )
        )
    other = [name for name in (plan.target, *columns) if not _is_number(schema[name])]
    if plan.target in other:
        raise _unusable(plan.target, str(schema[plan.target]))
    if other:
        raise InvalidInput(
            _(
                "These columns hold no numbers: %(columns)s. Write them as numbers, or name the others in `columns`.",
                columns=", ".join(other[:10]),
            )
        )
    return columns


def _is_number(kind: pl.DataType) -> bool:
    return kind.is_numeric() or kind == pl.Boolean


def _count_labels(scan: pl.LazyFrame, target: str) -> tuple[int, int]:
    """Return how many rows have a label, and how many of those are fraud."""
    label = pl.col(target).cast(pl.Float64)
    counted = scan.select(
        pl.len().alias("rows"),
        label.null_count().alias("missing"),
        (label == 1).sum().alias("frauds"),
        (label == 0).sum().alias("others"),
        label.min().alias("least"),
        label.max().alias("most"),
    ).collect(engine="streaming")
    rows, missing, frauds, others, least, most = counted.row(0)
    if frauds + others + missing != rows:
        raise _unusable(target, f"{num(least, 'g')}, {num(most, 'g')}")
    return int(frauds + others), int(frauds)


def _unusable(target: str, values: str) -> UnusableTarget:
    return UnusableTarget(
        _(
            "%(column)s holds other values than 0 and 1, such as %(values)s. Write 1 for fraud and 0 for the rest.",
            column=target,
            values=values,
        )
    )


def _with_room(folder: Path, bins: float) -> Path:
    free = shutil.disk_usage(folder).free
    if free < bins + LEAST_FREE:
        raise DiskUnusable(
            _(
                "%(folder)s has %(free)s GB free, and the rows take %(size)s GB. Make room, or name another folder.",
                folder=str(folder),
                free=num(free / 1e9, ".1f"),
                size=num(bins / 1e9, ".1f"),
            )
        )
    return folder


# Its rows


@dataclass(frozen=True)
class _Parts:
    """Rows drawn below `tested` are measured on, those from there to below `chosen` choose the settings."""

    tested: float
    chosen: float


def _divide(table: _ParquetTable, plan: ExternalPlan) -> _Parts:
    share = min(SAMPLE_ROWS, SAMPLE_VALUES // len(table.columns)) / max(table.rows, 1)
    tested = min(TESTED_SHARE, share)
    return _Parts(tested, tested if plan.params is not None else min(tested + share, 1.0))


def _batches(table: _ParquetTable, low: float, high: float) -> Iterator[Batch]:
    """Yield (rows, columns) and (rows,) of the labelled rows that are drawn from `low` to below `high`."""
    for matrix, labels, _drawn in _drawn_batches(table, low, high):
        yield matrix, labels


def _drawn_batches(
    table: _ParquetTable, low: float, high: float
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int8], NDArray[np.float64]]]:
    """Yield the same in file order, with the draws (rows,)."""
    first = 0
    for frame in _frames(table):
        drawn = _draw(np.arange(first, first + frame.height, dtype=np.uint64), table.seed)
        first += frame.height
        at = (low <= drawn) & (drawn < high) & frame[table.target].is_not_null().to_numpy()
        if at.any():
            rows = frame.filter(pl.Series(at))
            yield _matrix(rows, table.columns), rows[table.target].cast(pl.Int8).to_numpy(), drawn[at]


def _frames(table: _ParquetTable) -> Iterator[pl.DataFrame]:
    """Yield frames of the same rows on each pass, which the bins and so the trees depend on.

    Each is read by itself: Polars reads ahead where it is asked for all of them at once, and so holds several times as
    much.
    """
    size = max(1, min(BATCH_ROWS, BATCH_VALUES // len(table.columns)))
    for file, rows in zip(table.files, table.rows_of_files, strict=True):
        scan = pl.scan_parquet(file, glob=False).select(*table.columns, table.target)
        for first in range(0, rows, size):
            try:
                yield scan.slice(first, size).collect(engine="streaming")
            except (pl.exceptions.PolarsError, OSError) as error:
                raise damaged(file.name, error) from error


def _matrix(rows: pl.DataFrame, columns: tuple[str, ...]) -> NDArray[np.float32]:
    """(rows, columns) numbers, NaN where they are missing or infinite, which XGBoost refuses."""
    matrix = np.empty((rows.height, len(columns)), dtype=np.float32)
    for at, name in enumerate(columns):
        matrix[:, at] = rows[name].cast(pl.Float32).to_numpy()
    matrix[np.isinf(matrix)] = np.nan
    return matrix


def _draw(positions: NDArray[np.uint64], seed: int) -> NDArray[np.float64]:
    """Draw a number in [0, 1) for each position by SplitMix64 (Steele, Lea and Flood 2014), the same for one seed."""
    mixed = positions + np.random.default_rng(seed).integers(0, 1 << 63, dtype=np.uint64)
    mixed = (mixed + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) * 2.0**-53


# The settings


def _collect(table: _ParquetTable, parts: _Parts, clock: Clock) -> tuple[Batch, FitData]:
    """Return the rows to measure on, and those to choose settings on. Raises UnusableTarget for too few frauds."""
    judging = parts.tested + JUDGING_SHARE * (parts.chosen - parts.tested)
    drawn_parts: tuple[list[Batch], ...] = ([], [], [])
    for matrix, labels, drawn in _drawn_batches(table, 0.0, parts.chosen):
        part = np.digitize(drawn, [parts.tested, judging])
        for number, batches in enumerate(drawn_parts):
            batches.append((matrix[part == number], labels[part == number]))
        clock.say("read", 0.05, _("Reading the table"), always=False)
    tested, valid, train = (_together(batches, len(table.columns)) for batches in drawn_parts)
    for _rows, answers in (tested, valid, train) if parts.chosen > parts.tested else (tested,):
        check_labels(answers)
    return tested, FitData(*train, *valid, threads=_cores())


def _together(batches: list[Batch], columns: int) -> Batch:
    empty: Batch = np.zeros((0, columns), np.float32), np.zeros(0, np.int8)
    matrices, labels = zip(empty, *batches, strict=True)
    batches.clear()
    return np.concatenate(matrices), np.concatenate(labels)


def _choose(sample: FitData, plan: ExternalPlan, clock: Clock) -> Params:
    """Return the settings of the family that rank the judging rows best, with the rounds that served best."""
    scored = []
    for start in family.STARTS:
        tick = clock.tick("search", 0.1, start.name)
        model = family.fit(sample, {**start.params, **SEARCHED}, seed=plan.seed, until=Until(), tick=tick)
        score = _score(model, (sample.valid, sample.valid_labels))
        scored.append((score, {**start.params, "fixed_rounds": model.rounds}))
    return max(scored, key=lambda each: each[0])[1]


def _score(model: family.XgBoostModel, rows: Batch) -> float:
    matrix, labels = rows
    return average_precision(labels, model.predict_margin(matrix))


def _say_round(clock: Clock, rounds: int, fitted: int) -> None:
    share = 0.2 + 0.75 * fitted / rounds
    clock.say(
        "search", share, ngettext("%(count)s round fitted", "%(count)s rounds fitted", fitted), always=False
    )


def _cores() -> int:
    return os.cpu_count() or 1
