"""Parts of a split never leak into each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecluse.apps.fraud.errors import UnusableTarget
from ecluse.apps.fraud.evaluation.split import Split, draw_folds, shares_later, split_rows
from ecluse.errors import InvalidInput


def labels_of(rows: int, positives: int) -> np.ndarray:
    labels = np.zeros(rows, dtype=np.int8)
    labels[np.linspace(0, rows - 1, positives).astype(int)] = 1
    return labels


def assert_partition(split: Split, rows: int) -> None:
    everything = np.concatenate([split.train, split.validation, split.test])
    assert np.array_equal(np.sort(everything), np.arange(rows))


@given(st.lists(st.integers(0, 20), min_size=30, max_size=200), st.integers(0, 5))
def test_equal_times_never_fall_on_both_sides_of_a_cut(times: list[int], seed: int) -> None:
    moments = np.array(times, dtype=np.float64)
    split = split_rows(labels_of(len(times), len(times) // 3), times=moments, seed=seed)
    assert_partition(split, len(times))
    if split.kind == "time":
        assert moments[split.train].max() < moments[split.validation].min()
        assert moments[split.validation].max() < moments[split.test].min()


def test_three_distinct_times_make_three_parts() -> None:
    years = np.repeat([1994.0, 1995.0, 1996.0], [40, 34, 26])
    split = split_rows(labels_of(100, 30), times=years)
    assert split.kind == "time"
    assert split.cuts == (1995.0, 1996.0)


def test_a_time_column_that_cannot_cut_is_reported_not_ignored() -> None:
    split = split_rows(labels_of(60, 20), times=np.repeat([1.0, 2.0], 30))
    assert split.kind == "random"
    assert "fewer than three distinct values" in split.warnings[0]


def test_rows_without_a_time_train() -> None:
    times = np.arange(100, dtype=np.float64)
    times[95:] = np.nan
    split = split_rows(labels_of(100, 50), times=times)
    assert set(range(95, 100)) <= set(split.train.tolist())


@given(st.lists(st.integers(0, 30), min_size=60, max_size=200), st.integers(0, 9))
def test_rows_of_one_customer_stay_in_one_part(customers: list[int], seed: int) -> None:
    groups = np.array(customers, dtype=np.uint64)
    labels = (groups % 3 == 0).astype(np.int8)
    if len(set(groups[labels == 1].tolist())) < 3 or len(set(customers)) < 9:
        return
    split = split_rows(labels, groups=groups, grouped_by="customer", seed=seed)
    assert_partition(split, len(customers))
    parts = [set(groups[part].tolist()) for part in split.parts().values()]
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]
    assert all(labels[part].sum() > 0 for part in split.parts().values())


def test_the_parts_have_the_promised_sizes_and_fraud_rates() -> None:
    labels = labels_of(1_000, 100)
    split = split_rows(labels, seed=3)
    assert [len(part) for part in split.parts().values()] == [600, 200, 200]
    assert [int(labels[part].sum()) for part in split.parts().values()] == [60, 20, 20]


def test_the_same_seed_gives_the_same_parts() -> None:
    labels = labels_of(300, 30)
    first, again, other = (split_rows(labels, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.test, again.test)
    assert not np.array_equal(first.test, other.test)


@pytest.mark.parametrize(("rows", "positives"), [(50, 0), (50, 2), (50, 50), (50, 49)])
def test_a_target_that_leaves_nothing_to_learn_is_refused_with_its_count(rows: int, positives: int) -> None:
    labels = np.zeros(rows, dtype=np.int8)
    labels[:positives] = 1
    with pytest.raises(UnusableTarget, match=str(rows)):
        split_rows(labels)


def test_fraud_of_two_customers_only_cannot_be_split() -> None:
    labels = np.zeros(90, dtype=np.int8)
    labels[:20] = 1
    groups = np.arange(90, dtype=np.uint64) // 10
    with pytest.raises(UnusableTarget, match=r"2 value\(s\) of client"):
        split_rows(labels, groups=groups, grouped_by="client")


def test_a_table_of_few_distinct_rows_is_split_row_by_row_and_says_so() -> None:
    labels = labels_of(200, 60)
    split = split_rows(labels, groups=labels.astype(np.uint64))
    assert [len(part) for part in split.parts().values()] == [120, 40, 40]
    assert "both sides" in split.warnings[0]


@given(st.integers(60, 300), st.integers(20, 40), st.integers(0, 5))
def test_four_folds_hold_every_learned_row_once_and_no_test_row(rows: int, positives: int, seed: int) -> None:
    labels = labels_of(rows, positives)
    split = split_rows(labels, seed=seed)
    folds = draw_folds(split, labels, count=4, seed=seed)
    assert np.array_equal(folds[0].held, split.validation)
    assert np.array_equal(np.sort(np.concatenate([fold.held for fold in folds])), split.learning)
    for fold in folds:
        assert np.array_equal(np.sort(np.concatenate([fold.fit, fold.held])), split.learning)
        assert fold.panel == 0


def test_a_second_draw_of_folds_is_a_panel_of_its_own() -> None:
    labels = labels_of(200, 40)
    split = split_rows(labels)
    folds = draw_folds(split, labels, count=8, seed=0)
    assert [fold.panel for fold in folds] == [0] * 4 + [1] * 4
    assert np.array_equal(np.sort(np.concatenate([fold.held for fold in folds[4:]])), split.learning)


def test_rows_of_one_customer_stay_in_one_fold() -> None:
    rng = np.random.default_rng(0)
    labels, customers = labels_of(600, 150), rng.integers(0, 60, 600).astype(np.uint64)
    split = split_rows(labels, groups=customers, grouped_by="customer")
    for fold in draw_folds(split, labels, count=4, seed=0):
        assert not set(customers[fold.fit]) & set(customers[fold.held])


def test_folds_by_time_look_forward_each_in_a_panel_of_its_own() -> None:
    labels, times = labels_of(400, 100), np.arange(400.0)
    split = split_rows(labels, times=times)
    folds = draw_folds(split, labels, count=4, seed=0)
    assert [fold.panel for fold in folds] == [0, 1]
    for fold in folds:
        assert times[fold.fit].max() < times[fold.held].min()
    assert np.array_equal(np.sort(np.concatenate([folds[1].fit, folds[1].held])), folds[0].fit)


def test_the_age_of_a_row_counts_later_rows_whatever_the_dates() -> None:
    near, far = (np.array([2.0, 1.0, 1.0, first]) for first in (0.0, -np.inf))
    assert shares_later(near).tolist() == shares_later(far).tolist() == [0.0, 0.25, 0.25, 0.75]
    assert not len(shares_later(near[:0]))


def test_without_a_test_share_all_rows_are_learned_from() -> None:
    labels = labels_of(400, 100)
    for times in (None, np.arange(400.0)):
        split = split_rows(labels, times=times, test_share=0.0)
        assert_partition(split, 400)
        assert len(split.test) == 0
        assert len(split.validation) == pytest.approx(100, abs=2)


def test_a_test_share_beyond_half_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"0\.9"):
        split_rows(labels_of(100, 10), test_share=0.9)
