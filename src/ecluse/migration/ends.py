"""Find the two places of a migration, and refuse those that it cannot go between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from ecluse.catalog import Catalog, files
from ecluse.catalog.journal import SETTLED, Amount
from ecluse.catalog.tables import File, Migration
from ecluse.errors import (
    InvalidInput,
    SettingsError,
)
from ecluse.migration.overlap import lies_in, share_a_part
from ecluse.migration.results import Part
from ecluse.migration.summaries import summary
from ecluse.sentences import _
from ecluse.settings import AREAS, local_folder
from ecluse.storage import ObjectInfo, ObjectStore, Stores, checked_key


def everything(_: str) -> bool:
    """Take every key."""
    return True


@dataclass(frozen=True)
class Ends:
    """The two roots of a migration; keys under `prefix` are the same below both. It is about those it `takes`."""

    source: ObjectStore
    destination: ObjectStore
    prefix: str = ""
    takes: Callable[[str], bool] = everything

    def files(self, catalog: Catalog, store: ObjectStore) -> list[File]:
        """Return the files that need something of the part of this store that the migration is about.

        They lie in it, are it, or are a folder that it is a part of.
        """
        with catalog.read() as transaction:
            near = list(files.files_near(transaction, folder_url(store, self.prefix)))
        return [file for file in near if (key := store.key_of(file.url)) is None or self.takes(key)]

    def listed(self, store: ObjectStore) -> Iterator[ObjectInfo]:
        """List what lies in the part of this store that the migration is about."""
        return (info for info in store.list(self.prefix) if self.takes(info.key))


def folder_url(store: ObjectStore, prefix: str) -> str:
    """Return the address of a folder, with a slash at its end."""
    return f"{store.url_of(prefix) if prefix else store.url.rstrip('/')}/"


def check_places(stores: Stores, source: str, destination: str, prefix: str = "") -> None:
    """Refuse what cannot be planned at a glance from afar, before anything is listed or written down.

    Who is not at a terminal of the server reaches no folder of it but those of the areas.

    Raises:
        InvalidInput: an address cannot be used, carries a key, is another folder, or one lies within the other.
    """
    ends = chosen_ends(stores, source, destination, prefix)
    for store in (ends.source, ends.destination):
        if local_folder(store.url) is not None and not any(
            lies_in(store.url, area.url) for area in stores.areas().values()
        ):
            raise InvalidInput(
                _(
                    "%(store)s is no folder of an area. Any other folder of the server is for its "
                    "terminal: ecluse migrate plan",
                    store=store.url,
                )
            )


def chosen_ends(stores: Stores, source: str, destination: str, prefix: str) -> Ends:
    """Return the places that a person named, apart from each other."""
    cleaned = prefix.strip("/")
    ends = Ends(
        _opened(stores, source), _opened(stores, destination), checked_key(cleaned) if cleaned else ""
    )
    _check_apart(ends)
    return ends


def ends_of(catalog: Catalog, stores: Stores, migration: Migration, part: Part | None) -> Ends:
    """Return the ends of a recorded migration. Until a copy began a missing destination is new; later it is away."""
    if migration.move_id is not None and part is None:
        raise InvalidInput(
            _(
                "Migration %(value)s is a part of a move of the whole home, and goes on or back with "
                "it: ecluse move list",
                value=migration.id,
            )
        )
    amounts = summary(catalog, migration.id).amounts
    if not any(amounts.get(state, Amount()).objects for state in ("copying", *SETTLED)):
        stores.make_folder(migration.destination)
    ends = Ends(stores.folder(migration.source), stores.folder(migration.destination), migration.prefix)
    return ends if part is None else replace(ends, takes=part.takes)


def _opened(stores: Stores, place: str) -> ObjectStore:
    """Return the store that a person named by an area or by its full address."""
    for area in AREAS:
        if place == area:
            return stores.area(area)
    scheme, divider, rest = place.partition("://")
    is_folder = local_folder(place) is not None
    if not divider:
        areas = ", ".join(AREAS)
        raise InvalidInput(
            _(
                "%(value)s is no store; use an address such as s3://bucket/prefix or file:///folder, "
                "or one of %(values)s.",
                value=repr(place),
                values=areas,
            )
        )
    if any(mark in rest for mark in "?#") or ("@" in rest and not is_folder):
        raise InvalidInput(
            _(
                "An address of a store carries no keys and no query. Put keys into the settings of "
                "its provider."
            )
        )
    try:
        return stores.folder(f"{scheme.lower()}://{rest.rstrip('/') or rest[:1]}")
    except SettingsError as error:
        raise InvalidInput(str(error)) from error


def _check_apart(ends: Ends) -> None:
    """Raise `InvalidInput` where the source and the destination share a part."""
    if share_a_part(folder_url(ends.source, ends.prefix), folder_url(ends.destination, ends.prefix)):
        raise InvalidInput(
            _(
                "%(store)s and %(name)s share a part. Choose a destination outside the source.",
                store=ends.source.url,
                name=ends.destination.url,
            )
        )
