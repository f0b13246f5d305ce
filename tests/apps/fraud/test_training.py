"""Training keeps its promises: the budget, the untouched test part, plain files, clear refusals."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from ecluse.apps.fraud.clock import Effort, Stopwatch
from ecluse.apps.fraud.errors import TrainingTooSlow, UnusableTarget
from ecluse.apps.fraud.evaluation.metrics import Goal
from ecluse.apps.fraud.families import FAMILIES
from ecluse.apps.fraud.features.interactions import helpful
from ecluse.apps.fraud.performance.parts import DroppedColumn
from ecluse.apps.fraud.performance.reports import read_training_report, report_content
from ecluse.apps.fraud.sample import generate
from ecluse.apps.fraud.training.record import TrainingRecord
from ecluse.apps.fraud.training.training import SearchControl, TrainingPlan, TrainingReport, digest_of, train
from ecluse.errors import CannotRepeat, InvalidInput
from ecluse.sentences import unpack
from ecluse.tabular.dataset import open_table

PLAN = TrainingPlan(
    "is_fraud",
    time_column="timestamp",
    customer_column="customer_id",
    identifier_columns=("transaction_id",),
    budget_s=2.0,
    goal=Goal("recall", 0.7),
)
FILES = {
    "feature_engineer.json",
    "feature_selector.json",
    "features.json",
    "model.json",
    "model_card.md",
    "performance.json",
    "training_record.json",
}


def silent(stage: str, fraction: float, message: str) -> None:
    """A progress nobody watches."""


def run(frame: pl.DataFrame, plan: TrainingPlan, folder: Path) -> TrainingReport:
    path = folder / "table.csv"
    frame.write_csv(path)
    with open_table(path) as table:
        return train(table, plan, folder / "model", silent)


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    return generate(rows=4_000, seed=3, fraud_share=0.03)


@pytest.fixture(scope="module")
def trained(frame: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingReport, Path]:
    folder = tmp_path_factory.mktemp("trained")
    return run(frame, PLAN, folder), folder / "model"


def small(rows: int = 300, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    amount = rng.lognormal(3, 1, rows)
    label = (amount + rng.normal(0, 10, rows) > 60).astype(int)
    return pl.DataFrame({"amount": amount, "hour": rng.integers(0, 24, rows), "label": label})


QUICK = TrainingPlan("label", budget_s=1.0)


@pytest.mark.nightly
def test_the_model_beats_chance_and_the_report_says_by_how_much(trained: tuple[TrainingReport, Path]) -> None:
    report = trained[0]
    low, high = report.intervals["average_precision"]
    assert low <= report.metrics["average_precision"] <= high
    assert report.metrics["average_precision"] > 5 * report.baseline.fraud_rate
    assert report.leaderboard[0].validation_average_precision > 0
    assert report.confusion.rows == report.rows["test"]


def test_parts_follow_time_and_add_up(trained: tuple[TrainingReport, Path], frame: pl.DataFrame) -> None:
    report = trained[0]
    assert report.split.kind == "time"
    assert sum(report.rows.values()) == frame.height
    assert str(frame["timestamp"].min())[:10] < report.split.cuts[0] < report.split.cuts[1]


def test_the_folder_holds_plain_files_and_lists_them(trained: tuple[TrainingReport, Path]) -> None:
    folder = trained[1]
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names >= FILES
    assert {Path(name).suffix for name in names} <= {
        ".json",
        ".md",
        ".parquet",
        ".gz",
        ".ubj",
        ".cbm",
        ".svg",
    }
    assert set(json.loads((folder / "model.json").read_text())["files"]) == names - {"model.json"}


def test_the_report_tells_where_and_when_the_model_does_worse(trained: tuple[TrainingReport, Path]) -> None:
    report = trained[0]
    assert sum(period.rows for period in report.periods) == report.rows["test"]
    assert sum(period.alerts for period in report.periods) == (report.confusion.tp + report.confusion.fp)
    assert all(group.recall < report.metrics["recall"] for group in report.groups)
    assert report.label_suspects.rows == report.repeated.of == report.rows["test"]
    assert {drift.column for drift in report.drift} >= {"amount"}


def test_rows_copied_into_the_test_part_and_a_column_that_moves_are_warned_of(tmp_path: Path) -> None:
    frame = small(2_000).with_columns(
        b=pl.Series(np.random.default_rng(1).lognormal(3, 1, 2_000)), t=pl.int_range(2_000)
    )
    late = frame.head(300).with_columns(t=pl.int_range(2_000, 2_300))
    moved = frame.with_columns(
        other=pl.when(pl.col("t") < 1_500).then(1.0).otherwise(5.0) * pl.col("b").round(1)
    )
    report = run(
        pl.concat([moved, late.with_columns(other=moved["other"][:300])]),
        TrainingPlan("label", time_column="t", budget_s=1.0),
        tmp_path,
    )
    assert report.repeated.equal == 300
    assert any("test rows equal a row that was learned from" in warning for warning in report.warnings)


def test_a_goal_that_later_rows_clearly_miss_is_told(tmp_path: Path) -> None:
    frame = small(3_000).with_columns(t=pl.int_range(3_000))
    # In the last fifth what used to tell fraud tells nothing.
    later = pl.Series(np.random.default_rng(5).permutation(frame["label"][2_400:].to_numpy()))
    frame = frame.with_columns(label=pl.concat([frame["label"][:2_400], later]))
    plan = TrainingPlan("label", time_column="t", goal=Goal("precision", 0.8), budget_s=1.0)
    warnings = run(frame, plan, tmp_path).warnings
    assert any("so that 80% of alerts are right; of the test rows" in warning for warning in warnings)


def test_a_handful_of_frauds_is_measured_on_folds_with_intervals(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"a": rng.normal(0, 1, 600), "b": rng.normal(0, 1, 600)})
    frame = frame.with_columns(label=(pl.Series(np.arange(600)) < 15).cast(pl.Int8))
    frame = frame.with_columns(a=pl.col("a") + 4 * pl.col("label"))
    report = run(frame, TrainingPlan("label", budget_s=1.0), tmp_path)
    assert report.measured_on == "folds"
    assert "test" not in report.rows
    assert report.confusion.frauds == 15
    low, high = report.intervals["average_precision"]
    assert low < high
    assert any("come from folds" in warning for warning in report.warnings)
    assert "no part was kept back" in (tmp_path / "model" / "model_card.md").read_text()


def test_a_goal_of_least_cost_reports_what_a_thousand_rows_cost(tmp_path: Path) -> None:
    goal = Goal("cost", missed=100, false_alarm=1)
    report = run(small(1_500), TrainingPlan("label", goal=goal, budget_s=1.0), tmp_path)
    counts, cost = report.confusion, report.cost
    expected = (100 * counts.fn + counts.fp) * 1_000 / report.rows["test"]
    assert cost.per_1000_rows == pytest.approx(expected)
    assert cost.per_1000_rows < cost.per_1000_rows_without_alerts
    assert "1,000 such rows cost" in (tmp_path / "model" / "model_card.md").read_text()


def test_the_report_is_the_content_of_performance_json(trained: tuple[TrainingReport, Path]) -> None:
    report, folder = trained
    saved = unpack(json.loads((folder / "performance.json").read_text()))
    assert saved == report_content(report)
    assert read_training_report(saved) == report


def test_identifiers_are_not_learned_from(trained: tuple[TrainingReport, Path]) -> None:
    report = trained[0]
    assert DroppedColumn("transaction_id", "an identifier") in report.dropped
    assert "transaction_id" not in {item.column for item in report.importances}


def test_customer_names_are_not_written_into_the_model(
    trained: tuple[TrainingReport, Path], frame: pl.DataFrame
) -> None:
    customer = str(frame["customer_id"][0])
    for path in (path for path in trained[1].rglob("*") if path.is_file()):
        assert customer.encode() not in path.read_bytes(), path.name


def test_the_card_tells_figures_split_and_limits(trained: tuple[TrainingReport, Path]) -> None:
    report, folder = trained
    card = (folder / "model_card.md").read_text()
    assert f"{report.metrics['average_precision']:.3f}" in card
    assert "By time" in card
    assert "## Limits" in card
    assert "a recall of 0.7" in card


def test_progress_moves_forward_through_the_stages(tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    path = tmp_path / "table.csv"
    small().write_csv(path)
    with open_table(path) as table:
        train(table, QUICK, tmp_path / "model", lambda stage, share, _: told.append((stage, share)))
    stages = list(dict.fromkeys(stage for stage, _ in told))
    assert stages == ["read", "features", "search", "calibrate", "test", "save"]
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


@pytest.mark.parametrize("stage", ["read", "features", "search", "test"])
def test_a_progress_that_raises_cancels_and_writes_nothing(tmp_path: Path, stage: str) -> None:
    class Cancelled(Exception):
        pass

    def progress(now: str, share: float, message: str) -> None:
        if now == stage:
            raise Cancelled

    path = tmp_path / "table.csv"
    small().write_csv(path)
    with open_table(path) as table, pytest.raises(Cancelled):
        train(table, QUICK, tmp_path / "model", progress)
    assert not (tmp_path / "model").exists()


@pytest.mark.nightly
def test_what_happens_in_the_test_part_changes_no_fitted_file(tmp_path: Path) -> None:
    frame = small(600).with_columns(day=pl.date(2025, 1, 1) + pl.duration(days=pl.int_range(pl.len()) // 3))
    wild = frame.with_columns(
        amount=pl.when(pl.int_range(pl.len()) >= 480).then(pl.col("amount") * 1_000).otherwise("amount"),
        label=pl.when(pl.int_range(pl.len()) >= 480).then(1 - pl.col("label")).otherwise("label"),
    )
    # Seconds enough to look for columns together and to fit again in both, however busy the machine is.
    plan = replace(QUICK, time_column="day", budget_s=40.0, refit=False)
    for name, rows in (("calm", frame), ("wild", wild)):
        (tmp_path / name).mkdir()
        run(rows, plan, tmp_path / name)
    for file in ("feature_engineer.json", "feature_selector.json"):
        calm, wild = (without_salts(tmp_path / name / "model" / file) for name in ("calm", "wild"))
        assert calm == wild


def without_salts(path: Path) -> Any:
    """A state's content but for the salt of its hashes, which each training draws for itself."""

    def keep(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return {name: value for name, value in pairs if name != "salt"}

    return json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=keep)


def relabelled(change: Callable[[pl.Expr], pl.Expr]) -> pl.DataFrame:
    return small().with_columns(label=change(pl.col("label").cast(pl.String)))


@pytest.mark.parametrize(
    ("frame", "plan", "message"),
    [
        (small(), replace(QUICK, target="fraud"), 'no column "fraud"'),
        (small(), replace(QUICK, positive_value="yes"), 'never holds "yes"'),
        (relabelled(lambda label: pl.lit("0")), QUICK, 'holds "0" only'),
        (
            small().with_columns(label=pl.int_range(pl.len()) % 3),
            QUICK,
            "Which value of label means fraud is not clear",
        ),
        (small().with_columns(label=(pl.int_range(pl.len()) < 2).cast(pl.Int8)), QUICK, "2 of 300 rows"),
        (small().select("label"), QUICK, "No column is left"),
    ],
)
def test_a_target_that_cannot_be_learned_is_refused(
    frame: pl.DataFrame, plan: TrainingPlan, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UnusableTarget, match=message):
        run(frame, plan, tmp_path)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (replace(QUICK, time_column="when"), 'no column "when"'),
        (replace(QUICK, excluded=("label",)), "another role"),
        (replace(QUICK, goal=Goal("alerts_per_day", 5)), "time column"),
        (replace(QUICK, time_column="word"), "not as a date or a number"),
    ],
)
def test_a_column_that_does_not_fit_its_role_is_refused(
    plan: TrainingPlan, message: str, tmp_path: Path
) -> None:
    words = small().with_columns(word=pl.Series(["red", "green", "blue"] * 100))
    with pytest.raises(InvalidInput, match=message):
        run(words, plan, tmp_path)


def test_rows_without_a_label_are_left_out_and_reported(tmp_path: Path) -> None:
    gappy = small().with_columns(
        label=pl.when(pl.int_range(pl.len()) % 10 == 0).then(None).otherwise("label")
    )
    report = run(gappy, QUICK, tmp_path)
    assert sum(report.rows.values()) == 270
    assert "30 rows without a value of label were left out." in report.warnings


def test_rows_without_a_readable_time_are_reported(tmp_path: Path) -> None:
    day = (pl.date(2025, 1, 1) + pl.duration(days=pl.int_range(pl.len()))).cast(pl.String)
    frame = small().with_columns(
        day=pl.when(pl.int_range(pl.len()) % 30 == 0).then(pl.lit("soon")).otherwise(day)
    )
    warnings = run(frame, replace(QUICK, time_column="day"), tmp_path).warnings
    assert '10 rows have no readable "day" and count as the earliest.' in warnings


def test_few_frauds_train_with_a_warning(tmp_path: Path) -> None:
    rare = small().sort("amount").with_columns(label=(pl.int_range(pl.len()) >= 292).cast(pl.Int8))
    report = run(rare, QUICK, tmp_path)
    assert "Only 8 rows are fraud" in report.warnings[0]


def test_labels_in_words_are_learned_against_the_named_one(tmp_path: Path) -> None:
    words = small().with_columns(
        label=pl.when(pl.col("label") == 1).then(pl.lit("Bad")).otherwise(pl.lit("ok"))
    )
    report = run(words, replace(QUICK, positive_value="Bad"), tmp_path)
    assert report.positive_value == "Bad"
    assert report.metrics["roc_auc"] > 0.8


def test_a_column_that_is_the_answer_is_left_out_and_named_in_a_warning(tmp_path: Path) -> None:
    leaky = small().with_columns(refund=pl.col("label") * 3.5)
    report = run(leaky, QUICK, tmp_path)
    assert any(text.startswith("refund gives the label away") for text in report.warnings)
    assert {item.column for item in report.importances} == {"amount", "hour"}


def test_without_a_test_part_the_figures_are_of_rows_each_fold_held_out(tmp_path: Path) -> None:
    report = run(small(600), replace(QUICK, test_share=0.0, budget_s=1.0), tmp_path)
    assert report.measured_on == "folds"
    assert sum(report.rows.values()) == 600
    assert "test" not in report.rows
    assert report.metrics["average_precision"] == pytest.approx(
        report.out_of_fold.average_precision, abs=0.05
    )
    assert (tmp_path / "model/model_card.md").exists()


def test_the_members_of_the_blend_are_in_the_report(trained: tuple[TrainingReport, Path]) -> None:
    report, folder = trained[0], trained[1]
    assert sum(member.weight for member in report.members) == pytest.approx(1.0, abs=1e-3)
    assert report.out_of_fold.frauds > 0
    assert len(list(folder.glob("best_model*"))) == len(report.members) + (len(report.members) > 1)


def test_a_stop_ends_the_training_with_the_best_so_far(tmp_path: Path) -> None:
    path, told = tmp_path / "table.csv", [""]
    small(600).write_csv(path)

    def progress(stage: str, share: float, message: str) -> None:
        told.append(message)

    with open_table(path) as table:
        plan = replace(QUICK, budget_s=600.0)
        stops = SearchControl(stop=lambda: "Best so far" in told[-1])
        report = train(table, plan, tmp_path / "model", progress, control=stops)
    assert report.seconds < 300
    assert (tmp_path / "model/model.json").exists()


def test_a_plan_survives_its_trip_through_json() -> None:
    assert TrainingPlan.from_dict(json.loads(json.dumps(PLAN.to_dict()))) == PLAN


@pytest.mark.parametrize("positive", [None, "Y", "yes"])
def test_yes_and_no_are_one_answer_each_however_spelled(tmp_path: Path, positive: str | None) -> None:
    odd = pl.int_range(pl.len()) % 3 == 0
    yes, no = (
        pl.when(odd).then(pl.lit(short)).otherwise(pl.lit(long))
        for short, long in (("Y", "yes"), ("N", "no"))
    )
    mixed = small().with_columns(label=pl.when(pl.col("label") == 1).then(yes).otherwise(no))
    report = run(mixed, replace(QUICK, positive_value=positive), tmp_path)
    assert report.positive_value == "yes"
    frauds = sum(report.fraud_rate[part] * report.rows[part] for part in report.rows)
    assert round(frauds) == small()["label"].sum()


def test_a_positive_value_is_found_whatever_its_case(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    small().with_columns(label=pl.col("label") == 1).write_parquet(path)
    with open_table(path) as table:
        report = train(table, replace(QUICK, positive_value="True"), tmp_path / "model", silent)
    assert report.positive_value == "true"


@pytest.mark.nightly
def test_a_table_of_a_thousand_columns_is_learned_from_its_strongest(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = pl.DataFrame(rng.normal(size=(300, 1_000)).round(4), schema=[f"c{i}" for i in range(1_000)])
    report = run(small().hstack(noise), QUICK, tmp_path)
    assert sum(item.reason.startswith("weaker alone") for item in report.dropped) == 502
    assert report.importances[0].column == "amount"


def test_a_time_column_too_coarse_to_cut_is_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "coarse.csv"
    rows = generate(rows=3_000, seed=5, fraud_share=0.05).with_row_index("n")
    year = pl.when(pl.col("n") < 900).then(1994).when(pl.col("n") < 2_000).then(1995).otherwise(1996)
    rows.with_columns(year.alias("Year")).drop("n", "timestamp").write_csv(path)
    plan = TrainingPlan("is_fraud", time_column="Year", budget_s=1.0)
    (tmp_path / "model").mkdir()
    with open_table(path) as table:
        report = train(table, plan, tmp_path / "model", lambda stage, share, message: None)
    assert any("too coarse" in warning for warning in report.warnings)


def test_a_training_that_takes_more_work_than_asked_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ecluse.apps.fraud.training.saving.OVERRUN", 0.0)
    report = run(small(), QUICK, tmp_path)
    assert any(warning.startswith("Training took") for warning in report.warnings)


def test_a_training_beside_other_programs_names_them_and_not_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stopwatch, "effort", lambda watch: Effort(40.0, 1.5, 1.0, 0.05))
    report = run(small(), QUICK, tmp_path)
    slow = [warning for warning in report.warnings if "s of work" in warning]
    assert slow == [
        "Other programs had the processor: 1 s of work took 40 s. As much was tried as on a quiet machine."
    ]
    assert (report.effort.wall_s, report.effort.processor_share) == (40.0, 0.05)


def test_however_late_it_is_the_model_has_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine the wall clock used to leave one tree, and it was published."""
    usual = run(small(600), replace(QUICK, budget_s=1.0), tmp_path)
    monkeypatch.setattr(Stopwatch, "seconds", lambda watch, exact=False: 1e6)
    late = run(small(600), QUICK, tmp_path)
    assert late.effort.candidates == 1
    assert late.effort.folds == 1  # features of more would have taken the time there was not
    assert late.members[0].rounds > 10
    known = {row.name: row.validation_average_precision for row in usual.leaderboard}
    assert late.out_of_fold.average_precision > known[late.members[0].name] - 0.1


def test_a_training_that_is_given_up_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecluse.apps.fraud.clock.LEAST_WALL_S", 0.0)
    monkeypatch.setattr("ecluse.apps.fraud.clock.MOST_WALL", 0.0)
    with pytest.raises(TrainingTooSlow, match="publishes nothing"):
        run(small(), QUICK, tmp_path)
    assert not (tmp_path / "model").exists()


def test_the_report_says_how_much_was_tried(trained: tuple[TrainingReport, Path]) -> None:
    report = trained[0]
    effort, board = report.effort, report.leaderboard
    assert effort.candidates == len(board) <= effort.candidates_begun <= effort.candidates_planned
    assert effort.rounds == sum(sum(tried.rounds) for tried in board)
    assert {len(tried.rounds) for tried in board} == {effort.folds}
    assert effort.cut_short == tuple(tried.name for tried in board if tried.cut_short)
    assert effort.ended in ("complete", "budget")
    assert 0 < effort.work_s <= effort.wall_s + 0.01
    assert 0 < effort.processor_share <= 1
    assert f"of {effort.candidates_planned} settings" in (trained[1] / "model_card.md").read_text()


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a model."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): digest_of(path) for path in files}


def again(folder: Path, destination: Path) -> TrainingReport:
    """Make the model of a folder again from its record."""
    with open_table(folder / "table.csv") as table:
        record = TrainingRecord.load(folder / "model")
        return train(table, QUICK, destination, silent, repeat=record)


def test_a_training_is_made_again_to_the_byte(trained: tuple[TrainingReport, Path], tmp_path: Path) -> None:
    folder = trained[1].parent
    report = again(folder, tmp_path / "model")
    assert digests(tmp_path / "model") == digests(folder / "model")
    assert report == trained[0]


def test_where_fraud_changed_later_rows_count_more_and_a_repeat_counts_them_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ecluse.apps.fraud.training.portfolio.FAMILIES", {"lightgbm": FAMILIES["lightgbm"]})
    monkeypatch.setattr("ecluse.apps.fraud.training.portfolio.MAX_VARIATIONS", 0)
    rng, rows = np.random.default_rng(0), 2_000
    turn = np.arange(rows) / rows * np.pi
    told, rest = rng.normal(size=(2, rows))
    score = np.cos(turn) * told + np.sin(turn) * rest + 0.3 * rng.normal(size=rows)
    frame = pl.DataFrame(
        {"day": np.arange(rows) / 10, "a": told, "b": rest, "label": (score > 1.3).astype(int)}
    )
    plan = replace(QUICK, time_column="day", budget_s=30.0)
    report = run(frame, plan, tmp_path)
    assert "half_life" in report.leaderboard[0].params
    again(tmp_path, tmp_path / "again")
    assert digests(tmp_path / "again") == digests(tmp_path / "model")


def test_fits_that_the_budget_cut_short_are_made_again_to_the_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of large tables what was cut is kept as it is, and nothing is fitted again."""
    monkeypatch.setattr("ecluse.apps.fraud.training.folds.REFIT_ROWS", 0)
    ticks = iter(range(10**9))  # a clock that moves with each look, so that the end comes amid a fit
    monkeypatch.setattr(Stopwatch, "seconds", lambda watch, exact=False: next(ticks) / 100)
    report = run(small(1_500), replace(QUICK, budget_s=4.0), tmp_path)
    assert report.effort.cut_short
    assert report.refit == "many_rows"
    assert not report.refitted
    monkeypatch.undo()
    monkeypatch.setattr("ecluse.apps.fraud.training.folds.REFIT_ROWS", 0)
    again(tmp_path, tmp_path / "again")
    assert digests(tmp_path / "again") == digests(tmp_path / "model")


def test_another_table_or_library_is_no_repeat(
    trained: tuple[TrainingReport, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = trained[1].parent
    record = TrainingRecord.load(folder / "model")
    small().write_csv(tmp_path / "other.csv")
    with (
        open_table(tmp_path / "other.csv") as table,
        pytest.raises(CannotRepeat, match="not the one that was"),
    ):
        train(table, PLAN, tmp_path / "model", silent, repeat=record)
    here = record.versions | {"lightgbm": "1.0"}
    monkeypatch.setattr("ecluse.apps.fraud.training.record.library_versions", lambda: here)
    with pytest.raises(CannotRepeat, match=rf"lightgbm {record.versions['lightgbm']}, and here is 1\.0"):
        again(folder, tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("content", ["", "[]", '{"format": 1}', '{"format": 2}'])
def test_a_damaged_record_is_refused(content: str, tmp_path: Path) -> None:
    with pytest.raises(CannotRepeat, match="before trainings were recorded"):
        TrainingRecord.load(tmp_path)
    (tmp_path / "training_record.json").write_text(content)
    with pytest.raises(CannotRepeat, match=r"damaged|another format"):
        TrainingRecord.load(tmp_path)


CHANGES: list[tuple[tuple[str | int, ...], Any, str]] = [
    (("table",), "../../etc", "table"),
    (("table",), 5, "table"),
    (("versions", "numpy"), 2, "versions.numpy"),
    (("threads",), 0, "threads"),
    (("threads",), True, "threads"),
    (("threads",), 10**9, "threads"),
    (("salt",), -1, "salt"),
    (("salt",), "1", "salt"),
    (("groups",), [["a"]], "groups"),
    (("folds",), 10**6, "folds"),
    (("refit",), "yes", "refit"),
    (("ended",), "never", "ended"),
    (("for_use",), [], "for_use"),
    (("spent",), {"wall": 1.0}, "spent"),
    (("spent", "wall"), float("inf"), "spent.wall"),
    (("planned",), 1.5, "planned"),
    (("trials",), [], "trials"),
    (("trials", 0, "family"), "os", "trials.family"),
    (("trials", 0, "seed"), None, "trials.seed"),
    (("trials", 0, "seconds"), -1, "trials.seconds"),
    (("trials", 0, "fits"), [], "trials.fits"),
    (("trials", 0, "fits", 0, "rounds"), 10**12, "rounds"),
    (("trials", 0, "fits", 0, "was_cut"), 1, "was_cut"),
    (("trials", 0, "params", "input_model"), "/etc/passwd", "trials.params"),
    (("trials", 0, "params", "machines"), "10.0.0.1:1", "trials.params"),
    (("trials", 0, "params", "snapshot_file"), "/x", "trials.params"),
    (("trials", 0, "params", "rounds"), "many", "trials.params.rounds"),
    (("plan", "other"), 1, "damaged"),
    (("trials", 0, "other"), 1, "damaged"),
]


def test_a_record_that_says_what_no_training_decides_is_refused(
    trained: tuple[TrainingReport, Path], tmp_path: Path
) -> None:
    """It lies in a store: libraries know settings that name files and machines, and counts decide on memory."""
    folder = trained[1].parent / "model"
    assert TrainingRecord.load(folder).trials
    for path, value, named in CHANGES:
        content = json.loads((folder / "training_record.json").read_text())
        inner = content
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = value
        (tmp_path / "training_record.json").write_text(json.dumps(content))
        with pytest.raises(CannotRepeat, match=re.escape(named)):
            TrainingRecord.load(tmp_path)


@pytest.mark.parametrize(("refit", "share", "why"), [(False, 0.2, "unwanted"), (True, 0.0, "all_learned")])
def test_the_report_says_why_the_model_was_not_fitted_on_all_rows(
    refit: bool, share: float, why: str, tmp_path: Path
) -> None:
    report = run(small(), replace(QUICK, refit=refit, test_share=share), tmp_path)
    assert (report.refit, report.refitted) == (why, False)


@pytest.mark.nightly
def test_the_search_for_features_is_charged_once_and_not_to_every_fold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a wide table it took 3 of 10 s, each fold was expected to take as long, and one was left."""
    now = [0.0]

    def slowly(*told: Any, **named: Any) -> frozenset[str]:
        now[0] += 3.0
        return helpful(*told, **named)

    monkeypatch.setattr(Stopwatch, "seconds", lambda watch, exact=False: now[0])
    monkeypatch.setattr("ecluse.apps.fraud.features.features.helpful", slowly)
    monkeypatch.setattr("ecluse.apps.fraud.training.portfolio.MAX_VARIATIONS", 0)
    report = run(small(), replace(QUICK, budget_s=10.0), tmp_path)
    assert report.effort.folds >= 4
    again(tmp_path, tmp_path / "again")
    assert digests(tmp_path / "again") == digests(tmp_path / "model")
