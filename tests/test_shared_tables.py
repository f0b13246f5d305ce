"""Tables of organisations, and lists that hold what others share: from Python and the terminal, here and at a server."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from sklearn.linear_model import LogisticRegression

import ecluse
from ecluse.cli import cli
from ecluse.errors import Forbidden, NotFound
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from tests.application import KEPT, Application, running
from tests.apps.plants.sets import add_set
from tests.forking import run_forked
from tests.web.test_organisations_pages import page, someone
from tests.web.test_shared_kinds import scored, uploaded
from tests.web.within import Within

MATRIX = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0], [3.0, 0.0]])
TOWNS = pl.DataFrame({"town": ["Lyon"], "visits": [7]})
PEOPLE = ("anna", "ben", "carl")


def populate(runtime: Runtime) -> dict[str, str]:
    """Anna owns acme, Ben is a viewer of it, Carl belongs to nothing; a token of each."""
    accounts = runtime.accounts
    users = {name: accounts.add(f"{name}@tables.org").id for name in PEOPLE}
    accounts.add_organisation(users["anna"], "acme")
    accounts.accept_invitation(users["ben"], accounts.invite(users["anna"], "acme", "viewer")[0])
    return {name: accounts.create_token(user, "tests")[0] for name, user in users.items()}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Application, dict[str, str]]]:
    with running(tmp_path_factory.mktemp("server") / "home", role="web") as application:
        with Runtime.open(Settings.from_environment({}, home=application.home)) as runtime:
            tokens = populate(runtime)
        yield application, tokens


@pytest.fixture
def here(home: Path) -> Path:
    """A home of this machine with the same people."""
    with Runtime.open(Settings.from_environment({}, home=home)) as runtime:
        populate(runtime)
    return home


@pytest.fixture(params=["server", "home"])
def client_of(request: pytest.FixtureRequest) -> Callable[[str], ecluse.Client]:
    """Return a client of a person: of the server, or in the folder of this machine."""
    if request.param == "server":
        application, tokens = request.getfixturevalue("server")
        return lambda name: ecluse.Client(application.address, tokens[name])
    home = request.getfixturevalue("here")
    return lambda name: at_home(home, name)


def at_home(home: Path, name: str) -> ecluse.Client:
    """Return a client in a folder of this machine, which is otherwise that of its administrator."""
    client = ecluse.Client(home=home)
    backend: Any = client._backend
    backend._user = backend._runtime.accounts.by_email(f"{name}@tables.org")
    return client


def test_a_table_is_uploaded_for_an_organisation_and_listed_with_its_owner(
    client_of: Callable[[str], ecluse.Client],
) -> None:
    with client_of("anna") as anna:
        own, made = anna.upload(TOWNS, "own.csv"), anna.upload(TOWNS, "towns.csv", owner="@acme")
        anna.publish(LogisticRegression().fit(MATRIX, [0, 0, 1, 1]), "@acme/churn", example=MATRIX)
        assert {"own.csv", "@acme/towns.csv"} <= {*anna.tables()["name"]}
        assert "@acme/churn" in anna.models()["name"].to_list()
    with client_of("ben") as ben:
        listed = ben.tables().filter(pl.col("id") == made).to_dicts()[0]
        assert (listed["name"], listed["rows"], listed["columns"]) == ("@acme/towns.csv", 1, 2)
        assert own not in ben.tables()["id"]
        assert ben.table(made)["town"].to_list() == ["Lyon"]
        assert ben.models()["name"].to_list() == ["@acme/churn"]
        with pytest.raises(Forbidden):
            ben.upload(TOWNS, owner="acme")
    with client_of("carl") as carl:
        assert (carl.tables().is_empty(), carl.models().is_empty()) == (True, True)
        for owner in ("acme", "@nobody"):
            with pytest.raises(NotFound):
                carl.upload(TOWNS, owner=owner)


def test_tables_can_be_listed_as_models_can(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ecluse import tables

    with at_home(here, "anna") as anna:
        monkeypatch.setattr("ecluse.client.default_client", lambda: anna)
        made = ecluse.upload(TOWNS, "towns.csv", owner="@acme")
        assert tables()["id"].to_list() == [made]
        assert callable(tables.keep)
        assert ecluse.models().is_empty()


@pytest.fixture(params=["server", "home"])
def asking(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Any]:
    """Run a command as a person, at the server or in a home; what it returns as JSON, or what it says it cannot."""
    if request.param == "home":
        home = request.getfixturevalue("here")

        def run_here(who: str, *words: str) -> Any:
            options = ["--json", "--home", str(home), "--user", f"{who}@tables.org"]
            answer = CliRunner().invoke(cli, [*words, *options])
            return str(answer.exception) if answer.exit_code else json.loads(answer.stdout)

        return run_here
    application, tokens = request.getfixturevalue("server")

    def run_there(who: str, *words: str) -> Any:
        variables = {name: os.environ[name] for name in KEPT if name in os.environ}
        variables |= {name: str(tmp_path / name) for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME")}
        variables |= {"ECLUSE_URL": application.address, "ECLUSE_TOKEN": tokens[who]}
        done = run_forked([*words, "--json"], variables, timeout=120)
        return done.stdout + done.stderr if done.returncode else json.loads(done.stdout)

    return run_there


def test_tables_at_the_terminal(asking: Callable[..., Any], tmp_path: Path) -> None:
    file, out = tmp_path / "towns.csv", tmp_path / "out.csv"
    file.write_text("town,visits\nLyon,7\n")
    own = asking("anna", "tables", "upload", str(file))["id"]
    made = asking("anna", "tables", "upload", str(file), "--owner", "@acme", "--name", "of acme.csv")["id"]
    assert own in {row["id"] for row in asking("anna", "tables", "list")}
    others = {row["id"]: row["owner"] for row in asking("ben", "tables", "list", "--others")}
    assert others[made] == "acme"
    assert own not in others
    assert asking("ben", "tables", "show", made)["columns"][0]["name"] == "town"
    assert asking("ben", "tables", "download", made, "-o", str(out))
    assert out.read_text() == "town,visits\nLyon,7\n"
    assert "already" in asking("ben", "tables", "download", made, "-o", str(out))
    assert "to be read" in asking("ben", "tables", "delete", made)
    assert "No table" in asking("ben", "tables", "show", own)
    share = asking("anna", "tables", "share", own, "--email", "carl@tables.org")
    assert asking("carl", "tables", "show", own)["rows"] == 1
    assert [row["id"] for row in asking("anna", "tables", "shares", own)] == [share["id"]]
    assert asking("anna", "tables", "unshare", own, share["id"])
    assert "No table" in asking("carl", "tables", "show", own)
    if asking.__name__ == "run_here":  # the server of these tests has no worker
        given = asking("anna", "tables", "hand-over", own, "--to", "acme")
        assert given == {"table": own, "owner": "@acme"}
        assert own in {row["id"] for row in asking("ben", "tables", "list", "--others")}
    assert asking("anna", "tables", "delete", made) == {"deleted": made}
    assert "No table" in asking("ben", "tables", "show", made)
    assert "no organisation" in asking("carl", "tables", "upload", str(file), "--owner", "acme")


def test_the_page_of_tables_takes_one_for_an_organisation(web: Within) -> None:
    (anna, session), (ben, reading) = someone(web, "anna@drops.org"), someone(web, "ben@drops.org")
    accounts = web.runtime.accounts
    accounts.add_organisation(anna, "drops")
    accounts.accept_invitation(ben, accounts.invite(anna, "drops", "viewer")[0])
    assert '<option value="drops">' in page(web, session, "GET", "/tables")[1]
    assert '<option value="drops">' not in page(web, reading, "GET", "/tables")[1]
    for who, expected in ((session, 303), (reading, 403)):
        web.session = who
        sent = {"files": {"file": ("towns.csv", b"town\nLyon\n")}, "data": {"owner": "drops"}}
        answer = web.ask("POST", "/tables/upload", headers={"accept": "text/html"}, **sent)
        assert answer.status_code == expected, answer.text
    text = page(web, reading, "GET", "/tables")[1]
    assert ("towns.csv" in text, "@drops" in text) == (True, True)


def test_a_copy_of_the_client_alone_lists_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name)

    real = __import__("importlib").import_module
    monkeypatch.setattr(
        "ecluse.import_module",
        lambda name, *rest: missing(name) if name == "ecluse.tables" else real(name, *rest),
    )
    assert ecluse.__getattr__("tables") is real("ecluse.client").tables


def test_what_applications_declare_is_shared_at_the_terminal(here: Path) -> None:
    def asking(who: str, *words: str) -> Any:
        answer = CliRunner().invoke(
            cli, [*words, "--json", "--home", str(here), "--user", f"{who}@tables.org"]
        )
        return str(answer.exception) if answer.exit_code else json.loads(answer.stdout)

    with Runtime.open(Settings.from_environment({}, home=here)) as runtime:
        anna = runtime.accounts.by_email("anna@tables.org").id
        things = {
            ("plants",): add_set(runtime, anna, each=1).id,
            ("fraud", "results"): scored(runtime, anna).id,
            ("fraud", "tables"): uploaded(runtime, anna).id,
        }
    for group, thing in things.items():
        made = asking("anna", *group, "share", thing, "--email", "carl@tables.org")
        assert [row["id"] for row in asking("anna", *group, "shares", thing)] == [made["id"]]
        assert "to be read" in asking("carl", *group, "share", thing, "--link")
        if group != ("plants",):
            assert [row["owner"] for row in asking("carl", *group, "list", "--others")] == ["anna"]
            assert [row["id"] for row in asking("anna", *group, "list")] == [thing]
        assert asking("anna", *group, "unshare", thing, made["id"]) == {"unshared": made["id"]}
        assert asking("ben", *group, "share", thing, "--link").startswith("No ")
