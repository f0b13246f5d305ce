"""Sites of a day: by zone and impact, near which arcs, and what changed there since they began."""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest

from ecluse.apps.city.inputs import Inputs
from ecluse.apps.city.processors import works
from ecluse.apps.city.thresholds import Thresholds
from tests.apps.city.by_hand import TUESDAY, arc, local, made, road_rows, zone


def site(name: str, **changed: Any) -> dict[str, Any]:
    facts = {
        "site": name,
        "title": f"title {name}",
        "begin": TUESDAY - timedelta(days=13),
        "end": TUESDAY,
        "impact": "RESTREINTE",
        "level": 2,
        "zone": 8,
        "area": 100.0,
        "latitude": 48.87,
        "longitude": 2.3,
        "geometry": box(2.3, 48.87),
    }
    return facts | changed


def box(east: float, north: float, size: float = 0.0001) -> str:
    corners = [
        [east, north],
        [east + size, north],
        [east + size, north + size],
        [east, north + size],
        [east, north],
    ]
    return json.dumps({"type": "Polygon", "coordinates": [corners]})


def line(*points: tuple[float, float]) -> str:
    return json.dumps({"type": "LineString", "coordinates": [list(point) for point in points]})


def body(inputs: Inputs) -> dict[str, Any]:
    return works.compute(inputs, {}).body


def test_sites_are_counted_by_zone_and_impact_and_more_than_three_are_critical() -> None:
    sites = [site(f"A{n}") for n in range(4)] + [site(f"B{n}", zone=9, impact=None) for n in range(3)]
    sites += [site(f"C{n}", zone=None, area=None) for n in range(5)]
    result = body(made(TUESDAY, works=sites, zones=[zone(8, "Élysée"), zone(9, "Opéra")]))
    assert (result["active"], result["area"], result["area_known"], result["items_total"]) == (12, 700, 7, 12)
    assert result["by_zone"] == [
        {"zone": 8, "name": "Élysée", "active": 4, "area": 400, "critical": True},
        {"zone": 9, "name": "Opéra", "active": 3, "area": 300, "critical": False},
        {"zone": None, "name": None, "active": 5, "area": None, "critical": False},
    ]
    assert result["critical_zones"] == [8]
    assert result["by_impact"] == [{"impact": "RESTREINTE", "active": 9}, {"impact": None, "active": 3}]


def test_the_gravest_sites_come_first_and_the_list_is_bounded() -> None:
    sites = [site(f"S{n:03d}") for n in range(160)]
    sites += [site("big", area=5000.0), site("high", level=1), site("shut", level=1, impact="BARRAGE_TOTAL")]
    sites += [site("unknown", level=None, impact=None)]
    result = body(made(TUESDAY, works=sites))
    assert [entry["site"] for entry in result["items"][:4]] == ["shut", "high", "big", "S000"]
    assert (len(result["items"]), result["items_total"]) == (150, 164)


def test_long_texts_shorten_the_list_so_that_the_document_fits_everywhere() -> None:
    sites = [site(f"S{n:03d}", title="é" * 999, streets="é" * 999) for n in range(150)]
    near = line((2.299, 48.869), (2.299, 48.873))
    arcs = [arc(n, label="é" * 60, geometry=near) for n in range(1, 40)]
    result = body(made(TUESDAY, works=sites, arcs=arcs))
    assert 20 < len(result["items"]) < 150
    assert (len(result["items"][0]["arcs"]), result["items"][0]["arcs_total"]) == (12, 39)
    assert len(json.dumps(result, ensure_ascii=False).encode()) < 250_000


def test_arcs_within_150_m_are_near_by_the_distance_of_their_nearest_points() -> None:
    # at this latitude 0.001 degrees are 73.3 m to the east and 111.2 m to the north
    arcs = [
        arc(1, geometry=line((2.299, 48.869), (2.299, 48.873))),
        arc(2, geometry=line((2.3021, 48.868), (2.3021, 48.88))),
        arc(3, geometry=line((2.303, 48.868), (2.303, 48.88))),
        arc(4, geometry=line((2.299, 48.87005), (2.302, 48.87005))),
        arc(5),
    ]
    near = body(made(TUESDAY, arcs=arcs, works=[site("A")]))["items"][0]["arcs"]
    assert [(entry["arc"], entry["label"]) for entry in near] == [(4, "Rue_4"), (1, "Rue_1"), (2, "Rue_2")]
    assert [entry["distance"] for entry in near] == pytest.approx([0, 73.3, 146.6], abs=0.5)
    smaller = made(
        TUESDAY, arcs=arcs, works=[site("A")], thresholds=Thresholds.changed({"works_radius": 100})
    )
    assert [entry["arc"] for entry in body(smaller)["items"][0]["arcs"]] == [4, 1]


def test_a_site_with_a_point_alone_is_near_too_and_one_without_position_is_near_nothing() -> None:
    arcs = [arc(1, geometry=line((2.299, 48.869), (2.299, 48.873)))]
    sites = [site("A", geometry=None), site("B", geometry=None, latitude=None, longitude=None)]
    first, second = body(made(TUESDAY, arcs=arcs, works=sites))["items"]
    assert (len(first["arcs"]), second["arcs"], second["before_after"]) == (1, [], None)


def roads(begin: date, first: date, before: float, since: float) -> list[pl.DataFrame]:
    """Arc 1 from `first` to Tuesday: twice as many vehicles at weekends, and half the flow since `begin`."""
    frames = []
    day = first
    while day <= TUESDAY:
        flow = (before if day < begin else since) * (2 if day.weekday() > 4 else 1)
        hours = local(day).hours
        frames.append(road_rows(1, day, [flow] * hours, [10.0 if day < begin else 20.0] * hours))
        day += timedelta(days=1)
    return frames


def test_before_and_after_compare_the_same_weekdays() -> None:
    begin = date(2025, 5, 31)  # a Saturday: 2 days of a weekend and 2 others since
    arcs = [arc(1, geometry=line((2.299, 48.869), (2.299, 48.873)))]
    given = made(
        TUESDAY,
        arcs=arcs,
        works=[site("A", begin=begin)],
        roads=roads(begin, date(2025, 4, 1), before=400, since=200),
    )
    (item,) = body(given)["items"]
    flow, occupancy = item["before_after"]["flow"], item["before_after"]["occupancy"]
    assert flow["since"] == 300
    assert flow["usual_change"] == -0.5
    assert (flow["days_before"], flow["days_since"]) == (56, 4)
    assert (occupancy["before"], occupancy["since"], occupancy["usual_change"]) == (10, 20, 1)


def test_without_enough_days_before_the_site_there_is_no_comparison() -> None:
    begin = TUESDAY - timedelta(days=83)  # one day of history before it
    arcs = [arc(1, geometry=line((2.299, 48.869), (2.299, 48.873)))]
    given = made(
        TUESDAY,
        arcs=arcs,
        works=[site("A", begin=begin), site("B", begin=date(1, 1, 1))],
        roads=roads(begin, TUESDAY - timedelta(days=84), before=400, since=200),
    )
    assert [item["before_after"] for item in body(given)["items"]] == [None, None]


def test_a_day_of_which_no_sites_were_read_is_null() -> None:
    assert body(made(TUESDAY))["active"] is None
