"""Invent what bike counters counted, as the API gives it: one JSON file per hour, the moments in UTC."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any, Final

import numpy as np

from ecluse.apps.city.demo.base_map import Floats, degrees, draw_base_map
from ecluse.apps.city.demo.days import BLOCK, Day, Draw, bump
from ecluse.apps.city.sources.bikes import STAMP
from ecluse.apps.city.sources.stamps import HOUR

COUNTERS: Final = 40
_WAYS: Final = ("N-S", "S-N", "E-O", "O-E")


@dataclass(frozen=True)
class Counter:
    """One counter: its ids and names, where it stands, and its usual bikes per hour at the peak."""

    id: str
    name: str
    site: str
    site_name: str
    longitude: float
    latitude: float
    level: float
    morning: float


def write_bikes(day: Day) -> Iterator[tuple[str, bytes]]:
    """Key and content of each file of a local day: 23, 24 or 25 of them, by the hour in UTC.

    Now and then the following hour sends an hour again, as counters do that were out of reach.
    """
    counters = _counters(day.seed)
    counts = count_bikes(day)
    for n, start in enumerate(day.local.starts):
        stamp, earlier = (STAMP.stamp_of(start - back).isoformat() for back in (timedelta(0), HOUR))
        records = [_record(c, counts[i, n], stamp) for i, c in enumerate(counters)]
        if n == 11 and day.ordinal % 4 == 0:  # sent twice
            records += [_record(c, counts[i, n - 1], earlier) for i, c in enumerate(counters[:6])]
        if n == 15 and day.ordinal % 9 == 2:  # unreadable
            records.append(_record(counters[0], 12.0, "hier"))
            records.append(_record(counters[1], -4.0, stamp))
        records = [record for record in records if record["sum_counts"] is not None]
        key = f"api/bikes/dt={start:%Y-%m-%d}/hour={start:%H}/bikes-demo.json"
        body = {"total_count": len(records), "results": records}
        yield key, json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def count_bikes(day: Day) -> Floats:
    """(counters, hours) bikes in the hour; NaN where a counter sent nothing. Rain and cold lower them."""
    rng = day.chance(Draw.BIKES)
    hours = np.asarray(day.local.clock_hours, dtype=float)
    counters = _counters(day.seed)
    level = np.array([c.level for c in counters])
    morning = np.array([c.morning for c in counters])
    if day.rest == 0:
        shape = (
            0.03 + np.outer(morning, bump(hours, 8.4, 1.0)) + np.outer(2 - morning, bump(hours, 18.2, 1.5))
        )
        shape += 0.35 * bump(hours, 13.2, 2.6)
    else:
        shape = 0.04 + np.outer(np.ones(len(counters)), 0.62 * bump(hours, 16.2, 3.2))
    warm = 1 + 0.022 * float(np.clip(day.weather.temperature - 13, -14, 10))
    wet = np.where(np.isin(hours, day.weather.rain_hours), 0.68, 1.0) * (
        0.86 if day.weather.rain >= 5 else 1.0
    )
    lifted = 1.45 if day.strike else 1.0
    mean = level[:, None] * shape * warm * wet * lifted * (0.55 + 0.45 * day.level)
    mean *= np.exp(rng.normal(0, 0.07, len(counters)))[:, None]
    counted = rng.poisson(np.maximum(mean, 0)).astype(float)
    counted[rng.random(counted.shape) < 0.006] = np.nan
    _break_counters(day, counted)
    return counted


def _break_counters(day: Day, counted: Floats) -> None:
    block, within = divmod(day.ordinal, BLOCK)
    rng = np.random.default_rng([day.seed, Draw.FAULTS, block, 7])
    for n in range(4):
        counter, first, length = (
            int(rng.integers(0, COUNTERS)),
            int(rng.integers(0, 18)),
            int(rng.integers(3, 12)),
        )
        if first <= within < first + length:
            counted[counter] = (np.nan, 0.0, 41.0, np.nan)[n]


@lru_cache(maxsize=8)
def _counters(seed: int) -> tuple[Counter, ...]:
    base_map = draw_base_map(400)
    rng = np.random.default_rng([seed, Draw.CITY, 40])
    # Not on the ring roads, where nobody rides.
    places = [n for n in range(len(base_map)) if base_map.capacity[n] < 6000]
    chosen = rng.choice(places, COUNTERS // 2, replace=False)
    counters = []
    for n, arc in enumerate(sorted(chosen.tolist())):
        longitude, latitude = degrees(float(base_map.x[arc]), float(base_map.y[arc]))
        level = float(np.exp(rng.normal(4.9, 0.6)))
        street = base_map.label[arc].replace("_", " ")
        for way in range(2):
            site = str(100_050_000 + n)
            counters.append(
                Counter(
                    id=f"{site}-{353_000_000 + 2 * n + way}",
                    name=f"{10 + n} {street} {_WAYS[2 * (n % 2) + way]}",
                    site=site,
                    site_name=f"{10 + n} {street}",
                    longitude=round(longitude, 5),
                    latitude=round(latitude, 5),
                    level=level,
                    morning=1.35 if way else 0.65,
                )
            )
    return tuple(counters)


def _record(counter: Counter, count: float, moment: str) -> dict[str, Any]:
    return {
        "id_compteur": counter.id,
        "nom_compteur": counter.name,
        "id": counter.site,
        "name": counter.site_name,
        "sum_counts": None if np.isnan(count) else int(count),
        "date": moment,
        "installation_date": "2018-07-24",
        "coordinates": {"lon": counter.longitude, "lat": counter.latitude},
        "counter": counter.id.partition("-")[2],
        "mois_annee_comptage": moment[:7],
    }
