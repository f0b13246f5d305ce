"""Answer one row, and 64 clients at once: Écluse beside `mlflow models serve` and LitServe, the same model in one run.

    python -m benchmarks.serving [--seconds 8] [--clients 64] [--environments DIR] [--without mlflow litserve] [--fraud]

The model is a classifier of XGBoost (100 trees, 20 columns of numbers), trained here. Peers are installed with it into
environments of their own below `--environments` (made where they are missing). Écluse is `ecluse web` with one process,
asked with a token; MLflow is `mlflow models serve --env-manager local` (its server, as many workers as it starts by
itself), which answers the label alone; LitServe is one worker with batches of at most 64 within 2 ms. Each is asked by
the same client in a process of its own, over connections that stay open: first by one that asks again as soon as it is
answered (p50, p99 of one row), then by `--clients` (rows a second, p50, p99). Every answer is compared with what the
model says here.

`--fraud`: a model of fraud, trained on the sample, scores one transaction with its reasons over HTTP.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import xgboost

import ecluse
from benchmarks.environments import installer
from tests.application import running

COLUMNS: Final = 20
PEERS: Final = {
    "mlflow": ["mlflow>=3.17.2,<4", "xgboost-cpu>=3.2", "scikit-learn>=1.9", "pandas"],
    "litserve": ["litserve", "xgboost-cpu>=3.2", "scikit-learn>=1.9"],
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
    def batch(self, inputs):
        return numpy.stack(inputs)
    def predict(self, rows):
        return self.model.predict_proba(rows)[:, 1]
    def unbatch(self, output):
        return list(output)
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
class Asked:
    """Where a server is asked about one row, and how its answer is read."""

    address: str
    headers: dict[str, str]
    place: tuple[Any, ...]
    is_label: bool = False

    def body(self, row: list[float]) -> bytes:
        word = "inputs" if self.address.endswith("/invocations") else "rows"
        return json.dumps({word: [row]}).encode()


@dataclass(frozen=True)
class Measured:
    p50: float
    p99: float
    rows_per_second: float
    worst: float


def main() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # both ways to stop it end the servers
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument(
        "--environments", type=Path, default=Path(tempfile.gettempdir()) / "ecluse-serving-peers"
    )
    parser.add_argument("--without", nargs="*", choices=tuple(PEERS), default=[])
    parser.add_argument("--fraud", action="store_true")
    parser.add_argument("--client", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.client:
        asked, seconds, clients, rows = arguments.client
        print(
            json.dumps(
                asyncio.run(client(Asked(**json.loads(asked)), float(seconds), int(clients), Path(rows)))
            )
        )
        return
    with tempfile.TemporaryDirectory(prefix="ecluse-serving-") as folder:
        if arguments.fraud:
            fraud(Path(folder), arguments.seconds)
        else:
            compare(Path(folder), arguments)


def compare(folder: Path, arguments: argparse.Namespace) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(2_000, COLUMNS))
    model = xgboost.XGBClassifier(n_estimators=100, max_depth=6).fit(
        rows, (rows[:, 0] * rows[:, 1] > 0).astype(int)
    )
    model.save_model(folder / "model.ubj")
    np.savez(folder / "rows.npz", rows=rows, expected=model.predict_proba(rows)[:, 1])
    results: dict[str, tuple[Measured, Measured]] = {}
    for name in ("ecluse", *(peer for peer in PEERS if peer not in arguments.without)):
        with serving(name, folder, model, rows, arguments.environments) as asked:
            alone = measured(asked, arguments.seconds, 1, folder)
            results[name] = (alone, measured(asked, arguments.seconds, arguments.clients, folder))
            show(name, *results[name], arguments.clients)
    ours = results["ecluse"]
    for name, (alone, together) in results.items():
        if name != "ecluse":
            print(
                f"ecluse / {name}: p50 of one row {ours[0].p50 / alone.p50:.2f}, "
                f"rows a second {ours[1].rows_per_second / together.rows_per_second:.2f}"
            )


def show(name: str, alone: Measured, together: Measured, clients: int) -> None:
    print(
        f"{name:9} one row p50 {alone.p50:6.2f} ms p99 {alone.p99:7.2f} ms | {clients} clients "
        f"{together.rows_per_second:7.0f} rows/s p50 {together.p50:7.2f} ms p99 {together.p99:7.2f} ms | "
        f"farthest answer {max(alone.worst, together.worst):.1e}",
        flush=True,
    )


# Servers


@contextmanager
def serving(name: str, folder: Path, model: Any, rows: Any, environments: Path) -> Iterator[Asked]:
    if name == "ecluse":
        with running(folder / "home", role="web", forked=False) as application:
            token = application.token()
            with ecluse.Client(application.address, token) as client:
                client.publish(model, "bench", example=rows, alias="production")
            address = f"{application.address}/api/models/bench@production/predict"
            yield Asked(address, {"authorization": f"Bearer {token}"}, ("answers", 0, "probability_1"))
        return
    python = environment(name, environments)
    port = free_port()
    if name == "mlflow":
        saved = folder / "mlflow-model"
        subprocess.run(
            [python, "-c", SAVE_MLFLOW, folder / "model.ubj", saved], check=True, capture_output=True
        )
        command: list[str | Path] = [
            python, "-m", "mlflow", "models", "serve", "-m", saved, "-p", str(port), "--env-manager", "local",
        ]  # fmt: skip
        asked = Asked(f"http://127.0.0.1:{port}/invocations", {}, ("predictions", 0), is_label=True)
    else:
        (folder / "lit.py").write_text(LITSERVE)
        command = [python, folder / "lit.py", folder / "model.ubj", str(port)]
        asked = Asked(f"http://127.0.0.1:{port}/predict", {}, ("probability",))
    with (folder / f"{name}.log").open("wb") as log:
        path = {
            "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"
        }  # MLflow starts its server by name
        process = subprocess.Popen(
            command, stdout=log, stderr=log, start_new_session=True, cwd=folder, env={**os.environ, **path}
        )
    try:
        wait_for(asked, process, folder / f"{name}.log")
        yield asked
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    for kind in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, kind)
        except ProcessLookupError:
            break
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def environment(name: str, environments: Path) -> Path:
    """Return the Python of an environment that has the packages of a peer; made where it is missing."""
    place = environments / name
    python = place / "bin" / "python"
    if not (place / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
        subprocess.run(
            [installer(), "pip", "install", "--quiet", "--python", python, *PEERS[name]], check=True
        )
        (place / "ready").touch()
    return python


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def wait_for(asked: Asked, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 180
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        try:
            answer = httpx.post(asked.address, content=asked.body([0.0] * COLUMNS), headers=JSON, timeout=5)
            if answer.is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise SystemExit(f"it did not answer:\n{log.read_text()[-3000:]}")


# The client, in a process of its own

JSON: Final = {"content-type": "application/json"}


def measured(asked: Asked, seconds: float, clients: int, folder: Path) -> Measured:
    described = json.dumps(asdict(asked))
    command = [sys.executable, "-m", "benchmarks.serving", "--client", described, str(seconds), str(clients)]
    done = subprocess.run([*command, str(folder / "rows.npz")], check=True, stdout=subprocess.PIPE)
    return Measured(**json.loads(done.stdout))


async def client(asked: Asked, seconds: float, clients: int, file: Path) -> dict[str, float]:
    """Ask by raw HTTP/1.1, so that what is measured is the server and not a client's library."""
    data = np.load(file)
    rows, expected = data["rows"].tolist(), data["expected"]
    if asked.is_label:
        expected = (expected > 0.5).astype(int)
    host, port = asked.address.split("/")[2].split(":")
    path = "/" + asked.address.split("/", 3)[3]
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n" + "".join(
        f"{name}: {value}\r\n" for name, value in asked.headers.items()
    )
    requests = []
    for row in rows:
        body = asked.body(row)
        requests.append(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    times: list[float] = []
    worst = 0.0
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(requests[0])  # the model is loaded
    await read_answer(reader)
    writer.close()
    begins = time.perf_counter() + 1.0
    ends = begins + seconds

    async def one(first: int) -> None:
        nonlocal worst
        reader, writer = await asyncio.open_connection(host, int(port))
        at = first
        while (now := time.perf_counter()) < ends:
            at = (at + clients) % len(rows)
            writer.write(requests[at])
            answer = json.loads(await read_answer(reader))
            if now >= begins:  # what comes before is to warm up
                times.append(time.perf_counter() - now)
            value: Any = answer
            for key in asked.place:
                value = value[key]
            worst = max(worst, abs(value - expected[at]))
        writer.close()

    await asyncio.gather(*(one(number) for number in range(clients)))
    times.sort()
    return {
        "p50": statistics.median(times) * 1000,
        "p99": times[int(len(times) * 0.99)] * 1000,
        "rows_per_second": len(times) / seconds,
        "worst": float(worst),
    }


async def read_answer(reader: asyncio.StreamReader) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    if not head.startswith("http/1.1 200"):
        raise SystemExit(f"{head}{(await reader.read(2000)).decode()}")
    if "transfer-encoding: chunked" in head:
        parts = []
        while (size := int((await reader.readline()).strip(), 16)) > 0:
            parts.append(await reader.readexactly(size))
            await reader.readline()
        await reader.readline()
        return b"".join(parts)
    return await reader.readexactly(int(head.split("content-length:")[1].split("\r\n")[0]))


# Fraud


def fraud(folder: Path, seconds: float) -> None:
    """Score one transaction with its reasons over HTTP, again and again."""
    import polars as pl

    from ecluse import models
    from ecluse.apps.fraud.sample import generate
    from ecluse.apps.fraud.training.training import TrainingPlan, train
    from ecluse.models import Origin
    from ecluse.runtime import Runtime
    from ecluse.settings import Settings
    from ecluse.tabular.dataset import open_table

    sample = generate(rows=20_000, seed=3, fraud_share=0.03)
    sample.head(19_000).write_csv(folder / "labelled.csv")
    sample.tail(1_000).drop("is_fraud").write_csv(folder / "later.csv")
    plan = TrainingPlan(
        "is_fraud",
        time_column="timestamp",
        customer_column="customer_id",
        identifier_columns=("transaction_id",),
        budget_s=20.0,
    )
    with open_table(folder / "labelled.csv") as table:
        train(table, plan, folder / "model", lambda stage, share, message: None)
    with running(folder / "home", role="web", forked=False) as application:
        token = application.token()
        with Runtime.open(Settings.from_environment(application.environ, home=application.home)) as runtime:
            (owner,) = [user for user in runtime.accounts.everyone() if user.email == "person@example.org"]
            files = [path for path in (folder / "model").iterdir() if path.is_file()]
            origin = Origin(application="fraud")
            models.publish(runtime, owner.id, "cards", files, metadata={}, origin=origin)
        sent = pl.read_csv(folder / "later.csv").to_dicts()
        with httpx.Client(headers={"authorization": f"Bearer {token}"}, timeout=60) as client:
            times: list[float] = []
            inside: list[float] = []
            until = time.perf_counter() + seconds
            while time.perf_counter() < until or len(times) < 50:
                began = time.perf_counter()
                row = sent[len(times) % len(sent)]
                answer = client.post(f"{application.address}/api/models/cards/predict", json={"rows": [row]})
                times.append((time.perf_counter() - began) * 1000)
                inside.append(answer.raise_for_status().json()["milliseconds"])
                assert answer.json()["answers"][0]["reason_1"]
    times, inside = sorted(times[10:]), sorted(inside[10:])
    print(
        f"fraud, one transaction with reasons: p50 {statistics.median(times):.1f} ms, "
        f"p99 {times[int(len(times) * 0.99)]:.1f} ms "
        f"over HTTP; of these the model p50 {statistics.median(inside):.1f} ms; {len(times)} requests"
    )


if __name__ == "__main__":
    main()
