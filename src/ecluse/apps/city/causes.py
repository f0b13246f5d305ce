"""Find what in the data may be why an arc was not as usual: evidence with its figures, never a verdict.

Near the arc, in this order:

- `closed`: the source says that the arc is closed; of how many of these hours.
- `sensor`: values that cannot be, or a gap right before or after these hours.
- `downstream`, `upstream`: arcs that this one leads into, or that lead into it, congested in the same hours.
- `works`: sites within `works_radius` that began in the weeks the usual rests on. An older one is part of the usual.

In the whole city:

- `public_holiday`: the usual is that of Sundays. `school_holiday`: most days of the usual are none; `school_back`: the
  other way round.
- `weather`: each category of the day, with its figure, and what such days did to the roads so far.
- `transit`: lines blocked as a whole in these hours. The feed says where no line is, so that near or far is not known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from functools import partial
from typing import Any, Final

import numpy as np
import polars as pl

from ecluse.apps.city.adjacent import Adjacency, adjacency_of, arcs_of
from ecluse.apps.city.departures import Departure
from ecluse.apps.city.distance import pairs_within
from ecluse.apps.city.holidays import is_public_holiday
from ecluse.apps.city.inputs import Inputs, Metrics
from ecluse.apps.city.numbers import rounded
from ecluse.apps.city.school import ZONE, is_school_holiday
from ecluse.apps.city.tables import ARC_STATES
from ecluse.apps.city.typical import WEEKS, like_days

Cause = dict[str, Any]
#: How many sites, neighbours and lines one alert names; `total` has all.
NAMED: Final = 3
#: The figure of the weather that a category rests on, and its unit.
_MEASURE: Final = {
    "rain": ("precipitation", "mm"),
    "wind": ("wind", "km/h"),
    "cold": ("temperature", "°C"),
    "hot": ("temperature", "°C"),
}


class Evidence:
    """What the data of a day has of causes, made ready once for all its alerts."""

    def __init__(self, inputs: Inputs, metrics: Mapping[str, Metrics], arcs: set[int]) -> None:
        self._inputs = inputs
        self._neighbours: Adjacency = adjacency_of(arcs_of(inputs.arcs), inputs.thresholds.queue_turn)
        self._near = works_near(inputs, arcs)
        self._sites = {row["site"]: row for row in inputs.works.iter_rows(named=True)}
        self._places = {arc: n for n, arc in enumerate(inputs.network.ids.tolist())}
        self._of_day = [*_holidays(inputs), *_weather(metrics.get("weather"))]
        self._blocked = _blocked_lines(inputs)

    def works(self, arc: int) -> list[str]:
        """Return the sites active on the day near an arc, nearest first."""
        return [site for _, site in self._near.get(arc, [])]

    def causes(self, departure: Departure) -> list[Cause]:
        """Return what may be why, what lies near first."""
        arc = int(self._inputs.network.ids[departure.place])
        near = [
            *self._closed(departure),
            *self._sensor(departure),
            *self._queues(departure, arc),
            *self._begun(arc),
        ]
        return [*near, *self._of_day, *self._transit(departure)]

    def _closed(self, departure: Departure) -> Iterator[Cause]:
        states = self._inputs.road_hours.arc_state[departure.place, departure.begin : departure.end]
        if hours := int((states == ARC_STATES.index("Barré")).sum()):
            yield {"kind": "closed", "near": True, "hours": hours, "of": departure.hours}

    def _sensor(self, departure: Departure) -> Iterator[Cause]:
        day = self._inputs.road_hours
        impossible = int(day.impossible[departure.place].sum())
        beside = [at for at in (departure.begin - 1, departure.end) if 0 <= at < day.hours]
        gaps = sum(not day.observed[departure.place, at] for at in beside)
        if impossible or gaps:
            missing = day.hours - int(day.observed[departure.place].sum())
            yield {"kind": "sensor", "near": True, "impossible": impossible, "gaps": gaps, "missing": missing}

    def _queues(self, departure: Departure, arc: int) -> Iterator[Cause]:
        if departure.kind == "flow" and departure.side == "above":
            return
        sides = (("downstream", self._neighbours.following), ("upstream", self._neighbours.preceding))
        for kind, neighbours in sides:
            slow = [
                cause
                for other in neighbours.get(arc, ())
                if (cause := self._slow(departure, other)) is not None
            ]
            if slow:
                slow.sort(key=lambda each: (-each["hours"], -each["occupancy"], each["arc"]))
                yield {
                    "kind": kind,
                    "near": True,
                    "arcs": slow[:NAMED],
                    "total": len(slow),
                    "of": departure.hours,
                }

    def _slow(self, departure: Departure, neighbour: int) -> Cause | None:
        """Return a neighbour in how many of the hours it was congested, and its highest occupancy then."""
        place = self._places[neighbour]
        occupancy = self._inputs.road_hours.occupancy[place, departure.begin : departure.end]
        slow = occupancy >= self._inputs.thresholds.congested
        if not slow.any():
            return None
        label = self._inputs.network.labels[place]
        return {
            "arc": neighbour,
            "label": label,
            "hours": int(slow.sum()),
            "occupancy": rounded(float(np.nanmax(occupancy))),
        }

    def _begun(self, arc: int) -> Iterator[Cause]:
        day = self._inputs.day.date
        since = day - timedelta(weeks=WEEKS)
        for metres, site in self._near.get(arc, [])[: 4 * NAMED]:
            row = self._sites[site]
            if row["begin"] is not None and row["begin"] > since:
                yield {
                    "kind": "works",
                    "near": True,
                    "site": site,
                    "streets": _short(row["streets"] or row["title"]),
                    "metres": round(metres),
                    "begin": row["begin"].isoformat(),
                    "days": (day - row["begin"]).days,
                    "impact": row["impact"],
                }

    def _transit(self, departure: Departure) -> Iterator[Cause]:
        starts, hour = self._inputs.day.starts, timedelta(hours=1)
        begin, end = starts[departure.begin], starts[departure.end - 1] + hour
        lines = sorted(
            {name for name, since, until in self._blocked if since < end and (until is None or until > begin)}
        )
        if lines:
            yield {"kind": "transit", "near": False, "lines": lines[:NAMED], "total": len(lines)}


def works_near(inputs: Inputs, arcs: set[int]) -> dict[int, list[tuple[float, str]]]:
    """Arc → the sites active on the day within `works_radius` of it: metres and id, nearest first."""
    geometry = dict(zip(inputs.arcs["arc"].to_list(), inputs.arcs["geometry"].to_list(), strict=True))
    arc_ids, sites = sorted(arcs), inputs.works["site"].to_list()
    works_of: dict[int, list[tuple[float, str]]] = {}
    near = partial(pairs_within, inputs.thresholds.works_radius)
    for n, site, metres in near([geometry.get(arc) for arc in arc_ids], inputs.works["geometry"].to_list()):
        works_of.setdefault(arc_ids[n], []).append((metres, sites[site]))
    return {arc: sorted(some) for arc, some in works_of.items()}


def _holidays(inputs: Inputs) -> Iterator[Cause]:
    day = inputs.day.date
    if is_public_holiday(day):
        yield {"kind": "public_holiday", "near": False}
    before = [is_holiday for is_holiday in map(is_school_holiday, like_days(day)) if is_holiday is not None]
    today = is_school_holiday(day)
    if today is None or not before or 2 * sum(before) == len(before):
        return
    usually = 2 * sum(before) > len(before)
    if usually != today:
        kind = "school_holiday" if today else "school_back"
        others = len(before) - sum(before) if today else sum(before)
        yield {"kind": kind, "near": False, "zone": ZONE, "days": others, "of": len(before)}


def _weather(weather: Metrics | None) -> Iterator[Cause]:
    body: Mapping[str, Any] = {} if weather is None else weather.body
    for category in body.get("categories") or ():
        name, unit = _MEASURE[category]
        effect = body["effect"]["roads"].get(category) or {"deviation": None, "days": 0}
        yield {
            "kind": "weather",
            "near": False,
            "category": category,
            "value": body[name],
            "unit": unit,
            "effect": effect["deviation"],
            "days": effect["days"],
        }


def _blocked_lines(inputs: Inputs) -> list[tuple[str, Any, Any]]:
    """(name, begin, end) of every period in which a line is blocked as a whole."""
    rows = inputs.disruptions.filter(
        (pl.col("severity") == "blocked")
        & pl.col("scope").is_in(["line", "network"])
        & pl.col("line").is_not_null()
    )
    name = pl.concat_str(
        [pl.col("mode").fill_null(""), pl.coalesce("line_name", "line")], separator=" "
    ).str.strip_chars()
    return rows.select(name.alias("name"), "begin", "end").rows()


def _short(text: str | None, most: int = 60) -> str | None:
    return text if text is None or len(text) <= most else text[: most - 1].rstrip() + "…"
