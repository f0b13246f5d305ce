"""Keep what was seen of images by their digests: on this machine, and beside a job for the worker that goes on with it.

What is kept on this machine serves every later look at the same image, and can be removed at any time: it is seen
anew then. What is kept beside a job goes with the job; it lies in the store, so that another machine goes on where
the first one was.
"""

from __future__ import annotations

import logging
import os
import re
import time
import zipfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ecluse.checkpoints import Checkpoints, from_bytes, to_bytes
from ecluse.runtime import Runtime

logger = logging.getLogger(__name__)

#: Where it is kept below the home, and how much of it at most: some 20,000 images.
FOLDER: Final = "looks"
MOST_BYTES: Final = 1_000_000_000
#: A file that is being written, `.DIGEST.npz.PROCESS-NUMBER`, and after how many seconds no one writes it any more: it
#: takes a moment, and a process that was stopped for longer keeps what it saw the next time.
_HIDDEN: Final = re.compile(r"\..+\.npz\.\d+-[0-9a-f]+")
_ABANDONED: Final = 3600.0

Arrays = Mapping[str, NDArray[Any]]


class ArrayCache:
    """Arrays of images by digest, of one `meaning`: those of another meaning are never mixed in.

    In the store they lie as parts `MEANING-0`, `MEANING-1` …, each with the images that were seen after those of the
    part before; so it does not matter in which order images are seen, or whether some came or went meanwhile.
    """

    def __init__(
        self, meaning: str, local: LocalArrays | None = None, checkpoints: Checkpoints | None = None
    ) -> None:
        self._meaning, self._local, self._checkpoints = meaning, local, checkpoints
        #: The number of the next part; None before the parts that are there were read.
        self._next: int | None = None
        self._in_store = dict[str, Arrays]()
        self._waiting = dict[str, Arrays]()

    def load(self, digests: Iterable[str], *names: str) -> dict[str, Arrays]:
        """Return those of these images of which every named array is kept."""
        requested = dict.fromkeys(digests)
        arrays_of = dict[str, Arrays]()
        if self._local is not None:
            for digest in requested:
                if (arrays := self._local.load(digest, *names)) is not None:
                    arrays_of[digest] = arrays
        if len(arrays_of) < len(requested):
            self._read_parts()
        for digest in requested.keys() - arrays_of.keys():
            if (stored := self._in_store.get(digest)) is not None and stored.keys() >= set(names):
                arrays_of[digest] = stored
        return arrays_of

    def keep(self, digest: str, **arrays: NDArray[Any]) -> None:
        """Keep what was seen of an image: on this machine at once, in the store together with those after it."""
        if self._local is not None:
            self._local.save(digest, **arrays)
        if self._checkpoints is not None:
            self._waiting[digest] = arrays
            if self._checkpoints.is_due():
                self.flush()

    def flush(self) -> None:
        """Send what waits to the store; where the store does not take it, it goes with what comes next."""
        if self._checkpoints is None or not self._waiting:
            return
        self._read_parts()
        if self._checkpoints.save(f"{self._meaning}-{self._next}", _packed(self._waiting), force=True):
            self._next = (self._next or 0) + 1
            self._waiting = {}

    def finish(self) -> None:
        """Send what waits to the store, and make room on this machine."""
        self.flush()
        if self._local is not None:
            self._local.prune()

    def _read_parts(self) -> None:
        if self._checkpoints is None or self._next is not None:
            return
        self._next = 0
        while (part := _unpacked(self._checkpoints.load(f"{self._meaning}-{self._next}"))) is not None:
            self._in_store |= part
            self._next += 1


def _packed(arrays_of: Mapping[str, Arrays]) -> bytes:
    return to_bytes(
        {},
        {f"{digest}.{name}": array for digest, arrays in arrays_of.items() for name, array in arrays.items()},
    )


def _unpacked(data: bytes | None) -> dict[str, dict[str, NDArray[Any]]] | None:
    if (part := from_bytes(data)) is None:
        return None
    arrays_of: dict[str, dict[str, NDArray[Any]]] = {}
    for key, array in part[1].items():
        digest, _, name = key.partition(".")
        arrays_of.setdefault(digest, {})[name] = array
    return arrays_of


class LocalArrays:
    """Arrays by a digest and what they mean, in files below the home that appear whole."""

    def __init__(self, home: Path, meaning: str) -> None:
        self._root = home / FOLDER
        self._folder = self._root / meaning

    def load(self, digest: str, *names: str) -> dict[str, NDArray[Any]] | None:
        """Return these arrays; None where one of them is not kept, or what is kept cannot be read."""
        try:
            with np.load(self._path(digest), allow_pickle=False) as file:
                return {name: file[name] for name in names} if set(names) <= set(file.files) else None
        except FileNotFoundError:  # not computed yet, or evicted
            return None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            logger.warning("A file of the cache cannot be read and is made again: %s", error)
            return None

    def save(self, digest: str, **arrays: NDArray[Any]) -> None:
        path = self._path(digest)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        hidden = path.with_name(f".{path.name}.{os.getpid()}-{id(arrays):x}")
        try:
            with hidden.open("wb") as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]
            hidden.replace(path)
        finally:
            hidden.unlink(missing_ok=True)

    def prune(self) -> None:
        """Remove what processes that were killed left half written, and what was kept first beyond `MOST_BYTES`."""
        files = []
        for path in self._root.rglob("*"):
            with suppress(FileNotFoundError):  # another process has removed it meanwhile
                status = path.stat()
                if _HIDDEN.fullmatch(path.name) and time.time() - status.st_mtime > _ABANDONED:
                    path.unlink()
                elif path.suffix == ".npz":
                    files.append((path, status))
        size = sum(status.st_size for _, status in files)
        for path, status in sorted(files, key=lambda entry: entry[1].st_mtime):
            if size <= MOST_BYTES:
                break
            path.unlink(missing_ok=True)
            size -= status.st_size

    def _path(self, digest: str) -> Path:
        return self._folder / digest[:2] / f"{digest}.npz"


def machine_cache(runtime: Runtime, meaning: str, checkpoints: Checkpoints | None = None) -> ArrayCache:
    """Return what was seen of this meaning on this machine and, given its checkpoints, in a job."""
    return ArrayCache(meaning, LocalArrays(runtime.settings.home, meaning), checkpoints)
