"""Migrate 40 models of 5 files (1.8 GB) from a folder to SeaweedFS and back, rows included, with kills on the way.

    python -m benchmarks.migration [--models 40] [--megabytes 9] [--undisturbed]

In each direction our process is killed once (SIGKILL) and the server once; it is started again 2 s later. A
reader goes over the rows of the catalog all the while and reads and hashes what they point at. What is
printed: seconds from the first start to the last end, MB/s over that time, objects whose copy was begun more
than once beyond the 8 that are on their way when a process dies, and what was verified. Everything is read
again and hashed at the end of each direction, apart from what the migration itself verifies.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ecluse import migration
from ecluse.catalog import journal
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.storage import LONG_PATIENCE
from tests.migrating import all_pointers, check_row, check_rows, contents, publish
from tests.servers import ObjectServer, seaweedfs, store_environment

#: Seconds for which the server is away.
AWAY = 2.0


@dataclass
class Reader:
    """Rows read and hashed while the migrations ran, and those that were wrong."""

    checked: int = 0
    wrong: list[str] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=40)
    parser.add_argument("--megabytes", type=float, default=9.0)
    parser.add_argument("--undisturbed", action="store_true", help="kill nothing, for the rate alone")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, seaweedfs(Path(name) / "server") as server:
        home = Path(name) / "home"
        environ = store_environment(server.endpoint) | {"ECLUSE_STORE_URL": f"file://{home}/store"}
        with Runtime.open(Settings.from_environment(environ, home=home), patience=LONG_PATIENCE) as runtime:
            fill(runtime, arguments.models, int(arguments.megabytes * 1e6))
            before = contents(runtime.data)
            size = sum(info.size for info in runtime.data.list())
            print(f"{len(before)} objects, {size / 1e6:.0f} MB, {len(all_pointers(runtime))} rows")
            places = [str(runtime.data.url), "s3://models/moved", f"file://{name}/back"]
            for source, destination in itertools.pairwise(places):
                disturbed = None if arguments.undisturbed else server
                move(runtime, environ, disturbed, source, destination, before)


def fill(runtime: Runtime, models: int, size: int) -> None:
    user_id = runtime.accounts.local_administrator().id
    for number in range(models):
        with tempfile.TemporaryDirectory() as name:
            for file in range(5):
                (Path(name) / f"part{file}.bin").write_bytes(os.urandom(size))
            publish(runtime, user_id, f"dataset{number}", Path(name))


def move(
    runtime: Runtime,
    environ: dict[str, str],
    server: ObjectServer | None,
    source: str,
    destination: str,
    before: dict[str, str],
) -> None:
    """One direction: from the plan to everything read again."""
    plan = migration.plan(
        runtime.catalog,
        runtime.stores,
        migration.Request(source=source, destination=destination, switch_rows=True),
    )
    migration_id, kills = str(plan.id), 0
    with reading(runtime) as reader:
        began = time.monotonic()
        process = started(runtime, environ, migration_id)
        if server is not None:
            until(runtime, migration_id, process, 0.3)
            process.kill()
            process.wait()
            kills += 1
            process = started(runtime, environ, migration_id)
            until(runtime, migration_id, process, 0.6)
            server.kill()
            time.sleep(AWAY)
            server.start()
        while process.wait() != 0:
            raise SystemExit(f"the run ended with code {process.returncode}")
        seconds = time.monotonic() - began
    with runtime.catalog.read() as transaction:
        entries = journal.entries(transaction, migration_id)
        rows = journal.migration_of(transaction, migration_id).rows_switched
    again = sum(max(entry.times_copied - 1, 0) for entry in entries)
    size = sum(entry.size for entry in entries)
    assert contents(runtime.stores.folder(destination)) == before
    assert migration.verify(runtime.catalog, runtime.stores, migration_id).passed
    check_rows(runtime)
    print(f"{source.partition(':')[0]} to {destination.partition(':')[0]}: {seconds:.1f} s, ", end="")
    print(f"{size / 1e6 / seconds:.0f} MB/s; kills of ours {kills}, of the server {int(server is not None)}")
    print(f"  copies begun again {again}, beyond those on their way {max(again - kills * 8, 0)}; ", end="")
    print(f"rows switched {rows}; rows read meanwhile {reader.checked}, wrong {len(reader.wrong)}")
    print(f"  every byte verified: {len(before)} of {len(entries)} objects")
    assert reader.wrong == [], reader.wrong


def started(runtime: Runtime, environ: dict[str, str], migration_id: str) -> subprocess.Popen[bytes]:
    home = str(runtime.settings.home)
    command = [sys.executable, "-m", "ecluse", "migrate", "run", migration_id, "--home", home]
    return subprocess.Popen(command, env=os.environ | environ, stdout=subprocess.DEVNULL)


def until(runtime: Runtime, migration_id: str, process: subprocess.Popen[bytes], share: float) -> None:
    """Wait until this share of the bytes is verified at the destination."""
    while True:
        found = migration.summary(runtime.catalog, migration_id)
        if found.settled.size >= share * found.everything.size:
            return
        assert process.poll() is None, "the run ended before it was to be disturbed"
        time.sleep(0.05)


@contextmanager
def reading(runtime: Runtime) -> Iterator[Reader]:
    """Read one row's objects after another until the block ends; a row switched meanwhile is read anew."""
    reader, ended = Reader(), threading.Event()

    def read() -> None:
        while not ended.is_set():
            for number in range(len(all_pointers(runtime))):
                pointer = all_pointers(runtime)[number]
                try:
                    check_row(runtime, pointer)
                except Exception as error:  # noqa: BLE001 (whatever it is, the row was not right)
                    reader.wrong.append(f"{pointer.url}: {error}")
                reader.checked += 1
                if ended.wait(0.1):
                    return

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield reader
    finally:
        ended.set()
        thread.join()


if __name__ == "__main__":
    main()
