"""Read the trees of a fitted model of any family as plain nodes over binned features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ecluse.apps.fraud.families import Floats, Matrix

Sides = NDArray[np.bool_]


@dataclass(frozen=True)
class Tree:
    """A binary tree: node 0 is the root, and a child below 0 is the leaf ~child.

    Of each node there are its `features` (a position), its `children` (left, right), its `covers` (how many training
    rows came by, or their weight) and in `splits` what `Bins.sides` makes of it; of each leaf its `values` (log-odds)
    and `leaf_covers`.
    """

    features: Sequence[int]
    children: Sequence[tuple[int, int]]
    covers: Sequence[float]
    splits: Sequence[Split]
    values: Sequence[float]
    leaf_covers: Sequence[float]

    def cover(self, child: int) -> float:
        """Return the training rows that came to a child."""
        return self.covers[child] if child >= 0 else self.leaf_covers[~child]


@dataclass(frozen=True)
class Split:
    """What goes left: values up to `threshold`, or whole numbers in `levels`; and whether missing values do."""

    threshold: np.float32 = field(default_factory=lambda: np.float32(0))
    levels: frozenset[int] | None = None
    missing_left: bool = False


class Bins:
    """The ranges of each feature within which a model's trees tell no values apart; the last bin is of missing ones.

    Bin i holds the values up to edge i that are above the edge before.
    """

    def __init__(self, trees: Sequence[Tree], features: int) -> None:
        thresholds: list[set[np.float32]] = [set() for _ in range(features)]
        for tree in trees:
            for feature, split in zip(tree.features, tree.splits, strict=True):
                thresholds[feature].update(_edges(split))
        self._edges = [np.array(sorted(each), dtype=np.float32) for each in thresholds]

    def __len__(self) -> int:
        return len(self._edges)

    def count(self, feature: int) -> int:
        """Return how many bins a feature has."""
        return len(self._edges[feature]) + 2

    def place(self, matrix: Matrix, feature: int) -> NDArray[np.intp]:
        """Return the bin of each row, (rows,)."""
        values = np.ascontiguousarray(matrix[:, feature])
        places = np.searchsorted(self._edges[feature], values)
        places[np.isnan(values)] = len(self._edges[feature]) + 1
        return places

    def sides(self, feature: int, split: Split) -> Sides:
        """Return the bins of a feature whose values go left, (bins,)."""
        edges = self._edges[feature]
        if split.levels is None:
            left = np.append(edges <= split.threshold, False)
        else:
            # A value counts as the level that is left when its decimals are cut off: from above -1 to below 1 as 0.
            left = np.isin(np.append(np.trunc(edges), np.inf), list(split.levels))
        return np.append(left, split.missing_left)


def _edges(split: Split) -> Iterator[np.float32]:
    if split.levels is None:
        yield split.threshold
        return
    for level in split.levels:
        yield np.float32(-1) if level == 0 else just_below(level)
        yield just_below(level + 1)


def just_below(value: float | np.float32) -> np.float32:
    """Return the greatest of the values below a number that a matrix can hold."""
    return np.float32(np.nextafter(np.float32(value), np.float32(-np.inf)))


def at_most(value: float) -> np.float32:
    """Return the greatest of the values up to a number that a matrix can hold."""
    with np.errstate(over="ignore"):
        rounded = np.float32(value)
    return just_below(rounded) if float(rounded) > value else rounded


def leaf_paths(tree: Tree) -> Iterator[tuple[int, list[tuple[int, bool]]]]:
    """Return each leaf with the nodes above it, from the root, and whether it lies left of them."""
    waiting: list[tuple[int, list[tuple[int, bool]]]] = [(0 if tree.features else ~0, [])]
    while waiting:
        place, path = waiting.pop()
        if place < 0:
            yield ~place, path
            continue
        left, right = tree.children[place]
        waiting += [(right, [*path, (place, False)]), (left, [*path, (place, True)])]


def as_floats(text: str) -> Floats:
    """Return numbers that stand in a row with blanks between."""
    return np.array(text.split(), dtype=np.float64)
