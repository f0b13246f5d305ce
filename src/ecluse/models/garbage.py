"""Find and remove what publications and deletions that were interrupted left in the store."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from ecluse.catalog import audit, files, runs
from ecluse.models.folders import SHARED
from ecluse.models.uploads import clean_uploads, forget
from ecluse.models.versions import ABANDONED
from ecluse.registry import Leftover
from ecluse.runtime import Runtime
from ecluse.storage import is_within

USERS: Final = "user_models"


@dataclass(frozen=True)
class Garbage:
    """What no committed version holds: where it lies, `objects` and their `size` in bytes, and its `age`.

    `kind`: unfinished (claimed, never committed), deleted (files that a deletion left), unclaimed (files of
    neither) or uploads (parts of objects whose writer is gone).
    """

    url: str
    kind: str
    objects: int
    size: int
    age: timedelta


def gc(runtime: Runtime, *, delete: bool = False, older_than: timedelta = ABANDONED) -> list[Garbage]:
    """Return what interrupted publications and deletions left, of all users and what is shared, if it is that old.

    Without `delete` nothing is removed. What is committed stays, as does what a training that runs is about
    to commit, and the claim that keeps a deleted version's name. A publication whose claim is removed while it
    runs ends with an error.
    """
    if delete:
        runtime.catalog.expect_open()
    garbage_list = [
        garbage for prefix in _places(runtime) for garbage in _of(runtime, prefix, delete, older_than)
    ]
    for store in runtime.stores.distinct():
        uploads = store.stale_uploads(older_than, remove=delete)
        if uploads.objects:
            garbage_list.append(Garbage(store.url, "uploads", uploads.objects, uploads.size, older_than))
    if delete:
        clean_uploads(runtime, older_than)
        with runtime.catalog.write() as transaction:
            audit.record(transaction, None, "model.gc", "models", removed=len(garbage_list))
    return garbage_list


def _places(runtime: Runtime) -> list[str]:
    """Return the prefixes of the models' store that hold versions."""
    store = runtime.stores.area("models")
    with runtime.catalog.read() as transaction:
        keys = [key for url in files.shared_versions(transaction) if (key := store.key_of(url))]
    prefixes = {SHARED} | {key.rsplit("/", 2)[0] for key in keys if key.count("/") > 1}
    users = {f"{USERS}/{user}" for user in store.list_names(USERS)}
    return sorted(users | {prefix for prefix in prefixes if not is_within(prefix, USERS)})


def _of(runtime: Runtime, prefix: str, delete: bool, older_than: timedelta) -> list[Garbage]:
    registry, moment = runtime.registry_in(prefix), datetime.now(UTC)
    garbage_list = []
    for leftover in registry.leftovers():
        age = moment - leftover.modified
        if age < older_than or _is_running(runtime, leftover):
            continue
        if delete:
            if not registry.clear(leftover):
                continue
            forget(runtime, leftover.nonce)
        url = registry.url_of(leftover.name, leftover.version)
        garbage_list.append(Garbage(url, leftover.kind, len(leftover.keys), leftover.size, age))
    return garbage_list


def _is_running(runtime: Runtime, leftover: Leftover) -> bool:
    """Return whether the training that claimed this version has not ended; its nonce begins with its job."""
    if leftover.nonce is None:
        return False
    with runtime.catalog.read() as transaction:
        run = runs.run_by_job(transaction, leftover.nonce.partition(" ")[0])
    return run is not None and run.status in runs.ACTIVE
