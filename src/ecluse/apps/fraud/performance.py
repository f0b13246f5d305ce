"""Read and write the report of a model, `performance.json`: what was measured of it, and how it came to be.

    report = read_report(version.report)           # TrainedReport | EnsembleReport, of any release
    precision = report.metrics.get("precision")

A `TrainingReport` is what a training of this release writes: nothing is missing. A `TrainedReport` is what a stored
version may say: releases before wrote fewer fields, a version that learned from labels keeps only those that stay
true, and one that was imported says nothing. An `EnsembleReport` is that of an ensemble, made without labels.

Shares and rates are in [0, 1], seconds in `…_s` and `seconds`. A "row" is a row of the table; "flagged" rows score at
or above the threshold. Where the fields of a class are those of a table of figures, the function that measures them
says how: `fraud/evaluation.py`, `fraud/segments.py`, `fraud/parts.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from ecluse.apps.fraud.goal import Goal
from ecluse.errors import UnreadableRecord
from ecluse.sentences import _, pack
from ecluse.typed_json import optional, read, write

REPORT_FILE: Final = "performance.json"
FORMAT: Final = 1
#: `kind` of a model that was made of reference models, without labels.
ENSEMBLE: Final = "ensemble"

Interval = tuple[float, float]
Verdict = Literal["same", "moved", "far"]
#: The population stability index from which a column has moved, and is far: the usual reading (Siddiqi, Credit Risk
#: Scorecards, 2006).
MOVED: Final = 0.1
FAR: Final = 0.25
#: How labels changed a model: nothing, its scale, or its scale and the order of rows.
LearnedWay = Literal["kept", "recalibrated", "corrected"]
#: Why the model in use was, or was not, fitted on all rows after it was measured.
Refit = Literal["done", "unwanted", "all_learned", "many_rows", "slow_features", "budget"]


# Parts of the report of a training


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


# What labels taught a version


@dataclass(frozen=True)
class LabelledFigure:
    """A share with its 95 % interval; `telling` where the interval is narrow enough to say something."""

    value: float
    low: float
    high: float
    telling: bool | None = optional()


@dataclass(frozen=True)
class LabelledFigures:
    """What labels tell of a version at its threshold; None: they do not tell it yet, `notes` say why."""

    labels: int
    frauds: int
    threshold: float
    precision: LabelledFigure | None
    recall: LabelledFigure | None
    average_precision: LabelledFigure | None
    fraud_rate: LabelledFigure | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class CorrectedOrder:
    """Average precision of the old and of the corrected order on labels that neither had seen.

    `sure` is the share of resamples in which the corrected one wins; `unseen` is of the whole table, as far as is
    known what each label stands for.
    """

    model: float
    corrected: float
    sure: float
    unseen: float


@dataclass(frozen=True)
class LearningFacts:
    """How it was learned: `by` columns, members of the ensemble or both, with a `penalty` on the weights."""

    labels: int | None = optional()
    frauds: int | None = optional()
    average_precision: CorrectedOrder | None = optional()
    way: LearnedWay | None = optional()
    by: str | None = optional()
    penalty: float | None = optional()


@dataclass(frozen=True)
class Learned:
    """What labels of a `table` (`dataset` is its id) changed in the version `source` to make this one."""

    way: LearnedWay = "kept"
    labels: int = 0
    frauds: int = 0
    report: LearningFacts = LearningFacts()
    figures: LabelledFigures | None = None
    source: str | None = optional(key="from")
    table: str | None = optional()
    dataset: str | None = optional()

    @property
    def has_new_scale(self) -> bool:
        """Whether its scores are probabilities on a scale that the labels gave."""
        return self.way != "kept"


# Whole reports


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
        """The columns that the model reads, as far as it says: the most important first."""
        return tuple(dict.fromkeys([*(item.column for item in self.importances), *self.required_columns]))

    @property
    def is_from_folds(self) -> bool:
        """Whether all rows were learned from, and the figures are of those that each fold held out."""
        return self.measured_on == "folds"


@dataclass(frozen=True, kw_only=True)
class TrainingReport(TrainedReport):
    """What a training of this release measured and did: nothing is missing.

    `positive_value` of the column `target` means fraud, `positive_share` of the rows, because of `positive_reason`.
    `params` are those of the model where it is one, `members` those of a blend. Figures are of the rows of
    `measured_on`. `cost` is that of a goal of cost. `medium_threshold` is the probability from which the risk is
    MEDIUM, `calibration` the method that makes probabilities of margins. `contradicted_frauds` equal a row that is
    labelled legitimate. `features` is how many the model reads.
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
    calibration: str = field()
    refitted: bool = field()
    refit: Refit = field()
    tested_rows: str = field()
    seconds: float = field()
    effort: TrainingEffort = field()


# Ensembles


@dataclass(frozen=True)
class Merits:
    """What the weight of a member is made of, each in [0, 1]; None where nothing was measured.

    `fit` to the table, quality at `home` and `away` (on `tables` of others), what can be expected here (`worth`),
    and how far it agrees with the other members (`accord`).
    """

    fit: float
    home: float | None
    away: float | None
    tables: int
    worth: float
    accord: float


@dataclass(frozen=True)
class MappedColumn:
    """A column of the table (`theirs`) that stands for one of the reference (`ours`), and how its values are read.

    `how`: "factor" (times `factor`), "ranks" (by its place among the values), "words" (word for word), else as it is.
    """

    theirs: str
    ours: str
    why: str
    score: float
    how: str
    factor: float


@dataclass(frozen=True, kw_only=True)
class EnsembleMember:
    """A reference model that judges. `weight` is its share among the members, `lacking` the share of what it looks
    at that the table has not. `transfer` was measured on tables of others, `performance` on rows of its own.
    """

    reference: str
    version: str
    domain: str
    weight: float
    merits: Merits | None = optional()
    similarity: float
    lacking: float
    mapping: tuple[MappedColumn, ...]
    missing: tuple[str, ...]
    transfer: dict[str, Any]
    performance: dict[str, Any]


@dataclass(frozen=True)
class Correlation:
    """How alike two members order the rows of the sample; None where one gives all rows one score."""

    first: str
    second: str
    correlation: float | None


@dataclass(frozen=True)
class Agreement:
    """Rank correlations on the sample: of each two members, and of each with the anomaly score, by its name."""

    members: tuple[Correlation, ...]
    anomaly: dict[str, float | None]


@dataclass(frozen=True)
class JudgeWeights:
    """Shares of the combined score: of the references together, and of how unusual a row is."""

    references: float
    anomaly: float


@dataclass(frozen=True)
class StatedRate:
    """The share of fraud that a person stated, and that the references suggest, None where it cannot be known."""

    stated: float
    estimated: float | None


@dataclass(frozen=True)
class AlertCounts:
    """Rows of HIGH risk, and of HIGH and MEDIUM."""

    high: int
    medium: int


@dataclass(frozen=True)
class SampleHistogram:
    """Rows of the sample by score: `counts` between each two `edges`."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class EnsembleReport:
    """What is known of an ensemble, or of a version that learned from labels of its table.

    `metrics` are empty until labels measure something. It `abstained` where no reference matches, for the `reason`
    given, and then ranks by anomaly alone. `rows` and `sample_histogram` are of the sample, `alerts` among it.
    """

    format: int = FORMAT
    kind: Literal["ensemble"] = ENSEMBLE
    metrics: dict[str, float | None] = field(default_factory=dict)
    score: str | None = optional()
    threshold: float
    medium_threshold: float
    warnings: tuple[str, ...] = ()
    rows: dict[str, int]
    fraud_rate: StatedRate
    alerts: AlertCounts
    members: tuple[EnsembleMember, ...]
    abstained: bool
    reason: str
    matches: tuple[dict[str, Any], ...]
    weights: JudgeWeights
    agreement: Agreement
    required_columns: tuple[str, ...]
    sample_histogram: SampleHistogram
    seconds: float | None = optional()
    seed: int
    learned: Learned | None = optional()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the ensemble reads."""
        return self.required_columns


AnyReport = TrainedReport | EnsembleReport


def read_report(content: Mapping[str, Any]) -> AnyReport:
    """Read the report of a stored version, of any release; an empty one of a version that was imported.

    Raises:
        UnreadableRecord: it is not what a release of ours wrote.
    """
    if content.get("kind") == ENSEMBLE:
        return read(EnsembleReport, content, REPORT_FILE)
    return read(TrainedReport, content, REPORT_FILE)


def read_trained_report(content: Mapping[str, Any]) -> TrainedReport:
    """Read the report of a version that was trained on labels; an empty one of an ensemble or an imported version."""
    report = read_report(content)
    return report if isinstance(report, TrainedReport) else TrainedReport()


def read_ensemble_report(content: Mapping[str, Any]) -> EnsembleReport:
    """Read the report of an ensemble."""
    return read(EnsembleReport, content, REPORT_FILE)


def read_training_report(content: Mapping[str, Any]) -> TrainingReport:
    """Read the report that a training of this release has just written."""
    return read(TrainingReport, content, REPORT_FILE)


def metric_of(report: AnyReport, name: str) -> float:
    """Return a metric that was measured.

    Raises:
        UnreadableRecord: it was not.
    """
    value = report.metrics.get(name)
    if value is None:
        raise UnreadableRecord(_("%(file)s says no %(name)s.", file=REPORT_FILE, name=name))
    return value


def threshold_of(report: AnyReport) -> float:
    """Return the score from which rows are flagged.

    Raises:
        UnreadableRecord: the version was imported, and says none.
    """
    if report.threshold is None:
        raise UnreadableRecord(_("%(file)s says no %(name)s.", file=REPORT_FILE, name="threshold"))
    return report.threshold


def report_content(report: AnyReport) -> dict[str, Any]:
    """Convert a report to plain JSON values, as catalog and file hold them."""
    content: dict[str, Any] = write(report)
    return content


def write_report(folder: Path, report: AnyReport) -> Path:
    """Write `performance.json` into the folder of a model's files."""
    path = folder / REPORT_FILE
    text = json.dumps(pack(report_content(report)), indent=1, ensure_ascii=False, allow_nan=False)
    path.write_text(text, encoding="utf-8")
    return path
