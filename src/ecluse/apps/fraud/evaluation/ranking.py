"""Say exactly what any number of the riskiest rows of a scored table holds, without reading the table again."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ecluse.later import Later

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
else:
    np = Later("numpy")


#: Probabilities come rounded to six decimals: with a place for each, every count below is exact.
PLACES = 1_000_000


@dataclass(frozen=True)
class Cut:
    """So many of the riskiest rows; of rows with one score the earlier of the table come first.

    `cut` is the lowest score among them, `expected` the sum of their probabilities; `labelled` of them have a known
    label, and `found` of these are fraud. `tied` is how many rows of the table have the score `cut` where not all of
    them are taken, else 0.
    """

    alerts: int
    cut: float
    expected: float
    labelled: int
    found: int
    tied: int = 0


@dataclass(frozen=True)
class Ranking:
    """The rows of a scored table in the order of risk, as counts.

    `places` are the distinct scores in millionths, highest first, (scores,) int32; `ends` how many rows have that
    score or a higher one, (scores,) int64; `labelled` the ranks from 0 of the rows with a known label, ascending,
    (labelled,) int64; `frauds` whether such a row is fraud, (labelled,) bool.
    """

    places: NDArray[np.int32]
    ends: NDArray[np.int64]
    labelled: NDArray[np.int64]
    frauds: NDArray[np.bool_]

    @property
    def rows(self) -> int:
        """Return how many rows were scored."""
        return int(self.ends[-1]) if len(self.ends) else 0

    def cut(self, alerts: int) -> Cut:
        """Return what the `alerts` riskiest rows hold; all rows where there are fewer. At least one row is taken."""
        alerts = min(max(alerts, 1), self.rows)
        last = int(np.searchsorted(self.ends, alerts))
        counts = np.diff(self.ends[: last + 1], prepend=0)
        counts[-1] -= int(self.ends[last]) - alerts
        known = int(np.searchsorted(self.labelled, alerts))
        before = int(self.ends[last - 1]) if last else 0
        return Cut(
            alerts=alerts,
            cut=float(self.places[last] / PLACES),
            expected=round(float(counts @ self.places[: last + 1]) / PLACES, 2),
            labelled=known,
            found=int(self.frauds[:known].sum()),
            tied=int(self.ends[last]) - before if alerts < self.ends[last] else 0,
        )

    def to_bytes(self) -> bytes:
        """Return a compressed file of arrays, for `from_bytes`. Neighbours differ little, so differences are kept."""
        file = io.BytesIO()
        np.savez_compressed(
            file,
            places=-np.diff(self.places, prepend=np.int32(PLACES)),
            counts=np.diff(self.ends, prepend=0).astype(np.uint32),
            labelled=np.diff(self.labelled, prepend=0).astype(np.uint32),
            frauds=np.packbits(self.frauds),
        )
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Ranking:
        """Read the ranking that `to_bytes` wrote."""
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            labelled = np.cumsum(arrays["labelled"], dtype=np.int64)
            return cls(
                places=(PLACES - np.cumsum(arrays["places"], dtype=np.int64)).astype(np.int32),
                ends=np.cumsum(arrays["counts"], dtype=np.int64),
                labelled=labelled,
                frauds=np.unpackbits(arrays["frauds"], count=len(labelled)).astype(np.bool_),
            )


class RankingCounter:
    """Counts the scores of a table as its batches come, and where the rows with a known label stand among them."""

    def __init__(self) -> None:
        self._counts = np.zeros(PLACES + 1, dtype=np.int64)
        self._labelled: list[tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.bool_]]] = []

    def add(self, places: NDArray[np.int32], labels: NDArray[np.int8] | None, unknown: int) -> None:
        """Count the next rows: their scores in millionths, and their labels 0, 1 or `unknown`, (rows,) each."""
        distinct, first, counts = np.unique(np.sort(places), return_index=True, return_counts=True)
        if labels is not None and (labels != unknown).any():
            in_order = np.argsort(places, kind="stable")
            # How many rows of the same score came before each, in this batch and in those before it.
            earlier = np.empty(len(places), dtype=np.int64)
            earlier[in_order] = np.arange(len(places)) - np.repeat(first, counts)
            earlier += self._counts[places]
            known = labels != unknown
            self._labelled.append((places[known], earlier[known], labels[known] == 1))
        self._counts[distinct] += counts

    def ranking(self) -> Ranking:
        """Return the ranking of all rows counted so far."""
        places = np.flatnonzero(self._counts)[::-1]
        ends = np.cumsum(self._counts[places])
        labelled, frauds = self._ranks(np.concatenate([[0], ends]), places)
        return Ranking(places.astype(np.int32), ends, labelled, frauds)

    def _ranks(
        self, above: NDArray[np.int64], places: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        if not self._labelled:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.bool_)
        held = np.concatenate([part[0] for part in self._labelled])
        earlier = np.concatenate([part[1] for part in self._labelled])
        frauds = np.concatenate([part[2] for part in self._labelled])
        ranks = above[np.searchsorted(-places, -held.astype(np.int64))] + earlier
        order = np.argsort(ranks)
        return ranks[order], frauds[order]
