"""Time from `./run` to the first answer of `/readyz`, where Python may write bytecode and where not; and `--help`.

    python -m benchmarks.startup [--runs 5]

Warm: everything is installed, the databases exist and the files are in the page cache. Both environments take turns.
Printed are medians in seconds, least and most: of processor time, user and system, of `./run` and all that it started
until the answer, which what else runs on the machine moves little; and of wall, with the load there was.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from benchmarks.idle import processor_seconds
from tests.application import KEPT

RUN: Final = Path(__file__).resolve().parents[1] / "run"
ENVIRONMENTS: Final[Mapping[str, Mapping[str, str]]] = {
    "may write bytecode": {},
    "PYTHONDONTWRITEBYTECODE=1": {"PYTHONDONTWRITEBYTECODE": "1"},
}
WALL_LIMIT: Final = 1.5
HELP_LIMIT: Final = 0.5
PATIENCE_S: Final = 300.0


@dataclass(frozen=True)
class Start:
    """What a start took until its first answer, in seconds."""

    processor: float
    wall: float


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        for line in table(measure(Path(folder), runs)):
            print(line)
    time_help()
    _print_help([time_help() for _ in range(runs)])
    print(f"Load of the last minute: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.")


def measure(home: Path, runs: int) -> dict[str, list[Start]]:
    """Start in each environment in turn, after one start of each that does not count."""
    starts: dict[str, list[Start]] = {name: [] for name in ENVIRONMENTS}
    for number in range(runs + 1):
        for name, variables in ENVIRONMENTS.items():
            start = time_start(home, variables)
            if number:
                starts[name].append(start)
    return starts


def time_start(home: Path, variables: Mapping[str, str]) -> Start:
    """Start everything, wait for the first answer, and stop it."""
    port = free_port()
    began = time.perf_counter()
    with started(home, port, variables) as process:
        wait_for(f"http://127.0.0.1:{port}/readyz", process)
        wall = time.perf_counter() - began
        return Start(processor_seconds(psutil.Process(process.pid)), wall)


@contextlib.contextmanager
def started(home: Path, port: int, variables: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """`./run up` with nothing of the surrounding environment that Python reads."""
    environ = {name: os.environ[name] for name in KEPT if name in os.environ and name != "PYTHONPATH"}
    process = subprocess.Popen(
        [RUN, "up", "--home", home, "--port", str(port)],
        env=environ | dict(variables),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    """Ask until there is an answer that says ready."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"./run ended with {process.returncode} before it was ready.")
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=PATIENCE_S):  # noqa: S310
            return
        time.sleep(0.02)
    raise TimeoutError(f"{address} said nothing in {PATIENCE_S:.0f} s.")


def free_port() -> int:
    """Return a port of this machine that nobody listened at a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def time_help() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "ecluse", "--help"], check=True, capture_output=True)
    return time.perf_counter() - began


def table(starts: Mapping[str, list[Start]]) -> Iterator[str]:
    """The lines of a Markdown table."""
    yield "| ./run, warm, to /readyz | processor, s | wall, s | of the limit |"
    yield "|---|---|---|---|"
    for name, all_ in starts.items():
        walls = [start.wall for start in all_]
        share = statistics.median(walls) / WALL_LIMIT
        processors = _median([start.processor for start in all_])
        yield f"| {name} | {processors} | {_median(walls)} | {share:.2f} |"


def _median(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})"


def _print_help(seconds: list[float]) -> None:
    share = statistics.median(seconds) / HELP_LIMIT
    print(f"ecluse --help: {_median(seconds)} s, {share:.2f} of the limit of {HELP_LIMIT} s")


if __name__ == "__main__":
    main()
