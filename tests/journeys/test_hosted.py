"""Applications in one file in a real browser: the form is filled in, the answer read, every page seen by everyone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests import application
from tests.application import Application
from tests.apps.hosted.test_examples import EXAMPLES, archive_of_leaves, png
from tests.journeys.browser import DESKTOP, PHONE, Journey, executable, new_page, picture

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.timeout(300),
    pytest.mark.skipif(executable() is None, reason="no Chromium here"),
]
OWNER = "owner@example.org"
JOB_MS = 120_000
FLATS = "size,district,rent\n" + "".join(
    f"{20 + n % 90},{'ns'[n % 2]},{15 * (20 + n % 90)}\n" for n in range(100)
)
DEMAND = "day,value\n" + "".join(f"2025-01-{day:02},{100 + 10 * (day % 7)}\n" for day in range(1, 29))


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    listed = ":".join(str(file) for file in sorted(EXAMPLES.glob("*.py")))
    with application.running(tmp_path_factory.mktemp("hosted") / "home", {"ECLUSE_APPS": listed}) as started:
        yield started


def made(app: Application, client: httpx.Client, address: str, **body: object) -> dict[str, object]:
    job = client.post(address, json=body).raise_for_status().json()["job"]
    ended = app.wait_for_job(client, job)
    assert ended["status"] == "done", ended
    return ended


def sent(client: httpx.Client, app: str, name: str, data: bytes) -> str:
    return str(client.post(f"/api/{app}/files", files={"file": (name, data)}).raise_for_status().json()["id"])


@pytest.fixture(scope="module")
def journey(app: Application, browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Journey:
    """From the first look at an application, over a training and an answer, to a page and a report."""
    context = browser.new_context(viewport=DESKTOP, locale="en-GB", timezone_id="Europe/Paris")
    done = Journey(context)
    home = app.address.rstrip("/")
    with app.client(OWNER) as client:
        page = new_page(context, done.complaints)
        page.goto(f"{home}/sign-in")
        page.get_by_label("Email").fill(OWNER)
        page.get_by_label("Password").fill("a long password")
        page.get_by_role("button", name="Sign in").click()
        done.addresses |= {"empty": f"{home}/demand", "leaves": f"{home}/leaves"}
        page.goto(done.addresses["empty"])
        picture(page, "hosted-empty")
        name_a_leaf(page, done, tmp_path_factory.mktemp("leaves"))
        trained = made(
            app, client, "/api/flats/train", table=sent(client, "flats", "flats.csv", FLATS.encode())
        )
        version = trained["result"]["version"]  # type: ignore[index]
        run = trained["result"]["run"]  # type: ignore[index]
        made(app, client, "/api/demand/train", table=sent(client, "demand", "days.csv", DEMAND.encode()))
        images = sent(client, "alike", "leaves.zip", archive_of_leaves())
        made(app, client, "/api/alike/train", images=images)
        files = made(app, client, "/api/digest/weekly", region="north")["result"]["files"]  # type: ignore[index]
    report = next(file["id"] for file in files if file["purpose"] == "report")
    done.addresses |= {
        "flats": f"{home}/flats",
        "version": f"{home}/models/flats/{version}",
        "use": f"{home}/models/flats/{version}/use",
        "run": f"{home}/runs/{run}",
        "alike": f"{home}/alike",
        "page": f"{home}/demand/weeks?count=2&-=1",
        "look": f"{home}/leaves/look",
        "report": f"{home}/digest/reports/{report}",
    }
    forecast(page, home)
    page.close()
    return done


def name_a_leaf(page: Page, done: Journey, folder: Path) -> None:
    """Train on an archive of images by the form, and let one be named: the answer stands above the form."""
    (folder / "leaves.zip").write_bytes(archive_of_leaves())
    (folder / "leaf.png").write_bytes(png(210))
    page.goto(done.addresses["leaves"])
    page.get_by_label("Images").set_input_files(folder / "leaves.zip")
    page.get_by_role("button", name="Train").click()
    page.wait_for_url("**/jobs/**")
    done.addresses["job"] = page.url
    expect(page.get_by_role("button", name="Open the model").first).to_be_visible(timeout=JOB_MS)
    page.locator("summary", has_text="Log").click()
    expect(page.get_by_role("listitem").filter(has_text="It is done.")).to_be_visible(timeout=JOB_MS)
    page.goto(done.addresses["leaves"])
    page.get_by_label("Image", exact=True).or_(
        page.get_by_label("Or a file of this computer")
    ).last.set_input_files(folder / "leaf.png")
    page.get_by_role("button", name="Predict").click()
    expect(page.get_by_text("healthy", exact=True)).to_be_visible(timeout=JOB_MS)
    picture(page, "hosted-answered")


def forecast(page: Page, home: str) -> None:
    """A list of rows that is answered is a table; what was typed stays."""
    page.goto(f"{home}/demand")
    page.get_by_role("spinbutton", name="Days").fill("3")
    page.get_by_role("button", name="Predict").click()
    expect(page.get_by_role("cell", name="2025-01-31")).to_be_visible(timeout=JOB_MS)
    expect(page.get_by_role("spinbutton", name="Days")).to_have_value("3")
    picture(page, "hosted-forecast")


def test_an_application_is_trained_and_asked_by_its_forms(journey: Journey) -> None:
    assert journey.complaints == []


@pytest.mark.nightly("dark-phone")
@pytest.mark.parametrize(("theme", "width"), [("light", "desktop"), ("dark", "phone")])
def test_pages_of_applications_have_no_barriers_and_fit(
    journey: Journey, browser: Browser, theme: str, width: str
) -> None:
    assert journey.barriers(browser, theme, width, "hosted") == {}  # type: ignore[arg-type]


def test_the_bar_of_a_phone_stays_one_row_with_many_applications(journey: Journey, browser: Browser) -> None:
    """Three stand in it, the one that is open among them; the others are under More."""
    context = browser.new_context(viewport=PHONE, storage_state=journey.context.storage_state())
    page = new_page(context, [])
    page.goto(journey.addresses["leaves"])
    bar = page.locator("nav.tabbar > ul")
    box = bar.bounding_box()
    assert box is not None
    assert box["height"] < 80
    assert bar.locator("> li > a").count() == 4
    expect(bar.locator("> li > a[aria-current]")).to_have_text("Leaves")
    bar.locator("summary").click()
    expect(bar.get_by_role("link", name="Rents")).to_be_visible()
    picture(page, "hosted-more")
    context.close()
