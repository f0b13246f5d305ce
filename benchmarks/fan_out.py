"""Measure how much sooner a job is done whose parts run on 1, 2 and 4 workers, and whether its model is the same.

    python -m benchmarks.fan_out [--workers 1,2,4] [--rounds 3] [--work compute,wait] [--database sqlite]

The job chooses among candidates by folds (`Task.map`, a part for each fold of each candidate) and fits the best on all
rows. `compute` fits LightGBM with one thread, so two workers want two cores; `wait` sleeps as long for each part, as if
its worker had a machine of its own: what is lost there is what the parts themselves cost. Rounds take turns, and the
figures are medians with the load of the machine beside them. `killed`: two workers, of which one is killed every 10 s
and another started. Each model is compared by its SHA-256 with that of one worker.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecluse.jobs import JobKind, Task, with_parts
from ecluse.runtime import Runtime, Worker, living_workers
from ecluse.settings import Settings, inherited
from tests.accounts import account
from tests.servers import postgresql

CANDIDATES = tuple(
    {"num_leaves": leaves, "learning_rate": rate} for leaves in (15, 63) for rate in (0.05, 0.1)
)
FOLDS = 5
ROWS = 5_000
TREES = 60
WAIT_S = 1.0
KILL_S = 10.0


@dataclass(frozen=True)
class Took:
    """How long a job took, from being queued, and the digest of its model."""

    seconds: float
    digest: str


# The job


def choose(runtime: Runtime, task: Task, work: str, folder: str) -> None:
    items = [
        {"candidate": number, "fold": fold, "work": work}
        for number in range(len(CANDIDATES))
        for fold in range(FOLDS)
    ]
    errors = task.map("fits", items, fit_fold, share=0.95)
    means = [sum(errors[n * FOLDS : (n + 1) * FOLDS]) for n in range(len(CANDIDATES))]
    best = CANDIDATES[means.index(min(means))]
    text = repr(errors) if work == "wait" else repr(errors) + learn(best, None)[0]
    (Path(folder) / f"{task.job_id}.model").write_text(text)


def fit_fold(runtime: Runtime, task: Task, item: Mapping[str, Any]) -> float:
    if item["work"] == "wait":
        time.sleep(WAIT_S)
        return float(item["candidate"] + item["fold"] / 10)
    return learn(CANDIDATES[item["candidate"]], item["fold"])[1]


def learn(parameters: Mapping[str, Any], fold: int | None) -> tuple[str, float]:
    """The model as text, and its error on a fold that is held out; None: on all rows."""
    import lightgbm
    import numpy as np

    random = np.random.default_rng(7)
    table = random.normal(size=(ROWS, 30))
    target = table[:, 0] * table[:, 1] + np.sin(table[:, 2]) + 0.5 * random.normal(size=ROWS)
    held = np.arange(ROWS) % FOLDS == (-1 if fold is None else fold)
    settings = {"objective": "l2", "num_threads": 1, "deterministic": True, "verbose": -1, "seed": 7}
    learned = lightgbm.train(
        settings | dict(parameters), lightgbm.Dataset(table[~held], target[~held]), num_boost_round=TREES
    )
    error = 0.0 if fold is None else float(np.mean((learned.predict(table[held]) - target[held]) ** 2))
    return learned.model_to_string(), error


KINDS = with_parts({"choose": JobKind(run=choose, queue="fan_out", parts={"fits": fit_fold})})


def work_until_stopped() -> None:
    with Runtime.open(Settings.from_environment()) as runtime:
        worker = Worker(runtime, KINDS)
        signal.signal(signal.SIGTERM, lambda *_: worker.stop())
        worker.start()
        worker.run_until_stopped()
        worker.close()


# Measure


class Workers:
    """So many worker processes of one home; with `kills`, one dies every 10 s and another takes its place."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._processes: list[subprocess.Popen[bytes]] = []
        self.killed = 0

    def start(self) -> None:
        variables = inherited(["PYTHONPATH"]) | dict(self._environ)
        command = [sys.executable, "-m", "benchmarks.fan_out", "--worker"]
        self._processes.append(subprocess.Popen(command, env=variables, stderr=subprocess.DEVNULL))

    def kill_first(self) -> None:
        first = self._processes.pop(0)
        first.kill()
        first.wait()
        self.killed += 1

    def stop(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait()


@contextmanager
def working(runtime: Runtime, environ: Mapping[str, str], count: int) -> Iterator[Workers]:
    workers = Workers(environ)
    try:
        for _ in range(count):
            workers.start()
        while len(living_workers(runtime)) < count:
            time.sleep(0.05)
        yield workers
    finally:
        workers.stop()


def run(environ: Mapping[str, str], count: int, work: str, *, kills: bool = False) -> Took:
    """How long one job takes, begun when all workers are there."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Runtime.open(Settings.from_environment(dict(environ))) as runtime,
        working(runtime, environ, count) as workers,
    ):
        began = killed_at = time.monotonic()
        subject = {"work": work, "folder": folder}
        owner = account(runtime.catalog, "owner")
        job_id = enqueue(runtime, owner, subject)
        while (job := runtime.jobs.get(None, job_id)).active:
            if kills and time.monotonic() - killed_at > KILL_S:
                killed_at = time.monotonic()
                workers.kill_first()
                workers.start()
            time.sleep(0.1)
        seconds = time.monotonic() - began
        if job.status != "done":
            raise SystemExit(f"The job {job.status}: {job.error}")
        digest = hashlib.sha256((Path(folder) / f"{job_id}.model").read_bytes()).hexdigest()
        if kills:
            print(f"  killed {workers.killed} workers", flush=True)
        return Took(seconds, digest)


def enqueue(runtime: Runtime, owner: str, subject: Mapping[str, Any]) -> str:
    return runtime.jobs.enqueue("choose", "fan_out", owner, "Choose a model", subject)


@contextmanager
def home(database: str) -> Iterator[dict[str, str]]:
    with contextlib.ExitStack() as stack:
        environ = {"ECLUSE_HOME": stack.enter_context(tempfile.TemporaryDirectory())}
        if database == "postgresql":
            environ["DATABASE_URL"] = stack.enter_context(postgresql())
        yield environ


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", default="1,2,4")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", default="compute,wait")
    parser.add_argument("--database", default="sqlite", choices=["sqlite", "postgresql"])
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work_until_stopped()
        return
    counts = [int(count) for count in arguments.workers.split(",")]
    with home(arguments.database) as environ:
        for work in arguments.work.split(","):
            measure(environ, counts, work, arguments.rounds)


def measure(environ: Mapping[str, str], counts: list[int], work: str, rounds: int) -> None:
    took: dict[str, list[Took]] = defaultdict(list)
    loads: dict[str, list[float]] = defaultdict(list)
    cases = {f"{count}": (count, False) for count in counts} | {"2, one killed every 10 s": (2, True)}
    for _ in range(rounds):
        for name, (count, kills) in cases.items():
            took[name].append(run(environ, count, work, kills=kills))
            loads[name].append(os.getloadavg()[0])
    reference = took[str(counts[0])]
    digests = {each.digest for each in reference}
    print(f"\n{work}: {len(CANDIDATES) * FOLDS} parts\n")
    print("| workers | seconds | speed-up | same model | load |\n|---|---|---|---|---|")
    for name, each in took.items():
        ratios = [first.seconds / other.seconds for first, other in zip(reference, each, strict=True)]
        same = "yes" if len(digests) == 1 and {other.digest for other in each} == digests else "NO"
        seconds = statistics.median(other.seconds for other in each)
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        load = statistics.median(loads[name])
        print(f"| {name} | {seconds:.1f} | {spread} | {same} | {load:.0f} |", flush=True)


if __name__ == "__main__":
    main()
