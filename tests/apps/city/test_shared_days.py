"""The report of a day by a link: read without an account, until it is taken back, ends, or its maker does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from sqlalchemy import select, update

from ecluse import people
from ecluse.apps.city.rows import LINKED_DAYS
from ecluse.catalog.tables import Share, User, now
from ecluse.cli import cli
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.web.app import make_app
from tests.apps.city.invented_documents import LAST, invented_city
from tests.web.test_doors import Door

DAY = LAST.isoformat()
LINKS = f"/api/city/report/{DAY}/links"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    environ = {}
    if request.param == "postgresql":
        environ = {"DATABASE_URL": request.getfixturevalue("new_migrated_url")()}
    home = tmp_path_factory.mktemp("days")
    with Runtime.open(Settings.from_environment(environ, home=home)) as runtime:
        runtime.documents.put_many(invented_city(days=2))
        yield House(make_app(runtime), runtime)


class House(Door):
    """An application with the days of a city."""

    def someone(self, email: str, **more: Any) -> tuple[User, str]:
        """A new person, and a token of theirs."""
        user = self.runtime.accounts.add(email, **more)
        return user, self.runtime.accounts.create_token(user.id, "t", administers=bool(more))[0]

    def call(self, token: str, method: str, path: str, **sent: Any) -> httpx.Response:
        return self.ask(method, path, headers={"authorization": f"Bearer {token}"}, **sent)

    def link(self, token: str, **body: Any) -> dict[str, Any]:
        made: dict[str, Any] = self.call(token, "POST", LINKS, json=body).raise_for_status().json()
        return made

    def opened(self, url: str, language: str = "en") -> httpx.Response:
        """Open a link as who has no account."""
        return self.ask(
            "GET", httpx.URL(url).path, headers={"accept": "text/html", "accept-language": language}
        )


def test_whoever_has_a_link_reads_the_report_and_nothing_else(house: House) -> None:
    _anna, token = house.someone("anna@days.org")
    made = house.link(token)
    assert timedelta(days=6) < _left(made) <= timedelta(days=7)
    for language, word in (("en", "Time lost"), ("fr", "Temps perdu")):
        answer = house.opened(made["url"], language)
        assert answer.status_code == 200
        assert f'<html lang="{language}"' in answer.text
        assert word in answer.text
    policy = answer.headers["content-security-policy"]
    assert ("default-src 'none'" in policy, "script" in policy, "sandbox" in policy) == (True, False, True)
    assert (answer.headers["cache-control"], answer.headers["referrer-policy"]) == ("no-store", "no-referrer")
    assert "noindex" in answer.headers["x-robots-tag"]
    assert "set-cookie" not in answer.headers
    assert "anna" not in answer.text
    for other in (f"/city/{DAY}", f"/city/{DAY}/report", f"/city/{DAY}/map.svg", f"/city/{DAY}/sharing"):
        assert house.opened(other).status_code == 303, "who has a link is not signed in"
    secret = made["url"].rpartition("/")[2]
    assert house.opened(f"/shared/{secret}").status_code == 303
    assert house.call(token, "POST", "/api/shared/open", json={"link": secret}).status_code == 404


@pytest.mark.parametrize("mutated", ["{}x", "x{}", "{}%00", "%20{}", "..%2f{}", "'%20or%201=1--"])
def test_no_link_that_is_like_another_leads_anywhere(house: House, mutated: str) -> None:
    token = house.someone(f"like{abs(hash(mutated))}@days.org")[1]
    made = house.link(token)
    path = httpx.URL(made["url"]).path
    start, _stroke, secret = path.rpartition("/")
    assert house.opened(path).status_code == 200
    assert house.ask("GET", f"{start}/{mutated.format(secret)}").status_code in (303, 404)
    for nothing in (secret[:-1], secret.swapcase(), made["id"], DAY):
        assert house.opened(f"{start}/{nothing}").status_code == 404, nothing


def test_links_are_seen_and_taken_back_by_their_maker_and_by_administrators(house: House) -> None:
    (_anna, token), (_ben, other) = house.someone("anna@back.org"), house.someone("ben@back.org")
    boss, administering = house.someone("boss@back.org", admin=True)
    plain = house.runtime.accounts.create_token(boss.id, "plain")[0]
    first, second = house.link(token, days=1), house.link(token, days=2)
    assert [link["id"] for link in house.call(token, "GET", LINKS).json()] == [second["id"], first["id"]]
    assert "url" not in house.call(token, "GET", LINKS).json()[0], "it is shown once"
    assert house.call(other, "GET", LINKS).json() == house.call(plain, "GET", LINKS).json() == []
    listed = {link["id"]: link["maker"] for link in house.call(administering, "GET", LINKS).json()}
    assert listed.keys() >= {first["id"], second["id"]}
    for id_ in (first["id"], "none", f"{first['id']}0"):
        assert house.call(other, "DELETE", f"{LINKS}/{id_}").status_code == 404
        assert house.call(plain, "DELETE", f"{LINKS}/{id_}").status_code == 404
    elsewhere = LINKS.replace(DAY, (LAST - timedelta(days=1)).isoformat())
    assert house.call(token, "DELETE", f"{elsewhere}/{first['id']}").status_code == 404
    assert house.opened(first["url"]).status_code == 200
    assert house.call(token, "DELETE", f"{LINKS}/{first['id']}").status_code == 204
    assert house.opened(first["url"]).status_code == 404, "from the next request on"
    assert house.call(administering, "DELETE", f"{LINKS}/{second['id']}").status_code == 204
    assert house.opened(second["url"]).status_code == 404
    assert house.call(token, "GET", LINKS).json() == []


def test_links_end_by_the_clock_and_with_their_maker(house: House) -> None:
    anna, token = house.someone("anna@ends.org")
    made, late = house.link(token), house.link(token)
    with house.runtime.catalog.write() as transaction:
        transaction.execute(update(Share).where(Share.id == late["id"]).values(expires_at=now()))
    assert house.opened(late["url"]).status_code == 404
    assert [link["id"] for link in house.call(token, "GET", LINKS).json()] == [made["id"]]
    people.disable(house.runtime, anna.email)
    assert house.opened(made["url"]).status_code == 404, "who is disabled shares nothing"
    house.runtime.accounts.enable(anna.email)
    assert house.opened(made["url"]).status_code == 200
    people.remove(house.runtime, anna.email, everything=True)
    assert house.opened(made["url"]).status_code == 404
    with house.runtime.catalog.read() as transaction:
        left = select(Share).where(Share.kind == LINKED_DAYS, Share.owner_id == anna.id)
        assert transaction.scalars(left).all() == []


def test_what_cannot_be_shared_is_refused(house: House) -> None:
    token = house.someone("anna@wrong.org")[1]
    for days in (0, 366):
        assert house.call(token, "POST", LINKS, json={"days": days}).status_code == 422
    assert house.call(token, "POST", LINKS.replace(DAY, "2019-01-01"), json={}).status_code == 404
    assert house.call(token, "POST", LINKS, json={"email": "ben@wrong.org"}).status_code == 422
    assert house.call(token, "GET", LINKS.replace(DAY, "noday")).status_code == 422
    assert house.call(token, "GET", f"/api/shares/{LINKED_DAYS}/{DAY}").status_code == 404


def test_a_report_that_is_gone_is_read_by_no_link(house: House) -> None:
    token = house.someone("anna@removed.org")[1]
    made, documents = house.link(token), house.runtime.documents
    body = documents.get("reports", DAY)
    documents.delete("reports", DAY)
    try:
        assert house.opened(made["url"]).status_code == 404
    finally:
        documents.put("reports", DAY, body)
    assert house.opened(made["url"]).status_code == 200


def test_the_page_of_links(house: House) -> None:
    user, _token = house.someone("anna@page.org")
    session = house.runtime.accounts.open_session(user.id)
    place = f"/city/{DAY}/sharing"
    assert f'href="{place}"' in house.page(session, "GET", f"/city/{DAY}/report").text
    assert "You have made no link" in house.page(session, "GET", place).text
    shown = house.page(session, "POST", place, data={"days": "3"}).text
    url = shown.split("/city/link/")[1][:43]
    assert house.opened(f"/city/link/{url}").status_code == 200
    assert url not in house.page(session, "GET", place).text
    for wrong in ("0", "366", "soon"):
        refused = house.page(session, "POST", place, data={"days": wrong})
        assert (refused.status_code, 'class="notice bad"' in refused.text) == (422, True)
    with house.runtime.catalog.read() as transaction:
        id_ = transaction.scalar(select(Share.id).where(Share.owner_id == user.id))
    assert house.page(session, "POST", f"{place}/{id_}/take-back").status_code == 303
    assert house.opened(f"/city/link/{url}").status_code == 404
    assert house.page(session, "POST", f"{place}/{id_}/take-back").status_code == 404


def test_reports_are_shared_at_the_terminal(tmp_path: Path) -> None:
    with Runtime.open(Settings.from_environment({}, home=tmp_path)) as runtime:
        runtime.documents.put_many(invented_city(days=1))
        runtime.accounts.add("anna@shell.org")

        def asking(*words: str) -> Any:
            answer = CliRunner().invoke(
                cli, ["city", *words, "--json", "--home", str(tmp_path), "--user", "anna@shell.org"]
            )
            return str(answer.exception) if answer.exit_code else json.loads(answer.stdout)

        made = asking("share", DAY, "--days", "2")
        assert "/city/link/" in made["url"]
        assert [row["id"] for row in asking("shares", DAY)] == [made["id"]]
        assert asking("unshare", DAY, made["id"]) == {"unshared": made["id"]}
        assert "is not shared by" in asking("unshare", DAY, made["id"])
        assert asking("shares", DAY) == []
        assert "Nothing is known" in asking("share", "2019-01-01")


def _left(made: dict[str, Any]) -> timedelta:
    from datetime import datetime

    return datetime.fromisoformat(made["expires_at"]) - now()
