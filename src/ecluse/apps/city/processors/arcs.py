"""Measure every arc's day: vehicles, occupancy, states, congestion, lost time, and how usual it was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ecluse.apps.city.departures import departures, verdicts
from ecluse.apps.city.inputs import Inputs, Metrics
from ecluse.apps.city.numbers import degrees_list, rounded_list, whole_list
from ecluse.apps.city.processors.processor import Processor
from ecluse.apps.city.road_hours import NO_STATE, OUTSIDE, RoadHours, mean, total
from ecluse.apps.city.streaks import longest_streaks
from ecluse.apps.city.tables import ARC_STATES, STATES
from ecluse.apps.city.typical import VERDICTS, Usual
from ecluse.sentences import N_

#: How many arcs a chunk of the map holds.
CHUNK: Final = 400


def compute(inputs: Inputs, metrics: Mapping[str, Metrics]) -> Metrics:
    """Return one part per arc, those without any hour of the day too; in the body, how many there are of each verdict.

    The verdict is that of the arc's whole day, or that of its worst alert where this is worse.
    """
    day = inputs.road_hours
    columns = _columns(day, inputs.thresholds.congested)
    of_arcs = verdicts(inputs, departures(inputs, metrics.get("sensors")))
    columns |= {"verdict": of_arcs, "usual": _usual(inputs)}
    parts = {
        str(arc): {name: values[n] for name, values in columns.items()}
        for n, arc in enumerate(columns["arc"])
    }
    counts: dict[str, int] = dict.fromkeys(VERDICTS, 0)
    for part in parts.values():
        counts[part["verdict"]] += 1
    chunks = -(-len(parts) // CHUNK)
    return Metrics({"arcs": len(parts), "verdicts": counts, "chunks": chunks}, parts)


def _columns(day: RoadHours, congested: float) -> dict[str, list[Any]]:
    """Field → its value for every arc, in the order of their ids."""
    network, hours = day.network, day.hours
    slow = day.occupancy >= congested
    occupancy_known = ~np.isnan(day.occupancy)
    observed = day.observed.sum(axis=1)
    is_known = occupancy_known.any(axis=1)
    return {
        "arc": network.ids.tolist(),
        "label": list(network.labels),
        "zone": [None if zone == OUTSIDE else zone for zone in network.zone.tolist()],
        "length": rounded_list(network.length),
        "latitude": degrees_list(network.latitude),
        "longitude": degrees_list(network.longitude),
        "vehicles": whole_list(total(day.flow, axis=1)),
        "mean_flow": rounded_list(mean(day.flow, axis=1)),
        "max_flow": rounded_list(_highest(day)),
        "peak_at": _peaks(day),
        "mean_occupancy": rounded_list(mean(day.occupancy, axis=1)),
        "states": _state_shares(day),
        "congested_hours": whole_list(np.where(is_known, slow.sum(axis=1), np.nan)),
        "longest_congested": whole_list(np.where(is_known, longest_streaks(slow), np.nan)),
        "hours_observed": observed.tolist(),
        "coverage": rounded_list(observed / hours),
        "vehicles_coverage": rounded_list((~np.isnan(day.flow)).mean(axis=1)),
        "lost_time": rounded_list(total(day.lost, axis=1)),
        "lost_time_coverage": rounded_list((~np.isnan(day.lost)).mean(axis=1)),
        "flow": rounded_list(day.flow),
        "occupancy": rounded_list(day.occupancy),
        "state": [
            [None if code == NO_STATE else STATES[code] for code in codes] for codes in day.state.tolist()
        ],
        "arc_state": _arc_states(day),
    }


def _highest(day: RoadHours) -> np.ndarray[Any, np.dtype[np.float64]]:
    highest = np.where(np.isnan(day.flow), -np.inf, day.flow).max(axis=1)
    return np.where(np.isfinite(highest), highest, np.nan)


def _peaks(day: RoadHours) -> list[str | None]:
    """Return when the first hour of the highest flow began, with its offset; None where no flow is known."""
    filled = np.where(np.isnan(day.flow), -np.inf, day.flow)
    peaks = np.where(np.isfinite(filled.max(axis=1)), filled.argmax(axis=1), np.nan)
    hours: list[int | None] = whole_list(peaks)
    return [day.day.stamp(hour) for hour in hours]


def _state_shares(day: RoadHours) -> list[dict[str, float]]:
    """Of the hours with a state, the share of each state that occurs."""
    counts = np.stack([(day.state == code).sum(axis=1) for code in range(len(STATES))], axis=1)
    shares = rounded_list(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))
    return [{state: share for state, share in zip(STATES, row, strict=True) if share} for row in shares]


def _arc_states(day: RoadHours) -> list[str | None]:
    """Return the state of the arc itself that most hours of the day tell."""
    counts = np.stack([(day.arc_state == code).sum(axis=1) for code in range(len(ARC_STATES))], axis=1)
    rows: list[list[int]] = counts.tolist()
    return [ARC_STATES[row.index(max(row))] if any(row) else None for row in rows]


def _usual(inputs: Inputs) -> list[dict[str, Any] | None]:
    """Median and band of flow and of occupancy by hour; None where nothing is usual yet."""
    flow, occupancy = _bands(inputs.flow_usual, inputs), _bands(inputs.occupancy_usual, inputs)
    days = np.maximum(inputs.flow_usual.days, inputs.occupancy_usual.days).tolist()
    return [
        {"flow": flow_usual, "occupancy": occupancy_usual, "days": n}
        if flow_usual or occupancy_usual
        else None
        for flow_usual, occupancy_usual, n in zip(flow, occupancy, days, strict=True)
    ]


def _bands(usual: Usual, inputs: Inputs) -> list[dict[str, Any] | None]:
    hours = list(inputs.day.clock_hours)
    median, low, high = (
        rounded_list(values[:, hours]) for values in (usual.median, usual.low[0], usual.high[0])
    )
    is_known: list[bool] = np.asarray(np.isfinite(usual.median).any(axis=1)).tolist()
    return [
        {"median": median[n], "low": low[n], "high": high[n]} if has_band else None
        for n, has_band in enumerate(is_known)
    ]


PROCESSOR: Final = Processor("arcs", N_("arcs"), compute)
