"""Say how unusual a row is beside a sample of its own table, without any label.

`fit_anomaly` looks at a sample of at most 20,000 parsed rows; `AnomalyModel.scores` then compares any row with
that sample alone, so that a row's score depends on no other row that happens to be scored with it.

Three detectors see the same description of a row (`values`), and their scores are put as ranks among the
sample's own, then averaged:

- an isolation forest (Liu, Ting & Zhou, "Isolation forest", ICDM 2008) on normal scores of the values: cuts
  between the places of values, not between values, so that one huge amount does not use up the cuts;
- the distance to the fifth nearest of 500 rows of the sample (Ramaswamy, Rastogi & Shim, SIGMOD 2000) on
  standardised values, where the size of a deviation counts;
- empirical tails, the sum over values of minus the log of the share of the sample that is at least as extreme
  (ECOD: Li et al., TKDE 2022).

Over 13 tables of fraud, risk and anomalies the forest on normal scores ranked best and the three together
nearly as well with a higher average precision (see `benchmarks/unlabelled.py`); hence the forest counts for half.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.fraud.ensembles import values as described
from ecluse.apps.fraud.ensembles.values import Description, Distribution, Value, choose_values
from ecluse.apps.fraud.tables.columns import ColumnSpec
from ecluse.errors import InvalidInput, ModelUnreadable
from ecluse.sentences import _, num

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

FORMAT: Final = 1
STATE_FILE: Final = "anomaly.json"
ARRAYS_FILE: Final = "anomaly.npz"
SAMPLE_ROWS: Final = 20_000

TREES: Final = 128
TREE_ROWS: Final = 256
REFERENCE_ROWS: Final = 500
NEIGHBOUR: Final = 5
#: Distances are taken over at most so many values: beyond, all rows are about equally far apart.
DISTANCE_VALUES: Final = 64
#: A value so many standard deviations away is no nearer to anything than one further still.
FURTHEST: Final = 20.0
WEIGHTS: Final[Mapping[str, float]] = {"forest": 0.5, "neighbours": 0.25, "tails": 0.25}
RANK_KNOTS: Final = 1_025
DECIMALS: Final = 6
CHUNK: Final = 4_096
REASONS: Final = 3


@dataclass(frozen=True)
class Forest:
    """Trees as arrays over all their nodes: rows go `left` where value `feature` is at most `threshold`.

    A leaf leads to itself; `depth` is the length of its path, with the mean length that its rows would need.
    """

    roots: Integers
    feature: Integers
    threshold: Floats
    left: Integers
    right: Integers
    depth: Floats
    levels: int

    def score(self, matrix: Floats) -> Floats:
        """(rows,) minus the mean path length: the higher, the sooner a row stands alone."""
        total = np.empty(len(matrix))
        for start in range(0, len(matrix), CHUNK):
            part = np.ascontiguousarray(matrix[start : start + CHUNK])
            flat, base = part.ravel(), (np.arange(len(part)) * part.shape[1])[:, None]
            node = np.broadcast_to(self.roots, (len(part), len(self.roots)))
            for _turn in range(self.levels):
                goes_left = flat[base + self.feature[node]] <= self.threshold[node]
                node = np.where(goes_left, self.left[node], self.right[node])
            paths = self.depth[node]
            lengths = np.zeros(len(part))
            for tree in range(paths.shape[1]):  # one after the other: the same sum whatever the batch
                lengths += paths[:, tree]
            total[start : start + CHUNK] = -lengths / paths.shape[1]
        return total


@dataclass(frozen=True)
class Ranks:
    """The sample's own scores: `knots` (k,) rise strictly, `shares` (k,) are their mean ranks in (0, 1)."""

    knots: Floats
    shares: Floats

    def of(self, scores: Floats) -> Floats:
        """(rows,) in (0, 1): the share of the sample with a lower score; above all of it, still rising."""
        shares = np.interp(scores, self.knots, self.shares)
        last, spread = self.knots[-1], max(self.knots[-1] - self.knots[len(self.knots) // 2], 1e-12)
        beyond = np.maximum(scores - last, 0.0) / spread
        ranks: Floats = shares + (1.0 - self.shares[-1]) * (1.0 - np.exp(-np.minimum(beyond, 500.0)))
        return ranks


@dataclass(frozen=True)
class AnomalyModel:
    """What a sample of a table is like, to compare rows with."""

    specs: tuple[ColumnSpec, ...]
    description: Description
    forest: Forest
    distance_values: Integers
    neighbours: Floats
    ranks: dict[str, Ranks]

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the raw columns that are looked at."""
        return tuple(spec.name for spec in self.specs)

    def scores(self, frame: pl.DataFrame) -> Floats:
        """(rows,) in [0, 1], six decimals: the share of the sample that is less unusual than each parsed row."""
        return self.scores_of(self.description.read(frame))

    def scores_of(self, matrix: Floats) -> Floats:
        """Score rows that `description.read` has read."""
        return self.together(self.detector_scores(matrix))

    def detector_scores(self, matrix: Floats) -> dict[str, Floats]:
        """(rows,) in [0, 1] for each detector alone."""
        return {name: self.ranks[name].of(scores) for name, scores in self._detect(matrix).items()}

    def together(self, detected: Mapping[str, Floats]) -> Floats:
        """(rows,) in [0, 1]: the score that `detector_scores` come to."""
        return _rounded(np.clip(self.ranks["together"].of(_weighted(detected)), 0.0, 1.0), DECIMALS)

    def reasons(self, frame: pl.DataFrame, matrix: Floats) -> tuple[NDArray[np.object_], Floats]:
        """(rows, 3) words for the most unusual values of each row, and (rows, 3) how surprising they are.

        The surprise is minus the natural log of the share of the sample at least as extreme, of hours, weekdays and
        days at least as rare; where it is under that of one row in five, there is no word and the surprise is NaN.
        """
        return _reasons(self.description, frame, matrix)

    def save(self, directory: Path) -> list[str]:
        """Write JSON and plain arrays; returns the files' names."""
        state = {
            "format": FORMAT,
            "columns": [spec.to_dict() for spec in self.specs],
            "values": [value.to_dict() for value in self.description.values],
            "levels": list(self.description.levels),
            "rows": self.description.rows,
            "forest_levels": self.forest.levels,
        }
        (directory / STATE_FILE).write_text(json.dumps(state, indent=1, ensure_ascii=False), encoding="utf-8")
        arrays = described.to_arrays(self.description)
        arrays |= {f"forest_{name}": getattr(self.forest, name) for name in _FOREST_ARRAYS}
        arrays |= {"distance_values": self.distance_values, "neighbours": self.neighbours}
        for name, ranks in self.ranks.items():
            arrays |= {f"ranks_{name}_knots": ranks.knots, f"ranks_{name}_shares": ranks.shares}
        np.savez(directory / ARRAYS_FILE, allow_pickle=False, **arrays)
        return [STATE_FILE, ARRAYS_FILE]

    @classmethod
    def load(cls, directory: Path) -> AnomalyModel:
        """Raise ModelUnreadable when a file is missing, damaged or of another format."""
        try:
            state = json.loads((directory / STATE_FILE).read_text(encoding="utf-8"))
            with (directory / ARRAYS_FILE).open("rb") as file, np.load(file, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            restored = _restored(state, arrays) if state["format"] == FORMAT else None
        except (OSError, EOFError, KeyError, TypeError, ValueError, BadZipFile) as error:
            raise ModelUnreadable(
                _(
                    "%(file)s or %(word)s is missing or damaged: %(error)s. Fetch the version again.",
                    file=STATE_FILE,
                    word=ARRAYS_FILE,
                    error=repr(error),
                )
            ) from error
        if restored is None:
            raise ModelUnreadable(
                _(
                    "%(file)s has format %(value)s; this version reads %(word)s.",
                    file=STATE_FILE,
                    value=state["format"],
                    word=FORMAT,
                )
            )
        return restored

    def _detect(self, matrix: Floats) -> dict[str, Floats]:
        below, above = _shares(self.description.distributions, matrix)
        return {
            "forest": np.round(self.forest.score(_normal_scores(below, above)), 9),
            "neighbours": np.round(
                _distances(
                    _standardised(matrix[:, self.distance_values], self._spread()),
                    self.neighbours,
                    min(NEIGHBOUR, len(self.neighbours)),
                ),
                9,
            ),
            "tails": np.round(_tails(self.description.distributions, below, above), 9),
        }

    def _spread(self) -> tuple[Distribution, ...]:
        return tuple(self.description.distributions[at] for at in self.distance_values)


_FOREST_ARRAYS: Final = ("roots", "feature", "threshold", "left", "right", "depth")


def _restored(state: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> AnomalyModel:
    trees = {name: arrays[f"forest_{name}"] for name in _FOREST_ARRAYS}
    names = (*WEIGHTS, "together")
    return AnomalyModel(
        specs=tuple(ColumnSpec.from_dict(spec) for spec in state["columns"]),
        description=described.from_arrays(state["values"], state["levels"], int(state["rows"]), arrays),
        forest=Forest(**trees, levels=int(state["forest_levels"])),
        distance_values=arrays["distance_values"],
        neighbours=arrays["neighbours"],
        ranks={name: Ranks(arrays[f"ranks_{name}_knots"], arrays[f"ranks_{name}_shares"]) for name in names},
    )


def fit_anomaly(
    sample: pl.DataFrame, specs: Sequence[ColumnSpec], *, left_out: Collection[str] = (), seed: int = 0
) -> AnomalyModel:
    """Fit on parsed rows of a table, of which 20,000 spread evenly are used; `left_out` are not looked at.

    Raises InvalidInput when no column is left that varies.
    """
    step = max(1, -(-sample.height // SAMPLE_ROWS))
    sample = sample.gather_every(step)
    description = choose_values(sample, specs, left_out)
    if not description.values:
        raise InvalidInput(
            _(
                "No column is left to compare rows by: all are constant, identifiers or left out. "
                "Give a table with more columns."
            )
        )
    rng = np.random.default_rng(seed)
    matrix = description.read(sample)
    below, above = _shares(description.distributions, matrix)
    forest = _fit_forest(_normal_scores(below, above), seed)
    width = len(description.values)
    chosen = np.unique(np.linspace(0, width - 1, min(width, DISTANCE_VALUES)).astype(np.int64))
    rows = np.sort(rng.permutation(len(matrix))[:REFERENCE_ROWS])
    spread = tuple(description.distributions[at] for at in chosen)
    neighbours = _standardised(matrix[rows][:, chosen], spread)
    read_columns = set(description.columns)
    model = AnomalyModel(
        tuple(spec for spec in specs if spec.name in read_columns),
        description,
        forest,
        chosen,
        neighbours,
        {},
    )
    detected = model._detect(matrix)
    model.ranks.update({name: ranks_of(scores) for name, scores in detected.items()})
    together = _weighted({name: model.ranks[name].of(scores) for name, scores in detected.items()})
    model.ranks["together"] = ranks_of(together)
    return model


# Detectors


def _shares(distributions: Sequence[Distribution], matrix: Floats) -> tuple[Floats, Floats]:
    below, above = np.empty_like(matrix), np.empty_like(matrix)
    for at, distribution in enumerate(distributions):
        below[:, at], above[:, at] = distribution.shares(matrix[:, at])
    return below, above


def _normal_scores(below: Floats, above: Floats) -> Floats:
    """(rows, values) the normal quantile of each value's middle rank; 0 where it is missing."""
    from scipy.special import ndtri

    middle = np.clip((below + 1.0 - above) / 2.0, 1e-6, 1 - 1e-6)
    scores: Floats = np.round(ndtri(middle), 9)
    return scores


def _tails(distributions: Sequence[Distribution], below: Floats, above: Floats) -> Floats:
    """(rows,) the largest of the sums over lower tails, over upper tails, and over the longer tail of each."""
    low, high = -np.log(np.maximum(below, 1e-9)), -np.log(np.maximum(above, 1e-9))
    lower, upper, longer = np.zeros(len(low)), np.zeros(len(low)), np.zeros(len(low))
    for at, distribution in enumerate(distributions):
        lower += low[:, at]
        upper += high[:, at]
        longer += low[:, at] if distribution.skew < 0 else high[:, at]
    either: Floats = np.maximum(np.maximum(lower, upper), longer)
    return either


def _standardised(matrix: Floats, distributions: Sequence[Distribution]) -> Floats:
    centre = np.array([distribution.centre for distribution in distributions])
    scale = np.array([distribution.scale for distribution in distributions])
    deviations: Floats = np.nan_to_num(np.clip((matrix - centre) / scale, -FURTHEST, FURTHEST), nan=0.0)
    return deviations


def _distances(matrix: Floats, neighbours: Floats, nearest: int) -> Floats:
    from scipy.spatial.distance import cdist

    mean_distances = np.empty(len(matrix))
    for start in range(0, len(matrix), CHUNK):
        # Pair by pair, unlike a product of matrices, whose last bits depend on the number of rows.
        squares = cdist(matrix[start : start + CHUNK], neighbours, "sqeuclidean")
        mean_distances[start : start + CHUNK] = np.partition(squares, nearest - 1, axis=1)[:, nearest - 1]
    distances: Floats = np.sqrt(mean_distances)
    return distances


def _fit_forest(matrix: Floats, seed: int) -> Forest:
    from sklearn.ensemble import IsolationForest

    rows = min(TREE_ROWS, len(matrix))
    # float32, as its trees compare: a value rounded otherwise could fall on the other side of a cut.
    fitted = IsolationForest(n_estimators=TREES, max_samples=rows, random_state=seed, n_jobs=1).fit(
        matrix.astype(np.float32)
    )
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in _FOREST_ARRAYS}
    start, levels = 0, 1
    for estimator in fitted.estimators_:
        tree = estimator.tree_
        leaf = tree.children_left < 0
        own = np.arange(tree.node_count) + start
        depth = _depths(tree.children_left, tree.children_right)
        levels = max(levels, int(depth.max()))
        parts["roots"].append(np.array([start]))
        parts["feature"].append(np.where(leaf, 0, tree.feature))
        parts["threshold"].append(np.where(leaf, 0.0, tree.threshold))
        parts["left"].append(np.where(leaf, own, tree.children_left + start))
        parts["right"].append(np.where(leaf, own, tree.children_right + start))
        parts["depth"].append(depth + _mean_path(tree.n_node_samples))
        start += tree.node_count
    arrays = {name: np.concatenate(some) for name, some in parts.items()}
    return Forest(
        arrays["roots"].astype(np.int64),
        arrays["feature"].astype(np.int64),
        arrays["threshold"].astype(np.float64),
        arrays["left"].astype(np.int64),
        arrays["right"].astype(np.int64),
        arrays["depth"].astype(np.float64),
        levels,
    )


def _depths(left: NDArray[Any], right: NDArray[Any]) -> Floats:
    """(nodes,) steps from the root; a parent comes before its children."""
    depth = np.zeros(len(left))
    for node in range(len(left)):
        if left[node] >= 0:
            depth[left[node]] = depth[right[node]] = depth[node] + 1
    return depth


def _mean_path(rows: NDArray[Any]) -> Floats:
    """Return the mean length of a path among so many rows (Liu et al. 2008, equation 1)."""
    rows = rows.astype(np.float64)
    several = np.maximum(rows, 2.0)
    harmonic = np.log(np.maximum(several - 1.0, 1.0)) + np.euler_gamma
    length = 2.0 * harmonic - 2.0 * (several - 1.0) / several
    return np.where(rows <= 1, 0.0, np.where(rows <= 2, 1.0, length))


# Ranks


def ranks_of(scores: Floats) -> Ranks:
    """Return the ranks of the sample's own scores; the most unusual hundredth keeps a knot for each row."""
    rising = np.sort(scores)
    distinct, first, counts = np.unique(rising, return_index=True, return_counts=True)
    shares = (first + counts / 2) / len(rising)
    even = np.linspace(0, len(rising) - 1, RANK_KNOTS)
    top = np.arange(max(0, len(rising) - max(200, len(rising) // 100)), len(rising))
    places = np.unique(np.concatenate([even.astype(np.int64), top]))
    at = np.unique(np.searchsorted(distinct, rising[places]))
    return Ranks(distinct[at], shares[at])


def _weighted(ranks: Mapping[str, Floats]) -> Floats:
    total = np.zeros(len(next(iter(ranks.values()))))
    for name, weight in WEIGHTS.items():
        total += weight * ranks[name]
    return _rounded(total, 9)


def _rounded(values: Floats, decimals: int) -> Floats:
    """Round, so that the last bits, which may differ between processors, decide nothing."""
    rounded: Floats = np.round(values, decimals)
    return rounded


# Reasons

#: One row in five: what is more usual than that is no reason.
LEAST_SURPRISE: Final = float(-np.log(0.2))
#: What is read of a date and goes round.
CALENDAR: Final = ("hour", "weekday", "day")
#: Times the mean share of an hour (weekday, day) below which one is unusual.
MUCH_RARER: Final = 0.5
WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def _reasons(
    description: Description, frame: pl.DataFrame, matrix: Floats
) -> tuple[NDArray[np.object_], Floats]:
    below, above = _shares(description.distributions, matrix)
    surprise, own = np.empty_like(matrix), np.empty_like(matrix)
    for at, value in enumerate(description.values):
        if value.kind in CALENDAR:
            own[:, at], surprise[:, at] = _calendar_surprise(description.distributions[at], matrix[:, at])
            continue
        low, high = -np.log(np.maximum(below[:, at], 1e-9)), -np.log(np.maximum(above[:, at], 1e-9))
        # Only rare values, and only what is missing, are unusual; common and present are not.
        surprise[:, at] = high if value.kind in ("rarity", "missing") else np.maximum(low, high)
        own[:, at] = np.exp(-surprise[:, at])
    words = np.full((len(matrix), REASONS), None, dtype=object)
    effects = np.full((len(matrix), REASONS), np.nan)
    order = np.argsort(-surprise, axis=1, kind="stable")
    raw = {name: frame[name].to_list() for name in description.columns}
    for row in range(len(matrix)):
        said: set[str] = set()
        for at in order[row].tolist():
            value, size = description.values[at], surprise[row, at]
            if size < LEAST_SURPRISE or len(said) == REASONS:
                break
            if value.column in said:
                continue
            words[row, len(said)] = _words(
                value,
                raw[value.column][row],
                float(matrix[row, at]),
                share=_percent(float(own[row, at])),
                high=bool(above[row, at] <= below[row, at]),
            )
            effects[row, len(said)] = round(float(size), 2)
            said.add(value.column)
    return words, effects


def _calendar_surprise(distribution: Distribution, values: Floats) -> tuple[Floats, Floats]:
    """(rows,) shares of the sample with the same hour, weekday or day, and how surprising that is.

    These go round: the first and the last are not extreme. Only one much rarer than the others is unusual.
    """
    own, no_more_common = distribution.rarity(values)
    rare = own < MUCH_RARER / len(distribution.knots)
    return own, np.where(rare, -np.log(np.maximum(no_more_common, 1e-9)), 0.0)


def _words(value: Value, raw: object, number: float, *, share: str, high: bool) -> str:
    if value.kind == "missing":
        return _("%(name)s missing, as in %(share)s of the rows", name=value.column, share=share)
    if value.kind == "rarity":
        return _('%(name)s "%(value)s" is rare', name=value.column, value=_shown(raw))
    if value.kind == "weekday":
        return _("%(name)s: %(day)s, an unusual day", name=value.column, day=WEEKDAYS[int(number) - 1])
    if value.kind == "hour":
        return _(
            "%(name)s: hour %(hour)s, as in %(share)s of the rows",
            name=value.column,
            hour=num(number, ".0f"),
            share=share,
        )
    if value.kind == "day":
        return _(
            "%(name)s: day %(number)s, as in %(share)s of the rows",
            name=value.column,
            number=num(number, ".0f"),
            share=share,
        )
    if value.kind == "gap":
        other, name = value.other, value.column
        facts = {"column": other, "name": name, "share": share}
        if high:
            return _("time from %(column)s to %(name)s longer than all but %(share)s of the rows", **facts)
        return _("time from %(column)s to %(name)s shorter than all but %(share)s of the rows", **facts)
    facts = {"name": value.column, "share": share}
    if value.kind == "characters":
        if high:
            return _("%(name)s longer than all but %(share)s of the rows", **facts)
        return _("%(name)s shorter than all but %(share)s of the rows", **facts)
    if high:
        return _(
            "%(name)s %(amount)s, higher than all but %(share)s of the rows", amount=_shown(raw), **facts
        )
    return _("%(name)s %(amount)s, lower than all but %(share)s of the rows", amount=_shown(raw), **facts)


def _percent(share: float) -> str:
    return num(share, ".2%" if share < 0.01 else ".0%")


def _shown(value: object) -> str:
    if isinstance(value, float):
        return num(value, ",.0f" if value == int(value) and abs(value) < 1e15 else ",.6g")
    text = str(value)
    return text if len(text) <= 60 else text[:59] + "…"
