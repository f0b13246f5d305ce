"""Let the workers back this installation up when it is due, and see how that stands."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click

from ecluse.catalog.of_backups import BackupMade, BackupSchedule
from ecluse.cli.groups import Group
from ecluse.cli.output import Record, reports
from ecluse.cli.session import home_option, opened
from ecluse.storage import LONG_PATIENCE

#: Seconds of each unit that a time is written in, and how often and how seldom a backup may be due.
_UNITS: Final = {"m": 60, "h": 3600, "d": 86400}
_NAMES: Final = {"day": 86400, "hour": 3600, "minute": 60, "second": 1}
_OFTEN, _SELDOM = 15 * 60, 366 * 86400


class Every(click.ParamType[int]):
    """A time between two backups, `24h`, `7d` or `90m`: seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = re.fullmatch(r"(\d{1,6})([mhd])", str(value))
        seconds = int(match[1]) * _UNITS[match[2]] if match else 0
        if not _OFTEN <= seconds <= _SELDOM:
            self.fail(f"{value!r} is no time from 15m to 366d, such as 6h, 24h or 7d", param, ctx)
        return seconds


class TimeOfDay(click.ParamType[int]):
    """A time of the day, `03:30`: minutes since midnight."""

    name = "HH:MM"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = re.fullmatch(r"([01]\d|2[0-3]):([0-5]\d)", str(value), re.ASCII)
        if match is None:
            self.fail(f"{value!r} is no time of the day such as 03:30", param, ctx)
        return int(match[1]) * 60 + int(match[2])


class Keep(click.ParamType[tuple[int | None, int | None]]):
    """What stays: `14` backups, or those of `30d`."""

    name = "number|days"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int | None, int | None]:
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"([1-9]\d{0,4})(d?)", str(value), re.ASCII)
        if match is None:
            self.fail(f"{value!r} is no number of backups such as 14, nor of days such as 30d", param, ctx)
        number = int(match[1])
        return (None, number) if match[2] else (number, None)


@click.group(cls=Group)
def schedule() -> None:
    """Have the workers make a backup when it is due, and see how that stands."""


@schedule.command("set")
@click.option("--to", "url", required=True, metavar="URL", help="Folder or address to write the backups to.")
@click.option("--every", type=Every(), required=True, help="Time between two, such as 6h, 24h or 7d.")
@click.option("--at", type=TimeOfDay(), help="Time of the day (UTC) of the first. Default: now.")
@click.option(
    "--keep",
    type=Keep(),
    help="How many of the newest stay, such as 14, or those of how many days, such as 30d. Default: all.",
)
@click.option("--recipient", metavar="KEY", help="Public key of age (age1…), see: ecluse backup key")
@click.option("--objects", "contents", is_flag=True, help="The bytes of tables, models and images too.")
@home_option
@reports
def set_schedule(
    url: str,
    every: int,
    at: int | None,
    keep: tuple[int | None, int | None] | None,
    recipient: str | None,
    contents: bool,
    home: Path | None,
) -> Record:
    """Have backups made from now on, in place of the schedule of before. Each worker reaches the place by its settings.

    A time that passes while no worker runs is made up for once. A backup that fails is tried again within the hour.
    """
    from ecluse.backups.schedule import Plan, set_schedule

    number, days = keep or (None, None)
    plan = Plan(place_address(url), every, at, number, days, recipient, contents)
    with opened(home, patience=LONG_PATIENCE) as runtime:
        row = set_schedule(runtime, plan)
    lines = [
        f"The first backup is due at {_shown(row.due_at)}; a worker makes it within five minutes of that."
    ]
    if recipient is None:
        lines.append("Backups are not encrypted: they hold what people stored and hashes of passwords.")
    if not contents:
        lines.append("Of objects they hold digests alone. Their bytes too: --objects")
    return Record(_fields(row), "\n".join(lines))


@schedule.command("show")
@home_option
@reports
def show_schedule(home: Path | None) -> Record:
    """Show the schedule, the newest backup, and what is wrong; exit 1 if it is overdue or failed."""
    from ecluse.backups.schedule import standing

    with opened(home, reads=True) as runtime, runtime.catalog.read() as transaction:
        stands = standing(transaction)
    row, made = stands.schedule, stands.newest
    fields = {
        "state": stands.state,
        "said": str(stands.words),
        "schedule": _fields(row) if row else None,
        "newest": _made(made) if made else None,
    }
    lines = [str(stands.words)]
    if made is not None:
        lines.append(
            f"Newest: {made.id}, {made.size / 1e6:,.1f} MB, ended {_shown(made.finished_at)}, in {made.url}"
        )
    if row is not None:
        lines.append(f"{_every(row.every)}, next {_shown(row.due_at)}, to {row.url}; keeps {_keeps(row)}")
        if row.not_pruned:
            lines.append(f"Old ones are not removed: {row.not_pruned}")
    return Record(fields, "\n".join(lines), failed=stands.is_trouble)


@schedule.command("off")
@home_option
@reports
def end_schedule(home: Path | None) -> Record:
    """Have no more backups made. Those that were made stay."""
    from ecluse.backups.schedule import end_schedule

    with opened(home) as runtime:
        was_there = end_schedule(runtime)
    return Record(
        {"ended": was_there}, "No more backups are made." if was_there else "There was no schedule."
    )


def place_address(text: str) -> str:
    """Return the address of a place, which may be named as a folder."""
    return text if "://" in text else Path(text).expanduser().absolute().as_uri()


def _fields(row: BackupSchedule) -> dict[str, Any]:
    names = (
        "url",
        "every",
        "at",
        "keep",
        "keep_days",
        "recipient",
        "contents",
        "due_at",
        "begun_at",
        "failed_at",
    )
    return {name: getattr(row, name) for name in names} | {"error": row.error, "not_pruned": row.not_pruned}


def _made(made: BackupMade) -> dict[str, Any]:
    return {
        name: getattr(made, name)
        for name in ("id", "url", "finished_at", "size", "contents", "encrypted", "damaged")
    }


def _keeps(row: BackupSchedule) -> str:
    if row.keep is not None:
        return f"the newest {row.keep}"
    return f"those of {row.keep_days} days" if row.keep_days is not None else "all"


def _every(seconds: int) -> str:
    """Say a time between two backups in the largest unit of which it is a whole number: `Every 36 hours`."""
    name, size = next((name, size) for name, size in _NAMES.items() if seconds % size == 0)
    number = seconds // size
    return f"Every {name}" if number == 1 else f"Every {number} {name}s"


def _shown(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
