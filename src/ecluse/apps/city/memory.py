"""Remember what was made of curated days by what it was made from, so that the next day need not make it again.

A key names the digests of all that decides a value, so that no value is ever of other data, other rules or another
city: what changes has another key, and what nobody asks for any more is forgotten. Nothing is written anywhere.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, Final


class Memory:
    """Values of at most so many bytes together; the one that nobody asked for longest goes first."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._lock = threading.Lock()
        self._values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._bytes = 0

    @property
    def size(self) -> int:
        """Return the bytes of all values that are remembered."""
        return self._bytes

    def get(self, key: Hashable) -> Any:
        """Return a value; None where it is not remembered."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def put(self, key: Hashable, value: Any, size: int) -> None:
        """Remember a value of `size` bytes, which nobody may change from now on; none that has no room alone."""
        with self._lock:
            _value, before = self._values.pop(key, (None, 0))
            self._bytes -= before
            if size > self._most:
                return
            self._bytes += size
            self._values[key] = value, size
            while self._bytes > self._most:
                _key, (_value, left) = self._values.popitem(last=False)
                self._bytes -= left


#: What this process remembers: the weeks of 3,348 arcs take 90 MB of it, those that a forecast learns from 150.
MEMORY: Final = Memory(200_000_000)
