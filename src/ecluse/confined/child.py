"""Fork readers from a process that has imported what they need, and answer there what they are asked.

The other side is in `ecluse.confined`; this side runs in the nursery and in the readers that it forks.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import resource
import selectors
import signal
import socket
import struct
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module  # noqa: TID251 (what the parent process names, never a file)
from typing import Any, Final, NoReturn

from ecluse.confined.limits import apply_limits, limit_work, set_limit, set_oom_score
from ecluse.errors import EcluseError
from ecluse.later import bring
from ecluse.sentences import pack, to_json

#: Seconds after which a nursery without work ends.
IDLE: Final = 300.0
#: What a call of a standing process begins with, and its answer: the bytes of JSON, and of what follows it.
FRAME: Final = struct.Struct("<QQ")
#: Characters of an error that are said.
_MOST_SAID: Final = 4000
_DEATH_SIGNAL: Final = 1  # PR_SET_PDEATHSIG
_NO_NEW_PRIVILEGES: Final = 38  # PR_SET_NO_NEW_PRIVS


@dataclass(frozen=True)
class Beside:
    """What a function gives back that answers with bytes beside its JSON."""

    value: Any
    data: bytes


@dataclass(frozen=True)
class Standing:
    """What a function gives back that stays to answer calls; see `confined.companion`.

    `answer` takes the JSON and the bytes of a call.
    """

    value: Any
    data: bytes
    answer: Callable[[Any, bytes], Beside]


#: What libraries write before they end a process that is out of memory.
OUT_OF_MEMORY: Final = (
    "memory allocation of",
    "bad_alloc",
    "out of memory",
    "Cannot allocate memory",
    "jemalloc",
)


def framed(value: Any, data: bytes) -> bytes:
    """Return a call, or an answer to one, as it is sent."""
    text = json.dumps(value).encode()
    return FRAME.pack(len(text), len(data)) + text + data


def full_name(error_type: type[BaseException]) -> str:
    """Return the name of a type with its module."""
    return f"{error_type.__module__}.{error_type.__qualname__}"


def nurse() -> NoReturn:
    """Fork a reader for each set of files that arrives and report how it ended, until the parent process is gone."""
    control, module = socket.socket(fileno=int(sys.argv[1])), sys.argv[2]
    import_module(module)
    for also in sys.argv[4:]:
        with contextlib.suppress(ImportError):  # who needs it imports it again, and says what is missing
            import_module(also)
    bring()
    gc.collect()
    gc.freeze()  # a reader that collects garbage would copy all of this
    woken, wake = socket.socketpair()
    for end in (woken, wake):
        end.setblocking(False)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    set_oom_score(500)
    running: dict[int, socket.socket] = {}
    with selectors.PollSelector() as waiting:
        waiting.register(control, selectors.EVENT_READ)
        waiting.register(woken, selectors.EVENT_READ)
        while True:
            ready = waiting.select(None if running else IDLE)
            if not ready and not running:
                os._exit(0)
            for key, _ in ready:
                if key.fileobj is control:
                    _fork(control, running, waiting)
                elif key.fileobj is woken:
                    with contextlib.suppress(BlockingIOError):
                        woken.recv(4096)
                else:  # nobody listens any more
                    waiting.unregister(key.fileobj)
                    _kill(running, key.fileobj)
            _report_ended(running, waiting)


def _fork(control: socket.socket, running: dict[int, socket.socket], waiting: selectors.BaseSelector) -> None:
    try:
        note, files, _, _ = socket.recv_fds(control, 1, 3)
    except ConnectionResetError:
        note, files = b"", []
    if not note:
        for pid in running:
            os.kill(pid, signal.SIGKILL)
        os._exit(0)
    job, status_file, log = files
    nursery = os.getpid()
    pid = os.fork()
    if not pid:
        _read(nursery, job, log)
    os.close(job)
    os.close(log)
    running[pid] = status = socket.socket(fileno=status_file)
    waiting.register(status, selectors.EVENT_READ)


def _kill(running: Mapping[int, socket.socket], status: Any) -> None:
    for pid, its in running.items():
        if its is status:
            os.kill(pid, signal.SIGKILL)


def _report_ended(running: dict[int, socket.socket], waiting: selectors.BaseSelector) -> None:
    while running:
        try:
            pid, code, used = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:  # no reader is left
            return
        if not pid:
            return
        status = running.pop(pid)
        unit = 1 if sys.platform == "darwin" else 1024
        ended = {"status": code, "peak": used.ru_maxrss * unit, "work": used.ru_utime + used.ru_stime}
        with contextlib.suppress(KeyError):  # its asker is gone, and has been let go of
            waiting.unregister(status)
        with contextlib.suppress(OSError):  # nobody listens any more
            status.sendall(json.dumps(ended).encode())
        status.close()


def _read(nursery: int, job: int, log: int) -> NoReturn:
    """Read one request from the job's socket, answer it, and end the process."""
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # High numbers first, as the ones taken below may be these very files.
        job, log = (os.dup2(file, 200 + number) for number, file in enumerate((job, log)))
        for number in (1, 2):
            os.dup2(log, number)
        os.dup2(job, 3)
        os.closerange(4, 4096)
        _isolate(nursery)
        _serve(socket.socket(fileno=3))
    finally:
        os._exit(1)


def _serve(job: socket.socket) -> NoReturn:
    with job.makefile("rb") as source:
        request = json.loads(source.readline())
        data = source.read(request["size"])
    lock = threading.Lock()

    def say(message: Mapping[str, Any], data: bytes = b"") -> None:
        with lock:
            job.sendall(json.dumps(message).encode() + b"\n" + data)

    def tell(fraction: float, message: str = "") -> None:
        say({"progress": [fraction, to_json(message)]})

    try:
        apply_limits(request)
        module, _, name = request["function"].partition(":")
        result = getattr(import_module(module), name)(tell, data, **request["arguments"])
        answer = result if isinstance(result, Beside | Standing) else Beside(result, b"")
        say({"answer": pack(answer.value), "size": len(answer.data)}, answer.data)
    except BaseException as error:  # noqa: BLE001 (also what foreign code raises beside Exception)
        say(_described(error))
    else:
        if isinstance(result, Standing):
            _stand(job, result, request["work"])
    os._exit(0)


def _described(error: BaseException) -> dict[str, Any]:
    """Return what the process that asked needs to raise an error again."""
    if isinstance(error, EcluseError):
        return {"error": full_name(type(error)), "message": to_json(str(error))}
    if isinstance(error, OSError):
        return {
            "error": "OSError",
            "errno": error.errno,
            "message": error.strerror or str(error),
            "filename": _name(error),
        }
    if isinstance(error, MemoryError) or any(phrase in str(error) for phrase in OUT_OF_MEMORY):
        return {"error": "MemoryError"}
    traceback.print_exception(error)
    return {"error": "crash", "message": f"{type(error).__name__}: {error}"[:_MOST_SAID]}


def _stand(job: socket.socket, standing: Standing, work: float) -> None:
    """Answer one call after the other, each in `work` seconds of processor, until nobody listens any more."""
    with job.makefile("rb") as source:
        while head := source.read(FRAME.size):
            json_size, data_size = FRAME.unpack(head)
            asked = json.loads(source.read(json_size))
            data = source.read(data_size)
            limit_work(work)
            try:
                result = standing.answer(asked, data)
                answer, beside = {"answer": result.value}, result.data
            except BaseException as error:  # noqa: BLE001 (also what foreign code raises beside Exception)
                answer, beside = _described(error), b""
            job.sendall(framed(answer, beside))


def _name(error: OSError) -> str | None:
    return None if error.filename is None else os.fsdecode(error.filename)


def _isolate(nursery: int) -> None:
    """Make this reader end with its nursery, gain no rights, write no core dump, and be the first one the kernel kills
    when memory is short.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
        libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    if os.getppid() != nursery:
        os._exit(1)
    set_limit(resource.RLIMIT_CORE, 0)
    set_oom_score(1000)
