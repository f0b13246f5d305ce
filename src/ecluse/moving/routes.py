"""Say where the parts of a home are and which way its objects go: from the stores of one home to those of another."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

from ecluse.errors import MoveRefused
from ecluse.migration.overlap import share_a_part
from ecluse.runtime import Runtime
from ecluse.settings import AREAS, Access, Area, Settings, scheme_of, without_password
from ecluse.storage import LONG_PATIENCE, ObjectStore, Stores, area_of, is_within

#: What of a description tells homes apart.
PLACES: Final = ("database", "documents", "stores")


def described(settings: Settings) -> dict[str, Any]:
    """Say where each part of a home is, as it may be shown and kept: no password and no key."""
    return {
        "database": without_password(settings.database_url),
        "documents": settings.documents.place,
        "stores": {area: _area_url(settings, area) for area in AREAS},
        "address": settings.public_url,
        "host": socket.gethostname(),
    }


def is_described(settings: Settings, description: dict[str, Any]) -> bool:
    """Return whether these are the settings of the home that was described; from which machine does not matter."""
    mine = described(settings)
    return all(mine[name] == description.get(name) for name in PLACES)


@dataclass(frozen=True)
class Route:
    """Objects that go from one store to another: those whose key, the same below both, it `takes`."""

    source: ObjectStore
    destination: ObjectStore
    takes: Callable[[str], bool]

    def moved(self, url: str) -> str | None:
        """Return the address at the destination of what is at this one; None for what goes another way."""
        key = self.source.key_of(url)
        return self.destination.url_of(key) if key is not None and self.takes(key) else None


def routes(source: Runtime, destination: Runtime) -> list[Route]:
    """Return the ways of all objects. What both homes keep in the same place stays there, and has none.

    Raises:
        MoveRefused: two stores share a part, or have one address at two servers.
    """
    ours, theirs = source.stores.areas(), destination.stores.areas()
    stay = {area for area in AREAS if _is_same_place(source, destination, ours[area].url, theirs[area].url)}
    follows = _follows_data(ours, theirs)
    ways: dict[tuple[str, str], list[Area]] = {}
    for area in AREAS:
        if area not in stay and not (area == "raw" and follows):
            ways.setdefault((ours[area].url, theirs[area].url), []).append(area)
    for here, there in product({here for here, _ in ways}, {there for _, there in ways}):
        if share_a_part(here, there):
            raise MoveRefused(
                f"{here} and {there} share a part, or have one address at two servers. Choose a destination with "
                "other buckets or folders."
            )
    return [
        Route(ours[areas[0]], theirs[areas[0]], _taking(ours, areas, raw_follows=follows))
        for areas in ways.values()
    ]


class BothStores(Stores):
    """The stores of two homes, each reached with the keys of its own settings."""

    def __init__(self, source: Runtime, destination: Runtime) -> None:
        super().__init__({}, Access(), patience=LONG_PATIENCE)
        self._source = source.stores
        self._destination = destination.stores

    def area(self, area: Area) -> ObjectStore:
        return self._destination.area(area)

    def folder(self, url: str) -> ObjectStore:
        return self._of(url).folder(url)

    def make_folder(self, url: str) -> None:
        self._of(url).make_folder(url)

    def _of(self, url: str) -> Stores:
        target = url.rstrip("/")
        roots = [store.url.rstrip("/") for store in self._destination.areas().values()]
        is_there = any(target == root or is_within(target, root) for root in roots)
        return self._destination if is_there else self._source


def _taking(ours: dict[Area, ObjectStore], areas: list[Area], *, raw_follows: bool) -> Callable[[str], bool]:
    """Tell which keys of a store go a way: those of its areas, where others that share the store go elsewhere."""
    store = ours[areas[0]]
    root = store.url.rstrip("/")
    sharing = [area for area in AREAS if ours[area].url.rstrip("/") == root]
    nested = [other.url.rstrip("/") for other in ours.values() if is_within(other.url.rstrip("/"), root)]
    elsewhere = [area for area in sharing if area not in areas]
    keeps_unknown = not elsewhere or "data" in areas or ("data" not in sharing and areas[0] == sharing[0])

    def takes(key: str) -> bool:
        url = f"{root}/{key}"
        if any(url == other or is_within(url, other) for other in nested):
            return raw_follows and "data" in areas and area_of(key) == "raw"
        if not elsewhere:
            return True
        area = area_of(key)
        return area in areas or (keeps_unknown and area not in sharing)

    return takes


def _follows_data(ours: dict[Area, ObjectStore], theirs: dict[Area, ObjectStore]) -> bool:
    """Return whether raw data lies in its folder of the data on both sides, and so goes the way of the data."""
    return all(
        stores["raw"].url.rstrip("/") == f"{stores['data'].url.rstrip('/')}/raw" for stores in (ours, theirs)
    )


def _is_same_place(source: Runtime, destination: Runtime, here: str, there: str) -> bool:
    same_address = here.rstrip("/") == there.rstrip("/")
    return same_address and _server(source.settings, here) == _server(destination.settings, there)


def _server(settings: Settings, url: str) -> object:
    """Return the server behind an address, as far as the settings say which."""
    scheme = scheme_of(url)
    return None if scheme is None else scheme.server(url, settings.access)


def _area_url(settings: Settings, area: Area) -> str:
    url = settings.area_url(area)
    return url if url is not None else f"{settings.area_url('data')}/raw"
