"""Sum the arcs of each zone, of the city, and of what lies outside every zone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ecluse.apps.city.inputs import Inputs, Metrics
from ecluse.apps.city.numbers import ratio, rounded, rounded_int
from ecluse.apps.city.road_hours import OUTSIDE, RoadHours, total

#: How many of its worst arcs a zone names.
WORST: Final = 5


def compute(inputs: Inputs, metrics: Mapping[str, Metrics]) -> Metrics:
    """Return every zone of the table of zones, and those that an arc names; zones and outside add up to the city."""
    day, congested = inputs.road_hours, inputs.thresholds.congested
    of_arc = day.network.zone
    names = dict(zip(inputs.zones["zone"].to_list(), inputs.zones["name"].to_list(), strict=True))
    zones = sorted(set(names) | set(of_arc[of_arc != OUTSIDE].tolist()))

    def figures(chosen: NDArray[np.bool_]) -> dict[str, Any]:
        return _figures(day, chosen, congested)

    outside = of_arc == OUTSIDE
    body = {
        "zones": [{"zone": zone, "name": names.get(zone), **figures(of_arc == zone)} for zone in zones],
        "city": {"zone": None, "name": None, **figures(np.ones(len(of_arc), dtype=bool))},
        "outside": {"zone": None, "name": None, **figures(outside)} if outside.any() else None,
    }
    return Metrics(body)


def _figures(day: RoadHours, chosen: NDArray[np.bool_], congested: float) -> dict[str, Any]:
    flow, occupancy, lost_hours = day.flow[chosen], day.occupancy[chosen], day.lost[chosen]
    return {
        "arcs": int(chosen.sum()),
        "reporting": int(day.reporting[chosen].sum()),
        "vehicles": rounded_int(float(total(flow))),
        "vehicles_coverage": ratio(float((~np.isnan(flow)).sum()), flow.size),
        "lost_time": rounded(float(total(lost_hours))),
        "lost_time_coverage": ratio(float((~np.isnan(lost_hours)).sum()), lost_hours.size),
        "saturation_share": ratio(float((occupancy >= congested).sum()), float((~np.isnan(occupancy)).sum())),
        "coverage": ratio(float(day.observed[chosen].sum()), flow.size),
        "worst": _worst(day, np.flatnonzero(chosen)),
    }


def _worst(day: RoadHours, places: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Return the arcs that lost the most time, of those that lost any."""
    lost_totals, vehicles = total(day.lost[places], axis=1), total(day.flow[places], axis=1)
    order = np.argsort(-np.nan_to_num(lost_totals), kind="stable")[:WORST]
    return [
        {
            "arc": int(day.network.ids[places[n]]),
            "label": day.network.labels[places[n]],
            "lost_time": rounded(float(lost_totals[n])),
            "vehicles": rounded_int(float(vehicles[n])),
        }
        for n in order.tolist()
        if lost_totals[n] > 0
    ]
