"""From an archive of images to a classifier that names a new one, in a real browser."""

from __future__ import annotations

import io
import random
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import Browser, Page, expect

from tests import application
from tests.application import Application
from tests.journeys.browser import DESKTOP, PHONE, barriers, executable, new_page, overflow, picture

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(executable() is None, reason="no Chromium here"),
]
JOB_MS = 90_000


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    with application.running(tmp_path_factory.mktemp("plants") / "home") as started:
        yield started


@pytest.fixture(scope="module")
def complaints() -> list[str]:
    return []


@pytest.fixture(scope="module")
def page(app: Application, browser: Browser, complaints: list[str]) -> Page:
    page = new_page(browser.new_context(viewport=DESKTOP, locale="en-GB"), complaints)
    page.goto(app.link)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Welcome")
    return page


def sketch(number: int, label: str, side: int = 96) -> bytes:
    """A picture of its label before a ground of its own, so that no two look nearly the same."""
    chance = random.Random(number)
    ground = Image.new("RGB", (5, 5))
    ground.putdata(
        [(chance.randrange(200), chance.randrange(60, 220), chance.randrange(160)) for _ in range(25)]
    )
    image = ground.resize((side, side), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(image)
    for _ in range(6):
        x, y, reach = chance.randrange(side), chance.randrange(side), chance.randrange(9, 20)
        if label == "dandelion":
            pen.ellipse((x - reach, y - reach, x + reach, y + reach), (250, 205, 30), (200, 150, 10), 3)
        else:
            pen.line((x, side, x + reach, y), (20, 90, 20), 4)
    written = io.BytesIO()
    image.save(written, "PNG")
    return written.getvalue()


def archive(path: Path) -> Path:
    """Twelve small pictures of each of two labels, and one that broke off."""
    with zipfile.ZipFile(path, "w") as written:
        for number in range(24):
            label = ("dandelion", "grass")[number % 2]
            written.writestr(f"{label}/{number:02d}.png", sketch(number, label))
        written.writestr("grass/broken.png", sketch(1, "grass")[:200])
    return path


def test_an_archive_becomes_a_classifier_that_names_a_new_image(
    app: Application, page: Page, complaints: list[str], tmp_path: Path
) -> None:
    page.goto(f"{app.address}/plants")
    expect(page.get_by_role("heading", name="No images yet")).to_be_visible()
    page.get_by_label("Choose an archive or images").set_input_files(archive(tmp_path / "meadow.zip"))
    page.get_by_role("button", name="Import the images").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("meadow")
    expect(page.get_by_text("1 file could not be taken.")).to_be_visible(timeout=JOB_MS)
    expect(page.get_by_text("The image is damaged", exact=False).first).to_be_visible()
    expect(page.locator(".job")).to_have_count(0, timeout=JOB_MS)
    first = page.get_by_role("img", name="dandelion: 00.png")
    expect(first).to_be_visible()
    assert first.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0

    page.get_by_label("00.png").check()
    page.get_by_role("button", name="Exclude", exact=True).click()
    expect(page.get_by_role("button", name="Train on 23 images")).to_be_visible()
    picture(page, "plants-set")

    page.get_by_role("button", name="Train on 23 images").click()
    page.wait_for_url(re.compile("/runs/"))
    page.goto(f"{app.address}/jobs")
    page.get_by_role("link", name=re.compile("^Train")).first.click()
    page.get_by_role("button", name="Open the model").click(timeout=JOB_MS)
    expect(
        page.get_by_text(re.compile(r"\d of \d test images get their label as this model is served\."))
    ).to_be_visible()
    expect(page.locator("[data-chart][data-drawn]")).to_have_count(page.locator("[data-chart]").count())
    picture(page, "plants-model")

    page.get_by_role("button", name="Classify images").click()
    page.locator("input[type=file]").set_input_files(
        {"name": "new.png", "mimeType": "image/png", "buffer": sketch(90, "dandelion")}
    )
    page.get_by_role("button", name=re.compile("^Classify")).click()
    expect(page.get_by_text("dandelion").first).to_be_visible(timeout=JOB_MS)
    picture(page, "plants-classified")
    assert complaints == []


@pytest.mark.nightly
@pytest.mark.parametrize(("scheme", "viewport"), [("light", DESKTOP), ("dark", PHONE)])
def test_no_page_of_images_keeps_someone_out(
    app: Application, page: Page, browser: Browser, scheme: Literal["light", "dark"], viewport: object
) -> None:
    page.goto(f"{app.address}/plants")
    ways = [page.get_by_role("link", name="meadow", exact=True).nth(n).get_attribute("href") for n in (0, 1)]
    complaints: list[str] = []
    context = browser.new_context(
        viewport=viewport,  # type: ignore[arg-type]
        color_scheme=scheme,
        locale="fr-FR",
        storage_state=page.context.storage_state(),
    )
    other, found = new_page(context, complaints), dict[str, object]()
    for path in ("/plants", *ways, f"{ways[0]}?label=grass"):
        other.goto(f"{app.address}{path}")
        picture(other, f"plants{re.sub('[^a-z]+', '-', str(path))[:30]}-{scheme}")
        told = (overflow(other) > 0, list(complaints), barriers(other))
        complaints.clear()  # what looks for barriers writes styles, of which the browser complains
        if any(told):
            found[str(path)] = told
    assert found == {}
    context.close()


@pytest.mark.nightly
def test_without_scripts_images_are_uploaded_filtered_and_relabelled(
    app: Application, page: Page, browser: Browser
) -> None:
    context = browser.new_context(
        viewport=DESKTOP,
        locale="en-GB",
        java_script_enabled=False,
        storage_state=page.context.storage_state(),
    )
    plain = new_page(context, [])
    plain.goto(f"{app.address}/plants")
    plain.get_by_label("Set", exact=True).first.fill("Garden")
    plain.get_by_label("Label", exact=True).first.fill("rose")
    plain.get_by_label("Choose an archive or images").set_input_files(
        [{"name": f"{n}.png", "mimeType": "image/png", "buffer": sketch(n, "daisy")} for n in (40, 41)]
    )
    plain.get_by_role("button", name="Import the images").click()
    expect(plain.get_by_role("heading", level=1)).to_have_text("Garden")
    expect(plain.get_by_role("img", name="rose: 40.png")).to_be_visible(
        timeout=JOB_MS
    )  # it loads itself again
    plain.get_by_label("40.png").check()
    plain.get_by_label("New label").fill("daisy")
    plain.get_by_role("button", name="Relabel").click()
    plain.get_by_label("Name, label or digest contains").fill("daisy")
    plain.get_by_role("button", name="Filter").click()
    expect(plain.get_by_role("img", name="daisy: 40.png")).to_be_visible()
    expect(plain.get_by_role("img", name="rose: 41.png")).to_have_count(0)
    context.close()
