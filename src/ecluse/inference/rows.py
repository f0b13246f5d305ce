"""Read the rows of a request by the schema of a version. What is wrong is said with the field, the row and the way out.

A value of another type is refused. One that is missing where the example had none, is no category of the example, or
lies outside its range is answered, with a warning.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final

from ecluse.client.schema import differing
from ecluse.errors import InvalidInput
from ecluse.later import Later
from ecluse.sentences import _, num

if TYPE_CHECKING:
    import polars as pl
else:
    pl = Later("polars")

#: Rows of one request.
MOST_ROWS: Final = 10_000
#: Names that a message lists.
_LISTED: Final = 10


@dataclass(frozen=True)
class Read:
    """Rows as a version takes them, and what is unusual about them."""

    rows: pl.DataFrame
    warnings: tuple[str, ...]


def from_json(sent: Any, schema: Mapping[str, Any], dtypes: Mapping[str, pl.DataType]) -> Read:
    """Read a list of rows: objects by the names of the columns, or lists of values in their order.

    Raises:
        InvalidInput: they are no rows of this version.
    """
    if not isinstance(sent, list):
        raise InvalidInput(
            _('The request has no list of rows. Send {"rows": [{"COLUMN": VALUE}]}, an object for each row.')
        )
    expect_count(len(sent))
    names = [column["name"] for column in schema["columns"]]
    if all(type(row) is dict for row in sent):
        return _from_objects(sent, names, schema, dtypes)
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for number, row in enumerate(sent, 1):
        values = [row] if isinstance(row, str) else row
        if not isinstance(values, list) or len(values) != len(names):
            raise InvalidInput(
                _(
                    "Row %(number)s is not an object by the names of the columns, nor a list of %(count)s values in "
                    "their order: %(columns)s.",
                    number=number,
                    count=len(names),
                    columns=_listed(names),
                )
            )
        for name, value in zip(names, values, strict=True):
            columns[name].append(value)
    return from_columns(columns, schema, dtypes)


def _from_objects(
    sent: Sequence[dict[str, Any]],
    names: Sequence[str],
    schema: Mapping[str, Any],
    dtypes: Mapping[str, pl.DataType],
) -> Read:
    columns: dict[str, list[Any]] = {}
    optional = {column["name"] for column in schema["columns"] if column.get("optional")}
    for name in names:
        try:
            columns[name] = (
                [row.get(name) for row in sent] if name in optional else [row[name] for row in sent]
            )
        except KeyError:
            number = next(number for number, row in enumerate(sent, 1) if name not in row)
            raise InvalidInput(
                _(
                    "Row %(number)s lacks the column %(column)s. Send it, or null where it is missing. The columns: "
                    "%(columns)s.",
                    number=number,
                    column=name,
                    columns=_listed(names),
                )
            ) from None
    expected = set(names)
    others = dict.fromkeys(
        name
        for row in sent
        if len(row) > len(expected) - len(optional)
        for name in row
        if name not in expected
    )
    return from_columns(columns | {name: [] for name in others}, schema, dtypes)


def from_csv(content: bytes, schema: Mapping[str, Any], dtypes: Mapping[str, pl.DataType]) -> Read:
    """Read a table of text whose first line names the columns; nothing between two commas is missing.

    Raises:
        InvalidInput: it is no such table, or no rows of this version.
    """
    try:
        table = pl.read_csv(io.BytesIO(content), infer_schema=False)
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        raise InvalidInput(
            _(
                "The CSV cannot be read: %(reason)s. Send UTF-8 with commas, the names of the columns in its first "
                "line.",
                reason=str(error).partition("\n")[0][:200],
            )
        ) from error
    expect_count(table.height)
    columns = {name: table[name].to_list() for name in table.columns}
    for column in schema["columns"]:
        if column.get("optional"):
            columns.setdefault(column["name"], [None] * table.height)
    lacking = [column["name"] for column in schema["columns"] if column["name"] not in columns]
    if lacking:
        raise InvalidInput(
            _(
                "The table lacks the column(s) %(values)s. Its first line names: %(columns)s.",
                values=_listed(lacking),
                columns=_listed(list(columns)),
            )
        )
    for column in schema["columns"]:
        columns[column["name"]] = _from_texts(columns[column["name"]], column)
    return from_columns(columns, schema, dtypes)


def from_texts(
    rows: Sequence[Mapping[str, str | None]], schema: Mapping[str, Any], dtypes: Mapping[str, pl.DataType]
) -> Read:
    """Read rows that a person typed into a form: texts by the names of the columns, None where one is missing.

    Raises:
        InvalidInput: a value is of another type than its column.
    """
    columns = {
        column["name"]: _from_texts([row.get(column["name"]) for row in rows], column)
        for column in schema["columns"]
    }
    return from_columns(columns, schema, dtypes)


def from_columns(
    columns: Mapping[str, Sequence[Any]], schema: Mapping[str, Any], dtypes: Mapping[str, pl.DataType]
) -> Read:
    """Read rows that are given as a list of values for each column of the schema; others are warned of.

    Raises:
        InvalidInput: a value is of another type than its column.
    """
    series: list[pl.Series] = []
    warnings: list[str] = []
    for column in schema["columns"]:
        values = _checked(columns[column["name"]], column)
        series.append(_series(column, values, dtypes[column["name"]]))
        warnings += _warnings(column, values)
    expected = {column["name"] for column in schema["columns"]}
    if others := [name for name in columns if name not in expected]:
        warnings.append(
            _("Columns that the model does not take were not read: %(values)s.", values=_listed(others))
        )
    return Read(pl.DataFrame(series), tuple(warnings))


def expect_count(count: int) -> None:
    """Refuse a request without rows, or with more than one may have."""
    if count == 0:
        raise InvalidInput(_("The request has no rows. Send at least one."))
    if count > MOST_ROWS:
        raise InvalidInput(
            _(
                "The request has %(count)s rows; %(most)s are the most. Send them in several requests.",
                count=num(count, ","),
                most=num(MOST_ROWS, ","),
            )
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_LISTED]) + (", …" if len(names) > _LISTED else "")


# Values


#: What a value of each type may be in JSON, beside null.
_TYPES: Final[Mapping[str, frozenset[type]]] = {
    "integer": frozenset({int, float, type(None)}),
    "number": frozenset({int, float, type(None)}),
    "boolean": frozenset({bool, type(None)}),
    "text": frozenset({str, type(None)}),
    "date": frozenset({str, type(None)}),
    "datetime": frozenset({str, type(None)}),
    # Of an application that reads values itself: "12.5" and 12.5 are the same to it.
    "any": frozenset({str, int, float, bool, type(None)}),
}
#: Types whose arrays have no value that says "missing"; a column that is `nullable` is no such array.
_NEVER_MISSING: Final = frozenset({"integer", "boolean"})
_EXAMPLES: Final[Mapping[str, str]] = {
    "integer": "3",
    "number": "3.5",
    "boolean": "true",
    "text": '"a"',
    "date": '"2026-01-31"',
    "datetime": '"2026-01-31T08:00:00"',
    "any": '"a"',
}


def _checked(values: Sequence[Any], column: Mapping[str, Any]) -> Sequence[Any]:
    kind: str = column["type"]
    if not set(map(type, values)) <= _TYPES[kind]:
        row = next(row for row, value in enumerate(values, 1) if type(value) not in _TYPES[kind])
        raise _refused(row, column, values[row - 1])
    may_be_missing = column["missing"] or column.get("nullable")
    if kind in _NEVER_MISSING and not may_be_missing and None in values:
        raise InvalidInput(
            _(
                "Row %(number)s, column %(column)s: the value is missing. The example had none missing, and the model "
                "has no %(what)s for it. Send one such as %(example)s.",
                number=values.index(None) + 1,
                column=column["name"],
                what=kind,
                example=_EXAMPLES[kind],
            )
        )
    if kind == "integer":
        return [_whole(row, value, column) for row, value in enumerate(values, 1)]
    if kind == "number":
        return [None if value is None or value != value else value for value in values]
    if kind in ("date", "datetime"):
        read: Callable[[str], Any] = date.fromisoformat if kind == "date" else datetime.fromisoformat
        return [_moment(row, value, column, read) for row, value in enumerate(values, 1)]
    if kind == "any":
        return [value if value is None or isinstance(value, str) else _written(value) for value in values]
    return values


def _written(value: float | bool) -> str:
    """Write a value as a table of text would have it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _whole(row: int, value: Any, column: Mapping[str, Any]) -> int | None:
    if value is None:
        return None
    if isinstance(value, float) and not value.is_integer():
        raise _refused(row, column, value)
    return int(value)


def _moment(row: int, value: str | None, column: Mapping[str, Any], read: Callable[[str], Any]) -> Any:
    if value is None:
        return None
    try:
        moment = read(value)
    except ValueError:
        raise _refused(row, column, value) from None
    if getattr(moment, "tzinfo", None) is not None:
        raise _refused(row, column, value)
    return moment


def _series(column: Mapping[str, Any], values: Sequence[Any], dtype: pl.DataType) -> pl.Series:
    try:
        return pl.Series(column["name"], values, dtype=dtype, strict=True)
    except (TypeError, OverflowError, ValueError, pl.exceptions.PolarsError):
        for row, value in enumerate(values, 1):
            try:
                pl.Series("", [value], dtype=dtype, strict=True)
            except (TypeError, OverflowError, ValueError, pl.exceptions.PolarsError):
                raise _refused(row, column, value) from None
        raise


def _refused(row: int, column: Mapping[str, Any], value: Any) -> InvalidInput:
    shown = repr(value) if isinstance(value, str) else str(value)
    return InvalidInput(
        _(
            "Row %(number)s, column %(column)s: %(value)s is no %(what)s that the model takes. Send one such as "
            "%(example)s, or null where it is missing.",
            number=row,
            column=column["name"],
            value=shown[:80],
            what=column["type"],
            example=_EXAMPLES[column["type"]],
        )
    )


def _from_texts(texts: Sequence[str | None], column: Mapping[str, Any]) -> list[Any]:
    """Read the texts of a CSV as JSON would have them."""
    kind = column["type"]
    if kind not in ("integer", "number", "boolean"):
        return [text or None for text in texts]
    values: list[Any] = []
    for row, text in enumerate(texts, 1):
        if not text:
            values.append(None)
            continue
        try:
            values.append(_TRUTHS[text.strip().lower()] if kind == "boolean" else _number(text))
        except (ValueError, KeyError):
            raise _refused(row, column, text) from None
    return values


_TRUTHS: Final = {"true": True, "false": False, "1": True, "0": False}


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _warnings(column: Mapping[str, Any], values: Sequence[Any]) -> list[str]:
    """Say what is unusual about the values of a column, as `client.schema` says it of a table."""
    given: dict[str, Any] = {"missing": None in values}
    unseen: set[str] = set()
    if "categories" in column and column["type"] == "text":
        unseen = {value for value in values if value is not None} - set(column["categories"])
    if "minimum" in column:
        numbers = [value for value in values if value is not None and math.isfinite(value)]
        if numbers:
            given |= {"minimum": min(numbers), "maximum": max(numbers)}
    return differing(given, column, unseen)
