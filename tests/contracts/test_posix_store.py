"""What a folder as a store keeps beyond the contract of all: links, crashes, disks, and other programs' files."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from ecluse.errors import InvalidKey, KeyConflict, ObjectNotFound, StoreUnavailable
from ecluse.storage import ObjectStore, folders, open_store, posix


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path) -> ObjectStore:
    return open_store(f"file://{root}")


def test_an_object_is_a_plain_file_under_its_name(store: ObjectStore, root: Path) -> None:
    store.put("a/état.csv", b"water", attributes={"dataset": "one"})
    assert (root / "a" / "état.csv").read_bytes() == b"water"
    (root / "b").mkdir()
    (root / "b" / "other.csv").write_bytes(b"from another program")
    assert store.get("b/other.csv") == b"from another program"
    assert [info.key for info in store.list()] == ["a/état.csv", "b/other.csv"]
    assert store.list_names() == ["a", "b"]


def test_a_name_is_an_object_or_holds_objects_and_not_both(store: ObjectStore) -> None:
    store.put("a/b", b"x")
    store.put("c", b"x")
    for key in ("a", "c/d", "c/d/e"):
        for create_only in (False, True):
            with pytest.raises(KeyConflict):
                store.put(key, b"y", create_only=create_only)
    with pytest.raises(KeyConflict):
        store.put_stream("c/d", iter([b"y"]))
    with pytest.raises(KeyConflict):
        store.copy("c", "a")
    for key in ("a", "c/d"):
        assert not store.exists(key)
        store.delete(key)
    assert sorted(info.key for info in store.list()) == ["a/b", "c"]


@pytest.mark.parametrize("key", ["out/secret", "secret", "out/new", "out"])
def test_no_link_is_followed(store: ObjectStore, root: Path, tmp_path: Path, key: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (root / "out").symlink_to(outside, target_is_directory=True)
    (root / "secret").symlink_to(outside / "secret")
    with pytest.raises((ObjectNotFound, InvalidKey)):
        store.get(key)
    assert [info.key for info in store.list()] == []
    assert store.list_names() == []
    store.delete_prefix("out")
    if key.startswith("out"):
        with pytest.raises((KeyConflict, InvalidKey)):
            store.put(f"{key}/deep", b"x")
    else:
        store.put(key, b"fresh")  # takes the place of the link
    assert {path.name for path in outside.iterdir()} == {"secret"}
    assert (outside / "secret").read_bytes() == b"secret"


def test_names_that_the_folder_keeps_for_itself_are_refused(store: ObjectStore) -> None:
    for key in (".attributes/a", "a/.ecluse-1-2.part"):
        with pytest.raises(InvalidKey):
            store.put(key, b"x")
    store.put("a/.attributes", b"only at the top")
    assert [info.key for info in store.list()] == ["a/.attributes"]


def test_empty_folders_go_with_their_last_object(store: ObjectStore, root: Path) -> None:
    store.put("a/b/c/d", b"x")
    store.put("a/e", b"x")
    store.delete("a/b/c/d")
    assert not (root / "a" / "b").exists()
    store.delete("a/e")
    assert list(root.iterdir()) == []

    def breaks() -> Iterator[bytes]:
        yield b"x"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.put_stream("x/y/z", breaks())
    assert list(root.iterdir()) == []


def test_writers_and_deleters_of_one_folder_do_not_trip_each_other(store: ObjectStore) -> None:
    def work(number: int) -> None:
        for _ in range(150):
            store.put(f"a/b/c/{number}", b"x")
            store.delete(f"a/b/c/{number}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert list(store.list()) == []


def test_keys_are_listed_in_their_order(store: ObjectStore) -> None:
    keys = sorted(["b", "a/c", "a-b", "a.b", "a0", "é/x", "Z", "a/b/c", "a/b-c", "🚰", "\uffee"])
    for key in reversed(keys):
        store.put(key, b"x")
    assert [info.key for info in store.list()] == keys
    for at, key in enumerate(keys):
        assert [info.key for info in store.list(after=key)] == keys[at + 1 :]
    assert [info.key for info in store.list(after="a/b0")] == [key for key in keys if key > "a/b0"]


KILLED = """
import sys, time
from ecluse.storage import open_store
store = open_store(sys.argv[1])
def pieces():
    yield b"x" * 9_000_000
    print("writing", flush=True)
    time.sleep(600)
store.put_stream("folder/big", pieces(), attributes={"a": "b"})
"""


def test_a_writer_that_is_killed_leaves_nothing_visible(store: ObjectStore, root: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED, store.url], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"writing\n"
        assert len(hidden(root)) == 1
        assert store.remove_stale_uploads(timedelta(seconds=-60)) == 0  # its writer lives
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert list(store.list()) == []
    assert store.list_names() == []
    assert not store.exists("folder/big")
    assert store.remove_stale_uploads(timedelta(hours=1)) == 0
    shown = store.stale_uploads(timedelta(seconds=-60))
    assert (shown.objects, shown.size) == (1, 9_000_000)
    assert len(hidden(root)) == 1, "shown, not removed"
    assert store.stale_uploads(timedelta(seconds=-60), remove=True) == shown
    assert list(root.iterdir()) == []


def test_only_uploads_of_the_scope_are_cleaned(store: ObjectStore, root: Path) -> None:
    for folder in ("a", "b"):
        (root / folder).mkdir()
        (root / folder / ".ecluse-1-2.part").write_bytes(b"left")
    assert store.scoped("a").remove_stale_uploads(timedelta(seconds=-60)) == 1
    assert hidden(root) == [root / "b" / ".ecluse-1-2.part"]


def test_attributes_without_their_file_are_removed_once_they_are_old(store: ObjectStore, root: Path) -> None:
    store.put("kept", b"x", attributes={"a": "1"})
    store.put("gone", b"x", attributes={"a": "2"})
    (root / "gone").unlink()
    store.remove_stale_uploads(timedelta(seconds=-60))
    assert store.attributes("kept") == {"a": "1"}
    assert len(list((root / ".attributes").iterdir())) == 1
    store.put("kept", b"x")
    assert list((root / ".attributes").iterdir()) == []


def test_a_full_disk_is_told_and_keeps_the_old_object(store: ObjectStore, root: Path) -> None:
    """A limit on the size of files stands in for the disk; the kernel says EFBIG, which is told as a failure."""
    store.put("a", b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(StoreUnavailable, match=os.strerror(errno.EFBIG)):
            store.put("a", b"x" * 2_000_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert store.get("a") == b"old"
    assert hidden(root) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_disk_without_room_says_so(tmp_path: Path) -> None:
    with (
        Path("/dev/full").open("wb", buffering=0) as full,
        pytest.raises(OSError, match="No space") as caught,
    ):
        folders.write_all(full.fileno(), b"x")
    backend = posix.PosixBackend(tmp_path, "file:///x/")
    with pytest.raises(StoreUnavailable, match="full"), backend._reported("a"):
        raise caught.value


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_told(store: ObjectStore, root: Path) -> None:
    root.chmod(0o500)
    try:
        with pytest.raises(StoreUnavailable):
            store.put("a", b"x")
    finally:
        root.chmod(0o700)


def test_a_folder_that_is_gone_is_no_empty_store(store: ObjectStore, root: Path) -> None:
    store.put("a", b"x")
    root.rename(root.with_name("unmounted"))
    for act in (
        lambda: list(store.list()),
        lambda: store.get("a"),
        lambda: store.put("b", b"x"),
        lambda: store.exists("a"),
    ):
        with pytest.raises(StoreUnavailable, match="gone"):
            act()
    assert not root.exists()
    assert store.ensure_bucket() is True
    assert list(store.list()) == []


def test_an_object_that_is_replaced_while_it_is_read_is_read_whole(store: ObjectStore) -> None:
    store.put("a", b"1" * 3_000_000)
    chunks = store.stream("a")
    first = next(chunks)
    store.put("a", b"2" * 3_000_000)
    assert first + b"".join(chunks) == b"1" * 3_000_000


def test_a_stream_that_is_dropped_closes_its_file(store: ObjectStore) -> None:
    store.put("a", b"x" * 3_000_000)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        store.stream("a")
        next(store.stream("a"))
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_write_is_on_disk_before_it_has_its_name(store: ObjectStore, root: Path) -> None:
    """Seen from outside, by the calls that the kernel was asked."""
    probe = subprocess.run(["strace", "-V"], capture_output=True, check=False) if which("strace") else None
    if probe is None or probe.returncode:
        pytest.skip("no strace")
    script = "import sys; from ecluse.storage import open_store; open_store(sys.argv[1]).put('a/b', b'x')"
    traced = subprocess.run(
        [
            "strace",
            "-f",
            "-e",
            "trace=fsync,rename,renameat,renameat2",
            sys.executable,
            "-c",
            script,
            store.url,
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    calls = [
        line.split("(")[0].split()[-1] for line in traced.stderr.splitlines() if "(" in line and "=" in line
    ]
    at = next(n for n, call in enumerate(calls) if call.startswith("rename"))
    assert "fsync" in calls[:at]
    assert "fsync" in calls[at:]


def hidden(root: Path) -> list[Path]:
    return sorted(root.rglob(".ecluse-*.part"))


def which(name: str) -> bool:
    return any((Path(folder) / name).exists() for folder in os.get_exec_path())


def test_a_slow_writer_is_not_cleaned_away(store: ObjectStore) -> None:
    going = threading.Event()
    go_on = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield b"a"
        going.set()
        assert go_on.wait(60)
        yield b"b"

    writer = threading.Thread(target=store.put_stream, args=("slow", pieces()))
    writer.start()
    assert going.wait(60)
    assert store.remove_stale_uploads(timedelta(seconds=-60)) == 0
    go_on.set()
    writer.join()
    assert store.get("slow") == b"ab"


def test_a_lock_that_fails_is_not_taken_for_a_file_system_without_locks(tmp_path: Path) -> None:
    """Only what says that there are no locks is passed over; here the descriptor is none any more."""
    with (tmp_path / "a").open("wb") as file:
        closed = file.fileno()
        assert folders.lock(closed)
    with pytest.raises(OSError, match="Bad file descriptor"):
        folders.lock(closed)
