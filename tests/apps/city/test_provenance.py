"""Provenance: what is invented says so everywhere, is never mixed with what is measured, and goes as a whole."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from ecluse.apps.city.actions import City, open_city, prepare, remove_sample, run_day, update_forecast
from ecluse.apps.city.days import MARK
from ecluse.apps.city.demo import write_demo
from ecluse.apps.city.errors import BadRaw, MixedData
from ecluse.apps.city.provenance import NAME, invented_days, is_invented_day
from ecluse.apps.city.raw import Raw
from ecluse.runtime import Runtime
from ecluse.storage import open_store
from tests.apps.city.sample import LAST

MEASURED = date(2025, 6, 3)


def _measured_day(runtime: Runtime, **more: object) -> None:
    mark = {"date": MEASURED.isoformat(), "kinds": [], "inputs": "-", "rows": {}, "coverage": None}
    runtime.documents.put(MARK, MEASURED.isoformat(), mark | more)


@pytest.mark.nightly
def test_every_document_of_an_invented_day_says_so_and_bears_the_citys_own_name(city: City) -> None:
    run_day(city, LAST, run="test")
    update_forecast(city)
    assert (city.name, city.invented) == (NAME, True)
    silent = [
        (kind, item.key)
        for kind in city.documents.kinds()
        if not kind.startswith("reference")
        for item in city.documents.all(kind)
        if item.body.get("invented") is not True
        or NAME not in (item.body.get("city_name"), item.body.get("city"))
    ]
    assert silent == []
    assert any(kind.startswith("metrics/arcs/") for kind in city.documents.kinds())
    assert list(city.documents.keys("forecast/arcs"))
    report = json.loads(city.reports.get(f"{LAST}/report.json"))
    assert (report["city"], report["invented"]) == (NAME, True)
    assert f"city,,city,{NAME},data,invented," in city.reports.get(f"{LAST}/report.csv").decode()
    assert b"Invented data: there is no such city." in city.reports.get(f"{LAST}/report.html")
    assert "cette ville n’existe pas" in city.reports.get(f"{LAST}/report.fr.html").decode()


def test_an_invented_day_is_not_computed_beside_measured_ones_nor_a_measured_one_beside_invented(
    runtime: Runtime, city: City, tmp_path: Path
) -> None:
    _measured_day(runtime, invented=False)
    with pytest.raises(MixedData, match=r"has measured days \(2025-06-03 – 2025-06-03\).*--home FOLDER"):
        prepare(city, LAST, LAST)
    _measured_day(runtime, invented=True)
    with (
        open_city(runtime, str(tmp_path)) as measured,
        pytest.raises(MixedData, match=r"has invented days \(2025-06-03 – 2025-06-03\).*city demo --remove"),
    ):
        prepare(measured, LAST, LAST)


def test_both_kinds_of_one_raw_store_have_curated_tables_of_their_own(runtime: Runtime) -> None:
    raw = runtime.stores.area("raw")
    write_demo(raw, LAST, 1, arcs=12)
    with open_city(runtime) as invented:
        prepare(invented, LAST, LAST)
        assert invented.curated.days("roads")
    raw.delete("demo.json")
    with open_city(runtime) as measured:
        assert (measured.invented, measured.name) == (False, "Paris")
        assert measured.curated.days("roads") == []


def test_data_of_ones_own_beside_the_sample_is_refused(runtime: Runtime) -> None:
    raw = runtime.stores.area("raw")
    write_demo(raw, LAST, 1, arcs=12)
    raw.put("batch/comptages-routiers-permanents-2025.csv", b"x")
    with open_city(runtime) as city, pytest.raises(BadRaw, match=r"permanents-2025\.csv.*demo --remove"):
        prepare(city, LAST, LAST)


def test_a_fallback_of_the_other_kind_is_refused(sample: Path, tmp_path: Path) -> None:
    from ecluse.apps.city.provenance import provenance_of

    invented, measured = (open_store(folder.as_uri()) for folder in (sample, tmp_path))
    with pytest.raises(MixedData, match="ECLUSE_RAW_FALLBACK_URL"):
        provenance_of(Raw(measured, invented))
    assert provenance_of(Raw(invented, invented))
    assert not provenance_of(Raw(measured))


def test_days_of_before_that_say_nothing_are_known_by_their_files(runtime: Runtime) -> None:
    _measured_day(runtime)
    files = {"roads": {"files": ["file:///raw/batch/comptages-routiers-permanents-demo.csv"]}, "bikes": None}
    runtime.documents.put("metrics/quality", MEASURED.isoformat(), {"sources": files})
    mark = runtime.documents.get(MARK, MEASURED.isoformat())
    assert is_invented_day(runtime.documents, mark)
    assert invented_days(runtime.documents) == {MEASURED}
    files["works"] = {"files": ["s3://raw/batch/chantiers-perturbants-la-circulation.csv"]}
    runtime.documents.put("metrics/quality", MEASURED.isoformat(), {"sources": files})
    assert invented_days(runtime.documents) == set()


def test_removing_the_sample_removes_its_days_documents_and_curated_tables(runtime: Runtime) -> None:
    raw = runtime.stores.area("raw")
    write_demo(raw, date(2025, 10, 25), 2, arcs=12)
    with open_city(runtime) as city:
        run_day(city, date(2025, 10, 26), run="test")
        update_forecast(city)
    assert list(runtime.data.list("city/invented"))
    assert remove_sample(runtime, raw) == [date(2025, 10, 26)]
    assert list(runtime.documents.kinds()) == []
    assert list(runtime.data.list("city")) == []
    assert list(raw.list()) == []


def test_removing_the_sample_leaves_measured_days(runtime: Runtime) -> None:
    _measured_day(runtime, invented=False)
    runtime.documents.put("reference/arcs", "000", {"arcs": []})
    assert remove_sample(runtime, runtime.stores.area("raw")) == []
    assert list(runtime.documents.keys(MARK)) == [MEASURED.isoformat()]
    assert list(runtime.documents.keys("reference/arcs")) == ["000"]
