"""Start a process that runs functions of an application, bounded and without our keys, and end it.

The process inherits the variables of `KEPT` and those that the application names, and no others, so no key or address
of ours; its folder of temporary files is its home and its working directory. Its memory is bounded by the kernel on
Linux (RLIMIT_DATA: what it writes to; files that it maps are not counted), it leaves no core dump, and it ends with the
thread that started it. It runs as the same user of the system as Écluse: this keeps an application that fails from
harming others, and is no wall against one that means to.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ecluse.apps.hosted.channel import Channel
from ecluse.settings import inherited

#: Variables that the process inherits.
KEPT: Final = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "TZ")
#: Threads of the libraries in it: each takes memory, and other processes have work as well.
THREADS: Final = 4
_BOOT: Final = """
import sys, json
sys.path[:] = json.loads(sys.argv[2])
from ecluse.apps.hosted.child import main
main()
"""
#: A shorter value of a variable is no secret, and stands in texts by chance.
SHORTEST_SECRET: Final = 4
#: Bytes of what it wrote to its output that are kept for the log.
_SAID: Final = 4000


class AppProcess:
    """A process for functions of one application. The thread that makes it has to outlive it."""

    def __init__(
        self,
        source: Mapping[str, Any],
        folder: Path,
        memory: int,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self._variables = dict(variables or {})
        ours, theirs = socket.socketpair()
        self.channel = Channel(ours)
        self._log = (folder / "output.log").open("w+b")
        threads = str(max(1, min(THREADS, os.cpu_count() or 1)))
        temporary = folder / "tmp"
        temporary.mkdir(exist_ok=True)
        with theirs:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-I",
                    "-c",
                    _BOOT,
                    str(theirs.fileno()),
                    json.dumps([p for p in sys.path if p]),
                ],
                env=inherited(KEPT)
                | self._variables
                | {
                    "HOME": str(temporary),
                    "TMPDIR": str(temporary),
                    "MPLBACKEND": "agg",
                    "MPLCONFIGDIR": str(temporary),
                }
                | {
                    "POLARS_MAX_THREADS": threads,
                    "OMP_NUM_THREADS": threads,
                    "OPENBLAS_NUM_THREADS": threads,
                },
                cwd=temporary,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C reaches who asked, and who asked ends it
            )
        self.channel.send(
            {"source": dict(source), "folder": str(folder), "memory": memory, "parent": os.getpid()}
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def how_it_ended(self) -> str:
        """Say how the process ended, for the log; it has to have ended."""
        code = self._process.wait()
        if code < 0:
            with contextlib.suppress(ValueError):
                return f"signal {signal.Signals(-code).name}"
        return f"code {code}"

    def output(self) -> str:
        """Return the end of what it wrote to its output, for the log."""
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - 2 * _SAID))
        return self.hidden(self._log.read().decode("utf-8", "replace"))[-_SAID:]

    def hidden(self, text: str) -> str:
        """Return a text without the values of the application's variables: they may be passwords."""
        for name, value in self._variables.items():
            if len(value) >= SHORTEST_SECRET:
                text = text.replace(value, f"[{name}]")
        return text

    def end(self) -> None:
        """End the process, and those that it started."""
        self.channel.close()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._log.close()
