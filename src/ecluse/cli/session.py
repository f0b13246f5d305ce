"""Open the runtime for a command, say for whom it acts, and follow a job to its end."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from ecluse.cli.output import progress, say
from ecluse.disks import what_is_wrong
from ecluse.errors import JobFailed, NotFound, NotSignedIn, SettingsError
from ecluse.limits import WORKING, Limits
from ecluse.settings import Settings
from ecluse.storage import PATIENCE

if TYPE_CHECKING:  # what a command at a server does without
    from ecluse.catalog.tables import User
    from ecluse.jobs import Job
    from ecluse.runtime import Runtime

F = TypeVar("F", bound=Any)
LOOK_SECONDS: Final = 3.0
#: A process that is to stop is ended after so long.
STOP_SECONDS: Final = 5.0
ADDRESS_FILE: Final = "address"
#: What a job does in its stages, where the stage's name does not say it.
DOING: Final = {
    "read": "reading",
    "learn": "learning",
    "test": "testing",
    "save": "saving",
    "judge": "judging",
}


def home_option(command: F) -> F:
    """`--home`: the folder of everything local."""
    return click.option(
        "--home",
        type=click.Path(file_okay=False, path_type=Path),
        help="Folder of everything local. Default: ECLUSE_HOME, else .ecluse here.",
    )(command)


def user_option(command: F) -> F:
    """`--user`: whose tables and models these are."""
    return click.option(
        "--user",
        "email",
        help="E-mail address to act for. Default: ECLUSE_USER, else the first administrator.",
    )(command)


@contextmanager
def opened(
    home: Path | None, *, patience: timedelta = PATIENCE, limits: Limits = WORKING, reads: bool = False
) -> Iterator[Runtime]:
    """Open the runtime that the environment and `--home` describe; a store that is away is tried for `patience`.

    `reads`: the command only reads, and makes no home.

    Raises:
        NotFound: it only reads, and there is no home.
    """
    from ecluse.runtime import Runtime

    settings = Settings.from_environment(home=home)
    if reads:
        expect_home(settings)
    with Runtime.open(settings, patience=patience, limits=limits) as runtime:
        yield runtime


def expect_home(settings: Settings) -> None:
    """Make sure that there is a home, where its catalog is a file.

    Raises:
        NotFound: there is none.
    """
    catalog = settings.local_places().get("catalog")
    if catalog is None:
        return
    try:
        catalog.stat()
    except FileNotFoundError:
        raise NotFound(
            f"There is no Écluse in {settings.home} yet, so there is nothing to show. To start one: ecluse up. "
            "If it lies elsewhere, name its folder: --home FOLDER, or ECLUSE_HOME."
        ) from None
    except OSError:
        return  # who opens it says what is wrong with it


def note_address(home: Path, address: str) -> None:
    """Keep where the pages were last started, for links that other commands print."""
    hidden = home / f".{ADDRESS_FILE}.{os.getpid()}"
    try:
        hidden.touch(mode=0o600)
        hidden.write_text(f"{address}\n", encoding="utf-8")
        hidden.replace(home / ADDRESS_FILE)
    except OSError as error:  # pages can be read from a full disk
        hidden.unlink(missing_ok=True)
        say(f"Other commands print links without an address: {what_is_wrong(error) or error}")


def last_address(home: Path) -> str | None:
    """Return where the pages were last started; None before they were."""
    try:
        return (home / ADDRESS_FILE).read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None


@contextmanager
def acting(
    home: Path | None, email: str | None, *, patience: timedelta = PATIENCE, reads: bool = False
) -> Iterator[tuple[Runtime, User]]:
    """Open the runtime, and find the user a command acts for. `reads`: as `opened`."""
    from ecluse.catalog import audit

    with opened(home, patience=patience, reads=reads) as runtime:
        if home is None and email is None:
            _say_where(runtime.settings.home)
        address = email or runtime.settings.user
        accounts = runtime.accounts
        user = accounts.by_email(address) if address else accounts.local_administrator()
        with audit.done_by(user.id):
            yield runtime, user


def _say_where(folder: Path) -> None:
    """Say that a command works in the folder of this machine, where programs of this person work at a server."""
    from ecluse.client import credentials

    try:
        server = credentials.chosen()
    except (NotSignedIn, SettingsError) as problem:  # a command in the folder needs no server
        say(f"In {folder} of this machine. {problem}")
        return
    if server is not None:
        say(f"In {folder} of this machine, not at {server.address}.")


def finish(
    runtime: Runtime, user: User, job_id: str, title: str, look: Callable[[], None] = lambda: None
) -> Job:
    """Follow a job until it is done; a worker is started in this process where none is alive.

    `look` is called again and again meanwhile, and once it has ended. Ctrl-C cancels the job: nothing is published.

    Raises:
        JobFailed: the job failed or was cancelled.
    """
    try:
        job = _follow(runtime, user, job_id, title, look)
    except KeyboardInterrupt:
        from ecluse.work import cancel_job

        cancel_job(runtime, user.id, job_id)
        say("Cancelled. Nothing was published.")
        raise
    if job.status != "done":
        raise JobFailed(job.error or f"The job was {job.status}. See: ecluse jobs show {job_id}")
    return job


def finish_all(runtime: Runtime, user: User, job_ids: Sequence[str], title: str) -> list[Job]:
    """Follow jobs until each has ended, with one progress for all; the jobs as they ended, in their order.

    A worker is started in this process where none is alive. Ctrl-C cancels what has not ended.
    """
    ended: dict[str, Job] = {}
    kind = runtime.jobs.get(user.id, job_ids[0]).kind if job_ids else ""
    try:
        with progress(title) as report, attended(runtime, kind) as attend:
            while len(ended) < len(job_ids):
                attend()
                open_ = [runtime.jobs.get(user.id, job_id) for job_id in job_ids if job_id not in ended]
                ended |= {job.id: job for job in open_ if not job.active}
                running = [job.title for job in open_ if job.status == "running"]
                done = len(ended) + sum(job.fraction for job in open_ if job.status == "running")
                said = ", ".join(running) or "waiting"
                report(done / len(job_ids), f"{len(ended)} of {len(job_ids)}: {said}")
                time.sleep(0.5)
    except KeyboardInterrupt:
        from ecluse.work import cancel_job

        for job_id in job_ids:
            cancel_job(runtime, user.id, job_id)
        say("Cancelled. What was built until now stays; the same command goes on from there.")
        raise
    return [ended[job_id] for job_id in job_ids]


def _follow(runtime: Runtime, user: User, job_id: str, title: str, look: Callable[[], None]) -> Job:
    kind = runtime.jobs.get(user.id, job_id).kind
    with progress(title) as report, attended(runtime, kind) as attend:
        while (job := runtime.jobs.get(user.id, job_id)).active:
            attend()
            queued = f"waiting, number {job.position} in the queue" if job.position else ""
            stage = DOING.get(job.stage or "", job.stage)
            report(job.fraction, job.message or stage or queued)
            look()
            time.sleep(0.2)
        look()
    return job


@contextmanager
def attended(runtime: Runtime, kind: str) -> Iterator[Callable[[], None]]:
    """See that jobs of a kind are taken: call what this gives while you wait.

    It starts a worker in this process where no other takes them: at most one, however late its own heartbeat is.
    """
    from ecluse.runtime import living_workers
    from ecluse.work import kind_of

    looked_at = float("-inf")
    with contextlib.ExitStack() as stack:
        own: list[None] = []

        def attend() -> None:
            # The worker of another command may end with that command, so look again now and then.
            nonlocal looked_at
            if not own and time.monotonic() - looked_at > LOOK_SECONDS:
                looked_at = time.monotonic()
                if not living_workers(runtime, kind, kind_of(kind).version):
                    own.append(stack.enter_context(_worker(runtime)))

        yield attend


@contextmanager
def _worker(runtime: Runtime) -> Iterator[None]:
    """Start a worker in this process; the work itself is imported now, as most commands start none."""
    from ecluse.runtime import Worker
    from ecluse.work import kinds, reconcile

    worker = Worker(runtime, kinds(), reconcile, apart=partial(JobProcess, runtime.settings.home))
    worker.start()
    beating = threading.Thread(target=worker.run_until_stopped, daemon=True)
    beating.start()
    try:
        yield
    finally:
        worker.stop()
        beating.join()
        worker.close()


class JobProcess:
    """A worker process that runs one job and ends with it; see `JobRunner`."""

    def __init__(self, home: Path, job_id: str) -> None:
        command = [sys.executable, "-m", "ecluse", "worker", "--home", str(home), "--job", job_id]
        self._process = subprocess.Popen([*command, "--parent", str(os.getpid())])

    def is_over(self) -> bool:
        return self._process.poll() is not None

    def stop(self) -> None:
        """Let it hand its job back, and end it."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
