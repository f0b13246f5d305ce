"""Read images that a list names: a .txt with a line `URL [label]` for each, or a .csv with columns url and label."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from ecluse.apps.plants.sources import MOST_FILES, File
from ecluse.errors import InvalidInput
from ecluse.sentences import _, num

#: Bytes of a list.
MOST_BYTES: Final = 50_000_000
SUFFIXES: Final = (".txt", ".csv")


@dataclass(frozen=True)
class Listed:
    """A line of a list."""

    url: str
    label: str | None


def is_list_name(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def open_list(data: bytes, name: str, *, allow_private: bool = False) -> Iterator[File]:
    """Yield the images that a list called `name` has, fetched when they are read.

    Raises:
        InvalidInput: it is no list of addresses.
    """
    from ecluse.apps.plants.sources.web import fetch_image

    listed = read_list(data, name)
    for number, entry in enumerate(listed):
        read = partial(fetch_image, entry.url, allow_private=allow_private)
        yield File(shown_address(entry.url), entry.label, read, number / len(listed))


def read_list(data: bytes, name: str) -> list[Listed]:
    """Return the lines of a list; an address that is on several is there once, as it was first.

    Raises:
        InvalidInput: it is no list of addresses.
    """
    if len(data) > MOST_BYTES:
        raise InvalidInput(
            _(
                "%(file)s has more than %(count)s bytes. Import it in parts.",
                file=name,
                count=num(MOST_BYTES, ","),
            )
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(_("%(file)s is no text. Save it as UTF-8.", file=name)) from error
    entries = _from_table(text, name) if name.lower().endswith(".csv") else _from_lines(text)
    first: dict[str, Listed] = {}
    for entry in entries:
        first.setdefault(entry.url, entry)
    listed = list(first.values())
    if not listed:
        raise InvalidInput(
            _("%(file)s names no addresses. Write one on each line, and its label after it.", file=name)
        )
    if len(listed) > MOST_FILES:
        raise InvalidInput(
            _(
                "%(file)s names more than %(count)s addresses. Import it in parts.",
                file=name,
                count=num(MOST_FILES, ","),
            )
        )
    return listed


def _from_lines(text: str) -> list[Listed]:
    lines = [line.strip() for line in text.splitlines()]
    split = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    return [Listed(parts[0], parts[1] if len(parts) > 1 else None) for parts in split]


def _from_table(text: str, name: str) -> list[Listed]:
    """Rows of a CSV; without a header, the first column is the address and the second the label."""
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if any(row)]
    except csv.Error as error:
        raise InvalidInput(_("%(file)s is no CSV: %(error)s.", file=name, error=error)) from error
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    if "url" in header:
        url, label = header.index("url"), header.index("label") if "label" in header else None
        rows = rows[1:]
    elif header and header[0].startswith(("http://", "https://")):
        url, label = 0, 1
    else:
        raise InvalidInput(_("%(file)s has no column url. Name the columns url and label.", file=name))
    return [Listed(_cell(row, url) or "", _cell(row, label)) for row in rows if _cell(row, url)]


def _cell(row: list[str], column: int | None) -> str | None:
    return (row[column].strip() or None) if column is not None and column < len(row) else None


def shown_address(url: str) -> str:
    """Return an address as it is kept: without a name and a password."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return re.sub(r"//[^/]*@", "//", url)  # no address; a password in it is left out all the same
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if "@" in parts.netloc else url
