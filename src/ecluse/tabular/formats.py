"""List the formats in which a table may come: how each is recognised, opened and called.

To add one, write a module with a function like `parquet.open_parquet` and a line in `FORMATS`: forms, errors, commands
and the reader have it from there.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from ecluse.sentences import _

if TYPE_CHECKING:
    from ecluse.tabular.layout import Layout
    from ecluse.tabular.source import Compression, Scratch, Source


class Opener(Protocol):
    """Opens a local file of a format; `shown` is its name in messages, `compression` what it was unpacked from.

    `scratch` holds temporary files, and `layout` says which sheet and row the names stand in, where a format asks.
    Raises UnreadableTable when the file is damaged, too large, or holds no table.
    """

    def __call__(
        self, path: Path, shown: str, scratch: Scratch, compression: Compression, layout: Layout
    ) -> Source: ...


@dataclass(frozen=True)
class FileFormat:
    """A format of tables.

    A file that begins with `magic` is of this format; a format without `magic` takes every file that no other takes.
    A file with one of `endings` is a table, one with `other_endings` may be something else. `opener`
    is the reference of its `Opener`, imported when a file is opened.
    """

    kind: str
    title: str
    endings: tuple[str, ...]
    opener: str
    magic: bytes = b""
    other_endings: tuple[str, ...] = ()

    def open(
        self, path: Path, shown: str, scratch: Scratch, compression: Compression, layout: Layout
    ) -> Source:
        module, _colon, name = self.opener.partition(":")
        opener: Opener = getattr(importlib.import_module(module), name)  # noqa: TID251 (a name of FORMATS)
        return opener(path, shown, scratch, compression, layout)


#: Delimited text is last: it has no beginning of its own.
FORMATS: Final = (
    FileFormat("parquet", "Parquet", (".parquet",), "ecluse.tabular.parquet:open_parquet", magic=b"PAR1"),
    FileFormat("xlsx", "XLSX", (".xlsx",), "ecluse.tabular.workbook:open_workbook", magic=b"PK\x03\x04"),
    FileFormat(
        "csv",
        "CSV",
        (".csv", ".tsv", ".csv.gz"),
        "ecluse.tabular.delimited:open_csv",
        other_endings=(".txt", ".gz"),
    ),
)
#: Endings of files that are tables for sure.
ENDINGS: Final = tuple(ending for each in reversed(FORMATS) for ending in each.endings)
#: Endings of the name of a file that was not compressed.
NAME_ENDINGS: Final = tuple(
    ending
    for each in reversed(FORMATS)
    for ending in (*each.endings, *each.other_endings)
    if ending.count(".") == 1
)
#: What a form offers to choose, as the attribute `accept` of a field for files has it.
ACCEPTED: Final = ", ".join(NAME_ENDINGS)


def format_of(beginning: bytes) -> FileFormat:
    """Recognise the format of a file by its first bytes."""
    return next(each for each in FORMATS if beginning.startswith(each.magic))


def format_names() -> str:
    """Name all formats, as in "CSV, XLSX or Parquet"."""
    *others, last = [each.title for each in reversed(FORMATS)]
    return _("%(others)s or %(last)s", others=", ".join(others), last=last)
