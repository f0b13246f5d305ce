"""Raise alerts where an arc was far from usual for hours in a row, with what in the data may be why.

What counts is judged in `departures`, what may be why in `causes`. What is bad on every such
day is no alert. Worst first: by severity, then by the time lost beyond the usual, then by how far out it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, get_args

import numpy as np

from ecluse.apps.city.bounded import first_that_fit
from ecluse.apps.city.causes import Evidence
from ecluse.apps.city.departures import LEVEL, Departure, Kind, departures, flow_hours_needed, judged
from ecluse.apps.city.inputs import Inputs, Metrics
from ecluse.apps.city.names import ALERTS, CAUSES
from ecluse.apps.city.numbers import degrees, rounded, rounded_list
from ecluse.apps.city.processors.processor import Processor, listed, some
from ecluse.apps.city.road_hours import OUTSIDE, total
from ecluse.apps.city.sections import Column, Figure, ReportTable, Section
from ecluse.apps.city.speed import free_flow_speeds, lost_time
from ecluse.apps.city.typical import FEWEST, Floats, Usual
from ecluse.documents import Body
from ecluse.sentences import N_, _, listing, num

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


# The report


def _summary(body: Body | None) -> Body:
    alerts = listed(body, "alerts")
    return {
        "alerts": [_reported(alert) for alert in alerts][:LISTED_IN_REPORT],
        "alerts_total": int((body or {}).get("alerts_total", len(alerts))),
        "alerts_judged": some(body, ("arcs_reporting", "arcs_judged", "days_needed")),
    }


def _reported(alert: Body) -> Body:
    why = alert.get("why") or {}
    rule = {name: why.get(name) for name in ("rule", "threshold", "times", "similar_days", "compared_days")}
    lists = {name: alert.get(name, []) for name in ("causes", "works")}
    return {name: alert.get(name) for name in _REPORTED} | {"why": rule} | lists


def _causes(row: Body) -> str:
    kinds = dict.fromkeys(cause["kind"] for cause in row.get("causes") or ())
    names = [_(CAUSES[kind]) if kind in CAUSES else kind for kind in kinds]
    return listing(names) if names else _("none in the data")


def _figures(table: ReportTable, n: int, row: Body) -> Iterator[Figure]:
    yield table.figure(
        n, row, f"{row['kind']} {row['from']} to {row['to']}", row["severity"], "severity 1 to 3"
    )
    yield table.figure(n, row, "against the usual", row["why"]["times"], "times the usual band")
    yield table.figure(n, row, "lost beyond the usual", row["lost_time_more"], "vehicle-hours")
    causes = ", ".join(dict.fromkeys(cause["kind"] for cause in row["causes"]))
    yield table.figure(n, row, "may be why", causes or "none in the data", "")


#: How many alerts the report has, and what of each; pages and API have more.
LISTED_IN_REPORT: Final = 20
_REPORTED: Final = (
    *("id", "kind", "severity", "arc", "label", "zone", "from", "to", "hours", "latitude", "longitude"),
    *("lost_time", "lost_time_more"),
)
_TABLE: Final = ReportTable(
    name="alerts",
    caption=N_("Worst first, of %(count)s"),
    values=lambda report: {"count": num(report["alerts_total"])},
    rows=lambda report: report["alerts"],
    id="arc",
    is_ranked=True,
    columns=(
        Column(N_("Road"), "label", "street"),
        Column(N_("Kind"), "kind", names=ALERTS),
        Column(N_("Severity, 1 to 3"), "severity", "number"),
        Column(N_("Zone"), "zone", "zone"),
        Column(N_("Hours"), lambda row: (row.get("from"), row.get("to")), "hours"),
        Column(N_("Times the usual band"), lambda row: row["why"].get("times"), "number", 1),
        Column(N_("Lost beyond the usual, vehicle-hours"), "lost_time_more", "number", 1),
        Column(N_("May be why"), _causes),
    ),
    figures=_figures,
)
PROCESSOR: Final = Processor(
    name="alerts",
    words=N_("alerts"),
    compute=compute,
    summarise=_summary,
    section=Section(N_("Alerts"), order=30, lead="_alerts.html", tables=(_TABLE,), has_own_part=True),
)
