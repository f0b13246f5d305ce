"""Run `ecluse` commands in forks of one process that has imported them: the same command, without its start.

Each command is a process of its own, with its own environment, folder, output and end. The interpreter's
start and the imports, most of what a short command costs, are paid once for all tests of a process.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).parents[1]
#: What `ecluse up` imports once it runs.
USED_LATER = ("ecluse.serving", "ecluse.web.app", "numpy", "polars", "uvicorn.protocols.http.httptools_impl")
_lock = threading.Lock()


def run_forked(
    arguments: list[str], environ: Mapping[str, str], timeout: float, *, typed: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run one command, its output captured; as `subprocess.run([python, "-m", "ecluse", …])` would."""
    with (
        tempfile.TemporaryFile("w+b") as stdin,
        tempfile.TemporaryFile("w+b") as out,
        tempfile.TemporaryFile("w+b") as err,
    ):
        stdin.write(typed.encode())
        stdin.seek(0)
        process = ForkedProcess(arguments, environ, (stdin.fileno(), out.fileno(), err.fileno()))
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        finally:
            process.close()
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(arguments, code, out.read().decode(), err.read().decode())


class ForkedProcess:
    """One command that runs in a fork; it is waited for and ended like a `subprocess.Popen`."""

    def __init__(self, arguments: list[str], environ: Mapping[str, str], files: tuple[int, int, int]) -> None:
        self.args = arguments
        self._code: int | None = None
        with _lock:
            address = _server()
        self._line = socket.socket(socket.AF_UNIX)
        self._line.connect(address)
        request = {"arguments": arguments, "environ": dict(environ), "folder": str(Path.cwd())}
        socket.send_fds(self._line, [json.dumps(request).encode() + b"\n"], files)
        self._answers = self._line.makefile("r")
        self.pid = int(self._answers.readline())

    def poll(self) -> int | None:
        """Return its exit code, below 0 for a signal; None while it runs."""
        if self._code is None and select.select([self._line], [], [], 0)[0]:
            self._code = int(self._answers.readline())
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its exit code. Raises TimeoutExpired."""
        if self._code is None and not select.select([self._line], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        code = self.poll()
        assert code is not None
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Forget it, whether it has ended or not."""
        self._answers.close()
        self._line.close()


@functools.cache
def _server() -> str:
    """The address of this process's server, which ends with it."""
    folder = tempfile.mkdtemp(prefix="forking")
    address = f"{folder}/server"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.forking", address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdin is not None
    assert process.stdout is not None

    def end() -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.wait(10)
        process.stdout.close()
        Path(address).unlink(missing_ok=True)
        Path(folder).rmdir()

    atexit.register(end)
    assert process.stdout.readline() == b"ready\n"
    return address


def _serve(address: str) -> dict[str, Any]:
    """Wait for requests; returns in a fork, as the process that runs a command."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(16)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        os.write(1, b"ready\n")
        while True:
            ready, _, _ = select.select([listener, sys.stdin], [], [])
            if sys.stdin in ready:
                os._exit(0)
            line, _ = listener.accept()
            with line:
                if os.fork() == 0:
                    listener.close()
                    return _attend(line)


def _attend(line: socket.socket) -> dict[str, Any]:
    """In a fork: start the command in another, and tell its end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    data, files, _, _ = socket.recv_fds(line, 1 << 20, 3)
    while not data.endswith(b"\n"):
        data += line.recv(1 << 20)
    pid = os.fork()
    if pid == 0:
        line.close()
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        request: dict[str, Any] = json.loads(data)
        return request
    line.sendall(f"{pid}\n".encode())
    _, status = os.waitpid(pid, 0)
    line.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _run(request: dict[str, Any]) -> NoReturn:
    from ecluse.cli import main

    os.environ.clear()
    os.environ.update(request["environ"])
    time.tzset()
    os.chdir(request["folder"])
    sys.argv = ["ecluse", *request["arguments"]]
    main(request["arguments"])
    raise AssertionError("the command line ends its process")


def _import_all() -> None:
    """Import what commands and the web import when they are used."""
    from ecluse.application import applications
    from ecluse.cli import commands

    modules = [module for module, _, _ in commands().values()]
    for application in applications():
        parts = (*application.pages, *application.api, *application.jobs, application.web, application.card)
        modules += [part.partition(":")[0] for part in parts if part]
    for module in (*modules, *USED_LATER):
        importlib.import_module(module)


if __name__ == "__main__":
    _import_all()
    _run(_serve(sys.argv[1]))
