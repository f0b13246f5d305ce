"""A page of a list reads its own rows: an index has its order, and what comes before it is not read. On both databases."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from sqlalchemy import event, insert

from ecluse.apps.fraud.rows import datasets, inspections, predictions
from ecluse.apps.fraud.rows.tables import Dataset, Inspection, Prediction
from ecluse.catalog import Catalog, Transaction, jobs, runs, usage, users
from ecluse.catalog.shared_models import list_shared_models
from ecluse.catalog.tables import File, JobRow, ModelVersion, Run, Share, Work

ROWS: Final = 1_000
BEGAN: Final = datetime(2026, 1, 1, tzinfo=UTC)
Asked = list[tuple[str, Any]]


@contextmanager
def statements(catalog: Catalog) -> Iterator[Asked]:
    """What a block asks the database, with its values."""
    asked: Asked = []

    def note(connection: Any, cursor: Any, statement: str, values: Any, *rest: Any) -> None:
        asked.append((statement, values))

    event.listen(catalog.engine, "before_cursor_execute", note)
    yield asked
    event.remove(catalog.engine, "before_cursor_execute", note)


def plan_of(catalog: Catalog, statement: str, values: Any) -> str:
    """How the database goes about a statement, as text: PostgreSQL as if the tables were too large to read whole."""
    with catalog.engine.connect() as connection:
        if catalog.engine.dialect.name == "sqlite":
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
            return "\n".join(str(row[3]) for row in rows)
        for way in ("seqscan", "bitmapscan", "hashjoin", "mergejoin"):
            connection.exec_driver_sql(f"SET LOCAL enable_{way} = off")
        plan = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", values).scalar()
        return json.dumps(plan)


@pytest.fixture
def filled(catalog: Catalog) -> str:
    """Someone with many rows in each list; the id."""
    with catalog.write() as transaction:
        made = users.add_user(transaction, email="a@example.org", name="", password_hash=None, role="member")
        other = users.add_user(transaction, email="b@example.org", name="", password_hash=None, role="member")
        for owner in (made.id, other.id):
            _fill(transaction, owner)
    with catalog.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")
    return made.id


def _fill(transaction: Transaction, user_id: str) -> None:
    def rows(**values: Any) -> list[dict[str, Any]]:
        return [
            {"id": f"{user_id[:8]}{number:06d}", "user_id": user_id, **values}
            | {"created_at": BEGAN + timedelta(minutes=number)}
            for number in range(ROWS)
        ]

    empty: dict[str, Any] = {name: {} for name in ("parameters", "tags", "metrics", "subject", "exports")}
    transaction.execute(insert(Work), [{"id": row["id"], "user_id": user_id} for row in rows()])
    transaction.execute(
        insert(Run.__table__),
        rows(application="fraud", kind="search", name="m", artifacts=[], **empty),
    )
    job = {
        "kind": "profile",
        "queue": "profile",
        "title": "t",
        "subject": {},
        "status": "done",
        "message": "",
    }
    nothing = {"fraction": 1.0, "fence": 0, "alone": False, "losses": 0, "lost_at": 0.0, "put_off": 0}
    transaction.execute(insert(JobRow.__table__), rows(**job, **nothing))
    inspected = {"kind": "questions", "model_name": "m", "version": "v1", "request": {}}
    for table, values in (
        (Dataset, {"filename": "t.csv", "last_used_at": BEGAN}),
        (Prediction, {"model_name": "m", "version": "v1", "format": "csv"}),
        (Inspection, inspected),
    ):
        transaction.execute(insert(table.__table__), rows(**values))
    file = {"table_name": "datasets", "name": "", "application": "fraud", "kind": "uploads", "form": "object"}
    stored = {"area": "data", "url": "memory:///t", "size_bytes": 10, "counted": True, "owned": True}
    transaction.execute(
        insert(File.__table__),
        [
            {**file, **stored, "row_id": row["id"], "user_id": user_id, "created_at": BEGAN}
            for row in rows()[:100]
        ],
    )


LISTS: Final[dict[str, tuple[Callable[..., Any], str]]] = {
    "runs": (lambda t, user: runs.list_runs(t, user, limit=50)[0], "ix_runs_user_time"),
    "runs, page 16": (
        lambda t, user: runs.list_runs(t, user, limit=50, offset=750)[0],
        "ix_runs_user_time",
    ),
    "tables of fraud": (
        lambda t, user: datasets.list_datasets(t, user, limit=50),
        "ix_datasets_owner_time",
    ),
    "predictions": (
        lambda t, user: predictions.list_predictions(t, user, limit=50),
        "ix_predictions_owner_time",
    ),
    "inspections": (
        lambda t, user: inspections.list_inspections(t, user, limit=50),
        "ix_inspections_owner_time",
    ),
    "jobs that ended": (lambda t, user: jobs.ended_of_user(t, user, limit=50), "jobs"),
}


def test_a_page_is_read_in_the_order_of_an_index(catalog: Catalog, filled: str) -> None:
    for name, (page, index) in LISTS.items():
        with statements(catalog) as asked, catalog.read() as transaction:
            assert len(page(transaction, filled)) == 50
        queries = [(statement, values) for statement, values in asked if statement != "BEGIN"]
        (paged,) = [(statement, values) for statement, values in queries if "LIMIT" in statement]
        assert len(queries) <= 2, "the page, and how many there are"
        plan = plan_of(catalog, *paged)
        assert index in plan, name  # of jobs PostgreSQL may take the order of all, which is by number too
        # Sorted are the rows of the page, and before that what is alike in time: nothing else.
        assert plan.count("TEMP B-TREE FOR ORDER BY") <= 1, plan
        assert plan.count('"Node Type": "Sort"') <= 1, plan


def test_what_every_run_has_is_sorted_by_itself_and_what_some_lack_comes_last(
    catalog: Catalog, filled: str
) -> None:
    with catalog.write() as transaction:
        transaction.add(Run(user_id=filled, application="fraud", kind="search", name="z", version="v1"))
    with statements(catalog) as asked, catalog.read() as transaction:
        newest = runs.list_runs(transaction, filled, limit=3)[0]
        by_version = runs.list_runs(transaction, filled, sort="version", limit=3)[0]
    assert newest[0].created_at > newest[1].created_at > newest[2].created_at
    assert [row.version for row in by_version] == ["v1", None, None]
    assert sum("IS NULL" in statement for statement, _ in asked if "LIMIT" in statement) == 1


def test_the_models_that_runs_are_of_are_looked_up_in_an_index_each_once(
    catalog: Catalog, filled: str
) -> None:
    made = [("fraud", "m"), ("fraud", "é"), ("plants", "M"), ("plants", "m"), ("", "m")]
    with catalog.write() as transaction:
        for application, name in made * 2:
            transaction.add(Run(user_id=filled, application=application, kind="search", name=name))
    with statements(catalog) as asked, catalog.read() as transaction:
        assert sorted(runs.names_of(transaction, filled)) == sorted(made)
        assert runs.names_of(transaction, "nobody") == []
    queries = [each for each in asked if each[0] != "BEGIN"]
    assert len(queries) == 1 + 3 + 1, "the applications, the models of each; and those of nobody"
    for query in queries:
        assert "ix_runs_user_name" in plan_of(catalog, *query)


def test_pages_of_ended_jobs_are_all_of_them_once(catalog: Catalog, filled: str) -> None:
    with catalog.read() as transaction:
        pages = [jobs.ended_of_user(transaction, filled, limit=300, offset=at) for at in range(0, 1_200, 300)]
        assert jobs.count_ended(transaction, filled) == ROWS
    numbers = [row.number for page in pages for row in page]
    assert numbers == sorted(set(numbers), reverse=True)
    assert len(numbers) == ROWS


def test_what_a_person_stores_is_told_from_sums_and_no_file_is_read(catalog: Catalog, filled: str) -> None:
    with statements(catalog) as asked, catalog.read() as transaction:
        (uploads,) = [each for each in usage.usage_by_kind(transaction, filled) if each.size]
    assert (uploads.kind, uploads.size, uploads.count, uploads.area) == ("uploads", 1_000, 100, "data")
    assert not any("FROM files" in statement for statement, _ in asked)


def test_the_largest_files_are_read_in_the_order_of_an_index(catalog: Catalog, filled: str) -> None:
    with statements(catalog) as asked, catalog.read() as transaction:
        items = usage.largest(transaction, filled, limit=10)
    assert [item.size for item in items] == [10] * 10
    (query,) = [each for each in asked if "FROM files" in each[0]]
    assert "ix_files_largest" in plan_of(catalog, *query)


def test_what_is_shared_with_someone_is_counted_by_an_index(catalog: Catalog, filled: str) -> None:
    with catalog.write() as transaction:
        owner, *others = (
            users.add_user(
                transaction, email=f"c{at}@example.org", name="", password_hash=None, role="member"
            ).id
            for at in range(10)
        )
        shares = [
            {
                "id": f"{reader}{at}",
                "owner_id": owner,
                "kind": "models",
                "name": f"m{at}",
                "reader_id": reader,
            }
            for at in range(ROWS)
            for reader in (filled, *others)
        ]
        transaction.execute(insert(Share), shares)
        transaction.execute(
            insert(ModelVersion),
            [{"id": f"v{at}", "user_id": owner, "name": f"m{at}", "version": "v1"} for at in range(ROWS)],
        )
    with catalog.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")
    with statements(catalog) as asked, catalog.read() as transaction:
        page, total = list_shared_models(transaction, filled, limit=50, offset=500)
    assert (len(page), total) == (50, ROWS)
    counting = next(each for each in asked if "count(distinct" in each[0].lower())
    # Which index PostgreSQL takes changes with how much of the table it has vacuumed.
    index = {"sqlite": "COVERING INDEX ix_shares_reader", "postgresql": '"Index Name": "ix_shares_'}
    assert index[catalog.engine.dialect.name] in plan_of(catalog, *counting)
