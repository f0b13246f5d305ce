"""Publish, find, verify and download model versions.

A version is a folder `{name}/v{YYYYMMDD_HHMMSS}/` of files under the names a person expects, and
`manifest.json` with the SHA-256 of each. The manifest is written last, by one create-only write: what
has no manifest does not exist, and two publishers never take the same version.
"""

from __future__ import annotations

import json
import mimetypes
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

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
from ecluse.storage import Cache, Digest, ObjectStore, checked_key, join_key, timestamp

MANIFEST: Final = "manifest.json"
#: Held by the publisher that took a version name; kept after a delete, so that no name is used twice.
CLAIM: Final = ".claim"
FORMAT_VERSION: Final = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_VERSION = re.compile(r"v(\d{8}_\d{6})(?:_(\d+))?")


@dataclass(frozen=True)
class ManifestFile:
    """One file of a version: relative path, size in bytes, SHA-256 in hexadecimal."""

    path: str
    size: int
    sha256: str
    media_type: str


@dataclass(frozen=True)
class Manifest:
    """What a version holds. `nonce` names the publication, so that repeating it changes nothing."""

    name: str
    version: str
    created_at: str
    created_by: str
    nonce: str
    files: tuple[ManifestFile, ...]
    metadata: dict[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), indent=2, ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Manifest:
        """Read what `to_json` wrote.

        Raises:
            ManifestInvalid: it is not a manifest, or names a file outside its version.
        """
        try:
            raw = json.loads(data)
            files = tuple(
                ManifestFile(
                    checked_key(str(f["path"])), int(f["size"]), str(f["sha256"]), str(f["media_type"])
                )
                for f in raw.pop("files")
            )
            manifest = cls(files=files, **raw)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ManifestInvalid(
                f"This manifest cannot be read: {error}. Publish the version again."
            ) from error
        if manifest.format_version != FORMAT_VERSION:
            raise ManifestInvalid(
                f"This manifest has format {manifest.format_version}; this Écluse reads format {FORMAT_VERSION}."
            )
        return manifest


class Registry:
    """The model versions in one place of a store, such as one user's `user_models/{user_id}`."""

    def __init__(self, store: ObjectStore, cache: Cache) -> None:
        self._store = store
        self._cache = cache

    def url_of(self, name: str, version: str) -> str:
        """The full address of a version's folder."""
        return self._store.url_of(join_key(name, version))

    # Publish

    def claim(self, name: str, nonce: str, moment: datetime | None = None) -> str:
        """Take a version name that no one else can take: the time, with `_2`, `_3` … when the second is taken."""
        checked_name(name)
        base = f"v{timestamp(moment)}"
        body = json.dumps({"nonce": nonce, "claimed_at": datetime.now(UTC).isoformat()}).encode()
        number = 1
        while True:
            version = base if number == 1 else f"{base}_{number}"
            try:
                self._create(f"{name}/{version}/{CLAIM}", body, nonce)
            except ObjectExists:
                number += 1
            else:
                return version

    def upload(self, name: str, version: str, folder: Path) -> tuple[ManifestFile, ...]:
        """Store every file below `folder` under a claimed version; still invisible to readers."""
        files = []
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            relative = path.relative_to(folder).as_posix()
            stored = self._store.upload(path, join_key(name, version, relative))
            media = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
            files.append(ManifestFile(relative, stored.size, stored.sha256, media))
        return tuple(files)

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
        """Make a version visible. Repeating it with the same nonce returns the first manifest.

        Raises:
            ObjectExists: another publication committed this version.
        """
        manifest = Manifest(
            name=name,
            version=version,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            created_by=created_by,
            nonce=nonce,
            files=files,
            metadata=dict(metadata),
        )
        try:
            self._create(f"{name}/{version}/{MANIFEST}", manifest.to_json(), nonce)
        except ObjectExists:
            existing = self.manifest(name, version)
            if existing.nonce != nonce:
                raise
            return existing
        return self.manifest(name, version)

    def publish(
        self, name: str, folder: Path, *, created_by: str, nonce: str, metadata: Mapping[str, Any]
    ) -> Manifest:
        """Claim a version, upload every file below `folder` and commit."""
        version = self.claim(name, nonce)
        files = self.upload(name, version, folder)
        return self.commit(name, version, files, created_by=created_by, nonce=nonce, metadata=metadata)

    # Find

    def names(self) -> list[str]:
        """Models with at least one committed version."""
        return [name for name in self._store.list_names() if _NAME.fullmatch(name) and self.versions(name)]

    def versions(self, name: str) -> list[str]:
        """Committed versions of a model, oldest first; empty when there is none."""
        found = self._store.list_names(checked_name(name))
        named = sorted((v for v in found if _VERSION.fullmatch(v)), key=_order)
        return [v for v in named if self._store.exists(f"{name}/{v}/{MANIFEST}")]

    def latest(self, name: str) -> str:
        """The highest committed version.

        Raises:
            ModelNotFound: there is none.
        """
        versions = self.versions(name)
        if not versions:
            raise ModelNotFound(f'No model "{name}". See: ecluse models list')
        return versions[-1]

    def manifest(self, name: str, version: str) -> Manifest:
        """What a version holds.

        Raises:
            VersionNotFound: no such committed version.
            ManifestInvalid: the manifest is damaged, or is that of another version.
        """
        checked_name(name)
        if not _VERSION.fullmatch(version):
            raise VersionNotFound(f"{version!r} is not a version; one looks like v20251028_181858.")
        try:
            data = self._store.get(f"{name}/{version}/{MANIFEST}")
        except ObjectNotFound as error:
            raise VersionNotFound(
                f'No version {version} of "{name}". See: ecluse models show {name}'
            ) from error
        manifest = Manifest.from_json(data)
        if (manifest.name, manifest.version) != (name, version):
            raise ManifestInvalid(
                f'The manifest of {name} {version} says it is "{manifest.name} {manifest.version}".'
            )
        return manifest

    # Fetch

    def fetch_file(self, manifest: Manifest, path: str, destination: Path) -> None:
        """Write one file of a version, verified, to `destination`.

        Raises:
            DigestMismatch: the stored file is not what the manifest says, or is gone.
            VersionNotFound: the version has no such file.
        """
        file = _file_of(manifest, path)
        key = self._key(manifest, file)
        try:
            self._cache.copy(self._store, key, file.sha256, file.size, destination)
        except ObjectNotFound as error:
            raise DigestMismatch(
                f"{key} is missing from {self._store.url}. Publish the model again, or use another version."
            ) from error

    def download(self, name: str, version: str, destination: Path) -> Manifest:
        """Write every file of a version, verified, below `destination`."""
        manifest = self.manifest(name, version)
        for file in manifest.files:
            target = destination / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            self.fetch_file(manifest, file.path, target)
        return manifest

    def verify(self, name: str, version: str) -> Manifest:
        """Read every stored file again and compare it with the manifest, past the cache.

        Raises:
            DigestMismatch: names the first file that is missing or different.
        """
        manifest = self.manifest(name, version)
        for file in manifest.files:
            self._verify_file(manifest, file)
        return manifest

    def delete(self, name: str, version: str) -> None:
        """Make a version invisible, then remove all it holds; its name stays taken. Doing it again is no error."""
        checked_name(name)
        if not _VERSION.fullmatch(version):
            raise VersionNotFound(f"{version!r} is not a version; one looks like v20251028_181858.")
        self._store.delete(f"{name}/{version}/{MANIFEST}")
        for info in list(self._store.list(join_key(name, version))):
            if info.key != f"{name}/{version}/{CLAIM}":
                self._store.delete(info.key)

    def _verify_file(self, manifest: Manifest, file: ManifestFile) -> None:
        digest, key = Digest(), self._key(manifest, file)
        try:
            for _ in digest.through(self._store.stream(key)):
                pass
        except ObjectNotFound as error:
            raise DigestMismatch(
                f"{key} is missing from {self._store.url}. Publish the model again."
            ) from error
        digest.expect(file.sha256, f"{key} in {self._store.url}")

    def _key(self, manifest: Manifest, file: ManifestFile) -> str:
        return join_key(manifest.name, manifest.version, file.path)

    def _create(self, key: str, body: bytes, nonce: str) -> None:
        """A create-only write that knows its own: an acknowledgement lost on the way back is no loss."""
        try:
            self._store.put(key, body, create_only=True)
        except (ObjectExists, StoreUnavailable):
            if not self._is_ours(key, nonce):
                raise

    def _is_ours(self, key: str, nonce: str) -> bool:
        try:
            return bool(json.loads(self._store.get(key)).get("nonce") == nonce)
        except (ObjectNotFound, ValueError):
            return False


def _file_of(manifest: Manifest, path: str) -> ManifestFile:
    for file in manifest.files:
        if file.path == path:
            return file
    names = ", ".join(file.path for file in manifest.files)
    raise VersionNotFound(f"{manifest.name} {manifest.version} has no file {path!r}; it has: {names}.")


def checked_name(name: str) -> str:
    """A model name that can stand in a key, a URL and a file name; `InvalidInput` otherwise."""
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"{name!r} cannot be a model name: use 1 to 64 letters, digits, dots, hyphens or underscores, "
            "beginning with a letter or digit."
        )
    return name


def _order(version: str) -> tuple[str, int]:
    match = _VERSION.fullmatch(version)
    assert match  # noqa: S101 (the callers have matched it)
    return match[1], int(match[2] or 1)
