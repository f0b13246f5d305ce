"""Share out the log-odds of many rows among the features of trees, by tables of their leaves.

What a leaf adds to the share of a feature (SHAP values, path-dependent: Lundberg et al. 2020) depends only on which
of the conditions above it a row meets. So the leaves of a tree are put into groups whose conditions concern few
features, and for each combination of ranges of these features the shares are computed once. A row looks up one
combination for each group, instead of walking down all paths as the libraries do.

The leaf l alone is a game whose value for a set S of features is v Π_{S} o_k Π_{not S} z_k: o_k is 1 where the row
meets the conditions on feature k and else 0, z_k the share of training rows that met them. Its Shapley value for j is
v (o_j - z_j) ∫ Π_{k≠j} (t o_k + (1-t) z_k) dt over [0, 1] (the multilinear extension: Owen 1972), a polynomial that
Gauss and Legendre's points integrate exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ecluse.apps.fraud.families import Floats, Matrix
from ecluse.apps.fraud.families.leaf_groups import Leaf, grouped_leaves, leaves_of
from ecluse.apps.fraud.families.trees import Bins, Tree

#: What the tables of one model may take.
MOST_BYTES: Final = 64_000_000
#: Rows at a time: what is held of them stays in the cache of a processor.
ROWS: Final = 4_096
#: So few rows are looked up one by one, in all groups at once: a call of numpy takes as long as hundreds of rows.
FEW_ROWS: Final = 16
_BITS: Final = 32


@dataclass(frozen=True)
class GroupShares:
    """What a group of leaves adds: row i of `values` (features, combinations) to the share of feature `features[i]`.

    The combination of a row is the sum of `steps[i]` (bins,) at its bins.
    """

    features: tuple[int, ...]
    steps: tuple[NDArray[np.intp], ...]
    values: Floats


class LeafTables:
    """The shares of the leaves of so many `trees`."""

    def __init__(self, trees: int, bins: Bins, groups: Sequence[GroupShares]) -> None:
        self.trees = trees
        self._bins = bins
        sizes = [len(group.features) for group in groups]
        # One entry for each feature of each group: whose it is, and where its steps and values begin.
        self._features = np.array([feature for group in groups for feature in group.features], dtype=np.intp)
        self._group_of = np.repeat(np.arange(len(groups)), sizes)
        self._first_of = np.cumsum([0, *sizes], dtype=np.intp)[:-1]
        self._steps, self._step_at = _joined([steps for group in groups for steps in group.steps], np.intp)
        self._values, self._value_at = _joined(
            [values for group in groups for values in group.values], np.float64
        )

    def shares(self, matrix: Matrix) -> Floats:
        """(rows, features) log-odds; those of a row do not depend on the other rows."""
        shares = np.zeros((len(self._bins), len(matrix)))
        for at in range(0, len(matrix) if len(self._features) else 0, ROWS):
            part = matrix[at : at + ROWS]
            places = np.array([self._bins.place(part, feature) for feature in range(len(self._bins))])
            if len(part) <= FEW_ROWS:
                for row in range(len(part)):
                    shares[:, at + row] = self._share_row(places[:, row])
            else:
                self._add(places, shares[:, at : at + ROWS])
        return np.ascontiguousarray(shares.T)

    def _share_row(self, places: NDArray[np.intp]) -> Floats:
        """Return the shares (features,) of a row by its bins: the same sums as `_add`, in the same order."""
        steps = self._steps[self._step_at[:-1] + places[self._features]]
        reached = np.add.reduceat(steps, self._first_of)[self._group_of]
        values: Floats = self._values[self._value_at[:-1] + reached]
        shares: Floats = np.bincount(self._features, values, minlength=len(self._bins)).astype(np.float64)
        return shares

    def _add(self, places: NDArray[np.intp], shares: Floats) -> None:
        """Add to the shares (features, rows) of some rows, by their bins (features, rows)."""
        entries = range(len(self._features))
        for first, end in zip(self._first_of, [*self._first_of[1:], len(entries)], strict=True):
            reached = np.zeros(places.shape[1], dtype=np.intp)
            for entry in entries[first:end]:
                steps = self._steps[self._step_at[entry] : self._step_at[entry + 1]]
                reached += steps.take(places[self._features[entry]])
            for entry in entries[first:end]:
                values = self._values[self._value_at[entry] : self._value_at[entry + 1]]
                shares[self._features[entry]] += values.take(reached)


def leaf_tables(trees: Sequence[Tree], features: int) -> LeafTables:
    """Return the tables of the first trees, as many as `MOST_BYTES` hold."""
    bins = Bins(trees, features)
    groups: list[GroupShares] = []
    room = MOST_BYTES
    for number, tree in enumerate(trees):
        leaves = grouped_leaves(leaves_of(tree, bins))
        room -= sum(group.table_bytes for group in leaves)
        if room < 0:
            return LeafTables(number, bins, groups)
        groups += [group_shares(group.leaves, bins) for group in leaves]
    return LeafTables(len(trees), bins, groups)


def _joined(parts: Sequence[NDArray[Any]], kind: type) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Return arrays one after the other, and where each begins, and the last ends."""
    ends = np.cumsum([0, *(len(part) for part in parts)], dtype=np.intp)
    return np.concatenate([np.empty(0, kind), *parts], dtype=kind), ends


def group_shares(leaves: Sequence[Leaf], bins: Bins) -> GroupShares:
    """Compute what each combination of ranges adds to the share of each feature."""
    features = tuple(sorted({feature for leaf in leaves for feature in leaf.sides}))
    points, weights = _quadrature(max(len(leaf.sides) for leaf in leaves))
    values = np.array([leaf.value for leaf in leaves])
    parts = (values[:, None] * weights).reshape(-1, 1)
    ranges, ratios, steps = [], [], []
    for feature in features:
        met, rates, inverse = _ranges(leaves, feature, bins.count(feature))
        missed = (1 - points) * rates[:, None]
        factors = np.where(met[:, None, :], (points + missed)[:, :, None], missed[:, :, None])
        gained = ((1 - rates)[:, None] / (points + missed))[:, :, None]
        # (o - z) over the factor: where the row does not meet the conditions, z cancels.
        ratios.append(
            np.where(met[:, None, :], gained, (-1 / (1 - points))[None, :, None]).reshape(len(parts), -1)
        )
        ranges.append(met.shape[1])
        steps.append(inverse)
        parts = (parts[:, :, None] * factors.reshape(len(parts), 1, -1)).reshape(len(parts), -1)
    strides = np.cumprod([1, *ranges[:0:-1]])[::-1]
    shares = np.empty((len(features), parts.shape[1]))
    for number, ratio in enumerate(ratios):
        shape = (len(parts), -1, ranges[number], int(strides[number]))
        shares[number] = (parts.reshape(shape) * ratio[:, None, :, None]).sum(axis=0).ravel()
    return GroupShares(features, tuple(s * int(n) for s, n in zip(steps, strides, strict=True)), shares)


def _ranges(
    leaves: Sequence[Leaf], feature: int, bins: int
) -> tuple[NDArray[np.bool_], Floats, NDArray[np.intp]]:
    """Return which ranges of a feature meet each leaf's conditions, (leaves, ranges), the rate of training rows that
    do, (leaves,), and the range of each bin. Bins that no leaf tells apart are one range."""
    anything = np.ones(bins, dtype=np.bool_)
    sides = [leaf.sides.get(feature, anything) for leaf in leaves]
    code = np.zeros(bins, dtype=np.int64)
    for number, side in enumerate({side.tobytes(): side for side in sides}.values(), start=1):
        code = code * 2 + side
        if number % _BITS == 0:  # no number is that long: those in use are counted anew, and there are few
            _, code = np.unique(code, return_inverse=True)
    _, first, inverse = np.unique(code, return_index=True, return_inverse=True)
    rates = np.array([leaf.rates.get(feature, 1.0) for leaf in leaves])
    return np.array([side[first] for side in sides]), rates, inverse


@cache
def _quadrature(features: int) -> tuple[Floats, Floats]:
    """Return points in (0, 1) and weights that integrate a product over all but one of so many features exactly."""
    points, weights = np.polynomial.legendre.leggauss((features + 1) // 2)
    return (points + 1) / 2, weights / 2
