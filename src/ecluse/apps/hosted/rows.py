"""Read the rows that a version of an application is asked about, as those of any other model are: by its example.

A value of another type is refused. What is unlike the example is answered, with a warning; so is what is missing,
since a function may say what it stands for. Where it then fails, the error begins with what was missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ecluse.apps.hosted.errors import AppFailed
from ecluse.catalog.tables import ModelVersion
from ecluse.inference import from_json
from ecluse.later import Later
from ecluse.sentences import _

if TYPE_CHECKING:
    import polars as pl
else:
    pl = Later("polars")

#: The types of Polars that the columns of requests are of; the process makes of them what the example has.
TYPES: Final[Mapping[str, str]] = {
    "integer": "Int64",
    "number": "Float64",
    "boolean": "Boolean",
    "text": "String",
    "date": "Date",
    "datetime": "Datetime",
}


@dataclass(frozen=True)
class Rows:
    """Rows as the process of an application takes them, and what is unusual about them."""

    values: list[dict[str, Any]]
    warnings: tuple[str, ...] = ()


def columns_of(row: ModelVersion | None) -> list[dict[str, Any]]:
    """Return the columns of the example of a version; none where it has no example. Any value may be missing."""
    columns = [] if row is None else row.report.get("columns", [])
    return [{**column, "nullable": True} for column in columns]


def types_of(columns: Sequence[Mapping[str, Any]]) -> dict[str, pl.DataType]:
    return {column["name"]: getattr(pl, TYPES[column["type"]])() for column in columns}


def read_rows(row: ModelVersion | None, sent: list[dict[str, Any]]) -> Rows:
    """Read rows of JSON for a version. Values of columns that are no plain ones (lists, records) are left as they are.

    Raises:
        InvalidInput: a column is missing, or a value is of another type.
    """
    columns = columns_of(row)
    if not columns:
        return Rows(sent)
    plain = [column for column in columns if column["type"] in TYPES]
    others = {column["name"] for column in columns} - {column["name"] for column in plain}
    kept = [{name: value for name, value in each.items() if name not in others} for each in sent]
    read = from_json(kept, {"columns": plain}, types_of(plain))
    beside = [{name: each[name] for name in others if name in each} for each in sent]
    values = [{**each, **more} for each, more in zip(as_json(read.rows), beside, strict=True)]
    return Rows(values, read.warnings)


def as_json(rows: pl.DataFrame) -> list[dict[str, Any]]:
    """Return rows as a message to the process of an application has them."""
    return rows.with_columns(pl.col(pl.Date, pl.Datetime).dt.to_string("iso:strict")).to_dicts()


def explained(
    error: AppFailed, columns: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]
) -> AppFailed:
    """Return the error of a function that was asked about rows; what they lack, and the example had, comes first."""
    missing = [
        column["name"]
        for column in columns
        if not column["missing"] and any(row.get(column["name"]) is None for row in rows)
    ]
    if not missing:
        return error
    return AppFailed(
        _(
            "A value is missing: %(columns)s. The example of the model has no missing values there. %(reason)s",
            columns=", ".join(missing),
            reason=str(error),
        )
    )
