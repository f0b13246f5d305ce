"""Seconds from `./run` to the first answer of `/readyz`, and what processes cost that have nothing to do.

    python -m benchmarks.start_idle [--runs 5] [--seconds 60] [--databases sqlite,postgresql]

Start: everything is installed, the databases exist and the files are in the page cache; the first start does not count.
In turn where Python may write bytecode and where not. Printed are seconds by the clock and of the processors (of
`./run` and all that it started), median (least to most); and seconds of `ecluse --help`.

Idle: a web process and a worker on each database, each with a home of its own, all at once, for `--seconds`. Printed
are their processor time, with that of their children, in percent of one core; and transactions in a second of PostgreSQL
(`xact_commit + xact_rollback`). 0 leaves a part out.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import psutil
import psycopg

from benchmarks.measuring import ROOT, options, print_load, print_table, spread, timed, wait_for
from tests.application import KEPT
from tests.servers import free_port, postgresql

BYTECODE: Final[Mapping[str, Mapping[str, str]]] = {
    "./run": {},
    "./run, PYTHONDONTWRITEBYTECODE=1": {"PYTHONDONTWRITEBYTECODE": "1"},
}
#: What a start costs is over by then; sweeps of every few minutes are part of being idle.
SETTLED_S: Final = 20.0


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--databases", default="sqlite,postgresql")
    arguments = parser.parse_args()
    print_load()
    if arguments.runs:
        measure_starts(arguments.runs)
    if arguments.seconds:
        measure_idle(arguments.databases.split(","), arguments.seconds)
    print_load()


# Start


def measure_starts(runs: int) -> None:
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in BYTECODE}
    command = [sys.executable, "-m", "ecluse", "--help"]
    with tempfile.TemporaryDirectory() as home:
        for number in range(runs + 1):
            for name, variables in BYTECODE.items():
                start = time_start(Path(home), variables)
                taken[name] += [start] if number else []
    helped = [timed(lambda: subprocess.run(command, check=True, capture_output=True)) for _ in range(runs)]
    taken["ecluse --help"] = [tuple(spent) for spent in helped]
    rows = [(name, *(spread(values) for values in zip(*all_, strict=True))) for name, all_ in taken.items()]
    print_table(("start", "seconds", "of the processors"), rows)


def time_start(home: Path, variables: Mapping[str, str]) -> tuple[float, float]:
    """Seconds by the clock and of the processors until everything answers; then it is stopped."""
    port, began = free_port(), time.perf_counter()
    with started([str(ROOT / "run"), "up", "--home", str(home), "--port", str(port)], variables) as process:
        wait_for(f"http://127.0.0.1:{port}/readyz", process)
        return time.perf_counter() - began, processor_seconds(psutil.Process(process.pid))


@contextmanager
def started(command: list[str], variables: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that runs while the block does, with no settings of the person who runs this."""
    environ = {name: os.environ[name] for name in KEPT if name in os.environ} | dict(variables)
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def processor_seconds(process: psutil.Process) -> float:
    """User and system time of a process and of its children, those that have ended too."""
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            total += times.user + times.system
            total += times.children_user + times.children_system if one == process else 0.0
    return total


# Idle


def measure_idle(databases: list[str], seconds: float) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(postgresql()) if "postgresql" in databases else ""
        if server:
            stop_upkeep(server)
        processes: dict[tuple[str, str], psutil.Process] = {}
        for database in databases:
            for role in ("web", "worker"):
                name = f"{database}_{role}"
                variables = {"DATABASE_URL": new_database(server, name)} if database == "postgresql" else {}
                command = [sys.executable, "-m", "ecluse", role, "--home", str(folder / name)]
                command += ["--port", str(free_port())] if role == "web" else []
                process = stack.enter_context(started(command, variables))
                processes[database, role] = psutil.Process(process.pid)
        time.sleep(SETTLED_S)
        began, before = time.monotonic(), {key: cost(key, one, server) for key, one in processes.items()}
        time.sleep(seconds)
        passed = time.monotonic() - began
        rows = []
        for key, process in processes.items():
            used, transactions = (
                new - old for new, old in zip(cost(key, process, server), before[key], strict=True)
            )
            counted = transactions / passed if key[0] == "postgresql" else None
            rows.append((*key, f"{used / passed:.2%}", counted))
    print_table(("idle, database", "process", "of one core", "transactions a second"), rows)


def cost(key: tuple[str, str], process: psutil.Process, server: str) -> tuple[float, int]:
    """Seconds of the processors and transactions so far."""
    assert process.is_running(), f"{key} has ended"
    return processor_seconds(process), transactions(server, "_".join(key)) if key[0] == "postgresql" else 0


def new_database(server: str, name: str) -> str:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return server.replace("/postgres?", f"/{name}?")


def stop_upkeep(server: str) -> None:
    """The server's own upkeep makes transactions that would be counted."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET autovacuum = off")
        connection.execute("SELECT pg_reload_conf()")


def transactions(server: str, database: str) -> int:
    """Of a database by anyone; asked in another one, so that asking does not count."""
    asked = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = %s"
    with psycopg.connect(server, autocommit=True) as connection:
        row = connection.execute(asked, (database,)).fetchone()
    assert row is not None
    return int(row[0])


if __name__ == "__main__":
    main()
