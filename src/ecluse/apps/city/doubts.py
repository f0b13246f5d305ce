"""Say what a reader of a day has to know before trusting its figures: sources set aside, zones that do not fit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, TypedDict

import polars as pl

from ecluse.apps.city.check import not_taken
from ecluse.apps.city.curated import Curated
from ecluse.apps.city.inputs import Inputs
from ecluse.apps.city.raw import Raw
from ecluse.sentences import Listing, _, ngettext, num

Kind = Literal["set_aside", "zones", "not_taken"]
#: Of the arcs with a position, so many may lie outside every zone. In Paris 36 of 3,348 do (1 %); with the zones of
#: another city, or in other coordinates, nearly all.
MOST_OUTSIDE: Final = 0.2
#: How many files that are not taken are named.
NAMED: Final = 5


class Doubt(TypedDict):
    """One sentence, and the source that it is about."""

    kind: Kind
    source: str | None
    text: str


def doubts_of(raw: Raw, curated: Curated, inputs: Inputs) -> list[Doubt]:
    """List every doubt about a day, the gravest first."""
    return [*_set_aside(curated), *_outside(curated, inputs), *_not_taken(raw)]


def _set_aside(curated: Curated) -> Iterator[Doubt]:
    for source, reason in curated.failures().items():
        for line in reason.parts if isinstance(reason, Listing) else reason.split("\n"):
            yield Doubt(kind="set_aside", source=source, text=str(line))


def _outside(curated: Curated, inputs: Inputs) -> Iterator[Doubt]:
    located = inputs.arcs.filter(pl.col("latitude").is_not_null())
    outside = located["zone"].null_count()
    zones = curated.whole("zones")
    if zones is not None and outside > MOST_OUTSIDE * located.height:
        text = _(
            "%(count)s of %(total)s arcs lie outside every zone, so that the figures by zone lack "
            "them. The zones are probably those of another place, or not in degrees: %(values)s. "
            "Put the polygons of this city there and compute the day again.",
            count=num(outside, ","),
            total=num(located.height, ","),
            values=", ".join(zones.files),
        )
        yield Doubt(kind="zones", source="zones", text=text)


def _not_taken(raw: Raw) -> Iterator[Doubt]:
    if text := said_of(not_taken(raw.store), raw.store.url):
        yield Doubt(kind="not_taken", source=None, text=text)


def said_of(files: list[str], place: str) -> str:
    """Return a sentence on files that no source reads; empty where there are none."""
    if not files:
        return ""
    named = ", ".join(files[:NAMED])
    return ngettext(
        "%(count)s file or folder was seen and not taken: %(values)s. See: ecluse city check %(key)s",
        "%(count)s files or folders were seen and not taken: %(values)s. See: ecluse city check %(key)s",
        len(files),
        values=named,
        key=place,
    )
