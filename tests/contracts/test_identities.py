"""Identities of providers on every catalog: two processes at once make one account, and groups change roles once."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from ecluse.accounts import Accounts
from ecluse.accounts.openid import Assertion
from ecluse.catalog import Catalog
from ecluse.errors import EcluseError, Forbidden
from ecluse.settings import AccountsSettings, ProviderSettings
from ecluse.settings.providers import GroupRole

PROVIDER = ProviderSettings(
    name="main",
    label="Acme",
    issuer="https://sso.example.org",
    client_id="ecluse",
    administrators=frozenset({"chiefs"}),
    memberships=(GroupRole("heads", "acme", "owner"), GroupRole("all", "acme", "viewer")),
)


@pytest.fixture
def two(catalog: Catalog) -> Iterator[tuple[Accounts, Accounts]]:
    """The accounts of one catalog, as two processes have them."""
    beside = Catalog(catalog.engine.url.render_as_string(hide_password=False))
    settings = AccountsSettings(providers=(PROVIDER,))
    accounts = Accounts(catalog, settings)
    root = accounts.add("root@example.org", admin=True)
    accounts.add_organisation(root.id, "acme")
    yield accounts, Accounts(beside, settings)
    beside.close()


def says(subject: str = "1", email: str = "anna@example.org", *groups: str) -> Assertion:
    return Assertion("main", "Acme", PROVIDER.issuer, subject, email, True, "Anna", frozenset(groups))


def at_once(two: tuple[Accounts, Accounts], assertions: list[Assertion]) -> list[str]:
    """Sign in by each from a thread of its own, the processes in turn; what came of each."""
    outcomes: list[str] = []
    start = threading.Barrier(len(assertions))

    def enter(number: int) -> None:
        start.wait()
        try:
            user, _ = two[number % 2].sign_in_by_provider(assertions[number], may_sign_up=True)
            outcomes.append(user.id)
        except EcluseError as error:
            outcomes.append(type(error).__name__)

    threads = [threading.Thread(target=enter, args=(number,)) for number in range(len(assertions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def test_a_new_person_who_enters_twice_at_once_has_one_account(two: tuple[Accounts, Accounts]) -> None:
    outcomes = at_once(two, [says("1", "anna@example.org", "all")] * 6)
    user = two[0].by_email("anna@example.org")
    assert outcomes == [user.id] * 6
    assert len(two[0].identities(user.id)) == 1
    assert [each.role for each in two[0].organisations(user.id)] == ["viewer"]


def test_an_address_is_linked_to_the_first_of_two_subjects(two: tuple[Accounts, Accounts]) -> None:
    outcomes = at_once(two, [says("1"), says("2")])
    user = two[0].by_email("anna@example.org")
    assert sorted(outcomes) == sorted([user.id, Forbidden.__name__])


def test_two_last_owners_who_leave_their_groups_at_once_leave_one(two: tuple[Accounts, Accounts]) -> None:
    accounts = two[0]
    root = accounts.by_email("root@example.org")
    for number in ("1", "2"):
        accounts.sign_in_by_provider(
            says(number, f"{number}@example.org", "heads", "chiefs"), may_sign_up=True
        )
    accounts.remove_member(root.id, "acme", root.id)
    accounts.set_role("root@example.org", "member")
    at_once(two, [says(number, f"{number}@example.org") for number in ("1", "2")])
    people = [accounts.by_email(f"{number}@example.org") for number in ("1", "2")]
    assert [each.role for user in people for each in accounts.organisations(user.id)] == ["owner"]
    assert sorted(user.role for user in people) == ["admin", "member"]


def test_an_account_that_is_removed_takes_its_identities_along(two: tuple[Accounts, Accounts]) -> None:
    accounts = two[0]
    user, _ = accounts.sign_in_by_provider(says(), may_sign_up=True)
    accounts.remove("anna@example.org")
    assert not accounts.identities(user.id)
    again, _ = accounts.sign_in_by_provider(says(), may_sign_up=True)
    assert again.id != user.id
