"""Count what each column of a table holds, and describe it: missing and distinct values, extremes, shape.

`totals_of` counts a frame that is held whole; `stream_totals` counts a table batch by batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
import polars as pl

from ecluse.apps.fraud.tables.columns import ColumnKind, ColumnSpec
from ecluse.sentences import _, num
from ecluse.tabular.dataset import Table

Role = Literal["feature", "identifier", "customer", "timestamp", "target", "leave_out"]
Progress = Callable[[float, str], None]
"""Hears a fraction in [0, 1] and a message."""

BINS = 12


@dataclass(frozen=True)
class ColumnProfile:
    """One column. Shares are of all rows for `missing_share`, of the values present for `top`.

    `minimum`, `maximum` and `mean` are numbers for numbers, ISO 8601 text for dates, None otherwise.
    `histogram` has 12 bins of equal width between the 0.5 % and 99.5 % quantiles, the outer ones with what
    lies beyond; for categories it counts the most frequent values.
    """

    name: str
    kind: ColumnKind
    missing_share: float
    distinct: int
    minimum: float | str | None
    maximum: float | str | None
    mean: float | str | None
    top: tuple[tuple[str, float], ...]
    histogram: tuple[int, ...]
    guess_role: Role = "feature"
    reason: str = ""


@dataclass(frozen=True)
class Totals:
    """What is known of the whole column; `levels` only of columns with at most three values."""

    missing: int
    distinct: int
    minimum: Any
    maximum: Any
    mean: Any
    levels: Mapping[str, int]


def totals_of(parsed: pl.DataFrame) -> dict[str, Totals]:
    """Exact totals by column of all rows, as `parsed_columns` gives them."""
    totals = {}
    for series in parsed.iter_columns():
        present = series.drop_nulls()
        distinct = present.n_unique()
        measured = series.dtype != pl.String and len(present) > 0
        totals[series.name] = Totals(
            series.null_count(),
            distinct,
            present.min() if measured else None,
            present.max() if measured else None,
            present.mean() if measured else None,
            _levels(present) if distinct <= 3 else {},
        )
    return totals


def stream_totals(
    table: Table, specs: Sequence[ColumnSpec], rows: int, report: Progress
) -> dict[str, Totals]:
    """Totals by column of a table of `rows` rows; distinct counts beyond a few are estimates (HyperLogLog)."""
    distinct = table.scan().select(pl.all().approx_n_unique()).collect(engine="streaming").row(0, named=True)
    few = {name for name, count in distinct.items() if count <= 4}
    running = {spec.name: _Running() for spec in specs}
    done = 0
    for batch in table.batches():
        for series in parsed_columns(batch, specs).iter_columns():
            running[series.name].add(series, count_levels=series.name in few)
        done += batch.height
        report(
            0.1 + 0.7 * done / max(rows, 1),
            _("%(done)s of %(rows)s rows", done=num(done, ","), rows=num(rows, ",")),
        )
    # An estimate may lie a little above the number of rows.
    return {name: column.totals(min(int(distinct[name]), rows)) for name, column in running.items()}


def describe_column(spec: ColumnSpec, values: pl.Series, totals: Totals, rows: int) -> ColumnProfile:
    """One column, of which `values` may be a sample and `totals` counts all `rows` rows."""
    present = values.drop_nulls()
    return ColumnProfile(
        name=spec.name,
        kind=spec.kind,
        missing_share=totals.missing / max(rows, 1),
        distinct=totals.distinct,
        minimum=_plain(totals.minimum),
        maximum=_plain(totals.maximum),
        mean=_plain(totals.mean),
        top=_top(present, totals),
        histogram=_histogram(present),
    )


def parsed_columns(raw: pl.DataFrame, specs: Sequence[ColumnSpec]) -> pl.DataFrame:
    """Return the raw columns read as their specs say, in the order of the specs."""
    return pl.DataFrame([spec.read(raw[spec.name]).alias(spec.name) for spec in specs])


def as_categories(values: pl.Series) -> pl.Series:
    """Values as `ColumnSpec.parse` writes categories: 1.0 is "1"."""
    if values.dtype == pl.String:
        return values
    return ColumnSpec(values.name, "category").read(values)


def column_from_dict(data: Mapping[str, Any]) -> ColumnProfile:
    """Return the column whose plain JSON values `data` is."""
    values = dict(data)
    values["top"] = tuple((value, share) for value, share in data["top"])
    values["histogram"] = tuple(data["histogram"])
    return ColumnProfile(**values)


# Counting


def _levels(present: pl.Series) -> dict[str, int]:
    counts = as_categories(present).value_counts(sort=True, name="rows")
    return {str(value): int(count) for value, count in counts.iter_rows()}


class _Running:
    """Totals of a column that come batch by batch."""

    def __init__(self) -> None:
        self.missing = 0
        self.present = 0
        self.sum = 0.0
        self.extremes: list[Any] = []
        self.levels: dict[str, int] = {}
        self.dates = False

    def add(self, series: pl.Series, *, count_levels: bool) -> None:
        present = series.drop_nulls()
        self.missing += series.null_count()
        if count_levels:
            for value, count in _levels(present).items():
                self.levels[value] = self.levels.get(value, 0) + count
        if series.dtype == pl.String or present.is_empty():
            return
        self.dates = series.dtype != pl.Float64
        self.extremes = [min([*self.extremes, present.min()]), max([*self.extremes, present.max()])]
        numbers = present.to_physical().cast(pl.Float64)
        self.sum += float(numbers.sum())
        self.present += len(present)

    def totals(self, distinct: int) -> Totals:
        low, high = self.extremes or (None, None)
        mean: Any = self.sum / self.present if self.present else None
        if mean is not None and self.dates:
            mean = pl.Series([int(mean)]).cast(pl.Datetime("us")).item()
        # The estimate counts "missing" as a value, and "1" beside "1.0".
        known = len(self.levels) or max(0, distinct - (self.missing > 0))
        return Totals(self.missing, known, low, high, mean, self.levels)


# Describing


def _plain(value: Any) -> float | str | None:
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    # JSON has no infinity, which the sum of amounts of 1e308 reaches.
    return float(value) if value is not None and np.isfinite(value) else None


def _top(present: pl.Series, totals: Totals) -> tuple[tuple[str, float], ...]:
    if totals.levels:
        total = sum(totals.levels.values())
        ranked = sorted(totals.levels.items(), key=lambda item: (-item[1], item[0]))
        return tuple((value, count / total) for value, count in ranked)
    if isinstance(present.dtype, pl.Datetime) or present.is_empty():
        return ()
    counts = _counts(present).head(8)
    return tuple((str(value)[:200], count / len(present)) for value, count in counts.iter_rows())


def _counts(present: pl.Series) -> pl.DataFrame:
    """Values and their counts, the most frequent first, ties by value."""
    counts = as_categories(present).alias("value").value_counts(name="rows")
    return counts.sort(["rows", "value"], descending=[True, False])


def _histogram(present: pl.Series) -> tuple[int, ...]:
    if present.is_empty():
        return ()
    if present.dtype == pl.String:
        return tuple(_counts(present)["rows"].head(BINS).to_list())
    numbers = present.to_physical().cast(pl.Float64).to_numpy()
    with np.errstate(over="ignore", invalid="ignore"):  # amounts of 1e308 make the width infinite
        low, high = np.quantile(numbers, [0.005, 0.995], method="nearest")
        if low == high:
            low, high = numbers.min(), numbers.max()
        places = (np.clip(numbers, low, high) - low) / (high - low) * BINS
    if not np.isfinite(places).all():
        return (len(numbers),) + (0,) * (BINS - 1)
    counts = np.bincount(np.minimum(places.astype(np.int64), BINS - 1), minlength=BINS)
    return tuple(int(count) for count in counts)
