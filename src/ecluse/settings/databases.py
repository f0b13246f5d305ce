"""Decide which databases keep the catalog and the jobs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qsl

from ecluse.errors import SettingsError
from ecluse.sentences import _
from ecluse.settings.values import split_address


def read_database_url(env: Mapping[str, str], home: Path) -> tuple[str, str]:
    """Return the address of the database of the catalog, and what says so."""
    if "DATABASE_URL" in env:
        return with_driver("DATABASE_URL", env["DATABASE_URL"]), "DATABASE_URL"
    return f"sqlite:///{home / 'catalog.db'}", _("default: no database is configured")


def read_jobs_url(env: Mapping[str, str], home: Path, database: str) -> tuple[str, str]:
    """Return the address of the database in which an older release kept its jobs, and what says so."""
    if "ECLUSE_JOBS_URL" in env:
        return with_driver("ECLUSE_JOBS_URL", env["ECLUSE_JOBS_URL"]), "ECLUSE_JOBS_URL"
    if database.startswith("postgresql"):
        return database, _("the same PostgreSQL as the catalog")
    return f"sqlite:///{home / 'jobs.db'}", _("default: a file of its own")


def with_driver(name: str, url: str) -> str:
    """Return the address of an SQL database with the driver that is used for it.

    Raises:
        SettingsError: it is none, or a password in it would be shown.
    """
    parts = split_address(name, url)
    _, _, rest = url.partition("://")
    if parts.scheme in ("postgres", "postgresql", "postgresql+psycopg") and rest:
        if rest.count("@") > parts.netloc.count("@") or parts.netloc.count("@") > 1:
            raise SettingsError(
                f"{name} cannot be read as an address: where the password ends is not clear. In it, write "
                "@ as %40, / as %2F, ? as %3F and # as %23."
            )
        for key, _ in parse_qsl(parts.query):
            if "password" in key:
                raise SettingsError(
                    f"{name} carries {key}= in its query, where messages would show it. Write a password before "
                    "the host, as user:password@host; a key file goes without one."
                )
        return f"postgresql+psycopg://{rest}"
    if parts.scheme == "sqlite" and not parts.netloc and parts.path and rest:
        return f"sqlite://{rest}"
    raise SettingsError(
        f"{name}, with the scheme {parts.scheme!r}, is not known; use sqlite:///file or "
        "postgresql+psycopg://user@host/name."
    )


def sqlite_file(url: str) -> Path | None:
    """Return the file of a SQLite database; None for any other, and for one in memory."""
    scheme, _, rest = url.partition("://")
    path = rest.partition("?")[0].removeprefix("/")
    is_file = scheme.partition("+")[0] == "sqlite" and path not in ("", ":memory:")
    return Path(path).absolute() if is_file else None
