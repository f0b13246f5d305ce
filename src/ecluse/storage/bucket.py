"""Describe one bucket of an object store: where it is, and in what it differs from others."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from ecluse.storage.administration import Administration


@dataclass(frozen=True)
class Bucket:
    """A bucket, a container, or memory; `url` ends with a slash.

    `place` is where it is, as messages say it; `patience` how long a store that is away is tried again; `unsigned` why
    it has no signed addresses, where it has none; `how_to_set_keys` the way out where no keys are set. `from_start`:
    it may list from the start whatever it is asked, in the order of the keys.
    """

    url: str
    place: str
    patience: timedelta
    unsigned: str | None = None
    how_to_set_keys: str = ""
    administration: Administration | None = None
    from_start: bool = False
    deleted_at_once: int = 1000
