"""Find the raw files of a city by partition or by batch name, in any store, and read them.

    {raw}/api/{feed}/dt=YYYY-MM-DD/hour=HH/*.json[.gz]
    {raw}/batch/{name}*.csv[.gz] | .parquet | .geojson | .json

Where a fallback is set and the store has nothing of what is asked for, or does not answer, it is taken from there,
and says so.
"""

from __future__ import annotations

import gzip
import hashlib
import logging
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Final

from ecluse.apps.city.errors import BadRaw
from ecluse.errors import InvalidKey, StoreUnavailable
from ecluse.sentences import _, num
from ecluse.storage import ObjectInfo, ObjectStore, checked_key, join_key

logger = logging.getLogger(__name__)
#: A file of a feed holds some hours of some sensors; what is larger than this, unpacked, is not one.
LARGEST_FEED_FILE: Final = 64 * 1024 * 1024


@dataclass(frozen=True)
class RawFile:
    """One raw file as the store lists it. `is_fallback`: it is the local copy."""

    store: ObjectStore
    info: ObjectInfo
    is_fallback: bool = False

    @property
    def key(self) -> str:
        return self.info.key

    @cached_property
    def url(self) -> str:
        return self.store.url_of(self.key)

    @property
    def last_modified(self) -> datetime:
        return self.info.last_modified

    @cached_property
    def fingerprint(self) -> str:
        """Changes with the file: its address, size, and the store's mark of its content."""
        mark = self.info.e_tag or self.info.last_modified.isoformat()
        identity = f"{self.url}\n{self.info.size}\n{mark}"
        return hashlib.sha256(identity.encode()).hexdigest()[:16]

    def read(self) -> bytes:
        """Return its bytes, unpacked where it ends in `.gz`. For the files of a feed.

        Raises:
            BadRaw: it is damaged, or far too large.
        """
        if self.info.size > LARGEST_FEED_FILE:
            raise BadRaw(
                _(
                    "%(file)s has %(count)s bytes; a file of a feed is far smaller.",
                    file=self.url,
                    count=num(self.info.size, ","),
                )
            )
        data = self.store.get(self.key)
        if not self.key.endswith(".gz"):
            return data
        try:
            with gzip.GzipFile(fileobj=BytesIO(data)) as file:
                unpacked = file.read(LARGEST_FEED_FILE + 1)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise BadRaw(
                _("%(file)s is no whole gzip file: %(error)s. Fetch it again.", file=self.url, error=error)
            ) from error
        if not data:
            raise BadRaw(
                _(
                    "%(file)s is no whole gzip file: %(error)s. Fetch it again.",
                    file=self.url,
                    error=_("it is empty"),
                )
            )
        if len(unpacked) > LARGEST_FEED_FILE:
            raise BadRaw(
                _(
                    "%(file)s unpacks to more than %(count)s bytes.",
                    file=self.url,
                    count=num(LARGEST_FEED_FILE, ","),
                )
            )
        return unpacked

    def local(self, scratch: Path) -> Path:
        """Return a file on this disk with its content, as stored: the original of a `file://` store, else a copy."""
        if (path := self.store.local_path(self.key)) is not None:
            return path
        destination = scratch / f"{self.fingerprint}-{self.key.rpartition('/')[2]}"
        if not destination.exists():
            self.store.download(self.key, destination)
        return destination


@dataclass(frozen=True)
class Raw:
    """The raw layout in a store, with an optional local copy to fall back to."""

    store: ObjectStore
    fallback: ObjectStore | None = None
    #: Set once the store did not answer: each question would wait for it anew, and there are hundreds.
    _away: threading.Event = field(default_factory=threading.Event, repr=False, compare=False)

    def partition(self, feed: str, day: date) -> list[RawFile]:
        """Return the files of one feed and one day of its partitions, in the order of their hours and names."""
        prefix = join_key("api", feed, f"dt={day.isoformat()}")
        return self._files_that_fit(prefix, lambda key: key.endswith((".json", ".json.gz")))

    def days(self, feed: str | None = None) -> list[date]:
        """Return the days that a feed, or any of them, has partitions for, in order."""
        days: set[date] = set()
        for store in self._places():
            feeds = [name.strip("/") for name in self._names(store, "api")] if feed is None else [feed]
            for name in [name for feed in feeds for name in self._names(store, join_key("api", feed))]:
                label, _rest, value = name.strip("/").partition("=")
                if label == "dt" and (day := _date(value)) is not None:
                    days.add(day)
        return sorted(days)

    def batch(self, *names: str, endings: tuple[str, ...] = (".csv", ".csv.gz", ".parquet")) -> list[RawFile]:
        """Return the batch files whose name begins with one of `names`, oldest first: the later file wins."""

        def fits(key: str) -> bool:
            folder, _rest, name = key.rpartition("/")
            return folder == "batch" and name.startswith(names) and name.endswith(endings)

        return sorted(self._files_that_fit("batch", fits), key=lambda file: (file.last_modified, file.key))

    def _files_that_fit(self, prefix: str, fits: Callable[[str], bool]) -> list[RawFile]:
        files: list[RawFile] = []
        if not self._away.is_set():
            try:
                files = [
                    RawFile(self.store, info) for info in _usable(self.store.list(prefix)) if fits(info.key)
                ]
            except StoreUnavailable as error:
                self._note_away(error)
        if files or self.fallback is None:
            return files
        return [
            RawFile(self.fallback, info, is_fallback=True)
            for info in _usable(self.fallback.list(prefix))
            if fits(info.key)
        ]

    def _names(self, store: ObjectStore, prefix: str) -> list[str]:
        try:
            return store.list_names(prefix)
        except StoreUnavailable as error:
            if store is not self.store:
                raise
            self._note_away(error)
            return []

    def _note_away(self, error: StoreUnavailable) -> None:
        """Say that the copy is read instead; where there is none, the error stands."""
        if self.fallback is None:
            raise error
        if not self._away.is_set():
            logger.warning("%s does not answer; its local copy is read instead.", self.store.url)
        self._away.set()

    def _places(self) -> Iterator[ObjectStore]:
        if not self._away.is_set():
            yield self.store
        if self.fallback is not None:
            yield self.fallback


def fingerprint_of(files: Sequence[RawFile]) -> str:
    """Return a digest that changes when a file changes, is added or is removed."""
    return hashlib.sha256("\n".join(file.fingerprint for file in files).encode()).hexdigest()[:16]


def is_packed(path: Path) -> bool:
    """Return whether a file begins as gzip does."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _usable(listed: Iterable[ObjectInfo]) -> Iterator[ObjectInfo]:
    """Yield what can be read by its key; another program may have written a name that no key of ours has."""
    for info in listed:
        try:
            checked_key(info.key)
        except InvalidKey as error:
            logger.warning("A raw file is left out: %s", error)
        else:
            yield info


def _date(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:  # no date, as the name of another folder
        return None
