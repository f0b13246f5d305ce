"""Let the function that does a job remember its steps, report, and wait for what is away."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any, Final, ParamSpec, TypeVar

from ecluse.catalog import Catalog, jobs
from ecluse.catalog.jobs import Claim
from ecluse.errors import (
    CatalogError,
    CatalogUnavailable,
    DocumentsUnavailable,
    JobCancelled,
    JobTaken,
    JobWaits,
    StoreUnavailable,
)
from ecluse.sentences import _, pack, unpack

logger = logging.getLogger(__name__)


REPORT_SECONDS: Final = 0.5


#: Times that a step is tried while a store or a database is away, and seconds before the second.
TRIES: Final = 3


FIRST_PAUSE: Final = 2.0


#: Seconds until a job that waits for others looks again.
WAIT_SECONDS: Final = 1


P = ParamSpec("P")


R = TypeVar("R")


#: Pauses, in seconds, before hours of work are given up because the store did not take their result.
PAUSES: Final = (2.0, 10.0, 30.0)


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

    def wait_for(self, job_ids: Sequence[str], message: Callable[[int], str]) -> None:
        """Go on once these jobs of the same person have ended, however they did.

        Where one has not, this job leaves its place to others and is run again from its beginning a little later: a
        job that waited in its place would stand in the way of those that it waits for. `message(n)` says that it waits
        for `n` of them. Call it outside of steps.

        Raises:
            JobWaits: one has not ended; let it pass.
        """
        with self._catalog.read() as transaction:
            waiting = jobs.count_active(transaction, self.user_id, job_ids)
        if waiting:
            raise JobWaits(message(waiting), WAIT_SECONDS)

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


def patiently(work: Callable[[], R]) -> R:
    """Return the result of `work` in a job, tried again while the store does not answer.

    Raises:
        StoreUnavailable: nor does it after all pauses.
    """
    for pause in PAUSES:
        try:
            return work()
        except StoreUnavailable:
            time.sleep(pause)
    return work()


def _plain(value: Any) -> Any:
    """Return as JSON what a step may return that JSON has no word for."""
    if isinstance(value, date):  # or a moment
        return value.isoformat()
    if isinstance(value, set):
        return sorted(value)
    raise TypeError(f"A step returned {type(value).__name__}, which cannot be remembered as JSON.")
