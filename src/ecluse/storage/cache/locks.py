"""Lock files between processes, for as long as the process that holds them lives."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ecluse.storage.folders import NO_LOCKS

#: Seconds between two attempts to take a lock: few at first, as most are held for less than a millisecond.
FIRST_LOOK: Final = 0.0005
LOOK: Final = 0.02


def lock_file(path: Path, wait: Callable[[], bool]) -> int | None:
    """Wait in short looks: a signal, or what `wait` raises, ends the wait in any thread."""
    pause = FIRST_LOOK
    while True:
        lock, is_locked = os.open(path, os.O_RDWR | os.O_CREAT, 0o600), False
        try:
            while not is_won(lock):
                if not wait():
                    return None
                time.sleep(pause)
                pause = min(2 * pause, LOOK)
            # Who held it before has removed it under this process's hands; then another one counts.
            is_locked = is_file(path, lock)
            if is_locked:
                return lock
        finally:
            if not is_locked:
                os.close(lock)


def is_won(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def remove_unheld(path: Path) -> None:
    """Remove the lock of a process that was killed."""
    try:
        lock = os.open(path, os.O_RDWR)
    except FileNotFoundError:  # another process removed it
        return
    try:
        if is_won(lock) and is_file(path, lock):
            path.unlink()
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    finally:
        os.close(lock)


def is_file(path: Path, opened: int) -> bool:
    """Return whether the name still points at the open file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(opened))
    except FileNotFoundError:
        return False
