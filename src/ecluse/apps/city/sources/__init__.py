"""Bring the curated tables up to date from the raw files. One file per source, one line in `SOURCES`.

The value `SOURCE` of a source's module says all of it: commands, checks, the report, pages, API and guide are loops
over `SOURCES`. Its `curate` reads what lies in the raw layout for the days of `work` and rewrites the curated parts
whose raw files changed since; it returns nothing and may be run twice. A bad record is set aside with its reason; a
file that is not what its name says raises `BadRaw` with file, line and column.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from ecluse.apps.city.errors import BadRaw
from ecluse.apps.city.progress import part_of
from ecluse.apps.city.raw import Raw
from ecluse.apps.city.sources import arcs, bikes, disruptions, roads, weather, works, zones
from ecluse.apps.city.sources.curating import Curating
from ecluse.apps.city.sources.forms import Form
from ecluse.apps.city.sources.source import Source
from ecluse.apps.city.tables import Table
from ecluse.sentences import _

__all__ = ["SOURCES", "Curating", "Source", "curate_all", "curated_tables", "forms"]

#: Every source by its name, in the order in which they are curated: that of the zones first, as others need them.
SOURCES: Final[dict[str, Source]] = {
    source.name: source
    for source in (
        zones.SOURCE,
        roads.SOURCE,
        arcs.SOURCE,
        bikes.SOURCE,
        disruptions.SOURCE,
        weather.SOURCE,
        works.SOURCE,
    )
}


def forms() -> tuple[Form, ...]:
    """Return the forms of raw files that are read."""
    return tuple(form for source in SOURCES.values() for form in source.forms)


def curated_tables() -> dict[str, Table]:
    """Return the tables of the curated layer, one per source."""
    return {name: source.table for name, source in SOURCES.items()}


def curate_all(raw: Raw, work: Curating) -> dict[str, str]:
    """Bring every curated table up to date for the days of `work`; source → why it could not be read.

    A source with a file that is not what its name says is set aside and named, and the others go on.
    """
    failures: dict[str, str] = {}
    for n, (name, source) in enumerate(SOURCES.items()):
        report = part_of(work.report, n / len(SOURCES), (n + 1) / len(SOURCES))
        report(0.0, _(source.words))
        try:
            source.curate(raw, replace(work, report=report))
        except BadRaw as error:
            failures[name] = str(error)
    work.curated.note_failures(failures)
    return failures
