"""Where frauds repeat, the split, the threshold and the figures go by distinct frauds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ecluse.apps.fraud.evaluation.split import draw_folds, split_rows
from ecluse.apps.fraud.training.card import model_card
from ecluse.apps.fraud.training.plan import TrainingPlan
from ecluse.apps.fraud.training.training import train
from ecluse.tabular.dataset import open_table
from ecluse.web.i18n import Words


def silent(stage: str, fraction: float, message: str = "") -> None:
    return None


def groups_with_a_repeated_fraud(copies: int, others: int, rest: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and what stays together: one fraud so many times, other frauds and legitimate rows once each."""
    labels = np.array([1] * (copies + others) + [0] * rest, dtype=np.int8)
    groups = np.concatenate([np.zeros(copies), np.arange(1, others + rest + 1)]).astype(np.uint64)
    return labels, groups


@pytest.mark.parametrize("copies", [40, 2_091, 6_000])
def test_parts_hold_their_share_of_the_distinct_frauds(copies: int) -> None:
    labels, groups = groups_with_a_repeated_fraud(copies, 120, 9_000)
    split = split_rows(labels, groups=groups)
    distinct = [len(np.unique(groups[part][labels[part] == 1])) for part in split.parts().values()]
    assert distinct[1] in (23, 24, 25)
    assert distinct[2] in (23, 24, 25)
    where = [name for name, part in split.parts().items() if (groups[part] == 0).any()]
    assert where == ["train"] if copies > 40 else len(where) == 1
    for fold in draw_folds(split, labels, count=8, seed=0):
        held = fold.held
        assert not set(groups[held].tolist()) & set(groups[fold.fit].tolist())
        assert 20 <= len(np.unique(groups[held][labels[held] == 1])) <= 30
        if copies > 40:
            assert (groups[fold.fit] == 0).sum() == copies


def test_a_customer_with_most_of_the_frauds_is_learned_from() -> None:
    labels, groups = groups_with_a_repeated_fraud(500, 60, 3_000)
    split = split_rows(labels, groups=groups, grouped_by="customer")
    assert (groups[split.train] == 0).sum() == 500
    assert int(labels[split.test].sum()) in (11, 12, 13)
    assert any("1 value(s) of customer with 89% of the frauds" in warning for warning in split.warnings)


def test_legitimate_rows_of_which_many_are_equal_stand_in_each_part_and_equal_frauds_in_one() -> None:
    labels = np.array([1] * 60 + [0] * 3_000, dtype=np.int8)
    groups = np.concatenate([np.repeat(np.arange(20), 3), np.full(2_000, 99), np.arange(100, 1_100)])
    split = split_rows(labels, groups=groups.astype(np.uint64))
    parts = list(split.parts().values())
    assert all((groups[part] == 99).sum() > 200 for part in parts)
    assert all(
        not set(groups[one][labels[one] == 1]) & set(groups[other][labels[other] == 1])
        for one, other in ((parts[0], parts[1]), (parts[0], parts[2]), (parts[1], parts[2]))
    )


def test_a_plan_of_before_finds_the_rows_that_were_tested_then() -> None:
    labels, groups = groups_with_a_repeated_fraud(40, 120, 3_000)
    before = split_rows(labels, groups=groups, by_distinct=False)
    assert TrainingPlan.from_dict({"target": "y"}).split_rule == 1
    assert TrainingPlan.from_dict(TrainingPlan("y").to_dict()).split_rule == 2
    # The part of the test rows that this seed gave, by frauds and not by distinct ones.
    assert before.never_held is None
    assert int(labels[before.test].sum()) in (31, 32, 33)


@pytest.mark.nightly
def test_a_byte_identical_table_has_the_same_tested_rows(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    labels = (rng.random(400) < 0.2).astype(int)
    frame = pl.DataFrame({"a": rng.normal(size=400) + labels, "b": rng.normal(size=400), "is_fraud": labels})
    said = []
    for name, plan in (
        ("one", TrainingPlan("is_fraud", budget_s=1)),
        ("two", TrainingPlan("is_fraud", positive_value="1", budget_s=2)),
        ("other", TrainingPlan("is_fraud", budget_s=1, seed=1)),
    ):
        frame.write_csv(tmp_path / f"{name}.csv")
        (tmp_path / name).mkdir()
        with open_table(tmp_path / f"{name}.csv") as table:
            said.append(train(table, plan, tmp_path / name, silent).tested_rows)
    assert said[0] != said[2]
    assert said[0] == said[1]


@pytest.mark.nightly
def test_figures_count_each_distinct_fraud_once_and_say_so(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    kinds = rng.normal(2.0, 1.0, size=(90, 3)).round(3)
    repeated = np.tile([[9.0, 9.0, 9.0]], (900, 1))
    honest = rng.normal(0.0, 1.0, size=(2_500, 3)).round(3)
    values = np.concatenate([repeated, kinds, honest])
    labels = np.array([1] * 990 + [0] * 2_500)
    frame = pl.DataFrame(values, schema=["a", "b", "c"]).with_columns(is_fraud=pl.Series(labels))
    # When they came tells the rows apart, and not what they are.
    frame = frame.with_columns(number=pl.Series(rng.permutation(len(labels)) + 7))
    frame.sample(fraction=1.0, shuffle=True, seed=1).write_csv(tmp_path / "t.csv")
    (tmp_path / "model").mkdir()
    with open_table(tmp_path / "t.csv") as table:
        report = train(table, TrainingPlan("is_fraud", budget_s=2), tmp_path / "model", silent)
    assert report.frauds_repeat is True
    assert report.distinct_frauds["test"] in (17, 18, 19)
    assert report.distinct_frauds["validation"] in (17, 18, 19)
    counts = report.confusion
    assert counts.frauds == report.distinct_frauds["test"]
    low, high = report.intervals["recall"]
    assert high - low > 0.15  # of eighteen frauds, not of nine hundred
    told = next(warning for warning in report.warnings if warning.startswith("Frauds repeat"))
    assert "990 are 91 distinct rows, one of them 900 times" in told
    assert Words("fr").phrase(told).startswith("Des fraudes se répètent")
    assert "18 pour tester" in Words("fr").phrase(told) or report.distinct_frauds["test"] != 18
    assert "| test |" in model_card(report)
    assert report.metrics["f1"] > 0.6
