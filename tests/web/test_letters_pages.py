"""Mail on the pages: a new password by a link, an address confirmed, an invitation sent; and nothing of it without mail."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.web.app import make_app
from tests.mailboxes import Mailbox, served, text_of
from tests.web.test_doors import PASSWORD, Door, door, sign_up

__all__ = ["door"]
EMAIL = "first@example.org"
HTML = {"accept": "text/html"}


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with served(Mailbox()) as opened:
        yield opened


@pytest.fixture
def with_mail(tmp_path: Path, mailbox: Mailbox) -> Iterator[Door]:
    environ = {
        "ECLUSE_STORE_URL": "memory://",
        "ECLUSE_SMTP_URL": f"smtp://{mailbox.address}",
        "ECLUSE_MAIL_FROM": "ecluse@example.org",
        "ECLUSE_PUBLIC_URL": "https://ecluse.example.org",
        "ECLUSE_OPEN_SIGN_UP": "true",
    }
    with Runtime.open(Settings.from_environment(environ, home=tmp_path / "home")) as runtime:
        runtime.accounts.sign_up(EMAIL, PASSWORD)
        yield Door(make_app(runtime), runtime, client="192.0.2.7")


def test_a_forgotten_password_is_set_by_a_link_whose_host_no_request_chooses(
    with_mail: Door, mailbox: Mailbox
) -> None:
    door = with_mail
    session = door.signed_in(EMAIL)
    assert 'href="/password"' in door.ask("GET", "/sign-in").text
    answers = [
        door.ask("POST", "/password", data={"email": email}, host="evil.example.org", headers=HTML)
        for email in (EMAIL, "nobody@example.org")
    ]
    assert answers[0].text == answers[1].text
    assert [answer.status_code for answer in answers] == [200, 200]
    door.runtime.accounts.send_due()
    assert mailbox.recipients == [EMAIL]
    link = mailbox.link()
    assert "evil" not in text_of(mailbox.letters[0])
    for _ in range(2):
        assert 'name="new"' in door.ask("GET", link).text, "looking uses nothing up"
    short = door.ask("POST", link, data={"new": "short"})
    assert (short.status_code, 'name="new"' in short.text) == (422, True)
    done = door.ask("POST", link, data={"new": "another good password"})
    assert (done.status_code, "new password holds" in done.text) == (200, True)
    assert "set-cookie" not in done.headers, "it signs nobody in"
    assert door.page(session, "GET", "/account").status_code == 303
    used = door.ask("POST", link, data={"new": "a third password"})
    assert (used.status_code, "used before" in used.text) == (422, True)
    assert door.runtime.accounts.sign_in(EMAIL, "another good password")


def test_asking_too_often_says_when_to_come_back(with_mail: Door) -> None:
    answers = [with_mail.ask("POST", "/password", data={"email": "x@example.org"}) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert int(answers[-1].headers["retry-after"]) > 0


def test_who_signs_up_and_who_changes_the_address_confirms_it(with_mail: Door, mailbox: Mailbox) -> None:
    door, accounts = with_mail, with_mail.runtime.accounts
    assert sign_up(door, "new@example.org").status_code == 303
    accounts.send_due()
    assert mailbox.recipients == ["new@example.org"]
    session = door.signed_in("new@example.org")
    assert "not confirmed" in door.page(session, "GET", "/account").text
    link = mailbox.link()
    assert door.ask("POST", link, headers=HTML).headers["location"] == "/sign-in"
    elsewhere = door.page(door.signed_in(EMAIL), "POST", link)
    assert (elsewhere.status_code, "another account" in elsewhere.text) == (403, True)
    assert "new@example.org becomes the address of your account" in door.page(session, "GET", link).text
    assert door.page(session, "POST", link).status_code == 303
    assert "was confirmed on" in door.page(session, "GET", "/account").text

    form = {"email": "newer@example.org", "name": "New"}
    assert door.page(session, "POST", "/account/identity", data=form).status_code == 422
    changed = door.page(session, "POST", "/account/identity", data=form | {"current": PASSWORD})
    assert changed.headers["location"] == "/account?sent=1"
    assert "on its way" in door.page(session, "GET", "/account?sent=1").text
    assert accounts.by_email("new@example.org").name == "New", "the name needs no link"
    accounts.send_due()
    assert door.page(session, "POST", mailbox.link()).status_code == 303
    assert accounts.by_email("newer@example.org").verified_at is not None
    accounts.send_due()
    assert mailbox.recipients[-2:] == ["newer@example.org", "new@example.org"]
    assert "newer" not in text_of(mailbox.letters[-1])


def test_a_link_to_confirm_is_sent_again(with_mail: Door, mailbox: Mailbox) -> None:
    session = with_mail.signed_in(EMAIL)
    assert with_mail.page(session, "POST", "/account/verify").status_code == 303
    with_mail.runtime.accounts.send_due()
    assert mailbox.recipients == [EMAIL]


@pytest.mark.parametrize(("language", "said"), [("en", "invites you"), ("fr", "vous invite")])
def test_an_invitation_goes_by_mail_in_the_language_of_who_sends_it(
    with_mail: Door, mailbox: Mailbox, language: str, said: str
) -> None:
    door = with_mail
    session = door.signed_in(EMAIL)
    door.page(session, "POST", "/organisations", data={"handle": "acme"})
    form = {"role": "viewer", "days": "7", "email": "ben@example.org"}
    answer = door.page(session, "POST", f"/organisations/acme/invite?lang={language}", data=form)
    assert answer.status_code == 200
    assert "/organisations/join/" not in answer.text
    door.runtime.accounts.send_due()
    assert said in text_of(mailbox.letters[0])
    assert re.match(r"/organisations/join/[\w-]{40,}", mailbox.link())


def test_without_a_server_of_mail_nothing_offers_it(door: Door) -> None:
    door.runtime.accounts.sign_up(EMAIL, PASSWORD)
    assert 'href="/password"' not in door.ask("GET", "/sign-in").text
    assert door.ask("GET", "/password").status_code == 404
    assert door.ask("POST", "/password", data={"email": EMAIL}).status_code == 404
    session = door.signed_in(EMAIL)
    assert "not confirmed" not in door.page(session, "GET", "/account").text
    form = {"email": "new@example.org", "current": PASSWORD}
    assert door.page(session, "POST", "/account/identity", data=form).status_code == 303
    assert door.runtime.accounts.by_email("new@example.org").verified_at is None
