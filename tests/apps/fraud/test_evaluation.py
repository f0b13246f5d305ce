"""Figures agree with the textbook, thresholds with their goals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from ecluse.apps.fraud import measures
from ecluse.apps.fraud.evaluation import metrics as evaluation
from ecluse.apps.fraud.evaluation.metrics import Goal
from ecluse.apps.fraud.performance.parts import RocPoint
from ecluse.errors import InvalidInput
from ecluse.intervals import wilson

scored_rows = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 20).map(lambda score: score / 20)), min_size=5, max_size=80
).filter(lambda rows: 0 < sum(label for label, _ in rows) < len(rows))


def columns(rows: list[tuple[int, float]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([label for label, _ in rows], dtype=np.int8), np.array([score for _, score in rows])


@given(scored_rows)
def test_ranking_figures_agree_with_scikit_learn(rows: list[tuple[int, float]]) -> None:
    labels, scores = columns(rows)
    assert measures.average_precision(labels, scores) == pytest.approx(
        metrics.average_precision_score(labels, scores)
    )
    assert measures.roc_auc(labels, scores) == pytest.approx(metrics.roc_auc_score(labels, scores))
    assert measures.brier(labels, scores) == pytest.approx(metrics.brier_score_loss(labels, scores))


@given(scored_rows, st.floats(0, 1))
def test_the_confusion_matrix_counts_every_row_once(rows: list[tuple[int, float]], threshold: float) -> None:
    labels, scores = columns(rows)
    counts = evaluation.confusion(labels, scores, threshold)
    assert counts.rows == len(rows)
    assert counts.frauds == labels.sum()


@given(scored_rows, st.floats(0.05, 1.0))
def test_a_recall_goal_is_reached_with_the_fewest_flags(rows: list[tuple[int, float]], wanted: float) -> None:
    labels, scores = columns(rows)
    threshold = evaluation.choose_threshold(labels, scores, Goal("recall", wanted))
    recalls = {cut: labels[scores >= cut].sum() / labels.sum() for cut in set(scores.tolist())}
    assert recalls[threshold] >= wanted - 1e-9
    assert all(recall < wanted for cut, recall in recalls.items() if cut > threshold)


@given(scored_rows)
def test_no_other_threshold_has_a_better_f1(rows: list[tuple[int, float]]) -> None:
    labels, scores = columns(rows)

    def f1(cut: float) -> float:
        return float(metrics.f1_score(labels, scores >= cut, zero_division=0))

    chosen = evaluation.choose_threshold(labels, scores, Goal("f1"))
    assert f1(chosen) == pytest.approx(max(f1(cut) for cut in set(scores.tolist())))


@given(scored_rows, st.floats(0.05, 1.0))
def test_a_precision_goal_is_kept_with_the_most_alerts_or_else_comes_nearest(
    rows: list[tuple[int, float]], wanted: float
) -> None:
    labels, scores = columns(rows)
    threshold = evaluation.choose_threshold(labels, scores, Goal("precision", wanted))
    precisions = {cut: labels[scores >= cut].mean() for cut in set(scores.tolist())}
    assert precisions[threshold] >= min(wanted, max(precisions.values())) - 1e-6
    assert all(precision < wanted for cut, precision in precisions.items() if cut < threshold)


@given(scored_rows, st.floats(0.1, 1000), st.floats(0.1, 1000))
def test_no_other_threshold_costs_less(rows: list[tuple[int, float]], missed: float, alarm: float) -> None:
    labels, scores = columns(rows)
    goal = Goal("cost", missed=missed, false_alarm=alarm)

    def cost(cut: float) -> float:
        counts = evaluation.confusion(labels, scores, cut)
        return missed * counts.fn + alarm * counts.fp

    chosen = evaluation.choose_threshold(labels, scores, goal)
    assert cost(chosen) == pytest.approx(min(cost(cut) for cut in [*scores.tolist(), 2.0]))
    told = evaluation.costs(labels, scores, chosen, goal)
    assert told.per_1000_rows == pytest.approx(1000 * cost(chosen) / len(rows))
    assert told.per_1000_rows <= told.per_1000_rows_without_alerts + 1e-6
    assert told.per_1000_rows <= told.per_1000_rows_with_all_alerts + 1e-6


def test_nothing_is_flagged_where_a_false_alarm_costs_more_than_any_fraud() -> None:
    labels, scores = np.array([0, 1, 0], dtype=np.int8), np.array([0.9, 0.9, 0.1])
    goal = Goal("cost", missed=1, false_alarm=50)
    assert not (scores >= evaluation.choose_threshold(labels, scores, goal)).any()


def test_alerts_a_day_stay_within_the_budget_over_the_period() -> None:
    labels = np.array([1, 0] * 50, dtype=np.int8)
    scores = np.linspace(0, 1, 100)
    threshold = evaluation.choose_threshold(labels, scores, Goal("alerts_per_day", 3), days=7)
    assert np.sum(scores >= threshold) == 21


def test_alerts_a_day_without_dates_is_refused() -> None:
    with pytest.raises(InvalidInput, match="time column"):
        evaluation.choose_threshold(
            np.array([0, 1], dtype=np.int8), np.array([0.1, 0.9]), Goal("alerts_per_day", 5)
        )


@pytest.mark.parametrize(
    ("text", "goal"),
    [
        ("f1", Goal("f1")),
        ("recall=0.8", Goal("recall", 0.8)),
        ("precision=0.9", Goal("precision", 0.9)),
        ("alerts=50", Goal("alerts_per_day", 50)),
        ("cost=500:10", Goal("cost", missed=500, false_alarm=10)),
    ],
)
def test_goals_read_from_text(text: str, goal: Goal) -> None:
    assert Goal.parse(text) == goal
    assert Goal.from_dict(goal.to_dict()) == goal


@pytest.mark.parametrize(
    "text",
    [
        "",
        "f2",
        "recall",
        "recall=1.5",
        "recall=0",
        "precision=2",
        "alerts=-3",
        "alerts=nan",
        "f1=2",
        "cost=5",
        "cost=5:",
        "cost=5:0",
        "cost=-5:1",
        "cost=1:2:3",
    ],
)
def test_other_goals_are_refused_with_the_way_out(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"recall=0\.8"):
        Goal.parse(text)


def test_intervals_hold_the_figure_and_narrow_with_more_rows() -> None:
    rng = np.random.default_rng(0)

    def width(rows: int) -> float:
        labels = (rng.random(rows) < 0.2).astype(np.int8)
        scores = np.clip(rng.normal(0.3 + 0.3 * labels, 0.2), 0, 1)
        low, high = evaluation.bootstrap_intervals(labels, scores, 0.5, seed=1)["average_precision"]
        assert low < measures.average_precision(labels, scores) < high
        return high - low

    assert width(4_000) < width(200)


def test_17_frauds_ranked_first_do_not_say_that_every_fraud_will_be() -> None:
    labels = (np.arange(2_000) < 17).astype(np.int8)
    scores = np.linspace(1, 0, 2_000)
    found = evaluation.bootstrap_intervals(labels, scores, float(scores[16]), seed=0)
    for name, (low, high) in found.items():
        assert low < 0.97, name
        assert high == 1, name
    assert found["recall"] == found["precision"] == wilson(17, 17)


def test_intervals_of_rankings_hold_the_truth_where_few_frauds_were_seen() -> None:
    """95 % is stated. One fraud in twenty looks like any row: of 40 tables with twelve frauds most show none."""
    rng = np.random.default_rng(3)

    def drawn(frauds: int, rows: int) -> tuple[evaluation.Labels, evaluation.Floats]:
        apart = np.where(rng.random(frauds) < 0.05, 0.0, 6.0)
        labels = (np.arange(rows) < frauds).astype(np.int8)
        return labels, rng.normal(size=rows) + np.r_[apart, np.zeros(rows - frauds)]

    truth = measures.average_precision(*drawn(6_000, 200_000))
    held = 0
    for seed in range(40):
        labels, scores = drawn(12, 400)
        low, high = evaluation.bootstrap_intervals(labels, scores, 3.0, seed=seed)["average_precision"]
        held += low <= truth <= high
    assert held >= 36


def test_the_point_estimates_of_the_bootstrap_are_those_of_the_rows() -> None:
    labels = np.array([1, 0, 1, 0, 0], dtype=np.int8)
    scores = np.array([0.9, 0.9, 0.5, 0.2, 0.1])
    drawn = evaluation.bootstrap_intervals(np.repeat(labels, 400), np.repeat(scores, 400), 0.5, seed=0)
    figures = evaluation.measure(labels, scores, 0.5)
    for name, (low, high) in drawn.items():
        assert low - 0.02 <= figures[name] <= high + 0.02


@given(scored_rows)
def test_curves_are_short_and_end_where_they_should(rows: list[tuple[int, float]]) -> None:
    labels, scores = columns(rows * 40)
    scores = scores + np.linspace(0, 1e-3, len(scores))
    roc, pr = evaluation.roc_curve(labels, scores), evaluation.precision_recall_curve(labels, scores)
    assert max(len(roc), len(pr)) <= evaluation.CURVE_POINTS
    assert (roc[0], roc[-1]) == (RocPoint(0.0, 0.0), RocPoint(1.0, 1.0))
    assert pr[-1].recall == 1.0


def test_histogram_and_calibration_count_every_row() -> None:
    labels = np.array([0, 1] * 30, dtype=np.int8)
    scores = np.linspace(0, 1, 60)
    bins = evaluation.score_histogram(labels, scores)
    assert sum(item.fraud + item.legitimate for item in bins) == 60
    assert sum(item.rows for item in measures.calibration_curve(labels, scores)) == 60
