"""Alerts: what raises one, how severe it is, why, and which works lie near."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest

from ecluse.apps.city.distance import pairs_within
from ecluse.apps.city.inputs import Inputs
from ecluse.apps.city.processors import alerts, arcs, bikes, compute_all, sensors, traffic
from ecluse.apps.city.tables import DISRUPTIONS, ROADS, WEATHER
from ecluse.apps.city.thresholds import Thresholds
from tests.apps.city.by_hand import LONG, SHORT, TUESDAY, arc, late, local, made, road_rows

LINE = '{"type": "LineString", "coordinates": [[2.3, 48.87], [2.31, 48.87]]}'


def _body(inputs: Inputs) -> dict[str, Any]:
    result = {"bikes": bikes.compute(inputs, {})}
    return alerts.compute(inputs, {"sensors": sensors.compute(inputs, result)}).body


def _weeks(
    jump: dict[int, float] | None = None,
    slow: dict[int, float | None] | None = None,
    *,
    usual: float = 10.0,
    day: date = TUESDAY,
    weeks: int = 12,
    arcs: Sequence[int] = (7,),
    **more: Any,
) -> Inputs:
    """Weeks of a flow around 500 and an occupancy around `usual`, then a day as usual but for `jump` (hour → flow) and
    `slow` (hour → occupancy)."""
    rows = []
    for number in arcs:
        for back in range(1, weeks * 7 + 1):
            date = day - timedelta(days=back)
            wave = [float((back * 7 + hour * 5) % 11) for hour in range(local(date).hours)]
            flow, full = [500 + 10 * item for item in wave], [usual + item / 2 for item in wave]
            rows.append(road_rows(number, date, flow, full))
        hours = range(local(day).hours)
        today: list[float | None] = [(jump or {}).get(hour, 545.0 + hour % 11) for hour in hours]
        full_today = [(slow or {}).get(hour, usual + hour % 3) for hour in hours]
        rows.append(road_rows(number, day, today, full_today))
    return made(day, rows, more.pop("reference", [arc(number) for number in arcs]), **more)


def _alerts(slow: dict[int, float | None], **more: Any) -> list[dict[str, Any]]:
    facts: list[dict[str, Any]] = _body(_weeks(slow=slow, **more))["alerts"]
    return facts


def test_two_hours_beyond_the_usual_raise_an_alert_and_one_does_not() -> None:
    (item,) = _alerts(dict.fromkeys((3, 8, 9, 12, 14), 40.0))
    assert (item["id"], item["hours"]) == ("2025-06-03-congestion-7-8", [8, 9])
    assert (item["from"], item["to"], item["arc"], item["zone"]) == ("08:00", "10:00", 7, 8)
    why = item["why"]
    assert (why["rule"], why["threshold"], why["least"], why["observed"]) == ("congested", 0.99, 30, [40, 40])
    usual = why["usual"]
    times = [
        (40 - median) / (high - median) for median, high in zip(usual["median"], usual["high"], strict=True)
    ]
    assert why["times"] == pytest.approx(sum(times) / 2, rel=1e-4)
    assert (why["days"], why["similar_days"], why["compared_days"]) == (8, 0, 28)
    lost = 2 * 550 * late(40)  # flows of 553 and 554 less the usual ones at the usual occupancy
    assert lost * 0.5 < item["lost_time_more"] < item["lost_time"]


def test_what_is_as_bad_on_every_such_day_raises_none() -> None:
    """Blocked for six hours, as on every day of the weeks before: a bottleneck, not an alert."""
    inputs = _weeks(slow={hour: 62.0 + hour % 3 for hour in range(24)}, usual=60.0)
    body = _body(inputs)
    assert (body["alerts"], body["arcs_judged"]) == ([], 1)
    part = arcs.compute(inputs, {}).parts["7"]
    assert (part["congested_hours"], part["verdict"]) == (24, "as usual")


def test_far_from_usual_but_flowing_is_no_congestion() -> None:
    assert _alerts(dict.fromkeys((8, 9), 29.9)) == []
    assert len(_alerts(dict.fromkeys((8, 9), 30.0))) == 1


def test_without_enough_history_none_is_raised_and_the_day_says_so() -> None:
    slow: dict[int, float | None] = dict.fromkeys((8, 9, 10), 70.0)
    body = _body(_weeks(slow=slow, weeks=2))
    assert (body["alerts"], body["arcs_reporting"], body["arcs_judged"]) == ([], 1, 0)
    assert body["days_needed"] == 3
    assert _body(_weeks(slow=slow))["arcs_judged"] == 1


def test_the_arc_of_an_alert_is_never_told_to_be_as_usual() -> None:
    """Two hours of a day do not make the whole of it unusual; the arc's verdict is that of its worst alert then."""
    inputs = _weeks(slow=dict.fromkeys((8, 9), 34.0))
    (item,) = _body(inputs)["alerts"]
    assert item["severity"] == 2
    result = compute_all(inputs)
    assert inputs.flow_verdicts == ["as usual"]
    assert result["arcs"].parts["7"]["verdict"] == "exceptional"
    assert result["arcs"].body["verdicts"]["as usual"] == 0
    assert result["map"].parts["000"]["verdict"] == "e"


def test_a_missing_hour_ends_a_spell() -> None:
    slow: dict[int, float | None] = dict.fromkeys((8, 9, 10, 11, 12), 60.0)
    assert [item["hours"] for item in _alerts(slow | {10: None})] == [[8, 9], [11, 12]]
    assert [item["hours"] for item in _alerts(slow | {10: None, 9: None})] == [[11, 12]]


def test_severity_grows_with_distance_and_hours_and_the_worst_come_first() -> None:
    near = dict.fromkeys((*range(2, 4), *range(9, 14)), 33.0)
    facts = _alerts({**near, 18: 95.0, 19: 95.0}, usual=25.0)
    assert [(item["severity"], item["hours"][0], len(item["hours"])) for item in facts] == [
        (2, 18, 2),
        (2, 9, 5),
        (1, 2, 2),
    ]
    assert [item["why"]["times"] >= 2 for item in facts] == [True, False, False]
    assert facts[0]["lost_time_more"] > facts[1]["lost_time_more"] > facts[2]["lost_time_more"]
    assert _alerts({22: 60.0, 23: 60.0})[0]["to"] == "24:00"


def test_the_thresholds_of_the_settings_hold() -> None:
    slow: dict[int, float | None] = dict.fromkeys((8, 9, 10), 60.0)
    stricter = Thresholds.changed({"congested": 70, "alert_hours": 3})
    assert _alerts(slow, thresholds=stricter) == []
    assert len(_alerts(dict.fromkeys((8, 9, 10), 70.0), thresholds=stricter)) == 1


@pytest.mark.parametrize(("day", "spell"), [(SHORT, ("01:00", "04:00")), (LONG, ("01:00", "02:00 +01:00"))])
def test_hours_are_those_of_the_clocks_on_days_of_23_and_25_hours(day: date, spell: tuple[str, str]) -> None:
    (item,) = _alerts({1: 60.0, 2: 60.0}, day=day)
    assert (item["hours"], (item["from"], item["to"])) == ([1, 2], spell)


@pytest.mark.nightly
def test_at_most_200_are_listed_and_all_are_counted() -> None:
    body = _body(_weeks(slow={8: 60.0, 9: 60.0}, arcs=range(1, 221), weeks=8))
    assert (len(body["alerts"]), body["alerts_total"]) == (200, 220)
    assert body["by_kind"] == {"congestion": 220, "flow": 0}


def test_a_flow_far_from_usual_for_four_hours_raises_an_alert() -> None:
    (item,) = _body(_weeks(dict.fromkeys(range(18, 22), 1500.0)))["alerts"]
    assert (item["kind"], item["hours"], item["severity"]) == ("flow", [18, 19, 20, 21], 2)
    assert (item["why"]["rule"], item["why"]["threshold"]) == ("above", 0.99)
    assert item["why"]["observed"] == [1500.0] * 4
    usual = item["why"]["usual"]
    assert all(500 <= value <= 600 for value in usual["median"])
    assert all(low >= 0 for low in usual["low"])
    assert all(high < 1500 for high in usual["high"])
    assert item["why"]["times"] == 10  # how much days differ is next to nothing here, and no more is told


def test_three_hours_are_not_enough_on_a_day_that_is_not_exceptional() -> None:
    assert _body(_weeks(dict.fromkeys(range(18, 21), 1500.0)))["alerts"] == []


def test_a_flow_far_below_usual_says_so() -> None:
    (item,) = _body(_weeks({hour: 10.0 + hour for hour in range(10, 18)}))["alerts"]
    assert (item["why"]["rule"], item["severity"]) == ("below", 3)
    assert item["why"]["days"] == 8


def test_a_sensor_that_fails_raises_no_alert_of_flow() -> None:
    """Zeros all day are far below usual, and the same count all day far above; both are told of the sensor."""
    for value, reason in ((0.0, "all_zero"), (1500.0, "constant")):
        inputs = _weeks(dict.fromkeys(range(24), value))
        assert [item["reason"] for item in compute_all(inputs)["sensors"].body["failing"]] == [reason]
        assert _body(inputs)["alerts"] == []


def test_an_ordinary_day_raises_none_and_has_its_bands() -> None:
    inputs = _weeks({})
    assert _body(inputs)["alerts"] == []
    part = arcs.compute(inputs, {}).parts["7"]
    assert part["verdict"] == "as usual"
    flow = part["usual"]["flow"]
    assert [len(flow[name]) for name in ("median", "low", "high")] == [24, 24, 24]
    assert all(low <= 550 <= high for low, high in zip(flow["low"], flow["high"], strict=True))
    assert part["usual"]["days"] == 8
    facts = traffic.compute(inputs, {}).body["usual"]
    assert facts["vehicles"]["median"][8] == round(flow["median"][8])
    assert facts["saturation_share"]["median"] == [0.0] * 24
    json.dumps([part, facts], allow_nan=False)


def test_works_near_the_street_are_named_nearest_first() -> None:
    def site(name: str, north: float) -> dict[str, Any]:
        square = [
            [2.304, north],
            [2.305, north],
            [2.305, north + 0.001],
            [2.304, north + 0.001],
            [2.304, north],
        ]
        return {"site": name, "geometry": json.dumps({"type": "Polygon", "coordinates": [square]})}

    works = [
        site("far", 48.873),
        site("near", 48.8705) | {"begin": TUESDAY - timedelta(days=3), "streets": "Rue de la Paix"},
        site("on it", 48.8695) | {"begin": TUESDAY - timedelta(days=300)},
        {"site": "nowhere"},
    ]
    inputs = _weeks(
        slow=dict.fromkeys((8, 9), 60.0), works=works, arcs=(7, 9), reference=[arc(7, geometry=LINE)]
    )
    facts = {item["arc"]: item for item in _body(inputs)["alerts"]}
    assert {n: item["works"] for n, item in facts.items()} == {7: ["on it", "near"], 9: []}
    (cause,) = facts[7]["causes"]
    assert (cause["kind"], cause["site"], cause["days"], cause["near"]) == ("works", "near", 3, True)
    assert cause["metres"] == pytest.approx(55.6, abs=1)  # 0.0005 degrees of latitude
    assert facts[9]["causes"] == []


def test_a_queue_ahead_and_behind_is_evidence_and_the_way_back_is_not() -> None:
    line = '{"type": "LineString", "coordinates": [[%s, 48.87], [%s, 48.87]]}'
    reference = [
        arc(6, upstream=1, downstream=2, geometry=line % (2.30, 2.31)),
        arc(7, upstream=2, downstream=3, geometry=line % (2.31, 2.32)),
        arc(8, upstream=3, downstream=4, geometry=line % (2.32, 2.33)),
        arc(9, upstream=3, downstream=2, geometry=line % (2.32, 2.31)),
    ]
    inputs = _weeks(slow=dict.fromkeys((8, 9), 60.0), arcs=(6, 7, 8, 9), reference=reference)
    facts = {item["arc"]: item["causes"] for item in _body(inputs)["alerts"]}
    named = {
        arc: {item["kind"]: [n["arc"] for n in item["arcs"]] for item in some} for arc, some in facts.items()
    }
    assert named == {
        6: {"downstream": [7]},
        7: {"downstream": [8], "upstream": [6]},
        8: {"upstream": [7]},
        9: {},
    }
    (ahead,) = facts[6]
    assert ahead["arcs"] == [{"arc": 7, "label": "Rue_7", "hours": 2, "occupancy": 60.0}]


def test_what_the_source_and_the_sensor_say_is_evidence() -> None:
    inputs = _weeks(slow={8: 60.0, 9: 60.0, 15: 120.0})
    closed = inputs.tables["roads"]["at"] == inputs.day.starts[9]
    state = pl.when(pl.lit(closed)).then(pl.lit("Barré")).otherwise(pl.col("arc_state").cast(pl.String))
    roads = inputs.tables["roads"].with_columns(state.cast(ROADS["arc_state"]).alias("arc_state"))
    roads = roads.filter(pl.col("at") != inputs.day.starts[10])
    (item,) = _body(inputs.with_tables(roads=roads))["alerts"]
    assert item["causes"] == [
        {"kind": "closed", "near": True, "hours": 1, "of": 2},
        {"kind": "sensor", "near": True, "impossible": 1, "gaps": 1, "missing": 1},
    ]


def test_holidays_weather_and_blocked_lines_are_evidence_of_the_whole_city() -> None:
    all_saints = date(2025, 11, 11)
    weather = pl.DataFrame(
        [dict.fromkeys(WEATHER.names()) | {"date": all_saints, "precipitation": 12.0, "temperature": 15.0}],
        schema=WEATHER,
    )
    begin = local(all_saints).starts[9]
    line = {"disruption": "d", "line": "M1", "line_name": "1", "mode": "Metro", "begin": begin}
    blocked = {"severity": "blocked", "scope": "line", "end": begin + timedelta(hours=3)}
    transit = pl.DataFrame([dict.fromkeys(DISRUPTIONS.names()) | line | blocked], schema=DISRUPTIONS)
    inputs = _weeks(slow={8: 60.0, 9: 60.0, 15: 60.0, 16: 60.0}, day=all_saints)
    inputs = inputs.with_tables(weather=weather, disruptions=transit)
    facts = {item["hours"][0]: item["causes"] for item in compute_all(inputs)["alerts"].body["alerts"]}
    rain = {"kind": "weather", "near": False, "category": "rain", "value": 12, "unit": "mm"}
    assert facts[15][0] == {"kind": "public_holiday", "near": False}
    assert facts[15][1].items() >= rain.items()
    assert facts[8][2:] == [{"kind": "transit", "near": False, "lines": ["Metro 1"], "total": 1}]
    assert len(facts[15]) == 2


def test_school_holidays_count_where_most_days_of_the_usual_are_none() -> None:
    slow: dict[int, float | None] = dict.fromkeys((8, 9), 60.0)
    (first,) = _alerts(slow, day=date(2025, 10, 21))[0]["causes"]
    assert first == {"kind": "school_holiday", "near": False, "zone": "C", "days": 7, "of": 8}
    (back,) = _alerts(slow, day=date(2025, 9, 2))[0]["causes"]
    assert back == {"kind": "school_back", "near": False, "zone": "C", "days": 8, "of": 8}
    assert _alerts(slow, day=date(2025, 6, 3))[0]["causes"] == []
    assert _alerts(slow, day=date(2020, 10, 20))[0]["causes"] == []  # before the table nothing is known


def test_distances_are_metres_on_the_ground() -> None:
    """0.001 degrees of latitude are 111 m, of longitude at 48.87° north 73 m."""
    point = '{"type": "Point", "coordinates": [2.3, 48.87]}'
    north = '{"type": "Point", "coordinates": [2.3, 48.871]}'
    east = '{"type": "Point", "coordinates": [2.301, 48.87]}'
    result = pairs_within(150, [point, None], [north, east, None])
    assert [(a, b) for a, b, _ in result] == [(0, 0), (0, 1)]
    assert [metres for *_, metres in result] == pytest.approx([111.2, 73.4], rel=2e-3)
    assert pairs_within(100, [point], [north]) == []
    assert pairs_within(100, [], [north]) == []
    assert pairs_within(100, [None], [None]) == []
