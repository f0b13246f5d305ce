"""Hold what every source of the city needs to bring its curated table up to date."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

from ecluse.city.curated import Curated
from ecluse.city.progress import Report
from ecluse.city.raw import Raw


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
