import json
import re
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ecluse.apps.city.pages import view as city
from ecluse.apps.city.pages.charts import saturation_by_hour
from ecluse.apps.city.pages.exports import TABLES
from ecluse.apps.city.pages.map import THEMES
from ecluse.catalog.tables import User
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.web.i18n import Words
from ecluse.web.security import CONTENT_POLICY
from tests.apps.city.invented_documents import LAST, day_documents, invented_arcs, invented_city
from tests.web import test_templates
from tests.web.test_pages import Browser, browser

DAY = LAST.isoformat()
PLACE = f"/city/{DAY}"
SUBJECTS = ("zones", "alerts", "bikes", "sensors", "disruptions", "works", "scan", "report")
PAGES = [
    "/city",
    PLACE,
    f"{PLACE}?hour=8",
    f"{PLACE}/hour?hour=8",
    *(f"{PLACE}/{subject}" for subject in SUBJECTS),
    "/city/arcs/101",
    f"/city/arcs/101?date={DAY}",
    "/city/compare",
    "/city/compare?a=2025-10-05..2025-10-07&b=2025-10-12..2025-10-14",
]


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    home = tmp_path_factory.mktemp("home")
    with Runtime.open(Settings.from_environment({}, home=home)) as opened:
        opened.documents.put_many(invented_city(days=10))
        yield opened


@pytest.fixture(scope="module")
def owner(runtime: Runtime) -> User:
    return runtime.accounts.sign_up("ines@example.org", "a long password", "Inès")


@pytest.fixture
def reader(runtime: Runtime, owner: User) -> Browser:
    return browser(runtime, owner)


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("language", ["en", "fr"])
def test_every_page_answers_in_both_languages(reader: Browser, path: str, language: str) -> None:
    more = "&" if "?" in path else "?"
    answer = reader.get(f"{path}{more}lang={language}")
    assert answer.status_code == 200
    assert "None" not in re.sub(r"<[^>]*>", " ", answer.text)


@pytest.mark.parametrize("path", [*PAGES, f"{PLACE}/map.json", f"{PLACE}/map.svg", "/city/arcs.geojson"])
def test_a_visitor_is_sent_to_sign_in(runtime: Runtime, path: str) -> None:
    answer = browser(runtime, None).get(path)
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")


def test_without_days_the_city_says_how_to_get_some(tmp_path_factory: pytest.TempPathFactory) -> None:
    home = tmp_path_factory.mktemp("home")
    with Runtime.open(Settings.from_environment({}, home=home)) as empty:
        first = empty.accounts.sign_up("ines@example.org", "a long password")
        text = browser(empty, first).get("/city").text
        assert 'action="/city/sample"' in text
        assert "ecluse city fetch" in text
        answer = browser(empty, first).get(PLACE)
        assert (answer.status_code, "No day has been computed yet" in answer.text) == (404, True)


def test_what_a_day_cannot_be_trusted_in_stands_before_its_figures(reader: Browser) -> None:
    english, french = (reader.get(f"{PLACE}?lang={language}").text for language in ("en", "fr"))
    assert "A source could not be read and was set aside: works." in english
    assert "2,508 of 3,348 arcs lie outside every zone" in english
    assert english.index("2,508 of 3,348") < english.index('id="map"')
    assert "Une source était illisible et a été mise de côté\u00a0: chantiers." in french
    assert "2\u00a0508 des 3\u00a0348 arcs sont hors de toute zone" in french
    assert "ont été vus sans être pris" in french  # stored before the sentence had a form for one


@pytest.mark.parametrize("path", [PLACE, f"{PLACE}/scan", f"/city/arcs/101?date={DAY}"])
def test_states_of_traffic_are_said_in_the_readers_language(reader: Browser, path: str) -> None:
    more = "&" if "?" in path else "?"
    pages = {language: reader.get(f"{path}{more}lang={language}").text for language in ("en", "fr")}
    french = re.compile("Fluide|Pré-saturé|Bloqué|Inconnu|Ouvert|Barré|Invalide")
    english = re.compile(r"Free-flowing|Pre-saturated|Blocked|Unknown|>Open<|Invalid\b")
    assert french.search(pages["fr"])
    assert not french.search(pages["en"])
    assert english.search(pages["en"])
    assert not english.search(pages["fr"])


def test_the_hour_shown_is_the_worst_until_another_is_asked_for(reader: Browser, runtime: Runtime) -> None:
    worst = runtime.documents.get("metrics/traffic", DAY)["worst_hour"]
    assert f'value="{worst}" step="1"' in reader.get(PLACE).text
    assert "Saturated or blocked at 05:00" in reader.get(f"{PLACE}?hour=5").text
    assert f'value="{worst}" step="1"' in reader.get(f"{PLACE}?hour=24").text


def test_what_the_slider_puts_in_place_is_what_the_page_has(reader: Browser) -> None:
    page, part = reader.get(f"{PLACE}?hour=9").text, reader.get(f"{PLACE}/hour?hour=9").text
    for name in ("hour-legend", "hour-now", "hour-kpi"):
        assert f'id="{name}"' in part
    table = part[part.index('id="hour-now"') :].strip()
    assert table in page


def test_the_map_has_a_letter_for_each_arc_and_hour(reader: Browser) -> None:
    body = reader.get(f"{PLACE}/map.json").json()
    assert len(body["arc"]) == len(body["state"]) == 24
    assert {len(states) for states in body["state"]} == {24}
    arcs = json.loads(reader.get("/city/arcs.geojson").text)["features"]
    assert [feature["id"] for feature in arcs] == body["arc"]


@pytest.mark.parametrize("invented", [False, True])
def test_lines_and_outlines_say_whose_they_are(
    runtime: Runtime, invented: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program for maps keeps what each feature says and leaves out what the collection says."""
    monkeypatch.setattr("ecluse.apps.city.pages.view.is_invented_day", lambda documents, mark: invented)
    for result in (
        city.arcs_geojson(runtime.documents, "Paris"),
        city.zones_geojson(runtime.documents, "Paris"),
    ):
        assert result["invented"] is invented
        assert result["city"]
        assert result["features"]
        assert {item["properties"].get("invented") for item in result["features"]} == {
            True if invented else None
        }


@pytest.mark.parametrize("path", ["/city/arcs.geojson", "/city/zones.geojson", f"{PLACE}/map.json"])
def test_what_the_map_reads_is_sent_once_and_then_only_if_it_changed(reader: Browser, path: str) -> None:
    first = reader.get(path)
    assert (first.status_code, first.headers["cache-control"]) == (200, "private, no-cache")
    again = reader.get(path, {"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert reader.get(path, {"if-none-match": '"another"'}).status_code == 200


def test_the_drawing_has_every_arc_and_the_alerts_of_the_hour(reader: Browser, runtime: Runtime) -> None:
    alerts = runtime.documents.get("metrics/alerts", DAY)["alerts"]
    answer = reader.get(f"{PLACE}/map.svg?hour=18")
    assert answer.headers["content-type"].startswith("image/svg+xml")
    drawing = ElementTree.fromstring(answer.text)  # noqa: S314 (our own drawing)
    space = "{http://www.w3.org/2000/svg}"
    numbers = [element.text for element in drawing.iter(f"{space}text")]
    assert numbers == [str(n) for n, alert in enumerate(alerts, 1) if 18 in alert["hours"]]
    lines = [path for path in drawing.iter(f"{space}path") if path.get("stroke-dasharray") != "1.5 5"]
    assert sum(path.attrib["d"].count("M") for path in lines if path.get("fill") == "none") == 24


def test_the_drawing_has_the_colours_of_the_pages() -> None:
    for place, theme in enumerate(THEMES.values()):
        tokens = {name: in_srgb(colour) for name, colour in test_templates.tokens(place).items()}
        names = {
            "f": "t-fluide",
            "p": "t-pre",
            "s": "t-sature",
            "b": "t-bloque",
            "i": "t-inconnu",
            "-": "t-inconnu",
        }
        assert theme.states == {letter: tokens[name] for letter, name in names.items()}
        assert (theme.background, theme.zone, theme.ink) == (tokens["sunk"], tokens["sheet"], tokens["ink"])


def in_srgb(colour: tuple[float, float, float]) -> str:
    parts = []
    for part in colour:
        value = min(1.0, max(0.0, part))
        parts.append(
            round(255 * (12.92 * value if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055))
        )
    return "#" + "".join(f"{part:02x}" for part in parts)


def test_an_unknown_day_offers_the_nearest(reader: Browser) -> None:
    answer = reader.get("/city/2025-11-01")
    assert answer.status_code == 404
    assert f'href="{PLACE}"' in answer.text


def test_an_address_that_is_no_date_says_how_to_write_one(reader: Browser) -> None:
    answer = reader.get("/city/2025-02-30?lang=fr")
    assert answer.status_code == 422
    assert "est pas une date" in answer.text


def test_choosing_a_day_leads_to_it(reader: Browser) -> None:
    answer = reader.get(f"/city/day?date={DAY}")
    assert (answer.status_code, answer.headers["location"]) == (303, PLACE)


def test_a_source_that_delivered_nothing_is_said_where_its_figure_stands(
    runtime: Runtime, reader: Browser
) -> None:
    day = (LAST - timedelta(days=30)).isoformat()
    mark = runtime.documents.get("metrics/day", DAY) | {"date": day}
    runtime.documents.put("metrics/day", day, mark)
    runtime.documents.put(
        "metrics/quality", day, {"date": day, "sources": {"roads": None}, "missing": ["roads"]}
    )
    text = reader.get(f"/city/{day}").text
    assert text.count("the source delivered nothing") == 2
    assert "No map of this day" in text


def test_the_side_bar_knows_that_a_day_is_of_the_city(reader: Browser) -> None:
    assert re.search(r'<a href="/city" aria-current="true">', reader.get(PLACE).text)
    assert re.search(r'<a href="/city" aria-current="page">', reader.get("/city").text)


def test_an_administrator_computes_days_from_the_page(reader: Browser) -> None:
    assert "Compute these days" in reader.get("/city").text
    wrong = reader.post("/city/runs", data={"first": DAY, "last": "2025-10-01"})
    assert wrong.status_code == 422
    assert "Compute these days" in wrong.text
    started = reader.post("/city/runs", data={"first": DAY, "last": DAY})
    assert (started.status_code, started.headers["location"][:6]) == (303, "/jobs/")
    assert reader.get(started.headers["location"]).status_code == 200


def test_an_alert_says_its_rule_what_was_observed_and_the_works_near(
    reader: Browser, runtime: Runtime
) -> None:
    alerts = runtime.documents.get("metrics/alerts", DAY)["alerts"]
    first = reader.get(f"{PLACE}/alerts/{alerts[0]['id']}").text
    assert "Fewer vehicles than the band that holds 99" in first
    assert "Réfection de chaussée" in first
    second = reader.get(f"{PLACE}/alerts/{alerts[1]['id']}").text
    assert "Occupancy was at least 30" in second
    assert "above the band that holds 99" in second
    assert "On average 2.5 times as far from the usual as the band reaches." in second
    assert "On 1 of the 27 days before, these hours lay as far out." in second
    assert "Congested ahead, where the arc leads:" in second
    assert "Rain, 7.5\N{NO-BREAK SPACE}mm." in second
    assert "No cause in the data." in first
    assert reader.get(f"{PLACE}/alerts/none").status_code == 404


def test_every_alert_of_a_day_has_its_page(reader: Browser, runtime: Runtime) -> None:
    alerts = runtime.documents.get("metrics/alerts", DAY)["alerts"]
    listed = re.findall(rf'href="({PLACE}/alerts/[^"]+)"', reader.get(f"{PLACE}/alerts").text)
    assert listed == [f"{PLACE}/alerts/{alert['id']}" for alert in alerts]
    assert {reader.get(path).status_code for path in listed} == {200}


@pytest.mark.parametrize(("judged", "warns"), [(8, False), (1, True), (0, True)])
def test_the_alerts_say_how_many_arcs_have_no_usual(tmp_path: Path, judged: int, warns: bool) -> None:
    with Runtime.open(Settings.from_environment({}, home=tmp_path)) as opened:
        opened.documents.put_many(invented_city(days=1))
        body = opened.documents.get("metrics/alerts", DAY)
        body |= {"arcs_reporting": 9, "arcs_judged": judged, "days_needed": 3}
        opened.documents.put("metrics/alerts", DAY, body)
        reader = browser(opened, opened.accounts.sign_up("ines@example.org", "a long password"))
        answer = reader.get(f"{PLACE}/alerts")
        assert answer.status_code == 200
        arcs = "1 arc of 9" if judged == 8 else f"{9 - judged} arcs of 9"
        assert f"Not enough history to say what is usual for {arcs}." in answer.text
        assert ('class="notice warn"' in answer.text) is warns


def test_modes_of_transit_are_said_in_the_readers_language(tmp_path: Path) -> None:
    with Runtime.open(Settings.from_environment({}, home=tmp_path)) as opened:
        opened.documents.put_many(invented_city(days=1))
        body = opened.documents.get("metrics/disruptions", DAY)
        for part in ("lines", "most_affected", "by_mode"):
            body[part] = [item | {"mode": "RapidTransit"} for item in body[part][:1]]
        body["lines"] += [body["lines"][0] | {"mode": "Metro"}]
        opened.documents.put("metrics/disruptions", DAY, body)
        reader = browser(opened, opened.accounts.sign_up("ines@example.org", "a long password"))
        for path in (PLACE, f"{PLACE}/disruptions"):
            text = reader.get(f"{path}?lang=fr").text
            assert ("RapidTransit" in text, ">RER</" in text) == (False, True), path
        assert ">Métro</" in reader.get(f"{PLACE}/disruptions?lang=fr").text


def test_an_arc_has_its_day_its_past_its_week_and_its_forecast(reader: Browser) -> None:
    text = reader.get("/city/arcs/101").text
    figures = re.findall(r'data-chart="([\w-]+)"', text)
    assert figures == ["chart-flow", "chart-occupancy", "chart-days", "chart-forecast"]
    assert text.count('<a class="nowrap" href="/city/arcs/101?date=') == 10
    assert "Its week" in text


def test_an_arc_without_a_measurement_on_a_day_says_so(reader: Browser, runtime: Runtime) -> None:
    day = (LAST - timedelta(days=3)).isoformat()
    runtime.documents.delete(f"metrics/arcs/{day}", "107")
    text = reader.get(f"/city/arcs/107?date={day}").text
    assert "Nothing was measured here on this day" in text
    assert "Rue 2" in text
    assert reader.get("/city/arcs/9999").status_code == 404


def test_the_scan_has_a_cell_for_each_arc_and_hour(reader: Browser) -> None:
    text = reader.get(f"{PLACE}/scan?street=Av_2").text
    assert "Av 2, hour by hour" in text
    assert text.count('<td class="num') == 4 * 24
    rows = re.findall(r'<a href="/city/arcs/(\d+)\?date', text)
    assert rows == ["116", "117", "118", "119"]


def test_a_comparison_tells_both_periods(reader: Browser) -> None:
    text = reader.get("/city/compare?a=2025-10-05..2025-10-07&b=2025-10-12..2025-10-14").text
    assert "A: from 5 Oct 2025 to 7 Oct 2025. B: from 12 Oct 2025 to 14 Oct 2025." in text
    assert re.search(r"data-l=\"Days of A and B\">3, 3<", text)
    assert "Arcs that lose more time" in text


def test_a_form_of_dates_leads_to_the_address_of_its_comparison(reader: Browser) -> None:
    answer = reader.get("/city/compare?a_from=2025-10-05&a_to=2025-10-07&b_from=2025-10-12&b_to=2025-10-14")
    assert answer.headers["location"] == "/city/compare?a=2025-10-05..2025-10-07&b=2025-10-12..2025-10-14"


@pytest.mark.parametrize("a", ["2025-10-07..2025-10-05", "2025-10-05", "2025-01-01..2025-10-05", "x..y"])
def test_a_period_that_is_none_is_said_on_the_page(reader: Browser, a: str) -> None:
    answer = reader.get(f"/city/compare?a={a}")
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text


def test_the_report_can_be_read_printed_and_kept(reader: Browser) -> None:
    page = reader.get(f"{PLACE}/report").text
    assert "Download the report" in page
    whole = reader.get(f"{PLACE}/report.html")
    assert whole.headers["content-disposition"] == f'attachment; filename="report-{DAY}.html"'
    assert "<svg" in whole.text
    rows = reader.get(f"{PLACE}/report.csv").text.splitlines()
    assert rows[0] == "section,rank,id,name,metric,value,unit"
    assert reader.get("/city/2025-11-20/report.html").status_code == 404


def test_a_day_of_25_hours_shows_each_of_them(runtime: Runtime, reader: Browser) -> None:
    long = date(2025, 10, 26)
    runtime.documents.put_many(day_documents(long, invented_arcs(3, 4)))
    text = reader.get(f"/city/{long}?hour=3").text
    assert 'max="24"' in text
    assert "Saturated or blocked at 02:00\u00a0+01:00" in text
    assert {len(states) for states in reader.get(f"/city/{long}/map.json").json()["state"]} == {25}


def test_arcs_of_one_street_are_told_apart_by_their_ends(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    home = tmp_path_factory.mktemp("home")
    with Runtime.open(Settings.from_environment({}, home=home)) as opened:
        opened.documents.put_many(invented_city(days=1))
        reader = browser(opened, opened.accounts.sign_up("ines@example.org", "a long password"))
        assert "→ Gare" not in reader.get("/city/arcs/101").text
        body = opened.documents.get("reference/arcs", "000")
        for arc in body["arcs"]:
            arc |= {"upstream": f"{arc['label']}-Pont_{arc['arc']}", "downstream": f"Gare_{arc['arc']}"}
        opened.documents.put("reference/arcs", "000", body)
        opened.documents.put("reference", "arcs", {"made_from": "the first", "chunks": 1})
        assert "Pont 101 → Gare 101" in reader.get("/city/arcs/101").text
        worst = opened.documents.get("metrics/ranking", DAY)["by_lost_time"][0]["arc"]
        for page in (PLACE, f"{PLACE}/hour", f"{PLACE}/zones", f"{PLACE}/report"):
            assert f"Pont {worst} → Gare {worst}" in reader.get(page).text, page
        alert = opened.documents.get("metrics/alerts", DAY)["alerts"][0]["arc"]
        assert f"Pont {alert} → Gare {alert}" in reader.get(f"{PLACE}/alerts").text
        body["arcs"][1]["downstream"] = "Port"
        opened.documents.put("reference/arcs", "000", body)
        opened.documents.put("reference", "arcs", {"made_from": "the second", "chunks": 1})
        assert "Pont 101 → Port" in reader.get("/city/arcs/101").text


def test_a_day_that_rests_on_few_arcs_says_so_and_lists_no_silent_ones(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    home = tmp_path_factory.mktemp("home")
    with Runtime.open(Settings.from_environment({}, home=home)) as opened:
        opened.documents.put_many(invented_city(days=1))
        reader = browser(opened, opened.accounts.sign_up("ines@example.org", "a long password"))
        assert "road sensors report." not in reader.get(PLACE).text
        traffic = opened.documents.get("metrics/traffic", DAY) | {"arcs_known": 3348, "arcs_reporting": 2}
        silent = [
            {"sensor": f"arc:{n}", "kind": "arc", "id": n, "label": "Quai_Nord", "zone": 1}
            | {"reason": "silent", "evidence": {"last_seen": None}}
            for n in range(500, 505)
        ]
        counter = silent[0] | {"sensor": "bike:9", "kind": "bike", "id": "9", "label": "Pont Sud"}
        kinds = {"arc": {"known": 3348, "reporting": 2, "availability": 2 / 3348}}
        sensors = opened.documents.get("metrics/sensors", DAY)
        sensors |= {"failing": [*silent, counter], "failing_total": 3347, "by_kind": kinds}
        opened.documents.put("metrics/traffic", DAY, traffic)
        opened.documents.put("metrics/sensors", DAY, sensors)
        for page in (PLACE, f"{PLACE}/report"):
            assert "Only 2 of 3" in reader.get(page).text, page
        text = reader.get(f"{PLACE}/sensors").text
        assert ("346 road sensors are silent." in text, "Quai Nord" in text, "Pont Sud" in text) == (
            True,
            False,
            True,
        )


def test_the_neighbour_of_another_year_has_its_year(tmp_path_factory: pytest.TempPathFactory) -> None:
    home = tmp_path_factory.mktemp("home")
    with Runtime.open(Settings.from_environment({}, home=home)) as opened:
        opened.documents.put_many(invented_city(days=1))
        opened.documents.put_many(invented_city(days=1, last=LAST + timedelta(days=1)))
        opened.documents.put_many(invented_city(days=1, last=date(2022, 3, 27)))
        text = browser(opened, opened.accounts.sign_up("ines@example.org", "a long password")).get(PLACE).text
        assert ("← 27 Mar 2022" in text, "15 Oct →" in text) == (True, True)


def test_a_source_that_delivered_nothing_is_said_to_have_no_news_rather_than_good_ones(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    home = tmp_path_factory.mktemp("home")
    with Runtime.open(Settings.from_environment({}, home=home)) as opened:
        opened.documents.put_many(invented_city(days=1))
        weather = opened.documents.get("metrics/weather", DAY)
        nothing = dict.fromkeys(("temperature", "precipitation", "wind", "score"))
        opened.documents.put("metrics/weather", DAY, weather | nothing | {"categories": []})
        disruptions = opened.documents.get("metrics/disruptions", DAY)
        opened.documents.put("metrics/disruptions", DAY, disruptions | {"active": None, "most_affected": []})
        text = browser(opened, opened.accounts.sign_up("ines@example.org", "a long password")).get(PLACE).text
        assert "Neither rain, wind" not in text
        assert "No line was affected" not in text
        assert text.count("The source delivered nothing.") == 2


def test_the_tiles_of_the_settings_lie_behind_the_map_of_the_day_alone(tmp_path: Path) -> None:
    tiles = "https://tiles.example.org/{z}/{x}/{y}.png"
    named = {"ECLUSE_MAP_TILES_URL": tiles, "ECLUSE_MAP_TILES_CREDIT": "© the surveyors"}
    with Runtime.open(Settings.from_environment(named, home=tmp_path)) as runtime:
        runtime.documents.put_many(invented_city(days=1))
        reading = browser(runtime, runtime.accounts.sign_up("ines@example.org", "a long password", "Inès"))
        day, other = reading.get(PLACE), reading.get("/city")
    assert f'data-tiles="{tiles}"' in day.text
    assert "© the surveyors" in day.text
    policy = day.headers["content-security-policy"]
    assert "connect-src 'self' https://tiles.example.org" in policy
    assert "img-src 'self' https://tiles.example.org data:" in policy
    assert other.headers["content-security-policy"] == CONTENT_POLICY


def test_without_tiles_the_map_asks_no_other_host(reader: Browser) -> None:
    answer = reader.get(PLACE)
    assert "data-tiles" not in answer.text
    assert answer.headers["content-security-policy"] == CONTENT_POLICY


def test_an_alert_of_a_kind_without_words_of_its_own_is_shown_by_its_name_and_unit(tmp_path: Path) -> None:
    with Runtime.open(Settings.from_environment({}, home=tmp_path)) as runtime:
        runtime.documents.put_many(invented_city(days=1))
        body = runtime.documents.get("metrics/alerts", DAY)
        first = body["alerts"][0] | {"kind": "bridge closed"}
        first["why"] = first["why"] | {"unit": "boats"}
        runtime.documents.put("metrics/alerts", DAY, body | {"alerts": [first]})
        reading = browser(runtime, runtime.accounts.sign_up("ines@example.org", "a long password", "Inès"))
        for path in (PLACE, f"{PLACE}/alerts", f"{PLACE}/alerts/{first['id']}"):
            text = reading.get(path + f"?hour={first['hours'][0]}").text
            assert "bridge closed" in text
            assert "unusual flow" not in text
        assert "boats" in text


def test_codes_of_the_sources_are_put_in_words_and_dates_of_works_written_as_elsewhere(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    home = tmp_path_factory.mktemp("home")
    with Runtime.open(Settings.from_environment({}, home=home)) as opened:
        opened.documents.put_many(invented_city(days=1))
        reader = browser(opened, opened.accounts.sign_up("ines@example.org", "a long password"))
        works = opened.documents.get("metrics/works", DAY)
        site = works["items"][0] | {"site": "S-1", "title": "CREATION_RESEAUX"}
        site |= {"begin": "2025-09-13", "end": "2025-11-02"}
        opened.documents.put("metrics/works", DAY, works | {"items": [site]})
        alerts = opened.documents.get("metrics/alerts", DAY)
        alerts["alerts"][0]["works"] = ["S-1"]
        opened.documents.put("metrics/alerts", DAY, alerts)
        alert = reader.get(f"{PLACE}/alerts/{alerts['alerts'][0]['id']}").text
        assert re.search(r"Creation reseaux,\s+13 Sept 2025 to 2 Nov 2025", alert)
        assert "Creation reseaux" in reader.get(f"{PLACE}/works").text
        disruptions = opened.documents.get("metrics/disruptions", DAY)
        disruptions["lines"] = [item | {"network": "network:IDFM:1082"} for item in disruptions["lines"]]
        opened.documents.put("metrics/disruptions", DAY, disruptions)
        assert "IDFM" not in reader.get(f"{PLACE}/disruptions").text


@pytest.mark.parametrize(("highest", "end"), [(0.3, None), (1.0, 1.0)])
def test_an_axis_of_shares_goes_no_further_than_the_whole(highest: float, end: float | None) -> None:
    traffic = {"by_hour": {"saturation_share": [0.1, None, highest]}}
    chart = saturation_by_hour(traffic, ["00:00", "01:00", "02:00"], None, Words("en"))
    assert chart is not None
    assert chart.option["yAxis"].get("max") == end


def test_every_table_of_a_day_is_offered_as_a_file_on_its_pages(reader: Browser) -> None:
    pages = "".join(reader.get(path).text for path in (PLACE, *(f"{PLACE}/{item}" for item in SUBJECTS)))
    offered = set(re.findall(rf"/api/city/export/(\w+)/{DAY}\.csv", pages))
    assert offered == set(TABLES)


def test_invented_days_say_so_on_every_page_and_in_every_file(tmp_path: Path) -> None:
    """Also those of before whose documents say nothing, by the files that they were made of."""
    with Runtime.open(Settings.from_environment({}, home=tmp_path)) as opened:
        opened.documents.put_many(invented_city(days=1))
        reader = browser(opened, opened.accounts.sign_up("ines@example.org", "a long password"))
        pages = [PLACE, "/city", "/city/compare", "/city/arcs/101", *(f"{PLACE}/{item}" for item in SUBJECTS)]
        alert = opened.documents.get("metrics/alerts", DAY)["alerts"][0]["id"]
        pages.append(f"{PLACE}/alerts/{alert}")
        said = "Invented data: there is no such city."
        assert [path for path in pages if said in reader.get(path).text] == []
        quality = opened.documents.get("metrics/quality", DAY)
        for source in filter(None, quality["sources"].values()):
            source["files"] = ["file:///raw/batch/comptages-routiers-permanents-demo.csv"]
        opened.documents.put("metrics/quality", DAY, quality)
        for path in pages:
            text = reader.get(path).text
            assert said in text, path
            assert "Paris" not in text.replace("Europe/Paris", ""), path
        assert "cette ville n’existe pas" in reader.get("/city?lang=fr").text
        assert "Données inventées" in reader.get(f"{PLACE}/map.svg").text
        assert reader.get(f"{PLACE}/map.json").json()["invented"] is True
        assert "cette ville n’existe pas" in reader.get(f"{PLACE}/report.html").text
        assert ",Écluville,data,invented," in reader.get(f"{PLACE}/report.csv").text
        answer = reader.get(f"/api/city/export/alerts/{DAY}.csv")
        assert f'filename="invented-alerts-{DAY}.csv"' in answer.headers["content-disposition"]
        lines = answer.text.splitlines()
        assert lines[0].startswith("date,city,invented,")
        assert all(line.startswith(f"{DAY},Écluville,true,") for line in lines[1:])
        stats = reader.get("/api/city/stats").json()
        assert (stats["city"], stats["invented"]) == ("Écluville", True)


@pytest.mark.parametrize(
    ("judged", "says"), [(0, "No arc could be judged"), (4, "4 arcs of 9 could be judged")]
)
def test_no_alert_is_not_said_where_nothing_could_be_judged(tmp_path: Path, judged: int, says: str) -> None:
    with Runtime.open(Settings.from_environment({}, home=tmp_path)) as opened:
        opened.documents.put_many(invented_city(days=1))
        counts = {"arcs_reporting": 9, "arcs_judged": judged, "days_needed": 3}
        none = {"alerts": [], "alerts_total": 0}
        opened.documents.put(
            "metrics/alerts", DAY, opened.documents.get("metrics/alerts", DAY) | counts | none
        )
        report = opened.documents.get("reports", DAY) | none | {"alerts_judged": counts}
        opened.documents.put("reports", DAY, report)
        reader = browser(opened, opened.accounts.sign_up("ines@example.org", "a long password"))
        for path in (PLACE, f"{PLACE}/report"):
            assert says in " ".join(reader.get(path).text.split()), path
        if not judged:
            assert "No alert at this hour." not in reader.get(PLACE).text
            assert says in reader.get(f"{PLACE}/report.html").text


def test_zones_have_their_names_in_every_table(runtime: Runtime, reader: Browser) -> None:
    names = {d.body["zone"]: d.body["name"] for d in runtime.documents.all("reference/zones")}
    for path in (PLACE, f"{PLACE}/sensors", f"{PLACE}/alerts"):
        text = reader.get(path).text
        assert any(name in text for name in names.values()), path
        assert not re.search(r'data-l="Zone">\s*\d+\s*<', text), path


def test_saturated_alone_is_the_state_and_not_what_is_blocked_too(reader: Browser) -> None:
    text = reader.get(f"{PLACE}?hour=8").text
    assert "Saturated or blocked at 08:00" in text
    assert "Saturated at" not in text
