"""Sum up the city's traffic of a day: vehicles, occupancy, states, lost time, beside the week before."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import numpy as np

from ecluse.city.calendar import LocalDay
from ecluse.city.inputs import Inputs, Metrics
from ecluse.city.numbers import ratio, rounded, rounded_list, whole, whole_list
from ecluse.city.road_hours import RoadHours, mean, road_hours, total
from ecluse.city.tables import STATES
from ecluse.city.typical import REPORTING_SHARE, Panel, usual_days, usual_of_total

#: What `ecluse.city.typical` calls the total of all arcs.
CITY: Final = "all"


def compute(inputs: Inputs, found: Mapping[str, Metrics]) -> Metrics:
    """The figures of all arcs together; each total stands over the hours that were observed."""
    day, congested = inputs.road_hours, inputs.thresholds.congested
    by_hour = _by_hour(day, congested)
    body = figures(day, congested) | {
        "states": _state_shares(day),
        "by_hour": by_hour,
        "usual": _usual(inputs),
        "worst_hour": _worst_hour(by_hour["lost_time"]),
        "week_before": _week_before(inputs),
    }
    return Metrics(body)


def figures(day: RoadHours, congested: float) -> dict[str, Any]:
    """The day in single numbers. Coverages are shares of the arc-hours of all known arcs."""
    arc_hours = day.flow.size
    return {
        "arcs_known": len(day.network.ids),
        "arcs_reporting": int(day.reporting.sum()),
        "coverage": ratio(float(day.observed.sum()), arc_hours),
        "vehicles": whole(float(total(day.flow))),
        "vehicles_coverage": ratio(float((~np.isnan(day.flow)).sum()), arc_hours),
        "mean_flow": rounded(float(mean(day.flow))),
        "mean_occupancy": rounded(float(mean(day.occupancy))),
        "lost_time": rounded(float(total(day.lost))),
        "lost_time_coverage": ratio(float((~np.isnan(day.lost)).sum()), arc_hours),
        "saturation_share": saturation_share(day, congested),
    }


def saturation_share(day: RoadHours, congested: float) -> float | None:
    """The share of the arc-hours of known occupancy that are congested."""
    return ratio(float((day.occupancy >= congested).sum()), float((~np.isnan(day.occupancy)).sum()))


def saturation_by_hour(day: RoadHours, congested: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(hours,): the share of the arcs of known occupancy that are congested; NaN where none is known."""
    known = (~np.isnan(day.occupancy)).sum(axis=0)
    slow = (day.occupancy >= congested).sum(axis=0)
    return np.where(known > 0, slow / np.maximum(known, 1), np.nan)


def _by_hour(day: RoadHours, congested: float) -> dict[str, Any]:
    return {
        "vehicles": whole_list(total(day.flow, axis=0)),
        "mean_occupancy": rounded_list(mean(day.occupancy, axis=0)),
        "saturation_share": rounded_list(saturation_by_hour(day, congested)),
        "reporting": day.observed.sum(axis=0).tolist(),
        "lost_time": rounded_list(total(day.lost, axis=0)),
        "states": {state: (day.state == code).sum(axis=0).tolist() for code, state in enumerate(STATES)},
    }


def _state_shares(day: RoadHours) -> dict[str, float | None]:
    counts = [int((day.state == code).sum()) for code in range(len(STATES))]
    return {state: ratio(count, sum(counts)) for state, count in zip(STATES, counts, strict=True)}


def _worst_hour(lost: list[float | None]) -> int | None:
    """The first hour with the most lost time; None where none is known or nothing was lost."""
    known = [(-value, hour) for hour, value in enumerate(lost) if value]
    return min(known)[1] if known else None


def _usual(inputs: Inputs) -> dict[str, Any]:
    """Median and band by hour of the city's saturation share and vehicles on such a day."""
    day = inputs.day
    share = usual_days(_saturation_panel(inputs), day.date).by_hour(CITY, day)
    vehicles = usual_of_total(inputs.flow_panel, day.date).by_hour(CITY, day)
    return {
        "saturation_share": {
            name: [None if value is None else rounded(min(value, 1.0)) for value in values]
            for name, values in share.items()
        },
        "vehicles": {name: [whole(value) for value in values] for name, values in vehicles.items()},
    }


def _saturation_panel(inputs: Inputs) -> Panel:
    """The city's saturation share by day and hour of the clock, where at least half of the arcs report that
    usually do."""
    occupancy = inputs.occupancy_panel.values
    known = np.isfinite(occupancy).sum(axis=0)
    slow = (occupancy >= inputs.thresholds.congested).sum(axis=0)
    usually = np.median(known[known > 0]) if known.any() else 0.0
    enough = known >= max(REPORTING_SHARE * float(usually), 1)
    share = np.where(enough, slow / np.maximum(known, 1), np.nan).astype(np.float32)
    return Panel((CITY,), inputs.occupancy_panel.first, share[None])


def _week_before(inputs: Inputs) -> dict[str, Any] | None:
    """The same weekday a week ago, and how far the day is from it; None where no hour of it is known."""
    before = LocalDay(inputs.day.date - timedelta(days=7), inputs.day.zone)
    then = road_hours(inputs.roads, inputs.network, before, inputs.thresholds)
    if not then.reporting.any():
        return None
    congested = inputs.thresholds.congested
    now, was = figures(inputs.road_hours, congested), figures(then, congested)
    compared = {
        name: {"value": was[name], "change": _change(now[name], was[name])}
        for name in ("vehicles", "lost_time", "saturation_share")
    }
    return {"date": before.date.isoformat(), "coverage": was["coverage"], **compared}


def _change(now: float | None, was: float | None) -> float | None:
    return None if now is None or was is None else ratio(now - was, was)
