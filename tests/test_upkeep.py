"""Migrations run as jobs: by any worker, cancelled from the list of jobs, their end always in their row."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ecluse import migration, upkeep
from ecluse.catalog import journal, users
from ecluse.errors import EcluseError, JobNotFound, MigrationHeld, NotFound, SettingsError
from ecluse.jobs import Job
from ecluse.migration.hold import Hold
from ecluse.runtime import Runtime, Worker
from ecluse.work import cancel_job, kinds, reconcile
from tests.application import KEPT
from tests.migrating import Sizes, all_pointers, check_rows, fill
from tests.support.deaths import expect_death
from tests.support.jobs import ended_job
from tests.support.wait import slow_for, wait_until

pytestmark = pytest.mark.nightly


@pytest.fixture
def user_id(runtime: Runtime) -> str:
    return fill(runtime)


@pytest.fixture
def elsewhere(tmp_path: Path) -> str:
    return f"file://{tmp_path}/elsewhere"


@contextmanager
def working(runtime: Runtime) -> Iterator[None]:
    worker = Worker(runtime, kinds(), reconcile)
    worker.start()
    beating = threading.Thread(target=worker.run_until_stopped)
    beating.start()
    try:
        yield
    finally:
        worker.stop()
        beating.join()
        worker.close()


def ended(runtime: Runtime, user_id: str, job_id: str) -> Job:
    return ended_job(runtime, user_id, job_id)


def planned(runtime: Runtime, user_id: str, destination: str) -> str:
    plan = migration.plan(
        runtime.catalog,
        runtime.stores,
        migration.Request(source="data", destination=destination, switch_rows=True, user_id=user_id),
    )
    return plan.id or ""


def test_a_job_migrates_with_the_right_that_its_owner_has_when_it_runs(
    runtime: Runtime, user_id: str, elsewhere: str
) -> None:
    planned_id = planned(runtime, user_id, elsewhere)
    jobs = [
        upkeep.start_migration(runtime, user_id, planned_id),
        upkeep.start_plan(runtime, user_id, "models", "s3://elsewhere/models", "", switch_rows=False),
    ]
    with runtime.catalog.write() as transaction:
        users.user_by_id(transaction, user_id).role = "member"
    with working(runtime):
        found = [ended(runtime, user_id, job) for job in jobs]
    assert [job.status for job in found] == ["failed", "failed"]
    assert all("Only administrators migrate" in (job.error or "") for job in found)
    assert not any(pointer.url.startswith(elsewhere) for pointer in all_pointers(runtime))


def test_a_worker_runs_verifies_and_rolls_back(runtime: Runtime, user_id: str, elsewhere: str) -> None:
    migration_id = planned(runtime, user_id, elsewhere)
    with working(runtime):
        job = ended(runtime, user_id, upkeep.start_migration(runtime, user_id, migration_id))
        assert (job.status, job.kind, job.error) == ("done", "migrate", None)
        assert migration.find(runtime.catalog, migration_id).state == "done"
        assert all(pointer.url.startswith(elsewhere) for pointer in all_pointers(runtime))
        job = ended(runtime, user_id, upkeep.start_verification(runtime, user_id, migration_id))
        assert (job.status, job.error) == ("done", None)
        runtime.stores.open(elsewhere).put("stray", b"?")
        job = ended(runtime, user_id, upkeep.start_verification(runtime, user_id, migration_id))
        assert job.status == "failed"
        assert "stray" in (job.error or "")
        assert migration.find(runtime.catalog, migration_id).state == "done"
        job = ended(runtime, user_id, upkeep.start_rollback(runtime, user_id, migration_id))
        assert job.status == "done"
    assert migration.find(runtime.catalog, migration_id).state == "rolled_back"
    check_rows(runtime)


def test_a_failure_stands_in_the_row_with_the_way_out(runtime: Runtime, user_id: str, elsewhere: str) -> None:
    pointer = next(one for one in all_pointers(runtime) if one.table == "datasets")
    runtime.data.put(runtime.data.key_of(pointer.url) or "", b"damaged")
    migration_id = planned(runtime, user_id, elsewhere)
    with working(runtime):
        job = ended(runtime, user_id, upkeep.start_migration(runtime, user_id, migration_id))
    row = migration.find(runtime.catalog, migration_id)
    assert (job.status, row.state) == ("failed", "stopped")
    assert row.error == job.error
    assert f"ecluse migrate run {migration_id}" in (row.error or "")


def test_a_migration_has_one_job_at_a_time(runtime: Runtime, user_id: str, elsewhere: str) -> None:
    migration_id = planned(runtime, user_id, elsewhere)
    upkeep.start_migration(runtime, user_id, migration_id)
    with pytest.raises(MigrationHeld, match="has a job already"):
        upkeep.start_rollback(runtime, user_id, migration_id)


def test_a_queued_job_can_be_cancelled(runtime: Runtime, user_id: str, elsewhere: str) -> None:
    migration_id = planned(runtime, user_id, elsewhere)
    job_id = upkeep.start_migration(runtime, user_id, migration_id)
    cancel_job(runtime, user_id, job_id)
    assert runtime.jobs.get(user_id, job_id).status == "cancelled"
    assert migration.find(runtime.catalog, migration_id).state == "planned"
    upkeep.start_migration(runtime, user_id, migration_id)


def test_a_running_job_is_cancelled_and_can_be_taken_up_again(runtime: Runtime, elsewhere: str) -> None:
    user_id = fill(runtime, Sizes(models=10, files=4, file_bytes=9_000_000, tables=1))
    migration_id = planned(runtime, user_id, elsewhere)
    with working(runtime):
        job_id = upkeep.start_migration(runtime, user_id, migration_id)
        wait_until(
            lambda: migration.summary(runtime.catalog, migration_id).settled.objects, "an object there"
        )
        cancel_job(runtime, user_id, job_id)
        assert ended(runtime, user_id, job_id).status == "cancelled"
        wait_until(lambda: not migration.find(runtime.catalog, migration_id).held_by, "an end of the hold")
        assert migration.find(runtime.catalog, migration_id).state == "stopped"
        check_rows(runtime)
        job = ended(runtime, user_id, upkeep.start_migration(runtime, user_id, migration_id))
        assert job.status == "done"
    check_rows(runtime)


def test_a_job_waits_for_a_process_that_has_just_died(runtime: Runtime, user_id: str, elsewhere: str) -> None:
    migration_id = planned(runtime, user_id, elsewhere)
    hold = Hold(runtime.catalog, migration_id).take("running")
    with working(runtime):
        job_id = upkeep.start_migration(runtime, user_id, migration_id)
        wait_until(lambda: runtime.jobs.get(user_id, job_id).status != "queued", "a worker for the job")
        hold.release("stopped", None)
        assert ended(runtime, user_id, job_id).status == "done"


@pytest.mark.nightly
def test_a_worker_that_is_killed_is_replaced_and_the_migration_goes_on(
    runtime: Runtime, elsewhere: str
) -> None:
    user_id = fill(runtime, Sizes(models=8, files=3, file_bytes=9_000_000, tables=3))
    migration_id = planned(runtime, user_id, elsewhere)
    job_id = upkeep.start_migration(runtime, user_id, migration_id)
    expect_death(worker_process(runtime, ECLUSE_DIE_AT="move.copied"))
    check_rows(runtime)
    second = worker_process(runtime)
    try:
        assert ended(runtime, user_id, job_id).status == "done"
    finally:
        second.terminate()
        second.wait(30)
    assert all(pointer.url.startswith(elsewhere) for pointer in all_pointers(runtime))
    assert migration.summary(runtime.catalog, migration_id).copied_again <= 64
    check_rows(runtime)


def worker_process(runtime: Runtime, **more: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "ecluse", "worker", "--home", str(runtime.settings.home)],
        env={name: os.environ[name] for name in KEPT if name in os.environ} | more,
        stderr=subprocess.DEVNULL,
    )


def test_a_migration_whose_process_vanished_is_said_to_have_stopped(
    runtime: Runtime, user_id: str, elsewhere: str
) -> None:
    migration_id = planned(runtime, user_id, elsewhere)
    with runtime.catalog.write() as transaction:
        journal.take(transaction, migration_id, "process 1 on another-machine (x)", "running")
    assert reconcile(runtime) == 0
    with runtime.catalog.write() as transaction:
        row = journal.migration_of(transaction, migration_id)
        row.beat_at = row.created_at - 2 * journal.SILENCE
    assert reconcile(runtime) == 1
    row = migration.find(runtime.catalog, migration_id)
    assert (row.state, row.held_by) == ("stopped", None)
    assert row.error == f"Its process ended. Go on: ecluse migrate run {migration_id}"
    assert reconcile(runtime) == 0


def test_a_worker_that_never_started_and_a_second_of_one_process_are_in_nobodys_way(
    runtime: Runtime, user_id: str, elsewhere: str
) -> None:
    Worker(runtime, kinds(), reconcile)
    migration_id = planned(runtime, user_id, elsewhere)
    with working(runtime), working(runtime):
        job = ended(runtime, user_id, upkeep.start_migration(runtime, user_id, migration_id))
        assert job.status == "done"


def test_a_worker_in_which_nothing_runs_any_more_ends_and_says_where_it_stood(tmp_path: Path) -> None:
    script = """
import ctypes, sys, threading, time
from pathlib import Path
from ecluse import runtime
from ecluse.settings import Settings

runtime.GUARD_SECONDS, runtime.STANDSTILL_SECONDS = 0.1, 1.0
with runtime.Runtime.open(Settings.from_environment({}, home=Path(sys.argv[1]))) as opened:
    worker = runtime.Worker(opened, {})
    threading.Thread(target=worker.run_until_stopped, daemon=True).start()
    time.sleep(2)  # longer than a standstill: all is well
    ctypes.PyDLL(None).sleep(60)  # holds the interpreter
"""
    command = [sys.executable, "-c", script, str(tmp_path / "home")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert done.returncode == 1
    assert "line 12 in <module>" in done.stderr


def test_a_worker_that_has_stopped_leaves_no_thread_that_writes_to_the_catalog(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(runtime, {}, lambda _: int(worker.stop() is not None))
    close = worker._runner.close

    def close_late() -> None:
        slow_for(0.3)
        close()

    monkeypatch.setattr(worker._runner, "close", close_late)
    before = set(threading.enumerate())
    worker.run_until_stopped()
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("error", [SettingsError, NotFound, MigrationHeld, JobNotFound])
def test_a_worker_goes_on_where_a_sweep_fails(runtime: Runtime, error: type[EcluseError]) -> None:
    swept = []

    def fail(_: Runtime) -> int:
        swept.append(worker.stop())
        raise error("no")

    worker = Worker(runtime, kinds(), fail)
    worker.start()
    worker.run_until_stopped()
    worker.close()
    assert swept == [None]
