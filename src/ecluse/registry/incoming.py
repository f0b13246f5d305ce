"""Receive the files of a claimed version in parts, and put each together under its name when all of it is there.

Parts lie in a folder of the version that no file can be named after. A file is written under its own name by one write
that is broken off where its bytes are not those that were announced: what lies there is whole and right.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from ecluse.errors import DigestMismatch
from ecluse.registry.manifest import PARTS, ManifestFile
from ecluse.sentences import _
from ecluse.storage import Digest, ObjectStore, join_key

#: Bytes of a part; the last of a file has what is left.
PART_BYTES: Final = 8 * 1024 * 1024
#: How much of a part is read at a time while a file is put together.
PIECE: Final = 1024 * 1024


@dataclass(frozen=True)
class Arrived:
    """What of a version has arrived: bytes of the files that are put together, by path, and of parts, by file and
    number. `newest` is when the last of it came.
    """

    files: dict[str, int]
    parts: dict[int, dict[int, int]]
    newest: datetime | None


class Incoming:
    """The folder of a claimed version while its files arrive."""

    def __init__(self, store: ObjectStore, folder: str) -> None:
        self._store = store
        self._folder = folder

    def arrived(self) -> Arrived:
        """List what is there."""
        files: dict[str, int] = {}
        parts: dict[int, dict[int, int]] = {}
        newest: datetime | None = None
        for info in self._store.list(self._folder):
            newest = info.last_modified if newest is None else max(newest, info.last_modified)
            path = info.key.removeprefix(f"{self._folder}/")
            place = path.split("/")
            if place[0] != PARTS:
                files[path] = info.size
            elif len(place) == 3 and place[1].isdecimal() and place[2].isdecimal():
                parts.setdefault(int(place[1]), {})[int(place[2])] = info.size
        return Arrived(files, parts, newest)

    def keep(self, index: int, number: int, data: bytes) -> None:
        """Store part `number` of a file, whole or not at all."""
        self._store.put(self._part(index, number), data)

    def drop(self, index: int, number: int) -> None:
        """Remove a part that came too late."""
        self._store.delete(self._part(index, number))

    def put_together(self, index: int, file: ManifestFile, count: int) -> None:
        """Write a file under its name from its `count` parts.

        Raises:
            DigestMismatch: its bytes are not those that were announced; nothing is written.
            ObjectNotFound: a part is not there.
        """
        self._store.put_stream(join_key(self._folder, file.path), self._whole(index, file, count))

    def remove_parts(self) -> None:
        """Remove every part."""
        self._store.delete_prefix(join_key(self._folder, PARTS))

    def _whole(self, index: int, file: ManifestFile, count: int) -> Iterator[bytes]:
        """Yield the bytes of all parts; the last of them only once they are all known to be right."""
        digest, held = Digest(), b""
        for number in range(1, count + 1):
            for piece in digest.through(self._store.stream(self._part(index, number), chunk_size=PIECE)):
                if held:
                    yield held
                held = piece
        if digest.size != file.size or digest.stored("").sha256 != file.sha256:
            raise DigestMismatch(
                _(
                    "%(file)s arrived with %(count)s bytes and the SHA-256 %(value)s…; %(number)s bytes and %(word)s… "
                    "were announced. The file was changed while it was sent: give the upload up and begin again.",
                    file=file.path,
                    count=digest.size,
                    value=digest.stored("").sha256[:12],
                    number=file.size,
                    word=file.sha256[:12],
                )
            )
        yield held

    def _part(self, index: int, number: int) -> str:
        return join_key(self._folder, PARTS, str(index), str(number))


def media_type_of(path: str) -> str:
    """Return the type of a file by its name."""
    return mimetypes.guess_type(path)[0] or "application/octet-stream"
