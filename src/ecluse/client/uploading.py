"""Upload tables and read them back, as Polars frames."""

from __future__ import annotations

import os
import tempfile
import uuid
import warnings
from pathlib import Path
from typing import Any, Final

import polars as pl

from ecluse.client.backend import Backend
from ecluse.client.frames import table_of
from ecluse.client.progress import shown
from ecluse.errors import InvalidInput
from ecluse.sentences import _

#: What a table is called that came as a data frame without a name.
UNNAMED: Final = "table.parquet"


def upload(backend: Backend, rows: Any, name: str | None, owner: str | None = None) -> str:
    """Upload a file or a data frame; return the id of the table. See `Client.upload`."""
    with tempfile.TemporaryDirectory(prefix="ecluse-table-") as folder:
        if isinstance(rows, str | os.PathLike):
            file = Path(rows)
            if not file.is_file():
                raise InvalidInput(_("There is no file %(file)s.", file=file))
        else:
            file = Path(folder, UNNAMED)
            _write(rows, file)
        named = name or file.name
        with shown(f"Uploading {named}", file.stat().st_size) as progress:
            table, notes = backend.upload(file, named, uuid.uuid4().hex, progress, owner or "")
    for note in notes:
        warnings.warn(note, stacklevel=3)
    return table


def _write(rows: Any, file: Path) -> None:
    """Write a frame as Parquet.

    Raises:
        InvalidInput: it has no rows, or a column holds lists or objects.
    """
    frame = rows if isinstance(rows, pl.LazyFrame) else table_of(rows).rows.lazy()
    nested = [name for name, dtype in frame.collect_schema().items() if dtype.is_nested()]
    if nested:
        raise InvalidInput(
            _(
                "The column %(column)s holds lists or records, which a table does not keep. Turn it into plain "
                "columns.",
                column=nested[0],
            )
        )
    frame.sink_parquet(file, maintain_order=True)


def read_table(backend: Backend, table: str) -> pl.DataFrame:
    """Return a table as a data frame. See `Client.table`."""
    with tempfile.TemporaryDirectory(prefix="ecluse-table-") as folder:
        file = Path(folder, UNNAMED)
        with shown(f"Fetching {table}", None) as progress:
            backend.fetch_table(table, file, progress)
        return pl.read_parquet(file, memory_map=False, glob=False)
