"""A model that someone else shares, from Python: over HTTP and in the folder of this machine; and on the pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import ecluse
from ecluse import models
from ecluse.catalog import users
from ecluse.catalog.tables import UserTable
from ecluse.errors import EcluseError, Forbidden, InvalidInput, ModelNotFound
from ecluse.models import Reader
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from tests.application import Application, running
from tests.web.test_organisations_pages import page, someone
from tests.web.test_predict import publish
from tests.web.within import Within

MATRIX = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0], [3.0, 0.0]])


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    with running(tmp_path_factory.mktemp("server") / "home", role="web") as application:
        yield application


def token_of(application: Application, email: str) -> str:
    with Runtime.open(Settings.from_environment({}, home=application.home)) as runtime:
        user = runtime.accounts.add(email)
        return runtime.accounts.create_token(user.id, "tests")[0]


@pytest.mark.parametrize("path", ["versions", "aliases/production", "predict"])
def test_an_error_names_a_model_as_people_write_it(web: Within, path: str) -> None:
    method, body = ("POST", {"rows": [[1, 2]]}) if path == "predict" else ("GET", None)
    answer = web.ask(method, f"/api/models/@nobody~fraud/{path}", json=body)
    message = answer.json()["error"]["message"]
    assert (answer.status_code, '"@nobody/fraud"' in message) == (404, True), message


def test_a_shared_model_is_loaded_and_asked_by_its_long_name(application: Application) -> None:
    secret = token_of(application, "anna@clients.org")
    headers = {"authorization": f"Bearer {secret}"}
    other = token_of(application, "ben@clients.org")
    with ecluse.Client(application.address, secret) as anna, ecluse.Client(application.address, other) as ben:
        trained = LogisticRegression().fit(MATRIX, [0, 0, 1, 1])
        version = anna.publish(trained, "fraud", example=MATRIX, alias="production")
        for name in ("@anna/fraud@production", "@anna/fraud", f"@anna/fraud@{version.version}"):
            with pytest.raises(ModelNotFound):
                ben.load(name)
        made = httpx.post(
            f"{application.address}/api/models/fraud/shares",
            json={"email": "ben@clients.org"},
            headers=headers,
            timeout=60,
        )
        for name in (
            "@anna/fraud@production",
            "@anna/fraud",
            f"@anna/fraud@{version.version}",
            "@anna~fraud",
        ):
            assert (ben.load(name).predict(MATRIX) == trained.predict(MATRIX)).all()
        assert ben.predict("@anna/fraud@production", MATRIX)["prediction"].to_list() == [0, 0, 1, 1]
        with pytest.raises(ModelNotFound):
            ben.load("fraud")
        httpx.delete(
            f"{application.address}/api/models/fraud/shares/{made.json()['id']}", headers=headers, timeout=60
        )
        for act in (ben.load, lambda name: ben.predict(name, MATRIX)):
            with pytest.raises(EcluseError):
                act("@anna/fraud@production")


@pytest.mark.nightly
def test_a_member_publishes_for_an_organisation_and_a_viewer_asks(
    application: Application, tmp_path: Path
) -> None:
    secrets = [token_of(application, f"{name}@members.org") for name in ("carl", "dora", "emil")]
    with Runtime.open(Settings.from_environment({}, home=application.home)) as runtime:
        accounts = runtime.accounts
        carl, dora = (accounts.by_email(f"{name}@members.org").id for name in ("carl", "dora"))
        accounts.add_organisation(carl, "makers")
        accounts.accept_invitation(dora, accounts.invite(carl, "makers", "viewer")[0])
    carl_there, dora_there, emil_there = (ecluse.Client(application.address, secret) for secret in secrets)
    trained = LogisticRegression().fit(MATRIX, [0, 0, 1, 1])
    with carl_there, dora_there, emil_there:
        version = carl_there.publish(trained, "@makers/churn", example=MATRIX, alias="production")
        assert (version.name, version.aliases) == ("@makers/churn", ("production",))
        assert (dora_there.load("@makers/churn@production").predict(MATRIX) == trained.predict(MATRIX)).all()
        assert dora_there.predict("@makers/churn", MATRIX)["prediction"].to_list() == [0, 0, 1, 1]
        with pytest.raises(Forbidden):
            dora_there.publish(trained, "@makers/churn", example=MATRIX)
        for refused in ("@makers/churn", "@nobody/churn"):
            with pytest.raises(ModelNotFound):
                emil_there.publish(trained, refused, example=MATRIX)
        with pytest.raises(InvalidInput):
            carl_there.publish(trained, "@makers/a/b", example=MATRIX)
    with Runtime.open(Settings.from_environment({}, home=tmp_path)) as runtime:
        carl = runtime.accounts.add("carl@members.org", admin=True).id
        runtime.accounts.add_organisation(carl, "makers")
    with ecluse.Client(home=tmp_path) as here:
        here.publish(trained, "@makers/churn", example=MATRIX, alias="production")
        assert here.predict("@makers/churn@production", MATRIX)["prediction"].to_list() == [0, 0, 1, 1]


def test_the_pages_of_sharing(web: Within, tmp_path: Path) -> None:
    (anna, session), (_, other) = someone(web, "anna@sharing.org"), someone(web, "ben@sharing.org")
    (tmp_path / "a.txt").write_text("a")
    row = models.publish(web.runtime, anna, "fraud", [tmp_path / "a.txt"], metadata={"val_accuracy": 0.9})
    handle = web.runtime.accounts.by_email("anna@sharing.org").handle
    place = f"/models/@{handle}~fraud"
    assert page(web, other, "GET", place)[0] == 404
    shown = page(web, session, "GET", "/models/fraud/sharing")[1]
    assert f"@{handle}/fraud" in shown
    ways = [way.partition("</form>")[0] for way in shown.split('name="with_whom" value="')[1:]]
    asked = {way.partition('"')[0]: re.findall(r'name="(\w+)"', way) for way in ways}
    assert asked == {"person": ["email", "days"], "link": ["days"]}, "each way asks what it needs"
    status, text = page(web, session, "POST", "/models/fraud/sharing", with_whom="person", email="nobody")
    assert status == 422
    status, text = page(web, session, "POST", "/models/fraud/sharing", with_whom="link", days="2")
    link = re.search(r"/shared/[\w-]{20,}", text)
    assert link
    assert f"@{handle}/fraud" in page(web, other, "GET", link[0])[1]
    assert page(web, other, "POST", link[0])[0] == 303
    for address in (place, f"{place}/{row.version}"):
        for language in ("en", "fr"):
            status, text = page(web, other, "GET", address, language)
            assert status == 200
            assert f"@{handle}/fraud" in text
            assert re.search(rf"(Shared with you by|Partagé avec vous par) @{handle}", text)
            assert re.search(r"As its publisher gave them|Telles que données", text)
            assert "/delete" not in text
            assert "/alias" not in text
            assert anna not in text
    assert page(web, other, "GET", f"{place}/{row.version}/files/a.txt") == (200, "a")
    assert "shared with you" in page(web, other, "GET", "/models")[1]
    assert page(web, other, "GET", f"{place}/sharing")[0] == 403
    for action in ("verify", "alias", "link", "delete", "alias/production/remove"):
        answer = page(web, other, "POST", f"{place}/{row.version}/{action}", path="a.txt", alias="mine")[0]
        assert answer in (403, 404), action
    share = next(each for each in models.shares(web.runtime, anna, "fraud") if each.kind == "link")
    assert page(web, session, "POST", f"/models/fraud/sharing/{share.id}/take-back")[0] == 303
    assert page(web, other, "GET", place)[0] == 404


def test_use_this_model_shows_the_readers_tables_and_not_the_owners(web: Within) -> None:
    owner, reader = web.user_id, someone(web, "reader@sharing.org")
    row = publish(web, LogisticRegression().fit(MATRIX, [0, 0, 1, 1]), MATRIX)
    models.share(web.runtime, owner, row.name, Reader("reader@sharing.org"))
    with web.runtime.catalog.write() as transaction:
        transaction.add(UserTable(user_id=owner, name="secret table", rows=1))
        transaction.add(UserTable(user_id=reader[0], name="my table", rows=1))
        handle = users.user_by_id(transaction, owner).handle
    place = f"/models/@{handle}~{row.name}/{row.version}/use"
    status, text = page(web, reader[1], "GET", place)
    assert status == 200
    assert "my table" in text
    assert "secret table" not in text
    assert f"@{handle}/{row.name}@{row.version}" in text
    status, text = page(web, reader[1], "POST", place, c0="1.0", c1="0.5")
    assert (status, "prediction" in text) == (200, True)


def test_a_viewer_reads_whose_organisation_a_model_is(web: Within, tmp_path: Path) -> None:
    (anna, _session), (ben, viewer) = someone(web, "anna@whose.org"), someone(web, "ben@whose.org")
    house = web.runtime.accounts.add_organisation(anna, "whose")
    web.runtime.accounts.accept_invitation(ben, web.runtime.accounts.invite(anna, "whose", "viewer")[0])
    (tmp_path / "a.txt").write_text("a")
    models.publish(web.runtime, house.id, "fraud", [tmp_path / "a.txt"], metadata={})
    text = page(web, viewer, "GET", "/models/@whose~fraud")[1]
    assert "Of your organisation @whose" in text
    assert "Shared with you" not in text
