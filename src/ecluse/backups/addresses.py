"""Say of an address which area of a home it lies in, and what it is where that area is elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ecluse.catalog import files, rows
from ecluse.errors import InvalidKey
from ecluse.settings import AREAS, Area
from ecluse.storage import Stores, area_of, checked_key


@dataclass(frozen=True)
class Areas:
    """The full address of each area of a home."""

    urls: Mapping[Area, str]

    @classmethod
    def of_stores(cls, stores: Stores) -> Areas:
        return cls({area: store.url.rstrip("/") for area, store in stores.areas().items()})

    @classmethod
    def of_home(cls, described: Mapping[str, Any]) -> Areas:
        """Read what `moving.described` says."""
        return cls({area: str(described["stores"][area]).rstrip("/") for area in AREAS})

    def split(self, url: str) -> tuple[Area, str] | None:
        """Return the area of an address, the innermost, and what follows its own; None for what is in no area.

        Of areas that share a store, the key says which.
        """
        holding = [area for area in AREAS if url.startswith(f"{self.urls[area]}/")]
        if not holding:
            return None
        innermost = max(len(self.urls[area]) for area in holding)
        sharing = [area for area in holding if len(self.urls[area]) == innermost]
        key = url[innermost + 1 :]
        return (area_of(key) if area_of(key) in sharing else sharing[0]), key

    def holds(self, url: str) -> bool:
        """Return whether an address lies in an area, and leads nowhere else on its way."""
        return any(is_inside(url, area) for area in self.urls.values())

    def join(self, area: Area, key: str) -> str:
        return f"{self.urls[area]}/{key}"

    def moved_to(self, there: Areas, url: str) -> str:
        """Return what an address is where the areas are elsewhere; what is in no area stays."""
        place = self.split(url)
        return url if place is None else there.join(*place)

    def row_there(self, there: Areas, table: str, row: rows.Row) -> rows.Row:
        """Return a row as it is to stand where the areas are elsewhere."""
        return files.as_moved(table, row, lambda url: self.moved_to(there, url))


def is_inside(url: str, store: str) -> bool:
    """Return whether an address is that of a key of a store."""
    root = f"{store.rstrip('/')}/"
    try:
        return url.startswith(root) and bool(checked_key(url.removeprefix(root).rstrip("/")))
    except InvalidKey:
        return False
