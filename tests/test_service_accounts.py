"""Service accounts of organisations: programs that are no persons, and their tokens; on SQLite and on PostgreSQL."""

from __future__ import annotations

import contextvars
import threading
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from ecluse import people, shares
from ecluse.accounts import Accounts, SignedIn
from ecluse.accounts import services as of_accounts
from ecluse.accounts.tokens import NewToken
from ecluse.catalog import Catalog, audit, organisations, services, users
from ecluse.catalog.tables import ApiToken, ServiceAccount, User, now
from ecluse.errors import (
    EcluseError,
    Forbidden,
    HandleTaken,
    InvalidCredentials,
    InvalidInput,
    NotFound,
)
from ecluse.runtime import Runtime

PASSWORD = "a long password"


@pytest.fixture
def accounts(catalog: Catalog) -> Accounts:
    """Anna owns acme, Ben is a member and Carl a viewer of it, Dora owns another."""
    made = Accounts(catalog)
    for name in ("anna", "ben", "carl", "dora"):
        made.add(f"{name}@example.org", password=PASSWORD)
    made.add_organisation(id_of(made, "anna"), "acme")
    made.add_organisation(id_of(made, "dora"), "other")
    for name, role in (("ben", "member"), ("carl", "viewer")):
        made.accept_invitation(id_of(made, name), made.invite(id_of(made, "anna"), "acme", role)[0])
    return made


def id_of(accounts: Accounts, name: str) -> str:
    return accounts.by_email(f"{name}@example.org").id


def make(accounts: Accounts, role: str = "member", *scopes: str) -> tuple[ServiceAccount, str, ApiToken]:
    anna = id_of(accounts, "anna")
    row = accounts.add_service(anna, "acme", f"bot-{role}", role)
    secret, token = accounts.create_service_token(
        anna, "acme", row.id, NewToken("nightly", 30, scopes or ("read",))
    )
    return row, secret, token


def test_its_token_acts_as_the_organisation_and_it_is_no_person(accounts: Accounts, catalog: Catalog) -> None:
    before = len(accounts.everyone())
    row, secret, token = make(accounts)
    who = accounts.who_has_token(secret)
    assert who is not None
    assert (who.user.kind, who.user.handle, who.user.id) == ("organisation", "acme", row.organisation_id)
    assert (who.service and who.service.name, who.session, who.user.role) == ("bot-member", None, "member")
    assert len(accounts.everyone()) == before
    organisation, members = accounts.organisation(id_of(accounts, "anna"), "acme")
    assert (organisation.members, [each.email.partition("@")[0] for each in members]) == (
        3,
        ["anna", "ben", "carl"],
    )
    assert [each.name for each in accounts.services(id_of(accounts, "carl"), "acme")] == ["bot-member"]
    with catalog.engine.connect() as connection:
        assert secret not in str(connection.exec_driver_sql("SELECT * FROM api_tokens").all())
    with catalog.read() as transaction:
        (listed,) = organisations.list_all(transaction, "acme", limit=9)
        assert (listed.members, listed.services) == (3, 1)
    for wrong in ("@acme/bot-member", "bot-member", row.id, "@acme"):
        with pytest.raises(EcluseError):
            accounts.sign_in(wrong, secret)
        with pytest.raises(NotFound):
            accounts.by_email(wrong)
    with pytest.raises(EcluseError):
        accounts.redeem_link(secret)
    assert accounts.who_has_session(secret) is None
    assert token.last_used_at is None


@pytest.mark.parametrize("name", ["ben", "carl", "dora"])
def test_owners_alone_make_and_end_them(accounts: Accounts, name: str) -> None:
    row, secret, token = make(accounts)
    person = id_of(accounts, name)
    refused = NotFound if name == "dora" else Forbidden
    for forbidden in (
        lambda: accounts.add_service(person, "acme", "mine"),
        lambda: accounts.set_service_role(person, "acme", row.id, "viewer"),
        lambda: accounts.remove_service(person, "acme", row.id),
        lambda: accounts.create_service_token(person, "acme", row.id, NewToken("x")),
        lambda: accounts.service(person, "acme", row.id),
        lambda: accounts.revoke_service_token(person, "acme", row.id, token.id),
    ):
        with pytest.raises(refused):
            forbidden()
    if name == "dora":  # by her own organisation, neither
        with pytest.raises(NotFound):
            accounts.remove_service(person, "other", row.id)
        with pytest.raises(NotFound):
            accounts.revoke_service_token(person, "other", row.id, token.id)
    assert accounts.who_has_token(secret) is not None


@pytest.mark.parametrize("name", ["", "A", "a b", "-a", "a-", "a" * 41, "é", "a/b", "@a"])
def test_a_name_stands_in_the_log_and_is_plain(accounts: Accounts, name: str) -> None:
    with pytest.raises(InvalidInput):
        accounts.add_service(id_of(accounts, "anna"), "acme", name)


def test_a_name_is_one_of_the_organisation_and_a_role_is_member_or_viewer(accounts: Accounts) -> None:
    anna, dora = id_of(accounts, "anna"), id_of(accounts, "dora")
    row = accounts.add_service(anna, "acme", "bot")
    with pytest.raises(HandleTaken):
        accounts.add_service(anna, "acme", "bot")
    accounts.add_service(dora, "other", "bot")
    for role in ("owner", "admin", ""):
        with pytest.raises(InvalidInput):
            accounts.add_service(anna, "acme", "more", role)
        with pytest.raises(InvalidInput):
            accounts.set_service_role(anna, "acme", row.id, role)


def test_a_token_of_a_viewer_reads_and_asks(accounts: Accounts) -> None:
    anna = id_of(accounts, "anna")
    row, _, _ = make(accounts, "viewer")
    for scopes in (("publish",), ("manage",), ("read", "publish")):
        with pytest.raises(InvalidInput, match="viewer"):
            accounts.create_service_token(anna, "acme", row.id, NewToken("x", None, scopes))
    for wrong in (NewToken(" "), NewToken("x", 7), NewToken("x", None, ()), NewToken("x", None, ("all",))):
        with pytest.raises(InvalidInput):
            accounts.create_service_token(anna, "acme", row.id, wrong)


def test_it_joins_makes_and_opens_nothing(accounts: Accounts, catalog: Catalog) -> None:
    row, _, _ = make(accounts)
    acme = row.organisation_id
    invitation, _ = accounts.invite(id_of(accounts, "dora"), "other", "owner")
    with pytest.raises(Forbidden, match="service account"):
        accounts.accept_invitation(acme, invitation)
    with pytest.raises(Forbidden, match="service account"):
        accounts.add_organisation(acme, "third")
    with pytest.raises(EcluseError):
        shares.open_link(catalog, acme, "never one")
    assert accounts.organisations(acme) == []


def test_tokens_end_by_owners_with_the_account_and_with_the_organisation(runtime: Runtime) -> None:
    accounts = runtime.accounts
    anna = accounts.add("anna@example.org", admin=True).id
    accounts.add_organisation(anna, "acme")
    row, secret, token = make(accounts)
    accounts.revoke_service_token(anna, "acme", row.id, token.id)
    assert accounts.who_has_token(secret) is None
    secret, _ = accounts.create_service_token(anna, "acme", row.id, NewToken("again"))
    accounts.revoke_tokens(anna)
    assert accounts.who_has_token(secret) is not None, "it is the organisation's, not its maker's"
    accounts.remove_service(anna, "acme", row.id)
    assert accounts.who_has_token(secret) is None
    row, secret, _ = make(accounts)
    people.end_organisation(runtime, anna, "acme")
    assert accounts.who_has_token(secret) is None
    with runtime.catalog.read() as transaction:
        assert transaction.scalar(select(func.count()).select_from(ServiceAccount)) == 0
        assert transaction.scalar(select(func.count()).where(ApiToken.purpose == "service")) == 0


def test_what_it_does_is_written_down_with_its_name(accounts: Accounts, catalog: Catalog) -> None:
    row, secret, _ = make(accounts)
    accounts.who_has_token(secret)

    def note() -> None:
        audit.speak_for(row.organisation_id, row.name)
        with catalog.write() as transaction:
            audit.record(transaction, row.organisation_id, "model.publish", "churn")

    contextvars.copy_context().run(note)
    by = {entry.action: who for entry, who in accounts.log(everything=True)}
    assert by["model.publish"] == by["token.first_use"] == "@acme/bot-member"
    assert by["organisation.service_add"] == by["organisation.service_token"] == "anna@example.org"


def test_a_token_is_exchanged_for_one_of_an_hour(accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    row, secret, token = make(accounts, "member", "read", "publish")
    issued = accounts.exchange(row.id, secret)
    assert (issued.scopes, issued.seconds) == ("read publish", 3600)
    who = accounts.who_has_token(issued.secret)
    assert who is not None
    assert who.service is not None
    assert accounts.exchange(row.id, secret, ["read"]).scopes == "read"
    for scopes in (["manage"], ["predict"], ["read", "manage"], ["x"]):
        with pytest.raises(InvalidInput):
            accounts.exchange(row.id, secret, scopes)
    for service_id, wrong in ((row.id, "x"), ("x", secret), (row.id, issued.secret), (row.id, "")):
        with pytest.raises(InvalidCredentials):
            accounts.exchange(service_id, wrong)
    _, tokens = accounts.service(id_of(accounts, "anna"), "acme", row.id)
    assert [each.id for each in tokens] == [token.id], "short ones are not listed"
    with monkeypatch.context() as later:
        later.setattr(services, "now", lambda: now() + timedelta(minutes=61))
        assert accounts.who_has_token(issued.secret) is None
    accounts.revoke_service_token(id_of(accounts, "anna"), "acme", row.id, token.id)
    assert accounts.who_has_token(issued.secret) is None, "with the token that it stands for"


def test_a_role_that_was_lowered_holds_for_the_exchange(accounts: Accounts) -> None:
    row, secret, _ = make(accounts, "member", "manage")
    assert accounts.exchange(row.id, secret, ["predict"]).scopes == "predict"
    assert accounts.exchange(row.id, secret).scopes == "manage"
    accounts.set_service_role(id_of(accounts, "anna"), "acme", row.id, "viewer")
    assert accounts.exchange(row.id, secret).scopes == "read predict"
    with pytest.raises(InvalidInput):
        accounts.exchange(row.id, secret, ["manage"])


def test_so_many_short_tokens_there_are_at_a_time(
    accounts: Accounts, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of_accounts, "MOST_SHORT", 3)
    row, secret, _ = make(accounts)
    issued = [accounts.exchange(row.id, secret).secret for _number in range(5)]
    assert [accounts.who_has_token(each) is not None for each in issued] == [False, False, True, True, True]
    assert accounts.who_has_token(secret) is not None


# What changes between the proof and what it was for


def proved(accounts: Accounts) -> SignedIn:
    _user, session = accounts.sign_in("anna@example.org", PASSWORD)
    who = accounts.who_has_session(session)
    assert who is not None
    accounts.prove(who, PASSWORD)
    return who


def test_no_token_is_made_once_what_was_proved_holds_no_longer(accounts: Accounts) -> None:
    anna = id_of(accounts, "anna")
    row = accounts.add_service(anna, "acme", "bot")

    def both(who: SignedIn) -> None:
        with pytest.raises(InvalidCredentials, match="meanwhile"):
            accounts.create_token(anna, "x", proved=who)
        with pytest.raises(InvalidCredentials, match="meanwhile"):
            accounts.create_service_token(anna, "acme", row.id, NewToken("x"), proved=who)

    who = proved(accounts)
    accounts.create_token(anna, "first", proved=who)
    accounts.set_password("anna@example.org", "another password of hers")
    both(who)
    accounts.set_password("anna@example.org", PASSWORD)
    who = proved(accounts)
    accounts.end_all_sessions("anna@example.org", tokens=True)
    both(who)
    with pytest.raises(InvalidCredentials, match="meanwhile"):
        accounts.change_identity(who, "stranger@example.net", "", PASSWORD)
    who = proved(accounts)
    accounts.sign_out(who)
    both(who)
    assert accounts.tokens(anna) == []


def test_a_token_and_the_end_of_everything_at_once_leave_no_token(accounts: Accounts) -> None:
    anna = id_of(accounts, "anna")
    for number in range(4):
        who = proved(accounts)

        def make_one(who: SignedIn = who, number: int = number) -> None:
            try:
                accounts.create_token(anna, f"n{number}", proved=who)
            except InvalidCredentials:
                return

        threads = [
            threading.Thread(target=make_one),
            threading.Thread(
                target=accounts.end_all_sessions, args=("anna@example.org",), kwargs={"tokens": True}
            ),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert accounts.tokens(anna) == []


def test_a_service_account_is_no_user_that_is_found(accounts: Accounts, catalog: Catalog) -> None:
    row, _, _ = make(accounts)
    with catalog.read() as transaction:
        assert transaction.get(User, row.id) is None
        assert users.count_users(transaction) == 4
