"""Download one object into a file or two, verified, that appear under their names only when they are complete."""

from __future__ import annotations

import errno
import io
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from ecluse.errors import DigestMismatch
from ecluse.processes import boot_id
from ecluse.sentences import _, num
from ecluse.storage.cache.files import make_folder, reporting_full_disk
from ecluse.storage.digests import Digest
from ecluse.storage.folders import write_all
from ecluse.storage.store import DOWNLOAD_CHUNK, ObjectStore

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


class Writable(Protocol):
    """What takes bytes."""

    def write(self, data: bytes, /) -> object: ...


@contextmanager
def copying_to(path: Path, size: int) -> Iterator[Callable[[bytes], None]]:
    """Yield what writes bytes to a new file, on a disk of its own perhaps."""
    with path.open("wb") as file:

        def write(data: bytes) -> None:
            with reporting_full_disk(path.parent, size):
                file.write(data)

        yield write


def read_verified(request: Request) -> bytes:
    """Return the bytes of a small stored object, verified."""
    buffer = io.BytesIO()
    write_verified(request, buffer)
    return buffer.getvalue()


def write_verified(request: Request, file: Writable, copy: Callable[[bytes], object] | None = None) -> None:
    """Write the stored object into a file, verified; the same bytes go to `copy`."""
    counted, size = Digest(), 0
    for chunk in counted.beside(request.store.stream(request.key, chunk_size=DOWNLOAD_CHUNK), copy):
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


def write_sparse(path: Path, size: int) -> None:
    """Make a new file of this size (bytes), of which nothing is written yet."""
    with path.open("xb") as file:
        file.truncate(size)


def write_read_only(path: Path, data: bytes) -> None:
    """Write a new file, whole or not at all, that is for reading only."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        write_all(file, data)
        os.fchmod(file, 0o444)
    except BaseException:
        path.unlink()
        raise
    finally:
        os.close(file)


@contextmanager
def appearing(destination: Path, size: int) -> Iterator[Path]:
    """Yield a temporary name beside `destination`, which becomes it when the block ends well."""
    make_folder(destination.parent)
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
