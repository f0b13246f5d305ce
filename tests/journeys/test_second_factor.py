"""The second factor, in a real browser: set up by its secret, asked for, and readable by everyone in both languages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyotp
import pytest
from playwright.sync_api import Browser, expect

from tests import application
from tests.application import Application
from tests.journeys.browser import DESKTOP, PHONE, barriers, executable, new_page, overflow, picture

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.timeout(600),
    pytest.mark.skipif(executable() is None, reason="no Chromium here"),
]
PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    with application.running(Path(tmp_path_factory.mktemp("factor")) / "home") as started:
        yield started


@pytest.mark.parametrize(
    ("language", "theme", "width"),
    [
        ("en", "light", "desktop"),
        ("fr", "dark", "phone"),
        ("en", "dark", "phone"),
        ("fr", "light", "desktop"),
    ],
)
def test_it_is_set_up_and_asked_for(
    app: Application, browser: Browser, language: str, theme: str, width: str
) -> None:
    complaints: list[str] = []
    context = browser.new_context(
        viewport=DESKTOP if width == "desktop" else PHONE,
        color_scheme="dark" if theme == "dark" else "light",
        reduced_motion="reduce",
        locale=language,
    )
    page = new_page(context, complaints)

    def look(name: str) -> None:
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        assert page.locator("html").get_attribute("lang") == language
        assert overflow(page) <= 0, name
        picture(page, f"factor-{language}-{width}-{name}")
        noted = len(complaints)
        assert barriers(page) == [], name
        del complaints[noted:]  # what axe itself does, the policy of the pages refuses

    page.goto(f"{app.address}/sign-up")
    email = f"{language}-{theme}@example.org"
    page.locator("#email").fill(email)
    page.locator("#password").fill(PASSWORD)
    page.locator("main form button").click()
    page.wait_for_url(f"{app.address}/")
    page.goto(f"{app.address}/account/second-factor")
    look("off")
    page.locator("#current").fill(PASSWORD)
    page.locator("main form button").click()
    look("secret")
    secret = page.locator("code.token").inner_text()
    assert page.locator(".qr svg").bounding_box() is not None
    page.locator("#code").fill(pyotp.TOTP(secret).now())
    page.locator("main form button").click()
    expect(page.locator(".codes li")).to_have_count(10)
    look("codes")
    code = page.locator(".codes code").first.inner_text()
    page.goto(f"{app.address}/account")
    look("account")
    context.clear_cookies()
    page.goto(f"{app.address}/sign-in")
    page.locator("#email").fill(email)
    page.locator("#password").fill(PASSWORD)
    page.locator("main form button").click()
    page.wait_for_url("**/sign-in/code")
    look("code")
    page.locator("#code").fill("000000")
    page.locator("main form button").click()
    expect(page.get_by_role("alert")).to_be_visible()
    page.locator("#code").fill(code)
    page.locator("main form button").click()
    page.wait_for_url(f"{app.address}/")
    assert [text for text in complaints if "status of 422" not in text] == []
    context.close()
