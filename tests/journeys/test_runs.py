"""Runs in a real browser: a training watched while it goes on, the list sorted, and two runs compared."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from ecluse.apps.fraud.sample import generate
from tests import application
from tests.application import Application
from tests.journeys.browser import DESKTOP, PHONE, barriers, executable, new_page, overflow, picture

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.timeout(300),
    pytest.mark.skipif(executable() is None, reason="no Chromium here"),
]
OWNER = "owner@example.org"
JOB_MS = 120_000


@dataclass
class Journey:
    """What was seen: a signed-in browser, the addresses it came by, what it complained of."""

    context: BrowserContext
    addresses: dict[str, str] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    with application.running(tmp_path_factory.mktemp("runs") / "home") as started:
        yield started


@pytest.fixture(scope="module")
def journey(app: Application, browser: Browser) -> Journey:
    """From a training that goes on to its curves beside those of one before."""
    buffer = io.BytesIO()
    generate(rows=3_000, seed=5, fraud_share=0.05).write_csv(buffer)
    context = browser.new_context(viewport=DESKTOP, locale="en-GB", timezone_id="Europe/Paris")
    done = Journey(context)
    with app.client(OWNER) as client:
        table = str(client.post("/api/upload", files={"file": ("rows.csv", buffer.getvalue())}).json()["id"])
        _, job = train(client, table, seed=0, seconds=2)
        assert app.wait_for_job(client, job)["status"] == "done"
        page = new_page(context, done.complaints)
        sign_in(page, app)
        run, job = train(client, table, seed=1, seconds=60)
        watch(page, done, app, run)
        assert app.wait_for_job(client, job)["status"] == "done"
    look_at_the_end(page, done)
    sort_and_compare(page, done, app)
    return done


def train(client: httpx.Client, table: str, *, seed: int, seconds: float) -> tuple[str, str]:
    """The run and the job of a training."""
    body = {
        "dataset": table,
        "model_name": "payments",
        "target_column": "is_fraud",
        "budget_s": seconds,
        "seed": seed,
    }
    asked = client.post("/api/train", json=body).raise_for_status().json()
    return str(asked["training"]), str(asked["job"])


def sign_in(page: Page, app: Application) -> None:
    page.goto(f"{app.address.rstrip('/')}/sign-in")
    page.get_by_label("Email").fill(OWNER)
    page.get_by_label("Password").fill("a long password")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_be_visible()


def watch(page: Page, done: Journey, app: Application, run: str) -> None:
    """Its curve appears and its table stays unfolded while the search goes on, without a reload."""
    page.goto(f"{app.address.rstrip('/')}/runs/{run}")
    done.addresses["run"] = page.url
    expect(page.locator("[data-chart][data-drawn]").first).to_be_visible(timeout=JOB_MS)
    page.get_by_text("Values as a table").first.click()
    rows = page.locator("figure.chart").first.locator("tbody tr")
    before = rows.count()
    expect(rows.nth(before)).to_be_visible(timeout=JOB_MS)  # a later trial
    expect(page.locator("[data-chart] canvas").first).to_be_visible()
    picture(page, "runs-live")
    page.get_by_role("button", name="Stop and keep the best").click()
    page.wait_for_url("**/jobs/**")


def look_at_the_end(page: Page, done: Journey) -> None:
    page.goto(done.addresses["run"])
    expect(page.locator("section.job")).to_have_count(0)
    expect(page.get_by_text("Average precision", exact=True).first).to_be_visible()
    expect(page.get_by_role("link", name="performance.json")).to_be_visible()


def sort_and_compare(page: Page, done: Journey, app: Application) -> None:
    page.goto(f"{app.address.rstrip('/')}/runs")
    page.get_by_label("Sort by").select_option(label="Average precision")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("th[aria-sort=descending]")).to_have_text("Average precision")
    done.addresses["list"] = page.url
    picture(page, "runs-list")
    for box in page.get_by_role("checkbox").all():
        box.check()
    page.get_by_role("button", name="Compare those chosen").click()
    expect(page.get_by_role("heading", name="Compare runs")).to_be_visible()
    expect(page.locator("[data-chart][data-drawn]")).to_have_count(page.locator("[data-chart]").count())
    done.addresses["compared"] = page.url
    picture(page, "runs-compared")


def test_a_training_is_watched_listed_and_compared(journey: Journey) -> None:
    assert set(journey.addresses) == {"run", "list", "compared"}
    assert journey.complaints == []


@pytest.mark.parametrize("name", ["run", "list", "compared"])
def test_pages_of_runs_have_no_barriers_and_fit_a_phone(journey: Journey, name: str) -> None:
    page = new_page(journey.context, [])  # axe writes style attributes, which the policy refuses
    page.goto(journey.addresses[name])
    assert barriers(page) == []
    page.set_viewport_size(PHONE)
    assert overflow(page) <= 0
    picture(page, f"runs-{name}-phone")
    page.close()
