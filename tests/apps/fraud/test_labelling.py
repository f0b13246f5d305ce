"""A few answers say how good alerts are, how sure that is, and make the order better where one can be sure."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ecluse.apps.fraud.commands.monitoring import _figure_text
from ecluse.apps.fraud.labelling.answers import read_labels
from ecluse.apps.fraud.labelling.figures import figures_elsewhere, figures_of, figures_of_all
from ecluse.apps.fraud.labelling.learning import (
    LabelledRows,
    Learned,
    SampledRows,
    learn_from_labels,
    recalibrate,
)
from ecluse.apps.fraud.labelling.questions import OtherScores, QuestionSet, choose_questions
from ecluse.apps.fraud.measures import average_precision
from ecluse.apps.fraud.tables.columns import ColumnSpec
from ecluse.errors import InvalidInput, ModelUnreadable
from ecluse.tabular.dataset import open_table

Floats = NDArray[np.float64]
Labels = NDArray[np.int8]
SPECS = (ColumnSpec("amount", "number"), ColumnSpec("country", "category"), ColumnSpec("noise", "number"))


def world(seed: int, rows: int, rate: float, apart: float) -> tuple[Labels, Floats]:
    """Labels, and the probabilities of a model that tells the classes apart by so many deviations."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(rows) < rate).astype(np.int8)
    margins = apart * (rng.normal(size=rows) + apart * labels) + np.log(rate)
    return labels, 1 / (1 + np.exp(-margins))


def cut(scores: Floats, share: float) -> float:
    return float(np.sort(scores)[::-1][int(share * len(scores))])


def table(seed: int, rows: int = 4_000) -> tuple[Labels, Floats, pl.DataFrame]:
    """Fraud goes by amount and country; the model knows the amount alone, and that badly."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(rows) < 0.1).astype(np.int8)
    amount = rng.lognormal(3 + 1.0 * labels, 1.0)
    country = np.where(rng.random(rows) < np.where(labels == 1, 0.8, 0.1), "XX", "FR")
    frame = pl.DataFrame({"amount": amount, "country": country, "noise": rng.normal(size=rows)})
    return labels, np.log(amount) - 5 + rng.normal(size=rows), frame


@pytest.mark.parametrize("row", ["inf", "nan", "1e400", "-inf", "0", "1.5", "9" * 400])
def test_what_is_no_number_of_a_row_is_refused_as_that(tmp_path: Path, row: str) -> None:
    (tmp_path / "labels.csv").write_text(f"row,label\n{row},1\n")
    with (
        open_table(tmp_path / "labels.csv") as labels,
        pytest.raises(InvalidInput, match="is no number of a row"),
    ):
        read_labels(labels, 1000)


def test_labels_of_one_row_that_contradict_each_other_are_refused_and_repeated_ones_are_not(
    tmp_path: Path,
) -> None:
    (tmp_path / "same.csv").write_text("row,label\n1,fraud\n1,1\n2,0\n2,\n")
    with open_table(tmp_path / "same.csv") as labels:
        assert read_labels(labels, 1000) == {1: 1, 2: 0}
    (tmp_path / "both.csv").write_text("row,label\n1,1\n1,0\n")
    with (
        open_table(tmp_path / "both.csv") as labels,
        pytest.raises(InvalidInput, match="Row 1 has two labels"),
    ):
        read_labels(labels, 1000)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(5, 400), count=st.integers(5, 60), ties=st.booleans())
def test_questions_are_distinct_rows_as_many_as_asked_and_stand_for_the_whole_table(
    seed: int, rows: int, count: int, ties: bool
) -> None:
    rng = np.random.default_rng(seed)
    scores = np.round(rng.random(rows), 1 if ties else 12)
    asked = choose_questions(
        scores, threshold=0.8, others=OtherScores(anomaly=rng.random(rows)), count=count, seed=seed,
        look_up=lambda at: pl.DataFrame({"a": scores[at], "b": ["x"] * len(at)}),
    )  # fmt: skip
    chosen = [question.row for question in asked.questions]
    assert len(set(chosen)) == len(chosen) == min(count, rows)
    assert all(1 <= row <= rows for row in chosen)
    assert all(0 < asked.chance(question) <= 1 for question in asked.questions)
    certain = sum(question.stratum is None for question in asked.questions)
    assert certain + sum(stratum.rows for stratum in asked.strata) == rows
    # Each range that was drawn from stands for all its rows.
    drawn = [question for question in asked.questions if question.stratum is not None]
    reached = sum(stratum.rows for stratum in asked.strata if stratum.drawn)
    assert sum(1 / asked.chance(question) for question in drawn) == pytest.approx(reached)
    assert QuestionSet.from_dict(json.loads(json.dumps(asked.to_dict()))) == asked


def test_the_same_seed_asks_the_same_and_another_draws_other_rows() -> None:
    _, scores = world(0, 2_000, 0.05, 1.5)
    first, again, other = (choose_questions(scores, threshold=0.3, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert {q.row for q in first.questions} != {q.row for q in other.questions}


def test_the_first_questions_already_are_of_every_kind() -> None:
    _, scores = world(0, 2_000, 0.05, 1.5)
    rng = np.random.default_rng(0)
    asked = choose_questions(
        scores,
        threshold=0.3,
        others=OtherScores(anomaly=rng.random(2_000)),
        look_up=lambda at: pl.DataFrame({"a": scores[at]}),
    )
    assert {q.why for q in asked.questions[:5]} == {
        "highest",
        "threshold",
        "disagreement",
        "diverse",
        "random",
    }


def test_known_rows_are_not_asked_about_again() -> None:
    _, scores = world(0, 500, 0.05, 1.5)
    first = choose_questions(scores, threshold=0.3)
    known = [question.row for question in first.questions]
    second = choose_questions(scores, threshold=0.3, known=known)
    assert not {question.row for question in second.questions} & set(known)


def test_a_second_round_counts_what_the_first_one_said() -> None:
    scores = np.r_[np.linspace(0.9, 0.99, 10), np.random.default_rng(0).uniform(0, 0.3, 490)]
    first = choose_questions(scores, threshold=0.8, count=40)
    answers = {question.row: int(question.row <= 10) for question in first.questions}
    assert set(range(1, 11)) <= answers.keys()
    second = choose_questions(scores, threshold=0.8, count=40, known=list(answers), seed=1)
    assert QuestionSet.from_dict(json.loads(json.dumps(second.to_dict()))) == second
    before = figures_of(second, answers).precision
    assert before is not None
    assert (before.value, before.high) == (1.0, 1.0)
    answers |= {question.row: 0 for question in second.questions}
    figures = figures_of(second, answers)
    assert (figures.precision, figures.labels, figures.frauds) == (before, 80, 10)
    assert "not asked about" not in " ".join(figures.notes)


@pytest.mark.nightly
def test_figures_stay_unbiased_over_rounds() -> None:
    errors: dict[str, list[float]] = {"precision": [], "fraud_rate": []}
    for seed in range(40):
        labels, scores = world(seed, 2_000, 0.08, 1.5)
        threshold = cut(scores, 0.06)
        answers: dict[int, int] = {}
        for turn in range(3):
            asked = choose_questions(
                scores, threshold=threshold, count=40, known=list(answers), seed=seed + turn
            )
            answers |= {q.row: int(labels[q.row - 1]) for q in asked.questions}
        figures = figures_of(asked, answers, seed=seed)
        assert figures.labels == len(answers) == 120
        assert figures.precision is not None
        assert figures.fraud_rate is not None
        errors["precision"].append(figures.precision.value - labels[scores >= threshold].mean())
        errors["fraud_rate"].append(figures.fraud_rate.value - labels.mean())
    for values in errors.values():
        assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))


def test_a_skipped_row_of_a_range_without_draws_leaves_the_figure_unknown() -> None:
    scores = np.r_[np.linspace(0.9, 0.99, 10), np.random.default_rng(0).uniform(0, 0.3, 490)]
    asked = choose_questions(scores, threshold=0.8, count=40)
    answers = {q.row: int(q.row <= 10) for q in asked.questions if q.row not in (8, 9, 10)}
    figures = figures_of(asked, answers)
    assert (figures.precision, figures.recall) == (None, None)
    assert any("too few answers yet" in note for note in figures.notes)
    answers |= {8: 1, 9: 1, 10: 0}
    whole = figures_of(asked, answers).precision
    assert whole is not None
    assert whole.value == pytest.approx(0.9)


def test_answers_to_the_questions_of_one_model_judge_another() -> None:
    errors: dict[str, list[float]] = {"precision": [], "recall": []}
    for seed in range(40):
        labels, scores = world(seed, 3_000, 0.1, 1.5)
        other = world(seed, 3_000, 0.1, 1.5)[1] + np.random.default_rng(seed).uniform(0, 0.1, 3_000)
        asked = choose_questions(scores, threshold=cut(scores, 0.1), count=80, seed=seed)
        answers = {q.row: int(labels[q.row - 1]) for q in asked.questions}
        threshold = cut(other, 0.2)
        figures = figures_elsewhere(asked, answers, other, threshold, seed=seed)
        flagged = other >= threshold
        truth = {"precision": labels[flagged].mean(), "recall": labels[flagged].sum() / labels.sum()}
        for name, value in truth.items():
            errors[name].append(getattr(figures, name).value - value)
    for values in errors.values():
        assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values)) + 0.02


def test_a_count_out_of_range_is_refused() -> None:
    with pytest.raises(InvalidInput, match="ask 5 to 200"):
        choose_questions(np.zeros(10), threshold=0.5, count=3)


@pytest.mark.nightly
def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """95 % is stated; 60 tables of two kinds, and no more than one in eight may miss."""
    held: dict[str, list[bool]] = {
        name: [] for name in ("precision", "recall", "average_precision", "fraud_rate")
    }
    errors = []
    for seed in range(60):
        rate, apart = ((0.1, 1.5), (0.05, 2.0))[seed % 2]
        labels, scores = world(seed, 3_000, rate, apart)
        threshold = cut(scores, rate)
        flagged = scores >= threshold
        asked = choose_questions(scores, threshold=threshold, count=50, seed=seed)
        answers = {q.row: int(labels[q.row - 1]) for q in asked.questions}
        figures = figures_of(asked, answers, seed=seed)
        truth = {
            "precision": labels[flagged].mean(),
            "recall": labels[flagged].sum() / labels.sum(),
            "average_precision": average_precision(labels, scores),
            "fraud_rate": labels.mean(),
        }
        for name, value in truth.items():
            figure = getattr(figures, name)
            held[name].append(figure.low <= value <= figure.high)
        assert figures.fraud_rate is not None
        errors.append(figures.fraud_rate.value - labels.mean())
    shares = {name: float(np.mean(values)) for name, values in held.items()}
    assert all(share >= 0.875 for share in shares.values()), shares
    # Unbiased: the mean error is within three of its own deviations.
    assert abs(np.mean(errors)) < 3 * np.std(errors) / np.sqrt(len(errors))


def test_with_every_row_labelled_the_figures_are_those_of_the_table() -> None:
    labels, scores = world(3, 800, 0.1, 2.0)
    figures = figures_of_all(scores, labels, 0.3)
    flagged = scores >= 0.3
    assert figures.precision is not None
    assert figures.recall is not None
    assert figures.average_precision is not None
    assert figures.precision.value == pytest.approx(labels[flagged].mean())
    assert figures.recall.value == pytest.approx(labels[flagged].sum() / labels.sum())
    assert figures.average_precision.value == pytest.approx(average_precision(labels, scores))


def test_few_or_no_answers_are_said_to_be_few() -> None:
    _, scores = world(0, 500, 0.05, 1.5)
    asked = choose_questions(scores, threshold=0.3)
    nothing = figures_of(asked, {})
    assert (nothing.precision, nothing.recall, nothing.average_precision) == (None, None, None)
    assert "No row that was asked about" in nothing.notes[0]
    strange = next(row for row in range(1, 501) if row not in {q.row for q in asked.questions})
    assert "not asked about" in figures_of(asked, {strange: 1}).notes[-1]


def test_more_answers_make_narrower_intervals() -> None:
    labels, scores = world(5, 5_000, 0.1, 2.0)
    threshold = cut(scores, 0.1)
    widths = []
    for count in (30, 200):
        asked = choose_questions(scores, threshold=threshold, count=count)
        figure = figures_of(asked, {q.row: int(labels[q.row - 1]) for q in asked.questions}).precision
        assert figure is not None
        widths.append(figure.high - figure.low)
    assert widths[1] < widths[0]


def test_thirty_labels_rank_the_other_rows_better() -> None:
    labels, margins, frame = table(1)
    scores = 1 / (1 + np.exp(-margins))
    asked = choose_questions(scores, threshold=cut(scores, 0.05), count=30, look_up=lambda at: frame[at])
    rows = np.array([question.row - 1 for question in asked.questions])
    learned = learn_from_labels(
        LabelledRows(labels[rows], margins[rows], frame[rows]), SPECS, SampledRows(frame)
    )
    rest = np.setdiff1d(np.arange(len(labels)), rows)
    before = average_precision(labels[rest], margins[rest])
    after = average_precision(labels[rest], learned.margins(margins, frame)[rest])
    assert learned.reorders
    assert after > before + 0.1
    figures = learned.report["average_precision"]
    assert figures["corrected"] > figures["model"]


def ensemble(seed: int, worth: float) -> tuple[Labels, Floats, Floats]:
    """(labels, opinions of two members, their sum) of 3,000 rows; the second member tells `worth` deviations."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(3_000) < 0.04).astype(np.int8)
    opinions = rng.normal(size=(3_000, 2)) * 1.5 + np.outer(labels, [3.0, worth]) - 3.5
    return labels, opinions, opinions.mean(axis=1)


@pytest.mark.nightly
@pytest.mark.parametrize(("worth", "least"), [(0.0, 0.1), (3.0, -0.01)])
def test_labels_weigh_members_anew_and_harm_none_that_are_weighed_right(worth: float, least: float) -> None:
    """Of six tables each: one member that knows nothing loses its say; two that know as much keep theirs."""
    gains = []
    for seed in range(6):
        labels, opinions, margins = ensemble(seed, worth)
        scores = 1 / (1 + np.exp(-margins))
        asked = choose_questions(scores, threshold=cut(scores, 0.04), count=60, seed=seed)
        rows = np.array([question.row - 1 for question in asked.questions])
        frame = pl.DataFrame({"noise": np.random.default_rng(seed).normal(size=3_000)})
        learned = learn_from_labels(
            LabelledRows(labels[rows], margins[rows], frame[rows], opinions=opinions[rows]),
            [ColumnSpec("noise", "number")], SampledRows(frame, opinions), seed=seed,
        )  # fmt: skip
        rest = np.setdiff1d(np.arange(3_000), rows)
        after = learned.margins(margins, frame, opinions=opinions)
        gains.append(
            average_precision(labels[rest], after[rest]) - average_precision(labels[rest], margins[rest])
        )
        again = Learned.from_dict(json.loads(json.dumps(learned.to_dict())))
        assert again.margins(margins[5:6], frame[5:6], opinions=opinions[5:6])[0] == pytest.approx(after[5])
    assert np.mean(gains) >= least
    assert min(gains) > -0.05


def test_an_interval_too_wide_to_name_a_number_is_told_as_such() -> None:
    """After 30 labels recall was told as .83 where it was .23: its interval alone says how little is known."""
    labels, scores = world(4, 5_000, 0.02, 1.0)
    asked = choose_questions(scores, threshold=cut(scores, 0.02), count=30)
    figures = figures_of(asked, {q.row: int(labels[q.row - 1]) for q in asked.questions})
    told = figures.to_dict()
    truth = labels[scores >= asked.threshold].sum() / labels.sum()
    assert told["recall"]["telling"] is False
    assert told["recall"]["low"] <= truth <= told["recall"]["high"]
    assert told["fraud_rate"]["telling"] is True
    assert _figure_text(told["recall"]).startswith("cannot be said yet (95 %: ")
    low, high = told["fraud_rate"]["low"], told["fraud_rate"]["high"]
    assert _figure_text(told["fraud_rate"]).startswith(f"{low:.3f} to {high:.3f} (95 %), estimate ")


def test_labels_that_teach_nothing_leave_the_order_as_it_was() -> None:
    kept = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        frame = table(seed)[2]
        rows = rng.choice(len(frame), 40, replace=False)
        drawn = rng.permutation(np.repeat([0, 1], 20)).astype(np.int8)
        margins = 2.0 * drawn + rng.normal(size=40)
        learned = learn_from_labels(LabelledRows(drawn, margins, frame[rows]), SPECS, SampledRows(frame))
        kept += not learned.reorders
    assert kept >= 9


def test_what_was_learned_comes_back_from_json_and_scores_each_row_alone() -> None:
    labels, margins, frame = table(1)
    anomaly = np.abs(margins)
    rows = np.r_[np.flatnonzero(labels == 1)[:20], np.flatnonzero(labels == 0)[:20]]
    learned = learn_from_labels(
        LabelledRows(labels[rows], margins[rows], frame[rows], anomaly[rows]),
        SPECS,
        SampledRows(frame),
        fraud_rate=0.1,
    )
    again = Learned.from_dict(json.loads(json.dumps(learned.to_dict())))
    assert again == learned
    whole = learned.margins(margins, frame, anomaly)
    alone = again.margins(margins[7:8], frame[7:8], anomaly[7:8])
    assert alone[0] == pytest.approx(whole[7])
    with pytest.raises(ModelUnreadable):
        Learned.from_dict({"format": 1, "slope": 1})


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), turned=st.booleans())
def test_a_new_scale_never_turns_the_order_round(seed: int, turned: bool) -> None:
    rng = np.random.default_rng(seed)
    margins = rng.normal(size=30) * rng.choice([0.1, 1.0, 20.0])
    labels = ((margins > 0) != turned).astype(np.int8)
    slope, intercept = recalibrate(labels, margins, np.ones(30), 0.05)
    assert slope > 0
    assert np.isfinite(intercept)


def test_probabilities_come_near_the_true_rate() -> None:
    labels, scores = world(2, 5_000, 0.1, 1.5)
    margins = 3 * np.log(scores / (1 - scores)) + 4  # far too sure, and far too high
    promised = []
    for seed in range(8):
        asked = choose_questions(scores, threshold=cut(scores, 0.1), count=100, seed=seed)
        rows = np.array([question.row - 1 for question in asked.questions])
        weights = np.array([1 / asked.chance(question) for question in asked.questions])
        slope, intercept = recalibrate(labels[rows], margins[rows], weights, 0.1)
        promised.append(np.mean(1 / (1 + np.exp(-(slope * margins + intercept)))))
    assert np.mean(promised) == pytest.approx(labels.mean(), abs=0.03)


def test_too_few_of_a_kind_are_refused() -> None:
    _, margins, frame = table(1)
    with pytest.raises(InvalidInput, match="at least 3 of each kind"):
        learn_from_labels(
            LabelledRows(np.array([1, 0, 0, 0], dtype=np.int8), margins[:4], frame[:4]),
            SPECS,
            SampledRows(frame),
        )


@pytest.mark.nightly("40", "100")
@pytest.mark.parametrize("count", [17, 40, 100])
def test_a_few_answers_never_make_the_probabilities_worse_on_average(count: int) -> None:
    """Models that say too little, too much or about the right thing; answers in the order asked."""
    before, after, rates = [], [], []
    for seed in range(24):
        rate, off = ((0.04, 0.0), (0.03, -1.2), (0.08, 1.0), (0.02, 0.5))[seed % 4]
        labels, scores = world(seed, 4_000, rate, 2.0)
        margins = np.log(scores / (1 - scores)) - 2.0 + off
        scores = 1 / (1 + np.exp(-margins))
        asked = choose_questions(scores, threshold=cut(scores, 0.02), count=max(count, 40), seed=seed)
        answers = {q.row: int(labels[q.row - 1]) for q in asked.questions[:count]}
        rows = np.array(sorted(answers))
        truth = np.array([answers[row] for row in rows.tolist()], dtype=np.int8)
        within = figures_of(asked, answers).fraud_rate
        assert within is not None
        rates.append(within.low <= labels.mean() <= within.high)
        slope, intercept = recalibrate(
            truth, margins[rows - 1], np.ones(len(rows)), None,
            everyone=margins, within=(within.low, within.high),
        )  # fmt: skip
        learned = 1 / (1 + np.exp(-slope * margins - intercept))
        assert within.low - 0.005 <= learned.mean() <= within.high + 0.005
        for found, probability in ((before, scores), (after, learned)):
            level = abs(np.log(probability.sum() / labels.sum()))
            found.append((level, float(np.mean((probability - labels) ** 2))))
    assert np.mean(rates) >= 0.9
    assert (np.mean(after, axis=0) <= np.mean(before, axis=0)).all()


def test_half_of_the_first_answers_are_of_chance() -> None:
    _, scores = world(0, 4_000, 0.05, 2.0)
    asked = choose_questions(scores, threshold=cut(scores, 0.05))
    assert all(2 * sum(q.why == "random" for q in asked.questions[:n]) >= n - 4 for n in range(5, 30))
