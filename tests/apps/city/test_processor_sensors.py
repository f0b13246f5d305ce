"""Failing sensors: silent, constant, all zero, impossible, and which of these comes first."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from ecluse.apps.city import tables
from ecluse.apps.city.inputs import Inputs
from ecluse.apps.city.processors import bikes, sensors
from ecluse.apps.city.sensors import SensorDay, failing_sensors
from ecluse.apps.city.thresholds import Thresholds
from tests.apps.city.by_hand import TUESDAY, arc, local, made, road_rows

VARIED: list[float | None] = [100.0 + 3 * hour for hour in range(24)]


def _body(inputs: Inputs) -> dict[str, Any]:
    return sensors.compute(inputs, {"bikes": bikes.compute(inputs, {})}).body


def _failing(inputs: Inputs) -> list[dict[str, Any]]:
    facts: list[dict[str, Any]] = _body(inputs)["failing"]
    return facts


def _day(flow: list[float | None], **more: Any) -> Inputs:
    return made(TUESDAY, [road_rows(7, TUESDAY, flow, [10.0] * 24)], [arc(7)], **more)


def test_a_sensor_that_counts_does_not_fail() -> None:
    body = _body(_day(VARIED))
    assert body == {
        "known": 1,
        "reporting": 1,
        "availability": 1.0,
        "by_kind": {
            "arc": {"known": 1, "reporting": 1, "availability": 1.0},
            "bike": {"known": 0, "reporting": 0, "availability": None},
        },
        "failing": [],
        "failing_total": 0,
        "reasons": {"impossible": 0, "constant": 0, "all_zero": 0, "silent": 0},
        "closed": [],
        "closed_total": 0,
        "by_zone": [{"zone": 8, "known": 1, "reporting": 1}],
    }


def test_a_sensor_without_a_value_is_silent_and_says_since_when() -> None:
    before = road_rows(7, TUESDAY - timedelta(days=3), VARIED, skip=range(20, 24))
    empty = road_rows(7, TUESDAY - timedelta(days=1))
    inputs = made(TUESDAY, [before, empty, road_rows(9, TUESDAY)], [arc(7), arc(8, zone=None), arc(9)])
    body = _body(inputs)
    assert [(item["sensor"], item["reason"], item["evidence"]["last_seen"]) for item in body["failing"]] == [
        ("arc:7", "silent", "2025-05-31T17:00:00+00:00"),  # 19:00 in Paris
        ("arc:8", "silent", None),
        ("arc:9", "silent", None),
    ]
    assert (body["known"], body["reporting"], body["availability"]) == (3, 0, 0.0)
    assert body["by_zone"] == [
        {"zone": 8, "known": 2, "reporting": 0},
        {"zone": None, "known": 1, "reporting": 0},
    ]


def test_the_same_count_for_six_hours_is_constant() -> None:
    flow = list(VARIED)
    flow[4:10] = [42.0] * 6
    (item,) = _failing(_day(flow))
    assert (item["reason"], item["evidence"]) == ("constant", {"value": 42.0, "hours": 6, "from_hour": 4})
    flow[9] = 43.0
    assert _failing(_day(flow)) == []


def test_the_same_small_count_may_be_chance() -> None:
    flow = list(VARIED)
    flow[0:8] = [4.0] * 8
    assert _failing(_day(flow)) == []


def test_a_missing_hour_breaks_what_is_constant() -> None:
    flow = list(VARIED)
    flow[4:11] = [42.0] * 3 + [None] + [42.0] * 3
    assert _failing(_day(flow)) == []


def _zero_day(usual: float, arc_state: str = "Ouvert") -> Inputs:
    rows = [
        road_rows(7, TUESDAY - timedelta(days=7 * week), [usual] * 24, [1.0] * 24) for week in range(1, 9)
    ]
    today = road_rows(7, TUESDAY, [0.0] * 24, [0.0] * 24)
    today = today.with_columns(arc_state=today["arc_state"].cast(str).replace("Ouvert", arc_state)).cast(
        dict(today.schema)
    )
    return made(TUESDAY, [*rows, today], [arc(7)])


def test_zeros_all_day_fail_where_such_a_day_usually_has_traffic() -> None:
    (item,) = _failing(_zero_day(usual=30.0))
    assert (item["reason"], item["evidence"]) == ("all_zero", {"hours": 24, "usual_total": 720.0})
    assert _failing(_zero_day(usual=0.0)) == []
    assert _failing(_zero_day(usual=30.0, arc_state="Barré")) == []


@pytest.mark.parametrize(
    ("hour", "what", "value"),
    [(3, "flow", -1.0), (3, "flow", 12001.0), (3, "occupancy", 100.5), (3, "occupancy", -0.5)],
)
def test_a_value_that_cannot_be_fails(hour: int, what: str, value: float) -> None:
    columns: dict[str, list[float | None]] = {"flow": list(VARIED), "occupancy": [10.0] * 24}
    columns[what][hour] = value
    inputs = made(TUESDAY, [road_rows(7, TUESDAY, columns["flow"], columns["occupancy"])], [arc(7)])
    (item,) = _failing(inputs)
    assert item["reason"] == "impossible"
    assert item["evidence"] == {"values": [{"hour": 3, "what": what, "value": value}], "times": 1}


def test_the_bounds_themselves_are_possible() -> None:
    flow = list(VARIED)
    flow[3], flow[4] = 12000.0, 0.0
    assert _failing(made(TUESDAY, [road_rows(7, TUESDAY, flow, [100.0, 0.0] * 12)], [arc(7)])) == []


def test_a_sensor_with_nothing_but_impossible_values_is_not_called_silent() -> None:
    inputs = made(TUESDAY, [road_rows(7, TUESDAY, [-1.0] * 24)], [arc(7)])
    body = _body(inputs)
    assert [item["reason"] for item in body["failing"]] == ["impossible"]
    assert (body["failing"][0]["evidence"]["times"], len(body["failing"][0]["evidence"]["values"])) == (24, 5)
    assert body["reporting"] == 0


def _bikes(counts: dict[str, float | None]) -> pl.DataFrame:
    """A count for each counter at every hour of the day; None: the counter was last heard of the day before."""
    starts = {name: local(TUESDAY - timedelta(days=value is None)).starts for name, value in counts.items()}
    rows = [
        {"counter": name, "name": f"Rue {name}", "at": at, "count": 30.0 + n if value is None else value + n}
        for name, value in counts.items()
        for n, at in enumerate(starts[name])
    ]
    return pl.DataFrame([dict.fromkeys(tables.BIKES.names()) | row for row in rows], schema=tables.BIKES)


def test_counters_of_bikes_stand_among_the_sensors() -> None:
    """Two arcs, one silent; three counters, one silent and one with values that cannot be."""
    inputs = made(
        TUESDAY,
        [road_rows(7, TUESDAY, VARIED)],
        [arc(7), arc(9)],
        bikes=_bikes({"A": 20.0, "B": None, "C": -500.0}),
    )
    body = _body(inputs)
    assert (body["known"], body["reporting"], body["availability"]) == (5, 2, 0.4)
    assert body["by_kind"]["bike"] == {"known": 3, "reporting": 1, "availability": 0.333333}
    assert [(item["sensor"], item["reason"]) for item in body["failing"]] == [
        ("bike:C", "impossible"),
        ("bike:B", "silent"),
        ("arc:9", "silent"),  # it never reported, and the list may end before those
    ]
    assert body["failing_total"] == 3
    assert body["by_zone"] == [
        {"zone": 8, "known": 2, "reporting": 1},
        {"zone": None, "known": 3, "reporting": 1},
    ]


def test_bikes_are_judged_by_the_same_rules_and_each_sensor_once() -> None:
    """A: constant and impossible; B: constant; C, D: silent, D seen later; E: zeros; F: zeros as usual."""
    counts = np.tile(np.arange(10.0, 34.0), (6, 1))
    counts[0:2, 5:12] = 50.0
    counts[2:4] = np.nan
    counts[4:6] = 0.0
    day = SensorDay(
        kind="bike",
        ids=list("ABCDEF"),
        labels=[f"Counter {letter}" for letter in "ABCDEF"],
        zones=[1, 2, None, 4, 5, 6],
        counts=counts,
        observed=~np.isnan(counts).all(axis=1),
        usual_total=np.array([500.0, 500, 500, 500, 500, np.nan]),
        impossible={0: [{"hour": 20, "what": "count", "value": -3.0}]},
        last_seen={2: datetime(2025, 5, 1, tzinfo=UTC), 3: datetime(2025, 6, 1, tzinfo=UTC)},
    )
    facts = failing_sensors(day, Thresholds())
    assert [(item["sensor"], item["reason"]) for item in facts] == [
        ("bike:A", "impossible"),
        ("bike:B", "constant"),
        ("bike:E", "all_zero"),
        ("bike:D", "silent"),
        ("bike:C", "silent"),
    ]
    assert facts[1]["evidence"] == {"value": 50.0, "hours": 7, "from_hour": 5}
    assert facts[4]["zone"] is None


def _of_state(day: date, number: int, arc_state: str, flow: float | None = None) -> pl.DataFrame:
    rows = road_rows(number, day, [flow] * 24, [flow] * 24)
    return rows.with_columns(arc_state=pl.lit(arc_state).cast(rows.schema["arc_state"]))


def test_a_closed_arc_is_listed_as_closed_and_not_as_silent() -> None:
    """7: closed today; 8: closed when it was last heard of; 9: open and silent; 10: closed, and counting."""
    before = TUESDAY - timedelta(days=1)
    inputs = made(
        TUESDAY,
        [
            _of_state(TUESDAY, 7, "Barré"),
            _of_state(before, 8, "Ouvert", 100.0),
            _of_state(before, 8, "Barré").tail(2),
            _of_state(before, 9, "Ouvert", 100.0),
            _of_state(TUESDAY, 10, "Barré", 12.0),
        ],
        [arc(7), arc(8), arc(9), arc(10)],
    )
    inputs = inputs.with_tables(
        roads=inputs.tables["roads"].unique(["arc", "at"], keep="last", maintain_order=True)
    )
    body = sensors.compute(inputs, {"bikes": bikes.compute(inputs, {})}).body
    assert [item["id"] for item in body["closed"]] == [7, 8]
    assert body["closed_total"] == 2
    assert [(item["id"], item["reason"]) for item in body["failing"]] == [(9, "silent"), (10, "constant")][
        ::-1
    ]
    assert (body["known"], body["reporting"], body["availability"]) == (2, 1, 0.5)
    assert body["by_zone"] == [{"zone": 8, "known": 2, "reporting": 1}]
