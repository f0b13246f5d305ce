"""What every store keeps, whatever is behind it: memory, a local folder, a real S3 server."""

from __future__ import annotations

import asyncio
import hashlib
import random
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from ecluse.errors import (
    CannotSign,
    DigestMismatch,
    InvalidAttribute,
    InvalidKey,
    ObjectExists,
    ObjectNotFound,
    StoreUnavailable,
)
from ecluse.settings import Settings
from ecluse.storage import ObjectStore, join_key, open_store
from tests.servers import ObjectServer, free_port
from tests.support.wait import wait_until


@pytest.fixture(params=["memory", "file", "s3", "azure"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "memory":
        return open_store("memory://")
    if request.param == "file":
        return open_store(f"file://{tmp_path / 'a store'}".replace(" ", "%20"))
    if request.param == "azure":
        settings = Settings.from_environment(request.getfixturevalue("azurite_server"))
        return open_store(f"{settings.store_url}/{uuid.uuid4().hex}", settings.access)
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


def test_a_probe_that_was_left_behind_is_removed_once_it_is_old(store: ObjectStore) -> None:
    left = join_key(store.prefix, ".staging/left")
    store._backend.put(left, b"x", create_only=False, attributes={})
    assert store.list_names() == []
    store.scoped("a").put("kept", b"x")
    assert [info.key for info in store.list()] == ["a/kept"]
    assert store.remove_stale_uploads(timedelta(hours=1)) == 0
    assert store.remove_stale_uploads(timedelta(seconds=-5)) == 1
    assert not store.exists(".staging/left")
    assert store.exists("a/kept")


def test_a_folder_of_the_name_that_probes_use_is_seen_like_any_other(store: ObjectStore) -> None:
    version = store.scoped("user_models/1/m/v1")
    version.put(".staging/inner.bin", b"x")
    version.put("a/.staging/b", b"x")
    keys = [".staging/inner.bin", "a/.staging/b"]
    assert sorted(info.key for info in version.list()) == keys
    assert sorted(info.key for info in version.list_page().items) == keys
    assert version.list_names() == [".staging", "a"]
    assert store.remove_stale_uploads(timedelta(seconds=-5)) == 0
    assert store.delete_prefix("user_models/1") == 2
    assert list(store.list()) == []


def test_nothing_is_written_where_a_clean_up_removes_it(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"x")
    store.put("a", b"x")
    for key in (".staging", ".staging/a"):
        writes: list[Callable[[], object]] = [
            lambda key=key: store.put(key, b"x"),
            lambda key=key: store.put_stream(key, iter([b"x"])),
            lambda key=key: store.upload(tmp_path / "source", key),
            lambda key=key: store.copy("a", key),
            lambda key=key: store.sign(key, "PUT", timedelta(minutes=1)),
        ]
        for write in writes:
            with pytest.raises(InvalidKey):
                write()
    with pytest.raises(InvalidKey):
        store.scoped(".staging").put("a", b"x")


def test_attributes_come_back_and_go_with_their_object(store: ObjectStore) -> None:
    store.put("a", b"1", attributes={"Content-Type": "text/csv", "dataset": "Payments, 2025"})
    assert store.attributes("a").items() >= {"Content-Type": "text/csv", "dataset": "Payments, 2025"}.items()
    store.put_stream("b", iter([b"x" * 9_000_000]), attributes={"dataset": "large"})
    assert store.attributes("b")["dataset"] == "large"
    store.copy("a", "c")
    assert store.attributes("c")["dataset"] == "Payments, 2025"
    store.put("a", b"2")
    assert "dataset" not in store.attributes("a")
    store.delete("b")
    store.put("b", b"x")
    assert "dataset" not in store.attributes("b")
    with pytest.raises(ObjectNotFound):
        store.attributes("nothing")


@pytest.mark.parametrize(
    ("name", "value"), [("with-hyphen", "x"), ("under_score", "x"), ("Upper", "x"), ("a", "é"), ("a", " x")]
)
def test_an_attribute_that_not_every_store_keeps_is_refused_by_all(name: str, value: str) -> None:
    with pytest.raises(InvalidAttribute):
        open_store("memory://").put("a", b"", attributes={name: value})


def test_the_loser_of_a_create_only_put_changes_nothing(store: ObjectStore) -> None:
    store.put("a", b"first", create_only=True, attributes={"writer": "one"})
    with pytest.raises(ObjectExists):
        store.put("a", b"second", create_only=True, attributes={"writer": "two"})
    assert store.get("a") == b"first"
    assert store.attributes("a")["writer"] == "one"
    assert [info.key for info in store.list()] == ["a"]


def test_a_part_of_an_object_is_read(store: ObjectStore) -> None:
    store.put("a", b"0123456789")
    assert b"".join(store.stream("a", start=3)) == b"3456789"
    assert b"".join(store.stream("a", start=3, end=5)) == b"34"
    assert b"".join(store.stream("a", end=4)) == b"0123"
    assert b"".join(store.stream("a", start=8, end=99)) == b"89"
    assert b"".join(store.stream("a", start=10)) == b""
    assert b"".join(store.stream("a", start=99)) == b""
    assert b"".join(store.stream("a", start=5, end=5)) == b""
    with pytest.raises(ObjectNotFound):
        store.stream("b", start=5, end=5)


def test_an_empty_object_is_an_object(store: ObjectStore, tmp_path: Path) -> None:
    store.put("a", b"")
    store.put_stream("b", iter(()))
    (tmp_path / "empty").write_bytes(b"")
    store.upload(tmp_path / "empty", "c")
    for key in "abc":
        assert store.get(key) == b""
        assert b"".join(store.stream(key)) == b""
        assert b"".join(store.stream(key, start=0, end=5)) == b""
        assert store.download(key, tmp_path / key).size == 0
    assert [info.size for info in store.list()] == [0, 0, 0]


@pytest.mark.parametrize(
    "key",
    [
        "état/é è.csv",
        "日本/語.txt",
        "a b",
        "a+b",
        "a%20b",
        "100%",
        "a&b=c?d#e",
        "'\"<>|*~^`{}[]()!$,;:@",
        "🚰",
    ],
)
def test_any_key_is_stored_listed_copied_and_deleted(store: ObjectStore, key: str) -> None:
    store.put(key, b"water")
    assert store.get(key) == b"water"
    assert [info.key for info in store.list()] == [key]
    assert store.head(key).size == 5
    store.copy(key, f"copy of {key}")
    assert store.get(f"copy of {key}") == b"water"
    assert store.delete_prefix("copy of état") in (0, 1)
    store.delete(f"copy of {key}")
    store.delete(key)
    assert list(store.list()) == []


def test_an_entity_tag_changes_with_the_object(store: ObjectStore) -> None:
    store.put("a", b"1")
    first = store.head("a").e_tag
    assert first == next(store.list()).e_tag == store.head("a").e_tag
    store.put("a", b"2")
    assert store.head("a").e_tag != first


def test_a_listing_is_cut_by_suffix_and_into_pages(store: ObjectStore) -> None:
    keys = {
        f"{folder}/{n:02}.{kind}"
        for folder in ("a", "a b", "ab")
        for n in range(7)
        for kind in ("csv", "json")
    }
    for key in keys:
        store.put(key, b"")
    assert {info.key for info in store.list("a", suffix=".csv")} == {f"a/{n:02}.csv" for n in range(7)}
    for limit in (1, 5, 42, 100):
        seen, after = [], None
        while True:
            page = store.list_page(after=after, limit=limit)
            seen += [info.key for info in page.items]
            assert len(page.items) <= limit
            if (after := page.next) is None:
                break
        assert len(seen) == len(keys)
        assert set(seen) == keys
    part = store.list_page("a", suffix=".json", limit=3)
    assert [info.key for info in part.items] == ["a/00.json", "a/01.json", "a/02.json"]
    assert store.list_page("a", suffix=".json", after=part.next).items[0].key == "a/03.json"


@pytest.mark.nightly("azure", "s3")
def test_thousands_of_objects_are_listed_whole(store: ObjectStore) -> None:
    # More than a page of a thousand; Azurite's are of five thousand, and it takes a minute for as many.
    count = 1_300 if store.url.startswith("az:") else 10_000

    def write(start: int) -> None:
        for number in range(start, count, 16):
            store.put(f"many/{number:05}", b"x")

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(write, range(16)))
    assert [info.key for info in store.list("many")] == [f"many/{number:05}" for number in range(count)]
    page = store.list_page("many", after="many/00499", limit=500)
    assert (page.items[0].key, page.items[-1].key, page.next) == ("many/00500", "many/00999", "many/00999")
    assert store.delete_prefix("many") == count
    assert list(store.list()) == []


def test_a_tree_goes_up_and_comes_down_whole(store: ObjectStore, tmp_path: Path) -> None:
    files = {f"d{n % 5}/é {n}.bin": bytes([n]) * (n * 1000) for n in range(30)} | {"large": b"x" * 10_000_000}
    source = tmp_path / "source"
    for name, data in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(data)
    passed: list[int] = []
    stored = store.upload_tree(source, "models/one", progress=passed.append)
    assert [info.key for info in stored] == sorted(f"models/one/{name}" for name in files)
    assert sum(passed) == sum(map(len, files.values()))
    digests = {info.key.removeprefix("models/one/"): info.sha256 for info in stored}
    passed.clear()
    back = store.download_tree("models/one", tmp_path / "back", sha256=digests, progress=passed.append)
    assert [info.sha256 for info in back] == [info.sha256 for info in stored]
    assert sum(passed) == sum(map(len, files.values()))
    store.download_tree("models/one", tmp_path / "unverified")
    for folder in ("back", "unverified"):
        contents = {
            p.relative_to(tmp_path / folder).as_posix(): p.read_bytes()
            for p in (tmp_path / folder).rglob("*")
            if p.is_file()
        }
        assert contents == files


def test_a_tree_with_a_wrong_file_is_refused_and_leaves_no_part(store: ObjectStore, tmp_path: Path) -> None:
    digests = {f"{n}": store.put(f"m/{n}", bytes([n]) * 100_000).sha256 for n in range(20)}
    store.put("m/7", b"another")
    with pytest.raises(DigestMismatch, match="m/7"):
        store.download_tree("m", tmp_path / "out", sha256=digests)
    left = [path.name for path in (tmp_path / "out").iterdir()]
    assert "7" not in left
    assert all((tmp_path / "out" / name).stat().st_size == 100_000 for name in left)
    store.delete("m/7")
    with pytest.raises(ObjectNotFound, match="m/7"):
        store.download_tree("m", tmp_path / "out", sha256=digests)


def test_a_tree_is_not_written_outside_its_folder(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(InvalidKey):
        store.download_tree("m", tmp_path / "out", sha256={"../evil": "0" * 64})
    assert not (tmp_path / "evil").exists()


def test_a_transfer_that_is_told_to_stop_leaves_nothing(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"x" * 20_000_000)

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.upload(tmp_path / "source", "big", progress=stop)
    assert not store.exists("big")
    store.put("big", b"x" * 20_000_000)
    with pytest.raises(KeyboardInterrupt):
        store.download("big", tmp_path / "copy", progress=stop)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["source"]


def test_the_source_of_a_copy_may_be_missing(store: ObjectStore) -> None:
    with pytest.raises(ObjectNotFound, match="nothing"):
        store.copy("nothing", "b")
    assert not store.exists("b")


def test_every_store_of_the_contract_lets_one_writer_win(store: ObjectStore) -> None:
    assert store.probe().conditional_writes
    assert list(store.list()) == []
    assert list(store.scoped(".staging").list()) == []


def test_a_bucket_that_is_there_is_not_made_again(store: ObjectStore) -> None:
    assert store.ensure_bucket() is False


def test_a_store_signs_addresses_or_says_why_not(store: ObjectStore) -> None:
    store.put("a b/é.txt", b"water")
    if not store.probe().signed_urls:
        with pytest.raises(CannotSign):
            store.sign("a b/é.txt", "GET", timedelta(minutes=1))
        return
    assert httpx.get(store.sign("a b/é.txt", "GET", timedelta(minutes=1)), timeout=60).content == b"water"
    put = httpx.put(
        store.sign("new", "PUT", timedelta(minutes=1)),
        content=b"fresh",
        headers={"x-ms-blob-type": "BlockBlob"},
        timeout=60,
    )
    assert put.is_success
    assert store.get("new") == b"fresh"
    other = store.sign("a b/é.txt", "GET", timedelta(minutes=1)).replace("%C3%A9.txt", "x.txt")
    assert httpx.get(other, timeout=60).status_code == 403
    for expires in (timedelta(0), timedelta(days=7, seconds=1)):
        with pytest.raises(CannotSign, match="7 days"):
            store.sign("a", "GET", expires)


def test_a_signed_address_ends_when_it_expires(store: ObjectStore) -> None:
    if not store.probe().signed_urls:
        pytest.skip("this store signs nothing")
    store.put("a", b"water")
    address = store.sign("a", "GET", timedelta(seconds=1))
    wait_until(lambda: httpx.get(address, timeout=60).status_code == 403, "a refusal")


def test_a_store_that_is_away_is_named_with_its_endpoint() -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    settings = Settings.from_environment(
        {"ECLUSE_STORE_URL": "s3://gone", "S3_ENDPOINT": endpoint, "S3_ACCESS_KEY": "a", "S3_SECRET_KEY": "b"}
    )
    with pytest.raises(StoreUnavailable, match=endpoint):
        open_store(settings.store_url, settings.access, patience=timedelta(seconds=1)).get("a")


def test_an_object_of_several_parts_is_written_from_others_of_the_same_store(store: ObjectStore) -> None:
    data = random.Random(7).randbytes(9 * 1024 * 1024)
    store.put("a", data[:5_000_000])
    store.put("b", data[5_000_000:])

    def both() -> Iterator[bytes]:
        yield from store.stream("a")
        yield from store.stream("b")

    assert store.put_stream("ab", both()).sha256 == hashlib.sha256(data).hexdigest()
    assert store.get("ab") == data
