"""Write docs/images/scores.png, the scores of the sample as a browser shows them: `python -m tools.screenshot`.

Starts Écluse in a folder of its own, trains on the sample for ten seconds and scores it: about a minute, and
Chromium is needed. The steps are those of the browser tests, which keep their own pictures in `screenshots/`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, ViewportSize, expect

from tests.application import running
from tests.apps.fraud.journeys.test_main_job import Journey, score, sign_in_by_link, train, try_the_sample
from tests.journeys.browser import executable, new_page, opened

TARGET = Path(__file__).parents[1] / "docs" / "images" / "scores.png"
SIZE: ViewportSize = {"width": 1280, "height": 900}
LARGEST = 250_000


def main() -> int:
    """Take the picture; 1 when the browser is missing or complained, or the picture is too large for a README."""
    if executable() is None:
        print("No Chromium here. Install it, then run this again.", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "home") as app, opened() as browser:
        context = browser.new_context(
            viewport=SIZE, color_scheme="light", locale="en-GB", timezone_id="Europe/Paris"
        )
        journey = Journey(context)
        page = new_page(context, journey.complaints)
        sign_in_by_link(page, app)
        try_the_sample(page, journey)
        train(page, journey)
        score(page, journey)
        size = _take(page)
        context.close()
    for complaint in journey.complaints:
        print(complaint, file=sys.stderr)
    print(f"{TARGET.name}: {size:,} bytes")
    return int(bool(journey.complaints) or size > LARGEST)


def _take(page: Page) -> int:
    """The first screen of the page once its chart is drawn; how many bytes the picture has."""
    expect(page.locator("[data-chart][data-drawn]")).to_have_count(page.locator("[data-chart]").count())
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=TARGET, animations="disabled")
    return TARGET.stat().st_size


if __name__ == "__main__":
    sys.exit(main())
