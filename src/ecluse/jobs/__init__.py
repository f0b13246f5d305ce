"""Run work in the background that survives crashes: enqueue it, follow it, cancel it.

A job is a row of the catalog, queued in the transaction that makes what it is for. `Jobs` is what pages, the API and
commands hold: it enqueues and reads, and runs nothing. `JobRunner` is what a worker process holds: it claims jobs and
runs each in a thread. Each step of a job runs at least once and is written to leave the same result when it runs again.
"""

from ecluse.jobs.kinds import Group, Job, JobKind, JobKinds, JobStatus, Line, Lines, Link, title_of
from ecluse.jobs.parts import with_parts
from ecluse.jobs.queue import Jobs
from ecluse.jobs.runner import Apart, JobRunner
from ecluse.jobs.task import Task, patiently

__all__ = [
    "Apart",
    "Group",
    "Job",
    "JobKind",
    "JobKinds",
    "JobRunner",
    "JobStatus",
    "Jobs",
    "Line",
    "Lines",
    "Link",
    "Task",
    "patiently",
    "title_of",
    "with_parts",
]
