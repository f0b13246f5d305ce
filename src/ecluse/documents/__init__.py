"""Keep documents by kind and key: in SQL, in MongoDB or in DynamoDB, with the same answers from each.

A document is plain JSON under a `kind`, such as `metrics/zones`, and a `key` within it, such as `2025-10-14`.
Keys of a kind are ordered as their UTF-8 bytes are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Body = dict[str, Any]


@dataclass(frozen=True)
class Document:
    """One document as it was read."""

    kind: str
    key: str
    body: Body


@dataclass(frozen=True)
class Page:
    """Some of a range. `next`: give it as `after` for the documents that follow; None on the last page."""

    items: tuple[Document, ...]
    next: str | None


class Documents(Protocol):
    """The documents of one database.

    Every method raises `DocumentsUnavailable` when it does not answer and `DocumentsMissing` when its tables
    were never made.
    """

    #: Where they are, as it may be shown.
    place: str

    def put(self, kind: str, key: str, body: Mapping[str, Any]) -> None:
        """Write a document whole, over one that is there.

        Raises:
            InvalidDocument: not every database could keep it: not JSON, a float that is no number, too large.
        """

    def put_many(self, items: Iterable[Document]) -> None:
        """Write documents, several at a time; each is whole or absent, but some may be there when it fails."""

    def get(self, kind: str, key: str) -> Body:
        """One document.

        Raises:
            DocumentNotFound: there is none.
        """

    def get_many(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Body]:
        """Those of these (kind, key) that are there."""

    def delete(self, kind: str, key: str) -> None:
        """Remove a document; one that is not there is no error."""

    def delete_kind(self, kind: str) -> int:
        """Remove every document of a kind; how many that were."""

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

    def all(self, kind: str, start: str | None = None, stop: str | None = None) -> Iterator[Document]:
        """The whole range, page after page."""

    def latest(self, kind: str) -> Document | None:
        """The document with the highest key of a kind; None where there is none."""

    def keys(self, kind: str, start: str | None = None, stop: str | None = None) -> list[str]:
        """The keys of a range, without their documents."""

    def kinds(self) -> Iterator[str]:
        """Every kind that has documents, in order; for copies, as it may read much."""

    def create(self) -> list[str]:
        """Make the tables and indexes that are missing; which that were."""

    def check(self) -> None:
        """Ask for something; raises as every method does."""

    def close(self) -> None: ...
