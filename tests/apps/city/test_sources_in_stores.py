"""The feeds, wherever their raw files lie: the same rows from a folder and from S3, or from a copy of them."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from ecluse.apps.city.sources import SOURCES, curate_all
from ecluse.errors import StoreUnavailable
from ecluse.settings import Settings
from ecluse.storage import ObjectStore, open_store
from tests.apps.city.layers import SAMPLES, Layers, local_store, make_layers
from tests.servers import ObjectServer, free_port

DAY = date(2022, 3, 27)
TABLES = ("bikes", "disruptions", "weather", "works")
EXPORTS = ("comptage-velo-donnees-compteurs.csv", "chantiers-perturbants.csv", "arrondissements.geojson")


def fill(store: ObjectStore) -> None:
    count = {"id_compteur": "f", "sum_counts": 5, "date": "2022-03-27T10:00:00+00:00"}
    period = {"begin": "20220327T080000", "end": "20220327T100000"}
    facts = {"id": "a", "severity": "BLOQUANTE", "applicationPeriods": [period]}
    line = {"id": "line:1", "impactedObjects": [{"type": "line", "disruptionIds": ["a"]}]}
    weather = {"days": [{"datetime": "2022-03-27", "temp": 12.5, "precip": 0.0, "windspeed": 9.0}]}
    contents = {
        "api/bikes/dt=2022-03-27/hour=12/a.json": {"results": [count]},
        "api/bikes/dt=2022-03-28/hour=00/a.json": {"results": [count | {"sum_counts": 6}]},
        "api/traffic/dt=2022-03-27/hour=12/a.json": {"disruptions": [facts], "lines": [line]},
        "api/weather/dt=2022-03-27/hour=12/a.json": weather,
    }
    for key, content in contents.items():
        store.put(key, json.dumps(content).encode())
    for name in EXPORTS:
        store.put(f"batch/{name}", (SAMPLES / name).read_bytes())


def curated(layers: Layers) -> dict[str, pl.DataFrame]:
    work = replace(layers.work, first=DAY - timedelta(days=2), last=DAY + timedelta(days=1))
    for name, source in SOURCES.items():
        if name in (*TABLES, "zones"):
            source.curate(layers.raw, work)
    return {name: layers.curated.read(name, work.first, work.last) for name in TABLES}


def test_a_folder_and_s3_give_the_same_rows(tmp_path: Path, object_server: ObjectServer) -> None:
    near = make_layers(tmp_path / "near")
    settings = Settings.from_environment(object_server.environment(uuid.uuid4().hex))
    store = open_store(settings.store_url, settings.access)
    far = make_layers(tmp_path / "far", store=store.scoped("raw"), curated=store.scoped("curated"))
    fill(near.store)
    fill(far.store)
    expected = curated(near)
    assert {name: rows.height > 0 for name, rows in expected.items()} == dict.fromkeys(TABLES, True)
    for name, rows in curated(far).items():
        assert rows.equals(expected[name]), name
    before = [(info.key, info.last_modified) for info in store.list("")]
    curated(far)
    assert [(info.key, info.last_modified) for info in store.list("")] == before


def test_a_store_that_does_not_answer_leaves_its_copy_which_the_parts_name(tmp_path: Path) -> None:
    copy = local_store(tmp_path / "copy")
    fill(copy)
    away = Settings.from_environment(
        {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}",
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_REGION": "us-east-1",
        }
    )
    store = open_store("s3://bucket/raw", away.access, patience=timedelta(seconds=0.1))
    with pytest.raises(StoreUnavailable):
        curated(make_layers(tmp_path / "alone", store=store))
    layers = make_layers(tmp_path / "both", store=store, fallback=copy)
    rows = curated(layers)
    plain = make_layers(tmp_path / "plain", store=copy)
    for name, expected in curated(plain).items():
        assert rows[name].equals(expected), name
        for part in layers.curated.parts(name, DAY):
            assert part.fallback == part.files != ()


def test_progress_never_goes_back_and_what_a_report_raises_ends_the_work(tmp_path: Path) -> None:
    heard: list[tuple[float, str]] = []
    layers = make_layers(tmp_path, report=lambda done, what: heard.append((done, what)))
    fill(layers.store)
    work = replace(layers.work, first=DAY - timedelta(days=2), last=DAY)
    curate_all(layers.raw, work)
    shares = [done for done, _ in heard]
    assert shares == sorted(shares)
    assert 0 <= shares[0] <= shares[-1] <= 1
    assert set(TABLES) <= {what for _, what in heard}

    def stop(done: float, what: str) -> None:
        if what == "weather":
            raise InterruptedError(what)

    fresh = make_layers(tmp_path / "fresh", store=layers.store)
    with pytest.raises(InterruptedError, match="weather"):
        curate_all(fresh.raw, replace(fresh.work, first=work.first, last=work.last, report=stop))
    assert fresh.curated.days("weather") == []
    assert fresh.curated.days("disruptions") == [DAY]
