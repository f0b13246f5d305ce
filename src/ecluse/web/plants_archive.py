"""Hand out a set of images as a .zip that is written while it is sent: a folder for each label."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Final

from ecluse.catalog.tables import Image
from ecluse.errors import DigestMismatch
from ecluse.runtime import Runtime
from ecluse.web.plants_pictures import name_of

#: Bytes gathered before they are sent.
PIECE: Final = 256 * 1024


class _Written(io.RawIOBase):
    """What a zip writes, to be taken away; it cannot be sought in, so nothing is written twice."""

    def __init__(self) -> None:
        self._held = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes | bytearray | memoryview) -> int:  # type: ignore[override]
        self._held += data
        return len(data)

    def take(self, least: int = 1) -> bytes:
        """What was written since, or nothing where that is less than `least`."""
        if len(self._held) < least:
            return b""
        taken = bytes(self._held)
        self._held.clear()
        return taken


def zipped(runtime: Runtime, rows: Sequence[Image]) -> Iterator[bytes]:
    """A .zip of these images, each compared with its digest as it is read.

    Raises:
        DigestMismatch: an image is damaged; what was sent until then is no whole archive.
    """
    written = _Written()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_STORED) as archive:  # images are compressed already
        for name, row in zip(names_in(rows), rows, strict=True):
            info = zipfile.ZipInfo(name, row.created_at.timetuple()[:6])
            archive.writestr(info, _bytes_of(runtime, row))
            if piece := written.take(PIECE):
                yield piece
    yield written.take()


def names_in(rows: Sequence[Image]) -> list[str]:
    """Where in an archive each image lies: `{label}/{name}`, with the start of its digest where names repeat."""
    taken, names = set[str](), []
    for row in rows:
        given = PurePosixPath(name_of(row.origin))
        stem, ending = given.stem[:80] or "image", row.format.lower().replace("jpeg", "jpg")
        name = f"{row.label}/{stem}.{ending}"
        if name.casefold() in taken:
            name = f"{row.label}/{stem}-{row.sha256[:12]}.{ending}"
        taken.add(name.casefold())
        names.append(name)
    return names


def _bytes_of(runtime: Runtime, row: Image) -> bytes:
    located = runtime.stores.locate(row.url)
    data = located.store.get(located.key)
    if hashlib.sha256(data).hexdigest() != row.sha256:
        raise DigestMismatch(f"The image {row.origin} is damaged: it is not what was imported.")
    return data
