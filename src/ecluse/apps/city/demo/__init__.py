"""Write invented raw data of a city, of the true schema, so that everything works without a network.

    write_demo(raw, date(2025, 9, 1), 63, arcs=400, report=report)

The same seed, period and number of arcs give the same bytes, and a day is the same in every period. In it are rush
hours, weekends, holidays, rain, works, matches, strikes, incidents, broken sensors, lost hours, changes of the
clocks, and a few records that are bad or there twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

from ecluse.apps.city.calendar import days_between
from ecluse.apps.city.demo.base_map import draw_base_map, zone_features
from ecluse.apps.city.demo.bikes import COUNTERS, write_bikes
from ecluse.apps.city.demo.days import Day, day_of
from ecluse.apps.city.demo.disruptions import write_disruptions
from ecluse.apps.city.demo.roads import write_reference, write_roads
from ecluse.apps.city.demo.weather import write_weather
from ecluse.apps.city.demo.works import sites_open, write_works
from ecluse.apps.city.progress import Report
from ecluse.apps.city.provenance import MARKER, is_invented, is_of_sample
from ecluse.checkpoints import Checkpoints
from ecluse.errors import InvalidInput, KeyConflict
from ecluse.sentences import _
from ecluse.storage import ObjectStore
from ecluse.storage.side_by_side import side_by_side

MOST_DAYS, MOST_ARCS, FEWEST_ARCS = 800, 3348, 12
_ROADS: Final = "batch/comptages-routiers-permanents-demo.csv"
_REFERENCE: Final = (
    "batch/referentiel-geographique-pour-les-donnees-trafic-issues-des-capteurs-permanents-demo.csv"
)
_WORKS: Final = "batch/chantiers-perturbants-la-circulation-demo.csv"
_ZONES: Final = "batch/arrondissements-demo.geojson"
#: The checkpoint of the feeds that are written.
_FEEDS: Final = "sample-feeds"
#: How much of the work the road file is.
_ROADS_SHARE: Final = 0.7


@dataclass(frozen=True)
class DemoWritten:
    """What was written where. `rows`: of the road file; `size`: bytes of all files."""

    url: str
    first: date
    last: date
    arcs: int
    counters: int
    rows: int
    files: int
    size: int
    seed: int


def write_demo(
    raw: ObjectStore,
    first: date,
    days: int,
    *,
    seed: int = 0,
    arcs: int,
    report: Report = lambda fraction, doing: None,
    checkpoints: Checkpoints | None = None,
) -> DemoWritten:
    """Write `days` days from `first` into the raw layout, instead of an earlier sample there.

    `report` is told how far it is; what it raises ends the work, and the same call begins it anew, or goes on behind
    the days whose feeds `checkpoints` say are written.

    Raises:
        KeyConflict: the store holds raw data that is not the sample's; nothing is written.
        InvalidInput: a period or a number of arcs that the sample cannot have.
    """
    _check(first, days, seed, arcs)
    last = first + timedelta(days=days - 1)
    options = {"first": first.isoformat(), "days": days, "seed": seed, "arcs": arcs}
    earlier = _claim(raw, options)
    written = _Written(checkpoints, json.dumps([raw.url, options]), earlier)
    kinds = [day_of(when, seed) for when in days_between(first, last)]
    for n, day in enumerate(kinds[written.days :], start=written.days):
        report((1 - _ROADS_SHARE) * n / days, _("feeds of %(day)s", day=day.date))
        written.add(_write_feeds(raw, day))
    sizes = written.sizes
    base_map = draw_base_map(arcs)
    sites = sites_open(base_map, seed, first, last)
    zones = json.dumps({"type": "FeatureCollection", "features": zone_features()}, ensure_ascii=False)
    for key, data in (
        (_REFERENCE, write_reference(base_map)),
        (_WORKS, write_works(base_map, sites, last)),
        (_ZONES, zones.encode()),
    ):
        sizes[key] = raw.put(key, data).size
    rows = 0

    def report_part(n: int, count: int) -> None:
        nonlocal rows
        rows += count
        report(1 - _ROADS_SHARE * (1 - (n + 1) / days), _("roads of %(day)s", day=kinds[n].date))

    sizes[_ROADS] = raw.put_stream(_ROADS, write_roads(base_map, kinds, sites, report_part)).size
    for key in earlier - sizes.keys():
        raw.delete(key)
    return DemoWritten(raw.url, first, last, arcs, COUNTERS, rows, len(sizes), sum(sizes.values()), seed)


def remove_demo(raw: ObjectStore) -> int:
    """Remove the sample from a raw store; how many objects that were. Other files stay."""
    if not is_invented(raw):
        return 0
    keys = [
        info.key for info in raw.list() if info.key.startswith(("api/", "batch/")) and is_of_sample(info.key)
    ]
    side_by_side(lambda key, _: raw.delete(key), keys)
    raw.delete(MARKER)
    return len(keys) + 1


def _check(first: date, days: int, seed: int, arcs: int) -> None:
    if not 1 <= days <= MOST_DAYS:
        raise InvalidInput(f"A sample of {days} days cannot be written; ask for 1 to {MOST_DAYS}.")
    if not FEWEST_ARCS <= arcs <= MOST_ARCS:
        raise InvalidInput(
            f"A sample of {arcs} arcs cannot be written; ask for {FEWEST_ARCS} to {MOST_ARCS}."
        )
    if seed < 0:
        raise InvalidInput(f"{seed} is no seed of a sample; ask for 0 or more.")
    if not 1970 <= first.year <= 2100:
        raise InvalidInput(f"A sample cannot begin on {first.isoformat()}; ask for a day from 1970 to 2100.")


def _claim(raw: ObjectStore, marker: dict[str, Any]) -> set[str]:
    """Mark the store as the sample's, and return the keys that an earlier sample left there."""
    keys = [info.key for info in raw.list()]
    data = [key for key in keys if key.startswith(("api/", "batch/"))]
    foreign = [key for key in data if not is_of_sample(key)]
    if foreign or (data and not is_invented(raw)):
        foreign_key = (foreign or data)[0]
        raise KeyConflict(
            _(
                "%(place)s holds raw data that is not the sample's, such as %(key)s; nothing was written. Write the "
                "sample elsewhere: ecluse city demo --raw file:///another/folder",
                place=raw.url,
                key=foreign_key,
            )
        )
    body = json.dumps({"demo": True, "written_by": "ecluse city demo", **marker}, sort_keys=True)
    raw.put(MARKER, body.encode())
    return set(data)


class _Written:
    """The days whose feeds are written, and the size of each of their files by its key."""

    def __init__(self, checkpoints: Checkpoints | None, options: str, existing: set[str]) -> None:
        self._checkpoints, self._of = checkpoints, hashlib.sha256(options.encode()).hexdigest()
        self.days, self.sizes = 0, dict[str, int]()
        saved = None if checkpoints is None else checkpoints.load(_FEEDS, of=self._of)
        if saved is not None:
            sizes = json.loads(saved)
            if sizes["sizes"].keys() <= existing:
                self.days, self.sizes = sizes["days"], sizes["sizes"]

    def add(self, sizes: dict[str, int]) -> None:
        """One day more is written."""
        self.days += 1
        self.sizes |= sizes
        if self._checkpoints is not None and self._checkpoints.is_due():
            data = json.dumps({"days": self.days, "sizes": self.sizes}).encode()
            self._checkpoints.save(_FEEDS, data, of=self._of)


def _write_feeds(raw: ObjectStore, day: Day) -> dict[str, int]:
    files = list(_feeds(day))
    stored = side_by_side(lambda file, _: raw.put(*file), files)
    return {file.key: file.size for file in stored}


def _feeds(day: Day) -> Iterator[tuple[str, bytes]]:
    yield from write_bikes(day)
    yield from write_disruptions(day)
    yield from write_weather(day)
