"""Read the tables that people upload or point at, each in a process of its own (see `confined`).

    with read_upload(path, "payments.xlsx") as table: ...   # a Table, of a copy that we wrote

No worker and no web process parses a stranger's file: a process of its own does, and leaves a Parquet copy of plain
columns, or says what is in the table. Where it dies or takes too much, this file alone is refused.
"""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ecluse.confined import Answer, Heard, Limits, run
from ecluse.confined.limits import usual_memory
from ecluse.errors import EcluseError, Overloaded, ReaderStopped, UnreadableTable
from ecluse.sentences import _, num
from ecluse.tabular.dataset import Table
from ecluse.tabular.layout import LOOK, Layout
from ecluse.tabular.source import Scratch, Source, TableFormat

#: Seconds of work for any table, and for each megabyte of one. To profile a CSV of 1 GB takes some 60 s.
WORK: Final = 300.0
WORK_PER_MB: Final = 1.0
#: What a reader does to make a copy.
COPY: Final = "ecluse.tabular.reading:copy"
logger = logging.getLogger(__name__)


def read_upload(
    path: Path,
    filename: str | None = None,
    layout: Layout = LOOK,
    *,
    folder: Path | None = None,
    memory: int | None = None,
    heard: Heard | None = None,
) -> Table:
    """Open a file as `open_table` does, checked to its end: what comes back reads a copy, removed when it is closed.

    `filename` is the name to show. The copy lies below `folder`. `memory` is what its reader may take, in bytes.

    Raises:
        UnreadableTable: as `open_table` and `Table.validate`, or it takes more memory or work than a reader may.
        Overloaded: the machine ended its reader, several times.
    """
    shown = filename or path.name
    scratch = Scratch(Path(tempfile.mkdtemp(prefix="ecluse-table-", dir=folder)))
    try:
        copy = scratch.file("copy.parquet")
        upload = Upload(path, shown, layout, memory)
        content = read_apart(COPY, upload, scratch.file("."), heard, copy=str(copy)).value
        source = Source(
            copy,
            TableFormat(**content["format"]),
            tuple(content["columns"]),
            tuple(content["notes"]),
            layout=None if content["layout"] is None else Layout.from_dict(content["layout"]),
        )
        return Table(path, shown, source, scratch, rows=int(content["rows"]))
    except BaseException:
        scratch.remove()
        raise


@dataclass(frozen=True)
class Upload:
    """A file to read, the name that it is shown by, how it is laid out, and the memory its reader may take."""

    path: Path
    filename: str
    layout: Layout
    memory: int | None


def read_apart(
    function: str, upload: Upload, folder: Path, heard: Heard | None = None, **arguments: Any
) -> Answer:
    """Call a function (`module:name`) on a file in a process of its own; see `read_upload`."""
    size = upload.path.stat().st_size
    limits = Limits(
        memory=upload.memory or usual_memory(),
        work=WORK + WORK_PER_MB * size / 1e6,
        written=max(16 << 30, 4 * size),
    )
    facts = {
        "path": str(upload.path.resolve()),
        "filename": upload.filename,
        "layout": upload.layout.to_dict(),
    }
    try:
        return run(function, facts | arguments, limits=limits, folder=folder.resolve(), heard=heard)
    except ReaderStopped as stopped:
        raise what_stopped(stopped, upload.filename) from stopped


def what_stopped(stopped: ReaderStopped, shown: str) -> EcluseError:
    """Say what it means for a table that its reader was stopped."""
    logger.warning(
        "The reader of a table was stopped (%s, %s): %s", stopped.why, stopped.limit, stopped.detail
    )
    if stopped.why == "memory":
        return UnreadableTable(
            _(
                "%(file)s needs more than %(count)s MB of memory to be read. Split it, or save it as "
                "CSV; who runs Écluse can allow more: ECLUSE_READER_MAX_BYTES.",
                file=shown,
                count=num(stopped.limit / 1000000.0, ",.0f"),
            )
        )
    if stopped.why == "time":
        return UnreadableTable(
            _(
                "%(file)s took more than %(count)s s of work to be read. Split it, or save it as CSV "
                "or Parquet.",
                file=shown,
                count=num(stopped.limit, ","),
            )
        )
    if stopped.why == "size":
        return UnreadableTable(
            _(
                "%(file)s unpacks to more than %(count)s GB. Split it.",
                file=shown,
                count=num(stopped.limit / 1000000000.0, ",.0f"),
            )
        )
    if stopped.why == "ended":
        return Overloaded(
            _(
                "%(file)s was not read: the machine ended the process that read it, as it does where "
                "memory is short. Try again later, or split the table.",
                file=shown,
            ),
            60,
        )
    return UnreadableTable(
        _(
            "%(file)s cannot be read: the reader of such files failed on it. Save it anew, as CSV "
            "or Parquet.",
            file=shown,
        )
    )
