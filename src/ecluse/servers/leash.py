"""Run a command that ends when standard input does: it cannot outlive the process that started it.

Run by its path, with the standard library alone: `python leash.py LOCK SIGNAL PATIENCE USER -- COMMAND…`.
Whoever starts it keeps the other end of its standard input; a process that is killed lets go of that end too.
The file LOCK is held by the command itself, so the next one on the same data waits until this one is gone.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from typing import NoReturn

TICK_SECONDS = 0.05


def main(arguments: list[str]) -> NoReturn:
    """Run the command until it ends or standard input does; end with its code, 128 + n for signal n."""
    lock_path, stop_signal, patience, user, _, *command = arguments
    lock = take_turn(lock_path, float(patience))
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        pass_fds=[lock],
        user=user or None,
        group=_group(user),
        extra_groups=[] if user else None,
    )

    def let_go(*_: object) -> None:
        child.send_signal(int(stop_signal))
        killer = threading.Timer(float(patience), child.kill)
        killer.daemon = True
        killer.start()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, let_go)
    os.pwrite(lock, f"{child.pid:<20}".encode(), 0)
    threading.Thread(target=_end_with, args=(child,), daemon=True).start()
    while os.read(0, 4096):
        pass
    let_go()
    while True:  # until the thread ends this process with the code of the command
        signal.pause()


def take_turn(path: str, patience: float) -> int:
    """Hold the lock of the data; one whose leash was cut still holds it after `patience` s and is killed."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + patience + 2
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                holder = os.pread(lock, 20, 0).decode().strip()
                if holder.isdigit():
                    os.kill(int(holder), signal.SIGKILL)  # it holds the lock, so the number is still its own
                deadline = time.monotonic() + patience + 2
            time.sleep(TICK_SECONDS)
        else:
            return lock


def _group(user: str) -> int | None:
    if not user:
        return None
    import pwd

    return pwd.getpwnam(user).pw_gid


def _end_with(child: subprocess.Popen[bytes]) -> NoReturn:
    code = child.wait()
    os._exit(128 - code if code < 0 else code)


if __name__ == "__main__":
    main(sys.argv[1:])
