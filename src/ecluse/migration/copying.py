"""Copy objects from one store to another, several at a time: hashed on the way, read again where they arrived."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeVar

from ecluse.catalog import journal
from ecluse.catalog.database import keep_fence
from ecluse.catalog.journal import Entry
from ecluse.dying import die_at
from ecluse.errors import (
    DigestMismatch,
    InvalidKey,
    MigrationStopped,
    ObjectNotFound,
    StorageError,
)
from ecluse.migration.hold import Hold
from ecluse.sentences import _
from ecluse.storage import Digest, ObjectInfo, ObjectStore

#: Objects on their way at a time.
AT_ONCE: Final = 8
#: Small objects are written into the journal together: at most so many, and no more bytes than this.
GROUP_OBJECTS: Final = 8
GROUP_BYTES: Final = 8 * 1024 * 1024
#: Of objects larger than this, fewer at a time: each keeps up to 12 parts of 8 MiB in memory on its way.
LARGE: Final = 64 * 1024 * 1024
LARGE_AT_ONCE: Final = 4
#: Seconds before an object that failed is tried again. A store that is away has its own, longer patience.
PAUSES: Final = (1.0, 5.0, 15.0)
_TICK: Final = 0.2
_PAGE: Final = 500
T = TypeVar("T")
R = TypeVar("R")

Stage = Literal["compare", "copy", "switch", "verify", "remove"]


@dataclass(frozen=True)
class Progress:
    """How far a stage is: objects and bytes done, of how many."""

    stage: Stage
    objects: int = 0
    objects_total: int = 0
    size: int = 0
    size_total: int = 0

    @property
    def fraction(self) -> float:
        """Return how much is done, from 0 to 1, by bytes where there are any."""
        done, total = (self.size, self.size_total) if self.size_total else (self.objects, self.objects_total)
        return min(done / total, 1.0) if total else 0.0


class Watch:
    """Counts what passes in all threads, tells of it, and ends the work when asked to."""

    def __init__(self, progress: Callable[[Progress], None], should_stop: Callable[[], bool]) -> None:
        self.halted = threading.Event()
        self._progress = progress
        self._should_stop = should_stop
        self._lock = threading.Lock()
        self._now = Progress("compare")

    def begin(
        self, stage: Stage, objects: int, size: int, *, objects_done: int = 0, size_done: int = 0
    ) -> None:
        with self._lock:
            self._now = Progress(stage, objects_done, objects, size_done, size)
        self.look()

    def passed(self, size: int, objects: int = 0) -> None:
        with self._lock:
            self._now = replace(self._now, objects=self._now.objects + objects, size=self._now.size + size)

    def look(self) -> None:
        """Report how far it is; called from the thread that the work was asked for in.

        Raises:
            MigrationStopped: it is to stop. What `progress` raises passes as well.
        """
        with self._lock:
            now = self._now
        self._progress(now)
        if self._should_stop():
            raise MigrationStopped(_("It was stopped on request."))


class Halted(Exception):
    """The work ends in another thread, which knows why."""


def in_parallel(
    watch: Watch,
    items: Iterable[T],
    work: Callable[[T], R],
    take: Callable[[R], None],
    at_once: int = AT_ONCE,
) -> None:
    """Do `work` on every item in threads, and `take` each result in this one.

    The first error ends all; it is raised once the other threads have let go of what they had in hand.
    """
    rest, running = iter(items), set[Future[R]]()
    with ThreadPoolExecutor(at_once, "migration") as pool:
        try:
            while True:
                while len(running) < at_once and (item := next(rest, None)) is not None:
                    running.add(pool.submit(keep_fence(work), item))
                if not running:
                    return
                done, running = wait(running, _TICK, FIRST_COMPLETED)
                for future in done:
                    take(future.result())
                watch.look()
        except BaseException:
            watch.halted.set()
            raise


def digest_of(store: ObjectStore, key: str, watch: Watch, *, counted: bool = True) -> str:
    """Return the SHA-256 of an object, read whole; its bytes are part of the stage's unless it says otherwise.

    Raises:
        ObjectNotFound: there is none.
    """
    digest = Digest()
    for chunk in digest.through(store.stream(key)):
        if watch.halted.is_set():
            raise Halted
        if counted:
            watch.passed(len(chunk))
    return digest.stored(key).sha256


class Copier:
    """Brings the objects that a migration has planned to its destination."""

    def __init__(self, source: ObjectStore, destination: ObjectStore, hold: Hold, watch: Watch) -> None:
        self._source = source
        self._destination = destination
        self._hold = hold
        self._watch = watch
        self._large = threading.BoundedSemaphore(LARGE_AT_ONCE)

    def copy_planned(self, read: Callable[[str], list[Entry]]) -> None:
        """Copy everything that is planned; `read` gives the next entries whose keys come after its argument."""
        in_parallel(self._watch, _groups(read), self._copy_group, lambda _: None)

    def _copy_group(self, group: list[Entry]) -> None:
        """Copy some objects, with one transaction of the journal before the first and one after the last."""
        waiting, ended = [entry.key for entry in group], list[Entry]()
        with self._hold.write() as transaction:
            journal.announce_copies(transaction, self._hold.migration_id, waiting)
        try:
            for entry in group:
                if self._watch.halted.is_set():
                    raise Halted
                waiting.remove(entry.key)
                with self._large if entry.size > LARGE else nullcontext():
                    ended.append(self._bring(entry))
                self._watch.passed(0, objects=1)
        finally:
            with self._hold.write() as transaction:
                journal.set_entries(transaction, self._hold.migration_id, ended)
                journal.withdraw_copies(transaction, self._hold.migration_id, waiting)

    def _bring(self, entry: Entry) -> Entry:
        """Copy one object, again where that failed, and return its entry as it stands then."""
        damaged, written, turn = 0, False, 0
        while True:
            try:
                return self._settled(entry, written) or self._copied(entry)
            except DigestMismatch:
                damaged += 1
                if damaged == 2:  # read wrongly twice: not a fault of the line
                    return replace(entry, state="damaged")
            except (InvalidKey, FileExistsError):
                raise
            except StorageError:
                if turn == len(PAUSES):
                    raise
                self._watch.halted.wait(PAUSES[turn])
                turn, written = turn + 1, True  # perhaps: an acknowledgement may have been lost

    def _settled(self, entry: Entry, written: bool) -> Entry | None:
        """Return the entry of an object that the destination has and that is not to be replaced; else None."""
        there = self._head(self._destination, entry.key)
        if there is None or (entry.times_copied and entry.e_tag and there.e_tag == entry.e_tag):
            return None
        try:
            expected = entry.sha256 or self._digest(self._source, entry.key)
        except ObjectNotFound:
            return replace(entry, state="gone")
        if there.size != entry.size or self._digest(self._destination, entry.key) != expected:
            return replace(entry, state="conflict")
        state = "verified" if written else "same"
        return replace(entry, state=state, sha256=expected, e_tag=there.e_tag)

    def _copied(self, entry: Entry) -> Entry:
        """Copy one object and read it again."""
        try:
            body = self._source.stream(entry.key, chunk_size=GROUP_BYTES)
        except ObjectNotFound:
            return replace(entry, state="gone")
        counted = _Counted(self._watch)
        try:
            stored = self._destination.put_stream(entry.key, counted.through(self._expected(body, entry)))
        except BaseException:
            counted.take_back()
            raise
        die_at("move.copied")
        there = self._destination.head(entry.key)
        if all(self._digest(self._destination, entry.key) != stored.sha256 for _ in range(2)):
            counted.take_back()
            self._destination.delete(entry.key)
            raise StorageError(
                _(
                    "%(key)s reads back differently from %(store)s than it was written; it was removed "
                    "there. Check the disks of that store.",
                    key=repr(entry.key),
                    store=self._destination.url,
                )
            )
        return replace(entry, state="verified", size=stored.size, sha256=stored.sha256, e_tag=there.e_tag)

    def _expected(self, chunks: Iterable[bytes], entry: Entry) -> Iterator[bytes]:
        """Yield the chunks; where they are not what was recorded, raise before the last write is complete."""
        if entry.sha256 is None:
            yield from chunks
            return
        digest = Digest()
        yield from digest.through(chunks)
        digest.expect(entry.sha256, f"{entry.key} in {self._source.url}")

    def _digest(self, store: ObjectStore, key: str) -> str:
        return digest_of(store, key, self._watch, counted=False)

    def _head(self, store: ObjectStore, key: str) -> ObjectInfo | None:
        try:
            return store.head(key)
        except ObjectNotFound:  # nothing is there
            return None


class _Counted:
    """Chunks counted in a watch; `take_back` uncounts those of a copy that failed."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._size = 0

    def through(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            if self._watch.halted.is_set():
                raise Halted
            self._watch.passed(len(chunk))
            self._size += len(chunk)
            yield chunk

    def take_back(self) -> None:
        self._watch.passed(-self._size)


def _groups(read: Callable[[str], list[Entry]]) -> Iterator[list[Entry]]:
    """Yield large objects each for itself, small ones together."""
    group: list[Entry] = []
    after, size = "", 0
    while page := read(after):
        after = page[-1].key
        for entry in page:
            if group and (len(group) == GROUP_OBJECTS or size + entry.size > GROUP_BYTES):
                yield group
                group, size = [], 0
            group.append(entry)
            size += entry.size
    if group:
        yield group
