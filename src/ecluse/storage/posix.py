"""Keep objects as files in a folder: whole or absent, on disk when a write returns, one winner per name.

A write goes to a hidden file in the folder of its key, is flushed to the disk, and is then given its name
by `rename`, or by `link` where only one writer may win; the folder is flushed last. A path is walked one
segment at a time and no link is followed, so nothing outside the folder is reached. Attributes lie in
`.attributes/`, each named after the file it belongs to, so that they change in the same moment.
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import errno
import fcntl
import json
import os
import stat
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from ecluse.disks import what_is_wrong
from ecluse.errors import (
    CannotSign,
    ConditionalWritesMissing,
    InvalidKey,
    KeyConflict,
    ObjectExists,
    ObjectNotFound,
    StorageError,
    StoreUnavailable,
    StoreUnwritable,
)
from ecluse.sentences import _
from ecluse.settings.schemes import signing_forms
from ecluse.storage.backend import CHUNK, Capabilities, Method, ObjectInfo, StaleUploads

#: How the hidden file of a write begins and ends; no key may look like one.
_PARTIAL: Final = ".ecluse-"
_SUFFIX: Final = ".part"
_ATTRIBUTES: Final = ".attributes"
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
#: Bytes that are gathered before they are written.
_BATCH: Final = 1024 * 1024
#: How often a folder is made again that is deleted while a write needs it.
_TURNS: Final = 100


class PosixBackend:
    """Objects under the folder `root`; `url` is how messages name it."""

    def __init__(self, root: Path, url: str) -> None:
        self._root = root
        self.url = url

    # Write

    def put(self, path: str, data: bytes, *, create_only: bool, attributes: Mapping[str, str]) -> None:
        with (
            self._writing(path, create_only=create_only, attributes=attributes) as file,
            self._reported(path),
        ):
            _write(file, data)

    def put_stream(
        self,
        path: str,
        source: Callable[[], Iterable[bytes]],
        *,
        repeatable: bool,
        attributes: Mapping[str, str],
    ) -> None:
        at = 0
        with self._writing(path, attributes=attributes) as file:
            for chunk in source():
                with self._reported(path):
                    _write(file, chunk)
                    _begin_flushing(file, at, len(chunk))
                at += len(chunk)

    async def put_stream_async(
        self, path: str, chunks: AsyncIterator[bytes], *, attributes: Mapping[str, str]
    ) -> None:
        writing = self._writing(path, attributes=attributes)
        file = await asyncio.to_thread(writing.__enter__)
        try:
            async for batch in _batches(chunks):
                with self._reported(path):
                    await asyncio.to_thread(_write, file, batch)
        except BaseException as error:
            writing.__exit__(type(error), error, error.__traceback__)
            raise
        await asyncio.to_thread(writing.__exit__, None, None, None)

    def copy(self, source: str, destination: str) -> None:
        attributes = self.attributes(source)
        chunks = self.stream(source, chunk_size=CHUNK, start=0, end=None)
        self.put_stream(destination, lambda: chunks, repeatable=False, attributes=attributes)

    def delete(self, paths: Sequence[str]) -> None:
        by_folder: dict[str, builtins.list[str]] = {}
        for path in paths:
            folder, _rest, name = path.rpartition("/")
            by_folder.setdefault(folder, []).append(name)
        for folder, names in by_folder.items():
            with self._reported(f"{folder}/{names[0]}".lstrip("/")):
                self._delete(folder, names)

    def stale_uploads(self, prefix: str, older_than: timedelta, *, remove: bool) -> StaleUploads:
        limit, total = time.time() - older_than.total_seconds(), StaleUploads(0, 0)
        with self._reported(prefix or "/"):
            for path, _rest, names, folder in os.fwalk(self._root / prefix):
                sizes = [
                    _left_behind(folder, name, limit, remove=remove) for name in names if _is_hidden(name)
                ]
                stale_sizes = [size for size in sizes if size is not None]
                total += StaleUploads(len(stale_sizes), sum(stale_sizes))
                if stale_sizes and remove:
                    self._prune(Path(path).relative_to(self._root).parts)
            if remove and not prefix:
                self._remove_orphaned_attributes(limit)
        return total

    # Read

    def get(self, path: str) -> bytes:
        return b"".join(self.stream(path, chunk_size=CHUNK, start=0, end=None))

    def stream(self, path: str, *, chunk_size: int, start: int, end: int | None) -> Iterator[bytes]:
        chunks = self._chunks(path, chunk_size, start, end)
        next(chunks)  # opens the file
        return chunks

    def head(self, path: str) -> ObjectInfo:
        with self._opened(path) as file:
            return _info(path, os.fstat(file))

    def attributes(self, path: str) -> dict[str, str]:
        with self._opened(path) as file:
            recorded = self._root / _ATTRIBUTES / _identity(os.fstat(file))
        with self._reported(path):
            try:
                record = json.loads(recorded.read_bytes())
                return {str(name): str(value) for name, value in record["attributes"].items()}
            except FileNotFoundError:
                return {}
            except (ValueError, KeyError, AttributeError) as error:
                raise StorageError(
                    _(
                        "The attributes of %(key)s in %(store)s are damaged. Store it again.",
                        key=repr(path),
                        store=self.url,
                    )
                ) from error

    def list(self, prefix: str, *, after: str | None) -> Iterator[ObjectInfo]:
        with self._reported(prefix or "/"):
            try:
                folder = self._folder(prefix)
            except (FileNotFoundError, NotADirectoryError):
                return
            yield from _walk(folder, f"{prefix}/" if prefix else "", after)

    def local_path(self, path: str) -> Path | None:
        with self._opened(path):
            return self._root / path

    def list_names(self, prefix: str) -> builtins.list[str]:
        with self._reported(prefix or "/"):
            try:
                folder = self._folder(prefix)
            except (FileNotFoundError, NotADirectoryError):
                return []
            try:
                names = [
                    name for name, entry in _entries(folder, prefix) if entry.is_dir(follow_symlinks=False)
                ]
            finally:
                os.close(folder)
        inside = f"{prefix}/" if prefix else ""
        return [name for name in names if next(self.list(f"{inside}{name}", after=None), None) is not None]

    # The place itself

    def sign(self, path: str, method: Method, expires: timedelta) -> str:
        raise CannotSign(
            _(
                "%(store)s is a folder, and a folder has no signed addresses. Download through "
                "Écluse, or keep the objects in an object store (%(values)s).",
                store=self.url,
                values=signing_forms(),
            )
        )

    def ensure_bucket(self) -> bool:
        """Make the folder unless it is there; whether it was missing."""
        missing = not self._root.is_dir()
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailable(f"The folder {self._root} cannot be made: {error.strerror}.") from error
        return missing

    def probe(self, staging: str) -> Capabilities:
        path = f"{staging}/probe-{uuid.uuid4().hex}"
        try:
            self.put(path, b"", create_only=True, attributes={})
        except ConditionalWritesMissing:
            return Capabilities(conditional_writes=False, signed_urls=False)
        self.delete([path])
        return Capabilities(conditional_writes=True, signed_urls=False)

    # Writing

    @contextmanager
    def _writing(
        self, path: str, *, create_only: bool = False, attributes: Mapping[str, str]
    ) -> Iterator[int]:
        """Yield a hidden file open for writing, which becomes `path` when the block ends without an error."""
        *folders, name = path.split("/")
        if folders[:1] == [_ATTRIBUTES] or any(map(_is_hidden, path.split("/"))):
            raise InvalidKey(
                _("Key %(key)s is one that a folder keeps for itself. Choose another name.", key=repr(path))
            )
        hidden = f"{_PARTIAL}{os.getpid()}-{uuid.uuid4().hex}{_SUFFIX}"
        with self._reported(path):
            folder, file = self._create_hidden(folders, hidden)
        published = False
        try:
            yield file
            with self._reported(path):
                os.fsync(file)
                identity = _identity(os.fstat(file))
                if attributes:
                    self._record(identity, path, attributes)
                try:
                    self._publish(folder, hidden, name, path, create_only=create_only)
                    published = True
                finally:
                    if attributes and not published:
                        self._forget(identity)
                os.fsync(folder)
        finally:
            if create_only or not published:
                with contextlib.suppress(OSError):
                    os.unlink(hidden, dir_fd=folder)
            os.close(file)
            os.close(folder)
            if not published:
                self._prune(folders)

    def _create_hidden(self, folders: Sequence[str], hidden: str) -> tuple[int, int]:
        """Return the folder, made as needed, and a new file in it, locked for as long as its writer lives."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        for turn in range(_TURNS):
            folder = -1
            try:
                folder = self._folder("/".join(folders), make=True)
                file = os.open(hidden, flags, 0o666, dir_fd=folder)
            except BaseException as error:
                if folder >= 0:
                    os.close(folder)
                # A delete took the folder away as it became empty.
                if not isinstance(error, FileNotFoundError) or turn == _TURNS - 1:
                    raise
            else:
                with contextlib.suppress(OSError):  # a file system without locks: a clean-up goes by time
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return folder, file
        raise AssertionError("the last turn returns or raises")

    def _publish(self, folder: int, hidden: str, name: str, path: str, *, create_only: bool) -> None:
        """Give the hidden file its name."""
        existing = _stat(folder, name)
        if existing is not None and stat.S_ISDIR(existing.st_mode):
            raise self._conflict(path)
        if not create_only:
            os.replace(hidden, name, src_dir_fd=folder, dst_dir_fd=folder)
            if existing is not None:
                self._forget(_identity(existing))
            return
        try:
            os.link(hidden, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        except FileExistsError as error:
            raise ObjectExists(
                _("%(key)s is already stored in %(store)s.", key=repr(path), store=self.url)
            ) from error
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            raise ConditionalWritesMissing(
                _(
                    "The file system of %(store)s has no hard links, so two writers could take the same "
                    "version. Use a folder on another file system, or an object store.",
                    store=self.url,
                )
            ) from error

    def _record(self, identity: str, path: str, attributes: Mapping[str, str]) -> None:
        """Write attributes under the name of the file that is about to appear."""
        folder = self._root / _ATTRIBUTES
        folder.mkdir(exist_ok=True)
        partial = folder / f"{_PARTIAL}{os.getpid()}-{uuid.uuid4().hex}{_SUFFIX}"
        try:
            with partial.open("x", encoding="utf-8") as file:
                json.dump({"path": path, "attributes": dict(attributes)}, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(folder / identity)
        finally:
            partial.unlink(missing_ok=True)

    def _forget(self, identity: str) -> None:
        (self._root / _ATTRIBUTES / identity).unlink(missing_ok=True)

    def _remove_orphaned_attributes(self, limit: float) -> None:
        """Remove attributes whose object never appeared, or was changed or removed by another tool."""
        for recorded in (self._root / _ATTRIBUTES).glob("*"):
            if recorded.stat().st_mtime < limit and not self._is_in_use(recorded):
                recorded.unlink(missing_ok=True)

    def _is_in_use(self, recorded: Path) -> bool:
        try:
            with self._opened(str(json.loads(recorded.read_bytes())["path"])) as file:
                return _identity(os.fstat(file)) == recorded.name
        except (ObjectNotFound, ValueError, KeyError, TypeError):
            return False

    def _delete(self, path: str, names: Sequence[str]) -> None:
        try:
            folder = self._folder(path)
        except (FileNotFoundError, NotADirectoryError):
            return
        try:
            for name in names:
                existing = _stat(folder, name)
                if existing is None or stat.S_ISDIR(existing.st_mode):
                    continue
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=folder)
                self._forget(_identity(existing))
            os.fsync(folder)
        finally:
            os.close(folder)
        self._prune(path.split("/") if path else ())

    def _prune(self, folders: Sequence[str]) -> None:
        """Remove folders that are empty, from the deepest up. One that a writer uses is not empty."""
        for depth in range(len(folders), 0, -1):
            try:
                above = self._folder("/".join(folders[: depth - 1]))
                try:
                    os.rmdir(folders[depth - 1], dir_fd=above)
                finally:
                    os.close(above)
            except (OSError, StorageError):
                return

    # Paths

    def _folder(self, path: str, *, make: bool = False) -> int:
        """Return a descriptor of the folder at `path`, reached without following a link."""
        try:
            folder = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise StoreUnavailable(
                _(
                    "The folder %(store)s is gone. Mount its disk again. If it is to be empty, make it: "
                    "mkdir -p %(file)s",
                    store=self._root,
                    file=self._root,
                )
            ) from error
        for segment in path.split("/") if path else ():
            try:
                if make:
                    _make(folder, segment)
                deeper = os.open(segment, _FOLDER, dir_fd=folder)
            except NotADirectoryError as error:
                if make:
                    raise self._conflict(path) from error
                raise
            finally:
                os.close(folder)
            folder = deeper
        return folder

    def _open(self, path: str) -> int:
        above, _rest, name = path.rpartition("/")
        with self._reported(path):
            try:
                folder = self._folder(above)
                try:
                    file = os.open(name, _FILE, dir_fd=folder)
                finally:
                    os.close(folder)
            except NotADirectoryError as error:
                raise FileNotFoundError(path) from error
            if not stat.S_ISREG(os.fstat(file).st_mode):
                os.close(file)
                raise FileNotFoundError(path)
            return file

    @contextmanager
    def _opened(self, path: str) -> Iterator[int]:
        file = self._open(path)
        try:
            yield file
        finally:
            os.close(file)

    def _chunks(self, path: str, size: int, start: int, end: int | None) -> Iterator[bytes]:
        """Yield b"" once the file is open, then its bytes. The file is closed after the last one."""
        with self._opened(path) as file:
            yield b""
            at = start
            while end is None or at < end:
                with self._reported(path):
                    chunk = os.pread(file, size if end is None else min(size, end - at), at)
                if not chunk:
                    return
                at += len(chunk)
                yield chunk

    def _conflict(self, path: str) -> KeyConflict:
        return KeyConflict(
            _(
                "%(key)s cannot be stored in %(store)s: in a folder, a name is an object or holds "
                "objects, not both. Choose another name.",
                key=repr(path),
                store=self.url,
            )
        )

    @contextmanager
    def _reported(self, path: str) -> Iterator[None]:
        """Turn what the system says into our tree, with the path and the folder in the message."""
        try:
            yield
        except StorageError:
            raise
        except FileNotFoundError as error:
            raise ObjectNotFound(
                _("Nothing is stored at %(key)s in %(store)s.", key=repr(path), store=self.url)
            ) from error
        except OSError as error:
            reason = error.strerror or type(error).__name__
            if error.errno == errno.ELOOP:
                raise InvalidKey(
                    _(
                        "Key %(key)s leads through a link in %(store)s, and a store follows none.",
                        key=repr(path),
                        store=self.url,
                    )
                ) from error
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                full = OSError(error.errno, reason, str(self._root))
                raise StoreUnwritable(
                    _(
                        "%(key)s was not stored in %(store)s: %(error)s",
                        key=repr(path),
                        store=self.url,
                        error=what_is_wrong(full),
                    )
                ) from error
            if error.errno == errno.EROFS:
                raise StoreUnwritable(
                    _(
                        "%(value)s is on a disk that can only be read: %(key)s was not stored. Mount it for "
                        "writing, or name another store: ECLUSE_STORE_URL=file:///another/folder",
                        value=self.url,
                        key=repr(path),
                    )
                ) from error
            if error.errno in (errno.EACCES, errno.EPERM):
                raise StoreUnwritable(
                    _(
                        "The folder %(store)s refused access to %(key)s: %(error)s. Give the user that runs "
                        "Écluse the right to read and write there.",
                        store=self.url,
                        key=repr(path),
                        error=reason,
                    )
                ) from error
            raise StoreUnavailable(
                _(
                    "The folder %(store)s did not answer as it should for %(key)s: %(error)s. See: ecluse "
                    "doctor",
                    store=self.url,
                    key=repr(path),
                    error=reason,
                )
            ) from error


_NO_LINKS: Final = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def _make(folder: int, segment: str) -> None:
    """Make a folder that lasts, unless it is there."""
    try:
        os.mkdir(segment, dir_fd=folder)
    except FileExistsError:
        return
    os.fsync(folder)


def _write(file: int, data: bytes) -> None:
    remaining = memoryview(data)
    while remaining:
        remaining = remaining[os.write(file, remaining) :]


def _begin_flushing(file: int, start: int, length: int) -> None:
    """Have the disk write these bytes while more come, so that the fsync at the end waits for few."""
    if length >= _BATCH and hasattr(os, "posix_fadvise"):
        # Linux begins to write what is not on the disk yet, and keeps it in memory until then.
        os.posix_fadvise(file, start, length, os.POSIX_FADV_DONTNEED)


async def _batches(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield what arrives in small pieces, in pieces worth a change of thread."""
    batch = bytearray()
    async for chunk in chunks:
        batch += chunk
        if len(batch) >= _BATCH:
            yield bytes(batch)
            batch.clear()
    yield bytes(batch)


def _walk(folder: int, inside: str, after: str | None) -> Iterator[ObjectInfo]:
    """Yield the files below an open folder in the order of their whole keys; closes the folder."""
    try:
        entries = _entries(folder, inside)
        for name, entry in sorted(entries, key=lambda item: _sorted_as(*item)):
            key = f"{inside}{name}"
            if entry.is_dir(follow_symlinks=False):
                below = f"{key}/"
                if after is not None and below <= after and not after.startswith(below):
                    continue
                try:
                    deeper = os.open(name, _FOLDER, dir_fd=folder)
                except (FileNotFoundError, NotADirectoryError):  # deleted meanwhile
                    continue
                yield from _walk(deeper, below, after)
            elif entry.is_file(follow_symlinks=False) and (after is None or key > after):
                status = _stat(folder, name)
                if status is not None:
                    yield _info(key, status)
    finally:
        os.close(folder)


def _entries(folder: int, inside: str) -> list[tuple[str, os.DirEntry[str]]]:
    """Return what lies in an open folder, but for what this store keeps for itself and names that are no text."""
    reserved = _ATTRIBUTES if not inside else None
    with os.scandir(folder) as scanned:
        return [
            (entry.name, entry)
            for entry in scanned
            if entry.name != reserved and not _is_hidden(entry.name) and _is_text(entry.name)
        ]


def _sorted_as(name: str, entry: os.DirEntry[str]) -> str:
    return f"{name}/" if entry.is_dir(follow_symlinks=False) else name


def _is_hidden(name: str) -> bool:
    return name.startswith(_PARTIAL) and name.endswith(_SUFFIX)


def _is_text(name: str) -> bool:
    return name.isascii() or not any("\ud800" <= char <= "\udfff" for char in name)


def _stat(folder: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _info(path: str, status: os.stat_result) -> ObjectInfo:
    modified = datetime.fromtimestamp(status.st_mtime, UTC)
    return ObjectInfo(path, status.st_size, modified, _identity(status))


def _identity(status: os.stat_result) -> str:
    """Changes whenever another file takes the name: every write makes a new one."""
    return f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"


def _left_behind(folder: int, name: str, limit: float, *, remove: bool) -> int | None:
    """Return the bytes of a hidden file whose writer is gone, untouched since `limit`; None where it is not such a
    file.
    """
    try:
        file = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(file)
        if status.st_mtime >= limit:
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        except OSError:  # a file system without locks: the time decides
            pass
        if remove:
            os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return None
    finally:
        os.close(file)
    return status.st_size
