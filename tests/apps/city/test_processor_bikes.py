"""Bikes: totals, peak hours, the typical day and failing counters of a day worked out by hand."""

import json
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest

from ecluse.apps.city import tables
from ecluse.apps.city.inputs import Inputs
from ecluse.apps.city.processors import bikes
from tests.apps.city.by_hand import local, made, zone

DAY = date(2022, 3, 28)  # a Monday; the clocks changed the day before
SQUARE = '{"type": "Polygon", "coordinates": [[[2, 48], [3, 48], [3, 49], [2, 49], [2, 48]]]}'


def rows(counter: str, days: Mapping[date, Sequence[float | None]], longitude: float = 2.5) -> pl.DataFrame:
    facts = [
        {
            "counter": counter,
            "name": f"Piste {counter}",
            "at": at,
            "count": count,
            "latitude": 48.5,
            "longitude": longitude,
        }
        for day, counts in days.items()
        for at, count in zip(local(day).starts, counts, strict=True)
        if count is not None
    ]
    return pl.DataFrame(facts, schema=tables.BIKES)


def weeks(count: float, day: date = DAY) -> dict[date, list[float]]:
    past = [day - timedelta(days=n) for n in range(1, 85)]
    return {
        item: [count + (item.toordinal() + hour) % 3 for hour in range(local(item).hours)] for item in past
    }


def computed(*frames: pl.DataFrame, day: date = DAY) -> dict[str, Any]:
    inputs = made(day, bikes=pl.concat(frames), zones=[zone(8) | {"geometry": SQUARE}])
    body = bikes.compute(inputs, {}).body
    json.dumps(body, allow_nan=False)
    return body


def test_totals_means_and_peak_hours_are_those_of_the_local_day() -> None:
    body = computed(
        rows("a", {DAY: [10.0] * 8 + [50.0] + [10.0] * 15}),
        rows("b", {DAY: [None] * 12 + [5.0] * 11 + [6.0]}, longitude=4.0),
    )
    assert (body["total"], body["mean"], body["peak_at"]) == (341, 170.5, "2022-03-28T08:00:00+02:00")
    assert body["by_hour"] == [10] * 8 + [50] + [10] * 3 + [15] * 11 + [16]
    assert (body["counters_known"], body["reporting"], body["coverage"]) == (2, 2, 0.75)
    busiest, other = body["counters"]
    assert (busiest["counter"], busiest["total"], busiest["mean"], busiest["peak_at"]) == (
        "a",
        280,
        11.6667,
        "2022-03-28T08:00:00+02:00",
    )
    assert (other["total"], other["mean"], other["coverage"], other["zone"]) == (61, 5.08333, 0.5, None)
    assert other["by_hour"][:12] == [None] * 12
    assert [(item["zone"], item["total"], item["counters"], item["coverage"]) for item in body["zones"]] == [
        (8, 280, 1, 1.0),
        (None, 61, 1, 0.5),
    ]


@pytest.mark.parametrize(("day", "hours"), [(date(2022, 3, 27), 23), (date(2022, 10, 30), 25)])
def test_a_short_and_a_long_day_have_all_their_hours(day: date, hours: int) -> None:
    body = computed(rows("a", {**weeks(20, day), day: [20.0] * hours}), day=day)
    assert body["total"] == 20 * hours
    assert len(body["by_hour"]) == len(body["counters"][0]["usual"]["median"]) == hours
    assert body["coverage"] == 1


def test_the_index_sets_the_total_against_the_typical_one_over_the_hours_both_have() -> None:
    past = {DAY - timedelta(days=7 * n): [10.0] * 24 for n in range(1, 9)}
    body = computed(rows("a", {**past, DAY: [None] * 12 + [15.0] * 12}))
    assert body["counters"][0]["index"] == 1.5
    assert body["counters"][0]["usual_days"] == 8
    assert body["usual"]["median"] == [10.0] * 24


def test_a_day_far_from_usual_is_exceptional_and_names_the_hours() -> None:
    frames = [rows(str(n), {**weeks(20 + n), DAY: [21.0 + n] * 24}) for n in range(5)]
    strange = [21.0] * 10 + [900.0] * 5 + [21.0] * 9
    body = computed(*frames, rows("9", {**weeks(20), DAY: strange}))
    facts = {item["counter"]: item["verdict"] for item in body["counters"]}
    assert facts.pop("9") == "exceptional"
    assert "exceptional" not in facts.values()
    assert sorted((item["counter"], item["hour"], item["value"]) for item in body["anomalies"]) == [
        ("9", hour, 900) for hour in range(10, 15)
    ]
    assert body["anomalies"][0]["usual"]["high"] < 900
    assert body["anomalies_total"] == 5


def test_counters_fail_for_their_reasons_and_impossible_counts_are_no_counts() -> None:
    body = computed(
        rows("constant", {DAY: [7.0] * 24}),
        rows("impossible", {DAY: [9999.0] + [float(n) for n in range(23)]}),
        rows("silent", weeks(20)),
        rows("zero", {**weeks(20), DAY: [0.0] * 24}),
    )
    assert {item["id"]: item["reason"] for item in body["failing"]} == {
        "constant": "constant",
        "impossible": "impossible",
        "silent": "silent",
        "zero": "all_zero",
    }
    silent = next(item for item in body["counters"] if item["counter"] == "silent")
    assert silent["total"] is None
    assert silent["verdict"] == "unknown"
    assert body["total"] == 7 * 24 + sum(range(23))


def test_a_day_without_bikes_is_not_known() -> None:
    inputs: Inputs = made(DAY)
    body = bikes.compute(inputs, {}).body
    assert body["total"] is None
    assert body["peak_at"] is None
    assert body["by_hour"] == [None] * 24
    assert body["counters"] == body["zones"] == body["anomalies"] == body["failing"] == []
