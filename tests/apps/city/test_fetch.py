"""Open data comes whole or not at all, once, politely, and a portal that fails is told of as it is."""

from __future__ import annotations

import csv
import json
import socket
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from ecluse.apps.city.calendar import LocalDay
from ecluse.apps.city.demo import write_demo
from ecluse.apps.city.download import Downloads, Pace
from ecluse.apps.city.errors import FetchFailed
from ecluse.apps.city.fetch import Fetched, FetchPlace, Portals, fetch_data
from ecluse.apps.city.raw import Raw
from ecluse.apps.city.sources.bikes import curate
from ecluse.errors import InvalidInput, KeyConflict
from ecluse.settings import Secret
from ecluse.storage import ObjectStore, open_store
from tests.apps.city.portal import KEY, Portal, bike_row, road_row, running_portal

PARIS = ZoneInfo("Europe/Paris")
DAY, LONG = date(2025, 10, 14), date(2025, 10, 26)
ROADS = f"batch/comptages-routiers-permanents-{DAY}.csv"
NOW = datetime(2025, 11, 20, 12, tzinfo=UTC)
QUICK = Pace(between=0.0, attempts=3, attempts_unreachable=2, first_wait=0.01, longest_wait=2.0, timeout=5.0)
DATASETS = "/api/explore/v2.1/catalog/datasets"


@pytest.fixture
def portal() -> Iterator[Portal]:
    with running_portal(_fill) as results:
        yield results


@pytest.fixture
def raw(tmp_path: Path) -> ObjectStore:
    return open_store((tmp_path / "raw").as_uri())


def _fill(portal: Portal) -> None:
    for day in (DAY - timedelta(days=1), DAY, DAY + timedelta(days=1), LONG):
        for start in LocalDay(day, PARIS).starts:
            portal.roads += [road_row(arc, start) for arc in range(101, 131)]
            portal.bikes += [bike_row(f"10-{n}", start, n) for n in range(3)]
    header = "\ufeffIdentifiant;Objet;Description\r\n"
    cells = 'CP1;A;"Deux\nlignes"\r\nCP2;B;"Une ""ligne"""\r\n'
    portal.files = {
        "chantiers-perturbants": ("text/csv; charset=utf-8", (header + cells).encode()),
        "referentiel-comptages-routiers": ("text/csv; charset=utf-8", b"Identifiant arc;Libelle\r\n1;A\r\n"),
        "arrondissements": ("application/json", json.dumps({"features": [{}] * 20}).encode()),
    }


def fetch(raw: ObjectStore, portal: Portal, tmp_path: Path, *sources: Any, **given: Any) -> list[Fetched]:
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    place = FetchPlace(
        raw,
        scratch,
        PARIS,
        Portals(portal.url, portal.url, portal.url, portal.url),
        key=given.pop("key", None),
        pace=given.pop("pace", QUICK),
        now=given.pop("now", lambda: NOW),
    )
    period = given.pop("first", DAY), given.pop("last", DAY)
    results = fetch_data(place, *period, sources=sources, **given)
    assert list(scratch.iterdir()) == []
    return results


def outcomes(results: list[Fetched]) -> list[str]:
    return [item.outcome for item in results]


def road_lines(raw: ObjectStore, key: str = ROADS) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(raw.get(key).decode("utf-8-sig")), delimiter=";"))


@pytest.mark.parametrize(("day", "hours"), [(DAY, 24), (LONG, 25)])
def test_a_day_of_roads_is_the_day_of_the_citys_clocks(
    raw: ObjectStore, portal: Portal, tmp_path: Path, day: date, hours: int
) -> None:
    (results,) = fetch(raw, portal, tmp_path, "roads", first=day, last=day)
    lines = road_lines(raw, f"batch/comptages-routiers-permanents-{day}.csv")
    assert (results.outcome, results.records) == ("fetched", 30 * hours)
    assert len(lines) == 30 * hours
    # The stamp is the end of its hour: the first hour ends at 01:00, the last one at the next midnight.
    ends = sorted({datetime.fromisoformat(line["Date et heure de comptage"]) for line in lines})
    assert (ends[0], ends[-1]) == (LocalDay(day, PARIS).starts[1], LocalDay(day, PARIS).end)
    assert Raw(raw).batch("comptages-routiers-permanents")


def test_what_is_there_is_not_asked_for_again(raw: ObjectStore, portal: Portal, tmp_path: Path) -> None:
    sources = ("roads", "bikes", "weather", "works", "arcs", "zones")
    first = fetch(raw, portal, tmp_path, *sources)
    assert set(outcomes(first)) == {"fetched"}
    asked = len(portal.requests)
    before = {info.key: (info.e_tag, info.last_modified) for info in raw.list()}
    again = fetch(raw, portal, tmp_path, *sources)
    assert set(outcomes(again)) == {"kept"}
    assert len(portal.requests) == asked
    assert {info.key: (info.e_tag, info.last_modified) for info in raw.list()} == before


def test_a_day_that_was_fetched_by_other_hours_is_asked_for_again(
    raw: ObjectStore, portal: Portal, tmp_path: Path
) -> None:
    """Before the stamps were read as ends, the first hour was that of the day before, and the last one was left out."""
    fetch(raw, portal, tmp_path, "roads", "bikes")
    for source in ("roads", "bikes"):
        note = json.loads(raw.get(f"fetch/{source}/{DAY}.json"))
        raw.put(f"fetch/{source}/{DAY}.json", json.dumps({**note, "where": ""}).encode())
    assert outcomes(fetch(raw, portal, tmp_path, "roads", "bikes")) == ["fetched", "kept"]
    assert outcomes(fetch(raw, portal, tmp_path, "roads", "bikes")) == ["kept", "kept"]


def test_a_file_that_was_lost_is_fetched_again(raw: ObjectStore, portal: Portal, tmp_path: Path) -> None:
    fetch(raw, portal, tmp_path, "roads")
    before = raw.get(ROADS)
    raw.delete(ROADS)
    assert outcomes(fetch(raw, portal, tmp_path, "roads")) == ["fetched"]
    assert raw.get(ROADS) == before


def test_a_day_that_may_still_be_corrected_is_asked_about_and_written_only_where_it_changed(
    raw: ObjectStore, portal: Portal, tmp_path: Path
) -> None:
    soon = lambda: datetime(2025, 10, 15, 6, tzinfo=UTC)  # noqa: E731
    fetch(raw, portal, tmp_path, "roads", now=soon)
    written = raw.head(ROADS).last_modified
    assert outcomes(fetch(raw, portal, tmp_path, "roads", now=soon)) == ["unchanged"]
    assert "if-none-match" in portal.requests[-1].headers
    portal.has_etags = False  # then the content itself tells
    assert outcomes(fetch(raw, portal, tmp_path, "roads", now=soon)) == ["unchanged"]
    assert raw.head(ROADS).last_modified == written
    portal.roads.append(road_row(999, LocalDay(DAY, PARIS).starts[3], None))
    assert outcomes(fetch(raw, portal, tmp_path, "roads", now=soon)) == ["fetched"]
    assert [line["Débit horaire"] for line in road_lines(raw) if line["Identifiant arc"] == "999"] == [""]


@pytest.mark.parametrize("is_packed", [False, True])
def test_after_a_break_the_rest_of_a_file_is_asked_for(
    raw: ObjectStore, portal: Portal, tmp_path: Path, is_packed: bool
) -> None:
    portal.is_packed = is_packed
    portal.trouble("comptages-routiers", "break", 2)
    assert outcomes(fetch(raw, portal, tmp_path, "roads")) == ["fetched"]
    assert len(road_lines(raw)) == 720
    ranges = [request.headers.get("range") for request in portal.asked("comptages-routiers")]
    assert ranges[0] is None
    assert all(asked is not None and asked != "bytes=0-" for asked in ranges[1:])
    assert len(ranges) == 3


def test_a_file_that_changed_in_between_is_fetched_from_its_beginning(
    raw: ObjectStore, portal: Portal, tmp_path: Path
) -> None:
    portal.trouble("comptages-routiers", "other etag in between")
    assert outcomes(fetch(raw, portal, tmp_path, "roads")) == ["fetched"]
    assert portal.requests[-1].headers["if-range"] == '"another"'
    assert len(road_lines(raw)) == 720


@pytest.mark.parametrize("kind", ["break", "chunks that end early", "hang up"])
def test_a_portal_that_gives_no_parts_is_asked_for_the_whole_again(
    raw: ObjectStore, portal: Portal, tmp_path: Path, kind: str
) -> None:
    portal.has_etags = False
    portal.trouble("comptages-routiers", kind)
    assert outcomes(fetch(raw, portal, tmp_path, "roads")) == ["fetched"]
    assert len(road_lines(raw)) == 720


@pytest.mark.parametrize("kind", ["break", "chunks that end early", "500", "429", "hang up"])
def test_a_portal_that_goes_on_failing_is_left_alone_and_nothing_half_is_kept(
    raw: ObjectStore, portal: Portal, tmp_path: Path, kind: str
) -> None:
    portal.has_etags = False
    portal.trouble("comptages-routiers", kind, 100)
    results = fetch(
        raw, portal, tmp_path, "roads", first=DAY - timedelta(days=1), last=DAY + timedelta(days=1)
    )
    assert outcomes(results) == ["failed", "skipped", "skipped"]
    assert results[0].reason is not None
    assert "in 3 attempts" in results[0].reason or "in 2 attempts" in results[0].reason
    assert "what was fetched stays" in results[0].reason
    assert list(raw.list()) == []
    assert len(portal.requests) <= 3


def test_the_days_that_came_stay_and_the_same_command_goes_on(
    raw: ObjectStore, portal: Portal, tmp_path: Path
) -> None:
    class Interrupted(Exception):
        pass

    def stop(fraction: float, doing: str) -> None:
        if doing.endswith(str(DAY + timedelta(days=1))):
            raise Interrupted

    period = {"first": DAY - timedelta(days=1), "last": DAY + timedelta(days=1)}
    with pytest.raises(Interrupted):
        fetch(raw, portal, tmp_path, "roads", **period, report=stop)
    assert outcomes(fetch(raw, portal, tmp_path, "roads", **period)) == ["kept", "kept", "fetched"]
    assert len(portal.requests) == 3


def test_a_wait_that_the_portal_asks_for_is_kept(
    raw: ObjectStore, portal: Portal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = list[tuple[float, int]]()  # how long, and after how many requests
    monkeypatch.setattr(
        Downloads, "_sleep", lambda _, seconds: pauses.append((seconds, len(portal.requests)))
    )
    portal.trouble("comptages-routiers", "429", Retry_After="1")
    assert outcomes(fetch(raw, portal, tmp_path, "roads")) == ["fetched"]
    assert len(portal.requests) == 2
    assert max(seconds for seconds, asked in pauses if asked == 1) >= 1.0


def test_a_wait_that_is_too_long_ends_the_work_and_is_told(
    raw: ObjectStore, portal: Portal, tmp_path: Path
) -> None:
    portal.trouble("comptages-routiers", "503", 9, Retry_After="3600")
    results = fetch(raw, portal, tmp_path, "roads", "works")
    assert outcomes(results) == ["failed", "skipped"]
    assert "left alone for 3600 s" in str(results[0].reason)
    assert len(portal.requests) == 1


def test_between_two_requests_there_is_a_pause(
    raw: ObjectStore, portal: Portal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = list[float]()  # at which requests leave; when they arrive is for the machine to say
    take_turn = Downloads._take_turn

    def noted(downloads: Downloads, host: str) -> None:
        take_turn(downloads, host)
        times.append(downloads._asked[host])

    monkeypatch.setattr(Downloads, "_take_turn", noted)
    fetch(raw, portal, tmp_path, "works", "arcs", "zones", pace=Pace(between=0.3))
    assert len(times) == len(portal.requests) == 3
    assert all(b - a >= 0.3 for a, b in pairwise(times))
    assert all(request.headers["user-agent"].startswith("ecluse/") for request in portal.requests)


@pytest.mark.parametrize(
    ("kind", "said"),
    [("page", "with text/html where text/csv was asked for"), ("403", "refuses"), ("400", "answers 400")],
)
def test_what_is_no_data_is_told_and_the_rest_goes_on(
    raw: ObjectStore, portal: Portal, tmp_path: Path, kind: str, said: str
) -> None:
    portal.trouble("comptages-routiers", kind)
    results = fetch(raw, portal, tmp_path, "roads", "works")
    assert outcomes(results) == ["failed", "fetched"]
    assert said in str(results[0].reason)
    assert not raw.exists(ROADS)


def test_the_portals_own_words_are_passed_on(raw: ObjectStore, portal: Portal, tmp_path: Path) -> None:
    del portal.files["chantiers-perturbants"]
    (results,) = fetch(raw, portal, tmp_path, "works")
    assert "Unknown dataset: chantiers-perturbants (csv)." in str(results.reason)


@pytest.mark.parametrize("source", ["roads", "works", "bikes", "zones", "weather"])
def test_an_answer_that_is_short_without_saying_so_is_not_kept(
    raw: ObjectStore, portal: Portal, tmp_path: Path, source: str
) -> None:
    portal.trouble("/", "silently short", 9)
    assert set(outcomes(fetch(raw, portal, tmp_path, source))) == {"failed"}
    assert list(raw.list()) == []


def test_a_table_of_something_else_is_not_kept(raw: ObjectStore, portal: Portal, tmp_path: Path) -> None:
    portal.files["chantiers-perturbants"] = ("text/csv", b"nom;valeur\n1;2\n")
    (results,) = fetch(raw, portal, tmp_path, "works")
    assert "begins with the column 'nom'" in str(results.reason)
    assert list(raw.list()) == []


def test_a_cell_of_several_lines_is_one_record(raw: ObjectStore, portal: Portal, tmp_path: Path) -> None:
    (results,) = fetch(raw, portal, tmp_path, "works")
    assert results.records == 2


def test_a_day_without_records_leaves_no_file(raw: ObjectStore, portal: Portal, tmp_path: Path) -> None:
    results = fetch(raw, portal, tmp_path, "roads", "bikes", first=date(2024, 1, 1), last=date(2024, 1, 1))
    assert outcomes(results) == ["empty", "empty"]
    assert list(raw.list()) == []


def test_bikes_lie_by_the_hour_in_which_they_were_counted_and_are_read(
    raw: ObjectStore, portal: Portal, tmp_path: Path
) -> None:
    from ecluse.apps.city.progress import unheard

    portal.bikes.append(
        bike_row("10-9", LocalDay(DAY, PARIS).starts[0], 5) | {"date": "2025-10-14T00:00:00+02:00"}
    )
    (results,) = fetch(raw, portal, tmp_path, "bikes")
    assert results.records == 73
    assert [key.split("/bikes/")[1][:21] for key in results.keys[:3]] == [
        "dt=2025-10-13/hour=22", "dt=2025-10-13/hour=23", "dt=2025-10-14/hour=00",
    ]  # fmt: skip
    assert len(results.keys) == 24
    from ecluse.apps.city.curated import Curated
    from ecluse.apps.city.sources import Curating, curated_tables
    from ecluse.storage import Cache

    curated = Curated(
        open_store((tmp_path / "curated").as_uri()),
        Cache(tmp_path / "cache", 10**9),
        tmp_path,
        curated_tables(),
    )
    curate(Raw(raw), Curating(curated, DAY, DAY, PARIS, tmp_path, unheard))
    rows = curated.read("bikes", DAY, DAY)
    assert rows.height == 73
    assert rows["count"].sum() == 24 * 3 + 5


def test_weather_comes_in_one_request_and_lies_by_the_day(
    raw: ObjectStore, portal: Portal, tmp_path: Path
) -> None:
    results = fetch(raw, portal, tmp_path, "weather", first=DAY, last=DAY + timedelta(days=9))
    assert outcomes(results) == ["fetched"] * 11  # and the day before, in which the first local day begins
    assert [request.path for request in portal.requests] == ["/v1/archive"]
    facts = json.loads(raw.get(f"api/weather/dt={DAY}/hour=00/open-meteo.json"))
    assert facts["hourly"]["time"] == [f"{DAY}T{hour:02d}:00" for hour in range(24)]
    assert facts["hourly"]["temperature_2m"][5] == 10.5
    assert facts["hourly_units"]["temperature_2m"] == "°C"


def test_the_last_days_of_weather_come_from_the_forecast_and_are_asked_for_again(
    raw: ObjectStore, portal: Portal, tmp_path: Path
) -> None:
    today = NOW.date()
    portal.unmeasured.add(today.isoformat())
    period = {"first": today - timedelta(days=9), "last": today}
    results = fetch(raw, portal, tmp_path, "weather", **period)
    assert [request.path for request in portal.requests] == ["/v1/archive", "/v1/forecast"]
    assert outcomes(results) == ["fetched"] * 10 + ["empty"]
    assert outcomes(fetch(raw, portal, tmp_path, "weather", **period)) == ["unchanged"] * 7 + ["empty"]
    assert [request.path for request in portal.requests[2:]] == ["/v1/forecast"]


def test_disruptions_need_a_key_which_is_in_no_address_and_no_message(
    raw: ObjectStore, portal: Portal, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    portal.disruptions = {"disruptions": [{"id": "a"}], "lines": []}
    (without,) = fetch(raw, portal, tmp_path, "disruptions")
    assert (without.outcome, portal.requests) == ("skipped", [])
    (wrong,) = fetch(raw, portal, tmp_path, "disruptions", key=Secret("wrong-key-55"))
    (right,) = fetch(raw, portal, tmp_path, "disruptions", key=Secret(KEY))
    assert outcomes([wrong, right]) == ["failed", "fetched"]
    assert right.keys == ("api/traffic/dt=2025-11-20/hour=12/disruptions-bulk-120000.json",)
    assert json.loads(raw.get(right.keys[0])) == portal.disruptions
    said = f"{wrong} {right} {caplog.text} {[(item.path, item.query) for item in portal.requests]}"
    stored = b"".join(raw.get(info.key) for info in raw.list()).decode()
    assert KEY not in said + stored
    assert "wrong-key-55" not in said + stored


def test_a_redirect_to_another_host_or_another_kind_of_address_is_not_followed(
    raw: ObjectStore, portal: Portal, tmp_path: Path
) -> None:
    for place in ("http://localhost:1/x", "file:///etc/hostname", "ftp://127.0.0.1/x"):
        portal.trouble("chantiers", "send on", Location=place)
        (results,) = fetch(raw, portal, tmp_path, "works")
        assert "which is not asked" in str(results.reason)
    portal.trouble("chantiers", "send on", Location=f"{DATASETS}/chantiers-perturbants/exports/csv")
    assert outcomes(fetch(raw, portal, tmp_path, "works")) == ["fetched"]


def test_a_host_that_is_away_is_asked_twice_and_then_no_more(raw: ObjectStore, tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound, and not listening
        taken.bind(("127.0.0.1", 0))
        away = Portal()
        away.url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        results = fetch(raw, away, tmp_path, "roads", "works")
    assert outcomes(results) == ["failed", "skipped"]
    assert "refused" in str(results[0].reason)
    assert "Look at your connection" in str(results[0].reason)


@pytest.mark.parametrize(
    "address", ["file:///etc", "ftp://host", "opendata.paris.fr", "https://me:secret77@host"]
)
def test_only_web_addresses_without_a_name_are_asked(tmp_path: Path, address: str) -> None:
    awaited = Downloads(tmp_path).get(f"{address}/x", types=("text/csv",), largest=10)
    with pytest.raises(FetchFailed) as caught, awaited:
        raise AssertionError
    assert "secret77" not in str(caught.value)


@pytest.mark.parametrize("is_packed", [False, True])
def test_more_than_may_come_is_not_taken(portal: Portal, tmp_path: Path, is_packed: bool) -> None:
    portal.is_packed = is_packed
    portal.files["chantiers-perturbants"] = ("text/csv", b"a" * 3_000_000)
    address = f"{portal.url}{DATASETS}/chantiers-perturbants/exports/csv"
    awaited = Downloads(tmp_path, pace=QUICK).get(address, types=("text/csv",), largest=1_000_000)
    with pytest.raises(FetchFailed, match=r"(has|unpacks to) more than 1,000,000 bytes"), awaited:
        raise AssertionError
    assert list(tmp_path.iterdir()) == []


def test_true_data_does_not_mix_with_the_sample(raw: ObjectStore, portal: Portal, tmp_path: Path) -> None:
    write_demo(raw, DAY, 1, arcs=20)
    with pytest.raises(KeyConflict, match="ecluse city demo --remove"):
        fetch(raw, portal, tmp_path, "roads")
    assert portal.requests == []


def test_days_of_no_city_are_not_asked_for(raw: ObjectStore, portal: Portal, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is no day of a city"):
        fetch(raw, portal, tmp_path, "roads", first=date.min, last=NOW.date())
    assert portal.requests == []


def test_days_to_come_are_not_asked_for(raw: ObjectStore, portal: Portal, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no period that has passed"):
        fetch(raw, portal, tmp_path, "roads", first=NOW.date(), last=NOW.date() + timedelta(days=1))
    assert portal.requests == []
