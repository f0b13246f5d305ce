"""Measure what it takes to curate a road file of millions of rows, beside pandas and DuckDB.

    python -m benchmarks.city [--sizes 2,6.2] [--folder FOLDER] [--keep] [--rounds 1]

Writes road files of the published schema (deterministic: 3,348 arcs, 13 months with both changes of the clocks, gaps
as in the published files; 6.2 GB are about 19 million rows), with the arcs of a reference file where one lies in
`../shared/data/city`. Then, each in a process of its own, after the file was read once:

- counts the file's lines, which is what every other figure is compared with;
- curates the file, as `ecluse city run` does: from CSV to Parquet per day, in a folder;
- answers a question from those Parquet files: per arc and local day the vehicles, the hours observed, the congested
  hours and the mean occupancy; and reads the rows of one day;
- answers the same question from the CSV with pandas, in chunks, and with a query for DuckDB;
- makes Parquet per local day with DuckDB, each arc and hour once: what curating does, but for what is bad.

All answers must agree. The peers are installed at the first run, in an environment of their own, under
`~/.cache/ecluse-benchmarks`. Each needs the size of the file on disk once; nothing is left without `--keep`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl

from benchmarks.city_files import FIRST, LAST, known_arcs, write_roads
from benchmarks.environments import make_environment
from ecluse.apps.city.curated import Curated
from ecluse.apps.city.raw import Raw
from ecluse.apps.city.sources import Curating, curated_tables, roads
from ecluse.storage import Cache, open_store

REFERENCE = Path(__file__).parents[2] / "shared" / "data" / "city" / "referentiel-comptages-routiers.csv"
NAME = "comptages-routiers-permanents.csv"
ZONE = ZoneInfo("Europe/Paris")
CONGESTED = 30
PINS = ("duckdb==2.0.0", "pandas==3.1.1")
CONTENDERS = {
    "lines": "count the lines",
    "curate": "Écluse: CSV to Parquet per day",
    "answer": "Écluse: the answer from Parquet",
    "day": "Écluse: the rows of one day",
    "duckdb": "DuckDB: the answer from CSV",
    "duckdb-days": "DuckDB: CSV to Parquet per day",
    "pandas": "pandas in chunks: the answer from CSV",
}


@dataclass(frozen=True)
class Taken:
    """What one contender took: seconds, also of the processors, without imports; the memory of its whole process."""

    seconds: float
    cpu_seconds: float
    peak_mb: float


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default="2,6.2", help="sizes of the files, in GB")
    parser.add_argument("--folder", type=Path, help="where to write; without it a temporary folder")
    parser.add_argument("--keep", action="store_true", help="leave the road files for the next run")
    parser.add_argument("--rounds", type=int, default=1, help="the best of so many is taken")
    parser.add_argument("--contenders", default=",".join(CONTENDERS), help=", ".join(CONTENDERS))
    parser.add_argument("--step", nargs=3, metavar=("NAME", "FILE", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step:
        step(args.step[0], Path(args.step[1]), Path(args.step[2]))
        return
    wanted = [name for name in CONTENDERS if name in args.contenders.split(",")]
    with working_folder(args.folder, args.keep) as folder:
        for size in (float(text) for text in args.sizes.split(",")):
            path = road_file(folder, size)
            found = measure(path, folder / "work", wanted, args.rounds)
            print_table(path, found)
            if not args.keep:
                shutil.rmtree(path.parent)


@contextmanager
def working_folder(given: Path | None, keep: bool) -> Iterator[Path]:
    folder = given or Path(tempfile.gettempdir()) / "ecluse-benchmark-city"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder.resolve()
    finally:
        shutil.rmtree(folder / "work", ignore_errors=True)
        if not keep and given is None:
            shutil.rmtree(folder)


def road_file(folder: Path, gigabytes: float) -> Path:
    """The road file of a size, written unless it is there."""
    path = folder / f"{gigabytes:g}gb" / NAME
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        say(f"writing {gigabytes:g} GB to {path}")
        # In a process of its own: what this one once held would count as the peak of all that it starts.
        writing = multiprocessing.get_context("spawn").Process(target=_write, args=(path, gigabytes))
        writing.start()
        writing.join()
        if writing.exitcode != 0:
            raise SystemExit(f"{path} was not written.")
    return path


def _write(path: Path, gigabytes: float) -> None:
    arcs = known_arcs(REFERENCE if REFERENCE.exists() else None)
    write_roads(path, round(gigabytes * 1e9), arcs, ignore)


def measure(path: Path, work: Path, wanted: list[str], rounds: int) -> dict[str, Taken]:
    """Every contender in turn, the best of some rounds; their answers must agree."""
    found: dict[str, Taken] = {}
    run("lines", path, work)  # so that the file is in memory, or the disk as warm as it gets
    for _ in range(rounds):
        for name in wanted:
            taken = run(name, path, work)
            say(f"{CONTENDERS[name]}: {taken.seconds:.2f} s")
            found[name] = min(found.get(name, taken), taken, key=lambda one: one.seconds)
    compare([work / f"{name}.csv" for name in ("answer", "duckdb", "pandas") if name in wanted])
    return found


def run(name: str, path: Path, work: Path) -> Taken:
    """One contender in a process of its own."""
    work.mkdir(exist_ok=True)
    if name in ("pandas", "duckdb", "duckdb-days"):
        shutil.rmtree(work / f"{name}.csv.days", ignore_errors=True)
        here = Path(__file__).parent
        python = peers()
        command = [str(python), str(here / "city_peers.py"), name, str(path), str(work / f"{name}.csv")]
        settings = {"PATH": os.environ["PATH"], "HOME": str(work)}
    else:
        if name == "curate":
            shutil.rmtree(work / "curated", ignore_errors=True)
        command = [sys.executable, "-m", "benchmarks.city", "--step", name, str(path), str(work)]
        settings = dict(os.environ)
    done = subprocess.run(command, env=settings, check=True, stdout=subprocess.PIPE, text=True)
    return Taken(**json.loads(done.stdout.splitlines()[-1]))


def compare(answers: list[Path]) -> None:
    """The same arcs and days, the same counts, and sums that differ by less than rounding does."""
    tables = [
        pl.read_csv(path, schema_overrides={"vehicles": pl.Float64, "occupancy": pl.Float64})
        for path in answers
    ]
    for path, table in zip(answers[1:], tables[1:], strict=True):
        first = tables[0]
        exact = ["arc", "day", "hours", "congested"]
        assert first.select(exact).cast(pl.String).equals(table.select(exact).cast(pl.String)), (
            f"{path.stem}: other counts"
        )
        for name in ("vehicles", "occupancy"):
            assert first[name].is_null().equals(table[name].is_null()), f"{path.stem}: other gaps in {name}"
            off = ((first[name] - table[name]).abs() / (1 + first[name].abs())).max()
            assert off is None or off < 1e-9, f"{path.stem}: {name} is off by {off}"
    if len(tables) > 1:
        say(f"{len(tables)} answers agree on {tables[0].height:,} arcs and days")


# What is measured, in a process of its own


def step(name: str, path: Path, work: Path) -> None:
    steps = {"lines": count_lines, "curate": curate, "answer": answer, "day": read_day}
    began, cpu_began = time.perf_counter(), time.process_time()
    steps[name](path, work)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "peak_mb": peak}))


def count_lines(path: Path, work: Path) -> None:
    lines = 0
    buffer = bytearray(4 << 20)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            lines += buffer.count(b"\n", 0, count)
    assert lines > 1


def curate(path: Path, work: Path) -> None:
    """What a run does with a road file: the source itself, on a raw layout and a curated layer in folders."""
    raw = work / "raw"
    (raw / "batch").mkdir(parents=True, exist_ok=True)
    linked = raw / "batch" / NAME
    linked.unlink(missing_ok=True)
    os.link(path, linked)
    scratch = work / "scratch"
    scratch.mkdir(exist_ok=True)
    days = (FIRST.date(), LAST.date())
    roads.curate(Raw(open_store(raw.as_uri())), Curating(layer_in(work), *days, ZONE, scratch, ignore))
    linked.unlink()


def answer(path: Path, work: Path) -> None:
    layer = layer_in(work)

    def of_day(day: date) -> pl.DataFrame:
        flow, occupancy = pl.col("flow"), pl.col("occupancy")
        return (
            layer.read("roads", day, day)
            .group_by("arc", pl.lit(day.isoformat()).alias("day"))
            .agg(
                flow.sum().alias("vehicles"),
                (flow.is_not_null() | occupancy.is_not_null()).sum().alias("hours"),
                (occupancy >= CONGESTED).sum().alias("congested"),
                occupancy.mean(),
            )
        )

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(of_day, layer.days("roads")))
    pl.concat(found).sort("arc", "day").write_csv(work / "answer.csv")


def read_day(path: Path, work: Path) -> None:
    layer = layer_in(work)
    day = layer.days("roads")[-1]
    assert layer.read("roads", day, day).height


def layer_in(work: Path) -> Curated:
    scratch = work / "scratch"
    return Curated(
        open_store((work / "curated").as_uri()), Cache(work / "cache", 10**9), scratch, curated_tables()
    )


# The peers, and what is printed


def peers() -> Path:
    """The interpreter of an environment with the pinned peers, made at the first run and kept in the user's cache."""
    return make_environment("city", PINS)


def print_table(path: Path, found: dict[str, Taken]) -> None:
    """Seconds, those of the processors, peak memory; and how many line counts and DuckDB's queries each of both is."""
    print(
        f"{path.parent.name}: {path.stat().st_size:,} bytes; {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}"
    )
    ratios = f"{'× count':>9}{'× DuckDB':>10}"
    print(f"{'':42}{'seconds':>9}{ratios}{'CPU s':>9}{ratios}{'peak MB':>9}")
    for name, taken in found.items():
        seconds, cpu = (
            f"{getattr(taken, field):9.2f}"
            f"{ratio(found, name, 'lines', field):>9}{ratio(found, name, 'duckdb', field):>10}"
            for field in ("seconds", "cpu_seconds")
        )
        print(f"{CONTENDERS[name]:42}{seconds}{cpu}{taken.peak_mb:9.0f}")


def ratio(taken_by: dict[str, Taken], name: str, other: str, field: str) -> str:
    """How many of another contender one is."""
    return (
        f"{getattr(taken_by[name], field) / getattr(taken_by[other], field):.2f}"
        if other in taken_by
        else "-"
    )


def ignore(*_: object) -> None:
    """Progress that nobody reads."""


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
