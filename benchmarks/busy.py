"""Do the README's main jobs on a quiet machine, then beside busy loops: later is fine, worse is not.

    python -m benchmarks.busy [--loops 8] [--table FILE:LABEL ...] [--budget 20] [--skip city,plants,fraud]

Each job runs twice from a new home by the same commands: alone, and with `--loops` processes that take all the
processor they can get. Prints seconds of both and the figure that must not suffer: of fraud, the average precision on
the test part by the model's own report (a refusal to publish is named); of the city, whether every document of the day
is the same; of plants, whether the published files have the same digests. Ends with 1 if anything is worse.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.sameness import without_clocks

#: Two trainings of one budget may differ by this much in average precision: a tie by the guide's measure.
TIE = 0.02


@dataclass(frozen=True)
class Outcome:
    """One job: `figure` is a number to be no lower beside loops, or a text to be the same."""

    seconds: float
    figure: float | str

    def no_worse_than(self, quiet: Outcome) -> bool:
        if isinstance(self.figure, float) and isinstance(quiet.figure, float):
            return self.figure >= quiet.figure - TIE
        return self.figure == quiet.figure or str(self.figure).startswith("refused")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--loops", type=int, default=8)
    parser.add_argument("--table", action="append", default=[], help="FILE:LABEL; default: the sample")
    parser.add_argument("--budget", type=float, default=20)
    parser.add_argument("--skip", default="")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        jobs = {
            name: job
            for name, job in chosen(folder, arguments.table, arguments.budget).items()
            if name.partition(" ")[0] not in arguments.skip.split(",")
        }
        worse = [name for name, job in jobs.items() if not compared(name, job, folder, arguments.loops)]
    if worse:
        sys.exit(f"worse beside busy loops: {', '.join(worse)}")


def chosen(folder: Path, tables: list[str], budget: float) -> dict[str, Callable[[Path], float | str]]:
    """The jobs by name; each does its work in a home of its own and returns its figure."""
    if not tables:
        ecluse(folder, "fraud", "sample", str(folder))
        tables = [f"{folder / 'transactions.csv'}:is_fraud"]
    jobs: dict[str, Callable[[Path], float | str]] = {}
    for table in tables:
        file, _, label = table.rpartition(":")
        jobs[f"fraud {Path(file).stem}"] = lambda home, file=file, label=label: fraud(
            home, file, label, budget
        )
    return jobs | {"city": city, "plants": plants}


def compared(name: str, job: Callable[[Path], float | str], folder: Path, loops: int) -> bool:
    """Run a job alone and beside busy loops, print both, and return whether the second was no worse."""
    quiet = timed(job, folder / f"{name.replace(' ', '-')}-quiet")
    with busy(loops):
        loaded = timed(job, folder / f"{name.replace(' ', '-')}-busy")
    good = loaded.no_worse_than(quiet)
    print(
        f"{name}: {quiet.seconds:.0f} s alone, {loaded.seconds:.0f} s beside {loops} loops; "
        f"{quiet.figure if isinstance(quiet.figure, str) else format(quiet.figure, '.3f')} -> "
        f"{loaded.figure if isinstance(loaded.figure, str) else format(loaded.figure, '.3f')}"
        f"{'' if good else '  WORSE'}",
        flush=True,
    )
    return good


def timed(job: Callable[[Path], float | str], home: Path) -> Outcome:
    began = time.perf_counter()
    figure = job(home)
    return Outcome(time.perf_counter() - began, figure)


def fraud(home: Path, file: str, label: str, budget: float) -> float | str:
    """Train and return the average precision on the test part, or the refusal to publish."""
    answer = command(
        home, "fraud", "train", file, "--target", label, "--name", "model", "--budget", str(budget), "--json"
    )
    if answer.returncode:
        return f"refused: {answer.stderr.strip().splitlines()[-1]}"
    return float(json.loads(answer.stdout)["report"]["metrics"]["average_precision"])


def city(home: Path) -> str:
    """Compute a day of the sample and return the digest of its documents."""
    ecluse(home, "city", "demo")
    body = json.loads(ecluse(home, "city", "run", "--date", "2025-10-14", "--json", "--arcs"))
    return digest(without_clocks(body))


def plants(home: Path) -> str:
    """Train on the drawn leaves and return the digest of the published weights."""
    ecluse(home, "plants", "demo")
    ecluse(home, "plants", "train", "--name", "leaves")
    files = json.loads(ecluse(home, "models", "show", "leaves", "--json"))["files"]
    kept = {
        file["path"]: file["sha256"] for file in files if file["path"].endswith((".onnx", ".safetensors"))
    }
    return digest(kept)


def digest(value: Any) -> str:
    import hashlib

    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


@contextmanager
def busy(loops: int) -> Iterator[None]:
    """Processes that count as fast as they can, until the block ends."""
    processes = [multiprocessing.get_context("spawn").Process(target=spin, daemon=True) for _ in range(loops)]
    for process in processes:
        process.start()
    time.sleep(2)
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


def spin() -> None:
    parent = os.getppid()
    number = 0
    while number % 1_000_000 or os.getppid() == parent:
        number += 1


def ecluse(home: Path, *words: str) -> str:
    answer = command(home, *words)
    if answer.returncode:
        raise SystemExit(f"ecluse {' '.join(words)} ended with {answer.returncode}: {answer.stderr}")
    return answer.stdout


def command(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ECLUSE_")}
    return subprocess.run(
        [sys.executable, "-m", "ecluse", *words],
        env=environ | {"ECLUSE_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )


if __name__ == "__main__":
    main()
