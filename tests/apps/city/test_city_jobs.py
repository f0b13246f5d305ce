"""Days are computed by any number of workers, each once, whatever becomes of a worker; a day that fails stops no other."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ecluse.apps.city import actions as workflows
from ecluse.apps.city import forecast as forecasting
from ecluse.apps.city import jobs as work
from ecluse.apps.city import schedule
from ecluse.apps.city.calendar import days_between
from ecluse.apps.city.days import MARK, find_day
from ecluse.apps.city.forecast import forecast
from ecluse.catalog import runs, users
from ecluse.catalog import work as work_rows
from ecluse.catalog.tables import Run, User
from ecluse.documents import Document
from ecluse.errors import Forbidden, InvalidInput, SettingsError
from ecluse.jobs import Task
from ecluse.runtime import Runtime, Worker, living_workers
from ecluse.settings import Settings
from ecluse.work import cancel_job, kinds
from tests.application import KEPT, run_ecluse
from tests.apps.city.sample import FIRST, LAST, held
from tests.apps.city.test_forecast import after, waves
from tests.support.jobs import ended_job
from tests.support.wait import wait_until

MONDAY = date(2025, 10, 13)
#: With four weeks before it.
THURSDAY = date(2025, 10, 30)


@pytest.fixture
def administrator(runtime: Runtime) -> User:
    return runtime.accounts.local_administrator()


@contextmanager
def worker(runtime: Runtime) -> Iterator[None]:
    """A worker in this process."""
    running = Worker(runtime, kinds())
    running.start()
    try:
        yield
    finally:
        running.stop()
        running.close()


def ended(runtime: Runtime, user: User, run_id: str) -> work.Run:
    wait_until(lambda: not work.run_of(runtime, user.id, run_id).active, f"an end of {run_id}", 180)
    return work.run_of(runtime, user.id, run_id)


class Forecasting(Task):
    """A job that forecasts, and is not queued."""

    def __init__(self, runtime: Runtime, user: User) -> None:
        self.job_id, self.user_id = "f-forecast", user.id


def test_what_a_forecast_learns_is_a_run_and_one_that_learns_nothing_is_none(
    runtime: Runtime, administrator: User
) -> None:
    panel = waves(days=70, sensors=2)
    with work.tracked(runtime, Forecasting(runtime, administrator), MONDAY):
        pass
    with work.tracked(runtime, Forecasting(runtime, administrator), MONDAY) as heard:
        forecast(panel, after(panel), learns=True, heard=partial(heard, "flow"))
    with runtime.catalog.read() as transaction:
        (run,), total = runs.list_runs(transaction, administrator.id)
        curves = runs.curves_of(transaction, run.id)
    assert (total, run.status, run.subject) == (1, "done", {"day": MONDAY.isoformat()})
    assert run.metrics["flow.absolute_error"] > 0
    assert len(curves["flow.sampled_error"]) > 1


def test_the_run_of_a_forecast_whose_job_is_gone_is_ended(runtime: Runtime, administrator: User) -> None:
    with runtime.catalog.write() as transaction:
        row = Run(
            user_id=administrator.id, application="city", kind="forecast", name="forecast", job_id="gone"
        )
        runs.set_running(transaction, runs.add_run(transaction, row).id)
    with runtime.catalog.write() as transaction:
        assert work_rows.end_lost(transaction) == 1
    with runtime.catalog.read() as transaction:
        assert runs.run_of(transaction, administrator.id, row.id).status == "failed"


def test_days_are_computed_as_jobs_and_what_is_up_to_date_has_none(
    runtime: Runtime, administrator: User, sample: Path
) -> None:
    with worker(runtime):
        first = work.start_runs(runtime, administrator, MONDAY, MONDAY + timedelta(days=1), str(sample))
        assert [job.status for job in ended(runtime, administrator, first).days.values()] == ["done", "done"]
        second = work.start_runs(runtime, administrator, MONDAY, MONDAY + timedelta(days=2), str(sample))
        assert list(ended(runtime, administrator, second).days) == [MONDAY + timedelta(days=2)]
        again = work.start_runs(runtime, administrator, MONDAY, MONDAY, str(sample), again=True)
        assert list(ended(runtime, administrator, again).days) == [MONDAY]
        assert find_day(runtime.documents, MONDAY)["run"] == again
        assert workflows.forecast_of(runtime.documents) == MONDAY + timedelta(days=3)
        runtime.documents.delete(workflows.FORECAST, "state")  # as where the forecast of that run failed
        last = work.start_runs(runtime, administrator, MONDAY, MONDAY + timedelta(days=2), str(sample))
        made_up = ended(runtime, administrator, last)
        assert (made_up.days, made_up.forecast and made_up.forecast.status) == ({}, "done")
    assert workflows.forecast_of(runtime.documents) == MONDAY + timedelta(days=3)


@pytest.mark.nightly
def test_a_day_that_fails_is_told_with_its_reason_and_the_others_are_computed(
    runtime: Runtime, administrator: User, sample: Path
) -> None:
    last = LAST + timedelta(days=2)
    with worker(runtime):
        run = ended(runtime, administrator, work.start_runs(runtime, administrator, LAST, last, str(sample)))
    assert [job.status for job in run.days.values()] == ["done", "failed", "failed"]
    assert "no raw data for 2025-11-04" in str(run.days[last].error)
    assert runtime.documents.keys(MARK) == [LAST.isoformat()]


def test_a_run_that_goes_on_is_not_started_a_second_time(
    runtime: Runtime, administrator: User, sample: Path
) -> None:
    first = work.start_runs(runtime, administrator, MONDAY, MONDAY, str(sample))
    assert work.start_runs(runtime, administrator, MONDAY, MONDAY, str(sample)) == first
    assert work.start_runs(runtime, administrator, MONDAY, MONDAY, str(sample), again=True) != first
    runtime.jobs.cancel(administrator.id, first)
    assert work.start_runs(runtime, administrator, MONDAY, MONDAY, str(sample)) != first


def test_a_cancelled_run_queues_no_days(runtime: Runtime, administrator: User, sample: Path) -> None:
    run_id = work.start_runs(runtime, administrator, MONDAY, MONDAY, str(sample))
    cancel_job(runtime, administrator.id, run_id)
    with worker(runtime):
        run = ended(runtime, administrator, run_id)
    assert run.prepare.status == "cancelled"
    assert run.days == {}


@pytest.mark.nightly
def test_a_cancelled_day_is_not_there_and_the_others_are(
    runtime: Runtime, administrator: User, sample: Path
) -> None:
    run_id = work.start_runs(runtime, administrator, MONDAY, MONDAY + timedelta(days=1), str(sample))
    other = work.day_id(run_id, MONDAY + timedelta(days=1))
    with worker(runtime):
        wait_until(lambda: other in runtime.jobs.get_many(administrator.id, [other]), "the job of a day")
        cancel_job(runtime, administrator.id, other)
        run = ended(runtime, administrator, run_id)
    assert {day: job.status for day, job in run.days.items()} == {
        MONDAY: "done",
        MONDAY + timedelta(days=1): "cancelled",
    }
    assert runtime.documents.keys(MARK) == [MONDAY.isoformat()]


def test_who_is_no_administrator_starts_nothing(runtime: Runtime, administrator: User) -> None:
    member = runtime.accounts.sign_up("member@example.org", "a long password")
    with pytest.raises(Forbidden, match="Only administrators"):
        work.start_runs(runtime, member, MONDAY, MONDAY)
    with pytest.raises(Forbidden, match="Only administrators"):
        work.remove_days(runtime, member, [MONDAY])
    assert not runtime.jobs.list(member.id)


def test_an_address_is_read_with_the_right_that_its_owner_has_when_the_job_runs(
    runtime: Runtime, administrator: User, tmp_path: Path
) -> None:
    run_id = work.start_runs(runtime, administrator, date(2025, 9, 1), date(2025, 9, 1), str(tmp_path))
    with runtime.catalog.write() as transaction:
        users.user_by_id(transaction, administrator.id).role = "member"
    with worker(runtime):
        job = ended_job(runtime, administrator.id, run_id)
    assert (job.status, "Only administrators" in (job.error or "")) == ("failed", True)


@pytest.mark.nightly
def test_the_next_day_is_forecast_from_the_last_that_was_computed(
    runtime: Runtime, administrator: User, sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with workflows.open_city(runtime, str(sample)) as city:
        assert workflows.update_forecast(city) is None
        workflows.run_day(city, THURSDAY, run="test")
        assert workflows.update_forecast(city) == THURSDAY + timedelta(days=1)
        forecasts = list(city.documents.all("forecast/arcs"))
        assert {item.body["date"] for item in forecasts} == {"2025-10-31"}
        city.documents.put("forecast/arcs", forecasts[0].key, {"changed": True})
        workflows.run_day(city, THURSDAY - timedelta(days=1), run="test")
        workflows.update_forecast(city)
        assert city.documents.get("forecast/arcs", forecasts[0].key) == {"changed": True}, "it is up to date"
        monkeypatch.setattr(forecasting, "FORECAST_MEANING", forecasting.FORECAST_MEANING + 1)
        workflows.update_forecast(city)
        assert city.documents.get("forecast/arcs", forecasts[0].key) == forecasts[0].body, (
            "it means another thing"
        )
        city.documents.put("forecast/arcs", "999999", {"left": True})
        workflows.run_day(city, THURSDAY + timedelta(days=1), run="test")
        workflows.update_forecast(city)
        assert {item.body["date"] for item in city.documents.all("forecast/arcs")} == {"2025-11-01"}


def test_days_in_the_wrong_order_or_far_too_many_are_refused(runtime: Runtime, administrator: User) -> None:
    with pytest.raises(InvalidInput, match="before the first"):
        work.start_runs(runtime, administrator, MONDAY, MONDAY - timedelta(days=1))
    with pytest.raises(InvalidInput, match="more than 1100 days"):
        work.start_runs(runtime, administrator, date(1982, 10, 13), MONDAY)
    for far in (date.min, date(202, 10, 13), date.max):
        with pytest.raises(InvalidInput, match="is no day of a city"):
            work.start_runs(runtime, administrator, far, far)
    with pytest.raises(SettingsError, match="carries no keys"):
        work.start_runs(runtime, administrator, MONDAY, MONDAY, "s3://key:word@bucket")


@pytest.mark.nightly
def test_a_scheduled_day_is_computed_and_a_corrected_one_before_it_again(
    runtime: Runtime, administrator: User, sample: Path
) -> None:
    raw = runtime.settings.home / "store" / "raw"
    shutil.copytree(sample, raw)
    tuesday = MONDAY + timedelta(days=1)
    schedule.set_schedule(runtime, administrator, since=tuesday)
    with workflows.open_city(runtime) as city:
        workflows.run_day(city, MONDAY, run="before")
    shutil.rmtree(next(iter(sorted((raw / f"api/bikes/dt={MONDAY}").iterdir()))))
    daily = schedule.find_schedule(runtime)
    assert daily is not None
    with worker(runtime):
        assert schedule.queue_due(runtime, daily.due_at(tuesday)) == 1
        job_id = schedule.attempt_id(tuesday, 0)
        assert ended_job(runtime, administrator.id, job_id, 180).status == "done"
    assert find_day(runtime.documents, tuesday)["run"] == job_id
    assert find_day(runtime.documents, MONDAY)["run"] == job_id
    assert schedule.queue_due(runtime, daily.due_at(tuesday)) == 0


@pytest.mark.nightly
def test_a_scheduled_day_without_data_is_tried_again_later_and_given_up_at_last(
    runtime: Runtime, administrator: User, sample: Path
) -> None:
    schedule.set_schedule(runtime, administrator, since=MONDAY)
    daily = schedule.find_schedule(runtime)
    assert daily is not None
    moment = daily.due_at(MONDAY)
    others = days_between(MONDAY + timedelta(days=1), datetime.now(UTC).date() + timedelta(days=10))
    runtime.documents.put_many(Document(MARK, day.isoformat(), {}) for day in others)
    with worker(runtime):
        for attempt in range(schedule.ATTEMPTS):
            assert schedule.queue_due(runtime, moment) == 1
            job_id = schedule.attempt_id(MONDAY, attempt)
            job = ended_job(runtime, administrator.id, job_id)
            assert "There is no raw data for 2025-10-13" in str(job.error)
            assert job.finished_at is not None
            moment = job.finished_at + min(schedule.FIRST_PAUSE * 2**attempt, schedule.LONGEST_PAUSE)
            assert schedule.queue_due(runtime, moment - timedelta(seconds=1)) == 0, "not at once"
    assert schedule.queue_due(runtime, moment + timedelta(days=2)) == 0
    now = schedule.standing(runtime, daily.due_at(MONDAY))
    assert now is not None
    assert [job.title for job in now.failed] == ["2025-10-13"]


# In processes


def ecluse(home: Path, *arguments: str, code: int = 0) -> Any:
    done = run_ecluse(home, {}, *arguments, "--json")
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def environ(home: Path) -> dict[str, str]:
    return {name: os.environ[name] for name in KEPT if name in os.environ} | {"ECLUSE_HOME": str(home)}


@contextmanager
def worker_process(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "ecluse", "worker"], env=environ(home), stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_thirty_days_on_two_workers_are_all_there_and_none_twice_though_one_is_killed(
    runtime: Runtime, administrator: User, sample: Path, tmp_path: Path, empty_home: Path
) -> None:
    last = FIRST + timedelta(days=29)
    days = [day.isoformat() for day in days_between(FIRST, last)]
    home = runtime.settings.home
    command = ["city", "run", "--from", str(FIRST), "--to", str(last), "--raw", str(sample), "--json"]
    with worker_process(home) as killed, worker_process(home):
        wait_until(lambda: len(living_workers(runtime)) == 2, "two workers")
        following = subprocess.Popen(
            [sys.executable, "-m", "ecluse", *command],
            env=environ(home),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        wait_until(lambda: len(runtime.documents.keys(MARK)) >= 4, "four days", 180)
        killed.send_signal(signal.SIGKILL)
        out, _ = following.communicate(timeout=500)
    assert following.returncode == 0
    facts = json.loads(out)
    assert [(item["date"], item["status"]) for item in facts["days"]] == [(day, "done") for day in days]
    assert runtime.documents.keys(MARK) == days
    jobs = Counter(
        job.title for job in runtime.jobs.list(administrator.id, limit=1000) if job.kind == work.DAY
    )
    assert jobs == Counter(days)
    shutil.copytree(empty_home, tmp_path / "undisturbed")
    settings = Settings.from_environment({}, home=tmp_path / "undisturbed")
    with Runtime.open(settings) as other, workflows.open_city(other, str(sample)) as city:
        workflows.prepare(city, FIRST, last)
        for day in days_between(FIRST, last):
            workflows.make_day(city, day, run="undisturbed")
        assert workflows.update_forecast(city) == last + timedelta(days=1)
        assert held(other.documents) == held(runtime.documents)


@pytest.mark.nightly
@pytest.mark.timeout(300)
def test_ctrl_c_cancels_what_has_not_ended_and_the_same_command_goes_on_from_there(
    runtime: Runtime, administrator: User, sample: Path
) -> None:
    last = FIRST + timedelta(days=7)
    home = runtime.settings.home
    command = ["city", "run", "--from", str(FIRST), "--to", str(last), "--raw", str(sample)]
    following = subprocess.Popen(
        [sys.executable, "-m", "ecluse", *command], env=environ(home), stderr=subprocess.PIPE, text=True
    )
    wait_until(lambda: len(runtime.documents.keys(MARK)) >= 2, "two days", 180)
    following.send_signal(signal.SIGINT)
    _, said = following.communicate(timeout=100)
    assert following.returncode == 130
    assert "the same command goes on from there" in said
    there = runtime.documents.keys(MARK)
    assert 2 <= len(there) < 8
    assert not runtime.jobs.list(administrator.id, active=True)
    facts = ecluse(home, *command)["days"]
    assert [item["date"] for item in facts if item["status"] == "up to date"] == there
    assert {item["status"] for item in facts} == {"up to date", "done"}


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_a_week_of_missed_days_is_computed_by_two_workers_and_none_twice(
    runtime: Runtime, administrator: User, sample: Path
) -> None:
    raw = runtime.settings.home / "store" / "raw"
    shutil.copytree(sample, raw)
    schedule.set_schedule(runtime, administrator, since=LAST - timedelta(days=6))
    daily = schedule.find_schedule(runtime)
    assert daily is not None
    script = (
        "import sys, datetime\n"
        "from ecluse.apps.city import schedule\n"
        "from ecluse.runtime import Runtime, Worker\n"
        "from ecluse.settings import Settings\n"
        "from ecluse.work import kinds\n"
        "moment = datetime.datetime.fromisoformat(sys.argv[1])\n"
        "with Runtime.open(Settings.from_environment()) as runtime:\n"
        "    worker = Worker(runtime, kinds(), lambda runtime: schedule.queue_due(runtime, moment))\n"
        "    worker.start()\n"
        "    worker.run_until_stopped()\n"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script, daily.due_at(LAST).isoformat()],
            env=environ(runtime.settings.home),
            stderr=subprocess.DEVNULL,
        )
        for _ in range(2)
    ]
    days = [day.isoformat() for day in days_between(LAST - timedelta(days=6), LAST)]
    try:
        wait_until(lambda: runtime.documents.keys(MARK) == days, "all days", 180)
        wait_until(lambda: not runtime.jobs.list(administrator.id, active=True), "an end of all jobs", 180)
    finally:
        for process in started:
            process.kill()
            process.wait()
    jobs = Counter(job.title for job in runtime.jobs.list(administrator.id, limit=1000))
    assert jobs == Counter(days)
    assert runtime.documents.get(workflows.FORECAST, "state")["date"] == str(LAST + timedelta(days=1))


@pytest.mark.nightly
def test_the_commands_compute_list_and_show_days(sample: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    raw = ["--raw", str(sample)]
    item = ecluse(home, "city", "run", "--date", "2025-10-13", *raw)
    assert (item["date"], item["zone"], len(item["hours"])) == ("2025-10-13", "Europe/Paris", 24)
    assert "arcs" not in item
    assert item["metrics"]["traffic"]["date"] == "2025-10-13"
    many = ecluse(home, "city", "run", "--from", "2025-10-12", "--to", "2025-10-13", *raw)
    assert [day["status"] for day in many["days"]] == ["done", "up to date"]
    assert [day["date"] for day in ecluse(home, "city", "days")] == ["2025-10-12", "2025-10-13"]
    shown = ecluse(home, "city", "show", "2025-10-13")
    assert shown["metrics"] == item["metrics"]
    assert ecluse(home, "city", "show", "2025-10-13", "traffic") == item["metrics"]["traffic"]
    error = ecluse(home, "city", "show", "2025-10-20", code=1)["error"]
    assert error["code"] == "no_such_day"
    assert "2025-10-13" in error["message"]
    failed = ecluse(home, "city", "run", "--from", "2025-11-02", "--to", "2025-11-03", *raw, code=1)
    assert [day["status"] for day in failed["days"]] == ["done", "failed"]
    assert "no raw data for 2025-11-03" in failed["days"][1]["error"]


@pytest.mark.nightly
def test_the_commands_speak_to_people_too(sample: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    done = run_ecluse(home, {}, "city", "run", "--date", "2025-10-13", "--raw", str(sample))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Monday 2025-10-13, Écluville (invented data)\n  passages over arcs")
    assert "ecluse city show 2025-10-13" in done.stdout
    assert "curat" not in done.stdout, "progress goes to standard error"
    assert "writing" in done.stderr
    assert "lost time" in run_ecluse(home, {}, "city", "show", "2025-10-13", "traffic").stdout
    ranked = run_ecluse(home, {}, "city", "show", "2025-10-13", "ranking").stdout
    assert re.search(r"^by flow \(\d+\)\n  rank +arc +label +zone +value +unit", ranked, re.M), ranked
    assert "2025-10-13" in run_ecluse(home, {}, "city", "days").stdout
    none = run_ecluse(home, {}, "city", "run", "--date", "2024-01-01", "--raw", str(sample))
    assert none.returncode == 1
    assert "no raw data for 2024-01-01" in none.stderr
    for wrong in (
        ["run"],
        ["run", "--date", "13/10/2025"],
        ["run", "--date", "2025-10-13", "--from", "2025-10-13", "--to", "2025-10-13"],
        ["run", "--from", "2025-10-13"],
        ["schedule", "--off", "--at", "06:30"],
        ["remove"],
        ["remove", "2025-10-13", "--from", "2025-10-13", "--to", "2025-10-13"],
    ):
        assert run_ecluse(home, {}, "city", *wrong).returncode == 2, wrong
    assert run_ecluse(home, {}, "city", "schedule", "--at", "07:15").returncode == 0
    assert "07:15" in run_ecluse(home, {}, "city", "schedule").stdout
    assert run_ecluse(home, {}, "city", "schedule", "--at", "7h").returncode == 1
    assert run_ecluse(home, {}, "city", "schedule", "--off").stdout == "Off.\n"
    assert run_ecluse(home, {}, "city", "remove", "2025-10-13").returncode == 130, "nobody said yes"
    unknown = run_ecluse(home, {}, "city", "remove", "2025-10-13", "2025-10-20", "--yes")
    assert "Nothing is known of 2025-10-20" in unknown.stderr
    assert "2025-10-13" in run_ecluse(home, {}, "city", "days").stdout, "one unknown day: none is removed"
    assert run_ecluse(home, {}, "city", "remove", "2025-10-13", "--yes").stdout == "1 day removed.\n"
    assert "2025-10-13" not in run_ecluse(home, {}, "city", "days").stdout
