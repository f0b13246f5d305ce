"""Raw files: found by partition and batch name, read packed or not, and from the local copy where it has to be."""

from __future__ import annotations

import gzip
import os
import uuid
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from ecluse.apps.city import raw as layout
from ecluse.apps.city.errors import BadRaw
from ecluse.apps.city.raw import Raw, fingerprint_of, is_packed
from ecluse.errors import StoreUnavailable
from ecluse.settings import Settings
from ecluse.storage import ObjectStore, open_store
from tests.apps.city.layers import local_store
from tests.servers import ObjectServer

DAY = date(2022, 10, 30)


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return local_store(tmp_path / "raw")


@pytest.fixture
def copy(tmp_path: Path) -> ObjectStore:
    return local_store(tmp_path / "copy")


def keys(files: list[layout.RawFile]) -> list[str]:
    return [file.key.rpartition("/")[2] for file in files]


def test_a_partition_holds_the_json_files_of_its_day_and_feed(store: ObjectStore) -> None:
    for key in ("hour=05/b.json", "hour=05/a.json.gz", "hour=04/c.json", "hour=04/c.txt"):
        store.put(f"api/bikes/dt={DAY}/{key}", b"{}")
    store.put("api/bikes/dt=2022-10-31/hour=00/d.json", b"{}")
    store.put(f"api/weather/dt={DAY}/hour=00/e.json", b"{}")
    raw = Raw(store)
    assert keys(raw.partition("bikes", DAY)) == ["c.json", "a.json.gz", "b.json"]
    assert raw.days("bikes") == [DAY, date(2022, 10, 31)]
    assert raw.days("traffic") == []


def test_a_name_that_no_key_of_ours_has_is_left_out_and_told(
    tmp_path: Path, store: ObjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.put(f"api/bikes/dt={DAY}/hour=04/a.json", b"{}")
    (place,) = tmp_path.rglob("a.json")
    place.with_name("b\nc.json").write_text("{}")
    assert keys(Raw(store).partition("bikes", DAY)) == ["a.json"]
    assert "control or invisible character" in caplog.text


def test_a_batch_is_found_by_the_beginning_and_the_ending_of_its_name_oldest_first(
    store: ObjectStore, tmp_path: Path
) -> None:
    now = datetime.now(UTC).timestamp()
    for age, name in enumerate(
        ["comptages-b.csv", "comptages-a.csv.gz", "comptages-c.parquet", "other.csv", "comptages.txt"]
    ):
        store.put(f"batch/{name}", b"x")
        os.utime(tmp_path / "raw" / "batch" / name, (now - age, now - age))
    store.put("batch/old/comptages-z.csv", b"x")
    store.put("comptages-y.csv", b"x")
    result = Raw(store).batch("comptages")
    assert keys(result) == ["comptages-c.parquet", "comptages-a.csv.gz", "comptages-b.csv"]
    assert keys(Raw(store).batch("comptages", "other", endings=(".csv",))) == ["other.csv", "comptages-b.csv"]


def test_the_fingerprint_changes_with_the_content_and_with_the_files(store: ObjectStore) -> None:
    store.put("batch/a.csv", b"one")
    store.put("batch/b.csv", b"one")
    before = Raw(store).batch("a", "b")
    assert fingerprint_of(before) == fingerprint_of(Raw(store).batch("a", "b"))
    assert before[0].fingerprint != before[1].fingerprint
    store.put("batch/a.csv", b"two")
    after = Raw(store).batch("a", "b")
    assert fingerprint_of(before) != fingerprint_of(after)
    assert fingerprint_of(after) != fingerprint_of(after[:1])


def test_a_packed_file_is_read_unpacked_and_a_damaged_one_is_an_error(store: ObjectStore) -> None:
    packed = gzip.compress(b'{"results": []}' * 50)
    for name, data in {"a": packed, "b": packed[:-12], "c": b"plain", "d": b""}.items():
        store.put(f"api/bikes/dt={DAY}/{name}.json.gz", data)
    good, *bad = Raw(store).partition("bikes", DAY)
    assert good.read() == b'{"results": []}' * 50
    for file in bad:
        with pytest.raises(BadRaw, match="no whole gzip file"):
            file.read()


def test_a_feed_file_that_unpacks_without_end_is_refused(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "LARGEST_FEED_FILE", 10_000)
    store.put(f"api/bikes/dt={DAY}/a.json.gz", gzip.compress(b" " * 10_001))
    store.put(f"api/bikes/dt={DAY}/b.json", b" " * 10_001)
    for file in Raw(store).partition("bikes", DAY):
        with pytest.raises(BadRaw, match=r"10,00[01] bytes"):
            file.read()


def test_what_the_store_lacks_is_taken_from_the_copy_and_says_so(
    store: ObjectStore, copy: ObjectStore
) -> None:
    store.put("batch/a.csv", b"store")
    copy.put("batch/a.csv", b"copy")
    copy.put("batch/b.csv", b"copy")
    copy.put("api/bikes/dt=2022-10-31/hour=00/d.json", b"{}")
    raw = Raw(store, copy)
    (here,) = raw.batch("a")
    (there,) = raw.batch("b")
    assert (here.is_fallback, here.read()) == (False, b"store")
    assert (there.is_fallback, there.read()) == (True, b"copy")
    assert there.url.startswith(copy.url)
    assert raw.days("bikes") == [date(2022, 10, 31)]
    assert Raw(store).batch("b") == []


def test_a_store_that_does_not_answer_is_an_error_without_a_copy_and_none_with_one(copy: ObjectStore) -> None:
    gone = open_store("file:///nowhere/at/all", make=False)
    copy.put("batch/a.csv", b"copy")
    copy.put(f"api/bikes/dt={DAY}/a.json", b"{}")
    with pytest.raises(StoreUnavailable):
        Raw(gone).batch("a")
    with pytest.raises(StoreUnavailable):
        Raw(gone).days("bikes")
    raw = Raw(gone, copy)
    assert [file.is_fallback for file in raw.batch("a")] == [True]
    assert [file.is_fallback for file in raw.partition("bikes", DAY)] == [True]
    assert raw.days("bikes") == [DAY]


def test_a_remote_file_is_copied_and_a_local_one_is_read_where_it_lies(
    store: ObjectStore, object_server: ObjectServer, tmp_path: Path
) -> None:
    settings = Settings.from_environment(object_server.environment(uuid.uuid4().hex))
    remote = open_store(settings.store_url, settings.access)
    for item in (store, remote):
        item.put("batch/a.csv.gz", gzip.compress(b"x"))
    (here,), (there,) = Raw(store).batch("a"), Raw(remote).batch("a")
    assert here.local(tmp_path) == tmp_path / "raw" / "batch" / "a.csv.gz"
    assert there.local(tmp_path).parent == tmp_path
    assert is_packed(there.local(tmp_path))
