"""Ask a loaded version about rows, once they are what its example says."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import polars as pl

from ecluse.client.frames import Table, given_back, table_of
from ecluse.client.package import Loaded, answers_of
from ecluse.client.schema import checked
from ecluse.errors import InvalidInput
from ecluse.sentences import _


def answer(loaded: Loaded, rows: Any) -> pl.DataFrame:
    """Return what a version answers to rows, a row for each; see `Client.predict`.

    Raises:
        InvalidInput: a column is missing or of another type, or there are no rows.
        ModelRefused: the version answers nothing, or fails.
    """
    if loaded.schema is None:
        return answers_of(loaded.kind, loaded.model, rows)
    table = _as_example(_table(rows), loaded)
    for warning in checked(table, loaded.schema):
        warnings.warn(warning, stacklevel=3)
    return answers_of(loaded.kind, loaded.model, given_back(table))


def _table(rows: Any) -> Table:
    if isinstance(rows, list) and rows and all(isinstance(row, Mapping) for row in rows):
        return Table(pl.DataFrame(rows, infer_schema_length=None), "polars")
    return table_of(rows)


def _as_example(table: Table, loaded: Loaded) -> Table:
    """Return rows in the form of the example, with its columns in their order."""
    schema: Mapping[str, Any] = loaded.schema or {}
    names = [column["name"] for column in schema["columns"]]
    if table.form == "numpy" and table.rows.width != len(names):
        raise InvalidInput(
            _(
                "The rows have %(count)s columns; the model takes %(number)s.",
                count=table.rows.width,
                number=len(names),
            )
        )
    given = (
        table.rows.rename(dict(zip(table.rows.columns, names, strict=True)))
        if table.form == "numpy"
        else table.rows
    )
    present = [name for name in names if name in given.columns]
    return Table(given.select(present), schema["form"], loaded.form.get("details") or {})
