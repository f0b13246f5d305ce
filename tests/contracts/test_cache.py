"""What the cache keeps: content, its bound, and the work of whoever shares it."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import hashlib
import json
import os
import random
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecluse import processes
from ecluse.errors import DigestMismatch, DiskFull, InvalidInput, ObjectNotFound
from ecluse.settings import Settings
from ecluse.storage import Cache, Fetched, ObjectStore, Stored, open_store
from ecluse.storage.cache.files import SMALL
from tests.servers import ObjectServer, free_port
from tests.support.wait import slow_for, wait_until

pytestmark = pytest.mark.nightly

HIT, MISS, REPLACED = Fetched(True), Fetched(False), Fetched(False, replaced=True)


@pytest.fixture(params=["memory", "file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "memory":
        return open_store("memory://")
    if request.param == "file":
        return open_store(f"file://{tmp_path / 'store'}")
    server: ObjectServer = request.getfixturevalue("object_server")
    chosen = Settings.from_environment(server.environment(uuid.uuid4().hex))
    return open_store(chosen.store_url, chosen.access)


@pytest.fixture
def memory() -> ObjectStore:
    return open_store("memory://")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", max_bytes=2500)


#: An object of which the cache notes how it was verified; smaller ones are hashed at each use.
LARGE = b"right" * (SMALL // 5 + 1)


@pytest.fixture
def roomy(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", max_bytes=10 * len(LARGE))


def fetch(cache: Cache, store: ObjectStore, stored: Stored, out: Path, verb: str = "copy") -> Fetched:
    fetched: Fetched = getattr(cache, verb)(store, stored.key, stored.sha256, stored.size, out)
    return fetched


def entry_of(cache: Cache, stored: Stored) -> Path:
    return cache._folder / stored.sha256[:2] / stored.sha256


def kept(cache: Cache) -> set[str]:
    return {entry.sha256 for entry in cache.entries()}


def left_behind(folder: Path) -> list[str]:
    """Names of unfinished files and of locks, anywhere below a folder."""
    return [path.name for path in folder.rglob("*") if path.suffix == ".part" or path.parent.name == "locks"]


# What is handed out


def make_folder(path: Path) -> None:
    path.mkdir()
    (path / "inside").write_bytes(b"x")


def make_link(path: Path) -> None:
    path.with_name("target").write_bytes(b"water")
    path.symlink_to(path.with_name("target"))


@pytest.mark.parametrize("make", [os.mkfifo, make_folder, make_link])
@pytest.mark.parametrize("verb", ["link", "copy", "read", "verify", "clear"])
@pytest.mark.parametrize("suffix", ["", ".seen"])
def test_what_is_no_file_is_taken_out_of_the_way(
    memory: ObjectStore,
    roomy: Cache,
    tmp_path: Path,
    make: Callable[[Path], None],
    verb: str,
    suffix: str,
) -> None:
    stored = memory.put("m", LARGE)
    fetch(roomy, memory, stored, tmp_path / "out")
    odd = entry_of(roomy, stored).with_name(stored.sha256 + suffix)
    odd.unlink()
    make(odd)
    if verb == "verify":
        assert roomy.verify().corrupt == (() if suffix else (stored.sha256,))
    elif verb == "clear":
        assert roomy.clear().removed == 1
        assert not os.path.lexists(odd)
    elif verb == "read":
        assert roomy.read(memory, stored.key, stored.sha256) == LARGE
    else:
        assert fetch(roomy, memory, stored, tmp_path / "out", verb) == (HIT if suffix else REPLACED)
        assert (tmp_path / "out").read_bytes() == LARGE
    assert fetch(roomy, memory, stored, tmp_path / "out").replaced is False
    assert (tmp_path / "out").read_bytes() == LARGE


def test_a_link_is_the_entry_itself_and_a_copy_is_a_file_of_ones_own(
    store: ObjectStore, cache: Cache, tmp_path: Path
) -> None:
    stored = store.put("m", b"water")
    assert fetch(cache, store, stored, tmp_path / "1", "link") == MISS
    assert fetch(cache, store, stored, tmp_path / "2", "link") == HIT
    assert fetch(cache, store, stored, tmp_path / "3", "copy") == HIT
    entry = entry_of(cache, stored)
    assert entry.samefile(tmp_path / "1")
    assert entry.samefile(tmp_path / "2")
    assert not entry.samefile(tmp_path / "3")
    assert [(tmp_path / name).stat().st_mode & 0o222 for name in "12"] == [0, 0]
    (tmp_path / "3").write_bytes(b"mine")
    assert entry.read_bytes() == (tmp_path / "1").read_bytes() == b"water"
    assert left_behind(tmp_path) == ["room"]


@pytest.mark.parametrize("verb", ["link", "copy"])
def test_what_was_at_the_destination_is_replaced(
    memory: ObjectStore, cache: Cache, tmp_path: Path, verb: str
) -> None:
    old, new = memory.put("old", b"old"), memory.put("new", b"new")
    for stored in (old, new, new, old):
        fetch(cache, memory, stored, tmp_path / "out", verb)
        assert (tmp_path / "out").read_bytes() == stored.key.encode()
    assert entry_of(cache, new).read_bytes() == b"new"
    assert left_behind(tmp_path) == ["room"]


@pytest.mark.parametrize("verb", ["link", "copy"])
def test_an_entry_is_served_while_the_store_is_away(
    memory: ObjectStore, cache: Cache, tmp_path: Path, verb: str
) -> None:
    stored = memory.put("m", b"water")
    fetch(cache, memory, stored, tmp_path / "1")
    endpoint = f"http://127.0.0.1:{free_port()}"
    chosen = Settings.from_environment(
        {"ECLUSE_STORE_URL": "s3://gone", "S3_ENDPOINT": endpoint, "S3_ACCESS_KEY": "a", "S3_SECRET_KEY": "b"}
    )
    away = open_store(chosen.store_url, chosen.access)
    assert fetch(cache, away, stored, tmp_path / "2", verb) == HIT
    assert (tmp_path / "2").read_bytes() == b"water"


@pytest.mark.parametrize("verb", ["link", "copy"])
def test_progress_is_the_bytes_downloaded_and_what_it_raises_ends_the_fetch(
    memory: ObjectStore, cache: Cache, tmp_path: Path, verb: str
) -> None:
    stored = memory.put("m", b"x" * 2000)
    sizes: list[int] = []

    def refuse(size: int) -> None:
        raise InterruptedError(size)

    with pytest.raises(InterruptedError):
        getattr(cache, verb)(memory, "m", stored.sha256, 2000, tmp_path / "out", refuse)
    assert (cache.used_bytes, list(tmp_path.glob("out"))) == (0, [])
    getattr(cache, verb)(memory, "m", stored.sha256, 2000, tmp_path / "out", sizes.append)
    getattr(cache, verb)(memory, "m", stored.sha256, 2000, tmp_path / "out", sizes.append)
    assert sum(sizes) == 2000
    assert left_behind(tmp_path) == ["room"]


@pytest.mark.parametrize("digest", ["", "../../out", "A" * 64, "é" * 64, "0" * 63, "0" * 64 + "\n"])
def test_what_is_no_digest_names_no_file(
    memory: ObjectStore, cache: Cache, tmp_path: Path, digest: str
) -> None:
    (tmp_path / "out").write_bytes(b"not the cache's")
    with pytest.raises(InvalidInput):
        cache.link(memory, "m", digest, 1, tmp_path / "new")
    assert (tmp_path / "out").exists()


def test_across_file_systems_a_link_becomes_a_read_only_copy(
    memory: ObjectStore, cache: Cache, tmp_path: Path
) -> None:
    elsewhere = Path("/dev/shm")  # noqa: S108 (only a file system of its own will do)
    if not elsewhere.is_dir() or elsewhere.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system")
    stored = memory.put("m", b"water")
    with tempfile.TemporaryDirectory(dir=elsewhere) as folder:
        for expected in (MISS, HIT):
            assert fetch(cache, memory, stored, Path(folder, "out"), "link") == expected
            assert Path(folder, "out").read_bytes() == b"water"
            assert Path(folder, "out").stat().st_mode & 0o222 == 0
        assert [path.name for path in Path(folder).iterdir()] == ["out"]


# What is damaged


def _write_over(entry: Path) -> None:
    entry.chmod(0o644)
    entry.write_bytes(b"wrong" * (entry.stat().st_size // 5))


def _truncate(entry: Path) -> None:
    entry.chmod(0o644)
    os.truncate(entry, 3)


def _replace(entry: Path) -> None:
    status, other = entry.stat(), entry.with_name("other")
    other.write_bytes(b"wrong")
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(entry)


def _write_over_and_set_the_time_back(entry: Path) -> None:
    status = entry.stat()
    _write_over(entry)
    os.utime(entry, ns=(status.st_atime_ns, status.st_mtime_ns))


DAMAGES = [_write_over, _truncate, _replace]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("verb", ["link", "copy"])
def test_a_damaged_entry_is_replaced_and_told(
    memory: ObjectStore,
    cache: Cache,
    tmp_path: Path,
    verb: str,
    damage: Callable[[Path], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    stored = memory.put("m", b"right")
    fetch(cache, memory, stored, tmp_path / "1")
    damage(entry_of(cache, stored))
    assert fetch(cache, memory, stored, tmp_path / "2", verb) == REPLACED
    assert "was damaged" in caplog.text
    assert (tmp_path / "2").read_bytes() == b"right"
    assert fetch(cache, memory, stored, tmp_path / "3", verb) == HIT
    assert left_behind(tmp_path) == ["room"]


@pytest.mark.parametrize("verb", ["link", "copy"])
def test_a_damaged_entry_is_not_served_for_want_of_a_better(
    memory: ObjectStore, cache: Cache, tmp_path: Path, verb: str
) -> None:
    stored = memory.put("m", b"right")
    fetch(cache, memory, stored, tmp_path / "1")
    _write_over(entry_of(cache, stored))
    memory.delete("m")
    with pytest.raises(ObjectNotFound):
        fetch(cache, memory, stored, tmp_path / "2", verb)
    assert not (tmp_path / "2").exists()
    assert cache.entries() == []


def test_a_change_that_keeps_size_and_time_escapes_a_link_and_not_a_copy_or_verify(
    memory: ObjectStore, roomy: Cache, tmp_path: Path
) -> None:
    """The price of hashing nothing; it also shows that a link does hash nothing."""
    stored = memory.put("m", LARGE)
    for find in (
        lambda: roomy.verify().corrupt == (stored.sha256,),
        lambda: fetch(roomy, memory, stored, tmp_path / "2") == REPLACED,
    ):
        fetch(roomy, memory, stored, tmp_path / "1", "link")
        (tmp_path / "1").unlink()
        _write_over_and_set_the_time_back(entry_of(roomy, stored))
        assert fetch(roomy, memory, stored, tmp_path / "1", "link") == HIT
        assert (tmp_path / "1").read_bytes() == LARGE.replace(b"right", b"wrong")
        assert find()


@pytest.mark.parametrize("verb", ["link", "copy"])
def test_a_change_of_a_small_object_that_keeps_size_and_time_is_found_by_every_use(
    memory: ObjectStore, cache: Cache, tmp_path: Path, verb: str
) -> None:
    stored = memory.put("m", b"right")
    fetch(cache, memory, stored, tmp_path / "1", verb)
    _write_over_and_set_the_time_back(entry_of(cache, stored))
    assert fetch(cache, memory, stored, tmp_path / "1", verb) == REPLACED
    assert (tmp_path / "1").read_bytes() == b"right"
    assert not list(tmp_path.rglob("*.seen"))


def test_what_a_power_failure_took_is_found(memory: ObjectStore, roomy: Cache, tmp_path: Path) -> None:
    """Nothing waited for the disk, so an entry from before the machine was started is hashed again."""
    stored = memory.put("m", LARGE)
    fetch(roomy, memory, stored, tmp_path / "1", "link")
    (tmp_path / "1").unlink()
    _write_over_and_set_the_time_back(entry_of(roomy, stored))
    seen = entry_of(roomy, stored).with_name(f"{stored.sha256}.seen")
    seen.write_text(json.dumps(json.loads(seen.read_text()) | {"boot": "an earlier one"}))
    assert fetch(roomy, memory, stored, tmp_path / "2", "link") == REPLACED
    assert (tmp_path / "2").read_bytes() == LARGE


def test_what_is_written_through_a_link_is_found(memory: ObjectStore, cache: Cache, tmp_path: Path) -> None:
    stored = memory.put("m", b"right")
    fetch(cache, memory, stored, tmp_path / "1", "link")
    _write_over(tmp_path / "1")
    assert fetch(cache, memory, stored, tmp_path / "2", "link") == REPLACED
    assert (tmp_path / "2").read_bytes() == b"right"


@pytest.mark.parametrize("record", [None, b"", b"{", b"[1]", b"\xff", b'{"size": 5}'])
def test_an_entry_without_a_true_record_is_hashed_and_kept(
    memory: ObjectStore, roomy: Cache, tmp_path: Path, record: bytes | None
) -> None:
    stored = memory.put("m", LARGE)
    fetch(roomy, memory, stored, tmp_path / "1", "link")
    seen = entry_of(roomy, stored).with_name(f"{stored.sha256}.seen")
    before = seen.read_bytes()
    seen.unlink()
    if record is not None:
        seen.write_bytes(record)
    assert fetch(roomy, memory, stored, tmp_path / "2", "link") == HIT
    assert seen.read_bytes() == before


def test_an_entry_that_was_only_touched_is_kept(memory: ObjectStore, roomy: Cache, tmp_path: Path) -> None:
    stored = memory.put("m", LARGE)
    fetch(roomy, memory, stored, tmp_path / "1", "link")
    os.utime(tmp_path / "1", (1, 1))
    assert fetch(roomy, memory, stored, tmp_path / "2", "link") == HIT


@pytest.mark.parametrize("verb", ["link", "copy"])
@pytest.mark.parametrize("there", [b"wrong", b"short"[:3], b"right and more"])
def test_a_damaged_object_is_refused_and_nothing_is_kept(
    store: ObjectStore, cache: Cache, tmp_path: Path, there: bytes, verb: str
) -> None:
    store.put("m", there)
    for bound in (2500, 2):
        small = Cache(tmp_path / "cache", bound)
        with pytest.raises(DigestMismatch, match=r"\bm\b"):
            getattr(small, verb)(store, "m", hashlib.sha256(b"right").hexdigest(), 5, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert cache.used_bytes == 0
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("verb", ["link", "copy"])
@pytest.mark.parametrize("there", [LARGE[:-1] + b"T", LARGE[:-1]])
def test_of_a_damaged_large_object_nothing_is_kept_nor_handed_out(
    memory: ObjectStore, roomy: Cache, tmp_path: Path, verb: str, there: bytes
) -> None:
    memory.put("m", there)
    with pytest.raises(DigestMismatch, match=r"\bm\b"):
        getattr(roomy, verb)(memory, "m", hashlib.sha256(LARGE).hexdigest(), len(LARGE), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert roomy.used_bytes == 0
    assert left_behind(tmp_path) == ["room"]


@pytest.mark.parametrize("verb", ["link", "copy"])
def test_an_object_shorter_than_was_recorded_is_refused_and_not_filled_up(
    memory: ObjectStore, cache: Cache, tmp_path: Path, verb: str
) -> None:
    stored = memory.put("m", b"abc")
    with pytest.raises(DigestMismatch, match=r"\b13\b"):
        getattr(cache, verb)(memory, "m", stored.sha256, 13, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert cache.used_bytes == 0


def test_an_object_longer_than_was_recorded_is_refused_before_it_outgrows_its_room(
    memory: ObjectStore, cache: Cache, tmp_path: Path
) -> None:
    stored = memory.put("m", b"x" * 50_000_000)
    sizes: list[int] = []
    with pytest.raises(DigestMismatch, match="1,000"):
        cache.link(memory, "m", stored.sha256, 1000, tmp_path / "out", sizes.append)
    assert sizes == []
    assert cache.used_bytes == 0


# The bound


@pytest.mark.parametrize("verb", ["link", "copy"])
def test_the_cache_keeps_what_was_used_last_within_its_bound(
    store: ObjectStore, cache: Cache, tmp_path: Path, verb: str
) -> None:
    out = tmp_path / "out"
    written = [store.put(f"m/{n}", bytes([n]) * 1000) for n in range(3)]
    for number in (0, 1, 0, 2):
        fetch(cache, store, written[number], out, verb)
        assert out.read_bytes() == bytes([number]) * 1000
        out.unlink()
    assert [entry.sha256 for entry in cache.entries()] == [written[0].sha256, written[2].sha256]
    assert cache.used_bytes == 2000


@pytest.mark.parametrize("verb", ["link", "copy"])
def test_the_cache_keeps_nothing_larger_than_its_bound(
    store: ObjectStore, cache: Cache, tmp_path: Path, verb: str
) -> None:
    small, large = store.put("small", b"x" * 1000), store.put("large", b"y" * 10_000)
    for stored in (small, large):
        assert fetch(cache, store, stored, tmp_path / stored.key, verb) == MISS
    assert (tmp_path / "large").read_bytes() == b"y" * 10_000
    assert bool((tmp_path / "large").stat().st_mode & 0o200) == (verb == "copy")
    assert kept(cache) == {small.sha256}


def test_what_is_in_use_is_not_evicted(memory: ObjectStore, cache: Cache, tmp_path: Path) -> None:
    written = [memory.put(f"m/{n}", bytes([n]) * 1000) for n in range(4)]
    fetch(cache, memory, written[0], tmp_path / "in use", "link")
    for stored in written[1:]:
        fetch(cache, memory, stored, tmp_path / "out")
    assert kept(cache) == {written[0].sha256, written[3].sha256}
    assert [entry.pinned for entry in cache.entries()] == [True, False]
    (tmp_path / "in use").unlink()
    fetch(cache, memory, written[2], tmp_path / "out")
    assert kept(cache) == {written[2].sha256, written[3].sha256}


def test_what_finds_no_room_beside_what_is_in_use_is_fetched_and_not_kept(
    memory: ObjectStore, cache: Cache, tmp_path: Path
) -> None:
    used = [memory.put(f"m/{n}", bytes([n]) * 1000) for n in range(2)]
    idle, large = memory.put("idle", b"i" * 100), memory.put("large", b"l" * 1000)
    for number, stored in enumerate(used):
        fetch(cache, memory, stored, tmp_path / str(number), "link")
    fetch(cache, memory, idle, tmp_path / "out")
    assert fetch(cache, memory, large, tmp_path / "out", "link") == MISS
    assert (tmp_path / "out").read_bytes() == b"l" * 1000
    assert kept(cache) == {stored.sha256 for stored in (*used, idle)}, "nothing was evicted in vain"


def test_a_bound_that_was_lowered_holds_from_the_next_download(
    memory: ObjectStore, cache: Cache, tmp_path: Path
) -> None:
    written = [memory.put(f"m/{n}", bytes([n]) * 1000) for n in range(3)]
    for stored in written[:2]:
        fetch(cache, memory, stored, tmp_path / "out")
    lower = Cache(tmp_path / "cache", 1500)
    fetch(lower, memory, written[2], tmp_path / "out")
    assert kept(lower) == {written[2].sha256}


def test_what_others_left_unfinished_is_removed_once_it_is_old(
    memory: ObjectStore, cache: Cache, tmp_path: Path
) -> None:
    folder = tmp_path / "cache" / "sha256" / "ab"
    folder.mkdir(parents=True)
    elsewhere = f".{'a' * 16}.{'b' * 8}.1.{'c' * 32}.part"
    old, new = folder / elsewhere, folder / elsewhere.replace("c", "d")
    for path, age in ((old, 7 * 3600), (new, 5 * 3600)):
        path.write_bytes(b"x" * 1000)
        written = path.stat().st_mtime
        os.utime(path, (written - age, written - age))
    stored = memory.put("m", b"x" * 1500)
    assert fetch(cache, memory, stored, tmp_path / "out") == MISS
    assert [path.name for path in folder.glob(".*.part")] == [new.name]
    assert cache.used_bytes == 2500


def test_what_a_process_left_is_removed_though_another_has_its_number_by_now(
    memory: ObjectStore, cache: Cache, tmp_path: Path
) -> None:
    """Numbers of processes are given out again: the moment it was started tells them apart."""
    folder = tmp_path / "cache" / "sha256" / "ab"
    folder.mkdir(parents=True)
    this = processes.Process.current()
    labels = {"gone": dataclasses.replace(this, started=this.started - 1).label, "running": this.label}
    parts = {name: folder / f".{'a' * 16}.{label}.{'c' * 32}.part" for name, label in labels.items()}
    for path in parts.values():
        path.write_bytes(b"x" * 1000)
    assert fetch(cache, memory, memory.put("m", b"x" * 1500), tmp_path / "out") == MISS
    assert {name: path.exists() for name, path in parts.items()} == {"gone": False, "running": True}


def test_what_was_removed_by_hand_does_no_harm(memory: ObjectStore, cache: Cache, tmp_path: Path) -> None:
    stored = memory.put("m", b"x" * 2000)
    for path in ("sha256", "locks", ""):
        fetch(cache, memory, stored, tmp_path / "out")
        subprocess.run(["rm", "-rf", str(tmp_path / "cache" / path)], check=True)
        assert fetch(cache, memory, stored, tmp_path / "out") == (HIT if path == "locks" else MISS)
    assert cache.used_bytes == 2000


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 400), min_size=1, max_size=8),
    bound=st.integers(0, 1000),
    steps=st.lists(
        st.tuples(st.sampled_from(["link", "copy", "drop", "clear"]), st.integers(0, 7)), max_size=30
    ),
)
def test_whatever_is_asked_in_whatever_order_comes_right_and_the_bound_holds(
    sizes: list[int], bound: int, steps: list[tuple[str, int]]
) -> None:
    memory = open_store("memory://")
    written = [memory.put(f"m/{n}", bytes([n]) * size) for n, size in enumerate(sizes)]
    with tempfile.TemporaryDirectory() as folder:
        cache = Cache(Path(folder, "cache"), bound)
        for verb, number in steps:
            stored, out = written[number % len(written)], Path(folder, str(number))
            if verb == "drop":
                out.unlink(missing_ok=True)
            elif verb == "clear":
                cache.clear()
            else:
                was_kept = stored.sha256 in kept(cache)
                assert fetch(cache, memory, stored, out, verb) == Fetched(was_kept)
                assert hashlib.sha256(out.read_bytes()).hexdigest() == stored.sha256
            assert cache.used_bytes <= bound
        assert {entry.sha256 for entry in cache.entries() if entry.pinned} >= {
            stored.sha256
            for stored in written
            if any(_is_link(p, entry_of(cache, stored)) for p in Path(folder).iterdir())
        }
        assert cache.verify().corrupt == ()
        assert not any(name.endswith(".part") for name in left_behind(Path(folder)))


def _is_link(path: Path, entry: Path) -> bool:
    return path.is_file() and entry.exists() and path.samefile(entry)


def test_an_object_that_no_disk_can_hold_is_told_and_nothing_is_evicted(
    memory: ObjectStore, tmp_path: Path
) -> None:
    cache = Cache(tmp_path / "cache", 10**18)
    stored = memory.put("m", b"water")
    fetch(cache, memory, stored, tmp_path / "out")
    with pytest.raises(DiskFull, match="ecluse cache clear"):
        cache.link(memory, "m", "0" * 64, 10**17, tmp_path / "other")
    assert kept(cache) == {stored.sha256}
    assert not (tmp_path / "other").exists()


# Looking after it


def test_entries_are_told_least_recently_used_first(memory: ObjectStore, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 10**6)
    written = [memory.put(f"m/{n}", bytes([n]) * (n + 1)) for n in range(3)]
    for number in (0, 1, 2, 0):
        fetch(cache, memory, written[number], tmp_path / str(number), "copy" if number else "link")
    before = cache.entries()
    assert [entry.size for entry in before] == [2, 3, 1]
    cache.verify()
    assert cache.entries() == before, "to verify is no use"
    assert cache.used_bytes == 6


def test_verify_hashes_everything_and_removes_what_is_damaged(memory: ObjectStore, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 10**6)
    written = [memory.put(f"m/{n}", bytes([n]) * 1000) for n in range(3)]
    for stored in written:
        fetch(cache, memory, stored, tmp_path / "out")
    _write_over_and_set_the_time_back(entry_of(cache, written[1]))
    sizes: list[int] = []
    verified = cache.verify(sizes.append)
    assert (verified.intact, verified.size, verified.corrupt) == (2, 2000, (written[1].sha256,))
    assert sum(sizes) == 3000
    assert kept(cache) == {written[0].sha256, written[2].sha256}
    assert cache.verify().corrupt == ()


def test_clear_leaves_what_is_in_use(memory: ObjectStore, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 10**6)
    written = [memory.put(f"m/{n}", bytes([n]) * 1000) for n in range(3)]
    for stored in written:
        fetch(cache, memory, stored, tmp_path / "out")
    fetch(cache, memory, written[0], tmp_path / "in use", "link")
    cleared = cache.clear()
    assert (cleared.removed, cleared.size, cleared.pinned) == (2, 2000, 1)
    assert kept(cache) == {written[0].sha256}
    (tmp_path / "in use").unlink()
    assert cache.clear().removed == 1
    assert [path for path in (tmp_path / "cache" / "sha256").rglob("*") if path.is_file()] == []


def test_an_empty_cache_can_be_looked_after(cache: Cache) -> None:
    assert (cache.entries(), cache.used_bytes) == ([], 0)
    assert cache.verify().intact == cache.clear().removed == 0


# Many at once


def test_many_threads_share_a_cache_that_is_too_small_for_them(
    memory: ObjectStore, cache: Cache, tmp_path: Path
) -> None:
    written = [memory.put(f"m/{n}", bytes([n]) * 1000) for n in range(6)]
    failed: list[Exception] = []

    def work(number: int) -> None:
        out, mine = tmp_path / f"out-{number}", Cache(tmp_path / "cache", max_bytes=2500)
        for turn in range(60):
            stored = written[(turn * 5 + number) % 6]
            try:
                fetch(mine if number % 2 else cache, memory, stored, out, "link" if turn % 3 else "copy")
                assert hashlib.sha256(out.read_bytes()).hexdigest() == stored.sha256
                assert _bytes_in(tmp_path / "cache") <= 2500
            except Exception as error:  # noqa: BLE001 (reported below)
                failed.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


class Process:
    """A process that fetches through the cache."""

    def __init__(self, stack: ExitStack, prefix: tuple[str, ...] = (), **order: Any) -> None:
        command = [*prefix, sys.executable, "-m", "tests.contracts.cache_process"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        stack.enter_context(self.process)
        stack.callback(self.process.kill)
        self._say(json.dumps(order))
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def begin(self) -> Process:
        self._say("")
        return self

    def finish(self) -> list[dict[str, Any]]:
        out, err = self.process.communicate(timeout=120)
        assert self.process.returncode == 0, err
        return [json.loads(line) for line in out.splitlines()]

    def _say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


class Shared:
    """A store on disk, a log of what is asked of it, and a cache: what several processes are told of."""

    def __init__(self, folder: Path, stack: ExitStack, bound: int = 10**7) -> None:
        self.folder, self._stack = folder, stack
        self.url = f"file://{folder / 'store'}"
        self.store = open_store(self.url)
        self.log = folder / "log"
        self.log.touch()
        self.cache = Cache(folder / "cache", bound)

    def process(self, *tasks: tuple[str, Stored, str], prefix: tuple[str, ...] = (), **more: Any) -> Process:
        """A process with a task each of (verb, object, name of the destination)."""
        listed = [(v, s.key, s.sha256, s.size, str(self.folder / name)) for v, s, name in tasks]
        order = {"store": self.url, "log": str(self.log), "cache": str(self.folder / "cache")}
        order |= {"bound": self.cache.max_bytes, "tasks": listed}
        return Process(self._stack, prefix, **(order | more))

    def asked(self) -> int:
        return self.log.read_text().count("asked")

    def wait_for(self, line: str, times: int = 1) -> None:
        wait_until(lambda: self.log.read_text().count(line) >= times, f"{line}, {times} times")


@pytest.fixture
def shared(tmp_path: Path, stack: ExitStack) -> Shared:
    return Shared(tmp_path, stack)


@pytest.mark.parametrize("verb", ["link", "copy"])
def test_processes_and_threads_that_ask_for_the_same_object_download_it_once(
    shared: Shared, verb: str
) -> None:
    stored = shared.store.put("m", random.Random(1).randbytes(700_000))
    processes = [shared.process((verb, stored, f"out-{n}"), delay=0.2) for n in range(3)]
    for process in processes:
        process.begin()
    shared.wait_for("gave", 2)
    sizes: list[int] = []
    fetched: list[Fetched] = []

    def ask(number: int) -> None:
        out = shared.folder / f"thread-{number}"
        fetched.append(
            getattr(shared.cache, verb)(shared.store, "m", stored.sha256, stored.size, out, sizes.append)
        )

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results = [process.finish()[0] for process in processes]
    assert shared.asked() == 1
    assert sorted(result["from_cache"] for result in results) == [False, True, True]
    assert fetched == [HIT, HIT]
    assert set(sizes) == {0}, "who waits can be stopped through its progress"
    for path in (*shared.folder.glob("out-*"), *shared.folder.glob("thread-*")):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == stored.sha256
    assert left_behind(shared.folder) == ["room"]


def test_a_process_killed_in_the_middle_of_a_download_leaves_nothing_in_the_way(shared: Shared) -> None:
    stored = shared.store.put("m", random.Random(2).randbytes(700_000))
    other = shared.store.put("other", b"x" * 9_900_000)
    killed = shared.process(("link", stored, "out"), delay=1).begin()
    shared.wait_for("gave", 3)
    killed.process.kill()
    killed.process.wait()
    assert (shared.cache.used_bytes, shared.cache.entries()) == (700_000, [])
    assert not (shared.folder / "out").exists()
    # The room that the dead process held is given to another.
    assert fetch(shared.cache, shared.store, other, shared.folder / "other") == MISS
    assert kept(shared.cache) == {other.sha256}
    assert not [name for name in left_behind(shared.folder / "cache") if name != "room"]
    assert shared.process(("link", stored, "out")).begin().finish() == [
        {"from_cache": False, "replaced": False}
    ]
    assert hashlib.sha256((shared.folder / "out").read_bytes()).hexdigest() == stored.sha256


def test_who_waits_for_a_process_that_is_killed_takes_over(shared: Shared) -> None:
    stored = shared.store.put("m", random.Random(3).randbytes(700_000))
    killed = shared.process(("copy", stored, "1"), delay=1).begin()
    shared.wait_for("gave", 3)
    waiting = shared.process(("copy", stored, "2")).begin()
    killed.process.kill()
    assert waiting.finish() == [{"from_cache": False, "replaced": False}]
    assert shared.asked() == 2


def test_who_waits_for_a_process_that_is_stopped_goes_on_alone(shared: Shared) -> None:
    stored = shared.store.put("m", random.Random(4).randbytes(700_000))
    stopped = shared.process(("copy", stored, "1"), delay=0.2).begin()
    shared.wait_for("gave", 3)
    stopped.process.send_signal(signal.SIGSTOP)
    waiting = shared.process(("copy", stored, "2"), patience=0.3).begin()
    assert waiting.finish() == [{"from_cache": False, "replaced": False}]
    stopped.process.send_signal(signal.SIGCONT)
    assert stopped.finish() == [{"from_cache": False, "replaced": False}]
    assert shared.cache.verify().intact == 1
    assert left_behind(shared.folder) == ["room"]


def test_who_waits_is_patient_with_a_download_that_moves(shared: Shared) -> None:
    stored = shared.store.put("m", random.Random(7).randbytes(700_000))
    slow = shared.process(("copy", stored, "1"), delay=0.4).begin()
    shared.wait_for("gave", 1)
    assert shared.process(("copy", stored, "2"), patience=1.5).begin().finish() == [
        {"from_cache": True, "replaced": False}
    ]
    slow.finish()
    assert shared.asked() == 1


def test_who_waits_for_another_download_can_be_interrupted(shared: Shared) -> None:
    stored = shared.store.put("m", random.Random(5).randbytes(700_000))
    slow = shared.process(("link", stored, "1"), delay=5).begin()
    shared.wait_for("gave", 1)
    waiting = shared.process(("link", stored, "2")).begin()
    shared.wait_for("waits")
    waiting.process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in waiting.process.communicate(timeout=60)[1]
    assert slow.process.poll() is None
    assert shared.asked() == 1
    assert not (shared.folder / "2").exists()


def test_clear_during_a_download_leaves_the_download(shared: Shared) -> None:
    stored = shared.store.put("m", random.Random(6).randbytes(700_000))
    done = shared.store.put("done", b"done")
    fetch(shared.cache, shared.store, done, shared.folder / "done", "link")
    process = shared.process(("link", stored, "1"), delay=0.2).begin()
    shared.wait_for("gave", 3)
    assert shared.cache.clear().pinned == 1
    assert process.finish() == [{"from_cache": False, "replaced": False}]
    assert kept(shared.cache) == {stored.sha256, done.sha256}
    assert (shared.folder / "done").read_bytes() == b"done"


@pytest.mark.parametrize("seed", range(2))
def test_the_bound_holds_at_every_moment_under_six_processes(
    tmp_path: Path, stack: ExitStack, seed: int
) -> None:
    chance, bound = random.Random(seed), 600_000
    shared = Shared(tmp_path, stack, bound)
    written = [shared.store.put(f"m/{n}", chance.randbytes(chance.randint(0, 300_000))) for n in range(12)]
    processes = []
    for number in range(6):
        tasks = [
            (chance.choice(["link", "copy"]), chance.choice(written), f"{number}-{turn}")
            for turn in range(25)
        ]
        processes.append(shared.process(*tasks, delay=0.001, forget=number % 2 == 0))
    for process in processes:
        process.begin()
    seen = []
    while any(process.process.poll() is None for process in processes):
        seen.append(_bytes_in(tmp_path / "cache"))
        slow_for(0.002)
    assert len(seen) > 20
    assert max(seen) <= bound
    assert max(seen) > bound / 2
    for process in processes:
        results = process.finish()
        assert len(results) == 25
        assert not [result for result in results if "error" in result]
    digests = {stored.sha256 for stored in written}
    copies = [path for path in tmp_path.iterdir() if "-" in path.name]
    assert len(copies) == 75
    assert all(hashlib.sha256(path.read_bytes()).hexdigest() in digests for path in copies)
    assert shared.cache.verify().corrupt == ()


def _bytes_in(folder: Path) -> int:
    """What the cache holds at one moment: nothing is added while its lock is held, and no file counts twice."""
    (folder / "locks").mkdir(parents=True, exist_ok=True)
    with (folder / "locks" / "room").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sizes = {}
        for path in (folder / "sha256").rglob("*"):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            if path.suffix != ".seen" and stat.S_ISREG(status.st_mode):
                sizes[status.st_ino] = status.st_size
    return sum(sizes.values())


def test_where_locks_are_not_to_be_had_all_is_right_if_downloaded_twice(
    memory: ObjectStore,
    cache: Cache,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The kernel's answer is all that is made up: no file system here lacks locks."""

    def refuse(lock: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    written = [memory.put(f"m/{n}", bytes([n]) * 1000) for n in range(4)]
    for number in (0, 1, 0, 2, 3, 2):
        fetch(cache, memory, written[number], tmp_path / "out", "link" if number % 2 else "copy")
        assert (tmp_path / "out").read_bytes() == bytes([number]) * 1000
        assert cache.used_bytes <= 2500
    assert kept(cache) == {written[2].sha256, written[3].sha256}
    assert caplog.text.count("No locks in") == 1
    cache.clear()
    assert left_behind(tmp_path) == []


# Disks that are full or read-only


def mounted(*commands: str) -> tuple[str, ...]:
    """What to put before a command so that it sees mounts of its own; skips where that is not permitted."""
    prefix = ("unshare", "-r", "-m", "sh", "-ec", " && ".join([*commands, 'exec "$@"']), "sh")
    try:
        subprocess.run([*prefix, "true"], check=True, capture_output=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("mounts of one's own are not permitted here")
    return prefix


def test_a_disk_that_is_full_is_told_with_the_way_out(shared: Shared) -> None:
    large, small = shared.store.put("large", b"l" * 900_000), shared.store.put("small", b"s" * 200_000)
    (shared.folder / "cache").mkdir()
    (shared.folder / "out").mkdir()
    cache, out = shared.folder / "cache", shared.folder / "out"
    prefix = mounted(f"mount -t tmpfs -o size=1m none {cache}", f"mount -t tmpfs -o size=1m none {out}")
    tasks = [("link", large, "out/1"), ("copy", small, "out/2"), ("copy", small, "3"), ("link", large, "4")]
    answers = shared.process(*tasks, prefix=prefix).begin().finish()
    # The second finds no room where it is to go; making room for the fourth evicts what is not in use.
    assert [result.get("error") for result in answers] == [None, "disk_full", None, None]
    assert str(out) in answers[1]["message"]
    assert "ecluse cache clear" in answers[1]["message"]


def test_a_disk_too_small_for_an_object_is_told_before_it_is_downloaded(shared: Shared) -> None:
    large = shared.store.put("large", b"l" * 2_000_000)
    (shared.folder / "cache").mkdir()
    prefix = mounted(f"mount -t tmpfs -o size=1m none {shared.folder / 'cache'}")
    (answer,) = shared.process(("copy", large, "1"), prefix=prefix).begin().finish()
    assert answer["error"] == "disk_full"
    assert str(shared.folder / "cache") in answer["message"]
    assert shared.asked() == 0


def test_a_cache_that_cannot_be_written_serves_what_it_has_and_keeps_nothing_more(shared: Shared) -> None:
    known, new = shared.store.put("known", b"known"), shared.store.put("new", b"new")
    fetch(shared.cache, shared.store, known, shared.folder / "out", "link")
    cache = shared.folder / "cache"
    prefix = mounted(f"mount --bind {cache} {cache}", f"mount -o remount,ro,bind {cache}")
    tasks = [("link", known, "1"), ("copy", known, "2"), ("link", new, "3"), ("copy", new, "4")]
    answers = shared.process(*tasks, prefix=prefix).begin().finish()
    assert [result["from_cache"] for result in answers] == [True, True, False, False]
    assert [(shared.folder / name).read_bytes() for name in "1234"] == [b"known", b"known", b"new", b"new"]
    assert kept(shared.cache) == {known.sha256}
