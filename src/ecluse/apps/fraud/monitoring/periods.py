"""Count rows by period of time, in bounded memory: by day, or by several days together where there are too many."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Periods:
    """Counts by period, at most `most` of them: when there are more days, they are taken together.

    `add` takes the day of each row (days since 1970) and, for each thing counted, the rows it is true of and its
    place among the `width` numbers kept per period.
    """

    def __init__(self, most: int, width: int) -> None:
        self.days = 1
        self.held: dict[int, Counts] = {}
        self._most, self._width = most, width

    def add(self, day: Counts, counted: Sequence[tuple[NDArray[np.bool_] | None, Counts]]) -> None:
        keys, which = np.unique(day // self.days, return_inverse=True)
        totals = np.zeros(len(keys) * self._width, dtype=np.int64)
        for true, places in counted:
            flat = which * self._width + places
            totals += np.bincount(flat if true is None else flat[true], minlength=len(totals))
        for key, row in zip(keys.tolist(), totals.reshape(len(keys), self._width), strict=True):
            self.held[key] = self.held[key] + row if key in self.held else row.copy()
        while len(self.held) > self._most:
            self._coarsen(7 if self.days == 1 else 2)

    def each(self) -> list[tuple[str, str, Counts]]:
        """(first day, last day, counts) in the order of time, as ISO 8601."""
        return [
            (_iso(key * self.days), _iso((key + 1) * self.days - 1), row)
            for key, row in sorted(self.held.items())
        ]

    def _coarsen(self, times: int) -> None:
        merged: dict[int, Counts] = {}
        for key, row in self.held.items():
            into = key // times
            merged[into] = merged[into] + row if into in merged else row
        self.held, self.days = merged, self.days * times


def _iso(day: int) -> str:
    return (_EPOCH + timedelta(days=day)).date().isoformat()
