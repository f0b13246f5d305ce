"""Zones: read from polygons, and found by point in polygon."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ecluse.apps.city.errors import BadRaw
from ecluse.apps.city.sources import zones
from tests.apps.city.layers import Layers, make_layers
from tests.conftest import SHARED

NAME = "arrondissements.geojson"


@pytest.fixture
def layers(tmp_path: Path) -> Layers:
    return make_layers(tmp_path)


def curated(layers: Layers) -> pl.DataFrame:
    zones.curate(layers.raw, layers.work)
    return layers.curated.read_whole("zones")


def test_zones_have_number_name_and_geodesic_area(layers: Layers) -> None:
    layers.put_sample(NAME)
    result = curated(layers)
    assert result["zone"].to_list() == [8, 9]
    assert result["name"].to_list() == ["Élysée", "Opéra"]
    # One hundredth of a degree each way here is 734.0 m by 1112.1 m; zone 9 is 9 of them but for a hole of one.
    item = 734.0 * 1112.1
    assert result["area"].to_list() == pytest.approx([7 * item, 8 * item], rel=2e-3)


def test_a_point_belongs_to_the_polygon_around_it_not_to_the_box(layers: Layers) -> None:
    layers.put_sample(NAME)
    points = {
        (2.305, 48.885): 8,  # in the arm of the L
        (2.335, 48.885): 9,  # in the box of both
        (2.325, 48.875): None,  # in the hole
        (2.31, 48.87): 8,  # on the border of both
        (2.40, 48.87): None,
        (float("nan"), 48.87): None,
    }
    longitudes, latitudes = np.array(list(points)).T
    assert zones.locate(curated(layers), longitudes, latitudes).to_list() == list(points.values())


def test_no_zones_and_no_points_locate_nothing(layers: Layers) -> None:
    empty = layers.curated.read_whole("zones")
    assert zones.locate(empty, [2.3], [48.8]).to_list() == [None]
    assert zones.locate(empty, [], []).to_list() == []


def test_a_feature_without_number_or_area_is_set_aside(layers: Layers) -> None:
    collection = json.loads((Path(__file__).parents[2] / "data/city" / NAME).read_text())
    point = {
        "type": "Feature",
        "properties": {"c_ar": 3},
        "geometry": {"type": "Point", "coordinates": [2, 48]},
    }
    collection["features"] += [
        {"properties": {}},
        point,
        {"properties": {"c_ar": 4}, "geometry": {"a": 1}},
        7,
    ]
    layers.put(f"batch/{NAME}", json.dumps(collection))
    assert curated(layers).height == 2
    part = layers.curated.whole("zones")
    assert part is not None
    assert part.records == 6
    assert part.rejected == {"the number of the zone cannot be read": 2, "the polygon cannot be read": 2}
    assert [item["line"] for item in part.examples] == [3, 4, 5, 6]


@pytest.mark.parametrize("number", [2**40, -1, 1.5, True, "x", "\u0663", "9" * 5000, None])
def test_a_number_that_is_none_is_set_aside_with_its_zone(layers: Layers, number: object) -> None:
    collection = json.loads((Path(__file__).parents[2] / "data/city" / NAME).read_text())
    collection["features"].append({**collection["features"][0], "properties": {"c_ar": number}})
    layers.put(f"batch/{NAME}", json.dumps(collection))
    assert curated(layers).height == 2
    part = layers.curated.whole("zones")
    assert part is not None
    assert part.rejected == {"the number of the zone cannot be read": 1}


def test_a_polygon_off_the_earth_is_set_aside_and_a_name_keeps_what_can_be_kept(layers: Layers) -> None:
    collection = json.loads((Path(__file__).parents[2] / "data/city" / NAME).read_text())
    far = [[[1e300, 48.8], [2.4, 1e300], [2.4, 48.8], [1e300, 48.8]]]
    collection["features"].append(
        {"properties": {"c_ar": 7}, "geometry": {"type": "Polygon", "coordinates": far}}
    )
    collection["features"][0]["properties"]["l_aroff"] = "Lou\ud800\0vre"
    layers.put(f"batch/{NAME}", json.dumps(collection))
    assert "Louvre" in curated(layers)["name"].to_list()
    part = layers.curated.whole("zones")
    assert part is not None
    assert part.rejected == {"the polygon cannot be read": 1}


def test_the_later_file_wins_and_what_did_not_change_is_not_read_again(layers: Layers) -> None:
    layers.put_sample(NAME)
    curated(layers)
    first = layers.curated.whole("zones")
    curated(layers)
    assert layers.curated.whole("zones") == first
    renamed = (Path(__file__).parents[2] / "data/city" / NAME).read_text().replace("Opéra", "Opera")
    layers.put("batch/arrondissements-2.geojson", renamed)
    assert curated(layers)["name"].to_list() == ["Élysée", "Opera"]


@pytest.mark.parametrize("content", ["", '{"type":\n "Feat', "[]", '{"features": 3}', b"\xff\xfe\x00"])
def test_what_is_no_geojson_is_an_error_that_names_the_file(layers: Layers, content: str | bytes) -> None:
    layers.put(f"batch/{NAME}", content)
    with pytest.raises(BadRaw, match=NAME):
        curated(layers)


@pytest.mark.skipif(not (SHARED / "city").exists(), reason="the real files are not beside the checkout")
def test_the_twenty_real_zones_have_the_areas_that_are_published(layers: Layers) -> None:
    data = (SHARED / "city" / NAME).read_bytes()
    layers.put(f"batch/{NAME}", data)
    result = curated(layers)
    facts = {
        item["properties"]["c_ar"]: item["properties"]["surface"] for item in json.loads(data)["features"]
    }
    assert result["zone"].to_list() == list(range(1, 21))
    # The published figures are of the plane, in Lambert-93, and differ by less than one in a thousand.
    assert result["area"].to_list() == pytest.approx([facts[zone] for zone in range(1, 21)], rel=2e-3)
    # The town hall of the 4th, Sacré-Cœur, the Eiffel tower, Versailles.
    where = zones.locate(result, [2.3522, 2.3431, 2.2945, 2.12], [48.8566, 48.8867, 48.8584, 48.80])
    assert where.to_list() == [4, 18, 7, None]
