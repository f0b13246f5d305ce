"""Kill a migration, or the server it writes to, at many moments: it goes on, and no row is ever wrong."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ecluse import migration
from ecluse.catalog import journal
from ecluse.errors import EcluseError
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from tests.application import KEPT, run_ecluse
from tests.faults import Fault, FaultProxy, Plan, fault_proxy, kind
from tests.migrating import Sizes, all_pointers, check_rows, contents, fill
from tests.servers import ObjectServer, store_environment
from tests.support.deaths import die_in_command
from tests.support.wait import slow_for, wait_until


@contextmanager
def read_meanwhile(runtime: Runtime) -> Iterator[list[str]]:
    """Read all that every row points at, over and over, while the block runs; what went wrong is in the list."""
    wrong: list[str] = []
    ended = threading.Event()
    rounds = 0

    def read() -> None:
        nonlocal rounds
        while not ended.is_set():
            try:
                check_rows(runtime)
            except (EcluseError, AssertionError) as error:
                wrong.append(f"{type(error).__name__}: {error}")
            rounds += 1

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield wrong
    finally:
        ended.set()
        thread.join()
    assert rounds > 1


def environment(endpoint: str, home: Path) -> dict[str, str]:
    """A local store, and the keys of a server at this address."""
    return store_environment(endpoint) | {"ECLUSE_STORE_URL": f"file://{home}/store"}


def started(home: Path, environ: dict[str, str], *arguments: str) -> subprocess.Popen[bytes]:
    variables = {name: os.environ[name] for name in KEPT if name in os.environ} | environ
    return subprocess.Popen(
        [sys.executable, "-m", "ecluse", "migrate", *arguments, "--home", str(home)],
        env=variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def wait_until_met(plan: Plan, process: subprocess.Popen[bytes]) -> None:
    """Wait until a request meets its fault, or the process has ended without."""
    wait_until(lambda: plan.hits or process.poll() is not None, "a request that meets its fault", 120)


def wait_until_held(runtime: Runtime, migration_id: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until a process holds a migration, or has ended without."""

    def is_held() -> bool:
        return process.poll() is not None or migration.find(runtime.catalog, migration_id).held_by is not None

    wait_until(is_held, "a hold of the migration", 120)


def journal_of(runtime: Runtime, migration_id: str) -> dict[str, journal.Entry]:
    with runtime.catalog.read() as transaction:
        return {entry.key: entry for entry in journal.entries(transaction, migration_id)}


@pytest.fixture
def proxy(object_server: ObjectServer) -> Iterator[FaultProxy]:
    with fault_proxy(object_server.endpoint, seed=5) as running:
        yield running


@pytest.fixture
def open_home(object_server: ObjectServer, tmp_path: Path) -> Iterator[Runtime]:
    """A runtime with a local store that reaches the server past any proxy."""
    home = tmp_path / "home"
    settings = Settings.from_environment(environment(object_server.endpoint, home), home=home)
    with Runtime.open(settings) as runtime:
        runtime.accounts.local_administrator()
        yield runtime


def planned(runtime: Runtime, source: str, destination: str) -> str:
    plan = migration.plan(
        runtime.catalog,
        runtime.stores,
        migration.Request(source=source, destination=destination, switch_rows=True),
    )
    return plan.id or ""


#: Where the process is killed: in the middle of the n-th request of a kind, over all of its lives.
MOMENTS = [
    ("PutObject", Fault.HOLD_REQUEST, 0),
    ("GetObject", Fault.HOLD_RESPONSE, 1),
    ("HeadObject", Fault.LATENCY, 4),
    ("GetObject", Fault.HOLD_RESPONSE, 5),
    ("PutObject", Fault.HOLD_REQUEST, 9),
    ("UploadPart", Fault.HOLD_REQUEST, 1),
    ("CompleteMultipartUpload", Fault.LATENCY, 0),
    ("GetObject", Fault.HOLD_RESPONSE, 12),
]


@pytest.mark.nightly
def test_a_run_killed_at_many_moments_copies_nothing_twice_that_had_arrived(
    open_home: Runtime, proxy: FaultProxy, tmp_path: Path
) -> None:
    fill(open_home, Sizes(models=6, files=3, file_bytes=1_500_000, tables=8))
    fill(open_home, Sizes(models=2, files=1, file_bytes=20_000_000, tables=0))
    before, rows = contents(open_home.data), len(all_pointers(open_home))
    migration_id = planned(open_home, "data", f"s3://models/{tmp_path.name}")
    home, environ = open_home.settings.home, environment(proxy.endpoint, open_home.settings.home)
    kills, settled = 0, dict[str, int]()
    with read_meanwhile(open_home) as wrong:
        for request, fault, after in MOMENTS:
            process: list[subprocess.Popen[bytes]] = []
            ready = threading.Event()

            def kill(
                process: list[subprocess.Popen[bytes]] = process, ready: threading.Event = ready
            ) -> None:
                ready.wait()
                process[0].kill()

            plan = proxy.plan(fault, when=kind(request), after=after, action=kill)
            process.append(started(home, environ, "run", migration_id))
            ready.set()
            if fault is Fault.LATENCY:
                wait_until_met(plan, process[0])
                process[0].kill()
            kills += process[0].wait(120) != 0
            plan.times = 0
            now = journal_of(open_home, migration_id)
            for key, times in settled.items():
                assert (now[key].state, now[key].times_copied) == ("verified", times), key
            settled = {key: entry.times_copied for key, entry in now.items() if entry.state == "verified"}
        done = run_ecluse(home, environ, "migrate", "run", migration_id)
        assert done.returncode == 0, done.stderr
    assert wrong == []
    assert kills >= 5
    assert check_rows(open_home) == {"s3": rows}
    assert contents(open_home.stores.folder(f"s3://models/{tmp_path.name}")) == before
    assert copies_after_arrival(proxy) == {}
    again = [entry for entry in journal_of(open_home, migration_id).values() if entry.times_copied > 1]
    assert len(again) <= kills * 64  # 8 groups of at most 8 small objects are announced at a time
    assert all(entry.times_copied <= 1 + kills for entry in again)
    assert migration.verify(open_home.catalog, open_home.stores, migration_id).passed


def copies_after_arrival(proxy: FaultProxy) -> Counter[str]:
    """How often a write was begun of an object that the server had whole already, by its own word."""
    arrived, again = set[str](), Counter[str]()
    for request in proxy.requests:
        if request.kind in ("PutObject", "CreateMultipartUpload") and request.key in arrived:
            again[request.key] += 1
        if request.kind in ("PutObject", "CompleteMultipartUpload") and request.status == 200:
            arrived.add(request.key)
    return again


@pytest.mark.nightly
def test_a_rollback_killed_at_many_moments_leaves_the_rows_right(
    open_home: Runtime, proxy: FaultProxy, tmp_path: Path
) -> None:
    fill(open_home, Sizes(models=4, files=3, file_bytes=200_000, tables=30))
    before, rows = contents(open_home.data), all_pointers(open_home)
    there = f"s3://models/{tmp_path.name}"
    migration_id = planned(open_home, "data", there)
    migration.run(open_home.catalog, open_home.stores, migration_id)
    home, environ = open_home.settings.home, environment(proxy.endpoint, open_home.settings.home)
    with read_meanwhile(open_home) as wrong:
        for after in (0, 2, 30):
            plan = proxy.plan(
                Fault.LATENCY, when=kind("DeleteObjects", "DeleteObject"), after=after, delay=0.3
            )
            process = started(home, environ, "rollback", migration_id, "--yes")
            wait_until_met(plan, process)
            process.kill()
            process.wait()
            plan.times = 0
        done = run_ecluse(home, environ, "migrate", "rollback", migration_id, "--yes")
        assert done.returncode == 0, done.stderr
    assert wrong == []
    assert all_pointers(open_home) == rows
    assert contents(open_home.data) == before
    assert contents(open_home.stores.folder(there)) == {}


@pytest.mark.nightly
def test_a_run_outlives_a_server_that_is_killed_and_comes_back(
    restartable: ObjectServer, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    environ = environment(restartable.endpoint, home)
    with Runtime.open(Settings.from_environment(environ, home=home)) as runtime:
        runtime.accounts.local_administrator()
        fill(runtime, Sizes(models=6, files=3, file_bytes=9_000_000, tables=5))
        before, rows = contents(runtime.data), len(all_pointers(runtime))
        there = f"s3://models/{tmp_path.name}"
        migration_id = planned(runtime, "data", there)
        process = started(home, environ, "run", migration_id)
        wait_until(
            lambda: migration.summary(runtime.catalog, migration_id).settled.objects, "an object there"
        )
        assert process.poll() is None
        restartable.kill()
        check_rows(runtime)
        slow_for(2)
        restartable.start()
        assert process.wait(200) == 0
        assert check_rows(runtime) == {"s3": rows}
        assert contents(runtime.stores.folder(there)) == before


@pytest.mark.nightly
def test_a_run_through_a_line_that_breaks_often_arrives_whole(
    open_home: Runtime, proxy: FaultProxy, tmp_path: Path
) -> None:
    fill(open_home, Sizes(models=5, files=4, file_bytes=300_000, tables=20))
    before, rows = contents(open_home.data), len(all_pointers(open_home))
    there = f"s3://models/{tmp_path.name}"
    migration_id = planned(open_home, "data", there)
    proxy.rate(0.05)
    home = open_home.settings.home
    done = run_ecluse(home, environment(proxy.endpoint, home), "migrate", "run", migration_id)
    assert done.returncode == 0, done.stderr
    assert sum(request.fault is not None for request in proxy.requests) > 3
    assert check_rows(open_home) == {"s3": rows}
    assert contents(open_home.stores.folder(there)) == before


@pytest.mark.nightly
def test_a_byte_that_changes_on_the_way_is_noticed(
    open_home: Runtime, proxy: FaultProxy, tmp_path: Path
) -> None:
    """What is read again differs from what was written: it is written and read anew."""
    fill(open_home, Sizes(models=1, files=2, file_bytes=100_000, tables=2))
    before = contents(open_home.data)
    there = f"s3://models/{tmp_path.name}"
    migration_id = planned(open_home, "data", there)
    plan = proxy.plan(Fault.CORRUPT, when=kind("GetObject"), times=3)
    home = open_home.settings.home
    done = run_ecluse(home, environment(proxy.endpoint, home), "migrate", "run", migration_id)
    assert done.returncode == 0, done.stderr
    assert len(plan.hits) == 3
    assert contents(open_home.stores.folder(there)) == before
    check_rows(open_home)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_run_on_folders_killed_at_random_moments_arrives_whole(
    runtime: Runtime, tmp_path: Path, seed: int
) -> None:
    runtime.accounts.local_administrator()
    fill(runtime, Sizes(models=5, files=3, file_bytes=3_000_000, tables=20), seed)
    before, rows = contents(runtime.data), len(all_pointers(runtime))
    elsewhere = f"file://{tmp_path}/elsewhere"
    migration_id = planned(runtime, "data", elsewhere)
    draw, home = random.Random(seed), runtime.settings.home
    with read_meanwhile(runtime) as wrong:
        for _ in range(4):
            process = started(home, {}, "run", migration_id)
            wait_until_held(runtime, migration_id, process)
            slow_for(draw.uniform(0.0, 0.6))
            process.kill()
            process.wait()
        done = run_ecluse(home, {}, "migrate", "run", migration_id)
        assert done.returncode == 0, done.stderr
    assert wrong == []
    assert check_rows(runtime) == {"file": rows}
    assert {pointer.url.startswith(elsewhere) for pointer in all_pointers(runtime)} == {True}
    assert contents(runtime.stores.open(elsewhere)) == before
    entries = journal_of(runtime, migration_id).values()
    assert {entry.state for entry in entries} == {"verified"}
    assert max(entry.times_copied for entry in entries) <= 5


def test_a_run_and_a_rollback_that_die_at_a_point_go_on(runtime: Runtime, tmp_path: Path) -> None:
    runtime.accounts.local_administrator()
    fill(runtime, Sizes(models=3, files=3, file_bytes=3_000, tables=5))
    before, rows = contents(runtime.data), all_pointers(runtime)
    elsewhere = f"file://{tmp_path}/elsewhere"
    migration_id = planned(runtime, "data", elsewhere)
    home, command = runtime.settings.home, ("migrate", "run", migration_id)
    with read_meanwhile(runtime) as wrong:
        for point in ("move.copied", "move.copied", "move.switch"):
            die_in_command(point, home, {}, *command)
        assert all_pointers(runtime) == rows
        done = run_ecluse(home, {}, *command)
        assert done.returncode == 0, done.stderr
        assert check_rows(runtime) == {"file": len(rows)}
        assert contents(runtime.stores.open(elsewhere)) == before
        back = ("migrate", "rollback", migration_id, "--yes")
        die_in_command("move.removed", home, {}, *back)
        done = run_ecluse(home, {}, *back)
        assert done.returncode == 0, done.stderr
    assert wrong == []
    assert all_pointers(runtime) == rows
    assert contents(runtime.data) == before
    assert contents(runtime.stores.open(elsewhere)) == {}
