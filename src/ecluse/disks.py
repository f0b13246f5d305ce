"""Say how much room a disk of this machine has, what keeps a folder or file from being used, and the way out."""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import stat
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ecluse.errors import DiskUnusable
from ecluse.sentences import _, num

logger = logging.getLogger(__name__)
#: A disk with fewer free bytes counts as full. Between two looks of an orchestrator (10 s) it takes the chunks of the
#: uploads that are handed on (4 of 8 MiB) and the log that SQLite writes before its file, which grows by all that a
#: transaction changes; the largest, a set of 100,000 images, changes some 30 MB.
LEAST_FREE: Final = 64 * 1024**2
#: SQLite cannot open a database without room for its shared memory (32 KiB) and a page of its log.
_OPENING: Final = 64 * 1024


@dataclass(frozen=True)
class Disk:
    """A disk that is written to: what lies on it, one folder of that, the bytes free, and what is wrong with it."""

    uses: tuple[str, ...]
    folder: Path
    free: int
    trouble: str | None


def look_at(paths: Mapping[str, Path]) -> list[Disk]:
    """Return the disks that hold these folders and files, each once; what is not there yet is on the disk of its
    folder.
    """
    disks: dict[tuple[int, int], Disk] = {}
    for use, path in paths.items():
        folder = next(above for above in (path, *path.parents) if above.is_dir())
        status = os.statvfs(folder)
        key = folder.stat().st_dev, status.f_flag & os.ST_RDONLY
        disk = disks.get(key)
        disks[key] = Disk(
            uses=(*disk.uses, use) if disk else (use,),
            folder=disk.folder if disk else folder,
            free=_free(status),
            trouble=disk.trouble if disk else _trouble(folder, status),
        )
    return list(disks.values())


def _trouble(folder: Path, status: os.statvfs_result) -> str | None:
    if status.f_flag & os.ST_RDONLY:
        return _ways_out(folder)[errno.EROFS]
    if _free(status) < LEAST_FREE or _has_no_inode(status):
        return _full(folder)
    return None


def _free(status: os.statvfs_result) -> int:
    """Return bytes free to one who is not the superuser."""
    return status.f_bavail * status.f_frsize


def _has_no_inode(status: os.statvfs_result) -> bool:
    """Return whether no file more fits; a file system without a number of files says 0 of 0."""
    return status.f_files > 0 and status.f_favail == 0


def make_private(folder: Path, *, shared: bool = False) -> None:
    """Make a folder that its owner alone may read, whatever the umask, and narrow one that is there; say so then.

    What lies in it is out of reach with it; the files that lie at its top are narrowed as well. With `shared`, its
    group may do what it could. Windows has no such rights: a folder of a person is theirs there by inheritance.

    Raises:
        DiskUnusable: it cannot be made, or others may read it and it is not ours to narrow.
    """
    with usable(folder):
        missing = not folder.exists()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not hasattr(os, "geteuid"):
            return
        if missing and not shared:
            folder.chmod(0o700)
        _narrow_folder(folder, shared=shared)
        for path in folder.iterdir():
            _narrow_file(path, shared=shared)


def private_file(file: Path) -> None:
    """Make a file that its owner alone may read, whatever the umask, unless it is there."""
    try:
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600))
    except FileExistsError:
        return


def _narrow_folder(folder: Path, *, shared: bool) -> None:
    status = folder.stat()
    mode = stat.S_IMODE(status.st_mode)
    # To pass through and no more is what `ecluse servers` leaves to the account of its own database.
    passed = mode & 0o077 == 0o010
    wide = mode & (0o007 if shared else 0o000 if passed else 0o077)
    if not wide:
        return
    if status.st_uid != os.geteuid():
        raise DiskUnusable(
            _(
                "%(file)s may be read by others on this machine (mode %(value)s) and belongs to another user, so "
                "that it cannot be narrowed here: the catalog and keys in it would be open to them. Let its owner "
                "narrow it (chmod 700 %(name)s), set ECLUSE_HOME_SHARED=true if its group is to share it, or "
                "choose another folder for everything local: ECLUSE_HOME=/another/folder, or --home.",
                file=folder,
                value=f"{mode:o}",
                name=folder,
            )
        )
    folder.chmod(mode & ~wide)
    logger.warning(
        "%s could be read by others on this machine (mode %o). It is narrowed to mode %o.",
        folder,
        mode,
        mode & ~wide,
    )


def _narrow_file(path: Path, *, shared: bool) -> None:
    status = path.lstat()
    mode = stat.S_IMODE(status.st_mode)
    wide = mode & (0o007 if shared else 0o077)
    if not (wide and stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()):
        return
    try:
        path.chmod(mode & ~wide)
    except OSError as error:
        # Another process has just ended with it; or the disk can only be read, and its folder keeps others out.
        if error.errno not in (errno.ENOENT, errno.EROFS):
            raise


@contextmanager
def usable(folder: Path) -> Iterator[None]:
    """Turn what the system says of a folder into `DiskUnusable`, with the way out."""
    try:
        yield
    except DiskUnusable:
        raise
    except OSError as error:
        raise DiskUnusable(what_is_wrong(error, folder) or _is_no_folder(error, folder)) from error


def what_is_wrong(error: BaseException, place: Path | None = None) -> str | None:
    """Return what stands in the way and what to do about it; None where the error is not of this machine's disks.

    `place`: where it happened, if the system does not say: of a write it does not.
    """
    if not isinstance(error, OSError):
        return None
    if isinstance(error.filename, str | bytes):
        place = Path(os.fsdecode(error.filename))
    if error.errno == errno.ENOSPC and place is not None:
        return _full(place)
    if error.errno == errno.ENOSPC:
        return _(
            "A disk of this machine is full; ecluse doctor says which. Free some room (ecluse "
            "cache clear empties the cache), then try again; nothing was kept half."
        )
    return _ways_out(place or "a file").get(error.errno or 0)


def why_sqlite_fails(error: BaseException | None, file: Path) -> str | None:
    """Return what is wrong with a SQLite database and what to do about it; None where SQLite means something else."""
    name = getattr(error, "sqlite_errorname", "") or "" if isinstance(error, sqlite3.Error) else ""
    if name.startswith("SQLITE_NOTADB"):
        return _(
            "%(file)s is not a SQLite database: it holds something else. Stop Écluse, move the file away and "
            "restore the last backup: ecluse backup restore latest --from URL; without one, what is still readable "
            "comes out with: sqlite3 %(value)s .recover | sqlite3 mended.db.",
            file=file,
            value=file,
        )
    if name.startswith("SQLITE_CORRUPT"):
        return _damaged(file, str(error))
    if name.startswith("SQLITE_FULL"):
        return _full(file)
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_IOERR")):
        return _why_unwritable(file) or (_ways_out(file)[errno.EIO] if "IOERR" in name else None)
    if is_locked(error):
        return _(
            "Another process has kept %(file)s locked for half a minute. Try again, or end that process.",
            file=file,
        )
    return None


def why_damaged(file: Path, seconds: float) -> str | None:
    """Return what is wrong with a SQLite database and what to do; None where that took longer, or nothing is.

    It is looked through without a byte being written, not of what SQLite keeps beside it either.
    """
    if not file.is_file() or not file.stat().st_size:
        return None
    # Where nobody has it open, nothing lies beside it; who opened it meanwhile may write while it is read.
    has_log = Path(f"{file}-wal").exists()
    reason = _looked_through(file, seconds, "mode=ro" if has_log else "mode=ro&immutable=1")
    if reason is not None and not has_log and Path(f"{file}-wal").exists():
        return _looked_through(file, seconds, "mode=ro")
    return reason


def _looked_through(file: Path, seconds: float, how: str) -> str | None:
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?{how}", uri=True)) as connection:
            end = threading.Timer(seconds, connection.interrupt)
            end.start()
            try:
                ((problem,),) = connection.execute("PRAGMA quick_check(1)").fetchall()
            finally:
                end.cancel()
                end.join()  # it holds the connection, which is closed next
    except sqlite3.Error as error:  # what else is in the way is said by who opens it to use it
        return why_sqlite_fails(error, file) if is_damage(error) else None
    return None if problem == "ok" else _damaged(file, " ".join(problem.split()))


def _damaged(file: Path, problem: str) -> str:
    return _(
        "%(file)s is damaged (%(error)s). Stop Écluse, move the file away and restore the last backup: ecluse backup "
        "restore latest --from URL; without one, what is still readable comes out with: sqlite3 %(value)s .recover | "
        "sqlite3 mended.db.",
        file=file,
        error=problem,
        value=file,
    )


def why_empty(file: Path) -> str | None:
    """Return what to do about a database that is a file without a byte; None where it is another, or not there."""
    if not file.is_file() or file.stat().st_size or Path(f"{file}-wal").exists():
        return None
    return _(
        "%(file)s is empty: what it held is gone. Stop Écluse, move the file away and restore the last backup: ecluse "
        "backup restore latest --from URL. If nothing was ever kept here, remove the file.",
        file=file,
    )


def first_file(folder: Path) -> Path | None:
    """Return any file below a folder, but for hidden ones, as of a write that goes on; None where there is none."""
    for path, _folders, names in os.walk(folder):
        if (name := next((name for name in names if not name.startswith(".")), None)) is not None:
            return Path(path, name)
    return None


def is_full(error: BaseException | None) -> bool:
    """Return whether a full disk, or a used-up share of one, is what an error goes back to."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if (getattr(error, "sqlite_errorname", "") or "").startswith("SQLITE_FULL"):
            return True
        if any(phrase in str(error) for phrase in ("No space left on device", "Disk quota exceeded")):
            return True  # as libraries of other languages say it
        error = getattr(error, "orig", None) or error.__cause__
    return False


def is_damage(error: BaseException | None) -> bool:
    """Return whether SQLite says that a file is not, or no longer, a database."""
    name = getattr(error, "sqlite_errorname", "") or ""
    return isinstance(error, sqlite3.Error) and name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT"))


def is_locked(error: BaseException | None) -> bool:
    """Return whether another process has kept a SQLite file for longer than anyone waits for it."""
    name = getattr(error, "sqlite_errorname", "") or ""
    return isinstance(error, sqlite3.Error) and name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


def _why_unwritable(file: Path) -> str | None:
    """Return why SQLite cannot write a file or the journal beside it; None if no reason is visible."""
    if file.is_dir():
        return _(
            "%(file)s is a folder, and the database is to be a file. Move the folder away, or choose another "
            "folder for everything local: ECLUSE_HOME=/another/folder, or --home.",
            file=file,
        )
    folder = file.parent
    if not folder.is_dir():
        return _(
            "There is no folder %(file)s. Make it, or choose another folder for everything local: "
            "ECLUSE_HOME=/another/folder, or --home.",
            file=folder,
        )
    disk = os.statvfs(folder)
    if disk.f_flag & os.ST_RDONLY:
        return _ways_out(file)[errno.EROFS]
    if _free(disk) < _OPENING or _has_no_inode(disk):
        return _full(file)
    files = [Path(f"{file}{ending}") for ending in ("", "-wal", "-shm")]
    for path in (folder, *(path for path in files if path.exists())):
        if not os.access(path, os.R_OK | os.W_OK | (os.X_OK if path == folder else 0)):
            return _ways_out(path)[errno.EACCES]
    return None


def _is_no_folder(error: OSError, folder: Path) -> str:
    for above in (folder, *folder.parents):
        if above.exists():
            if not above.is_dir():
                return _(
                    "%(file)s cannot be a folder: %(value)s is a file. Move it away, or choose another folder for "
                    "everything local: ECLUSE_HOME=/another/folder, or --home.",
                    file=folder,
                    value=above,
                )
            break
    reason = error.strerror or type(error).__name__
    return _(
        "%(file)s cannot be used as a folder: %(error)s. Make it, or choose another folder for everything "
        "local: ECLUSE_HOME=/another/folder, or --home.",
        file=folder,
        error=reason,
    )


def _ways_out(place: str | Path) -> dict[int, str]:
    """By what the system calls the trouble; a full disk is told by `_full`."""
    forbidden = _(
        "%(file)s may not be read or written by the user that runs Écluse (%(name)s). Give it to that user "
        "(chown -R), or choose another folder for everything local: ECLUSE_HOME=/another/folder, or --home.",
        file=place,
        name=_user(),
    )
    quota = _(
        "The user that runs Écluse (%(name)s) may keep no more on the disk that holds "
        "%(file)s. Raise the quota, or free some room (ecluse cache clear empties the cache), "
        "then try again; nothing was kept half.",
        name=_user(),
        file=place,
    )
    return {
        errno.EROFS: _(
            "%(file)s is on a disk that can only be read. Mount it for writing, or choose another folder for "
            "everything local: ECLUSE_HOME=/another/folder, or --home.",
            file=place,
        ),
        errno.EACCES: forbidden,
        errno.EPERM: forbidden,
        errno.EDQUOT: quota,
        errno.EFBIG: _(
            "%(file)s would be larger than a file may be here (see: ulimit -f). Raise that limit.", file=place
        ),
        errno.EIO: _(
            "The disk that holds %(file)s fails to read or write. Copy what it holds elsewhere, or choose "
            "another folder for everything local: ECLUSE_HOME=/another/folder, or --home.",
            file=place,
        ),
        errno.EMFILE: _("Too many files are open in this process (see: ulimit -n). Raise that limit."),
        errno.ENFILE: _("Too many files are open on this machine. End what holds them open, then try again."),
    }


def _full(place: Path) -> str:
    """Say that a disk is full: how many bytes are free, or that it takes no more files."""
    there = next(above for above in (place.absolute(), *place.absolute().parents) if above.exists())
    status = os.statvfs(there)
    if _has_no_inode(status):
        return _(
            "The disk that holds %(file)s takes no more files: its inodes are used up. Remove "
            "some files (ecluse cache clear empties the cache), then try again; nothing was kept "
            "half.",
            file=place,
        )
    return _(
        "The disk that holds %(file)s is full: %(number)s MB free. Free some room (ecluse "
        "cache clear empties the cache), then try again; nothing was kept half.",
        file=place,
        number=num(_free(status) / 1000000.0, ",.1f"),
    )


def _user() -> str:
    try:
        import pwd

        return pwd.getpwuid(os.geteuid()).pw_name
    except (ImportError, KeyError):
        return str(os.geteuid()) if hasattr(os, "geteuid") else "you"
