"""Keep downloaded objects on local disk by content, within a bound, for any number of processes.

    folder/sha256/ab/abcdef…        an entry: the object's bytes, read-only, complete and verified
    folder/sha256/ab/abcdef….seen   size, time and inode at its verification, and since which start of the machine
    folder/locks/                   one file per download that runs, and `room`

`link` hands out a hard link and hashes nothing while an entry's size, time of change and inode are those
that were verified; `copy` hands out a file of one's own, hashed on the way. What was written over an entry
in place, with its size kept and its time set back, is seen by `copy` and `verify` and not by `link`.

An entry's time of access is its last use. Room is made by last use before a download begins and is held by
a file of the object's full size, so that the bound holds at every moment. An entry with a second hard link
is in use and is not evicted.

Locks save work and keep the count exact; no result rests on them. Whatever is handed out was verified as
the very file it is, whichever process replaced or removed the entry meanwhile.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import json
import logging
import os
import re
import shutil
import socket
import stat
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import BinaryIO, Final, Literal

from ecluse.errors import DigestMismatch, DiskFull, InvalidInput
from ecluse.sentences import _, num
from ecluse.storage.store import DOWNLOAD_CHUNK, Digest, ObjectStore

#: After this long an unfinished download counts as abandoned.
STALE: Final = timedelta(hours=6)
#: How long to wait for another process that downloads the same object while its file does not grow; then download
#: it here as well.
PATIENCE: Final = timedelta(minutes=2)
#: Seconds between two attempts to take a lock.
LOOK: Final = 0.02
#: An eviction frees up to 1/SPARE of the bound, so that the entries need not be counted for every download.
SPARE: Final = 20
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
#: The file system has no hard links, or this one would cross into another.
_NO_LINK: Final = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP}
_NO_LOCK: Final = {errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK}
_READ_ONLY: Final = {errno.EROFS, errno.EACCES, errno.EPERM}
_FULL: Final = {errno.ENOSPC, errno.EDQUOT}
#: A link, or a socket, where a file was to be opened.
_NO_FILE: Final = {errno.ELOOP, errno.ENXIO}
#: Name of the lock that is held while room is made; its file holds the number of bytes in use.
_ROOM: Final = "room"
#: Characters of the digest in the name of an unfinished file.
_NAMED: Final = 16
_UNFINISHED: Final = re.compile(r"\..{16}\.(?P<host>[0-9a-f]{8})\.(?P<pid>\d{1,9})\.[0-9a-f]{32}\.part")
_CHUNK: Final = 1024 * 1024
logger = logging.getLogger(__name__)

Progress = Callable[[int], None]
_EntryState = Literal["intact", "damaged", "missing"]


@dataclass(frozen=True)
class Fetched:
    """Where an object came from. `replaced`: its entry was damaged, so that it was downloaded again."""

    from_cache: bool
    replaced: bool = False


@dataclass(frozen=True)
class Entry:
    """One object in the cache; `size` in bytes. `pinned`: it is in use and is not evicted."""

    sha256: str
    size: int
    last_used: datetime
    pinned: bool


@dataclass(frozen=True)
class Verified:
    """What hashing everything showed: entries that are intact, their bytes, and the digests that were not."""

    intact: int
    size: int
    corrupt: tuple[str, ...]


@dataclass(frozen=True)
class Cleared:
    """How many entries were removed, their bytes, and how many stayed because they are in use."""

    removed: int
    size: int
    pinned: int


@dataclass(frozen=True)
class _Request:
    """One object that is asked for."""

    store: ObjectStore
    key: str
    sha256: str
    size: int
    progress: Progress

    @property
    def title(self) -> str:
        return f"{self.key} in {self.store.url}"


@dataclass(frozen=True)
class _File:
    """An entry, or a download under way, as it stands on disk."""

    path: Path
    size: int
    accessed_ns: int
    modified: float
    pinned: bool

    @property
    def is_entry(self) -> bool:
        return _DIGEST.fullmatch(self.path.name) is not None


class Cache:
    """Content-addressed files under `folder`, at most `max_bytes` in all: entries and running downloads."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._folder = folder / "sha256"
        self._locks = folder / "locks"
        self._has_counted = False
        self._has_warned = self._has_warned_of_room = False

    # Hand out

    def link(
        self,
        store: ObjectStore,
        key: str,
        sha256: str,
        size: int,
        destination: Path,
        progress: Progress | None = None,
    ) -> Fetched:
        """Put the object at `destination`, for reading only: a hard link to its entry.

        Across file systems it is a read-only copy. An entry that is here is served without asking the
        store. What is larger than the bound, or finds no room beside what is in use, is downloaded straight
        to `destination` and not kept. `progress` is told the bytes downloaded since it was last called, and 0
        now and then while another process downloads the same object; what it raises ends the fetch.

        Raises:
            DigestMismatch: the stored object is not what `sha256` says; nothing is kept.
            StoreUnavailable, ObjectNotFound: it has to be downloaded and cannot be.
            DiskFull: there is no room on the disk.
        """
        request = _Request(store, key, _checked(sha256), size, progress or _ignore)
        with _appearing(destination, size) as partial:
            fetched = self._fetch(request, partial, self._take_link, _give_link)
            if partial.stat().st_nlink == 1:
                partial.chmod(0o444)
        return fetched

    def copy(
        self,
        store: ObjectStore,
        key: str,
        sha256: str,
        size: int,
        destination: Path,
        progress: Progress | None = None,
    ) -> Fetched:
        """Write the object to `destination`, a file of its own that may be changed; see `link` for the rest.

        An entry is hashed while it is copied, whatever is known of it.
        """
        request = _Request(store, key, _checked(sha256), size, progress or _ignore)
        with _appearing(destination, size) as partial:
            return self._fetch(request, partial, self._take_copy, _give_copy)

    def read(self, store: ObjectStore, key: str, sha256: str) -> bytes:
        """Return the bytes of a small object, whose size need not be known; see `copy` for the rest.

        On a full disk it is read all the same, and not kept.
        """
        try:
            if (opened := _opened(self._path(_checked(sha256)))) is not None:
                with opened as file:
                    data = file.read()
                    if hashlib.sha256(data).hexdigest() == sha256:
                        _mark_used(file, time.time_ns())
                        return data
        except FileNotFoundError:
            pass
        try:
            with tempfile.TemporaryDirectory() as folder:
                destination = Path(folder) / "object"
                self.copy(store, key, sha256, store.head(key).size, destination)
                return destination.read_bytes()
        except OSError as error:  # `DiskFull` is one, and the system's own of the folder for temporary files
            if not isinstance(error, DiskFull) and error.errno not in _FULL:
                raise
            return self._read_past(store, key, sha256, error)

    def _read_past(self, store: ObjectStore, key: str, sha256: str, full: OSError) -> bytes:
        """Read an object without the cache, as the disk is full."""
        if not self._has_warned_of_room:
            self._has_warned_of_room = True
            logger.warning("Small objects are read without the cache for now: %s", full)
        buffer = io.BytesIO()
        _write(_Request(store, key, sha256, store.head(key).size, _ignore), buffer)
        return buffer.getvalue()

    # Look after

    def entries(self) -> list[Entry]:
        """Return every complete entry, least recently used first."""
        files = sorted((f for f in self._files() if f.is_entry), key=lambda f: f.accessed_ns)
        return [Entry(f.path.name, f.size, _moment(f.accessed_ns), f.pinned) for f in files]

    @property
    def used_bytes(self) -> int:
        """Bytes of the entries, and of the room held for the downloads that run.

        Files are looked at one after another: what others replace meanwhile may count twice.
        """
        return sum(file.size for file in self._files())

    def verify(self, progress: Progress | None = None) -> Verified:
        """Hash every entry, whatever is known of it, and remove what is damaged.

        `progress` is told the bytes hashed since it was last called. Entries keep their order of last use.
        """
        intact, size, corrupt = 0, 0, []
        for entry in self.entries():
            state = self._examine(self._path(entry.sha256), entry.sha256, progress or _ignore)
            if state == "damaged":
                corrupt.append(entry.sha256)
            elif state == "intact":
                intact, size = intact + 1, size + entry.size
        return Verified(intact, size, tuple(corrupt))

    def clear(self) -> Cleared:
        """Remove every entry that is not in use, and what killed processes left behind."""
        self._remove_leftovers()
        removed = size = pinned = 0
        for file in self._files():
            if file.is_entry and file.pinned:
                pinned += 1
            elif file.is_entry and _removed(file.path):
                removed, size = removed + 1, size + file.size
                _removed(_record_of(file.path))
        return Cleared(removed, size, pinned)

    # Fetch

    def _fetch(
        self,
        request: _Request,
        partial: Path,
        take: Callable[[Path, str, Path], _EntryState],
        give: Callable[[Path, Path], None],
    ) -> Fetched:
        """Fill `partial`: `take` it from the entry, or download the entry and `give` it."""
        entry = self._path(request.sha256)
        if take(entry, request.sha256, partial) == "intact":
            return Fetched(from_cache=True)
        with self._only_download(request):
            state = take(entry, request.sha256, partial)
            if state == "intact":
                return Fetched(from_cache=True)
            if state == "damaged":
                logger.warning("The cached %s was damaged; it is downloaded again: %s", entry, request.title)
                self._discard(entry)
            fetched = Fetched(from_cache=False, replaced=state == "damaged")
            if request.size <= self.max_bytes and self._download(request, entry, partial, give):
                return fetched
        with partial.open("wb") as file:
            _write(request, file)
        return fetched

    def _take_link(self, entry: Path, sha256: str, partial: Path) -> _EntryState:
        try:
            partial.hardlink_to(entry)
        except FileNotFoundError:
            return "missing"
        except OSError as error:
            if error.errno in _NO_LINK:
                return self._take_copy(entry, sha256, partial)
            raise
        # What is checked is the link: the entry may be another file by now.
        if (opened := _opened(partial)) is None:
            partial.unlink()
            return "damaged"
        with opened as file:
            status = os.fstat(file.fileno())
            if _recorded(entry) != _facts(status):
                if _hash(file, _ignore) != sha256:
                    partial.unlink()
                    return "damaged"
                _record(entry, status)
            _mark_used(file, time.time_ns())
        return "intact"

    def _take_copy(self, entry: Path, sha256: str, partial: Path) -> _EntryState:
        try:
            source = _opened(entry)
        except FileNotFoundError:
            return "missing"
        if source is None:
            return "damaged"
        with source, partial.open("wb") as target:
            status = os.fstat(source.fileno())
            if _hash(source, _ignore, target) != sha256:
                partial.unlink()
                return "damaged"
            if _recorded(entry) != _facts(status):
                _record(entry, status)
            _mark_used(source, time.time_ns())
        return "intact"

    def _examine(self, entry: Path, sha256: str, progress: Progress) -> _EntryState:
        try:
            file = _opened(entry)
        except FileNotFoundError:
            return "missing"
        if file is None:
            logger.warning("The cached %s is no file and is removed.", entry)
            self._discard(entry)
            return "damaged"
        with file:
            status = os.fstat(file.fileno())
            actual = _hash(file, progress)
            if actual == sha256:
                _record(entry, status)
                _mark_used(file, status.st_atime_ns)
                return "intact"
            if _is_file(entry, file.fileno()):
                logger.warning("The cached %s was damaged and is removed.", entry)
                self._discard(entry)
        return "damaged"

    def _discard(self, entry: Path) -> None:
        _removed(entry)
        _removed(_record_of(entry))

    # Download

    def _download(
        self, request: _Request, entry: Path, partial: Path, give: Callable[[Path, Path], None]
    ) -> bool:
        """Download the object into its entry and `partial`; False if there is no room for it."""
        try:
            with _reporting_full_disk(self._folder, request.size):
                reserved = self._hold_room(request)
        except OSError as error:
            if error.errno not in _READ_ONLY:
                raise
            logger.warning("The cache cannot be written, so nothing is kept: %s", error)
            return False
        if reserved is None:
            return False
        try:
            with _reporting_full_disk(self._folder, request.size), reserved.open("r+b") as file:
                _write(request, file)
                status = _settle(file)
            try:
                give(reserved, partial)
            finally:
                reserved.replace(entry)
                _record(entry, status)
        finally:
            reserved.unlink(missing_ok=True)
        return True

    def _hold_room(self, request: _Request) -> Path | None:
        """Reserve room with a file of the object's size; None if the entries in use leave too little."""
        reserved = _unfinished(self._path(request.sha256))
        reserved.parent.mkdir(parents=True, exist_ok=True)
        with self._locked(_ROOM, lambda: True) as lock:
            used = self._count_in(lock)
            if used is None or self._excess(used, request.size) > 0:
                used = self._make_room(request.size)
            if used + request.size > self.max_bytes:
                return None
            if _free(self._folder) < request.size:
                raise _disk_full(self._folder, request.size)
            # Noted before it is there: a process killed in between leaves the count too high, never too low.
            self._note_count(lock, used + request.size)
            with reserved.open("xb") as file:
                file.truncate(request.size)
        return reserved

    def _make_room(self, size: int) -> int:
        """Evict the least recently used for `size` bytes, or nothing where that is not enough; bytes left."""
        self._remove_leftovers()
        files = list(self._files())
        used = sum(file.size for file in files)
        excess = self._excess(used, size)
        if excess <= 0:
            return used
        chosen, freed = [], 0
        for file in sorted((f for f in files if f.is_entry and not f.pinned), key=lambda f: f.accessed_ns):
            if freed >= excess and freed - excess + file.size > self.max_bytes // SPARE:
                break
            chosen.append(file)
            freed += file.size
        if freed < excess:
            return used
        for file in chosen:
            self._discard(file.path)
        return used - freed

    def _excess(self, used: int, size: int) -> int:
        """Return how many bytes must be evicted before `size` more fit, within the bound and on the disk."""
        return max(used + size - self.max_bytes, size - _free(self._folder))

    def _count_in(self, lock: int | None) -> int | None:
        """Return the bytes in use (at most) as the last process noted them; None if they have to be counted.

        Each process counts once for itself: that heals what a power failure or a stranger's hand did.
        """
        if lock is None or not self._has_counted:
            return None
        try:
            return int(os.pread(lock, 32, 0))
        except ValueError:
            return None

    def _note_count(self, lock: int | None, used: int) -> None:
        if lock is not None:
            os.pwrite(lock, b"%032d" % used, 0)
            self._has_counted = True

    # Files

    def _path(self, sha256: str) -> Path:
        return self._folder / sha256[:2] / sha256

    def _files(self) -> Iterator[_File]:
        """Entries, and downloads that are under way; records are not counted."""
        for folder in self._folder.glob("??"):
            yield from _files_in(folder)

    def _remove_leftovers(self) -> None:
        """Remove what killed processes left: unfinished downloads, records of no entry, locks."""
        for file in self._files():
            if not file.is_entry and _is_left(file):
                _removed(file.path)
        for record in self._folder.glob("??/*.seen"):
            if not record.with_suffix("").exists():
                _removed(record)
        for path in self._locks.iterdir() if self._locks.exists() else ():
            if path.name != _ROOM:
                _remove_unheld(path)

    # Locks

    @contextmanager
    def _only_download(self, request: _Request) -> Iterator[None]:
        """Keep others from downloading the same object meanwhile; wait for one that does, while it moves."""
        began = time.monotonic()

        def wait() -> bool:
            request.progress(0)
            waited = time.monotonic() - began
            return waited < PATIENCE.total_seconds() or self._is_moving(request.sha256)

        with self._locked(request.sha256, wait):
            yield

    def _is_moving(self, sha256: str) -> bool:
        limit = time.time() - PATIENCE.total_seconds()
        started = self._path(sha256).parent.glob(f".{sha256[:_NAMED]}.*.part")
        return any(file.modified > limit for path in started if (file := _look(path)))

    @contextmanager
    def _locked(self, name: str, wait: Callable[[], bool]) -> Iterator[int | None]:
        """Hold the lock `name`, an open file; None where it is not to be had, or `wait` would wait no more."""
        path = self._locks / name
        lock = self._acquired(path, wait)
        try:
            yield lock
        finally:
            if lock is not None:
                if name != _ROOM:
                    path.unlink(missing_ok=True)
                # A forked child may hold the file open too; unlocking frees it for all.
                fcntl.flock(lock, fcntl.LOCK_UN)
                os.close(lock)

    def _acquired(self, path: Path, wait: Callable[[], bool]) -> int | None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return _lock_file(path, wait)
        except OSError as error:
            if error.errno not in _NO_LOCK | _READ_ONLY | _FULL:
                raise
            if error.errno in _NO_LOCK:
                path.unlink(missing_ok=True)
            if not self._has_warned:
                self._has_warned = True
                logger.warning("No locks in %s, so an object may be downloaded twice: %s", self._locks, error)
            return None


def _lock_file(path: Path, wait: Callable[[], bool]) -> int | None:
    """Wait in short looks: a signal, or what `wait` raises, ends the wait in any thread."""
    while True:
        lock, is_locked = os.open(path, os.O_RDWR | os.O_CREAT, 0o600), False
        try:
            while not _is_won(lock):
                if not wait():
                    return None
                time.sleep(LOOK)
            # Who held it before has removed it under this process's hands; then another one counts.
            is_locked = _is_file(path, lock)
            if is_locked:
                return lock
        finally:
            if not is_locked:
                os.close(lock)


def _is_won(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove_unheld(path: Path) -> None:
    """Remove the lock of a process that was killed."""
    try:
        lock = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return
    try:
        if _is_won(lock) and _is_file(path, lock):
            path.unlink()
    except OSError as error:
        if error.errno not in _NO_LOCK:
            raise
    finally:
        os.close(lock)


def _is_file(path: Path, opened: int) -> bool:
    """True if the name still points at the open file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(opened))
    except FileNotFoundError:
        return False


# Downloads


def _write(request: _Request, file: BinaryIO) -> None:
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


def _settle(file: BinaryIO) -> os.stat_result:
    """Make the file read-only. After a power failure it may hold less than it did: `_facts` takes care of that."""
    file.flush()
    os.fchmod(file.fileno(), 0o444)
    # From the fine clock: a change in the same tick of the kernel's own would go unseen.
    moment = time.time_ns()
    os.utime(file.fileno(), ns=(moment, moment))
    if _boot() is None:
        os.fsync(file.fileno())
    return os.fstat(file.fileno())


def _give_link(source: Path, partial: Path) -> None:
    try:
        partial.hardlink_to(source)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        shutil.copyfile(source, partial)


def _give_copy(source: Path, partial: Path) -> None:
    shutil.copyfile(source, partial)


@contextmanager
def _appearing(destination: Path, size: int) -> Iterator[Path]:
    """Yield a temporary name beside `destination`, which becomes it when the block ends well."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    partial = destination.with_name(f".{destination.name[:40]}.{uuid.uuid4().hex}.part")
    try:
        with _reporting_full_disk(destination.parent, size):
            yield partial
        partial.replace(destination)
    finally:
        # Also after success: to rename one hard link over another of the same file does nothing.
        partial.unlink(missing_ok=True)


def _files_in(folder: Path) -> list[_File]:
    """Entries and unfinished files of one folder, each once and none left out."""
    while True:
        paths = [path for path in folder.iterdir() if path.suffix != ".seen"]
        files = [_look(path) for path in paths]
        # One that is gone has been evicted; but an unfinished one may just have become an entry.
        if all(file or path.suffix != ".part" for path, file in zip(paths, files, strict=True)):
            return [file for file in files if file]


def _look(path: Path) -> _File | None:
    """Return a file as it stands; None when another process has removed it."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    pinned = stat.S_ISREG(status.st_mode) and status.st_nlink > 1
    return _File(path, status.st_size, status.st_atime_ns, status.st_mtime, pinned)


def _opened(path: Path) -> BinaryIO | None:
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


def _unfinished(path: Path) -> Path:
    """Return a name for a file that is to become `path`; it holds the host and process that write it."""
    return path.with_name(f".{path.name[:_NAMED]}.{_host()}.{os.getpid()}.{uuid.uuid4().hex}.part")


def _is_left(file: _File) -> bool:
    """True if the process that was writing an unfinished file is gone."""
    if time.time() - file.modified > STALE.total_seconds():
        return True
    named = _UNFINISHED.fullmatch(file.path.name)
    return named is not None and named["host"] == _host() and not _is_running(int(named["pid"]))


@cache
def _host() -> str:
    """Return this machine, and this space of process numbers on it: containers may share a name and a folder."""
    try:
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        space = ""
    return hashlib.sha256(f"{socket.gethostname()} {space}".encode()).hexdigest()[:8]


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


# Records


def _record_of(entry: Path) -> Path:
    return entry.with_name(f"{entry.name}.seen")


def _facts(status: os.stat_result) -> dict[str, int | str | None]:
    """Return the facts that must be unchanged for an entry to be used without hashing it again.

    The boot is one of them: a download is not flushed to disk, so what was written before a crash may be damaged.
    """
    return {
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "inode": status.st_ino,
        "boot": _boot(),
    }


@cache
def _boot() -> str | None:
    """Return the id of this machine's boot; None if the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() or None
    except OSError:
        return None


def _recorded(entry: Path) -> object:
    """Read the facts of an entry when it was last verified; None if there is no readable record."""
    try:
        if (record := _opened(_record_of(entry))) is None:
            return None
        with record:
            return json.loads(record.read())
    except (FileNotFoundError, ValueError):
        return None


def _record(entry: Path, status: os.stat_result) -> None:
    partial = entry.with_name(f"{entry.name}.{uuid.uuid4().hex}.seen")
    try:
        partial.write_text(json.dumps(_facts(status)))
        if _record_of(entry).is_dir():
            _removed(_record_of(entry))
        partial.replace(_record_of(entry))
    except OSError as error:
        # The entry is intact all the same, and is hashed again next time.
        if error.errno not in _READ_ONLY | _FULL | {errno.ENOENT}:
            raise
    finally:
        partial.unlink(missing_ok=True)


def _hash(source: BinaryIO, progress: Progress, target: BinaryIO | None = None) -> str:
    """SHA-256 of an open file from its beginning, in hexadecimal; the bytes go to `target` on the way."""
    digest = hashlib.sha256()
    while chunk := source.read(_CHUNK):
        digest.update(chunk)
        if target is not None:
            target.write(chunk)
        progress(len(chunk))
    return digest.hexdigest()


def _mark_used(file: BinaryIO, at_ns: int) -> None:
    """Set the time of last use, and keep that of the last change as it is by now."""
    try:
        os.utime(file.fileno(), ns=(at_ns, os.fstat(file.fileno()).st_mtime_ns))
    except OSError as error:
        if error.errno not in _READ_ONLY:
            raise


def _removed(path: Path) -> bool:
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


# The disk


def _free(folder: Path) -> int:
    """Return the bytes free on a folder's disk; a huge number if the file system does not say."""
    usage = shutil.disk_usage(folder)
    return usage.free if usage.total else sys.maxsize


@contextmanager
def _reporting_full_disk(folder: Path, size: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise _disk_full(folder, size) from error


def _disk_full(folder: Path, size: int) -> DiskFull:
    return DiskFull(
        _(
            "The disk that holds %(file)s has no room for %(count)s bytes, %(number)s are free. "
            "Free some, or clear the cache: ecluse cache clear",
            file=folder,
            count=num(size, ","),
            number=num(_free(folder), ","),
        )
    )


def _checked(sha256: str) -> str:
    """Return a digest that can be a file's name; it may come from a manifest that someone else wrote."""
    if not _DIGEST.fullmatch(sha256):
        raise InvalidInput(
            _("%(value)s is no SHA-256 digest in hexadecimal. Publish the version again.", value=repr(sha256))
        )
    return sha256


def _moment(ns: int) -> datetime:
    return datetime.fromtimestamp(ns / 1e9, UTC)


def _ignore(size: int) -> None:
    """Ignore progress: the default callback."""
