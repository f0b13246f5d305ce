"""A job is done once, by itself and in the end, whatever happens to its workers: wrong clocks, one name, full disks, deploys.

Real workers, and a job that only waits.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ecluse.jobs import Job
from ecluse.runtime import Runtime
from ecluse.settings import inherited
from tests.accounts import account
from tests.clocks import CannotShift, shifted
from tests.support.jobs import ended_job
from tests.support.wait import slow_for, wait_until

WORKER = """
import os, signal, sys, time
from pathlib import Path
from ecluse.jobs import JobKind
from ecluse.runtime import Runtime, Worker
from ecluse.settings import Settings

def note(folder, name, word):
    with (Path(folder) / name).open("a") as file: file.write(word + "\\n")

def run(runtime, task, folder, parts, seconds):
    note(folder, "begun", sys.argv[1])
    for part in range(parts):
        task.step(f"part {part}", work, task, folder, part, parts, seconds)
    task.step("publish", note, folder, "published", sys.argv[1])

def work(task, folder, part, parts, seconds):
    began = time.monotonic()
    while time.monotonic() - began < seconds and not Path(folder, "enough").exists():
        share = min((time.monotonic() - began) / seconds, 1.0)
        task.report("work", (part + share) / parts, "working")
        time.sleep(0.05)
    note(folder, "parts", str(part))

def failed(runtime, task, message, folder, parts, seconds):
    note(folder, "failed", message)

with Runtime.open(Settings.from_environment()) as runtime:
    worker = Worker(runtime, {"work": JobKind(run=run, failed=failed, queue="train", stages={"work": "Work"})})
    signal.signal(signal.SIGTERM, lambda *_: worker.stop())
    take_over = worker.take_over
    worker.take_over = lambda: (take_over(), note(Path(__file__).parent, "looked", sys.argv[1]))
    worker.start()
    note(Path(__file__).parent, "ready", sys.argv[1])
    worker.run_until_stopped()
    worker.close()
    os._exit(0)
"""
USER = "user-1"


class Workers:
    """Worker processes, each with a name that the job notes; ended with the test."""

    def __init__(self, environ: dict[str, str], folder: Path) -> None:
        self.folder = folder
        self.started: list[subprocess.Popen[bytes]] = []
        self._script = folder / "worker.py"
        self._script.write_text(WORKER)
        self._environ = environ

    def start(self, name: str, *before: str, **more: str) -> subprocess.Popen[bytes]:
        """Start one, with other words `before` its command, and return when it takes jobs."""
        with (self.folder / "said").open("ab") as said:
            process = subprocess.Popen(
                [*before, sys.executable, str(self._script), name],
                env=inherited(["PYTHONPATH", "PATH"]) | self._environ | more,
                stderr=said,
                start_new_session=True,
            )
        self.started.append(process)
        wait_until(lambda: name in self.noted("ready"), lambda: f"a worker {name}: {self._said()}")
        return process

    def noted(self, name: str) -> list[str]:
        file = self.folder / name
        return file.read_text().split() if file.exists() else []

    def _said(self) -> str:
        return (self.folder / "said").read_text()[-2000:]


@pytest.fixture
def workers(environ: dict[str, str], opened: Runtime, tmp_path: Path) -> Iterator[Workers]:
    started = Workers(environ, tmp_path)
    yield started
    for process in started.started:
        with suppress(ProcessLookupError):  # the program before it may not hand the signal on
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def enqueue(runtime: Runtime, folder: Path, *, parts: int = 1, seconds: float = 3600.0) -> str:
    """A job of so many parts; each ends after `seconds`, or at the latest when there is a file `enough`."""
    subject = {"folder": str(folder), "parts": parts, "seconds": seconds}
    return runtime.jobs.enqueue("work", "train", account(runtime.catalog, USER), "Some work", subject)


def ended(runtime: Runtime, job_id: str) -> Job:
    return ended_job(runtime, USER, job_id)


def leave_alone(workers: Workers, second: str) -> None:
    """Let the second worker look twice at the first; then let the job end."""
    wait_until(lambda: workers.noted("looked").count(second) >= 2, f"two looks of {second}")
    (workers.folder / "enough").touch()


def is_allowed(*words: str) -> bool:
    """Whether this machine and this user may start a program this way."""
    try:
        return not subprocess.run([*words, "true"], capture_output=True, check=False).returncode
    except FileNotFoundError:
        return False


@pytest.mark.nightly
def test_a_worker_whose_clock_is_a_minute_behind_keeps_its_job(opened: Runtime, workers: Workers) -> None:
    try:
        behind = shifted(workers.folder, -60)
    except CannotShift as error:
        pytest.skip(str(error))
    workers.start("behind", **behind)
    job_id = enqueue(opened, workers.folder)
    wait_until(lambda: workers.noted("begun"), "a beginning")
    workers.start("right")
    leave_alone(workers, "right")
    job = ended(opened, job_id)
    assert (job.status, job.error) == ("done", None)
    assert workers.noted("begun") == ["behind"]
    assert workers.noted("published") == ["behind"]


TWIN = ("unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c")


@pytest.mark.nightly
def test_a_worker_of_another_machine_with_the_same_name_keeps_its_job(
    opened: Runtime, workers: Workers
) -> None:
    """The process ids of the two machines differ, so that each looks dead to who counts them as its own."""
    if not is_allowed(*TWIN):
        pytest.skip("needs namespaces of its own, which root may make on Linux")
    workers.start("one", *TWIN, 'hostname worker; for i in $(seq 300); do /bin/true; done; "$0" "$@" & wait')
    job_id = enqueue(opened, workers.folder)
    wait_until(lambda: workers.noted("begun"), "a beginning")
    workers.start("other", *TWIN, 'hostname worker; exec "$0" "$@"')
    leave_alone(workers, "other")
    job = ended(opened, job_id)
    assert (job.status, job.error) == ("done", None)
    assert workers.noted("begun") == ["one"]
    assert workers.noted("published") == ["one"]


@pytest.mark.nightly
def test_a_job_goes_on_where_it_was_through_more_deploys_than_deaths_are_allowed(
    opened: Runtime, workers: Workers
) -> None:
    """Every second worker is killed one second after it was asked to stop, as some platforms do."""
    job_id = enqueue(opened, workers.folder, parts=8, seconds=1.0)
    worker = workers.start("0")
    for number in range(1, 8):
        wait_until(
            lambda before=number: len(workers.noted("begun")) == before, f"a beginning in worker {number}"
        )
        wait_until(lambda before=number: len(workers.noted("parts")) >= before, f"part {number}")
        worker.terminate()
        if number % 2:
            with suppress(subprocess.TimeoutExpired):
                worker.wait(1)
            worker.kill()
        worker = workers.start(str(number))
    job = ended(opened, job_id)
    assert (job.status, job.error) == ("done", None)
    assert sorted(set(workers.noted("parts")), key=int) == [str(part) for part in range(8)]
    assert workers.noted("published") == ["7"]


@pytest.mark.nightly
@pytest.mark.parametrize("environ", ["sqlite"], indirect=True)
def test_a_full_disk_that_empties_again_leaves_no_job_behind(
    small_disk: Path, opened: Runtime, workers: Workers
) -> None:
    worker = workers.start("only")
    job_id = enqueue(opened, workers.folder, parts=4, seconds=1.0)
    wait_until(lambda: workers.noted("parts"), "a part")
    for _ in range(120):  # 12 s, so that heartbeats, reports and the end of a step meet it
        fill(small_disk / "ballast")
        slow_for(0.1)
    (small_disk / "ballast").unlink()
    job = ended(opened, job_id)
    assert (job.status, job.error) == ("done", None)
    assert workers.noted("published") == ["only"]
    assert worker.poll() is None
    worker.send_signal(signal.SIGTERM)
    worker.wait()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """The folder of the home, on a disk of 40 MB."""
    home = tmp_path / "home"
    home.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=40m,mode=700", "tmpfs", str(home)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("needs the program mount")
    if done.returncode:
        pytest.skip(f"needs a disk of its own, which root may mount: {done.stderr.decode().strip()}")
    try:
        yield home
    finally:
        subprocess.run(["umount", "--lazy", str(home)], check=True)


def fill(ballast: Path) -> None:
    """Take all the room that is left, to the last byte."""
    with suppress(OSError), ballast.open("ab", buffering=0) as file:
        for size in (1_000_000, 4096, 1):
            with suppress(OSError):
                while file.write(b"x" * size):
                    pass
    os.sync()
