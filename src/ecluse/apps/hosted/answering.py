"""Hold the process of each application in which a web process asks for predictions, and begin it again when it ends.

One request is answered at a time; `WAITING` others may wait, and more are refused. A request that takes longer than
ECLUSE_APP_SECONDS, or whose process ends, is answered 503 with Retry-After, and so are those of this application
that come until its new process is there. Nothing of this concerns other applications.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TookTooLong
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Full, Queue
from typing import Any, Final
from weakref import WeakValueDictionary

from fastapi import FastAPI, Request

from ecluse import models
from ecluse.apps.hosted.asking import ask
from ecluse.apps.hosted.errors import AppAway, AppFailed
from ecluse.apps.hosted.process import AppProcess
from ecluse.apps.hosted.rows import Rows, columns_of, explained, read_rows
from ecluse.apps.hosted.settings import HostedSettings
from ecluse.apps.hosted.snapshot import PATIENCE, read
from ecluse.apps.hosted.starting import start
from ecluse.apps.hosted.working import memory_of
from ecluse.catalog.tables import ModelVersion
from ecluse.processes import Process
from ecluse.runtime import Runtime
from ecluse.sentences import _

#: Requests of one application that may wait for the one that is answered.
WAITING: Final = 32
#: Seconds until the process of an application without requests ends.
IDLE: Final = 900.0
#: Seconds until a process that ended is begun again: at first, and at most.
FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0
#: Versions whose files an application keeps at hand.
MOST_VERSIONS: Final = 8
logger = logging.getLogger(__name__)
Reply = tuple[dict[str, Any], bytes]


class Keeper:
    """The process of one application in this web process."""

    def __init__(self, runtime: Runtime, name: str) -> None:
        self._runtime, self._name = runtime, name
        self._seconds = runtime.settings.of(HostedSettings).seconds
        self._waiting: Queue[tuple[Mapping[str, Any], bytes, Future[Reply], float]] = Queue(WAITING)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._process: AppProcess | None = None
        self._pause = self._again_at = self._ready_at = 0.0
        self._loaded: str | None = None
        self._is_closed = False
        scratch = runtime.settings.home / "scratch"
        scratch.mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(prefix=f"{Process.current().label}_", dir=scratch))
        self._versions: dict[str, Path] = {}

    @property
    def pid(self) -> int | None:
        """Its process; None while there is none."""
        return self._process.pid if self._process is not None else None

    def ask(self, message: Mapping[str, Any], data: bytes = b"") -> Reply:
        """Return what the application answers.

        Raises:
            AppFailed: its function raised an error.
            AppAway: its process ended, is not begun again yet, took too long, or has too much to do.
        """
        left = self._again_at - time.monotonic()
        if left > 0:
            raise AppAway(
                _(
                    "The application %(name)s ended and is begun again in a moment. Others are not concerned.",
                    name=self._name,
                ),
                max(1, round(left + 0.5)),
            )
        answer: Future[Reply] = Future()
        try:
            self._waiting.put_nowait((message, data, answer, time.monotonic()))
        except Full as full:
            raise self._too_late() from full
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._serve, name=f"app-{self._name}", daemon=True)
                self._thread.start()
        try:
            return answer.result(2 * self._seconds + PATIENCE)
        except TookTooLong as late:
            raise self._too_long() from late

    def folder_of(self, row: ModelVersion) -> Path:
        """Return the folder with the verified files of a version, in a place that this application can read."""
        with self._lock:
            if row.id not in self._versions:
                while len(self._versions) >= MOST_VERSIONS:
                    shutil.rmtree(self._versions.pop(next(iter(self._versions))), ignore_errors=True)
                folder = self._folder / row.id
                shutil.rmtree(folder, ignore_errors=True)
                models.download(self._runtime, row, folder)  # copies: the cache is not theirs to change
                self._versions[row.id] = folder
            else:
                self._versions[row.id] = self._versions.pop(row.id)
            return self._versions[row.id]

    @contextmanager
    def files(self) -> Iterator[Path]:
        """Yield a folder for the files of one request, removed with the block."""
        with tempfile.TemporaryDirectory(prefix="request_", dir=self._folder) as folder:
            yield Path(folder)

    def close(self) -> None:
        """End the process."""
        self._is_closed = True
        if self._process is not None:
            self._process.end()
        shutil.rmtree(self._folder, ignore_errors=True)

    # In the thread of this keeper, which the process lives no longer than

    def _serve(self) -> None:
        try:
            while not self._is_closed:
                try:
                    message, data, answer, asked_at = self._waiting.get(timeout=IDLE)
                except Empty:
                    with self._lock:
                        if self._waiting.empty():
                            self._thread = None
                            return
                    continue
                self._answer(message, data, answer, asked_at)
        finally:
            self._end()

    def _answer(
        self, message: Mapping[str, Any], data: bytes, answer: Future[Reply], asked_at: float
    ) -> None:
        try:
            if self._process is None:
                self._begin()
            assert self._process is not None  # noqa: S101 (it was just begun)
            if time.monotonic() - max(asked_at, self._ready_at) > self._seconds:
                answer.set_exception(self._too_late())
                return
            self._load(message.get("folder"))
            answer.set_result(ask(self._process, message, data, self._seconds))
            self._pause = 0.0
        except AppFailed as error:
            if not self._ready_at:
                self._end()
            answer.set_exception(error)
        except BaseException as error:
            self._end()
            self._pause = min(max(FIRST_PAUSE, 2 * self._pause), LONGEST_PAUSE)
            self._again_at = time.monotonic() + self._pause
            if not isinstance(error, AppAway):
                logger.exception("The process of the application %s cannot be asked", self._name)
                error = AppAway(
                    _("The application %(name)s cannot be begun. The log says why.", name=self._name)
                )
            answer.set_exception(error)

    def _begin(self) -> None:
        snapshot = read(self._runtime.settings.home, self._name)
        folder = self._folder / "process"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        self._process = start(snapshot, folder, memory_of(self._runtime))
        ask(self._process, {"do": "describe"}, b"", PATIENCE)  # it is imported, which is no request's time
        self._ready_at = time.monotonic()

    def _load(self, folder: str | None) -> None:
        """Let a version be loaded, which takes a time of its own: counted as a request's, it would never end."""
        if folder is not None and folder != self._loaded and self._process is not None:
            ask(self._process, {"do": "load", "folder": folder}, b"", PATIENCE)
            self._loaded = folder
            self._ready_at = time.monotonic()

    def _end(self) -> None:
        self._loaded = None
        if self._process is not None:
            self._process.end()
            self._process, self._ready_at = None, 0.0

    def _too_late(self) -> AppAway:
        return AppAway(
            _(
                "More is asked of the application %(name)s than it can answer soon. Try again in 2 seconds.",
                name=self._name,
            )
        )

    def _too_long(self) -> AppAway:
        return AppAway(
            _(
                "The application took more than %(count)s s and was ended. Try less at once.",
                count=round(self._seconds),
            )
        )


class Keepers:
    """The processes of all applications in this web process."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._keepers: dict[str, Keeper] = {}
        self._lock = threading.Lock()

    def of(self, name: str) -> Keeper:
        with self._lock:
            if name not in self._keepers:
                self._keepers[name] = Keeper(self._runtime, name)
            return self._keepers[name]

    def close(self) -> None:
        for keeper in list(self._keepers.values()):
            keeper.close()


#: Those of the web processes in this process, by the identity of what they hold open.
_held: WeakValueDictionary[int, Keepers] = WeakValueDictionary()


def hold_processes(app: FastAPI) -> None:
    """Let a web process hold the processes of applications."""
    app.state.app_processes = _held[id(app.state.runtime)] = Keepers(app.state.runtime)


def held_keepers(runtime: Runtime) -> Keepers | None:
    """Return the processes that the web process of a runtime holds; None where there is no web process."""
    return _held.get(id(runtime))


def keepers_of(request: Request) -> Keepers:
    keepers = request.app.state.app_processes
    assert isinstance(keepers, Keepers)  # noqa: S101 (set where the app is made)
    return keepers


def predict(
    keeper: Keeper, row: ModelVersion | None, rows: list[dict[str, Any]] | None, values: Mapping[str, Any]
) -> dict[str, Any]:
    """Ask an application about rows, {"rows", "warnings"}, or about single values, {"answer"}.

    Raises:
        InvalidInput: a column of the rows is missing, or a value is of another type than in the example.
        AppFailed, AppAway: as `Keeper.ask`.
    """
    read = read_rows(row, rows) if rows is not None else Rows([])
    folder = None if row is None else str(keeper.folder_of(row))
    message = {"do": "predict", "folder": folder, "values": dict(values), "as_rows": True}
    try:
        reply, _data = keeper.ask(message | {"rows": None if rows is None else read.values})
    except AppFailed as error:
        raise explained(error, columns_of(row), read.values) from error
    made = {name: reply[name] for name in ("rows", "answer") if name in reply}
    return made | ({} if rows is None else {"warnings": read.warnings})
