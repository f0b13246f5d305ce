"""Name the columns that a scoring adds, after what they hold.

A probability is called so where rows of known outcome stand behind it: those of a training, or a person's labels.
Where references judge a table without labels, the score is a `fraud_score`, and where nothing but how unusual a row
is speaks, an `anomaly_score`; rows are then picked for `review`, and nobody says that they are fraud.
Files of before have `fraud_probability` and `is_fraud` for all three: `names_of` reads both.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from ecluse.apps.fraud.performance.reports import AnyReport
from ecluse.apps.fraud.performance.trained import TrainedReport

REASONS: Final = 3


@dataclass(frozen=True)
class ScoreNames:
    """The columns of the score in [0, 1] that orders the rows, of its level in words, and of the rows picked (0, 1)."""

    score: str
    level: str
    flag: str


PROBABILITY: Final = ScoreNames("fraud_probability", "risk_level", "is_fraud")
REFERENCES: Final = ScoreNames("fraud_score", "risk_level", "review")
ANOMALY: Final = ScoreNames("anomaly_score", "anomaly_level", "review")

#: All that any scoring adds; a column of the table that is named so comes back as name_input.
SCORE_COLUMNS: Final = frozenset(
    {name for names in (PROBABILITY, REFERENCES, ANOMALY) for name in (names.score, names.level, names.flag)}
    | {f"reason_{rank}{effect}" for rank in range(1, REASONS + 1) for effect in ("", "_effect")}
    | {
        "prediction_variance",
        "prediction_stability",
        "is_anomaly",
        "combined_score",
        "fraud_probability_calibrated",
    }
)


def names_of(columns: Collection[str]) -> ScoreNames:
    """Return the names that a scored table, or a row of one, has for its score."""
    return next((names for names in (PROBABILITY, REFERENCES) if names.score in columns), ANOMALY)


def names_of_version(report: AnyReport) -> ScoreNames:
    """Return the names that a version gives its scores, from its report."""
    if isinstance(report, TrainedReport) or (report.learned is not None and report.learned.has_new_scale):
        return PROBABILITY
    return REFERENCES if report.members else ANOMALY


def kept_names(passed_on: Collection[str]) -> dict[str, str]:
    """{column of the input: its name beside the scores}; one named like a score gets `_input` behind its name."""
    renamed: dict[str, str] = {}
    for name in passed_on:
        free = name
        while free in SCORE_COLUMNS or (free != name and free in passed_on):
            free += "_input"
        renamed[name] = free
    return renamed
