"""Train on every table of a folder, beside AutoGluon, FLAML and tuned CatBoost, with equal wall time and rows.

    python -m benchmarks.fraud [--data ../shared/data/fraud] [--tables a,b] [--budgets 30,120]
                               [--splits stratified,time] [--peers ecluse,autogluon,flaml,catboost]
                               [--preset good] [--seed 0] [--output results.csv]
    python -m benchmarks.fraud --summary results.csv

Thirty percent of each table are held out before anything is looked at, drawn for each class (`stratified`) or the
latest (`time`), and no contender is given them with their labels. The target comes from the table of `INDEX.md` in the
folder (columns `name`, `target` and, where a value has to be named, `positive`), else from our profile; which value
means fraud is decided as a training decides it, and said. The time column comes from our profile of the table, the
identifiers, which are withheld from all, from that of the training part. Where later rows will be scored (`time`) all
are told: training rows stand in the order of time, and peers choose by the latest fifth of them, as ours does by folds
that look forward. A split with fewer than 20 positives on a side is left out.

Contenders: `ecluse` (`train`, then `score_table`), `ecluse-third` (the same in a third of the time), `flaml`,
`catboost` (random search with early stopping), and AutoGluon by preset: `autogluon-medium`, `-good`, `-high`, `-best`;
`autogluon` means medium and those of `--preset`. Each trains in a process of its own, killed at three times the budget
(counted in seconds of work, as the product counts a budget: beside other programs it may take longer) or above
`--memory` GB, and its model is loaded and applied in another. Peers are pinned and installed once, in
environments of their own; where pip finds a CPU build of PyTorch through its `find-links`, that is taken, else the
one of several GB.

Every row is written as soon as it is known, and what the output already holds is not measured again; `--again ecluse`
measures those contenders anew. With six contenders, a table and split take about six times the budget and two minutes.
Rows per second: the held-out rows repeated to 50,000, from a CSV file and from a frame in memory; the fastest of three.
Peak memory: of the process and its children. The summary counts a difference within 0.02 as a tie.

Beside each average precision stand the seconds of processor that its training got. Peers count their budget on the wall
clock: where one got less than three quarters of the processor time it asked for, that is marked, and figures do not
compare. One that reaches an average precision of 1 on its validation rows stops there, with a tree or two: its
probabilities are not worth comparing, and the table is left out of the mean Brier score.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from benchmarks.environments import cache, make_environment
from benchmarks.fraud_results import Results, Row, print_summary, read_results
from benchmarks.fraud_rows import ENDINGS, NoSplit, Parts, hold_out, table_name

Kind = Literal["stratified", "time"]

#: One environment for each group that can be resolved together: FLAML and AutoGluon ask for two builds of XGBoost.
ENVIRONMENTS: Final = {
    "autogluon": ("autogluon.tabular[lightgbm,catboost,xgboost,fastai]==1.6.3", "torch==2.13.0"),
    "boosters": ("flaml[automl]==2.7.0", "catboost==1.2.10", "pandas==2.3.3"),
}
#: Contender: program of `fraud_peers` (none for ours), environment.
CONTENDERS: Final = {
    "ecluse": ("", ""),
    "ecluse-third": ("", ""),
    "autogluon-medium": ("autogluon", "autogluon"),
    "autogluon-good": ("autogluon", "autogluon"),
    "autogluon-high": ("autogluon", "autogluon"),
    "autogluon-best": ("autogluon", "autogluon"),
    "flaml": ("flaml", "boosters"),
    "catboost": ("catboost", "boosters"),
}
DEFAULT: Final = "ecluse,ecluse-third,autogluon,flaml,catboost"
LATEST: Final = 3.0
STARTING_S: Final = 300.0
APPLYING_S: Final = 600.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data/fraud"))
    parser.add_argument("--tables", help="names without ending, with commas; all by default")
    parser.add_argument("--budgets", default="30,120", help="seconds of training, with commas")
    parser.add_argument("--splits", default=",".join(get_args(Kind)))
    parser.add_argument("--peers", default=DEFAULT, help="contenders, with commas")
    parser.add_argument(
        "--preset", default="good", help="good, high or best, with commas: of autogluon, beside medium"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory", type=float, default=8, help="GB for each contender")
    parser.add_argument("--output", type=Path, default=Path("results.csv"))
    parser.add_argument("--again", default="", help="contenders to measure anew, with commas")
    parser.add_argument("--summary", type=Path, help="print the summary of a file, and measure nothing")
    arguments = parser.parse_args()
    if arguments.summary is not None:
        print_summary(read_results(arguments.summary), CONTENDERS)
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # both ways to stop it end the contenders
    groups = {"autogluon": [f"autogluon-{preset}" for preset in ("medium", *arguments.preset.split(","))]}
    contenders = known(parser, arguments.peers, groups, CONTENDERS)
    again = known(parser, arguments.again, groups, CONTENDERS)
    kinds = known(parser, arguments.splits, {}, get_args(Kind))
    say(f"load of this machine before: {load()}")
    results = Results(arguments.output, again)
    try:
        for path in tables_in(arguments.data, arguments.tables):
            for kind in kinds:
                for budget in (float(text) for text in arguments.budgets.split(",")):
                    case = Case(path, kind, budget, arguments.seed, arguments.memory)
                    measure(case, contenders, results)
    except KeyboardInterrupt:
        say("\ninterrupted; the same command goes on from here")
        sys.exit(130)
    finally:
        print_summary(results.rows, CONTENDERS)
        print(f"load of this machine after: {load()}")


def known(
    parser: argparse.ArgumentParser, text: str, groups: Mapping[str, Sequence[str]], names: Iterable[str]
) -> list[str]:
    """The names of a list with commas, groups spelled out; ends the program at an unknown one."""
    wanted = [one for name in text.split(",") if name for one in groups.get(name, (name,))]
    if unknown := {*wanted} - {*names}:
        parser.error(f"not known: {', '.join(sorted(unknown))}")
    return list(dict.fromkeys(wanted))


# What is measured


@dataclass(frozen=True)
class Case:
    """One table, split and budget. `budget` in seconds, `memory` in GB."""

    path: Path
    kind: str
    budget: float
    seed: int
    memory: float

    @property
    def table(self) -> str:
        return table_name(self.path)


def measure(case: Case, contenders: list[str], results: Results) -> None:
    """Measure the contenders of which `results` knows nothing yet, another one first on each table."""
    key = (case.table, case.kind, case.budget, case.seed)
    wanted = [name for name in contenders if not results.has((*key, name))]
    if not wanted:
        return
    with tempfile.TemporaryDirectory(prefix="ecluse-benchmark-") as name:
        try:
            parts = hold_out(case.path, case.kind, case.seed, Path(name))
        except NoSplit as reason:
            say(f"{case.table}, {case.kind}: left out, {reason}")
            return
        say(f"{case.table}, {case.kind}: {parts.meaning}")
        turn = int(hashlib.sha256(case.table.encode()).hexdigest(), 16) % len(wanted)
        for contender in wanted[turn:] + wanted[:turn]:
            row = Row(*key, contender)
            row.rows_train, row.rows_test = parts.rows_train, len(parts.labels)
            row.positives_test = int(parts.labels.sum())
            with tempfile.TemporaryDirectory(prefix="ecluse-contender-") as home:
                compete(row, case, parts, Path(home))
            results.add(row)
            say(f"{case.table}, {case.kind}, {case.budget:g} s: {line_of(row)}")


def compete(row: Row, case: Case, parts: Parts, home: Path) -> None:
    """Train and apply one contender, and fill in its row."""
    budget = case.budget / 3 if row.contender == "ecluse-third" else case.budget
    task = parts.task | {
        "budget": budget,
        "seed": case.seed,
        "preset": f"{row.contender.removeprefix('autogluon-')}_quality",
        "folder": str(home / "model"),
        "scores": str(home / "scores.npy"),
        "answer": str(home / "answer.json"),
        "begun": str(home / "begun"),
    }
    for verb, limit in (("train", LATEST * budget), ("apply", APPLYING_S)):
        for name in ("answer", "begun"):
            Path(task[name]).unlink(missing_ok=True)
        ended = run_one(row.contender, verb, task, home, limit, case.memory * 1e9)
        setattr(row, "peak_mb" if verb == "train" else "score_peak_mb", ended.peak / 1e6)
        if verb == "train":
            row.processor_share = ended.share
        row.status = ended.status if ended.status == "ok" else f"{verb}: {ended.status}"
        if ended.status != "ok":
            return
        for field, value in json.loads(Path(task["answer"]).read_text()).items():
            setattr(row, field, value)
    scores = np.clip(np.load(task["scores"]).astype(np.float64), 0.0, 1.0)
    if len(scores) != len(parts.labels) or not np.isfinite(scores).all():
        row.status = f"apply: {len(scores)} scores for {len(parts.labels)} rows, or some that are no numbers"
        return
    row.average_precision = float(average_precision_score(parts.labels, scores))
    row.roc_auc = float(roc_auc_score(parts.labels, scores))
    row.brier = float(brier_score_loss(parts.labels, scores))


def tables_in(folder: Path, wanted: str | None) -> list[Path]:
    found = {
        table_name(path): path for path in sorted(folder.iterdir()) if path.name.lower().endswith(ENDINGS)
    }
    names = wanted.split(",") if wanted else list(found)
    if missing := [name for name in names if name not in found]:
        sys.exit(f"no table {', '.join(missing)} in {folder}; there are {', '.join(found) or 'none'}")
    return [found[name] for name in names]


# A contender's process


@dataclass(frozen=True)
class Ended:
    """How a process ended: "ok", or why not; the most memory it and its children held, in bytes; and the share of the
    processor time it asked for that it was given."""

    status: str
    peak: float
    share: float


def run_one(
    contender: str, verb: str, task: dict[str, Any], home: Path, limit: float, memory: float
) -> Ended:
    """Run one process and watch it: `limit` s of work from when it has imported its libraries, `memory` bytes."""
    (home / "task.json").write_text(json.dumps(task))
    program, environment = CONTENDERS[contender]
    here = Path(__file__).parent
    if program:
        # uv does not read what pip is told about further places to look.
        links = {"UV_FIND_LINKS": os.environ.get("PIP_FIND_LINKS", "")}
        python = make_environment(
            environment, ENVIRONMENTS[environment], folder=cache() / "peers", settings=links
        )
        command = [str(python), str(here / "fraud_peers.py"), program]
        # AutoGluon writes where it stands, and fastai and matplotlib in the home folder.
        settings = {"PATH": os.environ["PATH"], "HOME": str(home), "CUDA_VISIBLE_DEVICES": ""}
        place = home
    else:
        command = [sys.executable, "-m", "benchmarks.fraud_ecluse"]
        settings, place = dict(os.environ), here.parent
    with (home / "said.txt").open("wb") as said:
        process = subprocess.Popen(
            [*command, verb, str(home / "task.json")],
            cwd=place,
            env=settings,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        with ended_for_sure(process):
            ended = watch(process, Path(task["begun"]), limit, memory)
    if ended.status == "ok" and process.returncode:
        lines = (home / "said.txt").read_text(errors="replace").strip().splitlines()
        status = f"failed ({process.returncode}): {lines[-1][:200] if lines else ''}"
        return Ended(status, ended.peak, ended.share)
    return ended


def watch(process: subprocess.Popen[bytes], begun: Path, limit: float, memory: float) -> Ended:
    peak, started, clock, most = 0.0, False, WorkOf(process.pid), STARTING_S
    while process.poll() is None:
        if not started and begun.exists():
            started, clock, most = True, WorkOf(process.pid), limit
        peak = max(peak, held_memory(process.pid))
        if peak > memory:
            return Ended(f"killed above {memory / 1e9:g} GB", peak, clock.share)
        if clock.seconds() > most:
            why = f"killed after {limit:g} s of work" if started else "killed before it began"
            return Ended(why, peak, clock.share)
        time.sleep(0.1)
    return Ended("ok", peak, clock.share)


class WorkOf:
    """Seconds of the wall clock that another process and its children could use, from now on (Linux; elsewhere all).

    As `ecluse.apps.fraud.clock` counts a budget: of the time in which their threads ran or stood ready and waited for a
    processor, the share that they ran. Time in which none was ready counts whole: one that hangs has to be ended too.
    """

    def __init__(self, root: int) -> None:
        self._root = root
        self._work, self._at, self._threads = 0.0, time.monotonic(), scheduled(root)
        self._ran = self._waited = 0

    def seconds(self) -> float:
        now, threads = time.monotonic(), scheduled(self._root)
        since = [
            (max(ran - before[0], 0), max(waited - before[1], 0))
            for name, (ran, waited) in threads.items()
            for before in (self._threads.get(name, (0, 0)),)
        ]
        ran, waited = sum(one for one, _ in since), sum(one for _, one in since)
        passed, asked = now - self._at, (ran + waited) / 1e9
        self._work += passed - (min(passed, asked) * waited / (ran + waited) if waited else 0.0)
        self._ran, self._waited = self._ran + ran, self._waited + waited
        self._at, self._threads = now, threads
        return self._work

    @property
    def share(self) -> float:
        """Of the processor time that it asked for so far the share that it was given; 1 where nobody counts."""
        asked = self._ran + self._waited
        return self._ran / asked if asked else 1.0


def scheduled(root: int) -> dict[str, tuple[int, int]]:
    """Of each thread of a process and its children: nanoseconds that it ran, and that it waited for a processor."""
    found: dict[str, tuple[int, int]] = {}
    for pid in family(root):
        for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with suppress(OSError, ValueError):  # it ended meanwhile, or nobody counts
                ran, waited, _ = task.read_text().split()
                found[str(task)] = int(ran), int(waited)
    return found


@contextmanager
def ended_for_sure(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Leave nothing of the process group behind, whatever happens."""
    try:
        yield
    finally:
        with suppress(ProcessLookupError):  # it ended by itself, and its children with it
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def held_memory(root: int) -> float:
    """Bytes of resident memory of a process and its children (Linux; 0 elsewhere).

    The highest each process ever held, as the kernel counts it, so that nothing is missed between two looks.
    """
    return sum(1024.0 * int(values.get("VmHWM", "0 kB").split()[0]) for values in family(root).values())


def family(root: int) -> dict[int, dict[str, str]]:
    """What the kernel says of a process and its children, theirs too, by process id (Linux; nothing elsewhere)."""
    everyone: dict[int, dict[str, str]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
        everyone[int(folder.name)] = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    found = {}
    for pid, values in everyone.items():
        above: int | None = pid
        while above is not None and above != root:
            above = int(everyone[above]["PPid"]) if above in everyone else None
        if above == root:
            found[pid] = values
    return found


def line_of(row: Row) -> str:
    if row.status != "ok":
        return f"{row.contender} {row.status}"
    return (
        f"{row.contender} {row.average_precision:.3f}, trained {row.train_s:.1f} s, {row.peak_mb:.0f} MB, model "
        f"{row.model_mb:.2f} MB, {row.rows_per_s:,.0f} rows/s"
    )


def load() -> str:
    return f"{os.getloadavg()[0]:.2f} on {os.cpu_count()} processors"


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
