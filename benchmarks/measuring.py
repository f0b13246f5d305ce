"""What the benchmarks share: options, clocks, tables, and environments that hold the other tools."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import multiprocessing
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

ROOT: Final = Path(__file__).resolve().parents[1]
DATA: Final = ROOT.parent / "shared" / "data"
CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ecluse-benchmarks"

T = TypeVar("T")


class Spent(NamedTuple):
    """Seconds by the clock, and of the processors, those of finished children included."""

    seconds: float
    processor: float


def timed(work: Callable[[], object]) -> Spent:
    """Do `work` and return what it took."""
    began, used = time.perf_counter(), processor_seconds()
    work()
    return Spent(time.perf_counter() - began, processor_seconds() - used)


def processor_seconds() -> float:
    """User and system time of this process and of its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def spawned(work: Callable[..., T], *words: Any) -> T:
    """What a function returns that is called in a new interpreter."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *words).result()


def options(description: str | None) -> argparse.ArgumentParser:
    """A parser whose help is the docstring of a script, as it stands."""
    as_it_stands = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(description=description, formatter_class=as_it_stands)


def print_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a Markdown table, numbers with three digits, None as nothing; and below it how busy the machine was."""
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(shown(cell) for cell in row)} |")
    print(f"\nload of the last minute: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors\n", flush=True)


def shown(cell: object) -> str:
    if cell is None:
        return ""
    if not isinstance(cell, float):
        return str(cell)
    return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:.3g}"


def spread(values: Sequence[float]) -> str:
    """Median, least and most."""
    return f"{shown(statistics.median(values))} ({shown(min(values))} to {shown(max(values))})"


def say(line: str) -> None:
    """Tell the progress, apart from the figures."""
    print(line, file=sys.stderr, flush=True)


def wait_for(address: str, process: subprocess.Popen[bytes], log: Path | None = None) -> None:
    """Return when an address answers; RuntimeError where its process ends before, or after three minutes."""
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=60):  # noqa: S310
            return
        time.sleep(0.02)
    raise RuntimeError(f"{address} did not answer: {log.read_text()[-2000:] if log else ''}")


def installed(name: str, pins: Sequence[str]) -> Path:
    """Return the Python of an environment that holds `pins`, made at the first call below `CACHE`."""
    digest = hashlib.sha256(" ".join(pins).encode()).hexdigest()[:12]
    place = CACHE / f"{name}-{digest}"
    python, complete = place / "bin" / "python", place / "complete"
    if not complete.exists():
        say(f"installing {', '.join(pins)} into {place}")
        subprocess.run([uv(), "venv", "-q", "--clear", "--python", sys.executable, place], check=True)
        # uv does not read what pip is told about further places to look, such as a CPU build of PyTorch.
        links = {"UV_FIND_LINKS": os.environ.get("PIP_FIND_LINKS", "")}
        install = [uv(), "pip", "install", "-q", "--python", python, *pins]
        subprocess.run(install, check=True, env={**links, **os.environ})
        complete.touch()
    return python


def uv() -> str:
    """The path of uv: beside this Python, where ./run keeps it, else of this machine."""
    places = (str(Path(sys.executable).parent), str(ROOT / ".tools" / "bin"), os.environ.get("PATH", ""))
    if found := shutil.which("uv", path=os.pathsep.join(places)):
        return found
    raise FileNotFoundError("uv, which installs the other tools, is not here; ./run installs it")
