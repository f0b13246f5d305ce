"""Fit, save and load CatBoost's symmetric trees, as its binary format.

The library keeps for the whole process whom to ask whether it is interrupted, sets it as it begins to fit or to
explain, and takes it away as it ends. A thread that asks at that moment calls nothing, and the process dies:
https://github.com/catboost/catboost/blob/master/catboost/libs/helpers/interrupt.cpp (version 1.2.10). Its loggers are
shared likewise (https://github.com/catboost/catboost/issues/2620). Hence `one_at_a_time`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import catboost
import numpy as np

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
    one_at_a_time,
)
from ecluse.apps.fraud.families.catboost_trees import read_trees
from ecluse.apps.fraud.families.leaf_shares import LeafShares
from ecluse.client.kinds.whole import is_whole_catboost
from ecluse.errors import ModelUnreadable
from ecluse.sentences import _

SUFFIX = ".cbm"
#: So many rows are answered by one thread.
FEW_ROWS = 256
FIXED = {
    "loss_function": "Logloss",
    "boosting_type": "Plain",
    "border_count": 128,
    "allow_writing_files": False,
    "logging_level": "Silent",
}
#: What the library notes of each fit besides the model; without it the same model is the same file.
DIARY = ("model_guid", "train_finish_time")
_FIRST = {"depth": 6, "learning_rate": 0.06, "l2_leaf_reg": 5.0, "rounds": 1200}
STARTS = (
    Start(2, "CatBoost", _FIRST),
    Start(4, _("CatBoost, recent rows"), {**_FIRST, "half_life": 0.15}),
    Start(6, _("CatBoost, latest rows"), {**_FIRST, "half_life": 0.05}),
    Start(15, _("CatBoost, deep"), {"depth": 8, "learning_rate": 0.08, "l2_leaf_reg": 5.0, "rounds": 800}),
)


def _threads(matrix: Matrix) -> int:
    """Return how many threads answer these rows: sharing out a few takes longer than one thread does."""
    return 1 if len(matrix) <= FEW_ROWS else os.cpu_count() or 1


class CatBoostModel:
    """A CatBoost model cut at its best round."""

    family = "catboost"

    def __init__(self, model: Any, features: int) -> None:
        self._model = model
        self._features = features
        self._leaf_shares = LeafShares(
            lambda: read_trees(model), self._ask_contributions, trees=self.rounds, features=features
        )

    @property
    def rounds(self) -> int:
        return int(self._model.tree_count_)

    def predict_margin(self, matrix: Matrix) -> Floats:
        if not len(matrix):
            return np.zeros(0)
        # The library keeps values column by column, and takes over those that stand so three times as fast.
        pool = catboost.Pool(np.asfortranarray(matrix))
        raw = self._model.predict(pool, prediction_type="RawFormulaVal", thread_count=_threads(matrix))
        return np.asarray(raw, dtype=np.float64)

    def contributions(self, matrix: Matrix) -> Floats:
        return self._leaf_shares.contributions(matrix)

    def _ask_contributions(self, matrix: Matrix, first: int) -> Floats:
        model = self._model
        if first:
            model = model.copy()
            model.shrink(self.rounds, ntree_start=first)
        pool = catboost.Pool(matrix)
        with one_at_a_time("catboost"):
            shares = model.get_feature_importance(
                pool,
                type="ShapValues",
                thread_count=_threads(matrix),
                # Of itself the library prepares all leaves, for one row too.
                shap_mode="NoPreCalc" if len(matrix) == 1 else "Auto",
            )
        return np.asarray(shares, dtype=np.float64)

    def importances(self) -> Floats:
        with one_at_a_time("catboost"):
            gain = np.asarray(self._model.get_feature_importance(), dtype=np.float64)
        return gain / (gain.sum() or 1.0)

    def save(self, directory: Path, stem: str = STEM) -> tuple[str, ...]:
        name = stem + SUFFIX
        self._model.save_model(str(directory / name), format="cbm")
        return (name,)


def vary(rng: np.random.Generator) -> tuple[Params, ...]:
    """One of each round of variations."""
    variation = {
        "depth": int(rng.integers(4, 8)),
        "learning_rate": float(rng.uniform(0.03, 0.1)),
        "l2_leaf_reg": float(10 ** rng.uniform(0, 1.3)),
        "random_strength": float(rng.uniform(0.0, 2.0)),
        "rounds": 1200,
    }
    return (variation,)


class _EachRound:
    """What CatBoost calls after each round: whether to go on. It keeps what `tick` raised, for `fit` to raise."""

    def __init__(self, tick: Callable[[], None], until: Until | None) -> None:
        self.failure: BaseException | None = None
        self._tick = tick
        self._until = until

    def after_iteration(self, info: Any) -> bool:
        try:
            self._tick()
        except BaseException as error:  # noqa: BLE001 - raised again by `fit`, in the thread that asked
            self.failure = error
            return False
        return self._until is None or not self._until.ends(info.iteration, lambda: _scores(info))


def fit(data: FitData, params: Params, *, seed: int, until: Until, tick: Tick) -> CatBoostModel:
    """Boost with early stopping on the log loss of the validation rows.

    Besides CatBoost's own parameters: `rounds`, `patience`, `fixed_rounds` and `half_life` (see `FitData.weights`).
    """
    own = {name: params[name] for name in params if name not in OWN_PARAMS | {"half_life"}}
    fixed = int(params.get("fixed_rounds", 0))
    rounds = fixed or int(params.get("rounds", 1200))
    train, valid = with_heartbeat(lambda: _pools(data, params), tick)
    watched = _EachRound(tick, None if fixed else until)
    stopping = {} if fixed else {"od_type": "Iter", "od_wait": int(params.get("patience", 60))}
    model = catboost.CatBoost(
        {
            **FIXED,
            **own,
            **stopping,
            "iterations": rounds,
            "random_seed": seed,
            "use_best_model": not fixed,
            "thread_count": data.threads,
        }
    )
    with one_at_a_time("catboost", tick):
        model.fit(train, eval_set=None if fixed else valid, callbacks=[watched])
    if watched.failure is not None:
        raise watched.failure
    for name in DIARY:
        del model.get_metadata()[name]
    return CatBoostModel(model, data.train.shape[1])


def _scores(info: Any) -> list[tuple[int, float]]:
    """Of each round so far what the validation rows lost, so that higher is better."""
    return [(number, -lost) for number, lost in enumerate(info.metrics["validation"]["Logloss"], start=1)]


def load(path: Path) -> CatBoostModel:
    """Read `best_model.cbm`. Raises ModelUnreadable."""
    model = catboost.CatBoost()
    try:
        raw = path.read_bytes()
        if not is_whole_catboost(raw):
            raise ModelUnreadable(
                _("%(file)s is not a whole CatBoost model. Fetch the version again.", file=path.name)
            )
        model.load_model(blob=raw)
    except (OSError, catboost.CatBoostError) as error:
        reason = str(error).strip().splitlines()[-1][:200]
        raise ModelUnreadable(
            _("%(file)s is damaged: %(error)s. Fetch the version again.", file=path.name, error=reason)
        ) from error
    return CatBoostModel(model, len(model.feature_names_))


def _pools(data: FitData, params: Params) -> tuple[catboost.Pool, catboost.Pool]:
    key = f"catboost half_life={params.get('half_life')}"
    if key not in data.prepared:
        train = catboost.Pool(data.train, data.train_labels, weight=data.weights(params))
        valid = catboost.Pool(data.valid, data.valid_labels)
        data.prepared[key] = (train, valid)
    train, valid = data.prepared[key]
    return train, valid
