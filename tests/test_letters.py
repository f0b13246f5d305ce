"""Mail: sent by a real server, encrypted or not at all; kept while it is away; never twice in a loop."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text, update

from ecluse import mail
from ecluse.accounts import Accounts, SignedIn
from ecluse.accounts.access import digest
from ecluse.accounts.letters import LETTER_LIFETIME, Text
from ecluse.accounts.tokens import NewToken
from ecluse.catalog import Catalog, attempts, letters, second_factors
from ecluse.catalog.attempts import Limit
from ecluse.catalog.tables import ApiToken, Identity, Letter, SecondFactor, Share, now
from ecluse.errors import (
    EmailTaken,
    Forbidden,
    InvalidCredentials,
    InvalidInput,
    LinkOver,
    MailNotSent,
    MailRefused,
    SecondFactorNeeded,
    SettingsError,
    TooManyAttempts,
)
from ecluse.runtime import Runtime, Worker
from ecluse.settings import AccountsSettings, MailSettings, Secret, Settings
from tests.mailboxes import NAME, PASSWORD, Mailbox, certificate, served, text_of
from tests.support.wait import wait_until

EMAIL = "anna@example.org"
TEXT = Text("Subject é", "Follow it:\n\n{link}\n")


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with served(Mailbox()) as opened:
        yield opened


def settings_of(mailbox: Mailbox, **environ: str) -> MailSettings:
    variables = {
        "ECLUSE_SMTP_URL": f"smtp://{mailbox.address}",
        "ECLUSE_MAIL_FROM": "ecluse@example.org",
        "ECLUSE_PUBLIC_URL": "https://ecluse.example.org",
    } | environ
    settings = Settings.from_environment(variables, home=Path("/nowhere")).accounts.mail
    assert settings is not None
    return settings


@pytest.fixture
def accounts(catalog: Catalog, mailbox: Mailbox) -> Accounts:
    made = Accounts(catalog, AccountsSettings(mail=settings_of(mailbox)))
    made.sign_up(EMAIL, "correct horse")
    return made


def signed_in(accounts: Accounts, email: str = EMAIL) -> SignedIn:
    person = accounts.who_has_session(accounts.open_session(accounts.by_email(email).id))
    assert person is not None
    return person


def secret_in(mailbox: Mailbox) -> str:
    return mailbox.link().rpartition("/")[2]


def make_due(accounts: Accounts) -> None:
    with accounts._catalog.write() as transaction:
        transaction.execute(update(Letter).values(due_at=now()))


def letters_left(accounts: Accounts) -> int:
    with accounts._catalog.read() as transaction:
        return int(transaction.scalar(text("SELECT count(*) FROM letters")) or 0)


# The server


def test_a_mail_goes_encrypted_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context, trusted = certificate(tmp_path)
    options = {"auth_required": True, "authenticator": None}
    for scheme, how in (("smtp", {"tls_context": context, "require_starttls": True}), ("smtps", {})):
        mailbox = Mailbox()
        given: dict[str, Any] = {**options, **how, "authenticator": mailbox.authenticate}
        if scheme == "smtps":
            given |= {"ssl_context": context, "auth_require_tls": False, "auth_required": False}
        with served(mailbox, **given):
            port = mailbox.address.rpartition(":")[2]
            security = "tls" if scheme == "smtps" else "starttls"
            settings = MailSettings(
                "localhost", int(port), security, "ecluse@example.org", "https://x", NAME, Secret(PASSWORD)
            )
            with pytest.raises(MailNotSent, match="SSL"):
                mail.send(settings, EMAIL, "Subject", "text")
            assert mailbox.names == [], "no password goes to a server that is not known"
            with monkeypatch.context() as patched:
                patched.setenv("SSL_CERT_FILE", str(trusted))
                mail.send(settings, EMAIL, "Subject é", "text\n")
                assert (mailbox.names, mailbox.recipients) == ([NAME], [EMAIL])
                assert mailbox.letters[0]["subject"] == "Subject é"
                wrong = MailSettings(
                    "localhost", int(port), security, "ecluse@example.org", "https://x", NAME, Secret("x")
                )
                with pytest.raises(MailNotSent, match="535"):
                    mail.send(wrong, EMAIL, "Subject", "text")


def test_a_server_that_does_not_encrypt_gets_no_mail(mailbox: Mailbox) -> None:
    port = int(mailbox.address.rpartition(":")[2])
    settings = MailSettings("127.0.0.1", port, "starttls", "ecluse@example.org", "https://x")
    with pytest.raises(MailRefused):
        mail.send(settings, EMAIL, "Subject", "text")
    assert mailbox.letters == []


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"ECLUSE_SMTP_URL": "smtp://u:secret@mail.example.org"}, "ECLUSE_SMTP_USER"),
        ({"ECLUSE_SMTP_URL": "https://mail.example.org"}, "smtps://"),
        ({"ECLUSE_SMTP_URL": "smtp://mail.example.org", "ECLUSE_MAIL_FROM": "a@b.c"}, "ECLUSE_PUBLIC_URL"),
        ({"ECLUSE_SMTP_URL": "smtp://mail.example.org"}, "ECLUSE_MAIL_FROM"),
    ],
)
def test_a_setting_that_lacks_another_is_refused_without_its_secret(
    environ: dict[str, str], said: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=said) as refused:
        Settings.from_environment(environ, home=tmp_path)
    assert "secret" not in str(refused.value)


def test_another_machine_gets_mail_unencrypted_only_where_that_is_set(mailbox: Mailbox) -> None:
    far = {"ECLUSE_SMTP_URL": "smtp://mail.example.org"}
    assert (settings_of(mailbox, **far).security, settings_of(mailbox, **far).port) == ("starttls", 587)
    assert settings_of(mailbox, **far, ECLUSE_SMTP_PLAIN="true").security == "none"
    assert settings_of(mailbox).security == "none"
    tls = settings_of(mailbox, ECLUSE_SMTP_URL="smtps://mail.example.org", ECLUSE_SMTP_PLAIN="true")
    assert (tls.security, tls.port) == ("tls", 465)


@pytest.mark.parametrize("address", ["a,victim@example.org", "<x@y>@example.org", "two@signs@example.org"])
def test_an_address_that_reads_as_several_gets_no_mail(mailbox: Mailbox, address: str) -> None:
    with pytest.raises(MailRefused):
        mail.send(settings_of(mailbox), address, "Subject", "text")
    assert mailbox.recipients == []


# Kept until it is sent


def test_what_cannot_be_sent_now_is_tried_again_and_arrives_once(
    accounts: Accounts, mailbox: Mailbox, caplog: pytest.LogCaptureFixture
) -> None:
    mailbox.refusals += ["451 try again later", "421 busy"]
    accounts.ask_for_reset(EMAIL, TEXT, "192.0.2.7")
    for _ in range(2):
        assert accounts.send_due() == 0
        assert accounts.send_due() == 0, "not at once again"
        make_due(accounts)
    assert (accounts.send_due(), letters_left(accounts), len(mailbox.letters)) == (1, 0, 1)
    make_due(accounts)
    assert (accounts.send_due(), len(mailbox.letters)) == (0, 1)
    assert accounts.who_resets(secret_in(mailbox)).email == EMAIL
    with accounts._catalog.read() as transaction:
        kept = transaction.scalar(text("SELECT count(*) FROM api_tokens WHERE purpose = 'password_reset'"))
    assert kept == 1, "links of tries that failed are taken back"
    said = [record.getMessage() for record in caplog.records if record.name.startswith("ecluse.")]
    assert [line.rpartition(" ")[2] for line in said] == ["451", "421"]
    assert not [line for line in said if EMAIL in line or "/password/" in line]


def test_a_server_that_is_away_loses_no_mail(accounts: Accounts, mailbox: Mailbox) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = free.getsockname()[1]
    away = Accounts(
        accounts._catalog,
        AccountsSettings(mail=MailSettings("127.0.0.1", nobody, "none", "a@b.c", "https://x")),
    )
    away.ask_for_reset(EMAIL, TEXT, "192.0.2.7")
    assert (away.send_due(), letters_left(accounts)) == (0, 1)
    make_due(accounts)
    assert (accounts.send_due(), len(mailbox.letters)) == (1, 1)


def test_what_no_server_takes_is_given_up_and_written_down(accounts: Accounts, mailbox: Mailbox) -> None:
    accounts.ask_to_change_email(signed_in(accounts), "ab@example.org", "correct horse", TEXT)
    with accounts._catalog.write() as transaction:  # an address from before these were refused
        transaction.execute(update(Letter).values(recipient="a,b@example.org"))
    assert (accounts.send_due(), letters_left(accounts)) == (1, 0)
    accounts.ask_for_reset(EMAIL, TEXT, "192.0.2.7")
    with accounts._catalog.write() as transaction:
        transaction.execute(update(Letter).values(created_at=now() - 2 * LETTER_LIFETIME))
    mailbox.refusals.append("451 never")
    assert (accounts.send_due(), letters_left(accounts)) == (1, 0)
    given_up = [
        entry.subject for entry, _ in accounts.log(everything=True) if entry.action == "mail.given_up"
    ]
    assert sorted(given_up) == ["a,b@example.org", EMAIL]


def test_two_processes_send_a_letter_once(accounts: Accounts, mailbox: Mailbox) -> None:
    other = Catalog(accounts._catalog.engine.url.render_as_string(hide_password=False))
    both = accounts, Accounts(other, accounts._settings)
    for number in range(6):
        accounts.add(f"{number}@example.org")
        accounts.ask_for_reset(f"{number}@example.org", TEXT, f"192.0.2.{number}")
    threads = [threading.Thread(target=each.send_due) for each in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    accounts.send_due()
    assert sorted(mailbox.recipients) == [f"{number}@example.org" for number in range(6)]
    other.close()


def test_a_worker_sends(tmp_path: Path, mailbox: Mailbox) -> None:
    environ = {
        "ECLUSE_SMTP_URL": f"smtp://{mailbox.address}",
        "ECLUSE_MAIL_FROM": "ecluse@example.org",
        "ECLUSE_PUBLIC_URL": "https://ecluse.example.org",
    }
    with Runtime.open(Settings.from_environment(environ, home=tmp_path / "home")) as runtime:
        runtime.accounts.add(EMAIL)
        runtime.accounts.ask_for_reset(EMAIL, TEXT, "192.0.2.7")
        worker = Worker(runtime, {})
        worker.start()
        running = threading.Thread(target=worker.run_until_stopped)
        running.start()
        try:
            wait_until(lambda: mailbox.recipients == [EMAIL], "a mail")
        finally:
            worker.stop()
            running.join()
            worker.close()


# What links do


def test_a_reset_link_sets_a_password_once_within_an_hour(
    accounts: Accounts, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = accounts.open_session(accounts.by_email(EMAIL).id)
    accounts.create_token(accounts.by_email(EMAIL).id, "program")
    accounts.ask_for_reset(EMAIL.upper(), TEXT, "192.0.2.7")
    accounts.send_due()
    secret = secret_in(mailbox)
    assert "{link}" not in text_of(mailbox.letters[0])
    for found in (accounts.who_has_session(secret), accounts.who_has_token(secret)):
        assert found is None
    with monkeypatch.context() as later:
        later.setattr("ecluse.catalog.users.now", lambda: now() + timedelta(minutes=61))
        with pytest.raises(InvalidCredentials, match="too old"):
            accounts.reset_password(secret, "a new password")
    user = accounts.reset_password(secret, "a new password")
    assert accounts.sign_in(EMAIL, "a new password")
    assert accounts.who_has_session(session) is None
    assert accounts.tokens(user.id) == []
    assert accounts.by_email(EMAIL).verified_at is not None
    with pytest.raises(InvalidCredentials, match="used before"):
        accounts.reset_password(secret, "another password")
    accounts.create_token(user.id, "kept")
    accounts.ask_for_reset(EMAIL, TEXT, "192.0.2.7")
    accounts.ask_for_reset(EMAIL, TEXT, "192.0.2.7")
    accounts.send_due()
    first, second = (mailbox.link(number).rpartition("/")[2] for number in (-2, -1))
    accounts.reset_password(second, "a third password", keep_tokens=True)
    assert [token.name for token in accounts.tokens(user.id)] == ["kept"]
    with pytest.raises(InvalidCredentials):
        accounts.reset_password(first, "a fourth password")


def test_no_secret_of_a_letter_is_in_the_catalog(accounts: Accounts, mailbox: Mailbox) -> None:
    accounts.ask_for_reset(EMAIL, TEXT, "192.0.2.7")
    accounts.ask_to_verify(signed_in(accounts), TEXT, "192.0.2.7")
    accounts.send_due()
    with accounts._catalog.engine.connect() as connection:
        tables = ("letters", "email_proofs", "api_tokens", "audit_log")
        kept = "".join(str(connection.execute(text(f"SELECT * FROM {table}")).all()) for table in tables)
    assert len(mailbox.letters) == 2
    for number in range(2):
        assert mailbox.link(number).rpartition("/")[2] not in kept


def test_an_address_without_an_account_gets_no_mail_and_nobody_learns_it(
    accounts: Accounts, mailbox: Mailbox
) -> None:
    accounts.add("disabled@example.org")
    accounts.add("admin@example.org", admin=True)
    accounts.disable("disabled@example.org")
    for email in ("nobody@example.org", "disabled@example.org"):
        accounts.ask_for_reset(email, TEXT, "192.0.2.7")
    assert letters_left(accounts) == 2, "the same is done as for an account"
    assert (accounts.send_due(), mailbox.letters) == (2, [])


def test_asking_for_mail_is_held_back_whether_or_not_there_is_an_account(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "MAIL_TO", Limit(2, 3600))
    for email in (EMAIL, "nobody@example.org"):
        for number in range(2):
            accounts.ask_for_reset(email, TEXT, f"192.0.2.{number}")
        with pytest.raises(TooManyAttempts, match="Too many mails"):
            accounts.ask_for_reset(email, TEXT, "192.0.2.9")
    monkeypatch.setattr(attempts, "MAIL_FROM", Limit(1, 3600))
    accounts.ask_for_reset("a@example.org", TEXT, "203.0.113.1")
    with pytest.raises(TooManyAttempts):
        accounts.ask_for_reset("b@example.org", TEXT, "203.0.113.1")


def test_what_strangers_ask_for_keeps_no_other_mail_back(
    accounts: Accounts, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MAIL_TO", "MAIL_FROM", "ALL_MAIL"):
        monkeypatch.setattr(attempts, name, Limit(1, 3600))
    anna = accounts.by_email(EMAIL)
    accounts.add_organisation(anna.id, "acme")
    accounts.ask_for_reset("new@example.org", TEXT, "192.0.2.7")
    with pytest.raises(TooManyAttempts):
        accounts.ask_for_reset("new@example.org", TEXT, "192.0.2.7")
    accounts.invite_by_mail(anna.id, "acme", "member", 7, "new@example.org", TEXT)
    accounts.ask_to_verify(signed_in(accounts), TEXT, "192.0.2.7")
    accounts.send_due()
    assert sorted(mailbox.recipients) == [EMAIL, "new@example.org"]


def test_an_address_changes_once_its_owner_has_opened_the_link(accounts: Accounts, mailbox: Mailbox) -> None:
    person = signed_in(accounts)
    with pytest.raises(InvalidCredentials):
        accounts.ask_to_change_email(person, "new@example.org", "a wrong password", TEXT)
    accounts.ask_to_change_email(person, "new@example.org", "correct horse", TEXT)
    accounts.send_due()
    assert mailbox.recipients == ["new@example.org"]
    assert accounts.by_email(EMAIL).verified_at is None
    accounts.sign_up("other@example.org", "correct horse")
    with pytest.raises(Forbidden, match="another account"):
        accounts.verify_email(signed_in(accounts, "other@example.org"), secret_in(mailbox), TEXT)
    link = secret_in(mailbox)
    assert accounts.verify_email(person, link, Text("Changed", "It changed.\n"))
    assert accounts.by_email("new@example.org").verified_at is not None
    accounts.send_due()
    assert (mailbox.recipients[-1], mailbox.letters[-1]["subject"]) == (EMAIL, "Changed")
    with pytest.raises(InvalidCredentials):
        accounts.verify_email(person, link, TEXT)


def test_a_password_set_by_mail_takes_away_what_was_linked_before_the_address_was_confirmed(
    accounts: Accounts, mailbox: Mailbox
) -> None:
    user = accounts.by_email(EMAIL)
    for is_known in (False, True):
        accounts.create_token(user.id, "kept")
        with accounts._catalog.write() as transaction:
            identity = Identity(
                user_id=user.id, issuer="https://id.example.org", subject="squatter", provider="main"
            )
            transaction.add(identity)
        accounts.ask_for_reset(EMAIL, TEXT, "192.0.2.7")
        accounts.send_due()
        accounts.reset_password(secret_in(mailbox), "a new password", keep_tokens=True)
        assert len(accounts.identities(user.id)) == is_known
        assert len(accounts.tokens(user.id)) == is_known
    (entry,) = [each for each, _ in accounts.log(EMAIL) if each.action == "user.end_ways_in"]
    assert entry.detail == {"identities": "main:squatter", "shares": 0, "service_tokens": 0}


def test_what_was_shared_before_the_address_was_confirmed_ends_with_a_password_set_by_mail(
    accounts: Accounts, mailbox: Mailbox
) -> None:
    user, other = accounts.by_email(EMAIL), accounts.sign_up("other@example.org", "correct horse")
    for handle in ("mine", "ours"):
        accounts.add_organisation(user.id, handle)
        service = accounts.add_service(user.id, handle, "nightly", "member")
        new = NewToken("program")
        accounts.create_service_token(user.id, handle, service.id, new)
    secret, _rest = accounts.invite(user.id, "ours", "owner")
    accounts.accept_invitation(other.id, secret)
    invited, _rest = accounts.invite(user.id, "mine")
    ours = accounts.owned_organisation(user.id, "ours").id
    with accounts._catalog.write() as transaction:
        for owner, maker, reader, link in (
            (user.id, user.id, other.id, None),
            (user.id, user.id, None, "link"),
            (ours, user.id, None, "another"),
            (ours, other.id, None, "stays"),
            (other.id, other.id, user.id, None),
        ):
            transaction.add(
                Share(
                    owner_id=owner, made_by=maker, kind="models", name="m", reader_id=reader, secret_hash=link
                )
            )
    accounts.ask_for_reset(EMAIL, TEXT, "192.0.2.7")
    accounts.send_due()
    accounts.reset_password(secret_in(mailbox), "a new password")
    with accounts._catalog.read() as transaction:
        kept = sorted(row.secret_hash or "" for row in transaction.scalars(select(Share)))
        tokens = list(transaction.scalars(select(ApiToken.user_id).where(ApiToken.purpose == "service")))
    assert (kept, tokens) == (["", "stays"], [ours])
    with pytest.raises(LinkOver):
        accounts.invitation(invited)


@pytest.mark.parametrize("is_confirmed", [False, True])
def test_a_password_set_by_mail_takes_no_second_factor_off(
    accounts: Accounts, mailbox: Mailbox, is_confirmed: bool
) -> None:
    user = accounts.by_email(EMAIL)
    with accounts._catalog.write() as transaction:
        transaction.add(SecondFactor(user_id=user.id, secret="x", confirmed_at=now()))
        second_factors.add_recovery_codes(transaction, user.id, [digest("abcd")])
        if is_confirmed:
            letters.set_verified(transaction, user.id)
    accounts.ask_for_reset(EMAIL, TEXT, "192.0.2.7")
    accounts.send_due()
    accounts.reset_password(secret_in(mailbox), "a new password")
    with pytest.raises(SecondFactorNeeded) as needed:
        accounts.sign_in(EMAIL, "a new password")
    assert accounts.finish_sign_in(needed.value.step, "abcd")


def test_what_ends_sessions_ends_links_that_change_the_address(accounts: Accounts, mailbox: Mailbox) -> None:
    person = signed_in(accounts)
    accounts.ask_to_change_email(person, "squatter@example.org", "correct horse", TEXT)
    accounts.send_due()
    link = secret_in(mailbox)
    assert accounts.address_to_verify(person, link) == "squatter@example.org"
    accounts.ask_to_change_email(person, "squatter@example.org", "correct horse", TEXT)
    accounts.ask_for_reset(EMAIL, TEXT, "192.0.2.7")
    accounts.set_password(EMAIL, "a new password")
    for use in (accounts.address_to_verify, lambda who, secret: accounts.verify_email(who, secret, TEXT)):
        with pytest.raises(InvalidCredentials, match="used before"):
            use(person, link)
    accounts.send_due()
    assert mailbox.recipients == ["squatter@example.org", EMAIL], "one that waited is sent no more"


def test_a_link_is_put_in_its_own_line_alone(accounts: Accounts, mailbox: Mailbox) -> None:
    user = accounts.by_email(EMAIL)
    accounts.add_organisation(user.id, "acme")
    text_with = Text("Invitation", "{link}@example.org invites you:\n\n{link}\n")
    accounts.invite_by_mail(user.id, "acme", "viewer", 7, "ben@example.org", text_with)
    accounts.send_due()
    sent = text_of(mailbox.letters[0])
    assert "{link}@example.org invites you" in sent
    assert sent.count("/organisations/join/") == 1


def test_an_address_that_was_taken_meanwhile_is_not_given(accounts: Accounts, mailbox: Mailbox) -> None:
    person = signed_in(accounts)
    accounts.ask_to_change_email(person, "new@example.org", "correct horse", TEXT)
    accounts.send_due()
    accounts.sign_up("new@example.org", "correct horse")
    with pytest.raises(EmailTaken):
        accounts.verify_email(person, secret_in(mailbox), TEXT)
    assert accounts.by_email(EMAIL).id == person.user.id


def test_an_invitation_is_sent_and_its_link_is_known_to_the_reader_alone(
    accounts: Accounts, mailbox: Mailbox
) -> None:
    anna = accounts.by_email(EMAIL)
    ben = accounts.sign_up("ben@example.org", "correct horse")
    accounts.add_organisation(anna.id, "acme")
    with pytest.raises(Exception, match="acme"):
        accounts.invite_by_mail(ben.id, "acme", "member", 7, "x@example.org", TEXT)
    accounts.invite_by_mail(anna.id, "acme", "viewer", 7, "ben@example.org", TEXT)
    assert accounts.invitations(anna.id, "acme") == [], "there is none before it is sent"
    accounts.send_due()
    assert mailbox.link().startswith("/organisations/join/")
    accounts.accept_invitation(ben.id, secret_in(mailbox))
    assert [(each.email, each.role) for each in accounts.organisation(anna.id, "acme")[1]] == [
        (EMAIL, "owner"),
        ("ben@example.org", "viewer"),
    ]
    accounts.invite_by_mail(anna.id, "acme", "viewer", 7, "c@example.org", TEXT)
    accounts.hand_over(anna.id, "acme", ben.id)
    accounts.send_due()
    assert mailbox.recipients == ["ben@example.org"], "who no longer owns it invites nobody"


def test_an_invitation_that_was_mailed_is_of_its_address(accounts: Accounts, mailbox: Mailbox) -> None:
    anna = accounts.by_email(EMAIL)
    carl = accounts.sign_up("carl@example.org", "correct horse")
    accounts.add_organisation(anna.id, "acme")
    accounts.invite_by_mail(anna.id, "acme", "member", 7, "ben@example.org", TEXT)
    accounts.send_due()
    secret = secret_in(mailbox)
    with pytest.raises(InvalidInput, match="is for ben"):
        accounts.accept_invitation(carl.id, secret)
    with pytest.raises(InvalidInput, match="is for ben"):
        accounts.sign_up("dora@example.org", "correct horse", invitation=secret)
    ben = accounts.sign_up("ben@example.org", "correct horse", invitation=secret)
    assert accounts.by_email("ben@example.org").verified_at is not None
    assert [each.handle for each in accounts.organisations(ben.id)] == ["acme"]


def test_the_settings_in_force_say_nothing_of_the_password(
    mailbox: Mailbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    settings = settings_of(mailbox, ECLUSE_SMTP_USER="ecluse", ECLUSE_SMTP_PASSWORD="hidden away")
    assert "hidden away" not in repr(settings)
    with pytest.raises(MailRefused):
        mail.send(settings, EMAIL, "Subject", "text")
    assert "hidden away" not in caplog.text
