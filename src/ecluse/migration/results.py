"""Say what a migration would do, did, or found: the values that its functions return."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ecluse.catalog.journal import Amount
from ecluse.catalog.tables import Migration
from ecluse.migration.copying import Progress

#: How many names of a kind a plan or a summary lists.
LISTED: Final = 50
Report = Callable[[Progress], None]


@dataclass(frozen=True)
class Group:
    """Objects that belong together, or one: their name, number and bytes."""

    name: str
    objects: int
    size: int


@dataclass(frozen=True)
class Part:
    """One of the migrations of a move of the whole home: of its objects, those whose keys it `takes`.

    The record of the move says who did it, so that the copied log of who did what stays as it is.
    """

    id: str
    move_id: str
    takes: Callable[[str], bool]


@dataclass(frozen=True)
class Plan:
    """What a migration would do. `id` is None for a dry run, which records nothing.

    `conflicts` are keys under which the destination holds another content. What is damaged at the source shows
    when it is copied.
    """

    id: str | None
    source: str
    destination: str
    prefix: str
    switches_rows: bool
    rows: int
    everything: Amount
    to_copy: Amount
    same: Amount
    conflicting: Amount
    conflicts: tuple[str, ...]
    groups: tuple[Group, ...]
    largest: tuple[Group, ...]


@dataclass(frozen=True)
class Outcome:
    """What a finished run did: objects copied by it, rows it switched, and what it left.

    `rows_left` point at objects that are not all at the destination; `gone` were deleted at the source
    meanwhile; `copied_again` objects were begun anew because a run ended while they were on their way.
    """

    id: str
    copied: Amount
    verified: Amount
    rows_switched: int
    rows_left: tuple[str, ...]
    gone: int
    copied_again: int


@dataclass(frozen=True)
class Verification:
    """What reading everything again showed, by key; `extra` is at the destination and no one knows why.

    `objects` were read; `unfinished` are not done yet, and were not.
    """

    id: str
    objects: int
    unfinished: int
    missing: tuple[str, ...]
    different: tuple[str, ...]
    extra: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not (self.missing or self.different or self.extra or self.unfinished)


@dataclass(frozen=True)
class RolledBack:
    """What a rollback did. `rows_kept` and `kept` name what stays as it is, because it changed since."""

    id: str
    rows_back: int
    rows_kept: tuple[str, ...]
    removed: int
    kept: tuple[str, ...]


@dataclass(frozen=True)
class Summary:
    """How a migration stands: objects and bytes by state, and the first names of what needs a person."""

    migration: Migration
    active: bool
    amounts: dict[str, Amount]
    everything: Amount
    settled: Amount
    conflicts: tuple[str, ...]
    damaged: tuple[str, ...]
    gone: tuple[str, ...]
    copied_again: int


@dataclass(frozen=True)
class Estimate:
    """What a migration takes. `measured`: the rate is that of earlier ones here, else a careful guess."""

    objects: int
    size: int
    puts: int
    gets: int
    seconds: float
    measured: bool
