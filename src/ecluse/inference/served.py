"""Keep the versions that one process answers with: loaded once, verified, the least recently used makes room.

A reference (NAME, NAME@VERSION, NAME@ALIAS; of what others share @OWNER/NAME…) is resolved against the catalog for
every request, so that an alias that was moved, a version that was deleted or found damaged, a share that was taken back
counts from the next request on.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final

from ecluse import models
from ecluse.catalog.tables import ModelVersion
from ecluse.errors import ModelStopped, ReaderStopped
from ecluse.inference.answered import Answered
from ecluse.inference.batching import Batcher, Room, asked_by_threads
from ecluse.inference.isolated import PAUSE, Isolated
from ecluse.inference.loaded import Loaded
from ecluse.inference.loads import Loads
from ecluse.inference.metrics import InferenceMetrics, KindMetrics
from ecluse.inference.opening import open_version
from ecluse.inference.ordinary import Reader
from ecluse.inference.threads import take_one_core
from ecluse.model_process.steady import steady_answer
from ecluse.runtime import Runtime

#: Versions that are loaded at once, and the bytes of their files together. In memory one takes a few times its files.
MOST_LOADED: Final = 16
MOST_BYTES: Final = 2_000_000_000
#: Threads that ask models; one version is asked by one of them at a time.
THREADS: Final = max(2, min(8, os.cpu_count() or 1))
Open = Callable[[Runtime, ModelVersion], Loaded]


def _open_for_requests(runtime: Runtime, row: ModelVersion) -> Loaded:
    return open_version(runtime, row, one_core=True)


def _not_counted(rows: int) -> None:
    """Leave out of account what nobody adds up."""


@dataclass(frozen=True)
class Served:
    """A version that is loaded, and its queue."""

    row: ModelVersion
    model: Loaded
    batcher: Batcher
    reader: Reader
    loaded_at: datetime
    #: Is told how many rows were answered.
    answered: Callable[[int], None] = _not_counted


class ServedModels:
    """The versions that one process answers with. Its methods may be called from any thread."""

    def __init__(
        self,
        runtime: Runtime,
        metrics: InferenceMetrics,
        *,
        most_loaded: int = MOST_LOADED,
        most_bytes: int = MOST_BYTES,
        opens: Open = _open_for_requests,
    ) -> None:
        self._runtime = runtime
        self._metrics = metrics
        self._most_loaded, self._most_bytes = most_loaded, most_bytes
        self._opens = opens
        self._lock = threading.Lock()
        self._loaded: OrderedDict[str, tuple[ModelVersion, Future[Served]]] = OrderedDict()
        #: Versions whose files ended the process that read them: when, in seconds of `time.monotonic`, and the error.
        self._resting: dict[str, tuple[float, BaseException]] = {}
        self._room = Room()
        self._loads = Loads()
        self.answered = Answered(runtime.catalog)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="inference")

    def resolve(self, user_id: str, reference: str) -> ModelVersion:
        """Return the version that a reference means now, of a model of this person, or that others share with them.

        Raises:
            ModelNotFound, VersionNotFound: there is none.
        """
        return models.resolve_readable(self._runtime, user_id, reference)

    def loaded_at(self, row: ModelVersion) -> datetime | None:
        """Since when this process has a version loaded; None where it has not."""
        with self._lock:
            _row, loaded = self._loaded.get(row.id, (None, None))
        if loaded is None or not loaded.done() or loaded.exception() is not None:
            return None
        return loaded.result().loaded_at

    def ready(self, row: ModelVersion) -> Served | None:
        """Return a version that is loaded and not known to be damaged, at once; None of any other."""
        if row.damaged_at is not None:
            return None
        with self._lock:
            _row, loaded = self._loaded.get(row.id, (None, None))
            if loaded is None or not loaded.done() or loaded.exception() is not None:
                return None
            self._loaded.move_to_end(row.id)
        served = loaded.result()
        return None if _stopped(served) else served

    def load(self, row: ModelVersion) -> Served:
        """Return a version ready to answer. Who asks for one that is being loaded waits for it.

        Raises:
            DigestMismatch, ManifestInvalid: it is not what was published.
            InvalidInput, ModelUnreadable, ModelRefused: nothing of it answers, or not as when it was published.
            StoreUnavailable: it is not in the cache, and the store does not answer.
            ModelStopped: its process was ended a moment ago.
            Overloaded: its owner has as many versions loaded at once as may be.
        """
        models.check_intact(row)
        self._expect_rested(row)
        with self._lock:
            _row, loaded = self._loaded.get(row.id, (row, None))
            future = loaded or Future[Served]()
            self._loaded[row.id] = (row, future)
            self._loaded.move_to_end(row.id)
            gone = self._make_room()
        for old in gone:
            _end(old)
        if loaded is None:
            self._fill(row, future)
        return future.result()

    def reload(self, row: ModelVersion) -> Served:
        """Forget what is loaded of a version, and load it again, every byte verified.

        Requests that have begun end with what they began with.
        """
        self._resting.pop(row.id, None)
        self._forget(row.id)
        return self.load(row)

    def close(self) -> None:
        """Forget every version, once its requests are answered, and keep how many there were."""
        self.answered.keep()
        for id_ in list(self._loaded):
            self._forget(id_)
        self._threads.shutdown(wait=True)

    def _forget(self, id_: str) -> None:
        with self._lock:
            _row, old = self._loaded.pop(id_, (None, None))
            self._metrics.loaded.set(len(self._loaded))
        if old is not None:
            _end(old)

    def _expect_rested(self, row: ModelVersion) -> None:
        """Raise what ended the process of a version, until it is loaded again; forget one that may be."""
        with self._lock:
            _row, loaded = self._loaded.get(row.id, (row, None))
            is_loaded = loaded is not None and loaded.done() and loaded.exception() is None
            stopped = _stopped(loaded.result()) if loaded is not None and is_loaded else None
            ended, error = stopped or self._resting.get(row.id) or (0.0, None)
        left = ended + PAUSE - time.monotonic()
        if left > 0 and error is not None:
            raise ModelStopped(error.args[0], math.ceil(left)) if isinstance(error, ModelStopped) else error
        if stopped is not None:
            self._forget(row.id)

    def _rest(self, row: ModelVersion, error: BaseException) -> None:
        """Note that the files of a version ended their process, so that nobody can have it begun without end."""
        now = time.monotonic()
        with self._lock:
            for id_ in [id_ for id_, (ended, _error) in self._resting.items() if ended + PAUSE <= now]:
                del self._resting[id_]
            self._resting[row.id] = now, error

    def _make_room(self) -> list[Future[Served]]:
        """Take out what was not used for longest; the newest stays, however large it is."""
        gone = []
        while len(self._loaded) > 1 and self._is_full():
            gone.append(self._loaded.popitem(last=False)[1][1])
        self._metrics.loaded.set(len(self._loaded))
        return gone

    def _is_full(self) -> bool:
        held = sum(row.size_bytes for row, _loaded in self._loaded.values())
        return len(self._loaded) > self._most_loaded or held > self._most_bytes

    def _fill(self, row: ModelVersion, future: Future[Served]) -> None:
        try:
            with self._loads.place(row.user_id):
                served = self._open(row)
        except BaseException as error:  # noqa: BLE001 (raised again for everyone who waits, by `result`)
            self._metrics.loads.labels("failed").inc()
            with self._lock:
                if self._loaded.get(row.id, (None, None))[1] is future:
                    del self._loaded[row.id]  # the next request tries again
                self._metrics.loaded.set(len(self._loaded))
            if isinstance(error.__cause__, ReaderStopped):
                self._rest(row, error)
            future.set_exception(error)
        else:
            self._metrics.loads.labels("loaded").inc()
            future.set_result(served)

    def _open(self, row: ModelVersion) -> Served:
        model = self._opens(self._runtime, row)
        metrics = KindMetrics(self._metrics, model.kind)
        if isinstance(model, Isolated):
            batcher = Batcher(model.ask, metrics, joins=model.joins, room=self._room)
        else:
            try:
                answer = steady_answer(model)
            except BaseException:
                model.close()
                raise
            ask = asked_by_threads(answer or model.answer, self._threads, partial(take_one_core, row.id))
            batcher = Batcher(ask, metrics, joins=answer is not None, room=self._room)
        reader, counts = Reader(model.schema, model.dtypes), partial(self.answered.note, row.user_id)
        return Served(row, model, batcher, reader, datetime.now(UTC), counts)


def _stopped(served: Served) -> tuple[float, ModelStopped] | None:
    """Return when the process of a version was over, and why; None of one that answers."""
    return served.model.stopped if isinstance(served.model, Isolated) else None


def _end(loaded: Future[Served]) -> None:
    """Close a version that was taken out, once it is loaded and has answered what waits for it."""

    def ended(done: Future[Served]) -> None:
        if done.exception() is None:
            served = done.result()
            served.batcher.end(served.model.close)

    loaded.add_done_callback(ended)
