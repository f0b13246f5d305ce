"""Say what a move would do, did, or found: the values that its functions return."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

#: Told how far it is, from 0 to 1, and what is being done.
Report = Callable[[float, str], None]
#: Jobs and rows that a message names.
NAMED: Final = 5
#: Of the work of a run, the part of each stage.
SHARES: Final = {"rows": 0.2, "documents": 0.3, "objects": 0.85, "compare": 1.0}


@dataclass(frozen=True)
class Plan:
    """What a move would do. `problems` are what it is refused for; each says its way out."""

    source: dict[str, Any]
    destination: dict[str, Any]
    rows: dict[str, int]
    documents: int
    jobs: int
    objects: int
    size: int
    to_copy: int
    size_to_copy: int
    problems: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """What a move brought. `left` rows keep an address of the source: what they point at was not there."""

    id: str
    rows: dict[str, int]
    documents: int
    jobs: int
    objects: int
    size: int
    left: tuple[str, ...]


@dataclass
class Verification:
    """What comparing both homes showed; every finding names its first cases."""

    id: str
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    documents: dict[str, int] = field(default_factory=dict)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    objects: int = 0
    findings: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not self.findings


@dataclass(frozen=True)
class Undone:
    """What a rollback removed at the destination; `kept` objects stay, because they changed there or are the last."""

    id: str
    rows: int
    documents: int
    jobs: int
    objects: int
    kept: tuple[str, ...]
