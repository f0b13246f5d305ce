"""Read what is known of a city's days from its documents, for the pages and the API.

Nothing here computes: a day's metrics are as its run wrote them. A kind that a day lacks is None.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from ecluse.apps.city.calendar import place_of
from ecluse.apps.city.days import MARK, find_day, no_such_day
from ecluse.apps.city.provenance import NAME, is_invented_day
from ecluse.apps.city.settings import CitySettings
from ecluse.apps.city.streets import street_name, stretch_of
from ecluse.documents import Body, Documents
from ecluse.errors import InvalidInput, NotFound
from ecluse.runtime import Runtime
from ecluse.sentences import _

if TYPE_CHECKING:
    from ecluse.apps.city.bottlenecks import Days, Ranking

Date = date
#: A letter for each state of traffic in `metrics/map`, from what is not known to the worst; - has no row at all.
LETTERS: Final = {"-": None, "i": "Inconnu", "f": "Fluide", "p": "Pré-saturé", "s": "Saturé", "b": "Bloqué"}
WORST_FIRST: Final = "bspfi-"
#: Days that one answer of a range may span.
LONGEST_RANGE: Final = 366
#: The document that says from what the reference of the arcs was made.
REFERENCE: Final = ("reference", "arcs")
_STRETCHES: dict[str, dict[int, str]] = {}
_ZONES: dict[str, dict[int | str, str]] = {}


@dataclass(frozen=True)
class Day:
    """One day as its run wrote it: a body for each kind, or None."""

    date: date
    mark: Body
    metrics: Mapping[str, Body | None]
    previous: Date | None = None
    next: Date | None = None
    #: Whether it was computed from invented data.
    invented: bool = False

    @property
    def labels(self) -> list[str]:
        """Return what each of its hours is called; 23, 24 or 25 of them."""
        for body in self.metrics.values():
            if body and body.get("hours"):
                return list(body["hours"])
        return [f"{hour:02d}:00" for hour in range(24)]

    def hour_of(self, stamp: str | None) -> str | None:
        """Return what the hour that began then is called; None where that is not known."""
        place = place_of(self.labels, stamp)
        return None if place is None else self.labels[place]

    def __getitem__(self, kind: str) -> Body | None:
        return self.metrics[kind]


@dataclass(frozen=True)
class MapOfDay:
    """The states of a day's arcs by hour, as `metrics/map` holds them."""

    arcs: list[int] = field(default_factory=list)
    states: list[str] = field(default_factory=list)
    flows: list[list[int | None]] = field(default_factory=list)
    lost: list[float | None] = field(default_factory=list)

    def worst(self, hour: int, count: int) -> list[int]:
        """Places in the lists of the worst arcs of an hour: by state, then by the time lost that day."""
        candidates = [
            place for place, state in enumerate(self.states) if state[hour : hour + 1] in ("b", "s", "p")
        ]
        return sorted(
            candidates,
            key=lambda place: (WORST_FIRST.index(self.states[place][hour]), -(self.lost[place] or 0)),
        )[:count]


def date_of(text: str) -> date:
    """Return a date as addresses have it.

    Raises:
        InvalidInput: it is none.
    """
    try:
        parsed = date.fromisoformat(text)
    except ValueError:
        raise InvalidInput(
            _("%(value)s is no date. Write it as 2025-10-14.", value=repr(text[:40]))
        ) from None
    if parsed.isoformat() != text:
        raise InvalidInput(_("%(value)s is no date. Write it as 2025-10-14.", value=repr(text[:40])))
    return parsed


def read_day(documents: Documents, day: date, kinds: Sequence[str] | None = None) -> Day:
    """Return a day with its neighbours, and its metrics of these kinds, or of all that it has.

    Raises:
        NoSuchDay: nothing was computed for it; carries the nearest days that are known.
    """
    key = day.isoformat()
    if kinds is None:
        kinds = find_day(documents, day)["kinds"]
    bodies = documents.get_many([(MARK, key), *((f"metrics/{kind}", key) for kind in kinds)])
    if (MARK, key) not in bodies:
        raise no_such_day(documents, day)
    before, behind = _neighbours(documents, day)
    mark = bodies[MARK, key]
    metrics = {kind: bodies.get((f"metrics/{kind}", key)) for kind in kinds}
    return Day(day, mark, metrics, before, behind, is_invented_day(documents, mark))


def naming(documents: Documents, usual: str, day: Day | None = None) -> dict[str, Any]:
    """Return what a page says of its city: `city`, its name, and `invented`; of a day, or of the latest one. `usual`:
    the name in the settings, for days whose documents bear none.
    """
    if day is not None:
        return {"city": _name(day.mark, day.invented, usual), "invented": day.invented}
    latest = documents.latest(MARK)
    invented = latest is not None and is_invented_day(documents, latest.body)
    return {"city": _name(latest.body if latest else {}, invented, usual), "invented": invented}


def bottlenecks(runtime: Runtime, first: str | None, last: str | None, kind: Days) -> Ranking:
    """Return the bottlenecks of a period as addresses have it; without one, of the weeks up to the latest day.

    Raises:
        InvalidInput: the period is none, or too long.
        NotFound: no day was computed yet.
    """
    from ecluse.apps.city.bottlenecks import rank_period, usual_begin
    from ecluse.apps.city.thresholds import Thresholds

    documents = runtime.documents
    latest = documents.latest(MARK)
    if latest is None:
        raise NotFound("No day has been computed yet, so no bottleneck is known. See: ecluse city run")
    stop = date_of(last) if last else date_of(latest.key)
    start = date_of(first) if first else usual_begin(stop)
    thresholds = Thresholds.changed(runtime.settings.of(CitySettings).thresholds)
    return rank_period(documents, all_arcs(documents), start, stop, kind, thresholds)


def _name(mark: Body, invented: bool, usual: str) -> str:
    return str(mark.get("city_name") or (NAME if invented else usual))


def read_range(documents: Documents, kind: str, first: date, last: date) -> Iterator[tuple[date, Body]]:
    """Yield the metrics of a kind for each known day from `first` to `last`, both included."""
    for document in documents.all(f"metrics/{kind}", first.isoformat(), day_after(last)):
        yield date.fromisoformat(document.key), document.body


def read_map(documents: Documents, day: date) -> MapOfDay:
    """Return every arc's states of a day; empty where no roads were measured."""
    day_map = MapOfDay()
    for document in documents.all(f"metrics/map/{day}"):
        body = document.body
        day_map.arcs.extend(body["arc"])
        day_map.states.extend(body["state"])
        day_map.flows.extend(body["flow"])
        day_map.lost.extend(body["lost_time"])
    return day_map


def map_answer(documents: Documents, day: date) -> dict[str, Any]:
    """Return what the map in a browser reads of a day.

    Raises:
        NoSuchDay: nothing was computed for it.
    """
    day_map = read_map(documents, day)
    invented = is_invented_day(documents, find_day(documents, day))
    return {"date": day.isoformat(), "invented": invented, "arc": day_map.arcs, "state": day_map.states}


def arcs_geojson(documents: Documents, usual: str) -> dict[str, Any]:
    """Return every known arc as a line, its id as the feature's own; `usual` is the city's name in the settings."""
    names = naming(documents, usual)
    features = [
        {
            "type": "Feature",
            "id": arc["arc"],
            "properties": {
                "label": street_name(arc["label"]),
                "stretch": stretch_of(arc),
                "zone": arc.get("zone"),
                **_if_invented(names),
            },
            "geometry": {
                "type": "LineString",
                "coordinates": [_short(point) for point in arc["coordinates"]],
            },
        }
        for arc in all_arcs(documents)
        if arc.get("coordinates")
    ]
    return {"type": "FeatureCollection", **names, "features": features}


def _if_invented(names: Mapping[str, Any]) -> dict[str, bool]:
    """Return what each feature says, as programs for maps leave out what a collection says of itself."""
    return {"invented": True} if names["invented"] else {}


def zones_geojson(documents: Documents, usual: str) -> dict[str, Any]:
    """Return the outlines of the zones; `usual` as for the arcs."""
    names = naming(documents, usual)
    features = [
        {
            "type": "Feature",
            "id": document.body["zone"],
            "properties": {"name": document.body["name"], **_if_invented(names)},
            "geometry": document.body["geometry"],
        }
        for document in documents.all("reference/zones")
    ]
    return {"type": "FeatureCollection", **names, "features": features}


def all_arcs(documents: Documents) -> list[Body]:
    """Return the reference of every arc, by id."""
    return [arc for document in documents.all("reference/arcs") for arc in document.body["arcs"]]


def arc_of(documents: Documents, arc: int) -> Body:
    """Return the reference of one arc.

    Raises:
        NotFound: no arc has this id.
    """
    body = next((body for body in all_arcs(documents) if body["arc"] == arc), None)
    if body is not None:
        return body
    raise NotFound(f"No arc {arc}. The arcs that are known: /city/arcs.geojson")


def arcs_on(documents: Documents, day: date, arcs: Iterable[int]) -> dict[int, Body]:
    """Return the metrics of these arcs on a day, where there are any."""
    kind = f"metrics/arcs/{day}"
    keys = [(kind, str(arc)) for arc in arcs]
    return {int(key): body for (_, key), body in documents.get_many(keys).items()} if keys else {}


def arc_days(documents: Documents, arc: int, days: Iterable[date]) -> list[tuple[date, Body]]:
    """Return one arc's metrics on each of these days that has them, oldest first."""
    day_of_key = {(f"metrics/arcs/{day}", str(arc)): day for day in days}
    bodies = documents.get_many(list(day_of_key)) if day_of_key else {}
    return sorted(((day_of_key[key], body) for key, body in bodies.items()), key=lambda pair: pair[0])


def chains_of(arcs: Sequence[Body]) -> list[list[Body]]:
    """Return the arcs of a street in the order in which they are driven, one list for each way along it.

    Arcs follow each other where one's downstream node is another's upstream node. The longest come first.
    """
    starting: dict[Any, list[Body]] = defaultdict(list)
    for arc in arcs:
        starting[arc.get("upstream")].append(arc)
    reached = {arc.get("downstream") for arc in arcs}
    used: set[int] = set()
    chains: list[list[Body]] = []
    # Where nothing leads to an arc a way begins; what is left after those are rings.
    for arc in sorted(arcs, key=lambda arc_body: (arc_body.get("upstream") in reached, arc_body["arc"])):
        if arc["arc"] in used:
            continue
        chain, here = [arc], arc
        used.add(arc["arc"])
        while True:
            onward = [
                arc_body
                for arc_body in starting[here.get("downstream")]
                if arc_body["arc"] not in used and arc_body.get("downstream") != here.get("upstream")
            ]
            if here.get("downstream") is None or not onward:
                break
            here = min(onward, key=lambda arc_body: int(arc_body["arc"]))
            used.add(here["arc"])
            chain.append(here)
        chains.append(chain)
    return sorted(chains, key=len, reverse=True)


def stretches(documents: Documents) -> Callable[[int | str], str]:
    """Return what says of an arc, by its id, from where to where it leads; empty where that is not known.

    The reference changes rarely and is large, so its last version is kept by the digest that it was made from.
    """
    before = _reference_digest(documents)
    cached = _STRETCHES.get(before) if before else None
    if cached is None:
        cached = {int(arc["arc"]): stretch_of(arc) for arc in all_arcs(documents)}
        # A run may write the reference meanwhile: what was read then belongs to neither version.
        if before and _reference_digest(documents) == before:
            _STRETCHES.clear()
            _STRETCHES[before] = cached
    cached_stretches = cached
    return lambda arc: cached_stretches.get(int(arc), "")


def zone_names(documents: Documents) -> dict[int | str, str]:
    """Return the name of each zone that has one, by its number; the outlines, which are large, are not kept."""
    before = _reference_digest(documents)
    cached = _ZONES.get(before) if before else None
    if cached is None:
        zones = [document.body for document in documents.all("reference/zones")]
        cached = {zone["zone"]: zone["name"] for zone in zones if zone.get("name")}
        if before and _reference_digest(documents) == before:
            _ZONES.clear()
            _ZONES[before] = cached
    return cached


def _reference_digest(documents: Documents) -> str | None:
    state = documents.get_many([REFERENCE]).get(REFERENCE)
    return None if state is None else str(state["made_from"])


def encoded(body: Mapping[str, Any]) -> tuple[bytes, str]:
    """Return a body as compact JSON, and the digest that names this very text."""
    data = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    return data, sha256(data).hexdigest()[:20]


def day_after(day: date) -> str:
    """Return a key between this day and the next, as the open end of a range that includes this one."""
    return f"{day}~"


def _neighbours(documents: Documents, day: date) -> tuple[date | None, date | None]:
    before = documents.range(MARK, None, day.isoformat(), limit=1, newest_first=True).items
    behind = documents.range(MARK, day_after(day), limit=1).items
    return (
        date.fromisoformat(before[0].key) if before else None,
        date.fromisoformat(behind[0].key) if behind else None,
    )


def _short(point: Sequence[float]) -> list[float]:
    """Return a place to a tenth of a metre."""
    return [round(point[0], 6), round(point[1], 6)]
