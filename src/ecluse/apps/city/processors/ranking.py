"""Rank arcs by flow and by lost time, and zones by lost time; say how often each was in the top ten."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from ecluse.apps.city.inputs import Inputs, Metrics
from ecluse.apps.city.numbers import rounded, rounded_int
from ecluse.apps.city.processors.processor import Processor, listed
from ecluse.apps.city.road_days import totals_on
from ecluse.apps.city.road_hours import OUTSIDE, Floats
from ecluse.apps.city.sections import Column, Figure, ReportTable, Section
from ecluse.documents import Body
from ecluse.sentences import N_

TOP: Final = 10
#: Over how many days, the day itself included, persistence counts.
PERSISTENCE_DAYS: Final = 28


def compute(inputs: Inputs, metrics: Mapping[str, Metrics]) -> Metrics:
    """Return the top ten of the day; who measured nothing or lost nothing has no rank.

    `coverage` is the share of the hours that the value rests on. An arc whose sensor fails, by `metrics["sensors"]`,
    has the reason in `failing`: one that gives the same flow all night may stand among the busiest.
    """
    network = inputs.network
    vehicles, lost_totals = totals_on(inputs.network, inputs.road_days, PERSISTENCE_DAYS)
    zones = [int(zone) for zone in np.unique(network.zone[network.zone != OUTSIDE])]
    of_zones = np.full((len(zones), PERSISTENCE_DAYS), np.nan)
    for n, zone in enumerate(zones):
        of_zone = lost_totals[network.zone == zone]
        of_zones[n] = np.where(np.isnan(of_zone).all(axis=0), np.nan, np.nansum(of_zone, axis=0))
    coverage = (~np.isnan(inputs.road_hours.flow)).mean(axis=1)
    lost_coverage = (~np.isnan(inputs.road_hours.lost)).mean(axis=1)
    zone_coverage = [lost_coverage[network.zone == zone].mean() for zone in zones]
    failing = {
        sensor["id"]: sensor["reason"]
        for sensor in metrics["sensors"].body["failing"]
        if sensor["kind"] == "arc"
    }
    names = dict(zip(inputs.zones["zone"].to_list(), inputs.zones["name"].to_list(), strict=True))

    def arc(n: int) -> dict[str, Any]:
        zone = int(network.zone[n])
        return {
            "arc": int(network.ids[n]),
            "label": network.labels[n],
            "zone": None if zone == OUTSIDE else zone,
            "failing": failing.get(int(network.ids[n])),
        }

    return Metrics(
        {
            "by_flow": [
                {
                    **entry,
                    **arc(n),
                    "value": rounded_int(entry["value"]),
                    "unit": "vehicles",
                    "coverage": rounded(coverage[n]),
                }
                for n, entry in _ranked(vehicles)
            ],
            "by_lost_time": [
                {**entry, **arc(n), "unit": "vehicle-hours", "coverage": rounded(lost_coverage[n])}
                for n, entry in _ranked(lost_totals)
            ],
            "zones": [
                {
                    **entry,
                    "zone": zones[n],
                    "name": names.get(zones[n]),
                    "unit": "vehicle-hours",
                    "coverage": rounded(zone_coverage[n]),
                }
                for n, entry in _ranked(of_zones)
            ],
        }
    )


def _ranked(values: Floats) -> list[tuple[int, dict[str, Any]]]:
    """(row, its rank with persistence) of the top ten of the last column; of equals, the first row goes first."""
    positive = np.where(np.nan_to_num(values) > 0, values, 0.0)
    order = np.argsort(-positive, axis=0, kind="stable")[:TOP]
    top = np.zeros(values.shape, dtype=bool)
    np.put_along_axis(top, order, values=True, axis=0)
    persistence = (top & (positive > 0)).sum(axis=1)
    known_days_ = (~np.isnan(values)).sum(axis=1)
    return [
        (
            n,
            {
                "rank": rank,
                "value": rounded(float(values[n, -1])),
                "persistence": int(persistence[n]),
                "persistence_days": int(known_days_[n]),
            },
        )
        for rank, n in enumerate(order[:, -1].tolist(), start=1)
        if positive[n, -1] > 0
    ]


# The report


def _summary(body: Body | None) -> Body:
    return {
        "by_flow": listed(body, "by_flow"),
        "by_lost_time": listed(body, "by_lost_time"),
        "zones_by_lost_time": listed(body, "zones"),
    }


def _figures(table: ReportTable, n: int, row: Body) -> Iterator[Figure]:
    yield table.figure(n, row, table.name.rpartition("by ")[2].replace(" ", "_"), row["value"], row["unit"])
    if row.get("persistence") is not None:
        yield table.figure(n, row, "persistence", row["persistence"], "days of the last 28")


def _table(field: str, caption: str, heading: str, digits: int) -> ReportTable:
    return ReportTable(
        name=field.replace("_", " "),
        caption=caption,
        rows=lambda report: report[field],
        id="arc",
        is_ranked=True,
        columns=(
            Column("#", "rank", "number"),
            Column(N_("Road"), "label", "street"),
            Column(N_("Zone"), "zone", "zone"),
            Column(heading, "value", "number", digits),
            Column(N_("Hours observed"), "coverage", "share"),
            Column(N_("Days of 28 in the top ten"), "persistence", "number"),
        ),
        figures=_figures,
    )


_OF_ZONES: Final = ReportTable(
    name="zones by lost time",
    caption=N_("Zones by time lost, vehicle-hours"),
    rows=lambda report: report["zones_by_lost_time"],
    id="zone",
    label="name",
    is_ranked=True,
    columns=(),
    figures=_figures,
    is_printed=False,  # the table of the zones has it
)
PROCESSOR: Final = Processor(
    name="ranking",
    words=N_("ranking"),
    compute=compute,
    summarise=_summary,
    section=Section(
        N_("Where time was lost"),
        order=10,
        lead="_ranking.html",
        tables=(
            _table("by_lost_time", N_("Roads by time lost, vehicle-hours"), N_("Time lost"), 1),
            _table("by_flow", N_("Roads by vehicles counted"), N_("Vehicles"), 0),
            _OF_ZONES,
        ),
        has_own_part=True,
    ),
)
