"""Lists of one owner at the size they are meant for: a page reads few rows, at the start and behind a key."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import pytest

from ecluse.apps.fraud.rows import datasets, predictions
from ecluse.catalog import Catalog, jobs, runs, user_tables, users
from tests.contracts.test_lists import statements
from tests.long_lists import fill_work

PAGE: Final = 50
#: Of the rows of a page, a database may read so many times as many: of work six, once by its key for each column.
TIMES: Final = 6
LONG: Final = ("runs", "jobs", "datasets", "predictions", "user_tables", "work", "files")
#: Of each list, its first page and one behind a row far back.
PAGES: Final[dict[str, Any]] = {
    "runs": lambda t, user: runs.list_runs(t, user, limit=PAGE)[0],
    "runs behind": lambda t, user: runs.runs_behind(t, user, "r1000", runs.RunFilter(), limit=PAGE),
    "jobs": lambda t, user: jobs.of_user(t, user, limit=PAGE, active=False),
    "jobs behind": lambda t, user: jobs.of_user(t, user, limit=PAGE, active=False, after="j1000"),
    "jobs that ended": lambda t, user: jobs.ended_of_user(t, user, limit=PAGE),
    "datasets": lambda t, user: datasets.list_datasets(t, user, limit=PAGE),
    "datasets behind": lambda t, user: datasets.list_datasets(t, user, limit=PAGE, after="d1000"),
    "predictions": lambda t, user: predictions.list_predictions(t, user, limit=PAGE),
    "predictions behind": lambda t, user: predictions.list_predictions(t, user, limit=PAGE, after="p1000"),
    "tables": lambda t, user: user_tables.list_tables(t, user, limit=PAGE, offset=0)[0],
    "tables behind": lambda t, user: user_tables.tables_behind(t, user, "t1000", limit=PAGE),
}


def nodes(plan: Any) -> Iterator[Any]:
    yield plan
    for inner in plan.get("Plans", []):
        yield from nodes(inner)


def rows_read(catalog: Catalog, statement: str, values: Any) -> dict[str, float]:
    """Count what PostgreSQL reads of each long table: rows that are given on, and those that a filter drops."""
    read = dict.fromkeys(LONG, 0.0)
    with catalog.engine.connect() as connection:
        (plan,) = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", values).scalar()
    for node in nodes(plan["Plan"]):
        if node.get("Relation Name") in read:
            given = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
            read[node["Relation Name"]] += given * node["Actual Loops"]
    return read


@pytest.mark.nightly
def test_a_page_of_a_hundred_thousand_reads_few_rows(catalog: Catalog) -> None:
    with catalog.write() as transaction:
        person = users.add_user(
            transaction, email="a@example.org", name="", password_hash=None, role="member"
        )
    fill_work(catalog, person.id, runs=100_000, tables=10_000)
    with catalog.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE" if catalog.engine.name == "postgresql" else "ANALYZE")
    for name, page in PAGES.items():
        with statements(catalog) as asked, catalog.read() as transaction:
            assert len(page(transaction, person.id)) == PAGE, name
        queries = [each for each in asked if each[0].startswith("SELECT")]
        assert len(queries) <= 2, f"{name}: the page, and how many there are or where it begins"
        (paged,) = [each for each in queries if "LIMIT" in each[0]]
        if catalog.engine.name == "postgresql":
            most = rows_read(catalog, *paged)
            assert all(count <= TIMES * PAGE for count in most.values()), f"{name}: {most}"
            continue
        with catalog.engine.connect() as connection:
            plan = [
                str(row[3]) for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {paged[0]}", paged[1])
            ]
        whole = [line for line in plan if re.match(rf"SCAN ({'|'.join(LONG)})\b", line)]
        assert whole == [], (name, plan)
        # Sorted are rows of one moment, and those of the page once more.
        assert plan.count("USE TEMP B-TREE FOR ORDER BY") <= 1, (name, plan)
