"""Choose which models to blend, and with which weights, from what they say of rows they were not fitted on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ecluse.fraud.evaluation import average_precision

Floats = NDArray[np.float64]
Labels = NDArray[np.int8]

MOST_MEMBERS = 4
STEPS = 20
CONSIDERED = 12
# The best of many blends on few rows is partly luck: a step must win by this much.
LEAST_GAIN = 1e-5


def mean_precision(labels: Labels, margins: Floats, panels: NDArray[np.int64]) -> float:
    """The mean over the panels of the average precision within each; all (rows,)."""
    found = [average_precision(labels[panels == p], margins[panels == p]) for p in np.unique(panels)]
    return float(np.mean(found))


def choose_weights(
    margins: Sequence[Floats],
    labels: Labels,
    panels: NDArray[np.int64],
    *,
    most_members: int = MOST_MEMBERS,
    steps: int = STEPS,
) -> dict[int, float]:
    """Weights by position that sum to 1: greedy selection with replacement (Caruana et al. 2004).

    Starts from the best alone and adds, step by step, the member whose mean of margins ranks best.
    """
    alone = [mean_precision(labels, margin, panels) for margin in margins]
    considered = np.argsort(-np.array(alone), kind="stable")[:CONSIDERED].tolist()
    counts = {int(considered[0]): 1}
    total, best = margins[considered[0]].copy(), alone[considered[0]]
    kept, kept_counts = best, dict(counts)
    for step in range(1, steps):
        open_to = considered if len(counts) < most_members else list(counts)
        tried = {at: mean_precision(labels, (total + margins[at]) / (step + 1), panels) for at in open_to}
        chosen = max(tried, key=lambda at: (tried[at], -at))
        counts[chosen] = counts.get(chosen, 0) + 1
        total = total + margins[chosen]
        if tried[chosen] > kept + LEAST_GAIN:
            kept, kept_counts = tried[chosen], dict(counts)
    whole = sum(kept_counts.values())
    return {at: count / whole for at, count in kept_counts.items()}
