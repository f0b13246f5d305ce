"""Sketch the columns of a table: enough to recognise a column elsewhere, too little to recognise a person.

A sketch holds shares, 21 quantiles of numbers and dates, and the frequent values of low-cardinality categories.
It holds no value of identifiers, emails, names or texts, no level with fewer than 5 rows, and its outer
quantiles stand at 0.5 % and 99.5 %, so that no single largest or smallest value is kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ecluse.errors import InvalidInput
from ecluse.sentences import _

if TYPE_CHECKING:
    import polars as pl

    from ecluse.apps.fraud.tables.columns import ColumnSpec

__all__ = ["KINDS", "QUANTILES", "ColumnSketch", "sketch_columns"]

KINDS = ("number", "datetime", "category", "identifier", "text", "constant")
QUANTILES = 21
SAMPLE_ROWS = 20_000
MAX_LEVELS = 40
MIN_ROWS_PER_LEVEL = 5
MAX_TOP = 20
LONGEST_LEVEL = 60
OUTER = 0.005
#: A level with an @ or with six digits in a row may name a person, an account or a device.
_PERSONAL = re.compile(r"@|\d{6}|(?:\d[ .-]?){8}")


@dataclass(frozen=True)
class ColumnSketch:
    """One column. `missing` is a share of all rows; `zeros`, `whole`, `negative`, `distinct` and the shares in
    `top` are of the values present. Quantiles of dates are seconds since 1970 (UTC)."""

    name: str
    kind: str
    missing: float
    zeros: float
    whole: float
    negative: float
    distinct: float
    quantiles: tuple[float, ...] = ()
    top: tuple[tuple[str, float], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` gives the same sketch back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ColumnSketch:
        """Raise InvalidInput for a kind that does not exist or another number of quantiles than 0 or 21."""
        kind = data.get("kind")
        if kind not in KINDS:
            raise InvalidInput(
                _(
                    "Column kind %(value)s does not exist; use one of %(values)s.",
                    value=repr(kind),
                    values=", ".join(KINDS),
                )
            )
        quantiles = tuple(float(value) for value in data.get("quantiles", ()))
        if len(quantiles) not in (0, QUANTILES):
            raise InvalidInput(
                _(
                    "A sketch has %(count)s quantiles or none; column %(column)s has %(number)s. Sketch "
                    "the table again.",
                    count=QUANTILES,
                    column=repr(str(data["name"])),
                    number=len(quantiles),
                )
            )
        return cls(
            name=str(data["name"]),
            kind=str(kind),
            missing=float(data.get("missing", 0.0)),
            zeros=float(data.get("zeros", 0.0)),
            whole=float(data.get("whole", 0.0)),
            negative=float(data.get("negative", 0.0)),
            distinct=float(data.get("distinct", 0.0)),
            quantiles=quantiles,
            top=tuple((str(value), float(share)) for value, share in data.get("top", ())),
        )


def sketch_columns(frame: pl.DataFrame, specs: Sequence[ColumnSpec]) -> tuple[ColumnSketch, ...]:
    """One sketch per spec, from parsed rows (`columns.parse_columns`), of which at most 20,000 are read,
    spread evenly. About a millisecond a column."""
    if frame.height > SAMPLE_ROWS:
        frame = frame.gather_every(-(-frame.height // SAMPLE_ROWS))
    return tuple(_sketch(frame[spec.name], spec) for spec in specs)


def _sketch(values: pl.Series, spec: ColumnSpec) -> ColumnSketch:
    present = values.drop_nulls()
    known = len(present)
    missing = 1.0 - known / len(values) if len(values) else 1.0
    distinct = present.n_unique() / known if known else 0.0
    zeros = whole = negative = 0.0
    quantiles: tuple[float, ...] = ()
    top: tuple[tuple[str, float], ...] = ()
    if known and spec.kind in ("number", "datetime"):
        zeros, whole, negative, quantiles = _shape(present)
    elif known and spec.kind == "category":
        top = _frequent(present, spec.name)
    missing, zeros, whole, negative, distinct = (
        round(share, 6) for share in (missing, zeros, whole, negative, distinct)
    )
    return ColumnSketch(spec.name, spec.kind, missing, zeros, whole, negative, distinct, quantiles, top)


def _shape(present: pl.Series) -> tuple[float, float, float, tuple[float, ...]]:
    """Shares of zero, whole and negative values, and the quantiles as values that occur, not between them."""
    import numpy as np
    import polars as pl

    if present.dtype == pl.Datetime:
        present = present.cast(pl.Datetime("us")).to_physical() / 1e6
    numbers = np.sort(present.cast(pl.Float64).to_numpy())
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers):
        return 0.0, 0.0, 0.0, ()
    levels = np.linspace(0.0, 1.0, QUANTILES).clip(OUTER, 1 - OUTER)
    places = np.rint(levels * (len(numbers) - 1)).astype(int)
    quantiles = tuple(float(f"{value:.7g}") for value in numbers[places])
    if present.dtype != pl.Float64 or abs(quantiles[-1]) > 1e6:
        quantiles = tuple(float(f"{value:.10g}") for value in numbers[places])
    return (
        float(np.mean(numbers == 0)),
        float(np.mean(numbers == np.floor(numbers))),
        float(np.mean(numbers < 0)),
        quantiles,
    )


def _frequent(present: pl.Series, name: str) -> tuple[tuple[str, float], ...]:
    """Return the most frequent levels and their shares; none at all where a level may name a person."""
    from ecluse.apps.fraud.tables.names import is_personal

    counts = present.value_counts(sort=True, name="rows")
    if counts.height > MAX_LEVELS or is_personal(name):
        return ()
    levels = [(str(value), int(rows)) for value, rows in counts.rows()]
    if any(_PERSONAL.search(value) or len(value) > LONGEST_LEVEL for value, _ in levels):
        return ()
    kept = sorted((-rows, value) for value, rows in levels if rows >= MIN_ROWS_PER_LEVEL)[:MAX_TOP]
    return tuple((value, round(-rows / len(present), 6)) for rows, value in kept)
