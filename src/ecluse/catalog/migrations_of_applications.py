"""Bring the tables of applications of other distributions up to date.

Such an application has a folder `migrations` of Alembic revisions in its package: `0001_start.py`, `0002_….py`, each
named by its revision, in one chain. Which of them a catalog has is kept in a table of the application's own,
`NAME_version`. Ours keep the one chain of `migrations/`.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, String, column, inspect, select
from sqlalchemy import table as sql_table

from ecluse.application import Application, applications, folder_of, leave_out, parts
from ecluse.errors import CatalogError

#: What Alembic runs for each application; the revisions lie with the application.
ENVIRONMENT: Final = Path(__file__).parent / "migrations"
logger = logging.getLogger(__name__)


def import_rows() -> None:
    """Import the rows of all applications, so that the metadata of the catalog hold every table."""
    for _ in parts("rows"):
        pass


def version_table(application: Application) -> str:
    return f"{application.name}_version"


def newest(folder: Path) -> str:
    """Return the newest revision in a folder of migrations; empty where there is none."""
    return max((path.name.partition("_")[0] for path in folder.glob("[0-9]*.py")), default="")


def outdated(connection: Connection) -> list[tuple[Application, Path]]:
    """Return the applications whose tables are not of their newest revision, and the folders of their migrations.

    An application that is older than its tables is left out.
    """
    older = []
    for application in applications():
        folder = folder_of(application, "migrations")
        if folder is None:
            continue
        held = _held(connection, version_table(application))
        if held > newest(folder):
            reason = f"The catalog has its tables of version {held}; it knows {newest(folder)}. Install a newer one."
            leave_out(application, "migrations", reason)
        elif held < newest(folder):
            older.append((application, folder))
    return older


def upgrade(connection: Connection) -> None:
    """Upgrade the tables of every application that has older ones.

    Raises:
        CatalogError: a migration of an application failed; nothing of the upgrade is kept.
    """
    from alembic import command
    from alembic.config import Config

    for application, folder in outdated(connection):
        config = Config()
        config.set_main_option("script_location", _escaped(ENVIRONMENT))
        config.set_main_option("path_separator", "newline")
        config.set_main_option("version_locations", _escaped(folder))
        config.attributes |= {"connection": connection, "version_table": version_table(application)}
        try:
            command.upgrade(config, "head")
        except Exception as error:  # whatever a migration of another does
            raise CatalogError(
                f"The tables of the application {application.name} cannot be brought up to date: {error}. Remove its "
                "package, or install one that can."
            ) from error
        logger.info("Tables of %s: version %s", application.name, newest(folder))


def versions(connection: Connection) -> dict[str, str]:
    """Return the version of the tables of each application that has its own, by the application's name."""
    named = {
        application.name: _held(connection, version_table(application))
        for application in applications()
        if folder_of(application, "migrations") is not None
    }
    return {name: version for name, version in named.items() if version}


def _held(connection: Connection, table: str) -> str:
    if not inspect(connection).has_table(table):
        return ""
    versions = select(column("version_num", String)).select_from(sql_table(table))
    return str(connection.execute(versions).scalar_one_or_none() or "")


def _escaped(path: Path) -> str:
    return str(path).replace("%", "%%")
