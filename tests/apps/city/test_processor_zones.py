"""Zones and ranks: what adds up, who is worst, and for how many days."""

from __future__ import annotations

import json
import random
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecluse.apps.city.inputs import Metrics
from ecluse.apps.city.processors import compute_all, ranking, traffic, zones
from tests.apps.city.by_hand import TUESDAY, arc, late, local, made, road_rows, zone

FLOWS = st.one_of(st.none(), st.integers(0, 3000).map(float))
NO_FAILING = {"sensors": Metrics({"failing": []})}
OCCUPANCIES = st.one_of(st.none(), st.floats(0, 100))


def test_a_zone_sums_its_arcs_and_names_its_worst() -> None:
    rows = [road_rows(n, TUESDAY, [100.0 * n] * 24, [40.0] * 24) for n in range(1, 8)]
    network = [arc(n) for n in range(1, 7)] + [arc(7, zone=None)]
    body = zones.compute(made(TUESDAY, rows, network, [zone(8, "Élysée"), zone(9)]), {}).body
    eight, nine = body["zones"]
    assert (eight["name"], eight["arcs"], eight["reporting"]) == ("Élysée", 6, 6)
    assert (eight["vehicles"], eight["saturation_share"], eight["coverage"]) == (24 * 2100, 1.0, 1.0)
    assert eight["lost_time"] == pytest.approx(24 * 2100 * late(40), rel=1e-5)
    assert [item["arc"] for item in eight["worst"]] == [6, 5, 4, 3, 2]
    assert eight["worst"][0]["vehicles"] == 24 * 600
    assert (nine["arcs"], nine["vehicles"], nine["lost_time"], nine["worst"]) == (0, None, None, [])
    assert (body["outside"]["arcs"], body["outside"]["vehicles"]) == (1, 24 * 700)
    assert (body["city"]["arcs"], body["city"]["vehicles"]) == (7, 24 * 2800)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.integers(1, 4)),
            st.lists(st.tuples(FLOWS, OCCUPANCIES), min_size=24, max_size=24),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_zones_and_outside_add_up_to_the_city(
    arcs: list[tuple[int | None, list[tuple[float | None, float | None]]]],
) -> None:
    rows = [
        road_rows(n, TUESDAY, [flow for flow, _ in hours], [occupancy for _, occupancy in hours])
        for n, (_, hours) in enumerate(arcs, start=1)
    ]
    network = [arc(n, zone=place) for n, (place, _) in enumerate(arcs, start=1)]
    inputs = made(TUESDAY, rows, network, [zone(n) for n in range(1, 5)])
    body = zones.compute(inputs, {}).body
    parts = body["zones"] + ([body["outside"]] if body["outside"] else [])
    for name in ("arcs", "reporting", "vehicles"):
        assert sum(part[name] or 0 for part in parts) == (body["city"][name] or 0)
    lost = sum(part["lost_time"] or 0 for part in parts)
    assert lost == pytest.approx(body["city"]["lost_time"] or 0, rel=1e-4, abs=1e-9)
    of_city = traffic.compute(inputs, {}).body
    assert of_city["vehicles"] == body["city"]["vehicles"]
    assert of_city["lost_time"] == body["city"]["lost_time"]
    by_hour = of_city["by_hour"]
    assert sum(value or 0 for value in by_hour["vehicles"]) == (of_city["vehicles"] or 0)
    assert sum(by_hour["reporting"]) == pytest.approx(of_city["coverage"] * 24 * len(arcs), rel=1e-5)
    assert of_city["saturation_share"] == body["city"]["saturation_share"]
    for metrics in compute_all(inputs).values():
        json.dumps([metrics.body, dict(metrics.parts)], allow_nan=False)


def test_a_rank_says_when_its_sensor_fails_and_how_many_hours_of_flow_it_has() -> None:
    varied = [float(100 + n) for n in range(24)]
    rows = [
        road_rows(1, TUESDAY, [500.0] * 24, [20.0] * 24),
        road_rows(2, TUESDAY, [None] * 12 + varied[12:], [20.0] * 24),
    ]
    body = compute_all(made(TUESDAY, rows, [arc(1), arc(2)]))["ranking"].body
    assert [(item["arc"], item["failing"], item["coverage"]) for item in body["by_flow"]] == [
        (1, "constant", 1.0),
        (2, None, 0.5),
    ]


def test_the_ten_highest_are_ranked_and_equals_by_their_number() -> None:
    rows = [road_rows(n, TUESDAY, [float(min(n, 8))] * 24, [20.0] * 24) for n in range(1, 15)]
    body = ranking.compute(made(TUESDAY, rows, [arc(n) for n in range(1, 15)], [zone(8)]), NO_FAILING).body
    assert [(item["rank"], item["arc"], item["value"]) for item in body["by_flow"]] == [
        *[(n - 7, n, 192) for n in range(8, 15)],
        (8, 7, 168),
        (9, 6, 144),
        (10, 5, 120),
    ]
    assert {item["unit"] for item in body["by_flow"]} == {"vehicles"}
    assert [item["arc"] for item in body["by_lost_time"]] == [item["arc"] for item in body["by_flow"]]
    assert [(item["zone"], item["name"], item["rank"]) for item in body["zones"]] == [(8, "Zone 8", 1)]


def test_who_loses_nothing_has_no_rank() -> None:
    rows = [road_rows(1, TUESDAY, [10.0] * 24, [0.0] * 24), road_rows(2, TUESDAY, None, [90.0] * 24)]
    body = ranking.compute(made(TUESDAY, rows, [arc(1), arc(2)]), NO_FAILING).body
    assert [item["arc"] for item in body["by_flow"]] == [1]
    assert body["by_lost_time"] == []
    assert body["zones"] == []


def test_persistence_counts_the_days_in_the_top_ten_and_the_days_known() -> None:
    """Arc 1 is eleventh but on the day and on three days before; it is silent on two; day 28 back is too far."""
    rows = []
    for back in range(29):
        date = TUESDAY - timedelta(days=back)
        hours = local(date).hours
        for n in range(1, 12):
            top = n > 1 or back in (0, 3, 5, 27, 28)
            if not (n == 1 and back in (7, 8)):
                rows.append(road_rows(n, date, [float(100 + n if top else 1)] * hours))
    inputs = made(TUESDAY, rows, [arc(n) for n in range(2, 12)] + [arc(1, label="A")])
    ranked = {item["arc"]: item for item in ranking.compute(inputs, NO_FAILING).body["by_flow"]}
    assert 1 not in ranked  # 101 is the smallest of the eleven
    assert (ranked[2]["persistence"], ranked[2]["persistence_days"]) == (28, 28)
    again = [rows_.with_columns(flow=rows_["flow"] * 2) if rows_["arc"][0] == 1 else rows_ for rows_ in rows]
    ranked = {
        item["arc"]: item for item in ranking.compute(made(TUESDAY, again, []), NO_FAILING).body["by_flow"]
    }
    assert ranked[1]["rank"] == 1
    assert (ranked[1]["persistence"], ranked[1]["persistence_days"]) == (4, 26)
    assert 2 not in ranked


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(6)), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_changes_nothing(order: list[int], chance: random.Random) -> None:
    """The same tables give the same metrics, whichever way their rows come; and the tables stay as they were."""
    frames = [
        road_rows(
            n,
            TUESDAY - timedelta(days=7 * week),
            [chance.choice([None, float(chance.randint(0, 900))]) for _ in range(24)],
            [chance.choice([None, chance.uniform(0, 100)]) for _ in range(24)],
        )
        for n in (1, 2)
        for week in range(3)
    ]
    network, places = [arc(1), arc(2, zone=None)], [zone(8)]
    inputs = made(TUESDAY, frames, network, places)
    before = inputs.tables["roads"].clone()
    facts = compute_all(inputs)
    assert inputs.tables["roads"].equals(before)
    mixed = [frames[n].sample(fraction=1.0, shuffle=True, seed=n) for n in order]
    again = compute_all(made(TUESDAY, mixed, network[::-1], places))
    assert {kind: (item.body, item.parts) for kind, item in facts.items()} == {
        kind: (item.body, item.parts) for kind, item in again.items()
    }
