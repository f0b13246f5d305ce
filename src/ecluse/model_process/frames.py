"""Write a table as plain JSON and bytes, and read it again, when who wrote it may be anyone.

Numbers of many rows are sent as they lie in memory; all else is JSON. What is read is checked: there is no type and no
length in it that is taken on trust.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from ecluse.errors import ModelRefused, ModelUnreadable
from ecluse.later import Later
from ecluse.sentences import _

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
else:
    np = Later("numpy")
    pl = Later("polars")

#: Rows of up to so many are JSON: to read that takes less than to make arrays.
FEW_ROWS: Final = 64
_UNITS: Final = ("ms", "us", "ns")


def to_wire(frame: pl.DataFrame) -> tuple[dict[str, Any], bytes]:
    """Return a table as JSON, and the bytes beside it.

    Raises:
        ModelRefused: a column holds values that cannot be sent.
    """
    columns, pieces, at = [], [], 0
    for series in frame.iter_columns():
        column: dict[str, Any] = {"name": series.name, "type": _described(series)}
        if series.dtype.is_numeric() and str(series.dtype) in _numbers() and _is_array(series):
            piece = series.to_numpy().tobytes()
            column["at"] = at
            at += len(piece)
            pieces.append(piece)
        else:
            column["values"] = _plain(series).to_list()
        columns.append(column)
    return {"rows": frame.height, "columns": columns}, b"".join(pieces)


def from_wire(table: Any, data: bytes) -> pl.DataFrame:
    """Return the table that `to_wire` wrote.

    Raises:
        ModelUnreadable: it is none.
    """
    try:
        rows = table["rows"]
        if type(rows) is not int or rows < 0:
            raise _no_table()
        frame = pl.DataFrame([_series(column, rows, data) for column in table["columns"]])
    except (KeyError, TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
        raise _no_table() from error
    if frame.height != rows:
        raise _no_table()
    return frame


def types_to_json(dtypes: Mapping[str, pl.DataType]) -> list[Any]:
    """Return the names and types of columns as JSON."""
    return [[series.name, _described(series)] for series in pl.DataFrame(schema=dtypes).iter_columns()]


def types_from_json(value: Any) -> dict[str, pl.DataType]:
    """Return what `types_to_json` wrote. Raises ModelUnreadable where it is something else."""
    try:
        return {str(name): _type(described) for name, described in value}
    except (KeyError, TypeError, ValueError) as error:
        raise _no_table() from error


def _is_array(series: pl.Series) -> bool:
    return len(series) > FEW_ROWS and not series.has_nulls()


@cache
def _numbers() -> Mapping[str, pl.DataType]:
    """Return the types of numbers that are sent as they lie in memory, by their names."""
    whole = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64)
    return {str(dtype): dtype() for dtype in (*whole, pl.Float32, pl.Float64)}


@cache
def _others() -> Mapping[str, pl.DataType]:
    """Return the other types that a name alone tells."""
    return {
        str(dtype): dtype() for dtype in (pl.Int128, pl.Boolean, pl.String, pl.Categorical, pl.Date, pl.Null)
    }


def _described(series: pl.Series) -> list[Any]:
    dtype = series.dtype
    if isinstance(dtype, pl.Datetime):
        return ["Datetime", dtype.time_unit, dtype.time_zone]
    if isinstance(dtype, pl.Enum):
        return ["Enum", dtype.categories.to_list()]
    if isinstance(dtype, pl.Decimal):
        return ["Decimal", dtype.precision, dtype.scale]
    name = str(dtype.base_type())
    if name not in _numbers() and name not in _others():
        raise ModelRefused(
            _(
                "The column %(column)s holds values of the type %(what)s, which cannot be sent. Publish a model that "
                "takes and answers numbers, texts, truth values and dates.",
                column=series.name,
                what=str(dtype),
            )
        )
    return [name]


def _plain(series: pl.Series) -> pl.Series:
    if series.dtype in (pl.Date, pl.Datetime):
        return series.to_physical()
    if series.dtype in (pl.Categorical, pl.Enum, pl.Decimal):
        return series.cast(pl.String)
    return series


def _type(described: Any) -> pl.DataType:
    name, *details = described
    if name == "Datetime" and details[0] in _UNITS and isinstance(details[1], str | None):
        return pl.Datetime(details[0], details[1])
    if name == "Enum":
        return pl.Enum([str(category) for category in details[0]])
    if name == "Decimal":
        return pl.Decimal(int(details[0]), int(details[1]))
    return _numbers()[name] if name in _numbers() else _others()[name]


def _series(column: Any, rows: int, data: bytes) -> pl.Series:
    name, dtype = str(column["name"]), _type(column["type"])
    if "at" in column:
        numbers = np.dtype(str(_numbers()[column["type"][0]]).lower())
        at = column["at"]
        if type(at) is not int or not 0 <= at <= len(data) - rows * numbers.itemsize:
            raise _no_table()
        return pl.Series(name, np.frombuffer(data, numbers, rows, at), dtype)
    if isinstance(dtype, pl.Date):
        return pl.Series(name, column["values"], pl.Int32).cast(dtype)
    if isinstance(dtype, pl.Datetime):
        return pl.Series(name, column["values"], pl.Int64).cast(dtype)
    if isinstance(dtype, pl.Categorical | pl.Enum | pl.Decimal):
        return pl.Series(name, column["values"], pl.String).cast(dtype)
    return pl.Series(name, column["values"], dtype)


def _no_table() -> ModelUnreadable:
    return ModelUnreadable(_("What the model answers cannot be read. Publish it again."))
