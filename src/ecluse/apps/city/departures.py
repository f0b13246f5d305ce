"""Judge where a day left what is usual, and how far: the one judgement behind alerts, arcs, pages and exports.

A departure is some hours in a row of one arc beyond the band that holds `LEVEL` of the hours of such days:

- congestion: an occupancy above the band, and of at least `congested`; from `alert_hours` in a row;
- flow: more or fewer vehicles than the band; from `flow_alert_hours` in a row, from `alert_hours` on a day whose
  verdict is exceptional.

What is bad on every such day lies within the band and is no departure, however bad: `bottlenecks` ranks it.
An arc without a band (too few such days before) is not judged at all. A missing hour ends the hours in a row. Where the
sensor fails, nothing is judged: one that gives the same number all day, or only zeros, says nothing of the traffic.

How far out it was is given in units of the band: `times` is the mean, over its hours, of the distance from the median
in units of the distance from the median to the edge. 1 is at the edge.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from ecluse.apps.city.inputs import Inputs, Metrics
from ecluse.apps.city.numbers import rounded
from ecluse.apps.city.streaks import streaks
from ecluse.apps.city.typical import VERDICTS, Usual, Verdict

Kind = Literal["congestion", "flow"]
Side = Literal["above", "below"]
#: The band that must be left: of 1,000 ordinary hours it holds 990.
LEVEL: Final = 0.99
#: Why a sensor says nothing of the traffic.
NOT_JUDGED: Final = ("constant", "all_zero")
#: No departure is told to be farther out than this: where days hardly differ, the band is next to nothing.
FARTHEST: Final = 10.0


@dataclass(frozen=True)
class Departure:
    """Hours in a row in which an arc was not as usual. `place`: of the arc in the network; `end` is not in it.

    `similar`: on how many of `compared` days of the weeks before, the same hours lay as far out on the same side.
    """

    kind: Kind
    side: Side
    place: int
    begin: int
    end: int
    times: float
    severity: int
    similar: int
    compared: int

    @property
    def hours(self) -> int:
        return self.end - self.begin


@dataclass(frozen=True)
class Judged:
    """Of how many arcs the day could be held to what is usual. `reporting`: those with a value on the day."""

    reporting: int
    judged: int


def departures(inputs: Inputs, sensors: Metrics | None) -> list[Departure]:
    """Return every departure of the day, by arc and hour. `sensors`: the metrics that say which of them fail."""
    silent = _failing(sensors)
    candidates = [*_congestion(inputs), *_flow(inputs)]
    ids = inputs.network.ids
    return [departure for departure in candidates if int(ids[departure.place]) not in silent]


def judged(inputs: Inputs) -> Judged:
    """Return how many of the arcs that report have a band at one of the hours they report."""
    clock = list(inputs.day.clock_hours)
    day, can = inputs.road_hours, np.zeros(len(inputs.network.ids), dtype=bool)
    pairs = ((inputs.flow_usual, day.flow), (inputs.occupancy_usual, day.occupancy))
    for usual, values in pairs:
        high = usual.high[usual.levels.index(LEVEL)][:, clock]
        can |= (np.isfinite(high) & ~np.isnan(values)).any(axis=1)
    return Judged(int(day.reporting.sum()), int(can.sum()))


def verdicts(inputs: Inputs, departures: list[Departure]) -> list[Verdict]:
    """Return one verdict per arc: that of its whole day, or that of its worst departure where this is worse."""
    codes = [VERDICTS.index(verdict) if verdict != "unknown" else -1 for verdict in inputs.flow_verdicts]
    for departure in departures:
        codes[departure.place] = max(
            codes[departure.place], VERDICTS.index("unusual" if departure.severity == 1 else "exceptional")
        )
    return ["unknown" if code < 0 else VERDICTS[code] for code in codes]


def _failing(sensors: Metrics | None) -> set[int]:
    failing = [] if sensors is None else sensors.body["failing"]
    return {sensor["id"] for sensor in failing if sensor["kind"] == "arc" and sensor["reason"] in NOT_JUDGED}


def _congestion(inputs: Inputs) -> Iterator[Departure]:
    """Severity is 1, and 1 more for each of: `far_outside` times the reach of the band, `severe_hours` in a row."""
    usual, thresholds = inputs.occupancy_usual, inputs.thresholds
    occupancy = inputs.road_hours.occupancy
    out = (occupancy > _edge(usual, inputs, "above")) & (occupancy >= thresholds.congested)
    for place, begin, end in streaks(out, round(thresholds.alert_hours)):
        times = _times(usual, inputs, occupancy, "above", place, begin, end)
        severity = 1 + (times >= thresholds.far_outside) + (end - begin >= thresholds.severe_hours)
        like = usual.as_far(place, inputs.day.clock_hours[begin:end], occupancy[place, begin:end])
        yield Departure("congestion", "above", place, begin, end, times, severity, *like)


def _flow(inputs: Inputs) -> Iterator[Departure]:
    """Severity is 1, and 1 more for each of: `far_outside` times the reach of the band, `gravest_hours` in a row."""
    usual, flow, thresholds = inputs.flow_usual, inputs.road_hours.flow, inputs.thresholds
    least = round(min(thresholds.alert_hours, thresholds.flow_alert_hours))
    sides: tuple[Side, ...] = ("above", "below")
    for side in sides:
        edge = _edge(usual, inputs, side)
        for place, begin, end in streaks(flow > edge if side == "above" else flow < edge, least):
            is_exceptional = inputs.flow_verdicts[place] == "exceptional"
            if end - begin < flow_hours_needed(inputs, is_exceptional):
                continue
            times = _times(usual, inputs, flow, side, place, begin, end)
            severity = 1 + (times >= thresholds.far_outside) + (end - begin >= thresholds.gravest_hours)
            like = usual.as_far(place, inputs.day.clock_hours[begin:end], flow[place, begin:end])
            yield Departure("flow", side, place, begin, end, times, severity, *like)


def flow_hours_needed(inputs: Inputs, is_exceptional: bool) -> int:
    """From how many hours in a row on a flow counts as a departure."""
    thresholds = inputs.thresholds
    return round(thresholds.alert_hours if is_exceptional else thresholds.flow_alert_hours)


def _edge(usual: Usual, inputs: Inputs, side: Side) -> NDArray[np.float32]:
    """(arcs, hours): the edge of the band at each hour of the day; NaN where there is none."""
    return _edges(usual, side)[:, list(inputs.day.clock_hours)]


def _edges(usual: Usual, side: Side) -> NDArray[np.float32]:
    """(arcs, 24): the same at each hour of the clock."""
    edges: NDArray[np.float32] = (usual.high if side == "above" else usual.low)[usual.levels.index(LEVEL)]
    return edges


def _times(
    usual: Usual, inputs: Inputs, values: NDArray[np.float64], side: Side, place: int, begin: int, end: int
) -> float:
    clock = list(inputs.day.clock_hours[begin:end])
    median = usual.median[place, clock]
    reach = np.abs(_edges(usual, side)[place, clock] - median)
    away = np.abs(values[place, begin:end] - median)
    with np.errstate(divide="ignore", invalid="ignore"):
        times = np.where(reach > 0, away / reach, FARTHEST)
    return rounded(float(np.minimum(times, FARTHEST).mean())) or 0.0
