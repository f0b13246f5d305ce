"""Describe rows of a table without labels by numbers that say how usual each of their values is.

`choose_values` looks at a sample once; `Description.read` then gives any rows the same numbers, each row on its
own: an amount as its place among the sample's amounts, a category by how rare it is, a date by its hour, weekday
and day and by the time since another date, and what is missing.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.fraud.features.encoders import floats, gap_seconds
from ecluse.apps.fraud.features.history import KeyedTable, hash_keys
from ecluse.apps.fraud.tables.columns import ColumnSpec

Floats = NDArray[np.float64]
ValueKind = Literal["number", "rarity", "hour", "weekday", "day", "gap", "characters", "missing"]

KNOTS = 1_001
MAX_VALUES = 300
MAX_DATES = 4
#: A column whose missing values are rarer or more common than this says nothing by them.
LEAST_MISSING = 0.005
SALT = 7


@dataclass(frozen=True)
class Value:
    """One number read of a row. `other` is the earlier date of a gap."""

    column: str
    kind: ValueKind
    other: str = ""

    def to_dict(self) -> dict[str, str]:
        return {"column": self.column, "kind": self.kind, "other": self.other}


@dataclass(frozen=True)
class Distribution:
    """How a value is spread over the sample.

    `knots` (k,) rise strictly; `below` and `above` (k,) are the shares of the sample at most and at least as
    large. `centre` and `scale` are the mean and the standard deviation; `skew` is the sign of the third moment;
    `known` counts the values of the sample.
    """

    knots: Floats
    below: Floats
    above: Floats
    centre: float
    scale: float
    skew: float
    known: float

    def shares(self, values: Floats) -> tuple[Floats, Floats]:
        """(rows,) shares of the sample at most, and at least, as large; 1 where the value is missing.

        Beyond all of the sample, half of one row.
        """
        missing = np.isnan(values)
        known = np.where(missing, self.knots[0], values)
        below, above = np.interp(known, self.knots, self.below), np.interp(known, self.knots, self.above)
        below[known < self.knots[0]] = above[known > self.knots[-1]] = 0.5 / self.known
        below[missing] = above[missing] = 1.0
        return below, above

    def rarity(self, values: Floats) -> tuple[Floats, Floats]:
        """(rows,) shares of the sample with this very value, and with one that is no more common; 1 where missing.

        For values of which each has a knot, such as hours. One that is not in the sample counts as half a row.
        """
        each = self.below + self.above - 1.0
        rising = np.sort(each)
        upto = np.cumsum(rising)
        at = np.minimum(np.searchsorted(self.knots, values), len(self.knots) - 1)
        met = self.knots[at] == values
        own = np.where(met, each[at], 0.5 / self.known)
        no_more = upto[np.searchsorted(rising, own + 1e-9, side="right") - 1]
        missing = np.isnan(values)
        return np.where(missing, 1.0, own), np.where(missing, 1.0, np.where(met, no_more, own))


@dataclass(frozen=True)
class Description:
    """What is read of a row, and how the sample had it. `levels` counts the values of each `rarity` column."""

    values: tuple[Value, ...]
    distributions: tuple[Distribution, ...]
    levels: dict[str, KeyedTable]
    rows: int

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the raw columns that are read, each once."""
        both = itertools.chain.from_iterable((value.column, value.other) for value in self.values)
        return tuple(dict.fromkeys(name for name in both if name))

    def read(self, frame: pl.DataFrame) -> Floats:
        """(rows, values) float64 of parsed rows, NaN where missing; a row does not depend on the others."""
        matrix = np.empty((frame.height, len(self.values)))
        for at, value in enumerate(self.values):
            matrix[:, at] = _read(frame, value, self.levels, self.rows)
        return matrix


def choose_values(
    sample: pl.DataFrame, specs: Sequence[ColumnSpec], left_out: Collection[str]
) -> Description:
    """Choose what to read of the rows of a table, from parsed rows of it; without constants, identifiers and
    `left_out`.

    At most 300 values are read: of wider tables, those of the first columns in even steps.
    """
    used = [
        spec for spec in specs if spec.name not in left_out and spec.kind not in ("constant", "identifier")
    ]
    levels = {spec.name: _count_levels(sample[spec.name]) for spec in used if spec.kind == "category"}
    values = [value for spec in used for value in _values_of(sample[spec.name], spec)]
    dates = [spec.name for spec in used if spec.kind == "datetime"][:MAX_DATES]
    values += [Value(later, "gap", earlier) for earlier, later in itertools.combinations(dates, 2)]
    step = max(1, -(-len(values) // MAX_VALUES))
    chosen, distributions = [], []
    for value in values[::step]:
        read = _read(sample, value, levels, sample.height)
        distribution = _distribution(read)
        if distribution is not None:
            chosen.append(value)
            distributions.append(distribution)
    kept = {value.column for value in chosen if value.kind == "rarity"}
    counted = {name: table for name, table in levels.items() if name in kept}
    return Description(tuple(chosen), tuple(distributions), counted, sample.height)


def _values_of(column: pl.Series, spec: ColumnSpec) -> list[Value]:
    kinds: dict[str, tuple[ValueKind, ...]] = {
        "number": ("number",),
        "category": ("rarity",),
        "datetime": ("hour", "weekday", "day"),
        "text": ("characters",),
    }
    values = [Value(spec.name, kind) for kind in kinds[spec.kind]]
    missing = column.null_count() / max(len(column), 1)
    if LEAST_MISSING <= missing <= 1 - LEAST_MISSING:
        values.append(Value(spec.name, "missing"))
    return values


def _read(frame: pl.DataFrame, value: Value, levels: dict[str, KeyedTable], rows: int) -> Floats:
    column = frame[value.column]
    if value.kind == "number":
        return floats(column)
    if value.kind == "missing":
        return column.is_null().to_numpy().astype(np.float64)
    if value.kind == "rarity":
        return _rarity(column, levels[value.column], rows)
    if value.kind == "gap":
        return gap_seconds(frame, value.other, value.column)
    if value.kind == "characters":
        return floats(column.cast(pl.String).str.len_chars().cast(pl.Float64))
    parts = {"hour": column.dt.hour, "weekday": column.dt.weekday, "day": column.dt.day}
    return floats(parts[value.kind]().cast(pl.Float64))


def _count_levels(column: pl.Series) -> KeyedTable:
    """Return how many rows of the sample hold each value; a value met once counts as one never met."""
    keys, counts = np.unique(hash_keys(column, SALT), return_counts=True)
    kept = (keys != 0) & (counts > 1)
    return KeyedTable(keys[kept], {"count": counts[kept].astype(np.float64)})


def _rarity(column: pl.Series, levels: KeyedTable, rows: int) -> Floats:
    """(rows,) minus the log of the share of the sample with the same value."""
    keys = hash_keys(column, SALT)
    counts = np.ones(len(keys))
    if len(levels.keys):
        at, known = levels.find(keys)
        counts = np.where(known, levels.values["count"][at], 1.0)
    surprise = -np.log(counts / max(rows, 1))
    surprise[keys == 0] = np.nan
    return surprise


def _distribution(values: Floats) -> Distribution | None:
    """None where the sample holds fewer than two different values."""
    known = np.sort(values[np.isfinite(values)])
    distinct, first, counts = np.unique(known, return_index=True, return_counts=True)
    if len(distinct) < 2:
        return None
    below = (first + counts) / len(known)
    above = (len(known) - first) / len(known)
    at = np.arange(len(distinct))
    if len(distinct) > KNOTS:
        # Evenly spaced by rank, so that common values keep their own knot.
        places = np.linspace(0, len(known) - 1, KNOTS).astype(np.int64)
        at = np.unique(np.searchsorted(distinct, known[places]))
    centre, scale = float(known.mean()), float(known.std())
    third = float(np.mean(((known - centre) / (scale or 1.0)) ** 3))
    skew = float(np.sign(third))
    return Distribution(distinct[at], below[at], above[at], centre, scale or 1.0, skew, float(len(known)))


def to_arrays(description: Description) -> dict[str, NDArray[Any]]:
    """Return the numbers of a description as arrays; `from_arrays` gives it back with its values."""
    spread = description.distributions
    arrays: dict[str, NDArray[Any]] = {
        "knot_counts": np.array([len(distribution.knots) for distribution in spread], dtype=np.int64),
        "knots": np.concatenate([distribution.knots for distribution in spread]),
        "below": np.concatenate([distribution.below for distribution in spread]),
        "above": np.concatenate([distribution.above for distribution in spread]),
        "moments": np.array(
            [
                [distribution.centre, distribution.scale, distribution.skew, distribution.known]
                for distribution in spread
            ]
        ),
    }
    names = list(description.levels)
    tables = [description.levels[name] for name in names]
    arrays["level_counts"] = np.array([len(table.keys) for table in tables], dtype=np.int64)
    empty_keys, empty = np.zeros(0, dtype=np.uint64), np.zeros(0)
    arrays["level_keys"] = np.concatenate([empty_keys, *(table.keys for table in tables)])
    arrays["level_rows"] = np.concatenate([empty, *(table.values["count"] for table in tables)])
    return arrays


def from_arrays(
    values: Sequence[dict[str, str]], level_names: Sequence[str], rows: int, arrays: dict[str, NDArray[Any]]
) -> Description:
    """Read the description whose arrays these are. Raises KeyError or ValueError where they do not belong together."""
    ends = np.cumsum(arrays["knot_counts"])[:-1]
    knots, below, above = (np.split(arrays[name], ends) for name in ("knots", "below", "above"))
    spread = tuple(
        Distribution(knot, low, high, *(float(number) for number in moment))
        for knot, low, high, moment in zip(knots, below, above, arrays["moments"], strict=True)
    )
    parts = np.cumsum(arrays["level_counts"])[:-1]
    keys, counts = np.split(arrays["level_keys"], parts), np.split(arrays["level_rows"], parts)
    levels = {
        name: KeyedTable(key, {"count": count})
        for name, key, count in zip(level_names, keys, counts, strict=bool(level_names))
    }
    read = tuple(
        Value(item["column"], _kind(item["kind"]), item["other"])
        for item, _ in zip(values, spread, strict=True)
    )
    return Description(read, spread, levels, rows)


def _kind(name: str) -> ValueKind:
    kinds: dict[str, ValueKind] = {
        kind: kind for kind in ("number", "rarity", "hour", "weekday", "day", "gap", "characters", "missing")
    }
    return kinds[name]
