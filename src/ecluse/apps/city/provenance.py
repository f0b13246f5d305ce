"""Know whether a city's data were measured or invented, and keep the two apart.

Provenance is a property of the raw data. A raw store with the object `demo.json` at its root, which `ecluse city demo`
writes before all others, holds an invented city; any other holds measurements. From there it follows the data:

- the curated tables of an invented city lie in a folder of their own, so that no typical day and no forecast is made of
  both kinds;
- every document of a day says `invented`, and bears the invented city's own name;
- one home has days of one kind: computing a day of the other is refused, with the way out.

Days of before, whose documents say nothing, were invented where every file they were made of is one of the sample's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Final

from ecluse.apps.city.days import MARK
from ecluse.apps.city.errors import BadRaw, MixedData
from ecluse.apps.city.raw import Raw
from ecluse.documents import Body, Documents
from ecluse.errors import ObjectNotFound, StoreUnavailable
from ecluse.sentences import _
from ecluse.storage import ObjectStore

#: The object at the root of a raw store that says that what is there is invented.
MARKER: Final = "demo.json"
#: What the invented city is called: there is no such place.
NAME: Final = "Écluville"
#: What commands say of it; pages say the same in the language of the reader.
INVENTED: Final = "Invented data: there is no such city."
#: The sources of which the sample has data. A day of the invented city lacks no other one.
SAMPLED: Final = frozenset({"arcs", "bikes", "disruptions", "roads", "weather", "works", "zones"})
#: The folders of the raw layout that hold data.
_DATA: Final = ("api/", "batch/")


def is_invented(store: ObjectStore) -> bool:
    """Return whether a raw store is marked as that of an invented city."""
    try:
        marker = json.loads(store.get(MARKER))
    except (ObjectNotFound, ValueError):
        return False
    return isinstance(marker, dict) and marker.get("demo") is True


def provenance_of(raw: Raw) -> bool:
    """Return whether what is read from here is invented; a store that does not answer is as its fallback.

    Raises:
        MixedData: the store and its fallback are of different kinds.
    """
    fallback = None if raw.fallback is None else is_invented(raw.fallback)
    try:
        invented = is_invented(raw.store)
    except StoreUnavailable:
        if fallback is None:
            raise
        return fallback
    if raw.fallback is not None and fallback != invented:
        raise MixedData(
            _(
                "Of %(store)s and its fallback %(other)s one holds invented data and the other "
                "measured; one cannot stand in for the other. Change ECLUSE_RAW_FALLBACK_URL.",
                store=raw.store.url,
                other=raw.fallback.url,
            )
        )
    return invented


def is_of_sample(key: str) -> bool:
    """Return whether a file is one that the sample writes; to be asked of files of a marked store."""
    return key.rpartition("/")[2].partition(".")[0].endswith("-demo")


def foreign_file(store: ObjectStore) -> str | None:
    """Return a file of data in a raw store that the sample did not write."""
    keys = (info.key for info in store.list() if info.key.startswith(_DATA) and not is_of_sample(info.key))
    return next(keys, None)


def expect_unmixed_raw(store: ObjectStore) -> None:
    """Refuse an invented city's raw store that holds other data too.

    Raises:
        BadRaw: it does.
    """
    if (key := foreign_file(store)) is not None:
        raise BadRaw(
            _(
                "%(store)s holds the sample, which is invented, and other data beside it, such as "
                "%(file)s; no day is made of both. Put the other data elsewhere, or remove the "
                "sample: ecluse city demo --remove",
                store=store.url,
                file=key,
            )
        )


def invented_days(documents: Documents) -> set[date]:
    """Return the days that were computed from invented data."""
    return {day for day, invented in _days(documents).items() if invented}


def expect_one_kind(documents: Documents, invented: bool) -> None:
    """Refuse to compute a day of the other kind than those that are there.

    Raises:
        MixedData: it would stand beside them.
    """
    others = sorted(day for day, is_day_invented in _days(documents).items() if is_day_invented != invented)
    if not others:
        return
    span = f"{others[0]} – {others[-1]}"
    if invented:
        raise MixedData(
            _(
                "This home has measured days (%(days)s), and the raw data is invented; the two are "
                "not mixed. Compute invented days in a home of their own: --home FOLDER",
                days=span,
            )
        )
    raise MixedData(
        _(
            "This home has invented days (%(days)s), and the raw data is measured; the two are "
            "not mixed. Remove the sample and its days: ecluse city demo --remove. Or compute "
            "these days in another home: --home FOLDER",
            days=span,
        )
    )


def is_invented_day(documents: Documents, mark: Body) -> bool:
    """Return whether a day was computed from invented data, by its mark or, where that says nothing, by its files."""
    if "invented" in mark:
        return bool(mark["invented"])
    key = ("metrics/quality", str(mark["date"]))
    return _is_of_sample(documents.get_many([key]).get(key))


def _days(documents: Documents) -> Mapping[date, bool]:
    """Return every day → whether it is invented."""
    marks = {document.key: document.body for document in documents.all(MARK)}
    silent = [key for key, mark in marks.items() if "invented" not in mark]
    quality_of = documents.get_many([("metrics/quality", key) for key in silent]) if silent else {}
    return {
        date.fromisoformat(key): bool(mark["invented"])
        if "invented" in mark
        else _is_of_sample(quality_of.get(("metrics/quality", key)))
        for key, mark in marks.items()
    }


def _is_of_sample(quality: Body | None) -> bool:
    """Return whether all files that a day was made of, as its document on quality quotes them, are the sample's."""
    sources: Iterable[Body | None] = ((quality or {}).get("sources") or {}).values()
    files = [file for source in sources if source for file in source.get("files") or ()]
    return bool(files) and all(is_of_sample(file) for file in files)
