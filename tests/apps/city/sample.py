"""A small sample of a city for the tests of runs: five weeks of twelve arcs, with the day of 25 hours among them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, Final

from ecluse.apps.city.demo import write_demo
from ecluse.documents import Documents
from ecluse.storage import open_store

FIRST: Final = date(2025, 9, 29)
LAST: Final = date(2025, 11, 2)
LONG_DAY: Final = date(2025, 10, 26)
#: What may differ between two runs of the same day.
OF_THE_RUN: Final = ("computed_at", "run", "raw")


def write_sample(folder: Path) -> Path:
    """The raw layout in a folder."""
    write_demo(open_store(folder.as_uri()), FIRST, (LAST - FIRST).days + 1, arcs=12)
    return folder


def held(documents: Documents) -> dict[tuple[str, str], Mapping[str, Any]]:
    """Every document, without what belongs to the run that wrote it."""
    return {
        (kind, item.key): {name: value for name, value in item.body.items() if name not in OF_THE_RUN}
        for kind in documents.kinds()
        for item in documents.all(kind)
    }
