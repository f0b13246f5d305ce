"""Keep downloaded objects on local disk by content, within a bound.

An entry is `sha256/ab/abcdef…`, read-only, written under a temporary name and renamed when complete and
verified; its last use is its modification time. Any number of processes may share one cache: each is given
a copy of its own, so that an entry may be removed at any moment.
"""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final

from ecluse.errors import DigestMismatch
from ecluse.storage.store import Digest, ObjectStore, read_chunks

#: A download that was not finished for this long has no one left to finish it.
STALE: Final = timedelta(hours=6)


class Cache:
    """Content-addressed files under `folder`, at most `max_bytes` in all."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder / "sha256"
        self.max_bytes = max_bytes

    def copy(self, store: ObjectStore, key: str, sha256: str, size: int, destination: Path) -> None:
        """Write the object to `destination`, verified: from the cache, or from the store into both.

        What is larger than the bound is not kept. A damaged entry is replaced.

        Raises:
            DigestMismatch: the stored object is not what `sha256` says; nothing is kept.
        """
        entry = self._folder / sha256[:2] / sha256
        if self._copy_entry(entry, sha256, destination):
            return
        store.download(key, destination, sha256=sha256)
        if size <= self.max_bytes:
            self._keep(destination, entry, size)

    def entries(self) -> list[Path]:
        """Every complete entry, least recently used first."""
        files = {path: mtime for path in self._files() if (mtime := _modified(path)) is not None}
        return sorted(files, key=lambda path: files[path])

    def _copy_entry(self, entry: Path, sha256: str, destination: Path) -> bool:
        """Whether the entry is here and intact; then `destination` is a copy of it."""
        digest = Digest()
        partial = _partial(destination)
        try:
            with partial.open("wb") as file:
                for chunk in digest.through(read_chunks(entry)):
                    file.write(chunk)
            digest.expect(sha256, str(entry))
            partial.replace(destination)
        except FileNotFoundError:
            return False
        except DigestMismatch:
            entry.unlink(missing_ok=True)
            return False
        finally:
            partial.unlink(missing_ok=True)
        _mark_used(entry)
        return True

    def _keep(self, source: Path, entry: Path, size: int) -> None:
        self._make_room(size)
        entry.parent.mkdir(parents=True, exist_ok=True)
        partial = _partial(entry)
        try:
            shutil.copyfile(source, partial)
            _mark_used(partial)
            partial.chmod(0o444)
            partial.replace(entry)
        finally:
            partial.unlink(missing_ok=True)

    def _make_room(self, size: int) -> None:
        self._remove_unfinished()
        entries = self.entries()
        sizes = {path: _size(path) for path in entries}
        used = sum(sizes.values())
        for path in entries:
            if used + size <= self.max_bytes:
                return
            used -= sizes[path]
            path.unlink(missing_ok=True)

    def _remove_unfinished(self) -> None:
        for path in self._folder.glob("??/.*.part"):
            modified = _modified(path)
            if modified is not None and time.time() - modified > STALE.total_seconds():
                path.unlink(missing_ok=True)

    def _files(self) -> Iterator[Path]:
        return (path for path in self._folder.glob("??/*") if not path.name.startswith("."))


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name[:40]}.{uuid.uuid4().hex}.part")


def _modified(path: Path) -> float | None:
    """When a file was last used; None when another process has removed it."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return None


def _size(path: Path) -> int:
    """Bytes of a file; 0 when another process has removed it."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _mark_used(path: Path) -> None:
    """Set the time of last use from the fine clock; the kernel's own is coarser than two uses may be apart."""
    moment = time.time_ns()
    try:
        os.utime(path, ns=(moment, moment))
    except FileNotFoundError:  # another process made room meanwhile; the copy is complete all the same
        return
