"""Draw what commands return: tables and records for people, JSON for programs, progress on standard error."""

from __future__ import annotations

import functools
import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from ecluse.moments import local_to

F = TypeVar("F", bound=Callable[..., Any])
#: Between two lines on what has come, where no terminal can show a bar.
LINE_SECONDS: Final = 5.0
#: Controls of a terminal, and what turns the direction of writing; names and messages of others may hold them.
_STEERING: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class Rows:
    """A list of records. `columns` are shown to people, in this order; JSON has every field.

    `decimals`: how many a column of numbers shows, such as money.
    """

    items: Sequence[Mapping[str, Any]]
    columns: Sequence[str]
    empty: str = "Nothing yet."
    decimals: Mapping[str, int] = field(default_factory=dict)
    failed: bool = False


@dataclass(frozen=True)
class Record:
    """One record. `text`, where given, is what people read instead of its fields."""

    fields: Mapping[str, Any]
    text: str | None = None
    failed: bool = False


def reports(command: F) -> F:
    """Give a command `--json` and draw what it returns."""

    @click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")
    @functools.wraps(command)
    def wrapper(*args: Any, as_json: bool, **kwargs: Any) -> None:
        result = command(*args, **kwargs)
        if as_json:
            click.echo(json.dumps(_plain(result), default=_encode, indent=2, ensure_ascii=False))
        elif result is not None:
            _draw(result)
        if isinstance(result, Rows | Record) and result.failed:
            raise click.exceptions.Exit(1)

    return wrapper  # type: ignore[return-value]


def say(text: str) -> None:
    """Tell a person something, on standard error."""
    click.echo(harmless(text), err=True)


def counted(number: int, noun: str) -> str:
    """Say how many of something: `1 object`, `2 objects`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def harmless(text: str) -> str:
    """Text in which what would steer a terminal is written out: `\\x1b` for an escape. Lines and tabs stay."""
    return _STEERING.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


Report = Callable[[float, str], None]


@contextmanager
def progress(title: str) -> Iterator[Report]:
    """Show how far long work is: a bar on a terminal, a line per new message elsewhere.

    The report takes the fraction done (0 to 1) and what is being done.
    """
    if not sys.stderr.isatty():
        yield _lines(title)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
    )
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=1.0)
        yield lambda fraction, message: bar.update(
            task, completed=fraction, description=harmless(message or title)
        )


Transferred = Callable[[int], None]


@contextmanager
def transfer(title: str, total_bytes: int) -> Iterator[Transferred]:
    """Show how far bytes have come, at which rate, and the time left: a bar on a terminal, some lines elsewhere.

    What it gives is told the bytes done since it was last called, from any thread.
    """
    if not sys.stderr.isatty():
        with _transfer_lines(title, total_bytes) as done:
            yield done
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total_bytes)
        yield lambda size: bar.update(task, advance=size)


@contextmanager
def _transfer_lines(title: str, total: int) -> Iterator[Transferred]:
    """Write a line every `LINE_SECONDS`, and one at the end where that took longer."""
    began = written_at = time.monotonic()
    done, lock = 0, threading.Lock()
    say(title)

    def take(size: int) -> None:
        nonlocal done, written_at
        with lock:
            done += size
            moment = time.monotonic()
            if moment - written_at >= LINE_SECONDS:
                written_at = moment
                say(_transfer_line(done, total, moment - began))

    yield take
    if written_at != began:
        say(_transfer_line(done, total, time.monotonic() - began))


def _transfer_line(done: int, total: int, seconds: float) -> str:
    rate = done / seconds if seconds else 0.0
    left = f", {max(total - done, 0) / rate:.0f} s left" if rate and done < total else ""
    return (
        f"{done / max(total, 1):4.0%}  {done / 1e6:.1f} of {total / 1e6:.1f} MB, {rate / 1e6:.1f} MB/s{left}"
    )


def _lines(title: str) -> Report:
    last = title
    say(title)

    def report(fraction: float, message: str) -> None:
        nonlocal last
        if message and message != last:
            last = message
            say(f"{fraction:4.0%}  {message}")

    return report


def _draw(result: Rows | Record) -> None:
    if isinstance(result, Record):
        click.echo(harmless(result.text if result.text is not None else _record_text(result.fields)))
    elif not result.items:
        say(result.empty)
    else:
        _draw_table(result)


def _draw_table(rows: Rows) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in rows.columns:
        numeric = all(isinstance(item.get(column), int | float | None) for item in rows.items)
        table.add_column(column.replace("_", " "), justify="right" if numeric else "left", no_wrap=True)
    for item in rows.items:
        table.add_row(*(_cell(item.get(column), rows.decimals.get(column)) for column in rows.columns))
    wide = None if sys.stdout.isatty() else 200
    Console(markup=False, highlight=False, width=wide).print(table)


def _record_text(fields: Mapping[str, Any]) -> str:
    width = max(map(len, fields), default=0)
    return "\n".join(f"{name.replace('_', ' '):<{width}}  {_cell(value)}" for name, value in fields.items())


def _cell(value: Any, decimals: int | None = None) -> str:
    if value is None:
        return "–"
    if decimals is not None:
        return f"{value:,.{decimals}f}"
    if isinstance(value, datetime):
        return f"{local_to(value, None):%Y-%m-%d %H:%M:%S}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return harmless(str(value))


def _plain(result: Any) -> Any:
    if isinstance(result, Rows):
        return list(result.items)
    return dict(result.fields) if isinstance(result, Record) else result


def _encode(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not JSON")
