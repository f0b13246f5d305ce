"""Say where the objects of an owner are: in the stores of today, and in those that rows still point at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ecluse.catalog import files
from ecluse.catalog.tables import File
from ecluse.runtime import Runtime
from ecluse.storage import ObjectStore, is_within

#: Folders of each store in which what an owner has lies, below the owner's id.
OWNED: Final = ("user_data", "user_models")


def stores_of(runtime: Runtime, owner_id: str) -> list[ObjectStore]:
    """Return every store with things of an owner: those of today, and those that rows still point at."""
    stores = {store.url.rstrip("/"): store for store in runtime.stores.distinct()}
    marks = [f"/{folder}/{owner_id}/" for folder in OWNED]
    with runtime.catalog.read() as transaction:
        roots = {
            url[: url.index(mark)]
            for url in files.addresses_of(transaction, owner_id)
            for mark in marks
            if mark in url
        }
    return [*stores.values(), *(runtime.stores.open(root) for root in sorted(roots - set(stores)))]


def folders_of(runtime: Runtime, owner_id: str) -> Iterator[tuple[ObjectStore, str]]:
    """Yield the folders of an owner, whether or not something is in them: the store, and the key."""
    for store in stores_of(runtime, owner_id):
        for folder in OWNED:
            yield store, f"{folder}/{owner_id}"


def files_elsewhere(runtime: Runtime, owner_id: str) -> list[File]:
    """Return the files of an owner that lie in none of these folders, where applications have put them."""
    inside = [store.url_of(key) for store, key in folders_of(runtime, owner_id)]
    with runtime.catalog.read() as transaction:
        every = files.files_of(transaction, owner_id)
    return [file for file in every if not any(is_within(file.url, folder) for folder in inside)]
