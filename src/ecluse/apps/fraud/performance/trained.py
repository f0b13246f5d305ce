"""The report of a version that was trained on labels, or imported.

A `TrainingReport` is what a training of this release writes: nothing is missing. A `TrainedReport` is what a stored
version may say: releases before wrote fewer fields, a version that learned from labels keeps only those that stay
true, and one that was imported says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from ecluse.apps.fraud.goal import Goal
from ecluse.apps.fraud.performance.learned import Learned
from ecluse.apps.fraud.performance.parts import (
    FORMAT,
    Baseline,
    BlendMember,
    ColumnDrift,
    Confusion,
    Cost,
    Curves,
    Doubt,
    DroppedColumn,
    GiveawayColumn,
    Group,
    Importance,
    Interval,
    LabelSuspects,
    OutOfFold,
    Period,
    Refit,
    Repeated,
    ScoreBin,
    SplitFacts,
    TrainingEffort,
    TriedModel,
)
from ecluse.apps.fraud.risk import Thresholds
from ecluse.typed_json import optional


@dataclass(frozen=True, kw_only=True)
class TrainedReport:
    """What the report of a stored version that was trained, or imported, may say; what it does not is None or empty.

    `positive_value` of the column `target` means fraud, `positive_share` of the rows for `positive_reason`. Figures
    are of the rows of `measured_on`: the test part, or those that each fold held out. `rows`, `fraud_rate` and
    `distinct_frauds` are by part (train, validation, test); `frauds_repeat` says that equal frauds stand there more
    than once. `refitted`: the model in use was fitted once more on all rows, `refit` why or why not. `held_out` rows
    were kept from a retraining to compare with. `tested_rows` is a digest of which rows were tested, the same for
    every upload of a table. `simulated`: nothing here says anything of real fraud.
    """

    format: int = FORMAT
    target: str | None = optional()
    positive_value: str | None = optional()
    positive_share: float | None = optional()
    positive_reason: str | None = optional()
    family: str | None = optional()
    params: dict[str, Any] | None = optional()
    members: tuple[BlendMember, ...] = optional(())
    out_of_fold: OutOfFold | None = optional()
    fitted_on: tuple[str, ...] | None = optional()
    measured_on: Literal["test", "folds"] | None = optional()
    metrics: dict[str, float | None] = field(default_factory=dict)
    doubt: Doubt | None = optional()
    intervals: dict[str, Interval] | None = optional()
    threshold: float | None = optional()
    goal: Goal | None = optional()
    confusion: Confusion | None = optional()
    cost: Cost | None = optional()
    curves: Curves | None = optional()
    histogram: tuple[ScoreBin, ...] = optional(())
    baseline: Baseline | None = optional()
    importances: tuple[Importance, ...] = optional(())
    leaderboard: tuple[TriedModel, ...] = optional(())
    giveaways: tuple[GiveawayColumn, ...] = optional(())
    dropped: tuple[DroppedColumn, ...] = optional(())
    warnings: tuple[str, ...] = ()
    groups: tuple[Group, ...] = optional(())
    periods: tuple[Period, ...] = optional(())
    repeated: Repeated | None = optional()
    contradicted_frauds: int | None = optional()
    label_suspects: LabelSuspects | None = optional()
    drift: tuple[ColumnDrift, ...] = optional(())
    rows: dict[str, int] = field(default_factory=dict)
    fraud_rate: dict[str, float | None] = field(default_factory=dict)
    frauds_repeat: bool | None = optional()
    distinct_frauds: dict[str, int] | None = optional()
    split: SplitFacts | None = optional()
    features: int | None = optional()
    budget_s: float | None = optional()
    seed: int | None = optional()
    versions: dict[str, str] | None = optional()
    simulated: bool | None = optional()
    medium_threshold: float | None = optional()
    level_thresholds: dict[str, float] | None = optional()
    calibration: str | None = optional()
    refitted: bool | None = optional()
    refit: str | None = optional()
    tested_rows: str | None = optional()
    seconds: float | None = optional()
    effort: TrainingEffort | None = optional()
    held_out: int | None = optional()
    score: str | None = optional()
    required_columns: tuple[str, ...] = optional(())
    learned: Learned | None = optional()

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns that the model reads, as far as it says: the most important first."""
        return tuple(dict.fromkeys([*(item.column for item in self.importances), *self.required_columns]))

    @property
    def thresholds(self) -> Thresholds:
        """Return the least score of each level of risk, of a version that has thresholds."""
        return Thresholds.read(vars(self))

    @property
    def is_from_folds(self) -> bool:
        """Tell whether all rows were learned from, and the figures are of those that each fold held out."""
        return self.measured_on == "folds"


@dataclass(frozen=True, kw_only=True)
class TrainingReport(TrainedReport):
    """What a training of this release measured and did: nothing is missing.

    `positive_value` of the column `target` means fraud, `positive_share` of the rows, because of `positive_reason`.
    `params` are those of the model where it is one, `members` those of a blend. Figures are of the rows of
    `measured_on`. `cost` is that of a goal of cost. `level_thresholds` are the probabilities from which each
    level of risk is reached, by its key; `medium_threshold` is that of MEDIUM. `calibration` is the method that makes
    probabilities of margins. `contradicted_frauds` equal a row that is labelled legitimate. `features` is how many
    the model reads.
    """

    # `field()` makes a field required again that has a default above.
    target: str = field()
    positive_value: str = field()
    positive_share: float = field()
    positive_reason: str = field()
    family: str = field()
    params: dict[str, Any] = field()
    members: tuple[BlendMember, ...] = field()
    out_of_fold: OutOfFold = field()
    fitted_on: tuple[str, ...] = field()
    measured_on: Literal["test", "folds"] = field()
    metrics: dict[str, float] = field()  # type: ignore[assignment]
    doubt: Doubt | None = field()
    intervals: dict[str, Interval] = field()
    threshold: float = field()
    goal: Goal = field()
    confusion: Confusion = field()
    cost: Cost | None = field()
    curves: Curves = field()
    histogram: tuple[ScoreBin, ...] = field()
    baseline: Baseline = field()
    importances: tuple[Importance, ...] = field()
    leaderboard: tuple[TriedModel, ...] = field()
    giveaways: tuple[GiveawayColumn, ...] = field()
    dropped: tuple[DroppedColumn, ...] = field()
    warnings: tuple[str, ...] = field()
    groups: tuple[Group, ...] = field()
    periods: tuple[Period, ...] = field()
    repeated: Repeated = field()
    contradicted_frauds: int = field()
    label_suspects: LabelSuspects = field()
    drift: tuple[ColumnDrift, ...] = field()
    rows: dict[str, int] = field()
    fraud_rate: dict[str, float] = field()  # type: ignore[assignment]
    frauds_repeat: bool = field()
    distinct_frauds: dict[str, int] = field()
    split: SplitFacts = field()
    features: int = field()
    budget_s: float = field()
    seed: int = field()
    versions: dict[str, str] = field()
    simulated: bool = field()
    medium_threshold: float = field()
    level_thresholds: dict[str, float] = field()
    calibration: str = field()
    refitted: bool = field()
    refit: Refit = field()
    tested_rows: str = field()
    seconds: float = field()
    effort: TrainingEffort = field()
