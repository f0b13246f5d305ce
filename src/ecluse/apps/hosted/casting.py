"""Give the values of a column the type that the example of a model has, where none of them becomes another value.

A table's own types are wider than an example's: whole numbers that a file has as 3.0, numbers that it has as texts.
What would lose something (a fraction, a number beyond the type's, a truth value taken for a number) is refused.
"""

from __future__ import annotations

from typing import Any, Final

import polars as pl

from ecluse.errors import InvalidInput
from ecluse.sentences import _

#: How a text says a date with its time.
_MOMENTS: Final = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M")


def cast(series: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Return a column with its values as `dtype` has them.

    Raises:
        InvalidInput: a value is none of this type.
    """
    given = series.dtype
    if given in (dtype, pl.Null):
        return series.cast(dtype)
    if given == pl.Boolean and dtype.is_numeric():
        return _whole(series, series.cast(dtype), series.is_not_null(), dtype)
    made = _made(series, dtype)
    changed = made.is_null()
    if given.is_numeric() and (dtype.is_integer() or dtype == pl.Boolean):
        changed = changed | (made.cast(given, strict=False) != series).fill_null(value=False)
    if given == pl.Datetime and dtype == pl.Date:
        changed = changed | (made.cast(given) != series).fill_null(value=False)
    return _whole(series, made, changed, dtype)


def _made(series: pl.Series, dtype: pl.DataType) -> pl.Series:
    if series.dtype.is_float():
        series = series.fill_nan(None)
    if series.dtype == pl.String and dtype == pl.Boolean:
        texts = series.str.strip_chars().str.to_lowercase()
        truths = {"true": True, "1": True, "false": False, "0": False}
        return texts.replace_strict(truths, default=None, return_dtype=pl.Boolean)
    if series.dtype == pl.String and dtype == pl.Date:
        return series.str.to_date("%Y-%m-%d", strict=False)
    if series.dtype == pl.String and dtype == pl.Datetime:
        texts = series.str.replace(" ", "T", literal=True)
        seconds, minutes = (texts.str.to_datetime(form, strict=False) for form in _MOMENTS)
        return seconds.fill_null(minutes).cast(dtype, strict=False)
    return series.cast(dtype, strict=False)


def _whole(series: pl.Series, made: pl.Series, changed: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Return what was made of the values, where none changed. One that was missing is missing still."""
    there = series.is_not_null()
    if series.dtype.is_float():
        there = there & series.is_not_nan()
    if series.dtype == pl.String:
        there = there & (series != "").fill_null(value=False)
    wrong = changed & there
    if wrong.any():
        raise _refused(series, wrong, dtype)
    return made


def _refused(series: pl.Series, wrong: pl.Series, dtype: pl.DataType) -> InvalidInput:
    row = wrong.arg_max() or 0
    value: Any = series[row]
    return InvalidInput(
        _(
            "Row %(number)s, column %(column)s: %(value)s is no %(what)s, which the example of the model has there.",
            number=row + 1,
            column=series.name,
            value=(repr(value) if isinstance(value, str) else str(value))[:80],
            what=_name_of(dtype),
        )
    )


def _name_of(dtype: pl.DataType) -> str:
    """Name a type as the schema of a model does."""
    from ecluse.client.schema import type_of

    kind = type_of(dtype)
    return str(dtype) if kind == "other" else kind
