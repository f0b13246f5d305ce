"""Read and write the manifest of a version: its files, each with its digest, and what its publisher says of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from ecluse.errors import (
    ManifestInvalid,
    VersionNotFound,
)
from ecluse.sentences import _
from ecluse.storage import (
    ObjectStore,
    checked_key,
)

#: The file by which a publisher claims a version name; it stays after a delete, so that no name is used twice.
CLAIM: Final = ".claim"


#: A signature of the files, made after the version was committed; no part of the manifest.
SIGNATURE: Final = "model.sig"


MANIFEST: Final = "manifest.json"


#: The folder in which the files of a claimed version arrive in parts; gone once it is committed.
PARTS: Final = ".parts"


FORMAT_VERSION: Final = 1


#: A larger file (bytes) is not read as a manifest.
LARGEST_MANIFEST: Final = 16 * 1024 * 1024


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

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest as it is stored, in hexadecimal."""
        return hashlib.sha256(self.to_json()).hexdigest()

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
                    checked_key(str(f["path"])), _size(f["size"]), str(f["sha256"]), str(f["media_type"])
                )
                for f in raw.pop("files")
            )
            manifest = cls(files=files, **raw)
            _expect_whole(manifest)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ManifestInvalid(
                _("This manifest cannot be read: %(error)s. Publish the version again.", error=error)
            ) from error
        if manifest.format_version != FORMAT_VERSION:
            raise ManifestInvalid(
                _(
                    "This manifest has format %(value)s; this Écluse reads format %(word)s.",
                    value=manifest.format_version,
                    word=FORMAT_VERSION,
                )
            )
        return manifest


def file_of(manifest: Manifest, path: str) -> ManifestFile:
    for file in manifest.files:
        if file.path == path:
            return file
    names = ", ".join(file.path for file in manifest.files)
    raise VersionNotFound(
        _(
            "%(name)s %(value)s has no file %(file)s; it has: %(values)s.",
            name=manifest.name,
            value=manifest.version,
            file=repr(path),
            values=names,
        )
    )


def manifest_bytes(store: ObjectStore, key: str) -> bytes:
    """Return a manifest or claim as it is stored.

    Raises:
        ManifestInvalid: it has more than `LARGEST_MANIFEST` bytes; the rest is not read.
        ObjectNotFound: there is none.
    """
    data = bytearray()
    for chunk in store.stream(key):
        data += chunk
        if len(data) > LARGEST_MANIFEST:
            raise ManifestInvalid(
                _("%(key)s is larger than any manifest. Publish the version again.", key=key)
            )
    return bytes(data)


def _size(size: Any) -> int:
    if type(size) is not int or not 0 <= size < 2**63:
        raise ValueError(_("a size is no number of bytes"))
    return size


def _expect_whole(manifest: Manifest) -> None:
    """`ValueError` or `TypeError` for what could not be written again, or not all be stored below one folder."""
    texts = (manifest.name, manifest.version, manifest.created_at, manifest.created_by, manifest.nonce)
    if not all(isinstance(text, str) for text in texts) or not isinstance(manifest.metadata, dict):
        raise TypeError(_("a part of it is of another kind"))
    json.dumps(manifest.metadata, allow_nan=False)
    manifest.to_json()
    paths = {file.path for file in manifest.files}
    folders = {path[:at] for path in paths for at, letter in enumerate(path) if letter == "/"}
    if len(paths) < len(manifest.files) or paths & folders:
        raise ValueError(_("two files have one name"))
