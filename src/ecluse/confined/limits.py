"""Know the memory of this machine, and limit what this process may use of it."""

from __future__ import annotations

import contextlib
import os
import resource
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ecluse.settings import replace_variables

GIB: Final = 1 << 30


def usual_memory() -> int:
    """Return the default memory limit of a reader (bytes): half of this machine's memory, 1 to 8 GiB."""
    return max(GIB, min(8 * GIB, machine_memory() // 2))


def machine_memory() -> int:
    """Return the bytes of memory of this machine, or of the container it is in."""
    pages: int = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):  # the container has no such file, or no limit: "max"
            pages = min(pages, int(Path(file).read_text(encoding="ascii")))
    return pages


def set_oom_score(score: int) -> None:
    with contextlib.suppress(OSError):  # a system without it, or one that does not let it be lowered
        Path("/proc/self/oom_score_adj").write_text(str(score), encoding="ascii")


def apply_limits(request: Mapping[str, Any]) -> None:
    if request["folder"] is not None:
        tempfile.tempdir = request["folder"]
        replace_variables({"TMPDIR": request["folder"]}, without=())
    limit_work(request["work"])
    set_limit(resource.RLIMIT_FSIZE, int(request["written"]))
    set_limit(resource.RLIMIT_DATA, int(request["memory"]) + _data_now())


def limit_work(seconds: float) -> None:
    """Let this process have so many seconds of processor from now on; the kernel ends it after that (SIGXCPU)."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    until = int(time.process_time() + seconds) + 1
    with contextlib.suppress(OSError, ValueError):  # a system that knows no such limit
        resource.setrlimit(
            resource.RLIMIT_CPU, (until if hard == resource.RLIM_INFINITY else min(until, hard), hard)
        )


def _data_now() -> int:
    """Return the bytes that this process holds already, for the nursery's modules."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[5]
    except OSError:  # no /proc: the limit is that much tighter
        return 0
    return int(pages) * resource.getpagesize()


def limit_processes(more: int) -> None:
    """Let this process and those it starts have so many threads and processes beyond what its user has now.

    The kernel counts those of the user, and holds a user who may do everything (root) to no limit.
    """
    if hasattr(resource, "RLIMIT_NPROC") and Path("/proc/self/stat").exists():
        set_limit(resource.RLIMIT_NPROC, _threads_of(os.getuid()) + more)


def _threads_of(user: int) -> int:
    count = 0
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):  # it has ended
            if entry.stat().st_uid == user:
                count += int((entry / "stat").read_text().rpartition(")")[2].split()[17])
    return count


def set_limit(limit: int, most: int) -> None:
    """Set a limit of this process, which it cannot raise again."""
    _, hard = resource.getrlimit(limit)
    allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
    with contextlib.suppress(OSError, ValueError):  # a system that knows no such limit
        resource.setrlimit(limit, (allowed, allowed))
