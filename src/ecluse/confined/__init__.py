"""Run a function in a process of its own, with bounds of memory and of work: how files of strangers are read.

    answer = run("ecluse.apps.fraud.actions.reading:profile", {"path": "…"}, limits=Limits(memory=2 << 30))

Arguments and answers are JSON, and bytes beside them; nothing that the process says is ever unpickled. It has none
of our keys and addresses in its environment, leaves no core dump, and ends with the process that asked. What it
does to itself, by asking for too much or by falling over its file, is `ReaderStopped`, and concerns nobody else.

To begin a process anew for each file costs most of a second of imports. So a process asks a *nursery*: one that has
imported the module of the function, never reads a file, and forks itself for each one.

Memory is bounded by the kernel on Linux (RLIMIT_DATA: what a process writes to, files it maps not counted). Other
systems keep no such bound; there the process is still one of its own, and its work is bounded.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import json
import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from ecluse.confined.child import OUT_OF_MEMORY, full_name
from ecluse.confined.child import Beside as Beside
from ecluse.confined.limits import GIB
from ecluse.errors import EcluseError, ReaderStopped
from ecluse.sentences import from_json, unpack
from ecluse.settings import inherited

MIB: Final = 1 << 20
#: Environment variables that a reader inherits.
KEPT: Final = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "TZ")
#: Threads of one reader: each takes memory, and a machine with many cores has other work.
THREADS: Final = 4
#: The largest answer of a reader: the profile of 16,384 columns has 80 MB, an image of 50 million pixels 150.
MOST_ANSWERED: Final = 256 * MIB
#: Characters of what a reader says that are kept.
MOST_SAID: Final = 2000
#: Seconds between two checks whether the caller still wants the answer.
_LOOK: Final = 0.5
#: Attempts at a reading that is ended from outside: by a person, or by a machine that is out of memory.
TRIES: Final = 3
#: Bytes of the beginning and of the end of what a reader writes to stderr that are kept.
_LOG_BYTES: Final = 4000
logger = logging.getLogger(__name__)

#: Called with the fraction done (0 to 1) and what is being done; an error that it raises ends the reading.
Heard = Callable[[float, str], None]


@dataclass(frozen=True)
class Limits:
    """What one reading may take: bytes of memory, seconds of processor time, seconds in all, bytes of a file written.

    `work` is what a machine with nothing else to do would take, so that a loaded one is slow and not wrong; `wall`
    is for what waits for ever.
    """

    memory: int
    work: float = 600.0
    wall: float = 6 * 3600.0
    written: int = 16 * GIB

    def request(self, function: str, arguments: Mapping[str, Any], folder: Path | None, size: int) -> bytes:
        """Write what a reader is asked for; `size`: the bytes that follow."""
        request = {
            "function": function,
            "arguments": dict(arguments),
            "folder": None if folder is None else str(folder),
            "memory": self.memory,
            "work": self.work,
            "written": self.written,
            "size": size,
        }
        return json.dumps(request).encode() + b"\n"


@dataclass(frozen=True)
class Answer:
    """What a function gave: JSON, and bytes. `peak` is the most memory it held, in bytes; `work` is in seconds."""

    value: Any
    data: bytes
    peak: int
    work: float


def run(
    function: str,
    arguments: Mapping[str, Any],
    *,
    limits: Limits,
    data: bytes = b"",
    folder: Path | None = None,
    heard: Heard | None = None,
) -> Answer:
    """Call `module:name` with these arguments in a process of its own.

    The function takes `tell` (see `Heard`), `data`, and the arguments by name. Its temporary files go to `folder`,
    which the caller removes. `heard` is called now and then, also while nothing is told; what it raises ends the
    process and passes.

    Raises:
        ReaderStopped: it needed more than its limits, or died of what it read.
        EcluseError: as the function raised it.
        OSError: the disk is full, or fails.
    """
    module, _, _ = function.partition(":")
    head = limits.request(function, arguments, folder, len(data))
    for _ in range(TRIES - 1):
        with contextlib.suppress(EndedFromOutside):  # it is tried again; the last time says so below
            return _attempt(module, head, data, limits, heard)
    try:
        return _attempt(module, head, data, limits, heard)
    except EndedFromOutside as ended:
        raise ReaderStopped("ended", 0) from ended


class EndedFromOutside(Exception):
    """A reader was ended by something other than itself or its limits."""


def _attempt(module: str, head: bytes, data: bytes, limits: Limits, heard: Heard | None) -> Answer:
    with tempfile.TemporaryFile() as log:
        job, status = begin_reader(nursery_of(module), log)
        sender = threading.Thread(target=_send, args=(job, head, data), daemon=True)
        sender.start()
        try:
            conversation = Conversation(job, status, limits, heard).hold()
        finally:
            job.close()
            status.close()  # on this the nursery kills a reader that is still there
            sender.join()
        return answer_of(conversation, limits, log)


def begin_reader(nursery: Nursery, log: IO[bytes]) -> tuple[socket.socket, socket.socket]:
    """Return a connection with a new reader, and one on which its nursery says how it ended."""
    job, readers_job = socket.socketpair()
    status, nurserys_status = socket.socketpair()
    with readers_job, nurserys_status:
        try:
            nursery.hand([readers_job.fileno(), nurserys_status.fileno(), log.fileno()])
        except BaseException:
            job.close()
            status.close()
            raise
    return job, status


def _send(job: socket.socket, head: bytes, data: bytes) -> None:
    # A reader that died says so by its status.
    with contextlib.suppress(OSError):
        job.sendall(head)
        job.sendall(data)


class Conversation:
    """The messages of one reader until it has ended."""

    def __init__(
        self,
        job: socket.socket,
        status: socket.socket,
        limits: Limits,
        heard: Heard | None,
        *,
        stays: bool = False,
    ) -> None:
        self._job, self._status, self._limits, self._heard = job, status, limits, heard
        self._stays = stays
        self._buffer = bytearray()
        self._missing = 0
        self.last: dict[str, Any] = {}
        self.data = b""
        self.ended: dict[str, Any] | None = None
        self.too_long = self.too_much = False
        self._progress: tuple[float, str] = (0.0, "")

    def hold(self) -> Conversation:
        """Receive messages until the reader has ended or, if it stays, has answered; or has used up its limits."""
        until = time.monotonic() + self._limits.wall
        ended = bytearray()
        with selectors.DefaultSelector() as both:
            both.register(self._job, selectors.EVENT_READ)
            both.register(self._status, selectors.EVENT_READ)
            while both.get_map():
                for key, _ in both.select(_LOOK):
                    piece = _received(key.fileobj)  # type: ignore[arg-type]
                    if not piece:
                        both.unregister(key.fileobj)
                    elif key.fileobj is self._status:
                        ended += piece
                    else:
                        self._take(piece)
                if self._stays and self.is_whole:
                    return self
                if self.too_much or time.monotonic() > until:
                    self.too_long = not self.too_much
                    return self
                if self._heard is not None:
                    self._heard(*self._progress)
        self.ended = json.loads(ended) if ended else None
        return self

    def _take(self, piece: bytes) -> None:
        looked = 0 if self._missing else len(self._buffer)  # what came before has no line end
        self._buffer += piece
        self.too_much = len(self._buffer) > MOST_ANSWERED
        while not self._missing and (end := self._buffer.find(b"\n", looked)) >= 0:
            line, looked = bytes(self._buffer[:end]), 0
            del self._buffer[: end + 1]
            message = parse_message(line)
            if "progress" in message:
                self._progress = _progress(message["progress"]) or self._progress
            elif message:
                self.last = message
                self._missing = int(message.get("size") or 0)
        if self._missing and len(self._buffer) >= self._missing:
            self.data = bytes(self._buffer[: self._missing])
            del self._buffer[: self._missing]
            self._missing = 0

    @property
    def is_whole(self) -> bool:
        return "answer" in self.last and not self._missing


def _received(source: socket.socket) -> bytes:
    try:
        return source.recv(1 << 20)
    except ConnectionResetError:
        return b""


def parse_message(line: bytes) -> dict[str, Any]:
    """Parse a message of a reader; {} if it is no JSON object, as from a reader that a hostile file took over."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}


def _progress(value: Any) -> tuple[float, str] | None:
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], int | float):
        return min(max(float(value[0]), 0.0), 1.0), _sentence(value[1])
    return None


def _sentence(value: Any) -> str:
    """Return what a reader says, who may have been taken over by its file: a sentence, or the beginning of a text."""
    try:
        text = from_json(value)
    except ValueError:
        return str(value)[:MOST_SAID]
    return text if len(text) <= MOST_SAID else str(text[:MOST_SAID])


def unpacked(answer: Any) -> Any:
    try:
        return unpack(answer)
    except (ValueError, RecursionError) as error:
        raise ReaderStopped("crash", 0, detail=repr(error)) from error


def answer_of(conversation: Conversation, limits: Limits, log: IO[bytes]) -> Answer:
    """Return the answer, or what kept the reader from giving one."""
    if conversation.too_long:
        raise ReaderStopped("time", round(limits.wall))
    if conversation.too_much:
        raise ReaderStopped("memory", limits.memory)
    if conversation.ended is None:
        raise EndedFromOutside
    logger.debug("A reader ended: status %(status)s, %(peak)s bytes at most, %(work)s s", conversation.ended)
    if conversation.is_whole:
        return Answer(
            unpacked(conversation.last["answer"]),
            conversation.data,
            int(conversation.ended["peak"]),
            float(conversation.ended["work"]),
        )
    if "error" in conversation.last:
        raise error_of(conversation.last, limits)
    raise what_ended(conversation.ended, limits, log)


def what_ended(ended: Mapping[str, Any], limits: Limits, log: IO[bytes]) -> ReaderStopped | EndedFromOutside:
    """Return the error that says why a reader ended without an answer. `ended`: what its nursery said."""
    killed_by = os.WTERMSIG(ended["status"]) if os.WIFSIGNALED(ended["status"]) else 0
    if killed_by == signal.SIGXCPU or (killed_by == signal.SIGKILL and ended["work"] >= limits.work):
        return ReaderStopped("time", round(limits.work))
    text = _log_excerpt(log)
    if any(phrase in text for phrase in OUT_OF_MEMORY):
        return ReaderStopped("memory", limits.memory)
    if killed_by in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        return EndedFromOutside()
    return ReaderStopped("crash", killed_by, detail=text)


def _log_excerpt(log: IO[bytes]) -> str:
    """Return the beginning and the end of a reader's stderr, for our log; never shown to a user."""
    size = log.seek(0, os.SEEK_END)
    log.seek(0)
    first = log.read(_LOG_BYTES)
    log.seek(max(_LOG_BYTES, size - _LOG_BYTES))
    return (first + log.read(_LOG_BYTES)).decode("utf-8", "replace")


def error_of(details: Mapping[str, Any], limits: Limits) -> Exception:
    kind, message = str(details["error"]), _sentence(details.get("message", ""))
    if kind == "MemoryError":
        return ReaderStopped("memory", limits.memory)
    if kind == "OSError":
        number = int(details.get("errno") or 0)
        if number == errno.EFBIG:
            return ReaderStopped("size", limits.written)
        return OSError(number, message, str(details.get("filename") or "a file"))
    error_type = _error_types().get(kind)
    return ReaderStopped("crash", 0, detail=message) if error_type is None else error_type(message)


def _error_types() -> dict[str, type[EcluseError]]:
    """Find the errors of ours and of applications by their full names; nothing is imported for what a reader says."""
    error_types = [EcluseError]
    for error_type in error_types:
        error_types += error_type.__subclasses__()
    return {full_name(error_type): error_type for error_type in error_types}


# The nursery, as the process that asks sees it


class Nursery:
    """A process that has imported a module and forks a reader for each file; begun when first needed."""

    def __init__(self, module: str, also: str | None = None) -> None:
        """`also`: a module that is imported too, where it can be."""
        self.module, self.also = module, also
        self.owner = os.getpid()
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def hand(self, files: list[int]) -> None:
        """Fork a reader and pass it these files: its connection, its status, and its log."""
        with self._lock:
            for _ in range(TRIES):
                if self._control is None:
                    self._begin()
                assert self._control is not None  # noqa: S101 (it was just begun)
                try:
                    socket.send_fds(self._control, [b"."], files)
                except (BrokenPipeError, ConnectionResetError):  # it was idle and left, or was killed
                    self._end()
                else:
                    return
        raise ReaderStopped("ended", 0)

    @property
    def pid(self) -> int | None:
        """Its process; None while there is none."""
        return self._process.pid if self._process is not None else None

    def close(self) -> None:
        """End the nursery and its readers."""
        with self._lock:
            self._end()

    def _begin(self) -> None:
        self._control, theirs = socket.socketpair()
        with theirs:
            boot = (
                "import sys, json; sys.path[:] = json.loads(sys.argv[3]); "
                "from ecluse.confined.child import nurse; nurse()"
            )
            threads = str(max(1, min(THREADS, os.cpu_count() or 1)))
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-c", boot),
                    *(str(theirs.fileno()), self.module, json.dumps([p for p in sys.path if p])),
                    *([self.also] if self.also else []),
                ],
                env=inherited(KEPT)
                | {"POLARS_MAX_THREADS": threads, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": "1"},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C reaches who asked, and who asked ends it
            )

    def _end(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._control = self._process = None


_nurseries: dict[tuple[str, str | None], Nursery] = {}
_nurseries_lock = threading.Lock()


def nursery_of(module: str, also: str | None = None) -> Nursery:
    """Return the nursery of a module in this process; one that was inherited by a fork is another's."""
    with _nurseries_lock:
        nursery = _nurseries.get((module, also))
        if nursery is None or nursery.owner != os.getpid():
            nursery = _nurseries[module, also] = Nursery(module, also)
        return nursery


@atexit.register
def close_nurseries() -> None:
    """End the nurseries of this process."""
    for nursery in list(_nurseries.values()):
        if nursery.owner == os.getpid():
            nursery.close()
