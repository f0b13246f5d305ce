"""Make a database and the role that owns it, as the administrator of a PostgreSQL."""

from __future__ import annotations

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

from ecluse.errors import CatalogUnavailable
from ecluse.sentences import _
from ecluse.settings import without_password


def make_database(administrator_url: str, name: str, owner: str, password: str) -> None:
    """Make what is missing of database and owner, who is no superuser; its password becomes `password`.

    `administrator_url` is of the form `postgresql://user:password@host:port/postgres`.

    Raises:
        CatalogUnavailable: the server does not answer, or refuses.
    """
    secret = sql.Literal(password)
    try:
        with psycopg.connect(administrator_url, autocommit=True, connect_timeout=5) as connection:
            role_is_there = _is_there(connection, "pg_roles", "rolname", owner)
            verb = sql.SQL("ALTER" if role_is_there else "CREATE")
            connection.execute(
                sql.SQL("{} ROLE {} LOGIN PASSWORD {}").format(verb, sql.Identifier(owner), secret)
            )
            if not _is_there(connection, "pg_database", "datname", name):
                connection.execute(
                    sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), sql.Identifier(owner))
                )
    except psycopg.OperationalError as error:
        raise CatalogUnavailable(
            _(
                "The catalog %(value)s does not answer: %(error)s. See: ecluse doctor",
                value=without_password(administrator_url),
                error=str(error).strip().splitlines()[0],
            )
        ) from error


def make_schema(url: str, name: str) -> str:
    """Make a schema in the PostgreSQL at `url` where it is missing; the address that leads into it.

    Raises:
        CatalogUnavailable: the server does not answer, or refuses.
    """
    address = make_url(url)
    plain = address.set(drivername="postgresql").render_as_string(hide_password=False)
    try:
        with psycopg.connect(plain, autocommit=True, connect_timeout=5) as connection:
            connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(name)))
    except psycopg.Error as error:
        raise CatalogUnavailable(
            _(
                "The catalog %(value)s does not answer: %(error)s. See: ecluse doctor",
                value=without_password(url),
                error=str(error).strip().splitlines()[0],
            )
        ) from error
    options = f"{address.query.get('options', '')} -csearch_path={name}".strip()
    inside = address.update_query_dict({"options": options})
    return inside.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


def _is_there(connection: psycopg.Connection, table: str, column: str, name: str) -> bool:
    rows = connection.execute(
        sql.SQL("SELECT 1 FROM {} WHERE {} = %s").format(sql.Identifier(table), sql.Identifier(column)),
        [name],
    )
    return rows.fetchone() is not None
