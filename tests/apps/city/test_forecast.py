"""Forecasts of the next day: from days before it alone, reproducible, and measured on series worked out by hand."""

import json
import subprocess
import sys
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from ecluse.apps.city import tables
from ecluse.apps.city.backtest import MODELS, backtest
from ecluse.apps.city.forecast import (
    CURVE_EVERY,
    CUT,
    FEWEST_WEEKS,
    LAST_DAYS,
    TREES,
    Learned,
    chosen,
    forecast,
    forecast_day,
    plain,
    recent_unrest,
)
from ecluse.apps.city.past import Past
from ecluse.apps.city.typical import Bands, Panel, usual_days
from ecluse.errors import InvalidInput
from tests.apps.city.by_hand import arc, local, made

FIRST = date(2022, 1, 3)  # a Monday


def waves(days: int = 91, sensors: int = 6, seed: int = 0) -> Panel:
    """A daily pattern whose level wanders from day to day, so that yesterday tells of today."""
    rng = np.random.default_rng(seed)
    pattern = 50 + 40 * np.sin(np.arange(24) / 24 * 2 * np.pi)
    level = np.exp(np.cumsum(rng.normal(0, 0.12, (sensors, days)), axis=1))
    values = rng.poisson(level[:, :, None] * pattern).astype(np.float32)
    return Panel(tuple(range(sensors)), FIRST, values)


def after(panel: Panel) -> date:
    return panel.first + timedelta(days=panel.values.shape[1])


def test_where_the_level_tells_nothing_the_forecast_is_the_typical_day_and_its_band() -> None:
    values = np.random.default_rng(0).gamma(1, 50, (6, 91, 24)).astype(np.float32)
    panel = Panel(tuple(range(6)), FIRST, values)
    facts, usual = forecast(panel, after(panel), learns=False), usual_days(panel, after(panel))
    assert set(facts.models) == {"typical day"}
    for own, expected in (
        (facts.median, usual.median),
        (facts.low, usual.low[0]),
        (facts.high, usual.high[0]),
    ):
        assert np.array_equal(own, expected)


def test_where_the_level_changed_the_forecast_follows_it() -> None:
    panel = waves()
    panel.values[:, -3:] = 2 * usual_days(panel, after(panel)).median[:, None]
    facts, usual = forecast(panel, after(panel), learns=False), usual_days(panel, after(panel))
    assert set(facts.models) == {"recent level"}
    assert (facts.median > 1.2 * usual.median)[usual.median > 0].mean() > 0.9


def test_a_learned_forecast_is_the_same_for_the_same_seed() -> None:
    panel = waves()
    item, two = (forecast(panel, after(panel), learns=True, seed=3) for _ in range(2))
    assert item.models == two.models
    assert "LightGBM" in item.models
    for name in ("median", "low", "high"):
        assert np.array_equal(getattr(item, name), getattr(two, name))
    assert (item.low >= 0).all()
    assert (item.low <= item.median).all()
    assert (item.median <= item.high).all()


def test_what_was_learned_tells_its_errors_on_days_it_had_not_seen() -> None:
    panel, heard = waves(), list[Learned]()
    forecast(panel, after(panel), learns=True, heard=heard.append)
    errors = heard[0].errors()
    assert errors["absolute_error"] < errors["typical_error"]
    curve = heard[0].errors_by_trees()
    assert [trees for trees, _ in curve] == list(range(CURVE_EVERY, TREES + 1, CURVE_EVERY))
    # Six sensors are fewer than are drawn: with all trees it is the error of all.
    assert curve[-1][1] == pytest.approx(errors["absolute_error"], rel=1e-5)
    assert curve[-1][1] < curve[0][1]


def test_a_history_too_short_to_learn_from_keeps_the_typical_day() -> None:
    panel = waves(days=7 * FEWEST_WEEKS - 1)
    assert "LightGBM" not in forecast(panel, after(panel), learns=True).models


def test_a_counter_that_told_zeros_for_weeks_is_learned_so_that_it_is_followed_when_it_counts_again() -> None:
    panel = waves()
    panel.values[0, 30:] = 0
    facts = forecast(panel, after(panel), learns=True)
    assert facts.models[0] == "LightGBM"
    assert (facts.median[0] < 1).all()


def test_days_of_zeros_alone_do_not_tell_which_forecast_is_nearer() -> None:
    panel = waves()
    panel.values[0, 30:89] = 0
    panel.values[0, 89:] = 2
    past = Past(panel)
    learned = Learned.from_past(past, past.days)
    # Off by 0.3 on days of zeros, where the typical day is never wrong, and by half of what that one is when it counts.
    missed = learned.missed.copy()
    missed[0], missed[0, -2:] = -0.3, 1.0
    facts = chosen(plain(past, past.days, 0.9), replace(learned, missed=missed), past, past.days)
    assert facts.models[0] == "LightGBM"
    missed[0, -2:] = 3.0
    facts = chosen(plain(past, past.days, 0.9), replace(learned, missed=missed), past, past.days)
    assert facts.models[0] != "LightGBM"


def test_an_interval_is_wider_where_the_last_week_of_the_city_was_farther_off_than_the_weeks_before() -> None:
    missed = np.random.default_rng(0).choice([-1.0, 1.0], (5, 28, 24)).astype(np.float32)
    missed[:, -LAST_DAYS:] *= 2
    missed[0, -LAST_DAYS:] *= 100  # one sensor is not the city
    missed[1] = np.nan
    missed[2, :, 3] = np.nan
    assert recent_unrest(missed) == pytest.approx(2 / ((21 + 2 * 7) / 28))
    assert recent_unrest(np.zeros_like(missed)) == recent_unrest(np.full_like(missed, np.nan)) == 1


def test_the_interval_of_a_learned_forecast_is_that_of_the_days_held_out_times_the_unrest_of_the_last() -> (
    None
):
    past = Past(waves())
    learned = Learned.from_past(past, past.days)
    missed = np.random.default_rng(0).normal(0, 1, learned.missed.shape).astype(np.float32)
    restless = missed.copy()
    restless[:, -LAST_DAYS:] *= 3
    facts = [replace(learned, missed=each).forecast(past.days, 0.9) for each in (missed, restless)]
    for each, errors in zip(facts, (missed, restless), strict=True):
        above = Bands.calibrated(errors, (0.9,), CUT).above[0]
        assert np.allclose(each.high, each.median + recent_unrest(errors) * above)
    assert (facts[1].high - facts[0].high).mean() > 1


def test_sensors_that_were_silent_for_long_are_nothing_to_learn_from() -> None:
    panel = waves()
    panel.values[:, 5:] = np.nan
    facts = forecast(panel, after(panel), learns=True)
    assert set(facts.models) == {"typical day"}
    assert np.isnan(facts.median).all()


def test_nothing_of_a_day_or_later_enters_what_its_forecast_rests_on() -> None:
    panel, other = waves(), waves()
    other.values[:, 80:] = np.random.default_rng(1).gamma(1, 500, other.values[:, 80:].shape)
    sensors, days = np.divmod(np.arange(6 * 20), 20)
    item, two = (Past(each).features(sensors, days + 61) for each in (panel, other))
    assert np.array_equal(item, two, equal_nan=True)
    at_81 = [Past(each).features(np.arange(6), np.full(6, 81)) for each in (panel, other)]
    assert not np.array_equal(*at_81, equal_nan=True)
    facts = [forecast(each, FIRST + timedelta(days=80), learns=True) for each in (panel, other)]
    assert np.array_equal(facts[0].median, facts[1].median)
    assert np.array_equal(facts[0].high, facts[1].high)


def test_the_documents_of_tomorrow_have_its_local_hours_and_plain_numbers() -> None:
    day = date(2022, 3, 26)  # the clocks change tomorrow
    past = [day - timedelta(days=n) for n in range(70)]
    roads = pl.DataFrame(
        [{"arc": 7, "at": at, "flow": 100.0 + at.hour} for item in past for at in local(item).starts],
        schema=tables.ROADS,
    )
    bikes = pl.DataFrame(
        [
            {"counter": "100-1", "name": "Piste", "at": at, "count": 5.0}
            for item in past
            for at in local(item).starts
        ],
        schema=tables.BIKES,
    )
    facts = forecast_day(made(day, [roads], [arc(7), arc(8)], bikes=bikes), learns=False)
    json.dumps(facts, allow_nan=False)
    (key,) = facts["forecast/arcs"]  # nothing is known of arc 8
    body = facts["forecast/arcs"][key]
    assert (key, body["arc"], body["label"], body["date"]) == ("7", 7, "Rue_7", "2022-03-27")
    assert (body["model"], body["level"], body["days"]) == ("typical day", 0.9, 8)
    assert [len(values) for values in (*body["flow"].values(), body["hours"])] == [23] * 4
    assert body["flow"]["median"][0] == 123.0  # midnight in Paris is 23:00 UTC
    bike = facts["forecast/bikes"]["100-1"]
    assert (bike["name"], bike["count"]["median"][0], bike["count"]["high"][0]) == ("Piste", 5.0, 5.0)


def test_a_city_without_roads_or_bikes_has_no_forecast() -> None:
    assert forecast_day(made(FIRST), learns=True) == {"forecast/arcs": {}, "forecast/bikes": {}}


def test_importing_forecasts_does_not_load_lightgbm() -> None:
    code = "import sys, ecluse.apps.city.forecast, ecluse.apps.city.backtest; sys.exit('lightgbm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def alternating(weeks: int) -> Panel:
    """Every hour 10 in one week and 20 in the next."""
    weekly = np.repeat([10.0 + 10 * (week % 2) for week in range(weeks)], 7)
    values = np.broadcast_to(weekly[None, :, None], (1, 7 * weeks, 24))
    return Panel(("a",), date(2022, 5, 30), values.astype(np.float32))


def test_a_backtest_gives_the_figures_of_a_series_worked_out_by_hand() -> None:
    # Off by 5, half of 10; but Thursday 14 July and Monday 15 August tell nothing of their weekdays, so that the
    # seven weeks left give 10 or 20: the Mondays are off by 0 and 10, the first Thursday by 10.
    result = backtest(alternating(16), weeks=2, learns=False)
    assert (result.first, result.last) == (date(2022, 9, 5), date(2022, 9, 18))
    naive, typical = result.series["a"]["weekly naive"], result.series["a"]["typical day"]
    assert (naive.mase, naive.coverage, naive.hours) == (1.0, None, 14 * 24)
    assert typical.mase == pytest.approx((11 * 5 + 0 + 10 + 10) / 14 / 10)
    assert typical.coverage == 1.0
    assert (
        result.overall["typical day"].mase_mean == result.overall["typical day"].mase_median == typical.mase
    )


def test_a_backtest_of_learned_forecasts_beats_the_typical_day_where_yesterday_tells() -> None:
    result = backtest(waves(days=112), weeks=2)
    learned, typical = result.overall["LightGBM"], result.overall["typical day"]
    assert learned.mase_mean is not None
    assert typical.mase_mean is not None
    assert learned.mase_mean < 0.8 * typical.mase_mean
    assert learned.coverage is not None
    assert learned.coverage > 0.75
    assert tuple(result.overall) == MODELS


def test_an_hour_counts_where_every_model_told_something() -> None:
    panel = alternating(16)
    panel.values[0, -7, 3] = np.nan
    panel.values[0, -9, 5] = np.nan
    result = backtest(panel, weeks=2, learns=False)
    # The gap nine days before the end also leaves the weekly naive without a value two days before it.
    assert {score.hours for score in result.series["a"].values()} == {14 * 24 - 3}


def test_a_backtest_of_too_short_a_history_says_what_it_needs() -> None:
    with pytest.raises(InvalidInput, match="A backtest of 8 weeks needs 16 weeks of data; there are 10"):
        backtest(alternating(10))


def test_a_backtest_of_sensors_that_were_mostly_silent_says_so() -> None:
    panel = waves(days=112)
    panel.values[:, 10:90] = np.nan
    with pytest.raises(InvalidInput, match="too few values to learn from"):
        backtest(panel, weeks=2)
