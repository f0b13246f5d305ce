"""Calibrated scores keep their order and mean what they say."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecluse.apps.fraud.evaluation.calibration import Calibration, fit_calibration
from ecluse.errors import ModelUnreadable


def rows(count: int, bias: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.normal(-2, 2, count)
    labels = (rng.random(count) < 1 / (1 + np.exp(-truth))).astype(np.int8)
    return labels, 3 * truth + bias


@pytest.mark.parametrize(("count", "method"), [(1_500, "platt"), (8_000, "isotonic")])
def test_overconfident_margins_become_honest_probabilities(count: int, method: str) -> None:
    calibration = fit_calibration(*rows(count, bias=5.0))
    assert calibration.method == method
    labels, margins = rows(20_000, bias=5.0, seed=1)
    probabilities = calibration.probabilities(margins)
    for low, high in [(0.0, 0.05), (0.05, 0.3), (0.3, 0.7), (0.7, 1.01)]:
        inside = (probabilities >= low) & (probabilities < high)
        assert probabilities[inside].mean() == pytest.approx(labels[inside].mean(), abs=0.05)


@given(st.lists(st.floats(-30, 30), min_size=2, max_size=50), st.sampled_from([800, 8_000]))
def test_calibration_never_turns_the_order_round(margins: list[float], count: int) -> None:
    calibration = fit_calibration(*rows(count, bias=0.0))
    ordered = calibration.probabilities(np.sort(np.array(margins)))
    assert np.all(np.diff(ordered) >= 0)
    assert ordered.min() >= 0
    assert ordered.max() <= 1


def test_margins_worse_than_chance_are_not_turned_round() -> None:
    labels, margins = rows(2_000, bias=0.0)
    probabilities = fit_calibration(labels, -margins).probabilities(np.array([-5.0, 5.0]))
    assert probabilities[0] <= probabilities[1]


def test_perfectly_separated_margins_give_no_certainty() -> None:
    labels = np.array([0] * 50 + [1] * 5, dtype=np.int8)
    probabilities = fit_calibration(labels, np.where(labels == 1, 8.0, -8.0)).probabilities(
        np.array([-8.0, 8.0])
    )
    assert 0 < probabilities[0] < 0.1
    assert 0.5 < probabilities[1] < 1


@pytest.mark.parametrize("count", [800, 8_000])
def test_a_stored_calibration_gives_the_same_probabilities(count: int) -> None:
    calibration = fit_calibration(*rows(count, bias=1.0))
    again = Calibration.from_dict(json.loads(json.dumps(calibration.to_dict())))
    margins = np.linspace(-20, 20, 101)
    assert np.array_equal(again.probabilities(margins), calibration.probabilities(margins))


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ModelUnreadable, match="beta"):
        Calibration.from_dict({"method": "beta", "slope": 1, "intercept": 0, "knots": [], "values": []})
