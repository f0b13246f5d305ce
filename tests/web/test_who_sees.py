"""Who may do what at the routes of organisations and of what is shared: each cell of the table is tried.

A persona is a stranger, a viewer, a member, an owner, or an administrator of the installation, who belongs to nothing
here; a visitor is not signed in. On SQLite and on PostgreSQL. That no route is without cells is looked at in
`isolation`, which holds them all; here are those whose answers differ by role, with what they may not tell.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import pytest
from fastapi import FastAPI

from ecluse.catalog.tables import User
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.web.app import make_app

PERSONAE: Final = ("visitor", "stranger", "viewer", "member", "owner", "administrator")
NUMBER = itertools.count(1)
EMPTY: Final[Mapping[str, str]] = {}


@dataclass
class House:
    """An application, and the token and row of each persona."""

    app: FastAPI
    runtime: Runtime
    users: dict[str, User] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)

    def ask(
        self, who: str, method: str, path: str, more: Mapping[str, str] = EMPTY, **sent: Any
    ) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.tokens[who]}"} if who in self.tokens else {}
        headers |= more

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                return await client.request(method, path, headers=headers, **sent)

        return asyncio.run(send())

    def organisation(self) -> dict[str, str]:
        """A new organisation with a member of each role and an open invitation: what its routes are filled with."""
        handle = f"org-{next(NUMBER)}-end"
        accounts, owner = self.runtime.accounts, self.users["owner"].id
        accounts.add_organisation(owner, handle)
        for role in ("member", "viewer"):
            accounts.accept_invitation(self.users[role].id, accounts.invite(owner, handle, role)[0])
        secret, row = accounts.invite(owner, handle)
        ids = {name: user.id for name, user in self.users.items()}
        return {"handle": handle, "secret": secret, "invitation": row.id} | ids


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    home = tmp_path_factory.mktemp("house")
    environ = {}
    if request.param == "postgresql":
        environ = {"DATABASE_URL": request.getfixturevalue("new_migrated_url")()}
    else:
        shutil.copytree(request.getfixturevalue("empty_home"), home, dirs_exist_ok=True)
    with Runtime.open(Settings.from_environment(environ, home=home)) as runtime:
        made = House(make_app(runtime), runtime)
        for name in PERSONAE[1:]:
            user = runtime.accounts.add(f"{name}@example.org", admin=name == "administrator")
            made.users[name] = user
            made.tokens[name] = runtime.accounts.create_token(
                user.id, "tests", administers=name == "administrator"
            )[0]
        yield made


@dataclass(frozen=True)
class Row:
    """A request, and what each of `PERSONAE` is answered, in their order."""

    method: str
    path: str
    answers: tuple[int, int, int, int, int, int]
    body: Callable[[dict[str, str]], dict[str, Any]] | None = None

    @property
    def id(self) -> str:
        return f"{self.method} {self.path}"


#: The table of organisations. Of what a stranger does not belong to, nobody says that it is there.
ORGANISATIONS: Final = (
    Row("GET", "/api/organisations", (401, 200, 200, 200, 200, 200)),
    Row(
        "POST",
        "/api/organisations",
        (401, 201, 201, 201, 201, 201),
        lambda names: {"handle": f"new-{next(NUMBER)}"},
    ),
    Row(
        "POST",
        "/api/organisations",
        (401, 409, 409, 409, 409, 409),
        lambda names: {"handle": names["handle"]},
    ),
    Row(
        "POST",
        "/api/organisations/join",
        (401, 200, 422, 422, 422, 200),
        lambda names: {"link": names["secret"]},
    ),
    Row("POST", "/api/organisations/join", (401, 404, 404, 404, 404, 404), lambda names: {"link": "x" * 43}),
    Row("GET", "/api/organisations/{handle}", (401, 404, 200, 200, 200, 404)),
    Row("DELETE", "/api/organisations/{handle}", (401, 404, 403, 403, 204, 404)),
    Row(
        "PUT",
        "/api/organisations/{handle}/members/{viewer}",
        (401, 404, 403, 403, 200, 404),
        lambda names: {"role": "member"},
    ),
    Row(
        "PUT",
        "/api/organisations/{handle}/members/{viewer}",
        (401, 404, 403, 403, 403, 404),
        lambda names: {"role": "owner"},
    ),
    Row(
        "PUT",
        "/api/organisations/{handle}/members/{owner}",
        (401, 404, 403, 403, 409, 404),
        lambda names: {"role": "viewer"},
    ),
    Row(
        "PUT",
        "/api/organisations/{handle}/members/{stranger}",
        (401, 404, 403, 403, 404, 404),
        lambda names: {"role": "member"},
    ),
    Row("DELETE", "/api/organisations/{handle}/members/{viewer}", (401, 404, 204, 403, 204, 404)),
    Row("DELETE", "/api/organisations/{handle}/members/{member}", (401, 404, 403, 204, 204, 404)),
    Row("DELETE", "/api/organisations/{handle}/members/{owner}", (401, 404, 403, 403, 409, 404)),
    Row("DELETE", "/api/organisations/{handle}/members/{stranger}", (401, 404, 403, 403, 404, 404)),
    Row(
        "POST",
        "/api/organisations/{handle}/hand-over",
        (401, 404, 403, 403, 403, 404),
        lambda names: {"member": names["member"]},
    ),
    Row(
        "POST",
        "/api/organisations/{handle}/hand-over",
        (401, 404, 403, 403, 403, 404),
        lambda names: {"member": names["stranger"]},
    ),
    Row("GET", "/api/organisations/{handle}/invitations", (401, 404, 403, 403, 200, 404)),
    Row(
        "POST",
        "/api/organisations/{handle}/invitations",
        (401, 404, 403, 403, 201, 404),
        lambda names: {"role": "viewer"},
    ),
    Row(
        "POST",
        "/api/organisations/{handle}/invitations",
        (401, 404, 403, 403, 403, 404),
        lambda names: {"role": "owner"},
    ),
    Row(
        "DELETE",
        "/api/organisations/{handle}/invitations/{invitation}",
        (401, 404, 403, 403, 204, 404),
    ),
)


def cells(table: tuple[Row, ...]) -> list[Any]:
    return [
        pytest.param(row, who, row.answers[at], id=f"{row.id} {number} {who}")
        for number, row in enumerate(table)
        for at, who in enumerate(PERSONAE)
    ]


@pytest.mark.parametrize(("row", "who", "expected"), cells(ORGANISATIONS))
def test_each_cell_of_the_table_of_organisations(house: House, row: Row, who: str, expected: int) -> None:
    names = house.organisation()
    sent = {"json": row.body(names)} if row.body else {}
    answer = house.ask(who, row.method, row.path.format(**names), **sent)
    assert answer.status_code == expected, answer.text
    if expected >= 400:
        assert answer.json()["error"]["code"]
        assert names["secret"] not in answer.text


#: What is answered where nothing is: that, or the way to the address without its last stroke.
NOWHERE: Final = (404, 307)
#: What an address may be turned into, and leads to nothing of another: a look-alike, a beginning, a way out.
MUTATIONS: Final = (
    "{}x",
    "x{}",
    "@{}",
    "{}%20",
    "%20{}",
    "{}%00",
    "{}%2F",
    "{}%2f..%2f{}",
    "..%2f{}",
    "%2e%2e",
    "{}%25",
    "{}_",
    "%",
    "%5C{}",
    "{}%0a",
    "{}%E2%80%8B",
    "'%20or%201=1--",
)


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_no_handle_that_is_like_another_leads_to_it(house: House, mutation: str) -> None:
    names = house.organisation()
    handle = mutation.replace("{}", names["handle"])
    for who in ("owner", "stranger"):
        answer = house.ask(who, "GET", f"/api/organisations/{handle}")
        assert answer.status_code in (*NOWHERE, 422), (answer.status_code, answer.text)
    assert house.ask("owner", "GET", f"/api/organisations/{names['handle'][:-1]}").status_code == 404
    assert house.ask("owner", "GET", f"/api/organisations/{names['handle'].upper()}").status_code == 404


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_no_id_of_another_organisation_is_good_in_mine(house: House, mutation: str) -> None:
    mine, other = house.organisation(), house.organisation()
    accounts = house.runtime.accounts
    accounts.remove_member(house.users["owner"].id, mine["handle"], mine["viewer"])
    place = f"/api/organisations/{mine['handle']}"
    for path in (
        f"members/{other['viewer']}",
        f"invitations/{other['invitation']}",
        f"members/{mutation.replace('{}', mine['member'])}",
        f"invitations/{mutation.replace('{}', mine['invitation'])}",
    ):
        answer = house.ask("owner", "DELETE", f"{place}/{path}")
        assert answer.status_code in (*NOWHERE, 405, 422), (path, answer.status_code, answer.text)
    assert len(accounts.organisation(house.users["owner"].id, mine["handle"])[1]) == 2
    assert len(accounts.organisation(house.users["owner"].id, other["handle"])[1]) == 3
