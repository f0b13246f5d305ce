"""Raise alerts where roads were blocked, or where traffic was far from usual for hours.

Congestion: at least `alert_hours` hours in a row with an occupancy of at least `blocked`. Severity is 1, from
`severe_hours` in a row 2, from `gravest_hours` 3.

Flow: at least `flow_alert_hours` hours in a row on the same side of the band that holds `FLOW_LEVEL` of the hours
of such days; `alert_hours` are enough on a day whose verdict is exceptional. Severity is 1, and 1 more for each of:
an exceptional day, `gravest_hours` in a row. Measured on the days of two road sensors from 2021-11 to 2022-12 that
have 12 weeks before them, 1.3 % (7 of 520) would raise such an alert by four hours, 2.7 % by three, 6 % by two;
of the days of 56 bike counters (2020-09 to 2021-08, with lockdowns) 1.0 % by four, 1.8 % by the whole rule.

A missing hour ends a spell. A sensor that fails raises no alert of flow; it is told among the sensors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, get_args

import numpy as np

from ecluse.city.distance import pairs_within
from ecluse.city.inputs import Inputs, Metrics
from ecluse.city.numbers import degrees, rounded, rounded_list
from ecluse.city.road_hours import OUTSIDE, total
from ecluse.city.spells import spells
from ecluse.city.typical import Usual

Kind = Literal["congestion", "flow"]
#: How many alerts are listed, the worst ones; `alerts_total` has all.
LISTED: Final = 200
#: The band that a flow must leave.
FLOW_LEVEL: Final = 0.99


def compute(inputs: Inputs, found: Mapping[str, Metrics]) -> Metrics:
    """The alerts of the day, worst first: by severity, then by lost time."""
    alerts = [*_congestion(inputs), *_flow(inputs, _not_counting(found["sensors"]))]
    alerts.sort(key=lambda one: (-one["severity"], -(one["lost_time"] or 0), one["arc"], one["hours"]))
    told = alerts[:LISTED]
    _name_works(inputs, told)
    kinds = {kind: sum(one["kind"] == kind for one in alerts) for kind in get_args(Kind)}
    return Metrics({"alerts": told, "alerts_total": len(alerts), "by_kind": kinds})


def _congestion(inputs: Inputs) -> Iterator[dict[str, Any]]:
    thresholds = inputs.thresholds
    limit, least = thresholds.blocked, round(thresholds.alert_hours)
    occupancy = inputs.road_hours.occupancy
    for place, begin, end in spells(occupancy >= limit, least):
        why = {
            "rule": "blocked",
            "threshold": limit,
            "unit": "% occupancy",
            "hours_needed": least,
            "observed": rounded_list(occupancy[place, begin:end]),
            "usual": _usual(inputs.occupancy_usual, inputs, place, begin, end, 0),
        }
        grave = 1 + (end - begin >= thresholds.severe_hours) + (end - begin >= thresholds.gravest_hours)
        yield _alert(inputs, "congestion", place, begin, end, grave, why)


def _not_counting(sensors: Metrics) -> set[int]:
    """The arcs whose sensor gives one value, or zeros, all the time: their flow is no news of the traffic."""
    reasons = ("constant", "all_zero")
    failing = sensors.body["failing"]
    return {one["id"] for one in failing if one["kind"] == "arc" and one["reason"] in reasons}


def _flow(inputs: Inputs, left_out: set[int]) -> Iterator[dict[str, Any]]:
    usual, flow, thresholds = inputs.flow_usual, inputs.road_hours.flow, inputs.thresholds
    at = usual.levels.index(FLOW_LEVEL)
    clock = list(inputs.day.clock_hours)
    sides = {"above": flow > usual.high[at][:, clock], "below": flow < usual.low[at][:, clock]}
    for side, out in sides.items():
        for place, begin, end in spells(out, round(min(thresholds.alert_hours, thresholds.flow_alert_hours))):
            exceptional = inputs.flow_verdicts[place] == "exceptional"
            least = round(thresholds.alert_hours if exceptional else thresholds.flow_alert_hours)
            if end - begin < least or int(inputs.network.ids[place]) in left_out:
                continue
            why = {
                "rule": side,
                "threshold": FLOW_LEVEL,
                "threshold_is": "share_in_band",
                "unit": "vehicles per hour",
                "hours_needed": least,
                "observed": rounded_list(flow[place, begin:end]),
                "usual": _usual(usual, inputs, place, begin, end, at),
                "days": int(usual.days[place]),
                "verdict": inputs.flow_verdicts[place],
            }
            grave = 1 + exceptional + (end - begin >= thresholds.gravest_hours)
            yield _alert(inputs, "flow", place, begin, end, grave, why)


def _usual(
    usual: Usual, inputs: Inputs, place: int, begin: int, end: int, level: int
) -> dict[str, Any] | None:
    """Median and band of the hours of a spell; None where nothing is usual yet."""
    hours = list(inputs.day.clock_hours[begin:end])
    median = usual.median[place, hours]
    if np.isnan(median).all():
        return None
    band = {"median": median, "low": usual.low[level, place, hours], "high": usual.high[level, place, hours]}
    return {name: rounded_list(values) for name, values in band.items()}


def _alert(
    inputs: Inputs, kind: Kind, place: int, begin: int, end: int, severity: int, why: Mapping[str, Any]
) -> dict[str, Any]:
    network, day = inputs.network, inputs.day
    arc, zone = int(network.ids[place]), int(network.zone[place])
    return {
        "id": f"{day.date.isoformat()}-{kind}-{arc}-{begin}",
        "kind": kind,
        "severity": severity,
        "arc": arc,
        "label": network.labels[place],
        "zone": None if zone == OUTSIDE else zone,
        "latitude": degrees(float(network.latitude[place])),
        "longitude": degrees(float(network.longitude[place])),
        "hours": list(range(begin, end)),
        "from": day.labels[begin],
        "to": day.labels[end] if end < day.hours else "24:00",
        "lost_time": rounded(float(total(inputs.road_hours.lost[place, begin:end]))),
        "why": dict(why),
        "works": [],
    }


def _name_works(inputs: Inputs, alerts: list[dict[str, Any]]) -> None:
    """Add the sites active on the day that lie within `works_radius` of each alert's arc, nearest first."""
    geometry = dict(zip(inputs.arcs["arc"].to_list(), inputs.arcs["geometry"].to_list(), strict=True))
    arcs = sorted({one["arc"] for one in alerts})
    sites = inputs.works["site"].to_list()
    near: dict[int, list[tuple[float, str]]] = {}
    pairs = pairs_within(
        inputs.thresholds.works_radius,
        [geometry.get(arc) for arc in arcs],
        inputs.works["geometry"].to_list(),
    )
    for n, site, metres in pairs:
        near.setdefault(arcs[n], []).append((metres, sites[site]))
    for one in alerts:
        one["works"] = [site for _, site in sorted(near.get(one["arc"], []))]
