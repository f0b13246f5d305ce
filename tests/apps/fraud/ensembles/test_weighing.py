"""Weights of references use what is known of each, and never turn it round."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecluse.apps.fraud.ensembles.weighing import Merits, accords, home_quality, merits_of, weights_of
from ecluse.apps.fraud.references.facts import ReferenceFacts


def facts(
    precision: float | None, *, rate: float = 0.01, low: float | None = None, away: list[float] | None = None,
    test_rows: int | None = None,
) -> ReferenceFacts:  # fmt: skip
    performance: dict[str, Any] = {"average_precision": precision, "test_rows": test_rows}
    if low is not None:
        performance["intervals"] = {"average_precision": [low, 1.0]}
    tables = {f"t{at}": {"roc_auc": auc} for at, auc in enumerate(away or [])}
    transfer = {"tables": tables, "count": len(tables)} if tables else {}
    return ReferenceFacts("r", "cards", (), {}, 5_000, rate, performance, transfer)


def test_a_poor_reference_never_weighs_more_than_a_good_one_that_fits_about_as_well() -> None:
    """Average precision .16 at home had half the weight beside .71 with a tenth."""
    poor, good = merits_of(facts(0.16), 0.78), merits_of(facts(0.71), 0.72)
    low, high = weights_of([poor, good])
    assert high > low


def test_quality_at_home_is_told_beside_the_rate_of_fraud_there() -> None:
    rare, common = home_quality(facts(0.2, rate=0.001)), home_quality(facts(0.2, rate=0.15))
    assert rare is not None
    assert common is not None
    assert rare > 0.7 > 0.2 > common
    assert home_quality(facts(0.05, rate=0.2)) == 0  # no better than chance
    assert home_quality(facts(None)) is None


def test_what_few_frauds_have_shown_counts_for_less() -> None:
    few, many = (home_quality(facts(1.0, rate=0.01, test_rows=rows)) for rows in (1_000, 50_000))
    assert few is not None
    assert many is not None
    assert few < many < 1
    assert home_quality(facts(0.8, low=0.3)) == home_quality(facts(0.5, low=0.3))


def test_measurements_elsewhere_count_for_more_the_more_there_are() -> None:
    one, many = merits_of(facts(0.9, away=[0.55]), 0.8), merits_of(facts(0.9, away=[0.55] * 10), 0.8)
    assert many.worth < one.worth < merits_of(facts(0.9), 0.8).worth
    assert (many.away, many.tables) == (pytest.approx(0.1), 10)


share = st.floats(0.0, 1.0)
parts = st.tuples(st.floats(0.5, 1.0), share, st.floats(0.3, 1.0), st.floats(-1.0, 1.0))


@given(parts, parts, st.integers(0, 5))
def test_a_reference_that_is_worse_in_everything_never_weighs_more(
    one: tuple[float, float, float, float], other: tuple[float, float, float, float], tables: int
) -> None:
    pairs = list(zip(one, other, strict=True))

    def of(values: list[float]) -> Merits:
        fit, precision, away, accord = values
        return merits_of(facts(precision, away=[away] * tables), fit, accord)

    low, high = weights_of([of([min(pair) for pair in pairs]), of([max(pair) for pair in pairs])])
    assert low <= high
    assert low + high == pytest.approx(1, abs=2e-6)


def test_a_third_that_contradicts_two_has_the_least_accord() -> None:
    rng = np.random.default_rng(0)
    signal = rng.normal(size=2_000)
    found = accords([signal + rng.normal(size=2_000), signal + rng.normal(size=2_000), -signal])
    assert found[2] < min(found[:2])
    assert accords([signal, -signal]) == [1.0, 1.0]  # nobody can say which of two is wrong
