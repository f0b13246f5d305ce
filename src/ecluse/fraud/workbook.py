"""Open the first filled sheet of an Excel workbook, once the archive is known to unpack to a bearable size.

The sizes that an archive declares may lie and two far cells are enough to ask for a huge grid, so that every
member is inflated and counted before the reader of workbooks sees it.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

import fastexcel
import polars as pl

from ecluse.errors import UnreadableTable
from ecluse.fraud.source import Source, TableFormat, clean_names, damaged, refuse_width, without_blank_rows

MAX_XLSX_BYTES = 1 << 30
MAX_XLSX_RATIO = 200
MAX_XLSX_CELLS = 60_000_000
"""The reader of workbooks lays out a dense grid of about 24 bytes a cell before the first row comes back."""


def open_workbook(path: Path, shown: str, copy: Path, compression: Literal["gzip"] | None) -> Source:
    """Read the first sheet with data whole (the format allows nothing else) and keep it as Parquet in `copy`.

    Raises UnreadableTable when the archive is no workbook, damaged, encrypted, unpacks to more than 1 GiB, spans
    more than 60 million cells, or has no sheet with rows.
    """
    _refuse_zip_bomb(path, shown)
    try:
        found = _first_sheet(fastexcel.read_excel(path), shown)
    except fastexcel.FastExcelError as error:
        raise damaged(shown, error) from error
    if found is None:
        raise UnreadableTable(f"{shown} has no sheet with a header and rows. Fill one, or pick another file.")
    frame, notes = found
    frame.write_parquet(copy, compression="lz4")
    return Source(copy, TableFormat("xlsx", compression=compression), tuple(frame.columns), notes)


def _first_sheet(book: fastexcel.ExcelReader, shown: str) -> tuple[pl.DataFrame, tuple[str, ...]] | None:
    for skipped, sheet in enumerate(book.sheet_names):
        header = book.load_sheet(sheet, header_row=None, n_rows=1, dtypes="string")
        if header.width == 0 or header.total_height < 2:
            continue
        refuse_width(header.width, shown)
        names, notes = clean_names([name or "" for name in header.to_polars().row(0)])
        # The types are decided by all rows: from a sample, a later word in a column of numbers would vanish.
        rows = book.load_sheet(sheet, schema_sample_rows=None).to_polars()
        rows.columns = list(names)
        rows = without_blank_rows(rows)
        if rows.height:
            before = (f"Sheet {sheet!r} is read; the {skipped} before it hold no rows.",) if skipped else ()
            return rows, (*before, *notes)
    return None


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
