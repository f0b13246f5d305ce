"""Road counts: any order, any split, any dialect and any damage give the rows that the records say."""

from __future__ import annotations

import csv
import gzip
import io
import uuid
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecluse.apps.city.errors import BadRaw
from ecluse.apps.city.sources import road_files, road_records, roads
from ecluse.apps.city.tables import ROADS
from ecluse.settings import Settings
from ecluse.storage import open_store
from tests.apps.city.layers import PARIS, Layers, make_layers
from tests.conftest import SHARED
from tests.servers import ObjectServer

NAME = "comptages-routiers-permanents.csv"
HEADER = (
    "Identifiant arc;Libelle;Date et heure de comptage;Débit horaire;Taux d'occupation;Etat trafic;"
    "Identifiant noeud amont;Libelle noeud amont;Identifiant noeud aval;Libelle noeud aval;Etat arc;"
    "Date debut dispo data;Date fin dispo data;geo_point_2d;geo_shape"
)
SHAPE = '"{""coordinates"": [[2.3009951475, 48.8717770435], [2.3024504374, 48.8712947163]], ""type"": ""LineString""}"'
ALL = (date(2000, 1, 1), date(2100, 1, 1))


@pytest.fixture
def layers(tmp_path: Path) -> Layers:
    return make_layers(tmp_path)


def line(
    arc: object = 4264,
    at: str = "2022-01-01T11:00:00+01:00",
    flow: object = "524.0",
    occupancy: object = "8.85667",
    state: str = "Fluide",
    arc_state: str = "Invalide",
    label: str = "AV_Champs_Elysees",
) -> str:
    return (
        f"{arc};{label};{at};{flow};{occupancy};{state};2294;Av_Champs_Elysees-Washington;2293;"
        f"Av_Champs_Elysees-Berri;{arc_state};2005-01-01;2019-06-01;48.871535879911605,2.301722792456062;{SHAPE}"
    )


def put(layers: Layers, lines: list[str], name: str = NAME, *, header: str = HEADER) -> None:
    layers.put(f"batch/{name}", "\n".join([header, *lines]) + "\n")


def curated(layers: Layers) -> pl.DataFrame:
    roads.curate(layers.raw, layers.work)
    return layers.curated.read("roads", *ALL)


def day_of(layers: Layers, day: date) -> tuple[int, dict[str, int]]:
    """How many records a day has, and why some were set aside."""
    (part,) = layers.curated.parts("roads", day)
    return part.records, dict(part.rejected)


def test_a_record_becomes_a_typed_row_and_what_is_empty_is_missing(layers: Layers) -> None:
    put(layers, [line(), line(at="2022-01-01T12:00:00+01:00", flow="", occupancy="", state="Inconnu")])
    result = curated(layers)
    assert result.schema == ROADS
    assert result.rows() == [
        (4264, datetime(2022, 1, 1, 9, tzinfo=UTC), 524.0, 8.85667, "Fluide", "Invalide"),
        (4264, datetime(2022, 1, 1, 10, tzinfo=UTC), None, None, "Inconnu", "Invalide"),
    ]
    (part,) = layers.curated.parts("roads", date(2022, 1, 1))
    assert (part.records, part.rows, part.rejected) == (2, 2, {})


def test_the_day_of_a_record_is_its_day_on_the_citys_clocks(layers: Layers) -> None:
    put(layers, [line(at="2022-07-01T01:00:00+02:00"), line(at="2022-07-02T00:00:00+02:00")])
    curated(layers)
    assert layers.curated.days("roads") == [date(2022, 7, 1)]


def test_a_stamp_is_the_end_of_its_hour_as_the_publisher_says(layers: Layers) -> None:
    """« 2019-01-01 01:00:00 » désigne la période du 1er janvier 2019 à 00h00 au 1er janvier 2019 à 01h00."""
    put(layers, [line(at="2019-01-01T01:00:00+01:00", flow=1), line(at="2019-01-01T00:00:00+01:00", flow=2)])
    curated(layers)
    first, before = (layers.curated.read("roads", day, day) for day in (date(2019, 1, 1), date(2018, 12, 31)))
    assert first.select("at", "flow").rows() == [(datetime(2018, 12, 31, 23, tzinfo=UTC), 1.0)]
    assert before.select("at", "flow").rows() == [(datetime(2018, 12, 31, 22, tzinfo=UTC), 2.0)]


@pytest.mark.parametrize(
    ("day", "hours"), [(date(2022, 3, 27), 23), (date(2022, 10, 30), 25), (date(2022, 5, 5), 24)]
)
def test_a_day_on_which_the_clocks_change_has_23_or_25_hours(layers: Layers, day: date, hours: int) -> None:
    start = datetime(day.year, day.month, day.day, tzinfo=PARIS).astimezone(UTC)
    moments = [(start + timedelta(hours=n)).astimezone(PARIS).isoformat() for n in range(27)]
    put(layers, [line(at=moment) for moment in moments])
    curated(layers)
    assert layers.curated.read("roads", day, day).height == hours
    assert [
        part.rows for item in layers.curated.days("roads") for part in layers.curated.parts("roads", item)
    ] == [
        1,
        hours,
        26 - hours,
    ]


def test_the_later_row_of_one_arc_and_hour_is_taken(layers: Layers) -> None:
    same = "2022-01-01T10:00:00+00:00"
    put(layers, [line(flow=1), line(flow=2), line(at=same, flow=3), line(arc=7, flow=9)])
    assert curated(layers)["flow"].to_list() == [9, 3]
    assert day_of(layers, date(2022, 1, 1)) == (4, {})


def test_of_two_files_the_later_one_is_taken(layers: Layers) -> None:
    put(layers, [line(flow=1), line(arc=5, flow=5)], "comptages-routiers-permanents-2.csv")
    put(layers, [line(flow=2)], "comptages-routiers-permanents-1.csv")
    assert curated(layers)["flow"].to_list() == [5, 2]


BAD = {
    line(arc="x"): "the arc is no number",
    line(arc=""): "the arc is no number",
    line(arc=-4): "the arc is no number",
    line(arc=99_999_999_999): "the arc is no number",
    line(flow="many"): "the flow is not possible",
    line(flow="-1"): "the flow is not possible",
    line(flow="NaN"): "the flow is not possible",
    line(flow="5,5"): "the flow is not possible",
    line(flow="1e308"): "the flow is not possible",
    line(occupancy="inf"): "the occupancy is not possible",
    line(occupancy="-0.1"): "the occupancy is not possible",
    line(occupancy="1e300"): "the occupancy is not possible",
    line(state="Fluid"): "the state is not known",
    line(arc_state="Inval"): "the state of the arc is not known",
    line(at="2022-01-01T11:30:00+01:00"): "the time is not on the hour",
}
DATELESS = {
    line(at="2022-02-30T11:00:00+01:00"): "the date cannot be read",
    line(at="2022-01-01T11:00:00"): "the date cannot be read",
    line(at="9999-12-31T23:00:00+01:00"): "the date cannot be read",
    line(at=""): "the date cannot be read",
    "4264;AV_Champs_Elysees;2022-01-01T11:00:00+01:00;52": "the record is too short",
    line(label='"Rue'): "the quotes are not closed",
}


@pytest.mark.parametrize("bad", [*BAD, *DATELESS])
def test_a_bad_record_is_set_aside_with_its_reason_line_and_column(layers: Layers, bad: str) -> None:
    put(layers, [line(), bad, line(arc=5)])
    assert curated(layers)["arc"].to_list() == [5, 4264]
    reason = (BAD | DATELESS)[bad]
    assert day_of(layers, date(2022, 1, 1)) == (3, {reason: 1})
    (part,) = layers.curated.parts("roads", date(2022, 1, 1))
    (example,) = part.examples
    assert example["line"] == 3
    assert example["file"].endswith(NAME)
    assert (example["column"] is None) == (reason in ("the record is too short", "the quotes are not closed"))


def test_every_bad_record_is_counted_and_the_line_is_right_behind_many_blocks(
    layers: Layers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(road_files, "BLOCK", 2_000)
    hours = [f"2022-{month:02d}-{day:02d}T05:00:00+00:00" for month in range(1, 5) for day in range(1, 29)]
    lines = [line(at=hour) for hour in hours]
    lines[70:70] = list(BAD)
    put(layers, lines)
    assert curated(layers).height == len(hours)
    batch = layers.curated.batch("roads", "comptages-routiers-permanents-csv")
    assert batch is not None
    assert batch.records == len(hours) + len(BAD)
    assert sum(batch.rejected.values()) == len(BAD)
    assert sorted(item["line"] for item in batch.examples) == list(range(72, 72 + len(BAD)))


LABELS = st.sampled_from([["Rue", 'Rue_5"'], ["Rue", '"Rue;du ""Bac"""', '"deux\nlignes"', '"sans fin']])
ROWS = LABELS.flatmap(
    lambda labels: st.lists(
        st.builds(
            line,
            arc=st.sampled_from([1, 4264, 7000, 123_456]),
            at=st.sampled_from(
                [f"2022-10-30T{h:02d}:00:00{o}" for h in (0, 2, 23) for o in ("+02:00", "+01:00")]
                + ["2022-03-27T03:00:00+02:00", "nothing"]
            ),
            flow=st.sampled_from(["", "0.0", "524.0", "12.5", "-3"]),
            occupancy=st.sampled_from(["", "0.0", "15.0", "x"]),
            state=st.sampled_from(["Inconnu", "Bloqué", "", "?"]),
            arc_state=st.sampled_from(["Invalide", "Ouvert", "Barré"]),
            label=st.sampled_from(labels),
        ),
        min_size=1,
        max_size=25,
    )
)


def good(lines: list[str]) -> dict[tuple[int, str], tuple[object, ...]]:
    """What the records say, read in the plainest way."""
    result = {}
    for line in lines:
        (row,) = csv.reader(io.StringIO(line, newline=""), delimiter=";")
        if len(row) < 15:
            continue
        arc, at, flow, occupancy, state, arc_state = (row[n] for n in (0, 2, 3, 4, 5, 10))
        if at == "nothing" or flow == "-3" or occupancy == "x" or state == "?":
            continue
        moment = datetime.fromisoformat(at).astimezone(UTC)
        values = (
            float(flow) if flow else None,
            float(occupancy) if occupancy else None,
            state or None,
            arc_state,
        )
        result[int(arc), (moment - timedelta(hours=1)).isoformat()] = values
    return result


@settings(max_examples=40)
@given(
    lines=ROWS,
    block=st.sampled_from([1, 300, 2_000, 1 << 20]),
    held=st.sampled_from([1, 3, 10, 1_000]),
    cuts=st.lists(st.integers(0, 25), max_size=2),
    packed=st.booleans(),
    ending=st.sampled_from(["\n", "\r\n"]),
    mark=st.booleans(),
)
def test_any_split_into_blocks_shelves_and_files_gives_the_rows_of_the_records(
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[str],
    block: int,
    held: int,
    cuts: list[int],
    packed: bool,
    ending: str,
    mark: bool,
) -> None:
    layers = make_layers(tmp_path_factory.mktemp("layers"))
    extra = line(arc=900)  # for a file without any good record is an error
    places = [0, *sorted(min(cut, len(lines)) for cut in cuts), len(lines)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(road_files, "BLOCK", block)
        patch.setattr(roads, "HELD", held)
        for n, (first, last) in enumerate(pairwise(places)):
            text = ending.join([HEADER, *lines[first:last], extra, ""])
            data = text.encode("utf-8-sig" if mark else "utf-8")
            data = gzip.compress(data) if packed else data
            layers.put(f"batch/comptages-{n}.csv{'.gz' if packed else ''}", data)
        result = curated(layers)
    expected = good([*lines, extra])
    assert {
        (arc, at.isoformat()): (flow, occupancy, state, arc_state)
        for arc, at, flow, occupancy, state, arc_state in result.rows()
    } == expected
    assert result.height == len(expected)


def test_columns_stand_in_any_order_among_others(layers: Layers) -> None:
    names = [
        "Taux d'occupation",
        "Etat trafic",
        "x",
        "Identifiant arc",
        "Etat arc",
        "Date et heure de comptage",
        "Débit horaire",
    ]
    rows = [
        "8.5;Fluide;;4264;Ouvert;2022-01-01T11:00:00+01:00;524.0",
        '"9";"Bloqué";"a;b";"7";"Barré";"2022-01-01T11:00:00Z";',
    ]
    put(layers, rows, header=";".join(names))
    assert [row[:1] + row[2:] for row in curated(layers).rows()] == [
        (7, None, 9.0, "Bloqué", "Barré"),
        (4264, 524.0, 8.5, "Fluide", "Ouvert"),
    ]


@pytest.mark.parametrize("name", ["Identifiant arc", "Débit horaire", "Etat arc"])
def test_a_file_without_a_column_is_an_error_that_names_file_line_and_column(
    layers: Layers, name: str
) -> None:
    put(layers, [line()], header=HEADER.replace(name, "other"))
    with pytest.raises(BadRaw, match=rf"{NAME}, line 1, column {name}: it is missing"):
        curated(layers)
    assert layers.curated.days("roads") == []


@pytest.mark.parametrize("content", [b"", b"\x00\x01", b"PK\x03\x04", b"a\rb", "Débit".encode("latin-1")])
def test_what_is_no_table_is_an_error(layers: Layers, content: bytes) -> None:
    layers.put(f"batch/{NAME}", content)
    with pytest.raises(BadRaw, match=NAME):
        curated(layers)


def test_a_file_without_any_good_record_is_an_error(layers: Layers) -> None:
    put(layers, [line(at="yesterday")] * 3)
    with pytest.raises(BadRaw, match=r"line 2, column Date et heure de comptage: the date cannot be read"):
        curated(layers)


@pytest.mark.parametrize("cell", ['"', ""])
def test_a_line_without_an_end_is_set_aside_and_never_held_whole(
    layers: Layers, monkeypatch: pytest.MonkeyPatch, cell: str
) -> None:
    monkeypatch.setattr(road_files, "BLOCK", 64 * 1024)
    monkeypatch.setattr(road_files, "LONGEST_RECORD", 256 * 1024)
    monkeypatch.setattr(road_records, "LONGEST_RECORD", 256 * 1024)
    held: list[int] = []
    parse = road_files.parse

    def measured(text: bytes, *others: Any) -> road_records.Block:
        held.append(len(text))
        return parse(text, *others)

    monkeypatch.setattr(road_files, "parse", measured)
    put(layers, [line(), f"4264;{cell}" + "9" * 5_000_000, line(arc=5)])
    assert curated(layers)["arc"].to_list() == [5, 4264]
    assert day_of(layers, date(2022, 1, 1)) == (3, {"the record is too long": 1})
    assert max(held) <= 64 * 1024 + 256 * 1024 + 1


def test_a_cell_that_never_ends_is_not_read_again_for_each_of_its_lines(
    layers: Layers, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = 0
    cells = road_records._cells

    def counted(text: str, dialect: road_records.Dialect) -> list[str] | None:
        nonlocal read
        read += len(text)
        return cells(text, dialect)

    monkeypatch.setattr(road_records, "_cells", counted)
    endless = '4264;"' + "x\n" * 20_000
    put(layers, [line(), endless, line(arc=5)])
    assert curated(layers)["arc"].to_list() == [5, 4264]
    assert read < 20 * len(endless)


def test_half_a_packed_file_is_an_error_and_leaves_no_day(layers: Layers) -> None:
    packed = gzip.compress("\n".join([HEADER, *[line(arc=n) for n in range(500)]]).encode())
    layers.put(f"batch/{NAME}.gz", packed[: len(packed) // 2])
    with pytest.raises(BadRaw, match="no whole gzip file"):
        curated(layers)
    assert layers.curated.days("roads") == []


@pytest.mark.parametrize("typed", [True, False])
def test_parquet_gives_what_csv_gives(layers: Layers, tmp_path: Path, typed: bool) -> None:
    lines = [line(), line(at="2022-10-30T02:00:00+01:00", flow=""), line(arc=5, state="?"), line(flow="-2")]
    put(layers, lines)
    expected = curated(layers)
    records = day_of(layers, date(2022, 1, 1))
    table = pl.read_csv(("\n".join([HEADER, *lines])).encode(), separator=";", infer_schema=False)
    if typed:
        table = table.with_columns(
            pl.col("Identifiant arc").cast(pl.Int64),
            pl.col("Débit horaire", "Taux d'occupation").cast(pl.Float64),
            pl.col("Date et heure de comptage").str.to_datetime("%Y-%m-%dT%H:%M:%S%z", time_unit="ms"),
        )
    other = make_layers(tmp_path / "other")
    buffer = io.BytesIO()
    table.write_parquet(buffer)
    other.put("batch/comptages-routiers-permanents.parquet", buffer.getvalue())
    assert curated(other).equals(expected)
    assert day_of(other, date(2022, 1, 1)) == records
    damaged = buffer.getvalue()[:-20]
    other.put("batch/comptages-routiers-permanents.parquet", damaged)
    with pytest.raises(BadRaw, match=r"comptages-routiers-permanents\.parquet"):
        curated(other)


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet"])
def test_a_file_in_an_object_store_gives_the_same_rows_and_leaves_no_copy(
    layers: Layers, tmp_path: Path, object_server: ObjectServer, ending: str
) -> None:
    lines = [
        line(arc=arc, at=f"2022-01-{day:02d}T05:00:00+01:00") for arc in range(200) for day in range(1, 4)
    ]
    put(layers, lines)
    expected = curated(layers)
    environ = object_server.environment(uuid.uuid4().hex)
    store = open_store(environ["ECLUSE_STORE_URL"], Settings.from_environment(environ).access)
    far = make_layers(tmp_path / "far", store=store.scoped("raw"), curated=store.scoped("curated"))
    text = "\n".join([HEADER, *lines]).encode()
    buffer = io.BytesIO()
    pl.read_csv(text, separator=";", infer_schema=False).write_parquet(buffer)
    data = {".csv": text, ".csv.gz": gzip.compress(text), ".parquet": buffer.getvalue()}[ending]
    far.put(f"batch/comptages-routiers-permanents{ending}", data)
    roads.curate(far.raw, far.work)
    assert list(far.work.scratch.iterdir()) == []
    assert far.curated.read("roads", *ALL).equals(expected)


def test_what_did_not_change_is_not_read_again(layers: Layers, monkeypatch: pytest.MonkeyPatch) -> None:
    put(layers, [line()])
    first = curated(layers)

    def unwanted(*_: object) -> None:
        raise AssertionError("it was read again")

    monkeypatch.setattr(roads, "open_roads", unwanted)
    assert curated(layers).equals(first)


def test_a_file_that_changed_takes_away_the_days_it_no_longer_has(layers: Layers) -> None:
    put(layers, [line(), line(at="2022-01-02T11:00:00+01:00")])
    put(layers, [line(arc=1, at="2022-01-02T11:00:00+01:00")], "comptages-other.csv")
    curated(layers)
    put(layers, [line(flow=7)])
    result = curated(layers)
    assert result.select("arc", "flow").rows() == [(4264, 7.0), (1, 524.0)]
    assert sum(part.rows for part in layers.curated.parts("roads", date(2022, 1, 2))) == 1


def test_an_interrupted_run_leaves_whole_days_and_goes_on(tmp_path: Path) -> None:
    days = [f"2022-01-{day:02d}T{hour:02d}:00:00+00:00" for hour in range(24) for day in range(1, 29)]
    lines = [line(at=at, flow=n) for n, at in enumerate(days)]

    def interrupt(done: float, what: str) -> None:
        if done > 0.9:
            raise KeyboardInterrupt

    layers = make_layers(tmp_path, report=interrupt)
    put(layers, lines)
    with pytest.raises(KeyboardInterrupt):
        curated(layers)
    there = layers.curated.days("roads")
    assert 0 < len(there) < 28
    assert all(layers.curated.read("roads", day, day).height == 24 for day in there)
    batch = layers.curated.batch("roads", "comptages-routiers-permanents-csv")
    assert batch is not None
    assert batch.fingerprint == ""
    before = {day: layers.curated.parts("roads", day)[0].file for day in there}
    again = make_layers(tmp_path)
    assert curated(again).height == len(days)
    assert {day: again.curated.parts("roads", day)[0].file for day in there} == before

    put(again, lines[:1])  # the interrupted file's days are known, and go with it
    assert curated(again).height == 1


def test_progress_only_grows_and_ends(tmp_path: Path) -> None:
    day_of: list[float] = []
    layers = make_layers(tmp_path, report=lambda done, what: day_of.append(done))
    put(layers, [line(at=f"2022-01-{day:02d}T05:00:00+01:00") for day in range(1, 29)])
    put(layers, [line()], "comptages-2.csv")
    curated(layers)
    assert day_of == sorted(day_of)
    assert day_of[-1] == 1


@pytest.mark.skipif(not (SHARED / "city").exists(), reason="the real files are not beside the checkout")
def test_the_real_files_give_the_sums_of_their_rows(layers: Layers) -> None:
    for name in ("comptages-champs-elysees.csv", "comptages-convention.csv"):
        layers.put(f"batch/{name}", (SHARED / "city" / name).read_bytes())
    result = curated(layers)
    raw = pl.concat(
        pl.read_csv(SHARED / "city" / name, separator=";", infer_schema=False)
        for name in ("comptages-champs-elysees.csv", "comptages-convention.csv")
    )
    assert result.height == raw.height == 18_360
    assert result["flow"].sum() == raw["Débit horaire"].cast(pl.Float64).sum()
    assert result["occupancy"].null_count() == raw["Taux d'occupation"].null_count() == 1_170
    assert result["state"].cast(pl.String).value_counts().sort("state").rows() == (
        raw["Etat trafic"].alias("state").value_counts().sort("state").rows()
    )
    day = date(2022, 10, 30)
    ends = [(datetime(2022, 10, 29, 23, tzinfo=UTC) + timedelta(hours=n)).isoformat() for n in range(25)]
    assert (
        layers.curated.read("roads", day, day).filter(pl.col("arc") == 4264).height
        == raw.filter(
            (pl.col("Identifiant arc") == "4264")
            & pl.col("Date et heure de comptage")
            .str.to_datetime("%Y-%m-%dT%H:%M:%S%z")
            .is_in([datetime.fromisoformat(end) for end in ends])
        ).height
    )
