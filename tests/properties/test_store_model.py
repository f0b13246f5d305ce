"""A store that fails at random behaves as a dictionary whose failed writes may or may not have happened."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from ecluse.errors import EcluseError, ObjectExists, ObjectNotFound
from ecluse.settings import Settings
from ecluse.storage import ObjectStore, open_store
from tests.faults import NATURAL, Fault, FaultProxy, fault_proxy
from tests.servers import ObjectServer

KEYS = ("a", "b/1", "b/2", "bc")
key = st.sampled_from(KEYS)
#: Without those that are as good as a conflict to who does not try again.
FAULTS = tuple(fault for fault in NATURAL if fault not in (Fault.SLOW_DOWN, Fault.TOO_MANY, Fault.ERROR))
#: The fault of one step, and which of the step's requests it hits.
trouble = st.none() | st.tuples(st.sampled_from(FAULTS), st.integers(0, 2))
Trouble = tuple[Fault, int] | None


class Unsure(RuleBasedStateMachine):
    """`may[key]` holds every value the object may have; None stands for no object."""

    proxy: ClassVar[FaultProxy]

    @initialize()
    def open(self) -> None:
        found = Settings.from_environment(self.proxy.environment(uuid.uuid4().hex))
        # Without patience each fault is an error: the doubt is what is tested here.
        self.store: ObjectStore = open_store(
            found.store_url, found.access, patience=timedelta(milliseconds=1)
        )
        self.may: dict[str, set[bytes | None]] = {key: {None} for key in KEYS}
        self.written = 0

    @rule(key=key, trouble=trouble, streamed=st.booleans())
    def put(self, key: str, trouble: Trouble, streamed: bool) -> None:
        data = self.fresh()
        put = self.store.put_stream if streamed else self.store.put
        try:
            self.under(trouble, lambda: put(key, [data] if streamed else data))  # type: ignore[arg-type, list-item]
        except EcluseError:
            self.may[key].add(data)
        else:
            self.may[key] = {data}

    @rule(key=key, trouble=trouble)
    def create(self, key: str, trouble: Trouble) -> None:
        data = self.fresh()
        try:
            self.under(trouble, lambda: self.store.put(key, data, create_only=True))
        except ObjectExists:
            assert self.may[key] != {None}, "nothing was there"
            self.may[key].discard(None)
        except EcluseError:
            if None in self.may[key]:
                self.may[key].add(data)
        else:
            assert None in self.may[key], "it was written over"
            self.may[key] = {data}

    @rule(key=key, trouble=trouble)
    def delete(self, key: str, trouble: Trouble) -> None:
        try:
            self.under(trouble, lambda: self.store.delete(key))
        except EcluseError:
            self.may[key].add(None)
        else:
            self.may[key] = {None}

    @rule(trouble=trouble)
    def delete_prefix(self, trouble: Trouble) -> None:
        under = [key for key in KEYS if key.startswith("b/")]
        try:
            self.under(trouble, lambda: self.store.delete_prefix("b"))
        except EcluseError:
            for key in under:
                self.may[key].add(None)
        else:
            for key in under:
                self.may[key] = {None}

    @rule(key=key, trouble=trouble, how=st.sampled_from(["get", "stream", "download"]))
    def read(self, key: str, trouble: Trouble, how: str) -> None:
        try:
            found: bytes | None = self.under(trouble, lambda: self.content(key, how))
        except ObjectNotFound:
            found = None
        except EcluseError:
            return
        assert found in self.may[key]
        self.may[key] = {found}

    @rule(trouble=trouble, prefix=st.sampled_from(["", "b"]))
    def list(self, trouble: Trouble, prefix: str) -> None:
        try:
            found = self.under(trouble, lambda: {info.key: info.size for info in self.store.list(prefix)})
        except EcluseError:
            return
        asked = [key for key in KEYS if not prefix or key.startswith("b/")]
        assert set(found) <= set(asked)
        for key in asked:
            assert found.get(key) in {None if value is None else len(value) for value in self.may[key]}

    def content(self, key: str, how: str) -> bytes:
        if how == "get":
            return self.store.get(key)
        if how == "stream":
            return b"".join(self.store.stream(key))
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "target"
            try:
                self.store.download(key, target)
            except EcluseError:
                assert list(Path(folder).iterdir()) == []
                raise
            return target.read_bytes()

    def fresh(self) -> bytes:
        """A value of a length no other has."""
        self.written += 1
        return b"x" * 100 * self.written

    def under(self, trouble: Trouble, act: Callable[[], Any]) -> Any:
        if trouble:
            self.proxy.plan(trouble[0], after=trouble[1], delay=0.001)
        try:
            return act()
        finally:
            self.proxy.clear()


@pytest.mark.nightly
def test_after_any_faults_an_object_is_one_of_those_it_may_be(object_server: ObjectServer) -> None:
    with fault_proxy(object_server.endpoint) as Unsure.proxy:
        run_state_machine_as_test(  # type: ignore[no-untyped-call]
            Unsure,
            settings=settings(
                max_examples=25,
                stateful_step_count=30,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
