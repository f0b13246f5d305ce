"""Bring the curated tables up to date from the raw files. One file per source, one line in `SOURCES`.

`curate(raw, work)` reads what lies in the raw layout for the days of `work` and rewrites the curated parts whose
raw files changed since; it returns nothing and may be run twice. A bad record is set aside with its reason; a
file that is not what its name says raises `BadRaw` with file, line and column.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from ecluse.apps.city.progress import part_of
from ecluse.apps.city.raw import Raw
from ecluse.apps.city.sources import arcs, bikes, disruptions, roads, weather, works, zones
from ecluse.apps.city.sources.curating import Curate, Curating, LookAt
from ecluse.apps.city.sources.forms import Form
from ecluse.errors import BadRaw

__all__ = ["FORMS", "LOOKS", "SOURCES", "Curate", "Curating", "curate_all"]

#: Source → what brings its curated table up to date, in the order in which they run.
SOURCES: Final[dict[str, Curate]] = {
    "zones": zones.curate,
    "roads": roads.curate,
    "arcs": arcs.curate,
    "bikes": bikes.curate,
    "disruptions": disruptions.curate,
    "weather": weather.curate,
    "works": works.curate,
}


#: Source → what says of one of its files what it holds.
LOOKS: Final[dict[str, LookAt]] = {
    "zones": zones.look,
    "roads": roads.look,
    "arcs": arcs.look,
    "bikes": bikes.look,
    "disruptions": disruptions.look,
    "weather": weather.look,
    "works": works.look,
}
#: The forms of raw files that are read.
FORMS: Final[tuple[Form, ...]] = (
    *roads.FORMS,
    *arcs.FORMS,
    *zones.FORMS,
    *bikes.FORMS,
    *weather.FORMS,
    *disruptions.FORMS,
    *works.FORMS,
)


def curate_all(raw: Raw, work: Curating) -> dict[str, str]:
    """Bring every curated table up to date for the days of `work`; source → why it could not be read.

    A source with a file that is not what its name says is set aside and named, and the others go on.
    """
    failures: dict[str, str] = {}
    for n, (name, curate) in enumerate(SOURCES.items()):
        report = part_of(work.report, n / len(SOURCES), (n + 1) / len(SOURCES))
        report(0.0, name)
        try:
            curate(raw, replace(work, report=report))
        except BadRaw as error:
            failures[name] = str(error)
    work.curated.note_failures(failures)
    return failures
