"""Tell which objects rows need, and which they have let go of."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from ecluse.catalog import Catalog, files
from ecluse.catalog.journal import Entry
from ecluse.catalog.tables import File, MigrationRow
from ecluse.errors import (
    ManifestInvalid,
    ObjectNotFound,
)
from ecluse.migration.ends import Ends
from ecluse.registry import CLAIM, MANIFEST, SIGNATURE, Manifest, is_version, manifest_bytes
from ecluse.storage import ObjectStore, is_within, join_key


class Intact:
    """Objects of a store by key, known to be what their digests say."""

    def __init__(self, store: ObjectStore, digests: Mapping[str, str | None]) -> None:
        self._store = store
        self._digests = digests

    def holds(self, key: str, sha256: str | None, *, is_version: bool) -> bool:
        """Return whether all of a file is here: an object, or a version with every file of its manifest."""
        if not is_version:
            return self._has(key, sha256)
        manifest = join_key(key, MANIFEST)
        return self._has(manifest, sha256) and self._has_files(key, manifest)

    def _has(self, key: str, sha256: str | None) -> bool:
        return self._digests.get(key) is not None and sha256 in (None, self._digests[key])

    def _has_files(self, folder: str, manifest: str) -> bool:
        try:
            data = manifest_bytes(self._store, manifest)
            files = Manifest.from_json(data).files
        except (ObjectNotFound, ManifestInvalid):
            return False
        if hashlib.sha256(data).hexdigest() != self._digests[manifest]:
            return False
        return all(self._has(join_key(folder, file.path), file.sha256) for file in files)


class Covered:
    """Keys of objects and folders; a key is covered if it is one of them or lies in one."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys = set(keys)

    def covers(self, key: str) -> bool:
        while key:
            if key in self._keys:
                return True
            key = key.rpartition("/")[0]
        return False


class Pointed(Covered):
    """What rows point at, in the destination; all of it where a row points at its root or at a folder that holds it."""

    def __init__(self, ends: Ends, pointing: Sequence[File]) -> None:
        root = ends.destination.url.rstrip("/")
        self._has_all = any(file.url == root or is_within(root, file.url) for file in pointing)
        keys = (ends.destination.key_of(file.url) for file in pointing)
        super().__init__(key for key in keys if key is not None)

    def covers(self, key: str) -> bool:
        return self._has_all or super().covers(key)


def released_since(catalog: Catalog, ends: Ends, migration_id: str) -> Covered:
    """Return what belonged to rows that were switched, and are gone or point elsewhere since."""
    owned = {file.url for file in ends.files(catalog, ends.destination) if file.owned}
    with catalog.read() as transaction:
        released = []
        for row in files.switched(transaction, migration_id):
            key, file = ends.source.key_of(row.url), files.find(transaction, key_of_row(row))
            if key is None or (file is not None and file.url == ends.destination.url_of(key)):
                continue
            if ends.destination.url_of(key) in owned:
                continue  # another row has it: a publication has become a version
            released.append(key)
    return Covered(released)


def keeps_name(file: File, url: str) -> bool:
    """Return whether a version is called there as its manifest has it: a folder of its model, then its own."""
    return not file.is_version or url.split("/")[-2:] == file.url.split("/")[-2:]


def key_of_row(row: MigrationRow) -> files.Key:
    return row.table_name, row.row_id, row.name


def is_signed_anew(ends: Ends, entry: Entry) -> bool:
    """Return whether a signature was written at the destination since the migration brought one there."""
    if entry.key.rpartition("/")[2] != SIGNATURE:
        return False
    e_tag = ends.destination.head(entry.key).e_tag
    return None not in (e_tag, entry.e_tag) and e_tag != entry.e_tag


def is_claim(key: str) -> bool:
    """Return whether a key keeps the name of a version, even of one that was deleted."""
    version, _rest, name = key.rpartition("/")
    return name == CLAIM and is_version(version.rpartition("/")[2])
