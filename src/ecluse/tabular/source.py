"""Describe the file that an open table scans: its format, its column names, its temporary copies.

What is the same for delimited text, workbooks and Parquet stands here; `dataset.open_table` chooses between them.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ecluse.errors import UnreadableTable
from ecluse.later import Later
from ecluse.sentences import _, num
from ecluse.tabular.layout import Layout

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
else:
    np = Later("numpy")
    pl = Later("polars")

#: As many as a sheet of a workbook has.
MAX_COLUMNS = 16_384
#: A file that unpacks to more than so many times its size is no table of a person.
MAX_RATIO = 300

Compression = Literal["gzip"] | None


@dataclass(frozen=True)
class TableFormat:
    """How the file is written. `separator`, `encoding` and `decimal_comma` concern CSV only."""

    kind: str
    separator: str = ","
    encoding: str = "utf-8"
    decimal_comma: bool = False
    compression: Compression = None


@dataclass(frozen=True)
class Source:
    """The UTF-8 CSV or Parquet file that Polars scans, and how."""

    path: Path
    format: TableFormat
    columns: tuple[str, ...]
    notes: tuple[str, ...]
    skip_rows: int = 0
    quote: str | None = '"'
    blank_rows: bool = False
    layout: Layout | None = None
    #: The file is delimited text; else it is Parquet, the table itself or a copy that we wrote of it.
    is_text: bool = False
    #: The file is Parquet that was made in the scratch folder when the table was opened.
    is_scratch: bool = False


@dataclass
class Scratch:
    """A temporary directory, made when the first file is asked for."""

    directory: Path | None = None

    def file(self, name: str) -> Path:
        if self.directory is None:
            self.directory = Path(tempfile.mkdtemp(prefix="ecluse-table-"))
        return self.directory / name

    def remove(self) -> None:
        if self.directory is not None and self.directory.exists():
            shutil.rmtree(self.directory)
        self.directory = None


def first_bytes(path: Path, count: int) -> bytes:
    """At most `count` bytes from the start of the file."""
    with path.open("rb") as file:
        return file.read(count)


def clean_names(header: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return unique, non-empty names in order, and a note for each that had to change."""
    used = {name.strip() for name in header}
    names: list[str] = []
    given: set[str] = set()
    notes: list[str] = []
    #: Where to look for the next number of a name, as 10,000 columns may have one.
    next_number: dict[str, int] = {}
    for position, written in enumerate(header, start=1):
        name = written.strip()
        if name and name not in given:
            names.append(name)
            given.add(name)
            continue
        stem, number = (name, next_number.get(name, 2)) if name else ("column", position)
        while f"{stem}_{number}" in used:
            number += 1
        next_number[name] = number + 1
        names.append(f"{stem}_{number}")
        used.add(names[-1])
        reason = _("repeats the name %(name)s", name=repr(name)) if name else _("has no name")
        notes.append(
            _(
                "Column %(position)s %(reason)s; it is called %(name)s here.",
                position=position,
                reason=reason,
                name=repr(names[-1]),
            )
        )
    return tuple(names), tuple(notes)


def refuse_width(columns: int, shown: str) -> None:
    """Raise UnreadableTable for more than `MAX_COLUMNS` columns."""
    if columns > MAX_COLUMNS:
        raise UnreadableTable(
            _(
                "%(file)s has %(columns)s columns; at most %(most)s can be read. Remove columns, or "
                "transpose it.",
                file=shown,
                columns=num(columns, ","),
                most=num(MAX_COLUMNS, ","),
            )
        )


def without_blank_rows(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the rows in which some value is present."""
    filled = np.zeros(frame.height, np.bool_)
    for column in frame.iter_columns():
        if filled.all():
            return frame
        filled |= column.is_not_null().to_numpy()
    return frame.filter(pl.Series(filled))


def no_such_row(shown: str, row: int) -> UnreadableTable:
    """Return the error to raise where a row of names was asked for that holds nothing."""
    return UnreadableTable(
        _(
            "Row %(number)s of %(file)s holds no names. Choose another row, or none (0).",
            number=num(row, ","),
            file=shown,
        )
    )


def damaged(shown: str, error: Exception) -> UnreadableTable:
    """Return the error to raise where a reader fails with `error`."""
    detail = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
    return UnreadableTable(
        _("%(file)s cannot be read to its end: %(error)s. Export it again.", file=shown, error=detail)
    )
