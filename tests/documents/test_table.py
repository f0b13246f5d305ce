"""The table of documents is the same whether the catalog makes it or `ecluse documents create`."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, inspect, text

from ecluse.catalog import Catalog
from ecluse.documents import Document, open_documents
from ecluse.settings import Settings


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    sqlite = f"sqlite:///{tmp_path / 'catalog.db'}"
    url = sqlite if request.param == "sqlite" else request.getfixturevalue("postgresql_url")
    return Settings.from_environment({"DATABASE_URL": url})


def described(engine: Engine) -> Any:
    found = inspect(engine)
    columns = [{**column, "type": repr(column["type"])} for column in found.get_columns("documents")]
    return columns, found.get_pk_constraint("documents")["constrained_columns"]


def test_a_database_with_documents_becomes_a_catalog_and_keeps_them(settings: Settings) -> None:
    with (
        closing(open_documents(settings.documents)) as documents,
        closing(Catalog(settings.database_url)) as catalog,
    ):
        assert documents.create() == ["documents"]
        documents.put("metrics/zones", "2025-10-14", {"mean": 0.5})
        catalog.migrate()
        assert documents.get("metrics/zones", "2025-10-14") == {"mean": 0.5}
        assert documents.create() == []


def test_the_catalog_makes_the_table_that_documents_would_make(settings: Settings) -> None:
    with (
        closing(Catalog(settings.database_url)) as catalog,
        closing(open_documents(settings.documents)) as documents,
    ):
        catalog.migrate()
        assert documents.create() == []
        by_catalog = described(catalog.engine)
        with catalog.engine.begin() as connection:
            connection.execute(text("DROP TABLE documents"))
        assert documents.create() == ["documents"]
        assert described(catalog.engine) == by_catalog
        if catalog.engine.dialect.name == "postgresql":
            assert all("'C'" in column["type"] for column in by_catalog[0][:2])


def test_every_question_is_answered_by_the_index_of_the_primary_key(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'x.db'}"
    asked: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        asked.append((statement, parameters))

    with closing(open_documents(Settings.from_environment({"DATABASE_URL": url}).documents)) as documents:
        documents.create()
        documents.put_many(Document(f"metrics/{n % 5}", f"{n}", {}) for n in range(200))
        event.listen(Engine, "before_cursor_execute", note)
        try:
            documents.get("metrics/1", "1")
            documents.get_many([("metrics/1", "1"), ("metrics/2", "2"), ("reports", "3")])
            documents.range("metrics/1", "1", "5", newest_first=True)
            documents.keys("metrics/1")
            documents.latest("metrics/1")
            list(documents.kinds())
            documents.delete("metrics/1", "1")
        finally:
            event.remove(Engine, "before_cursor_execute", note)
    questions = [one for one in asked if one[0].startswith(("SELECT", "DELETE"))]
    assert len(questions) > 10
    with closing(sqlite3.connect(tmp_path / "x.db")) as connection:
        for statement, parameters in questions:
            plan = " ".join(
                row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            )
            assert "SEARCH documents USING" in plan, (statement, plan)
            assert "TEMP B-TREE" not in plan, (statement, plan)
