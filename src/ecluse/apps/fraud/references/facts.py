"""Hold what is known of a reference, and how well a table matches one."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from ecluse.apps.fraud.tables.sketches import ColumnSketch


@dataclass(frozen=True)
class ReferenceFacts:
    """What the library knows of a reference. `importance` by column, any positive scale."""

    name: str
    domain: str
    columns: tuple[ColumnSketch, ...]
    importance: dict[str, float]
    rows: int = 0
    fraud_rate: float = 0.0
    performance: dict[str, Any] = field(default_factory=dict)
    transfer: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Pair:
    """A column of the person's table (`theirs`) that stands for one of the reference (`ours`)."""

    theirs: str
    ours: str
    why: str
    score: float


@dataclass(frozen=True)
class Match:
    """`missing`: columns of the reference that nothing stands for, the most important first."""

    reference: str
    similarity: float
    columns: tuple[Pair, ...]
    missing: tuple[str, ...]
    domain: str


@dataclass(frozen=True)
class MatchResult:
    """`matches` holds what reached the gate, best first; where nothing did (`abstain`), the nearest, to show.
    `below`: the next nearest, which are not used, to show."""

    abstain: bool
    reason: str
    matches: tuple[Match, ...]
    below: tuple[Match, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
