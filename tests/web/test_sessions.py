"""A person sees the browsers that are signed in, in plain words, and ends them; nobody else does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.web.app import make_app
from ecluse.web.browsers import browser_of
from tests.web.test_doors import PASSWORD, Door

ON_WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0"
WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    settings = Settings.from_environment({"ECLUSE_STORE_URL": "memory://"}, home=tmp_path / "home")
    with Runtime.open(settings) as runtime:
        yield Door(make_app(runtime, listens_here=True), runtime)


@pytest.mark.parametrize(
    ("user_agent", "names"),
    [
        (ON_WINDOWS, ("Firefox", "Windows")),
        (f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {WEBKIT} Chrome/141.0.0.0 Safari/537.36", ("Chrome", "macOS")),
        (f"Mozilla/5.0 (Windows NT 10.0) {WEBKIT} Chrome/141.0 Safari/537.36 Edg/141.0", ("Edge", "Windows")),
        (f"Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} Chrome/141.0 Safari/537.36 OPR/120.0", ("Opera", "Linux")),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
         "Version/18.5 Mobile/15E148 Safari/604.1", ("Safari", "iPhone")),
        ("Mozilla/5.0 (iPad; CPU OS 17_0 like Mac OS X) AppleWebKit/605.1.15 CriOS/140.0 Safari/604.1", ("Chrome", "iPad")),
        (f"Mozilla/5.0 (Linux; Android 15; K) {WEBKIT} SamsungBrowser/28.0 Chrome/130.0 Mobile Safari/537.36",
         ("Samsung Internet", "Android")),
        ("python-httpx/0.28", ("", "")),
        ("", ("", "")),
    ],
)  # fmt: skip
def test_browsers_are_named_as_people_know_them(user_agent: str, names: tuple[str, str]) -> None:
    assert browser_of(user_agent) == names


def test_a_session_is_listed_in_plain_words_and_ended_by_its_owner_alone(door: Door) -> None:
    accounts = door.runtime.accounts
    owner = accounts.sign_up("owner@example.org", PASSWORD)
    other = accounts.sign_up("other@example.org", PASSWORD)
    mine = door.signed_in(owner.email, user_agent="<b>odd</b>")
    elsewhere = door.signed_in(owner.email, user_agent=ON_WINDOWS)
    theirs = door.signed_in(other.email)
    _, by_link = accounts.redeem_link(accounts.sign_in_link(owner.id))
    shown = re.sub(r"\s+", " ", door.page(mine, "GET", "/account").text)
    assert "Firefox on Windows" in shown
    assert "&lt;b&gt;odd&lt;/b&gt;" in shown
    assert shown.count("this one") == 1
    assert shown.count("by link") == 1
    assert "Firefox sur Windows" in re.sub(r"\s+", " ", door.page(mine, "GET", "/account?lang=fr").text)
    (session,) = [each for each in accounts.sessions(owner.id) if each.user_agent == ON_WINDOWS]
    assert session.id not in door.page(theirs, "GET", "/account").text
    right = {"current": PASSWORD}
    door.page(theirs, "POST", f"/account/sessions/{session.id}/end", data=right)
    assert door.page(elsewhere, "GET", "/account").status_code == 200, "it is not theirs to end"
    for wrong in ({}, {"current": "wrong"}):
        for path in (f"/account/sessions/{session.id}/end", "/account/sessions/end"):
            refused = door.page(mine, "POST", path, data=wrong)
            assert (refused.status_code, "not your current password" in refused.text) == (422, True)
    assert door.page(elsewhere, "GET", "/account").status_code == 200, "it takes the password"
    assert door.page(mine, "POST", f"/account/sessions/{session.id}/end", data=right).status_code == 303
    assert door.page(elsewhere, "GET", "/account").status_code == 303
    assert door.page(by_link, "GET", "/account").status_code == 200
    assert door.page(mine, "POST", "/account/sessions/end", data=right).status_code == 303
    assert door.page(by_link, "GET", "/account").status_code == 303
    assert door.page(mine, "GET", "/account").status_code == 200
    assert door.page(theirs, "GET", "/account").status_code == 200
