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
import json
import os
import stat
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
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
from ecluse.storage.folders import (
    ATTRIBUTES,
    FILE,
    FOLDER,
    NO_LINKS,
    PARTIAL,
    SUFFIX,
    batches,
    begin_flushing,
    entries_of,
    identity,
    info_of,
    is_hidden,
    left_behind,
    lock,
    make_folder,
    status_of,
    walk,
    write_all,
)
from ecluse.storage.to_the_end import to_the_end

#: How often a folder is made again that is deleted while a write needs it.
_TURNS: Final = 100


class PosixBackend:
    """Objects under the folder `root`; `url` is how messages name it.

    `private`: what is made below it is for the user of this process alone, whoever may read the folder itself.
    """

    def __init__(self, root: Path, url: str, *, private: bool = False) -> None:
        self._root = root
        self.url = url
        self._file_mode, self._folder_mode = (0o600, 0o700) if private else (0o666, 0o777)

    # Write

    def put(self, path: str, data: bytes, *, create_only: bool, attributes: Mapping[str, str]) -> None:
        with (
            self._writing(path, create_only=create_only, attributes=attributes) as file,
            self._reported(path),
        ):
            write_all(file, data)

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
                    write_all(file, chunk)
                    begin_flushing(file, at, len(chunk))
                at += len(chunk)

    async def put_stream_async(
        self, path: str, chunks: AsyncIterator[bytes], *, attributes: Mapping[str, str]
    ) -> None:
        writing = self._writing(path, attributes=attributes)
        cancelled = asyncio.CancelledError()
        file = await to_the_end(
            writing.__enter__, undo=lambda _file: writing.__exit__(type(cancelled), cancelled, None)
        )
        try:
            async for batch in batches(chunks):
                with self._reported(path):
                    await to_the_end(write_all, file, batch)
        except BaseException as error:
            writing.__exit__(type(error), error, error.__traceback__)
            raise
        await to_the_end(writing.__exit__, None, None, None)

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
                sizes = [left_behind(folder, name, limit, remove=remove) for name in names if is_hidden(name)]
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
            return info_of(path, os.fstat(file))

    def attributes(self, path: str) -> dict[str, str]:
        with self._opened(path) as file:
            recorded = self._root / ATTRIBUTES / identity(os.fstat(file))
        with self._reported(path):
            try:
                record = json.loads(recorded.read_bytes())
                return {str(name): str(value) for name, value in record["attributes"].items()}
            except FileNotFoundError:  # stored without any
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
            except (FileNotFoundError, NotADirectoryError):  # nothing lies below it
                return
            yield from walk(folder, f"{prefix}/" if prefix else "", after)

    def local_path(self, path: str) -> Path | None:
        with self._opened(path):
            return self._root / path

    def list_names(self, prefix: str) -> builtins.list[str]:
        with self._reported(prefix or "/"):
            try:
                folder = self._folder(prefix)
            except (FileNotFoundError, NotADirectoryError):  # nothing lies below it
                return []
            try:
                names = [
                    name for name, entry in entries_of(folder, prefix) if entry.is_dir(follow_symlinks=False)
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
        if folders[:1] == [ATTRIBUTES] or any(map(is_hidden, path.split("/"))):
            raise InvalidKey(
                _("Key %(key)s is one that a folder keeps for itself. Choose another name.", key=repr(path))
            )
        hidden = f"{PARTIAL}{os.getpid()}-{uuid.uuid4().hex}{SUFFIX}"
        with self._reported(path):
            folder, file = self._create_hidden(folders, hidden)
        published = False
        try:
            yield file
            with self._reported(path):
                os.fsync(file)
                attributes_name = identity(os.fstat(file))
                if attributes:
                    self._record(attributes_name, path, attributes)
                try:
                    self._publish(folder, hidden, name, path, create_only=create_only)
                    published = True
                finally:
                    if attributes and not published:
                        self._forget(attributes_name)
                os.fsync(folder)
        finally:
            if create_only or not published:
                # What cannot be removed now, a clean-up removes: it is hidden, and its writer is gone.
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
                file = os.open(hidden, flags, self._file_mode, dir_fd=folder)
            except BaseException as error:
                if folder >= 0:
                    os.close(folder)
                # A delete took the folder away as it became empty.
                if not isinstance(error, FileNotFoundError) or turn == _TURNS - 1:
                    raise
            else:
                lock(file)
                return folder, file
        raise AssertionError("the last turn returns or raises")

    def _publish(self, folder: int, hidden: str, name: str, path: str, *, create_only: bool) -> None:
        """Give the hidden file its name."""
        existing = status_of(folder, name)
        if existing is not None and stat.S_ISDIR(existing.st_mode):
            raise self._conflict(path)
        if not create_only:
            os.replace(hidden, name, src_dir_fd=folder, dst_dir_fd=folder)
            if existing is not None:
                self._forget(identity(existing))
            return
        try:
            os.link(hidden, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        except FileExistsError as error:
            raise ObjectExists(
                _("%(key)s is already stored in %(store)s.", key=repr(path), store=self.url)
            ) from error
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            raise ConditionalWritesMissing(
                _(
                    "The file system of %(store)s has no hard links, so two writers could take the same "
                    "version. Use a folder on another file system, or an object store.",
                    store=self.url,
                )
            ) from error

    def _record(self, name: str, path: str, attributes: Mapping[str, str]) -> None:
        """Write attributes under the name of the file that is about to appear."""
        folder = self._root / ATTRIBUTES
        folder.mkdir(exist_ok=True)
        partial = folder / f"{PARTIAL}{os.getpid()}-{uuid.uuid4().hex}{SUFFIX}"
        try:
            with partial.open("x", encoding="utf-8") as file:
                json.dump({"path": path, "attributes": dict(attributes)}, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(folder / name)
        finally:
            partial.unlink(missing_ok=True)

    def _forget(self, name: str) -> None:
        (self._root / ATTRIBUTES / name).unlink(missing_ok=True)

    def _remove_orphaned_attributes(self, limit: float) -> None:
        """Remove attributes whose object never appeared, or was changed or removed by another tool."""
        for recorded in (self._root / ATTRIBUTES).glob("*"):
            if recorded.stat().st_mtime < limit and not self._is_in_use(recorded):
                recorded.unlink(missing_ok=True)

    def _is_in_use(self, recorded: Path) -> bool:
        try:
            with self._opened(str(json.loads(recorded.read_bytes())["path"])) as file:
                return identity(os.fstat(file)) == recorded.name
        except (ObjectNotFound, ValueError, KeyError, TypeError):
            return False

    def _delete(self, path: str, names: Sequence[str]) -> None:
        try:
            folder = self._folder(path)
        except (FileNotFoundError, NotADirectoryError):  # gone already
            return
        try:
            for name in names:
                existing = status_of(folder, name)
                if existing is None or stat.S_ISDIR(existing.st_mode):
                    continue
                with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                    os.unlink(name, dir_fd=folder)
                self._forget(identity(existing))
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
                return  # it holds something, or cannot be removed: an empty folder is no object, and is not listed

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
                    make_folder(folder, segment, self._folder_mode)
                deeper = os.open(segment, FOLDER, dir_fd=folder)
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
                    file = os.open(name, FILE, dir_fd=folder)
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
            raise self._explained(path, error) from error

    def _explained(self, path: str, error: OSError) -> StorageError:
        """Return the error of our tree that says what the system said."""
        reason = error.strerror or type(error).__name__
        if error.errno == errno.ELOOP:
            return InvalidKey(
                _(
                    "Key %(key)s leads through a link in %(store)s, and a store follows none.",
                    key=repr(path),
                    store=self.url,
                )
            )
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            full = OSError(error.errno, reason, str(self._root))
            return StoreUnwritable(
                _(
                    "%(key)s was not stored in %(store)s: %(error)s",
                    key=repr(path),
                    store=self.url,
                    error=what_is_wrong(full),
                )
            )
        if error.errno == errno.EROFS:
            return StoreUnwritable(
                _(
                    "%(value)s is on a disk that can only be read: %(key)s was not stored. Mount it for "
                    "writing, or name another store: ECLUSE_STORE_URL=file:///another/folder",
                    value=self.url,
                    key=repr(path),
                )
            )
        if error.errno in (errno.EACCES, errno.EPERM):
            return StoreUnwritable(
                _(
                    "The folder %(store)s refused access to %(key)s: %(error)s. Give the user that runs "
                    "Écluse the right to read and write there.",
                    store=self.url,
                    key=repr(path),
                    error=reason,
                )
            )
        return StoreUnavailable(
            _(
                "The folder %(store)s did not answer as it should for %(key)s: %(error)s. See: ecluse doctor",
                store=self.url,
                key=repr(path),
                error=reason,
            )
        )
