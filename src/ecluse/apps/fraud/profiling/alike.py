"""Find the rows that two tables share, however either was written: as text or typed, 12.50 or 12.5."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.fraud.tables.columns import ColumnSpec, infer_columns
from ecluse.apps.fraud.tables.reading import parse_datetimes, parse_numbers, plain_strings
from ecluse.tabular.dataset import Table

Mask = NDArray[np.bool_]

#: Where fewer of the rows are unlike all others, rows that are alike need not be the same.
TELLING: Final = 0.9
_SEED: Final = 23
#: Longer numbers, such as those of cards, are compared as text: a float does not hold them.
_DIGITS: Final = 15


def rows_of(table: Table, older: Table, among: Mask | None = None, *, but: Sequence[str] = ()) -> Mask | None:
    """(rows,) true for the rows of `table` that are rows of `older`, or of its rows `among`.

    Compared are the columns that both have, `but` some. None where these do not tell rows apart.
    """
    shared = [name for name in table.columns if name in older.columns and name not in but]
    if not shared:
        return None
    theirs, ours = _readings(older, table, shared)
    known = row_hashes(older, theirs)
    if known.n_unique() < TELLING * len(known):
        return None
    if among is not None:
        known = known.filter(pl.Series(among))
    return row_hashes(table, ours).is_in(known.implode()).to_numpy()


@dataclass(frozen=True)
class Reading:
    """How the values of a column become alike: by `spec` as its own table writes them, to what they are in both."""

    spec: ColumnSpec
    kind: Literal["number", "datetime", "text"]

    def of(self, raw: pl.Series) -> tuple[pl.Series, pl.Series]:
        """(rows,) float64 and text: a number or an instant in whole seconds, and the text of what is neither."""
        if self.kind == "datetime":
            own = self.spec.datetime_format if self.spec.kind == "datetime" else None
            numbers = parse_datetimes(raw, own).dt.round("1s").dt.epoch("s").cast(pl.Float64)
        elif self.kind == "number":
            numbers = parse_numbers(raw, decimal_comma=self.spec.decimal_comma, thousands=self.spec.thousands)
        else:
            numbers = pl.repeat(None, len(raw), dtype=pl.Float64, eager=True)
        text = plain_strings(raw).str.to_lowercase().replace({"true": "1", "false": "0"})
        text = text.set(numbers.is_not_null(), None)
        short = text.set(text.str.len_chars().fill_null(0) > _DIGITS, None).cast(pl.Float64, strict=False)
        numbers = numbers.fill_null(short.set(~short.is_finite().fill_null(False), None))
        # Fractions as single precision holds them, so that a table that was saved so is still the same.
        single = numbers.cast(pl.Float32).cast(pl.Float64)
        numbers = numbers.zip_with((numbers == numbers.floor()).fill_null(True), single) + 0.0
        return numbers, text.set(numbers.is_not_null(), None)


def row_hashes(table: Table, readings: Sequence[Reading]) -> pl.Series:
    """(rows,) uint64, equal for rows that are equal in what these readings make of their columns."""
    return pl.concat([_hashes(batch, readings) for batch in table.batches()])


def _hashes(batch: pl.DataFrame, readings: Sequence[Reading]) -> pl.Series:
    parts = [part for reading in readings for part in reading.of(batch[reading.spec.name])]
    return pl.DataFrame([part.alias(str(at)) for at, part in enumerate(parts)]).hash_rows(seed=_SEED)


def _readings(a: Table, b: Table, names: Sequence[str]) -> tuple[list[Reading], list[Reading]]:
    """Return how each of two tables is read, so that the same value becomes the same in both."""
    pairs = list(zip(_specs(a, names), _specs(b, names), strict=True))
    kinds = [_kind(first, second) for first, second in pairs]
    return (
        [Reading(first, kind) for (first, _), kind in zip(pairs, kinds, strict=True)],
        [Reading(second, kind) for (_, second), kind in zip(pairs, kinds, strict=True)],
    )


def _kind(a: ColumnSpec, b: ColumnSpec) -> Literal["number", "datetime", "text"]:
    if "datetime" in (a.kind, b.kind):
        return "datetime"
    return "number" if "number" in (a.kind, b.kind) else "text"


def _specs(table: Table, names: Sequence[str]) -> tuple[ColumnSpec, ...]:
    return infer_columns(table.sample().select(names), decimal_comma=table.format.decimal_comma)
