"""Choose which models to blend, and with which weights, from what they say of rows they were not fitted on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ecluse.apps.fraud.measures import average_precision

Floats = NDArray[np.float64]
Labels = NDArray[np.int8]

MOST_MEMBERS = 4
STEPS = 12
CONSIDERED = 12
# Weights are the mean of so many selections, each on the half of the rows that one draw keeps.
DRAWS = 10
# Of many rows fewer draws are needed, and there is less time for them; a single one keeps all rows.
DRAWN_ROWS = 200_000
LEAST_FRAUDS = 2
# Who is chosen less was chosen by chance, and costs as much to score as the others.
LEAST_WEIGHT = 0.05
# The best of many blends on few rows is partly luck: a step must win by this much.
LEAST_GAIN = 1e-5
# Whose average precision alone is below this share of the best's is far from it, and has to prove its worth: the blend
# ranks better with it in so many of the resamples.
FAR = 0.9
SURE = 0.95
RESAMPLES = 100
LEAST_RESAMPLES = 40
RESAMPLED_ROWS = 2_000_000


def mean_precision(labels: Labels, margins: Floats, panels: NDArray[np.int64]) -> float:
    """Measure the mean over the panels of the average precision within each; all (rows,)."""
    precisions = [average_precision(labels[panels == p], margins[panels == p]) for p in np.unique(panels)]
    return float(np.mean(precisions))


def choose_weights(
    margins: Sequence[Floats],
    labels: Labels,
    panels: NDArray[np.int64],
    *,
    most_members: int = MOST_MEMBERS,
) -> dict[int, float]:
    """Weights by position that sum to 1: bagged greedy selection with replacement (Caruana et al. 2004).

    One selection on all rows follows their luck. Each of several draws sees half of them, and the members that are
    chosen most, at most `most_members`, keep their shares. One that is `FAR` below the best leaves unless the blend
    is better with it for sure: of many such candidates some help by chance. On few rows the best alone may rank
    these very rows better; that it does is luck, and it does not on others.
    """
    alone = [mean_precision(labels, margin, panels) for margin in margins]
    considered = np.argsort(-np.array(alone), kind="stable")[:CONSIDERED].tolist()
    best = int(considered[0])
    rng, votes = np.random.default_rng(0), np.zeros(len(margins))
    draws = max(1, min(DRAWS, DRAWN_ROWS // len(labels)))
    for _ in range(draws):
        kept = rng.random(len(labels)) < (0.5 if draws > 1 else 1.0)
        if _can_judge(labels[kept], panels[kept], panels):
            some = [margins[at][kept] for at in considered]
            for at, weight in _greedy(some, labels[kept], panels[kept]).items():
                votes[considered[at]] += weight
    least = LEAST_WEIGHT * votes.sum()
    chosen = [int(at) for at in np.argsort(-votes, kind="stable")[:most_members] if votes[at] > least]
    if not chosen:
        return {best: 1.0}
    chosen = _without_far(chosen, votes, margins, labels, panels, np.array(alone), best)
    return (
        {at: float(votes[at] / votes[chosen].sum()) for at in chosen} if len(chosen) > 1 else {chosen[0]: 1.0}
    )


def _without_far(
    chosen: list[int],
    votes: Floats,
    margins: Sequence[Floats],
    labels: Labels,
    panels: NDArray[np.int64],
    alone: Floats,
    best: int,
) -> list[int]:
    """Return the chosen without those far from the best that do not help for sure, the poorest first."""
    kept = list(chosen)
    for at in sorted(chosen, key=lambda at: alone[at]):
        others = [other for other in kept if other != at]
        if alone[at] >= FAR * alone[best] or not others:
            continue
        beside = np.average([margins[other] for other in others], axis=0, weights=votes[others])
        together = np.average([margins[place] for place in kept], axis=0, weights=votes[kept])
        if _share_better(together, beside, labels, panels) < SURE:
            kept = others
    return kept if any(alone[at] >= FAR * alone[best] for at in kept) else [best]


def _share_better(first: Floats, other: Floats, labels: Labels, panels: NDArray[np.int64]) -> float:
    """In how many resamples of the rows of each panel `one` ranks better than `other`."""
    rng = np.random.default_rng(0)
    places = [np.flatnonzero(panels == panel) for panel in np.unique(panels)]
    better: list[bool] = []
    for _ in range(max(LEAST_RESAMPLES, min(RESAMPLES, RESAMPLED_ROWS // len(labels)))):
        rows = np.concatenate([rng.choice(place, len(place)) for place in places])
        if _can_judge(labels[rows], panels[rows], panels):
            with_it, without = (mean_precision(labels[rows], m[rows], panels[rows]) for m in (first, other))
            better.append(with_it > without)
    return float(np.mean(better)) if better else 0.0


def _can_judge(labels: Labels, panels: NDArray[np.int64], all_panels: NDArray[np.int64]) -> bool:
    """Tell whether each panel still has frauds and others to tell apart."""
    return all(LEAST_FRAUDS <= labels[panels == p].sum() < np.sum(panels == p) for p in np.unique(all_panels))


def _greedy(margins: Sequence[Floats], labels: Labels, panels: NDArray[np.int64]) -> dict[int, float]:
    """Start from the best alone and add, step by step, the member whose mean of margins ranks best."""
    alone = [mean_precision(labels, margin, panels) for margin in margins]
    first = int(np.argmax(alone))
    counts = {first: 1}
    total, kept, kept_counts = margins[first].copy(), alone[first], dict(counts)
    for step in range(1, STEPS):
        tried = [mean_precision(labels, (total + margin) / (step + 1), panels) for margin in margins]
        chosen = int(np.argmax(tried))
        counts[chosen] = counts.get(chosen, 0) + 1
        total = total + margins[chosen]
        if tried[chosen] > kept + LEAST_GAIN:
            kept, kept_counts = tried[chosen], dict(counts)
    whole = sum(kept_counts.values())
    return {at: count / whole for at, count in kept_counts.items()}
