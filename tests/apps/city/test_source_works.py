"""Sites: read with their line breaks and polygons, active by day, located by point in polygon."""

from __future__ import annotations

import csv
import gzip
import json
import logging
from dataclasses import replace
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from pyproj import Geod

from ecluse.apps.city.errors import BadRaw
from ecluse.apps.city.sources import works, zones
from tests.apps.city.layers import SAMPLES, Layers, make_layers
from tests.conftest import SHARED

NAME = "chantiers-perturbants.csv"
ZONES = "arrondissements.geojson"
DAY = date(2022, 3, 27)
REAL = SHARED / "city"


@pytest.fixture
def layers(tmp_path: Path) -> Layers:
    layers = make_layers(tmp_path)
    layers.put_sample(ZONES)
    return layers


def curate(layers: Layers, day: date = DAY) -> pl.DataFrame:
    work = replace(layers.work, first=day, last=day)
    zones.curate(layers.raw, work)
    works.curate(layers.raw, work)
    return layers.curated.read("works", day, day)


def test_the_sites_active_on_the_day_have_area_point_and_zone(layers: Layers) -> None:
    layers.put_sample(NAME)
    rows = curate(layers)
    assert rows.select("site", "zone").rows() == [("CP1", 8), ("CP2", 9), ("CP4", None), ("CP7", 8)]
    first, second, _, broken = rows.rows(named=True)
    assert first["description"] == "Première ligne .\nDeuxième; ligne"
    assert (first["title"], first["streets"]) == ("REAMENAGEMENT_VOIRIE", "rue A")
    assert (first["begin"], first["end"]) == (date(2022, 3, 1), date(2022, 3, 31))
    assert (first["impact"], first["level"], first["status"]) == ("BARRAGE_TOTAL", 1, 2)
    # a thousandth of a degree each way here is 73.4 m by 111.2 m
    assert first["area"] == pytest.approx(73.4 * 111.2, rel=2e-3)
    assert second["area"] == pytest.approx(2 * 73.4 * 111.2, rel=2e-3)
    assert (second["level"], second["impact"]) == (2, "RESTREINTE")
    assert json.loads(second["geometry"])["type"] == "MultiPolygon"
    assert (broken["area"], broken["geometry"]) == (None, None)
    assert (broken["latitude"], broken["longitude"]) == (48.8855, 2.3055)


@pytest.mark.parametrize(
    ("day", "sites"),
    [
        (date(2022, 2, 28), ["CP4"]),
        (date(2022, 3, 1), ["CP1", "CP4", "CP7"]),
        (date(2022, 3, 28), ["CP1", "CP3", "CP4", "CP7"]),
        (date(2022, 4, 1), ["CP3", "CP4"]),
        (date(2023, 1, 2), []),
    ],
)
def test_a_site_is_active_from_its_first_to_its_last_day(layers: Layers, day: date, sites: list[str]) -> None:
    layers.put_sample(NAME)
    assert curate(layers, day)["site"].to_list() == sites


def test_bad_records_are_set_aside_with_line_column_and_reason(layers: Layers) -> None:
    layers.put_sample(NAME)
    curate(layers)
    (part,) = layers.curated.parts("works", DAY)
    assert part.records == 9
    assert part.rejected == {
        works.BAD_DATE: 1,
        works.BACKWARDS: 1,
        works.NO_ID: 1,
        works.BAD_SHAPE: 1,
        works.NO_DATES: 1,
    }
    # the cell of the first site with a line break makes it two lines
    assert [(item["line"], item["column"]) for item in part.examples] == [
        (7, "Date de début"),
        (8, "Date de fin"),
        (9, "Identifiant"),
        (10, "geo_shape"),
        (11, "Date de fin"),
    ]


@pytest.mark.parametrize(
    "polygon",
    [
        "[[[1e300,48.8],[2.4,1e300],[2.4,48.8],[1e300,48.8]]]",
        "[[[2.3,91],[2.4,91],[2.4,92],[2.3,91]]]",
        "[]",
    ],
)
def test_a_polygon_off_the_earth_leaves_the_site_without_a_place(layers: Layers, polygon: str) -> None:
    header = "Identifiant;Objet;Date de début;Date de fin;geo_shape"
    shape = f'{{"type":"Polygon","coordinates":{polygon}}}'.replace('"', '""')
    layers.put(
        "batch/chantiers-perturbants-odd.csv", f'{header}\nCP1;{"x" * 300_000};{DAY};{DAY};"{shape}"\n'
    )
    (site,) = curate(layers).filter(pl.col("site") == "CP1").to_dicts()
    assert (site["latitude"], site["area"], site["title"]) == (None, None, "x" * 500)


def test_without_polygons_of_zones_the_postal_code_serves_and_a_warning_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    layers = make_layers(tmp_path)
    layers.put_sample(NAME)
    with caplog.at_level(logging.WARNING):
        rows = curate(layers)
    assert rows.select("site", "zone").rows() == [("CP1", 9), ("CP2", 9), ("CP4", 16), ("CP7", 8)]
    assert "postal codes" in caplog.text


def test_zones_that_arrive_later_locate_the_sites_anew(tmp_path: Path) -> None:
    layers = make_layers(tmp_path)
    layers.put_sample(NAME)
    curate(layers)
    layers.put_sample(ZONES)
    assert curate(layers)["zone"].to_list() == [8, 9, None, 8]
    store = layers.curated._store
    before = [(info.key, info.last_modified) for info in store.list("works")]
    curate(layers)
    assert [(info.key, info.last_modified) for info in store.list("works")] == before


def test_the_later_file_tells_of_a_site_that_both_have(layers: Layers) -> None:
    layers.put_sample(NAME)
    text = (SAMPLES / NAME).read_text("utf-8-sig").splitlines()
    layers.put(
        f"batch/{NAME.replace('.csv', '-2.csv.gz')}",
        gzip.compress(f"{text[0]}\nCP1;;;;;;NEW;;;;2022-03-27;2022-03-27;;;;;;;\n".encode()),
    )
    rows = curate(layers)
    assert rows["site"].to_list() == ["CP1", "CP2", "CP4", "CP7"]
    assert rows.row(0, named=True)["title"] == "NEW"


@pytest.mark.parametrize(
    ("content", "excerpt"),
    [
        ("", "line 1: there is no column 'Identifiant'"),
        ("Identifiant;Objet\n1;2\n", "line 1: there is no column 'Date de début'"),
        ('Identifiant;Date de début;Date de fin\nCP1;2022-01-01;"2022\n', "line 2"),
        (b"Identifiant;Date de d\xe9but;Date de fin\n", "no UTF-8"),
    ],
)
def test_a_file_that_is_no_table_of_sites_is_refused(
    layers: Layers, content: str | bytes, excerpt: str
) -> None:
    layers.put(f"batch/{NAME}", content)
    with pytest.raises(BadRaw, match=excerpt) as raised:
        curate(layers)
    assert f"batch/{NAME}" in str(raised.value)


@pytest.mark.skipif(not REAL.exists(), reason="the real files are not beside this checkout")
@pytest.mark.parametrize("day", [date(2024, 10, 1), date(2024, 11, 28), date(2025, 1, 15)])
def test_the_real_file_gives_the_active_sites_with_their_areas(tmp_path: Path, day: date) -> None:
    layers = make_layers(tmp_path)
    layers.put(f"batch/{NAME}", (REAL / NAME).read_bytes())
    layers.put(f"batch/{ZONES}", (REAL / ZONES).read_bytes())
    rows = curate(layers, day)
    with (REAL / NAME).open(encoding="utf-8-sig", newline="") as text:
        excerpt = [row for row in csv.DictReader(text, delimiter=";") if row["Date de début"]]
    active = [row for row in excerpt if row["Date de début"] <= day.isoformat() <= row["Date de fin"]]
    assert sorted(row["Identifiant"] for row in active) == rows["site"].to_list()
    earth = Geod(ellps="WGS84")
    areas = dict(rows.select("site", "area").rows())
    for row in active:
        shape = json.loads(row["geo_shape"])
        if shape["type"] == "Polygon" and len(shape["coordinates"]) == 1:
            area, _ = earth.polygon_area_perimeter(*zip(*shape["coordinates"][0], strict=True))
            assert areas[row["Identifiant"]] == pytest.approx(abs(area), rel=1e-6)
