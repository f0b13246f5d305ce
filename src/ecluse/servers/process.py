"""Keep one server running on a leash: started again when it dies, gone when this process is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ecluse.servers import leash
from ecluse.settings import inherited

RESTART_SECONDS: Final = 1.0
#: Environment variables that a server inherits. No others, as SeaweedFS would make an administrator of any
#: AWS_ACCESS_KEY_ID it finds.
KEPT: Final = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


@dataclass(frozen=True)
class ServerCommand:
    """How a server is started and asked to end; `user` is whom it runs as where that is someone else."""

    name: str
    arguments: tuple[str, ...]
    stop_signal: signal.Signals
    patience: float
    environ: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None


def wait_until_gone(folder: Path, name: str, patience: float) -> None:
    """Wait for the server that a killed process left in this folder; its leash is ending it."""
    os.close(leash.take_turn(str(_lock(folder, name)), patience))


class ServerProcess:
    """A server in `folder`: its lock and its log lie there. `tell` is called when it had to be started again."""

    def __init__(self, command: ServerCommand, folder: Path, tell: Callable[[str], None]) -> None:
        self.name = command.name
        self.log = folder / f"{command.name.lower()}.log"
        self._command = command
        self._lock = _lock(folder, command.name)
        self._tell = tell
        self._stopping = threading.Event()
        self.restarts = 0
        self._output = self.log.open("wb")
        self._process = self._start()
        self._watch = threading.Thread(target=self._start_again_when_dead, daemon=True)
        self._watch.start()

    def close(self) -> None:
        """Let the leash go and wait until the server is gone."""
        self._stopping.set()
        self._cut(self._process)
        self._watch.join()
        self._output.close()

    def last_words(self) -> str:
        """Return the last line of its log."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else "its log is empty"

    def _start(self) -> subprocess.Popen[bytes]:
        command = self._command
        leashed = [sys.executable, "-I", leash.__file__, str(self._lock), str(int(command.stop_signal))]
        leashed += [str(command.patience), command.user or "", "--", *command.arguments]
        environ = inherited(KEPT) | {"LC_ALL": "C"}
        return subprocess.Popen(
            leashed,
            cwd=self.log.parent,
            env=environ | dict(command.environ),
            stdin=subprocess.PIPE,
            stdout=self._output,
            stderr=self._output,
            start_new_session=True,  # Ctrl-C reaches this process alone; the server ends after what uses it
        )

    def _start_again_when_dead(self) -> None:
        while True:
            code = self._process.wait()
            if self._stopping.wait(RESTART_SECONDS):
                return
            self._cut(self._process)
            self._tell(f"{self.name} ended with code {code}; it is started again. Its log: {self.log}")
            self.restarts += 1
            self._process = self._start()
            if self._stopping.is_set():  # asked to stop in between
                self._cut(self._process)

    @staticmethod
    def _cut(process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None  # noqa: S101 (a pipe was asked for)
        process.stdin.close()


def _lock(folder: Path, name: str) -> Path:
    return folder / f"{name.lower()}.lock"
