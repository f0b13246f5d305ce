"""Store the local tables that commands are given."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from ecluse.apps.fraud.actions import main as workflows
from ecluse.apps.fraud.rows.datasets import layout_of
from ecluse.catalog.tables import User
from ecluse.cli.output import F, progress, say
from ecluse.cli.session import finish
from ecluse.errors import InvalidInput, JobFailed
from ecluse.runtime import Runtime
from ecluse.storage import read_chunks
from ecluse.tabular.layout import LOOK, Layout


def layout_options(command: F) -> F:
    """`--sheet`, `--header-row` and `--no-header`: where in a file its table stands, passed on as `layout`."""

    @click.option("--sheet", help="Sheet of a workbook. Default: the largest.")
    @click.option(
        "--header-row",
        type=click.IntRange(1, 2_000),
        help="Row, from 1, that holds the names of the columns. Default: found.",
    )
    @click.option(
        "--no-header",
        is_flag=True,
        help="No row holds names: every row is data, columns are column_1, column_2 …",
    )
    @functools.wraps(command)
    def wrapper(*args: Any, sheet: str | None, header_row: int | None, no_header: bool, **kwargs: Any) -> Any:
        if no_header and header_row is not None:
            raise InvalidInput(
                f"--header-row {header_row} and --no-header contradict each other. Leave one out."
            )
        return command(*args, layout=Layout(sheet, 0 if no_header else header_row), **kwargs)

    return wrapper  # type: ignore[return-value]


def say_layout(filename: str, layout: Layout | None) -> None:
    """Say from which sheet and row a table is read, and how to read it otherwise where that is in doubt."""
    if layout is None or (layout.header_row == 1 and not layout.sheets and not layout.doubts):
        return
    say(f"{filename}: {layout.sentence()}")
    if "sheet" in layout.doubts:
        others = ", ".join(
            f"{s.name!r} ({s.rows} × {s.columns})" for s in layout.sheets if s.name != layout.sheet
        )
        say(f"  The other sheets: {others}. To read one of them: --sheet NAME")
    if "header" in layout.doubts:
        say(
            "  Whether that row holds names is in doubt. To read it otherwise: --header-row N, or --no-header"
        )


def add_table(runtime: Runtime, user: User, file: Path, layout: Layout = LOOK) -> str:
    """Store a local file, unless the same is stored already, and wait for its profile; the dataset's id."""
    known = workflows.find_same_table(runtime, user.id, file.name, _sha256(file), layout)
    if known is not None:
        say_layout(file.name, layout_of(known))
        return known.id
    dataset = workflows.add_table(runtime, user.id, file.name, _counted(file), layout)
    try:
        finish(runtime, user, dataset.job_id or "", f"Reading {file.name}")
    except JobFailed:
        workflows.remove_dataset(runtime, user.id, dataset.id)
        raise
    say_layout(file.name, layout_of(workflows.find_dataset(runtime, user.id, dataset.id)))
    return dataset.id


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _counted(file: Path) -> Iterator[bytes]:
    size, done = max(file.stat().st_size, 1), 0
    with progress(f"Storing {file.name}") as report:
        for chunk in read_chunks(file):
            yield chunk
            done += len(chunk)
            report(done / size, f"Storing {file.name}")
    if done == 0:
        raise InvalidInput(f"{file} is empty.")
