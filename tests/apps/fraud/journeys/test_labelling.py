"""From a quick model to an alert budget and a labelled table, in a real browser, mostly by keyboard."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, expect

from ecluse.runtime import Runtime
from ecluse.settings import Settings
from tests import application
from tests.application import Application
from tests.journeys.browser import DESKTOP, executable, new_page, picture
from tests.journeys.browser import Journey as Way

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.timeout(600),
    pytest.mark.skipif(executable() is None, reason="no Chromium here"),
]
JOB_MS = 240_000


@dataclass
class Journey(Way):
    """Keeps also what was downloaded or read."""

    riskiest: list[dict[str, str]] = field(default_factory=list)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    with application.running(tmp_path_factory.mktemp("labelling") / "home") as started:
        yield started


@pytest.fixture(scope="module")
def journey(app: Application, browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Journey:
    """A model of the sample, its scores, a budget, twelve answers, and what was learned from them."""
    context = browser.new_context(viewport=DESKTOP, locale="en-GB", timezone_id="Europe/Paris")
    done = Journey(context)
    page = new_page(context, done.complaints)
    page.goto(app.link)
    page.get_by_role("button", name="Sign in").click()
    score_the_sample(page, app)
    done.addresses["scores"] = page.url
    choose_a_budget(page)
    done.riskiest = download(page, tmp_path_factory.mktemp("download"))
    choose_rows(page)
    answer_by_keyboard(page)
    done.addresses["labels"] = page.url
    learn(page)
    return done


def score_the_sample(page: Page, app: Application) -> None:
    """Train in the least time, as no page offers it, and score by the page."""
    page.get_by_role("button", name="Try it with the sample").click()
    expect(page.get_by_role("heading", name="Train a model")).to_be_visible(timeout=JOB_MS)
    with Runtime.open(Settings.from_environment(app.environ, home=app.home)) as runtime:
        (person,) = runtime.accounts.everyone()
    body = {"dataset": page.url.rpartition("/")[2], "model_name": "transactions", "target_column": "is_fraud"}
    with app.client(person.email) as client:
        asked = client.post("/api/train", json=body | {"time_column": "timestamp", "budget_s": 2})
        ended = app.wait_for_job(client, asked.raise_for_status().json()["job"])
    assert ended["status"] == "done", ended
    page.goto(f"{app.address.rstrip('/')}/models/transactions/{ended['result']['version']}")  # type: ignore[index]
    page.get_by_role("button", name="Score the table").click()
    expect(page.get_by_role("heading", name="Alert budget")).to_be_visible(timeout=JOB_MS)


def choose_a_budget(page: Page) -> None:
    slider = page.get_by_label("Rows you can review, by steps")
    number = page.get_by_label("Rows you can review", exact=True)
    expect(number).to_have_value("20")
    slider.focus()
    page.keyboard.press("ArrowRight")
    after = int(number.input_value())
    assert after > 20
    expect(page.locator("ul.reasons:visible")).to_have_count(after)
    page.wait_for_url(f"**?budget={after}")
    expect(slider).to_be_focused()
    number.fill("150")
    page.keyboard.press("Enter")
    expect(page.locator("[data-shown]")).to_have_text("100")
    expect(page.locator("[data-told=flagged]")).to_have_text("150")
    number.fill("67")  # between two steps of the slider
    expect(page.locator("[data-told=flagged]")).to_have_text("67")
    number.fill("150")
    expect(page.locator("[data-told=flagged]")).to_have_text("150")
    picture(page, "labelling-1-budget")


def download(page: Page, folder: Path) -> list[dict[str, str]]:
    with page.expect_download() as started:
        page.get_by_role("button", name="Download these rows").click()
    path = folder / started.value.suggested_filename
    started.value.save_as(path)
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def choose_rows(page: Page) -> None:
    page.get_by_role("link", name="Label some rows").click()
    page.get_by_label("Rows to ask about").select_option("20")
    picture(page, "labelling-2-start")
    page.get_by_role("button", name="Choose the rows").click()
    expect(page.get_by_text("Is this row fraud?")).to_be_visible(timeout=JOB_MS)
    assert "is_fraud" not in page.locator(".cells").inner_text()
    over = "cells => cells.filter(cell => cell.scrollWidth > cell.clientWidth).map(cell => cell.innerText)"
    assert page.locator(".cells dd").evaluate_all(over) == []
    picture(page, "labelling-3-question")


def press(page: Page, key: str, answered: int) -> str:
    """Press a key, wait until so many rows are answered and another is asked about; the row it was."""
    before = page.locator("form[data-answer] h2").inner_text()
    page.keyboard.press(key)
    expect(page.locator("form[data-answer] h2")).not_to_have_text(before)
    expect(page.locator("form[data-answer]")).to_have_attribute("data-done", str(answered))
    return before


def answer_by_keyboard(page: Page) -> None:
    press(page, "f", 1)
    mistaken = press(page, "f", 2)
    press(page, "u", 1)
    expect(page.locator("form[data-answer] h2")).to_have_text(mistaken)
    press(page, "l", 2)
    skipped = press(page, "s", 2)
    for answered in range(3, 13):
        assert press(page, "fl"[answered % 2], answered) != skipped
    page.reload()
    expect(page.locator("form[data-answer]")).to_have_attribute("data-done", "12")
    expect(page.locator(".cartouche").first).to_contain_text("Skipped")
    picture(page, "labelling-4-answers")


def learn(page: Page) -> None:
    expect(page.get_by_role("heading", name="What the answers say")).to_be_visible()
    page.get_by_role("button", name="Learn from 12 labels").click()
    expect(page.get_by_text(re.compile("Recalibrated|Corrected"))).to_be_visible(timeout=JOB_MS)
    picture(page, "labelling-5-learned")
    page.get_by_role("button", name="Open the new version").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("transactions")


def test_the_download_has_so_many_rows_the_riskiest_first(journey: Journey) -> None:
    scores = [float(row["fraud_probability"]) for row in journey.riskiest]
    assert len(scores) == 150
    assert scores == sorted(scores, reverse=True)


def test_no_page_made_the_browser_complain(journey: Journey) -> None:
    assert journey.complaints == []


@pytest.mark.nightly("dark-phone")
@pytest.mark.parametrize(("theme", "width"), [("light", "desktop"), ("dark", "phone")])
def test_no_page_has_a_barrier(
    journey: Journey, browser: Browser, theme: Literal["light", "dark"], width: str
) -> None:
    assert journey.barriers(browser, theme, width, "labelling") == {}


def test_labelling_and_the_budget_work_without_scripts(journey: Journey, browser: Browser) -> None:
    context = browser.new_context(
        viewport=DESKTOP, java_script_enabled=False, storage_state=journey.context.storage_state()
    )
    page = context.new_page()
    page.goto(journey.addresses["labels"])
    page.get_by_role("button", name="Legitimate").click()
    expect(page.locator("form[data-answer]")).to_have_attribute("data-done", "13")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("form[data-answer]")).to_have_attribute("data-done", "12")
    page.goto(journey.addresses["scores"])
    page.get_by_label("Rows you can review", exact=True).fill("7")
    page.get_by_role("button", name="Apply").click()
    expect(page.locator("ul.reasons:visible")).to_have_count(7)
    context.close()


def test_the_keys_can_be_switched_off(journey: Journey) -> None:
    page = journey.context.new_page()
    page.goto(journey.addresses["labels"])
    asked = page.locator("form[data-answer]").get_attribute("data-row")
    page.get_by_label("The keys F, L, S and U answer, too").uncheck()
    page.keyboard.press("s")
    page.get_by_role("button", name="Skip").focus()
    page.wait_for_timeout(300)
    assert page.locator("form[data-answer]").get_attribute("data-row") == asked
    page.keyboard.press("Enter")
    expect(page.locator("form[data-answer]")).not_to_have_attribute("data-row", str(asked))
    page.close()
