"""Open the catalog, bring its tables up to date, and hand out transactions."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DatabaseError, DataError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from sqlalchemy.orm import Session

from ecluse.catalog import homes, jobs, migrations_of_applications
from ecluse.catalog.changes import Changes
from ecluse.catalog.fences import fenced as fenced
from ecluse.catalog.fences import job_of_thread
from ecluse.catalog.fences import keep_fence as keep_fence
from ecluse.connections import lift_limits, open_engine, remade, why_postgresql_fails
from ecluse.disks import is_damage, private_file, usable, why_sqlite_fails
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

#: The newest migration; a test holds it equal to what Alembic finds in `migrations/`.
HEAD: Final = "0021"
#: Any number known to this application alone: the PostgreSQL lock under which one process migrates.
MIGRATION_LOCK: Final = 7_231_964_205


class Catalog:
    """The relational tables at `url`: SQLite or PostgreSQL.

    `read()` and `write()` give a SQLAlchemy session for the functions beside this module; rows stay
    usable after it is closed.
    """

    def __init__(self, url: str, *, moves: bool = False, limits: Limits = WORKING) -> None:
        """`moves`: for who moves a home here or away, and writes while it is closed to all others.

        `limits`: how long a statement on PostgreSQL may take; of a move, and of migrations, as long as it needs.
        """
        # Rows of the core point at tables of applications, and what is stored is added up over all of them.
        migrations_of_applications.import_rows()
        self._url = make_url(url)
        self._moves = moves
        self._has_moves = False
        is_file = self._url.get_backend_name() == "sqlite" and bool(self._url.database)
        self._file = Path(self._url.database or "") if is_file else None
        self.engine = open_engine(url, UNLIMITED if moves else limits)
        self.changes = Changes(self.engine)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a session for reading; nothing it changes is kept."""
        with self._reported(), Session(self.engine, expire_on_commit=False) as session:
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
        with (
            self._reported(),
            Session(engine, expire_on_commit=False) as session,
            session.begin(),
        ):
            if not (closed or self._moves):
                homes.expect_open(session)
            if not closed and (job := job_of_thread()) is not None and not jobs.is_held(session, *job):
                raise JobTaken(_("Another worker has taken the job over."))
            yield session

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

    def migrate(self) -> None:
        """Bring the tables to the newest version; several processes may call this at once."""
        if self._file is not None:
            with usable(self._file.parent):
                self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                private_file(self._file)
        with self._reported():
            if self.version() == HEAD and not self._has_outdated_applications():
                return
            with self.engine.execution_options(ecluse_write=True).connect() as connection, remade(connection):
                lift_limits(connection)
                if connection.dialect.name == "postgresql":
                    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
                _upgrade(connection)
                migrations_of_applications.upgrade(connection)

    def _has_outdated_applications(self) -> bool:
        with self.engine.connect() as connection:
            return bool(migrations_of_applications.outdated(connection))

    def version(self) -> str | None:
        """Return the migration the database stands at; None for an empty one.

        Raises:
            CatalogError: the database was made by a newer Écluse.
        """
        with self.engine.connect() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return None
            version = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
        if version is not None and str(version) > HEAD:
            raise CatalogError(
                _(
                    "The catalog is at version %(value)s, newer than this Écluse (%(word)s). Install a "
                    "newer one.",
                    value=version,
                    word=HEAD,
                )
            )
        return None if version is None else str(version)

    def close(self) -> None:
        self.changes.close()
        self.engine.dispose()

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
        kind = CatalogDamaged if is_damage(cause) else CatalogUnwritable
        raise kind(_("The catalog cannot be used. %(reason)s", reason=reason)) from error


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
