"""Choose the rows of a scored table whose answer tells most.

Most are chosen for what they teach: the highest scores, those around the threshold, those on which members
disagree, those unlike each other. The others are drawn at random within ranges of score, each with a known
chance, so that a few answers already give unbiased figures of the whole table (see `figures`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.errors import InvalidInput
from ecluse.sentences import _

Floats = NDArray[np.float64]
Positions = NDArray[np.int64]
Why = Literal["highest", "threshold", "disagreement", "diverse", "random"]

QUESTIONS: Final = 40
FEWEST, MOST = 5, 200
#: Shares of the questions; what one way cannot fill falls to the random draw.
MIX: Final[Mapping[Why, float]] = {
    "highest": 0.2,
    "threshold": 0.175,
    "disagreement": 0.125,
    "diverse": 0.1,
    "random": 0.4,
}
#: Rows that are compared with each other to find such as are unlike.
POOL_ROWS: Final = 1_000
#: Only rows this far up, by score or by anomaly, are asked about for disagreement.
PLAUSIBLE: Final = 0.2
#: The range just below the threshold holds so many times the rows above it.
NEAR_ROWS: Final = 4


@dataclass(frozen=True)
class Stratum:
    """A range of scores, `low <= score < high`: `rows` that were not chosen with certainty, `drawn` at random."""

    low: float
    high: float
    rows: int
    drawn: int


@dataclass(frozen=True)
class Question:
    """One row to ask about, counted from 1. `stratum` is where it was drawn; None: chosen with certainty."""

    row: int
    why: Why
    score: float
    anomaly: float | None
    stratum: int | None


@dataclass(frozen=True)
class QuestionSet:
    """The questions in the order of asking, and all that is needed to judge the answers.

    `rows` of the table, `flagged` of them at or above `threshold`. `known` are (row from 1, score) of the rows that
    had a label already: they are not asked about again, and stand for themselves.
    """

    questions: tuple[Question, ...]
    strata: tuple[Stratum, ...]
    rows: int
    flagged: int
    threshold: float
    known: tuple[tuple[int, float], ...] = ()

    def chance(self, question: Question) -> float:
        """Return the probability with which this row was to be asked about; 1 for a row chosen with certainty."""
        if question.stratum is None:
            return 1.0
        stratum = self.strata[question.stratum]
        return stratum.drawn / stratum.rows

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` gives the same set back."""
        return {
            "questions": [asdict(question) for question in self.questions],
            # JSON knows no infinity.
            "strata": [asdict(s) | {"high": None if np.isinf(s.high) else s.high} for s in self.strata],
            "rows": self.rows,
            "flagged": self.flagged,
            "threshold": self.threshold,
            "known": [list(pair) for pair in self.known],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> QuestionSet:
        strata = (s | {"high": np.inf if s["high"] is None else s["high"]} for s in data["strata"])
        return cls(
            tuple(Question(**question) for question in data["questions"]),
            tuple(Stratum(**stratum) for stratum in strata),
            data["rows"],
            data["flagged"],
            data["threshold"],
            tuple((row, score) for row, score in data.get("known", ())),
        )


@dataclass(frozen=True)
class OtherScores:
    """What else is known of each row, (rows,) float64 each; None where it is not known.

    `likely` says how likely fraud is, where the scores are not meant so: more rows are drawn where there is more
    doubt. Higher `anomaly` and `disagreement` mean more suspect, and more disputed; without `disagreement`, that of
    score and anomaly counts.
    """

    likely: Floats | None = None
    anomaly: Floats | None = None
    disagreement: Floats | None = None


def choose_questions(
    scores: Floats,
    *,
    threshold: float,
    others: OtherScores = OtherScores(),
    look_up: Callable[[Positions], pl.DataFrame] | None = None,
    known: Sequence[int] = (),
    count: int = QUESTIONS,
    seed: int = 0,
) -> QuestionSet:
    """Choose the rows to ask about, the same for the same seed; `scores` are (rows,) float64, higher is more suspect.

    `look_up` gives the parsed rows at some positions (from 0), at most `POOL_ROWS`, for the choice of rows unlike
    each other. Rows `known` (from 1) have a label already and are not asked about; they count for the figures as
    they are.

    Raises InvalidInput for a count out of range.
    """
    if not FEWEST <= count <= MOST:
        raise InvalidInput(
            _(
                "%(count)s questions are out of range; ask %(least)s to %(most)s.",
                count=count,
                least=FEWEST,
                most=MOST,
            )
        )
    rng = np.random.default_rng(seed)
    choice = _Choice(scores, known)
    count = min(count, int(choice.free.sum()))
    choice.take_telling(_shares(count), 10 * count, threshold, others, look_up)
    expected = scores if others.likely is None else others.likely
    strata, drawn = _draw(scores, expected, threshold, choice.free, count - len(choice.chosen), rng)
    questions = [
        Question(position + 1, why, float(scores[position]), _at(others.anomaly, position), None)
        for position, why in choice.chosen.items()
    ]
    questions += [
        Question(position + 1, "random", float(scores[position]), _at(others.anomaly, position), stratum)
        for position, stratum in drawn
    ]
    flagged = int(np.sum(scores >= threshold))
    labelled = tuple((row, float(scores[row - 1])) for row in sorted(set(known)))
    return QuestionSet(tuple(_mixed(questions)), strata, len(scores), flagged, float(threshold), labelled)


class _Choice:
    """The rows chosen with certainty, by position, and which are still free to be chosen."""

    def __init__(self, scores: Floats, known: Sequence[int]) -> None:
        self.chosen: dict[int, Why] = {}
        self.free = np.ones(len(scores), dtype=np.bool_)
        self.free[np.asarray(known, dtype=np.int64) - 1] = False
        self._scores = scores

    def take_telling(
        self,
        shares: Mapping[Why, int],
        top: int,
        threshold: float,
        others: OtherScores,
        look_up: Callable[[Positions], pl.DataFrame] | None,
    ) -> None:
        """Take so many rows for each reason, out of the `top` of each order."""
        by_score = _ranks(self._scores)
        by_anomaly = None if others.anomaly is None else _ranks(others.anomaly)
        disagreement = others.disagreement
        if disagreement is None and by_anomaly is not None:
            disagreement = np.abs(by_score - by_anomaly)
        by_anomaly_only = 0 if by_anomaly is None else shares["highest"] // 3
        self._take(_highest(by_score, top), "highest", shares["highest"] - by_anomaly_only)
        if by_anomaly is not None:
            self._take(_highest(by_anomaly, top), "highest", by_anomaly_only)
        self._take(_around(self._scores, threshold, top), "threshold", shares["threshold"])
        if disagreement is not None:
            plausible = by_score if by_anomaly is None else np.maximum(by_score, by_anomaly)
            disputed = np.where(plausible >= 1 - PLAUSIBLE, disagreement, -np.inf)
            order = _highest(disputed, top)
            self._take(order[disputed[order] > 0], "disagreement", shares["disagreement"])
        if look_up is not None:
            pool = _highest(np.where(self.free, by_score, -1.0), min(POOL_ROWS, int(self.free.sum())))
            self._take(_unlike(pool, look_up(pool), shares["diverse"]), "diverse", shares["diverse"])

    def _take(self, order: Positions, why: Why, most: int) -> None:
        for position in order.tolist():
            if most <= 0:
                return
            if self.free[position]:
                self.free[position] = False
                self.chosen[position] = why
                most -= 1


def _shares(count: int) -> dict[Why, int]:
    whole = {why: int(share * count) for why, share in MIX.items()}
    whole["random"] += count - sum(whole.values())
    return whole


def _ranks(values: Floats) -> Floats:
    """(rows,) in [0, 1], equal values the same."""
    return pl.Series(values).rank("average").to_numpy() / max(len(values), 1)


def _highest(values: Floats, most: int) -> Positions:
    """Return the positions of the `most` highest values, the highest first, the earlier of equals first."""
    most = min(most, len(values))
    return np.argsort(-values, kind="stable")[:most].astype(np.int64)


def _around(scores: Floats, threshold: float, most: int) -> Positions:
    """Positions nearest to the threshold in the order of scores, from above and from below in turn."""
    order = np.argsort(-scores, kind="stable")
    cut = int(np.sum(scores >= threshold))
    above, below = order[:cut][::-1][:most], order[cut:][:most]
    turns = max(len(above), len(below))
    both = [half[turn] for turn in range(turns) for half in (above, below) if turn < len(half)]
    return np.array(both, dtype=np.int64)


def _unlike(pool: Positions, rows: pl.DataFrame, most: int) -> Positions:
    """Rows of the pool each of which is far from those before it (farthest first; Gonzalez, 1985)."""
    if not len(pool) or most <= 0:
        return pool[:0]
    space = _space(rows)
    chosen = [0]
    nearest = np.linalg.norm(space - space[0], axis=1)
    while len(chosen) < min(most, len(pool)):
        far = int(np.argmax(nearest))
        if nearest[far] <= 0:
            break
        chosen.append(far)
        nearest = np.minimum(nearest, np.linalg.norm(space - space[far], axis=1))
    return pool.take(chosen)


def _space(rows: pl.DataFrame) -> Floats:
    """(rows, columns) in [0, 1]: numbers and dates by rank, texts by how rare their value is here."""
    columns = []
    for column in rows.get_columns():
        if column.dtype == pl.String:
            counts = column.is_not_null().cast(pl.Float64) / pl.Series(
                rows.select(pl.len().over(column.name)).to_series()
            ).cast(pl.Float64)
            columns.append(counts.to_numpy())
        else:
            ranked = column.to_physical().cast(pl.Float64).fill_nan(None).rank("average").fill_null(0.0)
            columns.append(ranked.to_numpy() / max(len(column), 1))
    return np.column_stack(columns) if columns else np.zeros((rows.height, 1))


def _draw(
    scores: Floats,
    likely: Floats,
    threshold: float,
    free: NDArray[np.bool_],
    count: int,
    rng: np.random.Generator,
) -> tuple[tuple[Stratum, ...], list[tuple[int, int]]]:
    """Ranges of score over the rows that are left, and (position, range) of the rows drawn in each."""
    cuts = _cuts(scores, threshold)
    strata, drawn = [], []
    members = [np.flatnonzero(free & (scores >= low) & (scores < high)) for low, high in cuts]
    kept = [(cut, rows) for cut, rows in zip(cuts, members, strict=True) if len(rows)]
    sizes = _allocate([rows for _, rows in kept], likely, count)
    for number, ((low, high), rows) in enumerate(kept):
        drawn_rows = rng.permutation(rows)[: sizes[number]]
        strata.append(Stratum(float(low), float(high), len(rows), len(drawn_rows)))
        drawn += [(int(position), number) for position in drawn_rows]
    return tuple(strata), drawn


def _cuts(scores: Floats, threshold: float) -> list[tuple[float, float]]:
    """Above the threshold, just below it, and the rest; no range is cut by the threshold."""
    below = np.sort(scores[scores < threshold])[::-1]
    near = NEAR_ROWS * max(int(np.sum(scores >= threshold)), len(scores) // 100, 1)
    cuts = [(float(threshold), np.inf)]
    if near < len(below) and below[near - 1] > below[-1]:
        middle = float(below[near - 1])
        return [*cuts, (middle, float(threshold)), (-np.inf, middle)] if middle < threshold else cuts
    return [*cuts, (-np.inf, float(threshold))]


def _allocate(groups: Sequence[Positions], likely: Floats, count: int) -> list[int]:
    """Draws of each range, more where more rows and more doubt are (Neyman, 1934); two at least where they go."""
    sizes = np.array([len(rows) for rows in groups], dtype=np.float64)
    rates = np.array([np.clip(likely[rows].mean(), 0.01, 0.5) for rows in groups])
    weight = sizes * np.sqrt(rates * (1 - rates))
    least = np.minimum(sizes, 2)
    shares = np.maximum(count * weight / max(weight.sum(), 1e-12), least)
    whole = np.minimum(np.floor(shares), sizes).astype(np.int64)
    # Of the largest ranges one more or one less, until as many are drawn as were asked for.
    while whole.sum() > count and whole.max() > 0:
        whole[int(np.argmax(whole))] -= 1
    while whole.sum() < count and (whole < sizes).any():
        whole[int(np.argmax(np.where(whole < sizes, shares - whole, -np.inf)))] += 1
    return [int(size) for size in whole]


def _mixed(questions: Sequence[Question]) -> list[Question]:
    """Take each kind in turn, so that answers to the first few already tell something of everything."""
    waiting = {why: [q for q in questions if q.why == why] for why in MIX}
    # The draws of each range take turns too: a person who stops early leaves none of them without an answer.
    per_stratum: dict[int | None, int] = {}
    ranked = []
    for question in waiting["random"]:
        place = per_stratum.get(question.stratum, 0)
        per_stratum[question.stratum] = place + 1
        ranked.append((place, question))
    waiting["random"] = [question for _, question in sorted(ranked, key=lambda pair: pair[0])]
    chance = waiting.pop("random")
    mixed = [queue.pop(0) for queue in (chance, *waiting.values()) if queue]
    # After one of each, every other row is one of chance: only these stand for the whole table.
    taught = [
        queue[turn] for turn in range(len(questions)) for queue in waiting.values() if turn < len(queue)
    ]
    for turn in range(max(len(chance), len(taught))):
        mixed += [*chance[turn : turn + 1], *taught[turn : turn + 1]]
    return mixed


def _at(values: Floats | None, position: int) -> float | None:
    return None if values is None else float(values[position])
