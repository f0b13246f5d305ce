"""Write large road files of the published schema, the same ones each time, for `benchmarks.city`."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

PARIS = ZoneInfo("Europe/Paris")
#: Thirteen months with both changes of the clocks, as the portal publishes them.
FIRST, LAST = datetime(2023, 10, 1, tzinfo=PARIS), datetime(2024, 11, 1, tzinfo=PARIS)
HEADER = (
    "Identifiant arc;Libelle;Date et heure de comptage;Débit horaire;Taux d'occupation;Etat trafic;"
    "Identifiant noeud amont;Libelle noeud amont;Identifiant noeud aval;Libelle noeud aval;Etat arc;"
    "Date debut dispo data;Date fin dispo data;geo_point_2d;geo_shape"
)
ARCS = 3_348
#: Rows of this many arcs are mixed with each other, so that no day lies together in the file.
MIXED = 36


def write_roads(path: Path, size: int, arcs: list[tuple[str, str]], told: Callable[[int], None]) -> int:
    """Write about `size` bytes; how many rows. `arcs`: how a row of each begins and ends."""
    hours = int((LAST - FIRST) / timedelta(hours=1))
    moments = pl.Series([_moment(FIRST.astimezone(UTC) + timedelta(hours=n)) for n in range(hours)])
    row = sum(len(f"{begin}{end}".encode()) for begin, end in arcs) / len(arcs) + 48
    share = min(1.0, size / (row * hours * len(arcs)))  # of the days of an arc that are in the file
    random = np.random.default_rng(2024)
    rows = 0
    partial = path.with_suffix(".part")
    with partial.open("wb") as file:
        file.write(b"\xef\xbb\xbf" + HEADER.encode() + b"\r\n")
        for first in range(0, len(arcs), MIXED):
            frames = [
                _rows_of(begin, end, moments, share, random) for begin, end in arcs[first : first + MIXED]
            ]
            lines = pl.concat(frames).sample(fraction=1, shuffle=True, seed=first)
            file.write(("\r\n".join(lines) + "\r\n").encode())
            rows += len(lines)
            told(file.tell())
    partial.replace(path)
    return rows


def known_arcs(reference: Path | None) -> list[tuple[str, str]]:
    """How a row of each arc begins and ends: the real arcs of a reference file, else as many invented ones."""
    if reference is None:
        return [_invented(n) for n in range(ARCS)]
    table = (
        pl.read_csv(reference, separator=";", infer_schema=False).unique("IU_AC", keep="last").sort("IU_AC")
    )
    return [_ends(row) for row in table.iter_rows(named=True)]


def _rows_of(
    begin: str, end: str, moments: pl.Series, share: float, random: np.random.Generator
) -> pl.Series:
    """The lines of one arc: some of its days whole, with flows, occupancies and gaps as a real arc has them."""
    hours = len(moments)
    kept = np.repeat(random.random(hours // 24 + 1) < share, 24)[:hours]
    clock = np.arange(hours) % 24
    rush = np.exp(-((clock - 8) ** 2) / 8) + np.exp(-((clock - 18) ** 2) / 8) + 0.15
    occupancy = np.clip(random.gamma(2.0, 9.0 * rush * random.uniform(0.3, 1.6)), 0, 100)
    flow = np.round(random.uniform(300, 1500) * rush * random.uniform(0.7, 1.3, hours))
    state = np.searchsorted([15.0, 30.0, 50.0], occupancy, side="right") + 1
    no_occupancy = random.random(hours) < 0.08
    no_flow = (no_occupancy & (random.random(hours) < 0.9)) | (random.random(hours) < 0.05)
    frame = pl.DataFrame(
        {
            "moment": moments,
            "flow": pl.Series(np.where(no_flow, np.nan, flow)).fill_nan(None),
            "occupancy": pl.Series(np.where(no_occupancy, np.nan, occupancy)).fill_nan(None).round(5),
            "state": np.where(no_occupancy, 0, state),
        }
    ).filter(pl.Series(kept))
    names = pl.Series(["Inconnu", "Fluide", "Pré-saturé", "Saturé", "Bloqué"])
    text = pl.concat_str(
        pl.lit(begin),
        "moment",
        pl.col("flow").cast(pl.String).fill_null(""),
        pl.col("occupancy").cast(pl.String).fill_null(""),
        names.gather(frame["state"]),
        pl.lit(end),
        separator=";",
    )
    return frame.select(text.alias("line"))["line"]


def _ends(row: dict[str, str]) -> tuple[str, str]:
    shape = json.loads(row["geo_shape"])
    told = json.dumps({"coordinates": shape["coordinates"], "type": "LineString"}).replace('"', '""')
    end = (
        f"{row['IU_ND_AMONT']};{row['LIBELLE_ND_AMONT']};{row['IU_ND_AVAL']};{row['LIBELLE_ND_AVAL']};Invalide;"
        f'{row["DATE_DEBUT"][:10]};{row["DATE_FIN"][:10]};{row["geo_point_2d"]};"{told}"'
    )
    return f"{row['IU_AC']};{row['LIBELLE']}", end


def _invented(n: int) -> tuple[str, str]:
    longitude, latitude = 2.25 + (n % 60) / 400, 48.82 + (n // 60) / 700
    street = f"Rue_{n // 8:03d}"
    line = [
        [longitude, latitude],
        [longitude + 0.0011, latitude + 0.0003],
        [longitude + 0.0021, latitude + 0.0004],
    ]
    row = {
        "IU_AC": str(1_000 + n),
        "LIBELLE": street,
        "IU_ND_AMONT": str(n),
        "LIBELLE_ND_AMONT": f"{street}-Place_{n % 97}",
        "IU_ND_AVAL": str(n + 1),
        "LIBELLE_ND_AVAL": f"{street}-Place_{(n + 1) % 97}",
        "DATE_DEBUT": "2005-01-01",
        "DATE_FIN": "2023-06-01",
        "geo_point_2d": f"{latitude + 0.0003}, {longitude + 0.0011}",
        "geo_shape": json.dumps({"type": "LineString", "coordinates": line}),
    }
    return _ends(row)


def _moment(moment: datetime) -> str:
    return moment.astimezone(PARIS).isoformat(timespec="seconds")
