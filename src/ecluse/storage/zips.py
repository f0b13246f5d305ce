"""Write a zip whose bytes are sent as they come: in bounded memory, of any size (zip64), without a file of its own."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from typing import IO, cast


class ZipStream:
    """A zip that is being written. Each method yields the bytes that are ready; `close` yields the last."""

    def __init__(self) -> None:
        self._sink = _Sink()
        self._archive = zipfile.ZipFile(cast(IO[bytes], self._sink), "w", zipfile.ZIP_STORED)

    def add(self, path: str, chunks: Iterable[bytes], *, compressed: bool = False) -> Iterator[bytes]:
        """Add a file of any size. `compressed`: text, which becomes much smaller so."""
        entry = zipfile.ZipInfo(path)
        entry.compress_type = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
        with self._archive.open(entry, "w", force_zip64=True) as file:
            for chunk in chunks:
                file.write(chunk)
                yield self._sink.take()
        yield self._sink.take()

    def close(self) -> Iterator[bytes]:
        """End the zip by its list of files; without it, what came is no zip."""
        self._archive.close()
        yield self._sink.take()


class _Sink:
    """A file that cannot be rewound, whose bytes are taken as they come."""

    def __init__(self) -> None:
        self._held = bytearray()

    def write(self, data: bytes) -> int:
        self._held += data
        return len(data)

    def flush(self) -> None:
        """Nothing waits."""

    def take(self) -> bytes:
        data, self._held = bytes(self._held), bytearray()
        return data
