"""Measure a start, `./run` to the first answer of `/readyz`, and what processes cost that have nothing to do.

    python -m benchmarks.start_idle [--runs 5] [--seconds 60]

Start: everything is installed, the databases exist, the files are in the page cache; the first start does not count.
Printed are seconds by the clock and of the processors (of all processes), median (least to most).

Idle: a web process and a worker on SQLite and on PostgreSQL, each with a home of its own, all at once, for `--seconds`.
Printed are their processor time in percent of one core, and transactions in a second of PostgreSQL
(`xact_commit + xact_rollback`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import psutil
import psycopg

from benchmarks.measuring import ROOT, Spent, options, print_table, spread, wait_for
from tests.application import KEPT
from tests.servers import free_port, postgresql

#: What a start costs is over by then; sweeps of every few minutes are part of being idle.
SETTLED_S: Final = 20.0
IDLE: Final = ("sqlite_web", "sqlite_worker", "postgresql_web", "postgresql_worker")


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        measure_starts(Path(name) / "start", arguments.runs)
        measure_idle(Path(name), arguments.seconds)


# Start


def measure_starts(home: Path, runs: int) -> None:
    taken = [time_start(home) for _ in range(runs + 1)][1:]
    row = [spread(values) for values in zip(*taken, strict=True)]
    print_table(("start", "seconds", "of the processors"), [("./run", *row)])


def time_start(home: Path) -> Spent:
    """What it took until everything answers; then it is stopped."""
    port, began = free_port(), time.perf_counter()
    with started([str(ROOT / "run"), "up", "--home", str(home), "--port", str(port)]) as process:
        wait_for(f"http://127.0.0.1:{port}/readyz", process)
        return Spent(time.perf_counter() - began, processor_seconds(process.pid))


@contextmanager
def started(command: list[str], **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that runs while the block does, with no settings of the person who runs this."""
    environ = {name: os.environ[name] for name in KEPT if name in os.environ} | variables
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def processor_seconds(pid: int) -> float:
    """User and system time of a process and of its children, those that have ended too."""
    process, total = psutil.Process(pid), 0.0
    for one in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            user, system, *ended = one.cpu_times()
            total += user + system + (sum(ended[:2]) if one == process else 0.0)
    return total


# Idle


def measure_idle(folder: Path, seconds: float) -> None:
    with postgresql() as server, ExitStack() as stack:
        execute(server, "ALTER SYSTEM SET autovacuum = off")  # it makes transactions that would be counted
        execute(server, "SELECT pg_reload_conf()")
        pids = {name: stack.enter_context(idle(folder, name, server)).pid for name in IDLE}
        time.sleep(SETTLED_S)
        before = {name: cost(name, pid, server) for name, pid in pids.items()}
        time.sleep(seconds)
        after = {name: cost(name, pid, server) for name, pid in pids.items()}
    rows = []
    for name in IDLE:
        core, transactions = (
            (new - old) / seconds for new, old in zip(after[name], before[name], strict=True)
        )
        rows.append((name, f"{core:.2%}", transactions if name.startswith("postgresql") else None))
    print_table(("idle", "of one core", "transactions a second"), rows)


def idle(folder: Path, name: str, server: str) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """A process with a home and a database of its own."""
    database, role = name.split("_")
    command = [sys.executable, "-m", "ecluse", role, "--home", str(folder / name)]
    command += ["--port", str(free_port())] if role == "web" else []
    if database == "sqlite":
        return started(command)
    execute(server, f"CREATE DATABASE {name}")
    return started(command, DATABASE_URL=server.replace("/postgres?", f"/{name}?"))


def cost(name: str, pid: int, server: str) -> tuple[float, int]:
    """Seconds of the processors, and transactions of the database of this name, so far."""
    asked = f"SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = '{name}'"  # noqa: S608
    found = execute(server, asked)
    return processor_seconds(pid), int(found[0][0]) if found else 0


def execute(server: str, statement: str) -> list[Any]:
    """In a database that is not counted."""
    with psycopg.connect(server, autocommit=True) as connection:
        cursor = connection.execute(statement)  # type: ignore[call-overload]
        return cursor.fetchall() if cursor.description else []


if __name__ == "__main__":
    main()
