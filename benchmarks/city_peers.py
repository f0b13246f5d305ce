"""Answer `benchmarks.city`'s question with pandas or DuckDB, in an environment where these are installed.

    python city_peers.py pandas|duckdb|duckdb-days ROADS.csv ANSWER.csv

Per arc and local day: vehicles, hours observed, congested hours, mean occupancy. `duckdb-days` writes the rows
themselves, by local day. Prints its seconds, those of the processors, both without the imports, and its peak memory as
JSON. Knows nothing of Écluse.
"""

import json
import resource
import sys
import time

ZONE = "Europe/Paris"
CONGESTED = 30


def took_since(began, cpu_began):
    """Seconds, and those of the processors."""
    return time.perf_counter() - began, time.process_time() - cpu_began


def with_pandas(path, answer):
    """Chunks of a million rows; what each adds to the sums of an arc and day."""
    import pandas as pd

    began = time.perf_counter(), time.process_time()
    arc, at, flow, occupancy = (
        "Identifiant arc",
        "Date et heure de comptage",
        "Débit horaire",
        "Taux d'occupation",
    )
    sums = None
    chunks = pd.read_csv(path, sep=";", usecols=[arc, at, flow, occupancy], chunksize=1_000_000)
    for chunk in chunks:
        # the stamp is the end of the hour
        begin = pd.to_datetime(chunk[at], utc=True) - pd.Timedelta(hours=1)
        day = begin.dt.tz_convert(ZONE).dt.strftime("%Y-%m-%d")
        told = pd.DataFrame(
            {
                "arc": chunk[arc],
                "day": day,
                "vehicles": chunk[flow],
                "hours": chunk[flow].notna() | chunk[occupancy].notna(),
                "congested": chunk[occupancy] >= CONGESTED,
                "occupancy": chunk[occupancy],
                "known": chunk[occupancy].notna(),
            }
        )
        part = told.groupby(["arc", "day"]).sum()
        sums = part if sums is None else sums.add(part, fill_value=0)
    sums = sums.astype({"hours": int, "congested": int})
    sums["occupancy"] /= sums["known"].where(sums["known"] > 0)
    sums.drop(columns="known").reset_index().sort_values(["arc", "day"]).to_csv(answer, index=False)
    return took_since(*began)


def with_duckdb(path, answer):
    """One query, as one would write it by hand: on all processors, with the types of the columns that it needs."""
    import duckdb

    began = time.perf_counter(), time.process_time()
    connection = duckdb.connect()
    connection.execute(f"SET TimeZone = '{ZONE}'")
    connection.execute(
        f"""
        COPY (
            SELECT "Identifiant arc"::INTEGER AS arc,
                   strftime("Date et heure de comptage"::TIMESTAMPTZ - INTERVAL 1 HOUR, '%Y-%m-%d') AS day,
                   coalesce(sum("Débit horaire"::DOUBLE), 0) AS vehicles,
                   count(*) FILTER ("Débit horaire" IS NOT NULL OR "Taux d'occupation" IS NOT NULL) AS hours,
                   count(*) FILTER ("Taux d'occupation"::DOUBLE >= {CONGESTED}) AS congested,
                   avg("Taux d'occupation"::DOUBLE) AS occupancy
            FROM read_csv(?, delim = ';', header = true, quote = '"', all_varchar = true)
            GROUP BY 1, 2 ORDER BY 1, 2
        ) TO '{answer}' (HEADER)
        """,  # noqa: S608
        [path],
    )
    return took_since(*began)


def with_duckdb_per_day(path, answer):
    """What curating gives, as one would ask DuckDB for it: typed rows, each arc and hour once, Parquet by local day."""
    import duckdb

    began = time.perf_counter(), time.process_time()
    connection = duckdb.connect()
    connection.execute(f"SET TimeZone = '{ZONE}'")
    connection.execute(
        f"""
        COPY (
            SELECT "Identifiant arc"::INTEGER AS arc,
                   "Date et heure de comptage"::TIMESTAMPTZ - INTERVAL 1 HOUR AS "at",
                   last("Débit horaire"::DOUBLE) AS flow,
                   last("Taux d'occupation"::DOUBLE) AS occupancy,
                   last("Etat trafic") AS state,
                   last("Etat arc") AS arc_state,
                   strftime("Date et heure de comptage"::TIMESTAMPTZ - INTERVAL 1 HOUR, '%Y-%m-%d') AS dt
            FROM read_csv(?, delim = ';', header = true, quote = '"', all_varchar = true)
            GROUP BY ALL ORDER BY dt, arc, "at"
        ) TO '{answer}.days' (FORMAT parquet, COMPRESSION zstd, PARTITION_BY (dt))
        """,  # noqa: S608
        [path],
    )
    return took_since(*began)


if __name__ == "__main__":
    contender, path, answer = sys.argv[1:]
    contenders = {"pandas": with_pandas, "duckdb": with_duckdb, "duckdb-days": with_duckdb_per_day}
    seconds, cpu = contenders[contender](path, answer)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "peak_mb": peak}))
