"""Tell how far work is: a whole, or the part of a whole that it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ecluse.sentences import N_, _

#: Told how far it is (0 to 1) and what is being done; what it raises ends the work.
Report = Callable[[float, str], None]


def unheard(fraction: float, message: str) -> None:
    """A report that nobody reads."""


def part_of(report: Report, begin: float, end: float) -> Report:
    """Return the report of work that is the part from `begin` to `end` of what `report` tells of."""
    return lambda fraction, message: report(begin + (end - begin) * fraction, message)


#: Kinds of metrics and sources of raw data in words.
NAMES: Final = {
    "roads": N_("roads"),
    "traffic": N_("traffic"),
    "arcs": N_("arcs"),
    "map": N_("map"),
    "zones": N_("zones"),
    "ranking": N_("ranking"),
    "bikes": N_("bikes"),
    "sensors": N_("sensors"),
    "alerts": N_("alerts"),
    "bottlenecks": N_("bottlenecks"),
    "disruptions": N_("disruptions"),
    "weather": N_("weather"),
    "works": N_("works"),
    "quality": N_("quality"),
}


def named(kind: str) -> str:
    """Return a kind of metrics or a source in words; any other name as it is."""
    return _(NAMES[kind]) if kind in NAMES else kind
