"""Read images that lie below an address of a store, and say whose address that may be."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import quote

from ecluse.apps.plants.errors import UnreadableImage
from ecluse.apps.plants.formats import MAX_BYTES
from ecluse.apps.plants.sources import MOST_FILES, File, folder_label, is_hidden, too_large
from ecluse.catalog import users
from ecluse.errors import InvalidInput, ObjectChanged, ObjectNotFound, SettingsError
from ecluse.runtime import Runtime
from ecluse.sentences import _, num
from ecluse.settings import local_folder, scheme_of, store_or_folder
from ecluse.storage import ObjectInfo, ObjectStore, checked_key, is_within

#: The folders of an area that hold what users have, one folder for each of them.
_OWNED: Final = ("user_data", "user_models")
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def open_prefix(store: ObjectStore) -> Iterator[File]:
    """Yield the objects of a part of a store; the folder at the first level is the label.

    Raises:
        InvalidInput: there is nothing, or too much.
    """
    objects: list[ObjectInfo] = []
    for info in store.list():
        if not is_hidden(info.key) and not info.key.endswith("/"):
            objects.append(info)
        if len(objects) > MOST_FILES:
            raise InvalidInput(
                _(
                    "More than %(count)s files lie there. Import the folders one by one.",
                    count=num(MOST_FILES, ","),
                )
            )
    if not objects:
        raise InvalidInput(_("Nothing lies at %(store)s. Check the address.", store=store.url))
    for number, info in enumerate(sorted(objects, key=lambda object_: object_.key)):
        yield File(info.key, folder_label(info.key), reader(store, info), number / len(objects))


def reader(store: ObjectStore, info: ObjectInfo) -> Callable[[], bytes]:
    """Return what reads an object, unless it is larger than an image may be."""
    return partial(_read, store, info)


def _read(store: ObjectStore, info: ObjectInfo) -> bytes:
    if info.size > MAX_BYTES:
        raise UnreadableImage(too_large(info.size))
    try:
        data = b"".join(store.stream(info.key, end=MAX_BYTES + 1))
    except (ObjectNotFound, ObjectChanged) as error:
        raise UnreadableImage(_("It was removed or replaced while it was read. Import it again.")) from error
    if len(data) > MAX_BYTES:
        raise UnreadableImage(too_large(len(data)))
    return data


def importable(
    runtime: Runtime, user_id: str, url: str, *, at_terminal: bool = False, as_member: bool = False
) -> str:
    """Return the address of a place that this user may import from, without links; it is asked again when the job
    runs.

    Who is `at_terminal` may name any place, and an administrator any but folders outside of the stores of this
    server; where users have something, each reaches what is theirs alone. A member may name what is theirs and what
    lies in the places of `ECLUSE_IMPORT_FROM`. A member is refused in the same words whatever lies there, or nothing.
    `as_member`: an administrator asks by a token that does not administer.

    Raises:
        InvalidInput: it is refused, or is no address.
    """
    place = _place(url)
    areas = [area.url.rstrip("/") for area in runtime.stores.areas().values()]
    owned = [f"{area}/{name}" for area in areas for name in _OWNED]
    if not any(_lies_in(place, f"{prefix}/{user_id}") for prefix in owned):
        if at_terminal or (not as_member and _is_administrator(runtime, user_id)):
            _expect_open_to_those_who_run_it(runtime, url, place, areas, owned, at_terminal=at_terminal)
        elif not _is_listed(runtime, place, owned):
            raise InvalidInput(
                _(
                    "%(store)s is none of the places that you may import images from. Upload the images, "
                    "or ask an administrator, who can import them or list the place in ECLUSE_IMPORT_FROM.",
                    store=url,
                )
            )
    try:
        runtime.stores.folder(place)
    except (SettingsError, ValueError) as error:
        raise InvalidInput(str(error)) from error
    return place


def _place(url: str) -> str:
    """Return an address in the one way that places are compared by: a folder of this machine with no link in it.

    A bucket is a plain name, as `s3:///photos` and `s3://ph%6ftos` would reach `s3://photos` as well.
    """
    try:
        place = store_or_folder("The address", url)
        scheme, (_address, _divider, rest) = scheme_of(place), place.partition("://")
        if local_folder(place) is not None and rest.startswith("/"):
            return f"file://{quote(str(_real(place)))}"
        bucket, _rest, key = rest.partition("/")
        if (scheme is None or scheme.has_buckets) and not _BUCKET.fullmatch(bucket):
            raise InvalidInput(
                _("%(store)s names no bucket and no folder. Write it as s3://bucket/prefix.", store=url)
            )
        if key:
            checked_key(key)
    except (SettingsError, ValueError) as error:
        raise InvalidInput(str(error)) from error
    return place


def _is_administrator(runtime: Runtime, user_id: str) -> bool:
    with runtime.catalog.read() as transaction:
        return users.is_administrator(transaction, user_id)


def _expect_open_to_those_who_run_it(
    runtime: Runtime, url: str, place: str, areas: Sequence[str], owned: Sequence[str], *, at_terminal: bool
) -> None:
    """Refuse an administrator what is another's, and a folder of this machine unless it was listed."""
    if any(_lies_in(place, folder) or _lies_in(folder, place) for folder in owned):
        raise InvalidInput(
            _(
                "%(store)s holds what users have stored. Name a folder of your own, or one that is "
                "none of theirs.",
                store=url,
            )
        )
    if at_terminal or local_folder(place) is None or any(_lies_in(place, area) for area in areas):
        return
    if not _is_listed(runtime, place, owned):
        raise InvalidInput(
            _(
                "%(store)s is in no store of this server. Upload the images, or import them at its "
                "terminal: ecluse plants import",
                store=url,
            )
        )


def _is_listed(runtime: Runtime, place: str, owned: Sequence[str]) -> bool:
    """Return whether a place lies in one that `ECLUSE_IMPORT_FROM` lists, and holds nothing of users or of this
    server.

    What lies in the folder of everything local counts only where a place in there is itself listed.
    """
    home = f"file://{quote(str(runtime.settings.home))}"
    if any(_lies_in(place, folder) or _lies_in(folder, place) for folder in owned) or _lies_in(home, place):
        return False
    listed = [folder for folder in runtime.settings.import_from if _lies_in(place, folder)]
    return any(not _lies_in(place, home) or _lies_in(folder, home) for folder in listed)


def _lies_in(place: str, folder: str) -> bool:
    """Return whether a place is a folder or below it. Folders of this machine are compared as they are, not as
    written.
    """
    if local_folder(place) is None or local_folder(folder) is None:
        return place == folder or is_within(place, folder)
    inner, outer = _real(place), _real(folder)
    if inner.is_relative_to(outer):
        return True
    return _is_there(outer) and any(
        _is_there(path) and path.samefile(outer) for path in (inner, *inner.parents)
    )


def _is_there(path: Path) -> bool:
    """Return whether there is a file or folder; of a name that no file system takes, there is none."""
    try:
        path.stat()
    except OSError:
        return False
    return True


def _real(url: str) -> Path:
    """Return the folder of this machine that an address leads to, with no link in it."""
    return Path(os.path.realpath(local_folder(url) or ""))
