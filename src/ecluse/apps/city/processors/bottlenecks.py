"""Rank the bottlenecks of the weeks up to the day, and keep the day's own queues for rankings over other periods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ecluse.apps.city.adjacent import Arc, arcs_of
from ecluse.apps.city.bottlenecks import DAYS, Hours, Place, day_chunks, kind_of, rank_bottlenecks
from ecluse.apps.city.inputs import Inputs, Metrics
from ecluse.apps.city.processors.processor import Processor
from ecluse.apps.city.road_hours import OUTSIDE
from ecluse.apps.city.sections import Column, ReportTable, Section
from ecluse.apps.city.speed import free_flow_speeds, lost_time
from ecluse.apps.city.typical import WEEKS
from ecluse.documents import Body
from ecluse.sentences import N_

#: How many bottlenecks of each kind of day the day's document lists.
LISTED: Final = 20


def compute(inputs: Inputs, metrics: Mapping[str, Metrics]) -> Metrics:
    """For each kind of day the ranking over the last `WEEKS` weeks, the day itself included."""
    hours, places = _hours(inputs), _places(inputs)
    rankings: dict[str, Any] = {}
    for kind in DAYS:
        items, total, days = rank_bottlenecks(hours, places, kind, inputs.thresholds)
        rankings[kind] = {"days": days, "total": total, "items": items[:LISTED]}
    body = {
        "from": hours.dates[0].isoformat(),
        "to": hours.dates[-1].isoformat(),
        "kind_of_day": kind_of(inputs.day.date),
        "rankings": rankings,
    }
    return Metrics(body, day_chunks(hours, len(hours.dates) - 1))


def _hours(inputs: Inputs) -> Hours:
    flow, occupancy = inputs.flow_panel, inputs.occupancy_panel
    since = max(occupancy.values.shape[1] - 7 * WEEKS, 0)
    network, occupancy_values = inputs.network, occupancy.values[:, since:]
    free = free_flow_speeds(network.labels, inputs.day.date, inputs.thresholds)
    with np.errstate(invalid="ignore"):
        queue = occupancy_values >= inputs.thresholds.congested
    # Of the hours without a queue nobody asks what was lost, and they are nearly all.
    rows = np.nonzero(queue)[0]
    lost_hours = np.full(queue.shape, np.nan, np.float32)
    lost_hours[queue] = lost_time(
        flow.values[:, since:][queue],
        occupancy_values[queue],
        network.length[rows],
        free[rows],
        inputs.thresholds,
    )
    return Hours(
        tuple(network.ids.tolist()),
        occupancy.dates[since:],
        np.isfinite(occupancy_values),
        queue,
        lost_hours,
    )


def _places(inputs: Inputs) -> list[Place]:
    arc_of = {arc.id: arc for arc in arcs_of(inputs.arcs)}
    network = inputs.network
    columns = (network.ids, network.labels, network.zone, network.length, network.latitude, network.longitude)
    return [
        Place(
            arc_of.get(int(arc), Arc(int(arc), None, None)),
            label,
            None if zone == OUTSIDE else int(zone),
            float(length),
            float(latitude),
            float(longitude),
        )
        for arc, label, zone, length, latitude, longitude in zip(*columns, strict=True)
    ]


# The report


def _summary(body: Body | None) -> Body:
    """Keep the ranking of the weeks up to the day, over days of its kind."""
    if body is None:
        return {"bottlenecks": None}
    kind = body["kind_of_day"]
    ranking = body["rankings"][kind]
    period = {"from": body["from"], "to": body["to"], "kind_of_day": kind, "days": ranking["days"]}
    section = {"total": ranking["total"], "items": ranking["items"][:LISTED_IN_REPORT]}
    return {"bottlenecks": period | section}


#: How many bottlenecks the report has; pages and API have more.
LISTED_IN_REPORT: Final = 10
_TABLE: Final = ReportTable(
    name="bottlenecks",
    caption=N_("Where there is a queue again and again, the costliest first"),
    rows=lambda report: (report.get("bottlenecks") or {}).get("items", ()),
    id="arc",
    is_ranked=True,
    columns=(
        Column("#", "rank", "number"),
        Column(N_("Head of the queue"), "label", "street"),
        Column(N_("Zone"), "zone", "zone"),
        Column(N_("Days with a queue"), "recurrence", "share", unit="share of measured days"),
        Column(N_("Hours a day"), "duration", "number", 1, unit="hours a day with a queue"),
        Column(N_("Length, m"), "length", "number", unit="m"),
        Column(N_("Lost, vehicle-hours"), "lost_time", "number", 1, unit="vehicle-hours"),
        Column(N_("Lost a day, vehicle-hours"), "lost_time_a_day", "number", 1, unit="vehicle-hours a day"),
    ),
)
PROCESSOR: Final = Processor(
    name="bottlenecks",
    words=N_("bottlenecks"),
    compute=compute,
    summarise=_summary,
    section=Section(N_("Bottlenecks"), order=40, lead="_bottlenecks.html", tables=(_TABLE,)),
)
