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


def compute(inputs: Inputs, metrics: Mapping[str, Metrics]) -> Metrics:
    """Return the alerts of the day, worst first, and of how many of the arcs that report the day could be judged."""
    more = _lost_beyond_usual(inputs)
    alerts = [
        _Ranked(departure, float(total(more[departure.place, departure.begin : departure.end])))
        for departure in departures(inputs, metrics["sensors"])
    ]
    alerts.sort(key=lambda alert: alert.order)
    worst = alerts[:LISTED]
    ids = inputs.network.ids
    evidence = Evidence(inputs, metrics, {int(ids[alert.departure.place]) for alert in worst})
    bodies = (_alert(inputs, alert, evidence) for alert in worst)
    kinds = {kind: sum(alert.departure.kind == kind for alert in alerts) for kind in get_args(Kind)}
    judged_arcs = judged(inputs)
    return Metrics(
        {
            "alerts": first_that_fit(bodies, LISTED, ALERTS_SIZE),
            "alerts_total": len(alerts),
            "by_kind": kinds,
            "arcs_reporting": judged_arcs.reporting,
            "arcs_judged": judged_arcs.judged,
            "days_needed": FEWEST,
        }
    )


class _Ranked:
    """A departure with the time lost beyond the usual, NaN where that is not known."""

    def __init__(self, departure: Departure, more: float) -> None:
        self.departure, self.more = departure, more

    @property
    def order(self) -> tuple[float, ...]:
        departure = self.departure
        return (
            -departure.severity,
            -np.nan_to_num(self.more),
            -departure.times * departure.hours,
            departure.place,
            departure.begin,
        )


def _lost_beyond_usual(inputs: Inputs) -> Floats:
    """(arcs, hours) vehicle-hours lost beyond those of the usual flow at the usual occupancy."""
    clock, network = list(inputs.day.clock_hours), inputs.network
    free = free_flow_speeds(network.labels, inputs.day.date, inputs.thresholds)
    flow, occupancy = inputs.flow_usual.median[:, clock], inputs.occupancy_usual.median[:, clock]
    usual = lost_time(flow, occupancy, network.length[:, None], free[:, None], inputs.thresholds)
    return np.asarray(inputs.road_hours.lost - usual, np.float32)


def _alert(inputs: Inputs, ranked: _Ranked, evidence: Evidence) -> dict[str, Any]:
    network, day, departure = inputs.network, inputs.day, ranked.departure
    place, begin, end = departure.place, departure.begin, departure.end
    arc, zone = int(network.ids[place]), int(network.zone[place])
    return {
        "id": f"{day.date.isoformat()}-{departure.kind}-{arc}-{begin}",
        "kind": departure.kind,
        "severity": departure.severity,
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
        "why": _why(inputs, departure),
        "causes": evidence.causes(departure),
        "works": evidence.works(arc),
    }


def _why(inputs: Inputs, departure: Departure) -> dict[str, Any]:
    """Return the rule, what was observed against the usual, how far out it was, and how sure that is."""
    is_congestion = departure.kind == "congestion"
    usual = inputs.occupancy_usual if is_congestion else inputs.flow_usual
    values = inputs.road_hours.occupancy if is_congestion else inputs.road_hours.flow
    verdict = inputs.flow_verdicts[departure.place]
    needed = (
        round(inputs.thresholds.alert_hours)
        if is_congestion
        else flow_hours_needed(inputs, verdict == "exceptional")
    )
    return {
        "rule": "congested" if is_congestion else departure.side,
        "threshold": LEVEL,
        "threshold_is": "share_in_band",
        **({"least": inputs.thresholds.congested} if is_congestion else {}),
        "unit": "% occupancy" if is_congestion else "vehicles per hour",
        "hours_needed": needed,
        "observed": rounded_list(values[departure.place, departure.begin : departure.end]),
        "usual": _usual(usual, inputs, departure),
        "times": departure.times,
        "days": int(usual.days[departure.place]),
        "similar_days": departure.similar,
        "compared_days": departure.compared,
    }


def _usual(usual: Usual, inputs: Inputs, departure: Departure) -> dict[str, Any]:
    """Median and band of the hours of a departure."""
    hours, at = list(inputs.day.clock_hours[departure.begin : departure.end]), usual.levels.index(LEVEL)
    band = {"median": usual.median, "low": usual.low[at], "high": usual.high[at]}
    return {name: rounded_list(values[departure.place, hours]) for name, values in band.items()}
