"""Train on every table of a folder, beside AutoGluon, FLAML and tuned CatBoost, with equal wall time and rows.

    python -m benchmarks.fraud [--data ../shared/data/fraud] [--tables a,b] [--budgets 30,120]
                               [--splits stratified,time] [--peers ecluse,autogluon,flaml,catboost]
                               [--preset good] [--seed 0] [--output results.csv]
    python -m benchmarks.fraud --summary results.csv

Thirty percent of each table are held out before anything is looked at, drawn for each class (`stratified`) or the
latest (`time`), and no contender is given them with their labels. The target comes from the table of `INDEX.md` in the
folder (columns `name` and `target`), else from our profile; the time column and the identifiers come from our profile
of the training part. Identifiers are withheld from all. Ours is told the time column only where later rows will be
scored (`time`): somebody who knows that says so. A split with fewer than 20 positives on a side is left out.

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
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from ecluse.apps.fraud.features.history import times_of
from ecluse.apps.fraud.profiling.profile import TableProfile, profile_table
from ecluse.apps.fraud.tables.columns import parse_columns
from ecluse.tabular.dataset import open_table

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
OURS: Final = "ecluse"
HELD_OUT: Final = 0.3
FEWEST_POSITIVES: Final = 20
SCORED_ROWS: Final = 50_000
LATEST: Final = 3.0
STARTING_S: Final = 300.0
APPLYING_S: Final = 600.0
TIE: Final = 0.02
ENDINGS: Final = (".csv", ".csv.gz", ".parquet", ".xlsx")


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
        print_summary(read_results(arguments.summary))
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
        print_summary(results.rows)
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


@dataclass
class Row:
    """One line of the results: a contender on a table, split, budget and seed. MB are of 10⁶ bytes."""

    table: str
    split: str
    budget: float
    seed: int
    contender: str
    status: str = ""
    average_precision: float = math.nan
    roc_auc: float = math.nan
    brier: float = math.nan
    train_s: float = math.nan
    cpu_s: float = math.nan
    peak_mb: float = math.nan
    model_mb: float = math.nan
    whole_mb: float = math.nan
    load_s: float = math.nan
    rows_per_s: float = math.nan
    frame_rows_per_s: float = math.nan
    score_peak_mb: float = math.nan
    rows_train: int = 0
    rows_test: int = 0
    positives_test: int = 0
    note: str = ""

    @property
    def case(self) -> tuple[str, str, float, int]:
        return self.table, self.split, self.budget, self.seed

    @property
    def key(self) -> tuple[str, str, float, int, str]:
        return (*self.case, self.contender)


class Results:
    """The rows of a CSV file, which is written anew, whole, at each row; the rows of `again` are forgotten."""

    def __init__(self, path: Path, again: Sequence[str] = ()) -> None:
        self.path = path
        self.rows = [row for row in read_results(path) if row.contender not in again] if path.exists() else []

    def has(self, key: tuple[str, str, float, int, str]) -> bool:
        return any(row.key == key for row in self.rows)

    def add(self, row: Row) -> None:
        self.rows.append(row)
        partial = self.path.with_name(f"{self.path.name}.part")
        with partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [one.name for one in fields(Row)])
            writer.writeheader()
            writer.writerows(asdict(row) for row in self.rows)
        partial.replace(self.path)


def read_results(path: Path) -> list[Row]:
    kinds = {"int": int, "float": float, "str": str}
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    return [Row(**{one.name: kinds[str(one.type)](line[one.name]) for one in fields(Row)}) for line in lines]


def measure(case: Case, contenders: list[str], results: Results) -> None:
    """Measure the contenders of which `results` knows nothing yet, another one first on each table."""
    key = (case.table, case.kind, case.budget, case.seed)
    wanted = [name for name in contenders if not results.has((*key, name))]
    if not wanted:
        return
    with tempfile.TemporaryDirectory(prefix="ecluse-benchmark-") as name:
        try:
            parts = hold_out(case, Path(name))
        except NoSplit as reason:
            say(f"{case.table}, {case.kind}: left out, {reason}")
            return
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


# The rows


class NoSplit(Exception):
    """Why a table cannot be divided as asked."""


@dataclass(frozen=True)
class Parts:
    """The files that all contenders share, in the words of `fraud_peers`; `labels` (rows,) stay with the judge."""

    task: dict[str, Any]
    labels: NDArray[np.int8]
    rows_train: int


def hold_out(case: Case, folder: Path) -> Parts:
    """Write the training rows with 0 and 1 as target, and the held-out rows without it, as they stood in the table."""
    with open_table(case.path) as table:
        frame = table.scan().collect().cast(pl.String)
        whole = profile_table(table)
    target = targets(case.path.parent).get(case.table) or (
        whole.guesses.target and whole.guesses.target.column
    )
    if target is None or target not in frame.columns:
        raise NoSplit("no target is known")
    # A row of the target alone is a blank line once that is withheld, and no reader counts blank lines.
    frame = frame.filter(pl.col(target).is_not_null(), ~pl.all_horizontal(pl.exclude(target).is_null()))
    labels = labels_of(frame[target])
    frame = frame.with_columns(pl.Series(target, labels))
    guess = whole.guesses.timestamp
    if case.kind == "stratified":
        test = stratified(labels, case.seed)
    elif guess is None:
        raise NoSplit("no time column is known")
    else:
        test = latest(times(frame, whole, guess.column))
    for part in (labels[test], labels[~test]):
        if min(part.sum(), len(part) - part.sum()) < FEWEST_POSITIVES:
            raise NoSplit(f"{part.sum()} of {len(part)} rows of a side are positive")
    paths = {name: folder / f"{name}.csv" for name in ("train", "test", "big")}
    frame.filter(~test).write_csv(paths["train"])
    held = frame.filter(test).drop(target)
    held.write_csv(paths["test"])
    pl.concat([held] * math.ceil(SCORED_ROWS / held.height)).head(SCORED_ROWS).write_csv(paths["big"])
    with open_table(paths["train"]) as table:
        roles = profile_table(table).guesses
    task = {
        **{name: str(path) for name, path in paths.items()},
        "target": target,
        "time": guess.column if guess is not None and case.kind == "time" else None,
        "identifiers": [one.column for one in roles.identifiers if one.column != target],
    }
    return Parts(task, labels[test], int((~test).sum()))


def targets(folder: Path) -> dict[str, str]:
    """Target by table, from the Markdown table of `INDEX.md`; nothing where there is none."""
    index = folder / "INDEX.md"
    if not index.exists():
        return {}
    lines = [line.strip() for line in index.read_text(encoding="utf-8").splitlines()]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    if not cells or not {"name", "target"} <= {*cells[0]}:
        return {}
    name, target = cells[0].index("name"), cells[0].index("target")
    return {row[name]: row[target] for row in cells[2:] if len(row) == len(cells[0]) and row[target]}


def labels_of(column: pl.Series) -> NDArray[np.int8]:
    """1 for the rarer of two values, else 0."""
    counts = column.value_counts(sort=True)
    if counts.height != 2:
        raise NoSplit(f"the target has {counts.height} values")
    labels: NDArray[np.int8] = (column == counts[column.name][1]).cast(pl.Int8).to_numpy()
    return labels


def stratified(labels: NDArray[np.int8], seed: int) -> NDArray[np.bool_]:
    """Which rows are held out: the same share of each class, drawn with `seed`."""
    rng = np.random.default_rng(seed)
    test = np.zeros(len(labels), dtype=np.bool_)
    for label in (0, 1):
        rows = rng.permutation(np.flatnonzero(labels == label))
        test[rows[: round(HELD_OUT * len(rows))]] = True
    return test


def times(frame: pl.DataFrame, profile: TableProfile, column: str) -> NDArray[np.float64]:
    specs = [spec for spec in profile.specs if spec.name == column]
    return times_of(parse_columns(frame.select(column), specs)[column])


def latest(moments: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which rows are held out: those from the moment that leaves nearest to the share; no moment is divided.

    Rows without a moment are trained on.
    """
    known_moments = np.where(np.isnan(moments), -np.inf, moments)
    values, counts = np.unique(known_moments, return_counts=True)
    if len(values) < 2:
        raise NoSplit("the time column has one value only")
    after = counts[::-1].cumsum()[::-1][1:]
    cut = values[1:][np.argmin(np.abs(after - HELD_OUT * len(moments)))]
    chosen: NDArray[np.bool_] = known_moments >= cut
    return chosen


def tables_in(folder: Path, wanted: str | None) -> list[Path]:
    found = {
        table_name(path): path for path in sorted(folder.iterdir()) if path.name.lower().endswith(ENDINGS)
    }
    names = wanted.split(",") if wanted else list(found)
    if missing := [name for name in names if name not in found]:
        sys.exit(f"no table {', '.join(missing)} in {folder}; there are {', '.join(found) or 'none'}")
    return [found[name] for name in names]


def table_name(path: Path) -> str:
    ending = next(ending for ending in ENDINGS if path.name.lower().endswith(ending))
    return path.name[: -len(ending)]


# A contender's process


@dataclass(frozen=True)
class Ended:
    """How a process ended: "ok", or why not; and the most memory it and its children held, in bytes."""

    status: str
    peak: float


def run_one(
    contender: str, verb: str, task: dict[str, Any], home: Path, limit: float, memory: float
) -> Ended:
    """Run one process and watch it: `limit` s of work from when it has imported its libraries, `memory` bytes."""
    (home / "task.json").write_text(json.dumps(task))
    program, environment = CONTENDERS[contender]
    here = Path(__file__).parent
    if program:
        command = [str(interpreter(environment)), str(here / "fraud_peers.py"), program]
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
            status, peak = watch(process, Path(task["begun"]), limit, memory)
    if status == "ok" and process.returncode:
        lines = (home / "said.txt").read_text(errors="replace").strip().splitlines()
        status = f"failed ({process.returncode}): {lines[-1][:200] if lines else ''}"
    return Ended(status, peak)


def watch(process: subprocess.Popen[bytes], begun: Path, limit: float, memory: float) -> tuple[str, float]:
    peak, started, clock, most = 0.0, False, WorkOf(process.pid), STARTING_S
    while process.poll() is None:
        if not started and begun.exists():
            started, clock, most = True, WorkOf(process.pid), limit
        peak = max(peak, held_memory(process.pid))
        if peak > memory:
            return f"killed above {memory / 1e9:g} GB", peak
        if clock.seconds() > most:
            return (f"killed after {limit:g} s of work" if started else "killed before it began"), peak
        time.sleep(0.1)
    return "ok", peak


class WorkOf:
    """Seconds of the wall clock that another process and its children could use, from now on (Linux; elsewhere all).

    As `ecluse.apps.fraud.clock` counts a budget: of the time in which their threads ran or stood ready and waited for a
    processor, the share that they ran. Time in which none was ready counts whole: one that hangs has to be ended too.
    """

    def __init__(self, root: int) -> None:
        self._root = root
        self._work, self._at, self._threads = 0.0, time.monotonic(), scheduled(root)

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
        self._at, self._threads = now, threads
        return self._work


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


def interpreter(name: str) -> Path:
    """The interpreter of an environment with pinned peers, made at the first run and kept in the user's cache."""
    pins = ENVIRONMENTS[name]
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ecluse-benchmarks" / "peers"
    folder = root / f"{name}-{hashlib.sha256(' '.join(pins).encode()).hexdigest()[:12]}"
    python, complete = folder / "bin" / "python", folder / "complete"
    if not complete.exists():
        say(f"installing {', '.join(pins)} into {folder}")
        uv = str(Path(sys.executable).with_name("uv"))
        # uv does not read what pip is told about further places to look.
        settings = {"UV_FIND_LINKS": os.environ.get("PIP_FIND_LINKS", "")} | dict(os.environ)
        subprocess.run([uv, "venv", "-q", "--clear", "--python", sys.executable, str(folder)], check=True)
        install = [uv, "pip", "install", "-q", "--python", str(python), *pins]
        subprocess.run(install, check=True, env=settings)
        complete.touch()
    return python


# The summary


def print_summary(rows: Sequence[Row]) -> None:
    """A table of average precision for each budget, then what it cost, then ours beside each, then the goals."""
    for line in summary(rows):
        print(line)


def summary(rows: Sequence[Row]) -> Iterator[str]:
    names = [name for name in CONTENDERS if any(row.contender == name for row in rows)]
    for budget in sorted({row.budget for row in rows}):
        cases = by_case(row for row in rows if row.budget == budget)
        yield f"\nAverage precision, {budget:g} s of training (* best)"
        yield from drawn(
            ["table, split", *names], [precision_line(case, cases[case], names) for case in cases]
        )
        shared = [found for found in cases.values() if all(has_figures(found.get(name)) for name in names)]
        yield f"\nMeans over the {len(shared)} cases that every contender finished"
        if shared:
            yield from drawn(["", *names], [mean_line(what, title, shared, names) for what, title in MEANS])
        failed = [row for found in cases.values() for row in found.values() if row.status != "ok"]
        yield from (f"{row.table}, {row.split}: {row.contender} {row.status}" for row in failed)
        for ours in (name for name in names if name.startswith(OURS)):
            yield f"\n{ours} beside each: wins, ties (within {TIE}), losses; ratios: geometric mean of ours / theirs"
            others = [name for name in names if not name.startswith(OURS)]
            lines = [duel_line(ours, [name], name, cases) for name in others]
            if others:
                lines.append(duel_line(ours, others, "best of all", cases))
            yield from drawn(["", "won", "tied", "lost", "mean difference", *RATIOS.values()], lines)


MEANS: Final = (
    ("average_precision", "average precision"),
    ("roc_auc", "ROC AUC"),
    ("brier", "Brier score"),
    ("train_s", "training, s"),
    ("cpu_s", "processor, s"),
    ("peak_mb", "peak memory, MB"),
    ("model_mb", "model, MB"),
    ("whole_mb", "model whole, MB"),
    ("load_s", "load, s"),
    ("rows_per_s", "rows/s from a file"),
    ("frame_rows_per_s", "rows/s from memory"),
    ("score_peak_mb", "memory to score, MB"),
)
RATIOS: Final = {
    "train_s": "time",
    "peak_mb": "memory",
    "model_mb": "MB",
    "rows_per_s": "rows/s",
    "frame_rows_per_s": "rows/s memory",
}
Found = Mapping[str, Row]


def by_case(rows: Iterable[Row]) -> dict[tuple[str, str, float, int], dict[str, Row]]:
    cases: dict[tuple[str, str, float, int], dict[str, Row]] = {}
    for row in rows:
        cases.setdefault(row.case, {})[row.contender] = row
    return dict(sorted(cases.items()))


def has_figures(row: Row | None) -> bool:
    return row is not None and row.status == "ok"


def precision_line(case: tuple[str, str, float, int], found: Found, names: Sequence[str]) -> list[str]:
    figures = {name: row.average_precision for name, row in found.items() if has_figures(row)}
    best = max(figures.values(), default=math.nan)
    title = f"{case[0]}, {case[1]}" + (f", seed {case[3]}" if case[3] else "")
    shown = [
        "–" if name not in figures else f"{figures[name]:.3f}{'*' if figures[name] == best else ' '}"
        for name in names
    ]
    return [title, *shown]


def mean_line(what: str, title: str, shared: Sequence[Found], names: Sequence[str]) -> list[str]:
    means = [statistics.fmean(getattr(found[name], what) for found in shared) for name in names]
    return [title, *("–" if math.isnan(mean) else figure(mean) for mean in means)]


def duel_line(
    ours: str, theirs: Sequence[str], title: str, cases: Mapping[tuple[str, str, float, int], Found]
) -> list[str]:
    """Ours beside the one of `theirs` that ranks best on each case."""
    pairs: list[tuple[Row, Row]] = []
    for found in cases.values():
        rivals = [found[name] for name in theirs if has_figures(found.get(name))]
        if has_figures(found.get(ours)) and rivals:
            pairs.append((found[ours], max(rivals, key=lambda row: row.average_precision)))
    if not pairs:
        return [title, *["–"] * (4 + len(RATIOS))]
    gains = [mine.average_precision - other.average_precision for mine, other in pairs]
    won, lost = sum(gain > TIE for gain in gains), sum(gain < -TIE for gain in gains)
    ratios = [geometric_mean(pairs, what) for what in RATIOS]
    counts = [str(won), str(len(gains) - won - lost), str(lost)]
    return [title, *counts, f"{statistics.fmean(gains):+.3f}", *ratios]


def geometric_mean(pairs: Sequence[tuple[Row, Row]], what: str) -> str:
    ratios = [getattr(mine, what) / getattr(other, what) for mine, other in pairs if getattr(other, what)]
    positive = [ratio for ratio in ratios if ratio > 0]
    return figure(statistics.geometric_mean(positive)) if positive else "–"


def figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) >= 1 else f"{value:.3f}"


def drawn(head: Sequence[str], lines: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(line[place]) for line in [head, *lines]) for place in range(len(head))]
    for line in [head, *lines]:
        first, *others = (
            text.ljust(width) if place == 0 else text.rjust(width)
            for place, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        yield "  ".join([first, *others]).rstrip()


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
