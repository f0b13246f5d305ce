"""Know which job this thread runs: it writes for that, and nothing once the job has changed hands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
#: Id and fence of the job that this thread runs: it writes nothing once the job has changed hands.
_job: ContextVar[tuple[str, int] | None] = ContextVar("job", default=None)
#: Whether what is done here is no work of its own that a person asks for.
_uncounted: ContextVar[bool] = ContextVar("uncounted", default=False)


@contextmanager
def fenced(job_id: str, fence: int) -> Iterator[None]:
    """Let every transaction that writes in this block be refused once the job has changed hands."""
    token = _job.set((job_id, fence))
    try:
        yield
    finally:
        _job.reset(token)


def keep_fence(work: Callable[P, R]) -> Callable[P, R]:
    """Return `work` for another thread, in which it writes for the job of this one."""
    held = _job.get()

    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        token = _job.set(held)
        try:
            return work(*args, **kwargs)
        finally:
            _job.reset(token)

    return run


@contextmanager
def not_counted() -> Iterator[None]:
    """Hold what a block makes against no plan: it is due by a schedule, or a part of what was asked for and counted."""
    token = _uncounted.set(True)
    try:
        yield
    finally:
        _uncounted.reset(token)


def job_of_thread() -> tuple[str, int] | None:
    """Return id and fence of the job that this thread runs; None where it runs none."""
    return _job.get()


def is_asked_for() -> bool:
    """Return whether a person asks for what is done here: no job does it, and it is not due by itself or a part."""
    return _job.get() is None and not _uncounted.get()
