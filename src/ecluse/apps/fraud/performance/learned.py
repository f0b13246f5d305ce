"""Say what labels taught a version: what they tell of it, and what they changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ecluse.typed_json import optional

#: How labels changed a model: nothing, its scale, or its scale and the order of rows.
LearnedWay = Literal["kept", "recalibrated", "corrected"]


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
        """Tell whether its scores are probabilities on a scale that the labels gave."""
        return self.way != "kept"
