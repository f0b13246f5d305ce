"""Describe jobs, and kinds of jobs: all that a worker, the pages, the API and the commands need to know."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from ecluse.catalog import Transaction, jobs
from ecluse.shapes import CountMessage, Message

#: Characters of the name of a part; with that of its kind it is what the rows of parts are of.
LONGEST_PART: Final = 20
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
class Line:
    """A sentence on a job; `number` grows from one to the next, `level` is info or warning."""

    number: int
    at: datetime
    level: str
    said: str


@dataclass(frozen=True)
class Lines:
    """Lines of a job, the oldest first. `is_all`: the job has ended, and no other comes."""

    lines: tuple[Line, ...]
    is_all: bool


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


def _at_least_one_version(number: int) -> str:
    return "" if number >= 1 else f"{number} is no version: they count from 1"


#: `function(context, task, item)`: what it returns is plain JSON.
PartFunction = Callable[..., Any]


def _short_names(parts: Mapping[str, Any]) -> str:
    long = [name for name in parts if len(name) > LONGEST_PART]
    return f"{long[0]} is longer than {LONGEST_PART} characters" if long else ""


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
    #: Add 1 where a job that is queued from now on is nothing for the code of before, as with a new name in its
    #: subject: workers of the release before then leave it in the queue. It still runs what was queued before.
    version: Annotated[int, _at_least_one_version] = 1
    #: It belongs to the installation: it goes on when the account in whose name it runs is closed.
    is_of_installation: bool = False
    #: What it maps over items with `Task.map`, by name: `function(context, task, item)` does one part, on any worker,
    #: and returns plain JSON. Add 1 to the version where a part is nothing for the code of before.
    parts: Annotated[Mapping[str, PartFunction], _short_names] = field(default_factory=dict)


#: What an application names in its field `jobs`.
JobKinds = Mapping[str, JobKind]


def title_of(model: str, source: str) -> str:
    """Return the title of a job on a model and what it learns from or scores: names alone, for readers of any language.

    Both are often called the same, which is said once.
    """
    return model if model == source else f"{model} ({source})"
