"""Hold what every source needs to bring its curated table up to date, and what it can tell of a raw file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

from ecluse.apps.city.curated import Curated
from ecluse.apps.city.progress import Report


@dataclass(frozen=True)
class Curating:
    """What sources share: where the curated layer is, the local days wanted, and a folder for passing files."""

    curated: Curated
    first: date
    last: date
    zone: ZoneInfo
    scratch: Path
    report: Report


@dataclass(frozen=True)
class FileContents:
    """What a raw file holds: how many good records, their first and last local day, and why others are set aside."""

    rows: int
    first: date | None = None
    last: date | None = None
    rejected: Mapping[str, int] = field(default_factory=dict)


def contents_of(rows: int, days: Iterable[date], rejected: Mapping[str, int]) -> FileContents:
    """Return the contents of a file with so many good records, of these days."""
    sorted_days = set(days)
    return FileContents(rows, min(sorted_days, default=None), max(sorted_days, default=None), dict(rejected))
