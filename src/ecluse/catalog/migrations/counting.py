"""Let the database itself count what each person stores: triggers on the table of files keep the table `stored`.

A file counts as in `catalog.usage`: it is counted, lies somewhere, its bytes are known, and it is a person's. The sums
are right whoever writes the table of files, in whatever way its rows end, and within the transaction that does it.
SQLite counts row by row; PostgreSQL once for each statement, so that 100,000 images are one change of a sum.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, text

_EVENTS: Final = ("insert", "delete", "update")
#: The condition of a file that counts; before each column goes the name of its row and a dot, or nothing.
_IS_STORED: Final = (
    "{0}counted AND ({0}url <> '' OR {0}key IS NOT NULL) AND {0}size_bytes IS NOT NULL "
    "AND {0}user_id IS NOT NULL"
)
_UPSERT: Final = (
    "INSERT INTO stored (user_id, kind, size_bytes, files) {0} ON CONFLICT (user_id, kind) DO UPDATE SET "
    "size_bytes = stored.size_bytes + excluded.size_bytes, files = stored.files + excluded.files;"
)
_SQLITE_ADD: Final = _UPSERT.format(
    f"SELECT new.user_id, new.kind, new.size_bytes, 1 WHERE {_IS_STORED.format('new.')}"
)
_SQLITE_TAKE: Final = (
    "UPDATE stored SET size_bytes = size_bytes - old.size_bytes, files = files - 1 "  # noqa: S608 (constants)
    "WHERE user_id = old.user_id AND kind = old.kind AND " + _IS_STORED.format("old.") + ";"
)
#: Of what a statement changed, the sums that are another after it, in the order in which every statement takes them.
_CHANGED: Final = (
    "SELECT user_id, kind, sum(size)::bigint AS size_bytes, sum(one)::bigint AS files FROM ({0}) AS changed "
    "GROUP BY user_id, kind HAVING sum(size) <> 0 OR sum(one) <> 0 ORDER BY user_id, kind"
)
_ADDED: Final = "SELECT user_id, kind, size_bytes AS size, 1 AS one FROM added WHERE " + _IS_STORED.format("")  # noqa: S608
_TAKEN: Final = "SELECT user_id, kind, -size_bytes AS size, -1 AS one FROM taken WHERE " + _IS_STORED.format(  # noqa: S608
    ""
)
#: Where a person's files end with the account, the sums are gone already: nothing is inserted for what is taken.
_LESS: Final = (
    "UPDATE stored SET size_bytes = stored.size_bytes + less.size_bytes, files = stored.files + less.files "
    "FROM ({0}) AS less WHERE stored.user_id = less.user_id AND stored.kind = less.kind;"
)
_POSTGRESQL: Final = {
    "insert": ("NEW TABLE AS added", _UPSERT.format(_CHANGED.format(_ADDED))),
    "update": (
        "OLD TABLE AS taken NEW TABLE AS added",
        _UPSERT.format(_CHANGED.format(_ADDED + " UNION ALL " + _TAKEN)),
    ),
    "delete": ("OLD TABLE AS taken", _LESS.format(_CHANGED.format(_TAKEN))),
}


def make_triggers(connection: Connection) -> None:
    """Make the triggers that count, on the table of files."""
    if connection.dialect.name == "sqlite":
        for event, body in _sqlite_bodies().items():
            timing = event if event != "update" else "update of user_id, kind, url, key, size_bytes, counted"
            connection.execute(
                text(f"CREATE TRIGGER count_stored_{event} AFTER {timing} ON files BEGIN {body} END")
            )
        return
    for event, (tables, body) in _POSTGRESQL.items():
        connection.exec_driver_sql(
            f"CREATE OR REPLACE FUNCTION ecluse_count_stored_{event}() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$BEGIN {body} RETURN NULL; END$$"
        )
        connection.exec_driver_sql(
            f"CREATE TRIGGER count_stored_{event} AFTER {event} ON files REFERENCING {tables} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION ecluse_count_stored_{event}()"
        )


def remove_triggers(connection: Connection) -> None:
    """Remove what `make_triggers` makes."""
    for event in _EVENTS:
        if connection.dialect.name == "sqlite":
            connection.execute(text(f"DROP TRIGGER count_stored_{event}"))
        else:
            connection.execute(text(f"DROP TRIGGER count_stored_{event} ON files"))
            connection.execute(text(f"DROP FUNCTION ecluse_count_stored_{event}()"))


def count_anew(connection: Connection) -> None:
    """Add up all files once: where the triggers are new, or were gone."""
    connection.execute(text("DELETE FROM stored"))
    connection.execute(
        text(
            "INSERT INTO stored (user_id, kind, size_bytes, files) "  # noqa: S608 (constants of this module)
            "SELECT user_id, kind, sum(size_bytes), count(*) FROM files "
            f"WHERE {_IS_STORED.format('')} GROUP BY user_id, kind"
        )
    )


def _sqlite_bodies() -> dict[str, str]:
    return {"insert": _SQLITE_ADD, "delete": _SQLITE_TAKE, "update": f"{_SQLITE_TAKE} {_SQLITE_ADD}"}
