"""What is added up over many rows is kept while nothing is committed, and is never old."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any, Final, TypeVar
from unittest import mock

import pytest
from sqlalchemy import delete, insert

from ecluse.apps.fraud.rows import training
from ecluse.catalog import Catalog, runs, sums, usage, user_tables, users, work
from ecluse.catalog.shared_models import list_shared_models
from ecluse.catalog.tables import ModelVersion, Run, Share, User, UserTable, now
from tests.contracts.test_lists import statements
from tests.long_lists import fill_work
from tests.support.wait import wait_until

T = TypeVar("T")
SINCE: Final = date(2025, 12, 1)
#: What each list says of all its rows, by who asks.
TOTALS: Final[dict[str, Callable[[Any, str], Any]]] = {
    "trainings": lambda t, user: training.list_runs(t, user, limit=3)[1],
    "trainings that are done": lambda t, user: training.list_runs(t, user, status="done", limit=3)[1],
    "runs": lambda t, user: runs.list_runs(t, user, limit=3)[1],
    "tables": lambda t, user: user_tables.list_tables(t, user, limit=3, offset=0)[1],
    "usage": lambda t, user: usage.own_usage(t, user, since=SINCE),
}
ADDING_UP: Final = ("count(", "sum(")


@pytest.fixture(autouse=True)
def short() -> Iterator[None]:
    """Take lists for long that are quick to write."""
    with mock.patch("ecluse.catalog.sums.LONG", 50):
        yield


@pytest.fixture
def owner(catalog: Catalog) -> str:
    """Who has 100 tables of each kind, and 1,000 runs."""
    owner = person(catalog, "owner")
    fill_work(catalog, owner.id, runs=1_000, tables=100)
    return owner.id


@pytest.fixture
def other(catalog: Catalog) -> Iterator[Catalog]:
    """The same tables as another process has them open."""
    opened = Catalog(catalog.engine.url.render_as_string(hide_password=False))
    yield opened
    opened.close()


def person(catalog: Catalog, name: str) -> User:
    with catalog.write() as transaction:
        return users.add_user(
            transaction, email=f"{name}@example.org", name="", password_hash=None, role="member"
        )


def seen(catalog: Catalog, user: str) -> dict[str, Any]:
    with catalog.look() as transaction:
        return {name: total(transaction, user) for name, total in TOTALS.items()}


def added_up(catalog: Catalog, user: str) -> dict[str, Any]:
    """What a session says that keeps nothing."""
    with catalog.read() as transaction:
        return {name: total(transaction, user) for name, total in TOTALS.items()}


def asked_again(catalog: Catalog, user: str, name: str) -> list[str]:
    """List the statements of another look that add rows up."""
    with statements(catalog) as asked, catalog.look() as transaction:
        TOTALS[name](transaction, user)
    adding_up = [each[0] for each in asked if any(word in each[0].lower() for word in ADDING_UP)]
    return [each for each in adding_up if "max(work" not in each]  # rows of a page read how their work stands


def while_nobody_commits(catalog: Catalog, ask: Callable[[], T]) -> T:
    """Return what `ask` returns while no other test commits: PostgreSQL numbers all databases' commits together."""

    def state() -> object:
        with catalog.read() as transaction:
            return sums._state(transaction, None)

    def look() -> list[T] | None:
        before = state()
        answer = ask()
        return [answer] if state() == before else None

    return wait_until(look, "a moment in which no other test commits")[0]


def test_a_long_list_is_added_up_twice_and_then_no_more(catalog: Catalog, owner: str) -> None:
    def added_up_each_time(name: str) -> list[bool]:
        catalog._sums._entries.clear()
        return [bool(asked_again(catalog, owner, name)) for _ in range(4)]

    for name in TOTALS:
        answer = while_nobody_commits(catalog, partial(added_up_each_time, name))
        assert answer == [True, True, False, False], name


def test_a_short_list_asks_for_no_state_of_the_catalog(catalog: Catalog) -> None:
    user = person(catalog, "short").id
    for _ in range(3):
        with statements(catalog) as asked, catalog.look() as transaction:
            assert runs.list_runs(transaction, user) == ([], 0)
        assert [each[0] for each in asked if "txid" in each[0]] == []
        assert len([each for each in asked if each[0].startswith("SELECT")]) == 2


def test_whatever_is_committed_by_any_process_is_in_the_next_answer(
    catalog: Catalog, other: Catalog, owner: str
) -> None:
    stranger = person(catalog, "stranger").id
    plan = {"target": "is_fraud"}

    def begin(transaction: Any, user: str) -> None:
        training.add_run(transaction, training.NewTraining(user_id=user, model_name="m", plan=plan))

    changes: list[Callable[[Any], Any]] = [
        lambda t: begin(t, owner),
        lambda t: work.end(t, "r17", "failed", "as a test says"),
        lambda t: begin(t, stranger),
        lambda t: t.execute(delete(Run).where(Run.id == "r18")),
        lambda t: t.execute(delete(UserTable).where(UserTable.id == "t3")),
        lambda t: t.delete(t.get(UserTable, "t4")),
    ]
    for _ in range(3):
        seen(catalog, owner)
    for number, change in enumerate(changes):
        with (catalog, other)[number % 2].write() as transaction:
            change(transaction)
        expected = added_up(other, owner)
        assert seen(catalog, owner) == expected
        assert seen(catalog, owner) == expected, "also once it is kept anew"


def test_what_is_not_committed_is_in_no_answer(catalog: Catalog, other: Catalog, owner: str) -> None:
    for _ in range(3):
        before = seen(catalog, owner)
    with pytest.raises(ZeroDivisionError), other.write() as transaction:
        runs.add_run(transaction, Run(user_id=owner, application="own", kind="own", name="m"))
        transaction.flush()
        assert seen(catalog, owner) == before
        raise ZeroDivisionError
    assert seen(catalog, owner) == before == added_up(other, owner)


def test_a_sum_is_taken_anew_after_a_minute_though_nothing_changed(catalog: Catalog, owner: str) -> None:
    def kept_for_a_minute() -> list[str]:
        for _ in range(3):
            seen(catalog, owner)
        return asked_again(catalog, owner, "tables")

    assert while_nobody_commits(catalog, kept_for_a_minute) == []
    with mock.patch("ecluse.catalog.sums.KEPT_SECONDS", 0.0):
        assert asked_again(catalog, owner, "tables")


def test_sums_are_of_who_they_were_taken_for(catalog: Catalog, owner: str) -> None:
    stranger = person(catalog, "stranger").id
    for _ in range(3):
        mine = seen(catalog, owner)
    assert mine == added_up(catalog, owner)
    assert seen(catalog, stranger) == added_up(catalog, stranger) != mine


def test_models_that_are_no_longer_shared_are_not_counted_though_nothing_was_written(
    catalog: Catalog,
) -> None:
    anna, ben = person(catalog, "anna"), person(catalog, "ben")
    ends = now() + timedelta(hours=1)
    shared = [f"m{number:04d}" for number in range(sums.LONG)]
    version = {"user_id": anna.id, "version": "v20251121_041000"}
    share = {"owner_id": anna.id, "kind": "models", "reader_id": ben.id}
    with catalog.write() as transaction:
        transaction.execute(
            insert(ModelVersion), [version | {"id": f"v{name}", "name": name} for name in shared]
        )
        transaction.execute(
            insert(Share),
            [
                share | {"id": f"s{name}", "name": name, "expires_at": None if name < "m0005" else ends}
                for name in shared
            ],
        )

    def page(offset: int = 0) -> tuple[list[str], int]:
        with catalog.look() as transaction:
            listed, total = list_shared_models(transaction, ben.id, limit=7, offset=offset)
        return [row.name for row, _owner in listed], total

    for _ in range(3):
        assert page() == (shared[:7], sums.LONG)
        assert page(40) == (shared[40:47], sums.LONG)

    def counted() -> list[str]:
        page()
        with statements(catalog) as asked:
            page()
        return [each[0] for each in asked if "count(" in each[0]]

    assert while_nobody_commits(catalog, counted) == []
    later = ends + timedelta(seconds=1)
    with (
        mock.patch("ecluse.catalog.sums.now", return_value=later),
        mock.patch("ecluse.catalog.shared_models.now", return_value=later),
    ):
        assert page() == (shared[:5], 5)
        assert page(40) == ([], 5)


def test_no_more_sums_are_kept_than_a_process_has_room_for(catalog: Catalog, owner: str) -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC).date()
    with mock.patch("ecluse.catalog.sums.MOST", 4):
        for days in range(8):
            with catalog.look() as transaction:
                usage.own_usage(transaction, owner, since=moment - timedelta(days=days))
        assert len(catalog._sums._entries) == 4
