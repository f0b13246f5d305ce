"""Say what was measured of a model, part by part: the tables, curves and counts of its report.

Shares and rates are in [0, 1], seconds in `…_s` and `seconds`. A "row" is a row of the table; "flagged" rows score at
or above the threshold. Where the fields of a class are those of a table of figures, the function that measures them
says how: `evaluation/metrics.py`, `evaluation/segments.py`, `profiling/parts.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from ecluse.typed_json import optional

REPORT_FILE: Final = "performance.json"

FORMAT: Final = 1

Interval = tuple[float, float]

Verdict = Literal["same", "moved", "far"]

#: The population stability index from which a column has moved, and is far: the usual reading (Siddiqi, Credit Risk
#: Scorecards, 2006).
MOVED: Final = 0.1

FAR: Final = 0.25

#: Why the model in use was, or was not, fitted on all rows after it was measured.
Refit = Literal["done", "unwanted", "all_learned", "many_rows", "slow_features", "budget"]


@dataclass(frozen=True)
class BlendMember:
    """A model of the blend. `rounds` are boosting rounds, `weight` its share of the whole."""

    name: str
    family: str
    params: dict[str, Any]
    rounds: int
    weight: float
    validation_average_precision: float


@dataclass(frozen=True)
class OutOfFold:
    """How the blend ranks the rows that each fold held out; `draws`: how often folds were drawn."""

    average_precision: float
    interval: Interval
    folds: int
    draws: int
    rows: int
    frauds: int


@dataclass(frozen=True)
class Doubt:
    """Figures too good to be believed, and the columns (name, share of the importance) most responsible."""

    average_precision: float
    columns: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Confusion:
    """Measured rows by outcome and flag: true and false positives, false and true negatives."""

    tp: int
    fp: int
    fn: int
    tn: int

    @property
    def flagged(self) -> int:
        return self.tp + self.fp

    @property
    def frauds(self) -> int:
        return self.tp + self.fn

    @property
    def legitimate(self) -> int:
        return self.fp + self.tn

    @property
    def rows(self) -> int:
        return self.frauds + self.legitimate


@dataclass(frozen=True)
class Cost:
    """What 1,000 rows cost, in the currency of the goal: with the alerts of the threshold, with none, with all."""

    per_1000_rows: float
    per_1000_rows_without_alerts: float
    per_1000_rows_with_all_alerts: float


@dataclass(frozen=True)
class PrecisionRecallPoint:
    recall: float
    precision: float
    threshold: float


@dataclass(frozen=True)
class RocPoint:
    """Shares of the legitimate rows (`fpr`) and of the frauds (`tpr`) that a threshold flags."""

    fpr: float
    tpr: float


@dataclass(frozen=True)
class CalibrationBin:
    """Mean probability and observed share of fraud of so many rows with scores alike."""

    predicted: float
    observed: float
    rows: int


@dataclass(frozen=True)
class Curves:
    """The curves of the measured rows; each is empty where a report has none."""

    pr: tuple[PrecisionRecallPoint, ...] = ()
    roc: tuple[RocPoint, ...] = ()
    calibration: tuple[CalibrationBin, ...] = ()


@dataclass(frozen=True)
class ScoreBin:
    """Measured rows with a probability in [low, high), by outcome."""

    low: float
    high: float
    legitimate: int
    fraud: int


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """What chance and the best single feature reach on the measured rows; old reports name no column."""

    fraud_rate: float
    best_feature: str
    best_column: str | None = optional()
    best_feature_average_precision: float


@dataclass(frozen=True)
class Importance:
    """The share of all contributions to the score that is of one feature, made of one column."""

    column: str
    feature: str
    share: float


@dataclass(frozen=True, kw_only=True)
class TriedModel:
    """Settings that were tried. `rounds` are those of each fold; `seconds` of work, of all folds together."""

    name: str | None = optional()
    family: str
    params: dict[str, Any]
    validation_average_precision: float
    seconds: float
    rounds: tuple[int, ...] | int | None = optional()
    cut_short: bool | None = optional()


@dataclass(frozen=True)
class GiveawayColumn:
    """A column that gives the label away; `kept`: a person wants it to be learned from all the same."""

    column: str
    reason: str
    kept: bool


@dataclass(frozen=True)
class DroppedColumn:
    """A column, or a feature of it, that the model does not see."""

    column: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Group:
    """Rows with one value of a column, or with a number in [low, high], among which less fraud is found."""

    column: str
    value: Any = None
    low: float | None = optional()
    high: float | None = optional()
    rows: int
    frauds: int
    found: int
    recall: float | None
    alerts: int
    precision: float | None


@dataclass(frozen=True)
class Period:
    """The figures of an hour, day, week, month, quarter or year (`period`, as Polars writes it) from `start` on."""

    start: str
    period: str
    rows: int
    frauds: int
    found: int
    recall: float | None
    alerts: int
    precision: float | None
    average_precision: float | None


@dataclass(frozen=True)
class Repeated:
    """Measured rows that equal a row learned from, and others that do with numbers of two digits, `of` so many."""

    equal: int
    nearly: int
    of: int


@dataclass(frozen=True)
class LabelSuspects:
    """Measured rows whose label the scores speak against; `how` says by which rule."""

    legitimate: int
    fraud: int
    rows: int
    how: str


@dataclass(frozen=True)
class ColumnDrift:
    """How one column moved. `noise` is the index that chance alone stays below 19 times of 20.

    `verdict` is "same" where the index is below 0.1 or within the noise, "far" from 0.25 on. `new_levels` are the
    most frequent values that the training rows did not hold, with their share of today's rows.
    """

    column: str
    kind: str
    index: float
    noise: float
    verdict: Verdict
    missing_before: float
    missing_now: float
    new_levels: tuple[tuple[str, float], ...] = ()
    importance: float | None = None


@dataclass(frozen=True)
class SplitFacts:
    """How rows were divided. `cuts`: where validation and test begin, as ISO 8601 or as the number it is."""

    kind: str
    description: str
    cuts: tuple[str, ...] | None = None


@dataclass(frozen=True)
class TrainingEffort:
    """How much was tried, with how much time and processor (`clock.Effort`)."""

    budget_s: float
    wall_s: float
    work_s: float
    processor_s: float
    processor_share: float
    folds: int
    candidates: int
    candidates_begun: int
    candidates_planned: int
    rounds: int
    cut_short: tuple[str, ...]
    ended: Literal["complete", "budget", "asked"]
