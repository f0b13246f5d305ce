"""Curate a road file of millions of rows: from CSV to Parquet per day, beside DuckDB.

    python -m benchmarks.city [--gigabytes 2] [--rounds 3]

Writes a file of the schema of Paris's road counts, the same each time: 3,348 invented arcs, 13 months with both changes
of the clocks, gaps as in the published files; 2 GB are about 6 million rows. Then, each in a process of its
own and in turn:

    lines   count the lines: what every other figure is compared with
    curate  CSV to Parquet per day, in a folder, as `ecluse city run` does
    duckdb  the same by a query of DuckDB, each arc and hour once; both have to hold the same rows and sums

Printed are seconds by the clock and of the processors, without imports: median (least to most); how many times the
count of the lines the seconds of the processors are; and the peak memory of the process in MB.
"""

from __future__ import annotations

import json
import resource
import shutil
import statistics
import subprocess
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from benchmarks.measuring import installed, options, print_table, say, spawned, spread, timed
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
STEPS: Final = ("lines", "curate", "duckdb")
PINS: Final = ("duckdb==2.0.0",)
#: A stamp is the end of its hour.
DUCKDB: Final = """
import json, resource, sys, time
import duckdb
connection = duckdb.connect()
connection.execute("SET TimeZone = 'Europe/Paris'")
began, used = time.perf_counter(), time.process_time()
connection.execute('''COPY (
    SELECT "Identifiant arc"::INTEGER AS arc,
           "Date et heure de comptage"::TIMESTAMPTZ - INTERVAL 1 HOUR AS "at",
           last("Débit horaire"::DOUBLE) AS flow, last("Taux d'occupation"::DOUBLE) AS occupancy,
           last("Etat trafic") AS state, last("Etat arc") AS arc_state,
           strftime("Date et heure de comptage"::TIMESTAMPTZ - INTERVAL 1 HOUR, '%Y-%m-%d') AS dt
    FROM read_csv($1, delim = ';', header = true, quote = '"', all_varchar = true)
    GROUP BY ALL ORDER BY dt, arc, "at"
    ) TO $2 (FORMAT parquet, COMPRESSION zstd, PARTITION_BY (dt))''', sys.argv[1:])
taken = time.perf_counter() - began, time.process_time() - used
print(json.dumps([*taken, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ecluse-city-") as name:
        work = Path(name)
        spawned(write_roads, work / NAME, arguments.gigabytes * 1e9)
        print(f"{(work / NAME).stat().st_size / 1e9:.2f} GB")
        spawned(step, "lines", work)  # so that the file is in memory
        found: dict[str, list[list[float]]] = {one: [] for one in STEPS}
        for _ in range(arguments.rounds):
            for one, taken in found.items():
                shutil.rmtree(work / one, ignore_errors=True)
                taken.append(duckdb(work) if one == "duckdb" else spawned(step, one, work))
                say(f"{one}: {taken[-1][0]:.2f} s, {taken[-1][1]:.2f} s of the processors")
        check_agreement(work)
    lines = statistics.median(taken[1] for taken in found["lines"])
    rows = []
    for one, taken in found.items():
        seconds, used, peaks = zip(*taken, strict=True)
        rows.append((one, spread(seconds), spread(used), statistics.median(used) / lines, max(peaks)))
    print_table(("", "seconds", "of the processors", "× lines", "peak MB"), rows)


def duckdb(work: Path) -> list[float]:
    """Seconds, those of the processors, and MB of the peer."""
    command = [installed("city", PINS), "-c", DUCKDB, work / NAME, work / "duckdb"]
    taken: list[float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return taken


def check_agreement(work: Path) -> None:
    """Both Parquets have as many rows, and the same sums but for rounding."""
    sums = [
        pl.scan_parquet(work / folder / "**" / "*.parquet")
        .select(pl.len(), pl.col("flow", "occupancy").sum())
        .collect()
        for folder in ("curate", "duckdb")
    ]
    ours, theirs = (one.row(0) for one in sums)
    assert np.allclose(ours, theirs, rtol=1e-9), f"rows, sums of flow and occupancy: {ours}, DuckDB: {theirs}"


# The steps, each in a process of its own


def step(name: str, work: Path) -> list[float]:
    """Seconds, those of the processors, and MB of one step."""
    spent = timed(lambda: count_lines(work / NAME) if name == "lines" else curate(work))
    return [*spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]


def count_lines(file: Path) -> None:
    lines, buffer = 0, bytearray(4 << 20)
    with file.open("rb", buffering=0) as opened:
        while count := opened.readinto(buffer):
            lines += buffer.count(b"\n", 0, count)
    assert lines > 1


def curate(work: Path) -> None:
    """What a run does with a road file: the source itself, on a raw layout and a curated layer in folders."""
    batch, scratch = work / "raw" / "batch", work / "scratch"
    for folder in (batch, scratch):
        folder.mkdir(parents=True, exist_ok=True)
    (batch / NAME).unlink(missing_ok=True)
    (batch / NAME).hardlink_to(work / NAME)
    store, cache = open_store((work / "curate").as_uri()), Cache(work / "cache", 10**9)
    layer, raw = Curated(store, cache, scratch, curated_tables()), Raw(open_store((work / "raw").as_uri()))
    roads.curate(raw, Curating(layer, FIRST.date(), LAST.date(), ZONE, scratch, lambda *_: None))


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
