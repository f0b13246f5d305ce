"""End this process at a named point, so that tests see what a sudden death leaves behind."""

from __future__ import annotations

import os
import signal


def die_at(point: str) -> None:
    """End this process by SIGKILL where the variable ECLUSE_DIE_AT names this point; else do nothing."""
    if os.environ.get("ECLUSE_DIE_AT") == point:
        os.kill(os.getpid(), signal.SIGKILL)
