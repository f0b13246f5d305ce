"""The report of an ensemble, made of reference models without labels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

from ecluse.apps.fraud.performance.learned import Learned
from ecluse.apps.fraud.performance.parts import FORMAT
from ecluse.apps.fraud.risk import Thresholds
from ecluse.typed_json import optional

#: `kind` of a model that was made of reference models, without labels.
ENSEMBLE: Final = "ensemble"


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
class SampleHistogram:
    """Rows of the sample by score: `counts` between each two `edges`."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class EnsembleReport:
    """What is known of an ensemble, or of a version that learned from labels of its table.

    `metrics` are empty until labels measure something. It `abstained` where no reference matches, for the `reason`
    given, and then ranks by anomaly alone. `rows` and `sample_histogram` are of the sample. `alerts` counts those of it
    that reach each level of risk, by its key.
    """

    format: int = FORMAT
    kind: Literal["ensemble"] = ENSEMBLE
    metrics: dict[str, float | None] = field(default_factory=dict)
    score: str | None = optional()
    threshold: float
    medium_threshold: float
    level_thresholds: dict[str, float] | None = optional()
    warnings: tuple[str, ...] = ()
    rows: dict[str, int]
    fraud_rate: StatedRate
    alerts: dict[str, int]
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
    def thresholds(self) -> Thresholds:
        """Return the least score of each level of risk."""
        return Thresholds.read(vars(self))

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns that the ensemble reads."""
        return self.required_columns
