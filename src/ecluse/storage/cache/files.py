"""Look at the files of a cache as they stand on disk: entries, and downloads under way."""

from __future__ import annotations

import errno
import functools
import os
import re
import shutil
import stat
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO, Final

from ecluse.errors import DiskFull
from ecluse.processes import Process, is_gone
from ecluse.sentences import _, num

#: After this long an unfinished download counts as abandoned.
STALE: Final = timedelta(hours=6)
DIGEST: Final = re.compile(r"[0-9a-f]{64}")
#: Up to this many bytes an object is downloaded into memory and hashed at every use, as what would be noted of its
#: file takes as long to read.
SMALL: Final = 64 * 1024
READ_ONLY: Final = {errno.EROFS, errno.EACCES, errno.EPERM}
FULL: Final = {errno.ENOSPC, errno.EDQUOT}
#: A link, or a socket, where a file was to be opened.
_NO_FILE: Final = {errno.ELOOP, errno.ENXIO}
#: Characters of the digest in the name of an unfinished file.
NAMED: Final = 16
_UNFINISHED: Final = re.compile(r"\..{16}\.(?P<process>\d+-\d+-[0-9a-f]+)\.[0-9a-f]{32}\.part")


@dataclass(frozen=True)
class File:
    """An entry, or a download under way, as it stands on disk."""

    path: Path
    size: int
    accessed_ns: int
    modified: float
    pinned: bool

    @property
    def is_entry(self) -> bool:
        return DIGEST.fullmatch(self.path.name) is not None


def files_in(folder: Path) -> list[File]:
    """Return entries and unfinished files of one folder, each once and none left out."""
    while True:
        paths = [path for path in folder.iterdir() if path.suffix != ".seen"]
        files = [look_at_file(path) for path in paths]
        # One that is gone has been evicted; but an unfinished one may just have become an entry.
        if all(file or path.suffix != ".part" for path, file in zip(paths, files, strict=True)):
            return [file for file in files if file]


def look_at_file(path: Path) -> File | None:
    """Return a file as it stands; None when another process has removed it."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    pinned = stat.S_ISREG(status.st_mode) and status.st_nlink > 1
    return File(path, status.st_size, status.st_atime_ns, status.st_mtime, pinned)


def open_file(path: Path) -> BinaryIO | None:
    """Open a file for reading; None for anything but a regular file: reading a pipe would block, a link leads away."""
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in _NO_FILE:
            return None
        raise
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        return None
    return os.fdopen(opened, "rb")


def unfinished_name(path: Path) -> Path:
    """Return a name for a file that is to become `path`; it holds the label of the process that writes it."""
    return path.with_name(f".{path.name[:NAMED]}.{_label()}.{uuid.uuid4().hex}.part")


@functools.cache
def _label() -> str:
    """Return the label of this process, which is asked of the system once."""
    return Process.current().label


os.register_at_fork(after_in_child=_label.cache_clear)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, unless it is there."""
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)


def is_left(file: File) -> bool:
    """Return whether the process that was writing an unfinished file is gone, or the file is old.

    Of a process on another machine, or in another container, and of one of an older release the age alone tells.
    """
    if time.time() - file.modified > STALE.total_seconds():
        return True
    named = _UNFINISHED.fullmatch(file.path.name)
    return named is not None and is_gone(named["process"]) is True


def remove_path(path: Path) -> bool:
    """Remove a file, or a folder in its place; False where another process was faster."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError:
        if not stat.S_ISDIR(path.lstat().st_mode):
            raise
        shutil.rmtree(path)
    return True


def free_bytes(folder: Path) -> int:
    """Return the bytes free on a folder's disk; a huge number if the file system does not say."""
    usage = shutil.disk_usage(folder)
    return usage.free if usage.total else sys.maxsize


@contextmanager
def reporting_full_disk(folder: Path, size: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise disk_full(folder, size) from error


def disk_full(folder: Path, size: int) -> DiskFull:
    return DiskFull(
        _(
            "The disk that holds %(file)s has no room for %(count)s bytes, %(number)s are free. "
            "Free some, or clear the cache: ecluse cache clear",
            file=folder,
            count=num(size, ","),
            number=num(free_bytes(folder), ","),
        )
    )
