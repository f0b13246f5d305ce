"""Organisations: who joins, who may do what, and that one owner stays; on SQLite and on PostgreSQL."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import select, text

from ecluse import people
from ecluse.accounts import Accounts
from ecluse.catalog import Catalog, organisations, users
from ecluse.catalog.handles import free_handle, stem_of
from ecluse.catalog.tables import Invitation, Membership, Share, User, now
from ecluse.errors import EcluseError, Forbidden, HandleTaken, InvalidInput, LastOwner, NotFound
from ecluse.runtime import Runtime

PASSWORD = "a long password"


@pytest.fixture
def accounts(catalog: Catalog) -> Accounts:
    made = Accounts(catalog)
    for name in ("anna", "ben", "carl", "dora"):
        made.add(f"{name}@example.org")
    return made


def id_of(accounts: Accounts, name: str) -> str:
    return accounts.by_email(f"{name}@example.org").id


def make(accounts: Accounts, handle: str = "acme") -> None:
    """An organisation of Anna, with Ben as a member and Carl as a viewer."""
    anna = id_of(accounts, "anna")
    accounts.add_organisation(anna, handle, "Acme")
    for name, role in (("ben", "member"), ("carl", "viewer")):
        secret, _ = accounts.invite(anna, handle, role)
        assert accounts.accept_invitation(id_of(accounts, name), secret) == handle


def roles(accounts: Accounts, as_name: str, handle: str = "acme") -> dict[str, str]:
    _, members = accounts.organisation(id_of(accounts, as_name), handle)
    return {member.email.partition("@")[0]: member.role for member in members}


def test_members_see_each_other_and_nobody_else_sees_them(accounts: Accounts) -> None:
    make(accounts)
    for name in ("anna", "ben", "carl"):
        assert roles(accounts, name) == {"anna": "owner", "ben": "member", "carl": "viewer"}
        (mine,) = accounts.organisations(id_of(accounts, name))
        assert (mine.handle, mine.name, mine.members) == ("acme", "Acme", 3)
    assert accounts.organisations(id_of(accounts, "dora")) == []
    with pytest.raises(NotFound):
        accounts.organisation(id_of(accounts, "dora"), "acme")


def test_an_organisation_is_no_person(accounts: Accounts, catalog: Catalog) -> None:
    make(accounts)
    assert len(accounts.everyone()) == 4
    with pytest.raises(NotFound):
        accounts.by_email("@acme")
    with pytest.raises(NotFound):
        accounts.set_role("@acme", "admin")
    with pytest.raises(EcluseError):
        accounts.sign_in("@acme", "")
    with catalog.read() as transaction:
        assert users.count_users(transaction) == 4


def test_an_invitation_lets_one_person_in_once(accounts: Accounts) -> None:
    make(accounts)
    anna, dora = id_of(accounts, "anna"), id_of(accounts, "dora")
    secret, _ = accounts.invite(anna, "acme", "viewer")
    assert accounts.invitation(secret)[1] == "viewer"
    with pytest.raises(InvalidInput):  # who belongs to it leaves it for another
        accounts.accept_invitation(anna, secret)
    assert accounts.accept_invitation(dora, secret) == "acme"
    accounts.remove_member(dora, "acme", dora)
    for again in (secret, "", "x" * 43):
        with pytest.raises(NotFound):
            accounts.accept_invitation(dora, again)
    assert accounts.invitations(anna, "acme") == []


def test_an_invitation_ends_when_it_is_old_or_taken_back(accounts: Accounts, catalog: Catalog) -> None:
    make(accounts)
    anna, dora = id_of(accounts, "anna"), id_of(accounts, "dora")
    old, row = accounts.invite(anna, "acme")
    with catalog.write() as transaction:
        invitation = transaction.get(Invitation, row.id)
        assert invitation
        invitation.expires_at = now() - timedelta(seconds=1)
    back, row = accounts.invite(anna, "acme")
    accounts.withdraw_invitation(anna, "acme", row.id)
    for secret in (old, back):
        with pytest.raises(NotFound):
            accounts.accept_invitation(dora, secret)
    with pytest.raises(NotFound):
        accounts.withdraw_invitation(anna, "acme", row.id)


@pytest.mark.parametrize("end", ["removed", "demoted", "handed over", "disabled", "nobody"])
def test_an_invitation_ends_with_the_ownership_of_its_maker(
    accounts: Accounts, catalog: Catalog, end: str
) -> None:
    make(accounts)
    anna, ben, dora = (id_of(accounts, name) for name in ("anna", "ben", "dora"))
    accounts.set_member_role(anna, "acme", ben, "owner")
    secret, row = accounts.invite(ben, "acme", "owner")
    assert [each.id for each in accounts.invitations(anna, "acme")] == [row.id]
    if end == "removed":
        accounts.remove_member(anna, "acme", ben)
    elif end == "demoted":
        accounts.set_member_role(anna, "acme", ben, "member")
    elif end == "handed over":
        accounts.hand_over(ben, "acme", anna)
    elif end == "disabled":
        accounts.add("admin@example.org", admin=True)
        accounts.disable("ben@example.org")
    else:
        with catalog.write() as transaction:  # as it was before its maker was noted
            invitation = transaction.get(Invitation, row.id)
            assert invitation
            invitation.created_by = None
    assert accounts.invitations(anna, "acme") == []
    for user_id in (ben, dora):
        with pytest.raises(NotFound):
            accounts.accept_invitation(user_id, secret)
    if end == "disabled":
        accounts.enable("ben@example.org")
    elif end in ("demoted", "handed over"):
        accounts.set_member_role(anna, "acme", ben, "owner")
    with pytest.raises(NotFound):
        accounts.accept_invitation(dora, secret)
    others, _ = accounts.invite(anna, "acme")
    assert accounts.accept_invitation(dora, others) == "acme"


def test_who_owns_nothing_leaves_also_where_the_only_owner_is_disabled(accounts: Accounts) -> None:
    make(accounts)
    anna, ben, carl = (id_of(accounts, name) for name in ("anna", "ben", "carl"))
    accounts.add("admin@example.org", admin=True)
    assert accounts.without_owner("anna@example.org") == []
    accounts.disable("anna@example.org")
    assert accounts.without_owner("anna@example.org") == ["acme"]
    assert accounts.without_owner("ben@example.org") == []
    accounts.remove_member(ben, "acme", ben)
    accounts.enable("anna@example.org")
    accounts.disable("carl@example.org")
    with pytest.raises(InvalidInput, match="disabled"):
        accounts.hand_over(anna, "acme", carl)
    with pytest.raises(LastOwner):
        accounts.remove_member(anna, "acme", anna)


@pytest.mark.parametrize("end", ["leaves", "is removed", "closes the account"])
def test_what_a_member_shared_of_an_organisation_ends_when_the_member_leaves(
    accounts: Accounts, catalog: Catalog, end: str
) -> None:
    make(accounts)
    anna, ben, dora = (id_of(accounts, name) for name in ("anna", "ben", "dora"))
    accounts.add_organisation(ben, "bens")
    acme, bens = accounts.owned_organisation(anna, "acme").id, accounts.owned_organisation(ben, "bens").id
    with catalog.write() as transaction:
        for name, maker, reader, link in (
            ("ends", ben, bens, None),
            ("ends", None, bens, None),
            ("ends", ben, dora, None),
            ("ends", anna, ben, None),
            ("ends", ben, None, "link"),
            ("stays", anna, dora, None),
            ("stays", None, dora, None),
            ("stays", anna, None, "other"),
        ):
            row = Share(
                owner_id=acme, kind="models", name=name, made_by=maker, reader_id=reader, secret_hash=link
            )
            transaction.add(row)
            transaction.flush()
            if link:  # someone came by it
                opened = Share(owner_id=acme, kind="models", name=name, reader_id=dora, by_link_id=row.id)
                transaction.add(opened)
    if end == "leaves":
        accounts.remove_member(ben, "acme", ben)
    elif end == "is removed":
        accounts.remove_member(anna, "acme", ben)
    else:
        accounts.add("admin@example.org", admin=True)
        accounts.end_organisation(ben, "bens")
        accounts.remove("ben@example.org")
    with catalog.read() as transaction:
        kept = [row.name for row in transaction.scalars(select(Share).where(Share.owner_id == acme))]
    assert kept == ["stays"] * 4


def test_of_two_who_use_one_invitation_at_once_one_joins(accounts: Accounts) -> None:
    anna = id_of(accounts, "anna")
    accounts.add_organisation(anna, "acme")
    secret, _ = accounts.invite(anna, "acme")
    names, joined = ("ben", "carl", "dora"), []
    begin = threading.Barrier(len(names))

    def join(name: str) -> None:
        user_id = id_of(accounts, name)
        begin.wait()
        with contextlib.suppress(NotFound):
            joined.append(accounts.accept_invitation(user_id, secret))

    threads = [threading.Thread(target=join, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert joined == ["acme"]
    assert len(roles(accounts, "anna")) == 2


def test_the_last_owner_stays(accounts: Accounts) -> None:
    make(accounts)
    anna, ben = id_of(accounts, "anna"), id_of(accounts, "ben")
    refused: list[Callable[[], None]] = [
        lambda: accounts.remove_member(anna, "acme", anna),
        lambda: accounts.set_member_role(anna, "acme", anna, "member"),
        lambda: accounts.remove("anna@example.org"),
    ]
    accounts.set_role("ben@example.org", "admin")
    for act in refused:
        with pytest.raises(LastOwner, match="acme"):
            act()
    accounts.hand_over(anna, "acme", ben)
    assert roles(accounts, "ben") == {"anna": "member", "ben": "owner", "carl": "viewer"}
    accounts.remove_member(anna, "acme", anna)
    assert roles(accounts, "ben") == {"ben": "owner", "carl": "viewer"}


def test_an_owner_who_is_disabled_is_not_the_other_owner(accounts: Accounts) -> None:
    make(accounts)
    anna, ben = id_of(accounts, "anna"), id_of(accounts, "ben")
    accounts.set_member_role(anna, "acme", ben, "owner")
    accounts.add("admin@example.org", admin=True)
    accounts.disable("ben@example.org")
    with pytest.raises(LastOwner):
        accounts.remove_member(anna, "acme", anna)
    accounts.enable("ben@example.org")
    accounts.remove_member(anna, "acme", anna)
    assert roles(accounts, "ben") == {"ben": "owner", "carl": "viewer"}


def test_nobody_changes_their_own_role_and_the_same_role_stays_as_it_was_given(
    accounts: Accounts, catalog: Catalog
) -> None:
    make(accounts)
    anna, ben = id_of(accounts, "anna"), id_of(accounts, "ben")
    accounts.set_member_role(anna, "acme", ben, "owner")
    with catalog.write() as transaction:  # as groups of a provider give it
        organisation = organisations.called(transaction, "acme")
        assert organisation
        organisations.set_role(transaction, organisation.id, ben, "owner", "an identity")
    for by in (ben, anna):
        accounts.set_member_role(by, "acme", ben, "owner")
    with pytest.raises(InvalidInput):
        accounts.set_member_role(ben, "acme", ben, "member")
    with catalog.read() as transaction:
        membership = organisations.membership_of(transaction, organisation.id, ben)
        assert membership
        assert (membership.role, membership.identity_id) == ("owner", "an identity")


def test_of_two_owners_who_leave_at_once_one_stays(accounts: Accounts) -> None:
    make(accounts)
    anna, ben = id_of(accounts, "anna"), id_of(accounts, "ben")
    accounts.set_member_role(anna, "acme", ben, "owner")
    begin, refused = threading.Barrier(2), []

    def leave(user_id: str) -> None:
        begin.wait()
        try:
            accounts.remove_member(user_id, "acme", user_id)
        except LastOwner:
            refused.append(user_id)

    threads = [threading.Thread(target=leave, args=(user_id,)) for user_id in (anna, ben)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 1
    assert "owner" in roles(accounts, "carl").values()


def test_an_account_goes_with_its_memberships_and_an_organisation_with_all_of_them(
    accounts: Accounts, catalog: Catalog
) -> None:
    make(accounts)
    accounts.add("admin@example.org", admin=True)
    accounts.remove("carl@example.org")
    assert roles(accounts, "anna") == {"anna": "owner", "ben": "member"}
    anna = id_of(accounts, "anna")
    accounts.invite(anna, "acme")
    accounts.end_organisation(anna, "acme")
    with catalog.read() as transaction:
        assert transaction.query(Membership).count() == transaction.query(Invitation).count() == 0
    assert accounts.organisations(anna) == []


def test_a_handle_of_who_has_ended_is_given_to_nobody_again(accounts: Accounts, catalog: Catalog) -> None:
    make(accounts)
    accounts.add("admin@example.org", admin=True)
    accounts.end_organisation(id_of(accounts, "anna"), "acme")
    with pytest.raises(HandleTaken):
        accounts.add_organisation(id_of(accounts, "dora"), "acme")
    assert accounts.add("acme@example.org").handle == "acme-2"
    before = accounts.by_email("dora@example.org").handle
    accounts.remove("dora@example.org")
    assert (before, accounts.add("dora@example.org").handle) == ("dora", "dora-2")
    with catalog.read() as transaction:
        assert "acme" not in str(transaction.execute(text("SELECT * FROM former_handles")).all())


def test_what_was_done_is_written_down_without_secrets(accounts: Accounts) -> None:
    make(accounts)
    anna, ben = id_of(accounts, "anna"), id_of(accounts, "ben")
    secret, row = accounts.invite(anna, "acme")
    accounts.withdraw_invitation(anna, "acme", row.id)
    accounts.set_member_role(anna, "acme", ben, "viewer")
    accounts.hand_over(anna, "acme", ben)
    accounts.remove_member(ben, "acme", id_of(accounts, "carl"))
    accounts.remove_member(anna, "acme", anna)
    accounts.end_organisation(ben, "acme")
    log = accounts.log()
    assert {entry.action for entry, _ in log if entry.action.startswith("organisation.")} == {
        f"organisation.{action}"
        for action in (
            "add",
            "invite",
            "join",
            "withdraw",
            "role",
            "hand_over",
            "remove",
            "leave",
            "end",
        )
    }
    assert secret not in str([(entry.subject, entry.detail) for entry, _ in log])


@pytest.mark.parametrize(
    "handle", ["", "a b", "Acme", "-acme", "acme-", "a/b", "a~b", "@acme", "é", "a" * 33, "join"]
)
def test_what_is_no_handle_is_refused(accounts: Accounts, handle: str) -> None:
    with pytest.raises(InvalidInput):
        accounts.add_organisation(id_of(accounts, "anna"), handle)


def test_people_and_organisations_never_have_one_handle(accounts: Accounts, catalog: Catalog) -> None:
    anna = id_of(accounts, "anna")
    with pytest.raises(HandleTaken):
        accounts.add_organisation(anna, "ben")
    accounts.add_organisation(anna, "emil")
    assert accounts.add("emil@example.org").handle == "emil-2"
    assert accounts.add("Emil@example.net").handle == "emil-3"
    assert stem_of("Zoë.Müller+spam@example.org") == "zoe-muller-spam"
    assert stem_of("名@example.org") == "person"
    with catalog.read() as transaction:
        assert free_handle(transaction, "an@example.org") == "an"


def test_only_owners_change_who_belongs(accounts: Accounts) -> None:
    make(accounts)
    ben, carl = id_of(accounts, "ben"), id_of(accounts, "carl")
    for act in (
        lambda: accounts.invite(ben, "acme"),
        lambda: accounts.invitations(ben, "acme"),
        lambda: accounts.set_member_role(ben, "acme", ben, "owner"),
        lambda: accounts.remove_member(ben, "acme", carl),
        lambda: accounts.hand_over(ben, "acme", carl),
        lambda: accounts.end_organisation(ben, "acme"),
    ):
        with pytest.raises(Forbidden):
            act()
    assert roles(accounts, "anna") == {"anna": "owner", "ben": "member", "carl": "viewer"}


def test_nothing_of_an_account_is_removed_before_its_organisation_is_cared_for(runtime: Runtime) -> None:
    accounts = runtime.accounts
    accounts.sign_up("admin@example.org", PASSWORD)
    anna = accounts.sign_up("anna@example.org", PASSWORD)
    accounts.add_organisation(anna.id, "acme")
    with pytest.raises(LastOwner):
        people.remove(runtime, "anna@example.org", everything=True)
    assert accounts.by_email("anna@example.org").disabled_at is None
    accounts.end_organisation(anna.id, "acme")
    people.remove(runtime, "anna@example.org", everything=True)


def test_an_organisation_that_has_something_is_not_ended(accounts: Accounts, catalog: Catalog) -> None:
    from ecluse.catalog.tables import UserTable

    anna = id_of(accounts, "anna")
    made = accounts.add_organisation(anna, "acme")
    with catalog.write() as transaction:
        transaction.add(UserTable(user_id=made.id, name="t", rows=1))
    with pytest.raises(InvalidInput, match="tables: 1"):
        accounts.end_organisation(anna, "acme")
    with catalog.read() as transaction:
        assert isinstance(organisations.find(transaction, anna, "acme")[0], User)
