"""Rows on both sides of a split, labels that contradict and columns that drift are counted and named."""

from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from ecluse.apps.fraud.performance.parts import Repeated
from ecluse.apps.fraud.profiling.parts import (
    contradictions,
    drifts,
    label_suspects,
    repeats,
    step_to,
    warn_of_contradictions,
    warn_of_drift,
    warn_of_repeats,
)

KINDS = {"a": "number", "b": "number", "c": "number", "place": "category"}


def spread(rows: int, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    numbers = {name: rng.lognormal(5, 1, rows) for name in "abc"}
    return pl.DataFrame(numbers | {"place": rng.choice(["here", "there"], rows)})


def halves(rows: int) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(rows // 2), np.arange(rows // 2, rows)


def test_independent_rows_are_not_called_repeated() -> None:
    found = repeats(spread(2_000), KINDS, *halves(2_000))
    assert (found.equal, found.of) == (0, 1_000)
    assert warn_of_repeats(found) == []


@given(copied=st.integers(0, 200), touched=st.integers(0, 200))
def test_every_copied_row_is_counted_as_equal_and_every_touched_one_as_nearly_equal(
    copied: int, touched: int
) -> None:
    early = spread(1_000)
    late = early.slice(0, copied).vstack(
        early.slice(300, touched).with_columns(pl.col("a") * (1 + 1e-9), pl.col("b") * (1 - 1e-9))
    )
    frame = early.vstack(late).vstack(spread(1, seed=9))
    found = repeats(frame, KINDS, np.arange(1_000), np.arange(1_000, frame.height))
    assert found.equal == copied
    assert touched - 5 <= found.nearly <= touched


def test_few_values_that_meet_by_chance_are_not_called_nearly_equal() -> None:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({name: rng.integers(0, 50, 2_000).astype(float) for name in "abc"})
    assert repeats(frame, dict.fromkeys("abc", "number"), *halves(2_000)).nearly == 0


def test_repeated_rows_are_warned_of_from_one_in_a_hundred() -> None:
    assert warn_of_repeats(Repeated(10, 10, 1_000)) == []
    equal, nearly = warn_of_repeats(Repeated(1_100, 12, 1_100))
    assert equal.startswith("1,100 of 1,100 test rows equal a row that was learned from")
    assert nearly.startswith("12 of 1,100 test rows nearly equal")


def test_a_fraud_with_a_legitimate_twin_is_counted() -> None:
    frame = pl.DataFrame({"a": [1.0, 1.0, 2.0, 3.0], "b": ["x", "x", "x", None]})
    labels = np.array([1, 0, 1, 1], dtype=np.int8)
    assert contradictions(frame, ["a", "b"], labels) == 1
    assert contradictions(frame, ["b"], labels) == 2
    assert contradictions(frame, [], labels) == 0
    assert warn_of_contradictions(1, 100) == []
    assert "2 of 100 frauds equal a row" in warn_of_contradictions(2, 100)[0]


def test_the_columns_that_moved_are_named_and_the_others_are_not() -> None:
    before, now = spread(5_000), spread(2_000, seed=1).with_columns(pl.col("b") * 4, place=pl.lit("there"))
    found = drifts(before, now, KINDS)
    assert {drift.column for drift in found if drift.verdict == "far"} == {"b", "place"}
    (warning,) = warn_of_drift(found)
    assert warning.split(":")[0] in ("b, place", "place, b")
    assert warn_of_drift(drifts(before, spread(2_000, seed=2), KINDS)) == []


def test_chance_between_few_rows_is_no_drift() -> None:
    assert warn_of_drift(drifts(spread(40), spread(15, seed=1), KINDS)) == []


def test_swapped_labels_are_among_the_suspects() -> None:
    rng = np.random.default_rng(0)
    truth = (rng.random(4_000) < 0.1).astype(np.int8)
    scores = np.where(truth == 1, 0.9, 0.05) + rng.normal(0, 0.01, 4_000)
    clean = label_suspects(truth, scores)
    wrong = truth.copy()
    wrong[np.flatnonzero(truth == 1)[:30]] = 0
    found = label_suspects(wrong, scores)
    assert clean.legitimate == 0
    assert found.legitimate >= 10
    assert found.rows == 4_000


def test_rows_that_may_all_be_counted_are_all_counted() -> None:
    assert [step_to(rows) for rows in (0, 1, 50_000, 50_001, 100_000)] == [1, 1, 1, 2, 2]
