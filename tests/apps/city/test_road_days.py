"""Days of road counts are summed up once; what is remembered of them is that of the same rows and rules, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ecluse.apps.city.curated import Curated
from ecluse.apps.city.inputs import Inputs, read_inputs
from ecluse.apps.city.memory import Memory
from ecluse.apps.city.processors import compute_all
from ecluse.apps.city.road_days import Rules, of_frame, panel_on, sum_up
from ecluse.apps.city.road_hours import network_of
from ecluse.apps.city.sources import curated_tables
from ecluse.apps.city.thresholds import Thresholds
from ecluse.apps.city.typical import panel_of
from ecluse.storage import Cache, open_store
from tests.apps.city.by_hand import arc, local, made, road_rows

LAST = date(2025, 11, 4)
LONG_DAY = date(2025, 10, 26)
FIRST = LAST - timedelta(days=30)


@pytest.fixture
def layer(tmp_path: Path) -> Callable[[], Curated]:
    """A curated layer of two arcs over a month, opened as each job opens it."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    def open_layer() -> Curated:
        store = open_store((tmp_path / "curated").as_uri())
        return Curated(store, Cache(tmp_path / "cache", 10**8), scratch, curated_tables())

    curated = open_layer()
    curated.write_whole(
        "arcs", pl.DataFrame([arc(7), arc(8)], schema=curated.tables["arcs"].schema), fingerprint="1"
    )
    for n in range(31):
        write(curated, FIRST + timedelta(days=n), 100.0 + n)
    return open_layer


def write(curated: Curated, day: date, flow: float) -> None:
    curated.write("roads", day, "file", pl.concat(counted(day, flow)), fingerprint=str(flow))


def bike_rows(day: date, count: int) -> pl.DataFrame:
    rows = {"counter": "a", "at": local(day).starts, "count": count}
    schema = curated_tables()["bikes"].schema
    return (
        pl.DataFrame(rows)
        .with_columns([pl.lit(None).alias(name) for name in schema.names() if name not in rows])
        .select(schema.names())
        .cast(schema)
    )


def counted(day: date, flow: float) -> list[pl.DataFrame]:
    hours = local(day).hours
    return [road_rows(number, day, [flow + number + hour for hour in range(hours)]) for number in (7, 8)]


def seen(inputs: Inputs) -> dict[str, object]:
    """What the processors make of the inputs."""
    return {kind: (metrics.body, dict(metrics.parts)) for kind, metrics in compute_all(inputs).items()}


def test_a_day_is_the_same_from_memory_as_from_its_rows(layer: Callable[[], Curated]) -> None:
    memory = Memory(10**8)
    for day in (LAST - timedelta(days=1), LAST):
        warm = seen(read_inputs(layer(), local(day), Thresholds(), memory=memory))
        assert warm == seen(read_inputs(layer(), local(day), Thresholds(), memory=Memory(0)))
    assert memory.size > 0


def test_the_counters_of_past_days_are_read_once_and_again_where_their_rows_changed(
    layer: Callable[[], Curated], monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, curated = Memory(10**8), layer()
    days = [LAST - timedelta(days=n) for n in range(3)]
    for day in days:
        curated.write("bikes", day, "file", bike_rows(day, 5), fingerprint="1")
    before = read_inputs(layer(), local(LAST), Thresholds(), memory=memory)
    curated.write("bikes", days[1], "file", bike_rows(days[1], 9), fingerprint="2")
    opened, read = layer(), list[date]()
    read_day = opened.read_day_marked

    def noted(table: str, day: date) -> tuple[str, pl.DataFrame]:
        read.append(day)
        return read_day(table, day)

    monkeypatch.setattr(opened, "read_day_marked", noted)
    after = read_inputs(opened, local(LAST), Thresholds(), memory=memory)
    assert read == [days[1]]  # the roads are in the memory, too
    assert before.bikes["count"].to_list() == [5] * 72
    assert after.bikes["count"].to_list() == [5] * 24 + [9] * 24 + [5] * 24
    assert after.bikes.equals(opened.read("bikes", days[2], LAST))


def test_a_day_whose_rows_changed_is_never_taken_from_memory(layer: Callable[[], Curated]) -> None:
    memory = Memory(10**8)
    before = read_inputs(layer(), local(LAST), Thresholds(), memory=memory)
    usual = before.flow_usual.median.copy()
    write(layer(), LAST - timedelta(days=7), 10.0)
    after = read_inputs(layer(), local(LAST), Thresholds(), memory=memory)
    assert not np.array_equal(usual, after.flow_usual.median)
    assert seen(after) == seen(read_inputs(layer(), local(LAST), Thresholds(), memory=Memory(0)))


def test_other_thresholds_and_another_reference_are_not_answered_from_memory(
    layer: Callable[[], Curated],
) -> None:
    memory = Memory(10**8)
    seen(read_inputs(layer(), local(LAST), Thresholds(), memory=memory))
    strict = replace(Thresholds(), largest_flow=115.0)
    assert seen(read_inputs(layer(), local(LAST), strict, memory=memory)) == seen(
        read_inputs(layer(), local(LAST), strict, memory=Memory(0))
    )
    longer = pl.DataFrame([arc(7, length=3000.0), arc(9)], schema=layer().tables["arcs"].schema)
    layer().write_whole("arcs", longer, fingerprint="2")
    assert seen(read_inputs(layer(), local(LAST), Thresholds(), memory=memory)) == seen(
        read_inputs(layer(), local(LAST), Thresholds(), memory=Memory(0))
    )


def test_rows_that_a_writer_replaces_between_listing_and_reading_are_remembered_as_what_they_are(
    layer: Callable[[], Curated], monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, curated, other = Memory(10**8), layer(), layer()
    day = LAST - timedelta(days=7)
    listed = curated.marks

    def mark_then_replace(table: str, first: date, last: date) -> dict[date, str]:
        marks = listed(table, first, last)
        write(other, day, 900.0)
        return marks

    monkeypatch.setattr(curated, "marks", mark_then_replace)
    assert read_inputs(curated, local(LAST), Thresholds(), memory=memory).flow_panel.of(day).max() > 900
    write(other, day, 100.0 + 23)  # as it was at first: its mark is that of the listing
    again = read_inputs(layer(), local(LAST), Thresholds(), memory=memory)
    assert again.flow_panel.of(day).max() < 900


def test_what_is_remembered_cannot_be_changed(layer: Callable[[], Curated]) -> None:
    inputs = read_inputs(layer(), local(LAST), Thresholds(), memory=Memory(10**8))
    day = next(iter(inputs.road_days.days().values()))
    with pytest.raises(ValueError, match="read-only"):
        day.flow[0, 0] = 1.0


def test_a_memory_never_holds_more_than_it_may_and_forgets_what_nobody_asked_for() -> None:
    memory = Memory(30)
    for name in "abc":
        memory.put(name, name, 10)
    assert memory.get("a") == "a"
    memory.put("d", "d", 10)
    assert [memory.get(name) for name in "abcd"] == ["a", None, "c", "d"]
    memory.put("large", "large", 31)
    assert (memory.get("large"), memory.size) == (None, 30)
    memory.put("d", "e", 20)
    assert ([memory.get(name) for name in "acd"], memory.size) == ([None, "c", "e"], 30)


@pytest.mark.parametrize("day", [LAST, LONG_DAY, date(2025, 3, 30)])
def test_a_day_of_any_length_is_the_same_by_the_clock_as_in_a_panel_of_rows(day: date) -> None:
    rows = pl.concat(counted(day, 50.0))
    summed = sum_up(rows, local(day), Rules(made(day, arcs=[arc(7)]).arcs, Thresholds(), local(day)))
    panel = panel_of(rows, "flow", day, day, local(day).zone)
    assert summed.arcs.tolist() == [7, 8]
    np.testing.assert_array_equal(summed.flow, panel.values[:, 0])
    assert summed.vehicles.tolist() == [
        rows.filter(pl.col("arc") == number)["flow"].sum() for number in (7, 8)
    ]


def test_a_panel_of_days_lays_each_arc_at_its_place_in_the_network() -> None:
    day = local(LAST)
    inputs = made(LAST, counted(LAST, 10.0), [arc(3), arc(7)])
    days = of_frame(inputs.tables["roads"], LAST, Rules(inputs.arcs, Thresholds(), day))
    panel = panel_on(network_of(inputs.arcs, days.arcs()), days, "flow")
    assert panel.sensors == (3, 7, 8)
    assert np.isnan(panel.values[0]).all()
    assert panel.values[1:, 0, 0].tolist() == [17.0, 18.0]
