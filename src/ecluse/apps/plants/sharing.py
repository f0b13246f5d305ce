"""Say how sets of images are shared, and what of one is for those who only read it.

They see the images that are stored, with their labels. Where these came from is for the owner: addresses of stores and
of the web, with whatever stands in them, and files that were never taken.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final
from urllib.parse import unquote, urlsplit

from ecluse.apps.plants.actions import SetSummary
from ecluse.apps.plants.rows import Filter, no_set
from ecluse.apps.plants.tables import Image, ImageSet
from ecluse.catalog import Transaction
from ecluse.sentences import N_
from ecluse.shares import Kind


def _called(transaction: Transaction, row: ImageSet) -> str:
    return row.name


SETS: Final = Kind(
    row=ImageSet,
    called=_called,
    missing=no_set,
    title=N_("Plants"),
    opened=N_("A set of images is shared with you"),
    shelf="/plants",
    page="/plants/{id}",
)


def seen(filter_: Filter, *, is_own: bool) -> Filter:
    """Return which images of a set someone is shown who asks for these."""
    if is_own:
        return filter_
    states = tuple(state for state in filter_.states if state != "rejected")
    return replace(filter_, states=states, by_origin=False)


def seen_summary(summary: SetSummary, *, is_own: bool) -> SetSummary:
    """Return what of a set's numbers someone is told."""
    return summary if is_own else replace(summary, counts=replace(summary.counts, rejected={}))


def origin_of(row: Image, *, is_own: bool) -> str:
    """Return where an image came from, to others its name alone."""
    return row.origin if is_own else name_of(row.origin)


def name_of(origin: str) -> str:
    """Return the last part of where an image came from: `roses/12.jpg` in an archive, a path or an address is
    `12.jpg`.
    """
    path = unquote(urlsplit(origin).path) if re.match(r"[a-z0-9]+://", origin) else origin
    return re.split(r"[/\\!]", path.rstrip("/"))[-1] or origin
