"""Read and write the report of a classifier of images, `metrics.json`: what was measured of it, and how it came to be.

    report = read_classifier_report(version.report)
    report.metrics["accuracy"]

Shares and accuracies are in [0, 1], losses in nats. A version that an older release published says less, and one that
was imported may say nothing: what is not there is None or empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ecluse.apps.plants.recipe import Epoch
from ecluse.typed_json import optional, read, write

REPORT_FILE: Final = "metrics.json"


@dataclass(frozen=True)
class Share:
    """How many images `of` some were named `right`, with the interval of the share at a `level` (Wilson)."""

    level: float
    low: float
    high: float
    right: int
    of: int

    @property
    def value(self) -> float:
        return self.right / self.of


@dataclass(frozen=True)
class ServedShare(Share):
    """The same as served: `wrong` labels were given, and `none` to the other images."""

    wrong: int
    none: int


@dataclass(frozen=True)
class PartFigures:
    """How well the likeliest label of the images of one part is right."""

    accuracy: float | None = None
    log_loss: float | None = None


@dataclass(frozen=True)
class ClassFigures:
    """Precision and recall of one label, with their intervals; None where there is nothing to count."""

    label: str
    precision: float | None
    recall: float | None
    f1: float | None
    images: int
    predicted: int
    precision_interval: tuple[float, float] | None = None
    recall_interval: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class ReliabilityBin:
    """Images whose label was given with a probability in (low, high]; means are None where there is no image."""

    low: float | None = optional(key="from")
    high: float | None = optional(key="to")
    count: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Calibration:
    """The temperature that probabilities are divided by, and how often they are right."""

    temperature: float
    bins: tuple[ReliabilityBin, ...] = ()


@dataclass(frozen=True)
class DoubtfulImage:
    """An image of the test part that was named wrong, or barely right."""

    image: str | None
    sha256: str
    truth: str
    predicted: str
    probability: float


@dataclass(frozen=True)
class NoneOfThese:
    """The rule by which an image gets no label, and the shares of images that it lets pass."""

    method: str | None = None
    threshold: float | None = None
    expected: float | None = None
    accepted_validation: float | None = None
    accepted_test: float | None = None


@dataclass(frozen=True)
class UsedSplit:
    """The split that was learned from and tested on."""

    id: str | None = None
    seed: int | None = None
    sha256: str | None = None
    shares: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ExportCheck:
    """How far what is served is from the same weights in torch, in logits, at most; None where it was not compared."""

    checked_against: str
    largest_difference: float | None
    images: int


@dataclass(frozen=True, kw_only=True)
class ClassifierReport:
    """What is known of a classifier. `images` counts those of each label by part; `interval` is the accuracy of the
    likeliest label on the test part, `served` that of what is served. `confusion` has a row for each true label.
    """

    application: str | None = None
    recipe: str | None = None
    architecture: str | None = None
    labels: tuple[str, ...] = ()
    image_size: int | None = None
    images: dict[str, dict[str, int]] = field(default_factory=dict)
    train: PartFigures = PartFigures()
    metrics: dict[str, float] = field(default_factory=dict)
    interval: Share | None = None
    validation: PartFigures = PartFigures()
    classes: tuple[ClassFigures, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    calibration: Calibration | None = None
    mistakes: tuple[DoubtfulImage, ...] = ()
    unsure: tuple[DoubtfulImage, ...] = ()
    warnings: tuple[str, ...] = ()
    served: ServedShare | None = None
    none_of_these: NoneOfThese | None = None
    history: tuple[Epoch, ...] = ()
    best_epoch: int | None = None
    epochs: int | None = None
    optimiser: str | None = None
    details: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    device: str | None = None
    seed: int | None = None
    split: UsedSplit = UsedSplit()
    data_digest: str | None = None
    code_version: str | None = None
    export: ExportCheck | None = None
    size_bytes: int | None = None
    simulated: bool = False

    @property
    def best_share(self) -> Share | None:
        """Return the share that says most of it in use: as served, where that was counted."""
        return self.served or self.interval

    @property
    def published_epoch(self) -> Epoch | None:
        """Return the epoch whose weights the version has."""
        return next((epoch for epoch in self.history if epoch.epoch == self.best_epoch), None)

    def images_of(self, part: str) -> int:
        """Count the images of a part."""
        return sum(self.images.get(part, {}).values())


def read_classifier_report(content: Mapping[str, Any]) -> ClassifierReport:
    """Read the report of a stored version, of any release; an empty one of a version that says nothing.

    Raises:
        UnreadableRecord: it is not what a release of ours wrote.
    """
    return read(ClassifierReport, content, REPORT_FILE)


def classifier_content(report: ClassifierReport) -> dict[str, Any]:
    """Convert a report to plain JSON values, as catalog and file hold them."""
    content: dict[str, Any] = write(report)
    return content
