"""Fetch objects through a cache in a process of its own: `python -m tests.contracts.cache_process`.

One JSON object on standard input says what to do. "ready" is printed before the work, which begins with the
next line of input; then one JSON object a task is printed.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from ecluse.errors import EcluseError
from ecluse.storage import Cache, ObjectStore, open_store
from ecluse.storage.cache.cache import PATIENCE
from tests.support.wait import slow_for


class WatchedStore:
    """A store that notes in a file what is asked of it, and gives its chunks slowly."""

    def __init__(self, store: ObjectStore, log: Path, delay: float) -> None:
        self._store, self._log, self._delay = store, log, delay

    @property
    def url(self) -> str:
        return self._store.url

    def stream(self, key: str, *, chunk_size: int) -> Iterator[bytes]:
        """In pieces of 64 KiB, whatever was asked for: these are what is noted and waited for."""
        self.note(f"asked {key}")
        for chunk in self._store.stream(key, chunk_size=64 * 1024):
            for start in range(0, len(chunk), 64 * 1024):
                self.note(f"gave {key}")
                slow_for(self._delay)
                yield chunk[start : start + 64 * 1024]

    def note(self, line: str) -> None:
        with self._log.open("a") as file:
            file.write(f"{line}\n")


def main() -> None:
    order: dict[str, Any] = json.loads(sys.stdin.readline())
    store = WatchedStore(open_store(order["store"]), Path(order["log"]), order.get("delay", 0.0))
    patience = timedelta(seconds=order["patience"]) if "patience" in order else PATIENCE
    kept = Cache(Path(order["cache"]), order["bound"], patience)
    print("ready", flush=True)
    sys.stdin.readline()

    def progress(count: int) -> None:
        if not count:
            store.note("waits")

    for verb, key, sha256, size, destination in order["tasks"]:
        try:
            fetched = getattr(kept, verb)(store, key, sha256, size, Path(destination), progress)
            print(json.dumps({"from_cache": fetched.from_cache, "replaced": fetched.replaced}), flush=True)
        except EcluseError as error:
            print(json.dumps({"error": error.code, "message": str(error)}), flush=True)
        if order.get("forget"):
            os.unlink(destination)


if __name__ == "__main__":
    main()
