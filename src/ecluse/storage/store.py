"""Read and write objects by key in one store, or in a part of it that cannot be left.

`ObjectStore` adds to a backend what is the same for all: keys that are checked and confined to a prefix,
digests computed while the bytes pass, and create-only writes that are refused where the store lets two
writers win.
"""

from __future__ import annotations

import builtins
import hashlib
import re
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Final

from ecluse.errors import (
    CannotSign,
    ConditionalWritesMissing,
    InvalidAttribute,
    InvalidKey,
    KeyConflict,
    ObjectNotFound,
)
from ecluse.sentences import _
from ecluse.storage.backend import (
    CHUNK,
    STAGING,
    Backend,
    Capabilities,
    Method,
    ObjectInfo,
    StaleUploads,
)
from ecluse.storage.digests import Digest, Stored
from ecluse.storage.keys import checked_key, is_within, join_key
from ecluse.storage.measured import measured
from ecluse.storage.side_by_side import side_by_side

#: Called with the number of bytes since the last call, from any thread; negative if a transfer starts over.
Progress = Callable[[int], None]

#: The attributes that every store knows by these names; others are small letters and digits.
STANDARD_ATTRIBUTES: Final = frozenset(
    {"Content-Type", "Content-Disposition", "Content-Encoding", "Content-Language", "Cache-Control"}
)
_SHORTEST_SIGNATURE: Final = timedelta(seconds=1)
_LONGEST_SIGNATURE: Final = timedelta(days=7)

#: Size of the chunks that are hashed and written (bytes).
DOWNLOAD_CHUNK: Final = 256 * 1024


@dataclass(frozen=True)
class Page:
    """Some of a listing. `next` is where the next page begins (`after=page.next`); None on the last one."""

    items: tuple[ObjectInfo, ...]
    next: str | None


class ObjectStore:
    """A store at `url`; with a prefix, the part of it under that prefix.

    Every method raises `InvalidKey` for a key that is none, `ObjectNotFound` where nothing is, and
    `StoreUnavailable` when the store does not answer.
    """

    def __init__(self, backend: Backend, prefix: str = "", *, opened: _Opened | None = None) -> None:
        self._backend = measured(backend)
        self.prefix = prefix and checked_key(prefix)
        self._opened = opened or _Opened(self._backend, join_key(self.prefix, STAGING))

    def __repr__(self) -> str:
        return f"ObjectStore({self.url!r})"

    @property
    def url(self) -> str:
        return f"{self._backend.url}{self.prefix}"

    def scoped(self, prefix: str) -> ObjectStore:
        """Return the part of this store under `prefix`. No key given to it reaches outside."""
        where = join_key(self.prefix, checked_key(prefix))
        return ObjectStore(self._backend, where, opened=self._opened)

    def url_of(self, key: str) -> str:
        """Return the object's address, such as `s3://bucket/user_data/…`."""
        return f"{self._backend.url}{self._path(key)}"

    def key_of(self, url: str) -> str | None:
        """Return the key of the object at a full address; None when it lies elsewhere."""
        root = self.url if self.url.endswith("/") else f"{self.url}/"
        return url.removeprefix(root) if url.startswith(root) and url != root else None

    # Write

    def put(
        self,
        key: str,
        data: bytes,
        *,
        create_only: bool = False,
        attributes: Mapping[str, str] | None = None,
    ) -> Stored:
        """Write `data` whole. With `create_only` one writer wins; the others get `ObjectExists`.

        Raises:
            ConditionalWritesMissing: the store would let two create-only writers win; nothing is written.
        """
        path = self._path_to_write(key)
        if create_only:
            self._opened.require_conditional_writes()
        self._backend.put(path, data, create_only=create_only, attributes=checked_attributes(attributes))
        return Stored(key, len(data), hashlib.sha256(data).hexdigest())

    def put_stream(
        self, key: str, chunks: Iterable[bytes], *, attributes: Mapping[str, str] | None = None
    ) -> Stored:
        """Write chunks as they come, in bounded memory; the key holds nothing new until all is stored."""
        counted = Digest()
        self._backend.put_stream(
            self._path_to_write(key),
            lambda: counted.through(chunks),
            repeatable=False,
            attributes=checked_attributes(attributes),
        )
        return counted.stored(key)

    async def put_stream_async(
        self, key: str, chunks: AsyncIterator[bytes], *, attributes: Mapping[str, str] | None = None
    ) -> Stored:
        """Write chunks that arrive asynchronously, such as a request's body; see `put_stream`."""
        counted = Digest()
        await self._backend.put_stream_async(
            self._path_to_write(key), counted.through_async(chunks), attributes=checked_attributes(attributes)
        )
        return counted.stored(key)

    def upload(
        self,
        source: Path,
        key: str,
        *,
        attributes: Mapping[str, str] | None = None,
        progress: Progress | None = None,
    ) -> Stored:
        """Write a local file; read again from its start where the store fails in between."""
        counted = Digest()

        def chunks() -> Iterator[bytes]:
            if progress is not None and counted.size:
                progress(-counted.size)
            counted.restart()
            return _reporting(counted.through(read_chunks(source)), progress)

        self._backend.put_stream(
            self._path_to_write(key), chunks, repeatable=True, attributes=checked_attributes(attributes)
        )
        return counted.stored(key)

    def upload_tree(
        self, folder: Path, prefix: str = "", *, progress: Progress | None = None
    ) -> builtins.list[Stored]:
        """Write every file below `folder` under `prefix`, several at a time; in the order of their keys."""
        files = {
            join_key(prefix, checked_key(path.relative_to(folder).as_posix())): path
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        return side_by_side(
            lambda key, progress_of_file: self.upload(files[key], key, progress=progress_of_file),
            sorted(files),
            progress,
        )

    def copy(self, source: str, destination: str) -> None:
        """Copy an object within this store, attributes included; a store in the network copies by itself."""
        self._backend.copy(self._path(source), self._path_to_write(destination))

    def delete(self, key: str) -> None:
        """Remove one object; one that is not there is no error."""
        self._backend.delete([self._path(key)])

    def delete_prefix(self, prefix: str) -> int:
        """Remove everything under `prefix` (whole segments); how many objects that were."""
        paths = [join_key(self.prefix, info.key) for info in self.list(checked_key(prefix))]
        self._backend.delete(paths)
        return len(paths)

    def remove_stale_uploads(self, older_than: timedelta) -> int:
        """Remove what uploads in this store left behind, untouched for so long; how many that were."""
        return self.stale_uploads(older_than, remove=True).objects

    def stale_uploads(self, older_than: timedelta, *, remove: bool = False) -> StaleUploads:
        """Count, and with `remove` delete, what uploads left in this store and nothing has touched for `older_than`."""
        limit = datetime.now(UTC) - older_than
        probes = [
            info
            for info in self._backend.list(self._opened.staging, after=None)
            if info.last_modified < limit
        ]
        if remove:
            self._backend.delete([info.key for info in probes])
        probes_left = StaleUploads(len(probes), sum(info.size for info in probes))
        return probes_left + self._backend.stale_uploads(self.prefix, older_than, remove=remove)

    # Read

    def get(self, key: str) -> bytes:
        """Return the object whole. For small objects; see `stream` and `download`."""
        return self._backend.get(self._path(key))

    def stream(
        self, key: str, *, chunk_size: int = 1024 * 1024, start: int = 0, end: int | None = None
    ) -> Iterator[bytes]:
        """Yield bytes `start` to `end` (exclusive; default: all) in chunks.

        The object is opened before the first chunk is asked for, so errors come early. Where the connection
        breaks, reading goes on where it stopped; `ObjectChanged` if another object is there by then.
        """
        if start < 0 or (end is not None and end < 0):
            raise ValueError(f"bytes {start} to {end}: a range counts from the start of the object")
        return self._backend.stream(self._path(key), chunk_size=chunk_size, start=start, end=end)

    def download(
        self,
        key: str,
        destination: Path,
        *,
        sha256: str | None = None,
        progress: Progress | None = None,
    ) -> Stored:
        """Write the object to a local file, which appears under its name only when complete.

        Raises:
            DigestMismatch: `sha256` is given and the object is another; no file appears.
        """
        partial = destination.with_name(f".{uuid.uuid4().hex}.part")
        counted = Digest()
        chunks = self.stream(key, chunk_size=DOWNLOAD_CHUNK)
        try:
            with partial.open("wb") as file:
                for chunk in _reporting(counted.beside(chunks), progress):
                    file.write(chunk)
            if sha256 is not None:
                counted.expect(sha256, f"{key} in {self.url}")
            partial.replace(destination)
        finally:
            partial.unlink(missing_ok=True)
        return counted.stored(key)

    def download_tree(
        self,
        prefix: str,
        destination: Path,
        *,
        sha256: Mapping[str, str] | None = None,
        progress: Progress | None = None,
    ) -> builtins.list[Stored]:
        """Write what lies under `prefix` below a local folder, several files at a time, in the order of keys.

        With `sha256` (path below `prefix` → digest): exactly these files, each verified.

        Raises:
            DigestMismatch: a file is not what its digest says; it does not appear.
            ObjectNotFound: one of `sha256` is not stored.
            KeyConflict: one name is an object and holds objects, which a folder cannot have.
        """
        cut = len(prefix) + 1 if prefix else 0
        paths = sorted(sha256) if sha256 is not None else sorted(info.key[cut:] for info in self.list(prefix))
        folders = {parent.as_posix() for path in paths for parent in PurePosixPath(checked_key(path)).parents}
        if both := folders & set(paths):
            raise KeyConflict(
                _(
                    "%(key)s in %(store)s is an object and holds objects, which a folder cannot have. "
                    "Download them one by one, under names of your own.",
                    key=repr(join_key(prefix, min(both))),
                    store=self.url,
                )
            )
        for folder in folders:
            (destination / folder).mkdir(parents=True, exist_ok=True)
        digests = sha256 or {}

        def fetch(path: str, progress_of_file: Progress) -> Stored:
            key = join_key(prefix, path)
            return self.download(key, destination / path, sha256=digests.get(path), progress=progress_of_file)

        return side_by_side(fetch, paths, progress)

    def head(self, key: str) -> ObjectInfo:
        """Size, time and ETag of one object."""
        return replace(self._backend.head(self._path(key)), key=key)

    def attributes(self, key: str) -> dict[str, str]:
        """Return what was given as `attributes` when the object was written; a store may add its own Content-Type."""
        return self._backend.attributes(self._path(key))

    def exists(self, key: str) -> bool:
        try:
            self.head(key)
        except ObjectNotFound:
            return False
        return True

    def list(self, prefix: str = "", *, suffix: str = "", after: str | None = None) -> Iterator[ObjectInfo]:
        """Yield everything under `prefix` (whole segments) whose key ends in `suffix`.

        The order is the store's own and always the same: that of the keys, or folder by folder (SeaweedFS).
        With `after`, what comes behind that key.
        """
        where = join_key(self.prefix, prefix)
        cut = len(self.prefix) + 1 if self.prefix else 0
        behind = None if after is None else join_key(self.prefix, after)
        for info in self._backend.list(where, after=behind):
            key = info.key[cut:]
            if key.endswith(suffix) and not self._opened.is_staged(info.key):
                yield replace(info, key=key)

    def list_page(
        self, prefix: str = "", *, suffix: str = "", after: str | None = None, limit: int = 1000
    ) -> Page:
        """Return at most `limit` of `list`, and where to go on."""
        items: list[ObjectInfo] = []
        for info in self.list(prefix, suffix=suffix, after=after):
            if len(items) == limit:
                return Page(tuple(items), items[-1].key)
            items.append(info)
        return Page(tuple(items), None)

    def local_path(self, key: str) -> Path | None:
        """Return the file of this machine that holds an object of a `file://` store, for reading alone; None
        elsewhere.

        For libraries that read a large file themselves. Whoever can, streams or downloads.
        """
        return self._backend.local_path(self._path(key))

    def list_names(self, prefix: str = "") -> builtins.list[str]:
        """Return the names directly under `prefix`, folders only, sorted: one request, whatever lies deeper."""
        where = join_key(self.prefix, prefix)
        names = set(self._backend.list_names(where))
        return sorted(name for name in names if f"{where}/{name}".lstrip("/") != self._opened.staging)

    # The store itself

    def sign(self, key: str, method: Method, expires: timedelta) -> str:
        """Return an address by which anyone may read (GET) or write (PUT) one object until it expires.

        Raises:
            CannotSign: the store has no signed addresses, or none that last so long.
        """
        path = self._path(key) if method == "GET" else self._path_to_write(key)
        if not _SHORTEST_SIGNATURE <= expires <= _LONGEST_SIGNATURE:
            raise CannotSign(_("A signed address lasts from 1 second to 7 days. Choose a time in between."))
        return self._backend.sign(path, method, expires)

    def ensure_bucket(self) -> bool:
        """Make the bucket, the container or the folder, unless it is there; whether it was missing.

        The key needs the right to make buckets, which everything else here does without.
        """
        return self._backend.ensure_bucket()

    def probe(self) -> Capabilities:
        """Return what the store can do; asked once and remembered."""
        return self._opened.capabilities()

    def prove_write(self) -> None:
        """Write a small object where probes lie, the same one whoever writes it: none is left of processes that ended.

        Raises:
            StoreUnavailable: the store does not take it.
        """
        self._backend.put(join_key(self._opened.staging, "ready"), b"ready", create_only=False, attributes={})

    def can_hold(self, key: str) -> bool:
        """Return whether a key is not one that the store keeps for itself."""
        return not self._opened.is_staged(self._path(key))

    def _path(self, key: str) -> str:
        return join_key(self.prefix, checked_key(key))

    def _path_to_write(self, key: str) -> str:
        if not self.can_hold(key):
            raise InvalidKey(
                _("Key %(key)s is one that a store keeps for itself. Choose another name.", key=repr(key))
            )
        return self._path(key)


class _Opened:
    """What the scopes of one opened store share: what it was found to be able to do."""

    def __init__(self, backend: Backend, staging: str) -> None:
        self.staging = staging
        self._backend = backend
        self._lock = threading.Lock()
        self._found: Capabilities | None = None

    def is_staged(self, path: str) -> bool:
        """Return whether a path is in the one folder that probes write to, below the root that was opened."""
        return path == self.staging or is_within(path, self.staging)

    def capabilities(self) -> Capabilities:
        with self._lock:
            if self._found is None:
                self._found = self._backend.probe(self.staging)
            return self._found

    def require_conditional_writes(self) -> None:
        if not self.capabilities().conditional_writes:
            raise ConditionalWritesMissing(
                _(
                    "The store %(store)s lets two create-only writers of one key both win, so two "
                    "publications could take the same version. Use a store with conditional writes "
                    "(If-None-Match), or a newer release of this one.",
                    store=self._backend.url,
                )
            )


def checked_attributes(attributes: Mapping[str, str] | None) -> dict[str, str]:
    """Return `attributes` themselves, when every store can keep them; raise `InvalidAttribute` otherwise."""
    for name, value in (attributes or {}).items():
        if name not in STANDARD_ATTRIBUTES and not re.fullmatch("[a-z][a-z0-9]{0,63}", name):
            raise InvalidAttribute(
                _(
                    "%(name)s cannot name an attribute: use small letters and digits, beginning with a "
                    "letter.",
                    name=repr(name),
                )
            )
        if not re.fullmatch("[!-~](?:[ -~]{0,1022}[!-~])?", value):
            raise InvalidAttribute(
                _(
                    "The attribute %(name)s holds what not every store can keep: use 1 to 1024 ASCII "
                    "characters, without blanks at the ends.",
                    name=repr(name),
                )
            )
    return dict(attributes or {})


def read_chunks(source: Path, size: int = CHUNK) -> Iterator[bytes]:
    """Yield a local file in chunks of `size` bytes."""
    with source.open("rb") as file:
        while chunk := file.read(size):
            yield chunk


def _reporting(chunks: Iterable[bytes], progress: Progress | None) -> Iterator[bytes]:
    for chunk in chunks:
        yield chunk
        if progress is not None:
            progress(len(chunk))
