"""The sample of a city: the same bytes for the same seed, true to the schema, and never beside other data."""

from __future__ import annotations

import csv
import itertools
import json
from collections import Counter
from datetime import date, datetime, timedelta
from io import StringIO
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecluse.apps.city.calendar import LocalDay
from ecluse.apps.city.demo import remove_demo, write_demo
from ecluse.apps.city.demo.base_map import CENTRE, KM_PER_LATITUDE, KM_PER_LONGITUDE, draw_base_map, zone_at
from ecluse.apps.city.demo.bikes import count_bikes
from ecluse.apps.city.demo.days import Day, day_of
from ecluse.apps.city.demo.disruptions import disruptions_of
from ecluse.apps.city.demo.roads import HEADER, REFERENCE_HEADER, STADIUM, count_roads
from ecluse.apps.city.demo.works import DISTURBS, sites_open
from ecluse.apps.city.demo.works import HEADER as WORKS_HEADER
from ecluse.apps.city.provenance import MARKER, is_invented
from ecluse.apps.city.raw import Raw
from ecluse.errors import InvalidInput, KeyConflict
from ecluse.storage import ObjectStore, open_store
from tests.apps.city.by_hand import PARIS
from tests.conftest import SHARED

ROADS = "batch/comptages-routiers-permanents-demo.csv"
REFERENCE = "batch/referentiel-geographique-pour-les-donnees-trafic-issues-des-capteurs-permanents-demo.csv"
WORKS = "batch/chantiers-perturbants-la-circulation-demo.csv"
LONG, SHORT = date(2025, 10, 26), date(2025, 3, 30)


def store(folder: Path) -> ObjectStore:
    return open_store(folder.as_uri())


def contents(raw: ObjectStore) -> dict[str, bytes]:
    return {info.key: raw.get(info.key) for info in raw.list()}


def rows(raw: ObjectStore, key: str) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(raw.get(key).decode("utf-8-sig"), newline=""), delimiter=";"))


def days_from(first: date, count: int) -> list[Day]:
    return [day_of(first + timedelta(days=n), 0) for n in range(count)]


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path: Path) -> None:
    written = [
        write_demo(store(tmp_path / name), LONG, 2, seed=seed, arcs=60)
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    ]
    a, b, c = (contents(store(tmp_path / name)) for name in "abc")
    assert a == b
    assert a.keys() == c.keys()
    assert a[ROADS] != c[ROADS]
    assert written[0].files == len(a) - 1  # all but the marker
    assert written[0].size == sum(len(data) for key, data in a.items() if key != MARKER)
    assert written[0].rows > 0


def test_a_day_is_the_same_however_many_are_written(tmp_path: Path) -> None:
    few, many = store(tmp_path / "few"), store(tmp_path / "many")
    write_demo(few, date(2025, 9, 10), 1, arcs=40)
    write_demo(many, date(2025, 9, 8), 4, arcs=40)
    of_day = [line for line in rows(many, ROADS) if "2025-09-10" in line["Date et heure de comptage"]]
    assert [line for line in rows(few, ROADS) if "2025-09-10" in line["Date et heure de comptage"]] == [
        line
        for line in of_day
        if "T00:00" not in line["Date et heure de comptage"]  # the end of the 9th
    ]
    mine, theirs = contents(few), contents(many)
    feeds = [key for key in mine if key.startswith("api/")]
    assert len(feeds) > 24
    assert all(theirs[key] == mine[key] for key in feeds)


def test_writing_again_replaces_an_earlier_sample(tmp_path: Path) -> None:
    again, fresh = store(tmp_path / "again"), store(tmp_path / "fresh")
    write_demo(again, date(2025, 9, 1), 5, arcs=30)
    write_demo(again, date(2025, 9, 4), 2, arcs=20, seed=1)
    write_demo(fresh, date(2025, 9, 4), 2, arcs=20, seed=1)
    assert contents(again) == contents(fresh)


@pytest.mark.parametrize(("day", "hours"), [(LONG, 25), (SHORT, 23), (date(2025, 6, 4), 24)])
def test_a_day_has_the_hours_of_the_citys_clocks(tmp_path: Path, day: date, hours: int) -> None:
    raw = store(tmp_path)
    write_demo(raw, day, 1, arcs=30)
    stamps = Counter(line["Date et heure de comptage"] for line in rows(raw, ROADS))
    moments = {datetime.fromisoformat(stamp) for stamp in stamps if "-13-" not in stamp}
    assert len(moments) == hours
    assert (min(moments), max(moments)) == (LocalDay(day, PARIS).starts[1], LocalDay(day, PARIS).end)
    assert {stamp[-6:] for stamp in stamps} <= {"+01:00", "+02:00"}
    bikes = list(raw.list("api/bikes"))
    assert len(bikes) == hours
    moments_of_bikes = {
        record["date"]
        for info in bikes
        for record in json.loads(raw.get(info.key))["results"]
        if record["date"] != "hier"
    }
    # The bikes' stamps are the begins of the hours whose ends the roads' stamps are.
    begins = {datetime.fromisoformat(text) for text in moments_of_bikes}
    assert {begin + timedelta(hours=1) for begin in begins} == moments


@pytest.mark.parametrize(
    ("key", "real", "header"),
    [
        (ROADS, "comptages-champs-elysees.csv", HEADER),
        (REFERENCE, "referentiel-comptages-routiers.csv", REFERENCE_HEADER),
        (WORKS, "chantiers-perturbants.csv", WORKS_HEADER),
    ],
)
def test_tables_have_the_columns_of_the_real_files(
    tmp_path: Path, key: str, real: str, header: tuple[str, ...]
) -> None:
    raw = store(tmp_path)
    write_demo(raw, date(2025, 9, 1), 1, arcs=60)
    result = raw.get(key).decode("utf-8-sig").splitlines()[0]
    assert result == ";".join(header)
    path = SHARED / "city" / real
    if path.exists():
        assert result == path.read_text(encoding="utf-8-sig").splitlines()[0]


def test_records_of_the_feeds_have_the_fields_of_the_real_ones(tmp_path: Path) -> None:
    raw = store(tmp_path)
    write_demo(raw, date(2025, 9, 8), 7, arcs=30)
    bikes = json.loads(raw.get("api/bikes/dt=2025-09-08/hour=06/bikes-demo.json"))["results"][0]
    assert {"id_compteur", "nom_compteur", "id", "name", "sum_counts", "date", "coordinates"} <= bikes.keys()
    files = [json.loads(raw.get(info.key)) for info in raw.list("api/traffic")]
    navitia = next(
        item
        for body in files
        if "lines" not in body
        for item in body["disruptions"]
        if item["impacted_objects"]
    )
    assert {
        "application_periods",
        "severity",
        "messages",
        "impacted_objects",
        "cause",
        "updated_at",
    } <= navitia.keys()
    assert {"code", "commercial_mode", "network"} <= navitia["impacted_objects"][0]["pt_object"][
        "line"
    ].keys()
    prim = next(body for body in files if "lines" in body)
    expected = {item["id"] for item in prim["disruptions"]}
    facts = [line["impactedObjects"][0]["disruptionIds"] for line in prim["lines"]]
    assert prim["disruptions"]
    assert all(set(ids) <= expected for ids in facts)
    weather = [json.loads(raw.get(info.key)) for info in raw.list("api/weather")]
    assert any("days" in body for body in weather)
    assert any({"hourly", "daily"} <= body.keys() for body in weather)


def test_every_file_is_where_the_raw_layout_looks_for_it(tmp_path: Path) -> None:
    raw = store(tmp_path)
    write_demo(raw, date(2025, 9, 1), 2, arcs=30)
    layout = Raw(raw)
    result = {
        file.key
        for feed in ("bikes", "traffic", "weather")
        for day in layout.days(feed)
        for file in layout.partition(feed, day)
    }
    for name in (
        "comptages-routiers-permanents",
        "chantiers-perturbants-la-circulation",
        "referentiel-geographique-pour-les-donnees-trafic-issues-des-capteurs-permanents",
    ):
        result |= {file.key for file in layout.batch(name)}
    result |= {file.key for file in layout.batch("arrondissements", endings=(".geojson",))}
    assert result == {info.key for info in raw.list()} - {MARKER}


def test_zones_share_their_borders_and_hold_their_arcs() -> None:
    from ecluse.apps.city.demo.base_map import zone_features

    features = zone_features()
    assert [item["properties"]["c_ar"] for item in features] == list(range(1, 21))
    borders: Counter[frozenset[tuple[float, float]]] = Counter()
    for item in features:
        ring = [tuple(point) for point in item["geometry"]["coordinates"][0]]
        assert ring[0] == ring[-1]
        borders.update(frozenset((tuple(a), tuple(b))) for a, b in itertools.pairwise(ring))  # type: ignore[misc]
    assert max(borders.values()) == 2  # a piece of border lies between two zones, or at the edge
    ground = draw_base_map(400)
    zones = Counter(zone_at(x, y) for x, y in zip(ground.x.tolist(), ground.y.tolist(), strict=True))
    assert set(zones) == {None, *range(1, 21)}


def test_the_arcs_of_a_street_are_chained_and_the_ring_closes() -> None:
    ground = draw_base_map(400)
    for street in range(int(ground.street.max())):  # the last one may be cut
        of_street = np.flatnonzero(ground.street == street)
        assert ground.downstream[of_street][:-1].tolist() == ground.upstream[of_street][1:].tolist()
        ends = [ground.shape[n][-1] for n in of_street[:-1]], [ground.shape[n][0] for n in of_street[1:]]
        assert np.allclose(*ends)
    ring = [n for n, label in enumerate(ground.label) if label.startswith("PE_")]
    assert ground.downstream[ring[-1]] == ground.upstream[ring[0]]


@pytest.mark.nightly
@given(st.integers(12, 3348))
def test_any_number_of_arcs_can_be_drawn(arcs: int) -> None:
    ground = draw_base_map(arcs)
    assert len(ground) == len(set(ground.arc.tolist())) == arcs


def test_rush_hours_weekends_and_nights_differ() -> None:
    ground = draw_base_map(400)
    monday, sunday = day_of(date(2025, 9, 8), 0), day_of(date(2025, 9, 7), 0)
    working, resting = (count_roads(ground, day, []) for day in (monday, sunday))
    flow, occupancy = np.nanmedian(working.flow, axis=0), np.nanmedian(working.occupancy, axis=0)
    assert min(flow[8], flow[18]) > flow[13] > 3 * flow[3]
    assert occupancy[18] > 3 * occupancy[3]
    assert np.nansum(resting.flow) < 0.9 * np.nansum(working.flow)


def test_rain_keeps_cyclists_at_home_and_a_strike_brings_them_out() -> None:
    days = [
        day for day in days_from(date(2025, 1, 1), 365) if day.rest == 0 and 5 < day.weather.temperature < 20
    ]
    total = {day.date: float(np.nansum(count_bikes(day))) for day in days}
    dry = [total[day.date] for day in days if day.weather.rain == 0 and not day.strike]
    wet = [total[day.date] for day in days if day.weather.rain >= 8 and not day.strike]
    strikes = [total[day.date] for day in days if day.strike and day.weather.rain < 5]
    assert len(wet) >= 3
    assert len(strikes) >= 2
    assert np.mean(wet) < 0.9 * np.mean(dry)
    assert np.mean(strikes) > 1.2 * np.mean(dry)


def test_a_match_fills_the_streets_around_the_stadium_late_in_the_evening() -> None:
    ground = draw_base_map(400)
    near = np.flatnonzero(ground.near(*STADIUM) < 1.2)
    matches = [day for day in days_from(date(2025, 9, 1), 56) if day.match is not None]
    assert near.size
    assert len(matches) >= 2
    for day in matches:
        usual = day_of(day.date + timedelta(days=7), 0)
        assert usual.match is None
        busy, calm = (np.nanmedian(count_roads(ground, item, []).flow[near, -2:]) for item in (day, usual))
        assert busy > 1.6 * calm


def test_works_take_flow_and_raise_occupancy_beside_them() -> None:
    ground, day = draw_base_map(400), day_of(date(2025, 9, 16), 0)
    site = next(item for item in sites_open(ground, 0, day.date, day.date) if item.impact == "RESTREINTE")
    near = ground.near(float(ground.x[site.arc]), float(ground.y[site.arc])) <= DISTURBS
    without, with_it = count_roads(ground, day, []), count_roads(ground, day, [site])
    rush = slice(7, 20)
    assert np.nanmean(with_it.flow[near, rush]) < 0.95 * np.nanmean(without.flow[near, rush])
    assert np.nanmean(with_it.occupancy[near, rush]) > 1.3 * np.nanmean(without.occupancy[near, rush])
    assert np.array_equal(with_it.flow[~near], without.flow[~near], equal_nan=True)


def test_every_kind_of_broken_sensor_is_there() -> None:
    ground = draw_base_map(400)
    result = Counter[str]()
    for day in days_from(date(2025, 9, 1), 28):
        counted = count_roads(ground, day, [])
        flow, there = counted.flow, counted.exists
        result["silent"] += int((~there).all(axis=1).sum())
        result["without values"] += int(np.isnan(flow).all(axis=1).sum())
        result["constant"] += int(((flow == flow[:, :1]).all(axis=1) & (flow[:, 0] > 0)).sum())
        result["all zero"] += int((flow == 0).all(axis=1).sum())
        result["impossible"] += int((counted.occupancy > 100).any(axis=1).sum())
    assert min(result.values()) > 0


def test_disruptions_block_lines_and_a_strike_most_of_them() -> None:
    days = days_from(date(2025, 9, 1), 63)
    by_day = {day.date: disruptions_of(day) for day in days}
    assert all(by_day.values())
    strike = next(day for day in days if day.strike)
    usual = next(day for day in days if not day.strike and day.rest == 0)
    lines = [{line.id for item in by_day[day.date] for line in item.lines} for day in (strike, usual)]
    assert len(lines[0]) > len(lines[1])
    assert {item.severity for result in by_day.values() for item in result} == {
        "blocked",
        "disturbed",
        "information",
    }


def test_bad_and_repeated_records_are_few_and_there(tmp_path: Path) -> None:
    raw = store(tmp_path)
    write_demo(raw, date(2025, 9, 1), 8, arcs=40)
    table = pl.read_csv(raw.get(ROADS), separator=";", infer_schema=False)
    arc, at = table["Identifiant arc"], table["Date et heure de comptage"]
    bad = int(arc.is_null().sum()) + int(at.str.contains("-13-45").sum())
    twice = table.height - table.unique().height
    assert 0 < bad < 0.01 * table.height
    assert 0 < twice < 0.01 * table.height
    works = rows(raw, WORKS)
    assert any("\n" in (line["Description"] or "") for line in works)
    assert sum(not line["Date de fin"].startswith("202") for line in works) == 1


def test_shapes_lie_in_the_city(tmp_path: Path) -> None:
    raw = store(tmp_path)
    write_demo(raw, date(2025, 9, 1), 1, arcs=60)
    for line in rows(raw, REFERENCE):
        for longitude, latitude in json.loads(line["geo_shape"])["coordinates"]:
            assert abs(longitude - CENTRE[0]) * KM_PER_LONGITUDE < 6.5
            assert abs(latitude - CENTRE[1]) * KM_PER_LATITUDE < 5.5


def test_other_data_is_never_touched(tmp_path: Path) -> None:
    raw = store(tmp_path)
    raw.put("batch/comptages-routiers-permanents.csv", b"true")
    with pytest.raises(KeyConflict, match=r"comptages-routiers-permanents\.csv; nothing was written"):
        write_demo(raw, date(2025, 9, 1), 1, arcs=30)
    assert contents(raw) == {"batch/comptages-routiers-permanents.csv": b"true"}


def test_data_that_came_beside_the_sample_is_kept(tmp_path: Path) -> None:
    raw = store(tmp_path)
    write_demo(raw, date(2025, 9, 1), 1, arcs=30)
    raw.put("api/weather/dt=2025-09-01/hour=05/mine.json", b"{}")
    before = contents(raw)
    with pytest.raises(KeyConflict, match=r"mine\.json"):
        write_demo(raw, date(2025, 9, 2), 1, arcs=30)
    assert contents(raw) == before
    assert remove_demo(raw) == len(before) - 1
    assert contents(raw) == {"api/weather/dt=2025-09-01/hour=05/mine.json": b"{}"}


def test_an_interrupted_sample_is_taken_up_again(tmp_path: Path) -> None:
    raw, whole = store(tmp_path / "raw"), store(tmp_path / "whole")

    class Interrupted(Exception):
        pass

    def stop(fraction: float, doing: str) -> None:
        if doing.startswith("roads"):
            raise Interrupted

    with pytest.raises(Interrupted):
        write_demo(raw, date(2025, 9, 1), 2, arcs=30, report=stop)
    assert is_invented(raw)
    assert not raw.exists(ROADS)
    write_demo(raw, date(2025, 9, 1), 2, arcs=30)
    write_demo(whole, date(2025, 9, 1), 2, arcs=30)
    assert contents(raw) == contents(whole)


@pytest.mark.parametrize("wrong", [{"days": 0}, {"arcs": 4000}, {"seed": -1}, {"first": date(1900, 1, 1)}])
def test_a_sample_that_cannot_be_is_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    asked = {"first": date(2025, 9, 1), "days": 1, "seed": 0, "arcs": 30} | wrong
    with pytest.raises(InvalidInput, match="ask for"):
        write_demo(store(tmp_path), **asked)  # type: ignore[arg-type]
    assert not contents(store(tmp_path))
