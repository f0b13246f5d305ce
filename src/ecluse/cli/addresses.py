"""Read the addresses that storage commands take: `models:KEY`, a full address such as `s3://bucket/KEY`, a path."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from ecluse.errors import ObjectNotFound
from ecluse.settings import AREAS, Area, Settings, local_folder, split_root
from ecluse.storage import (
    LONG_PATIENCE,
    ObjectInfo,
    ObjectStore,
    Stores,
    checked_key,
    join_key,
    lacks_folder,
)


@dataclass(frozen=True)
class Address:
    """A place in a store: an object, or with an empty or a folder's key everything below.

    `area` is how it was named, if so; `is_folder` says that it ended in a slash or was the whole store.
    """

    store: ObjectStore
    key: str
    area: Area | None
    is_folder: bool

    @property
    def url(self) -> str:
        return self.store.url_of(self.key) if self.key else self.store.url

    def name_of(self, key: str) -> str:
        """Return the address of another key of this store, as this one was given."""
        return f"{self.area}:{key}" if self.area else self.store.url_of(key) if key else self.store.url

    def __str__(self) -> str:
        return self.name_of(self.key)

    def objects(self, suffix: str = "") -> list[ObjectInfo]:
        """List the object at this address, or all below it.

        Raises:
            ObjectNotFound: there is nothing.
        """
        if self.key and not self.is_folder and self.key.endswith(suffix) and self.store.exists(self.key):
            return [self.store.head(self.key)]
        objects = list(self.store.list(self.key, suffix=suffix))
        if not objects:
            raise ObjectNotFound(f"Nothing is stored at {self}. See: ecluse storage ls")
        return objects


@contextmanager
def open_stores(home: Path | None) -> Iterator[Stores]:
    """Open the stores of the settings, without catalog and jobs."""
    settings = Settings.from_environment(home=home)
    stores = Stores(
        {area: settings.area_url(area) for area in AREAS}, settings.access, patience=LONG_PATIENCE
    )
    if not settings.home.is_dir() or not any(
        settings.home.iterdir()
    ):  # new: nothing can be known to lie there
        stores.make_area_folders()
    yield stores


def is_local(text: str) -> bool:
    """Say whether an address is a path on this machine: it names neither an area nor a scheme."""
    return "://" not in text and text.partition(":")[0] not in AREAS


def read_address(text: str, stores: Stores, *, writing: bool = False) -> Address:
    """Return the place that `text` names.

    Raises:
        UsageError: it is a path, which only `cp` takes.
        InvalidKey: the key is none.
        ObjectNotFound: it is in a folder that does not exist, and nothing is to be written.
    """
    if is_local(text):
        raise click.UsageError(
            f"{text!r} is no address in a store. Use an area with a key, such as models:KEY "
            f"({', '.join(AREAS)}), or a full address, such as s3://bucket/KEY."
        )
    area, _, key = text.partition(":")
    for named in AREAS:
        if area == named and not key.startswith("//"):
            return _address(stores.area(named), key.lstrip("/"), named)
    for store in stores.areas().values():
        if text.rstrip("/") == store.url.rstrip("/"):
            return _address(store, "")
        if (inside := store.key_of(text)) is not None:
            return _address(store, inside)
    root, key = split_root(text)
    place = root or f"{text.partition('://')[0]}:///"
    if lacks_folder(place) and not writing:
        raise ObjectNotFound(f"Nothing is stored at {text}: there is no folder {local_folder(place)}.")
    if writing:
        stores.make_folder(place)
    return _address(stores.open(place), key)


def below(address: Address, path: str) -> str:
    """Return the key of `path` below an address."""
    return join_key(address.key, checked_key(path))


def _address(store: ObjectStore, key: str, area: Area | None = None) -> Address:
    plain = key.rstrip("/")
    if plain:
        checked_key(plain)
    return Address(store, plain, area, is_folder=not plain or key.endswith("/"))
