"""Note what an entry was like when it was verified, and when it was last used."""

from __future__ import annotations

import errno
import json
import os
import uuid
from pathlib import Path
from typing import BinaryIO, Final

from ecluse.processes import boot_id
from ecluse.storage.cache.downloads import Progress
from ecluse.storage.cache.files import FULL, READ_ONLY, SMALL, open_file, remove_path
from ecluse.storage.digests import Digest

_CHUNK: Final = 1024 * 1024


def record_of(entry: Path) -> Path:
    return entry.with_name(f"{entry.name}.seen")


def facts(status: os.stat_result) -> dict[str, int | str | None]:
    """Return the facts that must be unchanged for an entry to be used without hashing it again.

    The boot is one of them: a download is not flushed to disk, so what was written before a crash may be damaged.
    """
    return {
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "inode": status.st_ino,
        "boot": boot_id() or None,
    }


def is_as_verified(entry: Path, status: os.stat_result) -> bool:
    """Return whether an entry is the very file that was verified; of a small one nothing is noted."""
    return status.st_size > SMALL and read_record(entry) == facts(status)


def read_record(entry: Path) -> object:
    """Read the facts of an entry when it was last verified; None if there is no readable record."""
    try:
        if (record := open_file(record_of(entry))) is None:
            return None
        with record:
            return json.loads(record.read())
    except (FileNotFoundError, ValueError):
        return None  # none was written, or a power failure cut it short: the entry is hashed again


def write_record(entry: Path, status: os.stat_result) -> None:
    """Note what an entry was like when it was verified; one that is small is hashed each time."""
    if status.st_size <= SMALL:
        return
    partial = entry.with_name(f"{entry.name}.{uuid.uuid4().hex}.seen")
    try:
        partial.write_text(json.dumps(facts(status)))
        if record_of(entry).is_dir():
            remove_path(record_of(entry))
        partial.replace(record_of(entry))
    except OSError as error:
        # The entry is intact all the same, and is hashed again next time.
        if error.errno not in READ_ONLY | FULL | {errno.ENOENT}:
            raise
    finally:
        partial.unlink(missing_ok=True)


def hash_file(source: BinaryIO, progress: Progress, target: BinaryIO | None = None) -> str:
    """Return the SHA-256 of an open file from its beginning, in hexadecimal; the bytes go to `target` on the way."""
    digest = Digest()
    for chunk in digest.beside(iter(lambda: source.read(_CHUNK), b"")):
        if target is not None:
            target.write(chunk)
        progress(len(chunk))
    return digest.stored("").sha256


def mark_used(file: BinaryIO, at_ns: int) -> None:
    """Set the time of last use, and keep that of the last change as it is by now."""
    try:
        os.utime(file.fileno(), ns=(at_ns, os.fstat(file.fileno()).st_mtime_ns))
    except OSError as error:
        # The file of another user, or a disk that can only be read: it is used all the same, and evicted earlier.
        if error.errno not in READ_ONLY:
            raise
