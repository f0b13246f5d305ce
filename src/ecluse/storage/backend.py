"""Say what a place that keeps objects must do; `posix.py` and `remote.py` do it.

A backend knows whole paths, already checked. Keys, scopes and digests are the business of `store.py`.
Every method raises errors of our tree, with the path and the address of the store in them.
"""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Literal, Protocol

CHUNK: Final = 8 * 1024 * 1024
#: Below the root of an opened store, what a probe writes and what older releases staged; removed by a clean-up.
#: There it is neither listed nor written as data; a folder of this name elsewhere is one like any other.
STAGING: Final = ".staging"

Method = Literal["GET", "PUT"]


@dataclass(frozen=True)
class ObjectInfo:
    """One object. `size` in bytes; `e_tag` changes with the object and is no digest of it."""

    key: str
    size: int
    last_modified: datetime
    e_tag: str | None = None


@dataclass(frozen=True)
class StaleUploads:
    """What writers that are gone left behind: how many `objects`, and their `size` in bytes."""

    objects: int
    size: int

    def __add__(self, other: StaleUploads) -> StaleUploads:
        return StaleUploads(self.objects + other.objects, self.size + other.size)


@dataclass(frozen=True)
class Capabilities:
    """What a store can do, as found by asking it."""

    #: Of many create-only writers of one key, exactly one wins.
    conditional_writes: bool
    #: Addresses can be signed, so that someone without keys may read or write one object.
    signed_urls: bool


class Backend(Protocol):
    """One opened place. `url` ends with a slash."""

    url: str

    def put(self, path: str, data: bytes, *, create_only: bool, attributes: Mapping[str, str]) -> None:
        """Write whole; `ObjectExists` where `create_only` lost."""

    def put_stream(
        self,
        path: str,
        source: Callable[[], Iterable[bytes]],
        *,
        repeatable: bool,
        attributes: Mapping[str, str],
    ) -> None:
        """Write what `source` gives; the path holds the old object, or nothing, until all is stored.

        Where it is `repeatable`, `source` may be asked again after a failure.
        """

    async def put_stream_async(
        self, path: str, chunks: AsyncIterator[bytes], *, attributes: Mapping[str, str]
    ) -> None: ...

    def get(self, path: str) -> bytes: ...

    def stream(self, path: str, *, chunk_size: int, start: int, end: int | None) -> Iterator[bytes]:
        """Yield bytes `start` to `end`, opened before the first chunk is asked for."""

    def head(self, path: str) -> ObjectInfo: ...

    def attributes(self, path: str) -> dict[str, str]: ...

    def list(self, prefix: str, *, after: str | None) -> Iterator[ObjectInfo]:
        """Yield what lies under the folder `prefix` ("" is everything), in the store's order, behind `after`."""

    def local_path(self, path: str) -> Path | None:
        """Return the file that holds the object on this machine, for reading alone; None where there is none."""

    def list_names(self, prefix: str) -> builtins.list[str]:
        """Return the folders directly under `prefix`."""

    def delete(self, paths: Sequence[str]) -> None:
        """Remove these; those that are not there are no error."""

    def copy(self, source: str, destination: str) -> None: ...

    def sign(self, path: str, method: Method, expires: timedelta) -> str:
        """Sign an address; raise `CannotSign` where the store has no signed addresses."""

    def ensure_bucket(self) -> bool:
        """Make the place unless it is there; whether it was missing."""

    def probe(self, staging: str) -> Capabilities:
        """Return what the store can do; may write and remove objects under `staging`."""

    def stale_uploads(self, prefix: str, older_than: timedelta, *, remove: bool) -> StaleUploads:
        """Count, and with `remove` delete, what uploads left under `prefix` and nothing has touched for that long."""
