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
_lock = threading.Lock()


def run_forked(
    arguments: list[str], environ: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """One command, its output captured; as `subprocess.run([python, "-m", "ecluse", …])` would."""
    with _lock:
        address = _server()
    with (
        tempfile.TemporaryFile("w+b") as out,
        tempfile.TemporaryFile("w+b") as err,
        socket.socket(socket.AF_UNIX) as line,
    ):
        line.settimeout(timeout)
        line.connect(address)
        request = {"arguments": arguments, "environ": dict(environ), "folder": str(Path.cwd())}
        socket.send_fds(line, [json.dumps(request).encode() + b"\n"], [out.fileno(), err.fileno()])
        with line.makefile("r") as answers:
            pid = int(answers.readline())
            try:
                code = int(answers.readline())
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(arguments, timeout) from None
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(arguments, code, out.read().decode(), err.read().decode())


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
    data, files, _, _ = socket.recv_fds(line, 1 << 20, 2)
    while not data.endswith(b"\n"):
        data += line.recv(1 << 20)
    pid = os.fork()
    if pid == 0:
        line.close()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(files[0], 1)
        os.dup2(files[1], 2)
        for file in files:
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


def _import_commands() -> None:
    from ecluse.cli import commands

    for module, _, _ in commands().values():
        importlib.import_module(module)


if __name__ == "__main__":
    _import_commands()
    _run(_serve(sys.argv[1]))
