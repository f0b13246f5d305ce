"""Keep what a long job has done so far, so that the next worker goes on where this one was stopped.

A checkpoint is bytes under a name of the job's own, in the store of new tables and results: another machine reads it,
too. It is stored with its SHA-256 and with what it was made `of`; one that is damaged, cut short, of another format or
of other work counts as none, and the work begins anew. A checkpoint is a convenience: a store that does not take one
costs the time since the last, never the job. All of them are removed when their job has ended: by its worker, else by
the upkeep of any.

Pickles are not for checkpoints: JSON, Parquet, safetensors, or arrays by `to_bytes` and `from_bytes`.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import re
import threading
import time
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from ecluse.catalog import checkpoints as rows
from ecluse.dying import die_at
from ecluse.errors import (
    CatalogUnavailable,
    DiskUnusable,
    HomeClosed,
    JobCancelled,
    JobNotFound,
    JobsUnavailable,
    ObjectNotFound,
    StorageError,
    StoreUnavailable,
)
from ecluse.jobs import JobKind, Task, patiently
from ecluse.runtime import Runtime
from ecluse.sentences import pack, unpack
from ecluse.storage import join_key

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: The first line of a checkpoint; what follows is its SHA-256, what it is of, and the bytes.
FORMAT: Final = b"ecluse-checkpoint-1\n"
#: At least this many seconds, and this many times the duration of the last save, pass before the next one. The
#: first bounds the work that a kill costs, the second the share of time that saving takes.
SAVED_EVERY = 3.0
TIMES_LONGER: Final = 30.0
#: The largest checkpoint that is kept, and the most that all of one job may take (bytes).
MOST_BYTES = 256 * 1024**2
MOST_BYTES_OF_JOB = 1024**3
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,99}")
#: Name under which `to_bytes` stores the plain values among the arrays.
_FIGURES: Final = "_figures"
_TAKEN: Final = frozenset({_FIGURES, "file", "allow_pickle"})
_OF: Final = re.compile(r"[ -~]{0,200}")
logger = logging.getLogger(__name__)


def checkpoints_of(runtime: Runtime, task: Task) -> Checkpoints:
    """Open the checkpoints of a running job, including those that earlier workers saved."""
    return Checkpoints(runtime, task.user_id, task.job_id)


def checkpoints_prefix(user_id: str, job_id: str) -> str:
    """Return where the checkpoints of a job lie in the store of the data."""
    return join_key("user_data", user_id, "checkpoints", job_id)


class Checkpoints:
    """The checkpoints of one job. Its methods may be called from any thread."""

    def __init__(self, runtime: Runtime, user_id: str, job_id: str) -> None:
        self._runtime = runtime
        self._store = runtime.data
        self._user_id, self._job_id = user_id, job_id
        self._prefix = checkpoints_prefix(user_id, job_id)
        self._lock = threading.Lock()
        self._due_at = self._lasts_from = time.monotonic() + SAVED_EVERY
        self._sizes: dict[str, int] | None = None
        self._refused = set[str]()

    def load(self, name: str, *, of: str = "") -> bytes | None:
        """Load what was saved under this name; None if there is nothing to continue from.

        `of` says what the work is: the digest of its input and settings, say. What was saved of something else is
        not returned.
        """
        key = self._key(name)
        try:
            stored = patiently(lambda: self._store.get(key))
        except ObjectNotFound:
            return None
        except StoreUnavailable as away:
            logger.warning("Checkpoint %s cannot be read, and its work begins anew: %s", key, away)
            return None
        parts = stored.removeprefix(FORMAT).split(b"\n", 2)
        if not stored.startswith(FORMAT) or len(parts) < 3:
            logger.warning("Checkpoint %s is of another format, and its work begins anew.", key)
            return None
        digest, made_of, data = parts
        if _digest(made_of, data) != digest:
            logger.warning("Checkpoint %s is damaged, and its work begins anew.", key)
            return None
        if made_of != of.encode():
            logger.info("Checkpoint %s is of other work and is not used.", key)
            return None
        return data

    def save(self, name: str, data: bytes, *, of: str = "", force: bool = False) -> bool:
        """Keep these bytes under this name in place of those before; whether they are kept.

        Not soon after the last save (`SAVED_EVERY`) unless `force`d, not where they are too large, and not where the
        store does not take them: the work goes on, and the next save tries again.

        Raises:
            JobCancelled: another worker has the job by now.
        """
        key = self._key(name)
        if _OF.fullmatch(of) is None:
            raise ValueError(f"{of!r} is no word for what a checkpoint is of: printable ASCII, 200 at most")
        with self._lock:
            if not force and not self.is_due():
                return False
            began = time.monotonic()
            try:
                return self._has_room(name, len(data)) and self._put(key, name, data, of)
            except (StorageError, CatalogUnavailable, DiskUnusable, HomeClosed) as away:
                logger.warning("Checkpoint %s was not kept; the work goes on: %s", key, away)
                return False
            finally:  # a store that is away, and is waited for, must not take all the time there is
                ended = time.monotonic()
                self._due_at = ended + max(SAVED_EVERY, TIMES_LONGER * (ended - began))

    def is_worthwhile(self) -> bool:
        """Return whether the job has run so long that losing its work would matter."""
        return time.monotonic() >= self._lasts_from

    def is_due(self) -> bool:
        """Return whether a save that is not forced would be made now; ask before a costly gathering of what to save."""
        return time.monotonic() >= self._due_at

    def names(self) -> list[str]:
        """Return the names of what is saved, sorted; none where the store does not answer."""
        try:
            return sorted(patiently(self._stored_sizes))
        except StoreUnavailable as away:
            logger.warning("Checkpoints below %s cannot be listed: %s", self._prefix, away)
            return []

    def clear(self) -> None:
        """Remove all of them.

        Raises:
            StoreUnavailable, CatalogUnavailable: they do not answer; `reconcile` removes them later.
            JobCancelled: another worker has the job, and goes on from them.
        """
        with self._lock:
            with self._runtime.catalog.write() as transaction:
                if not rows.is_noted(transaction, self._job_id):
                    return
            self._store.delete_prefix(self._prefix)
            self._sizes = None
            with self._runtime.catalog.write() as transaction:
                rows.forget(transaction, self._job_id)

    def _put(self, key: str, name: str, data: bytes, of: str) -> bool:
        with self._runtime.catalog.write() as transaction:
            rows.note(transaction, self._job_id, self._user_id)
        made_of = of.encode()
        self._store.put(key, b"".join((FORMAT, _digest(made_of, data), b"\n", made_of, b"\n", data)))
        die_at("checkpoint.kept")
        if self._sizes is not None:
            self._sizes[name] = len(data)
        return True

    def _has_room(self, name: str, size: int) -> bool:
        if self._sizes is None:
            self._sizes = self._stored_sizes()
        others = sum(stored for other, stored in self._sizes.items() if other != name)
        if size <= MOST_BYTES and others + size <= MOST_BYTES_OF_JOB:
            return True
        if name not in self._refused:
            self._refused.add(name)
            logger.warning("Checkpoint %s of %s is too large to be kept: %s bytes", name, self._prefix, size)
        return False

    def _stored_sizes(self) -> dict[str, int]:
        cut = len(self._prefix) + 1
        return {info.key[cut:]: info.size for info in self._store.list(self._prefix)}

    def _key(self, name: str) -> str:
        if _NAME.fullmatch(name) is None:
            raise ValueError(f"{name!r} is no name of a checkpoint: small letters, digits, dots, _ and -")
        return join_key(self._prefix, name)


def to_bytes(figures: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Figures (plain JSON) and arrays of numbers as the bytes of one checkpoint."""
    import numpy as np

    if unfit := [name for name, array in arrays.items() if array.dtype.hasobject or name in _TAKEN]:
        raise ValueError(f"{unfit} are no arrays of numbers, or bear a name that is taken")
    text = json.dumps(pack(figures), allow_nan=False).encode()
    content: dict[str, Any] = {_FIGURES: np.frombuffer(text, np.uint8), **arrays}
    file = io.BytesIO()
    np.savez(file, **content)
    return file.getvalue()


def from_bytes(data: bytes | None) -> tuple[dict[str, Any], dict[str, NDArray[Any]]] | None:
    """Decode the output of `to_bytes`; None for anything else."""
    import numpy as np

    if data is None:
        return None
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        figures = unpack(json.loads(arrays.pop(_FIGURES).tobytes()))
    except (ValueError, KeyError, OSError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        logger.warning("A checkpoint cannot be read, and its work begins anew: %r", error)
        return None
    return figures, arrays


def tidied(kind: JobKind) -> JobKind:
    """Return the kind of job with the removal of its checkpoints added. A job that continues elsewhere keeps them."""

    def run(runtime: Runtime, task: Task, **subject: Any) -> None:
        try:
            kind.run(runtime, task, **subject)
        except BaseException:  # of one that fails, `failed` is told next
            if _has_ended(runtime, task):
                _clear(runtime, task)
            raise
        _clear(runtime, task)

    def failed(runtime: Runtime, task: Task, message: str, **subject: Any) -> None:
        try:
            if kind.failed is not None:
                kind.failed(runtime, task, message, **subject)
        finally:
            _clear(runtime, task)

    return replace(kind, run=run, failed=failed)


def reconcile(runtime: Runtime) -> int:
    """Remove the checkpoints of jobs that ended without doing so; how many jobs that were."""
    with runtime.catalog.read() as transaction:
        noted = rows.noted(transaction)
    jobs = runtime.jobs.get_many(None, [row.job_id for row in noted])
    over = [row for row in noted if row.job_id not in jobs or not jobs[row.job_id].active]
    for row in over:
        Checkpoints(runtime, row.user_id, row.job_id).clear()
    return len(over)


def known_prefixes(runtime: Runtime) -> list[str]:
    """Return the prefixes of checkpoints, in the store of the data, that a job may still continue from."""
    with runtime.catalog.read() as transaction:
        return [checkpoints_prefix(row.user_id, row.job_id) for row in rows.noted(transaction)]


def _has_ended(runtime: Runtime, task: Task) -> bool:
    """Return whether a stopped job is over; False if the next worker goes on with it."""
    try:
        return not runtime.jobs.get(task.user_id, task.job_id).active
    except JobNotFound:
        return True
    except JobsUnavailable:
        return False


def _clear(runtime: Runtime, task: Task) -> None:
    try:
        checkpoints_of(runtime, task).clear()
    except (StorageError, CatalogUnavailable, DiskUnusable, HomeClosed, JobCancelled) as away:
        logger.warning("The checkpoints of job %s are removed later: %s", task.job_id, away)


def _digest(of: bytes, data: bytes) -> bytes:
    digest = hashlib.sha256(of + b"\n")
    digest.update(data)
    return digest.hexdigest().encode()
