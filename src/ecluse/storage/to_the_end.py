"""Call a function in a thread and wait for its end, also where whoever waits is cancelled: nothing stays half done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from anyio import CancelScope

T = TypeVar("T")


async def to_the_end(function: Callable[..., T], *given: Any, undo: Callable[[T], object] | None = None) -> T:
    """Return what `function` returns, once it does.

    Where the caller is cancelled meanwhile, as by a server that shuts down, the function goes on to its end, `undo` is
    called with what it returned, and then the cancellation goes on.
    """
    work = asyncio.ensure_future(asyncio.to_thread(function, *given))
    with CancelScope(shield=True):
        cancelled = await _cancelled_during(work)
        if cancelled is not None and undo is not None and work.exception() is None:
            undoing = asyncio.ensure_future(asyncio.to_thread(undo, work.result()))
            await _cancelled_during(undoing)
            undoing.result()
    if cancelled is not None:
        raise cancelled
    return work.result()


async def _cancelled_during(work: asyncio.Future[Any]) -> asyncio.CancelledError | None:
    """Wait until work is done, however it ends; the cancellation that came meanwhile."""
    cancelled = None
    while not work.done():
        try:
            await asyncio.wait({work})
        except asyncio.CancelledError as error:
            cancelled = error
    return cancelled
