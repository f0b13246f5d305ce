"""What is usual: panels by the hour of the clock, typical days, bands and verdicts."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecluse.apps.city.calendar import LocalDay
from ecluse.apps.city.holidays import easter_sunday, is_public_holiday, public_holidays
from ecluse.apps.city.typical import (
    CALIBRATION_DAYS,
    FEWEST,
    LEVELS,
    WEEKS,
    Bands,
    Panel,
    counts_as_sunday,
    panel_of,
    totals,
    typical_days,
    usual_days,
    usual_of_total,
)
from tests.conftest import SHARED

PARIS = ZoneInfo("Europe/Paris")
REAL = SHARED / "city" / "bike-counters-train.parquet"
FIRST = date(2022, 1, 3)  # a Monday
DAY = FIRST + timedelta(days=84)  # Monday 28 March 2022, no holiday near


def panel_of_days(sensors: list[int], days: dict[date, Any]) -> Panel:
    """A panel from tables of (sensors, 24) by date; dates between them that are not there are NaN."""
    first, last = min(days), max(days)
    values = np.full((len(sensors), (last - first).days + 1, 24), np.nan, np.float32)
    for day, table in days.items():
        values[:, (day - first).days] = table
    return Panel(tuple(sensors), first, values)


def frame(begin: datetime, values: list[float | None], sensor: int = 1) -> pl.DataFrame:
    at = [begin + timedelta(hours=n) for n in range(len(values))]
    return pl.DataFrame(
        {"arc": [sensor] * len(values), "at": at, "flow": values},
        schema={"arc": pl.Int32, "at": pl.Datetime("us", "UTC"), "flow": pl.Float64},
    )


def drawn(seed: int, sensors: int = 20, days: int = 85, first: date = FIRST) -> Panel:
    values = np.random.default_rng(seed).gamma(5, 20, (sensors, days, 24)).astype(np.float32)
    return Panel(tuple(range(sensors)), first, values)


def test_a_panel_has_each_hour_of_an_ordinary_day_in_its_place() -> None:
    day = LocalDay(date(2022, 1, 10), PARIS)
    panel = panel_of(frame(day.begin, [float(n) for n in range(24)]), "flow", day.date, day.date, PARIS)
    assert panel.sensors == (1,)
    assert panel.of(day.date)[0].tolist() == list(range(24))


def test_the_hour_that_comes_twice_is_the_mean_of_both() -> None:
    day = LocalDay(date(2022, 10, 30), PARIS)
    panel = panel_of(frame(day.begin, [float(n) for n in range(25)]), "flow", day.date, day.date, PARIS)
    assert panel.of(day.date)[0].tolist() == [0, 1, 2.5, *range(4, 25)]


def test_of_an_hour_that_comes_twice_one_reading_is_enough() -> None:
    day = LocalDay(date(2022, 10, 30), PARIS)
    panel = panel_of(frame(day.begin, [0.0, 1.0, None, 3.0] + [9.0] * 21), "flow", day.date, day.date, PARIS)
    assert panel.of(day.date)[0, 2] == 3


def test_the_hour_that_does_not_come_is_unknown_and_the_rest_in_place() -> None:
    day = LocalDay(date(2022, 3, 27), PARIS)
    panel = panel_of(
        frame(day.begin, [float(n) for n in range(23)]),
        "flow",
        day.date - timedelta(days=1),
        day.date + timedelta(days=1),
        PARIS,
    )
    values = panel.of(day.date)[0]
    assert np.isnan(values[2])
    assert values[[0, 1, 3, 4, 23]].tolist() == [0, 1, 2, 3, 22]
    assert np.isnan(panel.of(day.date + timedelta(days=1))).all()


def test_a_panel_takes_the_sensors_asked_for_in_their_order_and_no_other_day() -> None:
    day = LocalDay(date(2022, 1, 10), PARIS)
    rows = pl.concat([frame(day.begin - timedelta(hours=2), [5.0] * 40, sensor) for sensor in (7, 8, 9)])
    panel = panel_of(rows, "flow", day.date, day.date, PARIS, sensors=[9, 3, 7])
    assert panel.sensors == (9, 3, 7)
    assert np.isfinite(panel.values).sum(axis=(1, 2)).tolist() == [24, 0, 24]


def test_an_empty_frame_gives_an_empty_panel() -> None:
    panel = panel_of(frame(datetime(2022, 1, 1, tzinfo=UTC), []), "flow", FIRST, DAY, PARIS)
    usual = usual_days(panel, DAY)
    assert usual.median.shape == (0, 24)
    assert usual.verdicts(panel.of(DAY)) == []


@pytest.mark.parametrize("count", range(WEEKS + 1))
def test_the_typical_day_is_the_median_of_the_weeks_that_are_known(count: int) -> None:
    days = {DAY - timedelta(days=7 * (n + 1)): np.full((1, 24), 10.0 * n**2) for n in range(count)}
    days[DAY - timedelta(days=90)] = np.full((1, 24), 1000.0)  # too long ago
    medians, counts = typical_days(panel_of_days([1], days), [DAY])
    assert counts.tolist() == [[count]]
    if count < FEWEST:
        assert np.isnan(medians).all()
    else:
        assert (medians == np.median([10.0 * n**2 for n in range(count)])).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), missing=st.floats(0, 0.9))
def test_the_median_agrees_with_numpy_whatever_is_missing(seed: int, missing: float) -> None:
    rng = np.random.default_rng(seed)
    panel = drawn(seed, sensors=3)
    panel.values[rng.random(panel.values.shape) < missing] = np.nan
    medians, _ = typical_days(panel, [DAY])
    same = panel.values[:, [84 - 7 * n for n in range(1, WEEKS + 1)]]
    present = np.isfinite(same).sum(axis=1)
    enough = present >= FEWEST
    assert (np.isfinite(medians[:, 0]) == enough).all()
    for sensor, hour in zip(*np.nonzero(enough), strict=True):
        expected = np.nanmedian(same[sensor, :, hour])
        assert medians[sensor, 0, hour] == pytest.approx(expected, rel=1e-6)


def test_a_holiday_is_compared_with_sundays_and_tells_nothing_of_its_weekday() -> None:
    ascension = date(2022, 5, 26)  # a Thursday
    assert counts_as_sunday(ascension)
    first = ascension - timedelta(days=70)
    days = {
        item: np.full((1, 24), 50.0 if item == ascension else 10.0 if item.weekday() == 6 else 100.0)
        for item in (first + timedelta(days=n) for n in range(80))
    }
    panel = panel_of_days([1], days)
    thursday_after = ascension + timedelta(days=7)
    medians, counts = typical_days(panel, [ascension, thursday_after, ascension - timedelta(days=7)])
    assert medians[0, :, 12].tolist() == [10, 100, 100]
    assert counts.tolist() == [[8, 7, 8]]


def test_the_holidays_of_a_year_are_those_of_the_law() -> None:
    assert easter_sunday(2022) == date(2022, 4, 17)
    assert easter_sunday(2025) == date(2025, 4, 20)
    assert easter_sunday(2038) == date(2038, 4, 25)
    assert {date(2025, 4, 21), date(2025, 5, 29), date(2025, 6, 9)} < public_holidays(2025)
    assert len(public_holidays(2025)) == 11
    assert is_public_holiday(date(2025, 7, 14))
    assert not is_public_holiday(date(2025, 7, 15))


@pytest.mark.parametrize("level", [0, 1])
def test_a_band_holds_its_share_of_exchangeable_days(level: int) -> None:
    panel = drawn(3, sensors=400)
    usual = usual_days(panel, DAY)
    values = panel.of(DAY)
    inside = ((values >= usual.low[level]) & (values <= usual.high[level])).mean()
    assert usual.levels[level] <= inside <= usual.levels[level] + 0.5 * (1 - usual.levels[level])


def test_of_exchangeable_days_1_in_10_is_unusual_and_1_in_100_exceptional() -> None:
    panel = drawn(4, sensors=2000)
    verdicts = usual_days(panel, DAY).verdicts(panel.of(DAY))
    assert 0.08 <= 1 - verdicts.count("as usual") / 2000 <= 0.12
    assert 0.004 <= verdicts.count("exceptional") / 2000 <= 0.018


def test_a_day_far_out_is_exceptional_and_a_day_of_few_hours_unknown() -> None:
    panel = drawn(5)
    values = panel.of(DAY).copy()
    values[0] *= 4
    values[1, 5:] = np.nan
    verdicts = usual_days(panel, DAY).verdicts(values)
    assert verdicts[0] == "exceptional"
    assert verdicts[1] == "unknown"


def test_a_day_of_the_usual_total_at_the_wrong_hours_is_not_as_usual() -> None:
    panel = drawn(6)
    panel.values[:] += np.where(np.arange(24) < 12, 1000, 0)
    values = panel.of(DAY).copy()
    values[0] = values[0, ::-1]
    assert usual_days(panel, DAY).verdicts(values)[0] == "exceptional"


def test_a_sensor_that_is_always_the_same_is_as_usual_until_it_changes() -> None:
    panel = drawn(7)
    panel.values[0] = 7
    usual = usual_days(panel, DAY)
    assert usual.verdicts(panel.of(DAY))[0] == "as usual"
    values = panel.of(DAY).copy()
    values[0] = 8
    assert usual.verdicts(values)[0] == "exceptional"


def test_nothing_of_the_day_or_later_enters_its_typical_day_its_band_or_its_judgement() -> None:
    panel, other = drawn(8, days=95), drawn(8, days=95)
    other.values[:, 84:] = np.random.default_rng(9).gamma(1, 500, other.values[:, 84:].shape)
    item, two = usual_days(panel, DAY), usual_days(other, DAY)
    for name in ("median", "low", "high", "days", "calibration"):
        assert np.array_equal(getattr(item, name), getattr(two, name), equal_nan=True)
    assert item.verdicts(panel.of(DAY)) == two.verdicts(panel.of(DAY))


def test_each_day_that_a_band_rests_on_counts() -> None:
    panel, other = drawn(8), drawn(8)
    other.values[:, 84 - CALIBRATION_DAYS] *= 3
    assert not np.array_equal(usual_days(panel, DAY).high, usual_days(other, DAY).high)


def test_a_sensor_has_the_band_and_the_verdict_that_it_has_among_many() -> None:
    """They are made for some sensors at a time."""
    values = np.random.default_rng(5).normal(100, 20, (300, 85, 24)).astype(np.float32)
    values[np.random.default_rng(6).random(values.shape) < 0.05] = np.nan
    residuals = values[:, :28]
    of_all = Bands.calibrated(residuals, LEVELS)
    for n in (0, 127, 128, 299):
        alone = Bands.calibrated(residuals[n : n + 1], LEVELS)
        np.testing.assert_array_equal(alone.below[:, 0], of_all.below[:, n])
        np.testing.assert_array_equal(alone.above[:, 0], of_all.above[:, n])
        np.testing.assert_array_equal(alone.scores[0], of_all.scores[n])


def test_a_short_history_has_a_typical_day_and_no_band() -> None:
    panel = drawn(10, days=22, first=DAY - timedelta(days=21))
    usual = usual_days(panel, DAY)
    assert usual.days.tolist() == [3] * 20
    assert np.isfinite(usual.median).all()
    assert np.isnan(usual.high).all()
    assert set(usual.verdicts(panel.of(DAY))) == {"unknown"}


def test_no_band_of_a_flow_goes_below_zero() -> None:
    assert (usual_days(drawn(11), DAY).low >= 0).all()


def test_no_band_of_an_occupancy_goes_above_its_ceiling() -> None:
    panel = drawn(11)
    free, bounded = usual_days(panel, DAY), usual_days(panel, DAY, ceiling=float(panel.values.max()) / 2)
    assert np.array_equal(bounded.high, np.minimum(free.high, panel.values.max() / 2))
    assert not np.array_equal(bounded.high, free.high)


def test_the_band_by_hour_follows_the_hours_of_the_long_day() -> None:
    panel = drawn(12, first=date(2022, 10, 30) - timedelta(days=84))
    day = LocalDay(date(2022, 10, 30), PARIS)
    facts = usual_days(panel, day.date).by_hour(0, day)
    assert {len(values) for values in facts.values()} == {25}
    assert facts["median"][2] == facts["median"][3]
    assert facts["low"][5] <= facts["median"][5] <= facts["high"][5]  # type: ignore[operator]


@pytest.mark.skipif(not REAL.exists(), reason="the real counts are not here")
def test_on_real_counters_bands_and_verdicts_hold_their_shares() -> None:
    rows = pl.read_parquet(REAL).select(
        counter=pl.col("counter_id").cast(pl.String),
        at=pl.col("date").dt.replace_time_zone("UTC"),
        count=pl.col("bike_count"),
    )
    first, last = date(2020, 9, 2), date(2021, 8, 8)
    panel = panel_of(rows, "count", first, last, PARIS, sensor="counter")
    inside: list[np.ndarray] = []
    verdicts: list[str] = []
    for n in range(56):
        day = last - timedelta(days=n)
        usual, values = usual_days(panel, day), panel.of(day)
        inside.append((values >= usual.low) & (values <= usual.high))
        verdicts += usual.verdicts(values)
    held = np.mean(inside, axis=(0, 2, 3))
    assert 0.88 <= held[0] <= 0.95
    assert 0.98 <= held[1] <= 0.998
    assert 0.05 <= 1 - verdicts.count("as usual") / len(verdicts) <= 0.18
    assert 0.002 <= verdicts.count("exceptional") / len(verdicts) <= 0.05


def test_a_total_is_unknown_while_most_sensors_are_silent() -> None:
    panel = Panel((1, 2, 3, 4), FIRST, np.ones((4, 5, 24), np.float32))
    panel.values[:2, 1] = np.nan
    panel.values[:3, 2] = np.nan
    total = totals(panel)
    assert total.sensors == ("all",)
    assert total.values[0, :2, 0].tolist() == [4, 2]
    assert np.isnan(total.values[0, 2]).all()


def test_the_usual_total_of_a_zone_is_that_of_its_sensors() -> None:
    panel = drawn(13)
    usual = usual_of_total(panel, DAY, {1: [0, 1, 99], 2: [], 3: list(range(20))})
    assert usual.median[usual.rows[1]] == pytest.approx(
        np.median(panel.values[:2, [84 - 7 * n for n in range(1, 9)]].sum(axis=0), axis=0), rel=1e-5
    )
    assert np.isnan(usual.median[usual.rows[2]]).all()
