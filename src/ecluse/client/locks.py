"""Let one process at a time do what would be done twice."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ecluse.storage.folders import lock


@contextmanager
def locked(file: Path) -> Iterator[bool]:
    """Hold a lock while the block runs; it yields False at once where another process has it."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield lock(descriptor)
    finally:
        os.close(descriptor)
