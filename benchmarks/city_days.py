"""Time days of a city of 3,348 arcs with the weeks that each is compared with: cold, warm, and on one and two workers.

    python -m benchmarks.city_days [--arcs 3348] [--days 6] [--folder FOLDER] [--workers 1,2]

Writes an invented city of as many arcs as Paris has, over the days asked for and the 84 days before them, and curates
it. Then, each in processes of its own: the first day from the start of the interpreter (`cold`), the days after it in
the same process (`warm`, the median), and all of the days by so many workers (`ecluse worker`), from the first that is
claimed to the last that is done. Beside each time stand the seconds of the processors, which other programs on the
machine change less. `--folder` keeps the city for the next run.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

from ecluse.apps.city import jobs
from ecluse.apps.city.actions import make_day, open_city, prepare
from ecluse.apps.city.demo import write_demo
from ecluse.apps.city.inputs import HISTORY_DAYS
from ecluse.catalog.tables import User
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.storage import open_store
from ecluse.work import cancel_job

BEGIN = date(2025, 9, 1)
FIRST = BEGIN + timedelta(days=HISTORY_DAYS + 1)
EMAIL, PASSWORD = "ines@example.org", "a long password"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arcs", type=int, default=3348)
    parser.add_argument("--days", type=int, default=6)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--step", choices=["write", "curate", "days"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = (arguments.folder or Path(name)).resolve()
        if arguments.step:
            step(arguments.step, folder, arguments.arcs, arguments.days)
        else:
            measure(folder, arguments.arcs, arguments.days, [int(n) for n in arguments.workers.split(",")])


def measure(folder: Path, arcs: int, days: int, workers: list[int]) -> None:
    """Print a line for each time that was taken."""
    print(f"{arcs:,} arcs; {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}", flush=True)
    if not (folder / "raw").exists():
        apart("write", folder, arcs, days)
        say("curate the city", *apart("curate", folder, arcs, days))
    taken = apart("days", folder, arcs, days)
    say("one day, cold", *taken[:2])
    say("one day, warm", *taken[2:])
    for count in workers:
        seconds, cpu = by_workers(folder, count, days)
        say(f"{days} days, workers: {count}", seconds, cpu)
        print(
            f"    {60 * days / seconds:.1f} days a minute; {60 * days / cpu:.1f} of a processor", flush=True
        )
    print(f"load {os.getloadavg()[0]:.1f}")


def say(what: str, seconds: float, cpu: float) -> None:
    print(f"{what:24}{seconds:8.2f} s{cpu:8.2f} s of the processors", flush=True)


def apart(name: str, folder: Path, arcs: int, days: int) -> list[float]:
    """What one step prints, in a process of its own."""
    options = ["--folder", str(folder), "--arcs", str(arcs), "--days", str(days), "--step", name]
    command = [sys.executable, "-m", "benchmarks.city_days", *options]
    environ = os.environ | {"BEGUN": repr(time.time())}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environ)
    taken: list[float] = json.loads(done.stdout.splitlines()[-1])
    return taken


def step(name: str, folder: Path, arcs: int, days: int) -> None:
    last = FIRST + timedelta(days=days)
    if name == "write":
        (folder / "raw").mkdir(parents=True)
        write_demo(open_store((folder / "raw").as_uri()), BEGIN, (last - BEGIN).days + 1, arcs=arcs)
        print("[]")
        return
    with opened(folder) as runtime:
        if name == "curate":
            runtime.accounts.sign_up(EMAIL, PASSWORD)
            began, cpu = time.perf_counter(), time.process_time()
            with open_city(runtime, str(folder / "raw")) as city:
                prepare(city, FIRST, last)
            print(json.dumps([time.perf_counter() - began, time.process_time() - cpu]))
            return
        one_day(runtime, folder, FIRST)
        cold = time.time() - float(os.environ["BEGUN"]), time.process_time()
        warm = [one_day(runtime, folder, FIRST + timedelta(days=n)) for n in range(1, days + 1)]
        print(json.dumps([*cold, *(statistics.median(taken) for taken in zip(*warm, strict=True))]))


def one_day(runtime: Runtime, folder: Path, day: date) -> tuple[float, float]:
    """Seconds, and those of the processors, of a day as a job computes it: its curated layer is up to date."""
    began, cpu = time.perf_counter(), time.process_time()
    with open_city(runtime, str(folder / "raw")) as city:
        make_day(city, day, run="benchmark")
    return time.perf_counter() - began, time.process_time() - cpu


def by_workers(folder: Path, count: int, days: int) -> tuple[float, float]:
    """Seconds, and those of the processors, of as many days by so many workers."""
    before = cpu_of_ended()
    with opened(folder) as runtime:
        user = runtime.accounts.by_email(EMAIL)
        run = jobs.start_runs(
            runtime, user, FIRST, FIRST + timedelta(days=days - 1), str(folder / "raw"), again=True
        )
        workers = [
            subprocess.Popen([sys.executable, "-m", "ecluse", "worker", "--home", str(folder / "home")])
            for _ in range(count)
        ]
        try:
            seconds = wait_for_days(runtime, user, run)
        finally:
            for worker in workers:
                worker.terminate()
            for worker in workers:
                worker.wait()
        for job in jobs.run_of(runtime, user.id, run).all:
            if job.active:
                cancel_job(runtime, user.id, job.id)
    return seconds, cpu_of_ended() - before


def wait_for_days(runtime: Runtime, user: User, run: str) -> float:
    """Seconds from the first day that is at work to the last that is done."""
    began = 0.0
    while True:
        of_days = list(jobs.run_of(runtime, user.id, run).days.values())
        if not began and any(job.status != "queued" for job in of_days):
            began = time.perf_counter()
        if of_days and not any(job.active for job in of_days):
            assert all(job.status == "done" for job in of_days), [job.error for job in of_days]
            return time.perf_counter() - began
        time.sleep(0.2)


def cpu_of_ended() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextmanager
def opened(folder: Path) -> Iterator[Runtime]:
    with Runtime.open(Settings.from_environment({}, home=folder / "home")) as runtime:
        yield runtime


if __name__ == "__main__":
    main()
