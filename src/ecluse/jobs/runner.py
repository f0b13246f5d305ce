"""Claim jobs and run each in a thread of a worker."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from ecluse import logs, telemetry, tracing
from ecluse.catalog import Catalog, Transaction, ended_jobs, job_parts, jobs
from ecluse.catalog.bell import Bell
from ecluse.catalog.database import fenced
from ecluse.catalog.jobs import Claim
from ecluse.dying import die_at
from ecluse.errors import (
    CatalogError,
    EcluseError,
    JobCancelled,
    JobTaken,
)
from ecluse.jobs.kinds import JobKind, JobStatus
from ecluse.jobs.outcome import (
    LEFT_WORKER,
    Done,
    Failed,
    Left,
    Outcome,
    PutOff,
    Stopped,
    Taken,
    Waits,
    reason_of,
    why,
)
from ecluse.jobs.task import FIRST_PAUSE, Task
from ecluse.troubles import CatalogOutage

logger = logging.getLogger(__name__)


#: A worker looks for jobs at least this often (s), whether it heard of one or not.
LOOK_SECONDS: Final = 5.0


#: A job that waits for room on a disk, or for the catalog, is tried again after 10 s, and later once a minute, for
#: about a day.
SHORTEST_WAIT: Final = 10


LONGEST_WAIT: Final = 60


MOST_WAITS: Final = 1440


@dataclass
class _Running:
    """A job that this worker holds; `outcome` once it has ended and that could not be recorded yet."""

    claim: Claim
    outcome: Outcome | None = None
    is_said: bool = False
    #: How long it ran here, once it has ended.
    seconds: float = 0.0


class Apart(Protocol):
    """A process that runs one job and ends with it."""

    def is_over(self) -> bool: ...
    def stop(self) -> None: ...


@dataclass(frozen=True)
class _Away:
    """A job that has a process for itself."""

    waiting: jobs.Waiting
    process: Apart

    @property
    def queue(self) -> str:
        return self.waiting.queue


@dataclass(frozen=True)
class _LastApart:
    """The process that was started last, when, and how many before it ended without claiming the same job."""

    job_id: str
    fence: int
    tries: int
    at: float


class JobRunner:
    """Claims jobs and runs each in a thread of this process, until it is closed.

    What it says of its jobs to who counts (`ecluse.telemetry`): of those that run here how long each waited and ran,
    and that it ended once that is committed. Of one that has a process of its own, which nobody asks for figures and
    which may be killed at any moment, its row says the same once that process is over; where no end is recorded there,
    the job waits again, and is counted by who runs it next.
    """

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
        self._versions = {name: kind.version for name, kind in kinds.items()}
        self._at_once = _rooms(kinds)
        self._context = context
        self._only = only
        self._apart = apart
        self._away: _Away | None = None
        #: Jobs whose process is over, and of which it is not counted yet how they ended.
        self._uncounted: list[_Away] = []
        self._moved_at = time.monotonic()
        self._last_apart: _LastApart | None = None
        self._alone = False
        self._has_looked = threading.Event()
        self._running: dict[str, _Running] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._bell = Bell(catalog.engine)
        #: Of the whole process: what else of it meets an outage of the catalog says that here.
        self.outage = CatalogOutage(logger)
        self._said: str | None = None
        #: When a job that waits for others is due again.
        self._look_at = float("-inf")
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
        """Return whether the only job that was to be taken has ended, or was not there to be taken."""
        with self._lock:
            return self._has_looked.is_set() and not self._running

    def silent_for(self) -> float:
        """Return for how many seconds the thread that looks for jobs has not come round, by this process's clock.

        That no job can be had, as the catalog is away, keeps it from nothing: it says so, and looks again.
        """
        return time.monotonic() - self._moved_at

    def running(self) -> Sequence[tuple[str, int]]:
        """Return id and fence of the jobs that run here.

        Ask before a transaction is begun: claims hold the lock in one.
        """
        with self._lock:
            return [(entry.claim.job_id, entry.claim.fence) for entry in self._running.values()]

    def settle(self) -> None:
        """Record what could not be recorded before; hand back what is in this worker's name and does not run here."""
        with self._lock:
            ended = [entry for entry in self._running.values() if entry.outcome is not None]
        for entry in ended:
            self._conclude(entry)
        self._count_apart()
        with self._lock:
            with self._catalog.read() as transaction:
                held = jobs.held(transaction, self._worker)
            here = {(entry.claim.job_id, entry.claim.fence) for entry in self._running.values()}
            astray = [entry for entry in held if entry not in here]
            if astray:
                with self._catalog.write(closed=True) as transaction:
                    jobs.hand_back(transaction, self._worker, astray)

    def give_up(self, given_up: Sequence[Claim]) -> None:
        """Let the application record that these jobs were given up."""
        for claim in given_up:
            with logs.about(job=claim.job_id, kind=claim.kind, owner=claim.user_id):
                logger.warning("The job is given up: %s", jobs.given_up_words())
            if claim.version <= self._versions.get(claim.kind, 0):
                self._let_fail(claim, jobs.given_up_words())

    # Look for work

    def _look(self) -> None:
        while not self._closing.is_set():
            self._moved_at = time.monotonic()
            try:
                self._take()
                self.outage.over("jobs")
                if self._said is not None:
                    logger.info("Jobs are taken again.")
                self._said = None
            except Exception as error:
                if self.outage.met("jobs", error):
                    self._said = None
                elif not isinstance(error, EcluseError):  # a fault of ours stops no worker
                    logger.exception("Looking for jobs failed")
                elif str(error) != self._said:
                    self._said = str(error)
                    logger.warning("No jobs are taken for now: %s", error)
                self._closing.wait(1.0)
            self._pause()

    def _pause(self) -> None:
        try:
            until_due = self._look_at - time.monotonic()
            self._bell.wait(until_due if 0 < until_due < LOOK_SECONDS else LOOK_SECONDS)
        except Exception:  # a worker that hears nothing still looks
            logger.exception("Waiting for jobs failed")
            self._closing.wait(LOOK_SECONDS)

    def _take(self) -> None:
        """Claim what there is room for, and start it."""
        if self._has_looked.is_set():
            return
        if (only := self._only) is not None:
            self._start_claimed(lambda writing: jobs.claim_one(writing, self._worker, self._versions, only))
            self._has_looked.set()
            return
        room = self._room()
        if not room:
            return
        kinds = self._versions
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
        if self._away is not None and self._away.process.is_over():
            self._uncounted.append(self._away)
            self._away = None
        with self._lock:
            if self._alone and self._running:
                return {}
            self._alone = False
            busy = [entry.claim.queue for entry in self._running.values()]
        if self._away is not None:
            busy.append(self._away.queue)
        room = {queue: most - busy.count(queue) for queue, most in self._at_once.items()}
        return {queue: number for queue, number in room.items() if number > 0}

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
                lambda writing: jobs.claim_one(writing, self._worker, self._versions, waiting.job_id)
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
        self._away = _Away(waiting, start(waiting.job_id))

    def _count_apart(self) -> None:
        """Count the jobs that had a process of their own, as their rows say that they ended."""
        while self._uncounted:
            waiting = self._uncounted[0].waiting
            with self._catalog.read() as transaction:
                ended = ended_jobs.ended_by(transaction, waiting.job_id, waiting.fence + 1)
            del self._uncounted[0]
            if ended is not None:
                telemetry.listener().job_ran(ended.kind, ended.ran)
                telemetry.listener().job_ended(ended.kind, ended.ending, ended.reason)

    def _start_claimed(self, claim: Callable[[Transaction], Sequence[Claim]]) -> None:
        with self._lock:  # so that `settle` does not take for astray what has not been started yet
            with self._catalog.write() as transaction:
                claims = claim(transaction)
            if claims:
                die_at("job.claimed")
            for held in claims:
                if held.waited is not None:
                    telemetry.listener().job_waited(held.kind, held.waited)
                running = _Running(held)
                threading.Thread(target=self._work, args=(running,), name=held.job_id, daemon=True).start()
                self._running[held.job_id] = running

    # Do it

    def _work(self, running: _Running) -> None:
        claim, began = running.claim, time.monotonic()
        about = {"ecluse.job": claim.job_id, "ecluse.kind": claim.kind, "ecluse.owner": claim.user_id}
        with (
            logs.about(job=claim.job_id, kind=claim.kind, owner=claim.user_id),
            tracing.root(f"job {claim.kind}", "consumer", claim.trace, about) as span,
        ):
            logger.info("A job begins")
            with fenced(claim.job_id, claim.fence):
                running.outcome = self._outcome(claim)
            seconds = running.seconds = time.monotonic() - began
            left, reason = LEFT_WORKER[type(running.outcome)], reason_of(running.outcome)
            fields = {"outcome": type(running.outcome).__name__.lower(), "seconds": round(seconds, 3)}
            logger.info("The job %s%s, after %.1f s", left, reason, seconds, extra={"fields": fields})
            span.note({"ecluse.outcome": str(fields["outcome"])})
            if isinstance(running.outcome, Failed):
                span.fail(running.outcome.code)
            self._conclude(running)

    def _outcome(self, claim: Claim) -> Outcome:
        """Run a job to its end, however that is; nothing it raises passes."""
        kind = self._kinds[claim.kind]
        try:
            kind.run(
                self._context,
                Task(claim, self._catalog, self._closing, kind.stages, kind.parts),
                **claim.subject,
            )
        except JobTaken:
            return Taken()
        except JobCancelled as error:
            return Left() if self._closing.is_set() else Stopped(str(error))
        except BaseException as error:  # noqa: BLE001 (a panic of a library, too, ends this job and no other)
            return Left() if self._closing.is_set() else why(claim, error)
        return Done()

    def _conclude(self, running: _Running) -> None:
        """Record how a job ended; where that cannot be done now, `settle` does it later."""
        claim, outcome = running.claim, running.outcome or Left()
        try:
            self._record(claim, outcome, running.seconds)
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

    def _record(self, claim: Claim, outcome: Outcome, seconds: float) -> None:
        match outcome:
            case Done() | Stopped() | Failed():
                self._finish(claim, outcome, seconds)
            case PutOff():
                self._put_off(claim, outcome, seconds)
            case Waits(reason, pause, parts):
                with self._catalog.write(closed=True) as transaction:
                    if parts and not job_parts.waits(transaction, claim.job_id):
                        pause = 0  # the last one has ended before it could be waited for
                    jobs.wait(transaction, claim.job_id, claim.fence, pause, reason)
                if not parts:  # of which the last rings
                    self._look_at = time.monotonic() + pause + 0.1  # by the clock of the database
            case Taken():
                with self._catalog.write(closed=True) as transaction:
                    jobs.withdraw_loss(transaction, claim.job_id, self._worker)
            case Left():
                return

    def _finish(self, claim: Claim, outcome: Done | Stopped | Failed, seconds: float) -> None:
        status: JobStatus
        match outcome:
            case Done():
                status, error, code = "done", None, ""
            case Stopped(error, code):
                status = "cancelled"
            case Failed(error, code):
                status = "failed"
                with fenced(claim.job_id, claim.fence):
                    self._let_fail(claim, error)
        die_at("job.ended")
        with self._catalog.write(closed=True) as transaction:
            is_ours = jobs.finish(
                transaction, claim.job_id, claim.fence, status, error, code, claim.parent_id
            )
            if not is_ours:
                jobs.withdraw_loss(transaction, claim.job_id, self._worker)
        if is_ours:
            telemetry.listener().job_ran(claim.kind, seconds)

    def _put_off(self, claim: Claim, outcome: PutOff, seconds: float) -> None:
        with self._catalog.write(closed=True) as transaction:
            times = jobs.times_put_off(transaction, claim.job_id)
            if times < MOST_WAITS:
                pause = min(LONGEST_WAIT, SHORTEST_WAIT * 2 ** min(times, 10))
                jobs.put_off(transaction, claim.job_id, claim.fence, pause, outcome.reason)
                return
        self._finish(claim, Failed(outcome.reason, outcome.code), seconds)

    def _let_fail(self, claim: Claim, message: str) -> None:
        """Let the application tidy up after a failure."""
        kind = self._kinds[claim.kind]
        if kind.failed is None:
            return
        task = Task(claim, self._catalog, self._closing)
        try:
            kind.failed(self._context, task, message, **claim.subject)
        except JobTaken:  # another worker has the job, and its failures
            return
        except CatalogError:
            raise
        except Exception:  # its reconciliation does it later
            logger.exception("The failure of job %s was not recorded by its application", claim.job_id)


def _rooms(kinds: Mapping[str, JobKind]) -> dict[str, int]:
    """Return how many jobs of each queue a worker of these kinds runs at a time."""
    return {
        kind.queue: max(other.at_once for other in kinds.values() if other.queue == kind.queue)
        for kind in kinds.values()
    }
