"""Hand out objects from local files by content, and keep these within a bound."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal

from ecluse import telemetry
from ecluse.errors import DiskFull, InvalidInput
from ecluse.sentences import _
from ecluse.storage.cache.downloads import (
    NO_LINK,
    Progress,
    Request,
    appearing,
    copying_to,
    give_link,
    ignore,
    make_read_only,
    read_verified,
    write_read_only,
    write_sparse,
    write_verified,
)
from ecluse.storage.cache.files import (
    DIGEST,
    FULL,
    NAMED,
    READ_ONLY,
    SMALL,
    File,
    disk_full,
    files_in,
    free_bytes,
    is_left,
    look_at_file,
    make_folder,
    open_file,
    remove_path,
    reporting_full_disk,
    unfinished_name,
)
from ecluse.storage.cache.locks import is_file, lock_file, remove_unheld
from ecluse.storage.cache.records import hash_file, is_as_verified, mark_used, record_of, write_record
from ecluse.storage.folders import NO_LOCKS
from ecluse.storage.store import ObjectStore

#: How long to wait for another process that downloads the same object while its file does not grow; then download
#: it here as well.
PATIENCE: Final = timedelta(minutes=2)
#: An eviction frees up to 1/SPARE of the bound, so that the entries need not be counted for every download.
SPARE: Final = 20
#: Name of the lock that is held while room is made; its file holds the number of bytes in use.
_ROOM: Final = "room"
logger = logging.getLogger(__name__)
EntryState = Literal["intact", "damaged", "missing"]


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


class Cache:
    """Content-addressed files under `folder`, at most `max_bytes` in all: entries and running downloads."""

    def __init__(self, folder: Path, max_bytes: int, patience: timedelta = PATIENCE) -> None:
        self.max_bytes = max_bytes
        self._patience = patience.total_seconds()
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
        request = Request(store, key, _checked(sha256), size, progress or ignore)
        with appearing(destination, size) as partial:
            fetched = _said(self._fetch(request, partial, own=False), size)
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
        request = Request(store, key, _checked(sha256), size, progress or ignore)
        with appearing(destination, size) as partial:
            return _said(self._fetch(request, partial, own=True), size)

    def read(self, store: ObjectStore, key: str, sha256: str) -> bytes:
        """Return the bytes of a small object, whose size need not be known; see `copy` for the rest.

        On a full disk it is read all the same, and not kept.
        """
        try:
            if (opened := open_file(self._path(_checked(sha256)))) is not None:
                with opened as file:
                    data = file.read()
                    if hashlib.sha256(data).hexdigest() == sha256:
                        mark_used(file, time.time_ns())
                        telemetry.listener().cache_answered("hit", len(data))
                        return data
        except FileNotFoundError:
            pass  # it is not here yet; and one that is no file, or damaged, is replaced by `copy`
        try:
            with tempfile.TemporaryDirectory() as folder:
                destination = Path(folder) / "object"
                self.copy(store, key, sha256, store.head(key).size, destination)
                return destination.read_bytes()
        except OSError as error:  # `DiskFull` is one, and the system's own of the folder for temporary files
            if not isinstance(error, DiskFull) and error.errno not in FULL:
                raise
            return self._read_past(store, key, sha256, error)

    def _read_past(self, store: ObjectStore, key: str, sha256: str, full: OSError) -> bytes:
        """Read an object without the cache, as the disk is full."""
        if not self._has_warned_of_room:
            self._has_warned_of_room = True
            logger.warning("Small objects are read without the cache for now: %s", full)
        data = read_verified(Request(store, key, sha256, store.head(key).size, ignore))
        telemetry.listener().cache_answered("miss", len(data))
        return data

    # Look after

    def noted_bytes(self) -> int | None:
        """Return the bytes in use as they were last counted, without looking at the files; None if they were not."""
        try:
            return int((self._locks / _ROOM).read_bytes()[:32])
        except (OSError, ValueError):  # nothing is kept yet
            return None

    def entries(self) -> list[Entry]:
        """Return every complete entry, least recently used first."""
        files = sorted((f for f in self._files() if f.is_entry), key=lambda f: f.accessed_ns)
        return [Entry(f.path.name, f.size, _moment(f.accessed_ns), f.pinned) for f in files]

    @property
    def used_bytes(self) -> int:
        """Return the bytes of the entries, and of the room held for the downloads that run.

        Files are looked at one after another: what others replace meanwhile may count twice.
        """
        return sum(file.size for file in self._files())

    def verify(self, progress: Progress | None = None) -> Verified:
        """Hash every entry, whatever is known of it, and remove what is damaged.

        `progress` is told the bytes hashed since it was last called. Entries keep their order of last use.
        """
        intact, size, corrupt = 0, 0, []
        for entry in self.entries():
            state = self._examine(self._path(entry.sha256), entry.sha256, progress or ignore)
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
            elif file.is_entry and remove_path(file.path):
                removed, size = removed + 1, size + file.size
                remove_path(record_of(file.path))
        return Cleared(removed, size, pinned)

    # Fetch

    def _fetch(self, request: Request, partial: Path, *, own: bool) -> Fetched:
        """Fill `partial` from the entry, or download both; `own`: a file of its own, and no link to the entry."""
        entry = self._path(request.sha256)
        take = self._take_copy if own else self._take_link
        state = take(entry, request.sha256, partial)
        if state == "intact":
            return Fetched(from_cache=True)
        if request.size <= SMALL:
            self._discard_damaged(state, entry, request)
            self._download_small(request, entry, partial, own=own)
            return Fetched(from_cache=False, replaced=state == "damaged")
        with self._only_download(request):
            state = take(entry, request.sha256, partial)
            if state == "intact":
                return Fetched(from_cache=True)
            self._discard_damaged(state, entry, request)
            fetched = Fetched(from_cache=False, replaced=state == "damaged")
            if request.size <= self.max_bytes and self._download(request, entry, partial, own=own):
                return fetched
        with partial.open("wb") as file:
            write_verified(request, file)
        return fetched

    def _discard_damaged(self, state: EntryState, entry: Path, request: Request) -> None:
        if state == "damaged":
            logger.warning("The cached %s was damaged; it is downloaded again: %s", entry, request.title)
            self._discard(entry)

    def _take_link(self, entry: Path, sha256: str, partial: Path) -> EntryState:
        try:
            partial.hardlink_to(entry)
        except FileNotFoundError:
            return "missing"
        except OSError as error:
            if error.errno in NO_LINK:
                return self._take_copy(entry, sha256, partial)
            raise
        # What is checked is the link: the entry may be another file by now.
        if (opened := open_file(partial)) is None:
            partial.unlink()
            return "damaged"
        with opened as file:
            status = os.fstat(file.fileno())
            if not is_as_verified(entry, status):
                if hash_file(file, ignore) != sha256:
                    partial.unlink()
                    return "damaged"
                write_record(entry, status)
            mark_used(file, time.time_ns())
        return "intact"

    def _take_copy(self, entry: Path, sha256: str, partial: Path) -> EntryState:
        try:
            source = open_file(entry)
        except FileNotFoundError:
            return "missing"
        if source is None:
            return "damaged"
        with source, partial.open("wb") as target:
            status = os.fstat(source.fileno())
            if hash_file(source, ignore, target) != sha256:
                partial.unlink()
                return "damaged"
            if not is_as_verified(entry, status):
                write_record(entry, status)
            mark_used(source, time.time_ns())
        return "intact"

    def _examine(self, entry: Path, sha256: str, progress: Progress) -> EntryState:
        try:
            file = open_file(entry)
        except FileNotFoundError:
            return "missing"
        if file is None:
            logger.warning("The cached %s is no file and is removed.", entry)
            self._discard(entry)
            return "damaged"
        with file:
            status = os.fstat(file.fileno())
            actual = hash_file(file, progress)
            if actual == sha256:
                write_record(entry, status)
                mark_used(file, status.st_atime_ns)
                return "intact"
            if is_file(entry, file.fileno()):
                logger.warning("The cached %s was damaged and is removed.", entry)
                self._discard(entry)
        return "damaged"

    def _discard(self, entry: Path) -> None:
        remove_path(entry)
        remove_path(record_of(entry))

    # Download

    def _download(self, request: Request, entry: Path, partial: Path, *, own: bool) -> bool:
        """Download the object into its entry and `partial`; False if there is no room for it."""
        reserved = self._held(request, lambda path: write_sparse(path, request.size))
        if reserved is None:
            return False
        try:
            with reporting_full_disk(self._folder, request.size), reserved.open("r+b") as file:
                if own:
                    with copying_to(partial, request.size) as copy:
                        write_verified(request, file, copy)
                else:
                    write_verified(request, file)
                status = make_read_only(file)
            try:
                if not own:
                    give_link(reserved, partial)
            finally:
                reserved.replace(entry)
                write_record(entry, status)
        finally:
            reserved.unlink(missing_ok=True)
        return True

    def _download_small(self, request: Request, entry: Path, partial: Path, *, own: bool) -> None:
        """Download the object into memory, then write `partial`, and its entry where there is room.

        No lock: two processes that download the same one lose less time than a lock would take.
        """
        data = read_verified(request)
        is_kept = request.size <= self.max_bytes
        reserved = self._held(request, lambda path: write_read_only(path, data)) if is_kept else None
        try:
            if reserved is not None and not own:
                give_link(reserved, partial)
            else:
                partial.write_bytes(data)
        finally:
            if reserved is not None:
                reserved.replace(entry)

    def _held(self, request: Request, hold: Callable[[Path], None]) -> Path | None:
        """Return a file of the object's size, as `hold` makes it; None where there is no room, or nothing is kept."""
        try:
            with reporting_full_disk(self._folder, request.size):
                return self._hold_room(request, hold)
        except OSError as error:
            if error.errno not in READ_ONLY:
                raise
            logger.warning("The cache cannot be written, so nothing is kept: %s", error)
            return None

    def _hold_room(self, request: Request, hold: Callable[[Path], None]) -> Path | None:
        """Reserve room with a file of the object's size; None if the entries in use leave too little."""
        reserved = unfinished_name(self._path(request.sha256))
        make_folder(reserved.parent)
        with self._locked(_ROOM, lambda: True) as lock:
            used = self._count_in(lock)
            if used is None or self._excess(used, request.size) > 0:
                used = self._make_room(request.size)
            if used + request.size > self.max_bytes:
                return None
            if free_bytes(self._folder) < request.size:
                raise disk_full(self._folder, request.size)
            # Noted before it is there: a process killed in between leaves the count too high, never too low.
            self._note_count(lock, used + request.size)
            hold(reserved)
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
        return max(used + size - self.max_bytes, size - free_bytes(self._folder))

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

    def _files(self) -> Iterator[File]:
        """Entries, and downloads that are under way; records are not counted."""
        for folder in self._folder.glob("??"):
            yield from files_in(folder)

    def _remove_leftovers(self) -> None:
        """Remove what killed processes left: unfinished downloads, records of no entry, locks."""
        for file in self._files():
            if not file.is_entry and is_left(file):
                remove_path(file.path)
        for record in self._folder.glob("??/*.seen"):
            if not record.with_suffix("").exists():
                remove_path(record)
        for path in self._locks.iterdir() if self._locks.exists() else ():
            if path.name != _ROOM:
                remove_unheld(path)

    # Locks

    @contextmanager
    def _only_download(self, request: Request) -> Iterator[None]:
        """Keep others from downloading the same object meanwhile; wait for one that does, while it moves."""
        began = time.monotonic()

        def wait() -> bool:
            request.progress(0)
            waited = time.monotonic() - began
            return waited < self._patience or self._is_moving(request.sha256)

        with self._locked(request.sha256, wait):
            yield

    def _is_moving(self, sha256: str) -> bool:
        limit = time.time() - self._patience
        started = self._path(sha256).parent.glob(f".{sha256[:NAMED]}.*.part")
        return any(file.modified > limit for path in started if (file := look_at_file(path)))

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
            make_folder(path.parent)
            return lock_file(path, wait)
        except OSError as error:
            if error.errno not in NO_LOCKS | READ_ONLY | FULL:
                raise
            if error.errno in NO_LOCKS:
                path.unlink(missing_ok=True)
            if not self._has_warned:
                self._has_warned = True
                logger.warning("No locks in %s, so an object may be downloaded twice: %s", self._locks, error)
            return None


def _said(fetched: Fetched, size: int) -> Fetched:
    """Say to who counts where an object came from."""
    result: telemetry.CacheResult = "hit" if fetched.from_cache else "damaged" if fetched.replaced else "miss"
    telemetry.listener().cache_answered(result, size)
    return fetched


def _checked(sha256: str) -> str:
    """Return a digest that can be a file's name; it may come from a manifest that someone else wrote."""
    if not DIGEST.fullmatch(sha256):
        raise InvalidInput(
            _("%(value)s is no SHA-256 digest in hexadecimal. Publish the version again.", value=repr(sha256))
        )
    return sha256


def _moment(ns: int) -> datetime:
    return datetime.fromtimestamp(ns / 1e9, UTC)
