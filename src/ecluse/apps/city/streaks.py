"""Find streaks: hours in a row for which something holds."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


def streaks(holds: NDArray[np.bool_], least: int = 1) -> Iterator[tuple[int, int, int]]:
    """(row, first hour, hour after the last) of every spell of at least `least` hours in a (rows, hours) grid."""
    edges = np.diff(np.pad(holds.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    rows, begins = np.nonzero(edges == 1)
    _, ends = np.nonzero(edges == -1)
    for row, begin, end in zip(rows.tolist(), begins.tolist(), ends.tolist(), strict=True):
        if end - begin >= least:
            yield row, begin, end


def longest_streaks(holds: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(rows,): how many hours the longest spell of each row has; 0 where there is none."""
    longest = np.zeros(holds.shape[0], dtype=np.int64)
    running = np.zeros(holds.shape[0], dtype=np.int64)
    for hour in range(holds.shape[1]):
        running = np.where(holds[:, hour], running + 1, 0)
        longest = np.maximum(longest, running)
    return longest
