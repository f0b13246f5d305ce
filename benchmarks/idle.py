"""Measure what a web process and a worker cost that have nothing to do, on SQLite and on PostgreSQL.

    python -m benchmarks.idle [--seconds 60] [--databases sqlite,postgresql] [--output figures.json]

Printed for each process: its processor time (user and system, of its children too) as a share of one core, so that
what else runs on the machine hardly moves it; and the transactions of its database in a second, with those that
wrote. Of PostgreSQL these are `xact_commit + xact_rollback` of `pg_stat_database` (any client's of that database), of
SQLite what `benchmarks/counted` saw in the process: a BEGIN, or a statement by itself. A read of `PRAGMA data_version`
is none.

All are measured at once, each with a home and a database of its own: `web` that nobody asks; `web, page` with the
empty list of jobs open in a real browser; `web, waiting` with that list in the browser and a job in it that waits, as
no worker runs, so that the page asks again and again; and `worker` without jobs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import psycopg

from tests.application import KEPT, Application, running
from tests.servers import postgresql

#: What a start costs is over by then; sweeps of every few minutes are part of being idle.
SETTLED_S = 20.0
ROLES = ("web", "web, page", "web, waiting", "worker")
TABLE = b"amount,is_fraud\n" + b"1,0\n2,1\n" * 50


@dataclass(frozen=True)
class Idle:
    """What one process cost: `core` is a share of one core, the others are of a second; None: not counted there."""

    database: str
    role: str
    core: float
    transactions: float
    writing: float | None


@dataclass(frozen=True)
class Measured:
    """A process under way, and where its transactions are counted."""

    database: str
    role: str
    process: psutil.Process
    #: A folder that each process counts into, or the address of the PostgreSQL with a database of this home's name.
    counted: Path | str
    home: str

    def cost(self) -> tuple[float, int, int]:
        """Seconds of processor, transactions, and transactions that wrote, since it began."""
        all_, writing = (
            sqlite_transactions(self.counted)
            if isinstance(self.counted, Path)
            else (postgresql_transactions(self.counted, self.home), 0)
        )
        return processor_seconds(self.process), all_, writing


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--databases", default="sqlite,postgresql")
    parser.add_argument("--output", type=Path, help="keep the figures there, as JSON")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = ""
        if "postgresql" in arguments.databases:
            server = stack.enter_context(postgresql())
            stop_upkeep_of(server)
        measured = [
            stack.enter_context(idling(folder, database, role, server))
            for database in arguments.databases.split(",")
            for role in ROLES
        ]
        figures = measure(measured, arguments.seconds)
    for line in table(figures):
        print(line)
    if arguments.output:
        arguments.output.write_text(json.dumps([asdict(figure) for figure in figures], indent=1))


def measure(measured: list[Measured], seconds: float) -> list[Idle]:
    time.sleep(SETTLED_S)
    began, before = time.monotonic(), [one.cost() for one in measured]
    time.sleep(seconds)
    after, passed = [one.cost() for one in measured], time.monotonic() - began
    figures = []
    for one, old, new in zip(measured, before, after, strict=True):
        core, transactions, writing = ((n - o) / passed for o, n in zip(old, new, strict=True))
        known = isinstance(one.counted, Path)
        figures.append(Idle(one.database, one.role, core, transactions, writing if known else None))
    return figures


def table(figures: list[Idle]) -> Iterator[str]:
    """The lines of a Markdown table."""
    yield "| database | process | of one core | transactions a second | of these writing |"
    yield "|---|---|---|---|---|"
    for idle in figures:
        writing = "" if idle.writing is None else f"{idle.writing:.2f}"
        yield (f"| {idle.database} | {idle.role} | {idle.core:.2%} | {idle.transactions:.2f} | {writing} |")


@contextmanager
def idling(folder: Path, database: str, role: str, server: str) -> Iterator[Measured]:
    """A process with a home and a database of its own, until the block ends."""
    name = f"{database}_{role.replace(', ', '_')}"
    counted: Path | str
    if database == "postgresql":
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        counted, environ = server, {"DATABASE_URL": server.replace("/postgres?", f"/{name}?")}
    else:
        counted = folder / f"{name}_counted"
        counted.mkdir()
        paths = (str(Path(__file__).parent / "counted"), os.environ.get("PYTHONPATH"))
        environ = {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "COUNTED_TRANSACTIONS": str(counted)}
    home = folder / name
    with worker(home, environ) if role == "worker" else web(home, environ, role) as pid:
        yield Measured(database, role, psutil.Process(pid), counted, name)


@contextmanager
def worker(home: Path, environ: Mapping[str, str]) -> Iterator[int]:
    variables = {name: os.environ[name] for name in KEPT if name in os.environ} | dict(environ)
    process = subprocess.Popen(
        [sys.executable, "-m", "ecluse", "worker", "--home", str(home)],
        env=variables,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        assert "ready" in process.stderr.readline()
        yield process.pid
    finally:
        process.terminate()
        process.wait()


@contextmanager
def web(home: Path, environ: Mapping[str, str], role: str) -> Iterator[int]:
    """A web process, with a page of it open in a browser unless nobody asks."""
    with running(home, environ, role="web") as application:
        if role == "web":
            yield application.process.pid
            return
        with open_page(application, waiting=role == "web, waiting"):
            yield application.process.pid


@contextmanager
def open_page(application: Application, *, waiting: bool) -> Iterator[None]:
    """The list of jobs in a browser of its own; `waiting`: with a job in it that waits, so that the page follows it.

    The browser is a process of its own: Playwright drives one from one thread alone.
    """
    if waiting:
        with application.client("idle@example.org") as client:
            client.post("/api/upload", files={"file": ("t.csv", TABLE)}).raise_for_status()
    else:
        application.client("idle@example.org").close()
    made = application.command("users", "link", "idle@example.org", "--json")
    assert made.returncode == 0, made.stderr
    link = json.loads(made.stdout)["sign_in_link"]
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.idle_page", application.address, link],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "open"
        yield
    finally:
        with contextlib.suppress(BrokenPipeError):
            process.communicate("close\n", timeout=30)


def stop_upkeep_of(server: str) -> None:
    """Its own upkeep makes transactions that would be counted, some twenty a minute."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET autovacuum = off")
        connection.execute("SELECT pg_reload_conf()")


def postgresql_transactions(server: str, database: str) -> int:
    """Of this database by anyone; asked in another one, so that asking does not count."""
    with psycopg.connect(server, autocommit=True) as connection:
        row = connection.execute(
            "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = %s", (database,)
        ).fetchone()
    assert row is not None
    return int(row[0])


def sqlite_transactions(folder: Path) -> tuple[int, int]:
    """All, and those that wrote, of every process that counts into this folder."""
    pairs = [struct.unpack("QQ", file.read_bytes()) for file in folder.iterdir()]
    return sum(all_ for all_, _ in pairs), sum(writing for _, writing in pairs)


def processor_seconds(process: psutil.Process) -> float:
    """User and system time of a process and of its children, those that have ended too."""
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            total += times.user + times.system
            if one == process:
                total += times.children_user + times.children_system
    return total


if __name__ == "__main__":
    main()
