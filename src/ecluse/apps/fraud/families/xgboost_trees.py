"""Read the trees of an XGBoost model from its JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ecluse.apps.fraud.families.trees import Split, Tree, just_below


def read_trees(content: bytes) -> list[Tree]:
    """Return the trees of a model of numbers, one a round."""
    model = json.loads(content)["learner"]["gradient_booster"]["model"]
    return [_tree(facts) for facts in model["trees"]]


def _tree(facts: Mapping[str, Sequence[Any]]) -> Tree:
    """Convert one tree; nodes that split and leaves are numbered apart, both in the order of the model."""
    inner = [node for node, left in enumerate(facts["left_children"]) if left >= 0]
    leaves = [node for node, left in enumerate(facts["left_children"]) if left < 0]
    places = {node: place for place, node in enumerate(inner)} | {
        node: ~place for place, node in enumerate(leaves)
    }
    conditions, covers = facts["split_conditions"], facts["sum_hessian"]
    return Tree(
        features=[facts["split_indices"][node] for node in inner],
        children=[
            (places[facts["left_children"][node]], places[facts["right_children"][node]]) for node in inner
        ],
        covers=[covers[node] for node in inner],
        # What is below the condition goes left. A condition is told in as many digits as make the same float32.
        splits=[
            Split(just_below(np.float32(conditions[node])), missing_left=bool(facts["default_left"][node]))
            for node in inner
        ],
        values=[float(np.float32(conditions[node])) for node in leaves],
        leaf_covers=[covers[node] for node in leaves],
    )
