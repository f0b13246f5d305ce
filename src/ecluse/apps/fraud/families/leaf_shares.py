"""Share out the log-odds of rows among the features of a model, by tables of its leaves made once.

The sums are exact, as those of the libraries are: they differ by some 1e-15 from LightGBM's and CatBoost's, by 1e-6
from XGBoost's, which adds up in single precision. Whoever asks for one row gets what the same row gets among many.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from ecluse.apps.fraud.families import Floats, Matrix
from ecluse.apps.fraud.families.leaf_tables import LeafTables, leaf_tables
from ecluse.apps.fraud.families.trees import Tree

#: Rows the library is asked for at a time: it holds (features + 1) doubles of each.
ASKED_ROWS: Final = 10_000


class LeafShares:
    """The shares of the leaves of a model, read and computed when they are first asked for.

    `ask` gives the library's own shares, (rows, features + 1), from the tree of a number on: what no feature moves
    (the last column) is taken from it, and the shares of the `trees` for whose tables there is no room.
    """

    def __init__(
        self,
        read_trees: Callable[[], Sequence[Tree]],
        ask: Callable[[Matrix, int], Floats],
        *,
        trees: int,
        features: int,
    ) -> None:
        self._read_trees = read_trees
        self._ask = ask
        self._trees = trees
        self._features = features
        self._lock = threading.Lock()
        self._made: tuple[LeafTables, float] | None = None

    def contributions(self, matrix: Matrix) -> Floats:
        """(rows, features + 1) log-odds that sum to the margin; those of a row do not depend on the other rows."""
        tables, base = self._tables()
        shares = np.empty((len(matrix), self._features + 1))
        shares[:, :-1], shares[:, -1] = tables.shares(matrix), base
        if tables.trees < self._trees:
            for at in range(0, len(matrix), ASKED_ROWS):
                part = slice(at, at + ASKED_ROWS)
                shares[part, :-1] += self._ask(matrix[part], tables.trees)[:, :-1]
        return shares

    def _tables(self) -> tuple[LeafTables, float]:
        with self._lock:
            if self._made is None:
                some_row = np.zeros((1, self._features), np.float32)
                base = float(self._ask(some_row, 0)[0, -1])
                self._made = leaf_tables(self._read_trees(), self._features), base
            return self._made
