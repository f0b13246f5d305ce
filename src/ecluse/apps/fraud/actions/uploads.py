"""Read the tables that people upload or point at, each in a process of its own (see `confined`).

    with read_upload(path, "payments.xlsx") as table: ...   # a Table, of a copy that we wrote
    profile, layout = profile_upload(path, "payments.xlsx")

No worker and no web process parses a stranger's file: a reader does, and leaves a Parquet copy of plain columns, or
says what is in the table. What it dies of, or takes too much for, is said of this file alone.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any, Final

from ecluse.apps.fraud.profiling.profile import TableProfile
from ecluse.apps.fraud.tables.dataset import Table
from ecluse.apps.fraud.tables.layout import LOOK, Layout
from ecluse.apps.fraud.tables.source import Scratch, Source, TableFormat
from ecluse.confined import Answer, Heard, Limits, run
from ecluse.confined.limits import usual_memory
from ecluse.errors import EcluseError, Overloaded, ReaderStopped, UnreadableTable
from ecluse.sentences import _, num

#: Seconds of work for any table, and for each megabyte of one. To profile a CSV of 1 GB takes some 60 s.
WORK: Final = 300.0
WORK_PER_MB: Final = 1.0
#: The module that a reader runs: its functions are those that `_read` names.
READING: Final = "ecluse.apps.fraud.actions.reading"
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
        told = _read("copy", path, shown, layout, {"copy": str(copy)}, scratch.file("."), memory, heard).value
        source = Source(
            copy,
            TableFormat(**told["format"]),
            tuple(told["columns"]),
            tuple(told["notes"]),
            layout=None if told["layout"] is None else Layout.from_dict(told["layout"]),
        )
        return Table(path, shown, source, scratch, rows=int(told["rows"]))
    except BaseException:
        scratch.remove()
        raise


def profile_upload(
    path: Path,
    filename: str | None = None,
    layout: Layout = LOOK,
    *,
    folder: Path | None = None,
    memory: int | None = None,
    heard: Heard | None = None,
) -> tuple[TableProfile, Layout | None]:
    """What is in a table, and where in its file it stands; see `read_upload`."""
    with tempfile.TemporaryDirectory(prefix="ecluse-table-", dir=folder) as work:
        told = _read("profile", path, filename or path.name, layout, {}, Path(work), memory, heard).value
    found = None if told["layout"] is None else Layout.from_dict(told["layout"])
    return TableProfile.from_dict(told["profile"]), found


def labels_of_upload(
    path: Path, filename: str, layout: Layout = LOOK, *, most: int, memory: int | None = None
) -> dict[int, int]:
    """The labels, `most` of them, in a table with the columns row and label; see `read_labels`."""
    with tempfile.TemporaryDirectory(prefix="ecluse-table-") as work:
        told = _read("labels", path, filename, layout, {"most": most}, Path(work), memory, None).value
    return {int(row): int(label) for row, label in told}


def _read(
    function: str,
    path: Path,
    shown: str,
    layout: Layout,
    arguments: dict[str, Any],
    folder: Path,
    memory: int | None,
    heard: Heard | None,
) -> Answer:
    size = path.stat().st_size
    limits = Limits(
        memory=memory or usual_memory(),
        work=WORK + WORK_PER_MB * size / 1e6,
        written=max(16 << 30, 4 * size),
    )
    asked = {"path": str(path.resolve()), "filename": shown, "layout": layout.to_dict()} | arguments
    try:
        return run(f"{READING}:{function}", asked, limits=limits, folder=folder.resolve(), heard=heard)
    except ReaderStopped as stopped:
        raise what_stopped(stopped, shown) from stopped


def what_stopped(stopped: ReaderStopped, shown: str) -> EcluseError:
    """What it means for a table that its reader was stopped."""
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
