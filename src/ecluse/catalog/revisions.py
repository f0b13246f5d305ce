"""Know the migrations of the catalog: which a database still needs, and which releases may work with it meanwhile.

A migration *expands* where code of the release before goes on working beside it: it adds tables, columns that may be
empty or have a default, and indexes. Any other *contracts*, and may run once no process of a release is left that
still uses what it takes away. Each says so itself (`phase`), with the tables whose rows it writes anew (`rewrites`).
Those before `STATED` do not; they count as such that contract.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from sqlalchemy import Connection, delete, func, insert, inspect, select, text
from sqlalchemy import table as sql_table
from sqlalchemy.orm import Session

from ecluse.catalog import workers
from ecluse.catalog.tables import Compatibility, JobRow, Worker
from ecluse.catalog.work import ACTIVE
from ecluse.connections import NAME

if TYPE_CHECKING:
    from alembic.config import Config

#: The newest migration; a test holds it equal to what Alembic finds in `migrations/`.
HEAD: Final = "0040"
#: The first migration that says whether it expands.
STATED: Final = "0026"
#: The one since which workers say of which release they are.
RELEASES_NOTED: Final = "0035"
FOLDER: Final = Path(__file__).parent / "migrations"

Phase = Literal["expand", "contract"]


@dataclass(frozen=True)
class Step:
    """A migration. `rewrites`: tables whose rows it writes anew; None where it does not say."""

    revision: str
    title: str
    phase: Phase
    rewrites: tuple[str, ...] | None


@dataclass(frozen=True)
class WorkerSeen:
    """A worker that lives. `release` and `revision` are None where it is of a release that does not say."""

    id: str
    host: str
    release: str | None
    revision: str | None

    def is_older(self, step: Step) -> bool:
        """Return whether it is of a release before a migration, as one is that does not say."""
        return self.revision is None or self.revision < step.revision


@dataclass(frozen=True)
class ConnectionsSeen:
    """Open connections of processes of Écluse to PostgreSQL, by what they call themselves and where from.

    `release` is None where they do not say, as those of an older release; `revision` also where they are for documents.
    """

    release: str | None
    revision: str | None
    address: str | None
    count: int

    def is_older(self, step: Step) -> bool:
        """Return whether they are of a release before a migration."""
        return self.release is None or (self.revision is not None and self.revision < step.revision)


@dataclass(frozen=True)
class JobsSeen:
    """How many jobs of one version of a kind wait or run."""

    kind: str
    version: int
    queued: int
    running: int


def held(connection: Connection) -> str | None:
    """Return the migration that a database stands at; None for an empty one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    version = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return None if version is None else str(version)


def has_table(connection: Connection, name: str) -> bool:
    """Return whether a database has a table, which older ones lack."""
    return inspect(connection).has_table(name)


def oldest(connection: Connection) -> str | None:
    """Return the oldest revision whose release can work with these tables; None where that is not noted."""
    if not inspect(connection).has_table(Compatibility.__tablename__):
        return None
    value = connection.scalar(select(Compatibility.oldest))
    return None if value is None else str(value)


def note_oldest(connection: Connection) -> None:
    """Note the newest migration that contracts: whoever does not know it cannot work with what it left."""
    contracting = [step.revision for step in steps() if step.phase == "contract"]
    connection.execute(delete(Compatibility))
    connection.execute(insert(Compatibility).values(id=1, oldest=max(contracting)))


def steps(after: str | None = None) -> list[Step]:
    """List the migrations that a database at `after` (None: an empty one) has not had, in their order."""
    from alembic.script import ScriptDirectory

    newest_first = list(ScriptDirectory.from_config(config()).walk_revisions())
    return [_step(script) for script in reversed(newest_first) if after is None or script.revision > after]


def config(connection: Connection | None = None) -> Config:
    """Return what Alembic needs to know of our migrations."""
    from alembic.config import Config

    made = Config()
    made.set_main_option("script_location", str(FOLDER))
    made.attributes["connection"] = connection
    return made


# Who works with a database now


def older_processes(
    steps: Sequence[Step],
    workers: Sequence[WorkerSeen],
    connections: Sequence[ConnectionsSeen],
    *,
    guessed: bool,
) -> list[str]:
    """Name the processes of a release that uses what these migrations take away; none where they take nothing.

    `guessed`: also connections that do not say of which release they are. A look before a deploy names them; no
    upgrade is refused because of them, as they may be another program's.
    """
    contracting = [step for step in steps if step.phase == "contract"]
    if not contracting:
        return []
    return [f"a worker on {worker.host}" for worker in workers if worker.is_older(contracting[-1])] + [
        f"{seen.count} connections from {seen.address or 'its own machine'}"
        for seen in connections
        if seen.is_older(contracting[-1]) and (guessed or seen.release is not None)
    ]


def living_workers(connection: Connection) -> list[WorkerSeen]:
    """List the workers that live, also in a database of a release that noted less of them; none where it noted none."""
    there = inspect(connection)
    if not there.has_table(Worker.__tablename__):
        return []
    columns = {column["name"] for column in there.get_columns(Worker.__tablename__)}
    if {column.name for column in Worker.__table__.columns} <= columns:
        with Session(connection) as session:
            return [
                WorkerSeen(worker.executor_id, worker.host, worker.release, worker.revision)
                for worker in workers.living(session)
            ]
    if not {"boot", "namespace", "process_started"} <= columns:
        return []
    with Session(connection) as session:
        return [
            WorkerSeen(worker.executor_id, worker.host, None, None)
            for worker in workers.living(session, noted=columns)
        ]


def connections(connection: Connection) -> list[ConnectionsSeen]:
    """List open connections to this PostgreSQL database, but for our own and those of other programs; else none."""
    if connection.dialect.name != "postgresql":
        return []
    query = text(
        "SELECT application_name, host(client_addr), count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend' "
        "AND usename = current_user AND (application_name = '' OR application_name LIKE :ours) "
        "GROUP BY 1, 2 ORDER BY 1, 2"
    )
    rows = connection.execute(query, {"ours": f"{NAME} %"}).all()
    return [_connections(*row) for row in rows]


def jobs_by_version(connection: Connection) -> list[JobsSeen]:
    """Count the jobs that wait or run, by their kind and its version; every one is of the first in older tables."""
    there = inspect(connection)
    if not there.has_table(JobRow.__tablename__):
        return []
    has_versions = "version" in {column["name"] for column in there.get_columns(JobRow.__tablename__)}
    version = JobRow.version if has_versions else text("1")
    counted: dict[tuple[str, int], dict[str, int]] = {}
    query = select(JobRow.kind, version, JobRow.status, func.count()).where(JobRow.status.in_(ACTIVE))
    group = (JobRow.kind, JobRow.version, JobRow.status) if has_versions else (JobRow.kind, JobRow.status)
    for kind, number, status, count in connection.execute(query.group_by(*group)):
        counted.setdefault((kind, number), {})[status] = count
    return [
        JobsSeen(kind, number, counts.get("queued", 0), counts.get("running", 0))
        for (kind, number), counts in sorted(counted.items())
    ]


def about_rows(connection: Connection, tables: Sequence[str]) -> dict[str, int]:
    """Say about how many rows these tables have: on PostgreSQL as it estimates itself, else counted."""
    there = set(inspect(connection).get_table_names())
    return {name: _about_rows(connection, name) for name in tables if name in there}


def size(connection: Connection) -> int:
    """Return the bytes of the whole database."""
    if connection.dialect.name == "postgresql":
        return int(connection.scalar(text("SELECT pg_database_size(current_database())")) or 0)
    return int(
        connection.scalar(text("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")) or 0
    )


def _about_rows(connection: Connection, name: str) -> int:
    if connection.dialect.name == "postgresql":
        query = text("SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass(:name)")
        estimate = int(connection.scalar(query, {"name": name}) or 0)
        if estimate >= 0:  # less than 0 of a table that was never looked at
            return estimate
    return int(connection.scalar(select(func.count()).select_from(sql_table(name))) or 0)


def _connections(name: str, address: str | None, count: int) -> ConnectionsSeen:
    words = [*name.split(" "), None, None]
    release, revision = words[1], words[2]
    return ConnectionsSeen(release, revision, address, count)


def _step(script: Any) -> Step:
    stated = script.revision >= STATED
    phase: Phase = getattr(script.module, "phase", "contract") if stated else "contract"
    rewrites = getattr(script.module, "rewrites", None)
    title = (script.doc or "").strip().splitlines()[0]
    return Step(script.revision, title, phase, None if rewrites is None else tuple(rewrites))
