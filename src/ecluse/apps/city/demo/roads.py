"""Invent what the road sensors counted, and write it as the source does (`comptages-routiers-permanents`).

How full an arc is follows from its share of the rush hours, the season, rain, works, incidents and matches; flow
grows with it up to the capacity and falls beyond, while occupancy goes on growing: the fundamental diagram.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.city.demo.base_map import BaseMap, Floats, place
from ecluse.apps.city.demo.days import BLOCK, Day, Draw, bump
from ecluse.apps.city.demo.works import DISTURBS, LEFT, Site
from ecluse.apps.city.sources.road_records import STAMP
from ecluse.apps.city.tables import STATES

Flags = NDArray[np.bool_]

HEADER: Final = (
    "Identifiant arc", "Libelle", "Date et heure de comptage", "Débit horaire", "Taux d'occupation", "Etat trafic",
    "Identifiant noeud amont", "Libelle noeud amont", "Identifiant noeud aval", "Libelle noeud aval", "Etat arc",
    "Date debut dispo data", "Date fin dispo data", "geo_point_2d", "geo_shape",
)  # fmt: skip
REFERENCE_HEADER: Final = (
    "IU_AC", "DATE_DEBUT", "DATE_FIN", "LIBELLE", "IU_ND_AVAL", "IU_ND_AMONT", "LIBELLE_ND_AMONT",
    "LIBELLE_ND_AVAL", "geo_point_2d", "geo_shape", "SHAPE.LEN",
)  # fmt: skip
#: Where matches are played, and how far (km) they are felt.
STADIUM: Final = place(244, 0.93)
FELT: Final = 1.3
#: Occupancy in percent at the capacity, and the boundaries of the states, as measured on the source.
_AT_CAPACITY: Final = 16.0
_BOUNDARIES: Final = (15.0, 30.0, 50.0)
#: The share of values that a healthy sensor loses, of rows that it loses, and of arcs marked invalid.
_LOST_VALUES, _LOST_ROWS, _INVALID = 0.02, 0.004, 0.12


@dataclass(frozen=True)
class Counted:
    """What the sensors counted on one day, (arcs, hours): vehicles per hour, percent, and which rows exist."""

    flow: Floats
    occupancy: Floats
    exists: Flags
    closed: Flags  # (arcs,)


def count_roads(base_map: BaseMap, day: Day, sites: list[Site]) -> Counted:
    """Return what the sensors of `base_map` counted on a day; NaN where a sensor gave no value."""
    rng = day.chance(Draw.ROADS)
    arcs, hours = len(base_map), day.local.hours
    pressure = _demand(base_map, day, rng)
    room, demand_factor, closed = _works(base_map, day, sites)
    pressure *= demand_factor[:, None]
    capacity = base_map.capacity * room
    full = pressure / np.maximum(room, 0.05)[:, None] + _incidents(base_map, day, rng)
    over = np.maximum(0.0, full - 0.92)
    spread = _character(base_map, day.seed).occupancy[:, None]
    occupancy = _AT_CAPACITY * spread * full + 135.0 * over**1.35
    occupancy *= np.exp(rng.normal(0, 0.05, (arcs, hours)))
    flow = capacity[:, None] * np.minimum(full, 1.0 - 0.55 * np.minimum(over, 1.2))
    flow *= np.exp(rng.normal(0, 0.035, (arcs, hours)))
    flow, occupancy = np.maximum(0.0, np.round(flow)), np.clip(np.round(occupancy, 5), 0.01, 96.0)
    exists = rng.random((arcs, hours)) >= _LOST_ROWS
    flow[rng.random((arcs, hours)) < _LOST_VALUES] = np.nan
    occupancy[rng.random((arcs, hours)) < _LOST_VALUES] = np.nan
    _break_sensors(base_map, day, flow, occupancy, exists)
    return Counted(flow, occupancy, exists, closed)


def write_roads(
    base_map: BaseMap, days: list[Day], sites: list[Site], report: Callable[[int, int], None]
) -> Iterator[bytes]:
    """Yield the file of the source, a day at a time; `told` after each with its number and its rows.

    About one row in a thousand is there twice; now and then a row has no arc or no readable time.
    """
    yield ("\ufeff" + ";".join(HEADER) + "\n").encode()
    fixed = _fixed_columns(base_map, days[0].seed)
    for n, day in enumerate(days):
        frame = _rows(base_map, day, count_roads(base_map, day, sites), fixed)
        buffer = BytesIO()
        frame.write_csv(buffer, separator=";", include_header=False)
        data = buffer.getvalue()
        yield data + _spoiled(day, data)
        report(n, frame.height)


def write_reference(base_map: BaseMap) -> bytes:
    """Return the reference of the arcs (`referentiel-geographique…`): several periods for some, one arc left out."""
    rows = [n for n in range(len(base_map)) if n != len(base_map) // 3]
    again = [n for n in rows if n % 9 == 4]
    order = rows + again
    old, new = (
        ("2005-01-01T02:00:00+01:00", "2019-06-01T04:00:00+02:00"),
        ("2019-06-01T04:00:00+02:00", "2030-12-31T04:00:00+01:00"),
    )
    periods = [old] * len(rows) + [new] * len(again)
    columns = {
        "IU_AC": base_map.arc[order],
        "DATE_DEBUT": [begin for begin, _ in periods],
        "DATE_FIN": [end for _, end in periods],
        "LIBELLE": [base_map.label[n] for n in order],
        "IU_ND_AVAL": base_map.downstream[order],
        "IU_ND_AMONT": base_map.upstream[order],
        "LIBELLE_ND_AMONT": [base_map.upstream_name[n] for n in order],
        "LIBELLE_ND_AVAL": [base_map.downstream_name[n] for n in order],
        "geo_point_2d": [_point(base_map, n).replace(", ", ",") for n in order],
        "geo_shape": [json.dumps({"type": "LineString", "coordinates": base_map.shape[n]}) for n in order],
        "SHAPE.LEN": [0.0] * len(order),
    }
    buffer = BytesIO()
    pl.DataFrame(columns).select(REFERENCE_HEADER).write_csv(buffer, separator=";", line_terminator="\r\n")
    return buffer.getvalue()


# What people do


@dataclass(frozen=True)
class _Character:
    """What an arc always is like, (arcs,): how full at its usual peak, how much of that in the morning, in the
    evening and at weekends, its occupancy beside others', and how many hours its queue lags behind."""

    load: Floats
    morning: Floats
    evening: Floats
    weekend: Floats
    occupancy: Floats
    lag: Floats


#: A street has a bottleneck about every so many arcs; so many arcs before it are in its queue.
_BOTTLENECKS, _QUEUE = 10, 3.0


@lru_cache(maxsize=8)
def _drawn(arcs: int, seed: int) -> tuple[Floats, ...]:
    rng = np.random.default_rng([seed, Draw.CITY, arcs])
    return tuple(rng.normal(0, 1, arcs) for _ in range(5))


def _character(base_map: BaseMap, seed: int) -> _Character:
    load, morning, evening, weekend, occupancy = _drawn(len(base_map), seed)
    of_street = np.random.default_rng([seed, Draw.CITY, 2]).uniform(0, 1, (2, int(base_map.street.max()) + 1))
    # Neighbours along a street are alike; from one to the next bottleneck the queue grows, and behind it is room.
    alike = np.convolve(load, np.ones(7) / np.sqrt(7), mode="same")
    shift, share = of_street[0][base_map.street], of_street[1][base_map.street]
    apart = base_map.along / np.maximum(1, np.round(base_map.along / _BOTTLENECKS))
    before = (shift * apart - base_map.place) % apart
    queue = 0.45 * share * np.exp(-before / _QUEUE)
    return _Character(
        load=base_map.load * np.exp(0.055 * alike + 0.02 * load) * (1.0 + queue),
        morning=np.exp(0.06 * morning) * (1 + 0.12 * base_map.inward),
        evening=np.exp(0.06 * evening) * (1 - 0.10 * base_map.inward),
        weekend=np.exp(0.12 * weekend),
        occupancy=np.exp(0.07 * occupancy),
        lag=np.where(before < 2 * _QUEUE, 0.13 * before, 0.0),
    )


def _demand(base_map: BaseMap, day: Day, rng: np.random.Generator) -> Floats:
    """(arcs, hours) how full each arc would be with nothing in its way."""
    hours = np.asarray(day.local.clock_hours, dtype=float)
    own = _character(base_map, day.seed)
    felt = hours - own.lag[:, None]
    if day.rest == 0:
        shape = (
            0.10
            + own.morning[:, None] * 0.78 * bump(felt, 8.3, 1.6)
            + own.evening[:, None] * 0.80 * bump(felt, 18.0, 2.1)
            + 0.52 * bump(hours, 13.0, 3.0)
            + 0.14 * bump(hours, 22.0, 1.6)
        )
    else:
        late = 0.16 * bump(hours, 0.5, 1.6)
        afternoon = (0.72, 0.66)[day.rest - 1] * bump(hours, (16.0, 17.8)[day.rest - 1], 3.9)
        shape = 0.11 + own.weekend[:, None] * (afternoon + late + 0.18 * bump(hours, 11.5, 2.0))
    levels = day.level * {4: 1.03, 0: 0.97}.get(day.date.weekday(), 1.0)
    levels *= 1.06 if day.strike else 1.0
    levels *= 0.985 if day.weather.rain >= 5 else 1.0
    street = np.exp(rng.normal(0, 0.035, int(base_map.street.max()) + 1))[base_map.street]
    arc = np.exp(rng.normal(0, 0.018, len(base_map)))
    hourly = np.exp(rng.normal(0, 0.02, len(hours)))
    full: Floats = own.load[:, None] * shape * levels * (street * arc)[:, None] * hourly
    full += _crowd(base_map, day, hours)
    full *= np.where(np.isin(hours, day.weather.rain_hours), 1.04, 1.0)
    return full


def _crowd(base_map: BaseMap, day: Day, hours: Floats) -> Floats:
    """Return what a match adds: those who come, and those who leave late in the evening, the fullest hours of the
    night.
    """
    if day.match is None:
        return np.zeros((len(base_map), len(hours)))
    near = np.exp(-((base_map.near(*STADIUM) / FELT) ** 2))
    coming, leaving = 0.30 * bump(hours, day.match - 1.2, 0.9), 0.85 * bump(hours, 22.8, 0.8)
    return np.outer(near, coming + leaving)


def _works(base_map: BaseMap, day: Day, sites: list[Site]) -> tuple[Floats, Floats, Flags]:
    room, demand_factor = np.ones(len(base_map)), np.ones(len(base_map))
    closed = np.zeros(len(base_map), dtype=bool)
    for site in sites:
        if not site.is_open(day.date):
            continue
        near = base_map.near(float(base_map.x[site.arc]), float(base_map.y[site.arc])) <= DISTURBS
        left, come = LEFT[site.impact]
        room[near] = np.minimum(room[near], left)
        demand_factor[near] = np.minimum(demand_factor[near], come)
        closed[site.arc] |= site.impact == "BARRAGE_TOTAL"
    return room, demand_factor, closed


def _incidents(base_map: BaseMap, day: Day, rng: np.random.Generator) -> Floats:
    """Return some incidents a day: an arc is blocked for one to four hours, and the arcs before it fill up after it."""
    added = np.zeros((len(base_map), day.local.hours))
    for _ in range(1 + int(rng.poisson(len(base_map) / 150))):
        arc, first, length = (
            int(rng.integers(0, len(base_map))),
            int(rng.integers(6, 21)),
            int(rng.integers(1, 5)),
        )
        for back in range(5):
            at = arc - back
            if at < 0 or base_map.street[at] != base_map.street[arc]:
                break
            begin = first + back // 2
            added[at, begin : begin + length] += 0.55 * 0.72**back
    return added


def _break_sensors(base_map: BaseMap, day: Day, flow: Floats, occupancy: Floats, exists: Flags) -> None:
    """Let some sensors fail for days: no rows, no values, the same value, zeros, or values that cannot be."""
    block, within = divmod(day.ordinal, BLOCK)
    rng = np.random.default_rng([day.seed, Draw.FAULTS, block, len(base_map)])
    failures = max(5, len(base_map) // 60)
    for n in range(failures):
        arc, first, length = (
            int(rng.integers(0, len(base_map))),
            int(rng.integers(0, 20)),
            int(rng.integers(2, 14)),
        )
        value = float(rng.integers(60, 700))
        if not first <= within < first + length:
            continue
        match n % 5:
            case 0:
                exists[arc] = False
            case 1:
                flow[arc], occupancy[arc] = np.nan, np.nan
            case 2:
                flow[arc], occupancy[arc] = value, 4.27
            case 3:
                flow[arc], occupancy[arc] = 0.0, 0.0
            case _:
                flow[arc, 9:15], occupancy[arc, 9:15] = 65535.0, 127.0
    if within == 9:  # the whole centre is silent for an hour of the night
        exists[:, 3] = False


# How the source writes it


def _fixed_columns(base_map: BaseMap, seed: int) -> pl.DataFrame:
    """Return what is the same in every row of an arc."""
    arcs = len(base_map)
    invalid = np.random.default_rng([seed, Draw.CITY, arcs, 3]).random(arcs) < _INVALID
    return pl.DataFrame(
        {
            HEADER[0]: base_map.arc,
            HEADER[1]: base_map.label,
            HEADER[6]: base_map.upstream,
            HEADER[7]: base_map.upstream_name,
            HEADER[8]: base_map.downstream,
            HEADER[9]: base_map.downstream_name,
            HEADER[10]: np.where(invalid, "Invalide", "Ouvert"),
            HEADER[11]: ["2005-01-01"] * arcs,
            HEADER[12]: np.where(invalid, "2019-06-01", "2030-12-31"),
            HEADER[13]: [_point(base_map, n) for n in range(arcs)],
            HEADER[14]: [
                json.dumps({"coordinates": shape, "type": "LineString"}) for shape in base_map.shape
            ],
        }
    )


def _point(base_map: BaseMap, n: int) -> str:
    (lon_a, lat_a), (lon_b, lat_b) = base_map.shape[n][1], base_map.shape[n][2]
    return f"{round((lat_a + lat_b) / 2, 10)}, {round((lon_a + lon_b) / 2, 10)}"


def _rows(base_map: BaseMap, day: Day, counted: Counted, fixed: pl.DataFrame) -> pl.DataFrame:
    arcs, hours = counted.flow.shape
    stamps = np.array(
        [STAMP.stamp_of(start).astimezone(day.local.zone).isoformat() for start in day.local.starts]
    )
    occupancy = counted.occupancy.ravel()
    state = np.where(
        np.isnan(occupancy), 0, 1 + np.searchsorted(_BOUNDARIES, np.nan_to_num(occupancy), side="right")
    )
    of_arc = np.repeat(np.arange(arcs), hours)
    rows = fixed[of_arc].with_columns(
        pl.Series(HEADER[2], np.tile(stamps, arcs)),
        pl.Series(HEADER[3], counted.flow.ravel(), nan_to_null=True),
        pl.Series(HEADER[4], occupancy, nan_to_null=True),
        pl.Series(HEADER[5], np.asarray(STATES)[state]),
        pl.when(pl.Series(counted.closed[of_arc]))
        .then(pl.lit("Barré"))
        .otherwise(HEADER[10])
        .alias(HEADER[10]),
    )
    return rows.filter(pl.Series(counted.exists.ravel())).select(HEADER)


def _spoiled(day: Day, data: bytes) -> bytes:
    """Return a few rows of the day once more, as a source sends them now and then: twice, or unreadable."""
    lines = data.split(b"\n", 8)[:7]
    if len(lines) < 7:
        return b""
    added = [lines[1], lines[4]] if day.ordinal % 5 == 1 else []
    if day.ordinal % 7 == 3:
        added.append(b";" + lines[2].partition(b";")[2])
    if day.ordinal % 7 == 5:
        added.append(lines[3].replace(day.date.isoformat().encode(), f"{day.date.year}-13-45".encode(), 1))
    return b"".join(line + b"\n" for line in added)
