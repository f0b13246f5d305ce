"""Try what Écluse promises of every application on one of them, in a home of its own that is removed afterwards.

The promises are the checks below, in their order: each is a function that returns what was seen, or raises Broken with
what does not hold. One that cannot be tried, as without `@app.sample`, says so and is no failure.
"""

from __future__ import annotations

import asyncio
import json
import re
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
from urllib.parse import urlencode

import httpx

from ecluse import models, people
from ecluse.accounts import SESSION_COOKIE, cookie_named
from ecluse.app.application import OURS
from ecluse.app.signature import FILLED
from ecluse.apps.hosted import files, snapshot
from ecluse.apps.hosted.asking import ask
from ecluse.apps.hosted.jobs import queue_verb
from ecluse.apps.hosted.process import AppProcess
from ecluse.apps.hosted.snapshot import PATIENCE, Snapshot, Verb
from ecluse.apps.hosted.starting import start
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
    own: dict[str, dict[str, Any]] = field(default_factory=dict)
    job: Job | None = None

    def given(self, verb: Verb) -> dict[str, Any]:
        """Return the values of `@app.sample` that a function takes. Raises Untried where one is missing."""
        asked = [each for each in verb.parameters if each.kind in FILLED]
        values = self.samples_for(verb)
        needed = [each.name for each in asked if each.required or each.newest is not None]
        missing = [name for name in needed if name not in values]
        if missing:
            raise Untried(f"@app.sample gives no {', '.join(missing)}, which {verb.name} needs")
        return {each.name: values[each.name] for each in asked if each.name in values}

    def samples_for(self, verb: Verb) -> dict[str, Any]:
        """Return the values that a function is tried with: its own before those of all functions."""
        return self.values | self.own.get(verb.name, {})

    @property
    def working(self) -> Verb:
        """Return the function that is tried as a job: the training, else the first job."""
        verbs = [*self.snapshot.of_role("train"), *self.snapshot.of_role("job")]
        if not verbs:
            raise Untried("it has no @app.train and no @app.job")
        return verbs[0]

    def queue(self, verb: Verb) -> str:
        return queue_verb(self.runtime, self.owner.id, self.snapshot, verb, self.given(verb))

    def wait(self, job_id: str, until: Callable[[Job], bool]) -> Job:
        deadline = time.monotonic() + LONGEST
        while not until(job := self.runtime.jobs.get(self.owner.id, job_id)):
            if time.monotonic() > deadline:
                raise Broken(f"its job did not end within {LONGEST:.0f} s")
            time.sleep(0.02)
        return job

    @contextmanager
    def asking(self) -> Iterator[Callable[[User, str, str, Any], httpx.Response]]:
        """Yield what asks as a person does, pages and API, without a port."""
        from ecluse.web.app import make_app

        app = make_app(self.runtime)

        def ask_as(user: User, method: str, address: str, body: Any) -> httpx.Response:
            accounts = self.runtime.accounts
            if address.startswith("/api/"):
                headers = {"authorization": f"Bearer {accounts.create_token(user.id, 'check')[0]}"}
            else:
                session = accounts.open_session(user.id)
                cookie = cookie_named(SESSION_COOKIE, secure=self.runtime.settings.is_https)
                headers = {"accept": "text/html", "cookie": f"{cookie}={session}"}

            async def send() -> httpx.Response:
                transport = httpx.ASGITransport(app, raise_app_exceptions=False)
                async with httpx.AsyncClient(transport=transport, base_url="http://check") as client:
                    return await client.request(method, address, json=body, headers=headers)

            return asyncio.run(send())

        try:
            yield ask_as
        finally:
            app.state.app_processes.close()


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


def _gives_samples(trial: Trial) -> str:
    """Store what `@app.sample` gives: values by the names of parameters."""
    if "sample" not in trial.snapshot.verbs:
        raise Untried("it has no @app.sample, which gives values to try it with")
    with _process(trial) as process:
        reply, _data = ask(process, {"do": "sample"}, b"", PATIENCE)
        trial.values = _stored(trial, reply["values"])
        trial.own = {name: _stored(trial, each) for name, each in dict(reply["own"]).items()}
    verbs = trial.snapshot.verbs
    unknown = sorted(set(trial.values) - {each.name for verb in verbs.values() for each in verb.parameters})
    for name, values in trial.own.items():
        unknown += sorted(
            f"{name}: {each}" for each in set(values) - {each.name for each in verbs[name].parameters}
        )
    if unknown:
        raise Broken(f"it gives {', '.join(unknown)}, which no function has as a parameter")
    return ", ".join([*trial.values, *(f"{name}: {', '.join(each)}" for name, each in trial.own.items())])


def _stored(trial: Trial, values: dict[str, Any]) -> dict[str, Any]:
    """Return values with the ids of stored files in place of files."""
    given = dict(values)
    for name, value in given.items():
        if isinstance(value, dict):
            file = Path(value["file"])
            stored = files.store(trial.runtime, trial.owner.id, trial.snapshot.name, file, name=value["name"])
            given[name] = stored.id
    return given


def _trains(trial: Trial) -> str:
    if not trial.snapshot.of_role("train"):
        raise Untried("it has no @app.train")
    job = _done(trial, trial.working)
    row = models.resolve(trial.runtime, trial.owner.id, trial.snapshot.name)
    models.verify(trial.runtime, row)
    trial.job = job
    return f"{row.name}@{row.version}, {row.size_bytes:,} bytes"


def _done(trial: Trial, verb: Verb) -> Job:
    queued = trial.queue(verb)
    with _worker(trial):
        job = trial.wait(queued, lambda job: not job.active)
    if job.status != "done":
        raise Broken(f"{verb.name} {job.status}: {job.error}")
    return job


def _answers(trial: Trial) -> str:
    """Ask it over HTTP about its own example, or with the values of `@app.sample`, twice."""
    verb, app = trial.snapshot.predict, trial.snapshot.name
    if not trial.snapshot.predicts:
        raise Untried("it has no @app.predict")
    if verb.takes_model and trial.job is None:
        raise Untried("there is no version")
    body: dict[str, Any] = dict(_example(trial)) if verb.takes_model else {}
    if verb.takes_rows and "rows" not in body:
        raise Untried("the training gave no example")
    asked = [each for each in verb.parameters if each.kind in FILLED]
    samples = trial.samples_for(verb)
    body |= {each.name: samples[each.name] for each in asked if each.name in samples}
    missing = [each.name for each in asked if each.required and each.name not in body]
    if missing:
        raise Untried(f"neither the example nor @app.sample gives {', '.join(missing)}")
    with trial.asking() as send:
        answers = [send(trial.owner, "POST", f"/api/{app}/predict", body) for _turn in range(2)]
    for answer in answers:
        if answer.status_code != 200:
            raise Broken(f"it answers {answer.status_code}: {answer.text[:500]}")
    if answers[0].json() != answers[1].json():
        raise Broken("asked twice about the same, it answers otherwise")
    return f"{answers[0].text[:200]}, twice the same"


def _example(trial: Trial) -> dict[str, Any]:
    """Return the example of the newest version as a request: rows, or values by their names."""
    import polars as pl

    from ecluse.client.package import EXAMPLE

    row = models.resolve(trial.runtime, trial.owner.id, trial.snapshot.name)
    folder = trial.folder / "model"
    models.download(trial.runtime, row, folder)
    if not (folder / EXAMPLE).exists():
        return {}
    rows = json.loads(pl.read_parquet(folder / EXAMPLE).write_json())
    return {"rows": rows} if trial.snapshot.predict.takes_rows else dict(rows[0])


def _jobs_run(trial: Trial) -> str:
    verbs = trial.snapshot.of_role("job")
    if not verbs:
        raise Untried("it has no @app.job")
    for verb in verbs:
        job = _done(trial, verb)
        if not trial.snapshot.of_role("train"):
            trial.job = trial.job or job
    return ", ".join(verb.name for verb in verbs)


def _pages_are_drawn(trial: Trial) -> str:
    verbs = trial.snapshot.of_role("page")
    if not verbs:
        raise Untried("it has no @app.page")
    for verb in verbs:
        values = {name: str(value) for name, value in trial.given(verb).items() if value is not None}
        address = f"/{trial.snapshot.name}/{verb.name}?{urlencode({**values, '-': 1})}"
        with trial.asking() as send:
            answer = send(trial.owner, "GET", address, None)
        if answer.status_code != 200:
            said = re.search(r'role="alert".*?</p>', answer.text, re.DOTALL)
            text = re.sub(r"<[^>]+>|\s+", " ", said[0].partition(">")[2]) if said else ""
            raise Broken(f"{verb.name} answers {answer.status_code}: {' '.join(text.split())[:500]}")
    return ", ".join(verb.name for verb in verbs)


def _is_private(trial: Trial) -> str:
    app, job = trial.snapshot.name, trial.job
    if job is None:
        raise Untried("nothing was trained, and no job was done")
    addresses: list[tuple[str, str, Any]] = [
        ("GET", f"/api/status/{job.id}", None),
        ("POST", f"/api/jobs/{job.id}/cancel", None),
    ]
    with trial.runtime.catalog.read() as transaction:
        kept = [row.id for row in files.files_of(transaction, trial.owner.id, app)]
    addresses += [(method, f"/api/{app}/files/{file}", None) for file in kept for method in ("GET", "DELETE")]
    if trial.snapshot.of_role("train"):
        version = models.resolve(trial.runtime, trial.owner.id, app).version
        addresses.append(("GET", f"/api/models/{app}/{version}", None))
    if any(trial.samples_for(trial.working).get(each.name) for each in trial.working.files):
        addresses.append(("POST", f"/api/{app}/{trial.working.name}", trial.given(trial.working)))
    with trial.asking() as send:
        for method, address, body in addresses:
            answer = send(trial.stranger, method, address, body)
            if answer.status_code != 404:
                raise Broken(f"another person gets {answer.status_code} for {method} {address}")
        if send(trial.stranger, "GET", f"/api/{app}/files", None).json():
            raise Broken("another person is shown its files")
    return f"{len(addresses) + 1} requests of another person, none answered"


def _is_cancelled(trial: Trial) -> str:
    if trial.job is None:
        raise Untried("nothing was trained, and no job was done")
    with _worker(trial) as worker:
        job = trial.queue(trial.working)
        pid = _process_of(trial, job, worker)
        if pid is None:
            raise Untried(
                f"{trial.working.name} ended before it could be cancelled; let it take some seconds"
            )
        cancel_job(trial.runtime, trial.owner.id, job)
        began = time.monotonic()
        while Path(f"/proc/{pid}").exists() and time.monotonic() - began < LONGEST:
            time.sleep(0.01)
        took = time.monotonic() - began
        if trial.wait(job, lambda each: not each.active).status != "cancelled":
            raise Untried(
                f"{trial.working.name} ended before it could be cancelled; let it take some seconds"
            )
    if took > CANCELLED_WITHIN:
        raise Broken(
            f"its process ended {took:.1f} s after it was cancelled, and not within {CANCELLED_WITHIN:.0f}"
        )
    return f"its process ended {took:.2f} s after it was cancelled"


def _resumes(trial: Trial) -> str:
    if trial.job is None:
        raise Untried("nothing was trained, and no job was done")
    with _worker(trial) as worker:
        job = trial.queue(trial.working)
        pid = _process_of(trial, job, worker)
        if pid is None:
            raise Untried(f"{trial.working.name} ended before it could be killed; let it take some seconds")
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    with _worker(trial):
        ended = trial.wait(job, lambda each: not each.active)
    if ended.status != "done":
        raise Broken(f"killed with its worker, {trial.working.name} {ended.status}: {ended.error}")
    return f"killed with its worker, {trial.working.name} was done by the next"


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
    "it gives values to be tried with": _gives_samples,
    "it trains, and publishes a verified version": _trains,
    "it answers": _answers,
    "its jobs run": _jobs_run,
    "its pages are drawn": _pages_are_drawn,
    "others see nothing": _is_private,
    "a cancelled job ends within 2 s": _is_cancelled,
    "a killed job is done by the next worker": _resumes,
    "removal leaves nothing": _leaves_nothing,
}


@contextmanager
def _worker(trial: Trial) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "ecluse", "worker", "--home", str(trial.runtime.settings.home)]
    with (trial.folder / "worker.log").open("ab") as log:
        process = subprocess.Popen(command, env=surrounding(without=OURS), stdout=log, stderr=log)
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
    process = start(trial.snapshot, folder, memory_of(trial.runtime))
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
