"""Who may make an account: anyone, who is invited, or nobody; on SQLite and on PostgreSQL."""

from __future__ import annotations

import contextlib
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from ecluse.accounts import Accounts
from ecluse.catalog import Catalog, sign_ups
from ecluse.catalog.tables import now
from ecluse.errors import EcluseError, Forbidden, InvalidInput, LinkOver, NotFound, SettingsError
from ecluse.settings import AccountsSettings, Settings, in_force
from tests.mailboxes import Mailbox
from tests.test_letters import TEXT, mailbox, secret_in, settings_of

PASSWORD = "a long password"
__all__ = ["mailbox"]


@pytest.fixture
def accounts(catalog: Catalog) -> Accounts:
    made = Accounts(catalog, AccountsSettings(sign_up="invitation"))
    made.sign_up("root@example.org", PASSWORD)
    return made


def make(accounts: Accounts, email: str, invitation: str = "", **more: str) -> str:
    made = accounts.sign_up(email, PASSWORD, admission="invited", invitation=invitation, **more)
    return made.email


def test_an_invitation_makes_one_account_that_does_not_administer(
    accounts: Accounts, catalog: Catalog
) -> None:
    root = accounts.by_email("root@example.org")
    with pytest.raises(Forbidden, match="by invitation"):
        make(accounts, "a@example.org")
    with pytest.raises(LinkOver):
        make(accounts, "a@example.org", "never one")
    secret, row = accounts.invite_person(root.id)
    with catalog.engine.connect() as connection:
        assert secret not in str(connection.exec_driver_sql("SELECT * FROM sign_up_invitations").all())
    with pytest.raises(InvalidInput):
        accounts.sign_up("a@example.org", "short", admission="invited", invitation=secret)
    assert [each.id for each in accounts.people_invited()] == [row.id], "a form to correct uses nothing up"
    assert make(accounts, "a@example.org", secret) == "a@example.org"
    assert accounts.by_email("a@example.org").role == "member"
    assert accounts.people_invited() == []
    with pytest.raises(LinkOver):
        make(accounts, "b@example.org", secret)
    actions = [entry.action for entry, _ in accounts.log()]
    assert {"user.invite", "user.invited"} <= set(actions)


def test_it_is_good_while_its_maker_administers_and_until_its_day(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = accounts.add("other@example.org", admin=True)
    secret, row = accounts.invite_person(other.id, days=2)
    accounts.set_role("other@example.org", "member")
    with pytest.raises(LinkOver):
        make(accounts, "a@example.org", secret)
    with pytest.raises(Forbidden):
        accounts.invite_person(other.id)
    accounts.set_role("other@example.org", "admin")
    with pytest.raises(LinkOver):  # it does not come back
        accounts.invited(secret)
    secret, row = accounts.invite_person(other.id, days=2)
    accounts.disable("other@example.org")
    accounts.enable("other@example.org")
    with pytest.raises(LinkOver):
        accounts.invited(secret)
    secret, row = accounts.invite_person(other.id, days=2)
    assert accounts.invited(secret).email is None
    with monkeypatch.context() as later:
        later.setattr(sign_ups, "now", lambda: now() + timedelta(days=3))
        with pytest.raises(LinkOver):
            make(accounts, "a@example.org", secret)
    accounts.withdraw_person(row.id)
    with pytest.raises(LinkOver):
        make(accounts, "a@example.org", secret)
    with pytest.raises(NotFound):
        accounts.withdraw_person(row.id)


@pytest.mark.parametrize("days", [0, 31])
def test_it_lasts_a_month_at_most(accounts: Accounts, days: int) -> None:
    with pytest.raises(InvalidInput, match="1 to 30"):
        accounts.invite_person(days=days)


@pytest.mark.parametrize("sign_up", [None, "closed"])
def test_nobody_is_invited_where_the_settings_do_not_say_so(catalog: Catalog, sign_up: None) -> None:
    accounts = Accounts(catalog, AccountsSettings(sign_up=sign_up))
    accounts.sign_up("root@example.org", PASSWORD)
    with pytest.raises(Forbidden, match="ECLUSE_SIGN_UP=invitation"):
        accounts.invite_person()
    for admission in ("closed", "first"):
        with pytest.raises(Forbidden):
            accounts.sign_up("a@example.org", PASSWORD, admission=admission, invitation="x")  # type: ignore[arg-type]


def test_an_invitation_of_an_organisation_makes_an_account_that_belongs_to_it(accounts: Accounts) -> None:
    root = accounts.by_email("root@example.org").id
    accounts.add_organisation(root, "acme")
    secret, _ = accounts.invite(root, "acme", "viewer")
    assert make(accounts, "new@example.org", secret) == "new@example.org"
    (mine,) = accounts.organisations(accounts.by_email("new@example.org").id)
    assert (mine.handle, mine.role) == ("acme", "viewer")
    with pytest.raises(LinkOver):
        make(accounts, "b@example.org", secret)
    secret, _ = accounts.invite(root, "acme", "viewer")
    with pytest.raises(EcluseError, match="already"):
        make(accounts, "new@example.org", secret)
    assert len(accounts.invitations(root, "acme")) == 1, "no account, and it is as good as it was"


def test_the_first_account_takes_the_secret_of_the_terminal_and_no_invitation(catalog: Catalog) -> None:
    accounts = Accounts(catalog, AccountsSettings(sign_up="invitation"))
    assert accounts.admits("invited") == "secret"
    with pytest.raises(EcluseError, match="terminal"):
        make(accounts, "first@example.org")
    secret = accounts.first_secret()
    assert secret is not None
    assert make(accounts, "first@example.org", secret=secret) == "first@example.org"
    assert accounts.admits("invited") == "invited"


def test_of_many_at_once_one_uses_it(accounts: Accounts) -> None:
    secret, _ = accounts.invite_person()
    made: list[str] = []

    def try_it(number: int) -> None:
        with contextlib.suppress(LinkOver):
            made.append(make(accounts, f"{number}@example.org", secret))

    threads = [threading.Thread(target=try_it, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert len(accounts.everyone()) == 2


def test_a_mailed_one_is_of_its_address_which_is_known_then(catalog: Catalog, mailbox: Mailbox) -> None:
    accounts = Accounts(catalog, AccountsSettings(mail=settings_of(mailbox), sign_up="invitation"))
    root = accounts.sign_up("root@example.org", PASSWORD)
    with pytest.raises(EcluseError, match="already"):
        accounts.invite_person_by_mail(root.id, 7, "root@example.org", TEXT)
    accounts.invite_person_by_mail(root.id, 7, "New@example.org", TEXT)
    assert accounts.people_invited() == [], "there is none before it is sent"
    accounts.send_due()
    assert mailbox.link().startswith("/sign-up/")
    secret = secret_in(mailbox)
    with pytest.raises(InvalidInput, match="is for new"):
        make(accounts, "else@example.org", secret)
    make(accounts, "new@example.org", secret)
    assert accounts.by_email("new@example.org").verified_at is not None
    accounts.add("second@example.org", admin=True)
    accounts.invite_person_by_mail(root.id, 7, "c@example.org", TEXT)
    accounts.set_role("root@example.org", "member")
    accounts.send_due()
    assert mailbox.recipients == ["new@example.org"], "who no longer administers invites nobody"


@pytest.mark.parametrize(
    ("environ", "sign_up", "source"),
    [
        ({}, None, "default"),
        ({"ECLUSE_SIGN_UP": "Invitation"}, "invitation", "ECLUSE_SIGN_UP"),
        ({"ECLUSE_OPEN_SIGN_UP": "true"}, "open", "ECLUSE_OPEN_SIGN_UP"),
        ({"ECLUSE_OPEN_SIGN_UP": "false"}, "closed", "ECLUSE_OPEN_SIGN_UP"),
        ({"ECLUSE_OPEN_SIGN_UP": "false", "ECLUSE_SIGN_UP": "closed"}, "closed", "ECLUSE_SIGN_UP"),
    ],
)
def test_the_setting_and_where_it_comes_from(
    environ: dict[str, str], sign_up: str | None, source: str, tmp_path: Path
) -> None:
    settings = Settings.from_environment(environ, home=tmp_path)
    assert settings.accounts.sign_up == sign_up
    (shown,) = (each for each in in_force(settings, environ) if each.name == "ECLUSE_SIGN_UP")
    assert (shown.value, str(shown.reason)) == (sign_up or "–", source)
    assert "ECLUSE_OPEN_SIGN_UP" not in {each.name for each in in_force(settings, environ)}


@pytest.mark.parametrize(
    "environ",
    [{"ECLUSE_SIGN_UP": "everyone"}, {"ECLUSE_SIGN_UP": "invitation", "ECLUSE_OPEN_SIGN_UP": "true"}],
)
def test_a_setting_that_is_none_or_contradicts_is_refused(environ: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="ECLUSE_SIGN_UP"):
        Settings.from_environment(environ, home=tmp_path)
