"""Divide scores into levels of risk: HIGH from the threshold on, MEDIUM from a second one on, LOW below both.

The first threshold serves the goal of the training. The second is set so that MEDIUM and HIGH together are
`MEDIUM_ALERTS` times as many rows as HIGH alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, get_args

from ecluse.sentences import N_

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

RiskLevel = Literal["LOW", "MEDIUM", "HIGH"]
#: From the least risk to the greatest.
LEVELS: Final[tuple[RiskLevel, ...]] = get_args(RiskLevel)
#: What pages call each.
WORDS: Final[dict[RiskLevel, str]] = {"LOW": N_("LOW"), "MEDIUM": N_("MEDIUM"), "HIGH": N_("HIGH")}
MEDIUM_ALERTS: Final = 3


@dataclass(frozen=True)
class Thresholds:
    """Scores from which the risk is HIGH and MEDIUM; `medium` is at most `high`."""

    high: float
    medium: float


def medium_alerts(high: float) -> float:
    """Return how many rows are MEDIUM or HIGH where so many are HIGH."""
    return MEDIUM_ALERTS * high


def medium_share(high: float) -> float:
    """Return the share of rows that are MEDIUM or HIGH where this share is HIGH."""
    return min(1.0, MEDIUM_ALERTS * high)


def risk_levels(name: str, high: NDArray[np.bool_], medium: NDArray[np.bool_]) -> pl.Series:
    """Name the level of each row: `high` and `medium` (rows,) say which reach the thresholds."""
    import numpy as np
    import polars as pl

    return pl.Series(name, LEVELS, dtype=pl.String)[np.where(high, 2, np.where(medium, 1, 0))]
