"""Long jobs of the city that are interrupted go on where they were: a day, a forecast, the run that tracks it."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast

import lightgbm
import numpy as np
import pytest

from ecluse.apps.city import actions as workflows
from ecluse.apps.city import demo, schedule
from ecluse.apps.city import forecast as forecasting
from ecluse.apps.city import jobs as work
from ecluse.apps.city.forecast import forecast
from ecluse.catalog import runs
from ecluse.catalog.tables import Run, User
from ecluse.checkpoints import Checkpoints, checkpoints_of
from ecluse.errors import JobCancelled
from ecluse.jobs import Task
from ecluse.runtime import Runtime
from ecluse.storage import ObjectStore, open_store
from tests.apps.city.test_city_jobs import MONDAY
from tests.apps.city.test_forecast import after, waves
from tests.apps.plants.training_images import Memory


@pytest.fixture
def administrator(runtime: Runtime) -> User:
    return runtime.accounts.local_administrator()


class Job(Task):
    """A job that runs here; it remembers no step, as one that is killed before a step ends does not."""

    def __init__(self, user: User, job_id: str = "job") -> None:
        self.user_id, self.job_id = user.id, job_id
        self.facts: list[float] = []

    def report(self, stage: str, fraction: float, message: str = "") -> None:
        self.facts.append(fraction)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> Counter[date]:
    """How often each day was computed."""
    result, compute = Counter[date](), workflows.compute_day

    def counted(city: workflows.City, day: date, *rest: Any) -> workflows.ComputedDay:
        result[day] += 1
        return compute(city, day, *rest)

    monkeypatch.setattr(workflows, "compute_day", counted)
    return result


def test_a_day_that_its_run_has_computed_is_not_computed_again_when_its_job_is_taken_up(
    runtime: Runtime, administrator: User, sample: Path, computed: Counter[date]
) -> None:
    with workflows.open_city(runtime, str(sample)) as city:
        workflows.prepare(city, MONDAY, MONDAY)
    for _ in range(2):
        work._compute(runtime, Job(administrator), MONDAY, str(sample), "run")
    assert computed == {MONDAY: 1}
    work._compute(runtime, Job(administrator), MONDAY, str(sample), "another run")
    assert computed == {MONDAY: 2}, "who asks for a day again gets it computed again"


def test_a_scheduled_day_that_was_computed_is_not_computed_again_and_what_follows_it_is_done(
    runtime: Runtime,
    administrator: User,
    sample: Path,
    computed: Counter[date],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened = workflows.open_city
    monkeypatch.setattr(workflows, "open_city", lambda runtime: opened(runtime, str(sample)))
    forecasts, trained = list[date](), workflows.update_forecast
    interruptions = [True]

    def interrupted(city: workflows.City, *rest: Any, **named: Any) -> date | None:
        if interruptions:
            interruptions.pop()
            raise JobCancelled("The worker stops; the next one takes the job up.")
        forecasts.append(MONDAY)
        return trained(city, *rest, **named)

    monkeypatch.setattr(workflows, "update_forecast", interrupted)
    job = Job(administrator, "city-2025-10-13")
    with pytest.raises(JobCancelled):
        schedule._compute(runtime, job, MONDAY)
        schedule._settle(runtime, job, MONDAY)
    schedule._compute(runtime, job, MONDAY)
    schedule._settle(runtime, job, MONDAY)
    assert computed == {MONDAY: 1}
    assert forecasts == [MONDAY]
    assert workflows.forecast_of(runtime.documents) == MONDAY + timedelta(days=1)


def test_a_forecast_that_is_interrupted_learns_each_model_once_and_tells_the_same(
    runtime: Runtime, administrator: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel, trained = waves(days=70, sensors=2), Counter[str]()
    whole = forecast(panel, after(panel), learns=True)
    train = lightgbm.train

    def counted(*arguments: Any, **named: Any) -> Any:
        trained["models"] += 1
        if trained["models"] == 2 and not trained["interrupted"]:
            trained["interrupted"] = 1
            raise JobCancelled("The worker stops; the next one takes the job up.")
        return train(*arguments, **named)

    monkeypatch.setattr(lightgbm, "train", counted)
    kept = checkpoints_of(runtime, Job(administrator))

    def forecast_from(inputs: str) -> forecasting.Forecast:
        recall = workflows._recalled(kept, inputs)
        return forecast(panel, after(panel), learns=True, recall=recall)

    with pytest.raises(JobCancelled):
        forecast_from("these inputs")
    assert trained["models"] == 2
    again = forecast_from("these inputs")
    assert trained["models"] == 3, "the first model was learned before"
    for name in ("median", "low", "high"):
        assert np.array_equal(getattr(again, name), getattr(whole, name))
    assert again.models == whole.models
    forecast_from("these inputs")
    assert trained["models"] == 3
    forecast_from("other inputs")
    assert trained["models"] == 5
    monkeypatch.setattr(forecasting, "FORECAST_MEANING", forecasting.FORECAST_MEANING + 1)
    forecast_from("other inputs")
    assert trained["models"] == 7, "what a release before learned has other columns"


def test_the_run_of_a_forecast_whose_worker_stops_goes_on_and_that_of_a_cancelled_job_is_cancelled(
    runtime: Runtime, administrator: User
) -> None:
    panel = waves(days=70, sensors=2)
    job = Job(administrator, runtime.jobs.enqueue(work.FORECAST, work.FORECASTS, administrator.id, "", {}))

    def forecast_once(*, stops: bool, day: date = MONDAY) -> None:
        with work.tracked(runtime, job, day) as heard:
            forecast(panel, after(panel), learns=True, heard=partial(heard, "flow"))
            if stops:
                raise JobCancelled("The worker stops; the next one takes the job up.")

    def tracked() -> list[Run]:
        with runtime.catalog.read() as transaction:
            return runs.list_runs(transaction, administrator.id)[0]

    with pytest.raises(JobCancelled):
        forecast_once(stops=True)
    assert [run.status for run in tracked()] == ["running"]
    forecast_once(stops=False)
    assert [run.status for run in tracked()] == ["done"]
    runtime.jobs.cancel(administrator.id, job.job_id)
    with pytest.raises(JobCancelled):
        forecast_once(stops=True, day=MONDAY + timedelta(days=7))
    assert sorted(run.status for run in tracked()) == ["cancelled", "done"]


def test_days_up_to_the_end_of_the_calendar_can_be_asked_for(runtime: Runtime) -> None:
    runtime.documents.put(workflows.MARK, "2147-12-31", {})
    result = workflows.removable_days(runtime.documents, date.min, date.max)
    assert result == [date(2147, 12, 31)]


def test_a_sample_that_is_interrupted_writes_the_feeds_of_each_day_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw, whole = (open_store(f"file://{tmp_path}/{name}") for name in ("raw", "whole"))
    written, write = Counter[date](), demo._write_feeds

    def counted(store: ObjectStore, day: Any) -> dict[str, int]:
        written[day.date] += 1
        return write(store, day)

    def stop(fraction: float, doing: str) -> None:
        if doing == "feeds of 2025-09-03":
            raise JobCancelled("The worker stops; the next one takes the job up.")

    monkeypatch.setattr(demo, "_write_feeds", counted)
    kept, facts = cast(Checkpoints, Memory()), list[float]()
    first = date(2025, 9, 1)
    with pytest.raises(JobCancelled):
        demo.write_demo(raw, first, 3, arcs=30, report=stop, checkpoints=kept)
    done = demo.write_demo(
        raw, first, 3, arcs=30, report=lambda fraction, _: facts.append(fraction), checkpoints=kept
    )
    assert written == {first + timedelta(days=n): 1 for n in range(3)}
    assert facts[0] > 0.15
    again = demo.write_demo(whole, first, 3, arcs=30)
    assert (done.files, done.size, done.rows) == (again.files, again.size, again.rows)
    assert {info.key: raw.get(info.key) for info in raw.list()} == {
        info.key: whole.get(info.key) for info in whole.list()
    }
    written.clear()
    raw.delete(next(info.key for info in raw.list("api/bikes")))
    demo.write_demo(raw, first, 3, arcs=30, checkpoints=kept)
    assert written.total() == 3, "a file that is gone is written again"
    demo.write_demo(whole, first, 2, arcs=30, checkpoints=kept)
    assert written.total() == 5, "another sample is written whole"
