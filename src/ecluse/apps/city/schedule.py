"""Compute each day of a city once its time has come, and those that were missed, on any number of workers.

A day is due at a time of the next day, on the city's clocks. Each worker looks now and then which days are due
and not there, and queues a job for each under an id that is made of the day, so that a day is queued once
whoever looks, and a day that was missed is found whenever someone looks again.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from ecluse.apps.city import rows as schedules
from ecluse.apps.city.calendar import days_between
from ecluse.apps.city.errors import FetchFailed
from ecluse.apps.city.jobs import QUEUE, expect_administrator
from ecluse.apps.city.progress import part_of
from ecluse.apps.city.settings import CitySettings
from ecluse.catalog import audit
from ecluse.catalog.tables import User, now
from ecluse.checkpoints import checkpoints_of
from ecluse.errors import InvalidInput
from ecluse.jobs import Job, JobKind, Task
from ecluse.runtime import Runtime
from ecluse.sentences import N_, _, num

KIND: Final = "city_scheduled"
NAME: Final = "city"
#: The sources publish a day in the course of the next morning.
USUAL_TIME: Final = "06:30"
#: A day that could not be computed, as when its data came late, is tried again after 1, 2, 4… hours, a day at most.
FIRST_PAUSE: Final = timedelta(hours=1)
LONGEST_PAUSE: Final = timedelta(days=1)
#: So a day is given up after a week; it may still be computed by hand.
ATTEMPTS: Final = 10
#: The sources still correct a day for so long; where they did, it is computed again with the days after it.
SETTLES: Final = timedelta(days=3)
#: A schedule that begins earlier is a slip of a century; each look lists all its days.
MOST_BACK: Final = 5000
#: How many jobs one look queues at most; the next look goes on.
AT_ONCE: Final = 30
logger = logging.getLogger(__name__)
_TIME: Final = re.compile(r"([01]\d|2[0-3]):[0-5]\d")


@dataclass(frozen=True)
class DailyRun:
    """When days are computed. `at`: on the city's clocks, on the day after; `since`: the first day."""

    at: time
    since: date
    fetches: bool
    zone: ZoneInfo
    user_id: str

    def due_at(self, day: date) -> datetime:
        """Return when a day is due, in UTC. A time that the clocks skip or show twice is one moment, as for any day."""
        return datetime.combine(day + timedelta(days=1), self.at, self.zone).astimezone(UTC)

    def due(self, moment: datetime) -> list[date]:
        """Return the days that are due at a moment, the first of them first."""
        last = moment.astimezone(self.zone).date()
        while self.due_at(last) > moment:
            last -= timedelta(days=1)
        return list(days_between(self.since, last)) if last >= self.since else []


@dataclass(frozen=True)
class Standing:
    """How a schedule stands: its next moment, the days that wait or run, and those that could not be computed."""

    daily: DailyRun
    next_at: datetime
    missing: tuple[date, ...]
    jobs: tuple[Job, ...]

    @property
    def failed(self) -> tuple[Job, ...]:
        return tuple(job for job in self.jobs if job.status == "failed")


# Set


def set_schedule(
    runtime: Runtime, user: User, *, at: str = USUAL_TIME, fetches: bool = False, since: date | None = None
) -> DailyRun:
    """Have each day computed at `at` (HH:MM, the city's clocks) of the next, from `since` on; yesterday at first.

    Raises:
        Forbidden: the user is no administrator.
        InvalidInput: the time is none, or `since` lies ahead or far back.
    """
    expect_administrator(user)
    if not _TIME.fullmatch(at):
        raise InvalidInput(_("%(value)s is no time of the day; write it as 06:30.", value=repr(at)))
    zone = ZoneInfo(runtime.settings.of(CitySettings).zone)
    today = now().astimezone(zone).date()
    if since is not None and since > today:
        raise InvalidInput(_("%(day)s lies ahead; a schedule begins with a day that has begun.", day=since))
    if since is not None and (today - since).days > MOST_BACK:
        raise InvalidInput(
            _(
                "%(day)s is more than %(count)s days ago. Begin with a later day.",
                day=since,
                count=num(MOST_BACK, ","),
            )
        )
    with runtime.catalog.write() as transaction:
        previous = schedules.schedule_of(transaction, NAME)
        first = since or (previous.since if previous else today - timedelta(days=1))
        schedules.set_schedule(transaction, NAME, user.id, at=at, since=first, fetches=fetches)
        audit.record(transaction, user.id, "city.schedule", at, since=first.isoformat(), fetches=fetches)
    return DailyRun(time.fromisoformat(at), first, fetches, zone, user.id)


def remove_schedule(runtime: Runtime, user: User) -> bool:
    """Have no more days computed by themselves; whether there was a schedule.

    Raises:
        Forbidden: the user is no administrator.
    """
    expect_administrator(user)
    with runtime.catalog.write() as transaction:
        removed = schedules.remove_schedule(transaction, NAME)
        if removed:
            audit.record(transaction, user.id, "city.schedule_off", NAME)
    return removed


def find_schedule(runtime: Runtime) -> DailyRun | None:
    with runtime.catalog.read() as transaction:
        row = schedules.schedule_of(transaction, NAME)
    if row is None:
        return None
    zone = ZoneInfo(runtime.settings.of(CitySettings).zone)
    return DailyRun(time.fromisoformat(row.at), row.since, row.fetches, zone, row.user_id)


def standing(runtime: Runtime, moment: datetime | None = None) -> Standing | None:
    """Return how the schedule stands now; None where there is none."""
    daily = find_schedule(runtime)
    if daily is None:
        return None
    at = moment or now()
    due = daily.due(at)
    missing = _missing(runtime, due)
    attempts = _attempts(runtime, missing)
    upcoming = max(daily.since, due[-1] + timedelta(days=1) if due else daily.since)
    return Standing(
        daily=daily,
        next_at=daily.due_at(upcoming),
        missing=tuple(missing),
        jobs=tuple(attempts[day][-1] for day in missing if attempts[day]),
    )


# Look


def queue_due(runtime: Runtime, moment: datetime | None = None) -> int:
    """Queue a job for each day that is due, not there, and not being computed; how many that were."""
    daily = find_schedule(runtime)
    if daily is None:
        return 0
    at = moment or now()
    missing = _missing(runtime, daily.due(at))
    attempts = _attempts(runtime, missing)
    # A job that ended since the first look left its day before it ended.
    missing = _missing(runtime, missing)
    queued = 0
    for day in reversed(missing):  # the latest first: it is what people wait for
        if queued == AT_ONCE:
            break
        if _is_wanted(attempts[day], at):
            subject = {"day": day.isoformat(), "fetch": daily.fetches}
            job_id = attempt_id(day, len(attempts[day]))
            runtime.jobs.enqueue(KIND, QUEUE, daily.user_id, day.isoformat(), subject, job_id=job_id)
            queued += 1
    return queued


def attempt_id(day: date, attempt: int) -> str:
    """Return the id of the job that computes a day for the n-th time, from 0."""
    return f"city-{day.isoformat()}" + (f"-{attempt}" if attempt else "")


def _is_wanted(attempts: list[Job], moment: datetime) -> bool:
    if not attempts:
        return True
    last = attempts[-1]
    if last.active or last.status == "cancelled" or len(attempts) >= ATTEMPTS:
        return False
    pause = min(FIRST_PAUSE * 2 ** (len(attempts) - 1), LONGEST_PAUSE)
    return last.status == "done" or moment >= (last.finished_at or last.created_at) + pause


def _missing(runtime: Runtime, days: list[date]) -> list[date]:
    """Return those of these days (in order) that were not computed."""
    from ecluse.apps.city.days import MARK

    if not days:
        return []
    stop = (days[-1] + timedelta(days=1)).isoformat()
    stored_days = set(runtime.documents.keys(MARK, days[0].isoformat(), stop))
    return [day for day in days if day.isoformat() not in stored_days]


def _attempts(runtime: Runtime, days: Iterable[date]) -> dict[date, list[Job]]:
    """Return the scheduled jobs of each day, in order."""
    ids_of = {day: [attempt_id(day, n) for n in range(ATTEMPTS)] for day in days}
    jobs_by_id = runtime.jobs.get_many(None, [id_ for ids in ids_of.values() for id_ in ids])
    return {day: [jobs_by_id[id_] for id_ in ids if id_ in jobs_by_id] for day, ids in ids_of.items()}


# The job


def run_scheduled(runtime: Runtime, task: Task, day: str, fetch: bool) -> None:
    if fetch:
        task.step("fetch", _fetch, runtime, task, date.fromisoformat(day))
    task.step("compute", _compute, runtime, task, date.fromisoformat(day))
    task.step("settle", _settle, runtime, task, date.fromisoformat(day))


def _fetch(runtime: Runtime, task: Task, day: date) -> None:
    """Get the day, and the days before it that the sources may have corrected.

    Raises:
        FetchFailed: nothing came. Where a part came, the rest is asked for again with the next day.
    """
    from ecluse.apps.city.fetch import FetchPlace, fetch_data

    settings = runtime.settings.of(CitySettings)
    with runtime.scratch() as scratch:
        place = FetchPlace(
            runtime.stores.area("raw"), scratch, ZoneInfo(settings.zone), key=settings.idfm_api_key
        )
        results = fetch_data(
            place,
            day - SETTLES,
            day,
            report=lambda fraction, message: task.report("fetch", min(fraction, 0.999), message),
        )
    failed = [result for result in results if result.outcome == "failed"]
    for result in failed:
        logger.warning("%s of %s was not fetched: %s", result.source, result.what, result.reason)
    if failed and not any(result.outcome in ("fetched", "unchanged", "kept") for result in results):
        raise FetchFailed(failed[0].reason or _("Nothing could be fetched."))


def _compute(runtime: Runtime, task: Task, day: date) -> None:
    from ecluse.apps.city import actions as workflows

    def report_part(fraction: float, message: str) -> None:
        task.report("compute", 0.9 * fraction, message)

    with workflows.open_city(runtime) as city:
        workflows.prepare(city, day, day, part_of(report_part, 0.0, 0.5))
        if not workflows.is_done_by(
            city, day, task.job_id
        ):  # by a worker that was stopped before it could say so
            workflows.make_day(city, day, run=task.job_id, report=part_of(report_part, 0.5, 1.0))


def _settle(runtime: Runtime, task: Task, day: date) -> None:
    """Compute the days before again that the sources have corrected, then forecast the next."""
    from ecluse.apps.city import actions as workflows
    from ecluse.apps.city.days import is_there, latest_day

    with workflows.open_city(runtime) as city:
        for earlier in days_between(day - SETTLES, day - timedelta(days=1)):
            task.report("compute", 0.92, earlier.isoformat())
            if is_there(city.documents, earlier) and not workflows.is_up_to_date(city, earlier):
                workflows.make_day(city, earlier, run=task.job_id)
        if latest_day(city.documents) == day:
            workflows.update_forecast(
                city,
                lambda _, message: task.report("compute", 0.97, message),
                checkpoints=checkpoints_of(runtime, task),
            )


def _failed(runtime: Runtime, task: Task, message: str, day: str, **_: Any) -> None:
    with runtime.catalog.write() as transaction:
        audit.record(transaction, task.user_id, "city.day_failed", day, found=message)


#: The kind of job that a schedule queues.
KINDS: Final[dict[str, JobKind]] = {
    KIND: JobKind(
        run=run_scheduled,
        failed=_failed,
        queue=QUEUE,
        verb=N_("Compute"),
        stages={"fetch": N_("Fetch"), "compute": N_("Compute")},
        is_of_installation=True,
    )
}
