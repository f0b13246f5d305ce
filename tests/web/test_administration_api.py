"""What administrators do with a program: find and change people, and read jobs, the log and settings of all."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ecluse.catalog import audit
from ecluse.catalog.tables import User
from ecluse.errors import NotFound
from ecluse.runtime import Runtime, Worker
from ecluse.settings import Settings
from ecluse.web.app import make_app
from ecluse.work import kinds
from tests.support.wait import wait_until
from tests.test_people import add_table
from tests.web.test_doors import PASSWORD, Door


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    settings = Settings.from_environment({}, home=tmp_path / "home")
    with Runtime.open(settings) as runtime:
        yield Door(make_app(runtime), runtime)


@pytest.fixture
def admin(door: Door) -> User:
    return door.runtime.accounts.sign_up("admin@example.org", PASSWORD, "Ada")


def asks(door: Door, user: User, method: str, path: str, **sent: Any) -> httpx.Response:
    token, _ = door.runtime.accounts.create_token(user.id, "t", administers=True)
    return door.ask(method, f"/api{path}", headers={"authorization": f"Bearer {token}"}, **sent)


def every(door: Door, user: User, path: str, limit: int) -> list[dict[str, Any]]:
    """All pages of a list, each of so many rows."""
    items: list[dict[str, Any]] = []
    after = ""
    while True:
        page = (
            asks(door, user, "GET", path, params={"limit": limit, "after": after}).raise_for_status().json()
        )
        assert len(page["items"]) <= limit
        items += page["items"]
        if page["next"] is None:
            return items
        after = page["next"]


def test_people_come_page_by_page_each_once_though_some_go_meanwhile(door: Door, admin: User) -> None:
    accounts = door.runtime.accounts
    for number in range(9):
        accounts.add(f"p{number}@example.org")
    assert [each["email"] for each in every(door, admin, "/users", 4)] == [
        user.email for user in accounts.everyone()
    ]
    first = asks(door, admin, "GET", "/users", params={"limit": 3}).json()
    accounts.remove("p0@example.org")
    second = asks(door, admin, "GET", "/users", params={"limit": 3, "after": first["next"]}).json()
    assert [each["email"] for each in second["items"]] == [f"p{n}@example.org" for n in (2, 3, 4)]
    searched = asks(door, admin, "GET", "/users", params={"search": "P7@"}).json()["items"]
    assert [each["email"] for each in searched] == ["p7@example.org"]


def test_people_are_changed_as_the_page_changes_them(door: Door, admin: User) -> None:
    person = door.runtime.accounts.add("person@example.org")
    session = door.runtime.accounts.open_session(person.id)
    change = "/users/person@example.org"
    assert asks(door, admin, "PATCH", change, json={"role": "admin"}).json()["role"] == "admin"
    assert asks(door, admin, "PATCH", change, json={"role": "member"}).json()["role"] == "member"
    ended = asks(door, admin, "POST", f"{change}/end-sessions", json={"tokens": True})
    assert ended.json() == {"sessions": 1, "tokens": 0}
    assert door.runtime.accounts.who_has_session(session) is None
    assert asks(door, admin, "PATCH", change, json={"disabled": True}).json()["disabled_at"]
    assert asks(door, admin, "PATCH", change, json={"disabled": False}).json()["disabled_at"] is None
    last = asks(door, admin, "PATCH", "/users/admin@example.org", json={"disabled": True})
    assert (last.status_code, last.json()["error"]["code"]) == (409, "last_administrator")
    assert asks(door, admin, "GET", "/users/nobody@example.org").status_code == 404
    with door.runtime.catalog.read() as transaction:
        logged = [entry.action for entry, by in audit.entries(transaction) if by == admin.email]
    assert {"user.role", "user.disable", "user.enable"} <= set(logged)


def test_jobs_and_the_log_of_all_come_page_by_page(door: Door, admin: User) -> None:
    runtime = door.runtime
    person = runtime.accounts.add("person@example.org")
    made = [runtime.jobs.enqueue("verify_model", "upkeep", person.id, f"j{n}", {}) for n in range(7)]
    jobs = every(door, admin, "/administration/jobs", 3)
    assert [job["id"] for job in jobs] == made[::-1]
    assert {job["user"] for job in jobs} == {person.email}
    assert asks(door, admin, "GET", "/administration/jobs", params={"status": "failed"}).json()["items"] == []
    assert asks(door, admin, "GET", "/administration/jobs", params={"after": "x"}).status_code == 422
    with runtime.catalog.write() as transaction:
        for number in range(7):
            audit.record(transaction, admin.id, "thing.do", f"=cmd{number}")
    entries = every(door, admin, "/administration/log", 4)
    done = [entry["subject"] for entry in entries if entry["action"] == "thing.do"]
    assert sorted(done) == [f"=cmd{number}" for number in range(7)]
    assert len({entry["id"] for entry in entries}) == len(entries)
    found = asks(door, admin, "GET", "/administration/log", params={"search": "cmd3"}).json()["items"]
    assert [(entry["subject"], entry["by"]) for entry in found] == [("=cmd3", admin.email)]
    exported = asks(door, admin, "GET", "/administration/log.csv", params={"search": "thing.do"})
    rows = list(csv.DictReader(io.StringIO(exported.text)))
    assert sorted(row["subject"] for row in rows) == [f"'=cmd{number}" for number in range(7)]
    assert asks(door, admin, "GET", "/administration/failures").json() == []


def test_the_export_of_the_log_goes_on_behind_each_batch(
    door: Door, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ecluse.web.log_export.BATCH", 2)
    with door.runtime.catalog.write() as transaction:
        for number in range(9):
            audit.record(transaction, admin.id, "thing.do", f"n{number}")
    exported = asks(door, admin, "GET", "/administration/log.csv", params={"search": "thing.do"})
    subjects = [row["subject"] for row in csv.DictReader(io.StringIO(exported.text))]
    assert sorted(subjects) == [f"n{number}" for number in range(9)]


def test_organisations_and_settings_are_listed(door: Door, admin: User) -> None:
    person = door.runtime.accounts.add("person@example.org")
    for handle in ("acme", "bees", "crows"):
        door.runtime.accounts.add_organisation(person.id, handle)
    listed = every(door, admin, "/administration/organisations", 2)
    assert [(each["handle"], each["members"], each["owners"]) for each in listed] == [
        (handle, 1, [person.email]) for handle in ("acme", "bees", "crows")
    ]
    searched = asks(door, admin, "GET", "/administration/organisations", params={"search": "BEE"}).json()
    assert [each["handle"] for each in searched["items"]] == ["bees"]
    settings = asks(door, admin, "GET", "/administration/settings").json()
    assert all(set(each) == {"name", "value", "source"} for each in settings)


def test_an_account_is_closed_at_once_and_removed_by_a_job(door: Door, admin: User) -> None:
    person = door.runtime.accounts.sign_up("person@example.org", PASSWORD)
    key = add_table(door.runtime, person)
    accepted = asks(door, admin, "DELETE", "/users/person@example.org")
    assert accepted.status_code == 202, accepted.text
    assert door.runtime.accounts.by_email(person.email).disabled_at is not None
    worker = Worker(door.runtime, kinds())
    worker.start()
    try:
        wait_until(
            lambda: (
                asks(door, admin, "GET", f"/status/{accepted.json()['job']}").json()["status"] == "done"
                or None
            ),
            "the removal",
        )
    finally:
        worker.close()
    assert not door.runtime.data.exists(key)
    with pytest.raises(NotFound):
        door.runtime.accounts.by_email(person.email)


# What a person does with the own account


def test_a_person_takes_everything_along(door: Door, admin: User) -> None:
    person = door.runtime.accounts.sign_up("person@example.org", PASSWORD)
    add_table(door.runtime, person)
    session = door.signed_in(person.email)
    for sent in (
        asks(door, person, "GET", "/account/export"),
        door.page(session, "GET", "/account/export.zip"),
    ):
        assert sent.headers["content-type"] == "application/zip"
        assert "attachment" in sent.headers["content-disposition"]
        with zipfile.ZipFile(io.BytesIO(sent.content)) as taken:
            assert json.loads(taken.read("manifest.json"))["account"]["id"] == person.id
    with door.runtime.catalog.read() as transaction:
        assert [by for entry, by in audit.entries(transaction) if entry.action == "account.export"] == [
            person.email
        ] * 2


def test_a_person_closes_the_account_with_the_password_and_the_address(door: Door, admin: User) -> None:
    person = door.runtime.accounts.sign_up("person@example.org", PASSWORD)
    session = door.signed_in(person.email)
    assert "Your data" in door.page(session, "GET", "/account/data").text
    for form in (
        {"email": person.email, "current": "wrong"},
        {"email": "other@example.org", "current": PASSWORD},
        {"email": person.email},
    ):
        assert door.page(session, "POST", "/account/delete", data=form).status_code == 422
    assert door.runtime.accounts.by_email(person.email).disabled_at is None
    right = {"email": person.email, "current": PASSWORD}
    closed = door.page(session, "POST", "/account/delete", data=right)
    assert closed.status_code == 200
    assert "is closed" in closed.text
    assert door.page(session, "GET", "/account").status_code == 303
    own = {"email": admin.email, "current": PASSWORD}
    last = door.page(door.signed_in(admin.email), "POST", "/account/delete", data=own)
    assert (last.status_code, "administer" in last.text) == (409, True)
