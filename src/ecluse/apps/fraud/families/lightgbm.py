"""Fit, save and load gradient-boosted trees of LightGBM, as its text format."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from ecluse.apps.fraud.clock import with_heartbeat
from ecluse.apps.fraud.families import (
    OWN_PARAMS,
    STEM,
    FitData,
    Floats,
    Matrix,
    Params,
    Start,
    Tick,
    Until,
    boost,
)
from ecluse.apps.fraud.families.leaf_shares import LeafShares
from ecluse.apps.fraud.families.lightgbm_trees import read_trees
from ecluse.apps.fraud.measures import average_precision
from ecluse.client.kinds.whole import is_whole_lightgbm
from ecluse.errors import ModelUnreadable
from ecluse.sentences import _

SUFFIX = ".txt.gz"
QUIET = {"verbosity": -1}
FIXED = {
    "objective": "binary",
    "metric": "None",
    "deterministic": True,
    "force_row_wise": True,
    "feature_pre_filter": False,
    "max_bin": 255,
    **QUIET,
}
_SAMPLED = {"feature_fraction": 0.7, "bagging_fraction": 0.8, "bagging_freq": 1, "lambda_l2": 1.0}
_FIRST = {"learning_rate": 0.05, "num_leaves": 31, **_SAMPLED}
_LEVEL_SETS = {"num_leaves": 15, **_SAMPLED, "cat_smooth": 20.0, "native_categories": True}
# "plain" and "large" are two of AutoGluon's settings (tabular/models/lgb, "GBM" and "GBMLarge").
STARTS = (
    Start(1, "LightGBM", _FIRST),
    Start(3, _("LightGBM, latest rows"), {**_FIRST, "half_life": 0.05}),
    Start(5, _("LightGBM, recent rows"), {**_FIRST, "half_life": 0.15}),
    Start(7, _("LightGBM, level sets"), {"learning_rate": 0.05, **_LEVEL_SETS}),
    Start(8, _("LightGBM, plain"), {"learning_rate": 0.05, "num_leaves": 31}),
    Start(
        11,
        _("LightGBM, extra trees"),
        {"learning_rate": 0.04, "num_leaves": 63, "extra_trees": True, **_SAMPLED},
    ),
    Start(
        12,
        _("LightGBM, shallow"),
        {"learning_rate": 0.08, "num_leaves": 8, "max_depth": 3, "feature_fraction": 0.8, "lambda_l2": 5.0},
    ),
    Start(
        14,
        _("LightGBM, large"),
        {"learning_rate": 0.03, "num_leaves": 128, "feature_fraction": 0.9, "min_data_in_leaf": 3},
    ),
)


class LightGbmModel:
    """A LightGBM booster cut at its best round."""

    family = "lightgbm"

    def __init__(self, booster: lightgbm.Booster) -> None:
        self._booster = booster
        self._leaf_shares = LeafShares(
            lambda: read_trees(booster.model_to_string()),
            self._ask_contributions,
            trees=int(booster.num_trees()),
            features=int(booster.num_feature()),
        )

    @property
    def rounds(self) -> int:
        return int(self._booster.num_trees())

    def predict_margin(self, matrix: Matrix) -> Floats:
        return np.asarray(self._booster.predict(matrix, raw_score=True), dtype=np.float64)

    def contributions(self, matrix: Matrix) -> Floats:
        return self._leaf_shares.contributions(matrix)

    def _ask_contributions(self, matrix: Matrix, first: int) -> Floats:
        shares = self._booster.predict(matrix, pred_contrib=True, start_iteration=first)
        return np.asarray(shares, dtype=np.float64)

    def importances(self) -> Floats:
        gain = np.asarray(self._booster.feature_importance("gain"), dtype=np.float64)
        return gain / (gain.sum() or 1.0)

    def save(self, directory: Path, stem: str = STEM) -> tuple[str, ...]:
        name = stem + SUFFIX
        text = self._booster.model_to_string(importance_type="gain")
        # A fixed time stamp keeps the file, and so its digest, the same for the same model.
        (directory / name).write_bytes(gzip.compress(text.encode(), mtime=0))
        return (name,)


def vary(rng: np.random.Generator) -> tuple[Params, ...]:
    """Two of each round of variations."""
    return _variation(rng), _variation(rng)


def fit(data: FitData, params: Params, *, seed: int, until: Until, tick: Tick) -> LightGbmModel:
    """Boost with early stopping on the validation rows.

    Besides LightGBM's own parameters: `rounds`, `patience`, `fixed_rounds`, `half_life` (see `FitData.weights`), and
    `native_categories` (split level codes as sets instead of as ordered numbers).
    """
    not_theirs = OWN_PARAMS | {"native_categories", "half_life"}
    own = {name: params[name] for name in params if name not in not_theirs}
    train, valid = with_heartbeat(lambda: _datasets(data, params), tick)
    threads = {"num_threads": data.threads}
    booster = lightgbm.Booster({**FIXED, **threads, **own, "seed": seed}, train)
    booster.add_valid(valid, "valid")
    margins: dict[str, Floats] = {}

    def remember(predictions: NDArray[Any], _: lightgbm.Dataset) -> tuple[str, float, bool]:
        # These are probabilities, which rank as margins do.
        margins["valid"] = np.asarray(predictions, dtype=np.float64)
        return "kept", 0.0, True

    def score() -> float:
        booster.eval_valid(remember)
        return average_precision(data.valid_labels, margins["valid"])

    best = boost(
        lambda _: _ignore(booster.update()),
        score,
        params=params,
        every=1 + len(data.valid) // 50_000,
        until=until,
        tick=tick,
    )
    return LightGbmModel(_from_text(booster.model_to_string(num_iteration=best, importance_type="gain")))


def load(path: Path) -> LightGbmModel:
    """Read `best_model.txt` or its gzip. Raises ModelUnreadable."""
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ModelUnreadable(
            _("%(file)s cannot be read: %(error)s. Fetch the version again.", file=path.name, error=error)
        ) from error
    if not is_whole_lightgbm(text):
        raise ModelUnreadable(
            _("%(file)s is not a whole LightGBM text model. Fetch the version again.", file=path.name)
        )
    try:
        return LightGbmModel(_from_text(text))
    except lightgbm.basic.LightGBMError as error:
        raise ModelUnreadable(
            _("%(file)s is damaged: %(error)s. Fetch the version again.", file=path.name, error=error)
        ) from error


def _variation(rng: np.random.Generator) -> Params:
    return {
        "learning_rate": float(rng.uniform(0.02, 0.1)),
        "num_leaves": int(rng.choice([6, 8, 15, 31, 63, 95])),
        "min_data_in_leaf": int(rng.choice([5, 10, 20, 50, 100])),
        "feature_fraction": float(rng.uniform(0.3, 0.9)),
        "bagging_fraction": float(rng.uniform(0.6, 0.95)),
        "bagging_freq": 1,
        "lambda_l2": float(10 ** rng.uniform(-1, 1.5)),
        "extra_trees": bool(rng.random() < 0.3),
        "native_categories": bool(rng.random() < 0.3),
    }


def _from_text(text: str) -> lightgbm.Booster:
    return lightgbm.Booster(model_str=text)


def _ignore(_: object) -> None:
    return None


def _datasets(data: FitData, params: Params) -> tuple[lightgbm.Dataset, lightgbm.Dataset]:
    native, weights = bool(params.get("native_categories")), data.weights(params)
    key = f"lightgbm native={native} half_life={params.get('half_life')}"
    if key not in data.prepared:
        binned = {name: FIXED[name] for name in ("max_bin", "feature_pre_filter", "verbosity")}
        binned["num_threads"] = data.threads
        train = lightgbm.Dataset(
            data.train,
            data.train_labels,
            weight=weights,
            params=binned,
            categorical_feature=list(data.categorical) if native else [],
            free_raw_data=True,
        )
        valid = lightgbm.Dataset(data.valid, data.valid_labels, reference=train, params=binned)
        data.prepared[key] = (train.construct(), valid.construct())
    train, valid = data.prepared[key]
    return train, valid
