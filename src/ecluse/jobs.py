"""Run work in the background that survives crashes: enqueue it, follow it, cancel it.

A job is a DBOS workflow. `Jobs` is what pages, the API and commands hold: it enqueues and reads, and runs
nothing. `JobRunner` is what a worker process holds: it takes jobs from the queues and runs them. Each step
of a job runs at least once and is written to leave the same result when it runs again.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import logging
import sqlite3
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal, ParamSpec, TypeVar

from dbos import DBOS, DBOSClient, DBOSConfig, DBOSPortableJSONSerializer, WorkflowStatus
from dbos import error as dbos_errors
from dbos._schemas import SCHEMA_PLACEHOLDER
from dbos._schemas.system_database import SystemSchema
from sqlalchemy import Engine, Table, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DataError, SQLAlchemyError

from ecluse.disks import what_is_wrong, why_sqlite_fails
from ecluse.errors import (
    CatalogUnavailable,
    DiskUnusable,
    DocumentsUnavailable,
    EcluseError,
    JobCancelled,
    JobFailed,
    JobNotFound,
    JobsUnavailable,
    StoreUnavailable,
)

APPLICATION: Final = "ecluse"
#: Pinned, so that a job enqueued by one release is run by the next.
APPLICATION_VERSION: Final = "1"
#: A job that took its worker down this often is given up.
MAX_RECOVERIES: Final = 5
REPORT_SECONDS: Final = 0.5
#: How long the record of an ended job is kept.
KEPT_FOR: Final = timedelta(days=90)
PROGRESS: Final = "progress"
#: How many jobs are asked for by id at a time.
MANY: Final = 500
#: Held by the runner that takes jobs in this process.
_engine = threading.Lock()

#: Of PostgreSQL, the schema with the engine's tables.
SCHEMA: Final = "dbos"
#: The engine's tables that say what jobs were asked, did and left, each after those it points at.
RECORDS: Final = (
    "workflow_status",
    "workflow_input",
    "workflow_output",
    "operation_outputs",
    "workflow_events",
    "workflow_events_history",
    "notifications",
    "streams",
)
#: The others, which each worker writes anew when it starts.
REGISTERED: Final = ("application_versions", "queues", "workflow_schedules")

JobStatus = Literal["queued", "running", "done", "failed", "cancelled"]
P = ParamSpec("P")
R = TypeVar("R")
#: Pauses, in seconds, before hours of work are given up because the store did not take their result.
PAUSES: Final = (2.0, 10.0, 30.0)
logger = logging.getLogger(__name__)

_STATUSES: Final[dict[str, JobStatus]] = {
    "DELAYED": "queued",
    "ENQUEUED": "queued",
    "PENDING": "running",
    "SUCCESS": "done",
    "ERROR": "failed",
    "CANCELLED": "cancelled",
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": "failed",
}
ACTIVE_STATUSES: Final = ["DELAYED", "ENQUEUED", "PENDING"]


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
        return self.status in ("queued", "running")


@dataclass(frozen=True)
class JobEnd:
    """How a job ended, and why, for the row that waits for it."""

    status: JobStatus
    error: str


@dataclass(frozen=True)
class Closing:
    """That a worker has begun to close, and that the engine has let go of its jobs.

    A job that ended in between would be recorded as failed instead of being taken up by the next worker.
    """

    begun: threading.Event = field(default_factory=threading.Event)
    done: threading.Event = field(default_factory=threading.Event)


class Task:
    """A running job, as the function that does the work sees it."""

    def __init__(self, job_id: str, user_id: str, jobs: Jobs, closing: Closing) -> None:
        self.job_id = job_id
        self.user_id = user_id
        self._jobs = jobs
        self._closing = closing
        self._reported_at = 0.0
        self._stages = set[str]()
        self._context = contextvars.copy_context()

    def step(self, name: str, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run `function` and remember its result (plain JSON), so that a restart does not run it again.

        A store or database that is away is tried three times before the job fails.
        """

        def remembering(*inner: P.args, **named: P.kwargs) -> R:
            self._context = contextvars.copy_context()
            return function(*inner, **named)

        try:
            return DBOS.run_step(
                {
                    "name": name,
                    "retries_allowed": True,
                    "max_attempts": 3,
                    "interval_seconds": 2.0,
                    "should_retry": lambda error: isinstance(
                        error, StoreUnavailable | CatalogUnavailable | DocumentsUnavailable
                    ),
                },
                remembering,
                *args,
                **kwargs,
            )
        except dbos_errors.DBOSMaxStepRetriesExceeded as error:
            # What went wrong is ours to say; that it was tried several times is not.
            raise error.errors[-1] from error

    def report(self, stage: str, fraction: float, message: str = "") -> None:
        """Say how far the job is; at most twice a second reaches the database, and each stage when it begins.

        Raises:
            JobCancelled: someone cancelled it, or the worker stops; let it pass.
        """
        if self._closing.begun.is_set():
            self._closing.done.wait()
            raise JobCancelled("The worker stops; the next one takes the job up.")
        is_early = time.monotonic() - self._reported_at < REPORT_SECONDS
        if is_early and fraction < 1 and stage in self._stages:
            return
        self._stages.add(stage)
        self._reported_at = time.monotonic()
        try:
            cancelled = self._jobs.is_cancelled(self.job_id)
            told = {"stage": stage, "fraction": round(fraction, 3), "message": message}
            # Libraries call back from threads of their own, where the engine does not know the step.
            self._context.copy().run(DBOS.set_event, PROGRESS, told)
        except (JobsUnavailable, SQLAlchemyError) as error:
            logger.warning("Progress of job %s was not recorded; the work goes on: %s", self.job_id, error)
            return
        if cancelled:
            raise JobCancelled("The job was cancelled.")


@dataclass(frozen=True)
class JobKind:
    """One kind of job: the function that does it, its queue, the stages it passes, and what to do when it fails.

    `run(context, task, **arguments)` and `failed(context, task, message, **arguments)`, where `context` is
    what the worker was started with. `cancel(transaction, job_id)` records in the catalog that it was
    cancelled, and is false where it has ended or publishes what it made; None: no row waits for the job.
    """

    run: Callable[..., None]
    failed: Callable[..., None]
    queue: str
    stages: tuple[str, ...]
    cancel: Callable[[Any, str], bool] | None = None


#: How many jobs of each queue one worker runs at a time.
QUEUES: Final[dict[str, int]] = {
    "profile": 2,
    "train": 1,
    "predict": 1,
    "upkeep": 1,
    "city": 1,
    "forecast": 1,
    "images": 1,
}
#: So long (s) a job that a row names may take to be queued; it is gone when it is missing for longer.
QUEUED_WITHIN: Final = 60.0
#: Seconds between two looks at a queue for work that takes seconds, while someone waits. Each look asks the
#: database, and a worker without work does nothing else.
PROMPT: Final = 0.25
#: The same for work that takes its time.
UNHURRIED: Final = 1.0
_PROMPT_QUEUES: Final = frozenset({"profile", "predict"})


def _reported(method: Callable[P, R]) -> Callable[P, R]:
    """Turn what the engine's database raises into `JobsUnavailable`."""

    @functools.wraps(method)
    def reporting(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except (DataError, UnicodeEncodeError) as error:
            raise JobNotFound("No job has such an id. See: ecluse jobs list") from error
        except (SQLAlchemyError, sqlite3.Error, dbos_errors.DBOSException) as error:
            cause = getattr(error, "orig", None) or error
            file = make_url(args[0]._url).database if args and isinstance(args[0], Jobs) else None
            if (reason := why_sqlite_fails(cause, Path(file or ""))) is not None:
                raise JobsUnavailable(f"The job engine cannot be used. {reason}") from error
            said = str(cause).strip().splitlines()[0]
            raise JobsUnavailable(
                f"The job engine's database does not answer: {said}. See: ecluse doctor"
            ) from error

    return reporting


class Jobs:
    """The jobs in the database at `url`: enqueue, find, cancel. Connects when first used."""

    def __init__(self, url: str, expect_open: Callable[[], None] = lambda: None) -> None:
        """`expect_open` raises where nothing may be queued, because the home moves or has moved."""
        self._url = url
        self._expect_open = expect_open
        self._lock = threading.Lock()
        self._opened: DBOSClient | None = None
        self._missing: dict[str, float] = {}

    @_reported
    def migrate(self) -> None:
        """Make or update the engine's tables."""
        url = make_url(self._url)
        if url.get_backend_name() == "sqlite" and url.database:
            _check_sqlite()
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
            with contextlib.closing(sqlite3.connect(url.database)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")  # readers must not stop the writer
        DBOS.migrate(_engine_url(self._url))

    @_reported
    def enqueue(
        self,
        kind: str,
        queue: str,
        user_id: str,
        title: str,
        subject: Mapping[str, Any],
        *,
        job_id: str | None = None,
    ) -> str:
        """Queue a job; its id. Its function gets `subject` as keyword arguments. The same id is queued once."""
        self._expect_open()
        chosen = job_id or uuid.uuid4().hex
        self._client.enqueue(
            {
                "workflow_name": kind,
                "queue_name": queue,
                "workflow_id": chosen,
                "authenticated_user": user_id,
                "app_version": APPLICATION_VERSION,
                "attributes": {"title": title, "subject": dict(subject)},
            },
            dict(subject),
        )
        return chosen

    @_reported
    def get(self, user_id: str, job_id: str) -> Job:
        """One job of this user.

        Raises:
            JobNotFound: there is none of this id, or it is someone else's.
        """
        found = self._client.list_workflows(workflow_ids=[job_id], user=user_id, load_input=False)
        if not found:
            raise JobNotFound(f"No job {job_id}. See: ecluse jobs list")
        return self._job(found[0], self._waiting() if found[0].status == "ENQUEUED" else [])

    def end_of(self, user_id: str, job_id: str) -> JobEnd | None:
        """How the job of a row ended; None while it goes on.

        A row is written before its job is queued. So one that is not there has ended, as failed, only once it was
        missing for `QUEUED_WITHIN` seconds of asking.
        """
        try:
            job = self.get(user_id, job_id)
        except JobNotFound:
            moment = time.monotonic()
            if moment - self._missing.setdefault(job_id, moment) < QUEUED_WITHIN:
                return None
            return JobEnd("failed", "Its job is gone. Ask for it again.")
        self._missing.pop(job_id, None)
        return None if job.active else JobEnd(job.status, job.error or "It was stopped.")

    @_reported
    def get_many(self, user_id: str | None, job_ids: Sequence[str]) -> dict[str, Job]:
        """Those of these jobs that are there and this user's (None: anyone's), by their ids.

        Of those that have ended the last stage is not read.
        """
        found: Sequence[WorkflowStatus] = []
        for start in range(0, len(job_ids), MANY):
            wanted = [*job_ids[start : start + MANY]]
            found = [
                *found,
                *self._client.list_workflows(workflow_ids=wanted, user=user_id, load_input=False),
            ]
        waiting = self._waiting() if any(w.status == "ENQUEUED" for w in found) else []
        return {one.workflow_id: self._job(one, waiting, told=one.status == "PENDING") for one in found}

    @_reported
    def list(self, user_id: str, *, limit: int = 50, active: bool = False) -> Sequence[Job]:
        """The user's jobs, newest first."""
        found = self._client.list_workflows(
            user=user_id,
            status=ACTIVE_STATUSES if active else None,
            limit=limit,
            sort_desc=True,
            load_input=False,
        )
        waiting = self._waiting() if any(w.status == "ENQUEUED" for w in found) else []
        return [self._job(workflow, waiting) for workflow in found]

    @_reported
    def active(self, *, limit: int = 100) -> Sequence[Job]:
        """The jobs of everyone that wait or run, the oldest first."""
        found = self._client.list_workflows(status=ACTIVE_STATUSES, limit=limit, load_input=False)
        return [self._job(workflow, [], told=False) for workflow in found]

    @_reported
    def cancel(self, user_id: str, job_id: str) -> Job:
        """Stop a job: at once while it waits, at its next report while it runs. One that ended stays as it is."""
        job = self.get(user_id, job_id)
        if job.active:
            self._expect_open()
            self._client.cancel_workflow(job_id)
        return self.get(user_id, job_id)

    @_reported
    def is_cancelled(self, job_id: str) -> bool:
        found = self._client.list_workflows(workflow_ids=[job_id], load_input=False, load_output=False)
        return bool(found) and found[0].status == "CANCELLED"

    @_reported
    def forget_old(self) -> int:
        """Remove the engine's records of jobs that ended long ago; how many. What they made stays."""
        self._expect_open()
        limit = (datetime.now(UTC) - KEPT_FOR).isoformat()
        old = self._client.list_workflows(
            completed_before=limit, limit=1000, load_input=False, load_output=False
        )
        self._client.delete_workflows([workflow.workflow_id for workflow in old])
        return len(old)

    @_reported
    def prove(self) -> None:
        """Queue a job that no worker takes, read it back and remove it.

        Raises:
            JobsUnavailable: the engine's database did not do as asked.
        """
        job_id = self.enqueue("doctor", "doctor", "doctor", "Round trip", {})
        try:
            if self.get("doctor", job_id).status != "queued":
                raise JobsUnavailable(f"Job {job_id} was queued but reads as something else.")
        finally:
            self._client.delete_workflow(job_id)

    @contextlib.contextmanager
    def records(self) -> Iterator[tuple[Engine, Sequence[Table]]]:
        """The engine's database and its tables of what jobs were and how they ended, for a move of the whole home."""
        schema = None if self._url.startswith("sqlite") else SCHEMA
        engine = create_engine(
            self._url, execution_options={"schema_translate_map": {SCHEMA_PLACEHOLDER: schema}}
        )
        try:
            yield (
                engine,
                [SystemSchema.metadata_obj.tables[f"{SCHEMA_PLACEHOLDER}.{name}"] for name in RECORDS],
            )
        finally:
            engine.dispose()

    @_reported
    def check(self) -> None:
        """Ask the engine's database for something."""
        self._client.list_workflows(limit=1, load_input=False, load_output=False)

    def close(self) -> None:
        if self._opened is not None:
            self._opened.destroy()
            self._opened = None

    @property
    def _client(self) -> DBOSClient:
        with self._lock:
            if self._opened is None:
                self._opened = _open_client(self._url)
            return self._opened

    def _waiting(self) -> Sequence[WorkflowStatus]:
        return self._client.list_workflows(status="ENQUEUED", load_input=False, load_output=False)

    def _job(self, workflow: WorkflowStatus, waiting: Sequence[WorkflowStatus], *, told: bool = True) -> Job:
        attributes = workflow.attributes or {}
        status = _STATUSES[workflow.status]
        progress = self._progress(workflow, status) if told else {}
        return Job(
            id=workflow.workflow_id,
            kind=workflow.name,
            user_id=workflow.authenticated_user or "",
            status=status,
            title=str(attributes.get("title", workflow.name)),
            subject=dict(attributes.get("subject", {})),
            stage=progress.get("stage"),
            fraction=1.0 if status == "done" else float(progress.get("fraction", 0.0)),
            message=str(progress.get("message", "")),
            error=_error_text(workflow),
            position=_position(workflow, waiting),
            created_at=_moment(workflow.created_at) or datetime.now(UTC),
            started_at=_moment(workflow.dequeued_at),
            finished_at=_moment(workflow.completed_at),
        )

    def _progress(self, workflow: WorkflowStatus, status: JobStatus) -> dict[str, Any]:
        if status == "queued":
            return {}
        return dict(self._client.get_event(workflow.workflow_id, PROGRESS, timeout_seconds=0) or {})


class JobRunner:
    """Takes jobs from the queues and runs them in this process, until it is closed."""

    def __init__(
        self, url: str, executor_id: str, kinds: Mapping[str, JobKind], context: Any, jobs: Jobs
    ) -> None:
        self._config: DBOSConfig = {
            "name": APPLICATION,
            "system_database_url": _engine_url(url),
            "executor_id": executor_id,
            "application_version": APPLICATION_VERSION,
            "serializer": DBOSPortableJSONSerializer(),
            "use_listen_notify": False,
            "log_level": "CRITICAL",
        }
        self._closing = Closing()
        self._holds_engine = False
        self._register = [
            functools.partial(_register, name, kind, context, jobs, self._closing)
            for name, kind in kinds.items()
        ]

    @_reported
    def start(self) -> None:
        """Begin to take jobs. A process has one engine: a second would be the first, and read its database."""
        self._holds_engine = _engine.acquire(blocking=False)
        if not self._holds_engine:
            raise RuntimeError("This process takes jobs already. Start another worker as its own process.")
        with contextlib.ExitStack() as failed:
            failed.callback(self.close)
            DBOS(config=self._config)
            for register in self._register:
                register()
            DBOS.launch()
            for name, concurrency in QUEUES.items():
                pause = PROMPT if name in _PROMPT_QUEUES else UNHURRIED
                DBOS.register_queue(name, worker_concurrency=concurrency, polling_interval_sec=pause)
            failed.pop_all()

    @_reported
    def recover(self, executor_ids: Sequence[str]) -> int:
        """Queue again what these executors, known to be dead, were running; how many jobs that were."""
        return len(DBOS._recover_pending_workflows(list(executor_ids)))

    def close(self) -> None:
        """Stop taking jobs. What runs ends at its next report and is left for the next worker to take up."""
        self._closing.begun.set()
        if self._holds_engine:
            DBOS.destroy(workflow_completion_timeout_sec=0)
            self._holds_engine = False
            _engine.release()
        self._closing.done.set()


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


def _register(name: str, kind: JobKind, context: Any, jobs: Jobs, closing: Closing) -> None:
    def run(subject: dict[str, Any]) -> None:
        task = Task(DBOS.workflow_id or "", DBOS.authenticated_user or "", jobs, closing)
        try:
            kind.run(context, task, **subject)
        except (JobCancelled, dbos_errors.DBOSWorkflowCancelledError):
            raise
        except EcluseError as error:
            if closing.begun.is_set():  # not a failure: the next worker takes the job up
                raise
            _tell(kind, context, task, str(error), subject)
            raise
        except Exception as error:
            if closing.begun.is_set():
                raise
            if (reason := what_is_wrong(error)) is not None:
                logger.warning("Job %s (%s) failed: %s", task.job_id, name, reason)
                _tell(kind, context, task, reason, subject)
                raise DiskUnusable(reason) from error
            reference = uuid.uuid4().hex[:8]
            logger.exception("Job %s (%s) failed; reference %s", task.job_id, name, reference)
            message = f"The job was stopped by a fault of ours. The worker's log has it under reference {reference}."
            _tell(kind, context, task, message, subject)
            raise JobFailed(message) from error

    DBOS.workflow(name=name, max_recovery_attempts=MAX_RECOVERIES)(run)


def _tell(kind: JobKind, context: Any, task: Task, message: str, subject: dict[str, Any]) -> None:
    """Let the application record a failure. Where it cannot, its reconciliation does later."""
    try:
        kind.failed(context, task, message, **subject)
    except CatalogUnavailable as error:
        logger.warning("The failure of job %s is recorded later: %s", task.job_id, error)


def _open_client(url: str) -> DBOSClient:
    return DBOSClient(
        system_database_url=_engine_url(url),
        serializer=DBOSPortableJSONSerializer(),
        application_name=APPLICATION,
        retry_connection_errors=False,
    )


def _check_sqlite() -> None:
    """The engine's tables on Python 3.12 and later use a function that SQLite has since 3.42."""
    if sys.version_info >= (3, 12) and sqlite3.sqlite_version_info < (3, 42):
        raise JobsUnavailable(
            f"This Python {sys.version_info.major}.{sys.version_info.minor} has SQLite {sqlite3.sqlite_version}; "
            "the job engine needs 3.42. Use a Python with a newer SQLite, Python 3.11, or PostgreSQL (DATABASE_URL)."
        )


def _engine_url(url: str) -> str:
    """DBOS names the PostgreSQL driver itself."""
    return url.replace("postgresql+psycopg://", "postgresql://", 1)


def _error_text(workflow: WorkflowStatus) -> str | None:
    if workflow.status == "MAX_RECOVERY_ATTEMPTS_EXCEEDED":
        return (
            f"The job took its worker down {MAX_RECOVERIES} times and was given up. "
            "Give it less data, or the worker more memory."
        )
    return str(workflow.error) if workflow.status == "ERROR" and workflow.error else None


def _position(workflow: WorkflowStatus, waiting: Sequence[WorkflowStatus]) -> int | None:
    if workflow.status != "ENQUEUED":
        return None
    queue = sorted(
        (other.created_at or 0, other.workflow_id)
        for other in waiting
        if other.queue_name == workflow.queue_name
    )
    return 1 + sum(place < (workflow.created_at or 0, workflow.workflow_id) for place in queue)


def _moment(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)
