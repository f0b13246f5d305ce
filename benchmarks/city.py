"""Curate a road file of millions of rows: from CSV to Parquet per day, beside DuckDB.

    python -m benchmarks.city [--gigabytes 2] [--rounds 3] [--file FILE]

Writes a file of the schema of Paris's road counts, the same one each time: 3,348 invented arcs, hours of 13 months with
both changes of the clocks, gaps as in the published files; 2 GB are about 6 million rows. `--file` keeps it for
the next run. Then, each in a process of its own and in turn, the file being in memory where it fits:

    lines        count the lines: what every other figure is compared with
    curate       CSV to Parquet per day, in a folder, as `ecluse city run` does
    answer       from that Parquet, for each arc and day: vehicles, hours observed, congested hours, mean occupancy
    duckdb       the same answer from the CSV, by one query of DuckDB; both have to agree
    duckdb-days  CSV to Parquet per day by DuckDB, each arc and hour once

Printed are seconds by the clock and of the processors, without imports: median (least to most); how many times the line
count and the query of DuckDB the seconds of the processors are; and the peak memory of the process in MB. DuckDB is
installed once, in an environment of its own.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from benchmarks.measuring import environment, options, print_load, print_table, say, spread, timed
from ecluse.apps.city.curated import Curated
from ecluse.apps.city.raw import Raw
from ecluse.apps.city.sources import Curating, curated_tables, roads
from ecluse.storage import Cache, open_store

NAME: Final = "comptages-routiers-permanents.csv"
ZONE: Final = ZoneInfo("Europe/Paris")
FIRST: Final = datetime(2023, 10, 1, tzinfo=ZONE)
LAST: Final = datetime(2024, 11, 1, tzinfo=ZONE)
HEADER: Final = (
    "Identifiant arc;Libelle;Date et heure de comptage;Débit horaire;Taux d'occupation;Etat trafic;"
    "Identifiant noeud amont;Libelle noeud amont;Identifiant noeud aval;Libelle noeud aval;Etat arc;"
    "Date debut dispo data;Date fin dispo data;geo_point_2d;geo_shape"
)
STATES: Final = pl.Series(["Inconnu", "Fluide", "Pré-saturé", "Saturé", "Bloqué"])
ARCS: Final = 3_348
#: Rows of so many arcs are mixed, so that no day lies together in the file.
MIXED: Final = 36
#: The folder that a step makes.
MADE: Final = {"curate": "curated", "duckdb-days": "days"}
PINS: Final = ("duckdb==2.0.0",)
#: A stamp is the end of its hour.
QUERIES: Final = {
    "duckdb": """COPY (
        SELECT "Identifiant arc"::INTEGER AS arc,
               strftime("Date et heure de comptage"::TIMESTAMPTZ - INTERVAL 1 HOUR, '%Y-%m-%d') AS day,
               coalesce(sum("Débit horaire"::DOUBLE), 0) AS vehicles,
               count(*) FILTER ("Débit horaire" IS NOT NULL OR "Taux d'occupation" IS NOT NULL) AS hours,
               count(*) FILTER ("Taux d'occupation"::DOUBLE >= 30) AS congested,
               avg("Taux d'occupation"::DOUBLE) AS occupancy
        FROM read_csv($1, delim = ';', header = true, quote = '"', all_varchar = true)
        GROUP BY 1, 2 ORDER BY 1, 2) TO 'duckdb.csv' (HEADER)""",
    "duckdb-days": """COPY (
        SELECT "Identifiant arc"::INTEGER AS arc,
               "Date et heure de comptage"::TIMESTAMPTZ - INTERVAL 1 HOUR AS "at",
               last("Débit horaire"::DOUBLE) AS flow, last("Taux d'occupation"::DOUBLE) AS occupancy,
               last("Etat trafic") AS state, last("Etat arc") AS arc_state,
               strftime("Date et heure de comptage"::TIMESTAMPTZ - INTERVAL 1 HOUR, '%Y-%m-%d') AS dt
        FROM read_csv($1, delim = ';', header = true, quote = '"', all_varchar = true)
        GROUP BY ALL ORDER BY dt, arc, "at"
        ) TO 'days' (FORMAT parquet, COMPRESSION zstd, PARTITION_BY (dt))""",
}
DUCKDB: Final = """
import json, resource, sys, time
import duckdb
connection = duckdb.connect()
connection.execute("SET TimeZone = 'Europe/Paris'")
began, used = time.perf_counter(), time.process_time()
connection.execute(sys.argv[1], [sys.argv[2]])
taken = time.perf_counter() - began, time.process_time() - used
print(json.dumps([*taken, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""


def main() -> None:
    if sys.argv[1:2] == ["step"]:
        step(sys.argv[2], Path(sys.argv[3]))
        return
    parser = options(__doc__)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--file", type=Path, help="is written where it is not there")
    arguments = parser.parse_args()
    print_load()
    beside = arguments.file.resolve().parent if arguments.file else None  # a link to it is made there
    with tempfile.TemporaryDirectory(prefix="ecluse-city-", dir=beside) as name:
        file = (arguments.file or Path(name) / NAME).resolve()
        if (
            not file.exists()
        ):  # in a process of its own: what this one once held would count as peak of its children
            subprocess.run(step_command(f"write {arguments.gigabytes}", file), check=True)
        run("lines", file, Path(name))  # so that the file is in memory
        found: dict[str, list[list[float]]] = {one: [] for one in (*STEPS, *QUERIES)}
        for _ in range(arguments.rounds):
            for one, taken in found.items():
                taken.append(run(one, file, Path(name)))
                say(f"{one}: {taken[-1][0]:.2f} s, {taken[-1][1]:.2f} s of the processors")
        check_agreement(Path(name))
        print(f"{file.stat().st_size / 1e9:.2f} GB")
    used = {one: statistics.median(each[1] for each in taken) for one, taken in found.items()}
    head = ("", "seconds", "of the processors", "× lines", "× duckdb", "peak MB")
    rows = [
        (
            *(one, spread([each[0] for each in taken]), spread([each[1] for each in taken])),
            *(used[one] / used["lines"], used[one] / used["duckdb"], max(each[2] for each in taken)),
        )
        for one, taken in found.items()
    ]
    print_table(head, rows)
    print_load()


def run(name: str, file: Path, work: Path) -> list[float]:
    """Seconds, those of the processors, and MB of one step, in a process of its own."""
    if name in MADE:
        shutil.rmtree(work / MADE[name], ignore_errors=True)
    if name in QUERIES:
        command: list[object] = [environment("city", PINS), "-c", DUCKDB, QUERIES[name], file]
    else:
        command = step_command(name, file)
    done = subprocess.run(
        command,
        cwd=work,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        check=True,
        stdout=subprocess.PIPE,
    )
    taken: list[float] = json.loads(done.stdout.splitlines()[-1])
    return taken


def step_command(name: str, file: Path) -> list[object]:
    return [sys.executable, "-m", "benchmarks.city", "step", name, file]


def check_agreement(work: Path) -> None:
    """The same arcs and days, the same counts, and sums that differ by less than rounding does."""
    kinds = {"vehicles": pl.Float64, "occupancy": pl.Float64}
    ours, theirs = (
        pl.read_csv(work / f"{name}.csv", schema_overrides=kinds) for name in ("answer", "duckdb")
    )
    exact = ["arc", "day", "hours", "congested"]
    assert ours.select(exact).equals(theirs.select(exact)), "other counts than DuckDB's"
    for name in kinds:
        off = ((ours[name] - theirs[name]).abs() / (1 + theirs[name].abs())).max()
        assert off < 1e-9, f"{name} is off by {off}"
        assert ours[name].is_null().equals(theirs[name].is_null()), f"{name}: other gaps than DuckDB's"


# The steps, each in a process of its own


def step(name: str, file: Path) -> None:
    if name.startswith("write"):
        write_roads(file, float(name.split()[1]) * 1e9)
        return
    spent = timed(lambda: STEPS[name](file))
    print(json.dumps([*spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))


def count_lines(file: Path) -> None:
    lines, buffer = 0, bytearray(4 << 20)
    with file.open("rb", buffering=0) as opened:
        while count := opened.readinto(buffer):
            lines += buffer.count(b"\n", 0, count)
    assert lines > 1


def curate(file: Path) -> None:
    """What a run does with a road file: the source itself, on a raw layout and a curated layer in folders."""
    batch = Path("raw", "batch")
    batch.mkdir(parents=True, exist_ok=True)
    (batch / NAME).unlink(missing_ok=True)
    (batch / NAME).hardlink_to(file)
    raw = Raw(open_store(Path("raw").resolve().as_uri()))
    scratch = Path("scratch").resolve()
    scratch.mkdir(exist_ok=True)
    days = FIRST.date(), LAST.date()
    roads.curate(raw, Curating(curated_layer(), *days, ZONE, scratch, lambda *_: None))


def answer(file: Path) -> None:
    layer = curated_layer()

    def of_day(day: date) -> pl.DataFrame:
        flow, occupancy = pl.col("flow"), pl.col("occupancy")
        rows = layer.read("roads", day, day)
        return rows.group_by("arc", pl.lit(day.isoformat()).alias("day")).agg(
            flow.sum().alias("vehicles"),
            (flow.is_not_null() | occupancy.is_not_null()).sum().alias("hours"),
            (occupancy >= 30).sum().alias("congested"),
            occupancy.mean(),
        )

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(of_day, layer.days("roads")))
    pl.concat(found).sort("arc", "day").write_csv("answer.csv")


def curated_layer() -> Curated:
    here = Path.cwd()
    store, cache = open_store((here / "curated").as_uri()), Cache(here / "cache", 10**9)
    return Curated(store, cache, here / "scratch", curated_tables())


STEPS: Final[dict[str, Callable[[Path], None]]] = {"lines": count_lines, "curate": curate, "answer": answer}


# The road file


def write_roads(file: Path, size: float) -> None:
    """Write about `size` bytes: of each arc some of its days, whole."""
    hours = int((LAST - FIRST) / timedelta(hours=1))
    moments = (FIRST.astimezone(UTC) + timedelta(hours=number) for number in range(hours))
    stamps = pl.Series([moment.astimezone(ZONE).isoformat(timespec="seconds") for moment in moments])
    line = 50 + len("".join(line_ends(ARCS // 2)))
    share = min(1.0, size / (ARCS * hours * line))
    draw = np.random.default_rng(2024)
    partial = file.with_suffix(".part")
    with partial.open("wb") as opened:
        opened.write(b"\xef\xbb\xbf" + HEADER.encode() + b"\r\n")
        for first in range(0, ARCS, MIXED):
            parts = [arc_lines(arc, stamps, share, draw) for arc in range(first, first + MIXED)]
            lines = pl.concat(parts).sample(fraction=1, shuffle=True, seed=first)
            opened.write(("\r\n".join(lines) + "\r\n").encode())
    partial.replace(file)


def arc_lines(arc: int, stamps: pl.Series, share: float, draw: np.random.Generator) -> pl.Series:
    """The lines of one arc, with flows, occupancies and gaps as a real arc has them."""
    hours = len(stamps)
    clock = np.arange(hours) % 24
    rush = np.exp(-((clock - 8) ** 2) / 8) + np.exp(-((clock - 18) ** 2) / 8) + 0.15
    occupancy = np.clip(draw.gamma(2.0, 9.0 * rush * draw.uniform(0.3, 1.6)), 0, 100)
    flow = np.round(draw.uniform(300, 1500) * rush * draw.uniform(0.7, 1.3, hours))
    no_occupancy = draw.random(hours) < 0.08
    no_flow = (no_occupancy & (draw.random(hours) < 0.9)) | (draw.random(hours) < 0.05)
    state = np.where(no_occupancy, 0, np.searchsorted([15.0, 30.0, 50.0], occupancy, side="right") + 1)
    flows = pl.Series(np.where(no_flow, np.nan, flow)).fill_nan(None)
    occupancies = pl.Series(np.where(no_occupancy, np.nan, occupancy)).fill_nan(None).round(5)
    begin, end = line_ends(arc)
    frame = pl.DataFrame(
        {"stamp": stamps, "flow": flows, "occupancy": occupancies, "state": STATES.gather(state)}
    )
    cells = [pl.col(name).cast(pl.String).fill_null("") for name in frame.columns]
    lines = frame.select(pl.concat_str(pl.lit(begin), *cells, pl.lit(end), separator=";"))
    kept = np.repeat(draw.random(hours // 24 + 1) < share, 24)[:hours]
    return lines.to_series().filter(pl.Series(kept))


def line_ends(arc: int) -> tuple[str, str]:
    """How each line of an arc begins and ends."""
    street, x, y = f"Rue_{arc // 8:03d}", 2.25 + (arc % 60) / 400, 48.82 + (arc // 60) / 700
    shape = json.dumps(
        {"coordinates": [[x, y], [x + 0.0011, y + 0.0003], [x + 0.0021, y + 0.0004]], "type": "LineString"}
    )
    nodes = f"{arc};{street}-Place_{arc % 97};{arc + 1};{street}-Place_{(arc + 1) % 97}"
    quoted = shape.replace('"', '""')
    return f"{1000 + arc};{street}", f'{nodes};Invalide;2005-01-01;2023-06-01;{y}, {x};"{quoted}"'


if __name__ == "__main__":
    main()
