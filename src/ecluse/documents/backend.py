"""Say what a database of documents must do; `sql.py`, `mongodb.py` and `dynamodb.py` do it.

A backend is given what `Documents` has checked: kinds, keys and bodies in the common form, ranges that are not empty.
Every method raises `DocumentsUnavailable` where the database does not answer, and `DocumentsMissing` where its tables
were never made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ecluse.documents.canonical import Body, Entry


@dataclass(frozen=True)
class Document:
    """One document."""

    kind: str
    key: str
    body: Body


@dataclass(frozen=True)
class Range:
    """The keys `low` <= key < `high` of a kind, open where None; `limit` of them at most, from one end."""

    kind: str
    low: str | None
    high: str | None
    limit: int
    newest_first: bool = False


class Backend(Protocol):
    """One opened database."""

    def put(self, entries: Sequence[Entry]) -> None:
        """Write these, whose kinds and keys are distinct; each is whole or absent."""

    def get(self, keys: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], Body]:
        """Return those of these (kind, key) that are there."""

    def delete(self, kind: str, keys: Sequence[str]) -> None:
        """Remove these; those that are not there are no error."""

    def range(self, bounds: Range) -> list[Document]:
        """Fewer than the limit only where the range has no more."""

    def keys(self, bounds: Range) -> list[str]:
        """Return the same without the bodies."""

    def kinds(self) -> Iterator[str]:
        """Yield every kind that has documents, in the order of their bytes."""

    def create(self) -> list[str]:
        """Make the tables and indexes that are missing; which that were."""

    def check(self) -> None:
        """Ask for something small."""

    def close(self) -> None: ...


#: Documents whose kind begins so are kept apart from all others where a database has several tables.
REPORTS = "reports"


def is_report(kind: str) -> bool:
    return kind.partition("/")[0] == REPORTS
