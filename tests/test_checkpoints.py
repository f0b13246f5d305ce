"""Checkpoints outlive their worker, are never taken for other work, and go when their job has ended."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecluse import application, work
from ecluse import checkpoints as module
from ecluse.application import Application, ours_first
from ecluse.checkpoints import Checkpoints, checkpoints_of, checkpoints_prefix, from_bytes, tidied, to_bytes
from ecluse.errors import CatalogUnavailable, InvalidInput, StoreUnavailable
from ecluse.jobs import JobKind, Task
from ecluse.runtime import Runtime, Worker
from ecluse.settings import Settings
from tests.accounts import account
from tests.faults import fault_proxy
from tests.servers import ObjectServer
from tests.support.deaths import die_in_program
from tests.support.jobs import ended_job
from tests.support.wait import slow_for, wait_until


def test_the_next_worker_reads_what_was_saved_and_nobody_else_does(runtime: Runtime) -> None:
    before = Checkpoints(runtime, "user1", "job1")
    assert before.save("trial_1", b"some \n bytes", of="table a", force=True)
    assert before.save("trial_2", b"", of="table a", force=True)
    after = Checkpoints(runtime, "user1", "job1")
    assert after.load("trial_1", of="table a") == b"some \n bytes"
    assert after.load("trial_2", of="table a") == b""
    assert after.names() == ["trial_1", "trial_2"]
    assert after.load("trial_1", of="table b") is None
    assert after.load("trial_3", of="table a") is None
    assert Checkpoints(runtime, "user1", "job2").names() == []
    assert Checkpoints(runtime, "user2", "job1").load("trial_1", of="table a") is None
    after.clear()
    assert not [*runtime.data.list("user_data/user1")]


@pytest.mark.parametrize("damage", ["cut", "changed", "foreign", "renamed", "empty"])
def test_what_is_damaged_or_foreign_counts_as_none_and_is_warned_of(
    damage: str, runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    kept = Checkpoints(runtime, "user1", "job1")
    kept.save("part", b"0123456789", of="a", force=True)
    key = f"{checkpoints_prefix('user1', 'job1')}/part"
    stored = runtime.data.get(key)
    changed = {
        "cut": stored[:-3],
        "changed": stored.replace(b"5", b"6"),
        "foreign": b"\x80\x04" + stored,
        "renamed": stored.replace(b"\na\n", b"\nb\n"),
        "empty": b"",
    }
    runtime.data.put(key, changed[damage])
    assert kept.load("part", of="b" if damage == "renamed" else "a") is None
    assert "begins anew" in caplog.text


def test_saves_follow_each_other_no_faster_than_the_store_is_to_be_asked(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, took = 100.0, 0.0
    put = Checkpoints._put

    def slowly(*args: Any) -> bool:
        nonlocal now
        now += took
        return put(*args)

    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    monkeypatch.setattr(Checkpoints, "_put", slowly)
    kept = Checkpoints(runtime, "user1", "job1")
    assert not kept.save("part", b"0")
    assert not kept.is_worthwhile()
    now += module.SAVED_EVERY
    assert kept.is_worthwhile()
    assert kept.save("part", b"1")
    now += module.SAVED_EVERY - 0.1
    assert not kept.is_due()
    assert not kept.save("part", b"2")
    assert kept.load("part") == b"1"
    assert kept.save("part", b"3", force=True)
    now += module.SAVED_EVERY
    assert kept.is_due()
    took = 1.0
    assert kept.save("part", b"4")
    assert kept.load("part") == b"4"
    now += module.SAVED_EVERY
    assert not kept.is_due()
    now += module.TIMES_LONGER
    assert kept.is_due()


def test_too_large_a_checkpoint_is_refused_and_the_one_before_stays(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 1_000)
    monkeypatch.setattr(module, "MOST_BYTES_OF_JOB", 2_500)
    kept = Checkpoints(runtime, "user1", "job1")
    assert kept.save("part", b"small", force=True)
    assert not kept.save("part", bytes(1_001), force=True)
    assert kept.load("part") == b"small"
    assert kept.save("more", bytes(1_000), force=True)
    assert kept.save("most", bytes(1_000), force=True)
    assert not Checkpoints(runtime, "user1", "job1").save("too_many", bytes(1_000), force=True)
    assert "too large" in caplog.text


@pytest.mark.parametrize("name", ["", "../other", "a/b", "A", ".hidden", "x" * 101])
def test_a_name_cannot_lead_elsewhere(name: str, runtime: Runtime) -> None:
    with pytest.raises(ValueError, match="is no name of a checkpoint"):
        Checkpoints(runtime, "user1", "job1").save(name, b"")


def test_arrays_and_figures_come_back_and_pickles_are_refused() -> None:
    figures, arrays = {"name": "é", "score": 0.1 + 0.2, "rounds": [1, 2]}, {"margins": np.arange(5) / 7}
    back = from_bytes(to_bytes(figures, arrays))
    assert back is not None
    assert back[0] == figures
    assert np.array_equal(back[1]["margins"], arrays["margins"])
    with pytest.raises(ValueError, match="no arrays of numbers"):
        to_bytes({}, {"objects": np.array([{}], dtype=object)})
    assert from_bytes(b"PK no archive") is None
    assert from_bytes(None) is None


def test_a_store_that_is_away_costs_a_checkpoint_and_not_the_work(
    object_server: ObjectServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with fault_proxy(object_server.endpoint, seed=1) as proxy:
        settings = Settings.from_environment(proxy.environment(uuid.uuid4().hex), home=tmp_path / "home")
        with Runtime.open(settings, patience=timedelta(seconds=0.2)) as runtime:
            kept = Checkpoints(runtime, "user1", "job1")
            assert kept.save("part", b"1", force=True)
            proxy.rate(1.0)
            assert not kept.save("part", b"2", force=True)
            proxy.clear()
            assert kept.load("part") == b"1"
            assert kept.save("part", b"3", force=True)
            assert kept.load("part") == b"3"
    assert "was not kept; the work goes on" in caplog.text


class Jobs:
    """Runs one job, which saves a checkpoint and then ends as it is told."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.loaded: list[bytes | None] = []
        self.failed = 0
        self.saved = False

    def run(self, runtime: Runtime, task: Task, end: str) -> None:
        kept = checkpoints_of(runtime, task)
        self.loaded.append(kept.load("part"))
        kept.save("part", b"half of it", force=True)
        self.saved = True
        if end == "failed":
            raise InvalidInput("The table has one class only.")
        while end in ("cancelled", "stopped") and len(self.loaded) == 1:
            task.report("work", 0.5)
            slow_for(0.05)

    def ended(self, *_: Any, **__: Any) -> None:
        self.failed += 1

    def worker(self) -> Worker:
        return Worker(
            self.runtime,
            {
                "work": tidied(
                    JobKind(run=self.run, failed=self.ended, queue="profile", stages={"work": "Work"})
                )
            },
        )


@pytest.mark.parametrize("end", ["done", "failed", "cancelled", "stopped"])
def test_checkpoints_go_with_their_job_and_stay_for_the_next_worker(end: str, runtime: Runtime) -> None:
    jobs = Jobs(runtime)
    job_id = runtime.jobs.enqueue(
        "work", "profile", account(runtime.catalog, "user1"), "A table", {"end": end}
    )
    worker = jobs.worker()
    worker.start()
    wait_until(lambda: jobs.saved, "a checkpoint")
    if end == "cancelled":
        runtime.jobs.cancel("user1", job_id)
    if end == "stopped":
        worker.close()
        assert Checkpoints(runtime, "user1", job_id).load("part") == b"half of it"
        worker = jobs.worker()
        worker.start()
        worker.take_over()
    ended_job(runtime, "user1", job_id)
    wait_until(lambda: not Checkpoints(runtime, "user1", job_id).names(), "an end of its checkpoints")
    worker.close()
    assert jobs.loaded == ([None, b"half of it"] if end == "stopped" else [None])
    assert jobs.failed == (end == "failed")
    assert runtime.jobs.get("user1", job_id).status == ("done" if end == "stopped" else end)


SAVING = """
import sys
from ecluse.checkpoints import Checkpoints
from ecluse.runtime import Runtime
from ecluse.settings import Settings
with Runtime.open(Settings.from_environment()) as runtime:
    for part in (b"half of it", b"all of it"):
        Checkpoints(runtime, "user1", "job1").save("part", part, force=True)
"""


def test_a_checkpoint_is_whole_once_its_process_has_died(runtime: Runtime) -> None:
    die_in_program("checkpoint.kept", {"ECLUSE_HOME": str(runtime.settings.home)}, SAVING)
    assert Checkpoints(runtime, "user1", "job1").load("part") == b"half of it"


def test_the_upkeep_removes_what_jobs_left_that_ended_elsewhere(runtime: Runtime) -> None:
    jobs = [
        runtime.jobs.enqueue("work", "profile", account(runtime.catalog, "user1"), "A table", {"end": "done"})
        for _ in range(2)
    ]
    for job_id in (*jobs, "long_forgotten"):
        assert Checkpoints(runtime, "user1", job_id).save("part", b"half of it", force=True)
    assert module.reconcile(runtime) == 1
    runtime.jobs.cancel("user1", jobs[0])
    assert module.reconcile(runtime) == 1
    assert module.reconcile(runtime) == 0
    left = [info.key for info in runtime.data.list("user_data")]
    assert left == [f"{checkpoints_prefix('user1', jobs[1])}/part"]
    assert module.known_prefixes(runtime) == [checkpoints_prefix("user1", jobs[1])]


def test_a_store_that_is_away_at_the_end_is_asked_again_by_the_upkeep(
    object_server: ObjectServer, tmp_path: Path
) -> None:
    with fault_proxy(object_server.endpoint, seed=1) as proxy:
        settings = Settings.from_environment(proxy.environment(uuid.uuid4().hex), home=tmp_path / "home")
        with Runtime.open(settings, patience=timedelta(seconds=0.2)) as runtime:
            assert Checkpoints(runtime, "user1", "job1").save("part", b"1", force=True)
            proxy.rate(1.0)
            with pytest.raises(StoreUnavailable):
                module.reconcile(runtime)
            proxy.clear()
            assert module.reconcile(runtime) == 1
            assert not [*runtime.data.list("user_data")]


def test_what_stands_in_the_way_of_one_step_of_the_upkeep_holds_up_no_other_and_is_said_once(
    object_server: ObjectServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "ecluse.work")
    looks: list[str] = []
    parts = application.parts

    def due(name: str) -> Iterator[tuple[Application, Any]]:
        yield from [(ours_first()[0], lambda _: looks.append("due") or 1)] if name == "due" else parts(name)

    monkeypatch.setattr(application, "parts", due)
    with fault_proxy(object_server.endpoint, seed=1) as proxy:
        settings = Settings.from_environment(proxy.environment(uuid.uuid4().hex), home=tmp_path / "home")
        with Runtime.open(settings, patience=timedelta(seconds=0.2)) as runtime:
            assert Checkpoints(runtime, "user1", "job1").save("part", b"1", force=True)
            proxy.rate(1.0)
            assert [work.reconcile(runtime) for _ in range(2)] == [1, 1]
            proxy.clear()
            assert work.reconcile(runtime) == 2
    assert looks == ["due"] * 3
    said = [record.getMessage() for record in caplog.records if record.name == "ecluse.work"]
    assert len(said) == 2
    assert said[0].startswith("A step of the upkeep (checkpoints) is left for later: ")
    assert said[1] == "The upkeep goes on: checkpoints"


def test_a_catalog_that_is_away_ends_the_upkeep_at_once(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise CatalogUnavailable("it is stopped")

    monkeypatch.setattr(work, "STEPS", {"the first": refuse, "the second": lambda _: 1})
    with pytest.raises(CatalogUnavailable):
        work.reconcile(runtime)
