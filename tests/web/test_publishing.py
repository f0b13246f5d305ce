"""A version is published over HTTP whole or not at all, whatever becomes of its publisher."""

from __future__ import annotations

import base64
import hashlib
import random
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from ecluse import models, people
from ecluse.catalog import uploads as upload_rows
from ecluse.catalog.tables import ModelUpload, ModelVersion, Publication, User
from ecluse.errors import NotFound, UploadCommitted, UploadTooLarge
from ecluse.models import uploads
from ecluse.models.uploads import AnnouncedFile, UploadRequest
from ecluse.registry import PART_BYTES, ManifestFile, media_type_of
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from tests.application import Application, running
from tests.servers import ObjectServer

LARGE = random.Random(0).randbytes(PART_BYTES + 1000)
FILES = {"weights/model.bin": LARGE, "labels.json": b'["a"]', "empty.txt": b""}


def announced(files: dict[str, bytes]) -> list[dict[str, Any]]:
    return [
        {"path": path, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for path, data in files.items()
    ]


def digest_header(data: bytes) -> dict[str, str]:
    return {"content-digest": f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"}


@dataclass
class Publisher:
    """A program that publishes some files; `sent` are the parts it has sent, by file and number."""

    client: httpx.Client
    name: str
    files: dict[str, bytes] = field(default_factory=lambda: dict(FILES))
    nonce: str = field(default_factory=lambda: uuid.uuid4().hex)
    sent: list[tuple[int, int]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"/api/models/{self.name}/uploads"

    def ask_to_begin(self, **more: Any) -> httpx.Response:
        body = {"nonce": self.nonce, "files": announced(self.files)} | more
        return self.client.post(self.address, json=body)

    def begin(self, **more: Any) -> dict[str, Any]:
        answer = self.ask_to_begin(**more)
        assert answer.status_code == 201, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def part(self, index: int, number: int) -> bytes:
        data = list(self.files.values())[index]
        return data[(number - 1) * PART_BYTES : number * PART_BYTES]

    def send(self, upload: dict[str, Any], index: int, number: int) -> None:
        data = self.part(index, number)
        answer = self.client.put(
            f"{self.address}/{upload['id']}/files/{index}/parts/{number}",
            content=data,
            headers=digest_header(data),
        )
        assert answer.status_code == 204, answer.text
        self.sent.append((index, number))

    def send_rest(self, upload: dict[str, Any]) -> None:
        for index, file in enumerate(upload["files"]):
            for number in range(1, file["parts"] + 1):
                if number not in file["received"]:
                    self.send(upload, index, number)

    def commit(self, upload: dict[str, Any]) -> httpx.Response:
        return self.client.post(f"{self.address}/{upload['id']}/commit")

    def publish(self, **more: Any) -> dict[str, Any]:
        upload = self.begin(**more)
        self.send_rest(upload)
        answer = self.commit(upload)
        assert answer.status_code == 201, answer.text
        body: dict[str, Any] = answer.json()
        return body


@pytest.fixture
def publisher(client: httpx.Client) -> Publisher:
    return Publisher(client, f"m{uuid.uuid4().hex[:12]}")


@pytest.fixture(scope="module")
def over_objects(
    object_server: ObjectServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Application]:
    environ = object_server.environment(f"publishing-{uuid.uuid4().hex[:8]}")
    with running(tmp_path_factory.mktemp("objects") / "home", environ, role="web") as started:
        yield started


@pytest.mark.parametrize("store", ["folders", "objects"])
def test_a_version_is_published_in_parts_and_nobody_sees_it_before_it_is_committed(
    store: str, request: pytest.FixtureRequest
) -> None:
    started: Application = request.getfixturevalue("application" if store == "folders" else "over_objects")
    with started.client("publisher@example.org") as client:
        publisher = Publisher(client, f"whole-{store}")
        run = client.post("/api/runs", json={"name": publisher.name, "nonce": publisher.nonce}).json()
        upload = publisher.begin(alias="production", run=run["id"], metadata={"accuracy": 0.9})
        assert (upload["committed"], [file["parts"] for file in upload["files"]]) == (False, [2, 1, 0])
        publisher.send_rest(upload)
        assert client.get(f"/api/models/{publisher.name}/versions").status_code == 404
        assert client.get(f"/api/models/{publisher.name}/{upload['version']}").status_code == 404
        row = publisher.commit(upload).json()
        assert (row["version"], row["aliases"], row["metadata"], row["application"]) == (
            upload["version"],
            ["production"],
            {"accuracy": 0.9},
            "",
        )
        assert publisher.commit(upload).json() == row
        assert publisher.begin(alias="production", run=run["id"], metadata={"accuracy": 0.9})["committed"]
        address = f"/api/models/{publisher.name}/{row['version']}"
        assert {
            path: client.get(f"{address}/files/{path}").raise_for_status().content for path in FILES
        } == FILES
        assert client.post(f"{address}/verify").status_code == 200
        ended = client.get(f"/api/runs/{run['id']}").json()
        assert (ended["version"], ended["status"], ended["aliases"]) == (
            row["version"],
            "running",
            ["production"],
        )
        assert {artifact["name"] for artifact in ended["artifacts"]} == set(FILES)
    settings = Settings.from_environment(started.environ, home=started.home)
    with Runtime.open(settings) as runtime:
        keys = [info.key for info in runtime.stores.area("models").list() if publisher.name in info.key]
    assert sorted(key.rpartition(f"{row['version']}/")[2] for key in keys) == sorted(
        [".claim", "manifest.json", *FILES]
    )


def test_a_publisher_that_was_killed_begins_again_by_its_nonce_and_sends_what_lacks(
    publisher: Publisher,
) -> None:
    upload = publisher.begin()
    publisher.send(upload, 0, 1)
    last = publisher.part(0, 2)

    def broken_off() -> Iterator[bytes]:
        yield last[:500]
        raise ConnectionAbortedError

    with pytest.raises(ConnectionAbortedError):
        publisher.client.put(
            f"{publisher.address}/{upload['id']}/files/0/parts/2",
            content=broken_off(),
            headers=digest_header(last) | {"content-length": str(len(last))},
        )
    again = Publisher(publisher.client, publisher.name, publisher.files, publisher.nonce)
    continued = again.begin()
    assert (continued["id"], continued["version"]) == (upload["id"], upload["version"])
    assert [file["received"] for file in continued["files"]] == [[1], [], []]
    assert publisher.client.get(f"{publisher.address}/{upload['id']}").json() == continued
    again.send_rest(continued)
    assert again.sent == [(0, 2), (1, 1)]
    assert again.commit(continued).status_code == 201


def test_two_publishers_with_one_nonce_publish_one_version(publisher: Publisher) -> None:
    twin = Publisher(publisher.client, publisher.name, publisher.files, publisher.nonce)
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda each: each.publish(), (publisher, twin)))
    assert both[0]["version"] == both[1]["version"]
    versions = publisher.client.get(f"/api/models/{publisher.name}/versions").json()
    assert [row["version"] for row in versions] == [both[0]["version"]]


@pytest.mark.parametrize(
    "changed",
    [{"files": announced({"other.txt": b"x"})}, {"metadata": {"a": 1}}, {"alias": "staging"}],
    ids=["files", "metadata", "alias"],
)
def test_a_nonce_names_one_upload_alone(publisher: Publisher, changed: dict[str, Any]) -> None:
    publisher.begin()
    refused = publisher.ask_to_begin(**changed)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "nonce_taken")
    assert "new one" in refused.json()["error"]["message"]


def test_an_upload_of_someone_else_is_not_there(publisher: Publisher, other: httpx.Client) -> None:
    upload = publisher.begin()
    thief = Publisher(other, publisher.name, publisher.files, publisher.nonce)
    address, part = f"{publisher.address}/{upload['id']}", publisher.part(1, 1)
    answers = [
        other.get(address),
        other.put(f"{address}/files/1/parts/1", content=part, headers=digest_header(part)),
        other.post(f"{address}/commit"),
        other.delete(address),
    ]
    assert [answer.status_code for answer in answers] == [404] * 4
    assert thief.begin()["id"] != upload["id"]
    assert publisher.client.get(address).json() == upload


def test_a_part_is_not_read_from_a_stranger(publisher: Publisher) -> None:
    upload, part = publisher.begin(), publisher.part(1, 1)
    answer = httpx.put(
        f"{str(publisher.client.base_url).rstrip('/')}{publisher.address}/{upload['id']}/files/1/parts/1",
        content=part,
        headers=digest_header(part),
        timeout=60,
    )
    assert answer.status_code == 401
    assert publisher.begin() == upload


@pytest.mark.parametrize(
    "paths",
    [
        ["../weights.bin"],
        ["a/../../b"],
        ["/etc/passwd"],
        ["a//b"],
        ["a\\..\\b"],
        ["%2e%2e/b"],
        [".claim"],
        [".claim/x"],
        ["manifest.json"],
        ["MANIFEST.json"],
        ["model.sig"],
        [".parts/0/1"],
        ["a/.ecluse-x.part"],
        ["a", "a"],
        ["a", "a/b"],
        ["x" * 900],
    ],
    ids=lambda paths: " ".join(paths)[:20],
)
def test_a_path_that_cannot_lie_within_a_version_is_refused(publisher: Publisher, paths: list[str]) -> None:
    files = [{"path": path, "size": 1, "sha256": "0" * 64} for path in paths]
    refused = publisher.ask_to_begin(files=files)
    assert refused.status_code in (400, 422), refused.text
    assert refused.json()["error"]["code"] in ("invalid_key", "invalid_input")


@pytest.mark.parametrize(
    "said",
    [
        {"metadata": {"converted": {"a.pkl": {"types": ["os.system"]}}}},
        {"metadata": {"imported": True}},
        {"metadata": {"pickles": []}},
        {"alias": "latest"},
        {"alias": "Not One"},
        {"files": []},
        {"files": [{"path": "a", "size": -1, "sha256": "0" * 64}]},
        {"files": [{"path": "a", "size": 1, "sha256": "0" * 63}]},
        {"nonce": ""},
    ],
    ids=["converted", "imported", "pickles", "latest", "alias", "no file", "size", "digest", "nonce"],
)
def test_what_cannot_be_true_of_a_version_is_refused(publisher: Publisher, said: dict[str, Any]) -> None:
    refused = publisher.ask_to_begin(**said)
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "invalid_input")


def test_an_upload_is_no_larger_than_the_settings_allow(publisher: Publisher) -> None:
    refused = publisher.ask_to_begin(files=[{"path": "a", "size": 10**13, "sha256": "0" * 64}])
    assert (refused.status_code, refused.json()["error"]["code"]) == (413, "upload_too_large")
    assert "ECLUSE_UPLOAD_MAX_BYTES" in refused.json()["error"]["message"]


def test_a_part_that_is_not_what_was_announced_is_refused_and_does_not_count(publisher: Publisher) -> None:
    upload = publisher.begin()
    part = publisher.part(0, 2)

    def put(index: int, number: int, content: bytes, headers: dict[str, str]) -> tuple[int, str]:
        answer = publisher.client.put(
            f"{publisher.address}/{upload['id']}/files/{index}/parts/{number}",
            content=content,
            headers=headers,
        )
        return answer.status_code, answer.json()["error"]["code"]

    assert put(0, 2, part, digest_header(b"other")) == (409, "digest_mismatch")
    assert put(0, 2, part, {"content-digest": "md5=:AAAA:"}) == (422, "invalid_input")
    assert put(0, 2, part, {}) == (422, "invalid_input")
    assert put(0, 2, part + b"x", digest_header(part + b"x")) == (413, "upload_too_large")
    assert put(0, 2, part[:-1], digest_header(part[:-1])) == (422, "invalid_input")
    assert put(0, 0, part, digest_header(part)) == (422, "invalid_input")
    assert put(0, 3, part, digest_header(part)) == (422, "invalid_input")
    assert put(3, 1, part, digest_header(part)) == (422, "invalid_input")
    assert put(1, 1, b'["b"]', digest_header(b'["b"]')) == (
        409,
        "digest_mismatch",
    )  # the file has no other part
    assert publisher.begin() == upload
    incomplete = publisher.commit(upload)
    assert (incomplete.status_code, incomplete.json()["error"]["code"]) == (409, "upload_incomplete")
    assert "weights/model.bin lacks 2 of its 2 parts" in incomplete.json()["error"]["message"]
    assert publisher.client.get(f"/api/models/{publisher.name}/versions").status_code == 404


def test_a_file_that_was_changed_while_it_was_sent_is_named_at_the_commit(publisher: Publisher) -> None:
    upload = publisher.begin()
    publisher.files["weights/model.bin"] = LARGE[:-1] + bytes([LARGE[-1] ^ 1])
    publisher.send_rest(upload)
    refused = publisher.commit(upload)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "digest_mismatch")
    assert "weights/model.bin" in refused.json()["error"]["message"]
    assert publisher.client.get(f"/api/models/{publisher.name}/versions").status_code == 404


def test_an_upload_that_is_given_up_leaves_nothing(publisher: Publisher, application: Application) -> None:
    upload = publisher.begin()
    publisher.send(upload, 0, 1)
    address = f"{publisher.address}/{upload['id']}"
    assert publisher.client.delete(address).status_code == 204
    assert [publisher.client.get(address).status_code, publisher.commit(upload).status_code] == [404, 404]
    settings = Settings.from_environment(application.environ, home=application.home)
    with Runtime.open(settings) as runtime:
        assert [info.key for info in runtime.stores.area("models").list() if publisher.name in info.key] == []
    anew = publisher.begin()
    assert anew["id"] != upload["id"]
    assert publisher.publish()["name"] == publisher.name
    refused = publisher.client.delete(f"{publisher.address}/{anew['id']}")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "upload_committed")


def test_a_part_of_a_file_is_downloaded_so_that_a_program_goes_on(publisher: Publisher) -> None:
    row = publisher.publish()
    address = f"/api/models/{publisher.name}/{row['version']}/files/weights/model.bin"

    def get(**headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return publisher.client.get(address, headers=named)

    whole = get()
    tag = whole.headers["etag"]
    assert (whole.status_code, whole.headers["accept-ranges"], whole.content) == (200, "bytes", LARGE)
    rest = get(range="bytes=5000000-", if_range=tag)
    assert (rest.status_code, rest.content) == (206, LARGE[5_000_000:])
    assert rest.headers["content-range"] == f"bytes 5000000-{len(LARGE) - 1}/{len(LARGE)}"
    assert get(range="bytes=10-19").content == LARGE[10:20]
    assert get(range="bytes=-7").content == LARGE[-7:]
    assert get(range=f"bytes=10-{len(LARGE) * 2}").content == LARGE[10:]
    for answer in (
        get(range="bytes=5-", if_range='"other"'),
        get(range="bytes=5-2"),
        get(range="bytes=0-1,5-6"),
    ):
        assert (answer.status_code, len(answer.content)) == (200, len(LARGE))
    beyond = get(range=f"bytes={len(LARGE)}-")
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{len(LARGE)}")
    assert beyond.json()["error"]["code"] == "range_not_satisfiable"


# Without a server: what a killed process leaves


@pytest.fixture
def user(runtime: Runtime) -> User:
    return runtime.accounts.add("publisher@example.org")


SMALL = {"a.txt": b"a", "b/c.txt": b"bc", "empty": b""}


def begin_small(runtime: Runtime, user: User, nonce: str = "n", **more: Any) -> uploads.UploadState:
    files = tuple(AnnouncedFile(**file) for file in announced(SMALL))
    return uploads.begin(runtime, user.id, "m", UploadRequest(nonce, files, **more))


def send_small(runtime: Runtime, user: User, state: uploads.UploadState) -> None:
    for index, data in enumerate(SMALL.values()):
        if data:
            uploads.keep_part(runtime, uploads.part_of(runtime, user.id, "m", state.id, index, 1), data)


def kill_commit(runtime: Runtime, user: User, state: uploads.UploadState, after: str) -> None:
    """Do of a commit what is done when its process is killed after this step."""
    with runtime.catalog.read() as transaction:
        upload = upload_rows.upload_of(transaction, user.id, "m", state.id)
    registry = runtime.registry_at(upload.url)
    files = tuple(
        ManifestFile(path, len(data), hashlib.sha256(data).hexdigest(), media_type_of(path))
        for path, data in SMALL.items()
    )
    steps = ["file", "announced", "manifest"]
    for step in steps[: steps.index(after) + 1]:
        if step == "file":
            registry.incoming("m", state.version).put_together(0, files[0], 1)
        elif step == "announced":
            publication = Publication(
                user_id=user.id, name="m", version=state.version, url=upload.url, nonce=state.id
            )
            with runtime.catalog.write() as transaction:
                models.announce(transaction, publication)
        else:
            for index in (1, 2):
                count = 1 if files[index].size else 0
                registry.incoming("m", state.version).put_together(index, files[index], count)
            registry.commit(
                "m", state.version, files, created_by=user.id, nonce=state.id, metadata=upload.details
            )


@pytest.mark.parametrize("after", ["file", "announced", "manifest"])
def test_a_commit_that_was_killed_is_finished_by_asking_again(
    runtime: Runtime, user: User, after: str, tmp_path: Path
) -> None:
    state = begin_small(runtime, user, alias="production", metadata={"x": 1})
    send_small(runtime, user, state)
    kill_commit(runtime, user, state, after)
    assert models.aliases(runtime, user.id) == []
    row = uploads.commit_upload(runtime, user.id, "m", state.id)
    assert (row.version, row.details) == (state.version, {"x": 1})
    models.download(runtime, row, tmp_path / "got")
    assert {path: (tmp_path / "got" / path).read_bytes() for path in SMALL} == SMALL
    assert [alias.version for alias in models.aliases(runtime, user.id)] == [state.version]
    models.verify(runtime, row)


def test_a_commit_nobody_asks_for_again_is_finished_by_the_worker_with_its_alias(
    runtime: Runtime, user: User
) -> None:
    state = begin_small(runtime, user, alias="production")
    send_small(runtime, user, state)
    kill_commit(runtime, user, state, "manifest")
    with pytest.raises(UploadCommitted):
        uploads.give_up(runtime, user.id, "m", state.id)
    row = models.settle(runtime, user.id, "m", state.version)
    assert row is not None
    assert [alias.version for alias in models.aliases(runtime, user.id)] == [state.version]
    assert uploads.show(runtime, user.id, "m", state.id).committed
    models.clean_uploads(runtime, timedelta())
    keys = [info.key for info in runtime.stores.area("models").list()]
    assert not [key for key in keys if "/.parts/" in key]
    models.verify(runtime, row)


def test_asking_for_a_commit_again_does_not_move_an_alias_back(runtime: Runtime, user: User) -> None:
    first = begin_small(runtime, user, "first", alias="production")
    send_small(runtime, user, first)
    uploads.commit_upload(runtime, user.id, "m", first.id)
    second = begin_small(runtime, user, "second")
    send_small(runtime, user, second)
    uploads.commit_upload(runtime, user.id, "m", second.id)
    models.set_alias(runtime, user.id, "m", "production", second.version)
    uploads.commit_upload(runtime, user.id, "m", first.id)
    assert [alias.version for alias in models.aliases(runtime, user.id)] == [second.version]


@pytest.mark.parametrize("way", ["worker", "command"])
def test_an_abandoned_upload_is_cleaned_up_and_one_that_goes_on_is_not(
    runtime: Runtime, user: User, way: str
) -> None:
    state = begin_small(runtime, user)
    send_small(runtime, user, state)

    def clean(age: timedelta) -> None:
        if way == "worker":
            models.clean_uploads(runtime, age)
        else:
            models.gc(runtime, delete=True, older_than=age)

    clean(timedelta(hours=1))
    assert [file.received for file in uploads.show(runtime, user.id, "m", state.id).files] == [(1,), (1,), ()]
    clean(timedelta())
    with pytest.raises(NotFound):
        uploads.show(runtime, user.id, "m", state.id)
    with pytest.raises(NotFound):
        uploads.commit_upload(runtime, user.id, "m", state.id)
    assert list(runtime.stores.area("models").list()) == []


def test_deleting_a_version_forgets_its_upload_so_that_the_nonce_begins_anew(
    runtime: Runtime, user: User
) -> None:
    state = begin_small(runtime, user)
    send_small(runtime, user, state)
    row = uploads.commit_upload(runtime, user.id, "m", state.id)
    models.remove(runtime, user.id, "m", row.version)
    assert begin_small(runtime, user).id != state.id


def test_an_account_takes_its_uploads_along(runtime: Runtime, user: User) -> None:
    runtime.accounts.add("admin@example.org", "", admin=True)
    state = begin_small(runtime, user)
    send_small(runtime, user, state)
    people.remove(runtime, user.email, everything=True)
    assert list(runtime.stores.area("models").list()) == []
    with runtime.catalog.read() as transaction:
        assert transaction.query(ModelUpload).all() == []


def test_a_person_has_so_many_open_uploads_and_the_way_out_is_named(
    runtime: Runtime, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MOST_OPEN", 1)
    state = begin_small(runtime, user)
    assert begin_small(runtime, user).id == state.id
    with pytest.raises(ValueError, match="DELETE /api/models/NAME/uploads/ID"):
        begin_small(runtime, user, "another")


def test_parts_of_an_open_upload_are_no_extra_objects_of_the_store(runtime: Runtime, user: User) -> None:
    from ecluse.catalog import files

    state = begin_small(runtime, user)
    with runtime.catalog.read() as transaction:
        assert [(file.kind, file.form, file.user_id) for file in files.files(transaction)] == [
            ("unfinished", "folder", user.id)
        ]
    send_small(runtime, user, state)
    uploads.commit_upload(runtime, user.id, "m", state.id)
    with runtime.catalog.read() as transaction:
        assert {file.kind for file in files.files(transaction)} == {"models"}
        assert len(transaction.query(ModelVersion).all()) == 1


def test_the_size_of_an_upload_is_that_of_all_its_files(runtime: Runtime, user: User) -> None:
    half = runtime.settings.upload_max_bytes // 2 + 1
    files = tuple(AnnouncedFile(path, half, "0" * 64) for path in "ab")
    with pytest.raises(UploadTooLarge):
        uploads.begin(runtime, user.id, "m", UploadRequest("n", files))
