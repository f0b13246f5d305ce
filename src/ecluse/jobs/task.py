"""Let the function that does a job remember its steps, spread its parts, report, and wait for what is away."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from types import MappingProxyType
from typing import Any, Final, ParamSpec, TypeVar

from ecluse.catalog import Catalog, job_lines, job_parts, job_steps, jobs
from ecluse.catalog.jobs import Claim
from ecluse.dying import die_at
from ecluse.errors import (
    CatalogError,
    CatalogUnavailable,
    DocumentsUnavailable,
    JobCancelled,
    JobPartFailed,
    JobTaken,
    JobWaits,
    StoreUnavailable,
)
from ecluse.sentences import Sentence, _, pack, unpack

logger = logging.getLogger(__name__)


REPORT_SECONDS: Final = 0.5


#: Times that a step is tried while a store or a database is away, and seconds before the second.
TRIES: Final = 3


FIRST_PAUSE: Final = 2.0


#: Seconds until a job that waits for others looks again.
WAIT_SECONDS: Final = 1


#: Seconds until a job looks at its parts though none has said that it may go on, as one that is given up does not.
LOOK_SECONDS: Final = 30


#: Parts of one map; more would make their ends slow, as each counts those beside it.
MOST_PARTS: Final = 10_000


P = ParamSpec("P")


R = TypeVar("R")


Item = TypeVar("Item")


#: Pauses, in seconds, before hours of work are given up because the store did not take their result.
PAUSES: Final = (2.0, 10.0, 30.0)


class Task:
    """A running job, as the function that does the work sees it."""

    def __init__(
        self,
        claim: Claim,
        catalog: Catalog,
        closing: threading.Event,
        stages: Mapping[str, str] = MappingProxyType({}),
        parts: Mapping[str, Callable[..., Any]] = MappingProxyType({}),
    ) -> None:
        """`stages`: what to call each stage of its kind. `parts`: the functions that it maps, by name."""
        self.job_id = claim.job_id
        self.user_id = claim.user_id
        self._claim = claim
        self._catalog = catalog
        self._closing = closing
        self._reported_at = float("-inf")
        self._words_of_stages = stages
        self._parts = parts
        self._stages = set[str]()
        self._positions = dict[str, int]()
        self._is_in_step = False
        #: That its progress cannot be recorded has been said.
        self._is_unrecorded = False

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
            ended = job_steps.step(transaction, self.job_id, name, position)
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

    def map(
        self,
        name: str,
        items: Sequence[Item],
        function: Callable[[Any, Task, Item], R],
        *,
        share: float = 1.0,
    ) -> list[R]:
        """Run `function(context, task, item)` of each item on all workers; what each returned, in order.

        `function` is the one that the kind of job names so in `parts`; items and results are plain JSON, and what is
        larger goes by keys of objects of the owner. A part runs at least once, as a job does, and what it returned is
        remembered. `share`: how much of the progress of the job this is, 0 to 1. A worker runs as many parts at once as
        the kind's `at_once` says. While parts wait or run, this job leaves its place to them, and is run again from its
        beginning once they have ended: what stands before this belongs into steps, and `items` are the same each time.
        Call it outside of steps and of parts.

        Raises:
            JobWaits: not all have ended; let it pass.
            JobPartFailed: a part failed, after its retries; the first of them says why. Those behind it are cancelled.
            ValueError: the kind of job has no such part, or the items are not those of before.
        """
        if self._parts.get(name) != function or self._is_in_step or self._claim.parent_id is not None:
            raise ValueError(
                f"{name}: no function of `parts` of {self._claim.kind}, or within a step or a part"
            )
        position = self._positions.get(f"map {name}", 0)
        self._positions[f"map {name}"] = position + 1
        if not items:
            return []
        if len(items) > MOST_PARTS:
            raise ValueError(
                f"{name}: {len(items)} parts; give each more than one item, at most {MOST_PARTS} parts"
            )
        map_name = f"{name}:{position}"
        at = self._parts_at(name, map_name, [_as_json(item) for item in items], share)
        if at.failure is not None and not at.active:
            raise JobPartFailed(at.failure.error)
        if at.done < at.count:
            raise JobWaits(job_parts.words_of(at), LOOK_SECONDS, at.count)
        with self._catalog.read() as transaction:
            results = job_parts.results(transaction, self.job_id, map_name)
        return [unpack(json.loads(result)) for result in results]

    def _parts_at(self, name: str, map_name: str, items: Sequence[Any], share: float) -> job_parts.Standing:
        """Say how the parts of a map stand, which are queued first where they are not."""
        with self._catalog.read() as transaction:
            at = job_parts.standing(transaction, self.job_id, map_name)
            before = items if not at.count else job_parts.items_of(transaction, self.job_id, map_name)
        if before != items:
            raise ValueError(f"{name}: {len(items)} items, and other {len(before)} when it was called before")
        if not at.count:
            kind = kind_of_part(self._claim.kind, name)
            with self._catalog.write() as transaction:
                if not job_parts.add(transaction, self.job_id, kind, map_name, items, share):
                    raise JobTaken(_not_ours())
                jobs.ring(transaction)
            return job_parts.Standing(len(items), 0, len(items), None)
        if at.failure is not None and at.active:
            with self._catalog.write() as transaction:
                job_parts.end_behind(transaction, self.job_id, map_name, at.failure.place)
        return at

    def return_from_part(self, work: Callable[[], Any]) -> None:
        """Keep what a part returns; one whose worker died after that is not done again."""
        with self._catalog.read() as transaction:
            if job_steps.step(transaction, self.job_id, job_parts.RESULT, 0) is not None:
                return
        result = json.dumps(pack(self._tried(work)), default=_plain)
        self._tried(lambda: self._keep(job_parts.RESULT, 0, result))

    def _keep(self, name: str, position: int, result: str) -> None:
        with self._catalog.write() as transaction:
            job_steps.add_step(transaction, self.job_id, name, position, result)
        die_at("job.kept")

    def report(self, stage: str, fraction: float, message: str = "") -> None:
        """Say how far the job is; at most twice a second reaches the database, and each stage when it begins.

        Raises:
            JobCancelled: someone cancelled it, another worker has it, or this one stops; let it pass.
        """
        self._expect_open()
        is_early = time.monotonic() - self._reported_at < REPORT_SECONDS
        is_new = stage not in self._stages
        if is_early and fraction < 1 and not is_new:
            return
        line = self._line_of(stage) if is_new else None
        self._stages.add(stage)
        self._reported_at = time.monotonic()
        claim = self._claim
        try:
            with self._catalog.write(closed=True) as transaction:
                is_ours = jobs.report(
                    transaction, claim.job_id, claim.fence, stage, round(fraction, 3), message, line
                )
        except CatalogError as error:
            if not self._is_unrecorded:
                logger.warning("Progress of job %s is not recorded; the work goes on: %s", self.job_id, error)
            self._is_unrecorded = True
            return
        if self._is_unrecorded:
            logger.warning("Progress of job %s is recorded again", self.job_id)
        self._is_unrecorded = False
        if not is_ours:
            raise JobTaken(_not_ours())

    def _line_of(self, stage: str) -> str:
        words = self._words_of_stages.get(stage)
        return _("Stage: %(stage)s", stage=stage if words is None else Sentence(words, {}))

    def note(self, line: str) -> None:
        """Say what is in the job's way, in a sentence for who asked for it; where that cannot be kept, the log has it.

        No value of a table, no address and no name of a file belongs in it.
        """
        try:
            with self._catalog.write(closed=True, patient=False) as transaction:
                job_lines.note(transaction, self._claim.parent_id or self.job_id, line)
        except CatalogError as error:
            logger.warning("A line of job %s was not kept (%s): %s", self.job_id, error, line)

    def _expect_open(self) -> None:
        if self._closing.is_set():
            raise JobCancelled(_("The worker stops; the next one takes the job up."))

    def _tried(self, work: Callable[[], R]) -> R:
        for attempt in range(1, TRIES):
            try:
                return work()
            except (StoreUnavailable, CatalogUnavailable, DocumentsUnavailable) as error:
                if not isinstance(error, CatalogUnavailable):  # which keeps no line meanwhile
                    self.note(_("A store or a database does not answer; it is tried again."))
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


def _not_ours() -> str:
    return _("The job was cancelled, or another worker has taken it over.")


def kind_of_part(kind: str, name: str) -> str:
    """Return the kind of the jobs that are the parts `name` of jobs of a kind."""
    return f"{kind}/{name}"


def _as_json(item: Any) -> Any:
    return json.loads(json.dumps(pack(item), default=_plain))


def _plain(value: Any) -> Any:
    """Return as JSON what a step may return that JSON has no word for."""
    if isinstance(value, date):  # or a moment
        return value.isoformat()
    if isinstance(value, set):
        return sorted(value)
    raise TypeError(f"A step returned {type(value).__name__}, which cannot be remembered as JSON.")
