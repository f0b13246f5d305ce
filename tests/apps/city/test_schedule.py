"""Each day is computed once after its time has come, on the city's clocks, whoever looks and whatever was missed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecluse.apps.city import schedule
from ecluse.apps.city.calendar import days_between
from ecluse.apps.city.days import MARK
from ecluse.apps.city.schedule import DailyRun
from ecluse.catalog.tables import User
from ecluse.errors import Forbidden, InvalidInput
from ecluse.runtime import Runtime

PARIS = ZoneInfo("Europe/Paris")
ZONES = [
    "Europe/Paris",
    "America/New_York",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Asia/Kathmandu",
    "UTC",
]


@pytest.fixture
def administrator(runtime: Runtime) -> User:
    return runtime.accounts.local_administrator()


def daily(at: str = "06:30", since: date = date(2025, 1, 1), zone: ZoneInfo = PARIS) -> DailyRun:
    return DailyRun(time.fromisoformat(at), since, False, zone, "someone")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def jobs_of(runtime: Runtime, user: User) -> list[str]:
    return sorted(job.id for job in runtime.jobs.list(user.id, limit=1000))


# When a day is due


@pytest.mark.parametrize(
    ("before", "at_its_time", "day"),
    [
        ("2025-07-15T04:29:59", "2025-07-15T04:30:00", date(2025, 7, 14)),  # summer: UTC+2
        ("2025-01-15T05:29:59", "2025-01-15T05:30:00", date(2025, 1, 14)),  # winter: UTC+1
        ("2025-03-30T04:29:59", "2025-03-30T04:30:00", date(2025, 3, 29)),  # the morning after a short night
        ("2025-10-26T05:29:59", "2025-10-26T05:30:00", date(2025, 10, 25)),  # after a long one
    ],
)
def test_a_day_is_due_at_its_time_on_the_clocks_of_the_city(before: str, at_its_time: str, day: date) -> None:
    assert daily().due(utc(before))[-1] == day - timedelta(days=1)
    assert daily().due(utc(at_its_time))[-1] == day


def test_a_time_that_the_clocks_skip_comes_once() -> None:
    skipped = daily("02:30")
    days = [skipped.due_at(day) for day in days_between(date(2025, 3, 27), date(2025, 3, 31))]
    assert days[2] == utc("2025-03-30T01:30:00")  # 03:30 there: 02:30 does not exist
    assert len(set(days)) == 5


def test_a_time_that_the_clocks_show_twice_comes_once() -> None:
    twice = daily("02:30")
    assert twice.due_at(date(2025, 10, 25)) == utc("2025-10-26T00:30:00")  # the first of the two
    assert twice.due(utc("2025-10-26T01:30:00"))[-1] == date(2025, 10, 25)


def test_nothing_is_due_before_the_first_day() -> None:
    assert daily(since=date(2025, 6, 1)).due(utc("2025-06-01T12:00:00")) == []
    assert daily(since=date(2025, 6, 1)).due(utc("2025-06-02T12:00:00")) == [date(2025, 6, 1)]


@given(
    zone=st.sampled_from(ZONES),
    at=st.times(timezones=st.none()),
    moments=st.lists(
        st.datetimes(datetime(2024, 1, 1), datetime(2026, 12, 31), timezones=st.just(UTC)),
        min_size=1,
        max_size=20,
    ),
)
def test_however_often_one_looks_every_day_becomes_due_once_and_none_is_left_out(
    zone: str, at: time, moments: list[datetime]
) -> None:
    run = replace(
        daily(zone=ZoneInfo(zone)), since=date(2023, 12, 25), at=at.replace(second=0, microsecond=0)
    )
    seen: set[date] = set()
    for moment in sorted(moments):
        due = run.due(moment)
        assert seen <= set(due)
        assert due == list(days_between(run.since, due[-1]))
        assert run.due_at(due[-1]) <= moment < run.due_at(due[-1] + timedelta(days=1))
        seen |= set(due)


# What is queued


def test_a_week_of_missed_days_is_queued_once_though_two_workers_look_at_once(
    runtime: Runtime, administrator: User
) -> None:
    schedule.set_schedule(runtime, administrator, since=date(2025, 10, 20))
    moment = utc("2025-10-27T12:00:00")
    with ThreadPoolExecutor(2) as workers:
        list(workers.map(lambda _: schedule.queue_due(runtime, moment), range(4)))
    expected = [f"city-{day}" for day in days_between(date(2025, 10, 20), date(2025, 10, 26))]
    assert jobs_of(runtime, administrator) == expected
    assert schedule.queue_due(runtime, moment) == 0


def test_a_day_that_is_there_is_not_queued(runtime: Runtime, administrator: User) -> None:
    schedule.set_schedule(runtime, administrator, since=date(2025, 10, 24))
    runtime.documents.put(MARK, "2025-10-25", {"date": "2025-10-25"})
    assert schedule.queue_due(runtime, utc("2025-10-27T12:00:00")) == 2
    assert jobs_of(runtime, administrator) == ["city-2025-10-24", "city-2025-10-26"]


def test_the_next_day_is_queued_when_its_time_has_come(runtime: Runtime, administrator: User) -> None:
    schedule.set_schedule(runtime, administrator, since=date(2025, 10, 26), at="07:00")
    assert schedule.queue_due(runtime, utc("2025-10-27T05:59:59")) == 0
    assert schedule.queue_due(runtime, utc("2025-10-27T06:00:00")) == 1


def test_a_long_gap_is_filled_in_pieces_the_latest_days_first(runtime: Runtime, administrator: User) -> None:
    schedule.set_schedule(runtime, administrator, since=date(2025, 8, 1))
    moment = utc("2025-10-01T12:00:00")
    assert schedule.queue_due(runtime, moment) == schedule.AT_ONCE
    assert f"city-{date(2025, 9, 30)}" in jobs_of(runtime, administrator)
    assert schedule.queue_due(runtime, moment) == schedule.AT_ONCE
    assert schedule.queue_due(runtime, moment) == 61 - 2 * schedule.AT_ONCE


def test_a_cancelled_day_is_left_alone(runtime: Runtime, administrator: User) -> None:
    schedule.set_schedule(runtime, administrator, since=date(2025, 10, 26))
    moment = utc("2025-10-27T12:00:00")
    schedule.queue_due(runtime, moment)
    runtime.jobs.cancel(administrator.id, "city-2025-10-26")
    assert schedule.queue_due(runtime, moment + timedelta(days=30) - timedelta(days=30)) == 0


def test_without_a_schedule_nothing_is_queued(runtime: Runtime, administrator: User) -> None:
    assert schedule.queue_due(runtime) == 0
    assert schedule.standing(runtime) is None
    schedule.set_schedule(runtime, administrator)
    assert schedule.remove_schedule(runtime, administrator)
    assert not schedule.remove_schedule(runtime, administrator)
    assert schedule.queue_due(runtime) == 0


# What may be set


@pytest.mark.parametrize("at", ["", "24:00", "6:30", "06:60", "06.30", "06:30:00"])
def test_what_is_no_time_of_the_day_is_refused(runtime: Runtime, administrator: User, at: str) -> None:
    with pytest.raises(InvalidInput, match="no time of the day"):
        schedule.set_schedule(runtime, administrator, at=at)


def test_a_schedule_does_not_begin_centuries_ago(runtime: Runtime, administrator: User) -> None:
    with pytest.raises(InvalidInput, match="more than 5,000 days ago"):
        schedule.set_schedule(runtime, administrator, since=date.min)
    assert schedule.find_schedule(runtime) is None


def test_a_schedule_does_not_begin_with_a_day_ahead(runtime: Runtime, administrator: User) -> None:
    with pytest.raises(InvalidInput, match="lies ahead"):
        schedule.set_schedule(runtime, administrator, since=date(2999, 1, 1))


def test_only_an_administrator_sets_a_schedule(runtime: Runtime, administrator: User) -> None:
    member = runtime.accounts.sign_up("member@example.org", "a long password")
    with pytest.raises(Forbidden, match="Only administrators"):
        schedule.set_schedule(runtime, member)
    with pytest.raises(Forbidden, match="Only administrators"):
        schedule.remove_schedule(runtime, member)


def test_a_changed_schedule_keeps_its_first_day_and_what_it_tried(
    runtime: Runtime, administrator: User
) -> None:
    other = runtime.accounts.sign_up("other@example.org", "a long password")
    schedule.set_schedule(runtime, administrator, since=date(2025, 10, 20))
    moment = utc("2025-10-27T12:00:00")
    schedule.queue_due(runtime, moment)
    schedule.set_schedule(runtime, replace_role(other), at="07:00", fetches=True)
    result = schedule.find_schedule(runtime)
    assert result is not None
    assert (result.since, result.at, result.fetches) == (date(2025, 10, 20), time(7), True)
    assert schedule.queue_due(runtime, moment) == 0


def replace_role(user: User) -> User:
    user.role = "admin"
    return user


def test_how_a_schedule_stands_tells_its_next_moment_and_what_is_missing(
    runtime: Runtime, administrator: User
) -> None:
    schedule.set_schedule(runtime, administrator, since=date(2025, 10, 25))
    runtime.documents.put(MARK, "2025-10-25", {"date": "2025-10-25"})
    now = schedule.standing(runtime, utc("2025-10-27T12:00:00"))
    assert now is not None
    assert now.missing == (date(2025, 10, 26),)
    assert now.next_at == utc("2025-10-28T05:30:00")
    assert now.failed == ()
