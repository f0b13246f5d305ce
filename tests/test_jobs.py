"""Jobs survive their workers, are cancelled when asked, and belong to who queued them."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from ecluse.errors import JobNotFound
from ecluse.jobs import Job, queue
from ecluse.runtime import Runtime, living_workers
from ecluse.settings import inherited
from tests.accounts import account
from tests.support.deaths import expect_death
from tests.support.jobs import ended_job
from tests.support.wait import wait_until

WORKER = """
import signal, sys, time
from pathlib import Path
from ecluse.errors import InvalidInput, StoreUnavailable
from ecluse.jobs import JobKind
from ecluse.runtime import Runtime, Worker
from ecluse.settings import Settings, inherited

def run(runtime, task, folder, seconds, fault=None):
    claimed = task.step("claim", claim, Path(folder))
    task.step("work", work, task, Path(folder), seconds, fault)
    task.step("publish", publish, Path(folder), claimed)

def claim(folder):
    with (folder / "claims").open("a") as file: file.write("x")
    return len((folder / "claims").read_text())

def work(task, folder, seconds, fault):
    (folder / "started").touch()
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        task.report("work", min((time.monotonic() - began) / seconds, 1), "working")
        time.sleep(0.05)
    if fault == "stages":
        task.report("work", 0.5, "soon"); task.report("work", 0.6, "too soon")
        task.report("rest", 0.7, "resting"); task.report("rest", 0.8, "too soon again"); time.sleep(1)
    if fault == "thread":
        import threading
        thread = threading.Thread(target=lambda: (time.sleep(0.6), task.report("work", 0.9, "from a thread")))
        thread.start(); thread.join(); time.sleep(0.7)
    if fault == "ours": raise KeyError("an inner detail")
    if fault == "away": raise StoreUnavailable("The store is away.")
    if fault == "theirs": raise InvalidInput("The table has one class only.")

def publish(folder, claimed):
    with (folder / "published").open("a") as file: file.write(f"{claimed};")

def failed(runtime, task, message, folder, seconds, fault=None):
    (Path(folder) / "failed").write_text(message)

with Runtime.open(Settings.from_environment()) as runtime:
    worker = Worker(runtime, {"work": JobKind(run=run, failed=failed, queue="train", stages={"work": "Work"})})
    signal.signal(signal.SIGTERM, lambda *_: worker.stop())
    worker.start()
    worker.run_until_stopped()
    worker.close()
"""


class Workers:
    def __init__(self, environ: dict[str, str], folder: Path) -> None:
        self._script = folder / "worker.py"
        self._script.write_text(WORKER)
        self._environ = environ
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, **more: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, str(self._script)],
            env=inherited(["PYTHONPATH"]) | self._environ | more,
            stderr=subprocess.DEVNULL,
        )
        self.started.append(process)
        return process


@pytest.fixture
def workers(environ: dict[str, str], tmp_path: Path) -> Iterator[Workers]:
    started = Workers(environ, tmp_path)
    yield started
    for process in started.started:
        process.kill()
        process.wait()


def enqueue(runtime: Runtime, folder: Path, seconds: float, **more: str) -> str:
    subject = {"folder": str(folder), "seconds": seconds, **more}
    return runtime.jobs.enqueue("work", "train", account(runtime.catalog, "user-1"), "Some work", subject)


def ended(runtime: Runtime, job_id: str) -> Job:
    return ended_job(runtime, "user-1", job_id)


@pytest.mark.nightly("sqlite")
def test_a_job_whose_worker_is_killed_is_finished_by_the_next_and_publishes_once(
    opened: Runtime, workers: Workers, tmp_path: Path
) -> None:
    job_id = enqueue(opened, tmp_path, 2.0)
    first = workers.start()
    wait_until((tmp_path / "started").exists, "a job that has started")
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert opened.jobs.get("user-1", job_id).status == "running"
    workers.start()
    assert ended(opened, job_id).status == "done"
    assert (tmp_path / "claims").read_text() == "x"
    assert (tmp_path / "published").read_text() == "1;"


@pytest.mark.nightly("sqlite-job.claimed", "sqlite-job.ended")
@pytest.mark.parametrize("point", ["job.claimed", "job.kept", "job.ended"])
def test_a_job_whose_worker_dies_at_a_point_runs_its_steps_once(
    opened: Runtime, workers: Workers, tmp_path: Path, point: str
) -> None:
    job_id = enqueue(opened, tmp_path, 0.0)
    expect_death(workers.start(ECLUSE_DIE_AT=point))
    assert opened.jobs.get("user-1", job_id).status == "running"
    workers.start()
    assert ended(opened, job_id).status == "done"
    assert (tmp_path / "claims").read_text() == "x"
    assert (tmp_path / "published").read_text() == "1;"


def test_a_running_job_reports_and_stops_when_it_is_cancelled(
    opened: Runtime, workers: Workers, tmp_path: Path
) -> None:
    job_id = enqueue(opened, tmp_path, 60.0)
    workers.start()
    wait_until((tmp_path / "started").exists, "a job that has started")
    wait_until(lambda: opened.jobs.get("user-1", job_id).message == "working", "a report")
    assert opened.jobs.cancel("user-1", job_id).status == "cancelled"
    after = enqueue(opened, tmp_path, 0.1)
    assert ended(opened, after).status == "done"
    assert (tmp_path / "published").read_text() == "2;"


def test_a_stage_is_told_when_it_begins_however_soon_after_another(
    opened: Runtime, workers: Workers, tmp_path: Path
) -> None:
    job_id = enqueue(opened, tmp_path, 0.0, fault="stages")
    workers.start()
    assert ended(opened, job_id).status == "done"
    assert opened.jobs.get("user-1", job_id).message == "resting"


@pytest.mark.nightly("sqlite")
def test_a_stopped_worker_leaves_its_job_to_the_next(
    opened: Runtime, workers: Workers, tmp_path: Path
) -> None:
    job_id = enqueue(opened, tmp_path, 3.0)
    first = workers.start()
    wait_until((tmp_path / "started").exists, "a job that has started")
    first.terminate()
    assert first.wait(60) is not None
    workers.start()
    assert ended(opened, job_id).status == "done"
    assert (tmp_path / "published").read_text() == "1;"


def test_a_persons_mistake_is_told_and_a_fault_of_ours_is_not_explained(
    opened: Runtime, workers: Workers, tmp_path: Path
) -> None:
    workers.start()
    theirs = ended(opened, enqueue(opened, tmp_path, 0.1, fault="theirs"))
    assert (theirs.status, theirs.error) == ("failed", "The table has one class only.")
    ours = ended(opened, enqueue(opened, tmp_path, 0.1, fault="ours"))
    assert ours.error is not None
    assert "reference" in ours.error
    assert "inner detail" not in ours.error
    assert (tmp_path / "failed").read_text() == ours.error


@pytest.mark.nightly
def test_a_store_that_stays_away_is_told_as_it_is(opened: Runtime, workers: Workers, tmp_path: Path) -> None:
    workers.start()
    job = ended(opened, enqueue(opened, tmp_path, 0, fault="away"))
    assert (job.status, job.error) == ("failed", "The store is away.")
    assert (tmp_path / "failed").read_text() == "The store is away."


@pytest.mark.nightly("postgresql")
def test_progress_may_be_told_from_another_thread(opened: Runtime, workers: Workers, tmp_path: Path) -> None:
    workers.start()
    job = ended(opened, enqueue(opened, tmp_path, 0.1, fault="thread"))
    assert (job.status, job.message) == ("done", "from a thread")


def test_another_persons_job_does_not_exist(opened: Runtime, tmp_path: Path) -> None:
    job_id = enqueue(opened, tmp_path, 1.0)
    with pytest.raises(JobNotFound):
        opened.jobs.get("user-2", job_id)
    with pytest.raises(JobNotFound):
        opened.jobs.cancel("user-2", job_id)
    assert opened.jobs.list("user-2") == []


def test_waiting_jobs_know_their_place_and_can_be_cancelled(opened: Runtime, tmp_path: Path) -> None:
    first, second = enqueue(opened, tmp_path, 1.0), enqueue(opened, tmp_path, 1.0)
    assert {opened.jobs.get("user-1", job).position for job in (first, second)} == {1, 2}
    assert opened.jobs.cancel("user-1", first).status == "cancelled"
    assert opened.jobs.get("user-1", second).position == 1


def test_the_same_id_is_queued_once(opened: Runtime) -> None:
    for _ in range(2):
        opened.jobs.enqueue("work", "train", account(opened.catalog, "user-1"), "t", {}, job_id="job-1")
    assert len(opened.jobs.list("user-1")) == 1


def test_a_dead_worker_is_not_counted_as_living(opened: Runtime, workers: Workers) -> None:
    process = workers.start()
    wait_until(lambda: living_workers(opened), "a worker that lives")
    process.kill()
    process.wait()
    assert living_workers(opened) == []


def test_the_record_of_an_old_job_is_removed_and_that_of_a_new_one_kept(
    opened: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = opened.jobs.enqueue("work", "train", account(opened.catalog, "user-1"), "t", {})
    opened.jobs.cancel("user-1", job_id)
    assert opened.jobs.forget_old() == 0
    monkeypatch.setattr(queue, "KEPT_FOR", timedelta(seconds=-5))
    assert opened.jobs.forget_old() == 1
    assert opened.jobs.list("user-1") == []
