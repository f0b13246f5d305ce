"""Read the symmetric trees of a CatBoost model from its JSON."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ecluse.apps.fraud.families.trees import Split, Tree


def read_trees(model: Any) -> list[Tree]:
    """Return the trees of a model of numbers; none where they are not symmetric, as ours always are."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.json"  # the library writes it nowhere else
        model.save_model(str(file), format="json")
        content = json.loads(file.read_text(encoding="utf-8"))
    missing_left = {
        feature["feature_index"]: feature["nan_value_treatment"] != "AsTrue"
        for feature in content["features_info"]["float_features"]
    }
    scale = float(content["scale_and_bias"][0])
    return [_tree(facts, missing_left, scale) for facts in content.get("oblivious_trees", ())]


def _tree(facts: Mapping[str, Sequence[Any]], missing_left: Mapping[int, bool], scale: float) -> Tree:
    """Unfold a tree. Its root asks the last of the splits, as the library does when it shares out (shap_values.cpp)."""
    weights = np.array(facts["leaf_weights"], dtype=np.float64)
    # The library passes over leaves that no training row came to.
    values = np.where(weights > 0, np.array(facts["leaf_values"]) * scale, 0.0)
    depth = len(facts["splits"] or ())
    features: list[int] = []
    covers: list[float] = []
    splits: list[Split] = []
    for level, split in enumerate(reversed(facts["splits"] or ())):
        feature = int(split["float_feature_index"])
        asked = Split(np.float32(split["border"]), missing_left=missing_left[feature])
        features += [feature] * 2**level
        splits += [asked] * 2**level
        covers += weights.reshape(2**level, -1).sum(axis=1).tolist()
    inner = 2**depth - 1

    def place(number: int) -> int:
        return number if number < inner else ~(number - inner)

    children = [(place(2 * node + 1), place(2 * node + 2)) for node in range(inner)]
    return Tree(features, children, covers, splits, values.tolist(), weights.tolist())
