"""Tell how many road sensors report, and which fail and why."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import polars as pl

from ecluse.city.inputs import Inputs, Metrics
from ecluse.city.numbers import ratio, rounded
from ecluse.city.road_hours import OUTSIDE
from ecluse.city.sensors import REASONS, SensorDay, failing_sensors
from ecluse.city.tables import ARC_STATES

#: How many failing sensors are listed; `failing_total` has all.
LISTED: Final = 500


def compute(inputs: Inputs, found: Mapping[str, Metrics]) -> Metrics:
    """Availability is the share of the known arcs with at least one value on the day."""
    day, network = inputs.road_hours, inputs.network
    zones = [None if zone == OUTSIDE else int(zone) for zone in network.zone]
    sensors = SensorDay(
        kind="arc",
        ids=network.ids.tolist(),
        labels=network.labels,
        zones=zones,
        counts=day.flow,
        observed=day.reporting | day.impossible.any(axis=1),
        usual_total=inputs.flow_usual.totals(),
        impossible=_impossible(inputs),
        last_seen=_last_seen(inputs),
        closed=(day.arc_state == ARC_STATES.index("Barré")).any(axis=1),
    )
    failing = failing_sensors(sensors, inputs.thresholds)
    reporting = int(day.reporting.sum())
    return Metrics(
        {
            "known": len(zones),
            "reporting": reporting,
            "availability": ratio(reporting, len(zones)),
            "failing": failing[:LISTED],
            "failing_total": len(failing),
            "reasons": {reason: sum(one["reason"] == reason for one in failing) for reason in REASONS},
            "by_zone": _by_zone(zones, day.reporting.tolist()),
        }
    )


def _impossible(inputs: Inputs) -> dict[int, list[dict[str, Any]]]:
    most = inputs.thresholds.largest_flow
    bad = {
        "flow": (pl.col("flow") < 0) | (pl.col("flow") > most),
        "occupancy": (pl.col("occupancy") < 0) | (pl.col("occupancy") > 100),
    }
    told: dict[int, list[dict[str, Any]]] = {}
    for what, is_bad in bad.items():
        rows = inputs.roads_today.filter(is_bad).sort("arc", "hour")
        places = inputs.network.places(rows["arc"].to_numpy()).tolist()
        for n, hour, value in zip(places, rows["hour"].to_list(), rows[what].to_list(), strict=True):
            told.setdefault(n, []).append({"hour": hour, "what": what, "value": rounded(value)})
    return told


def _last_seen(inputs: Inputs) -> dict[int, datetime]:
    """Place of a silent arc → the last hour of these weeks that had a value."""
    silent = inputs.network.ids[~inputs.road_hours.reporting]
    rows = (
        inputs.roads.filter(
            pl.col("arc").is_in(pl.Series(silent, dtype=pl.Int32).implode())
            & (pl.col("flow").is_not_null() | pl.col("occupancy").is_not_null())
            & (pl.col("at") < inputs.day.begin)
        )
        .group_by("arc")
        .agg(pl.col("at").max())
        .sort("arc")
    )
    places = inputs.network.places(rows["arc"].to_numpy()).tolist()
    return dict(zip(places, rows["at"].to_list(), strict=True))


def _by_zone(zones: list[int | None], reporting: list[bool]) -> list[dict[str, Any]]:
    """Known and reporting per zone, those outside every zone last."""
    known: dict[int | None, list[bool]] = {}
    for zone, reports in zip(zones, reporting, strict=True):
        known.setdefault(zone, []).append(reports)
    ordered = sorted(known, key=lambda zone: (zone is None, zone or 0))
    return [{"zone": zone, "known": len(known[zone]), "reporting": sum(known[zone])} for zone in ordered]
