"""Copy documents from one database to another, and compare the two; a copy that stopped goes on when it is run again.

Both are read side by side in the order of kinds and keys, so nothing is held but a page of each.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final, Literal

from ecluse.documents.backend import Document
from ecluse.documents.store import BATCH, Documents

#: missing: at the destination. other: there with another body. extra: at the destination alone.
State = Literal["same", "missing", "other", "extra"]
#: Called with the number of kinds done, the number of all kinds, and the kind that is next.
Tell = Callable[[int, int, str], None]
#: How many documents of each state a comparison names.
NAMED: Final = 20


@dataclass
class Comparison:
    """How many documents are in which state, and the first of those that are not the same, as (kind, key)."""

    kinds: int = 0
    counts: dict[State, int] = field(
        default_factory=lambda: {"same": 0, "missing": 0, "other": 0, "extra": 0}
    )
    named: dict[State, list[tuple[str, str]]] = field(default_factory=dict)

    @property
    def is_same(self) -> bool:
        return self.counts["same"] == sum(self.counts.values())

    def count(self, state: State, kind: str, key: str) -> None:
        self.counts[state] += 1
        if state != "same" and len(names := self.named.setdefault(state, [])) < NAMED:
            names.append((kind, key))


def compare(source: Documents, destination: Documents, tell: Tell) -> Comparison:
    """Return how the destination differs from the source; nothing is written."""
    return _walk(source, destination, tell, None)


def copy(source: Documents, destination: Documents, tell: Tell) -> Comparison:
    """Write every document of the source at the destination, unless it is there; how the two differed before.

    What is at the destination under the same kind and key is replaced; what else is there stays.
    """
    return _walk(source, destination, tell, destination.put_many)


def _walk(
    source: Documents,
    destination: Documents,
    tell: Tell,
    write: Callable[[list[Document]], None] | None,
) -> Comparison:
    comparison = Comparison()
    kinds = [kind for kind, _ in groupby(heapq.merge(source.kinds(), destination.kinds()))]
    for done, kind in enumerate(kinds):
        tell(done, len(kinds), kind)
        pending: list[Document] = []
        for state, document in _compared(source.all(kind), destination.all(kind)):
            comparison.count(state, document.kind, document.key)
            if state in ("missing", "other"):
                pending.append(document)
            if write is not None and len(pending) >= BATCH:
                write(pending)
            if len(pending) >= BATCH:
                pending = []
        if write is not None and pending:
            write(pending)
    comparison.kinds = len(kinds)
    return comparison


def _compared(
    source: Iterator[Document], destination: Iterator[Document]
) -> Iterator[tuple[State, Document]]:
    """Yield the documents of one kind on both sides, each with its state; of two, the source's."""
    left, theirs = next(source, None), next(destination, None)
    while left is not None or theirs is not None:
        if theirs is None or (left is not None and left.key < theirs.key):
            assert left is not None  # noqa: S101 (one of the two is there)
            yield "missing", left
            left = next(source, None)
        elif left is None or theirs.key < left.key:
            yield "extra", theirs
            theirs = next(destination, None)
        else:
            yield "same" if left.body == theirs.body else "other", left
            left, theirs = next(source, None), next(destination, None)
