"""What a token opens and what it does not, for every route; and how the first account is made."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from ecluse.accounts import LINK_PROVES, cookie_named
from ecluse.catalog.tables import User, now
from ecluse.errors import InvalidCredentials
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.web.app import make_app
from ecluse.web.security import COOKIE
from tests.web.routes import OF_NOBODY, administers, routes

PASSWORD = "a long password"
#: What an administrator does there with the library that is everyone's; by the role that the token has.
ADMINISTERS_BY_ROLE = {
    ("POST", "/api/references/demo"): {},
    ("POST", "/api/references/evaluate"): {},
    ("DELETE", "/api/references/{name}"): None,
}


@dataclass
class Door:
    """An application, and who knocks."""

    app: FastAPI
    runtime: Runtime
    client: str = "127.0.0.1"

    def ask(self, method: str, path: str, **sent: Any) -> httpx.Response:
        headers = sent.pop("headers", {})
        cookies = sent.pop("cookies", None)
        host = sent.pop("host", "127.0.0.1:8000")

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(
                self.app, raise_app_exceptions=False, client=(sent.pop("client", self.client), 40000)
            )
            async with httpx.AsyncClient(
                transport=transport, base_url=f"http://{host}", cookies=cookies
            ) as client:
                return await client.request(method, path, headers=headers, **sent)

        return asyncio.run(send())

    def page(self, session: str, method: str, path: str, **sent: Any) -> httpx.Response:
        name = cookie_named(COOKIE, secure=self.runtime.settings.is_https)
        return self.ask(method, path, cookies={name: session}, headers={"accept": "text/html"}, **sent)

    def signed_in(self, email: str, **detail: Any) -> str:
        _, session = self.runtime.accounts.sign_in(email, PASSWORD, **detail)
        return session


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    settings = Settings.from_environment({"ECLUSE_STORE_URL": "memory://"}, home=tmp_path / "home")
    with Runtime.open(settings) as runtime:
        yield Door(make_app(runtime, listens_here=True), runtime)


@pytest.fixture
def owner(door: Door) -> User:
    return door.runtime.accounts.sign_up("owner@example.org", PASSWORD, "Inès")


def tokens(door: Door, user: User) -> list[str]:
    return [token.name for token in door.runtime.accounts.tokens(user.id)]


# Every route


def test_no_page_takes_a_token(door: Door, owner: User) -> None:
    token, _ = door.runtime.accounts.create_token(owner.id, "script", administers=True)
    opened = []
    for route in routes(door.app):
        if route.path.startswith(("/api/", "/v2")) or route.path in OF_NOBODY:
            continue
        path = re.sub(r"\{[^}]*\}", "x", route.path)
        for method in route.methods:
            answer = door.ask(method, path, headers={"authorization": f"Bearer {token}"})
            if answer.status_code != 403 or "/api/" not in answer.text:
                opened.append((method, route.path, answer.status_code))
    assert opened == []


def test_a_token_administers_only_if_it_was_made_for_that(door: Door, owner: User) -> None:
    plain, _ = door.runtime.accounts.create_token(owner.id, "plain")
    full, _ = door.runtime.accounts.create_token(owner.id, "full", administers=True)
    for method, path in [*sorted(administers(door.app)), *ADMINISTERS_BY_ROLE]:
        place = re.sub(r"\{[^}]*\}", "x", path)
        body = ADMINISTERS_BY_ROLE.get((method, path), {})
        sent = {} if body is None or method == "GET" else {"json": body}
        refused = door.ask(method, place, headers={"authorization": f"Bearer {plain}"}, **sent)
        assert refused.status_code == 403, (method, path, refused.text)
        taken = door.ask(method, place, headers={"authorization": f"Bearer {full}"}, **sent)
        assert taken.status_code != 403, (method, path, taken.text)


def test_a_token_of_a_member_administers_nothing_whatever_it_says(door: Door, owner: User) -> None:
    member = door.runtime.accounts.sign_up("member@example.org", PASSWORD)
    token, _ = door.runtime.accounts.create_token(member.id, "full", administers=True)
    answer = door.ask("GET", "/api/migrations", headers={"authorization": f"Bearer {token}"})
    assert answer.status_code == 403


def test_a_plain_token_of_an_administrator_imports_from_no_other_place(door: Door, owner: User) -> None:
    token, _ = door.runtime.accounts.create_token(owner.id, "plain")
    body = {"name": "leaves", "source": "s3://elsewhere/photos"}
    answer = door.ask("POST", "/api/plants/sets", headers={"authorization": f"Bearer {token}"}, json=body)
    assert answer.status_code == 422
    assert "none of the places" in answer.json()["error"]["message"]


# The page of accounts


def test_an_administrator_invites_changes_and_reads_with_the_password(door: Door, owner: User) -> None:
    session = door.signed_in(owner.email, client="192.0.2.9")
    invited = {"email": "new@example.org", "role": "member"}
    changed = {"email": "new@example.org", "action": "disable"}
    for path, form in {"/users": invited, "/users/change": changed}.items():
        assert door.page(session, "POST", path, data=form).status_code == 422
    assert len(door.runtime.accounts.everyone()) == 1
    proof = {"current": PASSWORD}
    link = re.search(r"/sign-in/link/[\w-]+", door.page(session, "POST", "/users", data=invited | proof).text)
    assert link
    assert door.ask("POST", link[0]).status_code == 303
    assert door.page(session, "POST", "/users/change", data=changed | proof).status_code == 200
    assert door.runtime.accounts.by_email("new@example.org").disabled_at is not None
    mine = {"email": owner.email, "action": "member"} | proof
    assert door.page(session, "POST", "/users/change", data=mine).status_code == 409
    shown = door.page(session, "GET", "/users").text
    for said in ("new@example.org", "192.0.2.9", "sign-in link made", "disabled since"):
        assert said in shown
    member = door.runtime.accounts.sign_up("member@example.org", PASSWORD)
    assert door.page(door.signed_in(member.email), "GET", "/users").status_code == 403


# The account page


@pytest.mark.parametrize("current", [None, "", "wrong password"])
def test_address_password_and_token_take_the_password(door: Door, owner: User, current: str | None) -> None:
    session = door.signed_in(owner.email)
    said = {} if current is None else {"current": current}
    for path, form in {
        "/account/identity": {"email": "new@example.org", "name": "Inès"},
        "/account/password": {"new": "another password"},
        "/account/tokens": {"name": "script", "scopes": "read"},
    }.items():
        answer = door.page(session, "POST", path, data=form | said)
        assert answer.status_code == 422, path
        assert "current password" in answer.text
    assert tokens(door, owner) == []
    assert door.runtime.accounts.by_email("owner@example.org").name == "Inès"
    door.signed_in(owner.email)


def test_with_the_password_they_change_and_a_name_takes_none(door: Door, owner: User) -> None:
    session = door.signed_in(owner.email)
    form = {"name": "nightly", "current": PASSWORD, "days": "90", "scopes": "manage"}
    shown = re.search(r"ecluse_[\w-]{20,}", door.page(session, "POST", "/account/tokens", data=form).text)
    assert shown
    (token,) = door.runtime.accounts.tokens(owner.id)
    assert token.expires_at is not None
    assert 89 <= (token.expires_at - now()).days <= 90
    assert not token.administers
    door.page(session, "POST", "/account/identity", data={"email": owner.email, "name": "Ann"})
    assert door.runtime.accounts.by_email(owner.email).name == "Ann"
    form = {"email": "new@example.org", "name": "Ann", "current": PASSWORD}
    assert door.page(session, "POST", "/account/identity", data=form).status_code == 303
    assert door.runtime.accounts.by_email("new@example.org").id == owner.id
    assert tokens(door, owner) == ["nightly"], "a new address ends nothing unless asked to"


def test_a_new_password_ends_tokens_unless_they_are_kept(door: Door, owner: User) -> None:
    session, elsewhere = door.signed_in(owner.email), door.signed_in(owner.email)
    door.runtime.accounts.create_token(owner.id, "kept")
    form = {"new": "another password", "current": PASSWORD, "keep_tokens": "1"}
    assert door.page(session, "POST", "/account/password", data=form).status_code == 200
    assert tokens(door, owner) == ["kept"]
    assert door.page(elsewhere, "GET", "/account").status_code == 303
    form = {"new": "a third password", "current": "another password"}
    assert door.page(session, "POST", "/account/password", data=form).status_code == 200
    assert tokens(door, owner) == []
    assert door.page(session, "GET", "/account").status_code == 200


def test_a_new_address_can_end_the_rest(door: Door, owner: User) -> None:
    session, elsewhere = door.signed_in(owner.email), door.signed_in(owner.email)
    door.runtime.accounts.create_token(owner.id, "script")
    form = {"email": "new@example.org", "current": PASSWORD, "end_others": "1"}
    door.page(session, "POST", "/account/identity", data=form)
    assert door.page(elsewhere, "GET", "/account").status_code == 303
    assert tokens(door, owner) == []


def test_all_tokens_and_all_other_browsers_can_be_ended(door: Door, owner: User) -> None:
    session, elsewhere = door.signed_in(owner.email), door.signed_in(owner.email)
    for name in ("a", "b"):
        door.runtime.accounts.create_token(owner.id, name)
    assert door.page(session, "POST", "/account/tokens/revoke").status_code == 303
    assert door.page(session, "POST", "/account/sessions/end", data={"current": PASSWORD}).status_code == 303
    assert tokens(door, owner) == []
    assert door.page(elsewhere, "GET", "/account").status_code == 303
    assert door.page(session, "GET", "/account").status_code == 200


# An account without a password


def first_password(door: Door, session: str, **how: Any) -> int:
    return door.page(session, "POST", "/account/password", data={"new": "my own first"}, **how).status_code


def test_the_local_administrators_first_password_comes_from_this_machine(door: Door) -> None:
    accounts = door.runtime.accounts
    _, session = accounts.redeem_link(accounts.sign_in_link(accounts.local_administrator().id))
    assert first_password(door, session, client="192.0.2.7") == 403
    assert first_password(door, session, host="evil.example.org") == 403
    sent_on = {"x-forwarded-for": "127.0.0.1"}
    answer = door.ask(
        "POST", "/account/password", data={"new": "my own first"}, cookies={COOKIE: session}, headers=sent_on
    )
    assert answer.status_code == 403
    assert "ecluse users password admin@localhost" in answer.text
    door.app.state.listens_here = False
    assert first_password(door, session) == 403
    door.app.state.listens_here = True
    assert first_password(door, session) == 200
    assert accounts.sign_in("admin@localhost", "my own first")


def test_who_was_invited_sets_the_first_password_within_the_hour(
    door: Door, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = door.runtime.accounts
    invited = accounts.add("invited@example.org")
    by_link = [accounts.redeem_link(accounts.sign_in_link(invited.id))[1] for _ in range(2)]
    stolen = accounts.open_session(invited.id)
    away = {"client": "192.0.2.7"}
    assert first_password(door, stolen, **away) == 403
    monkeypatch.setattr("ecluse.accounts.proofs.now", lambda: now() + 2 * LINK_PROVES)
    assert first_password(door, by_link[0], **away) == 403
    monkeypatch.undo()
    assert first_password(door, by_link[1], **away) == 200


# The first account


def sign_up(door: Door, email: str = "first@example.org", **sent: Any) -> httpx.Response:
    form = {"email": email, "password": PASSWORD} | sent.pop("form", {})
    return door.ask("POST", "/sign-up", data=form, headers={"accept": "text/html"}, **sent)


@pytest.fixture
def beyond(tmp_path: Path) -> Iterator[Door]:
    """An application that other machines reach, and no account."""
    settings = Settings.from_environment({"ECLUSE_STORE_URL": "memory://"}, home=tmp_path / "home")
    with Runtime.open(settings) as runtime:
        yield Door(make_app(runtime), runtime, client="192.0.2.7")


def test_a_stranger_beyond_this_machine_does_not_become_the_administrator(beyond: Door) -> None:
    secret, other = beyond.runtime.accounts.first_secret(), beyond.runtime.accounts.first_secret()
    assert secret is not None
    for wrong in ("", "guessed", secret[:-1]):
        answer = sign_up(beyond, form={"secret": wrong})
        assert answer.status_code == 422
        assert "ecluse users add" in answer.text
    assert 'name="secret"' in beyond.ask("GET", "/sign-up").text
    assert not beyond.runtime.accounts.has_any()
    assert sign_up(beyond, form={"secret": secret}).status_code == 303
    assert beyond.runtime.accounts.by_email("first@example.org").role == "admin"
    assert sign_up(beyond, "second@example.org", form={"secret": other}).status_code == 403
    assert beyond.ask("GET", "/sign-up").status_code == 403
    assert "/sign-up" not in beyond.ask("GET", "/sign-in").text
    assert beyond.runtime.accounts.first_secret() is None


def test_the_secret_is_in_the_catalog_as_its_hash_and_ends(
    beyond: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = beyond.runtime.accounts.first_secret()
    assert secret is not None
    with beyond.runtime.catalog.engine.connect() as connection:
        assert secret not in str(connection.exec_driver_sql("SELECT * FROM first_account_secrets").all())
    with monkeypatch.context() as later:
        later.setattr("ecluse.catalog.users.now", lambda: now().replace(year=now().year + 1))
        assert sign_up(beyond, form={"secret": secret}).status_code == 422
    assert sign_up(beyond, form={"secret": secret}).status_code == 303


@pytest.mark.parametrize(
    ("environ", "here", "sent", "status"),
    [
        ({}, True, {"client": "127.0.0.1"}, 303),
        ({}, True, {"client": "::1", "host": "[::1]:8000"}, 303),
        ({}, True, {"client": "127.0.0.1", "host": "rebound.example.org"}, 422),
        ({"ECLUSE_PUBLIC_URL": "https://ecluse.example.org"}, True, {"client": "127.0.0.1"}, 422),
        ({"ECLUSE_TRUSTED_PROXIES": "192.0.2.1"}, True, {"client": "127.0.0.1"}, 422),
        ({}, False, {"client": "127.0.0.1"}, 422),
        ({"ECLUSE_OPEN_SIGN_UP": "true"}, False, {}, 422),
        ({"ECLUSE_OPEN_SIGN_UP": "false"}, True, {"client": "127.0.0.1"}, 403),
    ],
)
def test_only_this_machine_makes_the_first_account_without_a_secret(
    environ: dict[str, str], here: bool, sent: dict[str, Any], status: int, tmp_path: Path
) -> None:
    variables = {"ECLUSE_STORE_URL": "memory://"} | environ
    with Runtime.open(Settings.from_environment(variables, home=tmp_path / "home")) as runtime:
        door = Door(make_app(runtime, listens_here=here), runtime, client="192.0.2.7")
        assert sign_up(door, **sent).status_code == status
        assert runtime.accounts.has_any() is (status == 303)


@pytest.mark.parametrize(("setting", "status"), [(None, 403), ("true", 303), ("false", 403)])
def test_beyond_this_machine_sign_up_is_closed_unless_it_is_set(
    setting: str | None, status: int, tmp_path: Path
) -> None:
    environ = {"ECLUSE_STORE_URL": "memory://"} | ({"ECLUSE_OPEN_SIGN_UP": setting} if setting else {})
    with Runtime.open(Settings.from_environment(environ, home=tmp_path / "home")) as runtime:
        runtime.accounts.sign_up("owner@example.org", PASSWORD)
        door = Door(make_app(runtime), runtime, client="192.0.2.7")
        assert sign_up(door, "stranger@example.org").status_code == status
        assert ("/sign-up" in door.ask("GET", "/sign-in").text) is (status == 303)


@pytest.mark.parametrize(("charset", "half"), [("utf-7", b"+2AA-"), ("unicode_escape", b"\\ud800")])
@pytest.mark.parametrize("path", ["/sign-in", "/sign-up"])
def test_a_form_with_half_a_character_is_refused(
    door: Door, owner: User, path: str, charset: str, half: bytes
) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    body = part % (b"email", b"a" + half + b"@example.org") + part % (b"password", half) + b"--b--\r\n"
    kind = f"multipart/form-data; boundary=b; charset={charset}"
    answer = door.ask("POST", path, content=body, headers={"content-type": kind})
    assert answer.status_code in (403, 422)
    assert path == "/sign-up" or answer.status_code == 422


def test_an_address_with_a_stroke_too_many_leads_to_no_other_host(door: Door, owner: User) -> None:
    answer = door.ask("GET", "/tables/?page=2", host="evil.example.org")
    assert (answer.status_code, answer.headers["location"]) == (307, "/tables?page=2")
    twice = door.ask("GET", "//evil.example.org/tables/")
    assert not twice.headers.get("location", "/").startswith(("//", "http"))


def test_nothing_is_kept_of_an_address_without_an_account(door: Door, owner: User) -> None:
    with pytest.raises(InvalidCredentials):
        door.runtime.accounts.sign_in("my secret password", "x")
    (entry, _by), *_rest = door.runtime.accounts.log()
    assert (entry.action, entry.subject, entry.detail) == ("user.sign_in_failed", "unknown", {"client": ""})
