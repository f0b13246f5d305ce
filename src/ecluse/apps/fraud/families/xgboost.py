"""Fit, save and load gradient-boosted trees of XGBoost, as its universal binary JSON."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import xgboost

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
from ecluse.apps.fraud.families.xgboost_trees import read_trees
from ecluse.apps.fraud.measures import average_precision
from ecluse.client.kinds.whole import is_whole_xgboost
from ecluse.errors import ModelUnreadable
from ecluse.sentences import _

SUFFIX = ".ubj"
FIXED = {
    "objective": "binary:logistic",
    "tree_method": "hist",
    "max_bin": 256,
    "verbosity": 0,
    "disable_default_eval_metric": True,
}
STARTS = (
    Start(
        9,
        "XGBoost",
        {"max_depth": 5, "eta": 0.06, "subsample": 0.8, "colsample_bytree": 0.7, "lambda": 2.0},
    ),
    Start(
        13,
        _("XGBoost, deep"),
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


class XgBoostModel:
    """An XGBoost booster cut at its best round."""

    family = "xgboost"

    def __init__(self, booster: xgboost.Booster) -> None:
        self._booster = booster
        self._leaf_shares = LeafShares(
            lambda: read_trees(bytes(booster.save_raw("json"))),
            self._ask_contributions,
            trees=self.rounds,
            features=int(booster.num_features()),
        )

    @property
    def rounds(self) -> int:
        return int(self._booster.num_boosted_rounds())

    def predict_margin(self, matrix: Matrix) -> Floats:
        margins = self._booster.inplace_predict(matrix, predict_type="margin", validate_features=False)
        return np.asarray(margins, dtype=np.float64)

    def contributions(self, matrix: Matrix) -> Floats:
        return self._leaf_shares.contributions(matrix)

    def _ask_contributions(self, matrix: Matrix, first: int) -> Floats:
        shares = self._booster.predict(
            xgboost.DMatrix(matrix),
            pred_contribs=True,
            validate_features=False,
            iteration_range=(first, self.rounds),
        )
        return np.asarray(shares, dtype=np.float64)

    def importances(self) -> Floats:
        gain = np.zeros(self._booster.num_features())
        for name, value in self._booster.get_score(importance_type="total_gain").items():
            gain[int(name[1:])] = value if isinstance(value, float) else float(np.sum(value))
        return gain / (gain.sum() or 1.0)

    def save(self, directory: Path, stem: str = STEM) -> tuple[str, ...]:
        name = stem + SUFFIX
        (directory / name).write_bytes(self._booster.save_raw("ubj"))
        return (name,)


def vary(rng: np.random.Generator) -> tuple[Params, ...]:
    """One of each round of variations."""
    variation = {
        "max_depth": int(rng.integers(3, 10)),
        "eta": float(rng.uniform(0.02, 0.1)),
        "subsample": float(rng.uniform(0.6, 1.0)),
        "colsample_bytree": float(rng.uniform(0.3, 0.9)),
        "lambda": float(10 ** rng.uniform(-1, 1.3)),
        "min_child_weight": float(10 ** rng.uniform(-1, 1.3)),
    }
    return (variation,)


def fit(data: FitData, params: Params, *, seed: int, until: Until, tick: Tick) -> XgBoostModel:
    """Boost with early stopping on the validation rows.

    Besides XGBoost's own parameters: `rounds`, `patience` and `fixed_rounds`.
    """
    own = {name: params[name] for name in params if name not in OWN_PARAMS}
    train, valid = with_heartbeat(lambda: _matrices(data), tick)
    start = float(np.clip(data.train_labels.mean(), 1e-6, 1 - 1e-6))
    chosen = {"base_score": start, "seed": seed, "nthread": data.threads}
    booster = xgboost.Booster({**FIXED, **own, **chosen}, [train, valid])

    def score() -> float:
        margins = np.asarray(booster.predict(valid, output_margin=True), dtype=np.float64)
        return average_precision(data.valid_labels, margins)

    best = boost(
        lambda number: booster.update(train, number),
        score,
        params=params,
        every=1 + len(data.valid) // 50_000,
        until=until,
        tick=tick,
    )
    fitted = booster[:best]
    fitted.set_param({"nthread": os.cpu_count() or 1})
    return XgBoostModel(fitted)


def load(path: Path) -> XgBoostModel:
    """Read `best_model.ubj`. Raises ModelUnreadable."""
    booster = xgboost.Booster({"nthread": os.cpu_count() or 1, "verbosity": 0})
    try:
        raw = path.read_bytes()
        if not is_whole_xgboost(raw):
            raise ModelUnreadable(
                _("%(file)s is not a whole XGBoost model in UBJ. Fetch the version again.", file=path.name)
            )
        booster.load_model(bytearray(raw))
    except (OSError, xgboost.core.XGBoostError) as error:
        reason = str(error).strip().splitlines()[-1][:200]
        raise ModelUnreadable(
            _("%(file)s is damaged: %(error)s. Fetch the version again.", file=path.name, error=reason)
        ) from error
    return XgBoostModel(booster)


def _matrices(data: FitData) -> tuple[xgboost.QuantileDMatrix, xgboost.QuantileDMatrix]:
    if "xgboost" not in data.prepared:
        train = xgboost.QuantileDMatrix(
            data.train, data.train_labels, max_bin=FIXED["max_bin"], nthread=data.threads
        )
        valid = xgboost.QuantileDMatrix(data.valid, data.valid_labels, ref=train, nthread=data.threads)
        data.prepared["xgboost"] = (train, valid)
    train, valid = data.prepared["xgboost"]
    return train, valid
