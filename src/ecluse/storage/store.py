"""Read and write objects by key in one store, or in a part of it that cannot be left.

`ObjectStore` adds to obstore what it lacks: keys that are checked and confined to a prefix, our error
tree with the endpoint in it, and digests computed while the bytes pass.
"""

from __future__ import annotations

import asyncio
import builtins
import hashlib
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import obstore
from obstore import exceptions as obstore_errors

from ecluse.errors import (
    DigestMismatch,
    ObjectExists,
    ObjectNotFound,
    StorageError,
    StoreUnavailable,
)
from ecluse.storage.keys import checked_key, join_key

CHUNK: Final = 8 * 1024 * 1024
#: Where an upload stands until it is complete; never listed as data, removed by a clean-up.
STAGING: Final = ".staging"


@dataclass(frozen=True)
class ObjectInfo:
    """One listed object. `size` in bytes."""

    key: str
    size: int
    last_modified: datetime


@dataclass(frozen=True)
class Stored:
    """What was written: size in bytes and SHA-256 of the bytes, as lower-case hexadecimal."""

    key: str
    size: int
    sha256: str


class ObjectStore:
    """A store at `url`; with a prefix, the part of it under that prefix.

    Every method raises `InvalidKey` for a key that is none, `ObjectNotFound` where nothing is, and
    `StoreUnavailable` when the store does not answer.
    """

    def __init__(self, backend: Any, url: str, prefix: str = "", *, staging: str | None = None) -> None:
        self._backend = backend
        self._root_url = url if url.endswith("/") else f"{url}/"
        self.prefix = prefix and checked_key(prefix)
        self._staging = staging or join_key(self.prefix, STAGING)

    def __repr__(self) -> str:
        return f"ObjectStore({self.url!r})"

    @property
    def url(self) -> str:
        return f"{self._root_url}{self.prefix}" if self.prefix else self._root_url

    def scoped(self, prefix: str) -> ObjectStore:
        """The part of this store under `prefix`. No key given to it reaches outside."""
        where = join_key(self.prefix, checked_key(prefix))
        return ObjectStore(self._backend, self._root_url, where, staging=self._staging)

    def url_of(self, key: str) -> str:
        """The object's address, such as `s3://bucket/user_data/…`."""
        return f"{self._root_url}{self._path(key)}"

    def key_of(self, url: str) -> str | None:
        """The key of the object at a full address; None when it lies elsewhere."""
        root = self.url if self.url.endswith("/") else f"{self.url}/"
        return url.removeprefix(root) if url.startswith(root) and url != root else None

    # Write

    def put(self, key: str, data: bytes, *, create_only: bool = False) -> Stored:
        """Write `data` whole. With `create_only` one writer wins; the others get `ObjectExists`."""
        path = self._path(key)
        with self._reported(key):
            obstore.put(
                self._backend, path, data, mode="create" if create_only else "overwrite", use_multipart=False
            )
        return Stored(key, len(data), hashlib.sha256(data).hexdigest())

    def put_stream(self, key: str, chunks: Iterable[bytes]) -> Stored:
        """Write chunks as they come, in bounded memory; the key holds nothing until all is stored."""
        counted = Digest()
        staged = self._staging_path()
        with self._reported(key):
            obstore.put(self._backend, staged, counted.through(chunks), chunk_size=CHUNK)
        self._commit(staged, key)
        return counted.stored(key)

    async def put_stream_async(self, key: str, chunks: AsyncIterator[bytes]) -> Stored:
        """`put_stream` for chunks that arrive asynchronously, such as a request's body."""
        counted = Digest()
        staged = self._staging_path()
        with self._reported(key):
            await obstore.put_async(self._backend, staged, counted.through_async(chunks), chunk_size=CHUNK)
        await asyncio.to_thread(self._commit, staged, key)
        return counted.stored(key)

    def upload(self, source: Path, key: str) -> Stored:
        """Write a local file."""
        return self.put_stream(key, read_chunks(source))

    def delete(self, key: str) -> None:
        """Remove one object; one that is not there is no error."""
        with self._reported(key):
            try:
                obstore.delete(self._backend, self._path(key))
            except FileNotFoundError:
                return

    def remove_stale_uploads(self, older_than: timedelta) -> int:
        """Remove staged objects whose writer is gone; how many that were."""
        limit, removed = datetime.now(UTC) - older_than, 0
        with self._reported(STAGING):
            for page in obstore.list(self._backend, self._staging):
                for meta in page:
                    if meta["last_modified"] < limit:
                        obstore.delete(self._backend, meta["path"])
                        removed += 1
        return removed

    def delete_prefix(self, prefix: str) -> int:
        """Remove everything under `prefix` (whole segments); how many objects that were."""
        keys = [info.key for info in self.list(prefix)]
        for key in keys:
            self.delete(key)
        return len(keys)

    # Read

    def get(self, key: str) -> bytes:
        """The object whole. For small objects; see `stream` and `download`."""
        with self._reported(key):
            return bytes(obstore.get(self._backend, self._path(key)).bytes())

    def stream(self, key: str, *, chunk_size: int = 1024 * 1024) -> Iterator[bytes]:
        """The object in chunks. It is opened before the first chunk is asked for, so errors come early."""
        with self._reported(key):
            body = obstore.get(self._backend, self._path(key)).stream(min_chunk_size=chunk_size)
        return self._chunks(body, key)

    def download(self, key: str, destination: Path, *, sha256: str | None = None) -> Stored:
        """Write the object to a local file, which appears under its name only when complete.

        Raises:
            DigestMismatch: `sha256` is given and the object is another; no file appears.
        """
        partial = destination.with_name(f".{destination.name}.{uuid.uuid4().hex}.part")
        counted = Digest()
        try:
            with partial.open("wb") as file:
                for chunk in counted.through(self.stream(key)):
                    file.write(chunk)
            if sha256 is not None:
                counted.expect(sha256, f"{key} in {self.url}")
            partial.replace(destination)
        finally:
            partial.unlink(missing_ok=True)
        return counted.stored(key)

    def head(self, key: str) -> ObjectInfo:
        """Size and time of one object."""
        with self._reported(key):
            meta = obstore.head(self._backend, self._path(key))
        return ObjectInfo(key, meta["size"], meta["last_modified"])

    def exists(self, key: str) -> bool:
        try:
            self.head(key)
        except ObjectNotFound:
            return False
        return True

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Everything under `prefix` (whole segments), in no particular order; staged uploads are left out."""
        where = join_key(self.prefix, prefix)
        cut = len(self.prefix) + 1 if self.prefix else 0
        with self._reported(prefix or "/"):
            for page in obstore.list(self._backend, where or None):
                for meta in page:
                    key = meta["path"][cut:]
                    if STAGING not in key.split("/"):
                        yield ObjectInfo(key, meta["size"], meta["last_modified"])

    def list_names(self, prefix: str = "") -> builtins.list[str]:
        """The names directly under `prefix`, folders only, sorted: one request, whatever lies deeper."""
        where = join_key(self.prefix, prefix)
        with self._reported(prefix or "/"):
            found = obstore.list_with_delimiter(self._backend, where or None)
        names = {path.rstrip("/").rsplit("/", 1)[-1] for path in found["common_prefixes"]}
        return sorted(names - {STAGING})

    def _path(self, key: str) -> str:
        return join_key(self.prefix, checked_key(key))

    def _staging_path(self) -> str:
        return join_key(self._staging, uuid.uuid4().hex)

    def _commit(self, staged: str, key: str) -> None:
        """Give a staged object its name; a failure leaves it to `remove_stale_uploads`."""
        with self._reported(key):
            obstore.rename(self._backend, staged, self._path(key))

    def _chunks(self, body: Iterable[Any], key: str) -> Iterator[bytes]:
        with self._reported(key):
            for chunk in body:
                yield bytes(chunk)

    @contextmanager
    def _reported(self, key: str) -> Iterator[None]:
        """Turn what obstore raises into our tree, with the key and the store in the message."""
        try:
            yield
        except StorageError:
            raise
        except (FileNotFoundError, obstore_errors.NotFoundError) as error:
            raise ObjectNotFound(f"Nothing is stored at {key!r} in {self.url}.") from error
        except (obstore_errors.AlreadyExistsError, obstore_errors.PreconditionError) as error:
            raise ObjectExists(f"{key!r} is already stored in {self.url}.") from error
        except (
            obstore_errors.PermissionDeniedError,
            obstore_errors.UnauthenticatedError,
            PermissionError,
        ) as error:
            raise StoreUnavailable(
                f"The store {self.url} refused access to {key!r}. Check keys and rights: ecluse doctor"
            ) from error
        except (obstore_errors.BaseError, OSError) as error:
            raise StoreUnavailable(
                f"The store {self.url} did not answer as it should for {key!r}: {_first_line(error)}. "
                "See: ecluse doctor"
            ) from error


def read_chunks(source: Path, size: int = CHUNK) -> Iterator[bytes]:
    """A local file in chunks of `size` bytes."""
    with source.open("rb") as file:
        while chunk := file.read(size):
            yield chunk


class Digest:
    """Count and hash the bytes that pass."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._size = 0

    def through(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._take(chunk)
            yield chunk

    async def through_async(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            self._take(chunk)
            yield chunk

    def stored(self, key: str) -> Stored:
        return Stored(key, self._size, self._hash.hexdigest())

    def expect(self, sha256: str, what: str) -> None:
        """`DigestMismatch` unless the bytes so far are those of `sha256`."""
        if (found := self._hash.hexdigest()) != sha256:
            raise DigestMismatch(
                f"{what} is damaged: its SHA-256 is {found[:12]}…, {sha256[:12]}… was recorded. "
                "Make or publish it again."
            )

    def _take(self, chunk: bytes) -> None:
        self._hash.update(chunk)
        self._size += len(chunk)


def _first_line(error: BaseException) -> str:
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line.removeprefix("Generic S3 error: ").rstrip(".")
