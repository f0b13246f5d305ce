"""What readers do that tests ask for: to read well, and in every way ill."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import tempfile
from pathlib import Path

from ecluse.confined import Heard
from ecluse.errors import UnreadableTable
from ecluse.later import Later
from tests.support.wait import slow_for

#: Of the standard library; nothing that a nursery imports needs it.
listed = Later("mailbox")


def fine(tell: Heard, data: bytes) -> str:
    tell(0.5, "half")
    return "fine"


def is_there(tell: Heard, data: bytes) -> bool:
    """Say whether what a module would import later is imported by the time that a reader begins."""
    return "mailbox" in sys.modules


def hoard(tell: Heard, data: bytes) -> int:
    return len(bytearray(400 << 20))


def spin(tell: Heard, data: bytes) -> None:
    while True:
        pass


def fall(tell: Heard, data: bytes) -> None:
    ctypes.string_at(0)


def abort(tell: Heard, data: bytes) -> None:
    os.abort()


def write(tell: Heard, data: bytes) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"x" * (4 << 20))


def babble(tell: Heard, data: bytes) -> None:
    while True:
        os.write(3, b"x" * 1_000_000)


def wait(tell: Heard, data: bytes) -> None:
    slow_for(600)


def environ(tell: Heard, data: bytes) -> dict[str, str]:
    return dict(os.environ)


def refuse(tell: Heard, data: bytes) -> None:
    raise UnreadableTable("It is no table.")


def fault(tell: Heard, data: bytes) -> None:
    raise LookupError("a fault of ours")


def pids(tell: Heard, data: bytes) -> list[int]:
    return [os.getpid(), os.getppid()]


def kill_nursery(tell: Heard, data: bytes) -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    slow_for(600)


def note_and_wait(tell: Heard, data: bytes, *, path: str) -> None:
    """Write the number of this process into a file, and do nothing more."""
    new = Path(path).with_suffix(".new")
    new.write_text(str(os.getpid()))
    new.rename(path)
    slow_for(600)
