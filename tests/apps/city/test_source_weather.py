"""Weather: one row for a day in °C, mm and km/h, from days and hours of two providers."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ecluse.apps.city.calendar import days_between
from ecluse.apps.city.errors import BadRaw
from ecluse.apps.city.sources import weather, weather_values
from tests.apps.city.layers import SAMPLES, Layers, make_layers
from tests.conftest import SHARED

DAY = date(2024, 7, 18)
DAILY, HOURLY = "open-meteo-paris-daily.csv", "open-meteo-paris-hourly.csv"
REAL = SHARED / "city"


@pytest.fixture
def layers(tmp_path: Path) -> Layers:
    return make_layers(tmp_path)


def curate(layers: Layers, first: date = DAY, last: date | None = None) -> pl.DataFrame:
    last = last or first
    weather.curate(layers.raw, replace(layers.work, first=first, last=last))
    return layers.curated.read("weather", first, last)


def weather_on(layers: Layers, day: date = DAY) -> dict[str, Any]:
    (row,) = curate(layers, day).rows(named=True)
    return row


def put(layers: Layers, key: str, content: object) -> None:
    layers.put(f"api/weather/{key}", json.dumps(content))


def crossing(day: date = DAY, **values: object) -> dict[str, Any]:
    excerpt: dict[str, object] = {
        "temp": 20.0,
        "tempmin": 15.0,
        "tempmax": 27.0,
        "precip": 1.5,
        "windspeed": 18.0,
    }
    return {"days": [{"datetime": day.isoformat(), "conditions": "Rain", **excerpt, **values}]}


def hourly(first: str, hours: int, temperature: float = 10.0, **changed: object) -> dict[str, Any]:
    begin = datetime.fromisoformat(first)
    times = [(begin + timedelta(hours=n)).strftime("%Y-%m-%dT%H:%M") for n in range(hours)]
    block: dict[str, object] = {
        "time": times,
        "temperature_2m": [temperature + n / 10 for n in range(hours)],
        "precipitation": [0.25] * hours,
        "wind_speed_10m": [float(n) for n in range(hours)],
        "weather_code": [3] * (hours - 1) + [61],
    }
    units = {"temperature_2m": "°C", "precipitation": "mm", "wind_speed_10m": "km/h"}
    excerpt = {"utc_offset_seconds": 7200, "timezone": "Europe/Paris", "hourly_units": units}
    return {**excerpt, "hourly": block, **changed}


def test_visual_crossing_gives_the_day_of_the_date_alone(layers: Layers) -> None:
    content = crossing()
    content["days"].append({"datetime": "2024-07-19", "temp": 5})
    put(layers, "dt=2024-07-18/hour=06/a.json", content)
    assert weather_on(layers) == {
        "date": DAY,
        "temperature": 20.0,
        "temperature_min": 15.0,
        "temperature_max": 27.0,
        "precipitation": 1.5,
        "wind": 18.0,
        "conditions": "Rain",
        "provider": "Visual Crossing",
        "hours": 24,
    }


@pytest.mark.parametrize(("day", "hours"), [(date(2025, 3, 30), 23), (date(2025, 10, 26), 25)])
def test_a_daily_figure_rests_on_every_hour_of_its_day(layers: Layers, day: date, hours: int) -> None:
    put(layers, f"dt={day}/hour=06/a.json", crossing(day))
    assert weather_on(layers, day)["hours"] == hours


def test_visual_crossing_in_american_units_becomes_metric(layers: Layers) -> None:
    content = {"unitGroup": "us", **crossing(temp=68, tempmin=59, tempmax=80.6, precip=0.1, windspeed=10)}
    put(layers, "dt=2024-07-18/hour=06/a.json", content)
    row = weather_on(layers)
    measures = ("temperature", "temperature_min", "temperature_max", "precipitation", "wind")
    assert [row[name] for name in measures] == pytest.approx([20, 15, 27, 2.54, 16.09344])


def test_the_later_file_wins_over_three_partitions(layers: Layers) -> None:
    put(layers, "dt=2024-07-17/hour=06/forecast.json", crossing(temp=30))
    put(layers, "dt=2024-07-18/hour=06/a.json", crossing(temp=21))
    put(layers, "dt=2024-07-19/hour=01/late.json", crossing(temp=22))
    put(layers, "dt=2024-07-20/hour=01/too-late.json", crossing(temp=40))
    assert weather_on(layers)["temperature"] == 22


def test_hours_become_the_day_in_the_zone_of_the_file(layers: Layers) -> None:
    put(layers, "dt=2024-07-18/hour=00/a.json", hourly("2024-07-18T00:00", 24))
    row = weather_on(layers)
    # The file ends before the stamp that has the rain of the last hour, and begins with rain of the day before.
    assert (row["hours"], row["provider"], row["conditions"]) == (23, "Open-Meteo", "Rain")
    assert row["temperature"] == pytest.approx(10 + 2.3 / 2)
    assert (row["temperature_min"], row["temperature_max"]) == (10.0, 12.3)
    assert (row["precipitation"], row["wind"]) == (5.75, 23.0)


def test_the_rain_at_midnight_fell_on_the_day_before(layers: Layers) -> None:
    """Open-Meteo: precipitation is the sum of the preceding hour, temperature is of the moment."""
    content = hourly("2024-07-18T00:00", 25)
    content["hourly"]["precipitation"] = [3.0] + [0.0] * 23 + [7.0]
    content["hourly"]["temperature_2m"] = [10.0] * 24 + [40.0]
    put(layers, "dt=2024-07-18/hour=00/a.json", content)
    row = weather_on(layers)
    assert (row["precipitation"], row["temperature_max"], row["hours"]) == (7.0, 10.0, 24)
    assert curate(layers, date(2024, 7, 17)).is_empty()  # one hour of rain is no weather of a day


@pytest.mark.parametrize(("day", "hours"), [(date(2024, 3, 31), 23), (date(2024, 10, 27), 25)])
def test_a_day_on_which_the_clocks_change_has_the_rain_of_its_hours(
    layers: Layers, day: date, hours: int
) -> None:
    first = (day - timedelta(days=1)).isoformat()
    put(layers, f"dt={day}/hour=00/a.json", hourly(f"{first}T00:00", 72, utc_offset_seconds=0))
    row = weather_on(layers, day)
    assert (row["hours"], row["precipitation"]) == (hours, hours * 0.25)


def test_hours_told_in_utc_belong_to_the_local_day(layers: Layers) -> None:
    put(layers, "dt=2024-07-18/hour=00/a.json", hourly("2024-07-18T00:00", 24, utc_offset_seconds=0))
    row = weather_on(layers)  # 02:00 to 23:00 local, and the rain of 01:00
    assert (row["hours"], row["wind"], row["precipitation"]) == (22, 21.0, 23 * 0.25)


@pytest.mark.parametrize("zone", ["Europe", "a" * 5000, "../../etc/passwd", "\0", 5])
def test_a_time_zone_that_is_none_leaves_the_citys(layers: Layers, zone: object) -> None:
    content = hourly("2024-07-18T00:00", 24, utc_offset_seconds=None, timezone=zone)
    put(layers, "dt=2024-07-18/hour=00/a.json", content)
    assert weather_on(layers)["temperature"] == pytest.approx(10 + 2.3 / 2)


def test_daily_figures_are_taken_before_the_hours_of_the_same_file(layers: Layers) -> None:
    daily = {"time": ["2024-07-18"], "temperature_2m_max": [29.0], "precipitation_sum": [None]}
    put(layers, "dt=2024-07-18/hour=00/a.json", hourly("2024-07-18T00:00", 24, daily=daily))
    row = weather_on(layers)
    assert row["temperature_max"] == 29.0
    assert row["temperature_min"] == 10.0  # the daily figures lack it, and the hours fill the day
    assert row["precipitation"] is None  # of its last hour the rain is not known


def test_a_few_later_hours_leave_the_daily_figure_and_a_full_day_of_them_does_not(layers: Layers) -> None:
    put(layers, "dt=2024-07-18/hour=00/a.json", crossing(temp=21))
    put(layers, "dt=2024-07-18/hour=01/b.json", hourly("2024-07-18T00:00", 3))
    assert weather_on(layers)["temperature"] == 21
    put(layers, "dt=2024-07-19/hour=01/c.json", hourly("2024-07-18T03:00", 22, temperature=5))
    row = weather_on(layers)
    assert (row["provider"], row["hours"], row["temperature_min"]) == ("Open-Meteo", 24, 5)


#: A mild and a cold day of Paris with their humidity, in °C and in °F, rounded as the answers are.
MILD = {
    "temp": 12.1,
    "tempmin": 8.4,
    "tempmax": 16.0,
    "dew": 8.9,
    "humidity": 81.0,
    "precip": 1.6,
    "windspeed": 19.4,
}
COLD = {
    "temp": -1.5,
    "tempmin": -4.0,
    "tempmax": 2.0,
    "dew": -4.2,
    "humidity": 82.0,
    "precip": 0.0,
    "windspeed": 8.0,
}


def in_us(excerpt: dict[str, float]) -> dict[str, float]:
    warm = {name: round(excerpt[name] * 1.8 + 32, 1) for name in ("temp", "tempmin", "tempmax", "dew")}
    return excerpt | warm | {"precip": excerpt["precip"] / 25.4, "windspeed": excerpt["windspeed"] / 1.609344}


@pytest.mark.parametrize("excerpt", [MILD, COLD], ids=["mild", "cold"])
@pytest.mark.parametrize("says", [True, False])
@pytest.mark.parametrize("is_us", [True, False])
def test_a_file_in_fahrenheit_and_inches_is_known_by_its_word_or_by_its_humidity(
    layers: Layers, excerpt: dict[str, float], says: bool, is_us: bool
) -> None:
    said = {"unitGroup": "us" if is_us else "metric"} if says else {}
    put(layers, "dt=2024-07-18/hour=00/a.json", said | crossing(**(in_us(excerpt) if is_us else excerpt)))
    row = weather_on(layers)
    for column, name in (
        ("temperature", "temp"), ("temperature_min", "tempmin"), ("precipitation", "precip"), ("wind", "windspeed"),
    ):  # fmt: skip
        assert row[column] == pytest.approx(excerpt[name], abs=0.05)


@pytest.mark.parametrize("excerpt", [{"tempmin": 47.0, "temp": 54.0, "tempmax": 61.0}, {"tempmin": 36.0}])
def test_a_file_that_says_no_units_and_is_too_warm_for_its_place_is_refused_whole(
    layers: Layers, excerpt: dict[str, float]
) -> None:
    """It was half taken: 54 °F as 54 °C, and 61 set aside."""
    put(layers, "dt=2024-07-18/hour=00/a.json", {"latitude": 48.86} | crossing(**excerpt))
    assert curate(layers, DAY).is_empty()
    (part,) = layers.curated.parts("weather", DAY)
    assert part.rejected == {weather_values.NO_UNIT: 1}


def test_a_column_without_a_unit_that_cannot_be_in_the_usual_one_is_refused_whole(layers: Layers) -> None:
    content = hourly("2024-07-18T00:00", 25, temperature=62.0)
    del content["hourly_units"]["temperature_2m"]
    put(layers, "dt=2024-07-18/hour=00/a.json", content)
    row = weather_on(layers)
    assert (row["temperature"], row["precipitation"]) == (None, 6.0)
    (part,) = layers.curated.parts("weather", DAY)
    assert part.rejected == {weather_values.NO_UNIT: 24}


def test_units_in_other_spellings_are_converted(layers: Layers) -> None:
    content = hourly("2024-07-18T00:00", 25, temperature=50.0)
    content["hourly_units"] = {
        "temperature_2m": "Fahrenheit",
        "precipitation": "in",
        "wind_speed_10m": "knots",
    }
    put(layers, "dt=2024-07-18/hour=00/a.json", content)
    row = weather_on(layers)
    assert row["temperature_min"] == pytest.approx(10.0)
    assert row["precipitation"] == pytest.approx(24 * 0.25 * 25.4)
    assert row["wind"] == pytest.approx(23 * 1.852)


def test_times_in_seconds_are_read(layers: Layers) -> None:
    content = hourly("2024-07-18T00:00", 2)
    content["hourly"]["time"] = [1721253600, 1721257200]  # 00:00 and 01:00 of the 18th in Paris
    content["daily"] = {"time": [1721253600], "wind_speed_10m_max": [12.5]}
    put(layers, "dt=2024-07-18/hour=00/a.json", content)
    assert weather_on(layers)["wind"] == 12.5


def test_bad_values_and_files_are_set_aside_and_the_day_stays(layers: Layers) -> None:
    put(layers, "dt=2024-07-18/hour=00/a.json", crossing(temp="warm", tempmin=-300, precip=None))
    put(layers, "dt=2024-07-18/hour=01/b.json", {"message": "limit"})
    layers.put("api/weather/dt=2024-07-18/hour=02/c.json", '{"days": [')
    put(layers, "dt=2024-07-18/hour=03/d.json", {"days": [{"datetime": "soon"}, 7]})
    row = weather_on(layers)
    assert (row["temperature"], row["temperature_min"], row["precipitation"]) == (None, None, None)
    assert row["wind"] == 18.0
    (part,) = layers.curated.parts("weather", DAY)
    assert part.rejected == {
        weather_values.BAD_VALUE: 2,
        "the file holds no such records": 1,
        "the file is broken": 1,
        weather_values.NO_DATE: 2,
    }
    assert {weather_on["column"] for weather_on in part.examples} >= {
        "days[0].temp",
        "days[0].tempmin",
        "days[1].datetime",
    }


def test_an_unknown_unit_is_set_aside_not_guessed(layers: Layers) -> None:
    put(layers, "dt=2024-07-18/hour=00/a.json", {"unitGroup": "martian", **crossing()})
    assert curate(layers).height == 0
    (part,) = layers.curated.parts("weather", DAY)
    assert part.rejected == {weather_values.UNKNOWN_UNIT: 1}


def test_a_daily_and_an_hourly_export_make_one_row(layers: Layers) -> None:
    layers.put_sample(DAILY)
    layers.put_sample(HOURLY)
    row = weather_on(layers)
    rows = list(csv.DictReader((SAMPLES / HOURLY).read_text().splitlines()[3:]))[:24]
    mean = sum(float(weather_on["temperature_2m (°C)"]) for weather_on in rows) / 24
    assert row["provider"] == "Open-Meteo"
    assert row["temperature"] == pytest.approx(mean)
    assert row["hours"] == 24


def test_an_export_with_units_and_a_block_of_the_place_is_converted(layers: Layers) -> None:
    text = (
        "latitude,longitude,elevation,utc_offset_seconds,timezone,timezone_abbreviation\n"
        "48.8,2.3,43.0,7200,Europe/Paris,CEST\n\n"
        "time,temperature_2m (°F),wind_speed_10m (m/s)\n2024-07-18T10:00,68,10\n\n"
        "time,temperature_2m_max (°F),precipitation_sum (inch)\n2024-07-18,86,1\n"
    )
    layers.put(f"batch/{HOURLY}", text)
    row = weather_on(layers)
    assert (row["temperature_max"], row["precipitation"]) == pytest.approx((30, 25.4))
    assert (row["temperature"], row["wind"]) == (None, None)  # one hour is no day


def test_what_did_not_change_is_not_written_again(layers: Layers) -> None:
    put(layers, "dt=2024-07-18/hour=00/a.json", crossing())
    curate(layers)
    store = layers.curated._store
    before = [(info.key, info.last_modified) for info in store.list("weather")]
    curate(layers)
    assert [(info.key, info.last_modified) for info in store.list("weather")] == before


@pytest.mark.parametrize(
    ("content", "excerpt"),
    [
        ("", "line 1: there is no table"),
        ("date,temp\n2024-07-18,3\n", "line 1, column 1"),
        ("time,temperature_2m (°C)\n2024-07-18T00:00,3\n2024-07-18T01:00\n", "line 3, column 2"),
        ('time,"temperature\n', "line 1"),
    ],
)
def test_an_export_that_is_none_is_refused_with_line_and_column(
    layers: Layers, content: str, excerpt: str
) -> None:
    layers.put(f"batch/{DAILY}", content)
    with pytest.raises(BadRaw, match=excerpt) as raised:
        curate(layers)
    assert f"batch/{DAILY}" in str(raised.value)


@pytest.mark.skipif(not REAL.exists(), reason="the real files are not beside this checkout")
def test_the_real_exports_give_the_figures_of_their_rows(layers: Layers) -> None:
    for name in (DAILY, HOURLY):
        layers.put(f"batch/{name}", (REAL / name).read_bytes())
    with (REAL / DAILY).open() as text:
        days = {row["time"]: row for row in csv.DictReader(text)}
    with (REAL / HOURLY).open() as text:
        hours = list(csv.DictReader(text))
    first, last = date(2024, 7, 18), date(2024, 8, 7)
    rows = curate(layers, first, last)
    assert rows["date"].to_list() == list(days_between(first, last))
    for row in rows.iter_rows(named=True):
        daily = days[row["date"].isoformat()]
        of_day = [float(h["temperature_2m (°C)"]) for h in hours if h["time"][:10] == row["date"].isoformat()]
        assert row["temperature_max"] == float(daily["temperature_2m_max (°C)"])
        if row["date"] == last:  # the rain of its last hour stands behind the end of the file
            assert row["precipitation"] == pytest.approx(float(daily["precipitation_sum (mm)"]))
        assert row["wind"] == float(daily["wind_speed_10m_max (km/h)"])
        assert row["temperature"] == pytest.approx(sum(of_day) / len(of_day))


@pytest.mark.skipif(not REAL.exists(), reason="the real files are not beside the checkout")
def test_of_the_real_hours_the_rain_of_a_day_is_that_of_the_stamps_from_one_to_midnight(
    layers: Layers,
) -> None:
    layers.put(f"batch/{HOURLY}", (REAL / HOURLY).read_bytes())
    with (REAL / HOURLY).open() as text:
        rain = {row["time"]: float(row["precipitation (mm)"]) for row in csv.DictReader(text)}
    rows = curate(layers, date(2024, 7, 18), date(2024, 8, 6))
    for row in rows.iter_rows(named=True):
        begin = datetime.combine(row["date"], datetime.min.time())
        stamps = [(begin + timedelta(hours=n)).strftime("%Y-%m-%dT%H:%M") for n in range(1, 25)]
        assert row["precipitation"] == pytest.approx(sum(rain[stamp] for stamp in stamps))
        assert row["hours"] == 24
    assert dict(rows.select("date", "precipitation").rows())[date(2024, 7, 20)] == pytest.approx(13.8)
