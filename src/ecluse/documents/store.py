"""Write and read documents of one database, whichever it is.

`Documents` adds to a backend what is the same for all: kinds, keys and bodies that every database keeps, ranges that
go on where they stopped, and a connection that is made when it is first needed.
"""

from __future__ import annotations

import builtins
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final

from ecluse.documents.backend import Backend, Document, Range
from ecluse.documents.canonical import Body, Entry, checked_bound, checked_key, checked_kind, entry
from ecluse.errors import DocumentNotFound
from ecluse.sentences import _, unpack

#: Documents written or read by one request. DynamoDB takes 16 MB of its own notation, which is six times as long.
BATCH: Final = 100
BATCH_BYTES: Final = 2_000_000
KEYS_AT_ONCE: Final = 1000
#: As no key holds a control character, `key + _NEXT` sorts right after `key`.
_JUST_BEHIND: Final = "\x01"


@dataclass(frozen=True)
class Page:
    """Some of a range. `next`: give it as `after` for the documents that follow; None on the last page."""

    items: tuple[Document, ...]
    next: str | None


class Documents:
    """The documents of one database.

    Bodies come back as they were written but for their form: the names of an object in the order of their
    characters, and a float without a fraction as an int. Keys are in the order of their UTF-8 bytes.

    Every method raises `DocumentsUnavailable` when the database does not answer, `DocumentsMissing` when its tables
    were never made, and `InvalidDocument` for a kind or a key that is none. May be used from several threads.
    """

    def __init__(
        self, place: str, open_backend: Callable[[], Backend], expect_open: Callable[[], None] = lambda: None
    ) -> None:
        """`place` is where they are, as it may be shown; `expect_open` raises where nothing may be changed."""
        self.place = place
        self._expect_open = expect_open
        self._open = open_backend
        self._opened: Backend | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Documents({self.place!r})"

    # Write

    def put(self, kind: str, key: str, body: Mapping[str, Any]) -> None:
        """Write a document whole, over one that is there.

        Raises:
            InvalidDocument: not every database could keep it: not JSON, a float that is no number, too large.
        """
        self._expect_open()
        self._backend.put([entry(kind, key, body)])

    def put_many(self, items: Iterable[Document]) -> None:
        """Write documents, several at a time; each is whole or absent, but some may be there when it fails.

        Of several with one kind and key, the last is kept.
        """
        self._expect_open()
        for batch in _batches(entry(item.kind, item.key, item.body) for item in items):
            self._backend.put(batch)

    def delete(self, kind: str, key: str) -> None:
        """Remove a document; one that is not there is no error."""
        self._expect_open()
        self._backend.delete(checked_kind(kind), [checked_key(key)])

    def delete_kind(self, kind: str) -> int:
        """Remove every document of a kind; how many that were."""
        self._expect_open()
        removed = 0
        while keys := self._backend.keys(Range(checked_kind(kind), None, None, KEYS_AT_ONCE)):
            self._backend.delete(kind, keys)
            removed += len(keys)
        return removed

    # Read

    def get(self, kind: str, key: str) -> Body:
        """Return one document.

        Raises:
            DocumentNotFound: there is none.
        """
        bodies = self._backend.get([(checked_kind(kind), checked_key(key))])
        if (kind, key) not in bodies:
            raise DocumentNotFound(
                _(
                    "There is no document %(name)s. See those there are: ecluse documents list %(word)s",
                    name=f"{kind} {key}",
                    word=kind,
                )
            )
        body: Body = unpack(bodies[kind, key])
        return body

    def get_many(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Body]:
        """Return those of these (kind, key) that are there."""
        distinct = dict.fromkeys((checked_kind(kind), checked_key(key)) for kind, key in keys)
        bodies: dict[tuple[str, str], Body] = {}
        names = iter(distinct)
        while batch := list(islice(names, BATCH)):
            bodies |= self._backend.get(batch)
        return {name: unpack(bodies[name]) for name in distinct if name in bodies}

    def range(
        self,
        kind: str,
        start: str | None = None,
        stop: str | None = None,
        *,
        after: str | None = None,
        limit: int = 100,
        newest_first: bool = False,
    ) -> Page:
        """Documents of a kind with `start` <= key < `stop`, in the order of their keys, `limit` at most."""
        if limit < 1:
            raise ValueError(f"limit={limit}: a page holds one document at least")
        bounds = _range(kind, start, stop, after, limit + 1, newest_first=newest_first)
        documents = [] if bounds is None else self._backend.range(bounds)
        items = (replace(document, body=unpack(document.body)) for document in documents[:limit])
        return Page(tuple(items), documents[limit - 1].key if len(documents) > limit else None)

    def all(self, kind: str, start: str | None = None, stop: str | None = None) -> Iterator[Document]:
        """Yield the whole range, page after page."""
        after = None
        while True:
            page = self.range(kind, start, stop, after=after, limit=BATCH)
            yield from page.items
            if (after := page.next) is None:
                return

    def latest(self, kind: str) -> Document | None:
        """Return the document with the highest key of a kind; None where there is none."""
        return next(iter(self.range(kind, limit=1, newest_first=True).items), None)

    def keys(self, kind: str, start: str | None = None, stop: str | None = None) -> builtins.list[str]:
        """Return the keys of a range, in order, without their documents."""
        names: builtins.list[str] = []
        while bounds := _range(kind, start, stop, names[-1] if names else None, KEYS_AT_ONCE):
            some = self._backend.keys(bounds)
            names += some
            if len(some) < KEYS_AT_ONCE:
                break
        return names

    def kinds(self) -> Iterator[str]:
        """Yield every kind that has documents, in order. Meant for copies, as it may read much."""
        return self._backend.kinds()

    # The database itself

    def create(self) -> builtins.list[str]:
        """Make the tables and indexes that are missing; which that were."""
        return self._backend.create()

    def check(self) -> None:
        """Ask for something small; raises as every method does."""
        self._backend.check()

    def close(self) -> None:
        """Give the connections back; what is asked afterwards makes new ones."""
        with self._lock:
            opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()

    @property
    def _backend(self) -> Backend:
        with self._lock:
            if self._opened is None:
                self._opened = self._open()
            return self._opened


def _range(
    kind: str,
    start: str | None,
    stop: str | None,
    after: str | None,
    limit: int,
    *,
    newest_first: bool = False,
) -> Range | None:
    """Return what is asked of the backend; None where nothing can be in it."""
    checked_kind(kind)
    low = None if start is None or not checked_bound(start) else start
    high = None if stop is None else checked_bound(stop)
    if after is not None and newest_first:
        high = checked_key(after) if high is None else min(high, checked_key(after))
    elif after is not None:
        behind = checked_key(after) + _JUST_BEHIND
        low = behind if low is None else max(low, behind)
    if high is not None and (low or "") >= high:
        return None
    return Range(kind, low, high, limit, newest_first)


def _batches(entries: Iterable[Entry]) -> Iterator[builtins.list[Entry]]:
    """Group by `BATCH` documents and `BATCH_BYTES` at most, each kind and key once."""
    batch: dict[tuple[str, str], Entry] = {}
    size = 0
    for item in entries:
        length = len(item.text.encode())
        if batch and (len(batch) == BATCH or size + length > BATCH_BYTES):
            yield list(batch.values())
            batch, size = {}, 0
        batch[item.kind, item.key] = item
        size += length
    if batch:
        yield list(batch.values())
