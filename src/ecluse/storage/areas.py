"""Hold the stores of all areas open, and find the store in which a recorded object lies.

New objects go to the store of their area. A row of the catalog keeps the full address of what it points
at, so what was stored before the settings changed, or was migrated since, is read where it is.

No folder is made by opening a store: the folder of a disk that is not mounted would read as an empty store,
and what it holds as deleted.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from ecluse.errors import InvalidKey
from ecluse.sentences import _
from ecluse.settings import AREAS, Access, Area, local_folder, split_root
from ecluse.storage.keys import checked_key, is_within
from ecluse.storage.opening import PATIENCE, lacks_folder, open_store
from ecluse.storage.store import ObjectStore

logger = logging.getLogger(__name__)
RAW: Final = "raw"
#: How long a check whether a store answers waits for it.
HURRY: Final = timedelta(seconds=1)


#: First segments of the keys of models, in a store that several areas share; every other key is of the data.
_MODELS: Final = ("user_models", "automl_models")
#: First segments of the keys of what rows own, one of which stands in the address of what was stored before the
#: settings named another store.
OWNED: Final = ("user_data", *_MODELS)


def area_of(key: str) -> Area:
    """Return the area that this key, of a store that several areas share, belongs to."""
    parts = key.split("/")
    if parts[0] in _MODELS:
        return "models"
    if parts[0] == RAW:
        return "raw"
    return "images" if parts[0] == "user_data" and parts[2:3] == ["images"] else "data"


@dataclass(frozen=True)
class Located:
    """An object, or a folder of objects, in an open store."""

    store: ObjectStore
    key: str


class Stores:
    """The stores at `urls`, opened when first used; an area that has no address lies in `raw/` of the data."""

    def __init__(
        self, urls: Mapping[Area, str | None], access: Access, *, patience: timedelta = PATIENCE
    ) -> None:
        self._urls = dict(urls)
        self._access = access
        self._patience = patience
        self._lock = threading.Lock()
        self._opened: dict[str, ObjectStore] = {}
        self._hurried: Stores | None = None

    def hurried(self) -> Stores:
        """Return the same stores, for asking whether they answer right now."""
        with self._lock:
            if self._hurried is None:
                self._hurried = Stores(self._urls, self._access, patience=HURRY)
            return self._hurried

    def area(self, area: Area) -> ObjectStore:
        """Return the store that new objects of this area go to."""
        url = self._urls.get(area)
        return self.area("data").scoped(RAW) if url is None else self.open(url)

    def areas(self) -> dict[Area, ObjectStore]:
        """Return every area and its store."""
        return {area: self.area(area) for area in AREAS}

    def distinct(self) -> list[ObjectStore]:
        """Return the stores of all areas, each once, none that lies within another."""
        stores = {store.url.rstrip("/"): store for store in self.areas().values()}
        return [store for url, store in stores.items() if not any(is_within(url, other) for other in stores)]

    def open(self, url: str) -> ObjectStore:
        """Return the store at `url`; the same one each time."""
        with self._lock:
            if url not in self._opened:
                self._opened[url] = open_store(url, self._access, patience=self._patience, make=False)
            return self._opened[url]

    def make_area_folders(self, is_known: Callable[[str], bool] = lambda _: False) -> None:
        """Make the folders of the areas, but for one that is gone though something `is_known` to lie in it."""
        for url in filter(None, self._urls.values()):
            if lacks_folder(url) and not is_known(url):
                self.open(url).ensure_bucket()

    def make_folder(self, url: str) -> None:
        """Make the folder at `url`, to write there, unless it is in an area or in no store of folders."""
        if lacks_folder(url) and not any(
            is_within(url, own.rstrip("/")) for own in self._urls.values() if own
        ):
            self.open(url).ensure_bucket()

    def folder(self, url: str) -> ObjectStore:
        """Return the part of a store that lies below the full address `url`: an area, a part of one, or elsewhere."""
        target = url.rstrip("/")
        for store in self.areas().values():
            if store.url.rstrip("/") == target:
                return store
            if (key := store.key_of(target)) is not None:
                return store.scoped(key)
        root, key = split_root(target)
        if local_folder(url) is not None or not root or not key:
            scheme, _divider, rest = url.partition("://")
            return self.open(f"{scheme}://{rest.rstrip('/') or rest[:1]}")
        return self.open(root).scoped(key)

    def locate(self, url: str) -> Located:
        """Return where the object at the full address `url`, taken from a row of the catalog, lies.

        Raises:
            InvalidKey: it is not the address of an object.
        """
        for store in self.areas().values():
            if (key := store.key_of(url)) is not None:
                return Located(store, key)
        root, key = split_root(url)
        if not root or not key:
            raise InvalidKey(_("%(url)s is not the address of an object.", url=repr(url)))
        return Located(self.open(root), checked_key(key))

    def is_own(self, url: str) -> bool:
        """Return whether what is at an address from a row is of an Écluse: in an area, or under a key of those of rows.

        A row may come from a backup, and its address be that of any file of this machine.
        """
        root, key = split_root(url)
        if not root or not key:
            return False
        in_area = next(filter(None, (store.key_of(url) for store in self.areas().values())), None)
        segments = (in_area or url.partition("://")[2]).rstrip("/").split("/")
        if any(segment in (".", "..") for segment in segments):
            return False
        return in_area is not None or any(segment in OWNED for segment in segments[:-2])

    def remove(self, url: str) -> int:
        """Remove the object at an address from a row, or leave it, and say so, where it is none of ours; how many.

        Raises:
            InvalidKey: it is not the address of an object.
        """
        located = self.locate(url)
        if not self.is_removable(url):
            return 0
        located.store.delete(located.key)
        return 1

    def remove_below(self, url: str) -> int:
        """Remove what lies in the folder at an address from a row, as `remove`; how many objects that were."""
        located = self.locate(url)
        return located.store.delete_prefix(located.key) if self.is_removable(url) else 0

    def is_removable(self, url: str) -> bool:
        """Return whether what is at an address from a row may be removed, as it `is_own`; say so where it may not."""
        if self.is_own(url):
            return True
        logger.warning("%s is outside the areas of this installation, and is not removed.", url)
        return False
