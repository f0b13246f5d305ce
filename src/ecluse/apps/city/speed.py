"""Tell how fast traffic moves from how long a loop is occupied, and the time it loses.

The speed falls exponentially with density: Underwood, "Speed, Volume, and Density Relationships" (Quality and Theory
of Traffic Flow, Yale Bureau of Highway Traffic, 1961), v = v_free exp(-k/k_c), where k_c is the density of the
largest flow. A loop's occupancy is proportional to the density (Hall, "Traffic Stream Characteristics", in the
Traffic Flow Theory monograph of the Transportation Research Board), so k/k_c is occupancy / `capacity_occupancy`. The
free-flow speed is the speed limit of the kind of road.

Flow over occupancy goes with speed, so the curve can be seen in the counts themselves. *Measured* on 13 months of
two arcs, by classes of occupancy: an exponential holds from 1 to 87 % (avenue des Champs-Élysées, with 37 % in place
of k_c; rue de la Convention, with 21 %), where the line of Greenshields (1935), v_free (1 - k/k_jam), would give
0.66 of the free speed at 34 % and the counts give 0.36 and 0.16.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from datetime import date
from functools import lru_cache
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from ecluse.apps.city.thresholds import Thresholds

Kind = Literal["ring", "axis", "street"]
#: The whole boulevard périphérique is limited to `speed_ring` from this day on (it began on 1 October, by sections).
RING_SLOWED: Final = date(2024, 10, 10)
#: Streets are limited to `speed_street` from this day on, but for the axes.
STREETS_SLOWED: Final = date(2021, 8, 30)
#: Labels of the boulevard périphérique (PE: outer, PI: inner carriageway) and of the ends of the motorways.
_RING: Final = re.compile(r"^(p[ei]|a1|a3|a4|a6[ab]|a13|rn13|rn14)\b(?!.*bretelle)")
#: Labels of its entries and exits, and of the axes that kept 50 km/h in 2021.
_AXIS: Final = re.compile(
    r"^[as][ei]\b|bretelle|^ech\b|^vgp\b|^voie georges pompidou|champs elysees|\bfoch\b|grande armee|^(rue )?royale$"
    r"|^bd( d| de| du| general| gal)? ?(ney|macdonald|indochine|algerie|serurier|mortier|davout|soult|poniatowski"
    r"|massena|kellermann|jourdan|brune|lefebvre|victor$|martial valin|murat|suchet|lannes|amiral bruix"
    r"|gouvion st cyr|berthier|bessieres)\b"
)


@lru_cache(maxsize=8192)  # of each arc it is asked several times a day
def kind_of_road(label: str) -> Kind:
    """Return what kind of road an arc's label names: the ring, an axis, or a street."""
    plain = unicodedata.normalize("NFKD", label).encode("ascii", "ignore").decode().casefold()
    words = " ".join(re.split(r"[^a-z0-9]+", plain)).strip()
    if _RING.search(words):
        return "ring"
    return "axis" if _AXIS.search(words) else "street"


def free_flow_speeds(labels: Iterable[str | None], day: date, thresholds: Thresholds) -> NDArray[np.float64]:
    """Return the speed in km/h at which traffic moves on each road when nothing holds it."""
    ring = thresholds.speed_ring if day >= RING_SLOWED else thresholds.speed_ring_before
    street = thresholds.speed_street if day >= STREETS_SLOWED else thresholds.speed_axis
    speeds = {"ring": ring, "axis": thresholds.speed_axis, "street": street}
    return np.array([speeds[kind_of_road(label or "")] for label in labels], dtype=np.float64)


def speed(occupancy: NDArray[Any], free: NDArray[Any], thresholds: Thresholds) -> NDArray[np.float64]:
    """Return the speed in km/h at an occupancy in percent; never below the floor, nor above the free-flow speed."""
    curve = free * np.exp(-occupancy / thresholds.capacity_occupancy)
    result: NDArray[np.float64] = np.minimum(np.maximum(curve, thresholds.speed_floor), free)
    return result


def lost_time(
    flow: NDArray[Any],
    occupancy: NDArray[Any],
    length: NDArray[Any],
    free: NDArray[Any],
    thresholds: Thresholds,
) -> NDArray[np.float64]:
    """Vehicle-hours lost in an hour: flow x max(0, length/v(occupancy) - length/v_free).

    `flow` in vehicles per hour, `occupancy` in percent, `length` in m, `free` in km/h; NaN where one is missing.
    """
    kilometres = length / 1000
    late = kilometres / speed(occupancy, free, thresholds) - kilometres / free
    result: NDArray[np.float64] = flow * np.maximum(late, 0.0)
    return result
