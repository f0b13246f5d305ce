"""Time from `ecluse up` to the first answer, and of `ecluse --help`, each beside its limit.

    python -m benchmarks.startup [--runs 5]

Warm: the databases exist and the files are in the page cache. Prints medians in seconds and the ratio to the limit.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from tests.application import running

UP_LIMIT = 5.0
HELP_LIMIT = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        time_up(home)
        _print("ecluse up, warm, to the first page", [time_up(home) for _ in range(runs)], UP_LIMIT)
    time_help()
    _print("ecluse --help", [time_help() for _ in range(runs)], HELP_LIMIT)


def time_up(home: Path) -> float:
    """Seconds from the start of the process to a served sign-in page."""
    began = time.perf_counter()
    with running(home) as application:
        httpx.get(f"{application.address}/sign-in").raise_for_status()
        return time.perf_counter() - began


def time_help() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "ecluse", "--help"], check=True, capture_output=True)
    return time.perf_counter() - began


def _print(what: str, seconds: list[float], limit: float) -> None:
    median = statistics.median(seconds)
    spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
    print(f"{what}: {median:.2f} s ({spread}), {median / limit:.2f} of the limit of {limit} s")


if __name__ == "__main__":
    main()
