"""Carry what a recipe tells to the run that is tracked, and keep its checkpoints, for the worker that may follow."""

from __future__ import annotations

import hashlib
import logging
import re
import time
from functools import cached_property
from typing import TYPE_CHECKING, Final

from ecluse.apps.plants.recipe import Epoch
from ecluse.catalog import Transaction, runs
from ecluse.catalog.tables import Run
from ecluse.checkpoints import Checkpoints, checkpoints_of
from ecluse.errors import CatalogUnavailable, ObjectNotFound, StoreUnavailable
from ecluse.jobs import Task
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.storage import join_key

if TYPE_CHECKING:
    from ecluse.apps.plants.array_cache import ArrayCache

#: Seconds between two looks at whether a training is to end with the best so far.
ASKED_EVERY: Final = 1.0
#: The metrics of an epoch, by the names of `Epoch`.
METRICS: Final = (
    "train_loss",
    "train_accuracy",
    "validation_loss",
    "validation_accuracy",
    "learning_rate",
)
#: Tags of a run: the key of its newest checkpoint, and that one could not be read again.
CHECKPOINT: Final = runs.CHECKPOINT
LOST: Final = "checkpoint.lost"
_NAMED: Final = re.compile(r"(?P<digest>[0-9a-f]{64})\.safetensors")
logger = logging.getLogger(__name__)


class RunCallbacks:
    """The `Callbacks` of a recipe that learns in a job; `start` to `end` is its share of the job.

    A checkpoint is named by its digest, and the run's row says which one counts: it is replaced at once or not
    at all. A store or catalog that is away costs a checkpoint, not the training; the next epoch makes up for it.
    """

    def __init__(self, runtime: Runtime, task: Task, run: Run, start: float, end: float) -> None:
        self._runtime, self._task, self._run = runtime, task, run
        self._start, self._share = start, end - start
        self._untold: list[Epoch] = []
        self._is_noted = False
        self._asked, self._looked_at = False, 0.0

    @cached_property
    def _checkpoints(self) -> Checkpoints:
        return checkpoints_of(self._runtime, self._task)

    def report(self, stage: str, fraction: float, message: str = "") -> None:
        del stage  # the recipe's own; the job's is "learn"
        self._task.report("learn", self._start + self._share * min(max(fraction, 0.0), 1.0), message)

    def epoch(self, epoch: Epoch) -> None:
        self._untold.append(epoch)
        try:
            with self._runtime.catalog.write() as transaction:
                for unlogged in self._untold:
                    log_epoch(transaction, self._run.id, unlogged)
        except CatalogUnavailable as away:
            logger.warning("Epoch %s of run %s is noted later: %s", epoch.epoch, self._run.id, away)
        else:
            self._untold.clear()

    def asked_to_finish(self) -> bool:
        if not self._asked and time.monotonic() - self._looked_at >= ASKED_EVERY:
            self._looked_at = time.monotonic()
            try:
                with self._runtime.catalog.read() as transaction:
                    self._asked = runs.is_to_finish(transaction, self._run.id)
            except CatalogUnavailable as away:
                logger.warning("Whether run %s is to end is not known now: %s", self._run.id, away)
        return self._asked

    def save(self, checkpoint: bytes) -> None:
        key = join_key(_folder(self._run), f"{hashlib.sha256(checkpoint).hexdigest()}.safetensors")
        store = self._runtime.data
        try:
            self._note_folder()
            store.put(key, checkpoint)
            with self._runtime.catalog.write() as transaction:
                unused = runs.set_checkpoint(transaction, self._run.id, key)
            if unused is not None and unused != _folder(self._run):
                store.delete(unused)
        except (StoreUnavailable, CatalogUnavailable) as away:
            logger.warning("A checkpoint of run %s was not kept: %s", self._run.id, away)

    def saved(self) -> bytes | None:
        with self._runtime.catalog.read() as transaction:
            key = runs.run_of(transaction, self._run.user_id, self._run.id).tags.get(CHECKPOINT)
        if key is None or key == _folder(self._run):
            return None
        named = _NAMED.fullmatch(key.rpartition("/")[2])
        try:
            data = self._runtime.data.get(key)
        except ObjectNotFound:
            self._lose(_("It is gone from the store; the training began anew."))
            return None
        if named is None or hashlib.sha256(data).hexdigest() != named["digest"]:
            self._lose(_("It was damaged in the store; the training began anew."))
            return None
        return data

    def cache(self, meaning: str) -> ArrayCache:
        from ecluse.apps.plants.array_cache import machine_cache

        return machine_cache(self._runtime, meaning, self._checkpoints)

    def job_cache(self, meaning: str) -> ArrayCache:
        """Return the same of what no other job can use, as what this very classifier says of images."""
        from ecluse.apps.plants.array_cache import ArrayCache

        return ArrayCache(meaning, checkpoints=self._checkpoints)

    def _note_folder(self) -> None:
        """Name the folder before the first checkpoint is there, so that it is removed whenever this process dies."""
        if self._is_noted:
            return
        with self._runtime.catalog.write() as transaction:
            tags = runs.run_of(transaction, self._run.user_id, self._run.id).tags
            if CHECKPOINT not in tags:
                runs.set_checkpoint(transaction, self._run.id, _folder(self._run))
        self._is_noted = True

    def _lose(self, why: str) -> None:
        logger.warning("The checkpoint of run %s: %s", self._run.id, why)
        with self._runtime.catalog.write() as transaction:
            runs.set_tags(transaction, self._run.id, {LOST: why, CHECKPOINT: None})


def log_epoch(transaction: Transaction, run_id: str, epoch: Epoch) -> None:
    """Keep the metrics of an epoch, as often as it is told."""
    values = {name: getattr(epoch, name) for name in METRICS}
    metrics = {name: value for name, value in values.items() if value is not None}
    runs.log_metrics(transaction, run_id, epoch.epoch, metrics)


def remove_checkpoint(runtime: Runtime, run: Run) -> None:
    """Remove what a run that has ended kept to go on from."""
    runtime.data.delete_prefix(_folder(run))
    with runtime.catalog.write() as transaction:
        runs.set_tags(transaction, run.id, {CHECKPOINT: None})


def _folder(run: Run) -> str:
    return join_key("user_data", run.user_id, "checkpoints", run.id)
