"""Bring the curated tables up to date from the raw files. One file per source, one line in `SOURCES`.

`curate(raw, work)` reads what lies in the raw layout for the days of `work` and rewrites the curated parts whose
raw files changed since; it returns nothing and may be run twice. A bad record is set aside with its reason; a
file that is not what its name says raises `BadRaw` with file, line and column.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from ecluse.city.curated import Curated
from ecluse.city.raw import Raw

#: Told how far it is (0 to 1) and what is being read; what it raises ends the work.
Report = Callable[[float, str], None]


@dataclass(frozen=True)
class Curating:
    """What sources share: where the curated layer is, the local days wanted, and a folder for passing files."""

    curated: Curated
    first: date
    last: date
    zone: ZoneInfo
    scratch: Path
    report: Report


Curate = Callable[[Raw, Curating], None]

#: Source → what brings its curated table up to date, in the order in which they run.
SOURCES: Final[dict[str, Curate]] = {}


def curate_all(raw: Raw, work: Curating) -> None:
    """Bring every curated table up to date for the days of `work`."""
    for n, (name, curate) in enumerate(SOURCES.items()):
        work.report(n / len(SOURCES), name)
        curate(raw, work)
