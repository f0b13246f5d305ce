"""Numbers in documents: six digits, null for what is missing, and one array like its entries."""

from __future__ import annotations

import json
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ecluse.apps.city.numbers import degrees_list, ratio, rounded, rounded_int, rounded_list, whole_list


def test_a_number_keeps_six_significant_digits() -> None:
    assert [rounded(value) for value in (1234567.0, 0.000123456789, 0.0, None, math.nan, math.inf)] == [
        1234570.0,
        0.000123457,
        0.0,
        None,
        None,
        None,
    ]


def test_what_is_next_to_nothing_is_nothing_as_no_database_would_keep_it() -> None:
    assert [rounded(4.57e-138), rounded(-1e-300), rounded(1e-9)] == [0.0, 0.0, 1e-9]
    assert rounded_list(np.array([4.57e-138, 2.5])) == [0.0, 2.5]


def test_counts_are_written_as_whole_numbers() -> None:
    assert json.dumps(
        [rounded_int(33_123_456.4), rounded_int(math.nan), *whole_list(np.array([3.6, np.nan]))]
    ) == ("[33123456, null, 4, null]")


def test_a_ratio_of_nothing_is_not_known() -> None:
    assert (ratio(1, 3), ratio(1, 0), ratio(None, 2), ratio(0, 2)) == (0.333333, None, None, 0.0)


def test_a_place_keeps_six_decimals() -> None:
    assert degrees_list(np.array([48.871535879911605, np.nan])) == [48.871536, None]


@given(
    st.lists(st.sampled_from([0.0, math.nan]) | st.floats(1e-15, 1e15) | st.floats(-1e15, -1e-15), max_size=8)
)
def test_an_array_is_rounded_like_its_entries(values: list[float]) -> None:
    facts = rounded_list(np.array(values))
    for value, item in zip(values, facts, strict=True):
        alone = rounded(value)
        if alone is None:
            assert item is None
        else:  # a tie of decimal digits may fall either way
            assert math.isclose(item, alone, rel_tol=1.1e-5, abs_tol=1e-300)
            assert float(f"{item:.6g}") == item
