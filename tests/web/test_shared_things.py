"""Tables and runs of people and organisations: who sees, who changes, by which door; and links that lead there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import CliRunner
from sqlalchemy import update

from ecluse import shares, tables
from ecluse.catalog import audit, quotas, sharing
from ecluse.catalog.tables import Run, Share, UserTable, now
from ecluse.cli import cli
from ecluse.errors import EcluseError
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.shares import Reader
from ecluse.tracking import programs
from ecluse.web.app import make_app
from tests.web.test_organisations_pages import page, someone
from tests.web.test_who_sees import MUTATIONS, NOWHERE, House
from tests.web.within import Within

#: Who may: nobody, those of the organisation by role, and those with whom the owner shared it, in the ways there are.
PERSONAE: Final = (
    "visitor",
    "stranger",
    "viewer",
    "member",
    "owner",
    "administrator",
    "person",
    "colleague",
    "holder",
    "expired",
    "withdrawn",
)
SEES: Final = (401, 404, 200, 200, 200, 404, 200, 200, 200, 404, 404)
CHANGES: Final = (401, 404, 403, 200, 200, 404, 403, 403, 403, 404, 404)


@dataclass
class Shared(House):
    """Acme has a table and a run, by kind; each is shared with everyone after `administrator` in `PERSONAE`."""

    acme: str = ""
    ids: dict[str, str] = field(default_factory=dict)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    home = tmp_path_factory.mktemp("things")
    environ = {}
    if request.param == "postgresql":
        environ = {"DATABASE_URL": request.getfixturevalue("new_migrated_url")()}
    else:
        shutil.copytree(request.getfixturevalue("empty_home"), home, dirs_exist_ok=True)
    with Runtime.open(Settings.from_environment(environ, home=home)) as runtime:
        made = Shared(make_app(runtime), runtime)
        accounts = runtime.accounts
        for name in (*PERSONAE[1:], "boss"):
            user = accounts.add(f"{name}@example.org", admin=name == "administrator")
            made.users[name] = user
            made.tokens[name] = accounts.create_token(user.id, "t", administers=name == "administrator")[0]
        owner = made.users["owner"].id
        made.acme = accounts.add_organisation(owner, "acme").id
        for role in ("member", "viewer"):
            accounts.accept_invitation(made.users[role].id, accounts.invite(owner, "acme", role)[0])
        accounts.add_organisation(owner, "friends")
        accounts.accept_invitation(made.users["colleague"].id, accounts.invite(owner, "friends", "member")[0])
        file = tmp_path_factory.mktemp("files") / "towns.csv"
        file.write_text("town,visits\nLyon,7\n")
        made.ids["tables"] = tables.add(runtime, made.acme, file, "towns.csv").id
        run = programs.begin(runtime.catalog, made.acme, programs.NewRun("churn", "own", "n", {"rate": 0.1}))
        made.ids["runs"] = run.id
        for kind, id_ in made.ids.items():
            _share_with_all(made, kind, id_)
        yield made


def _share_with_all(house: Shared, kind: str, id_: str) -> None:
    catalog, owner = house.runtime.catalog, house.users["owner"].id

    def give(reader: Reader) -> tuple[shares.Shown, str | None]:
        return shares.share_by_id(catalog, owner, kind, id_, reader, 2)

    give(Reader("person@example.org"))
    give(Reader(organisation="friends"))
    secret = give(Reader())[1]
    assert secret is not None
    assert shares.open_link(catalog, house.users["holder"].id, secret).kind == kind
    over, back = give(Reader("expired@example.org"))[0], give(Reader("withdrawn@example.org"))[0]
    shares.unshare_by_id(catalog, owner, kind, id_, back.id)
    with catalog.write() as transaction:
        transaction.execute(update(Share).where(Share.id == over.id).values(expires_at=now()))


@dataclass(frozen=True)
class Door:
    """A request about a thing of a kind, and what each of `PERSONAE` is answered."""

    kind: str
    method: str
    path: str
    answers: tuple[int, ...] = SEES
    body: Any = None


def _changing(done: int) -> tuple[int, ...]:
    """What is answered where who may change is answered `done`."""
    return tuple(done if answer == 200 else answer for answer in CHANGES)


POINTS: Final = {"points": [{"step": 1, "metrics": {"loss": 0.5}}]}
DOORS: Final = (
    Door("tables", "GET", "/api/tables/{id}"),
    Door("tables", "GET", "/api/tables/{id}/file"),
    Door("tables", "GET", "/api/tables/{id}/file?format=csv"),
    Door("tables", "GET", "/api/shares/tables/{id}", CHANGES),
    Door("tables", "POST", "/api/shares/tables/{id}", _changing(201), {"link": True}),
    Door("tables", "DELETE", "/api/shares/tables/{id}/none", _changing(404)),
    Door("runs", "GET", "/api/runs/{id}"),
    Door("runs", "GET", "/api/runs/{id}/metrics"),
    Door("runs", "GET", "/api/runs/compare?ids={id}"),
    Door("runs", "POST", "/api/runs/{id}/metrics", _changing(204), POINTS),
    Door("runs", "PATCH", "/api/runs/{id}", CHANGES, {"tags": {"who": "me"}}),
    Door("runs", "POST", "/api/runs/{id}/repeat", (401, *(404,) * 10)),
    Door("runs", "GET", "/api/shares/runs/{id}", CHANGES),
    Door("runs", "POST", "/api/shares/runs/{id}", _changing(201), {"link": True}),
    Door("runs", "DELETE", "/api/shares/runs/{id}/none", _changing(404)),
    # each by the other's name
    Door("runs", "GET", "/api/tables/{id}", (401, *(404,) * 10)),
    Door("tables", "GET", "/api/runs/{id}", (401, *(404,) * 10)),
    Door("tables", "GET", "/api/shares/runs/{id}", (401, *(404,) * 10)),
    Door("tables", "GET", "/api/shares/things/{id}", (401, *(404,) * 10)),
    Door("tables", "GET", "/api/shares/Things/{id}", (401, *(422,) * 10)),
)
CELLS: Final = [
    pytest.param(door, who, answer, id=f"{door.method} {door.path} {door.kind} {who}")
    for door in DOORS
    for who, answer in zip(PERSONAE, door.answers, strict=True)
]


@pytest.mark.parametrize(("door", "who", "expected"), CELLS)
def test_each_cell_of_the_table_of_shared_tables_and_runs(
    house: Shared, door: Door, who: str, expected: int
) -> None:
    sent = {} if door.body is None else {"json": door.body}
    answer = house.ask(who, door.method, door.path.format(id=house.ids[door.kind]), **sent)
    assert answer.status_code == expected, answer.text
    if who not in ("member", "owner"):
        assert house.acme not in answer.text, "where it lies is for those who change it"


@pytest.mark.parametrize(("who", "expected"), [*zip(PERSONAE, CHANGES, strict=True)])
def test_only_who_may_change_removes_and_ends(house: Shared, who: str, expected: int, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a\n1\n")
    runtime, owner = house.runtime, house.users["owner"].id
    table = tables.add(runtime, house.acme, tmp_path / "a.csv", "a.csv").id
    run = programs.begin(runtime.catalog, house.acme, programs.NewRun("r", "own", f"end {who}")).id
    _share_with_all(house, "tables", table)
    _share_with_all(house, "runs", run)
    ended = house.ask(who, "POST", f"/api/runs/{run}/end", json={"status": "done"})
    assert ended.status_code == expected, ended.text
    removed = house.ask(who, "DELETE", f"/api/tables/{table}")
    assert removed.status_code == (204 if expected == 200 else expected), removed.text
    with runtime.catalog.read() as transaction:
        left = sharing.list_of(transaction, house.acme, "tables", table)
    assert bool(left) is (expected != 200), "with the table goes what it was shared by"
    if expected != 200:
        tables.remove(runtime, owner, table)


@pytest.mark.parametrize("kind", ["tables", "runs"])
def test_lists_hold_what_may_be_seen_with_its_owner_and_nothing_else(house: Shared, kind: str) -> None:
    for who, expected in zip(PERSONAE[1:], SEES[1:], strict=True):
        body = house.ask(who, "GET", f"/api/shared/{kind}").json()
        here = [(item["id"], item["owner"]) for item in body["items"] if item["id"] == house.ids[kind]]
        assert here == ([(house.ids[kind], "acme")] if expected == 200 else []), who
        assert len({item["id"] for item in body["items"]}) == body["total"]
        assert house.ask(who, "GET", f"/api/{kind}").json()["items"] == [], "of my own there is none"


@pytest.mark.parametrize("kind", ["tables", "runs"])
def test_the_list_and_the_condition_say_the_same(house: Shared, kind: str) -> None:
    catalog = house.runtime.catalog
    rows, listed = (
        (UserTable, sharing.tables_of_others) if kind == "tables" else (Run, sharing.runs_of_others)
    )
    condition = sharing.visible_tables if kind == "tables" else sharing.visible_runs
    for user in house.users.values():
        with catalog.read() as transaction:
            seen = {
                row.id for row in transaction.query(rows).where(condition(user.id), rows.user_id != user.id)
            }
            page_, total = listed(transaction, user.id, limit=1000)
        assert ({row.id for row, _owner in page_}, total) == (seen, len(seen))  # type: ignore[attr-defined]


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_no_id_like_that_of_a_shared_thing_leads_to_it(house: Shared, mutation: str) -> None:
    for kind, id_ in house.ids.items():
        like = mutation.replace("{}", id_)
        for path in (f"/api/{kind}/{like}", f"/api/shares/{kind}/{like}"):
            for who in ("person", "member", "stranger"):
                answer = house.ask(who, "GET", path)
                assert answer.status_code in (*NOWHERE, 405, 422), (path, answer.status_code, answer.text)


def test_a_shared_table_is_scored_and_the_answers_are_the_readers(house: Shared) -> None:
    answer = house.ask("person", "POST", "/api/models/none/score", json={"table": house.ids["tables"]})
    assert answer.status_code == 404
    for who, expected in (("person", True), ("stranger", False)):
        user = house.users[who].id
        try:
            assert tables.find(house.runtime, user, house.ids["tables"]).name == "towns.csv"
        except EcluseError:
            assert not expected
        else:
            assert expected


def test_a_member_makes_tables_and_runs_for_the_organisation_and_a_viewer_none(house: Shared) -> None:
    for who, expected in (
        ("stranger", 404),
        ("administrator", 404),
        ("person", 404),
        ("viewer", 403),
        ("member", 201),
        ("owner", 201),
    ):
        files = {"file": ("new.csv", b"a\n1\n")}
        table = house.ask(who, "POST", "/api/tables?owner=@acme", files=files)
        body = {"name": "@acme/new", "nonce": f"made {who}"}
        run = house.ask(who, "POST", "/api/runs", json=body)
        assert (table.status_code, run.status_code) == (expected, expected), (table.text, run.text)
        if expected == 201:
            assert (table.json()["owner"], run.json()["owner"]) == ("acme", "acme")
            with house.runtime.catalog.read() as transaction:
                row = transaction.get_one(UserTable, table.json()["id"])
                assert (row.user_id, f"user_data/{house.acme}/" in row.url) == (house.acme, True)
            path = f"/api/tables/{row.id}"
            assert house.ask("viewer", "GET", path).status_code == 200
            assert house.ask("viewer", "DELETE", path).status_code == 403
            assert house.ask("member", "DELETE", path).status_code == 204
    with house.runtime.catalog.read() as transaction:
        assert quotas.used_by(transaction, house.users["member"].id).stored_bytes == 0
        _entry, email = audit.entries(transaction, actions=["table.share"])[0]
    assert email in ("owner@example.org", "member@example.org")


def test_a_link_to_a_thing_that_is_gone_opens_nothing(house: Shared, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a\n1\n")
    runtime, boss = house.runtime, house.users["boss"].id
    table = tables.add(runtime, boss, tmp_path / "a.csv", "a.csv", tables.Origin(nonce="again")).id
    made = house.ask("boss", "POST", f"/api/shares/tables/{table}", json={"link": True}).json()
    opened = house.ask("stranger", "POST", "/api/shared/open", json={"link": made["url"]})
    assert opened.json() == {"kind": "tables", "name": table}
    assert house.ask("stranger", "GET", f"/api/tables/{table}").status_code == 200
    tables.remove(runtime, boss, table)
    assert house.ask("holder", "POST", "/api/shared/open", json={"link": made["url"]}).status_code == 404
    again = tables.add(runtime, boss, tmp_path / "a.csv", "a.csv", tables.Origin(nonce="again")).id
    assert again == table, "the same upload has the same id"
    assert house.ask("stranger", "GET", f"/api/tables/{table}").status_code == 404
    tables.remove(runtime, boss, table)


def test_the_pages_of_shared_tables_and_runs(web: Within, tmp_path: Path) -> None:
    (anna, session), (ben, reading) = someone(web, "anna@things.org"), someone(web, "ben@things.org")
    (tmp_path / "towns.csv").write_text("town,visits\nLyon,7\n")
    table = tables.add(web.runtime, anna, tmp_path / "towns.csv", "towns.csv").id
    run = programs.begin(web.runtime.catalog, anna, programs.NewRun("churn", "own", "n", {"rate": 0.1})).id
    handle = web.runtime.accounts.by_email("anna@things.org").handle
    for kind, id_, called in (("tables", table, "towns.csv"), ("runs", run, "churn")):
        place = f"/sharing/{kind}/{id_}"
        assert page(web, reading, "GET", f"/{kind}/{id_}")[0] == 404
        assert page(web, reading, "GET", place)[0] == 404
        assert place in page(web, session, "GET", f"/{kind}/{id_}")[1]
        assert called in page(web, session, "GET", place)[1]
        assert page(web, session, "POST", place, with_whom="person")[0] == 422
        link = page(web, session, "POST", place, with_whom="link")[1].split("/shared/")[1][:43]
        assert called in page(web, reading, "GET", f"/shared/{link}")[1]
        assert page(web, reading, "POST", f"/shared/{link}")[0] == 303
        for language in ("en", "fr"):
            status, text = page(web, reading, "GET", f"/{kind}/{id_}", language)
            assert (status, f"@{handle}" in text, anna in text) == (200, True, False)
            assert "/sharing/" not in text
            assert "/remove" not in text
            assert f"@{handle}" in page(web, reading, "GET", f"/{kind}", language)[1]
        assert page(web, reading, "GET", place)[0] == 403
        made = shares.shares_by_id(web.runtime.catalog, anna, kind, id_)[1]
        by_link = next(each for each in made if each.kind == "link")
        assert page(web, session, "POST", f"{place}/{by_link.id}/take-back")[0] == 303
        assert page(web, reading, "GET", f"/{kind}/{id_}")[0] == 404
    assert page(web, reading, "GET", "/sharing/jobs/x")[0] == 404
    assert ben


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory, empty_home: Path) -> Callable[..., Any]:
    home = tmp_path_factory.mktemp("cli") / "home"
    shutil.copytree(empty_home, home)

    def ask(who: str, *words: str) -> Any:
        arguments = [*words, "--json", "--home", str(home), "--user", f"{who}@example.org"]
        answer = CliRunner().invoke(cli, arguments)
        if answer.exit_code and not isinstance(answer.exception, EcluseError | SystemExit):
            raise AssertionError(answer.output) from answer.exception
        if answer.exit_code:
            return answer.output if isinstance(answer.exception, SystemExit) else str(answer.exception)
        return json.loads(answer.stdout)

    with Runtime.open(Settings.from_environment({}, home=home)) as runtime:
        for name in ("anna", "ben"):
            runtime.accounts.add(f"{name}@example.org")
        anna = runtime.accounts.by_email("anna@example.org").id
        programs.begin(runtime.catalog, anna, programs.NewRun("churn", "own", "n"))
    return ask


def test_a_model_and_a_run_are_shared_at_the_terminal(asking: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    asking("anna", "models", "publish", "churn", str(tmp_path / "a.txt"))
    (run,) = asking("anna", "runs", "list")
    for group, thing, seen in (
        ("models", "churn", "@anna/churn"),
        ("runs", run["id"], run["id"]),
    ):
        assert "No " in asking("ben", group, "show", seen)
        made = asking("anna", group, "share", thing, "--email", "ben@example.org", "--days", "3")
        assert (made["with_whom"], made["url"]) == ("ben@example.org", None)
        assert asking("ben", group, "show", seen)
        assert "to be read" in asking("ben", group, "share", seen, "--link")
        (listed,) = asking("anna", group, "shares", thing)
        assert listed["id"] == made["id"]
        assert asking("anna", group, "unshare", thing, made["id"]) == {"unshared": made["id"]}
        assert "No " in asking("ben", group, "show", seen)
        link = asking("anna", group, "share", thing, "--link")
        assert "/shared/" in link["url"]
        assert asking("anna", group, "shares", thing)[0]["kind"] == "link"
    for wrong in ((), ("--link", "--email", "a@b.c")):
        assert "Name one of" in asking("anna", "models", "share", "churn", *wrong)


def test_what_a_link_ends_at_ends_for_who_came_by_it(house: Shared) -> None:
    table, catalog = house.ids["tables"], house.runtime.catalog
    owner, stranger = house.users["owner"].id, house.users["stranger"].id
    shown, secret = shares.share_by_id(catalog, owner, "tables", table, Reader(), 1)
    shares.open_link(catalog, stranger, str(secret))
    assert house.ask("stranger", "GET", f"/api/tables/{table}").status_code == 200
    with catalog.write() as transaction:
        over = now() - timedelta(seconds=1)
        mine = (Share.id == shown.id) | (Share.by_link_id == shown.id)
        transaction.execute(update(Share).where(mine).values(expires_at=over))
    assert house.ask("stranger", "GET", f"/api/tables/{table}").status_code == 404
