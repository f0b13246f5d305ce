"""Alerts: what raises one, how severe it is, why, and which works lie near."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from ecluse.city.distance import pairs_within
from ecluse.city.inputs import Inputs
from ecluse.city.processors import alerts, arcs, bikes, compute_all, sensors, traffic
from ecluse.city.thresholds import Thresholds
from tests.city.by_hand import LONG, SHORT, TUESDAY, arc, local, made, road_rows

LINE = '{"type": "LineString", "coordinates": [[2.3, 48.87], [2.31, 48.87]]}'


def _occupied(*hours: int, level: float = 60.0, count: int = 24) -> list[float | None]:
    return [level if hour in hours else 10.0 for hour in range(count)]


def _body(inputs: Inputs) -> dict[str, Any]:
    found = {"bikes": bikes.compute(inputs, {})}
    return alerts.compute(inputs, {"sensors": sensors.compute(inputs, found)}).body


def _alerts(occupancy: list[float | None], **more: Any) -> list[dict[str, Any]]:
    inputs = made(TUESDAY, [road_rows(7, TUESDAY, [100.0] * 24, occupancy)], [arc(7)], **more)
    told: list[dict[str, Any]] = _body(inputs)["alerts"]
    return told


def test_two_blocked_hours_in_a_row_raise_an_alert_and_one_does_not() -> None:
    told = _alerts(_occupied(3, 8, 9, 12, 14))
    assert [(one["id"], one["hours"], one["from"], one["to"]) for one in told] == [
        ("2025-06-03-congestion-7-8", [8, 9], "08:00", "10:00")
    ]
    (one,) = told
    assert (one["kind"], one["severity"], one["arc"], one["zone"]) == ("congestion", 1, 7, 8)
    assert one["lost_time"] == pytest.approx(2 * 100 * (1 / 5 - 1 / 30), rel=1e-5)
    assert one["why"] == {
        "rule": "blocked",
        "threshold": 50,
        "unit": "% occupancy",
        "hours_needed": 2,
        "observed": [60, 60],
        "usual": None,
    }


def test_the_limit_itself_is_blocked() -> None:
    assert len(_alerts(_occupied(8, 9, level=50.0))) == 1
    assert _alerts(_occupied(8, 9, level=49.9)) == []


def test_a_missing_hour_ends_a_spell() -> None:
    occupancy = _occupied(8, 9, 10, 11, 12)
    occupancy[10] = None
    assert [one["hours"] for one in _alerts(occupancy)] == [[8, 9], [11, 12]]
    occupancy[9] = None
    assert [one["hours"] for one in _alerts(occupancy)] == [[11, 12]]


def test_severity_grows_with_the_hours_and_the_worst_come_first() -> None:
    told = _alerts(_occupied(0, 1, *range(3, 7), *range(9, 17), *range(20, 23)))
    assert [(one["severity"], len(one["hours"])) for one in told] == [(3, 8), (2, 4), (1, 3), (1, 2)]
    assert [one["hours"][0] for one in _alerts(_occupied(22, 23))] == [22]
    assert _alerts(_occupied(22, 23))[0]["to"] == "24:00"


def test_the_thresholds_of_the_settings_hold() -> None:
    stricter = Thresholds.changed({"blocked": 70, "alert_hours": 3})
    assert _alerts(_occupied(8, 9, 10), thresholds=stricter) == []
    assert len(_alerts(_occupied(8, 9, 10, level=70.0), thresholds=stricter)) == 1


def test_hours_are_those_of_the_clocks_on_days_of_23_and_25_hours() -> None:
    for day, spell in ((SHORT, ("01:00", "04:00")), (LONG, ("01:00", "02:00 +01:00"))):
        hours = local(day).hours
        rows = road_rows(7, day, None, _occupied(1, 2, count=hours))
        (one,) = _body(made(day, [rows], [arc(7)]))["alerts"]
        assert (one["hours"], (one["from"], one["to"])) == ([1, 2], spell)
        assert one["lost_time"] is None  # no flow is known


def test_at_most_200_are_listed_and_all_are_counted() -> None:
    rows = [road_rows(n, TUESDAY, [float(n)] * 24, _occupied(8, 9)) for n in range(1, 221)]
    body = _body(made(TUESDAY, rows, [arc(n) for n in range(1, 221)]))
    assert (len(body["alerts"]), body["alerts_total"]) == (200, 220)
    assert [one["arc"] for one in body["alerts"]] == list(range(220, 20, -1))
    assert body["by_kind"] == {"congestion": 220, "flow": 0}


def _weeks(jump: dict[int, float], weeks: int = 12) -> Any:
    """Twelve weeks of a flow around 500, then a day that is as usual but for `jump` (hour → flow)."""
    rows = []
    for back in range(1, weeks * 7 + 1):
        date = TUESDAY - timedelta(days=back)
        wave = [500.0 + 10 * ((back * 7 + hour * 5) % 11) for hour in range(local(date).hours)]
        rows.append(road_rows(7, date, list(wave), [10.0] * len(wave)))
    today: list[float | None] = [jump.get(hour, 545.0 + hour % 11) for hour in range(24)]
    return made(TUESDAY, [*rows, road_rows(7, TUESDAY, today, [10.0] * 24)], [arc(7)])


def test_a_flow_far_from_usual_for_four_hours_raises_an_alert() -> None:
    (one,) = _body(_weeks(dict.fromkeys(range(18, 22), 1500.0)))["alerts"]
    assert (one["kind"], one["hours"], one["severity"]) == ("flow", [18, 19, 20, 21], 1)
    assert (one["why"]["rule"], one["why"]["threshold"]) == ("above", 0.99)
    assert one["why"]["observed"] == [1500.0] * 4
    usual = one["why"]["usual"]
    assert all(500 <= value <= 600 for value in usual["median"])
    assert all(low >= 0 for low in usual["low"])
    assert all(high < 1500 for high in usual["high"])


def test_three_hours_are_not_enough_on_a_day_that_is_not_exceptional() -> None:
    assert _body(_weeks(dict.fromkeys(range(18, 21), 1500.0)))["alerts"] == []


def test_a_flow_far_below_usual_says_so() -> None:
    (one,) = _body(_weeks({hour: 10.0 + hour for hour in range(10, 18)}))["alerts"]
    assert (one["why"]["rule"], one["severity"]) == ("below", 2)
    assert one["why"]["days"] == 8


def test_a_sensor_that_fails_raises_no_alert_of_flow() -> None:
    """Zeros all day are far below usual, and the same count all day far above; both are told of the sensor."""
    for value, reason in ((0.0, "all_zero"), (1500.0, "constant")):
        inputs = _weeks(dict.fromkeys(range(24), value))
        assert [one["reason"] for one in compute_all(inputs)["sensors"].body["failing"]] == [reason]
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
    told = traffic.compute(inputs, {}).body["usual"]
    assert told["vehicles"]["median"][8] == round(flow["median"][8])
    assert told["saturation_share"]["median"] == [0.0] * 24
    json.dumps([part, told], allow_nan=False)


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

    works = [site("far", 48.873), site("near", 48.8705), site("on it", 48.8695), {"site": "nowhere"}]
    inputs = made(
        TUESDAY,
        [road_rows(7, TUESDAY, None, _occupied(8, 9)), road_rows(9, TUESDAY, None, _occupied(8, 9))],
        [arc(7, geometry=LINE)],
        works=works,
    )
    told = {one["arc"]: one["works"] for one in _body(inputs)["alerts"]}
    assert told == {7: ["on it", "near"], 9: []}


def test_distances_are_metres_on_the_ground() -> None:
    """0.001 degrees of latitude are 111 m, of longitude at 48.87° north 73 m."""
    point = '{"type": "Point", "coordinates": [2.3, 48.87]}'
    north = '{"type": "Point", "coordinates": [2.3, 48.871]}'
    east = '{"type": "Point", "coordinates": [2.301, 48.87]}'
    found = pairs_within(150, [point, None], [north, east, None])
    assert [(a, b) for a, b, _ in found] == [(0, 0), (0, 1)]
    assert [metres for *_, metres in found] == pytest.approx([111.2, 73.4], rel=2e-3)
    assert pairs_within(100, [point], [north]) == []
    assert pairs_within(100, [], [north]) == []
    assert pairs_within(100, [None], [None]) == []
