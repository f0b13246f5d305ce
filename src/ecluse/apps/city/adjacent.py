"""Know which arc of a city's roads leads into which, so that a queue can be followed upstream.

One arc leads into another where its downstream node is the other's upstream node, by their ids; not back to where it
came from; and not around a corner of `queue_turn` degrees or more, where the directions are known.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import polars as pl

Point = Sequence[float]


@dataclass(frozen=True)
class Arc:
    """An arc as its neighbours are found by. `coordinates`: longitude and latitude, in the direction of travel."""

    id: int
    upstream: int | None
    downstream: int | None
    coordinates: Sequence[Point] = ()


@dataclass(frozen=True)
class Adjacency:
    """Arc → the arcs it leads into (`following`), and those that lead into it (`preceding`), by id."""

    following: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    preceding: Mapping[int, tuple[int, ...]] = field(default_factory=dict)


def arcs_of(table: pl.DataFrame) -> list[Arc]:
    """Return the arcs of the curated reference."""
    columns = table.select("arc", "upstream", "downstream", "geometry")
    return [Arc(arc, up, down, _line(geometry)) for arc, up, down, geometry in columns.iter_rows()]


def adjacency_of(arcs: Iterable[Arc], most_turn: float) -> Adjacency:
    """Return what leads into what. `most_turn`: degrees."""
    arc_list = list(arcs)
    starting: dict[int, list[Arc]] = defaultdict(list)
    for arc in arc_list:
        if arc.upstream is not None:
            starting[arc.upstream].append(arc)
    following: dict[int, tuple[int, ...]] = {}
    preceding: dict[int, list[int]] = defaultdict(list)
    for arc in arc_list:
        onward = [] if arc.downstream is None else starting[arc.downstream]
        into = sorted(other.id for other in onward if _goes_on(arc, other, most_turn))
        if into:
            following[arc.id] = tuple(into)
        for other in into:
            preceding[other].append(arc.id)
    return Adjacency(following, {arc: tuple(sorted(some)) for arc, some in preceding.items()})


def _goes_on(arc: Arc, other: Arc, most_turn: float) -> bool:
    if other.id == arc.id or (other.downstream is not None and other.downstream == arc.upstream):
        return False
    if len(arc.coordinates) < 2 or len(other.coordinates) < 2:
        return True
    return _turn(_bearing(*arc.coordinates[-2:]), _bearing(*other.coordinates[:2])) < most_turn


def _bearing(begin: Point, end: Point) -> float:
    east = (end[0] - begin[0]) * math.cos(math.radians((begin[1] + end[1]) / 2))
    return math.degrees(math.atan2(east, end[1] - begin[1]))


def _turn(bearing: float, other_bearing: float) -> float:
    return abs((other_bearing - bearing + 180) % 360 - 180)


@lru_cache(maxsize=8192)  # it is asked of each arc several times a day
def _line(geometry: str | None) -> Sequence[Point]:
    """Return the points of a LineString; of several lines, those from the first one's begin to the last one's end."""
    if geometry is None:
        return ()
    shape: dict[str, Any] = json.loads(geometry)
    if shape.get("type") == "LineString":
        line: Sequence[Point] = shape["coordinates"]
        return line
    if shape.get("type") == "MultiLineString":
        return [point for part in shape["coordinates"] for point in part]
    return ()
