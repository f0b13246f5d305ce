"""People are let in no longer, lose a role and go, and nothing of theirs is left behind nor lost by mistake."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from ecluse import people
from ecluse.accounts import Accounts
from ecluse.apps.city import rows as schedules
from ecluse.apps.fraud.rows.tables import Dataset
from ecluse.catalog import users
from ecluse.catalog.tables import Base, User, now
from ecluse.errors import (
    EcluseError,
    Forbidden,
    InvalidCredentials,
    InvalidInput,
    LastAdministrator,
    NotFound,
)
from ecluse.runtime import Runtime, models_prefix, uploads_prefix

PASSWORD = "a long password"
ADMIN, MEMBER = "admin@example.org", "member@example.org"


@pytest.fixture
def accounts(runtime: Runtime) -> Accounts:
    runtime.accounts.sign_up(ADMIN, PASSWORD)
    runtime.accounts.sign_up(MEMBER, PASSWORD)
    return runtime.accounts


def add_table(runtime: Runtime, user: User) -> str:
    """A row and its object; the key of the object."""
    key = f"{uploads_prefix(user.id)}/t/table.csv"
    runtime.data.put(key, b"a\n1\n")
    with runtime.catalog.write() as transaction:
        transaction.add(
            Dataset(
                user_id=user.id,
                filename="table.csv",
                key=key,
                url=runtime.data.url_of(key),
                size_bytes=4,
                sha256="0" * 64,
                state="ready",
            )
        )
    return key


def test_who_is_disabled_is_out_at_once_and_keeps_what_is_theirs(
    runtime: Runtime, accounts: Accounts
) -> None:
    member = accounts.by_email(MEMBER)
    key = add_table(runtime, member)
    _, session = accounts.sign_in(MEMBER, PASSWORD)
    token, _ = accounts.create_token(member.id, "script")
    link = accounts.sign_in_link(member.id)
    job = runtime.jobs.enqueue("verify_model", "upkeep", member.id, "m v", {"name": "m", "version": "v"})
    assert people.disable(runtime, MEMBER) == 1
    assert accounts.who_has_session(session) is None
    assert accounts.who_has_token(token) is None
    with pytest.raises(InvalidCredentials):
        accounts.redeem_link(link)
    with pytest.raises(Forbidden):
        accounts.sign_in(MEMBER, PASSWORD)
    with pytest.raises(InvalidCredentials):
        accounts.sign_in(MEMBER, "wrong password")  # only who knows the password learns of it
    assert runtime.jobs.get(member.id, job).status == "cancelled"
    assert runtime.data.exists(key)
    accounts.enable(MEMBER)
    accounts.sign_in(MEMBER, PASSWORD)
    assert (accounts.who_has_session(session), accounts.who_has_token(token)) == (None, None)


def test_a_session_made_at_the_same_time_is_none_of_a_disabled_account(accounts: Accounts) -> None:
    accounts.disable(MEMBER)
    late = accounts.open_session(accounts.by_email(MEMBER).id)
    token, _ = accounts.create_token(accounts.by_email(MEMBER).id, "late")
    assert (accounts.who_has_session(late), accounts.who_has_token(token)) == (None, None)


def test_the_last_administrator_stays(runtime: Runtime, accounts: Accounts) -> None:
    for change in (
        lambda: people.disable(runtime, ADMIN),
        lambda: people.demote(runtime, ADMIN),
        lambda: people.remove(runtime, ADMIN, everything=True),
    ):
        with pytest.raises(LastAdministrator):
            change()
    accounts.sign_in(ADMIN, PASSWORD)
    accounts.set_role(MEMBER, "admin")
    accounts.disable(MEMBER)
    with pytest.raises(LastAdministrator):  # who is disabled administers nothing
        people.demote(runtime, ADMIN)
    assert accounts.local_administrator().email == ADMIN


def test_of_administrators_who_disable_each_other_at_once_one_stays(opened: Runtime) -> None:
    emails = [f"{n}@example.org" for n in range(5)]
    for email in emails:
        opened.accounts.add(email, admin=True)
    together = threading.Barrier(len(emails))
    refused: list[type[EcluseError]] = []

    def end(email: str) -> None:
        together.wait()
        try:
            opened.accounts.disable(email)
        except EcluseError as error:
            refused.append(type(error))

    threads = [threading.Thread(target=end, args=(email,)) for email in emails]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refused == [LastAdministrator]
    assert sum(user.disabled_at is None for user in opened.accounts.everyone()) == 1


def test_an_account_with_something_is_not_removed_by_mistake(runtime: Runtime, accounts: Accounts) -> None:
    member = accounts.by_email(MEMBER)
    key = add_table(runtime, member)
    with pytest.raises(InvalidInput, match="tables: 1"):
        people.remove(runtime, MEMBER)
    assert runtime.data.exists(key)
    accounts.sign_in(MEMBER, PASSWORD)


def test_with_everything_no_object_and_no_row_is_left_and_nothing_of_others_goes(
    runtime: Runtime, accounts: Accounts, tmp_path: Path
) -> None:
    member, admin = accounts.by_email(MEMBER), accounts.by_email(ADMIN)
    mine, other = add_table(runtime, member), add_table(runtime, admin)
    model = f"{models_prefix(member.id)}/m/v/manifest.json"
    runtime.stores.area("models").put(model, b"{}")
    # Where the settings pointed before: an address in a row leads there.
    before = runtime.stores.open(f"file://{tmp_path}/before")
    before.ensure_bucket()
    moved = f"{uploads_prefix(member.id)}/u/old.csv"
    before.put(moved, b"a\n")
    with runtime.catalog.write() as transaction:
        transaction.add(
            Dataset(
                user_id=member.id,
                filename="old.csv",
                key=moved,
                url=before.url_of(moved),
                size_bytes=2,
                sha256="1" * 64,
                state="ready",
            )
        )
    people.remove(runtime, MEMBER, everything=True)
    with pytest.raises(NotFound):
        accounts.by_email(MEMBER)
    assert list(runtime.data.list(f"user_data/{member.id}")) == []
    assert list(runtime.stores.area("models").list(f"user_models/{member.id}")) == []
    assert not before.exists(moved)
    assert not runtime.data.exists(mine)
    assert runtime.data.exists(other)
    with runtime.catalog.read() as transaction:
        assert [row.user_id for row in transaction.query(Dataset)] == [admin.id]


#: Tables of a user that are no belongings: how one enters; what goes with one of the belongings; what is handed over;
#: where one belongs, and what one sees or lets others see.
WITH_ANOTHER = {
    "sessions",
    "api_tokens",
    "second_factors",
    "recovery_codes",
    "identities",
    "letters",
    "email_proofs",
    "model_aliases",
    "model_uploads",
    "publications",
    "files",
    "reservations",
    "stored",
    "user_plans",
    "daily_use",
    "images",
    "image_splits",
    "schedules",
    "work",
    "memberships",
    "invitations",
    "shares",
    "sign_up_invitations",
    "service_accounts",
}
#: Belongings that are a user's by way of another row: a training by its run.
BY_ANOTHER = {"fraud_trainings"}


def test_every_table_of_a_user_counts_as_belongings_or_goes_with_one() -> None:
    of_users = {
        table.name
        for table in Base.metadata.tables.values()
        for key in table.foreign_keys
        if key.column.table.name == "users"
    }
    assert (of_users - WITH_ANOTHER) | BY_ANOTHER == {kind.__tablename__ for _, kind in users.owned_kinds()}


def test_the_daily_run_passes_to_an_administrator_who_stays(runtime: Runtime, accounts: Accounts) -> None:
    accounts.set_role(MEMBER, "admin")
    with runtime.catalog.write() as transaction:
        schedules.set_schedule(
            transaction, "city", accounts.by_email(MEMBER).id, at="06:30", since=now().date(), fetches=False
        )
    people.remove(runtime, MEMBER)
    with runtime.catalog.read() as transaction:
        row = schedules.schedule_of(transaction, "city")
    assert row is not None
    assert row.user_id == accounts.by_email(ADMIN).id


# What is written down


def test_who_enters_and_who_tries_is_written_down_without_a_secret(accounts: Accounts) -> None:
    member = accounts.by_email(MEMBER)
    _, session = accounts.sign_in(MEMBER, PASSWORD, client="192.0.2.7")
    with pytest.raises(InvalidCredentials):
        accounts.sign_in(MEMBER, "not the password", client="192.0.2.8")
    with pytest.raises(InvalidCredentials):
        accounts.sign_in("hunter2@typed.here", "not the password", client="192.0.2.8")
    token, row = accounts.create_token(member.id, "script")
    for _ in range(2):
        assert accounts.who_has_token(token)
    accounts.revoke_token(member.id, row.id)
    signed_in = accounts.who_has_session(session)
    assert signed_in is not None
    accounts.change_identity(signed_in, "new@example.org", "", PASSWORD)
    accounts.change_password(signed_in, PASSWORD, "another password")
    accounts.sign_out(signed_in)
    accounts.set_role("new@example.org", "admin")
    accounts.disable("new@example.org")
    log = accounts.log()
    assert [entry.action for entry, _ in reversed(log)] == [
        "user.add",
        "user.add",
        "user.sign_in",
        "user.sign_in_failed",
        "user.sign_in_failed",
        "token.create",
        "token.first_use",
        "token.revoke",
        "user.change_email",
        "user.change_password",
        "user.sign_out",
        "user.role",
        "user.disable",
    ]
    failed = [entry for entry, _ in log if entry.action == "user.sign_in_failed"]
    assert [entry.detail["client"] for entry in failed] == ["192.0.2.8"] * 2
    assert {entry.subject == MEMBER for entry in failed} == {True, False}
    text = str([(entry.subject, entry.detail) for entry, _ in log])
    for secret in (PASSWORD, "not the password", "hunter2", token, session, "another password"):
        assert secret not in text
    assert {email for entry, email in log if entry.action == "user.role"} == {None}, "at the terminal"
