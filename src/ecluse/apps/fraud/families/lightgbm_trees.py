"""Read the trees of a LightGBM model from its text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np

from ecluse.apps.fraud.families.trees import Split, Tree, as_floats, at_most

# Bits of a node's decision (LightGBM, include/LightGBM/tree.h).
_BY_LEVELS: Final = 1
_DEFAULT_LEFT: Final = 2
_MISSING_SHIFT: Final = 2
_MISSING_NONE, _MISSING_ZERO = 0, 1


def read_trees(text: str) -> list[Tree]:
    """Return the trees of a model up to the first of a kind that ours never are: linear, or where zero is missing."""
    trees: list[Tree] = []
    for facts in _sections(text):
        tree = _tree(facts)
        if tree is None:
            break
        trees.append(tree)
    return trees


def _sections(text: str) -> Iterator[dict[str, str]]:
    """Return the facts of each tree by their names."""
    body = text.partition("\nend of trees")[0]
    for section in body.split("\nTree=")[1:]:
        yield dict(line.split("=", 1) for line in section.splitlines()[1:] if "=" in line)


def _tree(facts: Mapping[str, str]) -> Tree | None:
    if facts.get("is_linear", "0") != "0":
        return None
    values = as_floats(facts["leaf_value"]).tolist()
    if len(values) == 1:
        return Tree((), (), (), (), values, (1.0,))
    decisions = as_floats(facts["decision_type"]).astype(int).tolist()
    if any(
        decision >> _MISSING_SHIFT == _MISSING_ZERO and not decision & _BY_LEVELS for decision in decisions
    ):
        return None
    thresholds = as_floats(facts["threshold"]).tolist()
    return Tree(
        features=[int(feature) for feature in facts["split_feature"].split()],
        children=list(zip(_whole(facts["left_child"]), _whole(facts["right_child"]), strict=True)),
        covers=as_floats(facts["internal_count"]).tolist(),
        splits=[
            Split(levels=_levels(facts, int(threshold)))
            if decision & _BY_LEVELS
            else _numeric(decision, threshold)
            for decision, threshold in zip(decisions, thresholds, strict=True)
        ],
        values=values,
        leaf_covers=as_floats(facts["leaf_count"]).tolist(),
    )


def _numeric(decision: int, threshold: float) -> Split:
    # Where none was missing in training, a missing value counts as 0.
    missing_left = (
        threshold >= 0 if decision >> _MISSING_SHIFT == _MISSING_NONE else bool(decision & _DEFAULT_LEFT)
    )
    return Split(at_most(threshold), missing_left=missing_left)


def _levels(facts: Mapping[str, str], number: int) -> frozenset[int]:
    """Return the levels that go left, which a model keeps as the bits of 32-bit words."""
    bounds = _whole(facts["cat_boundaries"])
    words = np.array(_whole(facts["cat_threshold"])[bounds[number] : bounds[number + 1]], dtype="<u4")
    return frozenset(np.flatnonzero(np.unpackbits(words.view(np.uint8), bitorder="little")).tolist())


def _whole(text: str) -> list[int]:
    return [int(number) for number in text.split()]
