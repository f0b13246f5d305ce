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
from ecluse.errors import EcluseError, ModelNotFound
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
            f"{application.address}/api/models/fraud/shares/{made.json()['id']}",
            headers=headers,
        )
        for act in (ben.load, lambda name: ben.predict(name, MATRIX)):
            with pytest.raises(EcluseError):
                act("@anna/fraud@production")


def test_the_pages_of_sharing(web: Within, tmp_path: Path) -> None:
    (anna, session), (_, other) = someone(web, "anna@sharing.org"), someone(web, "ben@sharing.org")
    (tmp_path / "a.txt").write_text("a")
    row = models.publish(web.runtime, anna, "fraud", [tmp_path / "a.txt"], metadata={"val_accuracy": 0.9})
    handle = web.runtime.accounts.by_email("anna@sharing.org").handle
    place = f"/models/@{handle}~fraud"
    assert page(web, other, "GET", place)[0] == 404
    assert f"@{handle}/fraud" in page(web, session, "GET", "/models/fraud/sharing")[1]
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
            assert "/delete" not in text
            assert "/alias" not in text
            assert anna not in text
    assert page(web, other, "GET", f"{place}/{row.version}/files/a.txt") == (200, "a")
    assert "Shared with you" in page(web, other, "GET", "/models")[1]
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
