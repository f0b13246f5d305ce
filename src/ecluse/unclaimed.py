"""Leave no object behind that no row points at: note each before it is stored, and remove those that nobody claimed.

Whoever stores an object calls `expect` first, and writes its row afterwards, which claims it. A process that is
killed in between leaves the note; so does a row that goes, until its object is gone. The upkeep of any worker removes
what is due. A version of the registry has a claim and leftovers of its own, a checkpoint its job, an area no rows.
"""

from __future__ import annotations

import logging
from typing import Final

from ecluse.catalog import object_notes
from ecluse.errors import InvalidKey, StorageError
from ecluse.runtime import Runtime
from ecluse.storage import ObjectStore

logger = logging.getLogger(__name__)
#: Objects that one look removes at most; the next one goes on.
MOST: Final = 2000


def expect(runtime: Runtime, key: str, store: ObjectStore | None = None) -> None:
    """Note that an object is about to be stored under `key` of a store (default: that of new tables and results).

    Raises:
        HomeClosed: the home moves, or has moved: nothing is to be stored here.
    """
    url = (store or runtime.data).url_of(key)
    with runtime.catalog.write() as transaction:
        object_notes.expect(transaction, url)


def clear(runtime: Runtime) -> int:
    """Remove the objects that no row has claimed in time, and whose row is gone; how many.

    Where a store does not do it, that note is looked at again later and the others next time: neither what else there
    is to keep up nor what lies in other stores waits for it.
    """
    with runtime.catalog.read() as transaction:
        due = object_notes.due(transaction, MOST)
    removed = 0
    for url in due:
        try:
            removed += _clear(runtime, url)
        except StorageError as error:
            logger.warning("An object that no row points at is not removed for now: %s", error)
            with runtime.catalog.write() as transaction:
                object_notes.put_off(transaction, url)
            break
    return removed


def _clear(runtime: Runtime, url: str) -> bool:
    """Remove an object while its note is held, so that nobody stores another at its address meanwhile."""
    with runtime.catalog.write() as transaction:
        if not object_notes.hold(transaction, url):
            return False
        is_loose = not object_notes.is_pointed_at(transaction, url)
        if is_loose:
            try:
                runtime.stores.hurried().remove(url)
            except InvalidKey as error:  # no address of an object: there is nothing to remove
                logger.warning("A note of an object is no address, and is dropped: %s", error)
        object_notes.forget(transaction, url)
    return is_loose
