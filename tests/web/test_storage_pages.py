"""What is stored and what it costs, on the page and over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from ecluse.catalog import places
from ecluse.catalog.tables import User
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.storage.prices import load_prices, monthly_costs
from ecluse.web.i18n import Words
from ecluse.web.phrases import translated
from tests.web import invented
from tests.web.test_pages import Browser, browser

JSON = {"accept": "application/json"}


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    home: Path = tmp_path_factory.mktemp("home")
    with Runtime.open(Settings.from_environment({}, home=home)) as opened:
        yield opened


@pytest.fixture(scope="module")
def administrator(runtime: Runtime) -> User:
    """The first account, which administers, with tables, two versions of a model and a scoring."""
    user = runtime.accounts.sign_up("ines@example.org", "a long password", "Inès")
    with runtime.catalog.write() as transaction:
        transaction.add_all(invented.rows(user.id))
        transaction.flush()
        places.fill_addresses(transaction, runtime.data.url_of, runtime.data.url_of)
    return user


@pytest.fixture(scope="module")
def member(runtime: Runtime, administrator: User) -> User:
    """An account that has stored nothing and does not administer."""
    return runtime.accounts.sign_up("other@example.org", "a long password")


@pytest.fixture
def admins(runtime: Runtime, administrator: User) -> Browser:
    return browser(runtime, administrator)


@pytest.fixture
def members(runtime: Runtime, member: User) -> Browser:
    return browser(runtime, member)


def test_a_program_learns_what_its_owner_has_stored(admins: Browser, members: Browser) -> None:
    mine = admins.get("/api/storage", JSON).json()
    assert mine["size_bytes"] == sum(kind["size_bytes"] for kind in mine["kinds"]) > 0
    assert [kind["kind"] for kind in mine["kinds"]] == ["uploads", "results", "models"]
    assert mine["largest"][0]["size_bytes"] == max(item["size_bytes"] for item in mine["largest"])
    assert mine["growth"]
    last = mine["growth"][-1]
    assert last["uploads"] + last["results"] + last["models"] == mine["size_bytes"]
    assert members.get("/api/storage", JSON).json()["size_bytes"] == 0
    assert members.get("/api/storage", JSON).json()["largest"] == []


def test_only_an_administrator_sees_what_others_have_stored(
    admins: Browser, members: Browser, runtime: Runtime, member: User
) -> None:
    page = admins.get("/api/storage/users", JSON).json()
    assert page["total"] == 2
    assert [one["email"] for one in page["items"]] == ["ines@example.org", "other@example.org"]
    assert page["items"][0]["size_bytes"] > page["items"][1]["size_bytes"] == 0
    second = admins.get("/api/storage/users?per_page=1&page=2", JSON).json()
    assert [one["email"] for one in second["items"]] == ["other@example.org"]
    refused = members.get("/api/storage/users", JSON)
    assert refused.status_code == 403
    assert refused.json()["error"]["code"] == "forbidden"
    assert browser(runtime, None).get("/api/storage/users", JSON).status_code == 401


def test_costs_are_those_of_the_price_table_with_its_day(members: Browser) -> None:
    asked = "/api/storage/costs?bytes=1000000000000&gets=1000&puts=10&egress_bytes=5000000000"
    told = members.get(asked, JSON).json()
    costs = monthly_costs(10**12, gets=1000, puts=10, egress_bytes=5 * 10**9)
    assert [one["offer"] for one in told["costs"]] == [cost.offer.id for cost in costs]
    assert told["costs"][0]["monthly"] == round(costs[0].monthly, 4)
    assert date.fromisoformat(told["date"]) == load_prices().date
    assert members.get("/api/storage/costs?bytes=-1", JSON).status_code == 422
    assert members.get("/api/storage/costs", JSON).status_code == 422


def test_every_note_of_the_price_table_is_said_in_french() -> None:
    prices = load_prices()
    notes = [prices.about, *(offer.note for offer in prices.offers if offer.note)]
    assert [note for note in notes if translated(note, Words("fr")) == note] == []
