"""Open the catalog, bring its tables up to date, and hand out transactions."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DatabaseError, DataError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from sqlalchemy.orm import ORMExecuteState, Session
from sqlalchemy.pool import QueuePool

from ecluse import telemetry
from ecluse.catalog import figures, homes, jobs, migrations_of_applications, revisions, schema
from ecluse.catalog.changes import Changes
from ecluse.catalog.fences import fenced as fenced
from ecluse.catalog.fences import job_of_thread
from ecluse.catalog.fences import keep_fence as keep_fence
from ecluse.catalog.revisions import HEAD as HEAD
from ecluse.catalog.sums import Sums
from ecluse.connections import close_engine, lift_limits, open_engine, remade, why_postgresql_fails
from ecluse.disks import is_damage, is_locked, private_file, usable, why_sqlite_fails
from ecluse.errors import (
    CatalogDamaged,
    CatalogError,
    CatalogTooSlow,
    CatalogUnavailable,
    CatalogUnwritable,
    InvalidInput,
    JobTaken,
)
from ecluse.limits import UNLIMITED, WORKING, Limits
from ecluse.sentences import _

#: Any number known to this application alone: the PostgreSQL lock under which one process migrates.
MIGRATION_LOCK: Final = 7_231_964_205
#: Tables and columns that are named where more are missing.
NAMED: Final = 5


@dataclass(frozen=True)
class Connections:
    """Connections of this process to its catalog: at work, without work, and the most there may be."""

    in_use: int
    idle: int
    most: int


class Catalog:
    """The relational tables at `url`: SQLite or PostgreSQL.

    `read()` and `write()` give a SQLAlchemy session for the functions beside this module; rows stay
    usable after it is closed.
    """

    def __init__(self, url: str, *, moves: bool = False, limits: Limits = WORKING) -> None:
        """Take `moves` for who moves a home here or away, and writes while it is closed to all others.

        `limits`: how long a statement on PostgreSQL may take; of a move, and of migrations, as long as it needs.
        """
        # Rows of the core point at tables of applications, and what is stored is added up over all of them.
        migrations_of_applications.import_rows()
        self._url = make_url(url)
        self._moves = moves
        self._has_moves = False
        is_file = self._url.get_backend_name() == "sqlite" and bool(self._url.database)
        self._file = Path(self._url.database or "") if is_file else None
        self.engine = open_engine(url, UNLIMITED if moves else limits, HEAD)
        is_postgresql = self.engine.dialect.name == "postgresql"
        options = {"isolation_level": "AUTOCOMMIT"} if is_postgresql else {}
        self._looked_at = self.engine.execution_options(**options)
        self.changes = Changes(self.engine)
        self._sums = Sums(self.changes)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a session for reading; nothing it changes is kept."""
        with self._reported(), Session(self.engine, expire_on_commit=False) as session:
            yield session
            session.expunge_all()

    @contextmanager
    def look(self) -> Iterator[Session]:
        """Open a session for questions alone: each is answered by what is committed when it is asked.

        So does `read()` on PostgreSQL, whose way there and back to begin a transaction, and to end it, is saved here.
        On SQLite all of them are answered by the same state. What is added up over many rows is kept, see `sums`.

        Raises:
            TypeError: something is to be changed, or to be held.
        """
        with self._reported(), _Looking(self._looked_at, expire_on_commit=False, autoflush=False) as session:
            self._sums.begin(session)
            yield session
            session.expunge_all()

    @contextmanager
    def write(self, *, closed: bool = False, patient: bool = True) -> Iterator[Session]:
        """One transaction: committed when the block ends, rolled back when it raises.

        `closed`: it is no part of the home, and written whether that is closed or not. Without `patient` it gives up
        at once where another one writes.

        Raises:
            HomeClosed: the home moves, or has moved: nothing is changed here.
            JobTaken: it is written for a job that another worker has by now.
        """
        engine = self.engine.execution_options(ecluse_write=True, ecluse_patient=patient)
        with self._reported(), Session(engine, expire_on_commit=False) as session:
            with session.begin():
                if not (closed or self._moves):
                    homes.expect_open(session)
                if not closed and (job := job_of_thread()) is not None and not jobs.is_held(session, *job):
                    raise JobTaken(_("Another worker has taken the job over."))
                yield session
            telemetry.committed(session.info)

    def connections(self) -> Connections:
        """Return how many connections this process holds open."""
        pool = self.engine.pool
        if not isinstance(pool, QueuePool):  # a database in memory has one for all
            return Connections(in_use=0, idle=0, most=1)
        most = pool.size() + max(pool._max_overflow, 0)
        return Connections(in_use=pool.checkedout(), idle=pool.checkedin(), most=most)

    def prove_write(self, within: float) -> None:
        """Write a row and take it back, on PostgreSQL within so many seconds: nobody sees it.

        Raises:
            CatalogUnavailable: it cannot be written.
        """
        engine = self.engine.execution_options(ecluse_write=True)
        with self._reported(), Session(engine) as session, session.begin() as writing:
            figures.limit_statements(session, within)
            figures.prove_write(session)
            writing.rollback()

    def expect_open(self) -> None:
        """Make sure that the home may be changed. A catalog without the table of moves keeps no home that could move.

        A function in the cloud, which writes documents alone, has such an empty one.

        Raises:
            HomeClosed: the home moves, or has moved: nothing is changed here.
        """
        if self._moves or (self._file is not None and not self._file.exists()):  # reading would make the file
            return
        with self.read() as transaction:
            if self._knows_moves(transaction):
                homes.expect_open(transaction)

    def _knows_moves(self, transaction: Session) -> bool:
        """Return whether the table of moves is there; once it is, it stays."""
        self._has_moves = self._has_moves or inspect(transaction.connection()).has_table("home_moves")
        return self._has_moves

    def expect_whole(self) -> None:
        """Make sure that a home that is moved here has arrived whole.

        Raises:
        HomeClosed: a home is being moved here, and has not arrived whole.
        """
        with self.read() as transaction:
            homes.expect_open(transaction, whole=True)

    def migrate(self, *, force: bool = False) -> list[revisions.Step]:
        """Bring the tables to the newest version; several processes may call this at once.

        Returns the migrations that were run. Tables that are newer stay as they are, where this release can work with
        them. `force`: take away what an older release uses, though one is seen to run.

        Raises:
            CatalogError: the tables are too new for this release, or an older one still needs what would go.
            CatalogDamaged: tables or columns are gone that its version has.
        """
        if self._file is not None:
            with usable(self._file.parent):
                self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                private_file(self._file)
        with self._reported():
            if (self.version() or "") >= HEAD and not self._has_outdated_applications():
                self._expect_tables()
                return []
            for attempt in range(1, ATTEMPTS):
                try:
                    return self._upgrade_at_once(force=force)
                except OperationalError as error:
                    if getattr(error.orig, "sqlstate", None) != DEADLOCK:
                        raise
                    time.sleep(attempt * ASIDE_S)
            return self._upgrade_at_once(force=force)

    def _upgrade_at_once(self, *, force: bool) -> list[revisions.Step]:
        """Run the migrations that are missing in one transaction."""
        with self.engine.execution_options(ecluse_write=True).connect() as connection, remade(connection):
            lift_limits(connection)
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
            steps = _upgrade(connection, force=force)
            migrations_of_applications.upgrade(connection)
        return steps

    def _expect_tables(self) -> None:
        """Make sure that every table and column of this release is there.

        Raises:
            CatalogDamaged: some are not.
        """
        with self.engine.connect() as connection:
            lacking = schema.missing(connection)
        if lacking:
            more = f" (+ {len(lacking) - NAMED})" if len(lacking) > NAMED else ""
            raise CatalogDamaged(
                _(
                    "The catalog %(value)s lacks what its version has: %(names)s. Stop Écluse, "
                    "move the database away and restore the last backup: ecluse backup restore latest --from URL.",
                    value=self._url.render_as_string(hide_password=True),
                    names=f"{', '.join(lacking[:NAMED])}{more}",
                )
            )

    def _has_outdated_applications(self) -> bool:
        with self.engine.connect() as connection:
            return bool(migrations_of_applications.outdated(connection))

    def version(self) -> str | None:
        """Return the migration the database stands at; None for an empty one.

        One that is newer than this release has what this one needs, and more, unless it says otherwise.

        Raises:
            CatalogUnavailable: the catalog does not answer.
            CatalogError: a newer Écluse has taken away what this one needs.
        """
        with self._reported(), self.engine.connect() as connection:
            version = revisions.held(connection)
            if version is None or version <= HEAD:
                return version
            oldest = revisions.oldest(connection)
        if oldest is None or oldest > HEAD:
            raise CatalogError(
                _(
                    "The catalog is at version %(value)s, newer than this Écluse (%(word)s). Install a "
                    "newer one.",
                    value=version,
                    word=HEAD,
                )
            )
        return version

    def versions_of_applications(self) -> dict[str, str]:
        """Return the version of the tables of each application that brings its own, by the application's name.

        Raises:
            CatalogUnavailable: the catalog does not answer.
        """
        with self._reported(), self.engine.connect() as connection:
            return migrations_of_applications.versions(connection)

    def close(self) -> None:
        self.changes.close()
        close_engine(self.engine)

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except (DataError, UnicodeEncodeError) as error:
            raise InvalidInput(_("A value holds characters that cannot be stored. Remove them.")) from error
        except NoConnectionFree as error:
            raise CatalogUnavailable(
                _("All connections of this process to the catalog are in use. Try again in a minute.")
            ) from error
        except (DatabaseError, sqlite3.Error) as error:
            self._raise_for_file(error)
            if (reason := why_postgresql_fails(error)) is not None:
                kind = CatalogUnwritable if reason.of_disk else CatalogUnavailable
                if reason.of_limit:
                    kind = CatalogTooSlow
                raise kind(_("The catalog cannot be used. %(reason)s", reason=reason.text)) from error
            if isinstance(error, DBAPIError) and error.connection_invalidated:
                raise CatalogUnavailable(_("The connection to the catalog was lost. Try again.")) from error
            if not isinstance(error, OperationalError):
                raise
            raise CatalogUnavailable(
                _(
                    "The catalog %(value)s does not answer: %(error)s. See: ecluse doctor",
                    value=self._url.render_as_string(hide_password=True),
                    error=str(error.orig).strip().splitlines()[0],
                )
            ) from error

    def _raise_for_file(self, error: Exception) -> None:
        """Raise an error that explains what is wrong with SQLite's file and what to do, if SQLite says so."""
        cause = getattr(error, "orig", error)
        if self._file is None or (reason := why_sqlite_fails(cause, self._file)) is None:
            return
        kind: type[CatalogUnavailable] = CatalogDamaged if is_damage(cause) else CatalogUnwritable
        if is_locked(cause):
            kind = CatalogUnavailable
        raise kind(_("The catalog cannot be used. %(reason)s", reason=reason)) from error


class _Looking(Session):
    """A session of `Catalog.look`, without a transaction that would take back or hold anything."""


@event.listens_for(_Looking, "do_orm_execute")
def _expect_question(asked: ORMExecuteState) -> None:
    if not asked.is_select or getattr(asked.statement, "_for_update_arg", None) is not None:
        raise TypeError("A look at the catalog changes and holds nothing; use Catalog.write().")


@event.listens_for(_Looking, "before_flush")
def _expect_no_change(session: Session, *_: object) -> None:
    raise TypeError("A look at the catalog keeps no row; use Catalog.write().")


#: A migration and a request of an older release may each wait for a table that the other has. PostgreSQL then undoes
#: either of them whole, to be done again: https://www.postgresql.org/docs/current/explicit-locking.html#LOCKING-DEADLOCKS
DEADLOCK: Final = "40P01"
ATTEMPTS: Final = 5
ASIDE_S: Final = 0.5

#: The migration from which on there are files, work and jobs.
WORK_NOTED: Final = "0015"


def _upgrade(connection: Connection, *, force: bool) -> list[revisions.Step]:
    """Run the migrations that are missing, where no process of an older release needs what they take away."""
    from alembic import command

    held = revisions.held(connection)
    if held is not None and held >= HEAD:  # another process has done it meanwhile
        return []
    steps = revisions.steps(held)
    if held is not None and held >= revisions.RELEASES_NOTED and not force:
        _expect_no_older(connection, steps)
    if held is not None and held >= WORK_NOTED and connection.dialect.name == "postgresql":
        # In the order in which requests write: with jobs first, each would wait for the other, and one be refused.
        connection.execute(text("LOCK TABLE files, work, jobs IN ACCESS EXCLUSIVE MODE"))
    command.upgrade(revisions.config(connection), "head")
    revisions.note_oldest(connection)
    return steps


def _expect_no_older(connection: Connection, steps: Sequence[revisions.Step]) -> None:
    workers, connections = revisions.living_workers(connection), revisions.connections(connection)
    older = revisions.older_processes(steps, workers, connections, guessed=False)
    if older:
        raise CatalogError(
            _(
                "This release takes away what processes of an older one use, and such run (%(names)s). Stop them "
                "first. See: ecluse upgrade check",
                names=", ".join(older),
            )
        )
