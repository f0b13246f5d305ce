"""Disruptions of a day: hours as unions of periods, reliability over the lines known, the worst first."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecluse.apps.city import tables
from ecluse.apps.city.inputs import Inputs
from ecluse.apps.city.processors import disruptions
from ecluse.apps.city.processors.disruptions import hours_of
from ecluse.apps.city.sources import disruptions as source
from ecluse.apps.city.thresholds import Thresholds
from tests.apps.city.by_hand import LONG, SHORT, TUESDAY, local, made
from tests.apps.city.layers import make_layers
from tests.conftest import SHARED

REAL = SHARED / "city"


def row(
    name: str | None, line: str | None = "L1", begin: float = 8, end: float | None = 10, **changed: Any
) -> dict[str, Any]:
    """A row of Tuesday; `begin` and `end` in hours after its local midnight."""
    facts = {"line": line, "line_name": line, "mode": "Metro", "network": "N"}
    if name is None:
        return facts | changed
    midnight = local(TUESDAY).begin
    return (
        facts
        | {
            "disruption": name,
            "begin": midnight + timedelta(hours=begin),
            "end": None if end is None else midnight + timedelta(hours=end),
            "scope": "line" if line else None,
            "severity": "blocked",
            "title": f"title {name}",
            "message": "words",
        }
        | changed
    )


def inputs(*rows: dict[str, Any], day: date = TUESDAY) -> Inputs:
    return made(day).with_tables(disruptions=pl.DataFrame(list(rows), schema=tables.DISRUPTIONS))


def body(*rows: dict[str, Any]) -> dict[str, Any]:
    return disruptions.compute(inputs(*rows), {}).body


def test_overlapping_periods_count_once_and_only_within_the_day() -> None:
    result = body(row("a", begin=8, end=10), row("b", begin=9, end=12), row("c", begin=-5, end=1))
    (line,) = result["lines"]
    assert (line["blocked_hours"], line["disturbed_hours"], line["disruptions"]) == (5, 0, 3)
    assert (result["scheduled_line_hours"], result["blocked_line_hours"]) == (20, 5)
    assert result["reliability"] == 0.75


def test_a_blocked_hour_is_not_also_disturbed_and_a_blocked_part_disturbs() -> None:
    result = body(
        row("a", begin=8, end=10),
        row("b", begin=9, end=12, severity="disturbed"),
        row("c", begin=20, end=21, scope="part"),
        row("d", begin=0, end=24, severity="information"),
    )
    (line,) = result["lines"]
    assert (line["blocked_hours"], line["disturbed_hours"]) == (2, 3)


def test_lines_without_a_disruption_are_scheduled_all_the_same() -> None:
    result = body(row("a", begin=0, end=24), row(None, "L1"), row(None, "L2"), row(None, "L3"))
    assert (result["lines_known"], result["lines_total"]) == (3, 1)
    # a line that is blocked all day loses the 20 hours that it runs
    assert (result["scheduled_line_hours"], result["blocked_line_hours"]) == (60, 20)
    assert result["reliability"] == pytest.approx(2 / 3, rel=1e-5)
    assert result["lines"][0]["reliability"] == 0


def test_a_disruption_is_open_where_it_goes_on_after_the_day() -> None:
    result = body(row("a", end=10), row("b", end=24), row("c", end=None), row("d", end=30))
    assert (result["active"], result["open"]) == (4, 3)
    by_id = {item["id"]: item for item in result["items"]}
    assert (by_id["c"]["end"], by_id["c"]["open"]) == (None, True)
    assert by_id["a"]["begin"] == "2025-06-03T08:00+02:00"
    assert result["lines"][0]["blocked_hours"] == 16


def test_modes_count_disruptions_once_and_those_without_a_line_under_null() -> None:
    result = body(
        row("a", "L1"),
        row("a", "L2"),
        row("b", "L3", mode="Bus", severity="disturbed"),
        row("c", None, mode=None, severity="information"),
    )
    modes = {entry["mode"]: entry for entry in result["by_mode"]}
    assert modes["Metro"] == {"mode": "Metro", "active": 1, "blocked_hours": 4, "disturbed_hours": 0}
    assert modes["Bus"]["disturbed_hours"] == 2
    assert modes[None]["active"] == 1
    assert result["active"] == 3


def test_the_worst_come_first_and_lists_are_bounded() -> None:
    rows = [row(f"d{n:03d}", "L1", severity="information") for n in range(250)]
    rows += [
        row("long", "L2", begin=1, end=20, title="x" * 500, message="y" * 5000),
        row("part", "L2", begin=0, end=24, scope="part"),
    ]
    rows += [row("wide", f"W{n:03d}", severity="disturbed") for n in range(400)]
    result = body(*rows)
    assert [item["id"] for item in result["items"][:3]] == ["long", "part", "wide"]
    assert (len(result["items"]), result["items_total"]) == (200, 253)
    assert (len(result["lines"]), result["lines_total"]) == (300, 402)
    assert (len(result["items"][2]["lines"]), result["items"][2]["lines_total"]) == (20, 400)
    assert result["most_affected"] == result["lines"][:10]
    assert len(json.dumps(result, ensure_ascii=False, allow_nan=False).encode()) < 250_000


def test_long_texts_shorten_the_lists_so_that_the_document_fits_everywhere() -> None:
    rows = [
        row(f"d{n:03d}", f"{'é' * 300}{n % 290}", title="é" * 400, message="é" * 4000) for n in range(300)
    ]
    result = body(*rows)
    assert 20 < len(result["items"]) < 200
    assert (result["items_total"], result["lines_total"]) == (300, 290)
    assert 20 < len(result["lines"]) < 290
    assert len(json.dumps(result, ensure_ascii=False).encode()) < 250_000


def test_a_day_of_which_nothing_was_read_is_null_and_a_quiet_day_is_zero() -> None:
    assert disruptions.compute(made(TUESDAY), {}).body["active"] is None
    quiet = disruptions.compute(replace(made(TUESDAY), parts={"disruptions": [object()]}), {})  # type: ignore[list-item]
    assert (quiet.body["active"], quiet.body["reliability"]) == (0, None)


@pytest.mark.parametrize(("day", "hours"), [(SHORT, 23), (LONG, 25)])
def test_a_disruption_of_all_day_lasts_as_long_as_the_day(day: date, hours: int) -> None:
    facts = row("a") | {"begin": datetime(2025, 1, 1, tzinfo=UTC), "end": datetime(2026, 1, 1, tzinfo=UTC)}
    (line,) = disruptions.compute(inputs(facts, day=day), {}).body["lines"]
    assert line["blocked_hours"] == hours


def test_service_hours_can_be_set() -> None:
    given_ = replace(inputs(row("a")), thresholds=Thresholds.changed({"service_hours": 10}))
    assert disruptions.compute(given_, {}).body["reliability"] == 0.8


@given(st.lists(st.tuples(st.integers(0, 96), st.integers(0, 96)), max_size=12))
def test_the_union_of_spans_is_the_quarters_that_any_of_them_covers(spans: list[tuple[int, int]]) -> None:
    begin = local(TUESDAY).begin
    quarter = timedelta(minutes=15)
    covered = {n for first, last in spans for n in range(first, last)}
    facts = [(begin + first * quarter, begin + last * quarter) for first, last in spans]
    assert hours_of(facts) == len(covered) / 4


@pytest.mark.skipif(not REAL.exists(), reason="the real files are not beside this checkout")
def test_the_real_day_gives_hours_and_reliability_counted_apart(tmp_path: Any) -> None:
    day = date(2025, 2, 4)
    layers = make_layers(tmp_path)
    for name in ("prim-disruptions.json", "prim-lines.json"):
        layers.put(f"api/traffic/dt={day.isoformat()}/hour=08/{name}", (REAL / name).read_bytes())
    source.curate(layers.raw, replace(layers.work, first=day, last=day))
    rows = layers.curated.read("disruptions", day, day)
    result = disruptions.compute(made(day).with_tables(disruptions=rows), {}).body
    facts = {entry["id"]: entry for entry in json.loads((REAL / "prim-disruptions.json").read_text())}
    minutes_of: dict[str, set[int]] = {}
    for line in json.loads((REAL / "prim-lines.json").read_text()):
        kinds: dict[str, set[str]] = {}
        for thing in line["impactedObjects"]:
            for entry in thing["disruptionIds"]:
                kinds.setdefault(entry, set()).add(thing["type"])
        minutes = minutes_of.setdefault(line["id"], set())
        for entry, names in kinds.items():
            if facts[entry]["severity"] == "BLOQUANTE" and "stop_point" not in names:
                for period in facts[entry]["applicationPeriods"]:
                    minutes |= _minutes(period, day)
    hours = {line: len(minutes) / 60 for line, minutes in minutes_of.items()}
    assert result["blocked_line_hours"] == pytest.approx(
        sum(min(entry, 20) for entry in hours.values()), abs=0.02
    )
    assert result["lines_known"] == len(hours) == 635
    assert result["reliability"] == pytest.approx(1 - result["blocked_line_hours"] / (635 * 20), rel=1e-5)


def _minutes(period: dict[str, str], day: date) -> set[int]:
    midnight = datetime(day.year, day.month, day.day)
    begin, end = (
        (datetime.strptime(period[side], "%Y%m%dT%H%M%S") - midnight).total_seconds() / 60
        for side in ("begin", "end")
    )
    return set(range(max(0, int(begin)), min(1440, int(end))))
