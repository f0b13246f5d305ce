"""Invent sites of works along the streets, as the source publishes them (`chantiers-perturbants`)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from io import BytesIO
from typing import Final

import numpy as np
import polars as pl

from ecluse.apps.city.demo.base_map import BaseMap, degrees, zone_at
from ecluse.apps.city.demo.days import BLOCK, Draw, block_of, block_start

HEADER: Final = (
    "Identifiant", "Identifiant CTV", "Code postal de l'arrondissement", "Numéro de STV", "Typologie",
    "Maitre d'ouvrage", "Objet", "Description", "Voie(s)", "Précisions de localisation", "Date de début",
    "Date de fin", "Impact sur la circulation", "Détail de l'impact sur la circulation", "Niveau de perturbation",
    "Statut", "URL LettreInfoChantier", "geo_shape", "geo_point_2d",
)  # fmt: skip
#: Sites lie within so many km of the arcs they disturb.
DISTURBS: Final = 0.15
#: Impact → the share of capacity and of vehicles that is left on the arcs beside it.
LEFT: Final[dict[str | None, tuple[float, float]]] = {
    "BARRAGE_TOTAL": (0.10, 0.05),
    "RESTREINTE": (0.55, 0.82),
    "SENS_UNIQUE": (0.65, 0.80),
    "IMPASSE": (0.70, 0.70),
    None: (0.92, 0.98),
}
_IMPACTS: Final = ("RESTREINTE", "RESTREINTE", "RESTREINTE", "SENS_UNIQUE", "BARRAGE_TOTAL", "IMPASSE", None)
_PURPOSES: Final = ("CREATION_RESEAUX", "REFECTION_CHAUSSEE", "CONSTRUCTION_IMMEUBLE", "REAMENAGEMENT_VOIRIE",
                    "ENTRETIEN_RESEAU", "TRAVAUX_URGENCE")  # fmt: skip
_OWNERS: Final = ("Ville", "Réseau de chaleur", "Réseau d'eau", "Mission Vélo", "Bailleur")
_LONGEST: Final = 84
#: Most sites of a block; a city of 3,348 arcs has about 250 of them open.
_EVERY: Final = 24


@dataclass(frozen=True)
class Site:
    """One site: the arc it lies on, its first and last day, and what it does to traffic."""

    number: int
    arc: int  # its index in the base map
    begin: date
    end: date
    impact: str | None
    level: int | None
    purpose: str
    owner: str
    width: float  # km
    length: float  # km
    is_two: bool

    def is_open(self, day: date) -> bool:
        return self.begin <= day <= self.end


def sites_open(base_map: BaseMap, seed: int, first: date, last: date) -> list[Site]:
    """Return the sites open on some day of a period, in the order of their beginning."""
    blocks = range(block_of(first - timedelta(days=_LONGEST)), block_of(last) + 1)
    sites = [site for block in blocks for site in _begun(len(base_map), seed, block)]
    return [site for site in sites if site.begin <= last and site.end >= first]


def write_works(base_map: BaseMap, sites: Iterable[Site], last: date) -> bytes:
    """Return the file of the source with these sites, some of their cells over several lines; UTF-8 with a BOM.

    Two records are bad: one has an end that is no date, one ends before it begins.
    """
    records = [_record(base_map, site, last) for site in sites]
    if records:
        spoiled = dict(records[0], Identifiant="CP999901")
        records.append(spoiled | {"Date de fin": "fin 2025"})
        records.append(
            spoiled | {"Identifiant": "CP999902", "Date de début": "2025-10-31", "Date de fin": "2025-01-31"}
        )
    frame = pl.DataFrame(records, schema=dict.fromkeys(HEADER, pl.String))
    buffer = BytesIO()
    frame.write_csv(buffer, separator=";", include_bom=True)
    return buffer.getvalue()


@lru_cache(maxsize=256)
def _begun(arcs: int, seed: int, block: int) -> tuple[Site, ...]:
    rng = np.random.default_rng([seed, Draw.WORKS, block, arcs])
    sites = []
    hot = int(rng.integers(0, arcs))
    for n in range(max(3, arcs // _EVERY)):
        begin = block_start(block) + timedelta(days=int(rng.integers(0, BLOCK)))
        impact = _IMPACTS[int(rng.integers(0, len(_IMPACTS)))]
        # A street that is closed for a quarter of a year is rare.
        longest = 10 if impact == "BARRAGE_TOTAL" else _LONGEST
        # The last places are streets, where works are commoner than on a ring road; a third are in one quarter.
        arc = int(arcs * min(0.999, rng.beta(1.6, 1.1))) if n % 3 else (hot + 2 * n // 3) % arcs
        sites.append(
            Site(
                number=(block % 10_000) * 100 + n,
                arc=arc,
                begin=begin,
                end=begin + timedelta(days=int(rng.integers(3, longest))),
                impact=impact,
                level=(1, 2, 2, None)[int(rng.integers(0, 4))],
                purpose=_PURPOSES[int(rng.integers(0, len(_PURPOSES)))],
                owner=_OWNERS[int(rng.integers(0, len(_OWNERS)))],
                width=float(rng.uniform(0.006, 0.02)),
                length=float(rng.uniform(0.03, 0.12)),
                is_two=bool(rng.random() < 0.15),
            )
        )
    return tuple(sorted(sites, key=lambda site: (site.begin, site.number)))


def _record(base_map: BaseMap, site: Site, last: date) -> dict[str, str | None]:
    x, y = float(base_map.x[site.arc]), float(base_map.y[site.arc])
    street = base_map.label[site.arc].replace("_", " ")
    zone = zone_at(x, y)
    boxes = [_box(x, y, site.length, site.width)]
    if site.is_two:
        boxes.append(_box(x + 2 * site.length, y, site.length / 2, site.width))
    shape = (
        {"coordinates": boxes, "type": "MultiPolygon"}
        if site.is_two
        else {"coordinates": boxes[0], "type": "Polygon"}
    )
    longitude, latitude = degrees(x, y)
    status = 2 if site.begin <= last <= site.end else (4 if site.end < last else 1)
    detail = {
        "BARRAGE_TOTAL": f"{street} fermée à la circulation.\nDéviation par les voies voisines.",
        "SENS_UNIQUE": "Circulation maintenue dans un seul sens.",
        "IMPASSE": "Mise en impasse, accès des riverains maintenu.",
        "RESTREINTE": "Travaux en demi-chaussée ;\nune file de circulation maintenue.",
    }.get(site.impact or "")
    return {
        "Identifiant": f"CP{site.number:06d}",
        "Identifiant CTV": str(400_000 + site.number) if site.number % 3 == 0 else None,
        "Code postal de l'arrondissement": None if zone is None else f"750{zone:02d}",
        "Numéro de STV": str(9 + site.number % 6),
        "Typologie": str(1 + site.number % 3),
        "Maitre d'ouvrage": site.owner,
        "Objet": site.purpose,
        "Description": f"Travaux {street}.\n\"Phase {1 + site.number % 4}\" ; reprise des revêtements.",
        "Voie(s)": street,
        "Précisions de localisation": f"du n°{1 + site.number % 40} au n°{20 + site.number % 90}",
        "Date de début": site.begin.isoformat(),
        "Date de fin": site.end.isoformat(),
        "Impact sur la circulation": site.impact,
        "Détail de l'impact sur la circulation": detail,
        "Niveau de perturbation": None if site.level is None else str(site.level),
        "Statut": str(status),
        "URL LettreInfoChantier": None,
        "geo_shape": json.dumps(shape),
        "geo_point_2d": f"{latitude}, {longitude}",
    }  # fmt: skip


def _box(x: float, y: float, length: float, width: float) -> list[list[list[float]]]:
    corners = [(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)]
    return [[list(degrees(x + a * length / 2, y + b * width / 2)) for a, b in corners]]
