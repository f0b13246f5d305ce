"""Groups in which fraud is missed are found and the others left alone; periods add up."""

from __future__ import annotations

import datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecluse.apps.fraud.evaluation.segments import MOST_PERIODS, by_period, weakest_groups


def table(rows: int = 4_000) -> tuple[pl.DataFrame, np.ndarray, np.ndarray]:
    """A tenth is fraud; of it 80 % is flagged, but 10 % where the channel is "web"."""
    rng = np.random.default_rng(0)
    channel = rng.choice(["shop", "web", "phone"], rows)
    labels = (rng.random(rows) < 0.1).astype(np.int8)
    flagged = (labels == 1) & (rng.random(rows) < np.where(channel == "web", 0.1, 0.8))
    return pl.DataFrame({"channel": channel, "amount": rng.lognormal(3, 1, rows)}), labels, flagged


def test_the_group_in_which_fraud_is_missed_is_named_with_its_counts() -> None:
    frame, labels, flagged = table()
    found = weakest_groups(frame, {"channel": "category", "amount": "number"}, labels, flagged)
    assert [(group.column, group.value) for group in found] == [("channel", "web")]
    rows = (frame["channel"] == "web").to_numpy()
    assert found[0].rows == rows.sum()
    assert found[0].frauds == labels[rows].sum()
    assert found[0].recall == found[0].found / found[0].frauds < 0.3
    assert found[0].precision == pytest.approx(1.0)


def test_a_quarter_of_a_number_and_missing_values_are_groups_too() -> None:
    frame, labels, _ = table()
    amount = frame["amount"].to_numpy()
    large = amount > np.quantile(amount, 0.75)
    known = frame.with_columns(amount=pl.when(pl.Series(large)).then(None).otherwise(pl.col("amount")))
    kinds = {"amount": "number"}
    (of_numbers,) = weakest_groups(frame, kinds, labels, (labels == 1) & ~large)
    (of_missing,) = weakest_groups(known, kinds, labels, (labels == 1) & ~large)
    assert (of_numbers.low, of_numbers.high) == (amount[large].min(), amount[large].max())
    assert (of_missing.value, of_missing.rows) == (None, large.sum())


def test_groups_of_few_frauds_and_differences_by_chance_are_left_alone() -> None:
    frame = pl.DataFrame({"a": ["x"] * 4 + ["y"] * 40})
    labels, flagged = np.ones(44, dtype=np.int8), np.array([False] * 4 + [True] * 39 + [False])
    assert weakest_groups(frame, {"a": "category"}, labels, flagged) == ()


@given(st.lists(st.integers(0, 3_000_000), min_size=1, max_size=200), st.booleans())
def test_the_rows_of_all_periods_add_up(minutes: list[int], with_missing: bool) -> None:
    start = datetime.datetime(2024, 1, 1)
    times = pl.Series("t", [start + datetime.timedelta(minutes=m) for m in minutes], pl.Datetime("us"))
    times = times.extend_constant(None, 1) if with_missing else times
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, len(times)).astype(np.int8)
    found = by_period(times, labels, rng.random(len(times)), 0.5)
    assert sum(period.rows for period in found) == len(minutes)
    assert 1 <= len(found) <= MOST_PERIODS
    assert [period.start for period in found] == sorted(period.start for period in found)


def test_what_cannot_be_known_of_a_period_is_none() -> None:
    times = pl.Series("t", [datetime.datetime(2024, 1, day) for day in (1, 1, 2)], pl.Datetime("us"))
    quiet, busy = by_period(times, np.array([0, 0, 1], dtype=np.int8), np.array([0.1, 0.2, 0.9]), 0.5)
    assert (quiet.recall, quiet.precision, quiet.average_precision) == (None, None, None)
    assert (busy.recall, busy.precision, busy.average_precision) == (1.0, 1.0, 1.0)
