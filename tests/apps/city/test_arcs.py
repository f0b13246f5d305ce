"""Arcs: both headers, the newest period, lengths and middles on the ellipsoid, zones, and arcs only counts know."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecluse.apps.city import reference
from ecluse.apps.city.errors import BadRaw
from ecluse.apps.city.sources import arcs, roads, zones
from ecluse.apps.city.sources.zones import EARTH
from tests.apps.city.layers import Layers, make_layers
from tests.apps.city.test_roads import HEADER as COUNTS_HEADER
from tests.apps.city.test_roads import line as count
from tests.conftest import SHARED

LONG_NAME = "referentiel-geographique-pour-les-donnees-trafic-issues-des-capteurs-permanents.csv"
SHORT_NAME = "referentiel-comptages-routiers.csv"
LONG = (
    "Identifiant arc;Date debut dispo data;Date fin dispo data;Libelle;Identifiant noeud aval;Libelle noeud aval;"
    "Identifiant noeud amont;Libelle noeud amont;geo_point_2d;geo_shape"
)
SHORT = (
    "IU_AC;DATE_DEBUT;DATE_FIN;LIBELLE;IU_ND_AVAL;IU_ND_AMONT;LIBELLE_ND_AMONT;LIBELLE_ND_AVAL;geo_point_2d;"
    "geo_shape;SHAPE.LEN"
)
LINE = [[2.3009951475, 48.8717770435], [2.3024504374, 48.8712947163]]


@pytest.fixture
def layers(tmp_path: Path) -> Layers:
    return make_layers(tmp_path)


def shape(coordinates: object = LINE, kind: str = "LineString", *, type_first: bool = True) -> str:
    facts = {"type": kind, "coordinates": coordinates}
    text = json.dumps(facts if type_first else dict(reversed(facts.items())))
    return '"' + text.replace('"', '""') + '"'


def short(
    arc: object = 4264,
    begin: str = "2005-01-01",
    end: str = "2019-06-01",
    label: str = "AV",
    geometry: str = "",
) -> str:
    return f"{arc};{begin};{end};{label};2293;2294;Up;Down;48.87, 2.30;{geometry or shape()};0.0"


def curated(layers: Layers) -> pl.DataFrame:
    for source in (zones, roads, arcs):
        source.curate(layers.raw, layers.work)
    return layers.curated.read_whole("arcs")


def test_both_headers_give_the_same_arc(layers: Layers, tmp_path: Path) -> None:
    layers.put(f"batch/{SHORT_NAME}", f"{SHORT}\n{short()}\n")
    other = make_layers(tmp_path / "other")
    row = f"4264;2005-01-01;2019-06-01;AV;2293;Down;2294;Up;48.87, 2.30;{shape(type_first=False)}"
    other.put(f"batch/{LONG_NAME}", f"\ufeff{LONG}\r\n{row}\r\n")
    result = curated(layers)
    assert result.equals(curated(other))
    row = result.row(0, named=True)
    assert (row["arc"], row["label"], row["upstream"], row["downstream"]) == (4264, "AV", 2294, 2293)
    assert (row["upstream_name"], row["downstream_name"], row["zone"]) == ("Up", "Down", None)
    # One degree of longitude is 73,361 m here and one of latitude 111,210 m: the root of (106.8² + 53.6²).
    assert row["length"] == pytest.approx(119.5, abs=0.1)
    assert (row["longitude"], row["latitude"]) == pytest.approx((2.30172279, 48.87153588), abs=1e-7)


def test_the_newest_period_of_an_arc_is_taken_wherever_it_stands(layers: Layers) -> None:
    periods = [
        short(1, "2010-01-01", "2019-06-01", "old"),
        short(1, "2020-01-01", "2024-06-01", "new"),
        short(1, "2005-01-01", "2009-06-01", "oldest"),
        short(2, "2020-01-01", "2024-06-01", "ended"),
        short(2, "2024-06-01", "", "open"),
        short(2, "2005-01-01", "2009-06-01", "oldest"),
    ]
    layers.put(f"batch/{SHORT_NAME}", "\n".join([SHORT, *periods]))
    assert curated(layers)["label"].to_list() == ["new", "open"]


def test_pieces_of_one_period_are_one_arc(layers: Layers) -> None:
    first, second = [[2.300, 48.87], [2.301, 48.87]], [[2.301, 48.87], [2.303, 48.87]]
    apart = [[2.310, 48.87], [2.311, 48.87]]
    pieces = [
        *(short(1, geometry=shape(line)) for line in (second, first, second)),
        *(short(2, geometry=shape(line)) for line in (first, second, apart)),
        short(3, geometry=shape(apart)),
        short(3, "2019-06-01", "2030-12-31", geometry=shape(first)),
    ]
    layers.put(f"batch/{SHORT_NAME}", "\n".join([SHORT, *pieces]))
    result = curated(layers)
    # A thousandth of a degree of longitude is 73.4 m here.
    assert result["length"].to_list() == pytest.approx([3 * 73.36, 4 * 73.36, 73.36], abs=0.1)
    assert result["longitude"].to_list() == pytest.approx([2.3015, 2.3015, 2.3005], abs=1e-6)
    drawn = [arc["coordinates"] for _, body in reference.arc_chunks(result) for arc in body["arcs"]]
    assert drawn == [[[2.3, 48.87], [2.301, 48.87], [2.303, 48.87]]] * 2 + [first]


def test_the_middle_of_a_bent_line_lies_on_it_and_in_its_zone(layers: Layers) -> None:
    layers.put_sample("arrondissements.geojson")
    bent = [[2.302, 48.852], [2.305, 48.852], [2.305, 48.888]]
    apart = [[[2.302, 48.852], [2.303, 48.852]], [[2.32, 48.862], [2.33, 48.862]]]
    lines = [short(1, geometry=shape(bent)), short(2, geometry=shape(apart, "MultiLineString"))]
    layers.put(f"batch/{SHORT_NAME}", "\n".join([SHORT, *lines]))
    first, second = curated(layers).iter_rows(named=True)
    assert first["longitude"] == pytest.approx(2.305)
    assert first["latitude"] == pytest.approx(48.869, abs=0.001)
    assert (first["zone"], second["zone"]) == (8, 9)
    assert (second["longitude"], second["latitude"]) == pytest.approx((2.325, 48.862), abs=1e-5)


@given(
    st.lists(
        st.tuples(st.integers(0, 300), st.integers(0, 100)),
        min_size=2,
        max_size=6,
        unique_by=lambda point: point[0],
    )
)
def test_the_middle_is_as_far_from_one_end_as_from_the_other(points: list[tuple[int, int]]) -> None:
    # Eastwards, so that the line does not meet itself and the middle is in one place of it.
    line = [(2.2 + x / 1000, 48.8 + y / 1000) for x, y in sorted(points)]
    facts = arcs.read_line(json.dumps({"type": "LineString", "coordinates": line}))
    assert facts is not None
    length, longitude, latitude, _ = facts
    before, after = ([*part] for part in _parted(line, longitude, latitude))
    assert EARTH.line_length(*zip(*before, strict=True)) == pytest.approx(length / 2, rel=1e-3, abs=0.01)
    assert EARTH.line_length(*zip(*after, strict=True)) == pytest.approx(length / 2, rel=1e-3, abs=0.01)


def _parted(line: list[tuple[float, float]], x: float, y: float) -> tuple[list[tuple[float, float]], ...]:
    """A line in two, where it comes nearest to a point."""
    points = np.array(line)
    off = []
    for begin, end in pairwise(points):
        step = end - begin
        share = np.clip(np.dot((x, y) - begin, step) / np.dot(step, step), 0, 1)
        off.append(float(np.hypot(*(begin + share * step - (x, y)))))
    cut = int(np.argmin(off)) + 1
    return [*line[:cut], (x, y)], [(x, y), *line[cut:]]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (short("x"), "the arc is no number"),
        (short(-1), "the arc is no number"),
        (short(9, geometry='"{""type"": ""Point"", ""coordinates"": [2.3, 48.8]}"'), "the shape is no line"),
        (short("9" * 5000), "the arc is no number"),
        (short(3_000_000_000), "the arc is no number"),
        (short(9, geometry="LINESTRING"), "the shape is no line"),
        (short(9, geometry="[" * 100_000), "the shape is no line"),
        (short(9, geometry=shape([[1e300, 48.8], [2.3, 48.8]])), "the shape is no line"),
        (short(9, geometry=shape([[2.3, 48.8]])), "the shape is no line"),
    ],
)
def test_a_bad_record_is_set_aside(layers: Layers, row: str, reason: str) -> None:
    layers.put(f"batch/{SHORT_NAME}", "\n".join([SHORT, short(1), row, short(2)]))
    assert curated(layers)["arc"].to_list() == [1, 2]
    part = layers.curated.whole("arcs")
    assert part is not None
    assert (part.records, part.rejected) == (3, {reason: 1})
    assert part.examples[0]["line"] == 3


def test_a_label_keeps_what_documents_can_hold(layers: Layers) -> None:
    odd = short(1, label="AV\0\x1b[31m" + "x" * 300_000)
    layers.put(f"batch/{SHORT_NAME}", "\n".join([SHORT, odd]))
    (label,) = curated(layers)["label"].to_list()
    assert label == "AV[31m" + "x" * 494


@pytest.mark.parametrize("column", ["IU_AC", "LIBELLE;", "geo_shape"])
def test_a_file_without_a_column_is_an_error(layers: Layers, column: str) -> None:
    layers.put(f"batch/{SHORT_NAME}", "\n".join([SHORT.replace(column, "other;"[: len(column)]), short(1)]))
    with pytest.raises(BadRaw, match=rf"{SHORT_NAME}, line 1: there is no column"):
        curated(layers)


def test_arcs_only_counts_tell_of_come_from_their_rows(
    layers: Layers, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers.put(f"batch/{SHORT_NAME}", f"{SHORT}\n{short(1)}\n")
    lines = [count(arc=1, label="elsewhere"), count(arc=77, label='"Rue;A"'), count(arc=78, label="Rue_B")]
    layers.put("batch/comptages-routiers-permanents.csv", "\n".join([COUNTS_HEADER, *lines]))
    result = curated(layers)
    assert result.select("arc", "label", "upstream").rows() == [
        (1, "AV", 2294),
        (77, "Rue;A", 2294),
        (78, "Rue_B", 2294),
    ]
    assert result["length"].to_list() == pytest.approx([119.48] * 3, abs=0.01)

    def unwanted(*_: object) -> None:
        raise AssertionError("the counts were searched again")

    monkeypatch.setattr(arcs, "rows_of_arcs", unwanted)
    assert curated(layers).equals(result)
    layers.put(f"batch/{SHORT_NAME}", "\n".join([SHORT, short(1), short(77), short(78, label="C")]))
    assert curated(layers)["label"].to_list() == ["AV", "AV", "C"]


def test_arcs_of_parquet_counts_are_known_too(layers: Layers, tmp_path: Path) -> None:
    table = pl.read_csv(
        "\n".join([COUNTS_HEADER, count(arc=77), count(arc=78)]).encode(), separator=";", infer_schema=False
    )
    table.with_columns(pl.col("Identifiant arc").cast(pl.Int64)).write_parquet(tmp_path / "counts.parquet")
    layers.put("batch/comptages-routiers-permanents.parquet", (tmp_path / "counts.parquet").read_bytes())
    result = curated(layers)
    assert result["arc"].to_list() == [77, 78]
    assert result["length"].null_count() == 0


def test_zones_that_changed_move_the_arcs(layers: Layers) -> None:
    layers.put(
        f"batch/{SHORT_NAME}", f"{SHORT}\n{short(geometry=shape([[2.302, 48.855], [2.304, 48.855]]))}\n"
    )
    assert curated(layers)["zone"].to_list() == [None]
    layers.put_sample("arrondissements.geojson")
    assert curated(layers)["zone"].to_list() == [8]


def test_nothing_raw_makes_no_arcs(layers: Layers) -> None:
    assert curated(layers).is_empty()
    assert layers.curated.whole("arcs") is None


@pytest.mark.skipif(not (SHARED / "city").exists(), reason="the real files are not beside the checkout")
def test_the_real_reference_gives_its_3348_arcs(layers: Layers) -> None:
    for name in ("arrondissements.geojson", SHORT_NAME):
        layers.put(f"batch/{name}", (SHARED / "city" / name).read_bytes())
    result = curated(layers)
    assert result.height == 3_348
    assert result["zone"].null_count() == 36  # beyond the ring road
    champs = result.filter(pl.col("arc") == 4264).row(0, named=True)
    assert (champs["zone"], champs["label"]) == (8, "AV_Champs_Elysees")
    assert champs["length"] == pytest.approx(119.477, abs=0.001)
    louvre = result.filter(pl.col("arc") == 3).row(
        0, named=True
    )  # two records: 136.7 m, and 13.2 m after them
    assert louvre["length"] == pytest.approx(149.861, abs=0.001)
