"""The regression of a forecast: from days before alone, for few days and strange ones, with values worked out by hand."""

from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ecluse.apps.city.forecast import SHARES, Learned, Learner, nearest_share
from ecluse.apps.city.past import LIKE_DAYS, Past
from ecluse.apps.city.regression import Regression, _least_absolute
from ecluse.apps.city.typical import Panel
from tests.apps.city.test_forecast import FIRST, waves

SENSORS = np.arange(6)


class Twos:
    """Trees that expect every hour to be twice the usual difference above the regression."""

    def predict(self, features: NDArray[Any], **named: Any) -> NDArray[np.float64]:
        return np.full(len(features), 2.0)


def test_days_alike_are_those_of_the_same_kind_alone_whatever_their_weekday() -> None:
    # 91 days from a Monday: each worth its place. 18 April 2022, Easter Monday, would follow the last.
    values = np.broadcast_to(np.arange(105, dtype=np.float32)[None, :, None], (1, 105, 24))
    past = Past(Panel(("a",), FIRST, values))
    assert past.dates[105] == date(2022, 4, 18)
    saturdays, sundays = (
        [n for n, day in enumerate(past.dates) if day.weekday() == weekday] for weekday in (5, 6)
    )
    assert past.like[0, 105, 0] == np.mean(sundays[-LIKE_DAYS:]), "a holiday is as Sundays"
    assert past.like[0, saturdays[-1], 0] == np.mean(saturdays[-1 - LIKE_DAYS : -1])
    assert past.like[0, 98, 0] == np.mean([97 - n for n in (2, 3, 4, 5, 6)]), "Monday, after a working week"


def test_nothing_of_a_day_or_later_enters_what_its_regression_rests_on() -> None:
    panel, other = waves(), waves()
    other.values[:, 80:] = np.random.default_rng(1).gamma(1, 500, other.values[:, 80:].shape)
    sensors, days = np.divmod(np.arange(6 * 20), 20)
    predictors = [Past(each).predictors(sensors, days + 61) for each in (panel, other)]
    assert np.array_equal(*predictors)
    at_81 = [Past(each).predictors(SENSORS, np.full(6, 81)) for each in (panel, other)]
    assert not np.array_equal(*at_81)
    fitted = [Regression.fitted(Past(each), sensors, days + 60) for each in (panel, other)]
    assert np.array_equal(fitted[0].weights, fitted[1].weights)


def test_a_large_city_is_learned_from_part_by_part_and_to_the_last_bit_as_its_halves_alone() -> None:
    panel = waves(days=60, sensors=300)
    panel.values[7], panel.values[:, 40, 7:9] = np.nan, np.nan
    assert len(Past(panel).parts) > 1
    rng = np.random.default_rng(0)
    sensors, days = rng.integers(0, 300, 90), rng.integers(30, 61, 90)
    for half in (slice(0, 140), slice(140, 300)):
        alone = Past(Panel(panel.sensors[half], panel.first, panel.values[half]))
        inside = (sensors >= half.start) & (sensors < half.stop)
        for rows in (Past.features, Past.predictors):
            expected = rows(alone, sensors[inside] - half.start, days[inside])
            assert np.array_equal(rows(Past(panel), sensors, days)[inside], expected, equal_nan=True)


def test_the_parts_of_a_large_city_are_those_of_each_sensor_and_day() -> None:
    past = Past(waves(days=60, sensors=300))
    learner = Learner(Twos(), Regression(np.random.default_rng(0).normal(0, 1, (3, 12))))
    by_regression, by_trees = learner.parts_of_days(past, slice(57, 60))
    assert by_regression.shape == by_trees.shape == (300, 3, 24)
    for sensor, day in ((0, 57), (255, 59), (256, 58), (299, 59)):
        pair = np.array([sensor]), np.array([day])
        expected = learner.regression.departures(past, *pair)[0]
        assert np.array_equal(by_regression[sensor, day - 57], expected)


def test_where_yesterday_tells_of_today_a_regression_is_nearer_than_the_typical_day() -> None:
    past = Past(waves(days=112))
    sensors, days = np.divmod(np.arange(6 * 60), 60)
    regression = Regression.fitted(past, sensors, days + 28)
    sensors, days = np.divmod(np.arange(6 * 24), 24)
    missed = past.residuals[sensors, days + 88] / past.scale[sensors, days + 88]
    left = missed - regression.departures(past, sensors, days + 88)
    assert np.abs(left).mean() < 0.7 * np.abs(missed).mean()


def test_strange_hours_do_not_move_a_regression() -> None:
    predictors = np.random.default_rng(0).normal(0, 1, (2000, 2)).astype(np.float32)
    target = (0.5 * predictors[:, 0]).astype(np.float32)
    target[::10] = 5 * np.sign(predictors[::10, 1])
    assert _least_absolute(predictors, target) == pytest.approx([0.5, 0.0], abs=0.05)


def test_gaps_and_silent_sensors_leave_the_others_a_forecast() -> None:
    panel = waves()
    panel.values[0] = np.nan
    panel.values[1, 40:70] = np.nan
    panel.values[2] = 0
    panel.values[:, 50, 7:9] = np.nan
    past = Past(panel)
    sensors, days = np.divmod(np.arange(6 * 60), 60)
    regression = Regression.fitted(past, sensors, days + 28)
    assert np.isfinite(regression.weights).all()
    today = np.full(6, past.days)
    learner = Learner(Twos(), regression, share=0.0)
    values = learner.predicted(past, SENSORS, today, past.features(SENSORS, today))
    assert np.isnan(values[0]).all()
    assert np.isfinite(values[1:]).all()
    assert (values[2] == 0).all()


def test_a_kind_of_day_that_was_never_seen_is_expected_as_typical() -> None:
    past = Past(waves())
    workdays = np.flatnonzero(past.kinds[28:91] == 0) + 28
    regression = Regression.fitted(past, np.zeros_like(workdays), workdays)
    saturday = np.array([past.dates.index(FIRST + timedelta(days=89))])
    assert past.dates[89].weekday() == 5
    assert (regression.departures(past, np.zeros_like(saturday), saturday) == 0).all()


def test_a_learned_forecast_is_its_regression_and_the_share_of_its_trees() -> None:
    past = Past(waves())
    sensors, days = np.divmod(np.arange(6 * 60), 60)
    regression = Regression.fitted(past, sensors, days + 28)
    today = np.full(6, past.days)
    expected = regression.departures(past, SENSORS, today) + 0.25 * 2
    values = Learner(Twos(), regression, 0.25).predicted(past, SENSORS, today, past.features(SENSORS, today))
    expected = np.maximum(past.typical[SENSORS, today] + expected * past.scale[SENSORS, today], 0)
    assert np.allclose(values, expected, rtol=1e-5)


def test_what_the_trees_add_counts_as_far_as_it_did_on_the_days_held_out() -> None:
    actual, other = np.random.default_rng(0).normal(0, 1, (2, 3, 14, 24)).astype(np.float32)
    actual[0, :3] = np.nan
    nothing = np.zeros_like(actual)
    assert nearest_share(actual, nothing, actual) == 1
    assert nearest_share(actual, actual, other) == 0
    assert nearest_share(actual, nothing, 2 * actual) == 0.5
    assert nearest_share(np.full_like(actual, np.nan), actual, other) == SHARES[0]


def test_the_model_takes_the_share_that_was_nearest_in_its_rehearsal() -> None:
    past = Past(waves(days=112))
    learned = Learned.from_past(past, past.days)
    parts = learned.rehearsal.parts_of_days(past, learned.held_out)
    departures = past.residuals[:, learned.held_out] / past.scale[:, learned.held_out]
    assert learned.learner.share == learned.rehearsal.share == nearest_share(departures, *parts)
    days = np.arange(learned.held_out.start, learned.held_out.stop)
    again = np.stack([learned.rehearsal.of_day(past, day) for day in days], axis=1)
    assert np.allclose(learned.missed, past.values[:, learned.held_out] - again, atol=1e-3, equal_nan=True)
