"""Open a sheet of an Excel workbook, once the archive is known to unpack to a bearable size.

The sizes that an archive declares may lie and two far cells are enough to ask for a huge grid, so that every
member is inflated and counted before the reader of workbooks sees it.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Literal

import fastexcel
import polars as pl

from ecluse.errors import UnreadableTable
from ecluse.fraud.layout import Layout, Sheet, find_header, found, largest_sheet, names_of
from ecluse.fraud.source import (
    Source,
    TableFormat,
    clean_names,
    damaged,
    no_such_row,
    refuse_width,
    without_blank_rows,
)

#: Rows from the top of a sheet in which its names are looked for.
_LOOKED_AT = 200
MAX_XLSX_BYTES = 1 << 30
MAX_XLSX_RATIO = 200
MAX_XLSX_CELLS = 60_000_000
"""The reader of workbooks lays out a dense grid of about 24 bytes a cell before the first row comes back."""


def open_workbook(
    path: Path, shown: str, copy: Path, compression: Literal["gzip"] | None, layout: Layout
) -> Source:
    """Read one sheet whole (the format allows nothing else) and keep it as Parquet in `copy`.

    Raises UnreadableTable when the archive is no workbook, damaged, encrypted, unpacks to more than 1 GiB, spans
    more than 60 million cells, or has no sheet with rows.
    """
    _refuse_zip_bomb(path, shown)
    try:
        book = fastexcel.read_excel(path)
        layout = _with_sheet(book, layout, shown)
        frame, layout, notes = _read_sheet(book, layout, shown)
    except fastexcel.FastExcelError as error:
        raise damaged(shown, error) from error
    frame.write_parquet(copy, compression="lz4")
    return Source(
        copy, TableFormat("xlsx", compression=compression), tuple(frame.columns), notes, layout=layout
    )


def _with_sheet(book: fastexcel.ExcelReader, layout: Layout, shown: str) -> Layout:
    """The layout with the sheet to read: the one that is named, else the largest."""
    sheets = tuple(_spanned(book, name) for name in book.sheet_names)
    chosen, sure = largest_sheet(sheets)
    if layout.first:
        chosen = next((sheet for sheet in sheets if sheet.columns and sheet.rows > 1), None)
    if layout.sheet is not None:
        chosen, sure = next((sheet for sheet in sheets if sheet.name == layout.sheet), None), True
        if chosen is None:
            names = ", ".join(repr(sheet.name) for sheet in sheets[:10])
            raise UnreadableTable(f"{shown} has no sheet {layout.sheet!r}. Its sheets: {names}.")
    if chosen is None or chosen.rows < 1:
        raise _no_rows(shown)
    return replace(layout, sheet=chosen.name, sheets=sheets, doubts=() if sure else ("sheet",))


def _spanned(book: fastexcel.ExcelReader, name: str) -> Sheet:
    looked_at = book.load_sheet(name, header_row=None, n_rows=1, dtypes="string")
    return Sheet(name, looked_at.total_height if looked_at.width else 0, looked_at.width)


def _read_sheet(
    book: fastexcel.ExcelReader, layout: Layout, shown: str
) -> tuple[pl.DataFrame, Layout, tuple[str, ...]]:
    """The rows of a sheet below its names, in native types."""
    sheet = layout.sheet or ""
    # With `skip_rows`, blank rows at the top count: row numbers are those that the spreadsheet shows.
    top = book.load_sheet(sheet, header_row=None, skip_rows=0, n_rows=_LOOKED_AT, dtypes="string").to_polars()
    refuse_width(top.width, shown)
    rows = top.rows()
    if sum(any(cell is not None for cell in row) for row in rows) < (1 if layout.header_row == 0 else 2):
        raise _no_rows(shown)
    header = find_header(rows, layout)
    if header is None:
        raise no_such_row(shown, layout.header_row or 0)
    names, notes = clean_names(names_of(rows, header))
    # The types are decided by all rows: from a sample, a later word in a column of numbers would vanish.
    frame = book.load_sheet(
        sheet, header_row=None, skip_rows=header.start, column_names=list(names), schema_sample_rows=None
    ).to_polars()
    frame.columns = list(names)
    frame = without_blank_rows(frame)
    if not frame.height:
        raise _no_rows(shown)
    return frame, found(layout, header, rows), notes


def _no_rows(shown: str) -> UnreadableTable:
    return UnreadableTable(f"{shown} has no sheet with a header and rows. Fill one, or pick another file.")


def _refuse_zip_bomb(path: Path, shown: str) -> None:
    """Inflate every member once, counting: the sizes that an archive declares may lie."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError) as error:
        raise UnreadableTable(f"{shown} is a damaged workbook: {error}. Save it again.") from error
    if not any(member.filename == "xl/workbook.xml" for member in members):
        raise UnreadableTable(
            f"{shown} is a ZIP archive, not an Excel workbook. Unpack it and pick one table."
        )
    if sum(member.file_size for member in members) > MAX_XLSX_BYTES:
        raise _too_large(shown)
    total = 0
    with path.open("rb") as file:
        for member in members:
            total += _inflated_size(file, member, shown, MAX_XLSX_BYTES - total)


def _inflated_size(file: BinaryIO, member: zipfile.ZipInfo, shown: str, allowed: int) -> int:
    grid = _Grid() if member.filename.startswith("xl/worksheets/") else None
    size = 0
    for piece in _inflated(file, member, shown):
        size += len(piece)
        if size > allowed:
            raise _too_large(shown)
        if size > 50 << 20 and size > MAX_XLSX_RATIO * max(member.compress_size, 1):
            raise UnreadableTable(
                f"{shown} unpacks to more than {MAX_XLSX_RATIO} times its size, as no real workbook does. "
                "Save the table as CSV."
            )
        if grid is not None:
            grid.feed(piece)
            _refuse_grid(grid, shown)
    return size


def _inflated(file: BinaryIO, member: zipfile.ZipInfo, shown: str) -> Iterator[bytes]:
    file.seek(member.header_offset)
    local = file.read(30)
    file.seek(int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little"), io.SEEK_CUR)
    left = member.compress_size
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or member.flag_bits & 1:
        raise UnreadableTable(f"{shown} is encrypted or packed in an unusual way. Save it again without.")
    engine = zlib.decompressobj(-15) if member.compress_type == zipfile.ZIP_DEFLATED else None
    try:
        while left > 0 and (packed := file.read(min(left, 1 << 16))):
            left -= len(packed)
            if engine is None:
                yield packed
                continue
            # At most 1,032 times 64 KiB come out at once.
            yield engine.decompress(packed)
    except zlib.error as error:
        raise UnreadableTable(f"{shown} is a damaged workbook: {error}. Save it again.") from error


def _too_large(shown: str) -> UnreadableTable:
    return UnreadableTable(f"{shown} unpacks to more than 1 GiB. Save the table as CSV or Parquet.")


@dataclass
class _Grid:
    """The last row and column that a sheet names; two far cells are enough to ask for the whole grid."""

    rows: int = 0
    columns: int = 0
    tail: bytes = b""
    seen: set[bytes] = field(default_factory=set)

    def feed(self, piece: bytes) -> None:
        text = self.tail + piece
        self.tail = text[-64:]
        self.seen.update(re.findall(rb'<(?:\w+:)?c [^<>]{0,40}?\br="([A-Z]{1,3})\d', text))
        self.columns = max((_column_number(letters) for letters in self.seen), default=0)
        rows = re.findall(rb'<(?:\w+:)?(?:row|c) [^<>]{0,40}?\br="[A-Z]{0,3}(\d{5,7})"', text)
        self.rows = max(self.rows, max(map(int, rows), default=0))


def _column_number(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + letter - 64
    return number


def _refuse_grid(grid: _Grid, shown: str) -> None:
    if grid.rows * grid.columns > MAX_XLSX_CELLS:
        raise UnreadableTable(
            f"{shown} spans {grid.rows:,} rows by {grid.columns:,} columns, more than {MAX_XLSX_CELLS:,} cells. "
            "Delete stray far cells, or save the table as CSV."
        )
