"""Bound how many versions one process loads at once, so that nobody takes its memory and threads by asking for many."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Final

from ecluse.errors import Overloaded
from ecluse.sentences import _

#: Versions that are loaded at once, in all and of one owner; and those of one owner that may wait for it besides.
AT_ONCE: Final = 6
OF_ONE_OWNER: Final = 2
WAITING: Final = 3
#: Seconds that one waits at most.
_LONGEST: Final = 60.0


class Loads:
    """The versions that are being loaded, by owner."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._loading: Counter[str] = Counter()
        self._waiting: Counter[str] = Counter()

    @contextlib.contextmanager
    def place(self, owner: str) -> Iterator[None]:
        """Have a place while a version of this owner is loaded. A thread waits for it.

        Raises:
            Overloaded: as many of theirs wait as may, or none was free for a minute.
        """
        with self._changed:
            if not self._is_free(owner):
                self._wait(owner)
            self._loading[owner] += 1
        try:
            yield
        finally:
            with self._changed:
                self._loading[owner] -= 1
                self._loading += Counter()  # what is at zero goes
                self._changed.notify_all()

    def _wait(self, owner: str) -> None:
        if self._waiting[owner] >= WAITING:
            raise _too_many()
        self._waiting[owner] += 1
        try:
            if not self._changed.wait_for(lambda: self._is_free(owner), _LONGEST):
                raise _too_many()
        finally:
            self._waiting[owner] -= 1
            self._waiting += Counter()

    def _is_free(self, owner: str) -> bool:
        return self._loading[owner] < OF_ONE_OWNER and self._loading.total() < AT_ONCE


def _too_many() -> Overloaded:
    return Overloaded(
        _(
            "Other models of this owner are being loaded, as many as may be at once. Try again in a few seconds."
        ),
        5,
    )
