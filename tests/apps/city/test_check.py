"""What of raw data can be read, and what a day says of what could not: nothing is left out in silence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ecluse.apps.city import actions as workflows
from ecluse.apps.city.check import Checked, check_raw
from ecluse.apps.city.demo import write_demo
from ecluse.apps.city.errors import BadRaw, NoRawData
from ecluse.apps.city.provenance import MARKER
from ecluse.cli import cli
from ecluse.runtime import Runtime
from ecluse.storage import open_store
from tests.apps.city.by_hand import PARIS
from tests.apps.city.layers import SAMPLES

FIRST = date(2025, 10, 13)
ROADS = "batch/comptages-routiers-permanents-demo.csv"
#: The square of another city.
ELSEWHERE = {
    "type": "Feature",
    "properties": {"c_ar": 1, "l_aroff": "Ailleurs"},
    "geometry": {"type": "Polygon", "coordinates": [[[4.8, 45.7], [4.9, 45.7], [4.9, 45.8], [4.8, 45.7]]]},
}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two invented days; not to be written to."""
    folder = tmp_path_factory.mktemp("two-days")
    write_demo(open_store(folder.as_uri()), FIRST, 2, arcs=12)
    return folder


@pytest.fixture
def raw(sample: Path, tmp_path: Path) -> Path:
    return shutil.copytree(sample, tmp_path / "raw")


def looked_at(folder: Path, tmp_path: Path) -> Checked:
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    return check_raw(open_store(folder.as_uri()), PARIS, scratch)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home of its own for commands that are given none."""
    monkeypatch.setenv("ECLUSE_HOME", str(tmp_path / "home"))


def command(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["city", "check", *arguments])


def test_a_sample_is_readable_with_its_rows_and_days(raw: Path, tmp_path: Path) -> None:
    checked = looked_at(raw, tmp_path)
    assert checked.of("unreadable") == checked.of("not taken") == []
    result = {item.source: item for item in checked.sources}
    lines = (raw / ROADS).read_text(encoding="utf-8-sig").splitlines()
    roads = result["roads"]
    assert roads.rows + sum(roads.rejected.values()) == len(lines) - 1
    assert (roads.first, roads.last) == (FIRST, date(2025, 10, 14))
    assert (result["bikes"].first, result["bikes"].last) == (FIRST, date(2025, 10, 14))
    assert (result["zones"].rows, result["arcs"].rows) == (20, 11)
    assert all(item.lacks is None for item in checked.sources)
    assert checked.is_usable


def test_a_flat_folder_is_told_what_its_files_are_and_where_they_belong(tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for name in ("chantiers-perturbants.csv", "open-meteo-paris-daily.csv", "arrondissements.geojson"):
        shutil.copy(SAMPLES / name, flat / f"mine-{name}")
    (flat / "notes.docx").write_bytes(b"PK")
    checked = looked_at(flat, tmp_path)
    facts = {item.key: (item.source, item.reason, item.advice) for item in checked.files}
    assert {item.outcome for item in checked.files} == {"not taken"}
    works = facts["mine-chantiers-perturbants.csv"]
    assert works[:2] == ("works", "It lies outside of batch/ and api/.")
    assert str(works[2]).endswith("It is read as batch/chantiers-perturbants*.csv")
    assert facts["mine-open-meteo-paris-daily.csv"][0] == "weather"
    assert facts["mine-arrondissements.geojson"][0] == "zones"
    assert str(facts["notes.docx"][1]).startswith("It is of a kind that is not read")
    assert not checked.is_usable
    done = command(str(flat))
    assert done.exit_code == 1
    assert "Nothing here was measured on any day." in done.output
    assert "It is read as batch/chantiers-perturbants*.csv" in done.output


def test_the_command_tells_people_and_programs_the_same(raw: Path) -> None:
    (raw / "batch/chantiers-perturbants-x.csv").write_text("a;b\n1;2\n")
    (raw / "batch/counts-of-mine.csv").write_text((raw / ROADS).read_text(encoding="utf-8-sig"))
    done = command(str(raw))
    assert done.exit_code == 0, done.output
    for text in (
        "Cannot be read:",
        "there is no column 'Identifiant'",
        "Not taken:",
        "batch/counts-of-mine.csv",
    ):
        assert text in done.output
    assert f"{FIRST} to 2025-10-14" in done.output
    assert "Invented data: there is no such city." in done.stdout
    assert "dt=" not in done.stderr  # a line for each feed, not for each of its hours
    facts = json.loads(command(str(raw), "--json").stdout)
    assert (facts["usable"], facts["invented"]) == (True, True)
    assert {item["file"] for item in facts["files"] if item["outcome"] == "unreadable"} == {
        "batch/chantiers-perturbants-x.csv"
    }
    (mine,) = [item for item in facts["files"] if item["outcome"] == "not taken"]
    assert (mine["source"], mine["reason"]) == ("roads", "Its name is not that of an input.")
    roads = next(item for item in facts["sources"] if item["source"] == "roads")
    assert (roads["first"], roads["last"], roads["files"]) == (str(FIRST), "2025-10-14", 1)


def test_a_folder_that_is_none_is_an_error_and_is_not_made(tmp_path: Path) -> None:
    done = command(str(tmp_path / "none"), "--home", str(tmp_path / "home"))
    assert done.exit_code == 1
    assert isinstance(done.exception, NoRawData)
    assert f"There is no folder {tmp_path / 'none'}" in str(done.exception)
    assert not (tmp_path / "none").exists()


def test_without_a_folder_that_of_the_settings_is_checked(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECLUSE_RAW_URL", str(raw))
    done = command("--home", str(tmp_path / "home"), "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["url"].rstrip("/") == raw.as_uri()


# What a day says of it


@pytest.fixture
def city(runtime: Runtime, raw: Path) -> Iterator[workflows.City]:
    (raw / MARKER).unlink()  # as measured data: files beside the sample's are refused
    with workflows.open_city(runtime, str(raw)) as opened:
        yield opened


def doubts_of(city: workflows.City) -> list[dict[str, Any]]:
    computed = workflows.run_day(city, FIRST, run="test")
    assert computed is not None
    return list(computed.metrics["quality"].body["doubts"])


def test_a_bad_file_of_works_is_set_aside_and_named_and_the_roads_are_there(
    city: workflows.City, raw: Path
) -> None:
    assert doubts_of(city) == []
    bad = raw / "batch/chantiers-perturbants-2.csv"
    bad.write_text("a;b\n1;2\n")
    (doubt,) = doubts_of(city)
    assert (doubt["kind"], doubt["source"]) == ("set_aside", "works")
    assert "chantiers-perturbants-2.csv, line 1: there is no column 'Identifiant'" in doubt["text"]
    documents = city.documents
    assert documents.get("metrics/traffic", FIRST.isoformat())["arcs_reporting"] > 0
    report = documents.get("reports", FIRST.isoformat())
    assert report["quality"]["doubts"] == [doubt]
    page = " ".join(city.reports.get(f"{FIRST}/report.fr.html").decode().split())
    assert "Une source était illisible et a été mise de côté" in page
    bad.unlink()
    assert not workflows.is_up_to_date(city, FIRST) or doubts_of(city) == []
    assert doubts_of(city) == []


def test_of_two_road_files_a_bad_one_leaves_the_other(city: workflows.City, raw: Path) -> None:
    (raw / "batch/comptages-a.csv").write_text("a;b\n1;2\n")
    (doubt,) = doubts_of(city)
    assert (doubt["kind"], doubt["source"]) == ("set_aside", "roads")
    assert city.documents.get("metrics/traffic", FIRST.isoformat())["arcs_reporting"] > 0


def test_zones_of_another_place_are_told_with_the_way_out(city: workflows.City, raw: Path) -> None:
    (raw / "batch/arrondissements-demo.geojson").write_text(
        json.dumps({"type": "FeatureCollection", "features": [ELSEWHERE]})
    )
    (doubt,) = doubts_of(city)
    assert doubt["kind"] == "zones"
    assert doubt["text"].startswith("12 of 12 arcs lie outside every zone")
    assert "arrondissements-demo.geojson" in doubt["text"]


def test_files_that_no_source_reads_are_named(city: workflows.City, raw: Path) -> None:
    (raw / "batch/traffic.csv").write_text("a;b\n")
    (raw / "more").mkdir()
    (raw / "more/x.csv").write_text("a;b\n")
    (doubt,) = doubts_of(city)
    assert doubt["text"].startswith("2 files or folders were seen and not taken: batch/traffic.csv, more/.")


def test_a_flat_folder_without_any_day_says_which_files_were_seen(runtime: Runtime, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    (flat / "counts.csv").write_text("a;b\n1;2\n")
    with workflows.open_city(runtime, str(flat)) as city:
        with pytest.raises(NoRawData, match=r"1 file or folder was seen and not taken: counts\.csv"):
            workflows.run_day(city, FIRST, run="test")
        (flat / "batch").mkdir()
        (flat / "batch/comptages.csv").write_text("a;b\n1;2\n")
        with pytest.raises(BadRaw, match=r"comptages\.csv, line 1, column"):
            workflows.run_day(city, FIRST, run="test")
