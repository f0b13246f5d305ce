"""Compute days of a city as jobs: many at once on all workers, and each day at its time.

`start_runs` queues one job that curates; it then queues one job per day. A job may run twice, on any worker,
and leaves the same documents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final

from ecluse import tracking
from ecluse.application import ngettext
from ecluse.apps.city.calendar import days_between, expect_days
from ecluse.apps.city.progress import Report, unheard
from ecluse.catalog import Transaction, audit, users
from ecluse.catalog.tables import User, new_id, now
from ecluse.checkpoints import checkpoints_of
from ecluse.errors import Forbidden, InvalidInput, JobCancelled, JobNotFound
from ecluse.jobs import Group, Job, JobKind, Link, Task
from ecluse.runtime import Runtime
from ecluse.sentences import N_, _
from ecluse.settings import store_or_folder
from ecluse.storage import ObjectStore

if TYPE_CHECKING:
    from ecluse.apps.city.forecast import Learned

QUEUE: Final = "city"
PREPARE: Final = "city_prepare"
DAY: Final = "city_day"
FORECAST: Final = "city_forecast"
#: The kind and the name of the runs of forecasts.
FORECAST_RUN: Final = "forecast"
#: A queue of its own, so that forecasts, which learn, run beside the days of other runs.
FORECASTS: Final = "forecast"
#: A run of more days than this is a slip of a year.
MOST_DAYS: Final = 1100


@dataclass(frozen=True)
class Run:
    """The jobs of a run: that which curates, those of the days that were missing or changed, and the forecast."""

    prepare: Job
    days: dict[date, Job]
    forecast: Job | None

    @property
    def all(self) -> list[Job]:
        return [self.prepare, *self.days.values(), *([] if self.forecast is None else [self.forecast])]

    @property
    def active(self) -> bool:
        return any(job.active for job in self.all)


def start_runs(
    runtime: Runtime, user: User, first: date, last: date, raw: str | None = None, *, again: bool = False
) -> str:
    """Queue the days from `first` to `last` that are missing or changed, all of them with `again`; the run's id.

    The same run that still goes on is not started a second time.

    Raises:
        Forbidden: the user is no administrator.
        InvalidInput: the dates are in the wrong order, or too many.
        SettingsError: `raw` is no address.
    """
    expect_administrator(user)
    expect_days(first, last)
    if (last - first).days >= MOST_DAYS:
        raise InvalidInput(
            _(
                "%(first)s to %(last)s are more than %(most)s days. Take a part of them at a time.",
                first=first,
                last=last,
                most=MOST_DAYS,
            )
        )
    subject = {
        "first": first.isoformat(),
        "last": last.isoformat(),
        "raw": None if raw is None else store_or_folder("--raw", raw),
        "again": again,
    }
    if (running := _running(runtime, user, subject)) is not None:
        return running
    with runtime.catalog.write() as transaction:
        audit.record(transaction, user.id, "city.run", f"{first} – {last}", again=again)
        return runtime.jobs.enqueue(
            PREPARE, QUEUE, user.id, f"{first} – {last}", subject, job_id=new_id(), transaction=transaction
        )


def remove_days(runtime: Runtime, user: User, days: Sequence[date]) -> None:
    """Remove what was computed of these days, as `actions.remove_day` does; all of them must be there.

    Raises:
        Forbidden: the user is no administrator.
        NoSuchDay: one is not there; none is removed.
    """
    from ecluse.apps.city import actions as workflows
    from ecluse.apps.city.days import no_such_day

    expect_administrator(user)
    for day in days:
        if not workflows.removable_days(runtime.documents, day, day):
            raise no_such_day(runtime.documents, day)
    with runtime.catalog.write() as transaction:
        audit.record(transaction, user.id, "city.remove", ", ".join(map(str, days))[:200], days=len(days))
    for day in days:
        workflows.remove_day(runtime.documents, workflows.reports_of(runtime), day)


def remove_sample(
    runtime: Runtime, user: User, store: ObjectStore, report: Report = unheard
) -> Sequence[date]:
    """Remove the invented city, as `actions.remove_sample` does; the days that it had.

    Raises:
        Forbidden: the user is no administrator.
    """
    from ecluse.apps.city import actions as workflows

    expect_administrator(user)
    with runtime.catalog.write() as transaction:
        audit.record(transaction, user.id, "city.sample_removed", store.url)
    return workflows.remove_sample(runtime, store, report)


def expect_administrator(user: User) -> None:
    if user.role != "admin":
        raise Forbidden(_("Only administrators compute days of the city. Ask one of yours."))


def run_of(runtime: Runtime, user_id: str, run_id: str) -> Run:
    """Return how far a run is. Days that were up to date have no job.

    Raises:
        JobNotFound: there is no such run, it is someone else's, or the job is of another kind.
    """
    prepare = runtime.jobs.get(user_id, run_id)
    if prepare.kind != PREPARE:
        raise JobNotFound(_("No job %(value)s. See: ecluse jobs list", value=run_id))
    first, last = (date.fromisoformat(prepare.subject[name]) for name in ("first", "last"))
    ids = {day_id(run_id, day): day for day in days_between(first, last)}
    jobs_of_run = runtime.jobs.get_many(user_id, [*ids, forecast_id(run_id)])
    days = {day: jobs_of_run[job_id] for job_id, day in ids.items() if job_id in jobs_of_run}
    return Run(prepare, days, jobs_of_run.get(forecast_id(run_id)))


def day_id(run_id: str, day: date) -> str:
    """Return the id of a day's job: fixed, so that a day is queued once however often its run is taken up."""
    return f"{run_id}-{day.isoformat()}"


def forecast_id(run_id: str) -> str:
    """Return the id of the job that forecasts the day after a run's days."""
    return f"{run_id}-forecast"


def _running(runtime: Runtime, user: User, subject: dict[str, Any]) -> str | None:
    """Return the run with this subject that has a waiting or running job."""
    for job in runtime.jobs.list(user.id, limit=1000, active=True):
        run_id = job.id if job.kind == PREPARE else job.subject.get("run") if job.kind == DAY else None
        jobs_by_id = None if run_id is None else runtime.jobs.get_many(user.id, [run_id]).get(run_id)
        if jobs_by_id is not None and jobs_by_id.subject == subject:
            return jobs_by_id.id
    return None


# The jobs


def run_prepare(runtime: Runtime, task: Task, first: str, last: str, raw: str | None, again: bool) -> None:
    """Curate, then queue a job for each day that is missing or changed."""
    begin, end = date.fromisoformat(first), date.fromisoformat(last)
    days_to_compute: Sequence[str] = task.step("curate", _curate, runtime, task, begin, end, raw, again)
    task.step("queue", _queue, runtime, task, days_to_compute, raw)


def run_city_day(runtime: Runtime, task: Task, day: str, raw: str | None, run: str) -> None:
    task.step("compute", _compute, runtime, task, date.fromisoformat(day), raw, run)


def run_forecast(runtime: Runtime, task: Task, raw: str | None, run: str, days: Sequence[str]) -> None:
    """Forecast the next day once the days of the run have ended, however they did."""
    ids = [day_id(run, date.fromisoformat(day)) for day in days]
    task.wait_for(ids, _waiting)
    task.step("forecast", _forecast, runtime, task, raw)


def _waiting(days: int) -> str:
    # How many are left is said beside it, and counted at another moment.
    return _("waiting for the days before it")


def _forecast(runtime: Runtime, task: Task, raw: str | None) -> None:
    from ecluse.apps.city import actions as workflows

    _expect_right(runtime, task, raw)
    with workflows.open_city(runtime, raw) as city:
        workflows.update_forecast(
            city,
            lambda fraction, message: task.report("forecast", min(fraction, 0.999), message),
            lambda day: tracked(runtime, task, day),
            checkpoints_of(runtime, task),
        )


@contextmanager
def tracked(runtime: Runtime, task: Task, day: date) -> Iterator[Callable[[str, Learned], None]]:
    """Yield a run of the learning of a day's forecast, once there is something learned: its errors on days held out."""
    from ecluse.apps.city.forecast import LEARNING_DAYS, PARAMETERS, TREES

    began, figures, trackers = now(), dict[str, float](), list[tracking.Tracker]()
    with ExitStack() as stack:

        def heard(panel: str, learned: Learned) -> None:
            if not trackers:
                begun = tracking.start(
                    runtime.catalog,
                    task.user_id,
                    "city",
                    FORECAST_RUN,
                    kind=FORECAST_RUN,
                    parameters={"trees": TREES, "days": LEARNING_DAYS, "seed": 0, **PARAMETERS},
                    context=tracking.RunContext(
                        tags={"family": "lightgbm"},
                        subject={"day": day.isoformat()},
                        job_id=task.job_id,
                        began=began,
                    ),
                )
                trackers.append(stack.enter_context(begun))
            for trees, error in learned.errors_by_trees():
                trackers[0].log(trees, **{f"{panel}.sampled_error": error})
            figures.update({f"{panel}.{name}": value for name, value in learned.errors().items()})

        try:
            yield heard
        except JobCancelled:
            if runtime.jobs.is_cancelled(task.job_id):
                for run in trackers:
                    run.ended("cancelled")
            raise
        for run in trackers:
            run.done(metrics=figures)


def _curate(
    runtime: Runtime, task: Task, first: date, last: date, raw: str | None, again: bool
) -> Sequence[str]:
    """Bring the curated layer up to date; the days that are to be computed."""
    from ecluse.apps.city import actions as workflows

    _expect_right(runtime, task, raw)
    days = list(days_between(first, last))
    with workflows.open_city(runtime, raw) as city:
        workflows.prepare(
            city, first, last, lambda fraction, message: task.report("curate", fraction * 0.9, message)
        )
        days_to_compute = []
        for n, day in enumerate(days):
            task.report("queue", 0.9 + 0.1 * n / len(days), day.isoformat())
            if again or not workflows.is_up_to_date(city, day):
                days_to_compute.append(day.isoformat())
        return days_to_compute


def _expect_right(runtime: Runtime, task: Task, raw: str | None) -> None:
    """Read an address that is none of the settings' only for who administers still, now that the job runs."""
    if raw is not None:
        with runtime.catalog.read() as transaction:
            expect_administrator(users.user_by_id(transaction, task.user_id))


def _queue(runtime: Runtime, task: Task, days: Sequence[str], raw: str | None) -> None:
    jobs, user_id, run = runtime.jobs, task.user_id, task.job_id
    with_forecast = days or _lacks_forecast(runtime)
    with runtime.catalog.write() as transaction:
        for day in days:
            subject = {"day": day, "raw": raw, "run": run}
            job_id = day_id(run, date.fromisoformat(day))
            jobs.enqueue(DAY, QUEUE, user_id, day, subject, job_id=job_id, transaction=transaction)
        if with_forecast:
            following = {"raw": raw, "run": run, "days": list(days)}
            title = f"{days[0]} – {days[-1]}" if days else "forecast"
            job_id = forecast_id(run)
            jobs.enqueue(
                FORECAST, FORECASTS, user_id, title, following, job_id=job_id, transaction=transaction
            )


def _lacks_forecast(runtime: Runtime) -> bool:
    """Return whether the day after the last is not forecast, as where an earlier run's forecast failed."""
    from ecluse.apps.city import actions as workflows
    from ecluse.apps.city.days import latest_day

    latest = latest_day(runtime.documents)
    return latest is not None and workflows.forecast_of(runtime.documents) != latest + timedelta(days=1)


def _compute(runtime: Runtime, task: Task, day: date, raw: str | None, run: str) -> None:
    from ecluse.apps.city import actions as workflows

    _expect_right(runtime, task, raw)
    with workflows.open_city(runtime, raw) as city:
        if workflows.is_done_by(city, day, run):  # and its worker was stopped before it could say so
            return
        workflows.make_day(
            city,
            day,
            run=run,
            report=lambda fraction, message: task.report("compute", min(fraction, 0.999), message),
        )


def _prepare_failed(runtime: Runtime, task: Task, message: str, **subject: Any) -> None:
    with runtime.catalog.write() as transaction:
        audit.record(
            transaction,
            task.user_id,
            "city.run_failed",
            f"{subject['first']} – {subject['last']}",
            found=message,
        )


def _day_failed(runtime: Runtime, task: Task, message: str, day: str, **_: Any) -> None:
    with runtime.catalog.write() as transaction:
        audit.record(transaction, task.user_id, "city.day_failed", day, found=message)


def _forecast_failed(runtime: Runtime, task: Task, message: str, run: str, **_: Any) -> None:
    with runtime.catalog.write() as transaction:
        audit.record(transaction, task.user_id, "city.forecast_failed", run, found=message)


def _open_city(transaction: Transaction, job: Job) -> Link | None:
    return CITY


def _open_day(transaction: Transaction, job: Job) -> Link | None:
    return Link(f"/city/{job.subject['day']}", N_("Open the day"))


CITY: Final = Link("/city", N_("Open the city"))
DAYS: Final = Group(
    name="days",
    title=N_("Days of the city"),
    icon="city",
    left=ngettext("%(count)s day is left to compute.", "%(count)s days are left to compute."),
    link=CITY,
)
#: Every kind of job of the city; a worker is started with them.
KINDS: Final[dict[str, JobKind]] = {
    PREPARE: JobKind(
        run=run_prepare,
        failed=_prepare_failed,
        queue=QUEUE,
        verb=N_("Curate"),
        stages={"curate": N_("Curate"), "queue": N_("Queue the days")},
        result=_open_city,
    ),
    DAY: JobKind(
        run=run_city_day,
        failed=_day_failed,
        queue=QUEUE,
        verb=N_("Compute"),
        stages={"compute": N_("Compute")},
        result=_open_day,
        group=DAYS,
    ),
    FORECAST: JobKind(
        run=run_forecast,
        failed=_forecast_failed,
        queue=FORECASTS,
        verb=N_("Forecast"),
        stages={"forecast": N_("Forecast")},
    ),
}
