"""Find the model that ranks the validation rows best, within a time budget."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ecluse.fraud.evaluation import average_precision
from ecluse.fraud.models import FitData, FittedModel, Params, family

Report = Callable[[str], None]

MAX_VARIATIONS = 16
# Among many variations the best on few validation rows is partly luck: a variation must win by a margin.
MARGIN = 0.002
# A fit that starts later would be cut short.
LAST_START = 0.85

PORTFOLIO: tuple[tuple[str, str, Params], ...] = (
    (
        "LightGBM",
        "lightgbm",
        {
            "learning_rate": 0.05,
            "num_leaves": 31,
            "feature_fraction": 0.7,
            "bagging_fraction": 0.8,
            "bagging_freq": 1,
            "lambda_l2": 1.0,
        },
    ),
    (
        "XGBoost",
        "xgboost",
        {"max_depth": 5, "eta": 0.06, "subsample": 0.8, "colsample_bytree": 0.7, "lambda": 2.0},
    ),
    (
        "LightGBM, shallow",
        "lightgbm",
        {"learning_rate": 0.08, "num_leaves": 8, "max_depth": 3, "feature_fraction": 0.8, "lambda_l2": 5.0},
    ),
    ("linear model", "linear", {"l2": 1.0}),
    (
        "LightGBM, extra trees",
        "lightgbm",
        {
            "learning_rate": 0.04,
            "num_leaves": 63,
            "extra_trees": True,
            "feature_fraction": 0.7,
            "bagging_fraction": 0.8,
            "bagging_freq": 1,
            "lambda_l2": 1.0,
        },
    ),
    (
        "LightGBM, level sets",
        "lightgbm",
        {
            "learning_rate": 0.05,
            "num_leaves": 15,
            "feature_fraction": 0.7,
            "bagging_fraction": 0.8,
            "bagging_freq": 1,
            "lambda_l2": 1.0,
            "cat_smooth": 20.0,
            "native_categories": True,
        },
    ),
    (
        "XGBoost, deep",
        "xgboost",
        {
            "max_depth": 8,
            "eta": 0.04,
            "subsample": 0.8,
            "colsample_bytree": 0.5,
            "lambda": 5.0,
            "min_child_weight": 3.0,
        },
    ),
)
"""Fitted in this order: settings that did well over many tables, the quick and different first."""


@dataclass(frozen=True)
class Candidate:
    """One fitted model and how it ranks the validation rows."""

    name: str
    family: str
    params: Params
    model: FittedModel
    validation_average_precision: float
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """A row of the leaderboard."""
        return {
            "name": self.name,
            "family": self.family,
            "params": dict(self.params),
            "validation_average_precision": self.validation_average_precision,
            "seconds": round(self.seconds, 2),
        }


@dataclass(frozen=True)
class SearchResult:
    """The best candidate, and a leaderboard row for each, best first."""

    best: Candidate
    leaderboard: tuple[dict[str, Any], ...]


def search_models(
    data: FitData, *, seed: int, deadline: float, report: Report, longest_fit: float | None = None
) -> SearchResult:
    """Fit the portfolio and then seeded variations of it until `deadline` (time.monotonic seconds).

    No fit takes more than `longest_fit` seconds, nor more than 60 % of what is left for another to follow.
    At least one model is fitted. `report` is called at every round of every fit and may raise to cancel.
    Which variations are reached depends on the machine's speed; each fit itself depends on the seed only.
    """
    started = time.monotonic()
    rng = np.random.default_rng(seed)
    best: Candidate | None = None
    rows: list[dict[str, Any]] = []
    plan = [item for item in PORTFOLIO if data.categorical or not item[2].get("native_categories")]
    total = len(plan) + MAX_VARIATIONS
    for number in range(total):
        if best is not None and _too_late(started, deadline, [row["seconds"] for row in rows]):
            break
        name, kind, params = plan[number] if number < len(plan) else _variation(rng, number - len(plan))
        line = f"{name}, {number + 1} of up to {total}. {_so_far(best)}"
        report(line)
        candidate = _fit(
            name, kind, params, data, seed, _fit_deadline(deadline, longest_fit), _teller(report, line)
        )
        rows.append(candidate.to_dict())
        margin = MARGIN if number >= len(plan) else 0.0
        if best is None or _score(candidate) > _score(best) + margin:
            best = candidate
    if best is None:
        raise AssertionError("the portfolio is empty")
    rows.sort(key=lambda row: -float(row["validation_average_precision"]))
    return SearchResult(best, tuple(rows))


def _score(candidate: Candidate) -> float:
    return candidate.validation_average_precision


def _so_far(best: Candidate | None) -> str:
    return f"Best so far: average precision {_score(best):.3f}" if best else "First fit"


def _teller(report: Report, line: str) -> Callable[[], None]:
    return lambda: report(line)


def _fit(
    name: str, kind: str, params: Params, data: FitData, seed: int, deadline: float, tick: Callable[[], None]
) -> Candidate:
    begun = time.monotonic()
    model = family(kind).fit(data, params, seed=seed, deadline=deadline, tick=tick)
    found = average_precision(data.valid_labels, model.predict_margin(data.valid))
    return Candidate(name, kind, params, model, found, time.monotonic() - begun)


def _fit_deadline(deadline: float, longest: float | None) -> float:
    now = time.monotonic()
    share = 0.6 * max(deadline - now, 0.0)
    return now + (share if longest is None else min(share, longest))


def _too_late(started: float, deadline: float, seconds: list[float]) -> bool:
    now = time.monotonic()
    used = (now - started) / max(deadline - started, 1e-9)
    return used >= LAST_START or now + 0.5 * float(np.median(seconds)) > deadline


def _variation(rng: np.random.Generator, number: int) -> tuple[str, str, Params]:
    if number % 3 == 2:
        return (
            f"XGBoost, variation {number + 1}",
            "xgboost",
            {
                "max_depth": int(rng.integers(3, 10)),
                "eta": float(rng.uniform(0.02, 0.1)),
                "subsample": float(rng.uniform(0.6, 1.0)),
                "colsample_bytree": float(rng.uniform(0.3, 0.9)),
                "lambda": float(10 ** rng.uniform(-1, 1.3)),
                "min_child_weight": float(10 ** rng.uniform(-1, 1.3)),
            },
        )
    return (
        f"LightGBM, variation {number + 1}",
        "lightgbm",
        {
            "learning_rate": float(rng.uniform(0.02, 0.1)),
            "num_leaves": int(rng.choice([6, 8, 15, 31, 63, 95])),
            "min_data_in_leaf": int(rng.choice([5, 10, 20, 50, 100])),
            "feature_fraction": float(rng.uniform(0.3, 0.9)),
            "bagging_fraction": float(rng.uniform(0.6, 0.95)),
            "bagging_freq": 1,
            "lambda_l2": float(10 ** rng.uniform(-1, 1.5)),
            "extra_trees": bool(rng.random() < 0.3),
            "native_categories": bool(rng.random() < 0.3),
        },
    )
