"""Describe jobs, and kinds of jobs: all that a worker, the pages, the API and the commands need to know."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Literal

from ecluse.catalog import Transaction, jobs
from ecluse.shapes import CountMessage, Message

JobStatus = Literal["queued", "running", "done", "failed", "cancelled"]


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
    #: `failed(context, task, message, **subject)` is called when the job fails, before the failure is recorded: it
    #: removes files that nothing needs, and writes to the audit log.
    failed: Callable[..., None] | None = None
    queue: str
    #: How many jobs of its queue a worker runs at a time. Where the kinds of one queue differ, the largest counts.
    at_once: Annotated[int, _at_least_one] = 1
    #: What it does, in a word: its title is "Train · NAME".
    verb: Message = ""
    #: What stands in place of the job's own title.
    title: Message = ""
    #: The stages it passes, in order, and what to call each.
    stages: Mapping[str, Message] = field(default_factory=dict)
    #: Whether the results so far are kept when the job is cancelled.
    keeps_what_is_done: bool = False
    #: Ask the job to end now and keep its best result so far; false where it is publishing already or has ended.
    finish: Callable[[Transaction, str], bool] | None = None
    #: The page of the result of a job that is done, and the pages to go on from where it failed or was cancelled.
    result: Callable[[Transaction, Job], Link | None] = _no_result
    ways: Callable[[Transaction, Job], tuple[Link, ...]] = _no_ways
    #: Reference of a function `(runtime, transaction, job) -> dict | None`: the `result` that the API gives for a job
    #: that is done. Without it, the API gives the subject of the job.
    answer: str = ""
    #: Jobs of one group are shown together in lists.
    group: Group | None = None
    #: It belongs to the installation: it goes on when the account in whose name it runs is closed.
    is_of_installation: bool = False


#: What an application names in its field `jobs`.
JobKinds = Mapping[str, JobKind]


def title_of(model: str, source: str) -> str:
    """Return the title of a job on a model and what it learns from or scores: names alone, for readers of any language.

    Both are often called the same, which is said once.
    """
    return model if model == source else f"{model} ({source})"
