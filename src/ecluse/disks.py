"""Say what keeps a folder or a database file of this machine from being used, and the way out."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ecluse.errors import DiskUnusable

_ELSEWHERE: Final = "or choose another folder for everything local: ECLUSE_HOME=/another/folder, or --home"
_RESTORE: Final = (
    "Stop Écluse, move the file away and put a copy from a backup in its place; without one, "
    "what is still readable comes out with: sqlite3 {file} .recover | sqlite3 mended.db"
)


@contextmanager
def usable(folder: Path) -> Iterator[None]:
    """Turn what the system says of a folder into `DiskUnusable`, with the way out."""
    try:
        yield
    except OSError as error:
        raise DiskUnusable(what_is_wrong(error) or _is_no_folder(error, folder)) from error


def what_is_wrong(error: BaseException) -> str | None:
    """What stands in the way and what to do about it; None where the error is not of this machine's disks."""
    if not isinstance(error, OSError):
        return None
    place = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else "a file"
    return _ways_out(place).get(error.errno or 0)


def why_sqlite_fails(error: BaseException | None, file: Path) -> str | None:
    """What is wrong with a SQLite database and what to do about it; None where SQLite means something else."""
    name = getattr(error, "sqlite_errorname", "") or "" if isinstance(error, sqlite3.Error) else ""
    if name.startswith("SQLITE_NOTADB"):
        return f"{file} is not a SQLite database: it holds something else. {_RESTORE.format(file=file)}."
    if name.startswith("SQLITE_CORRUPT"):
        return f"{file} is damaged ({error}). {_RESTORE.format(file=file)}."
    if name.startswith("SQLITE_FULL"):
        return _ways_out(file)[errno.ENOSPC]
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_IOERR")):
        return _why_unwritable(file) or (_ways_out(file)[errno.EIO] if "IOERR" in name else None)
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return f"Another process has kept {file} locked for half a minute. Try again, or end that process."
    return None


def is_damage(error: BaseException | None) -> bool:
    """Whether SQLite says that a file is not, or no longer, a database."""
    name = getattr(error, "sqlite_errorname", "") or ""
    return isinstance(error, sqlite3.Error) and name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT"))


def _why_unwritable(file: Path) -> str | None:
    """Why SQLite cannot write a file and, beside it, its journal; None where nothing is seen to be in the way."""
    if file.is_dir():
        return f"{file} is a folder, and the database is to be a file. Move the folder away, {_ELSEWHERE}."
    folder = file.parent
    if not folder.is_dir():
        return f"There is no folder {folder}. Make it, {_ELSEWHERE}."
    disk = os.statvfs(folder)
    if disk.f_flag & os.ST_RDONLY:
        return _ways_out(file)[errno.EROFS]
    if not disk.f_bavail:
        return _ways_out(file)[errno.ENOSPC]
    beside = [Path(f"{file}{ending}") for ending in ("", "-wal", "-shm")]
    for path in (folder, *(path for path in beside if path.exists())):
        if not os.access(path, os.R_OK | os.W_OK | (os.X_OK if path == folder else 0)):
            return _ways_out(path)[errno.EACCES]
    return None


def _is_no_folder(error: OSError, folder: Path) -> str:
    for above in (folder, *folder.parents):
        if above.exists():
            if not above.is_dir():
                return f"{folder} cannot be a folder: {above} is a file. Move it away, {_ELSEWHERE}."
            break
    reason = error.strerror or type(error).__name__
    return f"{folder} cannot be used as a folder: {reason}. Make it, {_ELSEWHERE}."


def _ways_out(place: str | Path) -> dict[int, str]:
    """By what the system calls the trouble."""
    forbidden = (
        f"{place} may not be read or written by the user that runs Écluse ({_user()}). Give it to that user "
        f"(chown -R), {_ELSEWHERE}."
    )
    full = (
        f"The disk that holds {place} is full. Free some room (ecluse cache clear empties the cache), "
        "then try again; nothing was kept half."
    )
    return {
        errno.EROFS: f"{place} is on a disk that can only be read. Mount it for writing, {_ELSEWHERE}.",
        errno.EACCES: forbidden,
        errno.EPERM: forbidden,
        errno.ENOSPC: full,
        errno.EDQUOT: full,
        errno.EFBIG: f"{place} would be larger than a file may be here (see: ulimit -f). Raise that limit.",
        errno.EIO: f"The disk that holds {place} fails to read or write. Copy what it holds elsewhere, {_ELSEWHERE}.",
        errno.EMFILE: "Too many files are open in this process (see: ulimit -n). Raise that limit.",
        errno.ENFILE: "Too many files are open on this machine. End what holds them open, then try again.",
    }


def _user() -> str:
    try:
        import pwd

        return pwd.getpwuid(os.geteuid()).pw_name
    except (ImportError, KeyError):
        return str(os.geteuid()) if hasattr(os, "geteuid") else "you"
