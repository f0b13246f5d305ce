"""The second factor on its pages: set up, asked for after the password, taken off; and nothing else opens before."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from ecluse.accounts import STEP_COOKIE
from ecluse.catalog.tables import User
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.web.app import make_app
from ecluse.web.security import CONTENT_POLICY, COOKIE
from tests.telephones import Clock, fixed, secret_on
from tests.web.test_doors import PASSWORD, Door, door, owner

__all__ = ["door", "owner"]
SET_UP = "/account/second-factor"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return fixed(monkeypatch)


def set_up(door: Door, session: str, clock: Clock) -> tuple[str, str]:
    """The secret that the page shows, and the page with the recovery codes."""
    begun = door.page(session, "POST", SET_UP, data={"current": PASSWORD})
    secret = secret_on(begun.text)
    confirmed = door.page(session, "POST", f"{SET_UP}/confirm", data={"code": clock.code_now(secret)})
    assert confirmed.status_code == 200, confirmed.text
    return secret, confirmed.text


def sign_in(door: Door, user: User) -> httpx.Response:
    return door.ask("POST", "/sign-in", data={"email": user.email, "password": PASSWORD})


def test_it_is_set_up_asked_for_and_turned_off(door: Door, owner: User, clock: Clock) -> None:
    session = door.signed_in(owner.email)
    assert 'autocomplete="current-password"' in door.page(session, "GET", SET_UP).text
    wrong = door.page(session, "POST", SET_UP, data={"current": "a wrong password"})
    assert (wrong.status_code, "current password" in wrong.text) == (422, True)
    begun = door.page(session, "POST", SET_UP, data={"current": PASSWORD})
    assert "<svg" in begun.text
    assert "style=" not in begun.text.partition('class="qr"')[2].partition("</figure>")[0]
    assert begun.headers["content-security-policy"] == CONTENT_POLICY
    again = door.page(session, "POST", f"{SET_UP}/confirm", data={"code": "000000"})
    assert (again.status_code, secret_on(again.text)) == (422, secret_on(begun.text))
    secret, shown = set_up(door, session, clock)
    assert shown.count('<code class="token">') == 10
    assert "10 recovery codes left" in door.page(session, "GET", "/account").text

    first = sign_in(door, owner)
    assert (first.status_code, first.headers["location"]) == (303, "/sign-in/code")
    assert COOKIE not in first.cookies
    sent = first.headers["set-cookie"]
    for part in ("HttpOnly", "Path=/sign-in", "SameSite=lax", "Max-Age=600"):
        assert part in sent
    step = {STEP_COOKIE: first.cookies[STEP_COOKIE]}
    assert "recovery codes" in door.ask("GET", "/sign-in/code", cookies=step).text
    refused = door.ask("POST", "/sign-in/code", data={"code": "000000"}, cookies=step)
    assert (refused.status_code, "not right" in refused.text) == (422, True)
    entered = door.ask("POST", "/sign-in/code", data={"code": clock.code(secret)}, cookies=step)
    assert (entered.status_code, entered.headers["location"]) == (303, "/")
    assert door.page(entered.cookies[COOKIE], "GET", "/account").status_code == 200

    form = {"current": PASSWORD, "code": clock.code(secret)}
    assert "is off" in door.page(session, "POST", f"{SET_UP}/off", data=form).text
    assert sign_in(door, owner).headers["location"] == "/"


def test_the_secret_is_not_shown_in_a_session_that_has_not_proved_the_password(
    door: Door, owner: User, clock: Clock
) -> None:
    session, other = door.signed_in(owner.email), door.signed_in(owner.email)
    secret = secret_on(door.page(session, "POST", SET_UP, data={"current": PASSWORD}).text)
    wrong = door.page(other, "POST", f"{SET_UP}/confirm", data={"code": "000000"})
    assert (wrong.status_code, "Begin again" in wrong.text) == (422, True)
    assert secret not in wrong.text.replace(" ", "")


def test_the_proof_of_the_password_opens_nothing_and_is_of_one_browser(
    door: Door, owner: User, clock: Clock
) -> None:
    secret, _page = set_up(door, door.signed_in(owner.email), clock)
    step = sign_in(door, owner).cookies[STEP_COOKIE]
    for cookies in ({COOKIE: step}, {STEP_COOKIE: step}):
        page = door.ask("GET", "/account", cookies=cookies, headers={"accept": "text/html"})
        assert page.headers["location"] == "/sign-in"
    assert door.ask("GET", "/api/me", headers={"authorization": f"Bearer {step}"}).status_code == 401
    assert door.ask("POST", f"/sign-in/link/{step}").status_code == 422
    elsewhere = door.ask("POST", "/sign-in/code", data={"code": clock.code(secret)})
    assert (elsewhere.status_code, "Sign in again" in elsewhere.text) == (422, True)
    assert door.ask("GET", "/sign-in/code").headers["location"] == "/sign-in"


def test_new_recovery_codes_take_the_password_and_a_code(door: Door, owner: User, clock: Clock) -> None:
    session = door.signed_in(owner.email)
    secret, _page = set_up(door, session, clock)
    for form in ({"code": clock.code(secret)}, {"current": PASSWORD}):
        assert door.page(session, "POST", f"{SET_UP}/codes", data=form).status_code == 422
    form = {"current": PASSWORD, "code": clock.code(secret)}
    assert door.page(session, "POST", f"{SET_UP}/codes", data=form).text.count('<code class="token">') == 10


def test_an_administrator_sees_and_takes_it_off(door: Door, owner: User, clock: Clock) -> None:
    member = door.runtime.accounts.sign_up("member@example.org", PASSWORD)
    set_up(door, door.signed_in(member.email), clock)
    session = door.signed_in(owner.email)
    assert '<span class="badge">second factor</span>' in door.page(session, "GET", "/users").text
    form = {"email": member.email, "action": "remove_factor"}
    assert door.page(session, "POST", "/users/change", data=form).status_code == 422
    done = door.page(session, "POST", "/users/change", data=form | {"current": PASSWORD})
    assert (done.status_code, "second factor taken off" in done.text) == (200, True)
    assert sign_in(door, member).headers["location"] == "/"


def test_who_has_to_have_one_is_led_to_it_before_anything_else(tmp_path: Path, clock: Clock) -> None:
    environ = {"ECLUSE_STORE_URL": "memory://", "ECLUSE_SECOND_FACTOR": "everyone"}
    with Runtime.open(Settings.from_environment(environ, home=tmp_path / "home")) as runtime:
        door = Door(make_app(runtime, listens_here=True), runtime)
        user = runtime.accounts.sign_up("owner@example.org", PASSWORD)
        session = door.signed_in(user.email)
        for page in ("/", "/account", "/models", "/users", "/account/second-factor/off"):
            method = "POST" if page.endswith("off") else "GET"
            answer = door.page(session, method, page)
            assert (answer.status_code, answer.headers.get("location")) == (303, SET_UP), page
        refused = door.ask("GET", "/api/models", cookies={COOKIE: session})
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "second_factor_missing")
        assert "before anything else" in door.page(session, "GET", SET_UP).text
        token, _row = runtime.accounts.create_token(user.id, "program")
        assert door.ask("GET", "/api/me", headers={"authorization": f"Bearer {token}"}).status_code == 200
        assert door.page(session, "POST", "/sign-out").headers["location"] == "/sign-in"
        session = door.signed_in(user.email)
        set_up(door, session, clock)
        assert door.page(session, "GET", "/models").status_code == 200
