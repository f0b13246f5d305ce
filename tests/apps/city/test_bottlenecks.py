"""Bottlenecks: what recurs, what is joined to one queue, its head, length, hours and lost time, over any period."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

import numpy as np
import pytest

from ecluse.apps.city.adjacent import Arc
from ecluse.apps.city.bottlenecks import (
    Hours,
    Place,
    day_chunks,
    kind_of,
    place_of,
    rank_bottlenecks,
    rank_period,
    read_hours,
)
from ecluse.apps.city.days import MARK
from ecluse.apps.city.processors import alerts, bottlenecks, compute_all
from ecluse.apps.city.thresholds import Thresholds
from ecluse.documents import Documents
from ecluse.errors import InvalidInput
from ecluse.runtime import Runtime
from tests.apps.city.by_hand import TUESDAY, arc, late, local, made, road_rows

MONDAY = date(2025, 6, 2)
RULES = Thresholds()


def place(number: int, up: int, down: int, *coordinates: Sequence[float], length: float = 200.0) -> Place:
    return Place(Arc(number, up, down, coordinates), f"Rue_{number}", 8, length, 48.87, 2.3)


def hours(queues: Mapping[int, Mapping[int, Sequence[int]]], days: int = 5, lost: float = 2.0) -> Hours:
    """Working days from a Monday on. `queues`: arc → hour → on which of the days it queued."""
    shape = (len(queues), days, 24)
    queue = np.zeros(shape, bool)
    for row, by_hour in enumerate(queues.values()):
        for hour, some in by_hour.items():
            queue[row, list(some), hour] = True
    dates = tuple(MONDAY + timedelta(days=n) for n in range(days))
    return Hours(tuple(queues), dates, np.ones(shape, bool), queue, np.full(shape, lost, np.float32))


def test_what_recurs_is_a_bottleneck_and_what_happens_now_and_then_is_not() -> None:
    every, now_and_then = range(5), (0, 3)
    given = hours({1: {8: every, 9: (0, 1, 2), 18: now_and_then}, 2: {8: now_and_then}})
    places = [place(1, 10, 11), place(2, 20, 21)]
    (item,), total, days = rank_bottlenecks(given, places, "working", RULES)
    assert (item["arc"], total, days) == (1, 1, 5)
    assert item["hours"] == [8, 9]
    assert (item["recurrence"], item["days_queued"], item["days_measured"]) == (1, 5, 5)
    assert item["duration"] == 2.0  # 3, 2, … hours: 5 at 8, 3 at 9, 2 at 18, over 5 days
    assert (item["length"], item["longest"]) == (200, 200)
    assert item["lost_time"] == 10 * 2
    assert item["lost_time_a_day"] == 4
    assert item["impact"] == pytest.approx(5 * 2 * 0.2)
    assert item["by_hour"][8:10] == [1, 0.6]
    assert rank_bottlenecks(given, places, "saturday", RULES) == ([], 0, 0)
    stricter = Thresholds.changed({"bottleneck_share": 0.3})
    assert rank_bottlenecks(given, places, "working", stricter)[1] == 2


def test_too_few_measured_days_tell_of_no_recurrence() -> None:
    assert rank_bottlenecks(hours({1: {8: range(4)}}, days=4), [place(1, 10, 11)], "working", RULES)[1] == 0
    given = hours({1: {8: range(5)}})
    given.measured[0, 4, 8] = False
    assert rank_bottlenecks(given, [place(1, 10, 11)], "working", RULES)[1] == 0


def test_queues_are_joined_along_the_way_and_the_head_is_where_it_flows_again() -> None:
    """1 leads into 2 and 2 into 3, which flows; 4 turns off at the node between 1 and 2, 5 is the way back."""
    every, few = range(5), (0, 1)
    places = [
        place(1, 10, 11, (2.300, 48.87), (2.301, 48.87), length=100),
        place(2, 11, 12, (2.301, 48.87), (2.302, 48.87), length=250),
        place(3, 12, 13, (2.302, 48.87), (2.303, 48.87)),
        place(4, 11, 14, (2.301, 48.87), (2.301, 48.88)),
        place(5, 11, 10, (2.301, 48.87), (2.300, 48.87)),
    ]
    given = hours({1: {9: every, 8: few}, 2: {8: every, 9: every}, 3: {8: few}, 4: {9: every}, 5: {9: every}})
    result, total, _ = rank_bottlenecks(given, places, "working", RULES)
    assert total == 3
    first = result[0]
    assert (first["rank"], first["arc"], first["arcs"], first["arcs_total"]) == (1, 2, [1, 2], 2)
    assert first["hours"] == [8, 9]
    assert first["length"] == 350  # both at 9 o'clock
    assert {item["arc"]: item["arcs"] for item in result[1:]} == {4: [4], 5: [5]}


def test_arcs_that_never_queue_at_a_common_hour_are_two() -> None:
    places = [place(1, 10, 11), place(2, 11, 12)]
    given = hours({1: {8: range(5)}, 2: {18: range(5)}})
    assert [item["arcs"] for item in rank_bottlenecks(given, places, "working", RULES)[0]] == [[1], [2]]


def test_a_ring_of_queues_has_a_head_too() -> None:
    places = [place(1, 10, 11), place(2, 11, 12), place(3, 12, 10)]
    given = hours({1: {8: range(5)}, 2: {8: range(5), 9: (0,)}, 3: {8: range(5)}})
    (item,), total, _ = rank_bottlenecks(given, places, "working", RULES)
    assert (total, item["arc"], item["arcs_total"]) == (1, 2, 3)


def test_a_public_holiday_counts_as_a_sunday() -> None:
    days = [date(2025, 7, 14), date(2025, 7, 15), date(2025, 7, 19), date(2025, 7, 20)]
    assert [kind_of(day) for day in days] == ["sunday", "working", "saturday", "sunday"]


def _days_by_hand(weeks: int = 8) -> list[object]:
    """Eight weeks in which arc 7 is blocked from 8 to 10 on every working day, and its neighbour 8 flows."""
    rows = []
    for back in range(weeks * 7, -1, -1):
        day = TUESDAY - timedelta(days=back)
        count = local(day).hours
        slow = [60.0 if hour in (8, 9) and kind_of(day) == "working" else 10.0 for hour in range(count)]
        rows.append(road_rows(7, day, [500.0] * count, slow))
        rows.append(road_rows(8, day, [500.0] * count, [10.0] * count))
    return rows


def test_what_is_bad_every_day_is_a_bottleneck_and_no_alert() -> None:
    reference = [arc(7, upstream=1, downstream=2), arc(8, upstream=2, downstream=3)]
    result = compute_all(made(TUESDAY, _days_by_hand(), reference))  # type: ignore[arg-type]
    assert result["alerts"].body["alerts"] == []
    body = result["bottlenecks"].body
    assert (body["from"], body["to"], body["kind_of_day"]) == ("2025-04-09", "2025-06-03", "working")
    (item,) = body["rankings"]["working"]["items"]
    assert (item["arc"], item["hours"], item["recurrence"], item["length"]) == (7, [8, 9], 1, 1000)
    assert item["lost_time_a_day"] == pytest.approx(2 * 500 * late(60), rel=1e-4)
    assert body["rankings"]["sunday"]["items"] == []
    assert body["rankings"]["working"]["days"] == 36  # of 40 weekdays four are public holidays
    assert alerts.LISTED == 200
    assert bottlenecks.LISTED == 20


def _write(documents: Documents, given: Hours) -> None:
    for n, day in enumerate(given.dates):
        for key, body in day_chunks(given, n, size=1).items():
            documents.put(f"metrics/bottlenecks/{day}", key, body)
        documents.put(MARK, day.isoformat(), {"date": day.isoformat(), "kinds": ["bottlenecks"]})


def test_days_that_were_kept_give_the_ranking_of_any_period(runtime: Runtime) -> None:
    given = hours({1: {8: range(5), 23: (0,)}, 2: {0: range(5)}}, lost=1.25)
    given.measured[1, 3, 12] = False
    given.lost[0, 2, 8] = np.nan
    _write(runtime.documents, given)
    read = read_hours(runtime.documents, MONDAY, MONDAY + timedelta(days=6))
    assert (read.arcs, read.dates) == (given.arcs, given.dates)
    assert (read.measured == given.measured).all()
    assert (read.queue == given.queue).all()
    assert np.array_equal(read.lost[read.queue], given.lost[given.queue], equal_nan=True)
    reference = [
        {"arc": n, "label": f"Rue_{n}", "zone": 8, "length": 200.0, "latitude": 48.87, "longitude": 2.3}
        | {"upstream_node": 10 * n, "downstream_node": 10 * n + 1, "coordinates": []}
        for n in (1, 2)
    ]
    result = rank_period(runtime.documents, reference, MONDAY, MONDAY + timedelta(days=6), "working", RULES)
    assert (result.items, result.total, result.days) == rank_bottlenecks(
        given, map(place_of, reference), "working", RULES
    )
    assert result.total == 2
    with pytest.raises(InvalidInput, match="Exchange them"):
        rank_period(runtime.documents, [], TUESDAY, MONDAY, "working", RULES)
    with pytest.raises(InvalidInput, match="184 at most"):
        rank_period(runtime.documents, [], MONDAY, MONDAY + timedelta(days=200), "working", RULES)
