"""A person's whole way through the pages, in a real browser, against a real server in its own process."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, expect

from tests import application
from tests.application import Application
from tests.journeys.browser import (
    DESKTOP,
    PHONE,
    SMALL,
    barriers,
    executable,
    new_page,
    overflow,
    picture,
)
from tests.journeys.browser import Journey as Way

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(executable() is None, reason="no Chromium here"),
]
JOB_MS = 240_000


@dataclass
class Journey(Way):
    """Keeps also what was downloaded or read."""

    download: Path | None = None


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    with application.running(tmp_path_factory.mktemp("journey") / "home") as started:
        yield started


@pytest.fixture(scope="module")
def journey(app: Application, browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Journey:
    """From the link in the terminal to the downloaded scores."""
    context = browser.new_context(viewport=DESKTOP, locale="en-GB", timezone_id="Europe/Paris")
    done = Journey(context)
    page = new_page(context, done.complaints)
    sign_in_by_link(page, app)
    try_the_sample(page, done)
    train(page, done)
    score(page, done)
    done.download = download(page, tmp_path_factory.mktemp("download"))
    done.addresses |= {name: f"{app.address.rstrip('/')}{path}" for name, path in LISTS.items()}
    return done


LISTS = {
    "home": "/",
    "fraud": "/fraud",
    "scored": "/fraud/p",
    "models": "/models",
    "versions": "/models/transactions",
    "jobs": "/jobs",
    "storage": "/storage",
    "storage of all": "/storage?all=1",
    "account": "/account",
}


def sign_in_by_link(page: Page, app: Application) -> None:
    page.goto(app.link)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Welcome")
    picture(page, "01-home-empty")


def try_the_sample(page: Page, done: Journey) -> None:
    page.get_by_role("button", name="Try it with the sample").click()
    expect(page.get_by_role("heading", name="transactions.csv", exact=True)).to_be_visible()
    picture(page, "02-reading")
    expect(page.get_by_role("heading", name="Train a model")).to_be_visible(timeout=JOB_MS)
    expect(page.get_by_label("Label column")).to_have_value("is_fraud")
    expect(page.get_by_label("Hold out for testing")).to_have_value("timestamp")
    done.addresses["table"] = page.url
    picture(page, "03-table")


def train(page: Page, done: Journey) -> None:
    page.get_by_label("Time to search").select_option("10")
    page.get_by_role("button", name="Train the model").click()
    expect(page.get_by_role("progressbar")).to_be_visible()
    done.addresses["job"] = page.url
    picture(page, "04-training")
    ended = page.locator(".job .badge:is([data-state=done], [data-state=failed])")
    expect(ended).to_be_visible(timeout=JOB_MS)
    expect(ended).to_have_text("Done")
    page.get_by_role("button", name="Open the model").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("transactions")
    expect(page.locator("[data-chart][data-drawn]")).to_have_count(page.locator("[data-chart]").count())
    done.addresses["model"] = page.url
    picture(page, "05-model")


def score(page: Page, done: Journey) -> None:
    expect(page.get_by_label("Table", exact=True)).to_contain_text("to_score.csv")
    page.get_by_role("button", name="Score the table").click()
    expect(page.get_by_role("heading", name="Scores of to_score.csv")).to_be_visible()
    expect(page.get_by_role("heading", name="Alert budget")).to_be_visible(timeout=JOB_MS)
    expect(page.locator("ul.reasons").first).to_be_visible()
    done.addresses["scores"] = page.url
    picture(page, "06-scores")


def download(page: Page, folder: Path) -> Path:
    with page.expect_download() as started:
        page.get_by_role("button", name=re.compile("5\\s000 rows, CSV")).click()
    path = folder / started.value.suggested_filename
    started.value.save_as(path)
    return path


def test_the_main_job_ends_with_every_row_scored_and_explained(journey: Journey) -> None:
    assert journey.download is not None
    assert journey.download.name == "to_score_scored.csv"
    with journey.download.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5000
    assert {"transaction_id", "fraud_probability", "risk_level", "is_fraud", "reason_1"} <= rows[0].keys()
    assert all(0 <= float(row["fraud_probability"]) <= 1 for row in rows)
    assert {row["is_fraud"] for row in rows} == {"0", "1"}


def test_no_page_made_the_browser_complain(journey: Journey) -> None:
    assert journey.complaints == []


@pytest.mark.nightly
@pytest.mark.parametrize(("theme", "width"), [("light", "desktop"), ("dark", "phone")])
def test_no_page_has_a_barrier(
    journey: Journey, browser: Browser, theme: Literal["light", "dark"], width: str
) -> None:
    assert journey.barriers(browser, theme, width, "main-job") == {}


@pytest.mark.parametrize("path", ["/sign-in", "/sign-up", "/nowhere"])
def test_a_visitor_meets_no_barrier(app: Application, browser: Browser, path: str) -> None:
    page = browser.new_page()
    page.goto(app.address.rstrip("/") + path)
    assert barriers(page) == []
    page.close()


def test_pages_speak_french_when_asked_and_stay_french(journey: Journey) -> None:
    page = journey.context.new_page()
    page.goto(journey.addresses["model"])
    page.get_by_role("link", name="Français").first.click()
    expect(page.locator("html")).to_have_attribute("lang", "fr")
    expect(page.get_by_text("Précision moyenne").first).to_be_visible()
    picture(page, "fr-model")
    page.goto(journey.addresses["scores"])
    expect(page.get_by_role("heading", name="Budget d’alertes")).to_be_visible()
    picture(page, "fr-scores")
    page.goto(journey.addresses["table"])
    picture(page, "fr-table")
    page.get_by_role("link", name="English").first.click()
    expect(page.locator("html")).to_have_attribute("lang", "en")
    page.close()


def test_the_theme_changes_at_once_and_is_remembered(journey: Journey) -> None:
    page = journey.context.new_page()
    page.goto(journey.addresses["model"])
    before = page.evaluate("getComputedStyle(document.body).color")
    page.get_by_role("link", name="Dark").first.click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert page.evaluate("getComputedStyle(document.body).color") != before
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.get_by_role("link", name="System").first.click()
    page.close()


def test_the_alert_budget_applies_itself_and_has_an_address(journey: Journey) -> None:
    page = journey.context.new_page()
    page.goto(journey.addresses["scores"])
    page.get_by_label("Rows you can review", exact=True).fill("5")
    page.keyboard.press("Tab")
    page.wait_for_url("**?budget=5")
    expect(page.locator("ul.reasons:visible")).to_have_count(5)
    page.reload()
    expect(page.locator("ul.reasons:visible")).to_have_count(5)
    page.close()


@pytest.mark.parametrize("language", ["en", "fr"])
def test_the_reasons_are_read_without_scrolling_sideways(
    journey: Journey, browser: Browser, language: str
) -> None:
    for size in (DESKTOP, SMALL, PHONE):
        context = browser.new_context(viewport=size, storage_state=journey.context.storage_state())
        page = context.new_page()
        page.goto(f"{journey.addresses['scores']}?lang={language}")
        hidden = page.locator(".table:has(.reasons)").evaluate(
            "table => table.scrollWidth - table.clientWidth"
        )
        assert (hidden, overflow(page)) == (0, 0), size
        context.close()


def test_every_step_works_from_the_keyboard(journey: Journey) -> None:
    page = journey.context.new_page()
    page.goto(journey.addresses["home"])
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.goto(journey.addresses["table"])
    page.get_by_role("button", name="Remove", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    expect(page.get_by_role("button", name="Keep it")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.close()


def test_an_upload_shows_its_progress_and_a_broken_table_names_its_line(
    journey: Journey, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.csv"
    broken.write_text("a,b\n" + "1,2\n" * 40 + "1,2,3\n")
    page = journey.context.new_page()
    page.goto(journey.addresses["fraud"])
    page.get_by_label("Choose a table").set_input_files(broken)
    page.wait_for_url("**/fraud/d/**")
    expect(page.get_by_text("Line 42 has 3 values; the header has 2.").first).to_be_visible(timeout=JOB_MS)
    picture(page, "07-broken")
    page.close()


def test_a_refused_file_is_not_offered_again_and_hides_no_table(journey: Journey, browser: Browser) -> None:
    for size in (DESKTOP, PHONE):
        context = browser.new_context(viewport=size, storage_state=journey.context.storage_state())
        page = context.new_page()
        page.goto(journey.addresses["fraud"])
        page.get_by_label("Choose a table").set_input_files(
            {"name": "nothing.csv", "mimeType": "text/csv", "buffer": b""}
        )
        expect(page.get_by_text("The file is empty.")).to_be_visible()
        expect(page.get_by_role("button", name="Send it again")).to_be_hidden()
        zone, tables = (
            page.locator(".drop").bounding_box(),
            page.locator("main").get_by_text("Tables", exact=True),
        )
        below = tables.first.bounding_box()
        assert zone
        assert below
        assert zone["y"] + zone["height"] <= below["y"]
        picture(page, f"09-refused-{size['width']}")
        context.close()


def test_the_value_of_a_goal_shows_only_for_the_goals_that_need_one(journey: Journey) -> None:
    page = journey.context.new_page()
    page.goto(journey.addresses["table"])
    page.get_by_text("More choices").click()
    value = page.get_by_label("Value of the threshold's goal")
    expect(value).to_be_hidden()
    page.get_by_label("Threshold that gives").select_option("recall")
    expect(value).to_be_visible()
    alarm = page.get_by_label("Cost of a false alarm")
    expect(alarm).to_be_hidden()
    page.get_by_label("Threshold that gives").select_option("cost")
    expect(alarm).to_be_visible()
    page.get_by_label("Threshold that gives").select_option("recall")
    value.fill("400")
    page.get_by_role("button", name="Train the model").click()
    expect(page.get_by_role("alert")).to_contain_text("at most 100 %; it was 400.")
    expect(value).to_have_value("400")
    picture(page, "10-wrong-goal")
    page.close()


def test_the_themes_of_the_phones_menu_stand_apart(journey: Journey, browser: Browser) -> None:
    context = browser.new_context(viewport=PHONE, storage_state=journey.context.storage_state())
    page = context.new_page()
    page.goto(journey.addresses["model"])
    page.locator(".tabbar summary").click()
    boxes = [link.bounding_box() for link in page.locator(".tabbar .switches a").all()]
    ends = [(box["x"], box["x"] + box["width"]) for box in boxes if box]
    assert len(ends) == 3
    assert all(after[0] - before[1] >= 6 for before, after in pairwise(ends))
    picture(page, "11-phone-menu")
    context.close()


def test_a_lost_connection_is_said_and_forgiven_and_a_job_can_be_stopped(journey: Journey) -> None:
    page = journey.context.new_page()
    page.goto(journey.addresses["table"])
    page.get_by_label("Time to search").select_option("300")
    page.get_by_role("button", name="Train the model").click()
    expect(page.get_by_role("progressbar")).to_be_visible()
    lost = page.get_by_text("The server did not answer.")
    page.route("**/progress*", lambda route: route.abort())
    expect(lost).to_be_visible(timeout=10_000)
    page.unroute("**/progress*")
    expect(lost).to_be_hidden(timeout=10_000)
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.locator(".job .badge")).to_have_text("Cancelled", timeout=10_000)
    expect(page.get_by_text("Nothing was kept.")).to_be_visible()
    page.close()


def test_pages_work_without_scripts(journey: Journey, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False, storage_state=journey.context.storage_state())
    page = context.new_page()
    page.goto(journey.addresses["model"])
    expect(page.get_by_role("table", name="Precision and recall").first).to_be_visible()
    page.goto(journey.addresses["fraud"])
    page.get_by_label("Choose a table").set_input_files(
        {"name": "plain.csv", "mimeType": "text/csv", "buffer": b"a,b\n1,2\n3,4\n"}
    )
    page.get_by_role("button", name="Upload the table").click()
    expect(page.get_by_role("heading", name="plain.csv", exact=True)).to_be_visible()
    context.close()


def test_a_second_person_sees_nothing_of_the_first(
    journey: Journey, app: Application, browser: Browser
) -> None:
    context = browser.new_context(viewport=DESKTOP, locale="en-GB")
    page = context.new_page()
    page.goto(f"{app.address.rstrip('/')}/sign-up")
    page.get_by_label("Email").fill("second@example.org")
    page.get_by_label("Password").fill("a long password")
    page.get_by_role("button", name="Make the account").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Welcome")
    for name in ("table", "model", "scores", "job"):
        answer = page.goto(journey.addresses[name])
        assert answer is not None
        assert answer.status == 404, name
    picture(page, "08-second-person")
    for name in ("fraud", "models", "jobs"):
        page.goto(journey.addresses[name])
        assert "transactions.csv" not in page.content()
    context.close()


def test_signing_out_ends_the_session(app: Application, browser: Browser) -> None:
    context = browser.new_context(viewport=DESKTOP, locale="en-GB")
    page = context.new_page()
    page.goto(f"{app.address.rstrip('/')}/sign-up")
    page.get_by_label("Email").fill("leaver@example.org")
    page.get_by_label("Password").fill("a long password")
    page.get_by_role("button", name="Make the account").click()
    page.get_by_role("button", name="Sign out").first.click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.goto(f"{app.address.rstrip('/')}/account")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    context.close()
