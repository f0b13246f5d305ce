"""Sum the arcs of each zone, of the city, and of what lies outside every zone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ecluse.apps.city.inputs import Inputs, Metrics
from ecluse.apps.city.numbers import ratio, rounded, rounded_int
from ecluse.apps.city.processors.processor import Processor, listed
from ecluse.apps.city.road_hours import OUTSIDE, RoadHours, total
from ecluse.apps.city.sections import Column, ReportTable, Section
from ecluse.documents import Body
from ecluse.sentences import N_

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


# The report


def _summary(body: Body | None) -> Body:
    return {
        "zones": [{name: zone.get(name) for name in _REPORTED} for zone in listed(body, "zones")][:LISTED]
    }


#: How many zones the report has, and what of each; pages and API have them all.
LISTED: Final = 20
_REPORTED: Final = (
    "zone",
    "name",
    "arcs",
    "reporting",
    "vehicles",
    "lost_time",
    "saturation_share",
    "coverage",
)
_TABLE: Final = ReportTable(
    name="zones",
    caption=N_("All zones; figures of the roads that report"),
    rows=lambda report: report["zones"],
    id="zone",
    label="name",
    columns=(
        Column("#", "zone"),
        Column(N_("Zone"), "name"),
        Column(N_("Vehicle passages"), "vehicles", "number", unit="vehicle passages"),
        Column(N_("Time lost"), "lost_time", "number", 1, unit="vehicle-hours"),
        Column(N_("Saturated or blocked"), "saturation_share", "share", 1, unit="share"),
        Column(N_("Hours observed"), "coverage", "share", unit="share"),
    ),
)
PROCESSOR: Final = Processor(
    name="zones",
    words=N_("zones"),
    compute=compute,
    summarise=_summary,
    section=Section(N_("Zones"), order=20, tables=(_TABLE,), has_own_part=True),
)
