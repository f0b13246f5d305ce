"""Say what scores a table, whatever it is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.fraud.scoring.kept_scores import KeptScores
from ecluse.apps.fraud.scoring.model import ColumnCheck
from ecluse.apps.fraud.scoring.scoring import ReasonsFor
from ecluse.tabular.dataset import Table

Floats = NDArray[np.float64]


class Scorer(Protocol):
    """What scores rows: the same score for the same row, whatever the batch and the order."""

    @property
    def required_columns(self) -> tuple[str, ...]: ...

    def check(self, columns: Sequence[str]) -> ColumnCheck:
        """Return how a table's columns meet those that are required, by exact name."""
        ...

    def score_frame(self, raw: pl.DataFrame, reasons_for: ReasonsFor | None = "risky") -> pl.DataFrame:
        """Return the scores of raw rows. Raises ColumnsMissing."""
        ...

    def scores_of(self, scored: pl.DataFrame) -> Floats:
        """(rows,) what orders rows that were scored, on the scale of the version's threshold."""
        ...

    def stated_of(self, scored: pl.DataFrame) -> Floats:
        """(rows,) the same order on a scale to learn from: its mean is the rate of fraud held to be true."""
        ...

    def opinions_of(self, raw: pl.DataFrame) -> Floats | None:
        """(rows, members) what each member of an ensemble says of raw rows, in log-odds; None with fewer than two."""
        ...

    def score_table(
        self,
        table: Table,
        *,
        reasons_for: ReasonsFor | None = "risky",
        columns: Mapping[str, str] | None = None,
        progress: Callable[[int], None] | None = None,
        kept: KeptScores | None = None,
    ) -> Iterator[pl.DataFrame]:
        """Return the scores of a table, batch by batch. `columns` {ours: theirs} names columns otherwise.

        What is `kept` is not scored again.

        Raises ColumnsMissing; InvalidInput for columns that do not exist.
        """
        ...


@dataclass(frozen=True)
class AlertingScorer:
    """How a version scores, and the score from which it alerts."""

    scorer: Scorer
    threshold: float
