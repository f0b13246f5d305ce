"""What a client asks of the place that keeps runs and versions: a server, or the folder `.ecluse` of this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, Protocol

#: What kind of run a client begins.
KIND: Final = "training"
#: Runs that a listing shows at most, the newest.
MOST_RUNS: Final = 1_000
#: Models and tables of others, and tables of one's own, that a list has at most.
MOST_LISTED: Final = 1_000
#: Points that are handed on at once.
MOST_POINTS: Final = 1_000

Ending = Literal["done", "failed", "cancelled"]
#: Called with the number of bytes since the last call, from any thread.
Progress = Callable[[int], None]


@dataclass(frozen=True)
class KeptTable:
    """A table as lists have it: `name` is @OWNER/NAME where it is another's; `model` and `version` made it, if any."""

    id: str
    name: str
    rows: int
    columns: int
    size_bytes: int
    created_at: datetime
    model: str | None = None
    version: str | None = None


@dataclass(frozen=True)
class Beginning:
    """A run that is to begin. Begun again with the same `nonce`, it is the same run.

    `began`: when it did, in ISO 8601, where it is taken over from elsewhere; None: now.
    """

    name: str
    nonce: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, Any] = field(default_factory=dict)
    began: str | None = None


@dataclass(frozen=True)
class Point:
    """Metrics of one step, and when they were measured."""

    step: int
    metrics: Mapping[str, float]
    at: datetime


@dataclass(frozen=True)
class End:
    """How a run ended; `metrics` are its last figures. `ended`: when, as `Beginning.began`."""

    status: Ending
    metrics: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None
    ended: str | None = None


@dataclass(frozen=True)
class Publication:
    """A version that is to be published. Published again with the same `nonce`, it is the same version.

    `run`: the run that made it, which names it from then on. `alias`: a name to point at it.
    """

    name: str
    nonce: str
    paths: tuple[Path, ...]
    metadata: Mapping[str, Any]
    run: str | None = None
    alias: str | None = None


@dataclass(frozen=True)
class Version:
    """A published version of a model. `kind` is None for one that was published as files alone."""

    name: str
    version: str
    kind: str | None
    aliases: tuple[str, ...]
    metrics: Mapping[str, float | None]
    metadata: Mapping[str, Any]
    size_bytes: int
    created_at: datetime
    application: str = ""
    #: SHA-256 of its manifest, which names every file with its own.
    digest: str = ""

    @property
    def reference(self) -> str:
        """Return what `load` takes: NAME@VERSION."""
        return f"{self.name}@{self.version}"

    def __str__(self) -> str:
        return self.reference


@dataclass(frozen=True)
class TrackedRun:
    """A run as it is known: its parameters, its last figures, and the version it published."""

    id: str
    name: str
    application: str
    kind: str
    status: str
    parameters: Mapping[str, Any]
    tags: Mapping[str, Any]
    metrics: Mapping[str, float]
    version: str | None
    error: str | None
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True)
class JobState:
    """How far a job was when it was asked about. `result` is what it made, once it is done."""

    id: str
    kind: str
    status: str
    title: str
    fraction: float
    message: str
    error: str | None
    result: Mapping[str, Any] | None
    created_at: datetime
    finished_at: datetime | None

    @property
    def has_ended(self) -> bool:
        """Return whether it is done, failed or cancelled."""
        return self.status not in ("queued", "running")


class Backend(Protocol):
    """Where runs and versions are kept. Every call sent again with the same values changes nothing more."""

    @property
    def address(self) -> str:
        """Return the address of the server, or the folder."""
        ...

    @property
    def is_remote(self) -> bool:
        """Return whether it may be away: what a run has to say is kept on disk until it was sent."""
        ...

    def begin_run(self, beginning: Beginning) -> str:
        """Begin a run, and return its id."""
        ...

    def add_points(self, run: str, points: Sequence[Point]) -> None:
        """Keep metrics of a run; those of a step that was there replace them."""
        ...

    def change_run(self, run: str, parameters: Mapping[str, Any], tags: Mapping[str, Any]) -> None:
        """Note parameters and tags of a run."""
        ...

    def end_run(self, run: str, end: End) -> None:
        """Say how a run ended."""
        ...

    def publish(self, publication: Publication, progress: Progress) -> Version:
        """Publish files as a version: all of it, or nothing at all."""
        ...

    def version(self, reference: str) -> Version:
        """Return the version that NAME, NAME@VERSION or NAME@ALIAS means."""
        ...

    def fetch(self, version: Version, folder: Path, progress: Progress) -> None:
        """Write every file of a version, verified, below `folder`."""
        ...

    def answers(self, version: Version, rows: Sequence[Any]) -> Mapping[str, Any] | None:
        """Return what the server answers to rows as JSON has them; None where the client answers them itself."""
        ...

    def models(self, where: Sequence[str], name: str | None) -> list[Version]:
        """List the newest version of each model that this person may read; with conditions or a name, every version."""
        ...

    def runs(self, name: str | None, status: str | None) -> list[TrackedRun]:
        """List runs of every application, newest first, at most `MOST_RUNS`."""
        ...

    def tagged_runs(self, tag: str, value: str) -> Iterator[TrackedRun]:
        """Yield every run that has a tag with this value, newest first."""
        ...

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Point an alias at a version, from wherever it pointed."""
        ...

    def has_run(self, run: str) -> bool:
        """Return whether this person has a run of this id here."""
        ...

    def job(self, job: str) -> JobState:
        """Return how far a job is."""
        ...

    def upload(
        self, file: Path, name: str, nonce: str, progress: Progress, owner: str = ""
    ) -> tuple[str, Sequence[str]]:
        """Keep a file as a table; its id, and what was noted. Sent again with the same `nonce`, it is the same one.

        `owner`: the handle of an organisation whose it is to be; empty: this person.
        """
        ...

    def tables(self) -> list[KeptTable]:
        """List the tables that this person may read, newest first: their own, then those of others."""
        ...

    def fetch_table(self, table: str, file: Path, progress: Progress) -> None:
        """Write a table to a new Parquet file."""
        ...

    def close(self) -> None:
        """Close what is open."""
        ...
