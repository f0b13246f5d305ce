"""An installation by invitation: who administers it, who makes an account by a link, and the pages of that account."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import httpx
import pytest
from playwright.sync_api import Browser, expect

from ecluse.runtime import Runtime
from ecluse.settings import Settings
from tests import application
from tests.application import Application
from tests.journeys.browser import executable
from tests.journeys.people import LANGUAGES, PASSWORD, Person, person

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.timeout(600),
    pytest.mark.skipif(executable() is None, reason="no Chromium here"),
]


@dataclass
class House:
    """An administrator and who they invite, in one language; `token`: a token of hers."""

    app: Application
    administrator: Person
    anna: Person
    links: dict[str, str] = field(default_factory=dict)
    token: str = ""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    home = tmp_path_factory.mktemp("administrator") / "home"
    with application.running(home, {"ECLUSE_SIGN_UP": "invitation"}) as started:
        yield started


@pytest.fixture(scope="module", params=LANGUAGES)
def house(app: Application, browser: Browser, request: pytest.FixtureRequest) -> Iterator[House]:
    with ExitStack() as stack:
        people = [
            stack.enter_context(person(browser, app.address.rstrip("/"), request.param, name))
            for name in ("root", "anna")
        ]
        settings = Settings.from_environment(app.environ, home=app.home)
        with Runtime.open(settings) as runtime:
            runtime.accounts.add(people[0].email, admin=True, password=PASSWORD)
        yield House(app, *people)


def test_an_administrator_invites_and_a_person_makes_an_account_by_the_link(house: House) -> None:
    root, anna = house.administrator, house.anna
    anna.go("/sign-up")
    anna.look("sign-up-refused")
    sign_in(root)
    root.go("/users")
    root.look("users")
    root.fill(invitation_current=PASSWORD)
    root.click("Make an invitation for one person")
    house.links["invitation"] = root.page.locator("code.token").inner_text()
    root.sees("Send this link to one person, who makes an account by it. It is shown this once.")
    anna.go(house.links["invitation"])
    anna.look("sign-up")
    anna.sign_up(house.links["invitation"])
    anna.look("home")


def test_a_person_makes_a_token_with_scopes_and_ends_a_session(house: House, browser: Browser) -> None:
    anna = house.anna
    with person(browser, anna.address, anna.language, "anna") as elsewhere:
        sign_in(elsewhere)
        anna.go("/account")
        anna.look("account")
        anna.fill(token_name="notebook", token_current=PASSWORD)
        for scope in ("predict", "publish"):
            anna.page.locator(f"[name=scopes][value={scope}]").uncheck()
        anna.click("Make a token")
        house.token = anna.page.locator("code.token").inner_text()
        anna.look("account-token")
        row = anna.page.get_by_role("row").filter(has_text="notebook")
        expect(row.locator("td").nth(1)).to_have_text("read")
        anna.fill(sessions_current=PASSWORD)
        anna.click("Sign every other browser out")
        elsewhere.go("/account")
        expect(elsewhere.page).to_have_url(f"{anna.address}/sign-in")
    expect(anna.page.get_by_role("row").filter(has_text=anna.say("this one"))).to_have_count(1)
    bearer = {"Authorization": f"Bearer {house.token}"}
    assert httpx.get(f"{anna.address}/api/models", headers=bearer, timeout=60).status_code == 200
    assert httpx.delete(f"{anna.address}/api/models/none/1", headers=bearer, timeout=60).status_code == 403


def test_an_administrator_searches_and_changes_an_account(house: House) -> None:
    root, anna = house.administrator, house.anna
    root.go("/users")
    root.page.locator("#search").fill(anna.email.partition("@")[0])
    root.click("Search")
    expect(root.page.locator("main table").first.locator("tbody tr")).to_have_count(1)
    change(root, "plan:basic")
    root.look("users-changed")
    anna.go("/storage")
    anna.sees("Your plan: %(name)s", name="basic")
    anna.look("storage")
    change(root, "end_sessions")
    anna.go("/account")
    expect(anna.page).to_have_url(f"{anna.address}/sign-in")
    change(root, "disable")
    anna.fill(email=anna.email, password=PASSWORD)
    anna.click("Sign in")
    expect(anna.page.get_by_role("alert")).to_be_visible()
    anna.look("sign-in-refused")
    change(root, "enable")
    sign_in(anna)
    anna.go("/users")
    anna.look("not-allowed")
    change(root, "administrator")
    anna.go("/users")
    anna.sees("People")
    change(root, "member")


def test_an_administrator_sees_jobs_organisations_plans_and_settings(house: House) -> None:
    root = house.administrator
    handle = f"lab-{root.language}"
    with house.app.client(house.anna.email) as client:
        client.post("/api/organisations", json={"handle": handle, "name": "Labo"}).raise_for_status()
        table = {"file": ("rows.csv", b"amount,is_fraud\n" + b"1,0\n2,1\n" * 20)}
        client.post("/api/upload", files=table).raise_for_status()
    root.go("/administration/organisations")
    expect(root.page.get_by_role("row").filter(has_text=handle)).to_have_count(1)
    root.look("organisations")
    root.go("/administration/jobs")
    expect(root.page.get_by_role("row").filter(has_text=house.anna.email).first).to_be_visible()
    root.look("jobs")
    root.go("/administration/plans")
    root.page.locator("#trial-current").fill(PASSWORD)
    root.page.locator("#trial-models").fill("4")
    root.click("Change the plan", within=root.page.locator("form", has=root.page.locator("#trial-models")))
    expect(root.page.locator("#trial-models")).to_have_value("4")
    root.look("plans")
    root.go("/administration/settings")
    root.look("settings")
    root.go("/storage?all=1")
    root.look("storage-of-all")


def test_an_administrator_searches_the_log_and_takes_it_along(house: House) -> None:
    root, anna = house.administrator, house.anna
    root.go("/administration/log")
    root.look("log")
    root.page.locator("#search").fill(anna.email)
    root.click("Search")
    expect(root.page.locator("main tbody tr").filter(has_text=anna.email).first).to_be_visible()
    root.look("log-searched")
    with root.page.expect_download() as started:
        root.follow("Export as CSV")
    lines = started.value.path().read_text().splitlines()
    assert lines[0] == "created_at,action,subject,by,detail"
    assert all(anna.email in line for line in lines[1:])
    assert any("user.disable" in line for line in lines)


def test_a_person_takes_everything_along_and_closes_the_account(house: House) -> None:
    anna = house.anna
    anna.go("/account/data")
    anna.look("data")
    with anna.page.expect_download() as started:
        anna.follow("Download")
    names = zipfile.ZipFile(started.value.path()).namelist()
    assert [name for name in names if name.endswith(".json")]
    with house.app.client(anna.email) as client:
        client.delete(f"/api/organisations/lab-{anna.language}").raise_for_status()
    anna.page.locator("#confirm").fill("someone.else@example.org")
    anna.fill(current=PASSWORD)
    anna.click("Remove my account and everything in it")
    expect(anna.page.get_by_role("alert")).to_be_visible()
    anna.look("data-refused")
    anna.page.locator("#confirm").fill(anna.email)
    anna.fill(current=PASSWORD)
    anna.click("Remove my account and everything in it")
    anna.sees("The account is closed")
    anna.look("closed")
    bearer = {"Authorization": f"Bearer {house.token}"}
    assert httpx.get(f"{anna.address}/api/models", headers=bearer, timeout=60).status_code == 401


def sign_in(who: Person) -> None:
    """Sign in by the password."""
    who.go("/sign-in")
    who.fill(email=who.email, password=PASSWORD)
    who.click("Sign in")
    expect(who.page.locator(".side .who, .tabbar").first).to_be_attached()


def change(root: Person, action: str) -> None:
    """Do this with the account that the page shows."""
    root.page.locator("#action").select_option(action)
    root.fill(change_current=PASSWORD)
    root.click("Change the account")
    expect(root.page.locator(".notice.ok")).to_be_visible()
