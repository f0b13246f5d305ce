"""Fetch open data into the raw layout: Paris's portal, Open-Meteo, and the disruptions of Île-de-France.

    place = FetchPlace(raw, scratch, zone)
    fetch_data(place, first, last, sources=("roads", "weather"), report=report)

What came whole is not asked for again, so that the same call goes on where it stopped; what the source may still
correct is asked for again, and written only where it changed. How each source is fetched, its own module says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from ecluse.apps.city.calendar import expect_days
from ecluse.apps.city.download import Downloads, Pace
from ecluse.apps.city.errors import FetchFailed
from ecluse.apps.city.fetching import Fetched, FetchTask, FetchWork, Portals
from ecluse.apps.city.progress import Report, unheard
from ecluse.apps.city.provenance import is_invented
from ecluse.apps.city.sources import SOURCES
from ecluse.errors import InvalidInput, KeyConflict
from ecluse.sentences import _
from ecluse.settings import Secret
from ecluse.storage import ObjectStore

__all__ = ["FetchPlace", "Fetched", "Portals", "fetch_data", "fetched_sources"]


@dataclass(frozen=True)
class FetchPlace:
    """Where data is fetched from and to, and how. `key`: of the portal of disruptions, which are skipped without."""

    raw: ObjectStore
    scratch: Path
    zone: ZoneInfo
    portals: Portals = field(default_factory=Portals)
    key: Secret | None = None
    pace: Pace | None = None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


def fetched_sources() -> tuple[str, ...]:
    """Return the names of the sources that can be fetched."""
    return tuple(name for name, source in SOURCES.items() if source.fetch is not None)


def fetch_data(
    place: FetchPlace,
    first: date,
    last: date,
    *,
    sources: Sequence[str] = (),
    again: bool = False,
    report: Report = unheard,
) -> list[Fetched]:
    """Fetch what `sources`, or all of them, have for the local days from `first` to `last`; what became of each.

    `again`: ask for what is there already. What cannot be had is listed with its reason and the rest goes on; a host
    that is away is not asked for the rest.

    Raises:
        KeyConflict: the store holds the sample, and true data would mix with it.
        InvalidInput: a period that is to come, or none.
    """
    now = place.now()
    _expect_past(first, last, now.astimezone(place.zone).date())
    _expect_measured(place.raw)
    done, doing = 0.0, ""

    def beat() -> None:
        report(min(done, 0.999), doing)

    downloads = Downloads(place.scratch, pace=place.pace, beat=beat)
    work = FetchWork(place.raw, downloads, place.portals, place.zone, place.key, again, now)
    tasks = [
        task
        for name, source in SOURCES.items()
        if source.fetch is not None and (not sources or name in sources)
        for task in source.fetch(work, first, last)
    ]
    results: list[Fetched] = []
    away: dict[str, str] = {}
    for n, task in enumerate(tasks):
        done, doing = n / len(tasks), _fetching(task)
        beat()
        results += _run(task, away)
    return results


def _expect_past(first: date, last: date, today: date) -> None:
    expect_days(first, first)
    if not first <= last <= today:
        raise InvalidInput(
            _(
                "From %(first)s to %(last)s is no period that has passed; there is no data to fetch yet.",
                first=first,
                last=last,
            )
        )


def _expect_measured(raw: ObjectStore) -> None:
    if is_invented(raw):
        raise KeyConflict(
            _(
                "%(store)s holds the sample, which is invented; nothing was fetched. Fetch elsewhere: "
                "ecluse city fetch --raw file:///another/folder, or remove the sample: ecluse city "
                "demo --remove",
                store=raw.url,
            )
        )


def _fetching(task: FetchTask) -> str:
    """Say what is fetched: `fetching weather: 2025-10-01 to 2025-10-07`."""
    source_name = _(SOURCES[task.source].words)
    if task.what == "all":
        return _("fetching %(what)s: all", what=source_name)
    if task.what == "now":
        return _("fetching %(what)s: now", what=source_name)
    first, to, last = task.what.partition(" to ")
    if to:
        return _("fetching %(what)s: %(first)s to %(last)s", what=source_name, first=first, last=last)
    return _("fetching %(what)s: %(day)s", what=source_name, day=task.what)


def _run(task: FetchTask, away: dict[str, str]) -> list[Fetched]:
    host = urlsplit(task.url).netloc
    if host in away:
        return [Fetched(task.source, task.what, "skipped", reason=f"{host} was not asked any more.")]
    results: list[Fetched] = []
    try:
        results.extend(task.run())
    except FetchFailed as error:
        results.append(Fetched(task.source, task.what, "failed", reason=str(error)))
        if error.__cause__ is not None:  # the host itself, after every attempt
            away[host] = str(error)
    return results
