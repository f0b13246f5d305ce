"""Read images that lie below an address of a store, and say whose address that may be."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from ecluse.catalog import users
from ecluse.errors import InvalidInput, ObjectChanged, ObjectNotFound, SettingsError, UnreadableImage
from ecluse.plants.formats import MAX_BYTES
from ecluse.plants.sources import MOST_FILES, File, folder_label, is_hidden, too_large
from ecluse.runtime import Runtime
from ecluse.settings import store_or_folder
from ecluse.storage import ObjectInfo, ObjectStore, is_within

#: The folders of an area that hold what users have, one folder for each of them.
_OWNED: Final = ("user_data", "user_models")


def open_prefix(store: ObjectStore) -> Iterator[File]:
    """The objects of a part of a store; the folder at the first level is the label.

    Raises:
        InvalidInput: there is nothing, or too much.
    """
    found: list[ObjectInfo] = []
    for info in store.list():
        if not is_hidden(info.key) and not info.key.endswith("/"):
            found.append(info)
        if len(found) > MOST_FILES:
            raise InvalidInput(f"More than {MOST_FILES:,} files lie there. Import the folders one by one.")
    if not found:
        raise InvalidInput(f"Nothing lies at {store.url}. Check the address.")
    for number, info in enumerate(sorted(found, key=lambda one: one.key)):
        yield File(info.key, folder_label(info.key), reader(store, info), number / len(found))


def reader(store: ObjectStore, info: ObjectInfo) -> Callable[[], bytes]:
    """What reads an object, unless it is larger than an image may be."""
    return partial(_read, store, info)


def _read(store: ObjectStore, info: ObjectInfo) -> bytes:
    if info.size > MAX_BYTES:
        raise UnreadableImage(too_large(info.size))
    try:
        data = b"".join(store.stream(info.key, end=MAX_BYTES + 1))
    except (ObjectNotFound, ObjectChanged) as error:
        raise UnreadableImage("It was removed or replaced while it was read. Import it again.") from error
    if len(data) > MAX_BYTES:
        raise UnreadableImage(too_large(len(data)))
    return data


def check_prefix(runtime: Runtime, user_id: str, url: str, *, at_terminal: bool = False) -> None:
    """Refuse an address below which others' things lie, or which is not for whoever asks.

    Of a store of an area, what users have is for each of them alone. Other places are those that the keys of this
    server reach: they are for its administrators, and its folders for who is `at_terminal`.

    Raises:
        InvalidInput: it is refused, or is no address.
    """
    try:
        place = store_or_folder("The address", url).rstrip("/")
        runtime.stores.folder(place)
    except (SettingsError, ValueError) as error:
        raise InvalidInput(str(error)) from error
    areas = {area.url.rstrip("/") for area in runtime.stores.areas().values()}
    for area in areas:
        owned = [f"{area}/{name}" for name in _OWNED]
        mine = [f"{one}/{user_id}" for one in owned]
        if any(_lies_in(place, one) for one in mine):
            return
        if any(_lies_in(place, one) or _lies_in(one, place) for one in owned):
            raise InvalidInput(
                f"{url} holds what users have stored. Name a folder of your own, or one that is none of theirs."
            )
    inside = any(_lies_in(place, area) for area in areas)
    if inside or at_terminal:
        return
    with runtime.catalog.read() as transaction:
        is_administrator = users.user_by_id(transaction, user_id).role == "admin"
    if place.startswith("file:") or not is_administrator:
        raise InvalidInput(
            f"{url} is in no store of this server. Upload the images, or import them at its terminal: "
            "ecluse plants import"
        )


def _lies_in(place: str, folder: str) -> bool:
    """Whether a place is a folder or below it. Folders of this machine are compared as they are, not as written."""
    if not (place.startswith("file:") and folder.startswith("file:")):
        return place == folder or is_within(place, folder)
    inner, outer = (Path(os.path.realpath(unquote(urlsplit(one).path))) for one in (place, folder))
    if inner.is_relative_to(outer):
        return True
    return outer.exists() and any(one.exists() and one.samefile(outer) for one in (inner, *inner.parents))
