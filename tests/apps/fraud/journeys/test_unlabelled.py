"""A person with a table whose frauds nobody has marked: from the library to scores, in a real browser."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from ecluse.apps.fraud.jobs import references as building
from ecluse.apps.fraud.jobs.references import Recipe
from ecluse.apps.fraud.references import institutions
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from tests import application
from tests.application import Application
from tests.journeys.browser import (
    DESKTOP,
    barriers,
    executable,
    new_page,
    picture,
)
from tests.journeys.browser import Journey as Way

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.timeout(600),
    pytest.mark.skipif(executable() is None, reason="no Chromium here"),
]
JOB_MS = 240_000
#: The library, and an institution that is not in it, whose columns have French names.
LIBRARY = ("harbour_bank_cards", "kestrel_cards", "marlowe_pay")
FRENCH = "banque_du_canal"


@dataclass
class Journey(Way):
    """Keeps also what was downloaded or read."""

    corrected: str = ""
    download: Path | None = None


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    with application.running(tmp_path_factory.mktemp("unlabelled") / "home") as started:
        yield started


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the French table without its label."""
    folder = tmp_path_factory.mktemp("tables")
    institutions.write_unlabelled(institutions.institution(FRENCH), folder)
    return folder


@pytest.fixture(scope="module")
def journey(
    app: Application, browser: Browser, tables: Path, tmp_path_factory: pytest.TempPathFactory
) -> Journey:
    """From an empty library to the downloaded scores."""
    context = browser.new_context(viewport=DESKTOP, locale="en-GB", timezone_id="Europe/Paris")
    done = Journey(context)
    page = new_page(context, done.complaints)
    page.goto(app.link)
    page.get_by_role("button", name="Sign in").click()
    build_the_library(page, app, done)
    upload(page, tables / f"{FRENCH}.csv", done)
    match(page, done)
    create(page, done)
    score(page, done)
    done.download = download(page, tmp_path_factory.mktemp("download"))
    return done


def build_the_library(page: Page, app: Application, done: Journey) -> None:
    """Three references, as the page would build five of a domain, and in the least time for each."""
    page.goto(f"{app.address.rstrip('/')}/fraud")
    expect(page.get_by_text("The library is empty.")).to_be_visible()
    picture(page, "unlabelled-01-no-library")
    page.get_by_role("link", name="Build the demonstration library").click()
    expect(page.get_by_role("button", name="Build the references")).to_be_visible()
    done.addresses["library"] = page.url.partition("#")[0]
    with Runtime.open(Settings.from_environment(app.environ, home=app.home)) as runtime:
        (user,) = runtime.accounts.everyone()
        building.start_building(runtime, user, [recipe(name) for name in LIBRARY])
    page.reload()
    expect(page.get_by_text("The library is being built")).to_be_visible()
    picture(page, "unlabelled-02-building")
    expect(page.locator("li.reference")).to_have_count(len(LIBRARY), timeout=JOB_MS)
    expect(page.get_by_role("button", name="Try it with a simulated table")).to_be_visible(timeout=JOB_MS)
    picture(page, "unlabelled-03-library")


def recipe(name: str) -> Recipe:
    one = institutions.institution(name)
    content = f"simulation:{building.SIMULATION}:{name}"
    return Recipe(name, one.domain, content, institution=name, target=one.target, budget_s=2.0)


def upload(page: Page, table: Path, done: Journey) -> None:
    page.get_by_role("link", name="Fraud", exact=True).first.click()
    page.get_by_label("Choose a table").set_input_files(table)
    page.wait_for_url("**/fraud/d/**")
    compare = page.get_by_role("button", name="Compare with the library")
    expect(compare).to_be_visible(timeout=JOB_MS)
    done.addresses["table"] = page.url
    compare.click()


def match(page: Page, done: Journey) -> None:
    """See what was recognised; take a column away, and put it back."""
    expect(page.get_by_text(re.compile("^Recognised"))).to_be_visible()
    done.addresses["match"] = page.url
    picture(page, "unlabelled-04-match")
    choice = page.locator("select[name=ours]").first
    done.corrected = page.locator("input[name=theirs]").first.input_value()
    meant = choice.input_value()
    assert meant
    save(choice, "")
    expect(page.get_by_text("as you said")).to_be_visible()
    picture(page, "unlabelled-05-taken-away")
    save(of(page, done.corrected), meant)
    expect(page.get_by_text("as you said")).to_be_hidden()
    expect(of(page, done.corrected)).to_have_value(meant)
    expect(
        page.get_by_role("row").filter(has=of(page, done.corrected)).get_by_text("By you", exact=True)
    ).to_be_visible()
    picture(page, "unlabelled-06-corrected")


def of(page: Page, column: str) -> Locator:
    return page.get_by_label(f"What {column} stands for", exact=True)


def save(choice: Locator, value: str) -> None:
    choice.select_option(value)
    page = choice.page
    with page.expect_navigation():
        page.get_by_role("button", name="Save and check again").click()


def create(page: Page, done: Journey) -> None:
    page.get_by_label("Name of the model").fill("canal")
    page.get_by_role("button", name="Create the ensemble").click()
    ended = page.locator(".job .badge:is([data-state=done], [data-state=failed])")
    expect(ended).to_be_visible(timeout=JOB_MS)
    expect(ended).to_have_text("Done")
    page.get_by_role("button", name="Open the model").click()
    expect(page.get_by_role("heading", name="What it judges by")).to_be_visible()
    expect(page.locator("[data-chart][data-drawn]")).to_have_count(page.locator("[data-chart]").count())
    done.addresses["ensemble"] = page.url
    picture(page, "unlabelled-07-ensemble")


def score(page: Page, done: Journey) -> None:
    expect(page.get_by_label("Table", exact=True)).to_contain_text(f"{FRENCH}.csv")
    page.get_by_label("Give reasons for").select_option("risky")
    page.get_by_role("button", name="Score the table").click()
    expect(page.get_by_role("heading", name=f"Scores of {FRENCH}.csv")).to_be_visible()
    expect(page.locator("ul.reasons").first).to_be_visible(timeout=JOB_MS)
    done.addresses["scores"] = page.url
    picture(page, "unlabelled-08-scores")


def download(page: Page, folder: Path) -> Path:
    with page.expect_download() as started:
        page.get_by_role("button", name=re.compile(r"rows, CSV")).first.click()
    path = folder / started.value.suggested_filename
    started.value.save_as(path)
    return path


def test_every_row_is_scored_and_the_riskiest_hold_many_of_the_frauds(journey: Journey, tables: Path) -> None:
    assert journey.download is not None
    with journey.download.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with (tables / f"{FRENCH}_truth.csv").open(encoding="utf-8", newline="") as file:
        truth = [int(row["is_fraud"]) for row in csv.DictReader(file)]
    assert len(rows) == len(truth)
    assert {"fraud_score", "combined_score", "anomaly_score", "risk_level", "reason_1"} <= rows[0].keys()
    order = sorted(range(len(rows)), key=lambda at: -float(rows[at]["combined_score"]))
    top = order[: len(rows) // 10]
    assert sum(truth[at] for at in top) > 0.5 * sum(truth), (
        "a tenth of the rows holds over half of the frauds"
    )


def test_no_page_made_the_browser_complain(journey: Journey) -> None:
    assert journey.complaints == []


@pytest.mark.nightly("dark-phone")
@pytest.mark.parametrize(("theme", "width"), [("light", "desktop"), ("dark", "phone")])
def test_no_page_has_a_barrier(
    journey: Journey, browser: Browser, theme: Literal["light", "dark"], width: str
) -> None:
    assert journey.barriers(browser, theme, width, "unlabelled") == {}


def test_a_table_that_means_nothing_known_is_ranked_as_unusual_and_never_called_fraud(
    journey: Journey, tmp_path: Path
) -> None:
    table = institutions.write_unlabelled(institutions.institution("telecom"), tmp_path).table
    page = journey.context.new_page()
    page.goto(journey.addresses["library"].replace("/references", ""))
    page.get_by_label("Choose a table").set_input_files(table)
    page.wait_for_url("**/fraud/d/**")
    compare = page.get_by_role("button", name="Compare with the library")
    expect(compare).to_be_visible(timeout=JOB_MS)
    compare.click()
    expect(page.get_by_text(re.compile("^Not scored by a reference"))).to_be_visible()
    page.get_by_role("button", name="Create the ranking").click()
    expect(page.locator(".job .badge[data-state=done]")).to_be_visible(timeout=JOB_MS)
    page.get_by_role("button", name="Open the model").click()
    expect(page.get_by_text("Unusual, not fraud.")).to_be_visible()
    picture(page, "unlabelled-09-abstained")
    assert barriers(page) == []
    page.close()


def test_the_match_and_the_ensemble_speak_french_and_work_without_scripts(
    journey: Journey, browser: Browser
) -> None:
    context = browser.new_context(java_script_enabled=False, storage_state=journey.context.storage_state())
    page = context.new_page()
    page.goto(f"{journey.addresses['match']}?lang=fr")
    expect(page.get_by_text(re.compile("^Reconnu"))).to_be_visible()
    expect(page.get_by_role("button", name="Oublier mes corrections")).to_be_visible()
    page.goto(f"{journey.addresses['ensemble']}?lang=fr")
    expect(page.get_by_role("heading", name="Sur quoi il s’appuie")).to_be_visible()
    expect(page.get_by_role("button", name="Noter le tableau")).to_be_visible()
    context.close()
