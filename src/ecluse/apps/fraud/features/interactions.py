"""Find the sums, ratios and pairs of columns that tell more together than each does alone.

`propose` looks for candidates on the training rows; `helpful` says which groups of features a small booster
ranks rows better with. What was found once is passed on as a `FeaturePlan`, so that folds share one search.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.fraud.features.history import hash_keys, pair_keys
from ecluse.apps.fraud.tables.columns import ColumnSpec

Floats = NDArray[np.float64]
Labels = NDArray[np.int8]
Term = tuple[str, int]  # a column and its sign

SAMPLE_ROWS = 20_000
# Of wide tables fewer rows are looked at, so that the search takes seconds whatever the width.
SAMPLE_VALUES = 2_000_000
LEAST_ROWS = 2_000
# Beside more features than these a group is tried with the most used of them only.
MAX_BESIDE = 60
MAX_OF_GROUP = 40
MAX_NUMBERS = 6
MAX_LEDGER_NUMBERS = 8
MAX_PAIRED = 8
MAX_PAIRS = 3
LEAST_DISTINCT = 8
# Fewer frauds cannot tell a helpful group from luck.
LEAST_FRAUDS = 30
# A balance of three columns that comes out even in so many rows is how they are made.
BALANCED_SHARE = 0.2
# A group must improve the log loss of rows held out by so many standard errors; one that is usual leaves
# when it makes it as much worse.
SURENESS = 1.0
USUAL = frozenset({"values"})
SMOOTHING = 10.0
QUICK = {
    "objective": "binary",
    "metric": "None",
    "learning_rate": 0.1,
    "num_leaves": 15,
    "feature_fraction": 0.7,
    "lambda_l2": 1.0,
    "max_bin": 127,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "verbosity": -1,
}
ROUNDS = 100
PATIENCE = 10
FOLDS = 3
# Small tables are divided again, or chance in the drawing of folds and features would decide.
SMALL_VALUES = 600_000
REPEATS = 3


@dataclass(frozen=True)
class FeaturePlan:
    """What is made beyond the features of single columns.

    `sums` are signed columns to add up, `ratios` (numerator, denominator), `pairs` two columns read as one
    entity; `values` says whether numbers whose values repeat are read as entities too, and `levels` whether
    categories of few levels are told their fraud rates beside their order.
    """

    sums: tuple[tuple[Term, ...], ...] = ()
    ratios: tuple[tuple[str, str], ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    values: bool = True
    levels: bool = True


def propose(
    frame: pl.DataFrame,
    specs: Sequence[ColumnSpec],
    labels: Labels,
    *,
    seed: int,
    tick: Callable[[], None] = lambda: None,
) -> FeaturePlan:
    """Choose sums and ratios of the numbers that a first booster uses most, and pairs by their fraud rate."""
    rows = sampled(labels, seed, len(specs))
    part, truth = frame[rows], labels[rows]
    if int(truth.sum()) < LEAST_FRAUDS:
        return FeaturePlan()
    numbers = {
        spec.name: part[spec.name].cast(pl.Float64).to_numpy()
        for spec in specs
        if spec.kind == "number" and part[spec.name].drop_nulls().n_unique() > LEAST_DISTINCT
    }
    ranked = _by_use(numbers, truth, seed)
    tick()
    top = ranked[:MAX_NUMBERS]
    differences = tuple(((a, 1), (b, -1)) for a, b in itertools.combinations(top, 2))
    balances = _balances({name: numbers[name] for name in ranked[:MAX_LEDGER_NUMBERS]})
    ratios = tuple(itertools.combinations(top, 2))
    tick()
    return FeaturePlan((*differences, *balances), ratios, _pairs(part, specs, truth, seed, tick))


def helpful(
    matrix: NDArray[np.float32],
    groups: Mapping[str, NDArray[np.int64]],
    labels: Labels,
    *,
    seed: int,
    forward: NDArray[np.int64] | None = None,
    late: Callable[[], bool] | None = None,
    tick: Callable[[], None] = lambda: None,
) -> frozenset[str]:
    """Return the groups, {name: positions in matrix}, with which a small booster loses less on rows held out.

    Groups are tried in turn, each beside those kept before it. With `forward`, the block of time of each row,
    later blocks are held out from earlier ones; otherwise random thirds. Once it is `late` no further group is
    tried, nor kept.
    """
    rows = sampled(labels, seed, matrix.shape[1])
    if int(labels[rows].sum()) < LEAST_FRAUDS:
        return frozenset()
    drawn = [
        seed + 1 + repeat for repeat in range(REPEATS if rows.size * matrix.shape[1] <= SMALL_VALUES else 1)
    ]
    parts = [_parts(len(rows), number, None if forward is None else forward[rows]) for number in drawn]

    def losses_with(positions: list[int]) -> Floats:
        part, truth = matrix[rows][:, positions], labels[rows]
        losses = [
            _losses(part, truth, some, number, too_late, tick)
            for some, number in zip(parts, drawn, strict=True)
        ]
        return np.asarray(np.mean(losses, axis=0), dtype=np.float64)

    def too_late() -> bool:
        return late is not None and late()

    grouped = set(np.concatenate(list(groups.values())).tolist()) if groups else set()
    kept = [at for at in range(matrix.shape[1]) if at not in grouped]
    if len(kept) > MAX_BESIDE:
        kept = _most_used(matrix[rows], labels[rows], kept, MAX_BESIDE, seed)
    tick()
    chosen: set[str] = set()
    losses = losses_with(kept)
    for name, positions in groups.items():
        if not len(positions) or too_late():
            continue
        some = positions.tolist()
        if len(some) > MAX_OF_GROUP:
            some = _most_used(matrix[rows], labels[rows], some, MAX_OF_GROUP, seed)
        wider = sorted([*kept, *some])
        measured = losses_with(wider)
        gain = losses - measured
        needed = SURENESS * float(gain.std()) / max(len(gain), 1) ** 0.5
        if not too_late() and gain.mean() > (-needed if name in USUAL else needed):
            chosen.add(name)
            kept, losses = wider, measured
    return frozenset(chosen)


def _most_used(
    matrix: NDArray[np.float32], labels: Labels, positions: list[int], count: int, seed: int
) -> list[int]:
    """Return those of the positions that the first trees use most, in order."""
    data = lightgbm.Dataset(matrix[:, positions], labels, params={"max_bin": 31, "verbosity": -1})
    booster = lightgbm.train({**QUICK, "max_bin": 31, "feature_fraction": 0.3, "seed": seed}, data, 30)
    order = np.argsort(-booster.feature_importance("gain"), kind="stable")[:count]
    return sorted(positions[at] for at in order)


def sampled(labels: Labels, seed: int, width: int = 1) -> NDArray[np.int64]:
    """Up to 20,000 row numbers in order: all frauds up to half of them, and others at random."""
    most = min(SAMPLE_ROWS, max(SAMPLE_VALUES // max(width, 1), LEAST_ROWS))
    if len(labels) <= most:
        return np.arange(len(labels))
    rng = np.random.default_rng(seed)
    fraud = rng.permutation(np.flatnonzero(labels == 1))[: most // 2]
    rest = rng.permutation(np.flatnonzero(labels == 0))[: most - len(fraud)]
    return np.sort(np.concatenate([fraud, rest]))


def _by_use(numbers: Mapping[str, Floats], labels: Labels, seed: int) -> list[str]:
    """Return the names of the numbers a small booster splits on, the most useful first."""
    if len(numbers) < 2:
        return list(numbers)
    names = list(numbers)
    settings = {**QUICK, "max_bin": 63, "seed": seed}
    data = lightgbm.Dataset(np.column_stack([numbers[name] for name in names]), labels)
    booster = lightgbm.train(settings, data, 60 if len(names) <= MAX_BESIDE else 20)
    gain = booster.feature_importance("gain")
    return [names[at] for at in np.argsort(-gain, kind="stable") if gain[at] > 0]


def _balances(numbers: Mapping[str, Floats]) -> tuple[tuple[Term, ...], ...]:
    """Triples a - b - c and a + b - c that come out even in many rows: what is left over where they do not."""
    by_columns: dict[frozenset[str], tuple[float, tuple[Term, ...]]] = {}
    for whole, first, other in itertools.permutations(numbers, 3):
        if first > other:
            continue
        a, b, c = numbers[whole], numbers[first], numbers[other]
        moved = (a != 0) & (b != 0) & (c != 0)
        if not moved.any():
            continue
        even = np.abs(a - b - c) <= 1e-6 * (np.abs(a) + np.abs(b) + np.abs(c))
        share = float(np.mean(even & moved))
        key = frozenset((whole, first, other))
        if share >= BALANCED_SHARE and share > by_columns.get(key, (0.0, ()))[0]:
            by_columns[key] = (share, ((whole, 1), (first, -1), (other, -1)))
    return tuple(terms for _, terms in by_columns.values())


def _pairs(
    frame: pl.DataFrame, specs: Sequence[ColumnSpec], labels: Labels, seed: int, tick: Callable[[], None]
) -> tuple[tuple[str, str], ...]:
    """Two columns whose values together tell the fraud rate of rows held out better than both apart."""
    codes = {
        spec.name: np.unique(hash_keys(frame[spec.name], seed), return_inverse=True)[1]
        for spec in specs
        if _can_pair(frame[spec.name], spec)
    }
    held = np.random.default_rng(seed).integers(0, 5, len(labels))
    rates, losses = {}, {}
    for name, code in codes.items():
        rates[name] = _held_rates(code, labels, held)
        losses[name] = _log_loss(labels, rates[name]).mean()
        tick()
    best = sorted(codes, key=lambda name: (losses[name], name))[:MAX_PAIRED]
    prior = float(labels.mean())
    gains = []
    for first, other in itertools.combinations(best, 2):
        together = np.unique(
            pair_keys(codes[first].astype(np.uint64), codes[other].astype(np.uint64)), return_inverse=True
        )[1]
        apart = np.clip(rates[first] * rates[other] / prior, 1e-6, 1 - 1e-6)
        reference = min(_log_loss(labels, apart).mean(), losses[first], losses[other])
        gains.append(
            (reference - _log_loss(labels, _held_rates(together, labels, held)).mean(), first, other)
        )
        tick()
    gains.sort(key=lambda item: (-item[0], item[1], item[2]))
    return tuple((first, other) for gain, first, other in gains[:MAX_PAIRS] if gain > 0)


def _can_pair(column: pl.Series, spec: ColumnSpec) -> bool:
    if spec.kind == "number":
        known = column.drop_nulls()
        if not bool((known == known.round(0)).all()):
            return False
    elif spec.kind not in ("category", "identifier"):
        return False
    return 1 < column.n_unique() < 0.9 * len(column)


def _held_rates(code: NDArray[np.int64], labels: Labels, held: NDArray[np.int64]) -> Floats:
    rates, size, prior = np.zeros(len(code)), int(code.max()) + 1, float(labels.mean())
    for part in range(5):
        known = held != part
        rows = np.bincount(code[known], minlength=size)
        frauds = np.bincount(code[known], weights=labels[known], minlength=size)
        rates[~known] = ((frauds + SMOOTHING * prior) / (rows + SMOOTHING))[code[~known]]
    return np.clip(rates, 1e-6, 1 - 1e-6)


def _log_loss(labels: Labels, rates: Floats) -> Floats:
    return np.asarray(-np.where(labels == 1, np.log(rates), np.log1p(-rates)), dtype=np.float64)


def _parts(
    rows: int, seed: int, forward: NDArray[np.int64] | None
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """(rows to fit, rows to judge) of each fold."""
    blocks = np.unique(forward) if forward is not None else np.zeros(1, dtype=np.int64)
    if forward is None or len(blocks) < 2:
        fold = np.random.default_rng(seed).integers(0, FOLDS, rows)
        return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(FOLDS)]
    cuts = [blocks[len(blocks) * k // 4] for k in (2, 3)] if len(blocks) >= 4 else blocks[1:]
    ends = [*cuts[1:], blocks[-1] + 1]
    return [
        (np.flatnonzero(forward < cut), np.flatnonzero((forward >= cut) & (forward < end)))
        for cut, end in zip(cuts, ends, strict=True)
    ]


def _losses(
    matrix: NDArray[np.float32],
    labels: Labels,
    parts: list[tuple[NDArray[np.int64], NDArray[np.int64]]],
    seed: int,
    too_late: Callable[[], bool],
    tick: Callable[[], None],
) -> Floats:
    """(rows,) log loss of the rows held out at each fold's best round; 0 for rows never held out."""
    losses = np.zeros(len(labels))
    for fit, judge in parts:
        if len(judge) and labels[fit].min() < labels[fit].max() and not too_late():
            losses[judge] = _fold_losses(matrix, labels, fit, judge, seed, too_late, tick)
    return losses


def _fold_losses(
    matrix: NDArray[np.float32],
    labels: Labels,
    fit: NDArray[np.int64],
    judge: NDArray[np.int64],
    seed: int,
    too_late: Callable[[], bool],
    tick: Callable[[], None],
) -> Floats:
    train = lightgbm.Dataset(matrix[fit], labels[fit], params=QUICK)
    booster = lightgbm.Booster({**QUICK, "seed": seed}, train)
    # What trees say of rows known beforehand is added up as they grow; to predict anew would be many times the work.
    booster.add_valid(lightgbm.Dataset(matrix[judge], labels[judge], reference=train, params=QUICK), "judge")
    said: dict[str, Floats] = {}

    def remember(rates: NDArray[Any], _: lightgbm.Dataset) -> tuple[str, float, bool]:
        said["rates"] = np.clip(np.asarray(rates, dtype=np.float64), 1e-6, 1 - 1e-6)
        return "kept", 0.0, True

    best, waited = _log_loss(labels[judge], np.full(len(judge), 1e-6)), 0
    for _ in range(ROUNDS // 5):
        for _ in range(5):
            booster.update()
        tick()
        if too_late():
            break
        booster.eval_valid(remember)
        losses = _log_loss(labels[judge], said["rates"])
        if losses.mean() < best.mean():
            best, waited = losses, 0
        elif (waited := waited + 1) >= PATIENCE // 5:
            break
    return best
