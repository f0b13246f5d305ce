"""A customer's history knows the past only, and does not change with the rows beside."""

from __future__ import annotations

import warnings
from datetime import datetime, timedelta

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from ecluse.apps.fraud.features.history import (
    CustomerHistory,
    describe_forward,
    freeze_history,
    hash_keys,
    time_blocks,
)

START = datetime(2025, 1, 1)


def payments(rows: list[tuple[str | None, int, float, str]]) -> pl.DataFrame:
    """(customer, hour, amount, device) per row."""
    return pl.DataFrame(
        {
            "customer": pl.Series([row[0] for row in rows], dtype=pl.String),
            "time": pl.Series([START + timedelta(hours=row[1]) for row in rows], dtype=pl.Datetime("us")),
            "amount": pl.Series([row[2] for row in rows], dtype=pl.Float64),
            "device": pl.Series([row[3] for row in rows], dtype=pl.String),
        }
    )


def frozen(frame: pl.DataFrame) -> CustomerHistory:
    return freeze_history(
        frame, customer="customer", time="time", amounts=("amount",), entities=("device",), salt=7
    )


def test_a_row_is_described_against_what_its_customer_did_before() -> None:
    history = frozen(payments([("a", 0, 10.0, "d1"), ("a", 5, 30.0, "d1"), ("b", 1, 7.0, "d2")]))
    seen = history.describe(payments([("a", 6, 60.0, "d2"), ("b", 11, 7.0, "d2"), ("c", 6, 1.0, "d1")]))
    rows, since, ratio, deviations, new = (column.tolist() for column in seen)
    assert rows == [2.0, 1.0, 0.0]
    assert since[:2] == [3_600.0, 36_000.0]
    assert ratio[:2] == [3.0, 1.0]
    assert deviations[0] == 4.0
    assert new[:2] == [1.0, 0.0]
    assert np.isnan([since[2], ratio[2], deviations[2], new[2]]).all()


def test_rows_without_a_customer_are_nobody() -> None:
    history = frozen(payments([(None, 0, 10.0, "d1"), (None, 1, 10.0, "d1")]))
    assert history.describe(payments([(None, 5, 10.0, "d1")]))[0].tolist() == [0.0]


def test_training_rows_never_see_their_own_block_or_later() -> None:
    frame = payments([("a", hour, 10.0, "d") for hour in range(80)])
    blocks = time_blocks(np.arange(80.0))
    rows = describe_forward(frame, frozen(frame))[0]
    for number in range(1, 8):
        assert set(rows[blocks == number].tolist()) == {float(np.sum(blocks < number))}
    assert np.isnan(rows[blocks == 0]).all()


def test_changing_the_future_changes_no_earlier_row() -> None:
    before = [("a", hour, 10.0, "d1") for hour in range(40)]
    quiet = payments(before + [("a", hour, 10.0, "d1") for hour in range(40, 80)])
    wild = payments(before + [("a", hour, 9_999.0, "d2") for hour in range(40, 80)])
    for calm, stormy in zip(
        describe_forward(quiet, frozen(quiet)), describe_forward(wild, frozen(wild)), strict=True
    ):
        assert np.array_equal(calm[:40], stormy[:40], equal_nan=True)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=60))
def test_equal_times_share_a_block_and_blocks_follow_time(times: list[float]) -> None:
    moments = np.array(times)
    blocks = time_blocks(moments)
    order = np.argsort(moments, kind="stable")
    assert np.all(np.diff(blocks[order]) >= 0)
    assert all(len(set(blocks[moments == moment].tolist())) == 1 for moment in times)


@given(st.lists(st.one_of(st.none(), st.text(max_size=40)), min_size=1, max_size=40))
def test_a_hash_does_not_depend_on_the_rows_beside_it(texts: list[str | None]) -> None:
    together = hash_keys(pl.Series(texts, dtype=pl.String), 3)
    alone = [int(hash_keys(pl.Series([text], dtype=pl.String), 3)[0]) for text in texts]
    assert together.tolist() == alone


def test_hashes_of_different_values_differ_and_stay_the_same_for_ever() -> None:
    texts = pl.Series([f"customer {number}" for number in range(20_000)])
    assert len(np.unique(hash_keys(texts, 0))) == 20_000
    assert len(np.unique(hash_keys(pl.Series(np.arange(20_000.0)), 0))) == 20_000
    # Written into saved models: a change here makes every saved history forget its customers.
    assert hash_keys(pl.Series(["alice", None, ""]), 7).tolist() == [
        4955110396839762290,
        0,
        7191089600892374487,
    ]


def test_numbers_without_a_value_and_minus_zero_have_their_place() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        keys = hash_keys(pl.Series([0.0, -0.0, None, 1.5]), 1)
    assert keys[0] == keys[1]
    assert keys[2] == 0
    assert len({int(key) for key in keys}) == 3
