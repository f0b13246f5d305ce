"""Estimate the requests and the time that a migration takes."""

from __future__ import annotations

import math
from statistics import median
from typing import Final

from ecluse.catalog import Catalog
from ecluse.catalog.journal import Amount
from ecluse.migration.results import Estimate, Plan, Summary
from ecluse.migration.summaries import list_migrations, summary, total_of

#: An upload is cut into parts of this size, each a request.
_PART: Final = 8 * 1024 * 1024
#: Bytes and objects a second that an estimate assumes before a migration was measured here.
_BYTES_A_SECOND: Final = 40e6
_OBJECTS_A_SECOND: Final = 50.0
#: A migration of less than this says how long an object takes, not how quick the way is.
_TELLING_BYTES: Final = 50_000_000


def estimate(catalog: Catalog, plan: Plan) -> Estimate:
    """Return the requests and the time that the run of a plan takes."""
    return _estimate(catalog, plan.to_copy, plan.same)


def estimate_rest(catalog: Catalog, now: Summary) -> Estimate:
    """Return the requests and the time that it takes to copy what is not at the destination yet."""
    open_ = (now.amounts.get(state, Amount()) for state in ("planned", "copying"))
    return _estimate(catalog, total_of(open_), now.amounts.get("same", Amount()))


def _estimate(catalog: Catalog, to_copy: Amount, same: Amount) -> Estimate:
    size, objects = to_copy.size, to_copy.objects
    parts = math.ceil(size / _PART)
    rates = _measured_rates(catalog)
    seconds = size / _BYTES_A_SECOND + objects / _OBJECTS_A_SECOND
    return Estimate(
        objects=objects,
        size=size,
        puts=objects + parts,
        gets=2 * objects + same.objects,
        seconds=size / median(rates) if rates else seconds,
        measured=bool(rates),
    )


def _measured_rates(catalog: Catalog) -> list[float]:
    """Return the bytes a second of the last migrations that ran through."""
    rates = []
    for migration in list_migrations(catalog, limit=20):
        if migration.state == "done" and migration.seconds_at_work > 0:
            size = summary(catalog, migration.id).amounts.get("verified", Amount()).size
            if size >= _TELLING_BYTES:
                rates.append(size / migration.seconds_at_work)
    return rates[:5]
