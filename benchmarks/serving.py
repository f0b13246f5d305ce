"""Answer one row, and 64 clients at once: Écluse beside `mlflow models serve` and LitServe, the same model in one run.

    python -m benchmarks.serving [--seconds 8] [--clients 64] [--peers mlflow,litserve]

The model is a classifier of XGBoost (100 trees, 20 columns of numbers), trained here. Écluse is one `ecluse web`, asked
with a token; MLflow runs with `--env-manager local` and as many workers as it starts by itself; LitServe is one worker
with batches of at most 64 within 2 ms. Peers are installed once, in environments of their own.

The client is a process of its own that speaks HTTP/1.1 over connections that stay open. Printed are milliseconds of one
client that asks again as soon as it is answered (p50, p99), and of `--clients` such, with the rows that are answered in
a second; and the farthest that an answer was from the model's own (MLflow answers the label, the others a probability).
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import xgboost

import ecluse
from benchmarks.measuring import installed, options, print_table, spawned, wait_for
from tests.application import running
from tests.servers import free_port

COLUMNS: Final = 20
PINS: Final = {
    "mlflow": ("mlflow>=3.17.2,<4", "xgboost-cpu>=3.2", "scikit-learn>=1.9", "pandas"),
    "litserve": ("litserve", "xgboost-cpu>=3.2", "scikit-learn>=1.9"),
}
LITSERVE: Final = """
import sys
import litserve, numpy, xgboost

class API(litserve.LitAPI):
    def setup(self, device):
        self.model = xgboost.XGBClassifier(n_jobs=1)
        self.model.load_model(sys.argv[1])
    def decode_request(self, request):
        return numpy.asarray(request["rows"][0])
    def predict(self, rows):
        return self.model.predict_proba(rows)[:, 1]
    def encode_response(self, output):
        return {"probability": float(output)}

if __name__ == "__main__":
    server = litserve.LitServer(API(max_batch_size=64, batch_timeout=0.002), accelerator="cpu", workers_per_device=1)
    server.run(port=int(sys.argv[2]), host="127.0.0.1", generate_client_file=False)
"""
SAVE_MLFLOW: Final = """
import sys
import mlflow.xgboost, xgboost
model = xgboost.XGBClassifier()
model.load_model(sys.argv[1])
mlflow.xgboost.save_model(model, sys.argv[2], model_format="ubj")
"""


@dataclass(frozen=True)
class Server:
    """Where a server is asked about one row in the field `field`, and the keys that lead to the figure it answers."""

    port: int
    path: str
    keys: tuple[str | int, ...]
    field: str = "rows"
    token: str = ""

    def request(self, row: list[float]) -> bytes:
        body = json.dumps({self.field: [row]})
        head = f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        head += f"Authorization: Bearer {self.token}\r\nContent-Length: {len(body)}\r\n\r\n"
        return (head + body).encode()


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--peers", default=",".join(PINS), help="empty: Écluse alone")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ecluse-serving-") as name:
        compare(Path(name), arguments.peers.split(","), arguments.seconds, arguments.clients)


def compare(folder: Path, peers: list[str], seconds: float, clients: int) -> None:
    rows = np.random.default_rng(0).normal(size=(2_000, COLUMNS))
    labels = (rows[:, 0] * rows[:, 1] > 0).astype(int)
    model = xgboost.XGBClassifier(n_estimators=100, max_depth=6).fit(rows, labels)
    model.save_model(folder / "model.ubj")
    data = rows.tolist(), model.predict_proba(rows)[:, 1].tolist()
    found = {}
    for name in ("Écluse", *(peer for peer in PINS if peer in peers)):
        serving = serving_peer(name, folder) if name in PINS else serving_ecluse(folder, model, rows)
        with serving as server:
            found[name] = [spawned(measured, server, seconds, at_once, *data) for at_once in (1, clients)]
    mine, ours = found["Écluse"]
    print_table(
        (
            "",
            "one row p50, ms",
            "p99",
            f"rows/s of {clients}",
            "p50, ms",
            "p99",
            "farthest",
            "p50 ×",
            "rows/s ×",
        ),
        [
            (
                *(name, one["p50"], one["p99"], many["rows"], many["p50"], many["p99"], many["farthest"]),
                *(mine["p50"] / one["p50"], ours["rows"] / many["rows"]),
            )
            for name, (one, many) in found.items()
        ],
    )


# Servers


@contextmanager
def serving_ecluse(folder: Path, model: Any, rows: Any) -> Iterator[Server]:
    with running(folder / "home", role="web", forked=False) as application:
        token = application.token()
        with ecluse.Client(application.address, token) as client:
            client.publish(model, "bench", example=rows, alias="production")
        port = int(application.address.rpartition(":")[2])
        path = "/api/models/bench@production/predict"
        yield Server(port, path, ("answers", 0, "probability_1"), token=token)


@contextmanager
def serving_peer(name: str, folder: Path) -> Iterator[Server]:
    python, port, log = installed(name, PINS[name]), free_port(), folder / f"{name}.log"
    if name == "mlflow":
        saved = folder / "mlflow-model"
        subprocess.run(
            [python, "-c", SAVE_MLFLOW, folder / "model.ubj", saved], check=True, capture_output=True
        )
        command: list[Any] = [python, "-m", "mlflow", "models", "serve", "-m", saved, "-p", str(port)]
        command += ["--env-manager", "local"]
        server = Server(port, "/invocations", ("predictions", 0), "inputs")
    else:
        (folder / "lit.py").write_text(LITSERVE)
        command = [python, folder / "lit.py", folder / "model.ubj", str(port)]
        server = Server(port, "/predict", ("probability",))
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"  # MLflow starts its server by name
    with log.open("wb") as said:
        process = subprocess.Popen(
            command,
            stdout=said,
            stderr=said,
            start_new_session=True,
            cwd=folder,
            env={**os.environ, "PATH": path},
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/health", process, log)
        yield server
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # with its workers
        process.wait()


# The client, in a process of its own


def measured(
    server: Server, seconds: float, clients: int, rows: list[list[float]], expected: list[float]
) -> dict[str, float]:
    """Milliseconds until an answer, p50 and p99; answers in a second; and the farthest from what was expected."""
    return asyncio.run(ask(server, seconds, clients, [server.request(row) for row in rows], expected))


async def ask(
    server: Server, seconds: float, clients: int, requests: list[bytes], expected: list[float]
) -> dict[str, float]:
    connections = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(clients)]
    times: list[float] = []
    farthest, ends = 0.0, float("inf")

    async def answered(at: int) -> None:
        nonlocal farthest
        reader, writer = connections[at % clients]
        writer.write(requests[at % len(requests)])
        value = await read_answer(reader)
        for key in server.keys:
            value = value[key]
        wanted = expected[at % len(requests)]
        if server.field == "inputs":  # a label
            wanted = wanted > 0.5
        farthest = max(farthest, abs(value - wanted))

    async def client(at: int) -> None:
        while (now := time.perf_counter()) < ends:
            await answered(at)
            times.append(time.perf_counter() - now)
            at += clients

    for number in range(clients):  # to warm up
        await answered(number)
    ends = time.perf_counter() + seconds
    await asyncio.gather(*(client(number) for number in range(clients)))
    times.sort()
    return {
        "p50": statistics.median(times) * 1000,
        "p99": times[int(len(times) * 0.99)] * 1000,
        "rows": len(times) / seconds,
        "farthest": float(farthest),
    }


async def read_answer(reader: asyncio.StreamReader) -> Any:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    body = await reader.readexactly(int(head.split("content-length:")[1].split("\r\n")[0]))
    if not head.startswith("http/1.1 200"):
        raise RuntimeError(f"{head}{body.decode()}")
    return json.loads(body)


if __name__ == "__main__":
    main()
