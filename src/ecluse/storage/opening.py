"""Open a store by its address, as the scheme says that it begins with."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from ecluse.errors import SettingsError
from ecluse.sentences import _
from ecluse.settings import SCHEMES, Access, local_folder, scheme_of
from ecluse.storage.store import ObjectStore

#: A page reports a store that does not answer after about this time.
PATIENCE: Final = timedelta(seconds=12)
#: How long work in the background waits for a store to come back.
LONG_PATIENCE: Final = timedelta(seconds=120)


def open_store(
    url: str, access: Access | None = None, *, patience: timedelta = PATIENCE, make: bool = True
) -> ObjectStore:
    """Return the store at an address such as `file:///folder` or `s3://bucket/prefix`.

    Keys come from `access`. A store that does not answer is tried again for `patience`. A store that is a folder is
    made; without `make`, one that is missing reads as a store that is away.

    Raises:
        SettingsError: the scheme is not known, or the address lacks what its scheme needs.
        StoreUnavailable: a local folder cannot be made.
    """
    scheme = scheme_of(url)
    if scheme is None:
        raise SettingsError(
            _(
                "Stores of scheme %(value)s are not known; an address starts with one of %(values)s.",
                value=repr(url.partition(":")[0]),
                values=", ".join(f"{name}://" for name in SCHEMES),
            )
        )
    store: ObjectStore = scheme.open(url, access or Access(), patience)
    if make and scheme.folder is not None:
        store.ensure_bucket()
    return store


def ensure_bucket(url: str, access: Access) -> bool:
    """Make the bucket, container or folder of a store's address; whether it was missing."""
    return open_store(url, access, make=False).ensure_bucket()


def lacks_folder(url: str) -> bool:
    """Return whether an address leads to a folder that is not there: never made, or its disk is not mounted."""
    folder = local_folder(url)
    return folder is not None and not folder.is_dir()
