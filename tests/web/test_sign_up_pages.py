"""The pages by which who is invited makes an account, and administrators invite."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.web.app import make_app
from tests.web.test_doors import PASSWORD, Door, sign_up

HTML = {"accept": "text/html"}
ROOT = "root@example.org"


@pytest.fixture
def invited(tmp_path: Path) -> Iterator[Door]:
    """An application that other machines reach, where accounts are made by invitation."""
    environ = {"ECLUSE_STORE_URL": "memory://", "ECLUSE_SIGN_UP": "invitation"}
    with Runtime.open(Settings.from_environment(environ, home=tmp_path / "home")) as runtime:
        runtime.accounts.sign_up(ROOT, PASSWORD)
        yield Door(make_app(runtime), runtime, client="192.0.2.7")


def link_in(text: str) -> str:
    found = re.search(r"/sign-up/[\w-]{43}", text)
    assert found is not None
    return found[0]


def test_an_administrator_invites_and_who_is_invited_makes_an_account(invited: Door) -> None:
    door = invited
    assert door.ask("GET", "/sign-up", headers=HTML).status_code == 403
    assert sign_up(door, "a@example.org").status_code == 403
    assert "/sign-up" not in door.ask("GET", "/sign-in").text
    session = door.signed_in(ROOT)
    assert "Whoever has an invitation" in door.page(session, "GET", "/users").text
    wrong = door.page(session, "POST", "/users/invite", data={"current": "wrong", "days": "7"})
    assert (wrong.status_code, door.runtime.accounts.people_invited()) == (422, [])
    made = door.page(session, "POST", "/users/invite", data={"current": PASSWORD, "days": "7"})
    link = link_in(made.text)
    for _ in range(2):
        page = door.ask("GET", link, headers=HTML)
        assert (page.status_code, 'name="password"' in page.text) == (200, True), "looking uses nothing up"
    short = door.ask("POST", link, data={"email": "a@example.org", "password": "short"}, headers=HTML)
    assert (short.status_code, f'action="{link}"' in short.text) == (422, True)
    done = door.ask("POST", link, data={"email": "a@example.org", "password": PASSWORD}, headers=HTML)
    assert (done.status_code, "ecluse_session" in done.headers["set-cookie"]) == (303, True)
    assert door.runtime.accounts.by_email("a@example.org").role == "member"
    for method in ("GET", "POST"):
        over = door.ask(method, link, headers=HTML, data={"email": "b@example.org", "password": PASSWORD})
        assert over.status_code == 404


def test_an_invitation_is_taken_back(invited: Door) -> None:
    door, accounts = invited, invited.runtime.accounts
    session = door.signed_in(ROOT)
    secret, row = accounts.invite_person()
    assert row.id in door.page(session, "GET", "/users").text
    assert door.page(session, "POST", f"/users/invitations/{row.id}/withdraw").status_code == 303
    assert door.ask("GET", f"/sign-up/{secret}", headers=HTML).status_code == 404
    accounts.add("member@example.org", password=PASSWORD)
    member = door.signed_in("member@example.org")
    for path in ("/users/invite", f"/users/invitations/{row.id}/withdraw"):
        assert door.page(member, "POST", path, data={"current": PASSWORD}).status_code == 403


def test_who_follows_an_invitation_of_an_organisation_without_an_account_makes_one(invited: Door) -> None:
    door, accounts = invited, invited.runtime.accounts
    root = accounts.by_email(ROOT)
    accounts.add_organisation(root.id, "acme")
    secret, _ = accounts.invite(root.id, "acme", "viewer")
    sent = door.ask("GET", f"/organisations/join/{secret}", headers=HTML)
    assert (sent.status_code, sent.headers["location"]) == (303, "/sign-in")
    page = door.ask("GET", "/sign-in", headers=HTML, cookies={"ecluse_target": sent.cookies["ecluse_target"]})
    assert f"/sign-up/{secret}" in page.text
    assert "@acme" in door.ask("GET", f"/sign-up/{secret}", headers=HTML).text
    form = {"email": "new@example.org", "password": PASSWORD}
    made = door.ask("POST", f"/sign-up/{secret}", data=form, headers=HTML)
    assert (made.status_code, made.headers["location"]) == (303, "/organisations/acme"), (
        "not the link, used up"
    )
    assert 'ecluse_target=""; ' in str(made.headers), "nor at the next sign-in"
    (mine,) = accounts.organisations(accounts.by_email("new@example.org").id)
    assert (mine.handle, mine.role) == ("acme", "viewer")


@pytest.mark.parametrize(("setting", "status"), [("", 403), ("closed", 403), ("open", 303)])
def test_an_invitation_of_an_organisation_opens_nothing_where_the_settings_do_not_say_so(
    setting: str, status: int, tmp_path: Path
) -> None:
    environ = {"ECLUSE_STORE_URL": "memory://", "ECLUSE_SIGN_UP": setting}
    with Runtime.open(Settings.from_environment(environ, home=tmp_path / "home")) as runtime:
        root = runtime.accounts.sign_up(ROOT, PASSWORD)
        runtime.accounts.add_organisation(root.id, "acme")
        secret, _ = runtime.accounts.invite(root.id, "acme", "viewer")
        door = Door(make_app(runtime), runtime, client="192.0.2.7")
        form = {"email": "new@example.org", "password": PASSWORD}
        answer = door.ask("POST", f"/sign-up/{secret}", data=form, headers=HTML)
        assert answer.status_code == status
        assert len(runtime.accounts.everyone()) == (2 if status == 303 else 1)
