"""What each owner used on each day is added up once, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import delete, update

from ecluse.catalog import Catalog, daily
from ecluse.catalog.tables import DailyUse, JobRow, User, UserTable, now
from ecluse.inference.answered import Answered
from ecluse.jobs import Jobs
from tests.contracts.test_plans import keep, person

LONG_AGO = date(2020, 1, 1)


def days(catalog: Catalog, user: User | None) -> list[tuple[int | None, int | None, int, int]]:
    with catalog.read() as transaction:
        found = daily.days_of(transaction, user and user.id, since=LONG_AGO)
    return [(each.stored_bytes, each.files, each.jobs, each.predictions) for each in found]


def count(catalog: Catalog) -> None:
    with catalog.write() as transaction:
        daily.count(transaction)


def test_what_is_stored_is_that_of_the_last_count_of_the_day(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, other = person(catalog, None), person(catalog, None)
    keep(catalog, user, 40)
    count(catalog)
    keep(catalog, user, 2)
    keep(catalog, other, 5)
    for _ in range(3):  # counted again, it stays
        count(catalog)
    assert days(catalog, user) == [(42, 2, 0, 0)]
    tomorrow = now() + timedelta(days=1)
    monkeypatch.setattr("ecluse.catalog.daily.now", lambda: tomorrow)
    with catalog.write() as transaction:
        transaction.execute(delete(UserTable).where(UserTable.user_id == user.id))
        from ecluse.catalog.tables import File

        transaction.execute(delete(File).where(File.user_id == user.id))
    count(catalog)
    assert days(catalog, user) == [(42, 2, 0, 0), (0, 0, 0, 0)], "the day before stays what it was"
    assert days(catalog, None) == [(47, 3, 0, 0), (5, 1, 0, 0)]


def test_jobs_are_those_begun_on_the_day_and_never_become_fewer(catalog: Catalog) -> None:
    user, queue = person(catalog, None), Jobs(catalog)
    made = [queue.enqueue("train", "q", user.id, "t", {}) for _ in range(4)]
    yesterday = datetime.now(UTC) - timedelta(days=1)
    with catalog.write() as transaction:
        transaction.execute(update(JobRow).where(JobRow.id == made[0]).values(created_at=yesterday))
        transaction.execute(update(JobRow).where(JobRow.id == made[1]).values(part=True))
    count(catalog)
    assert days(catalog, user) == [(None, None, 1, 0), (None, None, 2, 0)]
    with catalog.write() as transaction:
        transaction.execute(delete(JobRow))
    count(catalog)
    assert days(catalog, user) == [(None, None, 1, 0), (None, None, 2, 0)]


def test_answers_of_several_processes_are_added(catalog: Catalog) -> None:
    user = person(catalog, None)
    processes = [Answered(catalog) for _ in range(3)]
    for process in processes:
        threads = [threading.Thread(target=process.note, args=(user.id, 2)) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        process.note("nobody", 1)  # an owner who is gone
    assert days(catalog, user) == []
    for process in processes * 2:
        process.keep()
    assert days(catalog, user) == [(None, None, 0, 60)]
    count(catalog)
    keep(catalog, user, 7)
    count(catalog)
    assert days(catalog, user) == [(7, 1, 0, 60)], "the two counts do not disturb each other"


def test_days_end_with_their_time_and_with_their_owner(catalog: Catalog) -> None:
    user = person(catalog, None)
    with catalog.write() as transaction:
        transaction.add(DailyUse(user_id=user.id, day="2019-05-01", stored_bytes=1, files=1))
        transaction.add(DailyUse(user_id=user.id, day=daily.today(), stored_bytes=1, files=1))
    count(catalog)
    assert len(days(catalog, user)) == 1
    with catalog.write() as transaction:
        transaction.execute(delete(User).where(User.id == user.id))
    assert days(catalog, None) == []
