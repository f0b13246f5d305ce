"""A way to sign in is one value: the page, pages and API, and the log of accounts take it from the table."""

from __future__ import annotations

import uuid

import pytest

from ecluse.accounts import Accounts, SignedIn, ways
from ecluse.accounts.ways import Credentials, Entry, Field, Way
from ecluse.catalog.tables import User
from ecluse.errors import InvalidCredentials, NotFound
from tests.web.within import Within


def enter(accounts: Accounts, entry: Entry) -> tuple[User, str]:
    """Let in who holds the badge of their name."""
    try:
        user = accounts.by_email(f"{entry.values['badge']}@example.org")
    except NotFound as error:
        raise InvalidCredentials("No such badge.") from error
    return user, accounts.open_session(user.id, entry.user_agent, action=BADGE.action, client=entry.client)


BADGE = Way(
    name="badge",
    fields=(Field("badge", "Badge"),),
    enter=enter,
    action="user.sign_in_by_badge",
    logged="signed in by badge",
)


def owner_of_header(accounts: Accounts, email: str) -> SignedIn | None:
    return SignedIn(accounts.by_email(email), None) if email.endswith("@example.org") else None


HEADER = Way(
    name="header",
    credential=lambda credentials: credentials.headers.get("x-invented-user"),
    owner=owner_of_header,
    unknown="This user is not known.",
)


@pytest.fixture
def badge(web: Within, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(ways, "WAYS", (HEADER, *ways.WAYS, BADGE))
    name = uuid.uuid4().hex
    web.runtime.accounts.add(f"{name}@example.org", admin=True)
    return name


def test_a_way_with_a_form_stands_on_the_page_and_in_the_log(web: Within, badge: str) -> None:
    accounts = web.runtime.accounts
    page = web.ask("GET", "/sign-in", auth=None)
    assert 'action="/sign-in/badge"' in page.text
    assert 'action="/sign-in"' in page.text
    wrong = web.ask("POST", "/sign-in/badge", data={"badge": "no"}, auth=None)
    assert (wrong.status_code, "No such badge." in wrong.text) == (422, True)
    assert 'value="no"' in wrong.text
    entered = web.ask("POST", "/sign-in/badge", data={"badge": badge}, auth=None)
    assert (entered.status_code, entered.headers["location"]) == (303, "/")
    session = entered.cookies["ecluse_session"]
    signed_in = accounts.who_has_session(session)
    assert signed_in is not None
    assert signed_in.user.email == f"{badge}@example.org"
    assert next(entry.action for entry, _ in accounts.log(f"{badge}@example.org")) == "user.sign_in_by_badge"
    log = web.ask("GET", "/users", auth=None, headers={"cookie": f"ecluse_session={session}"})
    assert "signed in by badge" in log.text
    for unknown in ("none", "token"):
        assert web.ask("POST", f"/sign-in/{unknown}", data={}, auth=None).status_code == 404


def test_a_way_that_requests_bring_is_asked_before_the_others(web: Within, badge: str) -> None:
    known = {"x-invented-user": f"{badge}@example.org"}
    assert web.ask("GET", "/api/me", auth=None, headers=known).json()["email"] == f"{badge}@example.org"
    assert web.ask("GET", "/models", auth=None, headers=known).status_code == 200
    stranger = web.ask("GET", "/api/me", auth=None, headers={"x-invented-user": "x@example.com"})
    assert (stranger.status_code, stranger.json()["error"]["message"]) == (401, "This user is not known.")
    assert web.ask("GET", "/api/me", auth=None).status_code == 401


def test_the_first_way_that_knows_a_request_counts(web: Within) -> None:
    accounts = web.runtime.accounts
    both = Credentials({"authorization": f"Bearer {web.token}"}, {"ecluse_session": web.session})
    sender = ways.who_asks(accounts, both)
    assert sender is not None
    assert (sender[1].name, sender[0].token is not None) == ("token", True)
    by_cookie = ways.who_asks(accounts, Credentials({"authorization": "Basic eDp5"}, both.cookies))
    assert by_cookie is not None
    assert by_cookie[1].name == "session"
