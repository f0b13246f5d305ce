"""Do the main jobs of every application over HTTP, as a program would, and say what must not depend on the weather.

`prepare` makes what the jobs read, `do_all` does them side by side: of fraud a table that is uploaded, trained on and
scored, and one without labels that references are built for and an ensemble is made of; of the city a run of days; of
plants an import, an audit, a training and an answer. Each chain ends in `Result`: figures that may be no worse than on
a quiet machine (`no_lower`), and values that have to be the same (`same`).
"""

from __future__ import annotations

import hashlib
import io
import json
import threading
import time
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from benchmarks.sameness import without_clocks
from ecluse.apps.fraud.sample import write_sample
from tests.application import Application, run_ecluse

#: Two trainings of one budget may differ by this much in average precision: a tie by the guide's measure.
TIE = 0.02
#: The days of the sample city that are computed; those before them say what is usual.
FIRST, DAYS, LAST = "2025-09-01", 14, "2025-09-12"
COMPUTED = ("2025-09-11", "2025-09-12")
DOMAIN = "cards"
#: What is known of a set of images once it is imported and audited.
FINDINGS = ("counts", "rejected_for", "near_duplicates", "contested", "suspects")
#: Answers that say that nothing was recorded and the request may be sent again.
AGAIN = (429, 503, 507)


@dataclass(frozen=True)
class Given:
    """What the jobs read; `labelled` is trained on, `unlabelled` scored, `stranger` has no labels at all."""

    labelled: bytes
    unlabelled: bytes
    stranger: bytes
    images: bytes
    leaf: bytes


@dataclass(frozen=True)
class Result:
    """What one chain of jobs left. `models`: how many versions of each name there have to be."""

    no_lower: Mapping[str, float] = field(default_factory=dict)
    same: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0


class GivenUp(Exception):
    """A job did not end as done; the message is its own."""


@dataclass
class Program:
    """A program with a token, which sends again what was refused with the word that nothing was recorded."""

    client: httpx.Client
    refused: list[str] = field(default_factory=list)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    #: Where a job went back to, by how much, each time its share fell.
    falls: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        while True:
            try:
                answer = self.client.request(method, path, **options)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                self._refuse(f"{method} {path}: {type(error).__name__}")
                continue
            except httpx.TransportError as error:
                if method != "GET":  # it may have been done
                    raise
                self._refuse(f"{method} {path}: {type(error).__name__}")
                continue
            if answer.status_code in AGAIN:
                self._refuse(f"{method} {path}: {answer.status_code} {answer.text[:160]}")
                continue
            if answer.is_error:
                raise GivenUp(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
            return answer

    def _refuse(self, what: str) -> None:
        with self._lock:
            self.refused.append(what)
        time.sleep(1)

    def upload(self, name: str, content: bytes) -> str:
        body = self.ask("POST", "/api/upload", files={"file": (name, content)}).json()
        self.wait(body["job"])
        return str(body["id"])

    def wait(self, job: str) -> dict[str, Any]:
        """The job once it is done; a fall of its share on the way is noted."""
        most = 0.0
        while True:
            body: dict[str, Any] = self.ask("GET", f"/api/status/{job}").json()
            share = float(body.get("fraction") or 0.0)
            if share < most - 0.01:
                self.falls.append(f"{body['kind']} {most:.0%} -> {share:.0%}")
            most = share
            if body["status"] not in ("queued", "running"):
                break
            time.sleep(0.3)
        with self._lock:
            self.jobs.append(body)
        if body["status"] != "done":
            raise GivenUp(f"{body['title']}: {body['status']}: {body['error']}")
        return body

    def done(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask for a job and wait for it."""
        return self.wait(self.ask("POST", path, json=body).json()["job"])


def prepare(folder: Path) -> Given:
    """Write what the jobs read; the same bytes each time."""
    folder.mkdir(parents=True, exist_ok=True)
    sample = write_sample(folder, rows=6000, score_rows=1500)
    for words in (
        ("plants", "demo", str(folder / "leaves"), "--each", "40"),
        ("fraud", "references", "sample", DOMAIN, str(folder / "stranger")),
    ):
        expect(run_ecluse(folder / "home", {}, *words))
    images = sorted(path for path in (folder / "leaves").rglob("*") if path.is_file())
    stranger = max((folder / "stranger").glob("*.csv"), key=lambda path: path.stat().st_size)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in images:
            archive.writestr(
                zipfile.ZipInfo(path.relative_to(folder / "leaves").as_posix()), path.read_bytes()
            )
    return Given(
        sample.labelled.read_bytes(),
        sample.unlabelled.read_bytes(),
        b"".join(stranger.read_bytes().splitlines(keepends=True)[:3000]),
        packed.getvalue(),
        images[7].read_bytes(),
    )


def make_city(application: Application) -> None:
    """Write the raw data of the invented city into the home's own place."""
    days = ("--days", str(DAYS), "--from", FIRST, "--arcs", "60")
    expect(application.command("city", "demo", *days))


def expect(done: Any) -> None:
    if done.returncode:
        raise SystemExit(f"{done.args} ended with {done.returncode}: {done.stderr}")


#: Each chain by its name.
Chain = Callable[[Program, Given, float], Result]


def fraud(program: Program, given: Given, budget: float) -> Result:
    """Upload, train, upload, score; scored again and trained again by its record, every file is the same."""
    table = program.upload("transactions.csv", given.labelled)
    wanted = {"dataset": table, "model_name": "payments", "target_column": "is_fraud", "budget_s": budget}
    trained = program.done("/api/train", wanted)["result"]
    scored = scores(program, given.unlabelled, "payments")
    if scored != scores(program, given.unlabelled, "payments"):
        raise GivenUp("fraud: one version scored the same rows in two ways")
    expect_one(program, "payments")
    (run,) = program.ask("GET", "/api/runs", params={"name": "payments"}).json()["items"]
    program.done(f"/api/runs/{run['id']}/repeat")  # it fails unless every file comes out the same
    return Result({"fraud average precision": trained["metrics"]["average_precision"]})


def ensemble(program: Program, given: Given, budget: float) -> Result:
    """Build references, make an ensemble of them for a table without labels, and score it."""
    asked = program.ask("POST", "/api/references/demo", json={"domains": [DOMAIN], "budget_s": 2}).json()
    for started in asked:
        program.wait(started["job"])
    table = program.upload("stranger.csv", given.stranger)
    program.done("/api/apply_unlabeled", {"dataset": table, "model_name": "borrowed", "fraud_rate": 0.02})
    scored = scores(program, given.stranger, "borrowed")
    if scored != scores(program, given.stranger, "borrowed"):
        raise GivenUp("ensemble: one version scored the same rows in two ways")
    expect_one(program, "borrowed")
    names = sorted(item["name"] for item in program.ask("GET", "/api/references").json()["items"])
    return Result(same={"references": digest(names)})


def city(program: Program, given: Given, budget: float) -> Result:
    """Compute days and return the digests of their documents and of the report."""
    asked = program.ask("POST", "/api/city/runs", json={"from": COMPUTED[0], "to": COMPUTED[1]}).json()
    while (run := program.ask("GET", f"/api/city/runs/{asked['run']}").json())["active"]:
        time.sleep(0.5)
    for job in (run["run"], *run["days"].values()):
        program.jobs.append(job)
        if job["status"] != "done":
            raise GivenUp(f"{job['title']}: {job['status']}: {job['error']}")
    if sorted(run["days"]) != sorted(COMPUTED):
        raise GivenUp(f"city: the run has the days {sorted(run['days'])}")
    return Result(
        same={
            f"city {day}": digest(
                [
                    without_clocks(program.ask("GET", f"/api/city/{what}/{day}").json())
                    for what in ("metrics", "report")
                ]
            )
            for day in COMPUTED
        }
    )


def plants(program: Program, given: Given, budget: float) -> Result:
    """Import, audit, train and ask; what was found, the files of the model and the answer are the same each time."""
    asked = program.ask(
        "POST", "/api/plants/sets", data={"name": "leaves"}, files={"file": ("leaves.zip", given.images)}
    ).json()
    program.wait(asked["job"])
    program.done("/api/plants/sets/leaves/audit")
    program.done("/api/plants/sets/leaves/train", {"model_name": "leaves"})
    expect_one(program, "leaves")
    version = program.ask("GET", "/api/models/leaves/versions").json()[0]["version"]
    files = {
        file["path"]: file["sha256"]
        for file in program.ask("GET", f"/api/models/leaves/{version}").json()["files"]
        if file["path"].endswith((".onnx", ".safetensors"))
    }
    answer = program.ask(
        "POST", "/api/plants/predict", params={"model": "leaves"}, files={"file": ("leaf.png", given.leaf)}
    ).json()
    images = program.ask("GET", "/api/plants/sets/leaves").json()
    return Result(
        same={
            "plants audit": json.dumps({name: images[name] for name in FINDINGS}, sort_keys=True),
            "plants weights": digest(files),
            "plants answer": digest({name: answer[name] for name in ("label", "nearest", "probabilities")}),
        }
    )


CHAINS: dict[str, Chain] = {"fraud": fraud, "ensemble": ensemble, "city": city, "plants": plants}


def do_all(
    application: Application, given: Given, chains: list[str], budget: float
) -> tuple[Result, Program]:
    """Every chain at once by one administrator; raises GivenUp with what went wrong in any of them."""
    make_city(application)
    with application.client("runner@example.org", admin=True) as client, ThreadPoolExecutor() as pool:
        program = Program(client)
        began = time.monotonic()
        asked = {name: pool.submit(CHAINS[name], program, given, budget) for name in chains}
        wrong = [f"{name}: {error}" for name, one in asked.items() if (error := one.exception())]
        passed = time.monotonic() - began
        if wrong:
            raise GivenUp("; ".join(wrong))
    results = [one.result() for one in asked.values()]
    return (
        Result(
            {name: value for one in results for name, value in one.no_lower.items()},
            {name: value for one in results for name, value in one.same.items()},
            passed,
        ),
        program,
    )


def scores(program: Program, content: bytes, model: str) -> str:
    """Upload rows, score them, and return the digest of the file."""
    table = program.upload("to_score.csv", content)
    result = program.done("/api/predict", {"dataset": table, "model": model})["result"]
    return hashlib.sha256(program.ask("GET", result["download_url"]).content).hexdigest()


def expect_one(program: Program, model: str) -> None:
    """One training leaves one version, however often it was taken up."""
    versions = program.ask("GET", f"/api/models/{model}/versions").json()
    if len(versions) != 1:
        raise GivenUp(f"{model} has {len(versions)} versions of one training")


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
