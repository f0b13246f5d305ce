"""What a page does while nothing moves: an upload says that it waits, and a page that no one sees asks for nothing."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Page, Request, expect

from ecluse.web.admission import AT_ONCE
from tests.application import Application, running
from tests.journeys.browser import DESKTOP, executable, picture
from tests.servers import ObjectServer, store_environment
from tests.support.slow_line import slow_line

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.timeout(300),
    pytest.mark.skipif(executable() is None, reason="no Chromium here"),
]
#: Rows enough that a file goes to the store as it arrives, not at once as everything small.
TABLE = b"amount,is_fraud\n" + b"1234567,0\n7654321,1\n" * 20_000
SEEN_S = 2.5


def test_an_upload_says_that_others_come_first_and_ends_well(
    browser: Browser, object_server: ObjectServer, tmp_path: Path
) -> None:
    there = urlsplit(object_server.endpoint)
    with slow_line(there.hostname or "", there.port or 0, 50e6) as line:
        environ = store_environment(line.endpoint, "waiting")
        with (
            running(tmp_path / "home", environ) as app,
            app.client() as client,
            ThreadPoolExecutor(AT_ONCE) as others,
        ):
            page = browser.new_context(viewport=DESKTOP).new_page()
            sign_in(page, app)
            page.goto(f"{app.address}/fraud")
            line.stopped = True  # what is under way stays in hand: the store says nothing
            sent = [others.submit(upload, client, number) for number in range(AT_ONCE)]
            while not all(
                client.get(f"/api/uploads/{number}").status_code == 200 for number in range(AT_ONCE)
            ):
                assert not any(one.done() for one in sent)
            page.locator("input[type=file]").first.set_input_files(
                {"name": "payments.csv", "mimeType": "text/csv", "buffer": TABLE}
            )
            expect(page.locator(".transfer [role=status]").first).to_have_text(
                re.compile("Uploads ahead of this one: 1"), timeout=30_000
            )
            picture(page, "upload-waits")
            line.stopped = False
            assert [one.result() for one in sent] == [201] * AT_ONCE
            page.wait_for_url("**/fraud/d/*", timeout=60_000)


@pytest.mark.nightly
def test_a_page_that_no_one_sees_asks_for_nothing(browser: Browser, tmp_path: Path) -> None:
    with running(tmp_path / "home") as app:
        page = browser.new_context(viewport=DESKTOP).new_page()
        page.add_init_script(
            "Object.defineProperty(document, 'hidden', { get: () => window.unseen === true })"
        )
        sign_in(page, app)
        asked: list[str] = []
        page.on("request", lambda request: note(request, asked))
        page.evaluate(
            """() => {
              const part = document.createElement("div");
              part.setAttribute("hx-get", "/livez");
              part.setAttribute("hx-trigger", "every 1s");
              document.querySelector("main").append(part);
              htmx.process(part);
            }"""
        )
        page.wait_for_timeout(SEEN_S * 1000)
        assert asked, "while it is seen"
        page.evaluate("window.unseen = true")
        page.wait_for_timeout(200)
        asked.clear()
        page.wait_for_timeout(SEEN_S * 1000)
        assert asked == []
        page.evaluate("window.unseen = false; document.dispatchEvent(new Event('visibilitychange'))")
        page.wait_for_timeout(500)
        assert asked, "as soon as it is seen again"


def sign_in(page: Page, app: Application) -> None:
    page.goto(app.link)
    page.get_by_role("main").get_by_role("button").first.click()
    page.wait_for_url(lambda url: "/sign-in" not in url)


def upload(client: httpx.Client, number: int) -> int:
    files = {"file": (f"{number}.csv", TABLE)}
    return client.post("/api/upload", files=files, headers={"upload-id": str(number)}).status_code


def note(request: Request, asked: list[str]) -> None:
    if request.url.endswith("/livez"):
        asked.append(request.url)
