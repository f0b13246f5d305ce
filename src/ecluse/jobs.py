"""Run work in the background that survives crashes: enqueue it, follow it, cancel it.

A job is a row of the catalog, queued in the transaction that makes what it is for. `Jobs` is what pages, the API and
commands hold: it enqueues and reads, and runs nothing. `JobRunner` is what a worker process holds: it claims jobs and
runs each in a thread. Each step of a job runs at least once and is written to leave the same result when it runs again.
"""

from __future__ import annotations

import functools
import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Final, Literal, ParamSpec, Protocol, TypeVar, cast

from ecluse.catalog import Catalog, Transaction, jobs
from ecluse.catalog.bell import Bell
from ecluse.catalog.database import fenced
from ecluse.catalog.jobs import Claim
from ecluse.catalog.tables import JobRow
from ecluse.disks import is_full, what_is_wrong
from ecluse.errors import (
    CatalogError,
    CatalogTooSlow,
    CatalogUnavailable,
    DiskFull,
    DocumentsUnavailable,
    EcluseError,
    JobCancelled,
    JobNotFound,
    JobsUnavailable,
    JobTaken,
    StoreUnavailable,
)
from ecluse.sentences import _, pack, unpack
from ecluse.shapes import CountMessage, Message

REPORT_SECONDS: Final = 0.5
#: How long the record of an ended job is kept.
KEPT_FOR = timedelta(days=90)
#: A worker looks for jobs at least this often (s), whether it heard of one or not.
LOOK_SECONDS: Final = 5.0
#: Times that a step is tried while a store or a database is away, and seconds before the second.
TRIES: Final = 3
FIRST_PAUSE: Final = 2.0
#: A job that waits for room on a disk, or for the catalog, is tried again after 10 s, and later once a minute, for
#: about a day.
SHORTEST_WAIT: Final = 10
LONGEST_WAIT: Final = 60
MOST_WAITS: Final = 1440

JobStatus = Literal["queued", "running", "done", "failed", "cancelled"]
P = ParamSpec("P")
R = TypeVar("R")
#: Pauses, in seconds, before hours of work are given up because the store did not take their result.
PAUSES: Final = (2.0, 10.0, 30.0)
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """A job as its owner sees it. `fraction` is 0 to 1; `position` counts from 1 within its queue."""

    id: str
    kind: str
    user_id: str
    status: JobStatus
    title: str
    subject: dict[str, Any]
    stage: str | None
    fraction: float
    message: str
    error: str | None
    position: int | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def active(self) -> bool:
        return self.status in jobs.ACTIVE


class Task:
    """A running job, as the function that does the work sees it."""

    def __init__(self, claim: Claim, catalog: Catalog, closing: threading.Event) -> None:
        self.job_id = claim.job_id
        self.user_id = claim.user_id
        self._claim = claim
        self._catalog = catalog
        self._closing = closing
        self._reported_at = float("-inf")
        self._stages = set[str]()
        self._positions = dict[str, int]()
        self._is_in_step = False

    def step(self, name: str, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run `function` and remember its result (plain JSON), so that a restart does not run it again.

        A store or database that is away is tried three times before the job fails. A step within a step is a part
        of it.
        """
        if self._is_in_step:
            return function(*args, **kwargs)
        position = self._positions.get(name, 0)
        self._positions[name] = position + 1
        with self._catalog.read() as transaction:
            ended = jobs.step(transaction, self.job_id, name, position)
        if ended is not None:
            remembered: R = unpack(json.loads(ended))
            return remembered
        self._is_in_step = True
        try:
            result = self._tried(lambda: function(*args, **kwargs))
        finally:
            self._is_in_step = False
        self._tried(lambda: self._keep(name, position, json.dumps(pack(result), default=_plain)))
        return result

    def _keep(self, name: str, position: int, result: str) -> None:
        with self._catalog.write() as transaction:
            jobs.add_step(transaction, self.job_id, name, position, result)

    def report(self, stage: str, fraction: float, message: str = "") -> None:
        """Say how far the job is; at most twice a second reaches the database, and each stage when it begins.

        Raises:
            JobCancelled: someone cancelled it, another worker has it, or this one stops; let it pass.
        """
        self._expect_open()
        is_early = time.monotonic() - self._reported_at < REPORT_SECONDS
        if is_early and fraction < 1 and stage in self._stages:
            return
        self._stages.add(stage)
        self._reported_at = time.monotonic()
        claim = self._claim
        try:
            with self._catalog.write(closed=True) as transaction:
                is_ours = jobs.report(
                    transaction, claim.job_id, claim.fence, stage, round(fraction, 3), message
                )
        except CatalogError as error:
            logger.warning("Progress of job %s was not recorded; the work goes on: %s", self.job_id, error)
            return
        if not is_ours:
            raise JobTaken(_("The job was cancelled, or another worker has taken it over."))

    def _expect_open(self) -> None:
        if self._closing.is_set():
            raise JobCancelled(_("The worker stops; the next one takes the job up."))

    def _tried(self, work: Callable[[], R]) -> R:
        for attempt in range(1, TRIES):
            try:
                return work()
            except (StoreUnavailable, CatalogUnavailable, DocumentsUnavailable):
                if self._closing.wait(FIRST_PAUSE * 2 ** (attempt - 1)):
                    self._expect_open()
        return work()


@dataclass(frozen=True)
class Link:
    """A page, and the English of what to call the way there, marked by `N_`."""

    href: str
    words: Message


@dataclass(frozen=True)
class Group:
    """Jobs that come by the dozen and are shown together: what a page says of those that wait or run."""

    name: str
    title: Message
    icon: str
    #: "%(count)s day is left." and its plural.
    left: tuple[CountMessage, CountMessage]
    link: Link


def _no_result(transaction: Transaction, job: Job) -> Link | None:
    return None


def _no_ways(transaction: Transaction, job: Job) -> tuple[Link, ...]:
    return ()


def _at_least_one(number: int) -> str:
    return "" if number >= 1 else f"{number} jobs at once: they would never run"


@dataclass(frozen=True, kw_only=True)
class JobKind:
    """One kind of job: everything that a worker, the pages, the API and the commands need to know of it.

    `context` is what the worker was started with.
    """

    #: `run(context, task, **subject)` does the work. How the job and its work end is recorded by the worker.
    run: Callable[..., None]
    #: `failed(context, task, message, **subject)` tidies up besides when it fails, before that is recorded: files that
    #: nothing needs, an entry in the audit log.
    failed: Callable[..., None] | None = None
    queue: str
    #: How many jobs of its queue a worker runs at a time; the most that a kind of this queue says counts.
    at_once: Annotated[int, _at_least_one] = 1
    #: What it does, in a word: its title is "Train · NAME".
    verb: Message = ""
    #: What stands in place of the job's own title.
    title: Message = ""
    #: The stages it passes, in order, and what to call each.
    stages: Mapping[str, Message] = field(default_factory=dict)
    #: Whether what a cancelled job has done so far stays.
    keeps_what_is_done: bool = False
    #: Record that it is to end now and to keep the best so far; false once it publishes or has ended.
    finish: Callable[[Transaction, str], bool] | None = None
    #: Where the result of a job that is done is, and where to go on from one that came to nothing.
    result: Callable[[Transaction, Job], Link | None] = _no_result
    ways: Callable[[Transaction, Job], tuple[Link, ...]] = _no_ways
    #: What the API answers as the result of one that is done, where that is more than its subject: reference of a
    #: function `(runtime, transaction, job) -> dict | None`.
    answer: str = ""
    #: Shown together with its like.
    group: Group | None = None
    #: Whether it goes on when the account in whose name it runs is closed.
    is_of_installation: bool = False


#: What an application names in its field `jobs`.
JobKinds = Mapping[str, JobKind]


class Jobs:
    """The jobs of a catalog: enqueue, find, cancel."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def enqueue(
        self,
        kind: str,
        queue: str,
        user_id: str,
        title: str,
        subject: Mapping[str, Any],
        *,
        job_id: str | None = None,
        transaction: Transaction | None = None,
    ) -> str:
        """Queue a job; its id. Its function gets `subject` as keyword arguments. The same id is queued once.

        `transaction`: the one that writes the rows which the job is for, so that neither is there without the other.
        """
        chosen = job_id or uuid.uuid4().hex
        with self._within(transaction) as writing:
            jobs.add(writing, chosen, kind, queue, user_id, title, subject)
        return chosen

    def get(self, user_id: str, job_id: str) -> Job:
        """One job of this user.

        Raises:
            JobNotFound: there is none of this id, or it is someone else's.
        """
        if not _may_be_id(job_id):
            raise JobNotFound(_("No job has such an id. See: ecluse jobs list"))
        job = self.get_many(user_id, [job_id]).get(job_id)
        if job is None:
            raise JobNotFound(_("No job %(value)s. See: ecluse jobs list", value=job_id))
        return job

    def goes_on(self, job_id: str | None) -> bool:
        """Whether a job waits or runs; one whose record is gone does not."""
        if job_id is None:
            return False
        with self._catalog.read() as transaction:
            return jobs.status_of(transaction, job_id) in jobs.ACTIVE

    def get_many(self, user_id: str | None, job_ids: Sequence[str]) -> dict[str, Job]:
        """Those of these jobs that are there and this user's (None: anyone's), by their ids."""
        with self._catalog.read() as transaction:
            return {row.id: _job(row, place) for row, place in jobs.by_ids(transaction, user_id, job_ids)}

    def list(self, user_id: str, *, limit: int = 50, active: bool = False) -> Sequence[Job]:
        """The user's jobs, newest first."""
        with self._catalog.read() as transaction:
            rows = jobs.of_user(transaction, user_id, limit=limit, active=active)
            return [_job(row, place) for row, place in rows]

    def active(self, *, limit: int = 100) -> Sequence[Job]:
        """The jobs of everyone that wait or run, the oldest first."""
        with self._catalog.read() as transaction:
            return [_job(row, place) for row, place in jobs.active(transaction, limit=limit)]

    def cancel(self, user_id: str, job_id: str) -> Job:
        """Stop a job: at once while it waits, at its next report while it runs.

        One that has ended, or publishes what it made, stays as it is.
        """
        job = self.get(user_id, job_id)
        if job.active:
            with self._catalog.write() as transaction:
                jobs.cancel(transaction, job_id)
        return self.get(user_id, job_id)

    def is_cancelled(self, job_id: str) -> bool:
        with self._catalog.read() as transaction:
            return jobs.status_of(transaction, job_id) == "cancelled"

    def forget_old(self) -> int:
        """Remove the records of jobs that ended long ago; how many. What they made stays."""
        with self._catalog.write() as transaction:
            return jobs.forget_ended(transaction, KEPT_FOR)

    def prove(self) -> None:
        """Queue a job that no worker takes, read it back and remove it, in one transaction: nobody sees it.

        Raises:
            JobsUnavailable: the catalog did not do as asked.
        """
        job_id = uuid.uuid4().hex
        with self._catalog.write() as transaction:
            jobs.add(transaction, job_id, "doctor", "doctor", "doctor", "Round trip", {})
            status = jobs.status_of(transaction, job_id)
            jobs.forget(transaction, [job_id])
        if status != "queued":
            raise JobsUnavailable(_("Job %(id)s was queued but reads as something else.", id=job_id))

    @contextmanager
    def _within(self, transaction: Transaction | None) -> Iterator[Transaction]:
        if transaction is not None:
            yield transaction
            return
        with self._catalog.write() as own:
            yield own


@dataclass(frozen=True)
class _Done:
    """The job did what it was asked for."""


@dataclass(frozen=True)
class _Failed:
    message: str


@dataclass(frozen=True)
class _Stopped:
    """The job itself says that there is nothing more to do for it."""

    reason: str


@dataclass(frozen=True)
class _PutOff:
    """Something is in the way that is no fault of the job, and that passes."""

    reason: str


@dataclass(frozen=True)
class _Taken:
    """The job is another worker's by now, or was cancelled."""


@dataclass(frozen=True)
class _Left:
    """The job was handed back, for the next worker: nothing is to be recorded."""


_Outcome = _Done | _Failed | _Stopped | _PutOff | _Taken | _Left


@dataclass
class _Running:
    """A job that this worker holds; `outcome` once it has ended and that could not be recorded yet."""

    claim: Claim
    outcome: _Outcome | None = None
    is_said: bool = False


class Apart(Protocol):
    """A process that runs one job and ends with it."""

    def is_over(self) -> bool: ...
    def stop(self) -> None: ...


@dataclass(frozen=True)
class _Away:
    """A job that has a process for itself."""

    queue: str
    process: Apart


@dataclass(frozen=True)
class _LastApart:
    """The process that was started last, when, and how many before it ended without claiming the same job."""

    job_id: str
    fence: int
    tries: int
    at: float


class JobRunner:
    """Claims jobs and runs each in a thread of this process, until it is closed."""

    def __init__(
        self,
        catalog: Catalog,
        worker: str,
        kinds: Mapping[str, JobKind],
        context: Any,
        *,
        only: str | None = None,
        apart: Callable[[str], Apart] | None = None,
    ) -> None:
        """`worker` names this process in the catalog. `only`: the one job that it takes.

        `apart(job_id)` starts a process that runs one job. Without it, a job that is to run alone runs here when
        nothing else does.
        """
        self._catalog = catalog
        self._worker = worker
        self._kinds = dict(kinds)
        self._at_once = _rooms(kinds)
        self._context = context
        self._only = only
        self._apart = apart
        self._away: _Away | None = None
        self._last_apart: _LastApart | None = None
        self._alone = False
        self._has_looked = threading.Event()
        self._running: dict[str, _Running] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._bell = Bell(catalog.engine)
        self._said: str | None = None
        self._looking = threading.Thread(target=self._look, name="jobs", daemon=True)

    def start(self) -> None:
        """Begin to take jobs."""
        self._looking.start()

    def close(self) -> None:
        """Take no more jobs, and give those that run here to others; what they still do is refused."""
        self._closing.set()
        self._bell.ring()
        if self._looking.is_alive():
            self._looking.join()
        self._bell.close()
        if self._away is not None:
            self._away.process.stop()
        with self._catalog.write(closed=True) as transaction:
            jobs.hand_back(transaction, self._worker)

    def is_over(self) -> bool:
        """Whether the only job that was to be taken has ended, or was not there to be taken."""
        with self._lock:
            return self._has_looked.is_set() and not self._running

    def running(self) -> Sequence[tuple[str, int]]:
        """Id and fence of the jobs that run here. Ask before a transaction is begun: claims hold the lock in one."""
        with self._lock:
            return [(one.claim.job_id, one.claim.fence) for one in self._running.values()]

    def settle(self) -> None:
        """Record what could not be recorded before; hand back what is in this worker's name and does not run here."""
        with self._lock:
            ended = [one for one in self._running.values() if one.outcome is not None]
        for one in ended:
            self._conclude(one)
        with self._lock:
            with self._catalog.read() as transaction:
                held = jobs.held(transaction, self._worker)
            here = {(one.claim.job_id, one.claim.fence) for one in self._running.values()}
            astray = [one for one in held if one not in here]
            if astray:
                with self._catalog.write(closed=True) as transaction:
                    jobs.hand_back(transaction, self._worker, astray)

    def give_up(self, given_up: Sequence[Claim]) -> None:
        """Let the application record that these jobs were given up."""
        for claim in given_up:
            if claim.kind in self._kinds:
                self._let_fail(claim, jobs.given_up_words())

    # Look for work

    def _look(self) -> None:
        while not self._closing.is_set():
            try:
                self._take()
                self._said = None
            except Exception as error:
                if not isinstance(error, EcluseError):  # a fault of ours stops no worker
                    logger.exception("Looking for jobs failed")
                elif str(error) != self._said:
                    self._said = str(error)
                    logger.warning("No jobs are taken for now: %s", error)
                self._closing.wait(1.0)
            self._pause()

    def _pause(self) -> None:
        try:
            self._bell.wait(LOOK_SECONDS)
        except Exception:  # a worker that hears nothing still looks
            logger.exception("Waiting for jobs failed")
            self._closing.wait(LOOK_SECONDS)

    def _take(self) -> None:
        """Claim what there is room for, and start it."""
        if self._has_looked.is_set():
            return
        if (only := self._only) is not None:
            self._start_claimed(
                lambda writing: jobs.claim_one(writing, self._worker, list(self._kinds), only)
            )
            self._has_looked.set()
            return
        room = self._room()
        if not room:
            return
        kinds = list(self._kinds)
        with self._catalog.read() as transaction:
            waiting = jobs.waiting_queues(transaction, kinds, room)
            alone = jobs.waits_alone(transaction, kinds, room)
        for queue in sorted(waiting):
            self._start_claimed(
                functools.partial(jobs.claim, worker=self._worker, kinds=kinds, queue=queue, most=room[queue])
            )
        if alone is not None and alone.queue in self._room():  # what was claimed above may fill it
            self._run_alone(alone)

    def _room(self) -> dict[str, int]:
        """Queue → how many more of its jobs may run here."""
        if self._apart_over():
            self._away = None
        with self._lock:
            if self._alone and self._running:
                return {}
            self._alone = False
            busy = [one.claim.queue for one in self._running.values()]
        if self._away is not None:
            busy.append(self._away.queue)
        room = {queue: most - busy.count(queue) for queue, most in self._at_once.items()}
        return {queue: number for queue, number in room.items() if number > 0}

    def _apart_over(self) -> bool:
        return self._away is not None and self._away.process.is_over()

    def _run_alone(self, waiting: jobs.Waiting) -> None:
        """Run a job whose worker died of it, or beside it, where it can take nothing else down."""
        if self._apart is not None:
            if self._away is None:
                self._start_apart(waiting, self._apart)
            return
        with self._lock:
            self._alone = not self._running
        if self._alone:
            self._start_claimed(
                lambda writing: jobs.claim_one(writing, self._worker, list(self._kinds), waiting.job_id)
            )

    def _start_apart(self, waiting: jobs.Waiting, start: Callable[[str], Apart]) -> None:
        """Start a process for a job; where the one before ended without claiming it, after a pause that grows."""
        last, tries = self._last_apart, 0
        if last is not None and (last.job_id, last.fence) == (waiting.job_id, waiting.fence):
            tries = last.tries + 1
            if time.monotonic() < last.at + min(LONGEST_WAIT, FIRST_PAUSE * 2 ** min(tries, 10)):
                return
            logger.warning("The process for job %s ended before it took it; another is started.", last.job_id)
        self._last_apart = _LastApart(waiting.job_id, waiting.fence, tries, time.monotonic())
        self._away = _Away(waiting.queue, start(waiting.job_id))

    def _start_claimed(self, claim: Callable[[Transaction], Sequence[Claim]]) -> None:
        with self._lock:  # so that `settle` does not take for astray what has not been started yet
            with self._catalog.write() as transaction:
                claims = claim(transaction)
            for one in claims:
                running = _Running(one)
                threading.Thread(target=self._work, args=(running,), name=one.job_id, daemon=True).start()
                self._running[one.job_id] = running

    # Do it

    def _work(self, running: _Running) -> None:
        claim = running.claim
        with fenced(claim.job_id, claim.fence):
            running.outcome = self._outcome(claim)
        self._conclude(running)

    def _outcome(self, claim: Claim) -> _Outcome:
        """Run a job to its end, however that is; nothing it raises passes."""
        kind = self._kinds[claim.kind]
        try:
            kind.run(self._context, Task(claim, self._catalog, self._closing), **claim.subject)
        except JobTaken:
            return _Taken()
        except JobCancelled as error:
            return _Left() if self._closing.is_set() else _Stopped(str(error))
        except BaseException as error:  # noqa: BLE001 (a panic of a library, too, ends this job and no other)
            return _Left() if self._closing.is_set() else _why(claim, error)
        return _Done()

    def _conclude(self, running: _Running) -> None:
        """Record how a job ended; where that cannot be done now, `settle` does it later."""
        claim, outcome = running.claim, running.outcome or _Left()
        try:
            self._record(claim, outcome)
        except Exception as error:  # noqa: BLE001 (it is tried again, and stands in nobody's way)
            if not running.is_said:
                running.is_said = True
                logger.warning("How job %s ended is recorded later: %s", claim.job_id, error)
            return
        with self._lock:
            if self._running.get(claim.job_id) is running:
                del self._running[claim.job_id]
        if not self._closing.is_set():
            self._bell.ring()

    def _record(self, claim: Claim, outcome: _Outcome) -> None:
        match outcome:
            case _Done():
                self._finish(claim, "done", None)
            case _Stopped(reason):
                self._finish(claim, "cancelled", reason)
            case _PutOff(reason):
                self._put_off(claim, reason)
            case _Failed(message):
                with fenced(claim.job_id, claim.fence):
                    self._let_fail(claim, message)
                self._finish(claim, "failed", message)
            case _Taken():
                with self._catalog.write(closed=True) as transaction:
                    jobs.withdraw_loss(transaction, claim.job_id, self._worker)
            case _Left():
                return

    def _finish(self, claim: Claim, status: JobStatus, error: str | None) -> None:
        with self._catalog.write(closed=True) as transaction:
            if not jobs.finish(transaction, claim.job_id, claim.fence, status, error):
                jobs.withdraw_loss(transaction, claim.job_id, self._worker)

    def _put_off(self, claim: Claim, reason: str) -> None:
        with self._catalog.write(closed=True) as transaction:
            times = jobs.times_put_off(transaction, claim.job_id)
            if times < MOST_WAITS:
                seconds = min(LONGEST_WAIT, SHORTEST_WAIT * 2 ** min(times, 10))
                jobs.put_off(transaction, claim.job_id, claim.fence, seconds, reason)
                return
        self._record(claim, _Failed(reason))

    def _let_fail(self, claim: Claim, message: str) -> None:
        """Let the application tidy up after a failure."""
        kind = self._kinds[claim.kind]
        if kind.failed is None:
            return
        task = Task(claim, self._catalog, self._closing)
        try:
            kind.failed(self._context, task, message, **claim.subject)
        except JobTaken:
            return
        except CatalogError:
            raise
        except Exception:  # its reconciliation does it later
            logger.exception("The failure of job %s was not recorded by its application", claim.job_id)


def patiently(work: Callable[[], R]) -> R:
    """The result of `work` in a job, tried again while the store does not answer.

    Raises:
        StoreUnavailable: nor does it after all pauses.
    """
    for pause in PAUSES:
        try:
            return work()
        except StoreUnavailable:
            time.sleep(pause)
    return work()


def _why(claim: Claim, error: BaseException) -> _Outcome:
    """What an error means for its job."""
    if isinstance(error, DiskFull) or is_full(error):
        reason = what_is_wrong(error) or str(error)
        logger.warning("Job %s (%s) waits for room: %s", claim.job_id, claim.kind, reason)
        return _PutOff(reason)
    if isinstance(error, CatalogUnavailable) and not isinstance(error, CatalogTooSlow):
        return _PutOff(str(error))
    if isinstance(error, EcluseError):
        return _Failed(str(error))
    if (wrong := what_is_wrong(error)) is not None:
        logger.warning("Job %s (%s) failed: %s", claim.job_id, claim.kind, wrong)
        return _Failed(wrong)
    reference = uuid.uuid4().hex[:8]
    logger.error("Job %s (%s) failed; reference %s", claim.job_id, claim.kind, reference, exc_info=error)
    return _Failed(
        _(
            "The job was stopped by a fault of ours. The worker's log has it under reference %(reference)s.",
            reference=reference,
        )
    )


def _rooms(kinds: Mapping[str, JobKind]) -> dict[str, int]:
    """How many jobs of each queue a worker of these kinds runs at a time."""
    return {
        kind.queue: max(other.at_once for other in kinds.values() if other.queue == kind.queue)
        for kind in kinds.values()
    }


def _plain(value: Any) -> Any:
    """What a step may return that JSON has no word for."""
    if isinstance(value, date):  # or a moment
        return value.isoformat()
    if isinstance(value, set):
        return sorted(value)
    raise TypeError(f"A step returned {type(value).__name__}, which cannot be remembered as JSON.")


def _may_be_id(job_id: str) -> bool:
    return 0 < len(job_id) <= 100 and job_id.isascii() and job_id.isprintable()


def _job(row: JobRow, place: int) -> Job:
    status = cast(JobStatus, row.status)
    return Job(
        id=row.id,
        kind=row.kind,
        user_id=row.user_id,
        status=status,
        title=row.title,
        subject=dict(row.subject),
        stage=row.stage,
        fraction=1.0 if status == "done" else row.fraction,
        message=row.message,
        error=row.error,
        position=place or None,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )
