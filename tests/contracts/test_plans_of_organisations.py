"""Whose plan an organisation lives by: its maker's, until an administrator gives it one of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import inspect

from ecluse import catalog as catalog_package
from ecluse.accounts import Accounts
from ecluse.catalog import Catalog, plans, quotas
from ecluse.catalog.tables import User, UserPlan, now
from ecluse.errors import EcluseError, LimitReached
from ecluse.settings import Settings


@pytest.fixture
def accounts(catalog: Catalog) -> Accounts:
    made = Accounts(catalog)
    for name in ("admin", "anna", "ben"):
        made.add(f"{name}@example.org")
    return made


def user(accounts: Accounts, name: str) -> User:
    return accounts.by_email(f"{name}@example.org")


def give(catalog: Catalog, to: User, plan: str | None) -> None:
    with catalog.write() as transaction:
        plans.give(transaction, to, plan, by=None)


def plan_of(catalog: Catalog, owner_id: str) -> UserPlan | None:
    with catalog.read() as transaction:
        return transaction.get(UserPlan, owner_id)


def hand_over(accounts: Accounts, handle: str) -> None:
    """From Anna to Ben, as one who only wants the room."""
    anna, ben = user(accounts, "anna").id, user(accounts, "ben").id
    accounts.accept_invitation(ben, accounts.invite(anna, handle, "member")[0])
    accounts.hand_over(anna, handle, ben)
    accounts.remove_member(anna, handle, anna)


def test_handing_over_gives_no_room_for_another(accounts: Accounts, catalog: Catalog) -> None:
    anna, ben = user(accounts, "anna"), user(accounts, "ben")
    give(catalog, anna, "trial")
    accounts.add_organisation(anna.id, "one")
    hand_over(accounts, "one")
    for handle in ("two", "three"):
        with pytest.raises(LimitReached, match="@one"):
            accounts.add_organisation(anna.id, handle)
    assert accounts.organisations(anna.id) == []
    accounts.end_organisation(ben.id, "one")
    accounts.add_organisation(anna.id, "two")
    with pytest.raises(LimitReached):
        accounts.add_organisation(anna.id, "three")


def test_what_an_administrator_gives_it_is_its_own(accounts: Accounts, catalog: Catalog) -> None:
    anna = user(accounts, "anna")
    give(catalog, anna, "trial")
    accounts.add_organisation(anna.id, "one")
    one = accounts.owner_called("@one")
    give(catalog, one, "premium")
    hand_over(accounts, "one")
    accounts.add_organisation(anna.id, "two")
    give(catalog, anna, "basic")
    of_one, of_two = plan_of(catalog, one.id), plan_of(catalog, accounts.owner_called("@two").id)
    assert of_one is not None
    assert of_two is not None
    assert (of_one.plan, of_one.follows, of_two.plan, of_two.follows) == ("premium", None, "basic", anna.id)


def test_it_follows_the_plan_of_who_made_it(accounts: Accounts, catalog: Catalog) -> None:
    """A person whose plan becomes smaller, longer or ends takes the organisation along, wherever it is by then."""
    anna = user(accounts, "anna")
    give(catalog, anna, "premium")
    organisation = accounts.add_organisation(anna.id, "one").id
    hand_over(accounts, "one")
    until = now() + timedelta(days=3)
    with catalog.write() as transaction:
        plans.give(transaction, anna, "trial", by=None, until=until)
    mine = plan_of(catalog, organisation)
    assert mine is not None
    assert (mine.plan, mine.ends_at) == ("trial", until)
    give(catalog, anna, None)
    assert plan_of(catalog, organisation) is None


def test_one_from_before_the_plan_follows_the_first_owner_who_is_given_one(
    accounts: Accounts, catalog: Catalog
) -> None:
    anna, ben = user(accounts, "anna"), user(accounts, "ben")
    mine, given = (accounts.add_organisation(anna.id, handle).id for handle in ("mine", "given"))
    hand_over(accounts, "given")
    freed = accounts.add_organisation(anna.id, "freed").id
    give(catalog, anna, "trial")
    follows = {each: plan_of(catalog, each) for each in (mine, given, freed)}
    assert {key: row.follows for key, row in follows.items() if row} == {mine: anna.id, freed: anna.id}
    give(catalog, accounts.owner_called("@freed"), None)
    give(catalog, anna, "basic")  # no first plan: who was freed stays so
    assert plan_of(catalog, freed) is None
    give(catalog, ben, "trial")
    of_given = plan_of(catalog, given)
    assert of_given is not None
    assert of_given.follows == ben.id
    with catalog.read() as transaction:
        assert quotas.is_limited(transaction, given)


@pytest.mark.parametrize("repeat", range(3))
def test_two_at_once_make_one(accounts: Accounts, catalog: Catalog, repeat: int) -> None:
    anna, outcomes = user(accounts, "anna"), list[bool]()
    give(catalog, anna, "trial")

    def make(number: int) -> None:
        try:
            accounts.add_organisation(anna.id, f"org-{number}")
        except LimitReached:
            outcomes.append(False)
        else:
            outcomes.append(True)

    together([lambda number=number: make(number) for number in range(6)])
    assert sorted(outcomes) == [False] * 5 + [True]


@pytest.mark.parametrize("repeat", range(3))
def test_one_that_is_made_as_the_first_plan_is_given_has_it(
    accounts: Accounts, catalog: Catalog, repeat: int
) -> None:
    anna, faults = user(accounts, "anna"), list[EcluseError]()

    def attempt(call: Callable[[], object]) -> None:
        try:
            call()
        except EcluseError as error:
            faults.append(error)

    together(
        [
            lambda: attempt(lambda: accounts.add_organisation(anna.id, "one")),
            lambda: attempt(lambda: give(catalog, anna, "trial")),
        ]
    )
    assert faults == []
    row = plan_of(catalog, accounts.owner_called("@one").id)
    assert row is not None
    assert (row.plan, row.follows) == ("trial", anna.id)


def together(calls: Sequence[Callable[[], object]]) -> None:
    """Run them in threads that begin at one moment."""
    start = threading.Barrier(len(calls))

    def begin(call: Callable[[], object]) -> None:
        start.wait()
        call()

    threads = [threading.Thread(target=begin, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_one_from_before_the_column_follows_who_made_it(
    request: pytest.FixtureRequest, tmp_path: Path, database: str
) -> None:
    """The log says who made it, also where it was handed over since."""
    url = f"sqlite:///{tmp_path / 'old.db'}"
    if database == "postgresql":
        url = request.getfixturevalue("postgresql_url")
    opened = Catalog(Settings.from_environment({"DATABASE_URL": url}).database_url)
    config = Config()
    config.set_main_option("script_location", str(Path(catalog_package.__file__).parent / "migrations"))
    opened.migrate()
    accounts = Accounts(opened)
    anna, _ben = (accounts.add(f"{name}@example.org") for name in ("anna", "ben"))
    give(opened, anna, "trial")
    organisation = accounts.add_organisation(anna.id, "one").id
    hand_over(accounts, "one")
    with opened.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0029")
        assert "follows" not in {each["name"] for each in inspect(connection).get_columns("user_plans")}
    opened.migrate()
    row = plan_of(opened, organisation)
    assert row is not None
    assert row.follows == anna.id
    opened.close()
