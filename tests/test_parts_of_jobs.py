"""Parts of a job run on all workers, once each, in order, and end with their job; none stands in another's way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import event, select, update

from ecluse.catalog import job_lines, jobs, quotas
from ecluse.catalog.database import fenced
from ecluse.catalog.jobs import MAX_LOSSES, Claim
from ecluse.catalog.jobs_of_everyone import failures, jobs_of_everyone
from ecluse.catalog.tables import JobRow
from ecluse.errors import InvalidInput, JobTaken
from ecluse.jobs import Job, JobKind, JobRunner, Task, with_parts
from ecluse.jobs.task import kind_of_part
from ecluse.runtime import Runtime
from tests.accounts import account
from tests.support.jobs import ended_job
from tests.support.wait import wait_until

pytestmark = pytest.mark.nightly

USER = "user-1"
PART = kind_of_part("work", "squares")


@pytest.fixture
def runtime(opened: Runtime) -> Runtime:
    return opened


class Squares:
    """A kind of job that squares numbers in parts, what each did, and the workers that do it."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.parts: list[int] = []
        self.got: list[int] = []
        self.begun = 0
        self.runners: list[JobRunner] = []
        #: What a part does before it returns, by its number.
        self.before: Callable[[Task, int], None] = lambda task, number: None
        self.after: Callable[[], None] = lambda: None

    def work(self, context: Any, task: Task, numbers: list[int]) -> None:
        self.begun += 1
        self.got = task.map("squares", numbers, self.square)
        self.after()

    def square(self, context: Any, task: Task, number: int) -> int:
        self.before(task, number)
        self.parts.append(number)
        return number * number

    @property
    def kinds(self) -> dict[str, JobKind]:
        other = JobKind(run=lambda *_: self.parts.append(-1), queue="train")
        return with_parts(
            {"work": JobKind(run=self.work, queue="train", parts={"squares": self.square}), "other": other}
        )

    def runner(self, name: str = "runner") -> JobRunner:
        runner = JobRunner(self.runtime.catalog, name, self.kinds, self.runtime)
        self.runners.append(runner)
        return runner

    def enqueue(self, count: int, user: str = USER) -> str:
        return self.queue("work", user, numbers=list(range(count)))

    def queue(self, kind: str, user: str = USER, **subject: Any) -> str:
        owner = account(self.runtime.catalog, user)
        return self.runtime.jobs.enqueue(kind, "train", owner, "Some work", subject)

    def job(self, job_id: str) -> Job:
        return self.runtime.jobs.get(None, job_id)

    def ended(self, job_id: str) -> Job:
        return ended_job(self.runtime, None, job_id, 300)

    def rows(self, job_id: str) -> list[JobRow]:
        with self.runtime.catalog.read() as transaction:
            query = select(JobRow).where(JobRow.parent_id == job_id).order_by(JobRow.place)
            return list(transaction.scalars(query))

    def statuses(self, job_id: str) -> list[str]:
        return [row.status for row in self.rows(job_id)]

    def take(self, runner: JobRunner) -> None:
        """Let a worker that does not look by itself run what it has room for, to its end."""
        runner._take()
        wait_until(lambda: not runner.running(), "an end of what runs")


@pytest.fixture
def squares(runtime: Runtime) -> Iterator[Squares]:
    made = Squares(runtime)
    yield made
    for runner in made.runners:
        runner.close()


def test_a_worker_alone_with_one_place_does_all_parts_in_order(squares: Squares) -> None:
    job_id = squares.enqueue(5)
    squares.runner().start()
    assert squares.ended(job_id).status == "done"
    assert squares.got == [0, 1, 4, 9, 16]
    assert (squares.parts, squares.begun) == ([0, 1, 2, 3, 4], 2)


def test_a_map_over_nothing_returns_nothing_at_once(squares: Squares) -> None:
    job_id = squares.enqueue(0)
    squares.runner().start()
    assert squares.ended(job_id).status == "done"
    assert (squares.got, squares.begun, squares.rows(job_id)) == ([], 1, [])


def test_workers_share_the_parts_and_results_are_in_order(squares: Squares) -> None:
    together = threading.Barrier(2)
    squares.before = lambda task, number: together.wait(60) and None
    job_id = squares.enqueue(6)
    for name in ("first", "second"):
        squares.runner(name).start()
    assert squares.ended(job_id).status == "done"
    assert squares.got == [0, 1, 4, 9, 16, 25]


@pytest.mark.nightly("postgresql")
def test_a_thousand_parts_are_done(squares: Squares) -> None:
    job_id = squares.enqueue(1000)
    for name in ("first", "second"):
        squares.runner(name).start()
    assert squares.ended(job_id).status == "done"
    assert squares.got == [number * number for number in range(1000)]
    assert sorted(squares.parts) == list(range(1000))


def test_a_job_whose_worker_dies_goes_on_with_what_its_parts_returned(squares: Squares) -> None:
    job_id = squares.enqueue(3)
    first, second = squares.runner("first"), squares.runner("second")
    died = threading.Event()

    def die() -> None:
        died.wait(60)
        raise InvalidInput("It comes too late: another worker has the job.")

    squares.after = die
    first.start()
    wait_until(
        lambda: squares.begun == 2, "the job behind its parts"
    )  # all parts are done, and it has their results
    with squares.runtime.catalog.write() as transaction:
        assert jobs.take_from(transaction, "first").queued == 1
    squares.after = lambda: None
    squares.got = []
    second.start()
    assert squares.ended(job_id).status == "done"
    died.set()
    assert (squares.got, sorted(squares.parts), squares.begun) == ([0, 1, 4], [0, 1, 2], 3)


def test_a_part_whose_worker_dies_is_done_by_another(squares: Squares) -> None:
    job_id = squares.enqueue(3)
    first, second = squares.runner("first"), squares.runner("second")
    squares.take(first)
    lost = claim(squares, "a worker that dies")
    assert lost.parent_id == job_id
    with squares.runtime.catalog.write() as transaction:
        assert jobs.take_from(transaction, "a worker that dies").queued == 1
    second.start()
    assert squares.ended(job_id).status == "done"
    assert squares.got == [0, 1, 4]
    with squares.runtime.catalog.write() as transaction:
        assert not jobs.finish(transaction, lost.job_id, lost.fence, "failed", "late", parent_id=job_id)


def test_a_part_that_returned_before_its_worker_died_is_not_done_again(squares: Squares) -> None:
    job_id = squares.enqueue(1)
    runner = squares.runner()
    squares.take(runner)
    held = claim(squares, "a worker that dies")
    task = Task(held, squares.runtime.catalog, threading.Event())
    task.return_from_part(lambda: 49)
    with squares.runtime.catalog.write() as transaction:
        jobs.take_from(transaction, "a worker that dies")
    runner.start()
    assert squares.ended(job_id).status == "done"
    assert (squares.got, squares.parts) == ([49], [])


def test_a_cancelled_job_takes_its_parts_along(squares: Squares) -> None:
    begun, cancelled = threading.Event(), threading.Event()
    stopped: list[str] = []

    def work(task: Task, number: int) -> None:
        begun.set()
        cancelled.wait(60)
        task.report("square", 0.5)
        stopped.append("not")

    squares.before = work
    job_id = squares.enqueue(4)
    runner = squares.runner()
    runner.start()
    begun.wait(60)
    assert squares.runtime.jobs.cancel(account(squares.runtime.catalog, USER), job_id).status == "cancelled"
    assert squares.statuses(job_id) == ["cancelled"] * 4
    cancelled.set()
    wait_until(lambda: not runner.running(), "an end of what runs")
    assert (stopped, squares.parts, squares.begun) == ([], [], 1)


def test_the_first_part_that_fails_says_why_and_those_behind_it_are_cancelled(squares: Squares) -> None:
    def fail(task: Task, number: int) -> None:
        if number in (2, 3):
            raise InvalidInput(f"Number {number} is no good.")

    squares.before = fail
    job_id = squares.enqueue(6)
    squares.runner().start()
    job = squares.ended(job_id)
    assert (job.status, job.error) == ("failed", "Number 2 is no good.")
    assert squares.statuses(job_id) == ["done", "done", "failed", "cancelled", "cancelled", "cancelled"]
    assert squares.parts == [0, 1]


def test_of_two_parts_that_fail_the_first_in_order_says_why(squares: Squares) -> None:
    both = threading.Barrier(2)

    def fail(task: Task, number: int) -> None:
        if number in (1, 2):
            both.wait(60)
            if number == 1:
                wait_until(lambda: squares.statuses(job_id)[2] == "failed", "a failure of part 2")
            raise InvalidInput(f"Number {number} is no good.")

    squares.before = fail
    job_id = squares.enqueue(4)
    for name in ("first", "second"):
        squares.runner(name).start()
    assert squares.ended(job_id).error == "Number 1 is no good."
    assert squares.statuses(job_id) == ["done", "failed", "failed", "cancelled"]


def test_a_part_that_is_given_up_ends_the_job(squares: Squares, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecluse.jobs.task.LOOK_SECONDS", 0)
    job_id = squares.enqueue(2)
    runner = squares.runner()
    squares.take(runner)
    part = squares.rows(job_id)[0].id
    for _ in range(MAX_LOSSES):
        with squares.runtime.catalog.write() as transaction:
            assert jobs.claim_one(transaction, "a worker that dies", {PART: 1}, part)
        with squares.runtime.catalog.write() as transaction:
            jobs.take_from(transaction, "a worker that dies")
    runner.start()
    job = squares.ended(job_id)
    assert (job.status, job.error) == ("failed", jobs.given_up_words())
    assert (squares.statuses(job_id)[0], squares.got) == ("failed", [])


def test_the_jobs_and_parts_of_another_are_not_behind_a_thousand_parts(squares: Squares) -> None:
    many = squares.enqueue(1000)
    runner = squares.runner()
    squares.take(runner)
    for _ in range(10):
        squares.take(runner)
    assert squares.parts == list(range(10))
    mapped = squares.enqueue(3, "user-2")
    alone = squares.queue("other", "user-3")
    for _ in range(3):
        squares.take(runner)
    assert squares.job(alone).status == "done"
    assert len(squares.rows(mapped)) == 3
    for _ in range(6):
        squares.take(runner)
    assert squares.statuses(mapped) == ["done"] * 3
    assert 10 < squares.statuses(many).count("done") < 20


def test_two_maps_of_one_owner_take_no_two_turns(squares: Squares) -> None:
    runner = squares.runner()
    ids = [squares.enqueue(10), squares.enqueue(10), squares.enqueue(10, "user-2")]
    for _ in range(3):
        squares.take(runner)
    for _ in range(12):
        squares.take(runner)
    done = [squares.statuses(job_id).count("done") for job_id in ids]
    assert done[0] + done[1] == pytest.approx(done[2], abs=2)


def test_parts_are_in_nobodys_list_and_in_no_plan(squares: Squares) -> None:
    job_id = squares.enqueue(3)
    runner = squares.runner()
    squares.take(runner)
    squares.take(runner)
    owner = account(squares.runtime.catalog, USER)
    listed = squares.runtime.jobs
    (job,) = listed.list(owner, active=True)
    assert (job.id, job.status, job.position) == (job_id, "running", None)
    assert (job.message, round(job.fraction, 3)) == ("1 of 3 parts are done.", 0.333)
    assert [job.id for job in listed.active()] == [job_id]
    assert (listed.ended(owner, limit=10), listed.count_ended(owner)) == ([], 0)
    waiting = squares.queue("other", "user-2")
    assert squares.job(waiting).position == 2
    with squares.runtime.catalog.read() as transaction:
        assert [row.id for row, _ in jobs_of_everyone(transaction, limit=10)] == [waiting, job_id]
        assert quotas._count_jobs(transaction, owner) == 1
        assert [str(line.said) for line in job_lines.of_job(transaction, job_id)] == ["A worker begins."]
        assert job_lines.of_job(transaction, squares.rows(job_id)[0].id) == []


def test_a_job_that_fails_by_a_part_is_one_failure(squares: Squares) -> None:
    def fail(task: Task, number: int) -> None:
        raise InvalidInput("No number is good.")

    squares.before = fail
    job_id = squares.enqueue(3)
    squares.runner().start()
    assert squares.ended(job_id).status == "failed"
    with squares.runtime.catalog.read() as transaction:
        assert [(each.kind, each.count) for each in failures(transaction)] == [("work", 1)]


def test_a_line_of_a_part_is_one_of_its_job(squares: Squares) -> None:
    squares.before = lambda task, number: task.note(f"Number {number} is slow.")
    job_id = squares.enqueue(1)
    squares.runner().start()
    squares.ended(job_id)
    lines = squares.runtime.jobs.lines(None, job_id).lines
    assert "Number 0 is slow." in [str(line.said) for line in lines]


def test_parts_are_left_to_workers_that_know_them(squares: Squares) -> None:
    squares.enqueue(2)
    squares.take(squares.runner())
    with squares.runtime.catalog.write() as transaction:
        assert jobs.claim(transaction, "of before", {"work": 1, "other": 1}, "train", 2) == []
    assert claim(squares, "of now").kind == PART


def test_other_items_than_before_fail_the_job(squares: Squares) -> None:
    job_id = squares.enqueue(2)
    runner = squares.runner()
    squares.take(runner)
    with squares.runtime.catalog.write() as transaction:
        other = update(JobRow).where(JobRow.id == job_id).values(subject={"numbers": [5]})
        transaction.execute(other)
    runner.start()
    assert squares.ended(job_id).status == "failed"
    assert squares.statuses(job_id)[1] in ("cancelled", "done")


def test_no_part_outlives_its_owner(squares: Squares) -> None:
    job_id = squares.enqueue(2)
    squares.take(squares.runner())
    owner = account(squares.runtime.catalog, USER)
    with squares.runtime.catalog.write() as transaction:
        jobs.forget_of(transaction, owner)
    assert squares.rows(job_id) == []


def test_looking_for_work_asks_no_more_than_before(squares: Squares) -> None:
    asked: list[str] = []
    runner = squares.runner()
    runner._take()

    def note(*args: Any) -> None:
        asked.append(args[2])

    event.listen(squares.runtime.catalog.engine, "before_cursor_execute", note)
    runner._take()
    event.remove(squares.runtime.catalog.engine, "before_cursor_execute", note)
    assert len([statement for statement in asked if "FROM jobs" in statement]) == 2


def claim(squares: Squares, worker: str) -> Claim:
    kinds = {name: kind.version for name, kind in squares.kinds.items()}
    with squares.runtime.catalog.write() as transaction:
        (held,) = jobs.claim(transaction, worker, kinds, "train", 1)
    return held


def test_a_job_that_was_cancelled_meanwhile_queues_no_parts(squares: Squares) -> None:
    job_id = squares.enqueue(3)
    held = claim(squares, "a worker")
    squares.runtime.jobs.cancel(account(squares.runtime.catalog, USER), job_id)
    task = Task(held, squares.runtime.catalog, threading.Event(), parts={"squares": squares.square})
    with fenced(job_id, held.fence), pytest.raises(JobTaken):
        task.map("squares", [1, 2, 3], squares.square)
    assert squares.rows(job_id) == []


def test_an_undeclared_function_is_not_mapped(squares: Squares) -> None:
    squares.enqueue(3)
    task = Task(claim(squares, "a worker"), squares.runtime.catalog, threading.Event())
    with pytest.raises(ValueError, match="no function of `parts`"):
        task.map("squares", [1], squares.square)
