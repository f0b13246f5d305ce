"""Weather of a day: categories, score, and what such days did to bikes and roads."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest

from ecluse.apps.city import tables
from ecluse.apps.city.inputs import Inputs
from ecluse.apps.city.processors import weather
from ecluse.apps.city.thresholds import Thresholds
from tests.apps.city.by_hand import TUESDAY, local, made, road_rows


def weather_of(day: date, **values: Any) -> dict[str, Any]:
    facts = {"temperature": 15.0, "temperature_min": 10.0, "temperature_max": 20.0, "precipitation": 0.0}
    return {"date": day, "wind": 10.0, "conditions": "Clear", "provider": "P", "hours": 24, **facts, **values}


def inputs(*rows: dict[str, Any], **more: Any) -> Inputs:
    return made(TUESDAY, **more).with_tables(weather=pl.DataFrame(list(rows), schema=tables.WEATHER))


def body(**values: Any) -> dict[str, Any]:
    return weather.compute(inputs(weather_of(TUESDAY, **values)), {}).body


@pytest.mark.parametrize(
    ("values", "categories", "score"),
    [
        ({}, [], 50),
        ({"precipitation": 4.99}, [], 50),
        ({"precipitation": 5.0}, ["rain"], 30),
        ({"wind": 30.0}, ["wind"], 50),
        ({"temperature": 9.99}, ["cold"], 40),
        ({"temperature": 10.0}, [], 50),
        ({"temperature": 25.0}, [], 50),
        ({"temperature": 25.01}, ["hot"], 55),
        ({"precipitation": 20.0, "temperature": 3.0, "wind": 60.0}, ["rain", "wind", "cold"], 20),
    ],
)
def test_categories_and_score_follow_the_thresholds(
    values: dict[str, float], categories: list[str], score: int
) -> None:
    result = body(**values)
    assert (result["categories"], result["score"]) == (categories, score)
    assert sum(result["score_parts"].values()) == score


def test_thresholds_can_be_set() -> None:
    given = replace(
        inputs(weather_of(TUESDAY, precipitation=3.0)), thresholds=Thresholds.changed({"rain": 3})
    )
    assert weather.compute(given, {}).body["categories"] == ["rain"]


def test_without_a_mean_the_middle_of_lowest_and_highest_serves_and_says_so() -> None:
    result = body(temperature=None, temperature_min=4.0, temperature_max=10.0)
    assert (result["temperature"], result["temperature_is"], result["categories"]) == (
        7.0,
        "middle",
        ["cold"],
    )
    assert body()["temperature_is"] == "mean"


def test_what_is_not_known_is_null_and_gives_no_score() -> None:
    result = weather.compute(made(TUESDAY), {}).body
    assert (result["temperature"], result["score"], result["score_parts"], result["categories"]) == (
        None,
        None,
        None,
        [],
    )
    assert body(precipitation=None)["score"] is None
    assert body(temperature=None, temperature_min=None)["score"] is None
    assert body(wind=None)["score"] == 50


def bikes_of(day: date, count: float) -> pl.DataFrame:
    rows = [{"counter": "c", "at": at, "count": count} for at in local(day).starts]
    return pl.DataFrame(rows, schema=tables.BIKES)


def test_the_effect_is_the_deviation_from_the_same_weekday_of_the_weeks_before() -> None:
    days = [TUESDAY - timedelta(days=n) for n in range(84, -1, -1)]
    rainy = {TUESDAY, TUESDAY - timedelta(days=7), TUESDAY - timedelta(days=20)}
    given = inputs(
        *(weather_of(day, precipitation=9.0 if day in rainy else 0.0) for day in days),
        bikes=pl.concat([bikes_of(day, (60 if day in rainy else 100) + day.weekday()) for day in days]),
        roads=[road_rows(1, day, [500.0 if day in rainy else 400.0] * local(day).hours) for day in days],
    )
    effect = weather.compute(given, {}).body["effect"]
    assert effect["roads"]["rain"] == {"deviation": 0.25, "days": 3}
    # Tuesdays are 101 usually and 61 in rain; the Wednesday 62 of 102
    assert effect["bikes"]["rain"]["deviation"] == pytest.approx(61 / 101 - 1, rel=1e-4)
    assert effect["bikes"]["none"]["deviation"] == 0
    assert "hot" not in effect["bikes"]


def test_a_day_on_which_few_hours_are_known_says_nothing() -> None:
    days = [TUESDAY - timedelta(days=n) for n in range(84, -1, -1)]
    bikes = pl.concat([bikes_of(day, 100) for day in days[:-1]] + [bikes_of(TUESDAY, 1).head(5)])
    given = inputs(*(weather_of(day, wind=50.0 if day == TUESDAY else 0.0) for day in days), bikes=bikes)
    assert "wind" not in weather.compute(given, {}).body["effect"]["bikes"]


def test_days_whose_weather_is_not_known_are_in_no_category() -> None:
    days = [TUESDAY - timedelta(days=n) for n in range(84, -1, -1)]
    bikes = pl.concat([bikes_of(day, 100) for day in days])
    given = inputs(*(weather_of(day, precipitation=None) for day in days), bikes=bikes)
    assert weather.compute(given, {}).body["effect"] == {"bikes": {}, "roads": {}}
