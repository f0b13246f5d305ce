"""Drift is nothing where nothing moved, and is told from chance where something did."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecluse.apps.fraud.evaluation.drift import (
    SKETCH_FILE,
    DriftCounter,
    TrainingSketch,
    drift_of,
    reference_of,
    sketch_training,
    stability_index,
)
from ecluse.apps.fraud.tables.columns import ColumnSpec
from ecluse.errors import ModelUnreadable

SPECS = (
    ColumnSpec("amount", "number"),
    ColumnSpec("country", "category"),
    ColumnSpec("at", "datetime"),
    ColumnSpec("memo", "text"),
)
counts = st.lists(st.integers(0, 10_000), min_size=2, max_size=20)


def rows(seed: int, height: int = 4_000, moved: float = 0.0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    seconds = rng.integers(0, 86_400 * 90, height)
    return pl.DataFrame(
        {
            "amount": pl.Series(
                np.where(rng.random(height) < 0.1, np.nan, rng.lognormal(3 + moved, 1, height))
            ).fill_nan(None),
            "country": rng.choice(["FR", "DE", "ES"], height, p=[0.6, 0.3, 0.1]),
            "at": pl.Series(seconds.astype(np.int64) * 1_000_000).cast(pl.Datetime("us"))
            + (datetime(2025, 1, 1) - datetime(1970, 1, 1)),
            "memo": ["text"] * height,
        }
    )


@given(before=counts, times=st.integers(1, 50))
def test_equal_shares_have_an_index_of_zero(before: list[int], times: int) -> None:
    assert stability_index(before, np.array(before) * times) == 0


@given(
    pair=st.integers(2, 20).flatmap(
        lambda n: st.tuples(*[st.lists(st.integers(0, 10_000), min_size=n, max_size=n)] * 2)
    )
)
def test_the_index_is_never_negative_and_the_same_both_ways(pair: tuple[list[int], list[int]]) -> None:
    first, second = pair
    there, back = stability_index(first, np.array(second)), stability_index(second, np.array(first))
    assert there >= 0
    assert there == pytest.approx(back)


def test_the_rows_a_sketch_was_made_of_have_not_moved() -> None:
    frame = rows(1)
    sketch = sketch_training(frame, SPECS)
    counter = DriftCounter(sketch.columns)
    counter.add(frame)
    assert [drift.index for drift in counter.drifts()] == [0, 0, 0]
    assert {drift.column for drift in counter.drifts()} == {"amount", "country", "at"}


def test_chance_alone_is_rarely_taken_for_drift() -> None:
    reference = reference_of(rows(1)["amount"], "number")
    assert reference is not None
    far = 0
    for seed in range(200):
        small = rows(seed + 2, 60)["amount"]
        drift = drift_of(reference, np.bincount(reference.bins(small), minlength=len(reference.counts)))
        far += drift.verdict != "same"
    assert far <= 24  # 5 % of 200 are expected


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(1, 3_999), max_size=5, unique=True))
def test_any_batches_count_the_same(cuts: list[int]) -> None:
    sketch, frame = sketch_training(rows(1), SPECS), rows(2, moved=0.3)
    whole, parts = DriftCounter(sketch.columns), DriftCounter(sketch.columns)
    whole.add(frame)
    bounds = [0, *sorted(cuts), len(frame)]
    for low, high in pairwise(bounds):
        parts.add(frame[low:high])
    assert parts.drifts() == whole.drifts()


def test_a_moved_column_stands_first_and_far() -> None:
    counter = DriftCounter(sketch_training(rows(1), SPECS, importance={"amount": 0.7}).columns)
    counter.add(rows(2, moved=1.0))
    first, *others = counter.drifts()
    assert (first.column, first.verdict, first.importance) == ("amount", "far", 0.7)
    assert first.missing_before == pytest.approx(0.1, abs=0.02)
    assert {drift.verdict for drift in others} == {"same"}


def test_new_values_are_named_with_their_share() -> None:
    counter = DriftCounter(sketch_training(rows(1), SPECS).columns)
    frame = rows(2).with_columns(
        pl.when(pl.int_range(4_000) < 1_000).then(pl.lit("IT")).otherwise("country").alias("country")
    )
    counter.add(frame)
    country = next(drift for drift in counter.drifts() if drift.column == "country")
    assert country.new_levels == (("IT", 0.25),)
    assert country.verdict == "far"


def test_later_days_alone_are_no_drift_but_other_hours_are() -> None:
    sketch = sketch_training(rows(1), SPECS)
    later, night = DriftCounter(sketch.columns), DriftCounter(sketch.columns)
    moved = rows(2).with_columns(pl.col("at").dt.offset_by("400d"))
    later.add(moved)
    night.add(moved.with_columns(pl.col("at").dt.truncate("1d").dt.offset_by("3h")))
    assert {d.verdict for d in later.drifts()} == {"same"}
    assert next(d.verdict for d in night.drifts() if d.column == "at") == "far"


def test_a_sketch_comes_back_from_its_file_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    scores = np.random.default_rng(0).beta(1, 20, 2_000)
    sketch = sketch_training(rows(1), SPECS, scores=scores, threshold=0.2, until=17.5)
    assert TrainingSketch.load(tmp_path) is None
    sketch.save(tmp_path)
    assert TrainingSketch.load(tmp_path) == sketch
    assert sketch.alert_rate == pytest.approx(np.mean(scores >= 0.2))
    (tmp_path / SKETCH_FILE).write_text('{"format": 1}', encoding="utf-8")
    with pytest.raises(ModelUnreadable):
        TrainingSketch.load(tmp_path)
