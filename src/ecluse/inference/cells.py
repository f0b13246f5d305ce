"""Say the values of a column of a table as the rows of a request would have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from ecluse.later import Later

if TYPE_CHECKING:
    import polars as pl
else:
    pl = Later("polars")


#: Types of a schema whose values a text may say.
_SAID_BY_TEXT: Final = frozenset({"integer", "number", "boolean"})


def as_sent(series: pl.Series, column: Mapping[str, Any]) -> list[Any]:
    """Return the values as JSON has them; where a file had texts for numbers, the numbers that they say.

    What a value cannot be said to be stays as it is, and is refused by who reads it.
    """
    kind, dtype = column["type"], series.dtype
    if dtype in (pl.Categorical, pl.Enum):
        series = series.cast(pl.String)
    elif dtype.is_decimal():
        series = series.cast(pl.Float64)
    elif dtype.is_float():
        series = series.fill_nan(None)
    elif dtype == pl.Date:
        series = series.dt.to_string("iso")
    elif dtype == pl.Datetime:
        series = series.dt.to_string("iso:strict")
    values = series.to_list()
    if series.dtype == pl.String and kind in _SAID_BY_TEXT:
        return [_said(value, kind) for value in values]
    if kind == "boolean" and series.dtype.is_integer():
        return [bool(value) if value in (0, 1) else value for value in values]
    if kind == "text" and (series.dtype.is_numeric() or series.dtype == pl.Boolean):
        return [None if value is None else _written(value) for value in values]
    return values


def _said(text: str | None, kind: str) -> Any:
    if not text:
        return None
    if kind == "boolean":
        return {"true": True, "1": True, "false": False, "0": False}.get(text.strip().lower(), text)
    try:
        return int(text)
    except ValueError:
        pass  # it may say a number with a fraction
    try:
        return float(text)
    except ValueError:
        return text  # no number: who reads the rows refuses it, with its place


def _written(value: float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
