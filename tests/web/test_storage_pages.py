"""What is stored and what it costs, on the page and over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from ecluse.catalog import files
from ecluse.catalog.tables import File, User
from ecluse.catalog.usage import DayUsage
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.storage.prices import load_prices, monthly_costs
from ecluse.web.i18n import Words
from ecluse.web.pages.storage import cost_now, where_stored
from ecluse.web.storage_charts import storage_costs, stored_growth
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
        files.fill_addresses(transaction, lambda area, key: runtime.data.url_of(key))
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
    assert [kind["kind"] for kind in mine["kinds"]] == ["uploads", "results", "models", "images"]
    assert mine["largest"][0]["size_bytes"] == max(item["size_bytes"] for item in mine["largest"])
    assert mine["growth"]
    last = mine["growth"][-1]
    assert last["uploads"] + last["results"] + last["models"] + last["images"] == mine["size_bytes"]
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
    assert [note for note in notes if Words("fr").phrase(note) == note] == []


def test_the_page_shows_what_is_stored_and_leads_to_the_largest(admins: Browser, members: Browser) -> None:
    page = admins.get("/storage").text
    assert 'id="chart-growth"' in page
    assert 'id="chart-costs"' in page
    assert 'href="/fraud/d/dlabelled"' in page
    assert f'href="/models/transactions/{invented.VERSIONS[0]}"' in page
    assert "/storage?all=1" in page
    empty = members.get("/storage").text
    assert "Nothing stored yet" in empty
    assert 'id="chart-growth"' not in empty
    assert "dlabelled" not in empty


def test_the_addresses_of_the_stores_are_shown_to_administrators_alone(
    admins: Browser, members: Browser, runtime: Runtime
) -> None:
    assert runtime.settings.store_url in admins.get("/storage").text
    assert runtime.settings.store_url not in members.get("/storage").text


def test_everyones_use_is_shown_to_administrators_alone(admins: Browser, members: Browser) -> None:
    page = admins.get("/storage?all=1").text
    assert "ines@example.org" in page
    assert "other@example.org" in page
    assert "dlabelled" not in page
    refused = members.get("/storage?all=1")
    assert refused.status_code == 403
    assert "Only administrators can see this." in refused.text


def test_the_estimate_is_for_what_the_form_says_and_says_what_it_guessed(admins: Browser) -> None:
    guessed = admins.get("/storage").text
    assert guessed.count('data-label="Guessed:"') == 3
    page = admins.get("/storage?stored=1000&egress=0&reads=0").text
    costs = monthly_costs(10**12, objects=count_of(admins), puts=count_of(admins))
    assert f"${costs[0].monthly:,.2f}" in page
    assert page.count('data-label="Given:"') == 3
    assert 'value="1000"' in page
    assert admins.get("/storage?stored=0%2C5").status_code == 200


@pytest.mark.parametrize("field", ["stored=abc", "egress=-1", "reads=1e99", "stored=nan", "reads=inf"])
def test_what_is_no_quantity_is_said_and_kept_in_its_field(admins: Browser, field: str) -> None:
    answer = admins.get(f"/storage?{field}")
    assert answer.status_code == 422
    assert "is not a quantity" in answer.text
    assert f'value="{field.partition("=")[2]}"' in answer.text
    assert 'aria-invalid="true"' in answer.text


@pytest.mark.parametrize(
    ("environ", "offer"),
    [
        ({"ECLUSE_STORE_URL": "s3://models"}, "s3-standard"),
        ({"ECLUSE_STORE_URL": "memory://"}, None),
        ({"ECLUSE_STORE_URL": "s3://models", "ECLUSE_RAW_URL": "memory://"}, "s3-standard"),
        ({"ECLUSE_STORE_URL": "s3://models", "ECLUSE_IMAGES_URL": "memory://"}, None),
        ({"ECLUSE_STORE_URL": "s3://models", "ECLUSE_DATA_URL": "memory://"}, None),
    ],
)
def test_the_cost_where_things_are_is_known_where_one_provider_has_them_all(
    tmp_path: Path, environ: dict[str, str], offer: str | None
) -> None:
    with Runtime.open(Settings.from_environment(environ, home=tmp_path)) as opened:
        now = cost_now(where_stored(opened), monthly_costs(10**9))
    assert (now.offer.id if now else None) == offer


def test_a_chart_of_one_day_rises_from_nothing() -> None:
    day = date(2025, 11, 21)
    chart = stored_growth([DayUsage(day, {"uploads": 5})], day, {}, Words("en"))
    assert [series["data"] for series in chart.option["series"]] == [[["2025-11-20", 0], ["2025-11-21", 5]]]


def test_the_offer_where_things_are_stands_out_among_the_costs() -> None:
    chart = storage_costs(monthly_costs(10**12), {"s3-standard"}, Words("fr"))
    colours = {
        name: bar["itemStyle"]["color"]
        for name, bar in zip(chart.option["yAxis"]["data"], chart.option["series"][0]["data"], strict=True)
    }
    assert [name for name, colour in colours.items() if colour == "--c1"] == ["Amazon S3, Standard"]
    assert "\N{NO-BREAK SPACE}$" in chart.finding


def test_money_has_its_sign_and_two_decimals_and_nothing_is_not_next_to_nothing() -> None:
    assert [Words("en").money(x) for x in (0, 0.004, 1234.5)] == ["$0.00", "<$0.01", "$1\u00a0234.50"]
    assert Words("fr").money(12.3) == "12,30\u00a0$"
    assert Words("en").money(2, "EUR") == "2.00\u00a0EUR"
    assert Words("en").money(None) == "–"


def count_of(client: Browser) -> int:
    return sum(kind["count"] for kind in client.get("/api/storage", JSON).json()["kinds"])


def test_a_kind_that_no_application_names_is_shown_by_its_own_word(
    admins: Browser, runtime: Runtime, administrator: User
) -> None:
    letter = {
        "table_name": "letters",
        "row_id": "letter1",
        "user_id": administrator.id,
        "application": "letters",
    }
    url = runtime.data.url_of("letters/dear.txt")
    with runtime.catalog.write() as transaction:
        files.add(transaction, File(**letter, kind="letters", counted=True, url=url, size_bytes=10**15))
    try:
        for address in ("/storage", "/storage?all=1"):
            assert "letters" in admins.get(address).text
        assert "dear.txt" in admins.get("/storage").text
        assert admins.get("/api/storage", JSON).json()["growth"][-1]["kinds"]["letters"] == 10**15
    finally:
        with runtime.catalog.write() as transaction:
            files.remove(transaction, "letters", ["letter1"])
