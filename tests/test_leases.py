"""Nobody is declared dead who lives; a job changes hands once; only what it may have caused counts against it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text, update

from ecluse.catalog import Catalog, Transaction, jobs, workers
from ecluse.catalog.bell import Bell
from ecluse.catalog.clock import moment
from ecluse.catalog.database import fenced, keep_fence
from ecluse.catalog.jobs import MAX_LOSSES, Claim
from ecluse.catalog.tables import JobRow
from ecluse.catalog.tables import Worker as WorkerRow
from ecluse.cli import session
from ecluse.errors import (
    BucketNotFound,
    CatalogTooSlow,
    DocumentsUnavailable,
    InvalidInput,
    JobTaken,
    StoreSilent,
    StoreUnavailable,
)
from ecluse.jobs import JobKind, JobRunner, Task
from ecluse.processes import Process, is_gone
from ecluse.runtime import Runtime, Worker, living_workers
from tests.accounts import account
from tests.support.jobs import ended_job
from tests.support.wait import wait_until

USER = "user-1"
#: A machine that cannot be seen from here, of the same name and with a process of the same number.
ELSEWHERE = replace(Process.current(), boot="another boot")


@pytest.fixture
def runtime(opened: Runtime) -> Runtime:
    return opened


def enqueue(runtime: Runtime, kind: str = "work", queue: str = "train", **subject: Any) -> str:
    return runtime.jobs.enqueue(kind, queue, account(runtime.catalog, USER), "Some work", subject)


def claim(runtime: Runtime, worker: str, queue: str = "train", most: int = 1) -> list[Claim]:
    with runtime.catalog.write() as transaction:
        return jobs.claim(transaction, worker, {"work": 1}, queue, most)


def claim_one(runtime: Runtime, worker: str, job_id: str) -> list[Claim]:
    with runtime.catalog.write() as transaction:
        return jobs.claim_one(transaction, worker, {"work": 1}, job_id)


def beat(runtime: Runtime, worker: str, process: Process, *, ago: int = 0) -> None:
    """`ago`: let the worker have been silent for so many seconds, by the database's clock."""
    with runtime.catalog.write() as transaction:
        workers.beat(transaction, worker, process)
        transaction.flush()
        silent = update(WorkerRow).where(WorkerRow.executor_id == worker).values(beat_at=moment(-ago))
        transaction.execute(silent)


def row_of(runtime: Runtime, job_id: str) -> JobRow:
    with runtime.catalog.read() as transaction:
        ((row, _),) = jobs.by_ids(transaction, None, [job_id])
    return row


# Who lives


@pytest.mark.parametrize(
    ("process", "ago", "lives"),
    [
        (Process.current(), 3600, True),
        (replace(Process.current(), started=1), 0, False),
        (replace(Process.current(), pid=2**22 + 1), 0, False),
        (ELSEWHERE, 0, True),
        (replace(ELSEWHERE, pid=2**22 + 1), workers.LEASE - 30, True),
        (ELSEWHERE, workers.LEASE + 1, False),
        (replace(Process.current(), namespace="another"), workers.LEASE + 1, False),
    ],
    ids=[
        "silent for an hour and seen to run",
        "its number was given to this process",
        "gone",
        "another machine of the same name",
        "another machine, silent for long",
        "another machine, silent for too long",
        "another container, silent for too long",
    ],
)
def test_a_worker_that_can_be_seen_is_judged_by_its_process_and_another_by_its_lease(
    runtime: Runtime, process: Process, ago: int, lives: bool
) -> None:
    beat(runtime, "other", process, ago=ago)
    assert bool(living_workers(runtime)) is lives
    worker = Worker(runtime, {})
    assert worker.take_over() == 0
    with runtime.catalog.read() as transaction:
        assert [one.executor_id for one in workers.living(transaction)] == (["other"] if lives else [])


def test_a_machine_whose_clock_is_behind_neither_dies_nor_kills(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What this process takes for the time is asked for nowhere: the database says what time it is."""
    from ecluse.catalog import tables

    early = tables.now().replace(year=2001)
    monkeypatch.setattr(tables, "now", lambda: early)
    monkeypatch.setattr("time.time", lambda: early.timestamp())
    job_id = enqueue(runtime)
    beat(runtime, "late", ELSEWHERE)
    (held,) = claim(runtime, "late")
    assert Worker(runtime, {}).take_over() == 0
    row = row_of(runtime, job_id)
    assert (row.worker, row.fence) == ("late", held.fence)
    assert row.lease_until is not None
    assert row.lease_until.year > 2020


def test_a_label_names_a_process_and_no_other() -> None:
    process = Process.current()
    assert is_gone(process.label) is False
    assert is_gone(replace(process, started=1).label) is True
    assert is_gone(ELSEWHERE.label) is None
    assert is_gone("no label") is None


def test_scratch_of_another_container_is_left_alone(runtime: Runtime) -> None:
    scratch = runtime.settings.home / "scratch"
    mine, gone, elsewhere = (
        scratch / f"{process.label}_x"
        for process in (Process.current(), replace(Process.current(), started=1), ELSEWHERE)
    )
    for folder in (mine, gone, elsewhere):
        folder.mkdir(parents=True)
    runtime.clear_scratch()
    assert sorted(scratch.iterdir()) == sorted([mine, elsewhere])


# Whose job it is


def test_what_a_worker_writes_for_a_job_that_was_taken_from_it_is_refused(runtime: Runtime) -> None:
    job_id = enqueue(runtime)
    beat(runtime, "first", ELSEWHERE, ago=workers.LEASE + 1)
    (before,) = claim(runtime, "first")
    assert Worker(runtime, {}).take_over() == 1
    (after,) = claim_one(runtime, "second", job_id)
    assert after.fence > before.fence
    with fenced(job_id, before.fence), pytest.raises(JobTaken), runtime.catalog.write() as transaction:
        transaction.add(WorkerRow(executor_id="x", host="h", pid=1, started_at=moment(), beat_at=moment()))
    with runtime.catalog.write() as transaction:
        assert not jobs.report(transaction, job_id, before.fence, "work", 0.5, "")
        assert not jobs.finish(transaction, job_id, before.fence, "done", None)
        assert not jobs.put_off(transaction, job_id, before.fence, 1, "")
    with fenced(job_id, after.fence), runtime.catalog.write() as transaction:
        assert jobs.finish(transaction, job_id, after.fence, "done", None)
    assert runtime.jobs.get(USER, job_id).status == "done"


def test_a_worker_that_lives_after_all_takes_back_that_its_job_killed_it(runtime: Runtime) -> None:
    job_id = enqueue(runtime)
    beat(runtime, "stalled", ELSEWHERE, ago=workers.LEASE + 1)
    claim(runtime, "stalled")
    Worker(runtime, {}).take_over()
    assert row_of(runtime, job_id).losses == 1
    with runtime.catalog.write() as transaction:
        jobs.withdraw_loss(transaction, job_id, "stalled")
    assert row_of(runtime, job_id).losses == 0


def test_two_workers_never_claim_one_job(runtime: Runtime) -> None:
    ids = {enqueue(runtime) for _ in range(20)}
    claimed: list[str] = []

    def take(worker: str) -> None:
        while claims := claim(runtime, worker, most=2):
            claimed.extend(one.job_id for one in claims)

    threads = [threading.Thread(target=take, args=(f"worker {n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == sorted(ids)


def test_a_job_of_a_kind_that_a_worker_does_not_know_waits(runtime: Runtime) -> None:
    job_id = enqueue(runtime, kind="of a newer release")
    assert claim(runtime, "older") == []
    assert runtime.jobs.get(USER, job_id).status == "queued"


def test_a_job_is_queued_with_the_row_it_is_for_or_not_at_all(runtime: Runtime) -> None:
    account(runtime.catalog, USER)
    with pytest.raises(InvalidInput), runtime.catalog.write() as transaction:
        runtime.jobs.enqueue("work", "train", USER, "t", {}, job_id="late", transaction=transaction)
        raise InvalidInput("The row cannot be written.")
    assert runtime.jobs.list(USER) == []
    assert not runtime.jobs.goes_on("late")


# What counts against a job


def lose(runtime: Runtime, worker: str = "dying") -> jobs.Lost:
    with runtime.catalog.write() as transaction:
        return jobs.take_from(transaction, worker)


def test_handing_back_is_free(runtime: Runtime) -> None:
    job_id = enqueue(runtime)
    for _ in range(2 * MAX_LOSSES):
        (held,) = claim(runtime, "stopping")
        with runtime.catalog.write() as transaction:
            assert jobs.hand_back(transaction, "stopping") == 1
    row = row_of(runtime, job_id)
    assert (row.status, row.losses, row.alone, row.fence > held.fence) == ("queued", 0, False, True)


def test_what_is_shown_of_a_job_does_not_fall_back_when_another_worker_takes_it_up(runtime: Runtime) -> None:
    job_id = enqueue(runtime)
    for worker, told, shown in (
        ("one", (0.2, 0.77), 0.77),
        ("two", (0.0, 0.5), 0.77),
        ("three", (0.8,), 0.8),
    ):
        (held,) = claim(runtime, worker)
        with runtime.catalog.write() as transaction:
            for fraction in told:
                assert jobs.report(transaction, job_id, held.fence, "read", fraction, f"{worker} reads")
            jobs.hand_back(transaction, worker)
        assert (row_of(runtime, job_id).fraction, row_of(runtime, job_id).message) == (
            shown,
            f"{worker} reads",
        )


def test_a_job_that_runs_beside_others_is_not_blamed_for_a_death_and_runs_alone_from_then_on(
    runtime: Runtime,
) -> None:
    ids = [enqueue(runtime), enqueue(runtime)]
    claim(runtime, "dying", most=2)
    assert lose(runtime) == jobs.Lost(2, ())
    assert [(row_of(runtime, one).losses, row_of(runtime, one).alone) for one in ids] == [(0, True)] * 2
    assert claim(runtime, "next", most=2) == []
    with runtime.catalog.read() as transaction:
        assert jobs.waits_alone(transaction, {"work": 1}, ["train"]) == jobs.Waiting(ids[0], "train")


def test_a_job_that_someone_has_locked_counts_among_those_that_its_worker_ran(runtime: Runtime) -> None:
    if runtime.catalog.engine.dialect.name == "sqlite":
        pytest.skip("one writes at a time")
    ids = [enqueue(runtime), enqueue(runtime)]
    claim(runtime, "dying", most=2)
    with runtime.catalog.write() as other:
        jobs.hold_row(other, ids[1])
        assert lose(runtime) == jobs.Lost(1, ())
    assert row_of(runtime, ids[0]).losses == 0


def test_a_worker_that_lives_by_the_time_its_jobs_would_be_taken_keeps_them(runtime: Runtime) -> None:
    job_id = enqueue(runtime)
    claim(runtime, "late")
    beat(runtime, "late", ELSEWHERE, ago=0)
    assert Worker(runtime, {})._take_from("late") == jobs.Lost(0, ())
    assert row_of(runtime, job_id).worker == "late"
    beat(runtime, "late", ELSEWHERE, ago=workers.LEASE + 60)
    assert Worker(runtime, {})._take_from("late") == jobs.Lost(1, ())
    assert Worker(runtime, {})._take_from("late") == jobs.Lost(0, ()), "another was quicker"


class Gone:
    """A process that has ended."""

    def is_over(self) -> bool:
        return True

    def stop(self) -> None:
        return


def test_a_process_that_ends_before_it_takes_its_job_is_started_again_after_a_pause(runtime: Runtime) -> None:
    started: list[str] = []

    def start(job_id: str) -> Gone:
        started.append(job_id)
        return Gone()

    job_id = enqueue(runtime)
    claim_one(runtime, "dying", job_id)
    lose(runtime)
    kinds = {"work": JobKind(run=lambda *_: None, queue="train")}
    runner = JobRunner(runtime.catalog, "worker", kinds, None, apart=start)
    with runtime.catalog.write() as transaction:  # it runs alone, as one whose worker died beside others
        transaction.execute(update(JobRow).where(JobRow.id == job_id).values(alone=True))
    for _ in range(3):
        runner._take()
    assert started == [job_id]
    claim_one(runtime, "dying", job_id)
    lose(runtime)
    runner._take()
    assert started == [job_id] * 2, "it was taken in between"


def test_nothing_of_a_round_trip_is_left_whenever_it_is_stopped(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    runtime.jobs.prove()
    monkeypatch.setattr(jobs, "forget", stop)
    with pytest.raises(KeyboardInterrupt):
        runtime.jobs.prove()
    assert runtime.jobs.active() == []


def test_a_statement_that_took_too_long_fails_its_job(runtime: Runtime) -> None:
    def run(context: object, task: object) -> None:
        raise CatalogTooSlow("It took longer than it may.")

    job_id = enqueue(runtime)
    kinds = {"work": JobKind(run=run, queue="train")}
    runner = JobRunner(runtime.catalog, "worker", kinds, None, only=job_id)
    runner.start()
    wait_until(runner.is_over, "an end of the runner")
    runner.close()
    assert (row_of(runtime, job_id).status, row_of(runtime, job_id).put_off) == ("failed", 0)
    if runtime.catalog.engine.dialect.name == "postgresql":
        with pytest.raises(CatalogTooSlow), runtime.catalog.read() as transaction:
            transaction.execute(text("SET LOCAL statement_timeout = 20"))
            transaction.execute(text("SELECT pg_sleep(5)"))


def test_what_a_thread_of_a_job_writes_is_refused_once_the_job_is_taken(runtime: Runtime) -> None:
    enqueue(runtime)
    (held,) = claim(runtime, "one")
    refused: list[JobTaken] = []

    def write() -> None:
        try:
            with runtime.catalog.write():
                pass
        except JobTaken as taken:
            refused.append(taken)

    with fenced(held.job_id, held.fence):
        thread = threading.Thread(target=keep_fence(write))
    with runtime.catalog.write() as transaction:
        jobs.hand_back(transaction, "one")
    thread.start()
    thread.join()
    assert len(refused) == 1


def test_a_job_that_kills_its_worker_again_and_again_is_given_up_and_says_why(runtime: Runtime) -> None:
    job_id = enqueue(runtime)
    for _ in range(MAX_LOSSES - 1):
        claim_one(runtime, "dying", job_id)
        assert lose(runtime).queued == 1
    claim_one(runtime, "dying", job_id)
    (given_up,) = lose(runtime).given_up
    assert given_up.job_id == job_id
    job = runtime.jobs.get(USER, job_id)
    assert job.status == "failed"
    assert f"{MAX_LOSSES} worker processes" in (job.error or "")


def test_a_job_that_gets_further_each_time_is_never_given_up(runtime: Runtime) -> None:
    job_id = enqueue(runtime)
    for attempt in range(3 * MAX_LOSSES):
        (held,) = claim_one(runtime, "dying", job_id)
        with runtime.catalog.write() as transaction:
            jobs.report(transaction, job_id, held.fence, "work", attempt / (3 * MAX_LOSSES), "")
        assert lose(runtime).given_up == ()


def test_what_was_given_up_is_told_to_its_application(runtime: Runtime) -> None:
    told: list[str] = []
    kinds = {
        "work": JobKind(
            run=lambda *_: None, failed=lambda context, task, message: told.append(message), queue="train"
        )
    }
    job_id = enqueue(runtime)
    beat(runtime, "dying", replace(Process.current(), started=1))
    (held,) = claim(runtime, "dying")
    with runtime.catalog.write() as transaction:
        losses = {"losses": MAX_LOSSES - 1, "lost_at": 0.0}
        transaction.execute(update(JobRow).where(JobRow.id == held.job_id).values(losses))
    assert Worker(runtime, kinds).take_over() == 0
    assert told == [runtime.jobs.get(USER, job_id).error]


# What a worker holds


class Runners:
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.started: list[JobRunner] = []

    def start(self, run: Callable[..., None], failed: Callable[..., None] = lambda *_, **__: None) -> JobRunner:  # fmt: skip
        kinds = {"work": JobKind(run=run, failed=failed, queue="train", stages={"work": "Work"})}
        runner = JobRunner(self._runtime.catalog, f"runner {len(self.started)}", kinds, self._runtime)
        runner.start()
        self.started.append(runner)
        return runner


@pytest.fixture
def runners(runtime: Runtime) -> Iterator[Runners]:
    started = Runners(runtime)
    yield started
    for runner in started.started:
        runner.close()


def test_a_job_that_is_in_a_workers_name_and_runs_nowhere_is_handed_back(
    runtime: Runtime, runners: Runners
) -> None:
    runner = runners.start(lambda *_: None)
    job_id = enqueue(runtime, queue="of no worker")
    claim_one(runtime, "runner 0", job_id)
    assert row_of(runtime, job_id).status == "running"
    runner.settle()
    row = row_of(runtime, job_id)
    assert (row.status, row.losses) == ("queued", 0)


def test_a_full_disk_puts_a_job_off_until_there_is_room(
    runtime: Runtime, runners: Runners, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ecluse.jobs.runner.SHORTEST_WAIT", 0)
    full = iter([True, True, False])
    failures: list[str] = []

    def run(*_: object) -> None:
        if next(full):
            raise OSError(28, "No space left on device", "/somewhere/table.csv")

    runners.start(run, lambda _, __, message: failures.append(message))
    job_id = enqueue(runtime)
    assert ended_job(runtime, USER, job_id).status == "done"
    assert failures == []
    assert row_of(runtime, job_id).put_off == 2


@pytest.mark.parametrize(
    ("error", "ends"),
    [
        (StoreSilent("The store does not answer."), "done"),
        (DocumentsUnavailable("The documents do not answer."), "done"),
        (StoreUnavailable("The store does not accept the keys."), "failed"),
        (BucketNotFound("The store has no such bucket."), "failed"),
    ],
)
def test_a_job_waits_for_what_is_away_and_fails_for_what_refuses_it(
    runtime: Runtime, runners: Runners, monkeypatch: pytest.MonkeyPatch, error: Exception, ends: str
) -> None:
    monkeypatch.setattr("ecluse.jobs.runner.SHORTEST_WAIT", 0)
    answers = iter([False, False, True])

    def run(*_: object) -> None:
        if not next(answers):
            raise error

    runners.start(run)
    job_id = enqueue(runtime)
    ended_job(runtime, USER, job_id)
    row = row_of(runtime, job_id)
    assert (row.status, row.put_off) == (ends, 2 if ends == "done" else 0)


def test_how_a_job_ended_is_recorded_once_the_catalog_takes_it(
    runtime: Runtime, runners: Runners, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of a job is kept in the worker while its disk is full; when there is room again it is written."""
    from ecluse.errors import CatalogUnwritable

    refused = threading.Event()
    finish = jobs.finish

    def refusing(transaction: Transaction, *rest: Any) -> bool:
        if not refused.is_set():
            refused.set()
            raise CatalogUnwritable("The disk is full.")
        return finish(transaction, *rest)

    monkeypatch.setattr(jobs, "finish", refusing)
    runner = runners.start(lambda *_: None)
    job_id = enqueue(runtime)
    assert refused.wait(60)
    assert runtime.jobs.get(USER, job_id).status == "running"
    wait_until(lambda: all(one.outcome for one in runner._running.values()), "an outcome")
    runner.settle()
    assert runtime.jobs.get(USER, job_id).status == "done"


def test_two_workers_of_one_process_take_jobs(runtime: Runtime, runners: Runners) -> None:
    at_once = threading.Barrier(2)
    for _ in range(2):
        runners.start(lambda *_: at_once.wait(60) and None)
    ids = [enqueue(runtime), enqueue(runtime)]
    assert {ended_job(runtime, USER, one).status for one in ids} == {"done"}


def test_a_command_starts_one_worker_however_late_its_heartbeat_is(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr("ecluse.runtime.living_workers", lambda *_: [])  # as where nobody is heard in time
    with session.attended(runtime, "profile") as attend:
        for _ in range(3):
            attend()
        with runtime.catalog.read() as transaction:
            assert len(workers.living(transaction)) == 1
    with runtime.catalog.read() as transaction:
        assert workers.living(transaction) == []


def test_a_command_does_not_wait_for_a_worker_that_does_not_know_its_job(runtime: Runtime) -> None:
    with runtime.catalog.write() as transaction:
        workers.beat(transaction, "older", Process.current(), {"profile": 1})
    assert [one.executor_id for one in living_workers(runtime, "profile")] == ["older"]
    assert living_workers(runtime, "of a newer release") == []


# Waking


def test_a_worker_is_woken_when_a_job_is_queued(runtime: Runtime) -> None:
    other = Catalog(runtime.settings.database_url)
    woken = threading.Event()
    with Bell(runtime.catalog.engine) as bell:
        bell.wait(0.01)  # so that it listens
        while not woken.is_set():
            bell.wait(0.5)  # what this test's own home still writes
            break

        def wait() -> None:
            bell.wait(600)
            woken.set()

        thread = threading.Thread(target=wait)
        thread.start()
        while not woken.is_set():
            with other.write() as transaction:
                jobs.add(transaction, os.urandom(8).hex(), "work", "train", USER, "t", {})
            woken.wait(0.5)
        thread.join()
    other.close()


def test_a_worker_of_one_job_takes_that_job_alone(runtime: Runtime) -> None:
    ids = [enqueue(runtime), enqueue(runtime)]
    done: list[str] = []
    kinds = {
        "work": JobKind(
            run=lambda _, task: done.append(task.job_id), failed=lambda *_, **__: None, queue="train"
        )
    }
    worker = Worker(runtime, kinds, only=ids[1])
    worker.start()
    worker.run_until_stopped()
    worker.close()
    assert done == [ids[1]]
    assert [runtime.jobs.get(USER, one).status for one in ids] == ["queued", "done"]


@pytest.mark.parametrize("alone", [False, True], ids=["beside others", "after their worker died"])
def test_a_job_that_waits_for_another_does_not_stand_in_its_way(runtime: Runtime, alone: bool) -> None:
    ended: list[str] = []

    def follow(_: Any, task: Task, first: str) -> None:
        task.wait_for([first], lambda count: f"waiting for {count}")
        ended.append("follow")

    kinds = {
        "follow": JobKind(run=follow, queue="train"),
        "work": JobKind(run=lambda _, task: ended.append("work"), queue="train"),
    }
    following = enqueue(runtime, "follow", first="first")
    runtime.jobs.enqueue("work", "train", account(runtime.catalog, USER), "Some work", {}, job_id="first")
    with runtime.catalog.write() as transaction:
        transaction.execute(update(JobRow).values(alone=alone))
    runner = JobRunner(runtime.catalog, "worker", kinds, runtime)
    runner._take()
    wait_until(lambda: not runner.running(), "an end of what runs")
    waits = row_of(runtime, following)
    assert (waits.status, waits.message, waits.put_off, ended) == ("queued", "waiting for 1", 0, [])
    runner.start()
    assert ended_job(runtime, USER, following).status == "done"
    runner.close()
    assert ended == ["work", "follow"]
