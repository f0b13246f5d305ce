"""Try what Écluse promises of every application on one of them, in a home of its own that is removed afterwards.

The promises are the checks below, in their order: each is a function that returns what was seen, or raises Broken with
what does not hold. One that cannot be tried, as without `@app.sample`, says so and is no failure.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from ecluse import models, people
from ecluse.apps.hosted import files, snapshot
from ecluse.apps.hosted.asking import ask
from ecluse.apps.hosted.jobs import queue_verb
from ecluse.apps.hosted.process import AppProcess
from ecluse.apps.hosted.snapshot import PATIENCE, Snapshot, Verb
from ecluse.apps.hosted.working import memory_of
from ecluse.catalog.tables import User
from ecluse.errors import EcluseError
from ecluse.jobs import Job
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.settings.environment import surrounding
from ecluse.work import cancel_job

#: A cancelled job has its process ended within so many seconds.
CANCELLED_WITHIN: Final = 2.0
#: How long a job of a check may take (s).
LONGEST: Final = 600.0
_OURS: Final = ("ECLUSE_", "DATABASE", "AWS_", "S3_", "MONGODB", "DYNAMODB", "USE_", "STORAGE_")


class Broken(Exception):
    """A promise does not hold."""


class Untried(Exception):
    """A promise could not be tried."""


@dataclass(frozen=True)
class Result:
    """What a check saw. `state`: ok, failed, or untried."""

    name: str
    state: str
    detail: str


@dataclass
class Trial:
    """An application in a home of its own, with two people."""

    runtime: Runtime
    snapshot: Snapshot
    folder: Path
    owner: User
    stranger: User
    values: dict[str, Any] = field(default_factory=dict)
    job: Job | None = None

    @property
    def training(self) -> Verb:
        verbs = self.snapshot.of_role("train")
        if not verbs:
            raise Untried("it has no @app.train")
        if "sample" not in self.snapshot.verbs:
            raise Untried("it has no @app.sample, which gives values to train with")
        return verbs[0]

    def queue(self) -> str:
        return queue_verb(self.runtime, self.owner.id, self.snapshot, self.training, self.values)

    def wait(self, job_id: str, until: Callable[[Job], bool]) -> Job:
        deadline = time.monotonic() + LONGEST
        while not until(job := self.runtime.jobs.get(self.owner.id, job_id)):
            if time.monotonic() > deadline:
                raise Broken(f"its job did not end within {LONGEST:.0f} s")
            time.sleep(0.02)
        return job

    def ask(self, user: User, method: str, address: str, body: Any = None) -> httpx.Response:
        """Ask the API, as a program of a person does."""
        from ecluse.web.app import make_app

        token = self.runtime.accounts.create_token(user.id, "check")[0]

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(make_app(self.runtime), raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://check") as client:
                return await client.request(
                    method, address, json=body, headers={"authorization": f"Bearer {token}"}
                )

        return asyncio.run(send())


def check(file: Path, say: Callable[[Result], None]) -> list[Result]:
    """Try every promise on the application in a file; each result is given to `say` as it comes."""
    results = []
    with tempfile.TemporaryDirectory(prefix="ecluse-check-") as folder:
        home = Path(folder) / "home"
        home.mkdir(mode=0o700)
        settings = Settings.from_environment({}, home=home)
        try:
            made = snapshot.install(home, file, copy=False)
        except EcluseError as error:
            results.append(Result("it can be installed", "failed", str(error)))
            say(results[-1])
            return results
        with Runtime.open(settings) as runtime:
            owner = runtime.accounts.add("owner@example.org", admin=True)
            runtime.accounts.add("keeper@example.org", admin=True)
            stranger = runtime.accounts.add("stranger@example.org")
            trial = Trial(runtime, made, Path(folder), owner, stranger)
            for name, promise in PROMISES.items():
                results.append(_result(name, promise, trial))
                say(results[-1])
    return results


def _result(name: str, promise: Callable[[Trial], str], trial: Trial) -> Result:
    try:
        return Result(name, "ok", promise(trial))
    except Untried as untried:
        return Result(name, "untried", str(untried))
    except (Broken, EcluseError) as broken:
        return Result(name, "failed", str(broken))


def _installed(trial: Trial) -> str:
    return ", ".join(f"{verb.name} ({verb.role})" for verb in trial.snapshot.verbs.values())


def _trains(trial: Trial) -> str:
    training = trial.training
    _sample(trial, training)
    with _worker(trial):
        trial.job = trial.wait(trial.queue(), lambda job: not job.active)
    if trial.job.status != "done":
        raise Broken(f"the training {trial.job.status}: {trial.job.error}")
    row = models.resolve(trial.runtime, trial.owner.id, trial.snapshot.name)
    models.verify(trial.runtime, row)
    return f"{row.name}@{row.version}, {row.size_bytes:,} bytes"


def _sample(trial: Trial, training: Verb) -> None:
    with _process(trial) as process:
        given = dict(ask(process, {"do": "sample"}, b"", PATIENCE)[0]["values"])
        for name, value in given.items():
            if isinstance(value, dict):
                stored = files.store(
                    trial.runtime,
                    trial.owner.id,
                    trial.snapshot.name,
                    Path(value["file"]),
                    name=value["name"],
                )
                given[name] = stored.id
    trial.values = given


def _answers(trial: Trial) -> str:
    """Ask the version about its own example, twice, each time in a new process."""
    import polars as pl

    from ecluse.client.package import EXAMPLE

    if trial.job is None or not trial.snapshot.predict.takes_rows:
        raise Untried("there is no version, or it takes no rows")
    row = models.resolve(trial.runtime, trial.owner.id, trial.snapshot.name)
    folder = trial.folder / "model"
    models.download(trial.runtime, row, folder)
    if not (folder / EXAMPLE).exists():
        raise Untried("the training gave no example")
    rows = pl.read_parquet(folder / EXAMPLE).to_dicts()
    values = {
        each.name: each.default
        for each in trial.snapshot.predict.parameters
        if each.kind not in ("rows", "model")
    }
    message = {"do": "predict", "folder": str(folder), "rows": rows, "values": values, "as_rows": True}
    answers = []
    for _turn in range(2):
        with _process(trial) as process:
            answers.append(ask(process, message, b"", PATIENCE)[0]["rows"])
    if answers[0] != answers[1]:
        raise Broken("asked twice about the same rows, it answers otherwise")
    return f"{len(rows)} rows, twice the same"


def _is_private(trial: Trial) -> str:
    app, run = trial.snapshot.name, trial.job
    if run is None:
        raise Untried("nothing was trained")
    version = models.resolve(trial.runtime, trial.owner.id, app).version
    addresses: list[tuple[str, str, Any]] = [
        ("GET", f"/api/status/{run.id}", None),
        ("GET", f"/api/models/{app}/{version}", None),
    ]
    addresses += [("POST", f"/api/jobs/{run.id}/cancel", None)]
    given = [trial.values[each.name] for each in trial.training.parameters if each.kind in ("table", "file")]
    addresses += [("GET", f"/api/{app}/files/{file_id}", None) for file_id in given if file_id]
    addresses += [("DELETE", f"/api/{app}/files/{file_id}", None) for file_id in given if file_id]
    if any(given):
        addresses.append(("POST", f"/api/{app}/{trial.training.name}", trial.values))
    for method, address, body in addresses:
        answer = trial.ask(trial.stranger, method, address, body)
        if answer.status_code != 404:
            raise Broken(f"another person gets {answer.status_code} for {method} {address}")
    listed = json.loads(trial.ask(trial.stranger, "GET", f"/api/{app}/files").text)
    if listed:
        raise Broken("another person is shown its files")
    return f"{len(addresses) + 1} requests of another person, none answered"


def _is_cancelled(trial: Trial) -> str:
    if trial.job is None:
        raise Untried("nothing was trained")
    with _worker(trial) as worker:
        job = trial.queue()
        pid = _process_of(trial, job, worker)
        if pid is None:
            raise Untried(
                "the training of the sample ended before it could be cancelled; let it take some seconds"
            )
        cancel_job(trial.runtime, trial.owner.id, job)
        began = time.monotonic()
        while Path(f"/proc/{pid}").exists() and time.monotonic() - began < LONGEST:
            time.sleep(0.01)
        took = time.monotonic() - began
        if trial.wait(job, lambda each: not each.active).status != "cancelled":
            raise Untried(
                "the training of the sample ended before it could be cancelled; let it take some seconds"
            )
    if took > CANCELLED_WITHIN:
        raise Broken(
            f"its process ended {took:.1f} s after it was cancelled, and not within {CANCELLED_WITHIN:.0f}"
        )
    return f"its process ended {took:.2f} s after it was cancelled"


def _resumes(trial: Trial) -> str:
    if trial.job is None:
        raise Untried("nothing was trained")
    with _worker(trial) as worker:
        job = trial.queue()
        pid = _process_of(trial, job, worker)
        if pid is None:
            raise Untried(
                "the training of the sample ended before it could be killed; let it take some seconds"
            )
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    with _worker(trial):
        ended = trial.wait(job, lambda each: not each.active)
    if ended.status != "done":
        raise Broken(f"killed with its worker, the training {ended.status}: {ended.error}")
    return "killed with its worker, the training was done by the next"


def _leaves_nothing(trial: Trial) -> str:
    people.remove(trial.runtime, trial.owner.email, everything=True)
    with trial.runtime.catalog.read() as transaction:
        rows = files.files_of(transaction, trial.owner.id, trial.snapshot.name)
    left = [
        info.key
        for store in trial.runtime.stores.distinct()
        for info in store.list()
        if trial.owner.id in info.key
    ]
    if rows or left:
        raise Broken(f"{len(rows)} rows and {len(left)} objects are left of an account that was removed")
    snapshot.remove(trial.runtime.settings.home, trial.snapshot.name)
    if snapshot.folder_of(trial.runtime.settings.home, trial.snapshot.name).exists():
        raise Broken("its folder is left after its removal")
    return "no row and no object is left of an account, nor the application after its removal"


PROMISES: Final[dict[str, Callable[[Trial], str]]] = {
    "it is described": _installed,
    "it trains, and publishes a verified version": _trains,
    "the version answers its example": _answers,
    "others see nothing": _is_private,
    "a cancelled job ends within 2 s": _is_cancelled,
    "a killed job is done by the next worker": _resumes,
    "removal leaves nothing": _leaves_nothing,
}


@contextmanager
def _worker(trial: Trial) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "ecluse", "worker", "--home", str(trial.runtime.settings.home)]
    with (trial.folder / "worker.log").open("ab") as log:
        process = subprocess.Popen(command, env=surrounding(without=_OURS), stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def _process(trial: Trial) -> Iterator[AppProcess]:
    folder = Path(tempfile.mkdtemp(dir=trial.folder))
    process = AppProcess(trial.snapshot.source, folder, memory_of(trial.runtime))
    try:
        yield process
    finally:
        process.end()


def _process_of(trial: Trial, job_id: str, worker: subprocess.Popen[bytes]) -> int | None:
    """Wait for the process of a job; None where the job ended first, or the system shows no processes."""
    deadline = time.monotonic() + LONGEST
    while trial.runtime.jobs.get(trial.owner.id, job_id).active and time.monotonic() < deadline:
        for entry in Path("/proc").glob("[0-9]*"):
            if _parent(entry) == worker.pid and _is_child(entry):
                return int(entry.name)
        time.sleep(0.02)
    return None


def _parent(entry: Path) -> int | None:
    try:
        return int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError):  # it has ended
        return None


def _is_child(entry: Path) -> bool:
    try:
        return b"ecluse.apps.hosted.child" in (entry / "cmdline").read_bytes()
    except OSError:  # it has ended
        return False
