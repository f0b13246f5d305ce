"""Say what rows a model takes, from an example of them, and compare others with it.

A column has a name and a type (integer, number, boolean, text, date, datetime, other). That a value may be missing, the
texts that were seen and the range of numbers are what the example had: other rows that differ in these are answered,
with a warning.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Final

from ecluse.client.frames import Table
from ecluse.errors import InvalidInput
from ecluse.later import Later
from ecluse.sentences import _, num

if TYPE_CHECKING:
    import polars as pl
else:
    pl = Later("polars")

#: A column of texts with at most so many is one of categories, and they are listed.
MOST_CATEGORIES: Final = 50
#: The columns of one schema.
MOST_COLUMNS: Final = 10_000


def schema_of(table: Table) -> dict[str, Any]:
    """Return what an example says of the rows that a model takes, as plain JSON.

    Raises:
        InvalidInput: it has more columns than a schema lists.
    """
    if table.rows.width > MOST_COLUMNS:
        raise InvalidInput(
            _(
                "The example has %(count)s columns; a schema lists at most %(most)s. Leave the example out.",
                count=table.rows.width,
                most=num(MOST_COLUMNS, ","),
            )
        )
    return {
        "form": table.form,
        "rows_seen": table.rows.height,
        "columns": [_column(series) for series in table.rows.iter_columns()],
    }


def _column(series: pl.Series) -> dict[str, Any]:
    kind = type_of(series.dtype)
    column: dict[str, Any] = {"name": series.name, "type": kind, "missing": _has_missing(series)}
    if kind == "text":
        texts = series.drop_nulls().cast(pl.String).unique().sort()
        if len(texts) <= MOST_CATEGORIES:
            column["categories"] = texts.to_list()
    if kind in ("integer", "number"):
        finite = series.drop_nulls().cast(pl.Float64)
        finite = finite.filter(finite.is_finite())
        if len(finite):
            column |= {"minimum": finite.min(), "maximum": finite.max()}
    return column


def type_of(dtype: pl.DataType) -> str:
    """Return the type of a column in a schema, by that of its values."""
    if dtype.is_integer():
        return "integer"
    if dtype.is_numeric():
        return "number"
    if dtype == pl.Boolean:
        return "boolean"
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        return "text"
    return "date" if dtype == pl.Date else "datetime" if dtype == pl.Datetime else "other"


def _has_missing(series: pl.Series) -> bool:
    return bool(series.null_count()) or (series.dtype.is_float() and bool(series.is_nan().any()))


def checked(rows: Table, schema: Mapping[str, Any]) -> list[str]:
    """Compare rows with a schema; what differs without making them of no use is returned, one warning each.

    Raises:
        InvalidInput: a column is missing, or of another type.
    """
    described = {column["name"]: column for column in schema["columns"]}
    missing = [name for name in described if name not in rows.rows.columns]
    if missing:
        raise InvalidInput(
            _("The model needs the columns %(values)s, which are missing.", values=", ".join(missing))
        )
    warnings: list[str] = []
    for name, column in described.items():
        warnings += _differences(_column(rows.rows[name]), column, rows.rows[name])
    return warnings


def _differences(given: Mapping[str, Any], column: Mapping[str, Any], series: pl.Series) -> list[str]:
    kind, name = column["type"], column["name"]
    fits = given["type"] == kind or (kind == "number" and given["type"] == "integer")
    if not fits and series.null_count() < len(series):
        raise InvalidInput(
            _(
                "The column %(column)s holds values of the type %(value)s; the model was made for %(what)s.",
                column=name,
                value=given["type"],
                what=kind,
            )
        )
    unseen: set[str] = set()
    if kind == "text" and "categories" in column:
        unseen = set(series.drop_nulls().cast(pl.String).unique()) - set(column["categories"])
    return differing(given, column, unseen)


def differing(given: Mapping[str, Any], column: Mapping[str, Any], unseen: Collection[str]) -> list[str]:
    """Say where values of the right type are unlike those of the example: missing, `unseen` texts, out of range."""
    warnings: list[str] = []
    name = column["name"]
    if given["missing"] and not column["missing"]:
        warnings.append(_("The column %(column)s has missing values; the example had none.", column=name))
    if unseen:
        warnings.append(
            _(
                "The column %(column)s has values that the example did not have: %(values)s.",
                column=name,
                values=", ".join(sorted(unseen)[:5]),
            )
        )
    if _is_beyond(given, column) and given["minimum"] == given["maximum"]:
        warnings.append(
            _(
                "The column %(column)s has %(value)s; the example went from %(least)s to %(most)s.",
                column=name,
                value=given["minimum"],
                least=column["minimum"],
                most=column["maximum"],
            )
        )
    elif _is_beyond(given, column):
        warnings.append(
            _(
                "The column %(column)s goes from %(first)s to %(last)s; the example went from %(least)s to %(most)s.",
                column=name,
                first=given["minimum"],
                last=given["maximum"],
                least=column["minimum"],
                most=column["maximum"],
            )
        )
    return warnings


def _is_beyond(given: Mapping[str, Any], column: Mapping[str, Any]) -> bool:
    if "minimum" not in column or "minimum" not in given:
        return False
    return bool(given["minimum"] < column["minimum"] or given["maximum"] > column["maximum"])
