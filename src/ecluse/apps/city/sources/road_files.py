"""Open a road file in any store, as CSV, packed CSV or Parquet, and cut it into blocks that are parsed alone."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import polars as pl

from ecluse.apps.city.errors import BadRaw
from ecluse.apps.city.raw import RawFile
from ecluse.apps.city.sources.road_records import (
    COLUMNS,
    LONGEST_RECORD,
    Block,
    Clock,
    Dialect,
    first_records,
    parse,
    parse_with_care,
    sift,
)
from ecluse.sentences import _

#: Each block costs more than a millisecond, whatever it holds; four or five of them are in memory at a time.
BLOCK: Final = 16 * 1024 * 1024
#: Memory as large as this, once freed, has glibc keep what blocks leave; of what is larger it takes no note.
_LARGER: Final = 31 * 1024 * 1024
PARQUET_ROWS: Final = 250_000
LONGEST_HEADER: Final = 64 * 1024
_SEPARATORS: Final = (";", ",", "\t")


@dataclass(frozen=True)
class RoadSource:
    """A file that is open. Each of `blocks`, called in any thread, parses one; they count lines from 1 each.

    Where a block has a `rest`, the next one is made `anew` from the rest and its text.
    """

    blocks: Iterator[Callable[[], Block]]
    anew: Callable[[bytes, bool], Block]
    #: How much of it was read, from 0 to 1.
    done: Callable[[], float]
    header_lines: int


@contextmanager
def open_roads(file: RawFile, clock: Clock, scratch: Path) -> Iterator[RoadSource]:
    """Open a road file; what is copied for it is removed afterwards.

    Raises:
        BadRaw: it is no such table; the message names file, line and column.
    """
    if file.key.endswith(".parquet"):
        with _copied(file, scratch) as path, _as_bad(file):
            yield _open_parquet(path, file, clock)
    else:
        with _bytes_of(file) as source, _as_bad(file):
            yield _open_csv(source, file, clock)


def rows_of_arcs(
    file: RawFile, arcs: Collection[int], scratch: Path, waiting: Callable[[], None]
) -> Iterator[dict[str, str]]:
    """Yield one row of each of `arcs` that a road file tells of, as text by the source's columns.

    It is read until the last of them is found; `waiting` is called now and then.
    """
    if file.key.endswith(".parquet"):
        with _copied(file, scratch) as path, _as_bad(file):
            is_of_arcs = pl.col(COLUMNS["arc"]).cast(pl.Int64, strict=False).is_in(sorted(arcs))
            rows = pl.scan_parquet(path).filter(is_of_arcs).unique(COLUMNS["arc"], keep="any").collect()
            yield from rows.cast(pl.String).iter_rows(named=True)
        return
    missing = {*arcs}
    with _bytes_of(file) as source, _as_bad(file):
        header = source.text.readline(LONGEST_HEADER)
        dialect = _dialect(header, file.url)
        names = next(csv.reader([header.decode("utf-8-sig").strip()], delimiter=dialect.separator))
        for block in _blocks(source.text):
            for arc, record in first_records(block, dialect, missing).items():
                missing.discard(arc)
                yield dict(zip(names, record, strict=False))
            if not missing:
                return
            waiting()


# CSV


@dataclass(frozen=True)
class _Bytes:
    """The text of a file, unpacked, and how far it was read."""

    text: BinaryIO
    position: Callable[[], int]


@contextmanager
def _bytes_of(file: RawFile) -> Iterator[_Bytes]:
    path = file.store.local_path(file.key)
    raw: io.RawIOBase = (
        _Streamed(file.store.stream(file.key)) if path is None else path.open("rb", buffering=0)
    )
    with io.BufferedReader(raw, 1024 * 1024) as packed:
        if packed.peek(2)[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=packed) as text:
                yield _Bytes(text, packed.tell)  # type: ignore[arg-type]
        else:
            yield _Bytes(packed, packed.tell)


class _Streamed(io.RawIOBase):
    """Bytes that arrive in chunks, to be read in any portions."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")
        self._told = 0

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._told

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        self._told += count
        return count


def _open_csv(source: _Bytes, file: RawFile, clock: Clock) -> RoadSource:
    header = source.text.readline(LONGEST_HEADER)
    dialect = _dialect(header, file.url)
    blocks = (partial(parse, block, dialect, clock) for block in _blocks(source.text))
    size = max(1, file.info.size)

    def anew(text: bytes, is_last: bool) -> Block:
        return parse_with_care(text, dialect, clock, is_last=is_last)

    return RoadSource(blocks, anew, lambda: source.position() / size, header_lines=1)


def _blocks(text: BinaryIO) -> Iterator[bytes]:
    """Yield the text in blocks of whole lines; of a line that is far too long, the begin."""
    _keep_memory()
    while block := text.read(BLOCK):
        if not block.endswith(b"\n"):
            block += text.readline(LONGEST_RECORD)
            if not block.endswith(b"\n") and _skip_line(text):
                block += b"\n"
        yield block


def _keep_memory() -> None:
    """Have the next block use the memory of one before: fresh pages take longer than to read what is in them.

    glibc gives the memory of a block back to the system at once, until something larger was freed: see
    M_MMAP_THRESHOLD in mallopt(3). The bytes are made of pages that are never touched. Elsewhere nothing changes.
    """
    bytes(_LARGER)


def _skip_line(text: BinaryIO) -> bool:
    """Go to the end of a line; whether there was more of it."""
    was_more = False
    while piece := text.readline(LONGEST_RECORD):
        was_more = True
        if piece.endswith(b"\n"):
            break
    return was_more


def _dialect(header: bytes, url: str) -> Dialect:
    try:
        text = header.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise BadRaw(
            _("%(file)s is no UTF-8 text: %(error)s. Fetch it again.", file=url, error=error.reason)
        ) from error
    try:
        candidates = [
            (separator, [name.strip() for name in next(csv.reader([text], delimiter=separator), [])])
            for separator in _SEPARATORS
        ]
    except csv.Error as error:
        raise BadRaw(
            _(
                "%(file)s, line %(number)s: it cannot be read as CSV: %(error)s. Fetch it again.",
                file=url,
                number="1",
                error=error,
            )
        ) from error
    separator, names = max(candidates, key=lambda candidate: len(set(COLUMNS.values()) & set(candidate[1])))
    _check_columns(names, _("%(file)s, line %(number)s", file=url, number=1))
    return Dialect(separator, {column: names.index(theirs) for column, theirs in COLUMNS.items()})


def _check_columns(names: Sequence[str], where: str) -> None:
    for name in COLUMNS.values():
        if name not in names:
            raise BadRaw(
                _(
                    "%(file)s, column %(column)s: it is missing, so this is no file of road counts. Fetch "
                    "it again.",
                    file=where,
                    column=name,
                )
            )
        if names.count(name) > 1:
            raise BadRaw(
                _(
                    "%(file)s, column %(column)s: it is there twice. Fetch the file again.",
                    file=where,
                    column=name,
                )
            )


# Parquet


@contextmanager
def _copied(file: RawFile, scratch: Path) -> Iterator[Path]:
    path = file.local(scratch)
    try:
        yield path
    finally:
        if file.store.local_path(file.key) is None:
            path.unlink(missing_ok=True)


def _open_parquet(path: Path, file: RawFile, clock: Clock) -> RoadSource:
    scan = pl.scan_parquet(path)
    schema = scan.collect_schema()
    _check_columns(schema.names(), file.url)
    at = schema[COLUMNS["at"]]
    if at != pl.String and not (isinstance(at, pl.Datetime) and at.time_zone):
        raise BadRaw(
            _(
                "%(file)s, column %(column)s: its type is %(value)s; it has to be text or moments "
                "with a time zone.",
                file=file.url,
                column=COLUMNS["at"],
                value=at,
            )
        )
    rows = max(1, scan.select(pl.len()).collect().item())
    read = 0

    def blocks() -> Iterator[Callable[[], Block]]:
        nonlocal read
        columns = scan.select(**{column: pl.col(theirs) for column, theirs in COLUMNS.items()})
        for frame in columns.collect_batches(chunk_size=PARQUET_ROWS, maintain_order=True):
            read += frame.height
            yield partial(_sifted, frame, clock)

    return RoadSource(blocks(), _never, lambda: read / rows, header_lines=0)


def _never(text: bytes, is_last: bool) -> Block:
    raise AssertionError("a record of Parquet has no rest")


def _sifted(frame: pl.DataFrame, clock: Clock) -> Block:
    rows, rejected = sift(frame, np.arange(1, frame.height + 1), clock)
    return Block(rows, rejected, frame.height)


@contextmanager
def _as_bad(file: RawFile) -> Iterator[None]:
    """Raise what a damaged file causes as a fault of the raw file."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadRaw(
            _("%(file)s is no whole gzip file: %(error)s. Fetch it again.", file=file.url, error=error)
        ) from error
    except pl.exceptions.PolarsError as error:
        raise BadRaw(
            _(
                "%(file)s is no Parquet file: %(error)s. Fetch it again.",
                file=file.url,
                error=str(error).splitlines()[0],
            )
        ) from error
