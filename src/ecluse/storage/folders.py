"""Walk and write within open folders, so that no link is followed; what a store of files keeps for itself is hidden."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Final

from ecluse.storage.backend import ObjectInfo

#: How the hidden file of a write begins and ends; no key may look like one.
PARTIAL: Final = ".ecluse-"
SUFFIX: Final = ".part"
ATTRIBUTES: Final = ".attributes"
FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
#: Bytes that are gathered before they are written.
_BATCH: Final = 1024 * 1024

#: The file system has no locks.
NO_LOCKS: Final = frozenset({errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK})
NO_LINKS: Final = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def make_folder(folder: int, segment: str, mode: int = 0o777) -> None:
    """Make a folder that lasts, unless it is there; `mode` is who may use it, as far as the process lets them."""
    try:
        os.mkdir(segment, mode, dir_fd=folder)
    except FileExistsError:
        return
    os.fsync(folder)


def write_all(file: int, data: bytes) -> None:
    """Write all bytes, in as many turns as the system needs."""
    remaining = memoryview(data)
    while remaining:
        remaining = remaining[os.write(file, remaining) :]


def begin_flushing(file: int, start: int, length: int) -> None:
    """Have the disk write these bytes while more come, so that the fsync at the end waits for few."""
    if length >= _BATCH and hasattr(os, "posix_fadvise"):
        # Linux begins to write what is not on the disk yet, and keeps it in memory until then.
        os.posix_fadvise(file, start, length, os.POSIX_FADV_DONTNEED)


async def batches(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield what arrives in small pieces, in pieces worth a change of thread."""
    batch = bytearray()
    async for chunk in chunks:
        batch += chunk
        if len(batch) >= _BATCH:
            yield bytes(batch)
            batch.clear()
    yield bytes(batch)


def walk(folder: int, inside: str, after: str | None) -> Iterator[ObjectInfo]:
    """Yield the files below an open folder in the order of their whole keys; closes the folder."""
    try:
        entries = entries_of(folder, inside)
        for name, entry in sorted(entries, key=lambda item: _sorted_as(*item)):
            key = f"{inside}{name}"
            if entry.is_dir(follow_symlinks=False):
                below = f"{key}/"
                if after is not None and below <= after and not after.startswith(below):
                    continue
                try:
                    deeper = os.open(name, FOLDER, dir_fd=folder)
                except (FileNotFoundError, NotADirectoryError):  # deleted meanwhile
                    continue
                yield from walk(deeper, below, after)
            elif entry.is_file(follow_symlinks=False) and (after is None or key > after):
                status = status_of(folder, name)
                if status is not None:
                    yield info_of(key, status)
    finally:
        os.close(folder)


def entries_of(folder: int, inside: str) -> list[tuple[str, os.DirEntry[str]]]:
    """Return what lies in an open folder, but for what this store keeps for itself and names that are no text."""
    reserved = ATTRIBUTES if not inside else None
    with os.scandir(folder) as scanned:
        return [
            (entry.name, entry)
            for entry in scanned
            if entry.name != reserved and not is_hidden(entry.name) and _is_text(entry.name)
        ]


def _sorted_as(name: str, entry: os.DirEntry[str]) -> str:
    return f"{name}/" if entry.is_dir(follow_symlinks=False) else name


def is_hidden(name: str) -> bool:
    """Return whether this is the hidden file of a write."""
    return name.startswith(PARTIAL) and name.endswith(SUFFIX)


def _is_text(name: str) -> bool:
    return name.isascii() or not any("\ud800" <= char <= "\udfff" for char in name)


def status_of(folder: int, name: str) -> os.stat_result | None:
    """Return the status of a name in an open folder; None where there is none."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def info_of(path: str, status: os.stat_result) -> ObjectInfo:
    """Describe a file as an object."""
    modified = datetime.fromtimestamp(status.st_mtime, UTC)
    return ObjectInfo(path, status.st_size, modified, identity(status))


def identity(status: os.stat_result) -> str:
    """Return what changes whenever another file takes the name: every write makes a new one."""
    return f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"


def lock(file: int) -> bool:
    """Lock an open file for as long as this process has it; false where another process has.

    Where the file system has no locks, none is needed: a clean-up goes by time there.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    return True


def left_behind(folder: int, name: str, limit: float, *, remove: bool) -> int | None:
    """Return the bytes of a hidden file whose writer is gone, untouched since `limit`; None where it is not such a
    file.
    """
    try:
        file = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(file)
        if status.st_mtime >= limit:
            return None
        if not lock(file):
            return None
        if remove:
            os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return None
    finally:
        os.close(file)
    return status.st_size
