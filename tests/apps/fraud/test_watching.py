"""A model's look at a table adds up, outcomes find their rows, and two versions are compared on the same rows."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecluse.apps.fraud.ensembles.building import EnsemblePlan, build_ensemble
from ecluse.apps.fraud.errors import ColumnsMissing
from ecluse.apps.fraud.evaluation.drift import TrainingSketch
from ecluse.apps.fraud.families import FAMILIES
from ecluse.apps.fraud.jobs.labelling import save_scores
from ecluse.apps.fraud.labelling.asking import (
    LabelledTable,
    Made,
    _shown,
    ask_about,
    learn_about,
    rows_at,
    score_all,
)
from ecluse.apps.fraud.labelling.learned_report import learned_report
from ecluse.apps.fraud.labelling.learning import Column, Learned
from ecluse.apps.fraud.labelling.questions import QuestionSet
from ecluse.apps.fraud.labelling.scoring import (
    LEARNED_FILE,
    LearnedScorer,
    margins_of,
    probabilities,
    save_learned,
)
from ecluse.apps.fraud.measures import average_precision
from ecluse.apps.fraud.monitoring.compared import comparison_content, read_comparison
from ecluse.apps.fraud.monitoring.comparison import Side, agreement, compare_on, paired_figures
from ecluse.apps.fraud.monitoring.holding import hold_out, write_rows
from ecluse.apps.fraud.monitoring.measuring import MonitoredVersion, monitor_table
from ecluse.apps.fraud.monitoring.outcomes import label_column, outcomes_within, read_outcomes
from ecluse.apps.fraud.monitoring.periods import Periods
from ecluse.apps.fraud.monitoring.report import MonitoringReport, monitoring_content, read_monitoring
from ecluse.apps.fraud.pages.charts import compared_curves, model_charts
from ecluse.apps.fraud.performance.reports import read_report, read_trained_report, report_content
from ecluse.apps.fraud.performance.trained import TrainedReport
from ecluse.apps.fraud.references.describing import describe
from ecluse.apps.fraud.references.facts import MatchResult
from ecluse.apps.fraud.references.library import SAMPLE_LABEL
from ecluse.apps.fraud.risk import Thresholds, raised_levels
from ecluse.apps.fraud.rows.tables import Dataset
from ecluse.apps.fraud.sample import generate
from ecluse.apps.fraud.scorers import base_scorer, load_scorer
from ecluse.apps.fraud.scoring.columns import SCORE_COLUMNS
from ecluse.apps.fraud.scoring.results import known_labels
from ecluse.apps.fraud.scoring.scorer import AlertingScorer
from ecluse.apps.fraud.tables.columns import ColumnSpec, infer_columns
from ecluse.apps.fraud.tables.labels import UNKNOWN
from ecluse.apps.fraud.training import portfolio
from ecluse.apps.fraud.training.training import TrainingPlan, train
from ecluse.catalog.tables import ModelVersion
from ecluse.errors import InvalidInput, ModelUnreadable
from ecluse.tabular.dataset import Table, open_table
from ecluse.web.i18n import Words

PLAN = TrainingPlan(
    "is_fraud",
    time_column="timestamp",
    customer_column="customer_id",
    identifier_columns=("transaction_id",),
    budget_s=2.0,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained model, an ensemble by anomaly alone, and the 2,000 rows after those of the training."""
    folder = tmp_path_factory.mktemp("watching")
    rows = generate(rows=6_000, seed=4, fraud_share=0.05)
    rows.head(4_000).write_csv(folder / "old.csv")
    rows.tail(2_000).write_csv(folder / "later.csv")
    rows.tail(2_000).drop("is_fraud").write_csv(folder / "unlabelled.csv")
    # A few settings, all of them tried: the same model however fast the machine is, so that figures may be asserted.
    with open_table(folder / "old.csv") as table, pytest.MonkeyPatch.context() as patch:
        patch.setattr(portfolio, "FAMILIES", {"xgboost": FAMILIES["xgboost"]})
        patch.setattr(portfolio, "MAX_VARIATIONS", 0)
        train(table, replace(PLAN, budget_s=600.0), folder / "model", lambda stage, share, message: None)
    with open_table(folder / "unlabelled.csv") as table:
        specs = infer_columns(table.sample())
        plan = EnsemblePlan(fraud_rate=0.05, identifier_columns=("transaction_id",), time_column="timestamp")
        nothing = MatchResult(True, "nothing alike", ())
        build_ensemble(table, specs, plan, nothing, (), folder / "ensemble", lambda *said: None)
    return folder


def truth(folder: Path) -> np.ndarray:
    return pl.read_csv(folder / "later.csv")["is_fraud"].to_numpy().astype(np.int8)


def monitored(folder: Path, table: Table, **options: Any) -> MonitoringReport:
    """Monitor the version in a folder on a table, at its own threshold."""
    version = MonitoredVersion(load_scorer(folder), TrainingSketch.load(folder), threshold_in(folder))
    return monitor_table(table, version, **options)


def threshold_in(folder: Path) -> float:
    return float(json.loads((folder / "performance.json").read_text())["threshold"])


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["model", "ensemble"])
def test_monitoring_adds_up_whatever_made_the_scores(kind: str, folder: Path) -> None:
    scorer, threshold = load_scorer(folder / kind), threshold_in(folder / kind)
    with open_table(folder / "later.csv") as table:
        report = monitored(folder / kind, table, outcomes=outcomes_within(table, "is_fraud", "1"))
        scored = pl.concat(scorer.score_table(table, reasons_for=None))
    assert read_monitoring(json.loads(json.dumps(monitoring_content(report)))) == report
    scores = scorer.scores_of(scored)
    alerts = int((scores >= threshold).sum())
    assert report.rows == sum(period.rows for period in report.periods) == 2_000
    assert report.alerts is not None
    assert report.alerts.count == sum(day.alerts for day in report.alerts.by_day) == alerts
    assert report.outcomes is not None
    assert report.outcomes.frauds == int(truth(folder).sum())
    expected = average_precision(truth(folder), scores)
    assert report.outcomes.metrics is not None
    assert report.outcomes.metrics["average_precision"] == pytest.approx(expected)
    assert report.outcomes.confusion is not None
    hits = sum((period.recall or 0) * period.frauds for period in report.periods)
    assert hits == pytest.approx(report.outcomes.confusion.tp)
    assert report.score is not None
    assert {drift.verdict for drift in report.drift} <= {"same", "moved", "far"}


def test_the_sample_an_ensemble_was_made_for_has_not_drifted_from_it(folder: Path) -> None:
    with open_table(folder / "unlabelled.csv") as table:
        report = monitored(folder / "ensemble", table)
    assert {drift.verdict for drift in report.drift} == {"same"}
    assert report.score is not None
    assert report.score.index == 0


def test_without_a_sketch_no_drift_is_claimed(folder: Path) -> None:
    with open_table(folder / "later.csv") as table:
        report = monitor_table(table, MonitoredVersion(load_scorer(folder / "model"), None, 0.5))
    assert (report.drift, report.score, report.outcomes) == ((), None, None)
    assert "keeps no sketch" in report.notes[0]


@settings(max_examples=40, deadline=None)
@given(
    days=st.lists(st.integers(0, 5_000), min_size=1, max_size=200),
    most=st.integers(2, 30),
    cuts=st.integers(1, 50),
)
def test_periods_stay_few_and_count_every_row_once(days: list[int], most: int, cuts: int) -> None:
    periods = Periods(most, 1)
    for start in range(0, len(days), cuts):
        some = np.array(days[start : start + cuts])
        periods.add(some, [(None, np.zeros(len(some), dtype=np.int64))])
    found = periods.each()
    assert len(found) <= most
    assert sum(int(row[0]) for _, _, row in found) == len(days)
    assert [first for first, _, _ in found] == sorted(first for first, _, _ in found)
    first = datetime.fromisoformat(found[0][0])
    assert first <= datetime(1970, 1, 1) + timedelta(days=min(days))


def test_outcomes_of_another_table_find_their_rows_by_identifier(folder: Path, tmp_path: Path) -> None:
    rows = pl.read_csv(folder / "later.csv", infer_schema=False)
    rows.select("transaction_id", "is_fraud").sample(1_000, seed=1, shuffle=True).write_csv(
        tmp_path / "o.csv"
    )
    with open_table(tmp_path / "o.csv") as table:
        assert label_column(table.columns, "transaction_id", "is_fraud") == "is_fraud"
        outcomes = read_outcomes(table, "transaction_id", "is_fraud", "1")
    given = pl.read_csv(tmp_path / "o.csv", infer_schema=False)
    known = dict(zip(given["transaction_id"], given["is_fraud"], strict=True))
    expected = [int(known.get(one, UNKNOWN)) for one in rows["transaction_id"]]
    assert outcomes.of(rows).tolist() == expected
    assert outcomes.of(rows.with_columns(transaction_id=pl.lit(None, pl.String))).max() == UNKNOWN


def test_two_outcomes_of_one_row_and_a_lacking_column_are_refused(tmp_path: Path) -> None:
    (tmp_path / "o.csv").write_text("id,fraud,note\n1,0,a\n2,1,b\n1,1,c\n")
    with open_table(tmp_path / "o.csv") as table:
        with pytest.raises(InvalidInput, match="two outcomes"):
            read_outcomes(table, "id", "fraud", "1")
        with pytest.raises(InvalidInput, match="no column"):
            read_outcomes(table, "card", "fraud", "1")
        with pytest.raises(InvalidInput, match="need the columns"):
            label_column(table.columns, "id", "is_fraud")


@pytest.mark.parametrize(
    ("positive", "values", "expected"),
    [
        ("1", ["1", "0", "1.0", "", "yes"], [1, 0, 1, -1, 1]),
        ("Y", ["Y", "n", "true", None, "0"], [1, 0, 1, -1, 0]),
        ("fraud", ["Fraud", "ok", None, "x", "fraud"], [1, 0, -1, 0, 1]),
        (None, ["yes", "no", "perhaps", "1", "0"], [1, 0, -1, 1, 0]),
        (None, ["fraud", "Legit", "legitimate", None, "fraude"], [1, 0, 0, -1, 1]),
        ("1", ["fraud", "legit", "yes", None, "1"], [1, 0, 1, -1, 1]),
    ],
)
def test_outcomes_are_read_as_the_model_learned_them(
    positive: str | None, values: list[str | None], expected: list[int], tmp_path: Path
) -> None:
    pl.DataFrame({"label": values, "other": [1, 2, 3, 4, 5]}).write_parquet(tmp_path / "t.parquet")
    with open_table(tmp_path / "t.parquet") as table:
        outcomes = outcomes_within(table, "label", positive)
        (batch,) = table.batches()
    assert outcomes.of(batch).tolist() == expected


def test_labels_are_read_alike_in_outcomes_scores_and_references(tmp_path: Path) -> None:
    values = ["1", "yes", "TRUE", "0", "no", None] * 10
    pl.DataFrame({"label": values, "amount": range(60)}).write_parquet(tmp_path / "t.parquet")
    with open_table(tmp_path / "t.parquet") as table:
        (batch,) = table.batches()
        within = outcomes_within(table, "label", "1").of(batch)
        beside = known_labels(table, "label", "1", {})
        described = describe(table, infer_columns(table.head(60).select("amount")), "label", "1", [])
    assert within.tolist() == [1, 1, 1, 0, 0, -1] * 10
    assert beside is not None
    assert beside.tolist() == within.tolist()
    assert described.sample[SAMPLE_LABEL].to_list() == [1, 1, 1, 0, 0] * 10


def test_outcomes_that_say_nothing_are_refused_with_what_they_hold(tmp_path: Path) -> None:
    pl.DataFrame({"id": [1, 2], "state": ["open", "shut"]}).write_parquet(tmp_path / "t.parquet")
    with open_table(tmp_path / "t.parquet") as table:
        with pytest.raises(InvalidInput, match=r't\.parquet: state holds "open", "shut": which value'):
            outcomes_within(table, "state", None)
        with pytest.raises(InvalidInput, match="means fraud is not clear"):
            read_outcomes(table, "id", "state", None)
        with pytest.raises(InvalidInput, match="name that of the outcomes"):
            label_column(("id", "state", "note"), "id", "")


def test_a_version_compared_with_itself_differs_in_nothing(folder: Path) -> None:
    side = Side("v", load_scorer(folder / "model"), 0.1)
    with open_table(folder / "later.csv") as table:
        report = compare_on(table, side, side, outcomes=outcomes_within(table, "is_fraud", "1"))
    assert read_comparison(json.loads(json.dumps(comparison_content(report)))) == report
    assert report.rank_correlation == pytest.approx(1)
    assert report.agreement.kappa == 1
    for figure in (report.figures or {}).values():
        assert (figure.difference, figure.verdict) == (0, "overlap")
        # Not [0, 0]: that these rows show no difference does not say that no others would.
        low, high = figure.interval
        assert -0.1 < low <= 0 <= high < 0.1


def test_rows_that_change_are_named_by_their_own_columns_alone(folder: Path) -> None:
    sides = [Side(kind, load_scorer(folder / kind), 0.5) for kind in ("model", "ensemble")]
    with open_table(folder / "later.csv") as table:
        report = compare_on(table, sides[1], sides[0])
    named = {name for row in report.changed for name in row.values}
    assert "transaction_id" in named
    assert not named & SCORE_COLUMNS


def test_a_table_that_one_side_cannot_score_is_refused(folder: Path, tmp_path: Path) -> None:
    pl.read_csv(folder / "later.csv", infer_schema=False).drop("amount").write_csv(tmp_path / "t.csv")
    side = Side("v", load_scorer(folder / "model"), 0.1)
    with open_table(tmp_path / "t.csv") as table, pytest.raises(ColumnsMissing, match="amount"):
        compare_on(table, side, side)


def test_a_better_version_is_called_better_and_the_sides_may_be_changed() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(3_000) < 0.1).astype(np.int8)
    noise = rng.normal(size=3_000)
    good, bad = labels * 2.5 + noise, labels * 0.5 + noise
    forth = paired_figures(labels, bad, good, 1.5, 1.5, seed=1)
    back = paired_figures(labels, good, bad, 1.5, 1.5, seed=1)
    for name in ("average_precision", "roc_auc"):
        assert (forth[name].verdict, back[name].verdict) == ("better", "worse")
    assert list(forth) == ["average_precision", "roc_auc", "precision", "recall"]
    for name, figure in forth.items():
        assert figure.difference == pytest.approx(-back[name].difference)
        low, high = figure.interval
        assert low <= figure.difference <= high


def test_two_versions_that_rank_a_few_frauds_alike_may_rank_the_next_apart() -> None:
    labels = (np.arange(1_000) < 17).astype(np.int8)
    rng = np.random.default_rng(0)
    a, b = (labels * 10 + rng.normal(size=1_000) for _ in range(2))
    figures = paired_figures(labels, a, b, 5.0, 5.0, seed=0)
    for name in ("average_precision", "roc_auc", "recall"):
        low, high = figures[name].interval
        assert figures[name].difference == 0
        assert low < high, name
    alone = paired_figures(labels, a, a, 5.0, 5.0, seed=0)
    assert alone["average_precision"].interval == alone["roc_auc"].interval == (0.0, 0.0)


@pytest.mark.nightly
def test_versions_that_are_equally_good_are_rarely_told_apart() -> None:
    """95 % intervals: of 60 pairs drawn alike, three are expected to seem different."""
    wrong = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        labels = (rng.random(800) < 0.15).astype(np.int8)
        a, b = (labels * 1.5 + rng.normal(size=800) for _ in range(2))
        wrong += paired_figures(labels, a, b, 1.5, 1.5, seed=seed)["average_precision"].verdict != "overlap"
    assert wrong <= 9


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=50))
def test_agreement_counts_every_row_once(pairs: list[tuple[bool, bool]]) -> None:
    a, b = (np.array(side) for side in zip(*pairs, strict=True))
    flags = agreement(a, b)
    assert flags.both + flags.a_only + flags.b_only + flags.neither == len(pairs)
    assert -1 <= flags.kappa <= 1


def test_rows_held_out_are_the_latest_and_the_parts_make_the_table(folder: Path, tmp_path: Path) -> None:
    with open_table(folder / "old.csv") as table:
        held = hold_out(table, PLAN)
        assert np.array_equal(held, hold_out(table, PLAN))
        write_rows(table, held, tmp_path / "held")
        write_rows(table, ~held, tmp_path / "rest")
        times = table.scan().select("timestamp").collect()["timestamp"].to_numpy()
        raw = table.scan().select("transaction_id").collect()["transaction_id"]
    assert 0.1 < held.mean() < 0.3
    assert min(times[held]) > max(times[~held])
    for name, chosen in (("held", held), ("rest", ~held)):
        with open_table(tmp_path / name) as part:
            assert (
                part.scan()
                .select("transaction_id")
                .collect()["transaction_id"]
                .equals(raw.filter(pl.Series(chosen)))
            )


@pytest.mark.parametrize("kind", ["model", "ensemble"])
def test_what_labels_teach_any_kind_of_version_is_applied_alike_however_rows_come(
    kind: str, folder: Path, tmp_path: Path
) -> None:
    labels = truth(folder)
    threshold = json.loads((folder / kind / "performance.json").read_text())["threshold"]
    base = base_scorer(folder / kind)
    with open_table(folder / "later.csv") as table:
        asked = ask_about(table, AlertingScorer(base, threshold), left_out=("is_fraud",), count=60)
        assert all("is_fraud" not in values for values in asked["shown"])
        assert _shown(float("nan")) is _shown(float("inf")) is None
        questions = QuestionSet.from_dict(asked)
        answers = {question.row: int(labels[question.row - 1]) for question in questions.questions}
        made = learn_about(
            LabelledTable(table, answers, questions, left_out=("is_fraud",)), AlertingScorer(base, threshold),
            fraud_rate=0.05,
        )  # fmt: skip
    shutil.copytree(folder / kind, tmp_path / "learned")
    save_learned(tmp_path / "learned", made.learned, made.thresholds)
    scorer = load_scorer(tmp_path / "learned")
    with open_table(folder / "later.csv") as table:
        whole = pl.concat(scorer.score_table(table, reasons_for=None))
        raw = table.scan().collect()
    assert int(whole["is_fraud"].sum()) == made.result["alerts"]
    for start, height in ((0, 7), (1_500, 300)):
        part = scorer.score_frame(raw[start : start + height], reasons_for=None)
        assert part["fraud_probability"].equals(whole["fraud_probability"][start : start + height])
    before = base.scores_of(base.score_frame(raw, reasons_for=None))
    after = whole["fraud_probability"].to_numpy()
    rest = np.setdiff1d(np.arange(len(labels)), np.array(list(answers)) - 1)
    gain = average_precision(labels[rest], after[rest]) - average_precision(labels[rest], before[rest])
    assert gain > -0.05
    (tmp_path / "learned" / LEARNED_FILE).write_text("{}", encoding="utf-8")
    with pytest.raises(ModelUnreadable):
        load_scorer(tmp_path / "learned")


def test_a_column_that_only_a_correction_reads_is_asked_for_up_front(folder: Path, tmp_path: Path) -> None:
    columns = (Column("shop", "level", level="A"),)
    learned = Learned(1.0, 0.0, columns=columns, weights=(1.5, 0.0), specs=(ColumnSpec("shop", "category"),))
    rows = pl.read_csv(folder / "unlabelled.csv", infer_schema=False)
    scorer = LearnedScorer(base_scorer(folder / "model"), learned, Thresholds({"medium": 0.2, "high": 0.5}))
    assert "shop" in scorer.required_columns
    with pytest.raises(ColumnsMissing, match=r"lacks 1 column\(s\) of the model: shop"):
        scorer.score_frame(rows.head(5))
    with open_table(folder / "unlabelled.csv") as table, pytest.raises(ColumnsMissing, match="shop"):
        scorer.score_table(table)
    rows.with_columns(pl.lit("A").alias("Laden")).write_csv(tmp_path / "more.csv")
    with open_table(tmp_path / "more.csv") as table:
        with pytest.raises(InvalidInput, match='no column "Geschäft" to read as "shop"'):
            scorer.score_table(table, columns={"shop": "Geschäft"})
        found = pl.concat(scorer.score_table(table, reasons_for=None, columns={"shop": "Laden"}))
    assert found.height == rows.height


@pytest.mark.parametrize("kind", ["model", "ensemble"])
@pytest.mark.parametrize("way", ["recalibrated", "corrected"])
def test_a_version_that_learned_keeps_of_the_old_report_only_what_is_still_true(
    kind: str, way: str, folder: Path
) -> None:
    before = json.loads((folder / kind / "performance.json").read_text())
    learned = learned_report(
        ModelVersion(name="m", version="v1", report=before),
        Dataset(id="d", filename="later.csv"),
        made_of(way),
        ("amount", "shop"),
    )
    report = report_content(learned)
    assert read_report(report) == learned
    old = {
        "curves",
        "histogram",
        "groups",
        "periods",
        "intervals",
        "confusion",
        "cost",
        "drift",
        "goal",
        "out_of_fold",
    }
    assert not old & report.keys()
    assert (report["threshold"], report["required_columns"]) == (0.75, ["amount", "shop"])
    assert report["learned"]["dataset"] == "d"
    if kind == "ensemble":
        assert sum(report["sample_histogram"]["counts"]) == report["rows"]["sample"] == 100
        assert report["alerts"] == {"high": 25, "medium": 50}
    if way == "corrected":
        assert report["metrics"] == {"average_precision": 0.44}
        few = learned_report(
            ModelVersion(name="m", version="v1", report=before),
            Dataset(id="d", filename="later.csv"), made_of(way, 17), (),
        )  # fmt: skip
        assert few.metrics == {}
        assert few.warnings[-1].startswith("Measured on 17 labels only")
        assert report["learned"]["figures"] is None
        again = learned_report(
            ModelVersion(name="m", version="v2", report=report),
            Dataset(id="d", filename="later.csv"), made_of("recalibrated"), (),
        )  # fmt: skip
        assert again.metrics == {}
    else:
        assert report["metrics"]["precision"] == 0.6
        assert "recall" not in report["metrics"]
        assert report["metrics"].get("roc_auc") == before["metrics"].get("roc_auc")
    if isinstance(learned, TrainedReport):
        assert not any(chart.id == "chart-pr" for chart in model_charts(learned, Words("en")))
        # As versions that learned before this was so have it.
        model_charts(read_trained_report(before | report | {"curves": before["curves"]}), Words("en"))
    without = read_report(before | {"metrics": report["metrics"]})
    compared_curves(without, read_report(before), ("v1", "v2"), Words("en"))


def test_the_score_of_a_version_that_learned_does_not_drift_on_the_table_it_learned_from(
    folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder / "model", tmp_path / "model")
    base = base_scorer(tmp_path / "model")
    learned = Learned(0.4, -3.0)
    with open_table(folder / "later.csv") as table:
        scores = probabilities(learned.margins(margins_of(score_all(table, base).score), pl.DataFrame()))
        high = float(np.sort(scores)[::-1][50])
        save_learned(tmp_path / "model", learned, Thresholds({level.key: high for level in raised_levels()}))
        version = MonitoredVersion(
            load_scorer(tmp_path / "model"), TrainingSketch.load(tmp_path / "model"), high
        )
        before = monitor_table(table, version)
        save_scores(
            tmp_path / "model",
            Made(learned, Thresholds({level.key: high for level in raised_levels()}), {}, scores),
        )
        after = monitor_table(table, replace(version, sketch=TrainingSketch.load(tmp_path / "model")))
    assert before.score is not None
    assert after.score is not None
    assert after.alerts is not None
    assert before.score.verdict == "far"
    assert after.score.index == 0
    assert after.alerts.usual_rate == after.alerts.rate


def made_of(way: str, labels: int = 140) -> Made:
    """What was learned of a table of 100 rows, scored from 0 to 0.99."""
    found = {"average_precision": {"model": 0.3, "corrected": 0.5, "sure": 0.97, "unseen": 0.44}}
    figures = {
        "labels": labels, "frauds": 12, "threshold": 0.75, "notes": [], "average_precision": None, "fraud_rate": None,
        "precision": {"value": 0.6, "low": 0.4, "high": 0.8}, "recall": None,
    }  # fmt: skip
    result = {"way": way, "labels": labels, "frauds": 12, "report": found, "figures": figures}
    return Made(Learned(1.0, 0.0), Thresholds({"medium": 0.5, "high": 0.75}), result, np.arange(100) / 100)


def test_a_version_that_learned_is_taught_again_from_where_it_started(folder: Path, tmp_path: Path) -> None:
    """It alerts on as many rows as before, though the threshold is on the scale that was learned."""
    shutil.copytree(folder / "model", tmp_path / "model")
    base = base_scorer(folder / "model")
    labels = truth(folder)
    rows = np.r_[np.flatnonzero(labels == 1)[:4], np.flatnonzero(labels == 0)[:30]] + 1
    answers = {int(row): int(labels[row - 1]) for row in rows}
    with open_table(folder / "later.csv") as table:
        learned = Learned(0.4, -3.0)
        scores = probabilities(learned.margins(margins_of(score_all(table, base).score), pl.DataFrame()))
        high = float(np.sort(scores)[::-1][49])
        save_learned(tmp_path / "model", learned, Thresholds({level.key: high for level in raised_levels()}))
        made = learn_about(
            LabelledTable(table, answers, left_out=("is_fraud",)),
            AlertingScorer(load_scorer(tmp_path / "model"), high), base, fraud_rate=0.05,
        )  # fmt: skip
    assert made.result["alerts"] == int(np.sum(scores >= high))
    assert made.result["mean_before"] == pytest.approx(scores.mean(), abs=1e-6)


def test_rows_come_in_the_order_of_their_positions(folder: Path) -> None:
    with open_table(folder / "later.csv") as table:
        wanted = np.array([1_999, 3, 3, 700])
        found = rows_at(table, wanted)
        assert found.equals(table.scan().collect()[wanted])
        assert rows_at(table, wanted[:0]).height == 0
