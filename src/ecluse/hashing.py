"""Hash passwords with Argon2id and compare them with their hashes, a few at a time.

One hash takes 64 MiB and keeps several cores busy for a tenth of a second; that is its point. Anyone may ask for one
by trying to sign in, so a process computes no more at once than `MEMORY` has room for. A few more wait; the others
are told to come back.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Final

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from ecluse.errors import PasswordsBusy
from ecluse.passwords import MAX_PASSWORD
from ecluse.sentences import _

#: RFC 9106, section 4, second recommended option: 64 MiB, three passes, four lanes.
MEMORY_COST: Final = 64 * 1024  # KiB
TIME_COST: Final = 3
LANES: Final = 4
#: What the hashes of one process may take together, in bytes. With four lanes each, more at once are not faster.
MEMORY: Final = 128 * 1024**2
AT_ONCE: Final = MEMORY // (MEMORY_COST * 1024)
#: How many wait beside them. Each keeps one of the 40 threads that answer requests.
MOST_WAITING: Final = 8
#: How long (s) one waits at most.
PATIENCE: Final = 10.0
#: When to come back (s).
COME_BACK: Final = 2


class Turns:
    """Let so many in at once and so many wait for it."""

    def __init__(
        self, at_once: int = AT_ONCE, most_waiting: int = MOST_WAITING, patience: float = PATIENCE
    ) -> None:
        self._most = at_once + most_waiting
        self._patience = patience
        self._slots = threading.Semaphore(at_once)
        self._lock = threading.Lock()
        self._inside = 0

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a turn, and have it while the block runs.

        Raises:
            PasswordsBusy: too many wait already, or it took too long.
        """
        with self._lock:
            if self._inside >= self._most:
                raise _busy()
            self._inside += 1
        try:
            if not self._slots.acquire(timeout=self._patience):
                raise _busy()
            try:
                yield
            finally:
                self._slots.release()
        finally:
            with self._lock:
                self._inside -= 1


#: Those of this process.
TURNS: Final = Turns()


def hash_password(password: str) -> str:
    """Hash a password for storage.

    Raises:
        PasswordsBusy: too many are being hashed.
    """
    with TURNS.turn():
        return _hasher().hash(password)


def is_password(password: str, stored: str | None) -> bool:
    """Return whether this is the password whose hash is stored; of None, which no password has, after the same time.

    Raises:
        PasswordsBusy: too many are being hashed.
    """
    if len(password) > MAX_PASSWORD:
        return False
    with TURNS.turn():
        return _hasher().verify(password, stored or _hash_of_nobody()) and stored is not None


@cache
def _hasher() -> PasswordHash:
    return PasswordHash((Argon2Hasher(TIME_COST, MEMORY_COST, LANES),))


_lock_of_nobody = threading.Lock()


def _hash_of_nobody() -> str:
    """Return a hash that no password has, made once."""
    with _lock_of_nobody:
        return _made_for_nobody()


@cache
def _made_for_nobody() -> str:
    return _hasher().hash(secrets.token_urlsafe(16))


def _busy() -> PasswordsBusy:
    return PasswordsBusy(
        _("Many people sign in at this moment. Nothing was tried; try again in 2 seconds."), COME_BACK
    )
