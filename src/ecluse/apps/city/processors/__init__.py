"""Compute a day's metrics from its curated tables. One file per kind of metrics, one line in `PROCESSORS`.

`compute(inputs, found)` is a pure function: the same tables give the same metrics. `found` has what the
processors before it in the table made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from ecluse.apps.city.inputs import Inputs, Metrics
from ecluse.apps.city.processors import (
    alerts,
    arcs,
    bikes,
    bottlenecks,
    disruptions,
    ranking,
    sensors,
    traffic,
    weather,
    works,
    zones,
)
from ecluse.apps.city.processors import map as map_of_arcs
from ecluse.apps.city.progress import Report, named, unheard

Compute = Callable[[Inputs, Mapping[str, Metrics]], Metrics]

#: Kind of metrics → what computes it, in the order in which they run.
PROCESSORS: Final[dict[str, Compute]] = {
    "traffic": traffic.compute,
    "bikes": bikes.compute,
    "sensors": sensors.compute,
    "arcs": arcs.compute,
    "map": map_of_arcs.compute,
    "zones": zones.compute,
    "ranking": ranking.compute,
    "disruptions": disruptions.compute,
    "weather": weather.compute,
    "works": works.compute,
    "alerts": alerts.compute,
    "bottlenecks": bottlenecks.compute,
}


def compute_all(inputs: Inputs, report: Report = unheard) -> dict[str, Metrics]:
    """Return every kind of metrics of a day."""
    metrics: dict[str, Metrics] = {}
    for n, (kind, compute) in enumerate(PROCESSORS.items()):
        report(n / len(PROCESSORS), named(kind))
        metrics[kind] = compute(inputs, metrics)
    return metrics
