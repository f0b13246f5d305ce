"""Fit, save and load a logistic regression on scaled numbers and one-hot levels, as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecluse.apps.fraud.families import STEM, FitData, Floats, Matrix, Params, Start, Tick, Until
from ecluse.errors import ModelUnreadable
from ecluse.sentences import _

SUFFIX = ".json"
FORMAT = "ecluse linear 1"
FIT_ROWS = 100_000
LEVELS = 64
STARTS = (Start(10, _("linear model"), {"l2": 1.0}),)


@dataclass(frozen=True)
class Term:
    """One column of the design: a scaled number, a level, or the fact that a feature is missing.

    `center` is the mean of the finished column over the training rows: a contribution is its distance.
    """

    feature: int
    kind: str  # "number", "log", "level" or "missing"
    shift: float
    scale: float
    center: float
    weight: float = 0.0


class LinearModel:
    """Weighted terms and an intercept. Sums run term by term, so a row never depends on its batch."""

    family = "linear"
    rounds = 0

    def __init__(self, terms: tuple[Term, ...], intercept: float, features: int) -> None:
        self._terms = terms
        self._intercept = intercept
        self._features = features

    def predict_margin(self, matrix: Matrix) -> Floats:
        margin = np.full(len(matrix), self._intercept)
        for term in self._terms:
            margin += (_column(matrix, term) - term.center) * term.weight
        return margin

    def contributions(self, matrix: Matrix) -> Floats:
        shares = np.zeros((len(matrix), self._features + 1))
        shares[:, -1] = self._intercept
        for term in self._terms:
            shares[:, term.feature] += (_column(matrix, term) - term.center) * term.weight
        return shares

    def importances(self) -> Floats:
        gain = np.zeros(self._features)
        for term in self._terms:
            gain[term.feature] += abs(term.weight) * _spread(term)
        return gain / (gain.sum() or 1.0)

    def save(self, directory: Path, stem: str = STEM) -> tuple[str, ...]:
        name = stem + SUFFIX
        content = {
            "format": FORMAT,
            "features": self._features,
            "intercept": self._intercept,
            "terms": [asdict(term) for term in self._terms],
        }
        (directory / name).write_text(json.dumps(content, indent=1), encoding="utf-8")
        return (name,)


def vary(rng: np.random.Generator) -> tuple[Params, ...]:
    """None: the penalty is the only setting, and columns of unit variance leave little to choose."""
    return ()


def fit(data: FitData, params: Params, *, seed: int, until: Until, tick: Tick) -> LinearModel:
    """Minimise the penalised log loss with L-BFGS; `l2` is the penalty on weights of unit-variance columns.

    Above 100,000 rows all fraud and a seeded sample of the rest is used; calibration restores the rate.
    """
    from scipy.optimize import OptimizeResult, minimize

    rows = _fit_rows(data.train_labels, np.random.default_rng(seed))
    matrix, labels = data.train[rows], data.train_labels[rows].astype(np.float64)
    terms = _terms(matrix, frozenset(data.categorical))
    design = np.column_stack([_column(matrix, term) - term.center for term in terms]).astype(np.float32)
    penalty = float(params.get("l2", 1.0))

    def loss(weights: Floats) -> tuple[float, Floats]:
        margin = (design @ weights[1:].astype(np.float32)).astype(np.float64) + weights[0]
        error = 1.0 / (1.0 + np.exp(-np.clip(margin, -500, 500))) - labels
        gradient = np.concatenate(
            [[error.sum()], (error.astype(np.float32) @ design) + penalty * weights[1:]]
        )
        value = np.sum(np.logaddexp(0.0, margin) - labels * margin) + penalty / 2 * np.sum(weights[1:] ** 2)
        return float(value), gradient.astype(np.float64)

    steps: list[tuple[int, float]] = []

    def after_each(intermediate_result: OptimizeResult) -> None:
        tick()
        steps.append((len(steps) + 1, -float(intermediate_result.fun) / len(labels)))
        if until.ends(len(steps), lambda: steps):
            raise StopIteration

    rate = float(np.clip(labels.mean(), 1e-6, 1 - 1e-6))
    start = np.concatenate([[np.log(rate / (1 - rate))], np.zeros(len(terms))])
    optimum = minimize(
        loss, start, jac=True, method="L-BFGS-B", callback=after_each, options={"maxiter": 200}
    )
    weighted = tuple(
        Term(t.feature, t.kind, t.shift, t.scale, t.center, float(w))
        for t, w in zip(terms, optimum.x[1:], strict=True)
    )
    return LinearModel(weighted, float(optimum.x[0]), data.train.shape[1])


def load(path: Path) -> LinearModel:
    """Read `best_model.json`. Raises ModelUnreadable."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ModelUnreadable(
                _("%(file)s is not a linear model of ours. Fetch the version again.", file=path.name)
            )
        terms = tuple(Term(**term) for term in content["terms"])
        return LinearModel(terms, float(content["intercept"]), int(content["features"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, ModelUnreadable):
            raise
        raise ModelUnreadable(
            _("%(file)s is damaged: %(error)s. Fetch the version again.", file=path.name, error=repr(error))
        ) from error


def _fit_rows(labels: NDArray[np.int8], rng: np.random.Generator) -> NDArray[np.int64]:
    if len(labels) <= FIT_ROWS:
        return np.arange(len(labels))
    fraud, rest = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    kept = rng.choice(rest, max(FIT_ROWS - len(fraud), len(rest) // 10), replace=False)
    return np.sort(np.concatenate([fraud, kept]))


def _terms(matrix: Matrix, categorical: frozenset[int]) -> list[Term]:
    terms: list[Term] = []
    for feature in range(matrix.shape[1]):
        column = matrix[:, feature].astype(np.float64)
        missing = np.isnan(column)
        if 0 < missing.sum() < len(column):
            terms.append(_centered(matrix, Term(feature, "missing", 0.0, 1.0, 0.0)))
        known = column[~missing]
        if feature in categorical:
            levels = np.unique(known)[:LEVELS]
            terms += [_centered(matrix, Term(feature, "level", float(level), 1.0, 0.0)) for level in levels]
        elif len(known) and known.min() < known.max():
            terms.append(_centered(matrix, _number_term(feature, known)))
    return terms


def _number_term(feature: int, known: Floats) -> Term:
    """Long-tailed numbers enter as signed logarithms, so that one large amount does not rule the fit."""
    spread = float(known.std()) or 1.0
    if float(np.abs(known - known.mean()).max()) <= 8 * spread:
        return Term(feature, "number", float(known.mean()), spread, 0.0)
    bent = np.sign(known) * np.log1p(np.abs(known))
    return Term(feature, "log", float(bent.mean()), float(bent.std()) or 1.0, 0.0)


def _centered(matrix: Matrix, term: Term) -> Term:
    return Term(term.feature, term.kind, term.shift, term.scale, float(_column(matrix, term).mean()))


def _column(matrix: Matrix, term: Term) -> Floats:
    """(rows,) the finished column of a term before centring; missing numbers count as the mean."""
    values: Floats = matrix[:, term.feature].astype(np.float64)
    if term.kind == "missing":
        return np.asarray(np.isnan(values), dtype=np.float64)
    if term.kind == "level":
        return np.asarray(values == term.shift, dtype=np.float64)
    if term.kind == "log":
        values = np.sign(values) * np.log1p(np.abs(values))
    scaled: Floats = (values - term.shift) / term.scale
    scaled[np.isnan(scaled)] = 0.0
    return scaled


def _spread(term: Term) -> float:
    """Return the deviation of the finished column: 1 for scaled numbers, that of a share for the others."""
    if term.kind in ("number", "log"):
        return 1.0
    return float(np.sqrt(max(term.center * (1 - term.center), 0.0)))
