"""Open a CSV, gzipped CSV, Excel or Parquet file as a table, and read it in bounded memory.

    with open_table(path) as table:
        for batch in table.batches(): ...

The format, separator and encoding are read from the content, not from the name. Text arrives as text: a CSV
column is never typed here (see `columns`). A file that would be read wrongly is refused with the line to mend.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal, Self

import charset_normalizer
import fastexcel
import numpy as np
import polars as pl

from ecluse.errors import UnreadableTable

MAX_COLUMNS = 10_000
MAX_XLSX_BYTES = 1 << 30
MAX_XLSX_RATIO = 200
MAX_XLSX_CELLS = 60_000_000
"""The reader of workbooks lays out a dense grid of about 24 bytes a cell before the first row comes back."""
MAX_GZIP_BYTES = 4 << 30
MAX_GZIP_RATIO = 300
MAX_LINE_BYTES = 64 << 20

_HEAD_BYTES = 4 << 20
_CHECKED_AT_OPEN = 1 << 20
_CHUNK = 4 << 20
_SEPARATORS = (",", ";", "\t", "|")


@dataclass(frozen=True)
class TableFormat:
    """How the file is written. `separator`, `encoding` and `decimal_comma` concern CSV only."""

    kind: Literal["csv", "parquet", "xlsx"]
    separator: str = ","
    encoding: str = "utf-8"
    decimal_comma: bool = False
    compression: Literal["gzip"] | None = None


@dataclass(frozen=True)
class _Source:
    """The UTF-8 CSV or Parquet file that Polars scans, and how."""

    path: Path
    format: TableFormat
    columns: tuple[str, ...]
    notes: tuple[str, ...]
    skip_rows: int = 0
    quote: str | None = '"'
    blank_rows: bool = False


class Table:
    """An open table. `close`, or leaving `with`, removes what had to be unpacked or transcoded."""

    def __init__(self, path: Path, filename: str, source: _Source, scratch: _Scratch) -> None:
        self.path = path
        self.filename = filename
        self.size = path.stat().st_size
        self._source = source
        self._scratch = scratch
        self._rows: int | None = None

    @property
    def format(self) -> TableFormat:
        return self._source.format

    @property
    def columns(self) -> tuple[str, ...]:
        return self._source.columns

    @property
    def notes(self) -> tuple[str, ...]:
        """What was renamed, left out or guessed, each in one sentence."""
        return self._source.notes

    def scan(self) -> pl.LazyFrame:
        """All rows, lazily, in file order. CSV: every column String. Excel and Parquet: native types.

        Blank lines, and lines of separators only, are left out of tables of several columns.
        """
        if self.format.kind != "csv":
            frame = pl.scan_parquet(self._source.path, glob=False).select(self.columns)
        else:
            frame = pl.scan_csv(
                self._source.path,
                has_header=False,
                skip_rows=self._source.skip_rows,
                separator=self.format.separator,
                quote_char=self._source.quote,
                schema=dict.fromkeys(self.columns, pl.String),
                glob=False,
            )
        if not self._source.blank_rows:
            return frame
        # As a predicate this would be pushed into the scan, which takes gigabytes at thousands of columns;
        # and it needs every column, so that neither a projection nor a slice may come before it.
        return frame.map_batches(
            _without_blank_rows, projection_pushdown=False, slice_pushdown=False, streamable=True
        )

    def head(self, rows: int = 20) -> pl.DataFrame:
        """The first rows, without reading the rest."""
        return _collected(self.scan().head(rows), self.filename)

    def sample(self, rows: int = 20_000) -> pl.DataFrame:
        """At most `rows` rows spread evenly over the file, the first one included; the same on each call.

        Reads the file once: many tables are sorted by their label, so that the head shows one class only.
        """
        total = self.row_count()
        step = max(1, -(-total // rows))
        return _collected(self.scan().gather_every(step), self.filename)

    def batches(self, rows: int = 50_000) -> Iterator[pl.DataFrame]:
        """Consecutive frames of at most `rows` rows, in file order. Raises UnreadableTable before the first
        frame when any line is malformed: a table is scored whole or not at all."""
        self.validate()
        frames = self.scan().collect_batches(
            chunk_size=rows, maintain_order=True, engine="streaming", lazy=True
        )
        try:
            for frame in frames:
                if frame.height:
                    yield from frame.iter_slices(rows)
        except pl.exceptions.PolarsError as error:
            raise _damaged(self.filename, error) from error

    def row_count(self) -> int:
        """Rows as `scan` gives them. Validates the file on the first call."""
        return self.validate()

    def validate(self) -> int:
        """Read the whole file once and return its number of rows.

        Raises UnreadableTable with the line: another number of values than the header, an unclosed quote, a
        NUL byte. Later calls return the number found.
        """
        if self._rows is None:
            if self.format.kind == "csv":
                _check_lines(self._source, self.filename)
            counted = _collected(self.scan().select(pl.len()), self.filename)
            self._rows = int(counted.item())
            if self._rows == 0:
                raise UnreadableTable(
                    f"{self.filename} has a header and no rows. Add rows, or pick another file."
                )
        return self._rows

    def close(self) -> None:
        self._scratch.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_table(path: Path, filename: str | None = None) -> Table:
    """Open a local file; `filename` is the name to show where `path` is a temporary one.

    Raises UnreadableTable when the file is empty, damaged, no table, has more than 10,000 columns, or
    unpacks to more than the limits above allow; nothing is left behind then.
    """
    shown = filename or path.name
    scratch = _Scratch()
    try:
        return Table(path, shown, _open(path, shown, scratch), scratch)
    except BaseException:
        scratch.remove()
        raise


def _open(path: Path, shown: str, scratch: _Scratch) -> _Source:
    if path.stat().st_size == 0:
        raise UnreadableTable(f"{shown} is empty (0 bytes). Pick a file with a header and rows.")
    if _first_bytes(path, 2) == b"\x1f\x8b":
        unpacked = _gunzip(path, shown, scratch.file("unpacked"))
        if unpacked.stat().st_size == 0:
            raise UnreadableTable(f"{shown} is empty once unpacked. Pick a file with a header and rows.")
        return _open_plain(unpacked, shown, scratch, "gzip")
    return _open_plain(path, shown, scratch, None)


def _open_plain(path: Path, shown: str, scratch: _Scratch, compression: Literal["gzip"] | None) -> _Source:
    magic = _first_bytes(path, 8)
    if magic[:4] == b"PAR1":
        return _open_parquet(path, shown, compression)
    if magic[:4] == b"PK\x03\x04":
        return _open_xlsx(path, shown, scratch.file("workbook.parquet"), compression)
    for prefix, what in _FOREIGN.items():
        if magic.startswith(prefix):
            raise UnreadableTable(f"{shown} is {what}. Save the table as CSV, XLSX or Parquet.")
    return _open_csv(path, shown, scratch, compression)


_FOREIGN = {
    b"\xd0\xcf\x11\xe0": "an Excel 97-2003 workbook (.xls), or a protected one",
    b"%PDF": "a PDF document",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"Rar!": "a RAR archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"(\xb5/\xfd": "a Zstandard archive",
    b"ARROW1": "an Arrow file",
    b"SQLite f": "an SQLite database",
    b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image",
    b"\x1f\x8b": "a gzip file inside a gzip file",
    b"<!DOCTYP": "an HTML page",
    b"<!docty": "an HTML page",
    b"<html": "an HTML page",
    b"<?xml": "an XML document",
    b'{"': "a JSON document",
}


@dataclass
class _Scratch:
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


# Parquet


def _open_parquet(path: Path, shown: str, compression: Literal["gzip"] | None) -> _Source:
    try:
        schema = pl.scan_parquet(path, glob=False).collect_schema()
        rows = pl.scan_parquet(path, glob=False).select(pl.len()).collect().item()
    except pl.exceptions.PolarsError as error:
        raise _damaged(shown, error) from error
    except OSError as error:
        raise UnreadableTable(f"{shown} is no complete Parquet file: {error}. Export it again.") from error
    _refuse_width(len(schema), shown)
    if rows == 0:
        raise UnreadableTable(f"{shown} has a header and no rows. Add rows, or pick another file.")
    flat = tuple(name for name, dtype in schema.items() if not dtype.is_nested())
    notes = tuple(
        f"Column {name!r} holds lists or records and is left out." for name in schema if name not in flat
    )
    if not flat:
        raise UnreadableTable(f"{shown} has no plain column, only lists or records. Flatten it first.")
    return _Source(path, TableFormat("parquet", compression=compression), flat, notes)


def _damaged(shown: str, error: Exception) -> UnreadableTable:
    detail = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
    return UnreadableTable(f"{shown} cannot be read to its end: {detail}. Export it again.")


def _collected(frame: pl.LazyFrame, shown: str) -> pl.DataFrame:
    try:
        return frame.collect(engine="streaming")
    except pl.exceptions.PolarsError as error:
        raise _damaged(shown, error) from error


# Excel


def _open_xlsx(path: Path, shown: str, copy: Path, compression: Literal["gzip"] | None) -> _Source:
    """Read the first sheet with data whole (the format allows nothing else) and keep it as Parquet."""
    _refuse_zip_bomb(path, shown)
    try:
        found = _first_sheet(fastexcel.read_excel(path), shown)
    except fastexcel.FastExcelError as error:
        raise _damaged(shown, error) from error
    if found is None:
        raise UnreadableTable(f"{shown} has no sheet with a header and rows. Fill one, or pick another file.")
    frame, notes = found
    frame.write_parquet(copy, compression="lz4")
    return _Source(copy, TableFormat("xlsx", compression=compression), tuple(frame.columns), notes)


def _first_sheet(book: fastexcel.ExcelReader, shown: str) -> tuple[pl.DataFrame, tuple[str, ...]] | None:
    for skipped, sheet in enumerate(book.sheet_names):
        header = book.load_sheet(sheet, header_row=None, n_rows=1, dtypes="string")
        if header.width == 0 or header.total_height < 2:
            continue
        _refuse_width(header.width, shown)
        names, notes = _clean_names([name or "" for name in header.to_polars().row(0)])
        # The types are decided by all rows: from a sample, a later word in a column of numbers would vanish.
        rows = book.load_sheet(sheet, schema_sample_rows=None).to_polars()
        rows.columns = list(names)
        rows = _without_blank_rows(rows)
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


# CSV


def _open_csv(path: Path, shown: str, scratch: _Scratch, compression: Literal["gzip"] | None) -> _Source:
    path, encoding, notes = _as_utf8(path, shown, scratch)
    head = _first_bytes(path, _HEAD_BYTES).removeprefix(codecs.BOM_UTF8)
    text = head.decode("utf-8", errors="ignore")
    if not text.strip():
        raise UnreadableTable(f"{shown} holds no text but blanks. Pick a file with a header and rows.")
    declared = re.match(r"\s*sep=(.)\r?\n", text)
    body = text[declared.end() :] if declared else text
    separator = declared[1] if declared else _sniff_separator(body)
    quote, quote_notes = _sniff_quote(body, separator)
    header, skip_rows = _read_header(body, separator, quote, shown)
    _refuse_width(len(header), shown)
    names, name_notes = _clean_names(header)
    decimal_comma = _uses_decimal_comma(body, separator, quote)
    source = _Source(
        path,
        TableFormat("csv", separator, encoding, decimal_comma, compression),
        names,
        (*notes, *quote_notes, *name_notes, *_headerless_note(header)),
        skip_rows + bool(declared),
        quote,
        len(names) > 1 and _has_blank_rows(path, separator),
    )
    _check_lines(source, shown, stop=_CHECKED_AT_OPEN)
    return source


def _has_blank_rows(path: Path, separator: str) -> bool:
    """Whether some line holds nothing but separators; inside quotes too, which only costs time later."""
    filler = re.escape(separator.encode())
    blank = re.compile(rb"\n[\r%s]*\n" % filler)
    tail = b""
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            text = tail + piece
            if blank.search(text):
                return True
            tail = text[text.rfind(b"\n") :] if b"\n" in text else b""
    return re.fullmatch(rb"\n[\r%s]+" % filler, tail) is not None


def _without_blank_rows(frame: pl.DataFrame) -> pl.DataFrame:
    filled = np.zeros(frame.height, np.bool_)
    for column in frame.iter_columns():
        if filled.all():
            return frame
        filled |= column.is_not_null().to_numpy()
    return frame.filter(pl.Series(filled))


def _refuse_width(columns: int, shown: str) -> None:
    if columns > MAX_COLUMNS:
        raise UnreadableTable(
            f"{shown} has {columns:,} columns; at most {MAX_COLUMNS:,} can be read. Remove columns, or transpose it."
        )


def _sniff_separator(text: str) -> str:
    """The separator that cuts the most of the first 200 lines into as many values as the header."""

    def consistency(separator: str) -> tuple[float, int]:
        counts = [len(row) for row in _first_rows(text, separator, '"', 200) if row]
        if not counts or counts[0] < 2:
            return 0.0, 0
        return sum(count == counts[0] for count in counts) / len(counts), counts[0]

    return max(_SEPARATORS, key=consistency)


def _first_rows(text: str, separator: str, quote: str | None, limit: int) -> list[list[str]]:
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=separator, quotechar=quote or '"', quoting=quoting
    )
    rows: list[list[str]] = []
    try:
        for row in reader:
            rows.append(row)
            if len(rows) == limit:
                break
    except csv.Error:  # a value beyond 128 KiB: what precedes it tells enough; the check of lines names it
        return rows
    return rows


def _sniff_quote(text: str, separator: str) -> tuple[str | None, tuple[str, ...]]:
    """None where quotes stand only inside values (5" pipe), never around one."""
    edge = re.escape(separator)
    if '"' not in text or re.search(rf'(?:^|{edge})"', text, re.MULTILINE):
        return '"', ()
    return None, ('Quotes (") stand inside values only and are read as any other character.',)


def _read_header(text: str, separator: str, quote: str | None, shown: str) -> tuple[list[str], int]:
    """The header's cells and the number of records before the first row of values."""
    rows = _first_rows(text, separator, quote, 2_000)
    filled = [position for position, row in enumerate(rows) if row]
    if not filled:
        raise _unclosed(1)
    if len(filled) == 1:
        if len(rows) < 2_000 and len(text) < _HEAD_BYTES // 4:
            raise UnreadableTable(f"{shown} has a header and no rows. Add rows, or pick another file.")
        return rows[filled[0]], filled[0] + 1
    return rows[filled[0]], filled[1]


def _clean_names(header: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Unique, non-empty names in order, and a note for each that had to change."""
    taken = {name.strip() for name in header}
    names: list[str] = []
    notes: list[str] = []
    for position, written in enumerate(header, start=1):
        name = written.strip()
        if name and name not in names:
            names.append(name)
            continue
        stem, number = (name, 2) if name else ("column", position)
        while f"{stem}_{number}" in taken:
            number += 1
        names.append(f"{stem}_{number}")
        taken.add(names[-1])
        reason = f"repeats the name {name!r}" if name else "has no name"
        notes.append(f"Column {position} {reason}; it is called {names[-1]!r} here.")
    return tuple(names), tuple(notes)


def _headerless_note(header: Sequence[str]) -> tuple[str, ...]:
    if all(re.fullmatch(r"\s*[+-]?\d+(?:[.,]\d+)?\s*", cell) for cell in header):
        return ("All header cells are numbers: the file may lack a header, and its first row is then lost.",)
    return ()


def _uses_decimal_comma(text: str, separator: str, quote: str | None) -> bool:
    cells = [cell.strip() for row in _first_rows(text, separator, quote, 200)[1:] for cell in row]
    commas = sum(bool(re.fullmatch(r"[+-]?[\d\s.\u00a0\u202f]*\d,\d+\D{0,4}", cell)) for cell in cells)
    points = sum(bool(re.fullmatch(r"[+-]?[\d\s,\u00a0\u202f]*\d\.\d+\D{0,4}", cell)) for cell in cells)
    return commas > points


def _check_lines(source: _Source, shown: str, stop: int | None = None) -> None:
    """Stream through the file, or its first `stop` bytes, and raise at the first malformed line."""
    check = _LineCheck(
        len(source.columns), source.format.separator, source.quote is not None, source.skip_rows
    )
    carry = b""
    read = 0
    with source.path.open("rb") as file:
        if file.read(3) != codecs.BOM_UTF8:
            file.seek(0)
        while piece := file.read(_CHUNK if stop is None else min(_CHUNK, stop)):
            read += len(piece)
            carry += piece
            cut = carry.rfind(b"\n") + 1
            check.feed(carry[:cut])
            carry = carry[cut:]
            if len(carry) > MAX_LINE_BYTES:
                raise UnreadableTable(f"{shown} has a line longer than 64 MiB. Check its line ends.")
            if stop is not None and read >= stop:
                return
    check.feed(carry + b"\n" if carry else b"")
    check.finish()


@dataclass
class _LineCheck:
    """Counts the values of each line, block by block of whole lines, without keeping any."""

    columns: int
    separator: str
    quoted: bool
    skip_records: int
    line: int = 1
    record_line: int = 1
    values_before: int = 0
    inside: bool = False
    opened: int = 1
    records: int = 0

    def feed(self, block: bytes) -> None:
        if not block:
            return
        data = np.frombuffer(block, np.uint8)
        if 0 in block:
            raise UnreadableTable(
                f"Line {self._line_at(data, block.index(0))} has a NUL byte: the file is not text."
            )
        newlines = np.flatnonzero(data == 10)
        separators = np.flatnonzero(data == ord(self.separator))
        ends = newlines
        if self.quoted and (self.inside or 34 in block):
            quotes = np.flatnonzero(data == 34)
            self._check_quotes(data, quotes)
            outside = (np.cumsum(data == 34, dtype=np.uint8) + np.uint8(self.inside)) % 2 == 0
            ends, separators = newlines[outside[newlines]], separators[outside[separators]]
            self.inside ^= bool(len(quotes) % 2)
        self._check_counts(data, newlines, ends, separators)
        self.line += len(newlines)

    def finish(self) -> None:
        if self.inside:
            raise _unclosed(self.opened)

    def _check_quotes(self, data: np.ndarray, quotes: np.ndarray) -> None:
        """A quote opens at the start of a value and closes at its end, or the lines between are swallowed."""
        first = int(self.inside)
        opening, closing = quotes[first::2], quotes[1 - first :: 2]
        separator = ord(self.separator)
        before = np.where(opening > 0, data[opening - 1], 10)
        stray = opening[~np.isin(before, (separator, 10, 34))]
        after = data[np.minimum(closing + 1, len(data) - 1)]
        loose = closing[~np.isin(after, (separator, 10, 13, 34))]
        if len(loose):
            earlier = opening[opening < loose[0]]
            opened = self._line_at(data, int(earlier[-1])) if len(earlier) else self.opened
            if not len(stray) or loose[0] < stray[0]:
                raise _unclosed(opened)
        if len(stray):
            raise UnreadableTable(
                f'Line {self._line_at(data, int(stray[0]))} has a quote (") inside a value. '
                "Double it, or put the whole value in quotes."
            )
        if (len(quotes) + first) % 2 and len(opening):
            self.opened = self._line_at(data, int(opening[-1]))

    def _check_counts(
        self, data: np.ndarray, newlines: np.ndarray, ends: np.ndarray, separators: np.ndarray
    ) -> None:
        if not len(ends):
            self.values_before += len(separators)
            return
        upto = np.searchsorted(separators, ends)
        values = np.diff(upto, prepend=0) + 1
        values[0] += self.values_before
        starts = np.concatenate(([0], ends[:-1] + 1))
        lengths = ends - starts
        blank = (lengths == 0) | ((lengths == 1) & (data[ends - 1] == 13))
        blank[0] &= self.record_line == self.line
        wrong = np.flatnonzero((values != self.columns) & ~blank)
        wrong = wrong[wrong + self.records >= self.skip_records]
        if len(wrong):
            row = int(wrong[0])
            line = self.record_line if row == 0 else self._line_at(data, int(starts[row]))
            raise _ragged(line, int(values[row]), self.columns)
        self.records += len(ends)
        self.values_before = len(separators) - int(upto[-1])
        self.record_line = self.line + int(np.searchsorted(newlines, ends[-1])) + 1

    def _line_at(self, data: np.ndarray, position: int) -> int:
        return self.line + int(np.count_nonzero(data[:position] == 10))


def _ragged(line: int, values: int, columns: int) -> UnreadableTable:
    some = "1 value" if values == 1 else f"{values:,} values"
    return UnreadableTable(
        f"Line {line} has {some}; the header has {columns:,}. Correct the line and try again."
    )


def _unclosed(line: int) -> UnreadableTable:
    return UnreadableTable(
        f'Line {line} opens a quote (") that is not closed. Close it, or double a quote meant as text.'
    )


# Bytes to UTF-8


def _first_bytes(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        return file.read(count)


def _gunzip(path: Path, shown: str, target: Path) -> Path:
    steep = max(50 << 20, MAX_GZIP_RATIO * path.stat().st_size)
    written = 0
    try:
        with gzip.open(path) as packed, target.open("wb") as plain:
            while piece := packed.read(_CHUNK):
                written += len(piece)
                if written > min(steep, MAX_GZIP_BYTES):
                    raise UnreadableTable(
                        f"{shown} unpacks to more than {MAX_GZIP_RATIO} times its size or 4 GiB. "
                        "Split the table, or save it as Parquet."
                    )
                plain.write(piece)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UnreadableTable(f"{shown} is a damaged gzip file: {error}. Compress it again.") from error
    return target


def _as_utf8(path: Path, shown: str, scratch: _Scratch) -> tuple[Path, str, tuple[str, ...]]:
    """The file itself when it is UTF-8 with usual line ends, else a transcoded copy in the scratch directory."""
    encoding = _encoding(path, shown)
    notes: tuple[str, ...] = ()
    if encoding not in ("utf-8", "utf-8-sig"):
        path = _rewrite(path, scratch.file("transcoded"), _transcoder(encoding, shown))
        notes = (f"The text is read as {encoding}.",)
    head = _first_bytes(path, _HEAD_BYTES)
    if b"\r" in head and b"\n" not in head:
        path = _rewrite(path, scratch.file("lines"), lambda piece, _: piece.replace(b"\r", b"\n"))
    return path, encoding, notes


def _rewrite(path: Path, target: Path, change: Callable[[bytes, bool], bytes]) -> Path:
    with path.open("rb") as old, target.open("wb") as new:
        while piece := old.read(_CHUNK):
            new.write(change(piece, False))
        new.write(change(b"", True))
    return target


def _transcoder(encoding: str, shown: str) -> Callable[[bytes, bool], bytes]:
    decoder = codecs.getincrementaldecoder(encoding)()

    def transcode(piece: bytes, final: bool) -> bytes:
        try:
            return decoder.decode(piece, final).removeprefix("\ufeff").encode("utf-8")
        except UnicodeError as error:
            raise UnreadableTable(
                f"{shown} looks like {encoding} text but is not throughout: {error}. Save it as UTF-8."
            ) from error

    return transcode


_BOMS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def _encoding(path: Path, shown: str) -> str:
    head = _first_bytes(path, 1 << 16)
    for mark, encoding in _BOMS.items():
        if head.startswith(mark) and encoding != "utf-8-sig":
            return encoding
    nulls = np.flatnonzero(np.frombuffer(head, np.uint8) == 0)
    if len(nulls) > 0.3 * len(head) and len(np.unique(nulls % 2)) == 1:
        return "utf-16-le" if nulls[0] % 2 else "utf-16-be"
    _refuse_binary(head, shown)
    invalid = _first_invalid_utf8(path)
    if invalid is None:
        return "utf-8-sig" if head.startswith(codecs.BOM_UTF8) else "utf-8"
    return _legacy_encoding(path, invalid, shown)


def _refuse_binary(head: bytes, shown: str) -> None:
    odd = len(head) - len(head.translate(None, bytes(set(range(32)) - {9, 10, 11, 12, 13, 26})))
    if 0 in head or odd > 0.002 * len(head) + 1:
        raise UnreadableTable(
            f"{shown} holds binary data, not a table. Save the table as CSV, XLSX or Parquet."
        )


def _first_invalid_utf8(path: Path) -> int | None:
    """The offset near the first bytes that are no UTF-8: an accent may first occur far into the file."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    done = 0
    with path.open("rb") as file:
        while True:
            piece = file.read(_CHUNK)
            try:
                decoder.decode(piece, final=not piece)
            except UnicodeDecodeError as error:
                return max(0, done + error.start - 4)
            if not piece:
                return None
            done += len(piece)


_WESTERN = frozenset(
    "àâäáãåæçéèêëíìîïñóòôöõøœßúùûüýÿÀÂÄÁÃÅÆÇÉÈÊËÍÌÎÏÑÓÒÔÖÕØŒÚÙÛÜÝŸ€£¥§°ºª«»’‘“”–—…·²³µ´¿¡©®\u00a0"
)


def _legacy_encoding(path: Path, invalid: int, shown: str) -> str:
    """cp1252 when all it makes of the bytes is western European writing, else charset-normalizer's answer."""
    with path.open("rb") as file:
        file.seek(max(0, invalid - (1 << 15)))
        window = file.read(1 << 16)
    foreign = bytes(byte for byte in window if byte >= 128)
    letters = foreign.decode("cp1252", errors="replace")
    if sum(letter in _WESTERN for letter in letters) >= 0.98 * len(letters):
        return "cp1252"
    best = charset_normalizer.from_bytes(window).best()
    if best is None:
        raise UnreadableTable(f"{shown} is text in no known encoding, or no text. Save it as UTF-8.")
    return str(best.encoding)
