"""Intervals of shares are what the textbooks say they are, stay open at both edges, and are the only ones there are."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from ecluse.intervals import exact, expected_among, matched_difference, wilson

SOURCES = Path(__file__).parents[1] / "src" / "ecluse"

counts = st.integers(1, 500).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of)))
levels = st.floats(0.5, 0.999)


@given(counts)
def test_intervals_are_as_scipy_has_them(seen: tuple[int, int]) -> None:
    test = binomtest(*seen)
    wilsons, exacts = test.proportion_ci(0.95, "wilson"), test.proportion_ci(0.95, "exact")
    assert wilson(*seen) == pytest.approx((wilsons.low, wilsons.high), abs=1e-12)
    assert exact(*seen) == pytest.approx((exacts.low, exacts.high), abs=1e-9)


@given(counts, levels)
def test_an_interval_holds_what_was_seen_mirrors_its_opposite_and_is_narrower_with_more(
    seen: tuple[int, int], level: float
) -> None:
    found, of = seen
    for interval in (wilson, exact):
        low, high = interval(found, of, level)
        assert 0 <= low <= found / of <= high <= 1
        assert interval(of - found, of, level) == pytest.approx((1 - high, 1 - low))
        more = interval(10 * found, 10 * of, level)
        assert more[1] - more[0] < high - low


@pytest.mark.parametrize("interval", [wilson, exact])
def test_17_of_17_is_not_100_to_100_per_cent(interval: object) -> None:
    low, high = interval(17, 17)  # type: ignore[operator]
    assert 0.75 < low < 0.85
    assert high == 1
    assert interval(0, 0) == (0, 1)  # type: ignore[operator]


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60))
def test_the_difference_of_matched_shares_holds_what_was_seen_and_turns_round(
    a: int, b: int, both: int
) -> None:
    of = a + b + both + 1
    low, high = matched_difference(a, b, of)
    assert -1 <= low <= (a - b) / of <= high <= 1
    assert low < high
    assert matched_difference(b, a, of) == pytest.approx((-high, -low))


def test_an_expectation_holds_the_number_as_often_as_it_says() -> None:
    """Probabilities of 400 tables, all off by one shift a table; 95 % is stated."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        margins = rng.normal(-1, 1, 30)
        found = rng.random(30) < 1 / (1 + np.exp(-margins - rng.normal(0, 1.0)))
        low, high = expected_among(float(np.sum(1 / (1 + np.exp(-margins)))), 30, 1.0)
        held += low <= found.sum() <= high
    assert held >= 372


@given(st.integers(1, 10_000), st.floats(0, 1), st.floats(0, 3))
def test_an_expectation_stays_within_its_cases_and_is_wider_with_more_doubt(
    of: int, share: float, doubt: float
) -> None:
    low, high = expected_among(of * share, of, doubt)
    assert 0 <= low <= of * share + 1e-9
    assert of * share - 1e-9 <= high <= of
    wider = expected_among(of * share, of, doubt + 0.5)
    assert wider[0] <= low
    assert high <= wider[1]


def test_no_other_module_makes_intervals_of_shares() -> None:
    """1.96 and binomial quantiles elsewhere would be a second rule."""
    own = re.compile(r"\b1\.9(6|599)|betaincinv|beta\.ppf|2\.576")
    found = [path.name for path in SOURCES.rglob("*.py") if own.search(path.read_text(encoding="utf-8"))]
    assert found == ["intervals.py"]
