"""Look at what a release would do to the catalog, and bring the catalog up to date."""

from __future__ import annotations

import contextlib
from dataclasses import asdict
from pathlib import Path

import click

from ecluse import __version__, upgrading
from ecluse.catalog import Catalog
from ecluse.catalog.revisions import HEAD, ConnectionsSeen, WorkerSeen
from ecluse.cli.backup_schedule import place_address
from ecluse.cli.groups import Group
from ecluse.cli.output import Record, reports
from ecluse.cli.session import expect_home, home_option, opened
from ecluse.limits import UNLIMITED
from ecluse.runtime import make_home
from ecluse.settings import Settings


@click.group(cls=Group)
def upgrade() -> None:
    """Upgrade the catalog that other processes use: look before, then do it."""


@upgrade.command("check")
@click.option("--backups", metavar="URL", help="Folder or address of backups, to say how old the newest is.")
@home_option
@reports
def check(backups: str | None, home: Path | None) -> Record:
    """Say what this release would do to the catalog, and who uses that now; exit 1 if anything stands in the way.

    Run it with the new release before it is deployed. It writes nothing.
    """
    settings = Settings.from_environment(home=home)
    expect_home(settings)
    seen = upgrading.check(settings, backups=None if backups is None else place_address(backups))
    return Record(asdict(seen), "\n".join(_lines(seen)), failed=bool(seen.problems))


@upgrade.command("apply")
@click.option("--force", is_flag=True, help="Also take away what processes that run now still use.")
@home_option
@reports
def apply(force: bool, home: Path | None) -> Record:
    """Bring the tables up to date, each migration once however many processes ask for it, and say which ran."""
    settings = Settings.from_environment(home=home)
    make_home(settings.home, shared=settings.home_shared)
    with contextlib.closing(Catalog(settings.database_url, limits=UNLIMITED)) as catalog:
        steps = catalog.migrate(force=force)
    with opened(home, limits=UNLIMITED) as runtime:  # what comes beside the tables
        version = runtime.catalog.version()
    lines = [f"{step.revision}  {step.phase:<8}  {step.title}" for step in steps]
    lines.append(f"The catalog is at version {version}; this release ({__version__}) needs {HEAD}.")
    return Record(
        {"applied": [asdict(step) for step in steps], "version": version, "needs": HEAD}, "\n".join(lines)
    )


def _lines(seen: upgrading.Findings) -> list[str]:
    if seen.held is None:
        return ["The database is empty: there is nothing to upgrade.", *_judged(seen)]
    lines = [f"The catalog is at version {seen.held}; this release ({seen.release}) needs {seen.needs}."]
    lines += [f"  {step.revision}  {step.phase:<8}  {step.title}{_rewritten(step)}" for step in seen.steps]
    lines += [
        f"  tables of {name}: {versions['held'] or 'none'} to {versions['needs']}"
        for name, versions in seen.applications.items()
    ]
    lines += [_worker_line(worker) for worker in seen.workers]
    lines += [_connections_line(connections) for connections in seen.connections]
    if seen.backup is not None:
        lines.append(f"The newest backup, {seen.backup.id}, is {seen.backup.hours:,.1f} hours old.")
    return [*lines, *_judged(seen)]


def _judged(seen: upgrading.Findings) -> list[str]:
    lines = [f"Note: {note}" for note in seen.notes] + [f"In the way: {problem}" for problem in seen.problems]
    if not seen.problems:
        lines.append("Nothing stands in the way of a deploy beside what runs now.")
    return lines


def _rewritten(step: upgrading.Planned) -> str:
    if step.rows is None:
        return " (which rows it writes anew is not known)"
    return "".join(f" (writes about {rows:,} rows of {table} anew)" for table, rows in step.rows.items())


def _worker_line(worker: WorkerSeen) -> str:
    return f"  a worker runs on {worker.host}, {_release(worker.release, worker.revision)}"


def _connections_line(seen: ConnectionsSeen) -> str:
    where = seen.address or "its own machine"
    return f"  {seen.count} connections are open from {where}, {_release(seen.release, seen.revision)}"


def _release(release: str | None, revision: str | None) -> str:
    if release is None:
        return "of a release that does not say which"
    return f"of release {release}" + (f" ({revision})" if revision else ", for documents")
