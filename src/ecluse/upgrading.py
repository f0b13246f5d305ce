"""Look at what a release would do to a catalog that others use, before it is deployed; nothing is written."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from ecluse import __version__
from ecluse.backups import Keys, Owner, Place
from ecluse.backups.places import check_address, store_of
from ecluse.catalog import Catalog, Transaction, backup_schedules, migrations_of_applications, revisions
from ecluse.catalog.of_backups import BackupMade
from ecluse.catalog.revisions import HEAD, ConnectionsSeen, JobsSeen, Step, WorkerSeen
from ecluse.disks import Disk, look_at
from ecluse.errors import CatalogError, CatalogUnavailable
from ecluse.limits import ASKED
from ecluse.settings import AREAS, Settings
from ecluse.storage import Stores
from ecluse.work import kinds


@dataclass(frozen=True)
class Planned:
    """A migration that would run, and about how many rows of each table it writes anew; None where it does not say."""

    revision: str
    title: str
    phase: revisions.Phase
    rows: dict[str, int] | None


@dataclass(frozen=True)
class LatestBackup:
    """The newest finished backup, of a place or as the catalog has noted it."""

    id: str
    created_at: datetime
    hours: float


@dataclass(frozen=True)
class Findings:
    """What was seen. `problems` stand in the way of a deploy beside what runs now; `notes` do not.

    `held`: the migration that the tables stand at, None for an empty database; `oldest`: the oldest one whose release
    may work with them, where that is noted. `applications`: those whose own tables are upgraded, with both versions.
    """

    release: str
    needs: str
    held: str | None
    oldest: str | None
    steps: list[Planned]
    applications: dict[str, dict[str, str]]
    workers: list[WorkerSeen]
    connections: list[ConnectionsSeen]
    jobs_left: list[JobsSeen]
    database_bytes: int
    disks: list[dict[str, Any]]
    backup: LatestBackup | None
    problems: list[str]
    notes: list[str]


def check(settings: Settings, *, backups: str | None = None) -> Findings:
    """Look at the catalog that the settings name, and at who uses it. `backups`: address of a place for backups.

    Raises:
        CatalogUnavailable: the catalog does not answer.
    """
    catalog = Catalog(settings.database_url, limits=ASKED)
    try:
        problems: list[str] = []
        try:
            catalog.version()
        except CatalogUnavailable:
            raise
        except CatalogError as error:
            problems.append(str(error))
        with catalog.read() as transaction:
            newest = (
                _noted_backup(transaction)
                if backups is None
                else _latest_backup(transaction, settings, backups)
            )
            if backups is not None and newest is None:
                problems.append(
                    f"No backup of this home is finished. Make one: ecluse backup create --to {backups}"
                )
            return _findings(transaction.connection(), settings, problems, newest)
    finally:
        catalog.close()


def _findings(
    connection: Connection, settings: Settings, problems: list[str], backup: LatestBackup | None
) -> Findings:
    held = revisions.held(connection)
    steps = revisions.steps(held)
    planned = [_planned(connection, step) for step in steps] if held is not None else []
    workers, connections = revisions.living_workers(connection), revisions.connections(connection)
    left = [seen for seen in revisions.jobs_by_version(connection) if not _can_run(seen)]
    disks, size = look_at(settings.local_places()), revisions.size(connection)
    problems += [*_in_the_way(planned, steps, workers, connections), *map(_left, left)]
    problems += _of_disks(disks, size if planned and connection.dialect.name == "sqlite" else 0)
    notes = []
    if connection.dialect.name == "postgresql":
        notes.append("The disk of the PostgreSQL server is not seen from here.")
    elif planned:
        notes.append("Of SQLite only workers are seen: end the web process of the release before yourself.")
    if backup is None:
        notes.append("The catalog knows of no backup. Name the place where they are: --backups URL")
    return Findings(
        release=__version__,
        needs=HEAD,
        held=held,
        oldest=revisions.oldest(connection),
        steps=planned,
        applications=_outdated(connection),
        workers=workers,
        connections=connections,
        jobs_left=left,
        database_bytes=size,
        disks=[{"uses": disk.uses, "folder": str(disk.folder), "free_bytes": disk.free} for disk in disks],
        backup=backup,
        problems=problems,
        notes=notes,
    )


def _planned(connection: Connection, step: Step) -> Planned:
    rows = None if step.rewrites is None else revisions.about_rows(connection, step.rewrites)
    return Planned(step.revision, step.title, step.phase, rows)


def _in_the_way(
    planned: list[Planned],
    steps: list[Step],
    workers: list[WorkerSeen],
    connections: list[ConnectionsSeen],
) -> list[str]:
    older = revisions.older_processes(steps, workers, connections, guessed=True) if planned else []
    if not older:
        return []
    names = ", ".join(step.revision for step in steps if step.phase == "contract")
    return [
        f"Migrations {names} take away what an older release uses, and such a one runs: {', '.join(older)}. Stop its "
        "processes, then run: ecluse upgrade apply"
    ]


def _can_run(seen: JobsSeen) -> bool:
    kind = kinds().get(seen.kind)
    return kind is not None and seen.version <= kind.version


def _left(seen: JobsSeen) -> str:
    return (
        f"{seen.queued} waiting and {seen.running} running jobs are of version {seen.version} of the kind {seen.kind}, "
        "which this release cannot run. Let a worker of the release that queued them end them, or cancel them."
    )


def _of_disks(disks: list[Disk], needed: int) -> list[str]:
    """Say what is wrong with disks. `needed`: bytes of SQLite's file, which it may write anew as a whole."""
    said = [disk.trouble for disk in disks if disk.trouble is not None]
    return said + [
        f"{disk.folder} has {disk.free / 1e6:,.0f} MB free, and the upgrade may need {needed / 1e6:,.0f} MB. Free some."
        for disk in disks
        if "catalog" in disk.uses and disk.trouble is None and disk.free < needed
    ]


def _outdated(connection: Connection) -> dict[str, dict[str, str]]:
    versions = migrations_of_applications.versions(connection)
    return {
        application.name: {
            "held": versions.get(application.name, ""),
            "needs": migrations_of_applications.newest(folder),
        }
        for application, folder in migrations_of_applications.outdated(connection)
    }


def _latest_backup(transaction: Transaction, settings: Settings, url: str) -> LatestBackup | None:
    """Return the newest backup of this home in a place."""
    check_address(url)
    notes = revisions.has_table(transaction.connection(), BackupMade.__tablename__)
    owner = Owner.of(transaction, settings) if notes else Owner(settings)
    stores = Stores({area: settings.area_url(area) for area in AREAS}, settings.access)
    with tempfile.TemporaryDirectory(prefix="ecluse-upgrade-") as scratch:
        finished, _ = Place(store_of(stores, url), Path(scratch), Keys()).list()
    newest = next((each for each in finished if owner.owns(each)), None)
    return None if newest is None else _backup(newest.id, newest.created_at)


def _noted_backup(transaction: Transaction) -> LatestBackup | None:
    """Return the backup that was finished last, as far as the catalog has noted that."""
    if not revisions.has_table(transaction.connection(), BackupMade.__tablename__):
        return None
    newest = backup_schedules.newest(transaction)
    return None if newest is None else _backup(newest.id, newest.finished_at)


def _backup(backup_id: str, moment: datetime) -> LatestBackup:
    age = datetime.now(UTC) - moment
    return LatestBackup(backup_id, moment, round(age.total_seconds() / 3600, 1))
