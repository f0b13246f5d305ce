"""What every store keeps, whatever is behind it: memory, a local folder, a real S3 server."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from ecluse.errors import InvalidKey, ObjectExists, ObjectNotFound, StoreUnavailable
from ecluse.settings import Settings
from ecluse.storage import ObjectStore, open_store
from tests.servers import ObjectServer, free_port


@pytest.fixture(params=["memory", "file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "memory":
        return open_store("memory://")
    if request.param == "file":
        return open_store(f"file://{tmp_path / 'a store'}".replace(" ", "%20"))
    server: ObjectServer = request.getfixturevalue("object_server")
    settings = Settings.from_environment(server.environment(uuid.uuid4().hex))
    return open_store(settings.store_url, settings.access)


def test_what_is_put_is_what_is_got(store: ObjectStore) -> None:
    stored = store.put("a/b.txt", b"water")
    assert stored.sha256 == hashlib.sha256(b"water").hexdigest()
    assert store.get("a/b.txt") == b"water"
    assert store.head("a/b.txt").size == 5


def test_a_stream_larger_than_a_part_arrives_whole(store: ObjectStore, tmp_path: Path) -> None:
    pieces = [bytes([n]) * 3_000_000 for n in range(7)]
    stored = store.put_stream("big.bin", iter(pieces))
    assert stored.size == 21_000_000
    copy = tmp_path / "copy.bin"
    assert store.download("big.bin", copy).sha256 == stored.sha256
    assert hashlib.sha256(copy.read_bytes()).hexdigest() == stored.sha256


def test_an_asynchronous_stream_arrives_whole(store: ObjectStore) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for n in range(4):
            yield bytes([n]) * 3_000_000

    stored = asyncio.run(store.put_stream_async("big.bin", pieces()))
    assert hashlib.sha256(b"".join(store.stream("big.bin"))).hexdigest() == stored.sha256


def test_a_stream_that_breaks_leaves_nothing(store: ObjectStore) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"x" * 9_000_000
        raise RuntimeError("the sender went away")

    with pytest.raises(RuntimeError, match="went away"):
        store.put_stream("big.bin", pieces())
    assert not store.exists("big.bin")
    assert store.remove_stale_uploads(timedelta(seconds=-5)) == 0


def test_one_of_many_writers_wins_a_create_only_put(store: ObjectStore) -> None:
    won: list[int] = []

    def write(number: int) -> None:
        try:
            store.put("manifest.json", str(number).encode(), create_only=True)
        except ObjectExists:
            return
        won.append(number)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert store.get("manifest.json") == str(won[0]).encode()


def test_a_plain_put_overwrites(store: ObjectStore) -> None:
    store.put("a", b"1")
    store.put("a", b"2")
    assert store.get("a") == b"2"


def test_what_is_not_there_is_named(store: ObjectStore) -> None:
    with pytest.raises(ObjectNotFound, match=r"nothing\.txt"):
        store.get("nothing.txt")
    with pytest.raises(FileNotFoundError):
        store.stream("nothing.txt")
    store.delete("nothing.txt")


def test_a_list_takes_whole_segments(store: ObjectStore) -> None:
    for key in ("user_1/a", "user_1/b/c", "user_12/a"):
        store.put(key, b"x")
    assert sorted(info.key for info in store.list("user_1")) == ["user_1/a", "user_1/b/c"]
    assert store.list_names() == ["user_1", "user_12"]
    assert store.list_names("user_1") == ["b"]


def test_a_prefix_is_deleted_and_its_neighbour_is_not(store: ObjectStore) -> None:
    for key in ("user_1/a", "user_1/b/c", "user_12/a"):
        store.put(key, b"x")
    assert store.delete_prefix("user_1") == 2
    assert [info.key for info in store.list()] == ["user_12/a"]


def test_a_scope_sees_and_reaches_only_its_own(store: ObjectStore) -> None:
    mine, theirs = store.scoped("users/1"), store.scoped("users/12")
    theirs.put("secret.txt", b"theirs")
    mine.put("own.txt", b"mine")
    assert [info.key for info in mine.list()] == ["own.txt"]
    assert store.get("users/1/own.txt") == b"mine"
    for key in (
        "../12/secret.txt",
        "/users/12/secret.txt",
        "..%2f12/secret.txt",
        "%2e%2e/12/secret.txt",
        "．．/12/secret.txt",
    ):
        with pytest.raises(InvalidKey):
            mine.get(key)


@pytest.mark.parametrize(
    ("root", "address"), [("memory://", "memory://a/b"), ("file:///tmp/x", "file:///tmp/x/a/b")]
)
def test_an_object_has_the_address_of_its_place(root: str, address: str) -> None:
    assert open_store(root).scoped("a").url_of("b") == address


def test_names_with_spaces_and_accents_survive(store: ObjectStore) -> None:
    store.put("données/état initial.csv", b"x")
    assert [info.key for info in store.list("données")] == ["données/état initial.csv"]


def test_an_upload_that_was_left_behind_is_removed_once_it_is_old(store: ObjectStore) -> None:
    store.put(".staging/left", b"x")
    store.scoped("a").put("kept", b"x")
    assert store.remove_stale_uploads(timedelta(hours=1)) == 0
    assert store.remove_stale_uploads(timedelta(seconds=-5)) == 1
    assert not store.exists(".staging/left")
    assert store.exists("a/kept")


def test_a_store_that_is_away_is_named_with_its_endpoint() -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    settings = Settings.from_environment(
        {"ECLUSE_STORE_URL": "s3://gone", "S3_ENDPOINT": endpoint, "S3_ACCESS_KEY": "a", "S3_SECRET_KEY": "b"}
    )
    with pytest.raises(StoreUnavailable, match=endpoint):
        open_store(settings.store_url, settings.access).get("a")
