"""Read the rows that most requests send, values as the example had them, in a fraction of the time of `rows`.

What is unusual in any way (a value of another type, out of range, missing where none was) is left to `rows`, which
says what is wrong with it. A data frame is made once for all requests that are answered together: to make one takes
longer than to answer a row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ecluse.later import Later

if TYPE_CHECKING:
    import polars as pl
else:
    pl = Later("polars")


#: Rows of one request that are read so; of more, `rows` is as fast.
MOST: Final = 64
IsOrdinary = Callable[[Any], bool]
_HALVES: Final = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Values:
    """Rows as they were sent, a list of values for each, in the order of `dtypes`."""

    values: Sequence[Sequence[Any]]
    dtypes: Mapping[str, pl.DataType]
    warnings: tuple[str, ...] = ()

    @property
    def height(self) -> int:
        return len(self.values)


Rows: TypeAlias = "pl.DataFrame | Values"


def framed(parts: Sequence[Rows]) -> pl.DataFrame:
    """Return the rows of several requests to one version as one data frame."""
    first = parts[0]
    if len(parts) == 1 and isinstance(first, pl.DataFrame):
        return first
    if isinstance(first, Values) and all(isinstance(part, Values) for part in parts):
        rows = [row for part in parts if isinstance(part, Values) for row in part.values]
        return pl.DataFrame(rows, schema=first.dtypes, orient="row")
    return pl.concat([framed([part]) for part in parts])


class Reader:
    """Read rows of one version. It is made once, when the version is loaded."""

    def __init__(self, schema: Mapping[str, Any], dtypes: Mapping[str, pl.DataType]) -> None:
        columns = schema["columns"]
        self._dtypes = dtypes
        self._names = [column["name"] for column in columns]
        self._checks = [_check_of(column) for column in columns]
        self._width = len(columns)

    def read(self, sent: Any) -> Values | None:
        """Return ordinary rows, objects by the names of the columns or lists in their order; None of any other."""
        if type(sent) is not list or not 0 < len(sent) <= MOST:
            return None
        rows = []
        for row in sent:
            if type(row) is dict and len(row) == self._width:
                values = [row.get(name) for name in self._names]
            elif type(row) is list and len(row) == self._width:
                values = row
            elif type(row) is str and self._width == 1:
                values = [row]
            else:
                return None
            for value, is_ordinary in zip(values, self._checks, strict=True):
                if not is_ordinary(value):
                    return None
            rows.append(values)
        return Values(rows, self._dtypes)


def _check_of(column: Mapping[str, Any]) -> IsOrdinary:
    """Return what says whether a value is as those of the example were."""
    kind = column["type"]
    if column.get("optional"):
        return _never
    if kind in ("number", "integer") and "minimum" in column:
        return _is_within(column["minimum"], column["maximum"], {int, float} if kind == "number" else {int})
    if kind == "boolean":
        return lambda value: value is True or value is False
    if kind == "text" and "categories" in column:
        categories = frozenset(column["categories"])
        return lambda value: type(value) is str and value in categories
    return _is_text if kind == "text" else _never


def _is_text(value: Any) -> bool:
    """Return whether a value is a text that can be written: JSON may have halves of characters (`\\ud800`)."""
    return type(value) is str and (value.isascii() or not _HALVES.search(value))


def _is_within(least: float, most: float, types: set[type]) -> IsOrdinary:
    def is_within(value: Any) -> bool:
        return type(value) in types and least <= value <= most

    return is_within


def _never(value: Any) -> bool:
    return False
