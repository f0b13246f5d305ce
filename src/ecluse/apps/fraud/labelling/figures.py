"""Say from a few labelled rows how good a model's alerts are, and how sure that is.

Rows chosen with certainty stand for themselves; those drawn at random stand for all the rows of their range.
Intervals hold for rows such as these: where few answers lie behind a figure, they are wide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ecluse.apps.fraud.labelling.questions import QuestionSet
from ecluse.intervals import exact, is_telling
from ecluse.sentences import _, ngettext

Floats = NDArray[np.float64]
Labels = NDArray[np.int8]
Groups = NDArray[np.int64]

#: With fewer of either class, figures are shown with a warning.
FEW: Final = 5
#: Fewer answers among the rows of a range tell nothing of it.
LEAST_OF_RANGE: Final = 2
DRAWS: Final = 200
PIECES: Final = 8
#: Wider than 2.5 and 97.5: where few rows stand for many, those held the truth less often than stated.
TAILS: Final = (1.0, 99.0)


FIGURES: Final = ("precision", "recall", "average_precision", "fraud_rate")


@dataclass(frozen=True)
class Figure:
    """A share in [0, 1] with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class LabelFigures:
    """What labels tell of a model at a threshold; None: they do not tell it yet, `notes` say why."""

    labels: int
    frauds: int
    threshold: float
    precision: Figure | None
    recall: Figure | None
    average_precision: Figure | None
    fraud_rate: Figure | None
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; each figure says whether its interval is `telling`."""
        content = asdict(self) | {"notes": list(self.notes)}
        for name in FIGURES:
            if content[name] is not None:
                content[name]["telling"] = is_telling(content[name]["low"], content[name]["high"])
        return content


@dataclass(frozen=True)
class Answered:
    """Labelled rows with what they stand for: of the `population[g]` rows of a group g, these were labelled.

    `rows` (from 1), `scores`, `labels`, `groups` are (labels,); every row of the table belongs to one group.
    `tops` are the groups that can hold one of the `flagged` rows.
    """

    rows: Groups
    scores: Floats
    labels: Labels
    groups: Groups
    population: Floats
    tops: NDArray[np.bool_]
    flagged: int
    threshold: float


def figures_of(asked: QuestionSet, labels: Mapping[int, int], *, seed: int = 0) -> LabelFigures:
    """Return the figures of a model by the answers to its questions; `labels` {row from 1: 0 or 1} may hold others.

    Labels that were there before the questions stand for their own rows. Later ones of rows that were not asked
    about are not counted: no one knows what they stand for.
    """
    return _noted_figures(answers_to(asked, labels), labels, seed)


def figures_elsewhere(
    asked: QuestionSet, labels: Mapping[int, int], scores: Floats, threshold: float, *, seed: int = 0
) -> LabelFigures:
    """Return the figures of another model, whose `scores` are (rows,), by the answers to the questions of the first.

    What a row stands for does not depend on whose scores are judged; but flagged rows may now be in any range.
    """
    answered = answers_to(asked, labels)
    return _noted_figures(
        replace(
            answered,
            scores=scores[answered.rows - 1],
            tops=np.ones_like(answered.tops),
            flagged=int(np.sum(scores >= threshold)),
            threshold=threshold,
        ),
        labels,
        seed,
    )


def _noted_figures(answered: Answered, labels: Mapping[int, int], seed: int) -> LabelFigures:
    figures = figures_from(answered, seed=seed)
    others = len(labels) - len(answered.labels)
    if not others:
        return figures
    note = ngettext(
        "%(count)s label is of a row that was not asked about; these figures do not count it.",
        "%(count)s labels are of rows that were not asked about; these figures do not count them.",
        others,
    )
    return LabelFigures(**{**figures.__dict__, "notes": (*figures.notes, note)})


def answers_to(asked: QuestionSet, labels: Mapping[int, int]) -> Answered:
    """Return the answered questions, grouped: first the rows of certainty above and below the threshold, then the
    draws.

    A row of certainty that was skipped is taken to be like the rows drawn from its range. Where none were drawn,
    nobody knows what it is like: such rows above and below the threshold are the last two groups, without answers.
    """
    strata = asked.strata
    population = np.array([0.0, 0.0, *(float(stratum.rows) for stratum in strata), 0.0, 0.0])
    answered = []
    certain = [(question.row, question.score, question.stratum) for question in asked.questions]
    certain += [(row, score, None) for row, score in asked.known]
    for row, score, stratum in certain:
        below = int(score < asked.threshold)
        if row in labels:
            group = below if stratum is None else 2 + stratum
            answered.append((row, score, labels[row], group))
            population[group] += stratum is None
        elif stratum is None:
            own = next(
                (at for at, range_ in enumerate(strata) if range_.low <= score < range_.high),
                len(strata) + below,
            )
            population[2 + own] += 1
    rows, scores, truth, groups = zip(*answered, strict=True) if answered else ((), (), (), ())
    tops = [True, False, *(stratum.low >= asked.threshold for stratum in strata), True, False]
    return Answered(
        np.array(rows, dtype=np.int64),
        np.array(scores, dtype=np.float64),
        np.array(truth, dtype=np.int8),
        np.array(groups, dtype=np.int64),
        population,
        np.array(tops, dtype=np.bool_),
        asked.flagged,
        asked.threshold,
    )


def figures_of_all(scores: Floats, labels: Labels, threshold: float, *, seed: int = 0) -> LabelFigures:
    """Return the figures where the labelled rows are all there is, or a plain sample of it: scores and
    labels (rows,).
    """
    flagged = scores >= threshold
    groups = np.where(flagged, 0, 1).astype(np.int64)
    population = np.array([float(flagged.sum()), float((~flagged).sum())])
    rows, tops = np.arange(1, len(labels) + 1), np.array([True, False])
    return figures_from(
        Answered(rows, scores, labels, groups, population, tops, int(flagged.sum()), threshold), seed=seed
    )


def figures_from(answered: Answered, *, seed: int = 0) -> LabelFigures:
    """Precision, recall, average precision and fraud rate with 95 % intervals.

    Precision, recall and rate: exact intervals of each group, combined as by Zou and Donner (2008).
    Average precision: `TAILS` of `DRAWS` draws of each group's rate of fraud and of its rows' weights.
    """
    frauds = int(answered.labels.sum())
    notes = []
    if not len(answered.labels):
        notes.append(_("No row that was asked about has an answer yet."))
    elif min(frauds, len(answered.labels) - frauds) < FEW:
        notes.append(
            _(
                "%(done)s of %(count)s labels are fraud: too few of one kind to say much. Label more rows.",
                done=frauds,
                count=len(answered.labels),
            )
        )
    counts = np.bincount(answered.groups, minlength=len(answered.population)).astype(np.float64)
    present = answered.population > 0
    flagged = answered.scores >= answered.threshold
    above = _total(answered, counts, flagged)
    below = _total(answered, counts, ~flagged)
    # One answer of a range, for many rows, is no figure yet.
    silent = present & (counts < np.minimum(answered.population, LEAST_OF_RANGE))
    if silent.any() and len(answered.labels):
        notes.append(
            _("Some ranges of score have too few answers yet: what holds for all rows cannot be said.")
        )
    precision = None
    if answered.flagged and not (silent & answered.tops).any():
        precision = Figure(*(min(value / answered.flagged, 1.0) for value in above))
    whole = not silent.any() and len(answered.labels) > 0
    rows = float(answered.population.sum())
    return LabelFigures(
        labels=len(answered.labels),
        frauds=frauds,
        threshold=answered.threshold,
        precision=precision,
        recall=_share_of(above, below) if whole and frauds else None,
        average_precision=_average_precision(answered, counts, seed) if whole and frauds else None,
        fraud_rate=_rate(above, below, rows) if whole else None,
        notes=tuple(notes),
    )


def _drawn(frauds: float, of: float, rows: float) -> tuple[float, float, float]:
    """Return a share of some of `rows` with its 95 % interval; known where all were looked at."""
    share = frauds / of
    return (share, share, share) if of >= rows else (share, *exact(frauds, of))


Total = tuple[float, float, float]


def _total(answered: Answered, counts: Floats, part: NDArray[np.bool_]) -> Total:
    """Return the number of frauds in one part of the table, (estimate, low, high)."""
    estimate, down, up = 0.0, 0.0, 0.0
    for group, rows in enumerate(answered.population):
        mine = (answered.groups == group) & part
        if not mine.any():
            continue
        share, low, high = _drawn(float(answered.labels[mine].sum()), counts[group], rows)
        estimate += rows * share
        down += (rows * (share - low)) ** 2
        up += (rows * (high - share)) ** 2
    return estimate, max(estimate - float(np.sqrt(down)), 0.0), estimate + float(np.sqrt(up))


def _rate(above: Total, below: Total, rows: float) -> Figure:
    value = above[0] + below[0]
    down = np.hypot(value - above[1] - below[0], below[0] - below[1]) if value else 0.0
    up = np.hypot(above[2] - above[0], below[2] - below[0])
    low, high = max(value - float(down), 0.0), value + float(up)
    return Figure(value / rows, low / rows, min(high / rows, 1.0))


def _share_of(above: Total, below: Total) -> Figure:
    """above / (above + below): all shares r for which (1 - r) above - r below may be 0 (as in Fieller, 1954)."""
    shares = np.linspace(0.0, 1.0, 1_001)
    middle = (1 - shares) * above[0] - shares * below[0]
    down = np.hypot((1 - shares) * (above[0] - above[1]), shares * (below[2] - below[0]))
    up = np.hypot((1 - shares) * (above[2] - above[0]), shares * (below[0] - below[1]))
    inside = shares[(middle - down <= 1e-9) & (middle + up >= -1e-9)]
    value = above[0] / max(above[0] + below[0], 1e-12)
    low, high = (float(inside.min()), float(inside.max())) if len(inside) else (0.0, 1.0)
    return Figure(value, min(low, value), max(high, value))


def _average_precision(answered: Answered, counts: Floats, seed: int) -> Figure:
    """Measure average precision. Each drawn row stands for many, which do not all share its score: they are
    spread between its neighbours.
    """
    rng = np.random.default_rng(seed)
    each = answered.population[answered.groups] / counts[answered.groups]
    labels = answered.labels.astype(np.float64)
    values, draws = [], []
    for draw in range(DRAWS):
        order, ends = _spread_order(answered, each, rng)
        if draw < DRAWS // 5:
            positive, negative = (np.repeat(w / PIECES, PIECES) for w in (each * labels, each * (1 - labels)))
            values.append(_step_sum(positive[order], negative[order], ends))
        drawn = (np.repeat(w / PIECES, PIECES) for w in _drawn_weights(answered, counts, rng))
        positive, negative = drawn
        draws.append(_step_sum(positive[order], negative[order], ends))
    value = float(np.mean(values))
    low, high = np.percentile(draws, TAILS)
    return Figure(value, float(min(low, value)), float(max(high, value)))


def _spread_order(
    answered: Answered, each: Floats, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the order of the pieces of all rows from the highest score down, and where equal scores end."""
    scores = np.repeat(answered.scores, PIECES)
    for group in np.unique(answered.groups[each > 1]):
        mine = np.flatnonzero(answered.groups == group)
        ranked = np.sort(answered.scores[mine])
        at = np.searchsorted(ranked, answered.scores[mine]) + rng.uniform(-1, 1, (PIECES, len(mine)))
        moved = np.interp(at, np.arange(len(ranked)), ranked)
        scores.reshape(-1, PIECES)[mine] = moved.T
    order = np.argsort(-scores, kind="stable")
    return order, np.append(np.flatnonzero(np.diff(scores[order]) != 0), len(order) - 1)


def _drawn_weights(answered: Answered, counts: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """(labels,) weights as fraud and as not: a rate of each group from its Jeffreys posterior, spread over rows.

    A group none of whose labels is fraud keeps a chance of some, at the scores of its rows.
    """
    positive, negative = np.zeros(len(answered.labels)), np.zeros(len(answered.labels))
    for group, rows in enumerate(answered.population):
        mine = np.flatnonzero(answered.groups == group)
        if not len(mine):
            continue
        labels = answered.labels[mine]
        frauds = float(labels.sum())
        rate = rng.beta(frauds + 0.5, counts[group] - frauds + 0.5)
        for share, label, into in ((rate, 1, positive), (1 - rate, 0, negative)):
            at = mine[labels == label] if (labels == label).any() else mine
            into[at] += rows * share * rng.dirichlet(np.ones(len(at)))
    return positive, negative


def weighted_average_precision(labels: Floats | Labels, scores: Floats, weights: Floats) -> float:
    """Average precision where each row stands for `weights` rows, ties taken together; 0 without frauds."""
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order]) != 0), len(order) - 1)
    return _step_sum((weights * labels)[order], (weights * (1 - labels))[order], ends)


def _step_sum(positive: Floats, negative: Floats, ends: NDArray[np.int64]) -> float:
    hits, false = np.cumsum(positive)[ends], np.cumsum(negative)[ends]
    if not len(hits) or hits[-1] <= 0:
        return 0.0
    precision = hits / np.maximum(hits + false, 1e-12)
    return float(np.sum(np.diff(hits, prepend=0.0) * precision) / hits[-1])
