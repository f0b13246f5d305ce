"""A city's days in a real browser: the map and its hours, an arc, two periods; and a browser without WebGL."""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, expect

from ecluse.runtime import Runtime
from ecluse.settings import Settings
from tests import application
from tests.application import Application
from tests.apps.city.invented_documents import LAST, invented_city
from tests.journeys.browser import (
    DESKTOP,
    PHONE,
    barriers,
    executable,
    new_page,
    opened,
    overflow,
    picture,
)

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.timeout(300),
    pytest.mark.skipif(executable() is None, reason="no Chromium here"),
]
OWNER, PASSWORD = "owner@example.org", "a long password"
PLACE = f"/city/{LAST}"
#: One grey pixel.
TILE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
)
SUBJECTS = ("alerts", "zones", "scan", "bikes", "disruptions", "works", "sensors", "report")


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    home = tmp_path_factory.mktemp("city") / "home"
    with Runtime.open(Settings.from_environment({}, home=home)) as runtime:
        runtime.accounts.sign_up(OWNER, PASSWORD, "Inès")
        runtime.documents.put_many(invented_city(days=16, streets=6, blocks=8))
    with application.running(home) as started:
        yield started


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with opened(webgl=True) as started:
        yield started


@pytest.fixture
def complaints() -> list[str]:
    return []


@pytest.fixture
def page(app: Application, browser: Browser, complaints: list[str]) -> Iterator[Page]:
    context = browser.new_context(viewport=DESKTOP, locale="en-GB", timezone_id="Europe/Paris")
    yield signed_in(context, app, complaints)
    context.close()


def signed_in(context: BrowserContext, app: Application, complaints: list[str]) -> Page:
    page = new_page(context, complaints)
    page.goto(address(app, "/sign-in"))
    page.locator("input[name=email]").fill(OWNER)
    page.locator("input[name=password]").fill(PASSWORD)
    page.locator("main form button").first.click()
    expect(page.locator("nav.side, nav.tabbar").first).to_be_attached()
    return page


def address(app: Application, path: str) -> str:
    return f"{app.address.rstrip('/')}{path}"


def test_the_hour_moves_the_map_the_tables_and_the_address(
    app: Application, page: Page, complaints: list[str]
) -> None:
    page.goto(address(app, "/city"))
    page.get_by_role("button", name="Open the latest day").click()
    expect(page.locator("[data-map][data-drawn=map]")).to_be_visible(timeout=30_000)
    picture(page, "city-day")
    slider = page.get_by_label("Hour of the day")
    slider.focus()
    slider.press("Home")
    expect(page.locator("#hour-label")).to_have_text("00:00")
    expect(page.get_by_role("heading", name="Alerts at 00:00")).to_be_visible()
    expect(page.locator("#hour-kpi")).to_contain_text("Saturated or blocked at 00:00")
    assert page.url.endswith("?hour=0")
    slider.press("PageUp")
    slider.press("ArrowRight")
    expect(page.get_by_role("heading", name="Alerts at 04:00")).to_be_visible()
    number = page.get_by_label("Hours since midnight")
    expect(number).to_have_value("4")
    number.fill("17")
    number.press("Enter")
    expect(page.get_by_role("heading", name="Alerts at 17:00")).to_be_visible()
    assert slider.input_value() == "17"
    page.reload()
    expect(page.locator("#hour-label")).to_have_text("17:00")
    assert complaints == []


def test_playing_goes_through_the_hours_until_it_is_paused(
    app: Application, page: Page, complaints: list[str]
) -> None:
    page.goto(address(app, f"{PLACE}?hour=22"))
    expect(page.locator("[data-map][data-drawn]")).to_be_visible(timeout=30_000)
    page.get_by_role("button", name="Play").click()
    expect(page.locator("#hour-label")).to_have_text("23:00")
    expect(page.locator("#hour-label")).to_have_text("01:00", timeout=10_000)
    page.get_by_role("button", name="Pause").click()
    stood = page.locator("#hour-label").inner_text()
    page.wait_for_timeout(1500)
    expect(page.locator("#hour-label")).to_have_text(stood)
    assert complaints == []


def test_an_arc_opens_from_the_worst_of_an_hour_and_from_the_map(
    app: Application, page: Page, complaints: list[str]
) -> None:
    page.goto(address(app, f"{PLACE}?hour=18"))
    worst = page.locator("#hour-now table a").first
    name = worst.inner_text()
    worst.click()
    expect(page.get_by_role("heading", level=1)).to_have_text(name)
    expect(page.locator("[data-chart][data-drawn]")).to_have_count(page.locator("[data-chart]").count())
    picture(page, "city-arc")
    page.go_back()
    expect(page.locator("[data-map][data-drawn=map]")).to_be_visible(timeout=30_000)
    # The street in the middle of the map: one arc leads through its centre.
    page.locator("[data-canvas]").scroll_into_view_if_needed()
    box = page.locator("[data-canvas]").bounding_box()
    assert box is not None
    picture(page, "city-map")
    for step in range(0, 60, 4):
        page.mouse.move(box["x"] + box["width"] / 2 + 7, box["y"] + box["height"] / 2 + step)
        if "·" in page.locator("[data-over]").inner_text():
            page.mouse.down()
            page.mouse.up()
            break
    page.wait_for_url(re.compile(r"/city/arcs/\d+\?date="))
    assert complaints == []


def test_two_periods_are_compared_from_the_form(app: Application, page: Page, complaints: list[str]) -> None:
    page.goto(address(app, "/city/compare"))
    page.locator("#a_from").fill("2025-10-01")
    page.locator("#a_to").fill("2025-10-03")
    page.get_by_role("button", name="Compare the periods").click()
    expect(page.get_by_text("A: from 1 Oct 2025 to 3 Oct 2025.")).to_be_visible()
    assert "a=2025-10-01..2025-10-03" in page.url
    picture(page, "city-compare")
    assert complaints == []


def test_without_webgl_a_drawing_of_the_hour_stands_in_the_map(app: Application, browser: Browser) -> None:
    context = browser.new_context(viewport=DESKTOP, locale="en-GB")
    context.add_init_script(
        "const known = HTMLCanvasElement.prototype.getContext;"
        "HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {"
        "  return kind.startsWith('webgl') ? null : known.call(this, kind, ...rest);"
        "};"
    )
    page = signed_in(context, app, [])
    page.goto(address(app, f"{PLACE}?hour=18"))
    drawing = page.locator("[data-map][data-drawn=drawing] img.drawing")
    expect(drawing).to_be_visible(timeout=30_000)
    expect(page.get_by_text("WebGL is missing")).to_be_visible()
    page.get_by_label("Hour of the day").press("ArrowRight")
    expect(drawing).to_have_attribute("src", f"{PLACE}/map.svg?hour=19")
    assert drawing.evaluate("image => image.decode().then(() => image.naturalWidth)") == 960
    context.close()


def test_without_scripts_the_hour_has_a_button_and_the_map_is_a_drawing(
    app: Application, browser: Browser
) -> None:
    context = browser.new_context(viewport=DESKTOP, locale="en-GB", java_script_enabled=False)
    page = signed_in(context, app, [])
    page.goto(address(app, f"{PLACE}?hour=18"))
    expect(page.locator("img.drawing")).to_be_visible()
    page.get_by_role("button", name="Show this hour").click()
    expect(page.get_by_role("heading", name="Alerts at 18:00")).to_be_visible()
    context.close()


@pytest.mark.nightly
def test_tiles_of_the_settings_come_from_their_host_and_lie_behind_the_streets(
    tmp_path: Path, browser: Browser, complaints: list[str]
) -> None:
    asked: list[str] = []

    class Tiles(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("content-type", "image/png")
            self.send_header("access-control-allow-origin", "*")
            self.end_headers()
            self.wfile.write(TILE)

        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing: the test says what was asked."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Tiles) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        named = {
            "ECLUSE_MAP_TILES_URL": f"http://127.0.0.1:{server.server_port}/{{z}}/{{x}}/{{y}}.png",
            "ECLUSE_MAP_TILES_CREDIT": "© the surveyors",
        }
        home = tmp_path / "home"
        with Runtime.open(Settings.from_environment({}, home=home)) as runtime:
            runtime.accounts.sign_up(OWNER, PASSWORD, "Inès")
            runtime.documents.put_many(invented_city(days=1, streets=6, blocks=8))
        with application.running(home, named) as started:
            context = browser.new_context(viewport=DESKTOP, locale="en-GB")
            page = signed_in(context, started, complaints)
            page.goto(address(started, PLACE))
            expect(page.locator("[data-map][data-drawn=map]")).to_be_visible(timeout=30_000)
            expect(page.get_by_text("© the surveyors")).to_be_visible()
            context.close()
        server.shutdown()
    assert asked
    assert all(re.fullmatch(r"/\d+/\d+/\d+\.png", path) for path in asked)
    assert complaints == []


PAGES = ["/city", PLACE, *(f"{PLACE}/{subject}" for subject in SUBJECTS), "/city/arcs/101", "/city/compare"]


#: Pairs of cells of a row that lie on one another, and the table itself where a part of it is cut off.
CUT_OR_COVERED = """
    table => {
        const found = table.scrollWidth > table.clientWidth + 1 ? ["cut off"] : [];
        for (const row of table.querySelectorAll("tbody tr")) {
            const boxes = [...row.cells].map(cell => {
                const range = document.createRange();
                range.selectNodeContents(cell);
                return range.getBoundingClientRect();
            });
            boxes.forEach((a, i) => boxes.slice(i + 1).forEach(b => {
                if (a.right > b.left && b.right > a.left && a.bottom > b.top + 1 && b.bottom > a.top + 1)
                    found.push(row.innerText);
            }));
        }
        return found;
    }
"""


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE])
def test_the_latest_days_are_whole_and_cover_nothing(
    app: Application, browser: Browser, viewport: ViewportSize
) -> None:
    context = browser.new_context(viewport=viewport, locale="fr-FR", timezone_id="Europe/Paris")
    page = signed_in(context, app, [])
    page.goto(address(app, "/city?lang=fr"))
    assert page.locator('.table[aria-label="Derniers jours"]').evaluate(CUT_OR_COVERED) == []
    context.close()


#: Pages of the core, in a home with an account and a city.
CORE = (
    "/",
    "/models",
    "/runs",
    "/jobs",
    "/storage",
    "/storage/users",
    "/migrations/new",
    "/users",
    "/account",
)
#: What is wider than its place: the page, or a table of it. A heat map of all hours may scroll, that of weeks may not.
TOO_WIDE = """
    () => [document.documentElement, ...document.querySelectorAll("main .table:not(.heat), main .strip")]
        .filter(part => part.checkVisibility())
        .map(part => [part.getAttribute("aria-label") || part.tagName, part.scrollWidth - part.clientWidth])
        .filter(([, pixels]) => pixels > 1)
"""


def test_no_page_and_no_table_is_wider_than_its_place(app: Application, browser: Browser) -> None:
    context = browser.new_context(viewport=DESKTOP, locale="fr-FR", timezone_id="Europe/Paris")
    page = signed_in(context, app, [])
    too_wide: dict[tuple[str, int], object] = {}
    for size in (DESKTOP, PHONE):
        page.set_viewport_size(size)
        for path in (*PAGES, *CORE):
            page.goto(address(app, path))
            if parts := page.evaluate(TOO_WIDE):
                too_wide[path, size["width"]] = parts
    context.close()
    assert not too_wide, "\n".join(f"{place}: {parts}" for place, parts in too_wide.items())


@pytest.mark.nightly("dark-viewport1")
@pytest.mark.parametrize(("scheme", "viewport"), [("light", DESKTOP), ("dark", PHONE)])
def test_no_page_keeps_someone_out(
    app: Application, browser: Browser, scheme: Literal["light", "dark"], viewport: object
) -> None:
    context = browser.new_context(viewport=viewport, color_scheme=scheme, locale="fr-FR")  # type: ignore[arg-type]
    complaints: list[str] = []
    page = signed_in(context, app, complaints)
    result: dict[str, object] = {}
    for path in PAGES:
        page.goto(address(app, path))
        if page.locator("[data-map]").count():
            expect(page.locator("[data-map][data-drawn]")).to_be_visible(timeout=30_000)
        picture(page, f"city{re.sub('[^a-z]+', '-', path)}-{scheme}")
        facts = (overflow(page) > 0, list(complaints), barriers(page))
        complaints.clear()  # what looks for barriers writes styles, of which the browser complains
        if any(facts):
            result[path] = facts
    assert result == {}
    context.close()
