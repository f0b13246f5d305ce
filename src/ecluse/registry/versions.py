"""Claim, upload, commit, read, verify, delete and clean up versions of models."""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from ecluse.dying import die_at
from ecluse.errors import (
    DigestMismatch,
    InvalidInput,
    ManifestInvalid,
    ModelNotFound,
    ObjectExists,
    ObjectNotFound,
    StoreUnavailable,
    VersionNotFound,
)
from ecluse.registry.files import checked_files, files_below
from ecluse.registry.incoming import Incoming, media_type_of
from ecluse.registry.manifest import (
    CLAIM,
    MANIFEST,
    SIGNATURE,
    Manifest,
    ManifestFile,
    file_of,
    manifest_bytes,
)
from ecluse.registry.metadata import checked_metadata, plain_metadata
from ecluse.registry.names import NAME, checked_name, checked_version, is_version, order_of
from ecluse.sentences import _
from ecluse.storage import (
    Cache,
    Digest,
    Fetched,
    ObjectInfo,
    ObjectStore,
    join_key,
    timestamp,
)
from ecluse.storage.side_by_side import side_by_side

#: A publisher whose version name was taken tries the next free one after a random time of at most this (s).
JITTER: Final = 0.1


#: Called with the number of bytes since the last call, from any thread; negative if a file starts over.
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Leftover:
    """What lies in the folder of a version that is not committed. `size` in bytes; `modified`: the newest object.

    `kind`: unfinished (claimed, never committed), deleted (files that a deletion left) or unclaimed.
    """

    name: str
    version: str
    kind: Literal["unfinished", "deleted", "unclaimed"]
    keys: tuple[str, ...]
    size: int
    modified: datetime
    nonce: str | None = None


class Registry:
    """The model versions in one place of a store, such as one user's `user_models/{user_id}`."""

    def __init__(self, store: ObjectStore, cache: Cache) -> None:
        self._store = store
        self._cache = cache

    def url_of(self, name: str, version: str) -> str:
        """Return the full address of a version's folder."""
        return self._store.url_of(join_key(name, version))

    # Publish

    def claim(self, name: str, nonce: str, moment: datetime | None = None) -> str:
        """Take a version name that no one else can take: the time, with `_2`, `_3` … when the second is taken.

        Who loses one looks, after a random pause, which are taken: trying the next number again and again,
        many publishers would hinder each other.
        """
        checked_name(name)
        base = f"v{timestamp(moment)}"
        body = json.dumps({"nonce": nonce, "claimed_at": datetime.now(UTC).isoformat()}).encode()
        version = base
        while True:
            try:
                self._create(f"{name}/{version}/{CLAIM}", body, nonce)
            except ObjectExists:
                time.sleep(random.uniform(0, JITTER))  # noqa: S311 (nothing secret)
                version = self._next(name, base, version)
            else:
                return version

    def published(self, name: str, nonce: str) -> Manifest | None:
        """Return the version that a publication with this nonce has committed; None where there is none."""

        def read_manifest(version: str, _: Progress) -> Manifest | None:
            try:
                manifest = self.manifest(name, version)
            except VersionNotFound:  # claimed, and not committed
                return None
            return manifest if manifest.nonce == nonce else None

        names = [v for v in self._store.list_names(checked_name(name)) if is_version(v)]
        return next((manifest for manifest in side_by_side(read_manifest, names) if manifest), None)

    def upload(
        self, name: str, version: str, files: Path | Mapping[str, Path], progress: Progress | None = None
    ) -> tuple[ManifestFile, ...]:
        """Store files under a claimed version, 8 at a time; they are still invisible to readers.

        `files` is a folder, or the local files by their paths within the version.

        Raises:
            InvalidInput: there is no file, or one bears a name of the registry's own.
        """
        sources = checked_files(files_below(files) if isinstance(files, Path) else files)

        def store(item: tuple[str, Path], tick: Progress) -> ManifestFile:
            path, source = item
            try:
                stored = self._store.upload(source, join_key(name, version, path), progress=tick)
            except OSError as error:
                if error.filename != str(source):
                    raise
                raise InvalidInput(
                    _(
                        "%(file)s cannot be read: %(error)s. Nothing was published.",
                        file=source,
                        error=error.strerror,
                    )
                ) from error
            die_at("registry.uploaded")
            return ManifestFile(path, stored.size, stored.sha256, media_type_of(path))

        return tuple(side_by_side(store, sorted(sources.items()), progress))

    def incoming(self, name: str, version: str) -> Incoming:
        """Return the folder of a claimed version, for files that arrive in parts."""
        return Incoming(self._store, join_key(checked_name(name), checked_version(version)))

    def abandon(self, name: str, version: str, nonce: str) -> bool:
        """Remove all of a claimed version, the claim too; False where it was committed, and stays.

        What another has claimed, or cleaned up already, is left as it is.
        """
        folder = join_key(checked_name(name), checked_version(version))
        objects = list(self._store.list(folder))
        if _has(objects, MANIFEST):
            return False
        leftover = self._leftover(name, version, objects) if objects else None
        return leftover is None or leftover.nonce != nonce or self.clear(leftover)

    def commit(
        self,
        name: str,
        version: str,
        files: tuple[ManifestFile, ...],
        *,
        created_by: str,
        nonce: str,
        metadata: Mapping[str, Any],
    ) -> Manifest:
        """Make a version visible. Repeating it with the same nonce, that of the claim, returns the first manifest.

        Raises:
            ObjectExists: another publication holds this version, or it was deleted or cleaned up meanwhile.
            InvalidInput: the metadata are not plain JSON.
        """
        manifest = Manifest(
            name=name,
            version=version,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            created_by=created_by,
            nonce=nonce,
            files=files,
            metadata=plain_metadata(metadata),
        )
        try:
            existing = self.manifest(name, version)
        except VersionNotFound:
            self._expect_claim(name, version, nonce)
        else:
            return self._first(existing, nonce)
        die_at("registry.commit")
        try:
            self._create(f"{name}/{version}/{MANIFEST}", manifest.to_json(), nonce)
        except ObjectExists:
            return self._first(self.manifest(name, version), nonce)
        die_at("registry.committed")
        try:
            self._expect_claim(name, version, nonce)
        except ObjectExists:
            self._store.delete(f"{name}/{version}/{MANIFEST}")
            raise
        return manifest

    def publish(
        self,
        name: str,
        files: Path | Mapping[str, Path],
        *,
        created_by: str,
        nonce: str,
        metadata: Mapping[str, Any],
        progress: Progress | None = None,
    ) -> Manifest:
        """Claim a version, upload files (see `upload`) and commit."""
        metadata = checked_metadata(metadata)
        version = self.claim(name, nonce)
        stored = self.upload(name, version, files, progress)
        return self.commit(name, version, stored, created_by=created_by, nonce=nonce, metadata=metadata)

    # Find

    def names(self) -> list[str]:
        """Models with at least one committed version."""
        return [name for name in self._store.list_names() if NAME.fullmatch(name) and self.versions(name)]

    def versions(self, name: str) -> list[str]:
        """List the committed versions of a model, oldest first; empty when there is none."""
        names = self._store.list_names(checked_name(name))
        named = sorted((v for v in names if is_version(v)), key=order_of)
        committed = side_by_side(lambda v, _: self._store.exists(f"{name}/{v}/{MANIFEST}"), named)
        return [version for version, is_committed in zip(named, committed, strict=True) if is_committed]

    def latest(self, name: str) -> str:
        """Return the highest committed version.

        Raises:
            ModelNotFound: there is none.
        """
        versions = self.versions(name)
        if not versions:
            raise ModelNotFound(_('No model "%(name)s". See: ecluse models list', name=name))
        return versions[-1]

    def manifest(self, name: str, version: str, *, digest: str | None = None) -> Manifest:
        """Return what a version holds. With `digest`, that of the manifest: from the cache, also while the store is
        away.

        Raises:
            VersionNotFound: no such committed version.
            ManifestInvalid: the manifest is damaged, is that of another version, or not the one of `digest`.
        """
        if digest is None:
            return self._manifest(name, version, self._bytes)
        return self._manifest(name, version, lambda key: self._cache.read(self._store, key, digest), digest)

    def _bytes(self, key: str) -> bytes:
        return manifest_bytes(self._store, key)

    def _manifest(
        self, name: str, version: str, read: Callable[[str], bytes], digest: str | None = None
    ) -> Manifest:
        """Return the manifest as `read` gives its bytes, which are those of `digest`."""
        key = f"{checked_name(name)}/{checked_version(version)}/{MANIFEST}"
        try:
            data = read(key)
        except ObjectNotFound as error:
            raise VersionNotFound(
                _(
                    'No version %(value)s of "%(name)s". See: ecluse models show %(model)s',
                    value=version,
                    name=name,
                    model=name,
                )
            ) from error
        except DigestMismatch as error:
            raise _replaced(name, version) from error
        if digest is not None and hashlib.sha256(data).hexdigest() != digest:
            raise _replaced(name, version)
        manifest = Manifest.from_json(data)
        if (manifest.name, manifest.version) != (name, version):
            raise ManifestInvalid(
                _(
                    'The manifest of %(name)s says it is "%(value)s".',
                    name=f"{name} {version}",
                    value=f"{manifest.name} {manifest.version}",
                )
            )
        return manifest

    # Fetch

    def fetch_file(
        self,
        manifest: Manifest,
        path: str,
        destination: Path,
        progress: Progress | None = None,
        *,
        link: bool = False,
    ) -> Fetched:
        """Put one file of a version, verified, at `destination`; with `link`, for reading only.

        Raises:
            DigestMismatch: the stored file is not what the manifest says, or is gone.
            VersionNotFound: the version has no such file.
        """
        return self._fetch(manifest, file_of(manifest, path), destination, progress, link=link)

    def _fetch(
        self,
        manifest: Manifest,
        file: ManifestFile,
        destination: Path,
        progress: Progress | None,
        *,
        link: bool,
    ) -> Fetched:
        key = self._key(manifest, file)
        take = self._cache.link if link else self._cache.copy
        try:
            fetched = take(self._store, key, file.sha256, file.size, destination, progress)
        except ObjectNotFound as error:
            raise DigestMismatch(
                _(
                    "%(file)s is missing from %(name)s. Publish the model again, or use another version.",
                    file=key,
                    name=self._store.url,
                )
            ) from error
        if fetched.from_cache and progress is not None:
            progress(file.size)
        return fetched

    def fetch(
        self,
        manifest: Manifest,
        destination: Path,
        progress: Progress | None = None,
        *,
        link: bool = False,
    ) -> list[Fetched]:
        """Put every file of a version below `destination`, 8 at a time; see `fetch_file`."""

        def take(file: ManifestFile, tick: Progress) -> Fetched:
            return self._fetch(manifest, file, destination / file.path, tick, link=link)

        return side_by_side(take, manifest.files, progress)

    def download(
        self, name: str, version: str, destination: Path, progress: Progress | None = None
    ) -> Manifest:
        """Write every file of a version, verified, below `destination`."""
        manifest = self.manifest(name, version)
        self.fetch(manifest, destination, progress)
        return manifest

    def verify(
        self, name: str, version: str, progress: Progress | None = None, *, digest: str | None = None
    ) -> Manifest:
        """Read every stored file again and compare it with the manifest, and that with `digest`, past the cache.

        Raises:
            DigestMismatch: names the first file that is missing or different.
            ManifestInvalid, VersionNotFound: the manifest is not as it was published, or gone.
        """
        manifest = self._manifest(name, version, self._bytes, digest)
        side_by_side(lambda file, tick: self._verify_file(manifest, file, tick), manifest.files, progress)
        return manifest

    def signature(self, name: str, version: str) -> bytes | None:
        """Return the signature stored beside a version; None where there is none."""
        try:
            return self._store.get(join_key(checked_name(name), checked_version(version), SIGNATURE))
        except ObjectNotFound:  # it was not signed
            return None

    def keep_signature(self, name: str, version: str, signature: bytes) -> None:
        """Store a signature beside a version; it replaces the one before."""
        self._store.put(join_key(checked_name(name), checked_version(version), SIGNATURE), signature)

    # Remove

    def delete(self, name: str, version: str) -> None:
        """Make a version invisible, then remove all it holds; its name stays taken. Doing it again is no error."""
        folder = join_key(checked_name(name), checked_version(version))
        if not list(self._store.list(folder)):
            return
        deletion = json.dumps({"nonce": None, "deleted_at": datetime.now(UTC).isoformat()}).encode()
        self._store.put(f"{folder}/{CLAIM}", deletion)
        self._store.delete(f"{folder}/{MANIFEST}")
        keys = [info.key for info in self._store.list(folder) if info.key != f"{folder}/{CLAIM}"]
        side_by_side(lambda key, _: self._store.delete(key), keys)

    def leftovers(self) -> list[Leftover]:
        """List what interrupted publications and deletions left, by model and version."""
        folders: dict[tuple[str, str], list[ObjectInfo]] = defaultdict(list)
        for info in self._store.list():
            name, _rest, rest = info.key.partition("/")
            version, _rest, path = rest.partition("/")
            if path and NAME.fullmatch(name) and is_version(version):
                folders[name, version].append(info)
        open_ = [item for item in folders.items() if not _has(item[1], MANIFEST)]
        candidates = side_by_side(lambda item, _: self._leftover(*item[0], item[1]), open_)
        return sorted(
            (leftover for leftover in candidates if leftover),
            key=lambda leftover: (leftover.name, leftover.version),
        )

    def clear(self, leftover: Leftover) -> bool:
        """Remove what was found by `leftovers`; False where the version was committed meanwhile and stays."""
        folder = join_key(leftover.name, leftover.version)
        claim, manifest = f"{folder}/{CLAIM}", f"{folder}/{MANIFEST}"
        if leftover.kind == "unfinished":
            claimed = self._store.get(claim)
            self._store.put(claim, json.dumps({"nonce": None}).encode())
            if self._store.exists(manifest):
                self._store.put(claim, claimed)
                return False
        elif self._store.exists(manifest):
            return False
        side_by_side(lambda key, _: self._store.delete(key), [key for key in leftover.keys if key != claim])
        if leftover.kind == "unfinished":
            self._store.delete(claim)
        return True

    def _leftover(self, name: str, version: str, objects: list[ObjectInfo]) -> Leftover | None:
        """Describe the objects of a version that is not committed; None if a deletion left just its claim."""
        nonce: str | None = None
        kind: Literal["unfinished", "deleted", "unclaimed"] = "unclaimed"
        if _has(objects, CLAIM):
            nonce = self._nonce(f"{name}/{version}/{CLAIM}")
            kind = "deleted" if nonce is None else "unfinished"
            if kind == "deleted":
                objects = [info for info in objects if not info.key.endswith(f"/{CLAIM}")]
        if not objects:
            return None
        return Leftover(
            name,
            version,
            kind,
            tuple(sorted(info.key for info in objects)),
            sum(info.size for info in objects),
            max(info.last_modified for info in objects),
            nonce,
        )

    def _verify_file(self, manifest: Manifest, file: ManifestFile, tick: Progress) -> None:
        digest, key = Digest(), self._key(manifest, file)
        try:
            for chunk in digest.beside(self._store.stream(key)):
                tick(len(chunk))
        except ObjectNotFound as error:
            raise DigestMismatch(
                _(
                    "%(file)s is missing from %(name)s. Publish the model again.",
                    file=key,
                    name=self._store.url,
                )
            ) from error
        digest.expect(file.sha256, f"{key} in {self._store.url}")

    def _next(self, name: str, base: str, lost_version: str) -> str:
        """Return the next version name of this second above all taken ones, and above `lost_version`."""
        taken_numbers = [order_of(v) for v in [*self._store.list_names(name), lost_version] if is_version(v)]
        number = max(number for second, number in taken_numbers if f"v{second}" == base)
        return f"{base}_{number + 1}"

    def _first(self, existing: Manifest, nonce: str) -> Manifest:
        """Return the manifest if this publication wrote it earlier; raise if another one did."""
        if existing.nonce != nonce:
            raise _taken(existing.name, existing.version)
        return existing

    def _expect_claim(self, name: str, version: str, nonce: str) -> None:
        if not self._holds(name, version, nonce):
            raise _taken(name, version)

    def _holds(self, name: str, version: str, nonce: str) -> bool:
        return self._nonce(f"{name}/{version}/{CLAIM}") == nonce

    def _key(self, manifest: Manifest, file: ManifestFile) -> str:
        return join_key(manifest.name, manifest.version, file.path)

    def _create(self, key: str, body: bytes, nonce: str) -> None:
        """Write create-only. An object that holds this nonce is our own, whose acknowledgement was lost: no error."""
        try:
            self._store.put(key, body, create_only=True)
        except (ObjectExists, StoreUnavailable):
            if self._nonce(key) != nonce:
                raise

    def _nonce(self, key: str) -> str | None:
        """Return the nonce in a claim or manifest: the publication that wrote it. None if it names none."""
        try:
            nonce = json.loads(manifest_bytes(self._store, key)).get("nonce")
        except (ObjectNotFound, ValueError, AttributeError, RecursionError):  # gone, or not a claim
            return None
        return nonce if isinstance(nonce, str) else None


def _has(objects: Iterable[ObjectInfo], name: str) -> bool:
    """Return whether an object of this name lies in the version's folder itself."""
    return any(info.key.count("/") == 2 and info.key.endswith(f"/{name}") for info in objects)


def _replaced(name: str, version: str) -> ManifestInvalid:
    return ManifestInvalid(
        _(
            "The manifest of %(name)s was replaced after it was published. Delete the version, "
            "and publish it again.",
            name=f"{name} {version}",
        )
    )


def _taken(name: str, version: str) -> ObjectExists:
    return ObjectExists(
        _(
            "%(name)s is held by another publication, or was deleted or cleaned up meanwhile. "
            "Publish it again.",
            name=f"{name} {version}",
        )
    )
