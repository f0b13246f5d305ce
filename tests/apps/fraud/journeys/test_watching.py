"""A model at work, in a real browser: watched on a later table, compared, trained again, and its alias moved."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Literal

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from ecluse.apps.fraud.sample import generate
from tests import application
from tests.application import Application
from tests.journeys.browser import DESKTOP, Journey, executable, new_page, picture

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.timeout(300),
    pytest.mark.skipif(executable() is None, reason="no Chromium here"),
]
JOB_MS = 120_000
OWNER = "owner@example.org"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    with application.running(tmp_path_factory.mktemp("watching") / "home") as started:
        yield started


@pytest.fixture(scope="module")
def trained(app: Application) -> str:
    """Two versions of a model of the first 4,000 rows, and the 2,000 rows that follow; the version in use."""
    rows = generate(rows=6_000, seed=5, fraud_share=0.05)
    with app.client(OWNER) as client:
        early = upload(client, "january.csv", rows.head(4_000))
        later = rows.tail(2_000)
        upload(client, "chargebacks.csv", later.select("transaction_id", "is_fraud"))
        upload(client, "february.csv", later)
        made = []
        for seed in (0, 1):
            body = {
                "dataset": early,
                "model_name": "payments",
                "target_column": "is_fraud",
                "budget_s": 2,
                "seed": seed,
            }
            ended = app.wait_for_job(client, client.post("/api/train", json=body).json()["job"])
            assert ended["status"] == "done", ended
            made.append(ended["result"]["version"])  # type: ignore[index]
        client.put("/api/models/payments/aliases/production", json={"version": made[-1]}).raise_for_status()
    return made[-1]


def upload(client: httpx.Client, name: str, frame: object) -> str:
    buffer = io.BytesIO()
    frame.write_csv(buffer)  # type: ignore[attr-defined]
    answer = client.post("/api/upload", files={"file": (name, buffer.getvalue())})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


@pytest.fixture(scope="module")
def journey(app: Application, browser: Browser, trained: str) -> Journey:
    """From a model's page to its alias on a newly trained version."""
    context = browser.new_context(viewport=DESKTOP, locale="en-GB", timezone_id="Europe/Paris")
    done = Journey(context)
    page = new_page(context, done.complaints)
    sign_in(page, app)
    watch(page, done, app, trained)
    compare(page, done, app)
    train_again(page, done, app, trained)
    move_the_alias(page, done)
    return done


def sign_in(page: Page, app: Application) -> None:
    page.goto(f"{app.address.rstrip('/')}/sign-in")
    page.get_by_label("Email").fill(OWNER)
    page.get_by_label("Password").fill("a long password")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_be_visible()


def watch(page: Page, done: Journey, app: Application, version: str) -> None:
    page.goto(f"{app.address.rstrip('/')}/models/payments/{version}")
    page.get_by_role("button", name="Monitor").click()
    expect(page.get_by_role("heading", name="Not checked yet")).to_be_visible()
    page.get_by_label("Table", exact=True).select_option(label=label_of(page, "Table", "february.csv"))
    page.get_by_text("Outcomes that came later, and dates").click()
    page.get_by_label("Table of outcomes").select_option(
        label=label_of(page, "Table of outcomes", "chargebacks.csv")
    )
    page.get_by_label("Identifier in both tables").fill("transaction_id")
    page.get_by_role("button", name="Look at the table").click()
    expect(page.get_by_role("heading", name="Drift by column")).to_be_visible(timeout=JOB_MS)
    expect(page.get_by_role("heading", name="Where outcomes are known")).to_be_visible()
    expect(page.locator("[data-chart][data-drawn]")).to_have_count(page.locator("[data-chart]").count())
    done.addresses["watched"] = page.url
    picture(page, "watching-monitor")


def compare(page: Page, done: Journey, app: Application) -> None:
    page.goto(f"{app.address.rstrip('/')}/models/payments")
    page.get_by_role("link", name="Compare two on the same rows").click()
    done.addresses["reports"] = page.url
    page.get_by_label("Table", exact=True).select_option(label=label_of(page, "Table", "february.csv"))
    page.get_by_role("button", name="Compare on this table").click()
    expect(page.get_by_role("heading", name="Figures")).to_be_visible(timeout=JOB_MS)
    expect(page.locator("[data-chart][data-drawn]")).to_have_count(1)
    done.addresses["compared"] = page.url
    picture(page, "watching-compared")


def train_again(page: Page, done: Journey, app: Application, version: str) -> None:
    page.goto(f"{app.address.rstrip('/')}/models/payments/{version}/monitor")
    page.get_by_label("Table with outcomes").select_option(
        label=label_of(page, "Table with outcomes", "february.csv")
    )
    page.get_by_role("button", name="Train again and compare").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Trained again")
    expect(page.get_by_role("heading", name="Use B")).to_be_visible(timeout=JOB_MS)
    done.addresses["trained again"] = page.url
    picture(page, "watching-trained-again")


def move_the_alias(page: Page, done: Journey) -> None:
    expect(page.get_by_text("These aliases point at B:")).to_be_hidden()
    page.get_by_role("button", name="Move production to B").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    dialog.get_by_role("button", name="Move the alias").click()
    expect(page.get_by_text("These aliases point at B:")).to_be_visible()


def label_of(page: Page, select: str, filename: str) -> str:
    """Return the label of the option that begins with a file name, as the browser shows it: without the white space
    that the template lays it out with.
    """
    options = page.get_by_label(select, exact=True).locator("option")
    labels: list[str] = options.evaluate_all("options => options.map((option) => option.label)")
    return next(label for label in labels if label.startswith(filename))


def test_no_alias_moves_until_the_person_says_so_and_then_it_points_at_the_new_version(
    journey: Journey, app: Application, trained: str
) -> None:
    with app.client(OWNER) as client:
        used = client.get("/api/models/payments/aliases/production").json()["version"]
        looked = client.get("/api/inspections", params={"model": "payments"}).json()
    again = next(
        one
        for one in looked
        if one["id"] == journey.addresses["trained again"].partition("#")[0][-len(one["id"]) :]
    )
    assert (again["version"], again["other_version"]) == (trained, used)
    assert used != trained


def test_no_page_made_the_browser_complain(journey: Journey) -> None:
    assert journey.complaints == []


@pytest.mark.nightly("dark-phone")
@pytest.mark.parametrize(("theme", "width"), [("light", "desktop"), ("dark", "phone")])
def test_no_page_has_a_barrier(
    journey: Journey, browser: Browser, theme: Literal["light", "dark"], width: str
) -> None:
    assert journey.barriers(browser, theme, width, "watching") == {}


def test_what_was_found_is_said_in_french_and_without_scripts(journey: Journey, browser: Browser) -> None:
    context = browser.new_context(
        java_script_enabled=False, locale="fr-FR", storage_state=journey.context.storage_state()
    )
    page = context.new_page()
    page.goto(f"{journey.addresses['watched']}&lang=fr")
    expect(page.get_by_role("heading", name="Dérive par colonne")).to_be_visible()
    expect(page.get_by_role("table", name="Alertes par jour").first).to_be_visible()
    page.goto(f"{journey.addresses['trained again']}?lang=fr")
    expect(page.get_by_role("heading", name="Utiliser B")).to_be_visible()
    context.close()
