"""Bike counts: from the partitions of a feed and from exports, by local day, each hour of a counter once."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecluse.apps.city.calendar import LocalDay
from ecluse.apps.city.errors import BadRaw
from ecluse.apps.city.sources import bikes
from tests.apps.city.layers import PARIS, Layers, make_layers
from tests.conftest import SHARED

DAY = date(2022, 3, 27)  # 23 hours: from 23:00 UTC on the 26th to 22:00 UTC on the 27th
REAL = SHARED / "city" / "bike-counters-train.parquet"
EXPORT = "comptage-velo-donnees-compteurs.csv"


@pytest.fixture
def layers(tmp_path: Path) -> Layers:
    return make_layers(tmp_path)


def record(counter: str, at: str, count: object, **changed: object) -> dict[str, Any]:
    return {
        "id_compteur": counter,
        "nom_compteur": f"{counter} N-S",
        "id": counter.partition("-")[0],
        "name": "site",
        "sum_counts": count,
        "date": at,
        "coordinates": {"lon": 2.35, "lat": 48.86},
        **changed,
    }


def put(layers: Layers, key: str, records: list[Any]) -> None:
    layers.put(f"api/bikes/{key}", json.dumps({"total_count": len(records), "results": records}))


def curated(layers: Layers, day: date = DAY) -> pl.DataFrame:
    bikes.curate(layers.raw, replace(layers.work, first=day, last=day))
    return layers.curated.read("bikes", day, day)


def counts(rows: pl.DataFrame) -> dict[tuple[str, str], float]:
    return {(row["counter"], row["at"].strftime("%d %H")): row["count"] for row in rows.iter_rows(named=True)}


@pytest.mark.parametrize("count", [1e308, "1e300", 10**400, -1e300])
def test_a_count_larger_than_any_measurement_is_set_aside(layers: Layers, count: object) -> None:
    records = [
        record("1-1", "2022-03-27T09:00:00+00:00", 5),
        record("1-1", "2022-03-27T10:00:00+00:00", count),
    ]
    put(layers, "dt=2022-03-27/hour=10/a.json", records)
    assert curated(layers, DAY)["count"].to_list() == [5]


def test_a_local_day_takes_its_hours_from_the_partitions_before_and_after(layers: Layers) -> None:
    put(layers, "dt=2022-03-26/hour=23/a.json", [record("1-1", "2022-03-26T22:00:00+00:00", 1)])
    put(layers, "dt=2022-03-27/hour=00/a.json", [record("1-1", "2022-03-26T23:00:00+00:00", 2)])
    put(layers, "dt=2022-03-27/hour=22/a.json", [record("1-1", "2022-03-27T21:00:00", 3)])
    put(layers, "dt=2022-03-28/hour=00/a.json", [record("1-1", "2022-03-27T22:00:00Z", 4)])
    put(layers, "dt=2022-03-28/hour=01/late.json", [record("1-1", "2022-03-27T20:00:00+00:00", 5)])
    result = curated(layers)
    assert counts(result) == {("1-1", "26 23"): 2, ("1-1", "27 20"): 5, ("1-1", "27 21"): 3}
    assert result["name"].unique().to_list() == ["1-1 N-S"]
    assert result.select("latitude", "longitude").unique().rows() == [(48.86, 2.35)]


def test_of_two_files_the_later_wins_by_hour_then_by_name(layers: Layers) -> None:
    at = "2022-03-27T10:00:00+00:00"
    put(layers, "dt=2022-03-27/hour=12/a.json", [record("1-1", at, 12)])
    put(layers, "dt=2022-03-27/hour=9/z.json", [record("1-1", at, 9)])
    put(layers, "dt=2022-03-27/hour=12/b.json", [record("1-1", at, 13), record("1-2", at, 1)])
    assert counts(curated(layers)) == {("1-1", "27 10"): 13, ("1-2", "27 10"): 1}


def test_quarters_of_an_hour_are_set_aside_not_summed(layers: Layers) -> None:
    times = [f"2022-03-27T10:{minute}:00+00:00" for minute in ("00", "15", "30", "45")]
    put(layers, "dt=2022-03-27/hour=12/a.json", [record("1-1", at, 5) for at in times])
    assert counts(curated(layers)) == {("1-1", "27 10"): 5}
    (part,) = layers.curated.parts("bikes", DAY)
    assert part.rejected == {bikes.NO_HOUR: 3}


def test_a_bare_list_and_the_older_shape_and_gzip_are_read(layers: Layers) -> None:
    at = "2022-03-27T10:00:00+00:00"
    layers.put("api/bikes/dt=2022-03-27/hour=10/a.json", json.dumps([record("1-1", at, 1)]))
    older = {"records": [{"recordid": "x", "fields": record("1-2", at, "2", coordinates=[48.8, 2.3])}]}
    layers.put("api/bikes/dt=2022-03-27/hour=10/b.json.gz", gzip.compress(json.dumps(older).encode()))
    result = curated(layers)
    assert counts(result) == {("1-1", "27 10"): 1, ("1-2", "27 10"): 2}
    assert result.filter(pl.col("counter") == "1-2").select("latitude", "longitude").rows() == [(48.8, 2.3)]


def test_bad_records_are_set_aside_with_place_and_reason_and_the_others_stay(layers: Layers) -> None:
    at = "2022-03-27T10:00:00+00:00"
    bad = [
        record("", at, 1),
        record("1-1", at, None),
        record("1-1", at, "many"),
        record("1-1", at, float("nan")),
        record("1-1", "yesterday", 1),
        "text",
        record("1-3", at, 3, coordinates={"lat": 99, "lon": "x"}),
    ]
    put(layers, "dt=2022-03-27/hour=10/a.json", bad)
    layers.put("api/bikes/dt=2022-03-27/hour=11/b.json", '{"results": [{"id_compteur": "1-1",')
    layers.put("api/bikes/dt=2022-03-27/hour=11/c.json", '{"error": "too many requests"}')
    layers.put("api/bikes/dt=2022-03-27/hour=11/d.json.gz", b"\x1f\x8bno gzip")
    result = curated(layers)
    assert result.select("counter", "count", "latitude").rows() == [("1-3", 3, None)]
    (part,) = layers.curated.parts("bikes", DAY)
    assert part.rejected == {
        bikes.NO_COUNTER: 1,
        bikes.NO_COUNT: 1,
        bikes.BAD_COUNT: 2,
        bikes.NO_TIME: 1,
        "the record is no object": 1,
        "the file is broken": 2,
        "the file holds no such records": 1,
    }
    assert part.records == 10
    places = [(item["file"].rpartition("/")[2], item["line"], item["column"]) for item in part.examples]
    assert ("a.json", None, "results[2].sum_counts") in places
    assert ("b.json", 1, "36") in places


def test_a_bad_record_counts_on_its_own_day_alone(layers: Layers) -> None:
    bad = [record("1-1", "2022-03-26T12:00:00+00:00", -1), record("1-1", "2022-03-27T12:00:00+00:00", -2)]
    put(layers, "dt=2022-03-27/hour=12/a.json", bad)
    curated(layers)
    (part,) = layers.curated.parts("bikes", DAY)
    assert [item["value"] for item in part.examples] == ["-2"]


def test_what_did_not_change_is_not_written_again_and_what_did_is(layers: Layers) -> None:
    at = "2022-03-27T10:00:00+00:00"
    put(layers, "dt=2022-03-27/hour=10/a.json", [record("1-1", at, 1)])
    curated(layers)
    folder = "bikes/dt=2022-03-27"
    store = layers.curated._store
    before = [(info.key, info.last_modified) for info in store.list(folder)]
    curated(layers)
    assert [(info.key, info.last_modified) for info in store.list(folder)] == before
    put(layers, "dt=2022-03-28/hour=00/a.json", [record("1-1", at, 2)])
    assert counts(curated(layers)) == {("1-1", "27 10"): 2}


def test_an_export_is_read_by_local_day_with_its_faults_by_line_and_column(layers: Layers) -> None:
    layers.put_sample(EXPORT)
    result = curated(layers)
    assert counts(result) == {
        ("100001-1", "26 23"): 3,
        ("100001-1", "27 00"): 2,
        ("100001-1", "27 01"): 6,
        ("100001-1", "27 21"): 9,
        ("100002-2", "27 10"): 7,
    }
    assert result["name"].unique().sort().to_list() == ["10 rue du Port N-S", '20 quai "Bas" O-E']
    assert result.filter(pl.col("counter") == "100001-1")["latitude"].unique().to_list() == [48.86]
    (part,) = layers.curated.parts("bikes", DAY)
    assert part.rejected == {bikes.BAD_COUNT: 1, bikes.NO_COUNT: 1, bikes.NO_TIME: 1, bikes.NO_HOUR: 1}
    by_line = {item["line"]: (item["column"], item["value"]) for item in part.examples}
    assert by_line == {
        10: ("Comptage horaire", "-7"),
        11: ("Comptage horaire", ""),
        12: ("Date et heure de comptage", "27 mars"),
        13: ("Date et heure de comptage", "2022-03-27T14:15:00+02:00"),
    }


def test_an_export_reads_the_same_packed_and_as_parquet(layers: Layers, tmp_path: Path) -> None:
    layers.put_sample(EXPORT)
    plain = curated(layers)
    source = (Path(__file__).parents[2] / "data/city" / EXPORT).read_bytes()
    packed = make_layers(tmp_path / "packed")
    packed.put(f"batch/{EXPORT}.gz", gzip.compress(source))
    assert curated(packed).equals(plain)
    parquet = make_layers(tmp_path / "parquet")
    path = tmp_path / "x.parquet"
    pl.read_csv(source, separator=";", infer_schema=False).write_parquet(path)
    parquet.put(f"batch/{EXPORT.replace('.csv', '.parquet')}", path.read_bytes())
    assert curated(parquet).equals(plain)


def test_a_day_that_the_export_lacks_is_read_once_and_holds_nothing(layers: Layers) -> None:
    layers.put_sample(EXPORT)
    day = date(2022, 6, 1)
    assert curated(layers, day).height == 0
    (part,) = layers.curated.parts("bikes", day)
    assert (part.rows, part.rejected) == (0, {bikes.NO_TIME: 1})


@pytest.mark.parametrize(
    ("content", "excerpt"),
    [
        ("a;b\n1;2\n", "line 1: there is no column 'Identifiant du compteur'"),
        ("", "line 1"),
        ("Identifiant du compteur;Comptage horaire\n1;2\n1;2;3\n", "line 3, column 3"),
        (b"Identifiant du compteur;\xff\xfe\n", "no UTF-8"),
    ],
)
def test_an_export_that_is_none_is_refused_with_file_and_line(
    layers: Layers, content: str | bytes, excerpt: str
) -> None:
    layers.put(f"batch/{EXPORT}", content)
    with pytest.raises(BadRaw, match=excerpt) as raised:
        curated(layers)
    assert f"batch/{EXPORT}" in str(raised.value)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.integers(0, 3), st.integers(0, 999), st.integers(0, 23)),
        min_size=1,
        max_size=30,
    )
)
def test_merging_keeps_one_count_for_each_counter_and_hour_that_of_the_last_file(
    tmp_path_factory: pytest.TempPathFactory, excerpt: list[tuple[int, int, int, int]]
) -> None:
    layers = make_layers(tmp_path_factory.mktemp("merge"))
    begin = LocalDay(DAY, PARIS).begin - timedelta(hours=3)
    files: dict[int, list[dict[str, Any]]] = {}
    for hour, counter, count, file in excerpt:
        at = (begin + timedelta(hours=hour)).isoformat()
        files.setdefault(file, []).append(record(f"c-{counter}", at, count))
    expected: dict[tuple[str, datetime], float] = {}
    for file, records in sorted(files.items()):
        put(layers, f"dt=2022-03-27/hour={file:02d}/a.json", records)
        for item in records:
            at_ = datetime.fromisoformat(item["date"])
            if at_.astimezone(PARIS).date() == DAY:
                expected[item["id_compteur"], at_] = item["sum_counts"]
    rows = curated(layers)
    assert {(row[0], row[1]): row[2] for row in rows.select("counter", "at", "count").rows()} == expected


@pytest.mark.skipif(not REAL.exists(), reason="the real files are not beside this checkout")
def test_the_real_export_of_two_years_gives_the_sums_of_its_rows(layers: Layers) -> None:
    layers.put("batch/bike-counters-train.parquet", REAL.read_bytes())
    raw = pl.read_parquet(REAL, columns=["date", "bike_count"])
    for day, hours in ((date(2020, 10, 25), 25), (date(2021, 3, 28), 23), (date(2021, 6, 8), 24)):
        rows = curated(layers, day)
        first = datetime(day.year, day.month, day.day, tzinfo=PARIS).astimezone(UTC)
        within = pl.col("date").is_between(
            first.replace(tzinfo=None), (first + timedelta(hours=hours)).replace(tzinfo=None), closed="left"
        )
        expected = raw.filter(within)
        assert rows.height == expected.height
        assert rows["count"].sum() == expected["bike_count"].sum()
