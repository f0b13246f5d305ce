"""Connections to databases are closed when the catalog is, or when they are given back after that."""

from __future__ import annotations

from ecluse.catalog import Catalog
from ecluse.settings import Settings


def test_a_connection_in_use_is_closed_when_it_is_given_back(postgresql_url: str) -> None:
    catalog = Catalog(Settings.from_environment({"DATABASE_URL": postgresql_url}).database_url)
    with catalog.engine.connect() as connection:
        opened = connection.connection.driver_connection
        catalog.close()
        assert opened is not None
        assert not opened.closed
    assert opened.closed
