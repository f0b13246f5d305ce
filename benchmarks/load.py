"""Load web processes and their workers: metadata at a steady rate, lists at saturation, uploads at once, jobs a minute.

    python -m benchmarks.load [steady lists uploads jobs] [--database postgresql|sqlite] [--scale 1.0] [--web 1]

`steady`: 200 calls a second to the lists of the API in turn, of the rows that `benchmarks.lists` writes, for 30 s. Each
call begins at its time whether or not those before it were answered, and its milliseconds count from that time, so that
a queue before the server is seen. `lists`: 8 clients that ask again as soon as they are answered, for 5 s of each list;
requests a second. `uploads`: 20 tables of 50 MB at once; seconds until all are stored, MB/s, memory of the server.
`jobs`: 120 jobs that score a table of 1,000 rows, two owners' in turn, with 1, 2 and 4 workers that are up before the
first is asked for; jobs a minute from the first start to the last end. The client is a process of its own and has its
share of the processors. Printed beside are the load of the machine before and the seconds of processor of the server.
`--web`: so many web processes over one home answer `steady` and `lists`, each its share of the connections.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import psutil

from benchmarks.idle import processor_seconds
from benchmarks.lists import MINE, Sizes, database, fill
from benchmarks.serving import read_answer
from benchmarks.upload import PeakMemory, resident, upload, write_table
from ecluse.apps.fraud.sample import write_sample
from ecluse.runtime import Runtime, living_workers
from ecluse.settings import Settings
from tests.application import KEPT, Application, running

RATE, STEADY_S = 200, 30
CLIENTS, EACH_S = 8, 5
UPLOADS, UPLOAD_MB = 20, 50
JOBS, WORKERS, OWNERS = 120, (1, 2, 4), ("anna@example.org", "ben@example.org")
LISTS: Final = tuple(address.format(page=1) for address in MINE if address.startswith("/api/"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--database", choices=("postgresql", "sqlite"), default="postgresql")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--web", type=int, default=1)
    parser.add_argument("--client", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.client:
        print(json.dumps(asyncio.run(_ask_as_planned(**json.loads(arguments.client)))))
        return
    parts = arguments.parts or list(PARTS)
    if unknown := set(parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {arguments.database}", flush=True)
    for part in parts:
        with tempfile.TemporaryDirectory() as folder, database(arguments.database) as environ:
            PARTS[part](Path(folder), environ, Sizes(arguments.scale), arguments.web)


def measure_lists(
    folder: Path, environ: Mapping[str, str], sizes: Sizes, number: int, *, steady: bool
) -> None:
    """Ask for lists of long tables, at a steady rate or as fast as they are answered."""
    home = folder / "home"
    with running(home, environ, role="web") as first, first.client() as client, ExitStack() as stack:
        reader = client.get("/api/me").raise_for_status().json()["id"]
        with Runtime.open(Settings.from_environment(first.environ, home=home)) as runtime:
            fill(runtime, reader, sizes)
        others = (stack.enter_context(running(home, environ, role="web")) for _ in range(number - 1))
        servers, token = [first, *others], first.token()
        for server in servers:
            for address in LISTS * 3:  # the first ones also load what is imported when it is used
                asked = httpx.get(
                    f"{server.address.rstrip('/')}{address}", headers=_bearing(token), timeout=60
                )
                asked.raise_for_status()
        if steady:
            _measure_rate(servers, token)
            return
        for address in LISTS:
            answer = _asked_by_client(
                servers, token, addresses=[address], rate=None, clients=CLIENTS, seconds=EACH_S
            )
            print(f"{address:44} {answer['answered'] / EACH_S:7.0f} requests/s, p50 {answer['p50']:.0f} ms")


def _bearing(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _measure_rate(servers: Sequence[Application], token: str) -> None:
    before = sum(map(_spent, servers))
    answer = _asked_by_client(
        servers, token, addresses=list(LISTS), rate=RATE, clients=CLIENTS * 4, seconds=STEADY_S
    )
    spent = sum(map(_spent, servers)) - before
    print(
        f"{RATE} calls/s for {STEADY_S} s: {answer['answered']:.0f} answered, {answer['failed']:.0f} not; "
        f"p50 {answer['p50']:.1f} ms, p99 {answer['p99']:.1f} ms, slowest {answer['slowest']:.0f} ms; "
        f"{len(servers)} web process(es) used {spent / STEADY_S:.2f} of a core"
    )


def _asked_by_client(servers: Sequence[Application], token: str, **plan: Any) -> dict[str, float]:
    plan |= {"servers": [each.address for each in servers], "token": token}
    command = [sys.executable, "-m", "benchmarks.load", "--client", json.dumps(plan)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


async def _ask_as_planned(
    servers: list[str], token: str, addresses: list[str], rate: float | None, clients: int, seconds: float
) -> dict[str, float]:
    """Ask over `clients` connections; with a rate, each call has a time at which it begins, and counts from it."""
    places = [server.removeprefix("http://").rstrip("/").split(":") for server in servers]
    host = places[0][0]
    requests = [
        f"GET {address} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        for address in addresses
    ]
    times: list[float] = []
    failed = 0
    begins = time.perf_counter() + 0.5
    calls = iter(range(round(rate * seconds))) if rate else iter(range(10**9))

    async def ask(host: str, port: str) -> None:
        nonlocal failed
        reader, writer = await asyncio.open_connection(host, int(port))
        for number in calls:
            due = begins + number / rate if rate else max(begins, time.perf_counter())
            if due > begins + seconds:
                break
            await asyncio.sleep(max(0, due - time.perf_counter()))
            writer.write(requests[number % len(requests)])
            try:
                await read_answer(reader)
            except SystemExit:  # another answer than 200, whose rest is not read
                failed += 1
                writer.close()
                reader, writer = await asyncio.open_connection(host, int(port))
            else:
                times.append(1000 * (time.perf_counter() - due))
        writer.close()

    await asyncio.gather(*(ask(*places[at % len(places)]) for at in range(clients)))
    return {
        "answered": len(times),
        "failed": failed,
        "p50": statistics.median(times),
        "p99": statistics.quantiles(times, n=100)[98],
        "slowest": max(times),
    }


def _spent(application: Application) -> float:
    """Return the seconds of processor of a server so far."""
    return processor_seconds(psutil.Process(application.process.pid))


def measure_uploads(folder: Path, environ: Mapping[str, str]) -> None:
    """Upload tables at once."""
    source = write_table(folder / "table.csv", UPLOAD_MB)
    with running(folder / "home", environ, role="web") as application, ExitStack() as stack:
        clients = [stack.enter_context(application.client()) for _ in range(UPLOADS)]
        upload(clients[0], write_table(folder / "small.csv", 1))
        before, watch = resident(application), PeakMemory(application)
        began = time.perf_counter()
        with watch, ThreadPoolExecutor(UPLOADS) as pool:
            each = list(pool.map(lambda client: upload(client, source), clients))
        passed = time.perf_counter() - began
    print(
        f"{UPLOADS} uploads of {UPLOAD_MB} MB at once: {passed:.1f} s ({UPLOADS * UPLOAD_MB / passed:.0f} MB/s), "
        f"each {min(each):.1f} to {max(each):.1f} s; server {before:.0f} MB before, {watch.peak:.0f} MB at most"
    )


def measure_jobs(folder: Path, environ: Mapping[str, str]) -> None:
    """Score tables with one, two and four workers."""
    home = folder / "home"
    sample = write_sample(folder, rows=6000, score_rows=1000)
    with running(home, environ, role="web") as application, ExitStack() as stack:
        clients = [stack.enter_context(application.client(email)) for email in OWNERS]
        with workers(application, 1):
            tables = [_prepare(application, client, sample.labelled, sample.unlabelled) for client in clients]
        for number in WORKERS:
            with workers(application, number):
                _score(clients, tables, number)


def _prepare(application: Application, client: httpx.Client, labelled: Path, unlabelled: Path) -> str:
    """Train a model and return the id of a table that it scores."""

    def stored(file: Path) -> str:
        with file.open("rb") as opened:
            body = client.post("/api/upload", files={"file": (file.name, opened)}).raise_for_status().json()
        application.wait_for_job(client, body["job"])
        return str(body["id"])

    body = {"dataset": stored(labelled), "model_name": "load", "target_column": "is_fraud", "budget_s": 4}
    trained = client.post("/api/train", json=body).raise_for_status().json()["job"]
    ended = application.wait_for_job(client, trained, seconds=600)
    assert ended["status"] == "done", ended
    return stored(unlabelled)


def _score(clients: list[httpx.Client], tables: list[str], number: int) -> None:
    asked = [
        (
            client,
            client.post("/api/predict", json={"dataset": table, "model": "load"}).raise_for_status().json(),
        )
        for _ in range(JOBS // len(clients))
        for client, table in zip(clients, tables, strict=True)
    ]
    starts, ends = [], []
    for client, body in asked:
        job = _ended(client, body["job"])
        assert job["status"] == "done", job
        starts.append(datetime.fromisoformat(job["started_at"]))
        ends.append(datetime.fromisoformat(job["finished_at"]))
    passed = (max(ends) - min(starts)).total_seconds()
    print(f"{number} workers: {60 * len(asked) / passed:.0f} jobs a minute ({len(asked)} in {passed:.1f} s)")


def _ended(client: httpx.Client, job: str) -> dict[str, Any]:
    while (body := client.get(f"/api/status/{job}").raise_for_status().json())["status"] in (
        "queued",
        "running",
    ):
        time.sleep(0.3)
    return dict(body)


@contextmanager
def workers(application: Application, number: int) -> Iterator[None]:
    """Run workers beside a web process until the block ends; they have begun to look for jobs by then."""
    variables = {name: os.environ[name] for name in KEPT if name in os.environ} | application.environ
    command = [sys.executable, "-m", "ecluse", "worker", "--home", str(application.home)]
    started = [
        subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(number)
    ]
    try:
        _wait_for_workers(application, number)
        yield
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(60)


def _wait_for_workers(application: Application, number: int) -> None:
    with Runtime.open(Settings.from_environment(application.environ, home=application.home)) as runtime:
        while len(living_workers(runtime)) != number:
            time.sleep(0.2)


PARTS: Final[dict[str, Callable[[Path, Mapping[str, str], Sizes, int], None]]] = {
    "steady": partial(measure_lists, steady=True),
    "lists": partial(measure_lists, steady=False),
    "uploads": lambda folder, environ, _sizes, _number: measure_uploads(folder, environ),
    "jobs": lambda folder, environ, _sizes, _number: measure_jobs(folder, environ),
}


if __name__ == "__main__":
    os.environ.setdefault("TZ", "UTC")
    main()
