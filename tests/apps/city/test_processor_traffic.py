"""The city's traffic and every arc's day, against figures worked out by hand."""

from __future__ import annotations

import json
from datetime import date, timedelta

import pytest

from ecluse.apps.city.calendar import place_of
from ecluse.apps.city.inputs import Inputs, Metrics
from ecluse.apps.city.processors import arcs, compute_all, traffic
from ecluse.apps.city.processors import map as map_of_arcs
from tests.apps.city.by_hand import LONG, SHORT, TUESDAY, arc, late, local, made, road_rows


def _part(inputs: Inputs, number: int) -> dict[str, object]:
    return arcs.compute(inputs, {}).parts[str(number)]


def test_the_peak_of_an_hour_that_comes_twice_carries_its_offset() -> None:
    for hour, offset in ((2, "+02:00"), (3, "+01:00")):
        flow: list[float | None] = [float(n == hour) for n in range(25)]
        part = _part(made(LONG, [road_rows(7, LONG, flow)], [arc(7)]), 7)
        assert part["peak_at"] == f"2025-10-26T02:00:00{offset}"
        assert place_of(local(LONG).labels, str(part["peak_at"])) == hour


def _quiet_day(peak_hour: int = 8) -> Inputs:
    """A street of 1 km: 100 vehicles at 0 % but for one hour with 300 at 40 %."""
    flow: list[float | None] = [100.0] * 24
    occupancy: list[float | None] = [0.0] * 24
    flow[peak_hour], occupancy[peak_hour] = 300.0, 40.0
    return made(TUESDAY, [road_rows(7, TUESDAY, flow, occupancy)], [arc(7)])


def test_an_arc_tells_its_day() -> None:
    """40 % leaves 30 exp(-4/3) = 7.90792 km/h: 300 vehicles lose 0.0931222 hours each, 27.9367 together."""
    part = _part(_quiet_day(), 7)
    assert part["vehicles"] == 23 * 100 + 300
    assert part["mean_flow"] == pytest.approx(2600 / 24, rel=1e-5)
    assert (part["max_flow"], part["peak_at"]) == (300, "2025-06-03T08:00:00+02:00")
    assert part["mean_occupancy"] == pytest.approx(40 / 24, rel=1e-5)
    assert part["states"] == {"Fluide": 0.958333, "Saturé": 0.0416667}
    assert (part["congested_hours"], part["longest_congested"]) == (1, 1)
    assert (part["hours_observed"], part["coverage"]) == (24, 1.0)
    assert part["lost_time"] == pytest.approx(27.9367, rel=1e-5)
    assert (part["verdict"], part["zone"], part["label"]) == ("unknown", 8, "Rue_7")


def test_missing_hours_are_missing_and_never_zero() -> None:
    flow: list[float | None] = [None, 10.0, 20.0, None, *[None] * 20]
    occupancy: list[float | None] = [None, 30.0, None, 60.0, *[None] * 20]
    inputs = made(TUESDAY, [road_rows(7, TUESDAY, flow, occupancy, skip=range(6, 24))], [arc(7), arc(9)])
    part = _part(inputs, 7)
    assert part["flow"] == [None, 10, 20, *[None] * 21]
    assert part["occupancy"] == [None, 30, None, 60, *[None] * 20]
    assert (part["vehicles"], part["mean_flow"], part["mean_occupancy"]) == (30, 15, 45)
    assert (part["hours_observed"], part["coverage"]) == (3, 0.125)
    assert (part["vehicles_coverage"], part["lost_time_coverage"]) == (0.0833333, 0.0416667)
    assert part["lost_time"] == pytest.approx(10 * late(30), rel=1e-5)
    assert (part["congested_hours"], part["longest_congested"]) == (2, 1)
    assert part["state"] == ["Inconnu", "Saturé", "Inconnu", "Bloqué", "Inconnu", "Inconnu", *[None] * 18]
    silent = _part(inputs, 9)
    missing = ("vehicles", "mean_flow", "max_flow", "peak_at", "mean_occupancy", "lost_time", "arc_state")
    assert [silent[name] for name in missing] == [None] * 7
    assert (silent["congested_hours"], silent["coverage"], silent["states"]) == (None, 0.0, {})
    assert traffic.compute(inputs, {}).body["coverage"] == 0.0625


def test_an_hour_without_occupancy_counts_for_vehicles_and_not_for_lost_time() -> None:
    inputs = made(TUESDAY, [road_rows(7, TUESDAY, [50.0] * 24)], [arc(7)])
    body = traffic.compute(inputs, {}).body
    assert (body["vehicles"], body["vehicles_coverage"]) == (1200, 1.0)
    assert (body["lost_time"], body["lost_time_coverage"], body["saturation_share"]) == (None, 0.0, None)
    assert body["worst_hour"] is None


def test_an_arc_without_a_length_loses_no_time_that_is_known() -> None:
    rows = [road_rows(7, TUESDAY, [50.0] * 24, [60.0] * 24), road_rows(9, TUESDAY, [50.0] * 24, [60.0] * 24)]
    body = traffic.compute(made(TUESDAY, rows, [arc(7)]), {}).body
    assert body["arcs_known"] == 2
    assert body["lost_time"] == pytest.approx(24 * 50 * (1 / 5 - 1 / 30), rel=1e-5)
    assert body["lost_time_coverage"] == 0.5


def test_the_state_is_told_as_published() -> None:
    """An occupancy of 60 % with the state Inconnu stays Inconnu, and still counts as congested."""
    states = ["Inconnu", None, "Fluide", *["Fluide"] * 21]
    inputs = made(TUESDAY, [road_rows(7, TUESDAY, None, [60.0] * 24, states)], [arc(7)])
    part = _part(inputs, 7)
    assert part["state"] == ["Inconnu", "Inconnu", *["Fluide"] * 22]
    assert part["congested_hours"] == 24
    body = traffic.compute(inputs, {}).body
    assert body["states"] == {
        "Inconnu": 0.0833333,
        "Fluide": 0.916667,
        "Pré-saturé": 0,
        "Saturé": 0,
        "Bloqué": 0,
    }
    assert body["saturation_share"] == 1.0


def test_an_impossible_value_counts_as_missing() -> None:
    flow: list[float | None] = [-5.0, 99999.0, *[10.0] * 22]
    occupancy: list[float | None] = [5.0, 5.0, 101.0, *[5.0] * 21]
    part = _part(made(TUESDAY, [road_rows(7, TUESDAY, flow, occupancy)], [arc(7)]), 7)
    assert (part["vehicles"], part["max_flow"], part["mean_occupancy"]) == (220, 10, 5)
    assert part["flow"][:3] == [None, None, 10]
    assert part["occupancy"][2] is None


def test_a_state_of_an_impossible_occupancy_is_no_state() -> None:
    """127 % would be blocked: with a flow the state is unknown, without one there is none."""
    rows = road_rows(7, TUESDAY, [65535.0, 10.0, *[10.0] * 22], [127.0, 127.0, *[5.0] * 22])
    assert rows["state"].to_list()[:3] == ["Bloqué", "Bloqué", "Fluide"]
    part = _part(made(TUESDAY, [rows], [arc(7)]), 7)
    assert part["state"] == [None, "Inconnu", *["Fluide"] * 22]
    assert part["states"] == {"Inconnu": 0.0434783, "Fluide": 0.956522}
    assert part["hours_observed"] == 23


@pytest.mark.parametrize(("day", "hours"), [(SHORT, 23), (TUESDAY, 24), (LONG, 25)])
def test_a_day_has_the_hours_of_its_clocks(day: date, hours: int) -> None:
    """Flow n in hour n: the sum of 0 to n-1, and the last hour is the peak."""
    around = [
        road_rows(7, day + timedelta(days=n), [5000.0] * local(day + timedelta(days=n)).hours)
        for n in (-1, 1)
    ]
    rows = road_rows(7, day, [float(n) for n in range(hours)], [0.0] * hours)
    inputs = made(day, [around[0], rows, around[1]], [arc(7)])
    part = _part(inputs, 7)
    assert part["flow"] == list(range(hours))
    assert (part["vehicles"], part["coverage"]) == (sum(range(hours)), 1.0)
    # The last hour is that of 23:00 on the clocks, the 22nd or 24th from midnight.
    assert part["peak_at"] == (local(day).end - timedelta(hours=1)).astimezone(local(day).zone).isoformat()
    assert place_of(local(day).labels, part["peak_at"]) == hours - 1
    body = traffic.compute(inputs, {}).body
    assert body["by_hour"]["vehicles"] == list(range(hours))
    assert all(len(body["by_hour"][name]) == hours for name in ("mean_occupancy", "reporting", "lost_time"))


def test_the_city_adds_its_arcs_up() -> None:
    rows = [
        road_rows(1, TUESDAY, [100.0] * 24, [10.0] * 24),
        road_rows(2, TUESDAY, [50.0] * 24, [40.0] * 12 + [20.0] * 12),
        road_rows(3, TUESDAY),
    ]
    body = traffic.compute(made(TUESDAY, rows, [arc(1), arc(2, length=500.0), arc(3)]), {}).body
    assert (body["arcs_known"], body["arcs_reporting"], body["coverage"]) == (3, 2, 0.666667)
    assert (body["vehicles"], body["mean_flow"], body["mean_occupancy"]) == (3600, 75, 20)
    assert body["saturation_share"] == 0.25
    of_one, of_two, later = 100 * late(10), 25 * late(40), 25 * late(20)
    assert body["lost_time"] == pytest.approx(24 * of_one + 12 * of_two + 12 * later, rel=1e-5)
    assert body["by_hour"]["saturation_share"] == [0.5] * 12 + [0.0] * 12
    assert body["by_hour"]["states"]["Inconnu"] == [1] * 24
    assert body["worst_hour"] == 0


def test_the_day_stands_beside_the_week_before() -> None:
    before = TUESDAY - timedelta(days=7)
    rows = [road_rows(1, before, [100.0] * 24, [40.0] * 24), road_rows(1, TUESDAY, [150.0] * 24, [40.0] * 24)]
    body = traffic.compute(made(TUESDAY, rows, [arc(1)]), {}).body
    week = body["week_before"]
    assert week["date"] == "2025-05-27"
    assert week["vehicles"] == {"value": 2400, "change": 0.5, "compared": 1.0}
    assert week["lost_time"]["change"] == pytest.approx(0.5, rel=1e-5)
    assert week["saturation_share"] == {"value": 1.0, "change": 0.0, "compared": 1.0}
    assert traffic.compute(made(TUESDAY, rows[1:], [arc(1)]), {}).body["week_before"] is None


def test_a_change_looks_at_the_hours_that_both_days_know() -> None:
    """Six hours of 150 beside a whole day of 100: half as much again, not three eighths of it."""
    before = TUESDAY - timedelta(days=7)
    rows = [
        road_rows(1, before, [100.0] * 24, [40.0] * 24),
        road_rows(1, TUESDAY, [150.0] * 24, skip=range(6, 24)),
    ]
    week = traffic.compute(made(TUESDAY, rows, [arc(1)]), {}).body["week_before"]
    assert week["vehicles"] == {"value": 2400, "change": 0.5, "compared": 0.25}
    assert (week["lost_time"]["change"], week["lost_time"]["compared"]) == (None, 0.0)
    assert week["saturation_share"] == {"value": 1.0, "change": None, "compared": 0.0}


def test_the_short_day_is_compared_hour_by_hour_of_the_clock() -> None:
    """The hour after 01:00 is 03:00: each hour has the flow of its clock on both days."""
    before = SHORT - timedelta(days=7)
    rows = [road_rows(1, day, [100.0 + hour for hour in local(day).clock_hours]) for day in (before, SHORT)]
    week = traffic.compute(made(SHORT, rows, [arc(1)]), {}).body["week_before"]
    assert week["vehicles"] == {"value": 2400 + 276, "change": 0.0, "compared": 1.0}
    long_before = [
        road_rows(1, day, [100.0 + hour for hour in local(day).clock_hours])
        for day in (LONG - timedelta(days=7), LONG)
    ]
    week = traffic.compute(made(LONG, long_before, [arc(1)]), {}).body["week_before"]
    assert week["vehicles"]["change"] == 0.0


def test_a_day_without_any_row_is_told_without_a_number_that_is_none() -> None:
    for inputs in (made(TUESDAY), made(TUESDAY, [], [arc(1)])):
        result = compute_all(inputs)
        json.dumps([[item.body, dict(item.parts)] for item in result.values()], allow_nan=False)
        body = result["traffic"].body
        facts = (body["vehicles"], body["lost_time"], body["worst_hour"], body["week_before"])
        assert facts == (None, None, None, None)
        assert body["by_hour"]["vehicles"] == [None] * 24
        assert result["alerts"].body["alerts"] == []
    assert (body["arcs_known"], body["coverage"]) == (1, 0.0)
    assert result["sensors"].body["reasons"]["silent"] == 1


@pytest.mark.parametrize(("day", "hours"), [(SHORT, 23), (LONG, 25)])
def test_what_is_usual_has_the_hours_of_the_day(day: date, hours: int) -> None:
    """Each hour usually has the flow of its clock; the hour that comes twice twice, the one left out never."""
    rows = []
    for back in range(85):
        date = day - timedelta(days=back)
        clock = local(date).clock_hours
        rows.append(road_rows(7, date, [100.0 + 10 * hour for hour in clock], [20.0] * len(clock)))
    inputs = made(day, rows, [arc(7)])
    part = _part(inputs, 7)
    clock = local(day).clock_hours
    assert part["flow"] == [100.0 + 10 * hour for hour in clock]
    assert part["usual"]["flow"]["median"] == part["flow"]  # type: ignore[index]
    assert part["usual"]["occupancy"]["median"] == [20.0] * hours  # type: ignore[index]
    usual = traffic.compute(inputs, {}).body["usual"]
    assert [len(usual[name]["high"]) for name in usual] == [hours, hours]
    assert usual["vehicles"]["median"] == part["flow"]


def test_the_map_has_a_letter_per_hour_in_chunks_of_400() -> None:
    rows = [road_rows(n, TUESDAY, [7.0] * 24, [0.0, 15, 30, 50] * 6, skip=[23]) for n in range(1, 402)]
    inputs = made(TUESDAY, rows, [arc(n) for n in range(1, 402)])
    result = {"arcs": arcs.compute(inputs, {})}
    facts: Metrics = map_of_arcs.compute(inputs, result)
    assert facts.body == {"chunks": 2, "arcs": 401}
    assert list(facts.parts) == ["000", "001"]
    assert [len(facts.parts[key]["arc"]) for key in facts.parts] == [400, 1]
    last = facts.parts["001"]
    assert last["arc"] == [401]
    assert last["state"] == ["fpsb" * 5 + "fps-"]
    assert last["flow"] == [[7] * 23 + [None]]
    assert last["verdict"] == "-"
    assert last["lost_time"] == [result["arcs"].parts["401"]["lost_time"]]
