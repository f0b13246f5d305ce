"""Sum up the city's traffic of a day: vehicles, occupancy, states, lost time, beside the week before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ecluse.apps.city.calendar import LocalDay
from ecluse.apps.city.coverage import rests_on_few
from ecluse.apps.city.inputs import Inputs, Metrics
from ecluse.apps.city.numbers import ratio, rounded, rounded_int, rounded_list, whole_list
from ecluse.apps.city.processors.processor import Processor, some
from ecluse.apps.city.road_days import city_hours
from ecluse.apps.city.road_hours import Floats, RoadHours, mean, road_hours, total
from ecluse.apps.city.sections import Column, Figure, ReportTable, Section
from ecluse.apps.city.tables import STATES
from ecluse.apps.city.typical import Panel, enough_report, usual_days
from ecluse.documents import Body
from ecluse.sentences import N_, _, num

#: What `ecluse.apps.city.typical` calls the total of all arcs.
CITY: Final = "all"


def compute(inputs: Inputs, metrics: Mapping[str, Metrics]) -> Metrics:
    """Return the figures of all arcs together; each total stands over the hours that were observed."""
    day, congested = inputs.road_hours, inputs.thresholds.congested
    by_hour = _by_hour(day, congested)
    body = figures(day, congested) | {
        "states": _state_shares(day),
        "by_hour": by_hour,
        "usual": _usual(inputs),
        # Which of the hours it is, from 0: on a day of 23 or 25 hours not what the clocks show, which `worst_at` has.
        "worst_hour": (worst := _worst_hour(by_hour["lost_time"])),
        "worst_at": inputs.day.stamp(worst),
        "week_before": _week_before(inputs),
    }
    return Metrics(body)


def figures(day: RoadHours, congested: float) -> dict[str, Any]:
    """Return the day in single numbers. Coverages are shares of the arc-hours of all known arcs."""
    arc_hours = day.flow.size
    return {
        "arcs_known": len(day.network.ids),
        "arcs_reporting": int(day.reporting.sum()),
        "coverage": ratio(float(day.observed.sum()), arc_hours),
        "vehicles": rounded_int(float(total(day.flow))),
        "vehicles_coverage": ratio(float((~np.isnan(day.flow)).sum()), arc_hours),
        "mean_flow": rounded(float(mean(day.flow))),
        "mean_occupancy": rounded(float(mean(day.occupancy))),
        "lost_time": rounded(float(total(day.lost))),
        "lost_time_coverage": ratio(float((~np.isnan(day.lost)).sum()), arc_hours),
        "saturation_share": saturation_share(day, congested),
    }


def saturation_share(day: RoadHours, congested: float) -> float | None:
    """Return the share of the arc-hours of known occupancy that are congested."""
    return ratio(float((day.occupancy >= congested).sum()), float((~np.isnan(day.occupancy)).sum()))


def saturation_by_hour(day: RoadHours, congested: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(hours,): the share of the arcs of known occupancy that are congested; NaN where none is known."""
    known_arcs = (~np.isnan(day.occupancy)).sum(axis=0)
    slow = (day.occupancy >= congested).sum(axis=0)
    return np.where(known_arcs > 0, slow / np.maximum(known_arcs, 1), np.nan)


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


def _worst_hour(lost_by_hour: list[float | None]) -> int | None:
    """Return the first hour with the most lost time; None where none is known or nothing was lost."""
    ranked = [(-value, hour) for hour, value in enumerate(lost_by_hour) if value]
    return min(ranked)[1] if ranked else None


def _usual(inputs: Inputs) -> dict[str, Any]:
    """Median and band by hour of the city's saturation share and vehicles on such a day."""
    day = inputs.day
    share = usual_days(_saturation_panel(inputs), day.date, ceiling=1.0).by_hour(CITY, day)
    vehicles = usual_days(_vehicles_panel(inputs), day.date).by_hour(CITY, day)
    return {
        "saturation_share": {name: [*map(rounded, values)] for name, values in share.items()},
        "vehicles": {name: [rounded_int(value) for value in values] for name, values in vehicles.items()},
    }


def _saturation_panel(inputs: Inputs) -> Panel:
    """Return the city's saturation share by day and hour of the clock, where at least half of the arcs report that
    usually do.
    """
    known_arcs, slow = (city_hours(inputs.road_days, name) for name in ("occupancy_count", "slow_count"))
    share = np.where(enough_report(known_arcs), slow / np.maximum(known_arcs, 1), np.nan)
    return Panel((CITY,), inputs.first, share[None].astype(np.float32))


def _vehicles_panel(inputs: Inputs) -> Panel:
    """Return the city's vehicles by day and hour of the clock before the day, where enough arcs report."""
    counts, sums = (
        city_hours(inputs.road_days, name)[: inputs.history_days] for name in ("flow_count", "flow_sum")
    )
    vehicles = np.where(enough_report(counts), sums, np.nan)
    return Panel((CITY,), inputs.first, vehicles[None].astype(np.float32))


def _week_before(inputs: Inputs) -> dict[str, Any] | None:
    """Return the same weekday a week ago, and how far the day is from it; None where no hour of it is known.

    A `value` is that day's whole figure. A `change` looks at the arc-hours alone that are known on both days (their
    share is in `compared`): two sums over different hours cannot be compared.
    """
    before = LocalDay(inputs.day.date - timedelta(days=7), inputs.day.zone)
    rows = inputs.road_days.rows(before)
    if rows is None:
        return None
    then, now = road_hours(rows, inputs.network, before, inputs.thresholds), inputs.road_hours
    if not then.reporting.any():
        return None
    congested = inputs.thresholds.congested
    value = figures(then, congested)
    clock = before.clock_hours
    same = [clock.index(hour) if hour in clock else len(clock) for hour in inputs.day.clock_hours]
    vehicles = _known_on_both(now.flow, then.flow, same)
    lost_both = _known_on_both(now.lost, then.lost, same)
    occupancy = _known_on_both(now.occupancy, then.occupancy, same)

    def compared(name: str, pair: tuple[NDArray[Any], NDArray[Any]]) -> dict[str, Any]:
        new, old = (float(values.sum()) for values in pair)
        change = ratio(new - old, old) if pair[0].size else None
        return {"value": value[name], "change": change, "compared": ratio(pair[0].size, now.flow.size)}

    return {
        "date": before.date.isoformat(),
        "coverage": value["coverage"],
        "vehicles": compared("vehicles", vehicles),
        "lost_time": compared("lost_time", lost_both),
        "saturation_share": compared(
            "saturation_share", (occupancy[0] >= congested, occupancy[1] >= congested)
        ),
    }


def _known_on_both(now: Floats, then: Floats, same: list[int]) -> tuple[Floats, Floats]:
    """Return the values of the arc-hours known on both days; `same`: the hour of the other day for each of this one."""
    other = np.pad(then, ((0, 0), (0, 1)), constant_values=np.nan)[:, same]
    is_known = ~(np.isnan(now) | np.isnan(other))
    return now[is_known], other[is_known]


# The report


def _summary(body: Body | None) -> Body:
    return {
        "traffic": some(body, REPORTED),
        "week_before": (body or {}).get("week_before"),
        "rests_on_few": rests_on_few(body),
    }


def _against_the_week_before(report: Body) -> list[Body]:
    """Return a row for each figure; one whose value is a share is given as one."""
    before = report["week_before"] or {}
    names = {"vehicles": _VEHICLES, "lost_time": _LOST_TIME, "saturation_share": _SATURATED}
    return [
        {"figure": name, "title": _(title), **before[name]}
        for name, title in names.items()
        if before.get(name)
    ]


def _value_a_week_ago(row: Body) -> str:
    return num(row["value"], ".1%" if row["figure"] == "saturation_share" else ",.0f")


def _figures(table: ReportTable, n: int, row: Body) -> Iterator[Figure]:
    yield table.figure(n, row, "value a week ago", row["value"], "")
    yield table.figure(n, row, "change", row["change"], "share")


#: What the report keeps of these metrics.
REPORTED: Final = (
    "arcs_known",
    "arcs_reporting",
    "vehicles",
    "lost_time",
    "saturation_share",
    "coverage",
    "by_hour",
    "usual",
)
_VEHICLES: Final = N_("Vehicle passages, summed over arcs")
_LOST_TIME: Final = N_("Time lost, vehicle-hours")
_SATURATED: Final = N_("Saturated or blocked")
_WEEK: Final = ReportTable(
    name="week on week",
    caption=N_("Against %(day)s"),
    values=lambda report: {"day": (report["week_before"] or {}).get("date", "")},
    rows=_against_the_week_before,
    id="figure",
    label=lambda row: "",
    columns=(
        Column(N_("Figure"), "title"),
        Column(N_("A week ago"), _value_a_week_ago),
        Column(N_("Change"), "change", "share", 1),
    ),
    figures=_figures,
)
PROCESSOR: Final = Processor(
    name="traffic",
    words=N_("traffic"),
    compute=compute,
    summarise=_summary,
    section=Section(N_("Week on week"), order=100, tables=(_WEEK,), has_own_part=True),
)
