"""Keeping what one has, in a real browser: versions named, compared and verified, and everything moved and back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests import application
from tests.application import Application
from tests.journeys.browser import DESKTOP, PHONE, barriers, executable, new_page, overflow, picture

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.timeout(600),
    pytest.mark.skipif(executable() is None, reason="no Chromium here"),
]
JOB_MS = 60_000


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    """An application with two versions of a model that were published from a terminal."""
    folder = tmp_path_factory.mktemp("keeping")
    moved = {"ECLUSE_RAW_URL": f"file://{folder}/moved"}  # pages reach no folder but those of areas
    with application.running(folder / "home", moved) as started:
        for accuracy in ("0.91", "0.94"):
            (folder / "weights.bin").write_text(accuracy)
            said = started.command(
                "models",
                "publish",
                "plants",
                str(folder / "weights.bin"),
                "--meta",
                f"val_accuracy={accuracy}",
            )
            assert said.returncode == 0, said.stderr
        yield started


@pytest.fixture(scope="module")
def complaints() -> list[str]:
    return []


@pytest.fixture(scope="module")
def page(app: Application, browser: Browser, complaints: list[str]) -> Page:
    """A browser that is signed in as the administrator."""
    page = new_page(browser.new_context(viewport=DESKTOP, locale="en-GB"), complaints)
    page.goto(app.link)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Welcome")
    return page


def test_a_version_is_found_named_verified_and_compared(app: Application, page: Page) -> None:
    page.goto(f"{app.address}/models")
    page.get_by_label("Condition").fill("val_accuracy>0.93")
    page.get_by_role("button", name="Search models").click()
    expect(page.get_by_text("1 version fulfils all conditions.")).to_be_visible()
    page.get_by_role("link", name=re.compile("^v2")).click()
    page.get_by_label("New alias").fill("production")
    page.get_by_role("button", name="Set the alias").click()
    expect(page.get_by_text("plants@production", exact=True)).to_be_visible()
    page.get_by_role("button", name="Verify the files").click()
    expect(page.get_by_text("Every file is what its manifest says.")).to_be_visible()
    page.get_by_role("button", name=re.compile("^Link for 1 hour")).click()
    expect(page.get_by_text("a folder has no signed addresses")).to_be_visible()
    with page.expect_download() as started:
        page.get_by_role("button", name="Download it here, verified").click()
    assert Path(started.value.path()).read_text() == "0.94"
    page.get_by_role("link", name="compare").click()
    expect(page.get_by_role("cell", name="+0.0300")).to_be_visible()
    picture(page, "keeping-compare")


def test_an_alias_is_moved_only_after_a_question(app: Application, page: Page) -> None:
    page.goto(f"{app.address}/models/plants")
    page.get_by_role("row").last.get_by_role("link").last.click()
    page.get_by_role("button", name="Move here production").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("instead of")
    page.keyboard.press("Escape")
    expect(page.get_by_text("plants@production", exact=True)).not_to_be_visible()
    page.get_by_role("button", name="Move here production").click()
    dialog.get_by_role("button", name="Move the alias").click()
    expect(page.get_by_text("plants@production", exact=True)).to_be_visible()


def test_everything_is_moved_followed_verified_and_rolled_back(app: Application, page: Page) -> None:
    moved = app.home.parent / "moved"
    page.goto(f"{app.address}/storage")
    page.get_by_role("main").get_by_role("button", name="Migrations").click()
    page.get_by_role("button", name="Plan a migration").click()
    page.get_by_label("Source").fill("models")
    page.get_by_label("Destination", exact=True).fill("raw")
    page.get_by_role("button", name="Compare both places").click()
    run = page.get_by_role("button", name="Run the migration")
    expect(run).to_be_visible(timeout=JOB_MS)
    picture(page, "keeping-plan")
    run.click()
    expect(page.get_by_text("Everything is at the destination")).to_be_visible(timeout=JOB_MS)
    assert list(moved.rglob("weights.bin"))
    page.get_by_role("button", name="Verify the destination").click()
    expect(page.get_by_text("Every object at the destination is as it was recorded.")).to_be_visible(
        timeout=JOB_MS
    )
    page.get_by_role("button", name="Roll back").first.click()
    page.get_by_role("dialog").get_by_role("button", name="Roll back").click()
    expect(page.get_by_text("Everything is read from the source again")).to_be_visible(timeout=JOB_MS)
    picture(page, "keeping-rolled-back")
    assert not list(moved.rglob("weights.bin"))


@pytest.mark.nightly("dark-phone")
@pytest.mark.parametrize(("theme", "width"), [("light", "desktop"), ("dark", "phone")])
def test_no_page_of_models_and_migrations_has_a_barrier(
    app: Application, browser: Browser, page: Page, theme: str, width: str
) -> None:
    context = browser.new_context(
        viewport=DESKTOP if width == "desktop" else PHONE,
        color_scheme="dark" if theme == "dark" else "light",
        reduced_motion="reduce",
        storage_state=page.context.storage_state(),
    )
    looked, found = context.new_page(), {}
    looked.goto(f"{app.address}/migrations")
    ways = ["/models", "/models/plants", "/models/plants/compare", "/migrations", "/migrations/new"]
    ways += [str(looked.get_by_role("row").last.get_by_role("link").get_attribute("href"))]
    looked.goto(f"{app.address}/models/plants")
    ways += [str(looked.get_by_role("row").last.get_by_role("link").last.get_attribute("href"))]
    for way in ways:
        looked.goto(f"{app.address}{way}")
        assert overflow(looked) <= 0, way
        picture(looked, f"keeping-{theme}-{width}-{way.strip('/').replace('/', '-')[:24]}")
        if barrier := barriers(looked):
            found[way] = barrier
    context.close()
    assert found == {}


def test_no_page_made_the_browser_complain(page: Page, complaints: list[str]) -> None:
    refused = "the server responded with a status of 409"  # the link that a folder cannot give
    assert [text for text in complaints if refused not in text] == []
