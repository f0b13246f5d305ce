"""Say which tables and columns of this release a database lacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlalchemy import Connection, Table, text

from ecluse.catalog.columns import Base

#: Applications of other distributions bring migrations of their own, and may be left out with their rows imported.
OURS: Final = "ecluse."
_LISTS: Final = {
    "sqlite": text(
        "SELECT made.name, held.name FROM sqlite_master AS made, pragma_table_info(made.name) AS held "
        "WHERE made.type IN ('table', 'view')"
    ),
    "postgresql": text(
        "SELECT made.relname, held.attname FROM pg_class AS made JOIN pg_attribute AS held ON held.attrelid = made.oid "
        "WHERE made.relkind IN ('r', 'p', 'v') AND pg_table_is_visible(made.oid) AND held.attnum > 0 "
        "AND NOT held.attisdropped AND made.relname = ANY(:names)"
    ),
}


def missing(connection: Connection) -> list[str]:
    """Return the tables (`jobs`) and columns (`jobs.kind`) of ours that a database lacks, by one look at its lists."""
    expected = _expected()
    there = _held(connection, expected)
    lacking = list[str]()
    for name, columns in sorted(expected.items()):
        held = there.get(name)
        lacking += [name] if held is None else sorted(f"{name}.{column}" for column in columns - held)
    return lacking


def _expected() -> Mapping[str, set[str]]:
    tables = [
        mapper.local_table for mapper in Base.registry.mappers if mapper.class_.__module__.startswith(OURS)
    ]
    return {
        table.name: {column.name for column in table.columns} for table in tables if isinstance(table, Table)
    }


def _held(connection: Connection, expected: Mapping[str, set[str]]) -> Mapping[str, set[str]]:
    dialect = connection.dialect.name
    names = {"names": list(expected)} if dialect == "postgresql" else {}
    there = dict[str, set[str]]()
    for table, column in connection.execute(_LISTS[dialect], names):
        there.setdefault(table, set()).add(column)
    return there
