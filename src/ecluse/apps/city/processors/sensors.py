"""Tell how many sensors report, of roads and of bikes, and which fail and why."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.city.calendar import LocalDay
from ecluse.apps.city.inputs import Inputs, Metrics
from ecluse.apps.city.names import REASONS as REASON_NAMES
from ecluse.apps.city.numbers import ratio, rounded
from ecluse.apps.city.processors.processor import Processor, listed
from ecluse.apps.city.road_days import last_hours_on, last_states_on
from ecluse.apps.city.road_hours import NO_STATE, OUTSIDE
from ecluse.apps.city.sections import Column, ReportTable, Section
from ecluse.apps.city.sensors import REASONS, SensorDay, failing_sensors
from ecluse.apps.city.tables import ARC_STATES
from ecluse.documents import Body
from ecluse.sentences import N_, num

#: How many failing sensors are listed; `failing_total` has all.
LISTED: Final = 500
#: Zone and whether it reports, of each sensor.
Sensors = list[tuple[int | None, bool]]


def compute(inputs: Inputs, metrics: Mapping[str, Metrics]) -> Metrics:
    """Availability is the share of the known sensors with at least one possible value on the day.

    An arc that its source calls closed (Barré) and that counts nothing is listed among `closed`: nothing is expected of
    it, so that it is neither known nor silent. What fails comes by reason, roads before bikes, and what never reported
    in these weeks last: the reference tells of many such arcs. The bike counters are those of `metrics["bikes"]`.
    """
    day, bikes = inputs.road_hours, metrics["bikes"].body
    arcs = [(None if zone == OUTSIDE else int(zone)) for zone in inputs.network.zone]
    closed = _closed(inputs)
    idle = closed & ~(day.reporting | day.impossible.any(axis=1))
    reporting_of = {
        "arc": [(arcs[n], bool(day.reporting[n])) for n in np.flatnonzero(~idle).tolist()],
        "bike": [(counter["zone"], bool(counter["coverage"])) for counter in bikes["counters"]],
    }
    of_arcs = failing_sensors(_sensor_day(inputs, arcs, closed), inputs.thresholds)
    failing = sorted([*of_arcs, *bikes["failing"]], key=_place)
    every = reporting_of["arc"] + reporting_of["bike"]
    return Metrics(
        {
            **_availability(every),
            "by_kind": {kind: _availability(some) for kind, some in reporting_of.items()},
            "failing": failing[:LISTED],
            "failing_total": len(of_arcs) + bikes["failing_total"],
            "reasons": {reason: sum(sensor["reason"] == reason for sensor in failing) for reason in REASONS},
            "closed": [_of_closed(inputs, arcs, n) for n in np.flatnonzero(idle).tolist()][:LISTED],
            "closed_total": int(idle.sum()),
            "by_zone": _by_zone(every),
        }
    )


def _place(failing: Mapping[str, Any]) -> tuple[int, bool]:
    evidence = failing["evidence"]
    return REASONS.index(failing["reason"]), "last_seen" in evidence and evidence["last_seen"] is None


def _closed(inputs: Inputs) -> NDArray[np.bool_]:
    """(arcs,): which are closed: in an hour of the day, or, without a row of it, in their last one of these weeks."""
    day = inputs.road_hours
    closed = np.asarray((day.arc_state == ARC_STATES.index("Barré")).any(axis=1))
    absent = (day.arc_state == NO_STATE).all(axis=1)
    before = last_states_on(inputs.network, inputs.road_days)
    return np.asarray(closed | (absent & (before == ARC_STATES.index("Barré"))))


def _of_closed(inputs: Inputs, zones: list[int | None], n: int) -> dict[str, Any]:
    arc = int(inputs.network.ids[n])
    return {
        "sensor": f"arc:{arc}",
        "kind": "arc",
        "id": arc,
        "label": inputs.network.labels[n],
        "zone": zones[n],
    }


def _sensor_day(inputs: Inputs, zones: list[int | None], closed: NDArray[np.bool_]) -> SensorDay:
    day = inputs.road_hours
    return SensorDay(
        kind="arc",
        ids=inputs.network.ids.tolist(),
        labels=inputs.network.labels,
        zones=zones,
        counts=day.flow,
        observed=day.reporting | day.impossible.any(axis=1),
        usual_total=inputs.flow_usual.totals(),
        impossible=_impossible(inputs),
        last_seen=_last_seen(inputs),
        closed=closed,
    )


def _impossible(inputs: Inputs) -> dict[int, list[dict[str, Any]]]:
    most = inputs.thresholds.largest_flow
    bad = {
        "flow": (pl.col("flow") < 0) | (pl.col("flow") > most),
        "occupancy": (pl.col("occupancy") < 0) | (pl.col("occupancy") > 100),
    }
    impossible: dict[int, list[dict[str, Any]]] = {}
    for quantity, is_bad in bad.items():
        rows = inputs.roads_today.filter(is_bad).sort("arc", "hour")
        places = inputs.network.places(rows["arc"].to_numpy()).tolist()
        for n, hour, value in zip(places, rows["hour"].to_list(), rows[quantity].to_list(), strict=True):
            impossible.setdefault(n, []).append({"hour": hour, "what": quantity, "value": rounded(value)})
    return impossible


def _last_seen(inputs: Inputs) -> dict[int, datetime]:
    """Place of a silent arc → the last hour of these weeks that had a value."""
    ordinals, hours = last_hours_on(inputs.network, inputs.road_days)
    silent = np.flatnonzero(~inputs.road_hours.reporting & (ordinals > 0)).tolist()
    starts = {
        n: LocalDay(date.fromordinal(n), inputs.day.zone).starts for n in set(ordinals[silent].tolist())
    }
    return {n: starts[int(ordinals[n])][int(hours[n])] for n in silent}


def _availability(sensors: Sensors) -> dict[str, Any]:
    reporting = sum(reports for _, reports in sensors)
    return {
        "known": len(sensors),
        "reporting": reporting,
        "availability": ratio(reporting, len(sensors)),
    }


def _by_zone(sensors: Sensors) -> list[dict[str, Any]]:
    """Count the known and the reporting per zone, those outside every zone last."""
    reporting_of: dict[int | None, list[bool]] = {}
    for zone, reports in sensors:
        reporting_of.setdefault(zone, []).append(reports)
    ordered = sorted(reporting_of, key=lambda zone: (zone is None, zone or 0))
    return [
        {"zone": zone, "known": len(reporting_of[zone]), "reporting": sum(reporting_of[zone])}
        for zone in ordered
    ]


# The report


def _summary(body: Body | None) -> Body:
    failing = [{name: sensor.get(name) for name in _OF_SENSOR} for sensor in listed(body, "failing")]
    return {
        "failing": failing[:LISTED_IN_REPORT],
        "failing_total": len(failing),
        "availability": (body or {}).get("availability"),
    }


#: How many failing sensors the report has, and what of each.
LISTED_IN_REPORT: Final = 30
_OF_SENSOR: Final = ("sensor", "kind", "id", "label", "zone", "reason")
_TABLE: Final = ReportTable(
    name="failing sensors",
    caption=N_("Of %(count)s"),
    values=lambda report: {"count": num(report["failing_total"])},
    rows=lambda report: report["failing"],
    id="sensor",
    columns=(
        Column(N_("Sensor"), "sensor"),
        Column(N_("Place"), "label"),
        Column(N_("Zone"), "zone", "zone"),
        Column(N_("Reason"), "reason", names=REASON_NAMES, unit=""),
    ),
)
PROCESSOR: Final = Processor(
    name="sensors",
    words=N_("sensors"),
    compute=compute,
    summarise=_summary,
    section=Section(N_("Failing sensors"), order=90, tables=(_TABLE,), has_own_part=True),
)
