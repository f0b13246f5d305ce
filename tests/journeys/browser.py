"""Drive a real browser: open it, note what it complains about, keep a picture of each step."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, expect, sync_playwright

SCREENSHOTS = Path(__file__).parents[2] / "screenshots"
#: A browser for tests: no sandbox inside a container, and no calls of its own to the outside.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP: ViewportSize = {"width": 1280, "height": 900}
SMALL: ViewportSize = {"width": 1024, "height": 800}
PHONE: ViewportSize = {"width": 390, "height": 844}
#: A page that is asked for, and what stands on it, may be late where four processes of tests share two cores.
PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS / 2)
STANDARDS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def executable() -> str | None:
    """The browser to drive: Chromium of the system; None where there is none and none is required."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    assert found or "ECLUSE_REQUIRE_BROWSER" not in os.environ, f"no browser is installed: {', '.join(names)}"
    return found


#: What draws WebGL without a graphics card.
WEBGL = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]


@contextmanager
def opened(*, webgl: bool = False) -> Iterator[Browser]:
    """A browser; maps need `webgl`, and show a drawing without it."""
    flags = [flag for flag in FLAGS if flag != "--disable-gpu"] + WEBGL if webgl else FLAGS
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=flags)
        yield browser
        browser.close()


def new_page(context: BrowserContext, complaints: list[str]) -> Page:
    """A page whose errors are noted: refused styles and scripts, faults of scripts, failed loads."""
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return page


def picture(page: Page, name: str) -> None:
    """Keep what the page looks like under `screenshots/`, where ECLUSE_PICTURES is set."""
    if "ECLUSE_PICTURES" not in os.environ:
        return
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


#: Of a long table or list, the rows that are looked at: one loop of one template writes them all.
ROWS = 12
HIDE_REPEATS = f"""() => document.querySelectorAll('main tbody, main ul, main ol').forEach(list =>
    [...list.children].slice({ROWS}, -1).filter(row => !row.hidden).forEach(row => {{
        row.hidden = row.dataset.repeats = true }}))"""
SHOW_REPEATS = """() => document.querySelectorAll('[data-repeats]').forEach(row => {
    row.hidden = false; delete row.dataset.repeats })"""


def barriers(page: Page) -> list[str]:
    """What axe-core finds on the page that keeps someone out, every part of it unfolded."""
    # At once: some stand in rows that are hidden, and there may be hundreds.
    page.evaluate("document.querySelectorAll('main details').forEach(part => { part.open = true })")
    page.evaluate(HIDE_REPEATS)
    answer: dict[str, Any] = (
        Axe().run(page, options={"runOnly": STANDARDS, "resultTypes": ["violations"]}).response
    )
    page.evaluate(SHOW_REPEATS)
    assert answer["passes"], "axe looked at nothing"
    return [f"{v['id']}: {v['nodes'][0]['html']}" for v in answer["violations"]]


@dataclass
class Journey:
    """What a way through the pages leaves: a signed-in browser, the addresses it came by, its complaints."""

    context: BrowserContext
    addresses: dict[str, str] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)

    def barriers(
        self, browser: Browser, theme: Literal["light", "dark"], width: str, title: str
    ) -> dict[str, list[str]]:
        """Return the barriers of each page that it came by, by its name; each page fits its window."""
        context = browser.new_context(
            viewport=DESKTOP if width == "desktop" else PHONE,
            color_scheme=theme,
            reduced_motion="reduce",
            storage_state=self.context.storage_state(),
        )
        page = new_page(context, [])
        result = {}
        for name, address in self.addresses.items():
            page.goto(address)
            assert overflow(page) <= 0, name
            picture(page, f"{title}-{theme}-{width}-{name}")
            if barrier := barriers(page):
                result[name] = barrier
        context.close()
        return result


def overflow(page: Page) -> int:
    """Pixels by which the page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - innerWidth"))
