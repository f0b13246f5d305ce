"""An organisation as each of its people meets it: owner, member, viewer, a guest by a link, and a stranger."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from playwright.sync_api import Browser, expect
from sklearn.linear_model import LogisticRegression

from ecluse import models
from ecluse.client.package import pack
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from tests import application
from tests.application import Application
from tests.journeys.browser import executable
from tests.journeys.people import LANGUAGES, PASSWORD, Person, person, untranslated

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.timeout(600),
    pytest.mark.skipif(executable() is None, reason="no Chromium here"),
]
MATRIX: Final = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0], [3.0, 0.0]])
#: What a viewer may send from the pages they see: asks a model, scores a table of their own, leaves.
OF_VIEWERS: Final = re.compile(r"/use(/table)?(#answer)?$|/leave$|/tables/upload$|/organisations$|/sign-out$")


@dataclass
class Team:
    """The people of one organisation in one language, and the links that its owner made."""

    app: Application
    browser: Browser
    language: str
    stack: ExitStack
    people: dict[str, Person] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    @property
    def handle(self) -> str:
        return f"acme-{self.language}"

    def __getitem__(self, name: str) -> Person:
        if name not in self.people:
            made = person(self.browser, self.app.address.rstrip("/"), self.language, name)
            self.people[name] = self.stack.enter_context(made)
        return self.people[name]

    def publish(self, owner: str, name: str, folder: Path) -> None:
        """Publish a model that answers rows, for the owner with this address."""
        folder.mkdir()
        packed = pack(LogisticRegression().fit(MATRIX, [0, 0, 1, 1]), folder, MATRIX)
        settings = Settings.from_environment(self.app.environ, home=self.app.home)
        with Runtime.open(settings) as runtime:
            user = (runtime.accounts.owner_called if owner[0] == "@" else runtime.accounts.by_email)(owner)
            files = list(packed.folder.iterdir())
            models.publish(runtime, user.id, name, files, metadata=packed.metadata)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    with application.running(tmp_path_factory.mktemp("organisation") / "home") as started:
        yield started


@pytest.fixture(scope="module", params=LANGUAGES)
def team(app: Application, browser: Browser, request: pytest.FixtureRequest) -> Iterator[Team]:
    with ExitStack() as stack:
        yield Team(app, browser, request.param, stack)


def test_an_owner_makes_an_organisation_and_invites(team: Team, tmp_path: Path) -> None:
    owner = team["owner"]
    owner.sign_up()
    owner.go("/organisations")
    owner.look("organisations-none")
    owner.fill(handle=team.handle, name="Acme SARL")
    owner.click("Make the organisation")
    owner.sees("The organisation has nothing yet")
    owner.look("organisation-new")
    for role in ("member", "viewer"):
        owner.page.locator("#role").select_option(role)
        owner.click("Make a link for one person")
        team.links[role] = owner.page.locator("code.token").inner_text()
    owner.sees("Send this link to one person, who joins by it once. It is shown this once.")
    team.publish(f"@{team.handle}", "churn", tmp_path / "churn")
    team.publish(owner.email, "payments", tmp_path / "payments")
    owner.look("organisation-invited")
    owner.go(f"/organisations/{team.handle}")
    owner.sees("Plan of @%(handle)s: none", handle=team.handle)
    expect(owner.page.get_by_role("link", name="churn")).to_be_visible()


def test_an_owner_makes_a_service_account_with_a_token(team: Team) -> None:
    owner = team["owner"]
    owner.go(f"/organisations/{team.handle}")
    owner.fill(service_name="robot")
    owner.click("Make the service account")
    if "/services/" not in owner.page.url:
        owner.page.get_by_role("link", name=f"@{team.handle}/robot").click()
    owner.fill(token_name="nightly", token_current=PASSWORD)
    owner.click("Make the token")
    owner.sees("Its new token. It is shown this once.")
    owner.look("service-account")


def test_an_owner_shares_a_model_with_the_organisation_and_by_a_link(team: Team) -> None:
    owner = team["owner"]
    owner.go("/models/payments")
    owner.look("model-own")
    owner.follow("Share the model")
    owner.click("Share with the organisation")
    owner.page.locator("#link-days").fill("3")
    owner.click("Make a link")
    team.links["shared"] = owner.page.locator("code.token").inner_text()
    expect(owner.page.locator("main tbody tr")).to_have_count(2)
    owner.look("sharing")


def test_a_member_joins_by_the_link_and_asks_what_is_shared(team: Team) -> None:
    member = team["member"]
    member.go(team.links["member"])
    member.look("invited-without-account")
    member.follow("Make an account")
    member.look("invited-sign-up")
    member.fill(email=member.email, password=PASSWORD)
    member.click("Make the account")
    member.page.wait_for_url(f"**/organisations/{team.handle}")
    member.look("organisation-of-member")
    member.go("/models")
    member.look("models-shared")
    member.page.get_by_role("link", name="/payments").click()
    member.look("model-shared")
    with member.page.expect_download():
        member.page.locator("#files a").first.click()
    member.follow("Use this model")
    ask(member)
    member.look("model-use")


def test_a_member_names_a_version_and_hands_a_table_over(team: Team, tmp_path: Path) -> None:
    member = team["member"]
    member.go(f"/models/@{team.handle}~churn")
    member.page.get_by_label(member.say("New alias")).fill("production")
    member.click("Set the alias")
    expect(member.page.get_by_text("churn@production").first).to_be_visible()
    member.look("model-of-organisation")
    member.go("/tables")
    rows = tmp_path / "rows.csv"
    rows.write_text("a,b\n1,2\n3,4\n")
    member.page.locator("input[type=file]").set_input_files(rows)
    member.page.wait_for_url(re.compile(r"/tables/[0-9a-z]{16}$"))
    member.click("Hand it over")
    expect(member.page.get_by_text(member.say("Open the table"))).to_be_visible(timeout=60_000)
    member.look("handed-over")
    member.follow("Open the table")
    expect(member.page.get_by_text(f"@{team.handle}").first).to_be_visible()
    member.look("table")
    member.go("/tables")
    member.look("tables")


def test_a_viewer_reads_downloads_and_asks_and_is_offered_nothing_else(team: Team) -> None:
    viewer = team["viewer"]
    viewer.sign_up(team.links["viewer"].replace("/organisations/join/", "/sign-up/"))
    viewer.page.wait_for_url(f"**/organisations/{team.handle}")
    ways = [
        f"/organisations/{team.handle}",
        f"/models/@{team.handle}~churn",
        str(team["member"].addresses["table"]),
        str(team["member"].addresses["model-shared"]),
        "/models",
        "/tables",
    ]
    for number, way in enumerate(ways):
        viewer.go(way)
        viewer.look(f"viewer-{number}")
        assert refused(viewer) == []
    viewer.go(f"/models/@{team.handle}~churn")
    viewer.follow("Use this model")
    ask(viewer)
    assert refused(viewer) == []


def test_a_stranger_finds_none_of_it_and_a_way_out(team: Team) -> None:
    stranger = team["stranger"]
    stranger.sign_up()
    for address in (*of_the_team(team), team.links["member"]):
        stranger.is_lost(address, *names_of(team))
    stranger.look("not-found")


def test_a_visitor_is_asked_to_sign_in_and_told_nothing(team: Team) -> None:
    visitor = team["visitor"]
    for address in of_the_team(team):
        visitor.go(address)
        expect(visitor.page).to_have_url(f"{visitor.address}/sign-in")
        assert [name for name in names_of(team) if name in visitor.page.content()] == []
    visitor.look("sign-in")


def test_a_guest_opens_the_link_and_sees_the_model_until_it_is_taken_back(team: Team) -> None:
    guest, owner = team["guest"], team["owner"]
    guest.sign_up()
    guest.go(team.links["shared"])
    guest.look("shared-link")
    guest.click("Open it")
    guest.look("model-by-link")
    seen = guest.page.url
    owner.go("/models/payments/sharing")
    while owner.page.get_by_role("table").count():
        owner.page.get_by_role("table").get_by_role("button").first.click()
        owner.page.wait_for_load_state()
    owner.sees("It is shared with nobody.")
    guest.is_lost(seen, "payments", "Acme", team.handle)
    guest.is_lost(team.links["shared"], "payments", "Acme", team.handle)


def test_an_owner_removes_a_member_and_hands_over_after_a_question(team: Team) -> None:
    owner, member = team["owner"], team["member"]
    owner.go(f"/organisations/{team.handle}")
    choose(owner, team["viewer"], "remove")
    owner.sees("Remove %(email)s from the organisation?", email=team["viewer"].email)
    owner.look("asked-to-remove")
    owner.click("Remove")
    expect(owner.page.get_by_text(team["viewer"].email)).to_have_count(0)
    choose(owner, member, "hand_over")
    owner.sees("Hand the organisation over to %(email)s?", email=member.email)
    owner.look("asked-to-hand-over")
    owner.click("Hand over")
    expect(owner.page.get_by_role("button", name=owner.say("Make a link for one person"))).to_have_count(0)
    owner.look("organisation-after")
    assert refused(owner) == []
    member.go(f"/organisations/{team.handle}")
    expect(member.page.get_by_role("button", name=member.say("Make a link for one person"))).to_be_visible()
    team["viewer"].is_lost(f"{owner.address}/organisations/{team.handle}", "Acme")


def test_english_that_is_left_on_a_french_page_is_seen() -> None:
    given = "Send this link to one person, who joins by it once. It is shown this once."
    unmarked = "Nothing of this was made for you"
    assert untranslated([given, unmarked, "Members", "Organisations", "Tout est là.", "trial"]) == [
        given,
        unmarked,
        "Members",
    ]


def of_the_team(team: Team) -> list[str]:
    """Return the addresses that people of the team came by and that are theirs alone."""
    addresses = {
        address
        for each in (team["owner"], team["member"], team["viewer"])
        for address in each.addresses.values()
        if team.handle in address or re.search(r"/tables/.|/models/.|/jobs/.", address)
        if each.page.request.get(address).ok  # where a form was sent to, there may be no page
    }
    assert len(addresses) > 8
    return sorted(addresses)


def names_of(team: Team) -> tuple[str, ...]:
    """Return what nobody else is told."""
    return "payments", "churn", "Acme", team.handle, team["owner"].email


def ask(who: Person) -> None:
    """Ask the model of the page for its answer to one row, and see it."""
    for each in who.page.locator("#row input").all():
        each.fill("1")
    who.click("Ask")
    expect(who.page.locator("#answer td").first).to_be_visible()


def choose(owner: Person, who: Person, action: str) -> None:
    """Choose what is to be done with a member."""
    row = owner.page.get_by_role("row").filter(has_text=who.email)
    row.get_by_role("combobox").select_option(action)
    row.get_by_role("button").click()


def refused(viewer: Person) -> list[str]:
    """Return what the page offers that a viewer would be refused: links that lead nowhere, and other forms."""
    main = viewer.page.get_by_role("main")
    forms = main.locator("form[method=post]")
    actions = [str(form.get_attribute("action")) for form in forms.all()]
    links = {str(link.get_attribute("href")) for link in main.locator("a[href^='/']").all()}
    statuses = {link: viewer.page.request.get(f"{viewer.address}{link}").status for link in links}
    return [action for action in actions if not OF_VIEWERS.search(action)] + [
        f"{link}: {status}" for link, status in statuses.items() if status >= 400
    ]
