"""Plans at the doors of a running server: what is refused, in which shape, and two uploads at once."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from ecluse.catalog import plans, quotas
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from tests.application import Application, running

CSV = b"a,b\n" + b"1,2\n" * 200
ADMIN = "admin@example.org"
PERSON = "person@example.org"
Opened = Callable[[str], httpx.Client]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    with running(tmp_path_factory.mktemp("home") / "home", role="web") as opened:
        opened.client(ADMIN, admin=True).close()
        yield opened


@pytest.fixture
def admin(app: Application) -> Iterator[httpx.Client]:
    with app.client(ADMIN, admin=True) as client:
        yield client


@pytest.fixture
def opened(app: Application) -> Iterator[Opened]:
    """Opens programs of people, and closes them at the end."""
    with ExitStack() as stack:
        yield lambda email: stack.enter_context(app.client(email))


def limited(admin: httpx.Client, opened: Opened, email: str, **limits: int | None) -> httpx.Client:
    """A program of a person on trial, whose limits are these."""
    client = opened(email)
    everything = {
        "days": 14,
        "models": 3,
        "upload_bytes": 10**8,
        "storage_bytes": 10**9,
        "jobs": 2,
        "images": 50,
    }
    assert admin.patch("/api/plans/trial", json=everything | limits).status_code == 200
    assert admin.put(f"/api/users/{email}/plan", json={"plan": "trial"}).status_code == 200
    return client


def upload(client: httpx.Client, path: str = "/api/upload", data: bytes = CSV) -> httpx.Response:
    return client.post(path, files={"file": ("t.csv", data)})


def announce(client: httpx.Client, name: str, size: int = 3) -> httpx.Response:
    file = {"path": "m.bin", "size": size, "sha256": hashlib.sha256(b"abc").hexdigest()}
    return client.post(f"/api/models/{name}/uploads", json={"nonce": name, "files": [file]})


def code_of(answer: httpx.Response) -> tuple[int, str]:
    error: dict[str, Any] = answer.json()["error"]
    assert error["message"]
    return answer.status_code, error["code"]


def test_a_person_sees_plan_and_use_and_only_administrators_change_them(
    app: Application, admin: httpx.Client, opened: Opened
) -> None:
    client = limited(admin, opened, "seen@example.org")
    assert upload(client).status_code == 201
    mine = client.get("/api/plan").json()
    assert (mine["plan"], mine["used"]["stored_bytes"], mine["limits"]["models"]) == ("trial", len(CSV), 3)
    assert mine["used"]["reserved_bytes"] == 0
    for method, path, body in (
        ("GET", "/api/plans", None),
        ("PATCH", "/api/plans/trial", {"models": 99}),
        ("GET", "/api/users/seen@example.org/plan", None),
        ("PUT", "/api/users/seen@example.org/plan", {"plan": None}),
    ):
        assert client.request(method, path, json=body).status_code == 403, path
        assert httpx.request(method, f"{app.address}{path}", json=body, timeout=60).status_code == 401, path
    page = client.get("/storage", headers={"accept": "text/html", "accept-language": "fr"}).text
    assert "Votre formule\u00a0: trial" in page
    assert client.get("/api/plan").json()["limits"]["models"] == 3


def test_who_has_no_plan_sees_none(app: Application, admin: httpx.Client, opened: Opened) -> None:
    client = opened("free@example.org")
    assert client.get("/api/plan").json()["plan"] is None
    assert 'id="plan"' not in client.get("/storage", headers={"accept": "text/html"}).text
    assert upload(client).status_code == 201


@pytest.mark.parametrize(
    "path", ["/api/upload", "/api/tables", "/fraud/upload", "/tables/upload", "/api/plants/sets"]
)
def test_every_door_refuses_what_is_too_large_or_has_no_room(
    app: Application, admin: httpx.Client, opened: Opened, path: str
) -> None:
    email = f"door{path.count('/')}{len(path)}@example.org"
    client = limited(admin, opened, email, upload_bytes=500)
    client.headers["accept"] = "application/json"
    assert code_of(upload(client, path)) == (413, "upload_too_large")
    assert code_of(upload(client, path, b"x" * 200_000)) == (413, "upload_too_large")
    limited(admin, opened, email, storage_bytes=500)
    assert code_of(upload(client, path)) == (402, "limit_reached")
    assert code_of(upload(client, path, b"x" * 200_000)) == (402, "limit_reached")
    used = client.get("/api/plan").json()["used"]
    assert (used["stored_bytes"], used["reserved_bytes"]) == (0, 0)


def test_a_table_that_takes_more_room_than_was_sent_is_refused_and_its_object_goes(
    app: Application, admin: httpx.Client, opened: Opened
) -> None:
    """Parquet of one row is larger than its text. A name of the upload changes nothing, and it may be sent again."""
    client = limited(admin, opened, "left@example.org", storage_bytes=300)
    before = {*app.home.rglob("*.parquet")}
    for nonce in ("", "once", "once"):
        refused = client.post("/api/tables", params={"nonce": nonce}, files={"file": ("t.csv", b"a\n1\n")})
        assert code_of(refused) == (402, "limit_reached")
        assert {*app.home.rglob("*.parquet")} == before
    limited(admin, opened, "left@example.org")
    kept = [
        client.post("/api/tables", params={"nonce": "once"}, files={"file": ("t.csv", CSV)}) for _ in "12"
    ]
    assert [answer.status_code for answer in kept] == [201, 201]
    assert kept[0].json()["id"] == kept[1].json()["id"]
    assert len({*app.home.rglob("*.parquet")} - before) == 1
    assert client.get(f"/api/tables/{kept[0].json()['id']}/file").status_code == 200


def test_a_page_says_it_in_words(app: Application, admin: httpx.Client, opened: Opened) -> None:
    client = limited(admin, opened, "words@example.org", upload_bytes=500)
    client.headers.update({"accept": "text/html", "accept-language": "fr"})
    answer = upload(client, "/fraud/upload")
    assert "permet des envois jusqu’à" in answer.text


def test_models_are_counted_before_they_are_sent(
    app: Application, admin: httpx.Client, opened: Opened
) -> None:
    client = limited(admin, opened, "models@example.org", models=2, upload_bytes=100)
    assert code_of(announce(client, "big", 101)) == (413, "upload_too_large")
    first = announce(client, "a")
    assert first.status_code == 201
    assert announce(client, "b").status_code == 201
    assert announce(client, "a").status_code == 201  # the same upload goes on
    assert code_of(announce(client, "c")) == (402, "limit_reached")
    assert client.delete(f"/api/models/a/uploads/{first.json()['id']}").status_code == 204
    assert announce(client, "c").status_code == 201


def test_after_the_end_what_is_there_is_read_and_nothing_new_is_made(
    app: Application, admin: httpx.Client, opened: Opened
) -> None:
    email = "ended@example.org"
    client = limited(admin, opened, email)
    table = upload(client, "/api/tables").json()["id"]
    assert admin.patch("/api/plans/trial", json={"days": 0}).status_code == 200
    assert admin.put(f"/api/users/{email}/plan", json={"plan": "trial"}).json()["has_ended"]
    assert code_of(upload(client)) == (402, "plan_ended")
    assert code_of(announce(client, "m")) == (402, "plan_ended")
    assert client.get(f"/api/tables/{table}/file").status_code == 200
    assert client.delete(f"/api/tables/{table}").status_code == 204
    assert admin.put(f"/api/users/{email}/plan", json={"plan": None}).json()["plan"] is None
    assert upload(client).status_code == 201


@pytest.mark.parametrize(
    "until",
    ["2020-01-01T00:00:00Z", "2999-01-01T00:00:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59Z"],
    ids=["past", "without a zone", "first year", "last year"],
)
def test_a_plan_lasts_up_to_a_moment_to_come(
    app: Application, admin: httpx.Client, opened: Opened, until: str
) -> None:
    email = "until@example.org"
    client = limited(admin, opened, email)
    before = client.get("/api/plan").json()
    refused = admin.put(f"/api/users/{email}/plan", json={"plan": "basic", "until": until})
    assert code_of(refused) == (422, "invalid_input")
    assert client.get("/api/plan").json() == before
    far = {"plan": "trial", "until": "2999-01-01T01:00:00+01:00"}
    assert admin.put(f"/api/users/{email}/plan", json=far).json()["ends_at"] == "2999-01-01T00:00:00Z"


def test_two_uploads_at_once_cannot_pass_the_storage_together(
    environ: dict[str, str], tmp_path: Path
) -> None:
    """At a real server, on SQLite and PostgreSQL: of six uploads of 800 bytes each, three fit into 2,500."""
    home = Path(environ["ECLUSE_HOME"])
    with running(home, environ, role="web") as app, app.client(PERSON) as client:
        with (
            Runtime.open(Settings.from_environment(environ)) as runtime,
            runtime.catalog.write() as transaction,
        ):
            plans.set_plan(transaction, "trial", {"storage_bytes": 2_500, "jobs": None}, by=None)
            plans.give(transaction, runtime.accounts.by_email(PERSON), "trial", by=None)
        start, statuses = threading.Barrier(6), list[int]()

        def send() -> None:
            start.wait()
            statuses.append(upload(client, data=b"a\n" + b"1\n" * 399).status_code)

        threads = [threading.Thread(target=send) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(statuses) == {201, 402}
        assert statuses.count(201) <= 3
        while upload(client, data=b"a\n" + b"1\n" * 399).status_code == 201:
            statuses.append(201)
        assert statuses.count(201) == 3
        with (
            Runtime.open(Settings.from_environment(environ)) as runtime,
            runtime.catalog.read() as transaction,
        ):
            used = quotas.used_by(transaction, runtime.accounts.by_email(PERSON).id)
        assert (used.stored_bytes, used.reserved_bytes) == (2_400, 0)
