"""Ask a version about rows: the server that has it, or the version loaded here once the rows are checked."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, Final

import polars as pl

from ecluse.client.backend import Backend, Version
from ecluse.client.frames import Table, given_back, table_of
from ecluse.client.package import Loaded, answers_of
from ecluse.client.schema import checked
from ecluse.errors import InvalidInput
from ecluse.sentences import _

#: The rows, and about the bytes, of one request.
_MOST_ROWS: Final = 10_000
_MOST_BYTES: Final = 800_000


def answered_elsewhere(backend: Backend, version: Version, rows: Any) -> pl.DataFrame | None:
    """Return what a server answers to rows; None where they are to be answered here."""
    if not backend.is_remote:
        return None
    frames: list[pl.DataFrame] = []
    seen: dict[str, None] = {}
    for part in _requests(_as_json(_table(rows))):
        body = backend.answers(version, part)
        if body is None:
            return None
        frames.append(pl.DataFrame(body["answers"], infer_schema_length=None))
        seen |= dict.fromkeys(body["warnings"])
    for warning in seen:
        warnings.warn(warning, stacklevel=4)
    return pl.concat(frames, how="diagonal_relaxed")


def _as_json(table: Table) -> list[Any]:
    """Return rows as JSON has them: a list of values each where the columns have no names of their own."""
    frame = table.rows.with_columns(
        pl.col(pl.Float32, pl.Float64).fill_nan(None),
        pl.col(pl.Date).dt.to_string("iso"),
        pl.col(pl.Datetime).dt.to_string("iso:strict"),
    )
    return [list(row) for row in frame.rows()] if table.form in ("numpy", "texts") else frame.to_dicts()


def _requests(rows: list[Any]) -> Iterator[list[Any]]:
    """Split rows so that each part is small enough for one request."""
    part: list[Any] = []
    size = 0
    for row in rows:
        length = len(json.dumps(row)) + 2
        if part and (len(part) >= _MOST_ROWS or size + length > _MOST_BYTES):
            yield part
            part, size = [], 0
        part.append(row)
        size += length
    yield part


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
