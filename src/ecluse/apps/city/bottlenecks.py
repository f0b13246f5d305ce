"""Rank the bottlenecks of a city over a period: where there is a queue again and again, how long, and what it costs.

What is a queue: an arc at an hour with an occupancy of at least `congested`. Recurrence is asked of days of one kind
(working days, Saturdays, Sundays with public holidays), as their hours are not alike. An arc queues *again and again* at
an hour of the clock where it did on at least `bottleneck_share` of the days of that kind on which it was measured at that
hour, of at least `bottleneck_days`.

A bottleneck joins such arcs where one leads into the other (`ecluse.apps.city.adjacent`: node ids, direction) and both
queue again and again at a common hour. Its head is its last arc in the direction of travel: where it begins to flow again.

- recurrence: of the days on which the head was measured at its hours, the share on which it queued at one of them
- duration: hours a day in which one of its arcs queues, over the days on which one does
- length: metres of its arcs that queue at once, at the longest hour of a day, over the same days
- lost time: vehicle-hours lost by its arcs in the hours they queue; a day: over all days of that kind
- impact: days with a queue x duration x length in km

The order is by lost time. The method is that of the bottleneck rankings of RITIS and INRIX, where congested segments
that lead into each other are one bottleneck with a head, and its impact is occurrences x average duration x average
maximum length (Lund, Pack, Plaisant and Franz 2017, http://businessdocbox.com/Logistics/94007768-Algorithms-for-identifying-and-ranking-bottlenecks-using-probe-data.html).
They call a segment congested below a share of its reference speed; hourly sensors give occupancy, whose state Saturé takes
that place here.
"""  # noqa: E501 (an address)

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import islice
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ecluse.apps.city.adjacent import Adjacency, Arc, adjacency_of
from ecluse.apps.city.days import MARK
from ecluse.apps.city.numbers import degrees, ratio, rounded, rounded_list
from ecluse.apps.city.thresholds import Thresholds
from ecluse.apps.city.typical import WEEKS, counts_as_sunday
from ecluse.documents import Body, Documents
from ecluse.errors import InvalidInput
from ecluse.sentences import _

Days = Literal["working", "saturday", "sunday"]
DAYS: Final[tuple[Days, ...]] = get_args(Days)
HOURS: Final = 24
#: How many bottlenecks a ranking lists, and how many arcs one of them names; `total` and `arcs_total` have all.
LISTED: Final = 50
ARCS_LISTED: Final = 40
#: Days that one ranking may span.
LONGEST: Final = 184
#: The kind of the documents that hold the hours of each day.
KIND: Final = "metrics/bottlenecks"


@dataclass(frozen=True)
class Hours:
    """The hours of arcs over days, by hour of the clock: (arcs, days, 24). `lost`: vehicle-hours, NaN if not known."""

    arcs: tuple[int, ...]
    dates: tuple[date, ...]
    measured: NDArray[np.bool_]
    queue: NDArray[np.bool_]
    lost: NDArray[np.float32]


@dataclass(frozen=True)
class Place:
    """What a ranking says of an arc. `length`: metres."""

    arc: Arc
    label: str | None = None
    zone: int | None = None
    length: float | None = None
    latitude: float | None = None
    longitude: float | None = None


@dataclass(frozen=True)
class Ranking:
    """The bottlenecks on the days of one kind within a period, the costliest first. `days`: those it rests on."""

    first: date
    last: date
    kind: Days
    days: int
    items: list[Body]
    total: int


def kind_of(day: date) -> Days:
    """Of which kind a day is; a public holiday counts as a Sunday."""
    if counts_as_sunday(day):
        return "sunday"
    return "saturday" if day.weekday() == 5 else "working"


def rank_bottlenecks(
    hours: Hours, places: Iterable[Place], kind: Days, thresholds: Thresholds
) -> tuple[list[Body], int, int]:
    """Return the bottlenecks on days of a kind, how many there are in all, and the days that the ranking rests on."""
    at = [n for n, day in enumerate(hours.dates) if kind_of(day) == kind]
    arc_of = {place.arc.id: place for place in places}
    if not at or not hours.arcs:
        return [], 0, len(at)
    measured, queue = hours.measured[:, at], hours.queue[:, at]
    lost_hours = np.where(queue, np.nan_to_num(hours.lost[:, at]), 0)
    days, queued = measured.sum(axis=1), queue.sum(axis=1)
    share = queued / np.maximum(days, 1)
    again = (days >= thresholds.bottleneck_days) & (share >= thresholds.bottleneck_share)
    rows = {arc: n for n, arc in enumerate(hours.arcs) if again[n].any()}
    adjacency = adjacency_of([arc_of[arc].arc for arc in rows if arc in arc_of], thresholds.queue_turn)
    period = _Period(rows, arc_of, adjacency, measured, queue, lost_hours, again, share)
    ranked = [_bottleneck(period, members) for members in _joined(period)]
    ranked.sort(
        key=lambda bottleneck: (-bottleneck["lost_time"], -(bottleneck["impact"] or 0), bottleneck["arc"])
    )
    return (
        [
            {"rank": n, **bottleneck, "by_hour": _shares_by_hour(period, bottleneck["arc"])}
            for n, bottleneck in enumerate(ranked[:LISTED], 1)
        ],
        len(ranked),
        len(at),
    )


@dataclass(frozen=True)
class _Period:
    rows: Mapping[int, int]
    places: Mapping[int, Place]
    adjacency: Adjacency
    measured: NDArray[np.bool_]
    queue: NDArray[np.bool_]
    lost: NDArray[Any]
    again: NDArray[np.bool_]
    share: NDArray[Any]

    def following(self, arc: int) -> list[int]:
        """Return the arcs it leads into that queue again and again at an hour when it does."""
        onward = self.adjacency.following.get(arc, ())
        return [
            next_arc
            for next_arc in onward
            if (self.again[self.rows[arc]] & self.again[self.rows[next_arc]]).any()
        ]


def _joined(period: _Period) -> list[list[int]]:
    """Return the arcs of each bottleneck, in the order of their ids."""
    group = {arc: arc for arc in period.rows}

    def root(arc: int) -> int:
        while group[arc] != arc:
            group[arc] = group[group[arc]]
            arc = group[arc]
        return arc

    for arc in period.rows:
        for other in period.following(arc):
            group[root(arc)] = root(other)
    members: dict[int, list[int]] = {}
    for arc in sorted(period.rows):
        members.setdefault(root(arc), []).append(arc)
    return list(members.values())


def _bottleneck(period: _Period, members: Sequence[int]) -> Body:
    ends = [arc for arc in members if not period.following(arc)] or members
    head = max(ends, key=lambda arc: (float(period.lost[period.rows[arc]].sum()), -arc))
    rows = [period.rows[arc] for arc in members]
    at, place = period.rows[head], period.places.get(head)
    again = period.again[rows].any(axis=0)
    queue = period.queue[rows]
    queues = queue.any(axis=(0, 2))
    hours = queue.any(axis=0).sum(axis=1)[queues]
    metres = np.array([_length(period, arc) for arc in members])
    lengths = (queue * metres[:, None, None]).sum(axis=0).max(axis=1)[queues]
    of_head = period.again[at]
    days_measured = int(period.measured[at][:, of_head].any(axis=1).sum())
    days_queued = int(period.queue[at][:, of_head].any(axis=1).sum())
    lost_total, days = float(period.lost[rows].sum()), period.queue.shape[1]
    duration, length = float(hours.mean()), float(lengths.mean())
    return {
        "arc": head,
        "label": place.label if place else None,
        "zone": place.zone if place else None,
        "latitude": degrees(place.latitude) if place else None,
        "longitude": degrees(place.longitude) if place else None,
        "arcs": _upstream_first(period, members, head)[:ARCS_LISTED],
        "arcs_total": len(members),
        "hours": np.flatnonzero(again).tolist(),
        "recurrence": ratio(days_queued, days_measured),
        "days_queued": days_queued,
        "days_measured": days_measured,
        "duration": rounded(duration),
        "length": rounded(length),
        "longest": rounded(float(lengths.max())),
        "lost_time": rounded(lost_total) or 0.0,
        "lost_time_a_day": rounded(lost_total / days),
        "impact": rounded(int(queues.sum()) * duration * length / 1000),
    }


def _shares_by_hour(period: _Period, head: int) -> Any:
    """Return, by hour of the clock, the share of the measured days on which an arc queued; None where there is none."""
    at = period.rows[head]
    return rounded_list(np.where(period.measured[at].any(axis=0), period.share[at], np.nan))


def _length(period: _Period, arc: int) -> float:
    place = period.places.get(arc)
    length = None if place is None else place.length
    return 0.0 if length is None or not np.isfinite(length) else float(length)


def _upstream_first(period: _Period, members: Sequence[int], head: int) -> list[int]:
    """Return the arcs by how far behind the head they are, the farthest first; what does not lead to it comes before
    all.
    """
    behind, edge, step = {head: 0}, [head], 0
    while edge:
        step += 1
        edge = [
            arc
            for arc in members
            if arc not in behind and any(next_arc in edge for next_arc in period.following(arc))
        ]
        behind |= dict.fromkeys(edge, step)
    return sorted(members, key=lambda arc: (-behind.get(arc, len(members)), arc))


# Kept by day, and read over a period


def day_chunks(hours: Hours, at: int, size: int = 400) -> dict[str, Body]:
    """Return the hours of one day of `hours` as documents: a bit per hour, the first is midnight; lost time of the
    queues.
    """
    chunks = {}
    for n, start in enumerate(range(0, len(hours.arcs), size)):
        part = slice(start, start + size)
        queue = hours.queue[part, at]
        lost_hours = iter(rounded_list(hours.lost[part, at][queue]))
        chunks[f"{n:03d}"] = {
            "arc": list(hours.arcs[part]),
            "measured": _bits(hours.measured[part, at]),
            "queue": _bits(queue),
            "lost": [list(islice(lost_hours, count)) for count in queue.sum(axis=1).tolist()],
        }
    return chunks


def read_hours(documents: Documents, first: date, last: date) -> Hours:
    """Return the hours of every day that is known from `first` to `last`, both included."""
    keys = documents.keys(MARK, first.isoformat(), f"{last}~")  # "~" is behind every date
    dates = tuple(date.fromisoformat(key) for key in keys)
    chunks = [[document.body for document in documents.all(f"{KIND}/{day}")] for day in dates]
    arcs = tuple(sorted({arc for of_day in chunks for chunk in of_day for arc in chunk["arc"]}))
    rows = {arc: n for n, arc in enumerate(arcs)}
    shape = (len(arcs), len(dates), HOURS)
    hours = Hours(
        arcs, dates, np.zeros(shape, bool), np.zeros(shape, bool), np.full(shape, np.nan, np.float32)
    )
    for at, of_day in enumerate(chunks):
        for chunk in of_day:
            places = [rows[arc] for arc in chunk["arc"]]
            hours.measured[places, at] = _flags(chunk["measured"])
            hours.queue[places, at] = _flags(chunk["queue"])
            for row, lost_row in zip(places, chunk["lost"], strict=True):
                hours.lost[row, at, hours.queue[row, at]] = [
                    np.nan if value is None else value for value in lost_row
                ]
    return hours


def usual_begin(last: date) -> date:
    """Return the first day of the period that is ranked where none is asked for: `WEEKS` weeks up to its last day."""
    # A day of the first weeks that there are has fewer before it.
    return date.fromordinal(max(1, last.toordinal() - 7 * WEEKS + 1))


def rank_period(
    documents: Documents, arcs: Iterable[Body], first: date, last: date, kind: Days, thresholds: Thresholds
) -> Ranking:
    """Return the ranking of a period from the days' documents. `arcs`: the reference, `reference/arcs`.

    Raises:
        InvalidInput: the period is none, or too long.
    """
    if last < first:
        raise InvalidInput(
            _(
                "The range ends on %(last)s, before it begins on %(first)s. Exchange them.",
                last=last,
                first=first,
            )
        )
    if (days := (last - first).days + 1) > LONGEST:
        raise InvalidInput(
            _("That range has %(days)s days; ask for %(most)s at most.", days=days, most=LONGEST)
        )
    hours = read_hours(documents, first, last)
    items, total, rests_on = rank_bottlenecks(hours, map(place_of, arcs), kind, thresholds)
    return Ranking(first, last, kind, rests_on, items, total)


def place_of(body: Body) -> Place:
    """Return an arc of `reference/arcs`."""
    nodes = (body.get("upstream_node"), body.get("downstream_node"))
    names = ("label", "zone", "length", "latitude", "longitude")
    arc = Arc(int(body["arc"]), *nodes, body.get("coordinates") or ())
    return Place(arc, **{name: body.get(name) for name in names})


def _bits(flags: NDArray[np.bool_]) -> list[str]:
    weights = 1 << np.arange(HOURS, dtype=np.int64)
    return [f"{number:06x}" for number in (flags * weights).sum(axis=1).tolist()]


def _flags(texts: Sequence[str]) -> NDArray[np.bool_]:
    numbers = np.array([int(text, 16) for text in texts], dtype=np.int64)
    return (numbers[:, None] >> np.arange(HOURS) & 1).astype(bool)
