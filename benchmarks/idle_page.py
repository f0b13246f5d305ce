"""Hold the list of jobs open in a browser until a line is read: python -m benchmarks.idle_page ADDRESS LINK."""

from __future__ import annotations

import sys

from tests.journeys import browser


def main() -> None:
    address, link = sys.argv[1:]
    with browser.opened() as chromium:
        page = chromium.new_page()
        page.goto(link)
        page.get_by_role("main").get_by_role("button", name="Sign in").click()
        page.wait_for_url(lambda url: "/sign-in" not in url)
        page.goto(f"{address}/jobs")
        assert page.url.endswith("/jobs"), page.url
        print("open", flush=True)
        sys.stdin.readline()  # the browser goes on meanwhile


if __name__ == "__main__":
    main()
