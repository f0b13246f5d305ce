"""Raise alerts where an arc was far from usual for hours in a row, with what in the data may be why.

What counts is judged in `departures`, what may be why in `causes`. What is bad on every such
day is no alert. Worst first: by severity, then by the time lost beyond the usual, then by how far out it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, get_args

import numpy as np

from ecluse.apps.city.bounded import first_that_fit
from ecluse.apps.city.causes import Evidence
from ecluse.apps.city.departures import LEVEL, Departure, Kind, departures, flow_hours_needed, judged
from ecluse.apps.city.inputs import Inputs, Metrics
from ecluse.apps.city.numbers import degrees, rounded, rounded_list
from ecluse.apps.city.road_hours import OUTSIDE, total
from ecluse.apps.city.speed import free_flow_speeds, lost_time
from ecluse.apps.city.typical import FEWEST, Floats, Usual

#: How many alerts are listed, the worst ones; `alerts_total` has all.
LISTED: Final = 200
#: And at most so many bytes of them, so that the document fits into every database.
ALERTS_SIZE: Final = 280_000


def compute(inputs: Inputs, found: Mapping[str, Metrics]) -> Metrics:
    """Return the alerts of the day, worst first, and of how many of the arcs that report the day could be judged."""
    more = _lost_beyond_usual(inputs)
    alerts = [
        _Ranked(one, float(total(more[one.place, one.begin : one.end])))
        for one in departures(inputs, found["sensors"])
    ]
    alerts.sort(key=lambda one: one.order)
    worst = alerts[:LISTED]
    ids = inputs.network.ids
    evidence = Evidence(inputs, found, {int(ids[one.departure.place]) for one in worst})
    bodies = (_alert(inputs, one, evidence) for one in worst)
    kinds = {kind: sum(one.departure.kind == kind for one in alerts) for kind in get_args(Kind)}
    of = judged(inputs)
    return Metrics(
        {
            "alerts": first_that_fit(bodies, LISTED, ALERTS_SIZE),
            "alerts_total": len(alerts),
            "by_kind": kinds,
            "arcs_reporting": of.reporting,
            "arcs_judged": of.judged,
            "days_needed": FEWEST,
        }
    )


class _Ranked:
    """A departure with the time lost beyond the usual, NaN where that is not known."""

    def __init__(self, departure: Departure, more: float) -> None:
        self.departure, self.more = departure, more

    @property
    def order(self) -> tuple[float, ...]:
        one = self.departure
        return (-one.severity, -np.nan_to_num(self.more), -one.times * one.hours, one.place, one.begin)


def _lost_beyond_usual(inputs: Inputs) -> Floats:
    """(arcs, hours) vehicle-hours lost beyond those of the usual flow at the usual occupancy."""
    clock, network = list(inputs.day.clock_hours), inputs.network
    free = free_flow_speeds(network.labels, inputs.day.date, inputs.thresholds)
    flow, occupancy = inputs.flow_usual.median[:, clock], inputs.occupancy_usual.median[:, clock]
    usual = lost_time(flow, occupancy, network.length[:, None], free[:, None], inputs.thresholds)
    return np.asarray(inputs.road_hours.lost - usual, np.float32)


def _alert(inputs: Inputs, ranked: _Ranked, evidence: Evidence) -> dict[str, Any]:
    network, day, one = inputs.network, inputs.day, ranked.departure
    place, begin, end = one.place, one.begin, one.end
    arc, zone = int(network.ids[place]), int(network.zone[place])
    return {
        "id": f"{day.date.isoformat()}-{one.kind}-{arc}-{begin}",
        "kind": one.kind,
        "severity": one.severity,
        "arc": arc,
        "label": network.labels[place],
        "zone": None if zone == OUTSIDE else zone,
        "latitude": degrees(float(network.latitude[place])),
        "longitude": degrees(float(network.longitude[place])),
        "hours": list(range(begin, end)),
        "from": day.labels[begin],
        "to": day.labels[end] if end < day.hours else "24:00",
        "lost_time": rounded(float(total(inputs.road_hours.lost[place, begin:end]))),
        "lost_time_more": rounded(ranked.more),
        "why": _why(inputs, one),
        "causes": evidence.causes(one),
        "works": evidence.works(arc),
    }


def _why(inputs: Inputs, one: Departure) -> dict[str, Any]:
    """Return the rule, what was observed against the usual, how far out it was, and how sure that is."""
    is_congestion = one.kind == "congestion"
    usual = inputs.occupancy_usual if is_congestion else inputs.flow_usual
    values = inputs.road_hours.occupancy if is_congestion else inputs.road_hours.flow
    verdict = inputs.flow_verdicts[one.place]
    needed = (
        round(inputs.thresholds.alert_hours)
        if is_congestion
        else flow_hours_needed(inputs, verdict == "exceptional")
    )
    return {
        "rule": "congested" if is_congestion else one.side,
        "threshold": LEVEL,
        "threshold_is": "share_in_band",
        **({"least": inputs.thresholds.congested} if is_congestion else {}),
        "unit": "% occupancy" if is_congestion else "vehicles per hour",
        "hours_needed": needed,
        "observed": rounded_list(values[one.place, one.begin : one.end]),
        "usual": _usual(usual, inputs, one),
        "times": one.times,
        "days": int(usual.days[one.place]),
        "similar_days": one.similar,
        "compared_days": one.compared,
    }


def _usual(usual: Usual, inputs: Inputs, one: Departure) -> dict[str, Any]:
    """Median and band of the hours of a departure."""
    hours, at = list(inputs.day.clock_hours[one.begin : one.end]), usual.levels.index(LEVEL)
    band = {"median": usual.median, "low": usual.low[at], "high": usual.high[at]}
    return {name: rounded_list(values[one.place, hours]) for name, values in band.items()}
