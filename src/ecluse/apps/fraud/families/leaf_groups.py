"""Put the leaves of a tree into groups whose conditions concern few ranges of few features."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from ecluse.apps.fraud.families.trees import Bins, Sides, Tree, leaf_paths

#: Combinations of ranges that a group may have: its table stays in the cache of a processor.
COMBINATIONS: Final = 1_024
_NONE: Final[frozenset[bytes]] = frozenset()


@dataclass(frozen=True)
class Leaf:
    """A leaf: its `value` (log-odds), and of each feature above it which bins (bins,) meet all conditions on it
    (`sides`), and what share of the training rows that met the others met them (`rates`).
    """

    value: float
    sides: dict[int, Sides]
    rates: dict[int, float]


def leaves_of(tree: Tree, bins: Bins) -> Iterator[Leaf]:
    """Return the leaves of a tree from left to right; none where its root is one."""
    lefts = [bins.sides(feature, split) for feature, split in zip(tree.features, tree.splits, strict=True)]
    for number, path in leaf_paths(tree):
        sides: dict[int, Sides] = {}
        rates: dict[int, float] = {}
        for node, is_left in path:
            feature = tree.features[node]
            side = lefts[node] if is_left else ~lefts[node]
            sides[feature] = sides[feature] & side if feature in sides else side
            child = tree.cover(tree.children[node][not is_left])
            rates[feature] = rates.get(feature, 1.0) * (child / tree.covers[node] if child else 0.0)
        if path:
            yield Leaf(float(tree.values[number]), sides, rates)


@dataclass
class LeafGroup:
    """Leaves, and of each feature above them which conditions differ, and where along its bins they change, as bits."""

    leaves: list[Leaf]
    changes: dict[int, int]
    conditions: dict[int, frozenset[bytes]]

    @property
    def combinations(self) -> int:
        """Return how many combinations of ranges there are at most."""
        return math.prod(
            min(max(changes.bit_count(), 1), 2 ** len(self.conditions[feature]))
            for feature, changes in self.changes.items()
        )

    @property
    def table_bytes(self) -> int:
        """Return how much memory the shares of all combinations take at most."""
        return 8 * self.combinations * len(self.changes)

    def joined(self, other: LeafGroup) -> LeafGroup:
        changes, conditions = dict(self.changes), dict(self.conditions)
        for feature, bits in other.changes.items():
            changes[feature] = changes.get(feature, 0) | bits
            conditions[feature] = conditions.get(feature, _NONE) | other.conditions[feature]
        return LeafGroup([*self.leaves, *other.leaves], changes, conditions)


def grouped_leaves(leaves: Iterable[Leaf]) -> list[LeafGroup]:
    """Return the leaves in groups: each joins the last group that has room, as neighbours share most conditions."""
    groups: list[LeafGroup] = []
    for leaf in leaves:
        group = _group_of(leaf)
        for place in reversed(range(len(groups))):
            joined = groups[place].joined(group)
            if joined.combinations <= COMBINATIONS:
                groups[place] = joined
                break
        else:
            groups.append(group)
    return groups


def _group_of(leaf: Leaf) -> LeafGroup:
    return LeafGroup(
        [leaf],
        {feature: _changes(side) for feature, side in leaf.sides.items()},
        {feature: frozenset((side.tobytes(),)) for feature, side in leaf.sides.items()},
    )


def _changes(side: Sides) -> int:
    """Return the bins that differ from the next, as bits; the first is the next of the last."""
    bits, count = int.from_bytes(np.packbits(side, bitorder="little").tobytes(), "little"), len(side)
    return bits ^ (bits >> 1 | (bits & 1) << (count - 1))
