"""Measure a classifier on images it has not seen, say how sure that is, and show where it errs.

Everything here is computed from logits, labels' positions and nothing else: arrays come in, plain JSON values
go out. The test part is measured once, after everything was chosen; the temperature is fitted on validation.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ecluse.apps.plants.recipe import Example
from ecluse.apps.plants.report import ServedShare, Share
from ecluse.intervals import LEVEL, wilson
from ecluse.sentences import _, num
from ecluse.typed_json import write

Floats = NDArray[np.float64]
Positions = NDArray[np.int64]

BINS: Final = 10
#: Images that are shown as mistakes, and as those the model was least sure of.
SHOWN: Final = 24
#: Below so many test images of a label, its precision and recall say little.
FEW_OF_A_LABEL: Final = 30
#: An interval of the accuracy that is wider than this is told as a warning.
WIDE: Final = 0.08
#: How many times as many images one label may have to learn from as another.
UNBALANCED: Final = 3.0
#: A temperature is searched between one over this and this.
HOTTEST: Final = 50.0


@dataclass(frozen=True)
class Answers:
    """What a classifier says of some images: logits (images, labels), before any temperature."""

    examples: Sequence[Example]
    logits: Floats

    @property
    def truth(self) -> Positions:
        """(images,) int64: the position of each image's label."""
        return np.array([example.label for example in self.examples], dtype=np.int64)

    @property
    def predicted(self) -> Positions:
        """(images,) int64: the position of the likeliest label of each."""
        positions: Positions = self.logits.argmax(axis=1)
        return positions

    def probabilities(self, temperature: float = 1.0) -> Floats:
        """(images, labels) float64; each row adds up to 1."""
        return softmax(self.logits, temperature)


def evaluation_of(
    labels: Sequence[str], test: Answers, validation: Answers, train: Counter[str], temperature: float
) -> dict[str, Any]:
    """Return what metrics.json says of the test part, and of the validation part beside it.

    `train` counts the images of each label that were learned from.
    """
    probabilities, truth = test.probabilities(temperature), test.truth
    predicted = probabilities.argmax(axis=1)
    table = confusion(truth, predicted, len(labels))
    right, total = int(np.trace(table)), len(truth)
    classes = class_measures(labels, table)
    interval = Share(LEVEL, *wilson(right, total), right, total)
    return {
        "metrics": {
            "accuracy": right / total,
            "log_loss": log_loss(truth, probabilities),
            "macro_f1": macro_f1(table),
            "expected_calibration_error": expected_calibration_error(truth, probabilities),
        },
        "interval": write(interval),
        "validation": {
            "accuracy": accuracy(validation),
            "log_loss": log_loss(validation.truth, validation.probabilities(temperature)),
        },
        "classes": classes,
        "confusion": table.tolist(),
        "calibration": {"temperature": temperature, "bins": reliability(truth, probabilities)},
        "mistakes": mistakes(labels, test, probabilities),
        "unsure": unsure(labels, test, probabilities),
        "warnings": warnings_of(labels, interval, classes, train),
    }


def as_served(test: Answers, accepted: NDArray[np.bool_]) -> ServedShare:
    """Return how many of the test images get their label from what is served, with Wilson's interval.

    `accepted` says of which images it gives a label at all; of the others it says "none of these", which is not right,
    since each shows one of the labels: `wrong` counts the labels that are, `none` the images that get none.
    """
    right_ones = test.predicted == test.truth
    right, total = int((right_ones & accepted).sum()), len(test.truth)
    wrong, none = int((~right_ones & accepted).sum()), int((~accepted).sum())
    return ServedShare(LEVEL, *wilson(right, total), right, total, wrong, none)


def served_in_words(served: ServedShare) -> str:
    """`214 of 249 right is 85.9 % (81 to 90), as served: 21 are wrong, 14 are answered "none of these"`."""
    return f'{in_words(served)}, as served: {served.wrong:,} wrong, {served.none:,} answered "none of these"'


def in_words(share_right: Share) -> str:
    """`57 of 60 right is 95 % (86 to 98)`."""
    right, total = share_right.right, share_right.of
    digits = 0 if total < 1000 else 1
    low, high = (num(100 * end, f".{digits}f") for end in (share_right.low, share_right.high))
    share = 100 * right / total
    is_whole = f"{share:.1f}".endswith(".0")
    return _(
        "%(right)s of %(of)s right is %(share)s (%(low)s to %(high)s)",
        right=num(right, ","),
        of=num(total, ","),
        share=num(share, ".0f %" if is_whole else ".1f %"),
        low=low,
        high=high,
    )


# Probabilities


def softmax(logits: Floats, temperature: float = 1.0) -> Floats:
    """Probabilities of logits (images, labels) divided by a temperature."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    raised = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    probabilities: Floats = raised / raised.sum(axis=1, keepdims=True)
    return probabilities


def fit_temperature(logits: Floats, truth: Positions) -> float:
    """Return the temperature by which the logits of validation images mean what they say (Guo et al., 2017).

    With few images, all of them right, certainty would be the likeliest; so the true label is given
    (n + 1) / (n + labels) and each other one 1 / (n + labels), as Platt (1999) does with two.
    """
    if len(truth) == 0 or not np.ptp(logits, axis=1).any():
        return 1.0
    images, labels = logits.shape
    target = np.full(logits.shape, 1 / (images + labels))
    target[np.arange(images), truth] = (images + 1) / (images + labels)
    from scipy.optimize import minimize_scalar

    # In units of the logits' spread, so that the search is the same whatever their scale.
    scale = float(np.std(logits - logits.mean(axis=1, keepdims=True)))
    units = np.asarray(logits, dtype=np.float64) / scale

    def loss(log_temperature: float) -> float:
        return -float(np.mean(np.sum(target * _log_softmax(units / math.exp(log_temperature)), axis=1)))

    widest = math.log(HOTTEST)
    result = minimize_scalar(loss, bounds=(-widest, widest), method="bounded", options={"xatol": 1e-6})
    return float(math.exp(result.x) * scale)


def _log_softmax(logits: Floats) -> Floats:
    shifted = logits - logits.max(axis=1, keepdims=True)
    logs: Floats = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return logs


def log_loss(truth: Positions, probabilities: Floats) -> float:
    """Mean negative log-likelihood in nats, probabilities kept 1e-12 away from 0."""
    true_probabilities = probabilities[np.arange(len(truth)), truth]
    return float(-np.mean(np.log(np.maximum(true_probabilities, 1e-12))))


def reliability(truth: Positions, probabilities: Floats) -> list[dict[str, Any]]:
    """Ten bins of confidence of one width: how sure the model was in each, and how often it was right.

    `confidence` and `accuracy` are None in an empty bin.
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    edges = np.linspace(0.0, 1.0, BINS + 1)
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, BINS - 1)
    bins = []
    for number in range(BINS):
        inside = place == number
        count = int(inside.sum())
        bins.append(
            {
                "from": float(edges[number]),
                "to": float(edges[number + 1]),
                "count": count,
                "confidence": float(confidence[inside].mean()) if count else None,
                "accuracy": float(right[inside].mean()) if count else None,
            }
        )
    return bins


def expected_calibration_error(truth: Positions, probabilities: Floats) -> float:
    """Mean distance, over images, of confidence and accuracy in the bins of `reliability`."""
    bins = [bin_ for bin_ in reliability(truth, probabilities) if bin_["count"]]
    return float(
        sum(bin_["count"] * abs(bin_["confidence"] - bin_["accuracy"]) for bin_ in bins) / len(truth)
    )


# Right and wrong


def accuracy(answers: Answers) -> float:
    return float(np.mean(answers.predicted == answers.truth))


def confusion(truth: Positions, predicted: Positions, labels: int) -> Positions:
    """(labels, labels) counts: rows are the truth, columns what was predicted."""
    return np.bincount(truth * labels + predicted, minlength=labels * labels).reshape(labels, labels)


def class_measures(labels: Sequence[str], table: Positions) -> list[dict[str, Any]]:
    """Precision, recall and F1 of each label with their intervals; None where there is nothing to count."""
    measures = []
    for position, label in enumerate(labels):
        right = int(table[position, position])
        images, predicted = int(table[position].sum()), int(table[:, position].sum())
        measures.append(
            {
                "label": label,
                "precision": right / predicted if predicted else None,
                "recall": right / images if images else None,
                "f1": 2 * right / (images + predicted) if images + predicted else None,
                "images": images,
                "predicted": predicted,
                "precision_interval": list(wilson(right, predicted)) if predicted else None,
                "recall_interval": list(wilson(right, images)) if images else None,
            }
        )
    return measures


def macro_f1(table: Positions) -> float:
    """Mean F1 of the labels that occur, as truth or as prediction."""
    occurrences = table.sum(axis=0) + table.sum(axis=1)
    return float(np.mean(2 * np.diag(table)[occurrences > 0] / occurrences[occurrences > 0]))


def mistakes(labels: Sequence[str], answers: Answers, probabilities: Floats) -> list[dict[str, Any]]:
    """Return the images that were taken for something else, the surest mistake first."""
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != answers.truth)
    return _shown(labels, answers, probabilities, wrong, surest_first=True)


def unsure(labels: Sequence[str], answers: Answers, probabilities: Floats) -> list[dict[str, Any]]:
    """Return the images whose label the model was least sure of, right or wrong."""
    return _shown(labels, answers, probabilities, np.arange(len(answers.examples)), surest_first=False)


def _shown(
    labels: Sequence[str], answers: Answers, probabilities: Floats, among: Positions, *, surest_first: bool
) -> list[dict[str, Any]]:
    sure = probabilities.max(axis=1)
    sign = -1 if surest_first else 1
    order = sorted(among.tolist(), key=lambda at: (sign * sure[at], answers.examples[at].sha256))[:SHOWN]
    return [
        {
            "image": answers.examples[at].id,
            "sha256": answers.examples[at].sha256,
            "truth": labels[answers.examples[at].label],
            "predicted": labels[int(probabilities[at].argmax())],
            "probability": float(sure[at]),
        }
        for at in order
    ]


# What a reader must know


def warnings_of(
    labels: Sequence[str],
    interval: Share,
    classes: Sequence[Mapping[str, Any]],
    train: Mapping[str, int],
) -> list[str]:
    """Return why the figures say less than they seem to; empty where nothing is to be said."""
    warnings = []
    if interval.high - interval.low > WIDE:
        warnings.append(_("The test part is small: %(reason)s.", reason=in_words(interval)))
    warnings += [
        _(
            'Only %(count)s test images of "%(name)s": its precision and recall are rough.',
            count=num(class_["images"], ","),
            name=class_["label"],
        )
        for class_ in classes
        if class_["images"] < FEW_OF_A_LABEL
    ]
    often = max(classes, key=lambda class_: class_["images"])
    if interval.low <= often["images"] / interval.of:
        warnings.append(
            _(
                'The model is not clearly better than answering "%(name)s" every time, which is right '
                "for %(right)s of %(of)s.",
                name=often["label"],
                right=num(often["images"], ","),
                of=num(interval.of, ","),
            )
        )
    most, least = max(labels, key=lambda label: train[label]), min(labels, key=lambda label: train[label])
    if train[most] > UNBALANCED * train[least]:
        warnings.append(
            _(
                'The labels are out of balance: %(count)s images of "%(name)s" to learn from, '
                '%(number)s of "%(word)s".',
                count=num(train[most], ","),
                name=most,
                number=num(train[least], ","),
                word=least,
            )
        )
    return warnings
