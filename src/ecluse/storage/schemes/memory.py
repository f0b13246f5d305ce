"""Describe stores in the memory of one process: memory://, for trials and checks."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from ecluse.sentences import _
from ecluse.settings import Access, Scheme
from ecluse.settings.schemes import signing_forms
from ecluse.storage.store import ObjectStore


def _open(url: str, _access: Access, patience: timedelta) -> ObjectStore:
    from obstore.store import MemoryStore

    from ecluse.storage.bucket import Bucket
    from ecluse.storage.remote import RemoteBackend

    unsigned = _(
        "Objects in memory have no signed addresses. Use an object store (%(values)s).",
        values=signing_forms(),
    )
    root = url if url.endswith("/") else f"{url}/"
    store = MemoryStore()
    return ObjectStore(RemoteBackend(store, store, Bucket(root, "memory", patience, unsigned=unsigned)))


SCHEME: Final = Scheme(
    "memory", "memory://", "The memory of one process", _open, has_buckets=False, lasts=False
)
