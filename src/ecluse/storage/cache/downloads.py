"""Download one object into a file, verified, that appears under its name only when it is complete."""

from __future__ import annotations

import errno
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from ecluse.errors import DigestMismatch
from ecluse.processes import boot_id
from ecluse.sentences import _, num
from ecluse.storage.cache.files import reporting_full_disk
from ecluse.storage.store import DOWNLOAD_CHUNK, Digest, ObjectStore

#: The file system has no hard links, or this one would cross into another.
NO_LINK: Final = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP}
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Request:
    """One object that is asked for."""

    store: ObjectStore
    key: str
    sha256: str
    size: int
    progress: Progress

    @property
    def title(self) -> str:
        return f"{self.key} in {self.store.url}"


def write_verified(request: Request, file: BinaryIO) -> None:
    """Write the stored object into a file, verified."""
    counted, size = Digest(), 0
    for chunk in counted.through(request.store.stream(request.key, chunk_size=DOWNLOAD_CHUNK)):
        size += len(chunk)
        if size > request.size:
            raise DigestMismatch(
                _(
                    "%(file)s is damaged: it is longer than the %(count)s bytes that were recorded. Make "
                    "or publish it again.",
                    file=request.title,
                    count=num(request.size, ","),
                )
            )
        file.write(chunk)
        request.progress(len(chunk))
    counted.expect(request.sha256, request.title)
    if size != request.size:  # room was held for all of it, and would follow as zeros
        raise DigestMismatch(
            _(
                "%(file)s is damaged: it is shorter than the %(count)s bytes that were recorded. Make "
                "or publish it again.",
                file=request.title,
                count=num(request.size, ","),
            )
        )


def make_read_only(file: BinaryIO) -> os.stat_result:
    """Make the file read-only. After a power failure it may hold less than it did: `facts` takes care of that."""
    file.flush()
    os.fchmod(file.fileno(), 0o444)
    # From the fine clock: a change in the same tick of the kernel's own would go unseen.
    moment = time.time_ns()
    os.utime(file.fileno(), ns=(moment, moment))
    if not boot_id():
        os.fsync(file.fileno())
    return os.fstat(file.fileno())


def give_link(source: Path, partial: Path) -> None:
    try:
        partial.hardlink_to(source)
    except OSError as error:
        if error.errno not in NO_LINK:
            raise
        shutil.copyfile(source, partial)


def give_copy(source: Path, partial: Path) -> None:
    shutil.copyfile(source, partial)


@contextmanager
def appearing(destination: Path, size: int) -> Iterator[Path]:
    """Yield a temporary name beside `destination`, which becomes it when the block ends well."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    partial = destination.with_name(f".{destination.name[:40]}.{uuid.uuid4().hex}.part")
    try:
        with reporting_full_disk(destination.parent, size):
            yield partial
        partial.replace(destination)
    finally:
        # Also after success: to rename one hard link over another of the same file does nothing.
        partial.unlink(missing_ok=True)


def ignore(size: int) -> None:
    """Ignore progress: the default callback."""
