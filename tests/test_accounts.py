"""People and programs are let in where they belong, and nowhere else."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from sqlalchemy import text

from ecluse import accounts as module
from ecluse import hashing
from ecluse.accounts import Accounts
from ecluse.catalog import attempts, plans
from ecluse.catalog.tables import now
from ecluse.errors import (
    EmailTaken,
    InvalidCredentials,
    InvalidInput,
    NotFound,
    PasswordsBusy,
    TooManyAttempts,
)
from ecluse.hashing import Turns, is_password
from ecluse.runtime import Runtime
from ecluse.settings import AccountsSettings

PASSWORD = "correct horse"


@pytest.fixture
def accounts(runtime: Runtime) -> Accounts:
    return runtime.accounts


def test_the_first_account_administers_and_the_next_does_not(accounts: Accounts) -> None:
    assert accounts.sign_up("A@B.c", PASSWORD).role == "admin"
    assert accounts.sign_up("d@e.f", PASSWORD).role == "member"
    assert accounts.by_email(" a@b.C ").role == "admin"


def test_an_address_has_one_account_whatever_its_case(accounts: Accounts) -> None:
    accounts.sign_up("a@b.c", PASSWORD)
    with pytest.raises(EmailTaken):
        accounts.sign_up("A@B.C", PASSWORD)


@pytest.mark.parametrize(
    ("email", "password"),
    [
        ("nobody", PASSWORD),
        ("https://evil.example/login?x=you@example.org", PASSWORD),
        ("{link}@example.org", PASSWORD),
        ("you@evil.example/login", PASSWORD),
        ("a@b.c", "short"),
        ("a@b.c", "x" * 2000),
    ],
)
def test_an_unusable_address_or_password_is_refused(accounts: Accounts, email: str, password: str) -> None:
    with pytest.raises(InvalidInput):
        accounts.sign_up(email, password)


def test_a_session_knows_its_user_until_it_is_signed_out(accounts: Accounts) -> None:
    user = accounts.sign_up("a@b.c", PASSWORD)
    _, secret = accounts.sign_in("a@b.c", PASSWORD, "Firefox")
    found = accounts.who_has_session(secret)
    assert found is not None
    assert found.user.id == user.id
    accounts.sign_out(found)
    assert accounts.who_has_session(secret) is None


def test_a_session_ends_with_its_time(accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    accounts.sign_up("a@b.c", PASSWORD)
    monkeypatch.setattr("ecluse.accounts.access.SESSION_LIFETIME", timedelta(seconds=-1))
    _, secret = accounts.sign_in("a@b.c", PASSWORD)
    assert accounts.who_has_session(secret) is None


def test_a_session_that_is_not_used_ends_before_its_time(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = now()
    user = accounts.sign_up("a@b.c", "correct horse")
    used, left = accounts.open_session(user.id, "used"), accounts.open_session(user.id, "left")
    places = ("accounts.sessions", "accounts.last_uses", "catalog.users")
    for days, lasts in ((13, True), (15, False), (26, False)):
        monkeypatch.setattr(accounts._last_uses, "_tried_at", {})  # monotonic time does not pass here
        for place in places:
            monkeypatch.setattr(f"ecluse.{place}.now", lambda days=days: begun + timedelta(days=days))
        assert accounts.who_has_session(used) is not None
        if not lasts:
            assert accounts.who_has_session(left) is None
        assert {each.user_agent for each in accounts.sessions(user.id)} == (
            {"used", "left"} if lasts else {"used"}
        )


def test_a_wrong_address_and_a_wrong_password_read_the_same(accounts: Accounts) -> None:
    accounts.sign_up("a@b.c", PASSWORD)
    said = set()
    for email, password in (("a@b.c", "wrong password"), ("x@y.z", PASSWORD)):
        with pytest.raises(InvalidCredentials) as refused:
            accounts.sign_in(email, password)
        said.add(str(refused.value))
    assert len(said) == 1


def test_guessing_is_slowed_down_and_does_not_lock_the_owner_out(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "ACCOUNT_HERE", attempts.Limit(3, 3600))
    accounts.sign_up("a@b.c", PASSWORD)
    for _ in range(attempts.ACCOUNT_HERE.at_once):
        with pytest.raises(InvalidCredentials):
            accounts.sign_in("a@b.c", "wrong password", client="192.0.2.7")
    with pytest.raises(TooManyAttempts):
        accounts.sign_in("a@b.c", PASSWORD, client="192.0.2.7")
    assert accounts.sign_in("a@b.c", PASSWORD, client="192.0.2.8")


def test_of_many_sign_ins_at_once_few_are_hashed_and_the_others_come_back(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each hash takes 64 MiB: 60 at once took 2.5 GB. What was not tried counts against no one."""
    accounts.sign_up("a@b.c", PASSWORD)
    turns = Turns(at_once=2, most_waiting=3)
    monkeypatch.setattr(hashing, "TURNS", turns)
    at_work, most, let_go, lock = [0], [0], threading.Event(), threading.Lock()
    hasher = hashing._hasher()

    class Hasher:
        def verify(self, password: str, stored: str) -> bool:
            with lock:
                at_work[0] += 1
                most[0] = max(most[0], at_work[0])
            let_go.wait(60)
            with lock:
                at_work[0] -= 1
            return hasher.verify(password, stored)

    monkeypatch.setattr(hashing, "_hasher", Hasher)
    answers: list[str] = []

    def sign_in(number: int) -> None:
        try:
            accounts.sign_in("a@b.c", PASSWORD, client=f"192.0.2.{number}")
            answers.append("in")
        except PasswordsBusy as error:
            assert error.seconds > 0
            answers.append("busy")
            if answers.count("busy") == 15:
                let_go.set()

    threads = [threading.Thread(target=sign_in, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (answers.count("in"), answers.count("busy"), most[0]) == (5, 15, 2)
    monkeypatch.undo()
    with accounts._catalog.write() as transaction:
        assert (
            attempts.prune(transaction) == 42
        )  # of an address its own and that of the account there, and two of all


def test_new_accounts_of_one_address_are_limited(accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "SIGN_UPS", attempts.Limit(2, 3600))
    for number in range(2):
        accounts.sign_up(f"{number}@b.c", PASSWORD, client="192.0.2.7")
    with pytest.raises(TooManyAttempts):
        accounts.sign_up("2@b.c", PASSWORD, client="192.0.2.7")
    accounts.sign_up("3@b.c", PASSWORD, client="192.0.2.8")
    accounts.sign_up("4@b.c", PASSWORD)


def test_a_signed_in_person_may_not_guess_the_password_without_end(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "CONFIRMATION", attempts.Limit(3, 3600))
    user = accounts.sign_up("a@b.c", PASSWORD)
    signed_in = accounts.who_has_session(accounts.open_session(user.id))
    assert signed_in is not None
    for _ in range(attempts.CONFIRMATION.at_once):
        with pytest.raises(InvalidCredentials):
            accounts.change_password(signed_in, "wrong password", "a new password")
    with pytest.raises(TooManyAttempts):
        accounts.change_password(signed_in, PASSWORD, "a new password")


def test_who_holds_one_session_keeps_no_other_from_changing_the_password(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "CONFIRMATION", attempts.Limit(3, 3600))
    monkeypatch.setattr(attempts, "CONFIRMATIONS", attempts.Limit(4, 3600))
    user = accounts.sign_up("a@b.c", PASSWORD)
    owner, *thieves = [accounts.who_has_session(accounts.open_session(user.id)) for _ in range(4)]
    assert owner is not None
    refused = 0
    for thief in thieves:
        assert thief is not None
        for _ in range(4):
            try:
                accounts.change_password(thief, "wrong password", "a new password")
            except TooManyAttempts:
                refused += 1
            except InvalidCredentials:
                continue
    assert refused == 12 - 4 - 3, "the first try of each session, and four more of all"
    accounts.change_password(owner, PASSWORD, "a new password")


def test_who_makes_an_account_has_the_plan_of_the_settings(runtime: Runtime) -> None:
    accounts = Accounts(runtime.catalog, AccountsSettings(sign_up_plan="trial"))
    first = accounts.sign_up("first@b.c", PASSWORD)
    second = accounts.sign_up("second@b.c", PASSWORD)
    given = accounts.add("given@b.c")
    with runtime.catalog.read() as transaction:
        has = plans.plans_of(transaction, [first.id, second.id, given.id])
    assert {user_id: row.plan for user_id, row in has.items()} == {second.id: "trial"}
    assert has[second.id].ends_at is not None


def test_no_secret_is_in_the_catalog(accounts: Accounts, runtime: Runtime) -> None:
    user = accounts.sign_up("a@b.c", PASSWORD)
    _, session = accounts.sign_in("a@b.c", PASSWORD)
    token, _ = accounts.create_token(user.id, "script")
    link = accounts.sign_in_link(user.id)
    with runtime.catalog.engine.connect() as connection:
        rows = [
            str(connection.execute(text(f"SELECT * FROM {table}")).all())
            for table in ("users", "sessions", "api_tokens", "audit_log")
        ]
    for secret in (PASSWORD, session, token, link):
        assert all(secret not in row for row in rows)


def test_a_token_knows_its_user_until_it_is_revoked_by_its_owner(accounts: Accounts) -> None:
    user, other = accounts.sign_up("a@b.c", PASSWORD), accounts.sign_up("d@e.f", PASSWORD)
    secret, token = accounts.create_token(user.id, "script")
    found = accounts.who_has_token(secret)
    assert found is not None
    assert (found.user.id, found.session) == (user.id, None)
    with pytest.raises(NotFound):
        accounts.revoke_token(other.id, token.id)
    accounts.revoke_token(user.id, token.id)
    assert accounts.who_has_token(secret) is None


def test_a_link_signs_in_once_and_is_no_token(accounts: Accounts) -> None:
    user = accounts.local_administrator()
    assert accounts.local_administrator().id == user.id
    secret = accounts.sign_in_link(user.id)
    assert accounts.who_has_token(secret) is None
    assert accounts.tokens(user.id) == []
    redeemed, session = accounts.redeem_link(secret)
    assert redeemed.id == user.id
    assert accounts.who_has_session(session) is not None
    with pytest.raises(InvalidCredentials):
        accounts.redeem_link(secret)


def test_an_account_without_a_password_cannot_be_signed_in_to_with_one(accounts: Accounts) -> None:
    accounts.local_administrator()
    with pytest.raises(InvalidCredentials):
        accounts.sign_in(module.LOCAL_EMAIL, "")


def test_a_new_password_ends_the_other_sessions(accounts: Accounts) -> None:
    accounts.sign_up("a@b.c", PASSWORD)
    (_, here), (_, elsewhere) = accounts.sign_in("a@b.c", PASSWORD), accounts.sign_in("a@b.c", PASSWORD)
    signed_in = accounts.who_has_session(here)
    assert signed_in is not None
    with pytest.raises(InvalidCredentials):
        accounts.change_password(signed_in, "wrong password", "a new password")
    accounts.change_password(signed_in, PASSWORD, "a new password")
    assert accounts.who_has_session(here) is not None
    assert accounts.who_has_session(elsewhere) is None
    accounts.sign_in("a@b.c", "a new password")


@pytest.mark.parametrize("change", ["password", "disabled", "removed"])
def test_what_changes_while_a_password_is_compared_counts(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    accounts.sign_up("admin@example.org", "correct horse")
    accounts.sign_up("a@example.org", "correct horse")
    session = accounts.who_has_session(accounts.sign_in("a@example.org", "correct horse")[1])
    assert session

    def slowly(password: str, password_hash: str | None) -> bool:
        is_right = is_password(password, password_hash)
        if change == "password":
            accounts.set_password("a@example.org", "another password")
        elif change == "disabled":
            accounts.disable("a@example.org")
        else:
            accounts.remove("a@example.org")
        return is_right

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr("ecluse.accounts.sessions.is_password", slowly)
        with pytest.raises(InvalidCredentials):
            accounts.sign_in("a@example.org", "correct horse")
    if change == "removed":
        return
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr("ecluse.accounts.proofs.is_password", slowly)
        with pytest.raises(InvalidCredentials):
            accounts.change_password(session, "correct horse", "a third password")
    assert accounts.sessions(session.user.id) == []


def test_of_two_first_accounts_made_at_once_one_administers(opened: Runtime) -> None:
    threads = [
        threading.Thread(target=opened.accounts.sign_up, args=(f"{n}@example.org", PASSWORD))
        for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    roles = [user.role for user in opened.accounts.everyone()]
    assert sorted(roles) == ["admin", *["member"] * 5]


def test_a_new_password_takes_unused_links_away(accounts: Accounts) -> None:
    user = accounts.sign_up("a@b.c", PASSWORD)
    link = accounts.sign_in_link(user.id)
    _, here = accounts.sign_in("a@b.c", PASSWORD)
    signed_in = accounts.who_has_session(here)
    assert signed_in is not None
    accounts.change_password(signed_in, PASSWORD, "a new password")
    with pytest.raises(InvalidCredentials):
        accounts.redeem_link(link)
