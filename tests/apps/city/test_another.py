"""A source and a kind of metrics that this test invents: one value each and one registration, and all of it is there."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import polars as pl
import pytest

from ecluse.apps.city import actions
from ecluse.apps.city.check import check_raw
from ecluse.apps.city.commands.data import fetch as fetch_command
from ecluse.apps.city.demo import write_demo
from ecluse.apps.city.fetch import FetchPlace, fetch_data
from ecluse.apps.city.fetching import Fetched, FetchTask, FetchWork
from ecluse.apps.city.inputs import Inputs, Metrics
from ecluse.apps.city.processors import PROCESSORS, Processor
from ecluse.apps.city.provenance import SAMPLED
from ecluse.apps.city.raw import Raw, RawFile, fingerprint_of
from ecluse.apps.city.sections import Column, ReportTable, Section
from ecluse.apps.city.sources import SOURCES, Curating, Source
from ecluse.apps.city.sources.curating import FileContents, contents_of
from ecluse.apps.city.sources.feed import newest
from ecluse.apps.city.sources.forms import Column as FormColumn
from ecluse.apps.city.sources.forms import Form
from ecluse.apps.city.tables import Table
from ecluse.runtime import Runtime
from ecluse.sentences import N_
from ecluse.storage import ObjectStore, open_store
from tests.apps.city.languages import translated
from tests.web.test_pages import browser

DAY = date(2025, 9, 1)
PARIS = ZoneInfo("Europe/Paris")
KEY = "batch/noise-demo.csv"

# The source, as its module would stand in `sources/`


def _read(file: RawFile, work: Curating) -> pl.DataFrame:
    return pl.read_csv(file.local(work.scratch), separator=";", schema_overrides={"day": pl.Date()})


def _curate(raw: Raw, work: Curating) -> None:
    for file in raw.batch("noise"):
        for (day,), rows in _read(file, work).group_by("day"):
            made_of = {"fingerprint": fingerprint_of([file]), "modified": newest([file]), "files": [file.url]}
            work.curated.write("noise", day, "noise", rows.drop("day"), rejected={"too loud": 1}, **made_of)


def _inspect(file: RawFile, work: Curating) -> FileContents:
    rows = _read(file, work)
    return contents_of(rows.height, rows["day"].to_list(), {})


def _fetch(work: FetchWork, first: date, last: date) -> Iterator[FetchTask]:
    def run() -> Iterator[Fetched]:
        work.raw.put("batch/noise.csv", b"day;place;loudness\n")
        yield Fetched("noise", "all", "fetched", ("batch/noise.csv",))

    yield FetchTask("noise", "all", "https://example.org/noise", run)


NOISE = Source(
    name="noise",
    title=N_("Noise meters"),
    words=N_("noise"),
    table=Table(pl.Schema({"place": pl.String(), "loudness": pl.Float64()}), ("place",)),
    forms=(
        Form(
            source="noise",
            title="Noise by the day",
            places=("batch/noise*.csv",),
            style="csv",
            columns=(
                FormColumn("day", "day", needed=True),
                FormColumn("loudness", "how loud", "dB", needed=True),
            ),
            address="https://example.org/noise",
        ),
    ),
    curate=_curate,
    inspect=_inspect,
    lacks="no noise",
    fetch=_fetch,
)

# The kind of metrics, as its module would stand in `processors/`


def _compute(inputs: Inputs, metrics: Mapping[str, Metrics]) -> Metrics:
    places = inputs.tables["noise"].sort("loudness", descending=True)
    return Metrics({"loudest": places.to_dicts()})


LOUDEST = Processor(
    name="loudness",
    words=N_("loudness"),
    compute=_compute,
    section=Section(
        N_("Where it was loud"),
        order=75,
        tables=(
            ReportTable(
                name="loudest",
                caption=N_("Loudest first"),
                rows=lambda report: (report.get("loudness") or {}).get("loudest", ()),
                id="place",
                label="place",
                is_ranked=True,
                columns=(
                    Column(N_("Spot"), "place"),
                    Column(N_("Loudness, dB"), "loudness", "number", 1, unit="dB"),
                ),
            ),
        ),
    ),
)
#: Its French, as it would stand in `city.po`.
FRENCH = {
    "Noise meters": "Sonomètres",
    "noise": "bruit",
    "loudness": "volume",
    "Where it was loud": "Où il y avait du bruit",
    "Loudest first": "Les plus bruyants d’abord",
    "Spot": "Endroit",
    "Loudness, dB": "Volume, dB",
}


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setitem(SOURCES, NOISE.name, NOISE)
    monkeypatch.setitem(PROCESSORS, LOUDEST.name, LOUDEST)
    (tmp_path / "locale").mkdir()
    with translated(tmp_path / "locale", "fr", FRENCH):
        yield


@pytest.fixture
def raw(tmp_path: Path) -> ObjectStore:
    store = open_store((tmp_path / "raw").as_uri())
    write_demo(store, DAY, 1, arcs=12)
    store.put(KEY, b"day;place;loudness\n2025-09-01;Quai;61.25\n2025-09-01;Place;74.5\n")
    return store


def test_it_is_checked_and_fetched(raw: ObjectStore, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (source,) = (item for item in check_raw(raw, PARIS, scratch).sources if item.source == "noise")
    assert (source.rows, source.first, source.last, source.lacks) == (2, DAY, DAY, None)
    raw.delete(KEY)
    (source,) = (item for item in check_raw(raw, PARIS, scratch).sources if item.source == "noise")
    assert (source.rows, source.lacks) == (0, "no noise")
    option = next(option for option in fetch_command.params if option.name == "sources").type
    assert "noise" in getattr(option, "choices", ())
    heard: list[str] = []
    empty = open_store((tmp_path / "empty").as_uri())
    place = FetchPlace(empty, scratch, PARIS, now=lambda: datetime(2025, 11, 1, tzinfo=UTC))
    (fetched,) = fetch_data(place, DAY, DAY, sources=["noise"], report=lambda _, doing: heard.append(doing))
    assert (fetched.outcome, empty.exists("batch/noise.csv")) == ("fetched", True)
    assert "fetching noise: all" in heard


def test_a_day_has_it_in_progress_metrics_report_pages_and_api(
    raw: ObjectStore, runtime: Runtime, tmp_path: Path
) -> None:
    heard: list[str] = []
    with actions.open_city(runtime, raw.url) as city:
        actions.run_day(city, DAY, run="test", report=lambda _, doing: heard.append(doing))
        files = {
            name: city.reports.get(f"{DAY}/{name}").decode() for name in ("report.html", "report.fr.html")
        }
        tidy = list(csv.reader(io.StringIO(city.reports.get(f"{DAY}/report.csv").decode("utf-8-sig"))))
    assert {"noise", "loudness", "writing loudness"} <= set(heard)
    assert ["loudest", "1", "Place", "Place", "loudness", "74.5", "dB"] in tidy
    for text in ("Where it was loud", "Loudest first", "Loudness, dB", "74.5", "Noise meters", "too loud"):
        assert text in files["report.html"], text
    for text in ("Où il y avait du bruit", "Les plus bruyants d’abord", "Volume, dB", "74,5", "Sonomètres"):
        assert text in files["report.fr.html"], text
    user = runtime.accounts.sign_up("a@example.org", "a long password")
    find_on_pages_and_in_api(browser(runtime, user))


def find_on_pages_and_in_api(client: httpx.Client) -> None:
    """Find it on the pages in both languages, and in the API."""
    page = client.get(f"/city/{DAY}/report?lang=fr").text
    assert "Les plus bruyants d’abord" in page
    assert "74,5" in page
    assert "Sonomètres" in client.get(f"/city/{DAY}?lang=fr").text
    assert "Noise meters" in client.get(f"/city/{DAY}?lang=en").text

    def answer(place: str) -> dict[str, Any]:
        answered: dict[str, Any] = json.loads(client.get(f"/api/city/{place}").text)
        return answered

    assert answer(f"metrics/loudness/{DAY}")["loudest"][0] == {"place": "Place", "loudness": 74.5}
    assert answer(f"metrics/quality/{DAY}")["sources"]["noise"]["rows"] == 2
    assert answer(f"report/{DAY}")["loudness"]["loudest"][1]["place"] == "Quai"
    sources = answer(f"metrics/quality/{DAY}")["sources"]
    assert {name for name, source in sources.items() if source and source["rows"]} == SAMPLED | {"noise"}


def test_a_day_of_the_sample_lacks_no_source_that_the_sample_has_nothing_of(
    raw: ObjectStore, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(PROCESSORS, LOUDEST.name)
    raw.delete(KEY)
    with actions.open_city(runtime, raw.url) as city:
        actions.run_day(city, DAY, run="test")
    user = runtime.accounts.sign_up("a@example.org", "a long password")
    client = browser(runtime, user)
    for page in (f"/city/{DAY}?lang=en", f"/city/{DAY}/report?lang=en"):
        assert "Some sources delivered nothing" not in client.get(page).text
