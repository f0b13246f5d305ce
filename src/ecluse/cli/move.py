"""Move everything this home keeps to another database and other stores, and back."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import click

from ecluse import moving
from ecluse.catalog.tables import HomeMove
from ecluse.cli.groups import Group
from ecluse.cli.output import Record, Rows, progress, reports, say
from ecluse.cli.session import home_option, opened
from ecluse.errors import SettingsError
from ecluse.settings import Settings, read_variables

F = TypeVar("F", bound=Callable[..., Any])
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group(cls=Group)
def move() -> None:
    """Move everything this home keeps to another database and other stores: accounts, rows, objects, documents, jobs.

    The place is named by a file with the variables of its settings, such as cloud.env: DATABASE_URL=…,
    ECLUSE_STORE_URL=…, keys. Only what stands in the file counts for it. A move copies: the source stays as it is,
    and can be read but not changed from its beginning on.
    """


def ends(command: F) -> F:
    """`--to`, `--from` and `--home`: from where and to where."""
    for option in (
        home_option,
        click.option("--from", "source", type=_FILE, help="File of the home to move. Default: this home."),
        click.option("--to", "destination", type=_FILE, required=True, help="File of the place to move to."),
    ):
        command = option(command)
    return command


@move.command("plan")
@ends
@reports
def plan(source: Path | None, destination: Path, home: Path | None) -> Record:
    """Look through both places and say what a move brings, and what is in its way; exit 1 if anything is."""
    with _both(source, destination, home) as both, progress("Looking through both places") as report:
        made = moving.plan(both, report=report)
    return Record(asdict(made), "\n".join(_plan_lines(made, destination)), failed=bool(made.problems))


@move.command("run")
@ends
@click.option("--wait", is_flag=True, help="Wait until no job waits or runs at the source.")
@reports
def run(source: Path | None, destination: Path, home: Path | None, wait: bool) -> Record:
    """Bring everything to the place, compare it there, and let people in. Killed, the same command goes on.

    From its beginning on the source can be read and not changed.
    """
    with _both(source, destination, home) as both, _resumable("run"), progress("Moving") as report:
        outcome = moving.run(both, wait=wait, report=report)
    return Record(asdict(outcome), "\n".join(_outcome_lines(outcome, destination)))


@move.command("verify")
@ends
@reports
def verify(source: Path | None, destination: Path, home: Path | None) -> Record:
    """Compare both places row by row and read every object there again; exit 1 names what differs."""
    with _both(source, destination, home) as both, progress("Comparing both places") as report:
        check = moving.verify(both, report=report)
    if not check.passed:
        return Record(asdict(check), "\n".join(check.findings), failed=True)
    count = sum(counts["rows"] for counts in check.rows.values())
    text = f"{count:,} rows, {check.documents.get('same', 0):,} documents and {check.objects:,} objects are the same."
    return Record(asdict(check), text)


@move.command("rollback")
@ends
@click.option("--yes", is_flag=True, help="Do not ask.")
@reports
def rollback(source: Path | None, destination: Path, home: Path | None, yes: bool) -> Record:
    """Remove at the place what the move brought, and open the source for changes again.

    Refused where the place was used since: move back from there instead.
    """
    with _both(source, destination, home) as both, _resumable("rollback"):
        if not yes:
            place = moving.described(both.destination.settings)["database"]
            click.confirm(f"What was moved to {place} is deleted there. Go on?", abort=True, err=True)
        with progress("Rolling back") as report:
            undone = moving.rollback(both, report=report)
    lines = [
        f"This home is open again. {undone.rows:,} rows, {undone.documents:,} documents, {undone.jobs:,} jobs and "
        f"{undone.objects:,} objects were removed there.",
        *(f"stays      {name}" for name in undone.kept),
    ]
    return Record(asdict(undone), "\n".join(lines))


@move.command("release")
@click.option("--yes", is_flag=True, help="Do not ask.")
@home_option
@reports
def release(yes: bool, home: Path | None) -> Record:
    """Open this home again beside its copy, without asking the place it moved to; nothing is removed anywhere.

    From then on the two grow apart. It is the way out where that place is gone.
    """
    with opened(home) as runtime:
        if not yes:
            click.confirm("Both go on from here, each for itself. Go on?", abort=True, err=True)
        ended = moving.release(runtime.catalog)
    place = ended.destination["database"]
    return Record(_row(ended), f"This home is open again. What was moved to {place} stays there.")


@move.command("list")
@home_option
@reports
def list_all(home: Path | None) -> Rows:
    """List the moves to and from this home, and how each stands."""
    with opened(home) as runtime:
        rows = [_row(move_row) for move_row in moving.list_moves(runtime.catalog)]
    columns = ("id", "direction", "state", "from", "to", "rows", "objects", "documents", "created_at")
    return Rows(rows, columns, "Nothing was moved to or from here. Plan it: ecluse move plan --to cloud.env")


@contextmanager
def _both(source: Path | None, destination: Path, home: Path | None) -> Iterator[moving.Homes]:
    ours = Settings.from_environment(home=home) if source is None else _settings(source, home)
    with moving.opened(ours, _settings(destination, ours.home)) as both:
        yield both


def _settings(file: Path, scratch: Path | None) -> Settings:
    """Read the settings of a file; `scratch` is the local folder of one that keeps nothing on this machine.

    Raises:
        SettingsError: it would keep something in a folder that it does not name.
    """
    variables = read_variables(file)
    if "ECLUSE_HOME" in variables:
        return Settings.from_environment(variables)
    settings = Settings.from_environment(variables, home=scratch)
    places = [settings.database_url, settings.store_url, *settings.areas.values()]
    if any(str(settings.home) in place for place in places):
        raise SettingsError(
            f"{file} does not say where everything is kept. Set DATABASE_URL and ECLUSE_STORE_URL in it; or, for a "
            "home on this machine, ECLUSE_HOME."
        )
    return settings


@contextmanager
def _resumable(verb: str) -> Iterator[None]:
    """Say how to go on where Ctrl-C, or whoever stops the container, ends the work."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        say(f"What is done is kept. Go on with the same command: ecluse move {verb}")
        raise


def _plan_lines(made: moving.Plan, file: Path) -> list[str]:
    lines = [f"{made.source['database']} → {made.destination['database']}"]
    lines += [f"  {name:<20}{count:>10,} rows" for name, count in made.rows.items() if count]
    lines.append(f"  {'documents':<20}{made.documents:>10,}")
    lines.append(f"  {'jobs':<20}{made.jobs:>10,}")
    lines.append(
        f"  {'objects':<20}{made.objects:>10,} {made.size / 1e6:>12,.1f} MB, {made.to_copy:,} to copy"
    )
    lines += [f"  note: {text}" for text in made.notes]
    lines += [f"In the way: {text}" for text in made.problems]
    if not made.problems:
        lines.append(f"Run it: ecluse move run --to {file}")
    return lines


def _outcome_lines(outcome: moving.Outcome, file: Path) -> list[str]:
    lines = [
        f"{sum(outcome.rows.values()):,} rows, {outcome.documents:,} documents, {outcome.jobs:,} jobs and "
        f"{outcome.objects:,} objects ({outcome.size / 1e6:,.1f} MB) arrived and were compared.",
        "Work goes on there; here everything can be read and not changed.",
    ]
    lines += [f"points at nothing, there as here: {name}" for name in outcome.left]
    return [*lines, f"Compare again: ecluse move verify --to {file}. Back: ecluse move rollback --to {file}"]


def _row(move_row: HomeMove) -> dict[str, Any]:
    return {
        "id": move_row.id,
        "direction": move_row.direction,
        "state": move_row.state,
        "from": move_row.source["database"],
        "to": move_row.destination["database"],
        "source": move_row.source,
        "destination": move_row.destination,
        "rows": sum(move_row.counts.get("rows", {}).values()),
        "objects": move_row.counts.get("objects"),
        "documents": move_row.counts.get("documents"),
        "counts": move_row.counts,
        "created_at": move_row.created_at,
        "finished_at": move_row.finished_at,
    }
