"""Measure what one call to each list of the API costs a web process: its milliseconds of processor, and statements.

    python -m benchmarks.calls [--database postgresql|sqlite] [--scale 0.1] [--requests 60] [--rounds 3]
        [--beside FOLDER]

The application is asked within the process that is measured, by ASGI, so neither the client nor the reading of HTTP is
in the figures, nor what the database does. The lists are those of `benchmarks.lists`, of the rows that it writes.
`--beside`: a checkout of another release, which is measured in turn over the same rows, in processes of their own; its
figures stand first, then the share of them that this one needs, and whether both answered the same to the byte. A
figure is that of the five calls in a row which took the least, as whatever else runs takes caches away.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI
from sqlalchemy import event

from benchmarks.lists import MINE, Sizes, database, fill
from ecluse import logs
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.web.app import make_app

LISTS: Final = tuple(address.format(page=1) for address in MINE if address.startswith("/api/"))
WARM: Final = 5
FEW: Final = 5
HERE: Final = Path(__file__).parents[1]


@dataclass(frozen=True)
class Figures:
    """Milliseconds of processor of a call, its statements, and a digest of what was answered."""

    milliseconds: float
    statements: float
    digest: str


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--database", choices=("postgresql", "sqlite"), default="postgresql")
    parser.add_argument("--scale", type=float, default=0.1)
    parser.add_argument("--requests", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--beside", type=Path)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        _measure_here(**json.loads(arguments.child))
        return
    with tempfile.TemporaryDirectory() as folder, database(arguments.database) as environ:
        home = Path(folder) / "home"
        with Runtime.open(Settings.from_environment(environ, home=home)) as runtime:
            reader = runtime.accounts.add("reader@example.org")
            token, _row = runtime.accounts.create_token(reader.id, "benchmark")
            fill(runtime, reader.id, Sizes(arguments.scale))
        plan = {"environ": environ, "home": str(home), "token": token, "requests": arguments.requests}
        trees = [HERE] if arguments.beside is None else [arguments.beside.resolve(), HERE]
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {arguments.database}", flush=True)
        show([[_measured(tree, plan) for tree in trees] for _ in range(arguments.rounds)])


def show(rounds: list[list[dict[str, Figures]]]) -> None:
    """Print the median of the rounds for each list, and of two releases the share that the second needs."""
    print(f"{'list':44} {'ms':>15} {'share':>6} {'statements':>11}")
    for address in LISTS:
        each = [[measured[address] for measured in measurement] for measurement in rounds]
        times = [
            statistics.median(figures.milliseconds for figures in tree) for tree in zip(*each, strict=True)
        ]
        shares = [figures[-1].milliseconds / figures[0].milliseconds for figures in each]
        statements = " → ".join(f"{figures.statements:.0f}" for figures in each[0])
        is_same = len({figures.digest for measurement in each for figures in measurement}) == 1
        print(
            f"{address:44} {' → '.join(f'{each_time:.2f}' for each_time in times):>15} "
            f"{statistics.median(shares):6.2f} {statements:>11}{'' if is_same else '  other bytes'}"
        )


def _measured(tree: Path, plan: Mapping[str, Any]) -> dict[str, Figures]:
    command = [sys.executable, "-m", "benchmarks.calls", "--child", json.dumps(plan)]
    variables = os.environ | {"PYTHONPATH": f"{tree / 'src'}{os.pathsep}{HERE}"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=variables, cwd=HERE)
    return {address: Figures(*figures) for address, figures in json.loads(done.stdout).items()}


def _measure_here(environ: Mapping[str, str], home: str, token: str, requests: int) -> None:
    with (
        Runtime.open(Settings.from_environment(environ, home=Path(home))) as runtime,
        Path(os.devnull).open("w", encoding="utf-8") as log,
    ):
        logs.set_up("web", stream=log)
        caller = Caller(runtime, make_app(runtime), token)
        print(json.dumps({address: asyncio.run(caller.measure(address, requests)) for address in LISTS}))


class Caller:
    """Someone with a token who calls the application within this process."""

    def __init__(self, runtime: Runtime, app: FastAPI, token: str) -> None:
        self._app = app
        self._token = token
        self._statements = 0
        event.listen(runtime.catalog.engine, "before_cursor_execute", self._count)

    async def measure(self, address: str, requests: int) -> tuple[float, float, str]:
        """Return the milliseconds of processor and the statements of a call, and the digest of an answer."""
        for _ in range(WARM):
            body = await self.call(address)
        self._statements, times = 0, []
        for _ in range(requests // FEW):
            began = time.process_time()
            for _ in range(FEW):
                await self.call(address)
            times.append(1000 * (time.process_time() - began) / FEW)
        statements = self._statements / (FEW * len(times))
        return min(times), statements, hashlib.sha256(body).hexdigest()

    async def call(self, address: str) -> bytes:
        """Ask once; return the body of the answer."""
        path, _, query = address.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "server": ("127.0.0.1", 8000),
            "client": ("127.0.0.1", 50000),
            "scheme": "http",
            "method": "GET",
            "root_path": "",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(b"host", b"127.0.0.1:8000"), (b"authorization", f"Bearer {self._token}".encode())],
            "state": {},
        }
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await self._app(scope, receive, send)
        body = b"".join(message.get("body", b"") for message in sent)
        assert sent[0]["status"] == 200, f"{address}: {sent[0]['status']} {body[:300]!r}"
        return body

    def _count(self, *_: Any) -> None:
        self._statements += 1


if __name__ == "__main__":
    os.environ.setdefault("TZ", "UTC")
    main()
