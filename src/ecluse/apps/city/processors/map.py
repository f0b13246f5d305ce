"""Make what the map of a day draws: chunks of arcs with a letter and a flow per hour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ecluse.apps.city.inputs import Inputs, Metrics
from ecluse.apps.city.numbers import whole_list
from ecluse.apps.city.processors.arcs import CHUNK
from ecluse.apps.city.processors.processor import Processor
from ecluse.sentences import N_

#: State → its letter; None: nothing was published.
LETTERS: Final = {
    "Inconnu": "i",
    "Fluide": "f",
    "Pré-saturé": "p",
    "Saturé": "s",
    "Bloqué": "b",
    None: "-",
}
VERDICT_LETTERS: Final = {"as usual": "a", "unusual": "u", "exceptional": "e", "unknown": "-"}


def compute(inputs: Inputs, metrics: Mapping[str, Metrics]) -> Metrics:
    """Return chunks "000", "001", … of arcs in the order of their ids, made from the metrics of the arcs."""
    arcs = list(metrics["arcs"].parts.values())
    chunks = {f"{n // CHUNK:03d}": _chunk(arcs[n : n + CHUNK]) for n in range(0, len(arcs), CHUNK)}
    return Metrics({"chunks": len(chunks), "arcs": len(arcs)}, chunks)


def _chunk(arcs: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "arc": [arc["arc"] for arc in arcs],
        "state": ["".join(map(LETTERS.__getitem__, arc["state"])) for arc in arcs],
        "flow": whole_list(np.array([arc["flow"] for arc in arcs], np.float64)),
        "lost_time": [arc["lost_time"] for arc in arcs],
        "verdict": "".join(VERDICT_LETTERS[arc["verdict"]] for arc in arcs),
    }


PROCESSOR: Final = Processor("map", N_("map"), compute)
