"""What an organisation has: who of it reads and who changes, at each route, and that it is the organisation's."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.linear_model import LogisticRegression

from ecluse import models
from ecluse.catalog import audit, plans, quotas
from ecluse.catalog.tables import ModelUpload, ModelVersion
from ecluse.cli import cli
from ecluse.client.package import pack
from ecluse.errors import EcluseError, Forbidden, LimitReached, ModelNotFound
from ecluse.models import Reader
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.web.app import make_app
from tests.web.test_organisations_pages import page, someone
from tests.web.test_who_sees import MUTATIONS, NOWHERE, House, Row, cells
from tests.web.within import Within

MATRIX: Final = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0], [3.0, 0.0]])
ROWS: Final = {"rows": [[1.0, 0.5]]}
FILES: Final = {"files": [{"path": "a.txt", "size": 1, "sha256": "0" * 64}]}
ROLES: Final = ("stranger", "viewer", "member", "owner", "administrator")


@dataclass
class Acme(House):
    """The organisation `acme` has the model `fraud`; `version` is its newest."""

    id: str = ""
    version: str = ""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def acme(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Acme]:
    home = tmp_path_factory.mktemp("acme")
    environ = {}
    if request.param == "postgresql":
        environ = {"DATABASE_URL": request.getfixturevalue("new_migrated_url")()}
    else:
        shutil.copytree(request.getfixturevalue("empty_home"), home, dirs_exist_ok=True)
    with Runtime.open(Settings.from_environment(environ, home=home)) as runtime:
        made = Acme(make_app(runtime), runtime)
        accounts = runtime.accounts
        for name in ROLES:
            user = accounts.add(f"{name}@example.org", admin=name == "administrator")
            made.users[name] = user
            made.tokens[name] = accounts.create_token(user.id, "t", administers=name == "administrator")[0]
        owner = made.users["owner"].id
        made.id = accounts.add_organisation(owner, "acme").id
        for role in ("member", "viewer"):
            accounts.accept_invitation(made.users[role].id, accounts.invite(owner, "acme", role)[0])
        packed = pack(LogisticRegression().fit(MATRIX, [0, 0, 1, 1]), tmp_path_factory.mktemp("m"), MATRIX)
        files = list(packed.folder.iterdir())
        for _version in range(2):
            made.version = models.publish(runtime, made.id, "fraud", files, metadata=packed.metadata).version
        models.set_alias(runtime, made.id, "fraud", "production", made.version)
        yield made


#: By the personae of `PERSONAE`: visitor, stranger, viewer, member, owner, administrator.
READS: Final = (401, 404, 200, 200, 200, 404)
FRAUD: Final = "/api/models/@acme~fraud"
NEW: Final = "/api/models/@acme~new"
ROUTES: Final = (
    Row("GET", f"{FRAUD}/versions", READS),
    Row("GET", f"{FRAUD}/aliases", READS),
    Row("GET", f"{FRAUD}/aliases/production", READS),
    Row("GET", f"{FRAUD}/{{version}}", READS),
    Row("GET", f"{FRAUD}/{{version}}/files/ecluse.json", READS),
    Row("GET", f"{FRAUD}/compare?a={{version}}&b={{version}}", READS),
    Row("POST", f"{FRAUD}/predict", READS, lambda names: ROWS),
    Row("POST", f"{FRAUD}@production/predict", READS, lambda names: ROWS),
    Row("GET", "/v2/models/@acme~fraud/ready", READS),
    Row("POST", f"{FRAUD}/score", (401, 404, 404, 404, 404, 404), lambda names: {"table": "none"}),
    Row(
        "PUT",
        f"{FRAUD}/aliases/production",
        (401, 404, 403, 200, 200, 404),
        lambda names: {"version": names["version"]},
    ),
    Row("DELETE", f"{FRAUD}/aliases/none", (401, 404, 403, 404, 404, 404)),
    Row("POST", f"{FRAUD}/{{version}}/verify", (401, 404, 403, 200, 200, 404)),
    Row("GET", f"{FRAUD}/{{version}}/signed?path=ecluse.json", (401, 404, 403, 409, 409, 404)),
    Row("DELETE", f"{FRAUD}/{{version}}", (401, 404, 403, 409, 409, 404)),
    Row("GET", f"{FRAUD}/shares", (401, 404, 403, 200, 200, 404)),
    Row("POST", f"{FRAUD}/shares", (401, 404, 403, 201, 201, 404), lambda names: {"link": True}),
    Row("DELETE", f"{FRAUD}/shares/none", (401, 404, 403, 404, 404, 404)),
    Row("POST", f"{FRAUD}/uploads", (401, 404, 403, 201, 201, 404), lambda names: {"nonce": "a"} | FILES),
    Row("POST", f"{NEW}/uploads", (401, 404, 403, 201, 201, 404), lambda names: {"nonce": "b"} | FILES),
    Row("GET", f"{NEW}/uploads/none", (401, 404, 403, 404, 404, 404)),
    Row("POST", f"{NEW}/uploads/none/commit", (401, 404, 403, 404, 404, 404)),
    Row("DELETE", f"{NEW}/uploads/none", (401, 404, 403, 404, 404, 404)),
    Row("GET", f"{NEW}/versions", (401, 404, 404, 404, 404, 404)),
    Row("POST", f"{NEW}/predict", (401, 404, 404, 404, 404, 404), lambda names: ROWS),
    Row("GET", "/api/models/fraud/versions", (401, 404, 404, 404, 404, 404)),
)


@pytest.mark.parametrize(("row", "who", "expected"), cells(ROUTES))
def test_each_cell_of_the_table_of_a_model_of_an_organisation(
    acme: Acme, row: Row, who: str, expected: int
) -> None:
    names = {"version": acme.version}
    sent = {"json": row.body(names)} if row.body else {}
    answer = acme.ask(who, row.method, row.path.format(**names), **sent)
    assert answer.status_code == expected, answer.text
    if who in ("stranger", "viewer", "administrator"):
        assert acme.id not in answer.text, "where it lies is for those who change it"


def test_a_part_is_sent_by_who_may_publish_alone(acme: Acme) -> None:
    digest = "sha-256=:n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=:"
    for who, expected in (("stranger", 404), ("viewer", 403), ("member", 404)):
        path = f"{NEW}/uploads/none/files/0/parts/1"
        answer = acme.ask(who, "PUT", path, content=b"test", more={"content-digest": digest})
        assert answer.status_code == expected, answer.text


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_no_name_like_that_of_an_organisation_leads_to_it(acme: Acme, mutation: str) -> None:
    for who in ("viewer", "member", "stranger"):
        name = f"@{mutation.replace('{}', 'acme')}~fraud"
        for method, path in (("GET", f"{name}/versions"), ("DELETE", f"{name}/{acme.version}")):
            answer = acme.ask(who, method, f"/api/models/{path}")
            assert answer.status_code in (*NOWHERE, 405, 422), (name, answer.status_code, answer.text)
        answer = acme.ask(who, "POST", f"/api/models/{name}/uploads", json={"nonce": "c"} | FILES)
        assert answer.status_code in (*NOWHERE, 405, 422), (name, answer.status_code, answer.text)


def test_it_is_listed_for_everyone_of_the_organisation(acme: Acme) -> None:
    for who in ("viewer", "member", "owner"):
        page_ = acme.ask(who, "GET", "/api/shared/models").json()
        names = [(item["name"], item["owner"], bool(item["url"])) for item in page_["items"]]
        assert names == [("@acme/fraud", "acme", who != "viewer")], who
        assert page_["total"] == 1
        assert acme.ask(who, "GET", "/api/models").json() == []
    for who in ("stranger", "administrator"):
        assert acme.ask(who, "GET", "/api/shared/models").json()["total"] == 0


def test_what_is_the_organisations_and_shared_with_it_too_is_listed_once(acme: Acme) -> None:
    anna = acme.users["owner"].id
    with pytest.raises(Exception, match="yours already"):
        models.share(acme.runtime, anna, "@acme/fraud", Reader(organisation="acme"))
    made, _secret = models.share(acme.runtime, anna, "@acme/fraud", Reader("viewer@example.org"))
    assert acme.ask("viewer", "GET", "/api/shared/models").json()["total"] == 1
    models.unshare(acme.runtime, anna, "@acme/fraud", made.id)


def test_a_member_shares_it_with_a_stranger_who_reads_alone(acme: Acme) -> None:
    made = acme.ask("member", "POST", f"{FRAUD}/shares", json={"email": "stranger@example.org"}).json()
    assert acme.ask("stranger", "POST", f"{FRAUD}/predict", json=ROWS).status_code == 200
    for method, path, body in (
        ("PUT", "aliases/production", {"version": acme.version}),
        ("POST", "uploads", {"nonce": "d"} | FILES),
        ("POST", "shares", {"link": True}),
    ):
        assert acme.ask("stranger", method, f"{FRAUD}/{path}", json=body).status_code == 403
    assert acme.ask("owner", "DELETE", f"{FRAUD}/shares/{made['id']}").status_code == 204
    assert acme.ask("stranger", "POST", f"{FRAUD}/predict", json=ROWS).status_code == 404


def test_a_role_that_is_taken_away_counts_from_the_next_request_on(acme: Acme) -> None:
    accounts, owner, member = acme.runtime.accounts, acme.users["owner"].id, acme.users["member"].id
    alias = {"version": acme.version}
    assert acme.ask("member", "PUT", f"{FRAUD}/aliases/mine", json=alias).status_code == 200
    accounts.set_member_role(owner, "acme", member, "viewer")
    assert acme.ask("member", "PUT", f"{FRAUD}/aliases/mine", json=alias).status_code == 403
    assert acme.ask("member", "POST", f"{FRAUD}/predict", json=ROWS).status_code == 200
    accounts.set_member_role(owner, "acme", member, "member")
    assert acme.ask("member", "DELETE", f"{FRAUD}/aliases/mine").status_code == 204
    # A link that they made and opened themselves keeps nothing for them.
    made = acme.ask("member", "POST", f"{FRAUD}/shares", json={"link": True, "days": 30}).json()
    opened = acme.ask("member", "POST", "/api/shared/open", json={"link": made["url"]})
    assert opened.status_code == 200, opened.text
    accounts.remove_member(owner, "acme", member)
    assert acme.ask("member", "POST", f"{FRAUD}/predict", json=ROWS).status_code == 404
    acme.ask("owner", "DELETE", f"{FRAUD}/shares/{made['id']}")
    accounts.accept_invitation(member, accounts.invite(owner, "acme", "member")[0])


def test_who_did_it_is_written_down_with_the_organisation(acme: Acme) -> None:
    acme.ask("member", "PUT", f"{FRAUD}/aliases/noted", json={"version": acme.version})
    with acme.runtime.catalog.read() as transaction:
        entry, email = audit.entries(transaction, actions=["model.alias"], search="noted")[0]
    assert (email, entry.detail["organisation"]) == ("member@example.org", "@acme")
    acme.ask("member", "DELETE", f"{FRAUD}/aliases/noted")


def test_its_objects_lie_below_its_own_prefix(acme: Acme) -> None:
    with acme.runtime.catalog.read() as transaction:
        row = transaction.query(ModelVersion).filter_by(user_id=acme.id).first()
    assert row is not None
    assert row.prefix.startswith(f"user_models/{acme.id}/")
    assert f"user_models/{acme.id}/" in row.url


def test_what_it_stores_counts_for_it_and_its_plan_is_that_of_who_made_it(
    opened: Runtime, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("a")
    accounts = opened.accounts
    anna, free = accounts.add("anna@example.org"), accounts.add("free@example.org")
    with opened.catalog.write() as transaction:
        plans.set_plan(transaction, "trial", {"models": 1}, by=None)
        plans.give(transaction, anna, "trial", by=None)
    acme = accounts.add_organisation(anna.id, "acme")
    with pytest.raises(LimitReached, match="one organisation"):
        accounts.add_organisation(anna.id, "other")
    models.publish(opened, anna.id, "a", [tmp_path / "a.txt"], metadata={})
    models.publish(opened, acme.id, "b", [tmp_path / "a.txt"], metadata={})
    for owner in (anna.id, acme.id):
        with pytest.raises(LimitReached):
            models.publish(opened, owner, "c", [tmp_path / "a.txt"], metadata={})
    with opened.catalog.read() as transaction:
        assert quotas.used_by(transaction, acme.id).models == 1
    with opened.catalog.write() as transaction:
        plans.give(transaction, accounts.owner_called("@acme"), None, by=None)
    models.publish(opened, acme.id, "c", [tmp_path / "a.txt"], metadata={})
    for handle in ("free-one", "free-two"):
        accounts.add_organisation(free.id, handle)
        with opened.catalog.read() as transaction:
            assert quotas.allowance_of(transaction, accounts.owner_called(f"@{handle}").id) is None


def test_an_organisation_that_has_models_is_not_ended(acme: Acme) -> None:
    answer = acme.ask("owner", "DELETE", "/api/organisations/acme")
    assert (answer.status_code, "model" in answer.text) == (422, True)


def test_the_pages_of_a_model_of_an_organisation(web: Within, tmp_path: Path) -> None:
    (anna, session), (ben, viewing) = someone(web, "anna@of.org"), someone(web, "ben@of.org")
    accounts = web.runtime.accounts
    acme = accounts.add_organisation(anna, "of-pages")
    accounts.accept_invitation(ben, accounts.invite(anna, "of-pages", "viewer")[0])
    (tmp_path / "a.txt").write_text("a")
    row = models.publish(web.runtime, acme.id, "fraud", [tmp_path / "a.txt"], metadata={"val_accuracy": 0.9})
    place = f"/models/@of-pages~fraud/{row.version}"
    for address in ("/models/@of-pages~fraud", place):
        status, text = page(web, session, "GET", address)
        assert (status, f'action="{place}/delete"' in text) == (200, True)
        assert "@of-pages/fraud" in text
        status, text = page(web, viewing, "GET", address)
        assert (status, "/delete" in text, acme.id in text) == (200, False, False)
    for act in ("alias", "verify", "delete", "link"):
        assert page(web, viewing, "POST", f"{place}/{act}", alias="x", path="a.txt")[0] == 403
    assert page(web, session, "POST", f"{place}/alias", alias="production")[0] == 303
    assert page(web, session, "POST", f"{place}/verify")[0] == 200
    status, text = page(web, session, "POST", f"{place}/delete")
    assert f'action="{place}/alias/production/remove"' in text, "it says what is in the way"
    assert page(web, session, "POST", f"{place}/alias/production/remove")[0] == 303
    shares = "/models/@of-pages~fraud/sharing"
    assert "@of-pages/fraud" in page(web, session, "GET", shares)[1]
    assert page(web, viewing, "GET", shares)[0] == 403
    assert page(web, session, "POST", shares, with_whom="person", email="someone@else.org")[0] == 303
    (share,) = models.shares(web.runtime, anna, "@of-pages/fraud")
    assert page(web, session, "POST", f"{shares}/{share.id}/take-back")[0] == 303
    assert page(web, session, "POST", f"{place}/delete")[0] == 303
    assert page(web, session, "GET", place)[0] == 404


def test_commands_publish_change_and_read_for_an_organisation(tmp_path: Path, empty_home: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(empty_home, home)
    with Runtime.open(Settings.from_environment({}, home=home)) as runtime:
        accounts = runtime.accounts
        anna, ben = accounts.add("anna@example.org"), accounts.add("ben@example.org")
        acme = accounts.add_organisation(anna.id, "acme")
        accounts.accept_invitation(ben.id, accounts.invite(anna.id, "acme", "viewer")[0])
    file = tmp_path / "a.txt"
    file.write_text("a")

    def ask(who: str, *words: str) -> Any:
        arguments = ["models", *words, "--json", "--home", str(home), "--user", f"{who}@example.org"]
        answer = CliRunner().invoke(cli, arguments)
        if answer.exit_code and not isinstance(answer.exception, EcluseError):
            raise AssertionError(answer.output) from answer.exception
        return str(answer.exception) if answer.exit_code else json.loads(answer.stdout)

    made = ask("anna", "publish", "@acme/churn", str(file), "--alias", "production")
    assert (made["name"], made["aliases"]) == ("@acme/churn", "production")
    assert f"user_models/{acme.id}/" in made["url"]
    assert ask("ben", "show", "@acme/churn@production")["version"] == made["version"]
    assert [row["name"] for row in ask("ben", "list", "@acme/churn")] == ["@acme/churn"]
    assert ask("ben", "download", "@acme/churn", str(tmp_path / "there"))["files"] == 1
    for refused in (
        ("publish", "@acme/churn", str(file)),
        ("alias", "@acme/churn", "mine"),
        ("alias", "@acme/churn", "production", "--remove"),
        ("delete", f"@acme/churn@{made['version']}", "--yes"),
        ("verify", "@acme/churn"),
    ):
        assert "to be read" in ask("ben", *refused), refused
    assert ask("anna", "alias", "@acme/churn", "mine")["name"] == "@acme/churn"
    assert ask("anna", "verify", "@acme/churn@mine")["files"] == 1
    for alias in ("mine", "production"):
        assert ask("anna", "alias", "@acme/churn", alias, "--remove") == {"removed": f"@acme/churn@{alias}"}
    assert ask("anna", "delete", f"@acme/churn@{made['version']}", "--yes")
    assert "No model" in ask("anna", "show", "@acme/churn")


def test_an_upload_of_an_organisation_is_gone_on_with_by_another_member(acme: Acme) -> None:
    body = {"nonce": "shared"} | FILES
    first = acme.ask("member", "POST", f"{NEW}/uploads", json=body).json()
    assert first["name"] == "@acme/new"
    assert acme.ask("owner", "POST", f"{NEW}/uploads", json=body).json()["id"] == first["id"]
    with acme.runtime.catalog.read() as transaction:
        assert transaction.get_one(ModelUpload, first["id"]).user_id == acme.id
    assert acme.ask("owner", "DELETE", f"{NEW}/uploads/{first['id']}").status_code == 204


def test_what_a_name_means_is_decided_by_the_one_condition(acme: Acme) -> None:
    runtime, users = acme.runtime, acme.users
    assert models.place_to_make(runtime, users["member"].id, "@acme/any").owner_id == acme.id
    assert models.place_to_make(runtime, users["member"].id, "@member/any").is_own
    with pytest.raises(Forbidden):
        models.place_to_make(runtime, users["viewer"].id, "@acme/any")
    for who, name in (("stranger", "@acme/any"), ("member", "@owner/any"), ("member", "@acme/a/b")):
        with pytest.raises(ModelNotFound):
            models.place_to_make(runtime, users[who].id, name)
