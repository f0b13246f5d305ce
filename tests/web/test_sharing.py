"""Shared models: who sees, who may do what at each route, and that what is taken back is gone with the next request."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sqlalchemy import event, select, update

from ecluse import models
from ecluse.catalog import Catalog, sharing, users
from ecluse.catalog.shared_models import list_shared_models
from ecluse.catalog.tables import Membership, ModelVersion, Share, User, now
from ecluse.client.package import pack
from ecluse.errors import ModelNotFound
from ecluse.models import Reader
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.web.app import make_app
from tests.web.test_who_sees import MUTATIONS, NOWHERE, PERSONAE, House, Row, cells
from tests.web.within import Within

MATRIX: Final = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0], [3.0, 0.0]])
ROWS: Final = {"rows": [[1.0, 0.5]]}


@dataclass
class SharedHouse(House):
    """The owner's model `fraud` is shared with an organisation, in which are a member and a viewer."""

    version: str = ""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedHouse]:
    home = tmp_path_factory.mktemp("sharing")
    environ = {}
    if request.param == "postgresql":
        environ = {"DATABASE_URL": request.getfixturevalue("new_migrated_url")()}
    else:
        shutil.copytree(request.getfixturevalue("empty_home"), home, dirs_exist_ok=True)
    with Runtime.open(Settings.from_environment(environ, home=home)) as runtime:
        made = SharedHouse(make_app(runtime), runtime)
        accounts = runtime.accounts
        for name in PERSONAE[1:]:
            user = accounts.add(f"{name}@example.org", admin=name == "administrator")
            made.users[name] = user
            made.tokens[name] = accounts.create_token(user.id, "t", administers=name == "administrator")[0]
        owner = made.users["owner"].id
        folder = tmp_path_factory.mktemp("model")
        packed = pack(LogisticRegression().fit(MATRIX, [0, 0, 1, 1]), folder, MATRIX)
        for name in ("fraud", "fraud2", "secret"):
            row = models.publish(
                runtime, owner, name, list(packed.folder.iterdir()), metadata=packed.metadata
            )
            models.set_alias(runtime, owner, name, "production", row.version)
            made.version = row.version if name == "fraud" else made.version
        accounts.add_organisation(owner, "acme")
        for role in ("member", "viewer"):
            accounts.accept_invitation(made.users[role].id, accounts.invite(owner, "acme", role)[0])
        models.share(runtime, owner, "fraud", Reader(organisation="acme"))
        yield made


READS: Final = (401, 404, 200, 200, 200, 404)
#: What its owner may do with it by its long name, too; who reads it is told that it is to be read.
WRITES: Final = (401, 404, 403, 403, 200, 404)
SHARED: Final = "/api/models/@owner~fraud"
#: The table of a shared model: by the personae of `PERSONAE`.
ROUTES: Final = (
    Row("GET", f"{SHARED}/versions", READS),
    Row("GET", f"{SHARED}/aliases", READS),
    Row("GET", f"{SHARED}/aliases/production", READS),
    Row("GET", f"{SHARED}/{{version}}", READS),
    Row("GET", f"{SHARED}/{{version}}/files/ecluse.json", READS),
    Row("GET", f"{SHARED}/compare?a={{version}}&b={{version}}", READS),
    Row("POST", f"{SHARED}/predict", READS, lambda names: ROWS),
    Row("POST", f"{SHARED}@production/predict", READS, lambda names: ROWS),
    Row("POST", f"{SHARED}@{{version}}/predict", READS, lambda names: ROWS),
    Row("POST", "/v2/models/@owner~fraud/infer", (401, 404, 422, 422, 422, 404), lambda names: {}),
    Row("GET", "/v2/models/@owner~fraud/ready", READS),
    Row("POST", f"{SHARED}/score", (401, 404, 404, 404, 404, 404), lambda names: {"table": "none"}),
    Row("PUT", f"{SHARED}/aliases/production", WRITES, lambda names: {"version": names["version"]}),
    Row("DELETE", f"{SHARED}/aliases/none", (401, 404, 403, 403, 404, 404)),
    Row("POST", f"{SHARED}/{{version}}/verify", WRITES),
    Row("GET", f"{SHARED}/{{version}}/signed?path=ecluse.json", (401, 404, 403, 403, 409, 404)),
    Row("DELETE", f"{SHARED}/{{version}}", (401, 404, 403, 403, 409, 404)),
    Row("GET", f"{SHARED}/shares", (401, 404, 403, 403, 200, 404)),
    Row("POST", f"{SHARED}/shares", (401, 404, 403, 403, 201, 404), lambda names: {"link": True}),
    Row("DELETE", f"{SHARED}/shares/none", (401, 404, 403, 403, 404, 404)),
    Row(
        "POST", f"{SHARED}/uploads", (401, 422, 422, 422, 422, 422), lambda names: {"nonce": "n", "files": []}
    ),
    Row("GET", "/api/models/fraud/versions", (401, 404, 404, 404, 200, 404)),
    Row("POST", "/api/models/fraud/predict", (401, 404, 404, 404, 200, 404), lambda names: ROWS),
    Row("GET", "/api/models/@owner~secret/versions", (401, 404, 404, 404, 200, 404)),
    Row("GET", "/api/models/@owner~fraud2/versions", (401, 404, 404, 404, 200, 404)),
    Row("POST", "/api/models/@owner~fraud2/predict", (401, 404, 404, 404, 200, 404), lambda names: ROWS),
    Row("GET", "/api/shared/models", (401, 200, 200, 200, 200, 200)),
    Row("GET", "/api/shared/tables", (401, 200, 200, 200, 200, 200)),
    Row("GET", "/api/shared/runs", (401, 200, 200, 200, 200, 200)),
    Row("POST", "/api/shared/open", (401, 404, 404, 404, 404, 404), lambda names: {"link": "x" * 43}),
)


@pytest.mark.parametrize(("row", "who", "expected"), cells(ROUTES))
def test_each_cell_of_the_table_of_a_shared_model(
    house: SharedHouse, row: Row, who: str, expected: int
) -> None:
    names = {"version": house.version}
    sent = {"json": row.body(names)} if row.body else {}
    answer = house.ask(who, row.method, row.path.format(**names), **sent)
    assert answer.status_code == expected, answer.text
    if who not in ("owner", "visitor"):
        assert house.users["owner"].id not in answer.text, "where it lies is the owner's to know"


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_no_name_that_is_like_a_shared_one_leads_to_it_or_to_another(
    house: SharedHouse, mutation: str
) -> None:
    for name in (
        mutation.replace("{}", "@owner~fraud"),
        f"@owner~{mutation.replace('{}', 'fraud')}",
        f"@{mutation.replace('{}', 'owner')}~fraud",
    ):
        for who in ("viewer", "stranger"):
            read = house.ask(who, "GET", f"/api/models/{name}/versions")
            asked = house.ask(who, "POST", f"/api/models/{name}/predict", json=ROWS)
            for answer in (read, asked):
                assert answer.status_code in (*NOWHERE, 405, 422), (name, answer.status_code, answer.text)


@pytest.mark.parametrize(
    "name", ["@owner~FRAUD", "@OWNER~fraud", "@owne~fraud", "@~fraud", "@owner~", "@owner~frau"]
)
def test_a_name_is_itself_and_nothing_else(house: SharedHouse, name: str) -> None:
    assert house.ask("viewer", "GET", f"/api/models/{name}/versions").status_code == 404


@pytest.mark.parametrize(
    "path", ["..%2Fecluse.json", "%2e%2e/ecluse.json", "/etc/passwd", "..%5Cx", "ecluse.json%00"]
)
def test_no_file_outside_the_version_is_read(house: SharedHouse, path: str) -> None:
    answer = house.ask("viewer", "GET", f"{SHARED}/{house.version}/files/{path}")
    assert answer.status_code in (*NOWHERE, 422), answer.text


def test_what_is_shared_is_listed_with_its_owner(house: SharedHouse) -> None:
    page = house.ask("viewer", "GET", "/api/shared/models").json()
    assert page["total"] == 1
    assert (page["items"][0]["name"], page["items"][0]["owner"]) == ("@owner/fraud", "owner")
    assert page["items"][0]["aliases"] == ["production"]
    assert page["items"][0]["url"] == ""
    for who in ("stranger", "owner", "administrator"):
        assert house.ask(who, "GET", "/api/shared/models").json()["total"] == 0
    assert house.ask("viewer", "GET", "/api/models").json() == []


def sees(house: SharedHouse, who: str) -> bool:
    """Whether a person may ask for predictions now; reading and listing say the same."""
    asked = house.ask(who, "POST", f"{SHARED}@production/predict", json=ROWS).status_code
    read = house.ask(who, "GET", f"{SHARED}/versions").status_code
    listed = house.ask(who, "GET", "/api/shared/models").json()["total"]
    assert (asked, read, listed) in ((200, 200, 1), (404, 404, 0))
    return asked == 200


def test_a_share_that_is_taken_back_is_gone_with_the_next_request(house: SharedHouse) -> None:
    owner, email = house.users["owner"].id, {"email": " Stranger@Example.org "}
    share = house.ask("owner", "POST", "/api/models/fraud/shares", json=email).json()["id"]
    assert sees(house, "stranger")
    assert sees(house, "stranger"), "asked twice, so that whatever is remembered is"
    assert house.ask("owner", "DELETE", f"/api/models/fraud/shares/{share}").status_code == 204
    assert not sees(house, "stranger")
    shown, _ = models.share(house.runtime, owner, "fraud", Reader("stranger@example.org"), 1)
    assert sees(house, "stranger")
    with house.runtime.catalog.write() as transaction:
        soon = now() + timedelta(seconds=0.5)
        transaction.execute(update(Share).where(Share.id == shown.id).values(expires_at=soon))
    assert sees(house, "stranger") or now() > soon
    while now() <= soon:  # it ends by the clock: nothing is written
        pass
    assert not sees(house, "stranger")


def test_who_leaves_the_organisation_sees_it_no_longer(house: SharedHouse) -> None:
    accounts, owner, stranger = house.runtime.accounts, house.users["owner"].id, house.users["stranger"].id
    accounts.accept_invitation(stranger, accounts.invite(owner, "acme", "viewer")[0])
    assert sees(house, "stranger")
    accounts.remove_member(owner, "acme", stranger)
    assert not sees(house, "stranger")


def test_a_link_opens_it_until_it_is_taken_back_from_all_who_came_by_it(house: SharedHouse) -> None:
    made = house.ask("owner", "POST", "/api/models/fraud/shares", json={"link": True, "days": 2}).json()
    assert made["expires_at"] is not None
    for who in ("stranger", "administrator"):
        opened = house.ask(who, "POST", "/api/shared/open", json={"link": made["url"]})
        assert opened.json() == {"kind": "models", "name": "@owner/fraud"}
        house.ask(who, "POST", "/api/shared/open", json={"link": made["url"]})
        assert sees(house, who)
    kinds = [each["kind"] for each in house.ask("owner", "GET", "/api/models/fraud/shares").json()]
    assert sorted(kinds).count("opened") == 2
    house.ask("owner", "DELETE", f"/api/models/fraud/shares/{made['id']}")
    for who in ("stranger", "administrator"):
        assert not sees(house, who)
        assert house.ask(who, "POST", "/api/shared/open", json={"link": made["url"]}).status_code == 404


def test_a_link_is_closed_while_who_made_it_is_locked(house: SharedHouse) -> None:
    made = house.ask("owner", "POST", "/api/models/fraud2/shares", json={"link": True, "days": 2}).json()

    def opens() -> bool:
        opened = house.ask("stranger", "POST", "/api/shared/open", json={"link": made["url"]})
        assert opened.status_code in (200, 404)
        return opened.status_code == 200

    assert opens()
    for is_locked in (True, False):
        with house.runtime.catalog.write() as transaction:
            transaction.get_one(User, house.users["owner"].id).disabled_at = now() if is_locked else None
        assert opens() is not is_locked
    house.ask("owner", "DELETE", f"/api/models/fraud2/shares/{made['id']}")


def test_whether_an_address_has_an_account_does_not_show(house: SharedHouse) -> None:
    answers = []
    for email in ("stranger@example.org", "nobody@example.org"):
        made = house.ask("owner", "POST", "/api/models/fraud2/shares", json={"email": email})
        listed = house.ask("owner", "GET", "/api/models/fraud2/shares").json()[0]
        answers.append((made.status_code, made.json() | {"id": "", "created_at": "", "with_whom": ""}))
        assert (listed["kind"], listed["with_whom"]) == ("person", email)
        house.ask("owner", "DELETE", f"/api/models/fraud2/shares/{made.json()['id']}")
    assert answers[0] == answers[1]


def test_who_takes_an_address_later_sees_nothing_that_was_shared_with_it(house: SharedHouse) -> None:
    house.ask("owner", "POST", "/api/models/fraud2/shares", json={"email": "later@example.org"})
    later = house.runtime.accounts.add("later@example.org")
    assert models.list_shared(house.runtime, later.id, limit=50) == ([], 0)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"email": "a@b.c", "link": True},
        {"email": "no address"},
        {"organisation": "others"},
        {"link": True, "days": 0},
        {"link": True, "days": 366},
        {"email": "owner@example.org"},
        {"reader_id": "x"},
    ],
)
def test_what_names_no_reader_is_refused(house: SharedHouse, body: dict[str, Any]) -> None:
    answer = house.ask("owner", "POST", "/api/models/fraud/shares", json=body)
    assert answer.status_code in (404, 422), answer.text


def test_what_a_body_had_to_name_is_said_in_these_words(house: SharedHouse) -> None:
    answer = house.ask("owner", "POST", "/api/models/fraud/shares", json={})
    assert answer.json()["error"]["message"] == "body: Name one of email, organisation and link."


@pytest.mark.nightly
def test_a_page_of_ten_thousand_shared_models_is_counted_by_an_index_and_read_by_one_query(
    catalog: Catalog,
) -> None:
    with catalog.write() as transaction:
        anna, ben = (
            users.add_user(
                transaction, email=f"{name}@example.org", name="", password_hash=None, role="member"
            )
            for name in ("anna", "ben")
        )
        for number in range(10_000):
            name = f"m{number:05d}"
            transaction.add(
                ModelVersion(
                    user_id=anna.id, name=name, version="v20251121_041000", prefix="p", manifest_digest="0"
                )
            )
            transaction.add(Share(owner_id=anna.id, kind=sharing.MODELS, name=name, reader_id=ben.id))
    asked: list[str] = []
    event.listen(
        catalog.engine, "before_cursor_execute", lambda c, k, statement, *rest: asked.append(statement)
    )
    with catalog.read() as transaction:
        page, total = list_shared_models(transaction, ben.id, limit=50, offset=5_000)
    assert [row.name for row, _ in page] == [f"m{number:05d}" for number in range(5_000, 5_050)]
    reading = [statement for statement in asked if "shares" in statement]
    assert len(reading) == 2, "how many there are of each owner, and the page"
    assert total == 10_000
    with catalog.read() as transaction:
        assert list_shared_models(transaction, ben.id, limit=50, offset=20_000) == ([], 10_000)
        assert list_shared_models(transaction, anna.id, limit=50) == ([], 0)


def test_pages_of_shared_models_are_what_the_condition_holds_of(catalog: Catalog) -> None:
    """Of many owners and ways to share, in pages of every size: each model once, by owner and name."""
    chance = random.Random(7)
    with catalog.write() as transaction:
        people = [
            users.add_user(
                transaction, email=f"p{at}@example.org", name="", password_hash=None, role="member"
            )
            for at in range(9)
        ]
        reader, firm, other = people[0], people[7], people[8]
        for organisation, member in ((firm, reader), (other, people[1])):
            transaction.add(Membership(organisation_id=organisation.id, user_id=member.id, role="viewer"))
        readers = [reader.id, firm.id, other.id, people[2].id]
        for owner, number in ((owner, number) for owner in people for number in range(12)):
            name = f"m{chance.randrange(90):02d}-{number}"
            for version in range(chance.randint(1, 3)):
                transaction.add(
                    ModelVersion(
                        user_id=owner.id, name=name, version=f"v{version}", prefix="p", manifest_digest="0"
                    )
                )
            for way in chance.sample(readers, chance.randint(0, 3)):
                ends = chance.choice((None, now() + timedelta(days=1), now() - timedelta(days=1)))
                transaction.add(
                    Share(owner_id=owner.id, kind="models", name=name, reader_id=way, expires_at=ends)
                )
    with catalog.read() as transaction:
        expected = transaction.execute(
            select(User.handle, User.id, ModelVersion.name)
            .join(User, User.id == ModelVersion.user_id)
            .where(sharing.visible_models(reader.id), ModelVersion.user_id != reader.id)
            .distinct()
            .order_by(User.handle, User.id, ModelVersion.name)
        ).all()
        for size in (1, 7, 50):
            listed: list[tuple[ModelVersion, User]] = []
            for offset in range(0, len(expected) + size, size):
                page, total = list_shared_models(transaction, reader.id, limit=size, offset=offset)
                assert total == len(expected)
                listed += page
            assert [(user.handle, user.id, row.name) for row, user in listed] == [
                tuple(row) for row in expected
            ]


def test_with_the_last_version_what_it_was_shared_by_goes(opened: Runtime, tmp_path: Path) -> None:
    anna, ben = (opened.accounts.add(f"{name}@example.org") for name in ("anna", "ben"))
    (tmp_path / "a.txt").write_text("a")

    def publish() -> ModelVersion:
        return models.publish(opened, anna.id, "fraud", [tmp_path / "a.txt"], metadata={})

    first, second = publish(), publish()
    models.share(opened, anna.id, "fraud", Reader("ben@example.org"))
    models.remove(opened, anna.id, "fraud", first.version)
    assert models.resolve_readable(opened, ben.id, "@anna/fraud").version == second.version
    models.remove(opened, anna.id, "fraud", second.version)
    publish()
    with pytest.raises(ModelNotFound):
        models.resolve_readable(opened, ben.id, "@anna/fraud")
    assert models.shares(opened, anna.id, "fraud") == []


def test_an_account_goes_with_what_it_shared_and_what_was_shared_with_it(catalog: Catalog) -> None:
    with catalog.write() as transaction:
        anna, ben = (
            users.add_user(
                transaction, email=f"{name}@example.org", name="", password_hash=None, role="member"
            )
            for name in ("anna", "ben")
        )
        for owner, reader in ((anna, ben), (ben, anna)):
            transaction.add(Share(owner_id=owner.id, kind=sharing.MODELS, name="m", reader_id=reader.id))
    with catalog.write() as transaction:
        users.remove_user(transaction, anna.id)
    with catalog.read() as transaction:
        assert transaction.query(Share).count() == 0


@pytest.mark.parametrize("address", ["/shared/none", "/organisations/join/none"])
def test_a_page_says_that_a_link_is_over_and_whom_to_ask(web: Within, address: str) -> None:
    answer = web.ask("GET", address)
    assert answer.status_code == 404
    assert "Ask " in answer.text
    assert "belongs to someone else" not in answer.text
