"""Name a process so that no other is taken for it, and say whether it still runs.

A process id alone is given out again, and a host name may be shared. A process is its machine's boot, its
namespaces, its id there, and the moment it was started. Who shares boot and namespaces with it can see whether it
runs; for anyone else that cannot be known from here.
"""

from __future__ import annotations

import functools
import hashlib
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

_PROC: Final = Path("/proc")
#: Index of the start time in `stat`, counted behind the process's name, as that may hold spaces.
_START: Final = 19


@dataclass(frozen=True)
class Process:
    """A process. `boot` and `namespace` are empty where the system does not name them (anything but Linux)."""

    host: str
    boot: str
    namespace: str
    pid: int
    #: Clock ticks from the boot to its start, as the kernel counts them; 0 where they are not known.
    started: int

    @classmethod
    def current(cls) -> Self:
        pid = os.getpid()
        boot, namespace = _place()
        return cls(socket.gethostname()[:255], boot, namespace, pid, _started(pid) or 0)

    @property
    def is_visible(self) -> bool:
        """Return whether this process would see it running: both are of one boot and of the same namespaces."""
        return bool(self.boot) and (self.boot, self.namespace) == _place()

    def runs(self) -> bool | None:
        """Return whether it runs; None where that cannot be seen from here."""
        if not self.is_visible:
            return None
        return _has_started(self.pid, self.started)

    @property
    def label(self) -> str:
        """Return a word for names of files and for notes, from which `is_gone` knows the process again."""
        machine = hashlib.sha256(f"{self.boot} {self.namespace}".encode()).hexdigest()[:16]
        return f"{self.pid}-{self.started}-{machine}"


def is_gone(label: str) -> bool | None:
    """Return whether the process of a label has ended; None where that cannot be seen from here."""
    here = Process.current()
    pid, _, started_and_machine = label.partition("-")
    started, _, machine = started_and_machine.partition("-")
    if not (here.boot and pid.isdigit() and started.isdigit() and machine == here.label.rpartition("-")[2]):
        return None
    runs = _has_started(int(pid), int(started))
    return None if runs is None else not runs


@functools.cache
def boot_id() -> str:
    """Return the id of this machine's boot; empty where the system has none."""
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _place() -> tuple[str, str]:
    """Return this machine's boot, and the namespaces in which ids and moments of start are counted."""
    try:
        pids, times = ((_PROC / "self/ns" / name).readlink() for name in ("pid", "time"))
    except OSError:
        return "", ""
    return boot_id(), f"{pids} {times}"


def _has_started(pid: int, started: int) -> bool | None:
    """Return whether a process with this number runs that was started then; None where that cannot be said."""
    try:
        return _started(pid) == started
    except OSError:
        return None


def _answers(pid: int) -> bool:
    """Return whether there is a process of this number, as where /proc hides those of others."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _started(pid: int) -> int | None:
    """Ticks from the boot to the start of a process; None where there is none, or it has ended and is not reaped.

    Raises:
        OSError: it cannot be said now, as where no file can be opened any more.
    """
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        if _answers(pid):
            raise
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else int(fields[_START])
