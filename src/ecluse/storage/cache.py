"""Keep downloaded objects on local disk by content, within a bound.

An entry is `sha256/ab/abcdef…`, read-only, written under a temporary name and renamed when complete and
verified, so any number of processes may share one cache; its last use is its modification time.
"""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path

from ecluse.errors import DigestMismatch
from ecluse.storage.store import ObjectStore


class Cache:
    """Content-addressed files under `folder`, at most `max_bytes` in all."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder / "sha256"
        self.max_bytes = max_bytes

    def fetch(self, store: ObjectStore, key: str, sha256: str, size: int) -> Path:
        """The object's local file, downloaded if it is not here yet.

        Raises:
            DigestMismatch: what was downloaded is not what `sha256` says; it is not kept.
        """
        path = self._folder / sha256[:2] / sha256
        if path.exists() and path.stat().st_size == size:
            _mark_used(path)
            return path
        self._make_room(size)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{uuid.uuid4().hex}.part")
        try:
            stored = store.download(key, partial)
            if stored.sha256 != sha256:
                raise DigestMismatch(
                    f"{key} is damaged in {store.url}: its SHA-256 is {stored.sha256[:12]}…, "
                    f"the manifest says {sha256[:12]}…. Publish it again, or use another version."
                )
            _mark_used(partial)
            partial.chmod(0o444)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        return path

    def entries(self) -> list[Path]:
        """Every complete entry, least recently used first."""
        files = [path for path in self._folder.glob("??/*") if not path.name.startswith(".")]
        return sorted(files, key=lambda path: path.stat().st_mtime)

    def _make_room(self, size: int) -> None:
        entries = self.entries()
        used = sum(path.stat().st_size for path in entries)
        for path in entries:
            if used + size <= self.max_bytes:
                return
            used -= path.stat().st_size
            path.unlink(missing_ok=True)


def _mark_used(path: Path) -> None:
    """Set the time of last use from the fine clock; the kernel's own is coarser than two uses may be apart."""
    moment = time.time_ns()
    os.utime(path, ns=(moment, moment))
