"""Figures are what the textbooks and scikit-learn say they are, and hold laws whatever the images."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn import metrics

from ecluse.apps.plants import evaluation
from ecluse.apps.plants.evaluation import Answers, Floats, Positions
from ecluse.apps.plants.recipe import Example
from ecluse.apps.plants.report import ServedShare, Share
from ecluse.intervals import wilson

LABELS = ("daisy", "grass", "moss")


@st.composite
def answered(draw: st.DrawFn, labels: int = 3) -> tuple[Floats, Positions]:
    """Logits of up to 40 images, and their truth."""
    images = draw(st.integers(1, 40))
    numbers = st.floats(-20, 20, allow_subnormal=False)
    logits = draw(arrays.arrays(np.float64, (images, labels), elements=numbers))
    truth = draw(arrays.arrays(np.int64, images, elements=st.integers(0, labels - 1)))
    return logits, truth


def examples(truth: Positions) -> list[Example]:
    return [Example(f"i{n}", f"{n:064x}", int(label), lambda: b"") for n, label in enumerate(truth)]


def drawn(seed: int, images: int = 200) -> Answers:
    """Logits that are right about four times of five, and too sure of themselves."""
    dice = np.random.default_rng(seed)
    truth = dice.integers(0, 3, images)
    logits = dice.normal(size=(images, 3)) + 1.6 * np.eye(3)[truth]
    return Answers(examples(truth), 3.0 * logits)


def test_57_of_60_right_is_told_with_its_interval() -> None:
    low, high = wilson(57, 60)
    interval = Share(0.95, low, high, 57, 60)
    assert evaluation.in_words(interval) == "57 of 60 right is 95 % (86 to 98)"


@given(answered())
def test_probabilities_add_up_and_keep_their_order_at_any_temperature(case: tuple[Floats, Positions]) -> None:
    logits, _ = case
    for temperature in (0.3, 1.0, 7.0):
        probabilities = evaluation.softmax(logits, temperature)
        assert probabilities.sum(axis=1) == pytest.approx(1)
        assert (np.diff(np.take_along_axis(probabilities, np.argsort(logits, axis=1), axis=1)) >= 0).all()


@pytest.mark.parametrize("seed", range(3))
def test_the_figures_are_those_of_scikit_learn(seed: int) -> None:
    test = drawn(seed)
    truth, probabilities = test.truth, test.probabilities(2.0)
    predicted = probabilities.argmax(axis=1)
    report = evaluation.evaluation_of(LABELS, test, drawn(9), Counter(LABELS), 2.0)
    assert report["metrics"]["accuracy"] == pytest.approx(metrics.accuracy_score(truth, predicted))
    assert report["metrics"]["log_loss"] == pytest.approx(metrics.log_loss(truth, probabilities))
    assert report["metrics"]["macro_f1"] == pytest.approx(metrics.f1_score(truth, predicted, average="macro"))
    assert report["confusion"] == metrics.confusion_matrix(truth, predicted).tolist()
    expected = metrics.precision_recall_fscore_support(truth, predicted)
    found = [[one[name] for one in report["classes"]] for name in ("precision", "recall", "f1", "images")]
    assert np.array(found) == pytest.approx(np.array(expected))


@given(answered())
def test_counts_and_bins_hold_every_image_once(case: tuple[Floats, Positions]) -> None:
    logits, truth = case
    test = Answers(examples(truth), logits)
    report = evaluation.evaluation_of(LABELS, test, test, Counter(LABELS), 1.0)
    table = np.array(report["confusion"])
    assert table.sum() == len(truth)
    assert table.sum(axis=1).tolist() == np.bincount(truth, minlength=3).tolist()
    bins = report["calibration"]["bins"]
    assert sum(one["count"] for one in bins) == len(truth)
    assert all(one["from"] - 1e-12 <= one["confidence"] <= one["to"] + 1e-12 for one in bins if one["count"])
    assert 0 <= report["metrics"]["expected_calibration_error"] <= 1
    assert 0 <= report["metrics"]["macro_f1"] <= 1
    wrong = len(truth) - report["interval"]["right"]
    assert len(report["mistakes"]) == min(wrong, evaluation.SHOWN)
    assert all(one["truth"] != one["predicted"] for one in report["mistakes"])
    sure = [one["probability"] for one in report["mistakes"]]
    assert sure == sorted(sure, reverse=True)
    doubts = [one["probability"] for one in report["unsure"]]
    assert doubts == sorted(doubts)
    assert len(doubts) == min(len(truth), evaluation.SHOWN)


def test_the_calibration_error_of_a_known_case_is_what_it_is_by_hand() -> None:
    probabilities = np.array([[0.95, 0.05], [0.95, 0.05], [0.65, 0.35], [0.65, 0.35]])
    truth = np.array([0, 0, 0, 1])
    expected = (2 * abs(0.95 - 1.0) + 2 * abs(0.65 - 0.5)) / 4
    assert evaluation.expected_calibration_error(truth, probabilities) == pytest.approx(expected)


@given(answered(), st.floats(0.05, 20))
def test_a_temperature_grows_with_the_scale_of_the_logits(
    case: tuple[Floats, Positions], factor: float
) -> None:
    logits, truth = case
    if np.ptp(logits, axis=1).max() < 1e-3:
        return
    first = evaluation.fit_temperature(logits, truth)
    assert evaluation.fit_temperature(factor * logits, truth) == pytest.approx(factor * first, rel=1e-3)


def test_no_other_temperature_fits_better_and_one_helps_who_is_too_sure() -> None:
    sure = drawn(1)
    found = evaluation.fit_temperature(sure.logits, sure.truth)
    assert found > 1.5
    smoothing = 203
    target = np.full(sure.logits.shape, 1 / smoothing)
    target[np.arange(200), sure.truth] = 201 / smoothing

    def loss(temperature: float) -> float:
        return float(-np.mean(np.sum(target * np.log(sure.probabilities(temperature)), axis=1)))

    assert loss(found) <= min(loss(float(t)) for t in np.geomspace(0.1, 30, 400)) + 1e-9
    other = drawn(2)
    before, after = (evaluation.log_loss(other.truth, other.probabilities(t)) for t in (1.0, found))
    assert after < before


def test_images_that_are_all_right_do_not_make_the_model_certain() -> None:
    truth = np.arange(60) % 3
    temperature = evaluation.fit_temperature(4.0 * np.eye(3)[truth], truth)
    certain = evaluation.softmax(4.0 * np.eye(3)[truth], temperature).max()
    assert certain == pytest.approx(61 / 63, abs=1e-4)


def test_logits_that_say_nothing_leave_the_temperature_alone() -> None:
    assert evaluation.fit_temperature(np.zeros((4, 3)), np.array([0, 1, 2, 0])) == 1.0
    assert evaluation.fit_temperature(np.zeros((0, 3)), np.zeros(0, dtype=np.int64)) == 1.0


def test_a_label_that_is_never_predicted_has_no_precision_and_one_without_images_no_recall() -> None:
    table = evaluation.confusion(np.array([0, 0, 1]), np.array([0, 0, 0]), 3)
    one, two, three = evaluation.class_measures(LABELS, table)
    assert (one["recall"], two["precision"], two["recall"], three["recall"]) == (1.0, None, 0.0, None)
    assert two["precision_interval"] is None
    assert three["f1"] is None
    assert evaluation.macro_f1(table) == pytest.approx((0.8 + 0.0) / 2)


def test_a_small_test_part_few_images_of_a_label_and_imbalance_are_said() -> None:
    truth = np.array([0] * 40 + [1] * 12)
    test = Answers(examples(truth), 5.0 * np.eye(2)[truth])
    train = Counter({"daisy": 400, "grass": 60})
    said = evaluation.evaluation_of(LABELS[:2], test, test, train, 1.0)["warnings"]
    assert said == [
        'Only 12 test images of "grass": its precision and recall are rough.',
        'The labels are out of balance: 400 images of "daisy" to learn from, 60 of "grass".',
    ]
    poor = Answers(examples(truth), np.tile([1.0, 0.0], (52, 1)))
    told = evaluation.evaluation_of(LABELS[:2], poor, poor, Counter(daisy=40, grass=40), 1.0)["warnings"]
    assert told[0] == "The test part is small: 40 of 52 right is 76.9 % (64 to 86)."
    assert told[-1] == (
        'The model is not clearly better than answering "daisy" every time, which is right for 40 of 52.'
    )


def test_many_images_of_every_label_need_no_warning() -> None:
    truth = np.arange(900) % 3
    test = Answers(examples(truth), 5.0 * np.eye(3)[truth])
    report = evaluation.evaluation_of(LABELS, test, test, Counter(dict.fromkeys(LABELS, 500)), 1.0)
    assert report["warnings"] == []
    assert math.isclose(report["metrics"]["accuracy"], 1.0)


def test_what_is_answered_none_of_these_is_not_right_as_served() -> None:
    logits = np.array([[3.0, 0.0], [3.0, 0.0], [0.0, 3.0], [0.0, 3.0]])
    examples = [Example(str(n), str(n), label, bytes) for n, label in enumerate((0, 0, 1, 0))]
    served = evaluation.as_served(Answers(examples, logits), np.array([True, False, True, True]))
    assert (served.right, served.wrong, served.none, served.of) == (2, 1, 1, 4)
    assert (served.low, served.high) == wilson(2, 4)
    share = ServedShare(0.95, 0.811, 0.898, 214, 249, wrong=20, none=15)
    assert evaluation.served_in_words(share) == (
        '214 of 249 right is 85.9 % (81 to 90), as served: 20 wrong, 15 answered "none of these"'
    )
