"""The search keeps the best model it has met, within its deadline."""

from __future__ import annotations

import time

import numpy as np
import pytest

from ecluse.fraud.evaluation import average_precision
from ecluse.fraud.models import FAMILIES, FitData
from ecluse.fraud.search import search_models


def data(rows: int = 900) -> FitData:
    rng = np.random.default_rng(2)
    matrix = rng.normal(size=(rows, 4)).astype(np.float32)
    labels = (matrix[:, 0] * matrix[:, 1] + rng.normal(size=rows) > 1.2).astype(np.int8)
    return FitData(matrix[:600], labels[:600], matrix[600:], labels[600:])


def test_the_best_of_several_families_wins() -> None:
    rows = data()
    result = search_models(rows, seed=0, deadline=time.monotonic() + 60, report=lambda message: None)
    assert {row["family"] for row in result.leaderboard} == set(FAMILIES)
    scores = [row["validation_average_precision"] for row in result.leaderboard]
    assert scores == sorted(scores, reverse=True)
    assert result.best.validation_average_precision >= scores[0] - 0.002
    found = average_precision(rows.valid_labels, result.best.model.predict_margin(rows.valid))
    assert found == result.best.validation_average_precision


def test_a_deadline_in_the_past_still_gives_one_model() -> None:
    result = search_models(data(), seed=0, deadline=time.monotonic() - 1, report=lambda message: None)
    assert len(result.leaderboard) == 1


def test_messages_say_what_is_fitted_and_the_best_so_far() -> None:
    told: list[str] = []
    search_models(data(), seed=0, deadline=time.monotonic() + 60, report=told.append)
    assert told[0].startswith("LightGBM, 1 of up to ")
    assert "Best so far: average precision 0." in told[-1]


def test_a_report_that_raises_stops_the_search() -> None:
    class Stopped(Exception):
        pass

    def report(message: str) -> None:
        if message.startswith("XGBoost"):
            raise Stopped

    with pytest.raises(Stopped):
        search_models(data(), seed=0, deadline=time.monotonic() + 60, report=report)
