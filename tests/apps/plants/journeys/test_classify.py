"""Images dropped on the page of a classifier, in a real browser: one, several, one like none; without scripts; small."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, FilePayload, Page, expect

from ecluse import models
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from tests import application
from tests.application import Application
from tests.apps.plants.tiny import GREEN, NEITHER, YELLOW, photo, publish_tiny
from tests.journeys.browser import DESKTOP, PHONE, barriers, executable, new_page, overflow, picture

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.timeout(300),
    pytest.mark.skipif(executable() is None, reason="no Chromium here"),
]
OWNER, PASSWORD = "owner@example.org", "a long password"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    folder = tmp_path_factory.mktemp("classify")
    with Runtime.open(Settings.from_environment({}, home=folder / "home")) as runtime:
        user = runtime.accounts.sign_up(OWNER, PASSWORD, "Inès")
        row = publish_tiny(runtime, user.id, folder / "model")
        models.set_alias(runtime, user.id, row.name, "production", row.version)
    with application.running(folder / "home") as started:
        yield started


def signed_in(context: BrowserContext, app: Application, complaints: list[str]) -> Page:
    page = new_page(context, complaints)
    page.goto(f"{app.address}/sign-in")
    page.locator("input[name=email]").fill(OWNER)
    page.locator("input[name=password]").fill(PASSWORD)
    page.locator("main form button").first.click()
    expect(page.locator("nav.side, nav.tabbar").first).to_be_attached()
    return page


def file(name: str, data: bytes) -> FilePayload:
    return {"name": name, "mimeType": "image/jpeg", "buffer": data}


def classify(page: Page, app: Application, *files: FilePayload, language: str = "en") -> None:
    page.goto(f"{app.address}/plants/classify?lang={language}")
    page.locator("input[type=file]").set_input_files(list(files))
    page.locator("form.classify button").click()
    expect(page.locator("#results")).to_be_visible()


@pytest.mark.parametrize("javascript", [True, False])
def test_one_image_is_answered_with_its_map_and_version(
    app: Application, browser: Browser, javascript: bool
) -> None:
    context = browser.new_context(viewport=DESKTOP, java_script_enabled=javascript)
    complaints: list[str] = []
    page = signed_in(context, app, complaints)
    classify(page, app, file("garden.jpg", photo(YELLOW, (800, 600))))
    expect(page.locator(".verdict .what")).to_have_text("dandelion")
    expect(page.locator("figure.photo img")).to_have_count(2)
    for image in page.locator("figure.photo img").all():
        expect(image).to_be_visible()
    expect(page.locator("meter")).to_have_count(2)
    page.locator("#model").select_option("leaves@production")
    if javascript:
        assert all(
            page.evaluate("[...document.querySelectorAll('figure.photo img')].map((i) => i.naturalWidth > 0)")
        )
        assert complaints == []
        picture(page, "classify-one")
        assert barriers(page) == []
    else:
        assert complaints == []
    context.close()


def drag(page: Page, kind: str, x: float, y: float, *files: Path) -> None:
    """Do what the desktop does while files are dragged over the page: the browser itself decides what follows."""
    data = {"items": [], "files": [str(path) for path in files], "dragOperationsMask": 1}
    session = page.context.new_cdp_session(page)
    session.send("Input.dispatchDragEvent", {"type": kind, "x": x, "y": y, "data": data})
    session.detach()


def test_photos_dropped_on_the_page_are_chosen_and_classified_there(
    app: Application, browser: Browser, tmp_path: Path
) -> None:
    paths = [tmp_path / "garden.jpg", tmp_path / "lawn.jpg"]
    for path, colour in zip(paths, (YELLOW, GREEN), strict=True):
        path.write_bytes(photo(colour, (400, 300)))
    context = browser.new_context(viewport=DESKTOP)
    complaints: list[str] = []
    page = signed_in(context, app, complaints)
    page.goto(f"{app.address}/plants/classify")
    expect(page.locator("html[data-drops]")).to_be_attached()
    zone = page.locator(".drop").bounding_box()
    assert zone is not None
    inside, beside = (zone["x"] + zone["width"] - 20, zone["y"] + 15), (zone["x"] + 20, zone["y"] - 120)
    for x, y in (beside, inside):
        drag(page, "dragEnter", x, y, *paths)
        drag(page, "dragOver", x, y, *paths)
        drag(page, "drop", x, y, *paths)
        chosen = page.evaluate("[...document.querySelector('input[type=file]').files].map((f) => f.name)")
        assert chosen == ([path.name for path in paths] if (x, y) == inside else []), (x, y)
    assert [one.url for one in context.pages] == [f"{app.address}/plants/classify"], (
        "no tab, and no other page"
    )
    page.keyboard.press("Enter")
    expect(page.locator("#results")).to_have_text("2 images")
    expect(page.locator("tbody tr").first).to_contain_text("dandelion")
    assert complaints == []
    context.close()


def test_several_images_and_one_like_none_are_read_on_a_phone_and_in_french(
    app: Application, browser: Browser
) -> None:
    context = browser.new_context(viewport=PHONE, color_scheme="dark")
    complaints: list[str] = []
    page = signed_in(context, app, complaints)
    assert overflow(page) == 0
    several = [
        file("a-rather-long-name-of-a-photo-from-a-telephone-20251121-183000.jpg", photo(YELLOW)),
        file("green.jpg", photo(GREEN, (300, 900))),
        file("neither.jpg", photo(NEITHER)),
        file("page.jpg", b"<html>"),
    ]
    classify(page, app, *several, language="fr")
    expect(page.locator("tbody tr").first).to_be_visible()
    expect(page.get_by_text("Le fichier n’est pas une image JPEG, PNG ou WebP.")).to_be_visible()
    assert overflow(page) == 0
    picture(page, "classify-several-phone")
    classify(page, app, file("grey.jpg", photo(NEITHER, (640, 480))), language="fr")
    expect(page.locator(".verdict .what")).to_have_text("Aucune de ces étiquettes")
    assert overflow(page) == 0
    picture(page, "classify-none-phone")
    classify(page, app, *several, language="fr")
    assert complaints == []
    assert barriers(page) == []
    context.close()
