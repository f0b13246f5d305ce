"""Open the text of a batch file, packed or not, and say where it stops being the table that its name promises."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TextIO

from ecluse.apps.city.errors import BadRaw
from ecluse.apps.city.raw import is_packed
from ecluse.sentences import _

#: The longest cell of the known exports, a polygon of a large site, is far below this.
LONGEST_CELL: Final = 16 * 1024 * 1024


@contextmanager
def opened(path: Path, url: str) -> Iterator[TextIO]:
    """Yield the text of a file, its byte order mark left out.

    Raises:
        BadRaw: it is no UTF-8, or no whole gzip file.
    """
    try:
        if is_packed(path):
            with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as text:
                yield text
        else:
            with path.open(encoding="utf-8-sig", newline="") as text:
                yield text
    except UnicodeDecodeError as error:
        raise BadRaw(
            _("%(file)s is no UTF-8 text: %(error)s. Fetch it again.", file=url, error=error.reason)
        ) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadRaw(
            _("%(file)s is no whole gzip file: %(error)s. Fetch it again.", file=url, error=error)
        ) from error


def first_line(path: Path, url: str) -> str:
    """Return the header of a table; of an empty file, nothing.

    Raises:
        BadRaw: as `opened`.
    """
    with opened(path, url) as text:
        return text.readline().rstrip("\r\n")


def records(text: TextIO, separator: str, url: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each record with the line that it begins in; cells may hold line breaks.

    Raises:
        BadRaw: a quote is left open, or a cell has no end.
    """
    csv.field_size_limit(max(LONGEST_CELL, csv.field_size_limit()))
    reader = csv.reader(text, delimiter=separator, strict=True)
    line = 1
    try:
        for record in reader:
            yield line, record
            line = reader.line_num + 1
    except csv.Error as error:
        raise BadRaw(
            _(
                "%(file)s, line %(number)s: it cannot be read as CSV: %(error)s. Fetch it again.",
                file=url,
                number=line,
                error=error,
            )
        ) from error


def fault_of(path: Path, url: str, separator: str, error: Exception) -> BadRaw:
    """Return what is wrong with a table that could not be read: the first record of another width, or the error."""
    with opened(path, url) as text:
        rows = records(text, separator, url)
        _rest, header = next(rows, (1, []))
        for line, record in rows:
            if len(record) > len(header):
                return BadRaw(
                    _(
                        "%(file)s, line %(number)s, column %(column)s: there are %(some)s cells, and the "
                        "header names %(count)s.",
                        file=url,
                        number=line,
                        column=len(header) + 1,
                        some=len(record),
                        count=len(header),
                    )
                )
    return BadRaw(
        _(
            "%(file)s, line 1: it cannot be read as a table: %(error)s",
            file=url,
            error=str(error).splitlines()[0],
        )
    )
