"""Reasons come from tables of leaves; they are what each library says of its own trees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import catboost
import lightgbm
import numpy as np
import pytest
import xgboost

from ecluse.apps.fraud.families import FittedModel, Matrix, leaf_tables
from ecluse.apps.fraud.families.catboost import CatBoostModel
from ecluse.apps.fraud.families.leaf_groups import grouped_leaves, leaves_of
from ecluse.apps.fraud.families.lightgbm import LightGbmModel
from ecluse.apps.fraud.families.lightgbm_trees import read_trees
from ecluse.apps.fraud.families.trees import Bins, Split, Tree, at_most
from ecluse.apps.fraud.families.xgboost import XgBoostModel

FEATURES = 8
LEVELS = (4, 5)
HIGH = float(np.finfo(np.float32).max)


def rows(count: int, seed: int = 0) -> Matrix:
    """Numbers, two features of levels, and missing values in two features."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(count, FEATURES)).astype(np.float32)
    matrix[:, 4], matrix[:, 5] = rng.integers(0, 70, count), rng.integers(0, 6, count)
    matrix[::7, 1] = matrix[::5, 4] = np.nan
    return matrix


def strange_rows() -> Matrix:
    """Rows with values that training never had: missing everywhere, endless, huge, negative, between levels, zero."""
    matrix = rows(400, seed=1)
    strange = [np.nan, np.inf, -np.inf, HIGH, -HIGH, 0.0, -0.0, -0.5, 0.5, 2.75, -1.0, 64.0, 1e-40]
    for feature in range(FEATURES):
        matrix[feature :: FEATURES + 3, feature] = np.resize(strange, len(matrix[feature :: FEATURES + 3]))
    matrix[-1] = np.nan
    return matrix


def labels(matrix: Matrix) -> np.ndarray[Any, Any]:
    odds = (
        2 * matrix[:, 0] * matrix[:, 2] + matrix[:, 3] + 2 * (matrix[:, 4] % 3 == 1) + np.isnan(matrix[:, 1])
    )
    chance = np.random.default_rng(2).random(len(matrix))
    return np.asarray(chance < 1 / (1 + np.exp(1 - odds)), dtype=np.int8)


def lightgbm_model(levels: tuple[int, ...] = (), **params: Any) -> LightGbmModel:
    matrix = rows(1_500)
    data = lightgbm.Dataset(matrix, labels(matrix), categorical_feature=list(levels))
    settings = {"objective": "binary", "verbosity": -1, "num_threads": 1, "min_data_per_group": 5, **params}
    return LightGbmModel(lightgbm.train(settings, data, 12))


def catboost_model(**params: Any) -> CatBoostModel:
    matrix = rows(1_500)
    fit = {"iterations": 12, "allow_writing_files": False, "logging_level": "Silent", "thread_count": 1}
    return CatBoostModel(
        catboost.CatBoost({"loss_function": "Logloss", **fit, **params}).fit(matrix, labels(matrix)), 8
    )


def xgboost_model() -> XgBoostModel:
    matrix = rows(1_500)
    params = {"objective": "binary:logistic", "max_depth": 6, "nthread": 1}
    return XgBoostModel(xgboost.train(params, xgboost.DMatrix(matrix, labels(matrix)), 12))


MODELS: dict[str, Callable[[], FittedModel]] = {
    "lightgbm": lightgbm_model,
    "lightgbm, levels": lambda: lightgbm_model(LEVELS, num_leaves=63),
    "lightgbm, small": lambda: lightgbm_model(max_depth=2),
    "lightgbm, one feature": lambda: lightgbm_model(interaction_constraints=[[0]]),
    "catboost": catboost_model,
    "catboost, missing is most": lambda: catboost_model(nan_mode="Max", depth=7),
    "xgboost": xgboost_model,
}


def library_says(model: Any, matrix: Matrix) -> np.ndarray[Any, Any]:
    if model.family == "xgboost":  # its contributions, not its margins, refuse endless values
        matrix = np.where(np.isinf(matrix), np.copysign(np.float32(HIGH), matrix), matrix)
    return np.asarray(model._ask_contributions(matrix, 0))


@pytest.fixture(params=list(MODELS), scope="module")
def model(request: pytest.FixtureRequest) -> FittedModel:
    made: FittedModel = MODELS[request.param]()
    return made


def test_contributions_are_those_of_the_library(model: FittedModel) -> None:
    for matrix in (rows(300, seed=3), strange_rows()):
        # XGBoost adds up in single precision.
        allowed = 2e-6 if model.family == "xgboost" else 1e-12
        assert np.abs(model.contributions(matrix) - library_says(model, matrix)).max() < allowed


def test_a_row_alone_has_the_contributions_it_has_among_many_to_the_bit(model: FittedModel) -> None:
    matrix = strange_rows()
    many = model.contributions(matrix)
    alone = np.concatenate([model.contributions(matrix[at : at + 1]) for at in range(60)])
    assert np.array_equal(alone, many[:60])
    assert model.contributions(matrix[:0]).shape == (0, FEATURES + 1)


def test_trees_for_whose_tables_there_is_no_room_are_left_to_the_library(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    matrix = rows(100, seed=3)
    for room in (0, 20_000):
        monkeypatch.setattr(leaf_tables, "MOST_BYTES", room)
        for made in (lightgbm_model(num_leaves=63), catboost_model(depth=7), xgboost_model()):
            assert 0 <= made._leaf_shares._tables()[0].trees < made.rounds
            assert np.abs(made.contributions(matrix) - library_says(made, matrix)).max() < 2e-6


def test_trees_in_which_zero_is_missing_are_left_to_the_library() -> None:
    made = lightgbm_model(zero_as_missing=True)
    assert len(read_trees(made._booster.model_to_string())) < made.rounds
    assert np.abs(made.contributions(rows(50)) - library_says(made, rows(50))).max() < 1e-12


def test_a_model_without_a_split_gives_no_feature_a_share() -> None:
    made = lightgbm_model(min_data_in_leaf=2_000)
    assert not made.contributions(rows(40))[:, :-1].any()
    assert np.allclose(made.contributions(rows(40))[:, -1], made.predict_margin(rows(40)))


def test_every_leaf_is_in_one_group_and_no_group_has_too_many_combinations() -> None:
    trees = read_trees(lightgbm_model(num_leaves=31)._booster.model_to_string())
    bins = Bins(trees, FEATURES)
    for tree in trees:
        groups = grouped_leaves(leaves_of(tree, bins))
        assert sorted(leaf.value for group in groups for leaf in group.leaves) == sorted(tree.values)
        assert all(len(group.leaves) == 1 or group.combinations <= 1_024 for group in groups)


def test_a_value_falls_where_the_library_would_send_it() -> None:
    threshold = 0.1  # no float32, and the nearest one lies above it
    assert float(np.float32(threshold)) > threshold > float(at_most(threshold))
    split = Split(at_most(threshold), missing_left=True)
    tree = Tree([0], [(~0, ~1)], [2.0], [split], [1.0, -1.0], [1.0, 1.0])
    bins = Bins([tree], 1)
    matrix = np.array([[0.1], [0.09], [np.nan], [np.inf], [-np.inf]], dtype=np.float32)
    assert bins.sides(0, split)[bins.place(matrix, 0)].tolist() == [False, True, True, False, True]
