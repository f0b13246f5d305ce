"""What is shared by a link as its owner and who holds the link meet it: a table of fraud, and a day without an account."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

import pytest
from playwright.sync_api import Browser, expect

from ecluse.apps.fraud.actions.main import add_table, find_dataset
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from tests import application
from tests.application import Application
from tests.apps.city.invented_documents import LAST, invented_city
from tests.journeys.browser import executable
from tests.journeys.people import LANGUAGES, Person, person
from tests.support.wait import wait_until

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.timeout(300),
    pytest.mark.skipif(executable() is None, reason="no Chromium here"),
]
ROWS: Final = b"transaction_id,amount,is_fraud\n" + b"".join(
    b"T%d,%d.5,%d\n" % (n, n, n % 2) for n in range(60)
)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    with application.running(tmp_path_factory.mktemp("by-link") / "home") as started:
        with opened(started) as runtime:
            runtime.documents.put_many(invented_city(days=3))
        yield started


def opened(app: Application) -> Runtime:
    return Runtime.open(Settings.from_environment(app.environ, home=app.home))


@pytest.fixture(params=LANGUAGES)
def people(app: Application, browser: Browser, request: pytest.FixtureRequest) -> Iterator[list[Person]]:
    address = app.address.rstrip("/")
    with ExitStack() as stack:
        yield [
            stack.enter_context(person(browser, address, request.param, name)) for name in ("lender", "guest")
        ]


def test_a_table_of_fraud_is_read_by_who_opens_the_link(app: Application, people: list[Person]) -> None:
    owner, guest = people
    for each in people:
        each.sign_up()
    with opened(app) as runtime:
        user = runtime.accounts.by_email(owner.email)
        table = add_table(runtime, user.id, "cards.csv", [ROWS])
        wait_until(lambda: find_dataset(runtime, user.id, table.id).state == "ready", "a profile")
    owner.go(f"/fraud/d/{table.id}")
    owner.look("table-of-fraud-own")
    owner.follow("Share it")
    owner.look("table-of-fraud-sharing")
    owner.click("Make a link")
    guest.go(owner.page.locator("code.token").inner_text())
    guest.look("table-of-fraud-link")
    guest.click("Open it")
    guest.page.wait_for_url(f"**/fraud/d/{table.id}")
    guest.sees("Shared with you to be read")
    guest.look("table-of-fraud-read")
    main = guest.page.get_by_role("main")
    assert [form.get_attribute("action") for form in main.locator("form[method=post]").all()] == []
    with guest.page.expect_download() as download:
        guest.follow("Download as CSV")
    assert "transaction_id" in download.value.path().read_text()
    guest.go("/fraud")
    expect(main.get_by_role("link", name="cards.csv")).to_be_visible()
    guest.look("tables-of-fraud-of-others")
    owner.go(f"/sharing/fraud_tables/{table.id}")
    while owner.page.get_by_role("table").count():
        owner.page.get_by_role("table").get_by_role("button").first.click()
        owner.page.wait_for_load_state()
    guest.is_lost(f"{guest.address}/fraud/d/{table.id}", "cards.csv")


def test_the_report_of_a_day_is_read_without_an_account_until_the_link_is_taken_back(
    people: list[Person],
) -> None:
    owner, reader = people
    owner.email = owner.email.replace("lender", "clerk")
    owner.sign_up()
    owner.go(f"/city/{LAST}/report")
    owner.follow("Share it")
    owner.look("day-sharing-none")
    owner.click("Make a link")
    link = owner.page.locator("code.token").inner_text()
    owner.look("day-sharing")
    answer = reader.page.request.get(
        link, headers={"accept-language": reader.language}
    )  # its policy runs no script, those of a test neither
    assert (answer.status, f'<html lang="{reader.language}"' in answer.text()) == (200, True)
    reader.go(f"/city/{LAST}")
    assert re.search(r"/sign-(in|up)", reader.page.url), "who has a link is not signed in"
    owner.page.get_by_role("table").get_by_role("button").first.click()
    owner.sees("You have made no link to this report.")
    assert reader.page.request.get(link).status == 404
