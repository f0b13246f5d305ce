"""Say which sensors are failing on a day, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from ecluse.apps.city.numbers import rounded
from ecluse.apps.city.streaks import streaks
from ecluse.apps.city.thresholds import Thresholds

Reason = Literal["impossible", "constant", "all_zero", "silent"]
#: The reasons in the order in which failing sensors are listed.
REASONS: Final[tuple[Reason, ...]] = ("impossible", "constant", "all_zero", "silent")
#: How many impossible values a sensor's evidence quotes.
QUOTED: Final = 5


@dataclass(frozen=True)
class SensorDay:
    """What the sensors of one kind measured on a day. Arrays and sequences have one entry per sensor.

    counts: (sensors, hours) vehicles or bikes per hour, NaN where missing or impossible; observed: whether any
    value came all day; usual_total: the usual total of such a weekday, NaN where unknown; impossible: place of a
    sensor → its impossible values, each as {"hour", "what", "value"}; last_seen: place → when a value came last,
    for sensors that were silent; closed: those that are shut, from which nothing is expected.
    """

    kind: str
    ids: Sequence[Any]
    labels: Sequence[str | None]
    zones: Sequence[int | None]
    counts: NDArray[np.float64]
    observed: NDArray[np.bool_]
    usual_total: NDArray[Any]
    impossible: Mapping[int, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    last_seen: Mapping[int, datetime] = field(default_factory=dict)
    closed: NDArray[np.bool_] | None = None


def failing_sensors(day: SensorDay, thresholds: Thresholds) -> list[dict[str, Any]]:
    """Return the sensors that fail, by reason: each once, for the first of `REASONS` that holds. A closed one is not
    silent: nothing is expected of it.

    impossible: a value that cannot be; constant: the same count, at least `constant_least`, for `constant_hours`
    in a row; all_zero: no count but 0, while such a weekday usually has more; silent: not one value all day, the
    ones that fell silent last first.
    """
    failing: dict[int, tuple[Reason, dict[str, Any]]] = {}
    for holds in (_impossible, _constant, _all_zero, _silent):
        for n, reason, evidence in holds(day, thresholds):
            failing.setdefault(n, (reason, evidence))
    ordered = sorted(
        failing.items(), key=lambda item: (REASONS.index(item[1][0]), _silence(day, item[0]), item[0])
    )
    return [
        {
            "sensor": f"{day.kind}:{day.ids[n]}",
            "kind": day.kind,
            "id": day.ids[n],
            "label": day.labels[n],
            "zone": day.zones[n],
            "reason": reason,
            "evidence": evidence,
        }
        for n, (reason, evidence) in ordered
    ]


Found = list[tuple[int, Reason, dict[str, Any]]]


def _impossible(day: SensorDay, thresholds: Thresholds) -> Found:
    return [
        (n, "impossible", {"values": [dict(value) for value in values[:QUOTED]], "times": len(values)})
        for n, values in sorted(day.impossible.items())
    ]


def _constant(day: SensorDay, thresholds: Thresholds) -> Found:
    same = (np.diff(day.counts, axis=1) == 0) & (day.counts[:, 1:] >= thresholds.constant_least)
    longest: dict[int, tuple[int, int]] = {}
    for n, begin, end in streaks(same, round(thresholds.constant_hours) - 1):
        hours = end - begin + 1
        if hours > longest.get(n, (0, 0))[0]:
            longest[n] = (hours, begin)
    return [
        (n, "constant", {"value": rounded(float(day.counts[n, begin])), "hours": hours, "from_hour": begin})
        for n, (hours, begin) in longest.items()
    ]


def _all_zero(day: SensorDay, thresholds: Thresholds) -> Found:
    is_known = ~np.isnan(day.counts)
    zero = is_known.any(axis=1) & ~(np.nan_to_num(day.counts) > 0).any(axis=1)
    zero &= np.nan_to_num(day.usual_total) > 0
    if day.closed is not None:
        zero &= ~day.closed
    return [
        (n, "all_zero", {"hours": int(is_known[n].sum()), "usual_total": rounded(float(day.usual_total[n]))})
        for n in np.flatnonzero(zero).tolist()
    ]


def _silent(day: SensorDay, thresholds: Thresholds) -> Found:
    return [
        (n, "silent", {"last_seen": last_seen.isoformat() if (last_seen := day.last_seen.get(n)) else None})
        for n in np.flatnonzero(~day.observed & (True if day.closed is None else ~day.closed)).tolist()
    ]


def _silence(day: SensorDay, n: int) -> float:
    """Orders silent sensors: the one seen last first, one never seen at the end."""
    if day.observed[n]:
        return 0.0
    last_seen = day.last_seen.get(n)
    return -last_seen.timestamp() if last_seen else 0.0
