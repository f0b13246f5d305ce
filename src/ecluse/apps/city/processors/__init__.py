"""Compute a day's metrics from its curated tables. One file per kind of metrics, one line in `PROCESSORS`.

The value `PROCESSOR` of a kind's module says all of it: what computes it, its words, and its section of the report,
with its tables. Its `compute(inputs, metrics)` is a pure function: the same tables give the same metrics. `metrics` has
what the processors before it in the table made.
"""

from __future__ import annotations

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
from ecluse.apps.city.processors.processor import Processor
from ecluse.apps.city.progress import Report, unheard
from ecluse.sentences import N_, _

__all__ = ["PROCESSORS", "QUALITY", "Processor", "compute_all", "words_of"]

#: The kind of metrics that says what a day was made from; none computes it from the tables.
QUALITY: Final = "quality"
#: Every kind of metrics by its name, in the order in which they are computed.
PROCESSORS: Final[dict[str, Processor]] = {
    processor.name: processor
    for processor in (
        traffic.PROCESSOR,
        bikes.PROCESSOR,
        sensors.PROCESSOR,
        arcs.PROCESSOR,
        map_of_arcs.PROCESSOR,
        zones.PROCESSOR,
        ranking.PROCESSOR,
        disruptions.PROCESSOR,
        weather.PROCESSOR,
        works.PROCESSOR,
        alerts.PROCESSOR,
        bottlenecks.PROCESSOR,
    )
}


def words_of(kind: str) -> str:
    """Return what a kind of metrics is called within a sentence."""
    return _(N_("quality") if kind == QUALITY else PROCESSORS[kind].words)


def compute_all(inputs: Inputs, report: Report = unheard) -> dict[str, Metrics]:
    """Return every kind of metrics of a day."""
    metrics: dict[str, Metrics] = {}
    for n, (kind, processor) in enumerate(PROCESSORS.items()):
        report(n / len(PROCESSORS), words_of(kind))
        metrics[kind] = processor.compute(inputs, metrics)
    return metrics
