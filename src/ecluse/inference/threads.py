"""Ask models with one core each: to share out a few rows among cores takes longer than to answer them.

The number of threads that a library takes (OpenMP: XGBoost, LightGBM, scikit-learn) is a property of the thread that
asks it, so that work elsewhere in the process keeps all its cores. Answers do not depend on it.
"""

from __future__ import annotations

import threading

import threadpoolctl

_limited = threading.local()


def take_one_core(version: str) -> None:
    """Let this thread ask with one core. `version`: the id of what it asks, whose libraries are loaded."""
    versions: set[str] = _limited.__dict__.setdefault("versions", set())
    if version not in versions:  # it may have brought a library that this thread has not asked yet
        threadpoolctl.threadpool_limits(1, user_api="openmp")
        versions.add(version)
