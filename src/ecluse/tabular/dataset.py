"""Open a CSV, gzipped CSV, Excel or Parquet file as a table, and read it in bounded memory.

    with open_table(path) as table:
        for batch in table.batches(): ...

This is for files of our own, and for the readers of those of strangers: `uploads` opens these.

The format, separator and encoding are read from the content, not from the name. Text arrives as text: a CSV
column is never typed here (see `columns`). A file that would be read wrongly is refused with the line to mend.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ecluse.errors import UnreadableTable
from ecluse.later import Later
from ecluse.sentences import _
from ecluse.tabular.delimited import check_lines
from ecluse.tabular.formats import format_names, format_of
from ecluse.tabular.layout import LOOK, Layout
from ecluse.tabular.source import (
    MAX_RATIO,
    Compression,
    Scratch,
    Source,
    TableFormat,
    damaged,
    first_bytes,
    without_blank_rows,
)

if TYPE_CHECKING:
    import polars as pl
else:
    pl = Later("polars")

__all__ = ["Layout", "Table", "TableFormat", "open_table"]

MAX_GZIP_BYTES = 4 << 30
BATCH_ROWS = 50_000
#: Values that are read at a time to pick some rows of them: some hundred MB of text.
SAMPLED_VALUES = 5_000_000

_CHUNK = 4 << 20


class Table:
    """An open table. `close`, or leaving `with`, removes what had to be unpacked or transcoded."""

    def __init__(
        self, path: Path, filename: str, source: Source, scratch: Scratch, rows: int | None = None
    ) -> None:
        """`rows` are those of a table that was checked to its end."""
        self.path = path
        self.filename = filename
        self.size = path.stat().st_size
        self._source = source
        self._scratch = scratch
        self._rows = rows

    @property
    def format(self) -> TableFormat:
        return self._source.format

    @property
    def columns(self) -> tuple[str, ...]:
        return self._source.columns

    @property
    def layout(self) -> Layout | None:
        """Return which sheet and row the names of the columns stand in; None of a file that says so
        itself (Parquet).
        """
        return self._source.layout

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what was renamed, left out or guessed, each in one sentence."""
        return self._source.notes

    def scan(self) -> pl.LazyFrame:
        """Read all rows, lazily, in file order. CSV: every column String. Excel and Parquet: native types.

        Blank lines, and lines of separators only, are left out of tables of several columns.
        """
        if not self._source.is_text:
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
            without_blank_rows, projection_pushdown=False, slice_pushdown=False, streamable=True
        )

    def head(self, rows: int = 20) -> pl.DataFrame:
        """Read the first rows, without reading the rest."""
        return _collected(self.scan().head(rows), self.filename)

    def sample(self, rows: int = 20_000) -> pl.DataFrame:
        """At most `rows` rows spread evenly over the file, the first one included; the same on each call.

        Reads the file once: many tables are sorted by their label, so that the head shows one class only.
        """
        total = self.row_count()
        step = max(1, -(-total // rows))
        if step == 1:
            return _collected(self.scan(), self.filename)
        # `gather_every` takes many times as long where columns are thousands, within a scan most of all.
        parts, passed = [], 0
        for frame in self._frames(max(1, min(BATCH_ROWS, SAMPLED_VALUES // len(self.columns)))):
            parts.append(frame[-passed % step :: step])
            passed += frame.height
        return pl.concat(parts)

    def batches(self, rows: int = BATCH_ROWS) -> Iterator[pl.DataFrame]:
        """Consecutive frames of at most `rows` rows, in file order. Raises UnreadableTable before the first
        frame when any line is malformed: a table is scored whole or not at all."""
        self.validate()
        for frame in self._frames(rows):
            yield from frame.iter_slices(rows)

    def _frames(self, rows: int) -> Iterator[pl.DataFrame]:
        """Consecutive frames of about `rows` rows, none empty, of a table that was checked to its end."""
        frames = self.scan().collect_batches(
            chunk_size=rows, maintain_order=True, engine="streaming", lazy=True
        )
        try:
            for frame in frames:
                if frame.height:
                    yield frame
        except pl.exceptions.PolarsError as error:
            raise damaged(self.filename, error) from error

    def row_count(self) -> int:
        """Rows as `scan` gives them. Validates the file on the first call."""
        return self.validate()

    def validate(self) -> int:
        """Read the whole file once and return its number of rows.

        Raises UnreadableTable with the line: another number of values than the header, an unclosed quote, a
        NUL byte. Later calls return the number found.
        """
        if self._rows is None:
            if self._source.is_text:
                check_lines(self._source, self.filename)
            counted = _collected(self.scan().select(pl.len()), self.filename)
            self._rows = int(counted.item())
            if self._rows == 0:
                raise UnreadableTable(
                    _(
                        "%(file)s has a header and no rows. Add rows, or pick another file.",
                        file=self.filename,
                    )
                )
        return self._rows

    def write_copy(self, path: Path) -> None:
        """Write the rows as `scan` gives them to a Parquet file."""
        try:
            if self._source.is_scratch:
                self._source.path.rename(path)
            else:
                self.scan().sink_parquet(path, compression="lz4", statistics=False, maintain_order=True)
        except pl.exceptions.PolarsError as error:
            raise damaged(self.filename, error) from error

    def close(self) -> None:
        self._scratch.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_table(path: Path, filename: str | None = None, layout: Layout = LOOK) -> Table:
    """Open a local file; `filename` is the name to show where `path` is a temporary one.

    `layout` says which sheet and row its names stand in; what it leaves open is looked for.

    Raises UnreadableTable when the file is empty, damaged, no table, has more than 16,384 columns, or
    unpacks to more than the limits here and in `workbook` allow; nothing is left behind then.
    """
    shown = filename or path.name
    scratch = Scratch()
    try:
        return Table(path, shown, _open(path, shown, scratch, layout.chosen), scratch)
    except BaseException:
        scratch.remove()
        raise


def _open(path: Path, shown: str, scratch: Scratch, layout: Layout) -> Source:
    if path.stat().st_size == 0:
        raise UnreadableTable(
            _("%(file)s is empty (0 bytes). Pick a file with a header and rows.", file=shown)
        )
    if first_bytes(path, 2) == b"\x1f\x8b":
        unpacked = _gunzip(path, shown, scratch.file("unpacked"))
        if unpacked.stat().st_size == 0:
            raise UnreadableTable(
                _("%(file)s is empty once unpacked. Pick a file with a header and rows.", file=shown)
            )
        return _open_plain(unpacked, shown, scratch, "gzip", layout)
    return _open_plain(path, shown, scratch, None, layout)


def _open_plain(path: Path, shown: str, scratch: Scratch, compression: Compression, layout: Layout) -> Source:
    beginning = first_bytes(path, 8)
    for prefix, what in _FOREIGN.items():
        if beginning.startswith(prefix):
            raise UnreadableTable(
                _(
                    "%(file)s is %(what)s. Save the table as %(formats)s.",
                    file=shown,
                    what=what,
                    formats=format_names(),
                )
            )
    return format_of(beginning).open(path, shown, scratch, compression, layout)


_FOREIGN = {
    b"\xd0\xcf\x11\xe0": _("an Excel 97-2003 workbook (.xls), or a protected one"),
    b"%PDF": _("a PDF document"),
    b"7z\xbc\xaf": _("a %(word)s archive", word="7-Zip"),
    b"Rar!": _("a %(word)s archive", word="RAR"),
    b"BZh": _("a %(word)s archive", word="bzip2"),
    b"\xfd7zXZ": _("an %(word)s archive", word="xz"),
    b"(\xb5/\xfd": _("a %(word)s archive", word="Zstandard"),
    b"ARROW1": _("an Arrow file"),
    b"SQLite f": _("an SQLite database"),
    b"\x89PNG": _("an image"),
    b"\xff\xd8\xff": _("an image"),
    b"\x1f\x8b": _("a gzip file inside a gzip file"),
    b"<!DOCTYP": _("an HTML page"),
    b"<!docty": _("an HTML page"),
    b"<html": _("an HTML page"),
    b"<?xml": _("an XML document"),
    b'{"': _("a JSON document"),
}


def _gunzip(path: Path, shown: str, target: Path) -> Path:
    steep = max(50 << 20, MAX_RATIO * path.stat().st_size)
    written = 0
    try:
        with gzip.open(path) as packed, target.open("wb") as plain:
            while piece := packed.read(_CHUNK):
                written += len(piece)
                if written > min(steep, MAX_GZIP_BYTES):
                    raise UnreadableTable(
                        _(
                            "%(file)s unpacks to more than %(count)s times its size or 4 GiB. Split the table, or "
                            "save it as Parquet.",
                            file=shown,
                            count=MAX_RATIO,
                        )
                    )
                plain.write(piece)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UnreadableTable(_("%(file)s is a damaged gzip file. Compress it again.", file=shown)) from error
    return target


def _collected(frame: pl.LazyFrame, shown: str) -> pl.DataFrame:
    try:
        return frame.collect(engine="streaming")
    except pl.exceptions.PolarsError as error:
        raise damaged(shown, error) from error
