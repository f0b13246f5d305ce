"""Let the database itself note what objects rows leave behind, and forget the note of an object that gets its row.

A migration that makes the table of files anew on SQLite has to call `make_triggers` again, as they go with it.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, text

#: Seconds until an object whose row is gone is looked for: whoever removed the row removes the object first.
LEFT_FOR: Final = 600
#: Only an object of the row's own: a version is a folder of the registry, which has claims and leftovers of its own.
_LEAVES: Final = "{0}owned AND {0}form = 'object' AND {0}url <> ''"
_UPSERT: Final = "ON CONFLICT (url) DO UPDATE SET due_at = excluded.due_at;"
_SQLITE: Final = {
    "insert": "DELETE FROM object_notes WHERE url = new.url;",
    "update of url": "DELETE FROM object_notes WHERE url = new.url;",
    "delete": (
        "INSERT INTO object_notes (url, due_at) "
        f"SELECT old.url, strftime('%Y-%m-%d %H:%M:%f', 'now', '{LEFT_FOR} seconds') || '000' "
        f"WHERE {_LEAVES.format('old.')} {_UPSERT}"
    ),
}
_POSTGRESQL: Final = {
    "insert": (
        "NEW TABLE AS added",
        "DELETE FROM object_notes USING added WHERE object_notes.url = added.url;",
    ),
    "update": (
        "OLD TABLE AS taken NEW TABLE AS added",
        "DELETE FROM object_notes USING added WHERE object_notes.url = added.url;",
    ),
    "delete": (
        "OLD TABLE AS taken",
        "INSERT INTO object_notes (url, due_at) SELECT DISTINCT url, "  # noqa: S608 (constants of this module)
        f"clock_timestamp() + make_interval(secs => {LEFT_FOR}) FROM taken "
        f"WHERE {_LEAVES.format('')} ORDER BY url {_UPSERT}",
    ),
}


def make_triggers(connection: Connection) -> None:
    """Make the triggers that note and forget, on the table of files."""
    if connection.dialect.name == "sqlite":
        for event, body in _SQLITE.items():
            name = f"note_objects_{event.partition(' ')[0]}"
            connection.execute(text(f"CREATE TRIGGER {name} AFTER {event} ON files BEGIN {body} END"))
        return
    for event, (tables, body) in _POSTGRESQL.items():
        connection.exec_driver_sql(
            f"CREATE OR REPLACE FUNCTION ecluse_note_objects_{event}() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$BEGIN {body} RETURN NULL; END$$"
        )
        connection.exec_driver_sql(
            f"CREATE TRIGGER note_objects_{event} AFTER {event} ON files REFERENCING {tables} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION ecluse_note_objects_{event}()"
        )


def remove_triggers(connection: Connection) -> None:
    """Remove what `make_triggers` makes."""
    for event in ("insert", "update", "delete"):
        if connection.dialect.name == "sqlite":
            connection.execute(text(f"DROP TRIGGER note_objects_{event}"))
        else:
            connection.execute(text(f"DROP TRIGGER note_objects_{event} ON files"))
            connection.execute(text(f"DROP FUNCTION ecluse_note_objects_{event}()"))
