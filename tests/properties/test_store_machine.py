"""Whatever is done in whatever order, a store holds what a dictionary would."""

from __future__ import annotations

import shutil
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ecluse.errors import KeyConflict, ObjectExists, ObjectNotFound
from ecluse.storage import ObjectStore, open_store

#: Few segments, so that keys meet; among them what sorts before and after a slash.
SEGMENT = st.sampled_from(["a", "a-b", "a.b", "b", "é", "🚰", ".hidden"])
KEY = st.lists(SEGMENT, min_size=1, max_size=3).map("/".join)
DATA = st.binary(max_size=40)
ATTRIBUTES = st.dictionaries(st.sampled_from(["one", "two"]), st.sampled_from(["1", "a b"]))


class StoreMachine(RuleBasedStateMachine):
    """`objects` is what the store must hold: data and attributes by key."""

    store: ObjectStore
    folders = False

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[str, tuple[bytes, dict[str, str]]] = {}

    @rule(key=KEY, data=DATA, attributes=ATTRIBUTES, create_only=st.booleans())
    def put(self, key: str, data: bytes, attributes: dict[str, str], create_only: bool) -> None:
        if self.in_the_way(key):
            with pytest.raises(KeyConflict):
                self.store.put(key, data, create_only=create_only, attributes=attributes)
        elif create_only and key in self.objects:
            with pytest.raises(ObjectExists):
                self.store.put(key, data, create_only=True, attributes=attributes)
        else:
            assert self.store.put(key, data, create_only=create_only, attributes=attributes).size == len(data)
            self.objects[key] = data, attributes

    @rule(key=KEY, pieces=st.lists(DATA, max_size=4), attributes=ATTRIBUTES, breaks=st.booleans())
    def put_stream(self, key: str, pieces: list[bytes], attributes: dict[str, str], breaks: bool) -> None:
        def chunks():  # type: ignore[no-untyped-def]
            yield from pieces
            if breaks:
                raise EOFError

        if self.in_the_way(key):
            with pytest.raises((KeyConflict, EOFError)):
                self.store.put_stream(key, chunks(), attributes=attributes)
        elif breaks:
            with pytest.raises(EOFError):
                self.store.put_stream(key, chunks(), attributes=attributes)
        else:
            self.store.put_stream(key, chunks(), attributes=attributes)
            self.objects[key] = b"".join(pieces), attributes

    @rule(source=KEY, destination=KEY)
    def copy(self, source: str, destination: str) -> None:
        if source not in self.objects:
            with pytest.raises(ObjectNotFound):
                self.store.copy(source, destination)
        elif self.in_the_way(destination):
            with pytest.raises(KeyConflict):
                self.store.copy(source, destination)
        else:
            self.store.copy(source, destination)
            self.objects[destination] = self.objects[source]

    @rule(key=KEY)
    def delete(self, key: str) -> None:
        self.store.delete(key)
        self.objects.pop(key, None)

    @rule(prefix=KEY)
    def delete_prefix(self, prefix: str) -> None:
        gone = [key for key in self.objects if key.startswith(f"{prefix}/")]
        assert self.store.delete_prefix(prefix) == len(gone)
        for key in gone:
            del self.objects[key]

    @rule()
    def clean_up(self) -> None:
        assert self.store.remove_stale_uploads(timedelta(seconds=-60)) == 0

    @rule(key=KEY, start=st.integers(0, 50), length=st.integers(0, 50), size=st.integers(1, 50))
    def read(self, key: str, start: int, length: int, size: int) -> None:
        if key not in self.objects:
            with pytest.raises(ObjectNotFound):
                self.store.stream(key, start=start, end=start + length)
            assert not self.store.exists(key)
            return
        data, attributes = self.objects[key]
        assert self.store.get(key) == data
        assert (
            b"".join(self.store.stream(key, chunk_size=size, start=start, end=start + length))
            == data[start : start + length]
        )
        assert self.store.head(key).size == len(data)
        assert self.store.attributes(key).items() >= attributes.items()
        assert not (self.store.attributes(key).keys() & {"one", "two"}) - attributes.keys()

    @rule(prefix=st.one_of(st.just(""), KEY), suffix=st.sampled_from(["", "b"]), limit=st.integers(1, 5))
    def list_in_pages(self, prefix: str, suffix: str, limit: int) -> None:
        listed, after = [], None
        while True:
            page = self.store.list_page(prefix, suffix=suffix, after=after, limit=limit)
            listed += [info.key for info in page.items]
            if (after := page.next) is None:
                break
        under = [key for key in self.objects if not prefix or key.startswith(f"{prefix}/")]
        assert listed == sorted(key for key in under if key.endswith(suffix))
        assert self.store.list_names(prefix) == sorted(
            {rest.split("/")[0] for key in under if "/" in (rest := key[len(prefix) + 1 if prefix else 0 :])}
        )

    @invariant()
    def it_lists_what_it_holds(self) -> None:
        assert [(info.key, info.size) for info in self.store.list()] == sorted(
            (key, len(data)) for key, (data, _) in self.objects.items()
        )

    def in_the_way(self, key: str) -> bool:
        """Whether a folder cannot hold `key`, for another object is one of its folders or lies in it."""
        return self.folders and any(
            other.startswith(f"{key}/") or key.startswith(f"{other}/") for other in self.objects
        )


class MemoryMachine(StoreMachine):
    @initialize()
    def open(self) -> None:
        self.store = open_store("memory://").scoped("a scope")


class FolderMachine(StoreMachine):
    folders = True

    @initialize()
    def open(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="ecluse-machine-"))
        self.store = open_store(f"file://{self.root}")

    @precondition(lambda self: hasattr(self, "root"))
    @invariant()
    def it_leaves_nothing_else(self) -> None:
        files = {path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file()}
        records = {file for file in files if file.startswith(".attributes/")}
        assert files - records == set(self.objects)
        assert len(records) == sum(bool(attributes) for _, attributes in self.objects.values())
        empty = [path for path in self.root.rglob("*") if path.is_dir() and not any(path.iterdir())]
        assert [path.name for path in empty] in ([], [".attributes"])

    def teardown(self) -> None:
        if hasattr(self, "root"):
            shutil.rmtree(self.root)


LIMITS = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestMemory = MemoryMachine.TestCase
TestMemory.settings = LIMITS
TestFolder = FolderMachine.TestCase
TestFolder.settings = LIMITS
