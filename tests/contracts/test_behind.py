"""Programs read a long list to its end by the id that a page ended with: nothing twice, nothing left out, nothing of others."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert

from ecluse.apps.fraud.rows import datasets, predictions
from ecluse.apps.fraud.rows.tables import Dataset, Prediction
from ecluse.catalog import Catalog, Transaction, jobs, runs, user_tables, users
from ecluse.catalog.tables import JobRow, Run, UserTable, Work
from ecluse.errors import InvalidInput
from tests.contracts.test_lists import plan_of, statements

BEGAN: Final = datetime(2026, 1, 1, tzinfo=UTC)
ROWS: Final = 300
#: Of each list: a page behind an id, and the index that it is entered by.
LISTS: Final[dict[str, tuple[Any, str]]] = {
    "r": (
        lambda t, user, after: runs.runs_behind(t, user, after, runs.RunFilter(), limit=20),
        "ix_runs_user_time",
    ),
    "d": (
        lambda t, user, after: datasets.list_datasets(t, user, limit=20, after=after),
        "ix_datasets_owner_time",
    ),
    "p": (
        lambda t, user, after: predictions.list_predictions(t, user, limit=20, after=after),
        "ix_predictions_owner_time",
    ),
    "t": (lambda t, user, after: user_tables.tables_behind(t, user, after, limit=20), "user_tables"),
    "j": (
        lambda t, user, after: [row for row, _ in jobs.of_user(t, user, limit=20, active=False, after=after)],
        "jobs",  # by number, which is their order for everyone
    ),
}


def fill(transaction: Transaction, user_id: str, mark: str) -> None:
    """Write rows, of which three at a time are of one moment."""

    def rows(prefix: str, **values: Any) -> list[dict[str, Any]]:
        return [
            {"id": f"{prefix}{mark}{(number * 7919) % 1000:04d}", "user_id": user_id, **values}
            | {"created_at": BEGAN + timedelta(minutes=number // 3)}
            for number in range(ROWS)
        ]

    for prefix in "rdp":
        transaction.execute(insert(Work), [{"id": row["id"], "user_id": user_id} for row in rows(prefix)])
    transaction.execute(insert(Run.__table__), rows("r", application="fraud", kind="search", name="m"))
    transaction.execute(insert(Dataset.__table__), rows("d", filename="t.csv", last_used_at=BEGAN))
    transaction.execute(insert(Prediction.__table__), rows("p", model_name="m", version="v1", format="csv"))
    transaction.execute(insert(UserTable.__table__), rows("t", name="t", rows=1, columns=[]))
    transaction.execute(
        insert(JobRow.__table__),
        rows("j", kind="work", queue="q", title="t", subject={}, status="done", message=""),
    )


@pytest.fixture
def people(catalog: Catalog) -> tuple[str, str]:
    with catalog.write() as transaction:
        made = [
            users.add_user(
                transaction, email=f"{name}@example.org", name="", password_hash=None, role="member"
            ).id
            for name in ("a", "b")
        ]
        for mark, user_id in zip("ab", made, strict=True):
            fill(transaction, user_id, mark)
    with catalog.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")
    return made[0], made[1]


def pages(transaction: Transaction, kind: Any, page: Any, user_id: str) -> Iterator[list[str]]:
    order = [JobRow.number.desc()] if kind is JobRow else [kind.created_at.desc(), kind.id]
    first = transaction.query(kind.id).where(kind.user_id == user_id).order_by(*order).limit(1).scalar()
    yield [first]
    while ids := [row.id for row in page(transaction, user_id, first)]:
        yield ids
        first = ids[-1]


KINDS: Final = {"r": Run, "d": Dataset, "p": Prediction, "t": UserTable, "j": JobRow}


def test_a_list_that_is_read_by_keys_is_whole_and_in_order(catalog: Catalog, people: tuple[str, str]) -> None:
    mine, _other = people
    for prefix, (page, index) in LISTS.items():
        kind: Any = KINDS[prefix]
        order = [JobRow.number.desc()] if kind is JobRow else [kind.created_at.desc(), kind.id]
        with catalog.read() as transaction:
            every = [row.id for row in transaction.query(kind).where(kind.user_id == mine).order_by(*order)]
            assert len(every) == ROWS
            assert [each for some in pages(transaction, kind, page, mine) for each in some] == every, prefix
        with statements(catalog) as asked, catalog.read() as transaction:
            page(transaction, mine, every[200])
        (paged,) = [each for each in asked if "LIMIT" in each[0]]
        assert index in plan_of(catalog, *paged), prefix


def test_the_id_of_another_or_of_nothing_is_refused_in_the_same_words(
    catalog: Catalog, people: tuple[str, str]
) -> None:
    mine, _other = people
    for prefix, (page, _index) in LISTS.items():
        said = set()
        for after in (f"{prefix}b0000", f"{prefix}b9999"):
            with catalog.read() as transaction, pytest.raises(InvalidInput) as caught:
                page(transaction, mine, after)
            said.add(str(caught.value).replace(after, "ID"))
        assert len(said) == 1, said


@given(st.text(max_size=120))
def test_no_text_is_more_than_an_id(text: str) -> None:
    from ecluse.catalog.behind import gone

    assert len(str(gone(text))) < 300
