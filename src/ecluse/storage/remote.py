"""Keep objects in an object store over the network, or in memory: what obstore lacks against a bad line.

obstore repeats a request that failed. Here a write whose acknowledgement was lost is recognised by the nonce
it carries, a read that breaks goes on where it stopped, an upload that arrived short is removed, and what
went wrong is said with the place, the time spent and the way out.
"""

from __future__ import annotations

import asyncio
import builtins
import itertools
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import obstore
from obstore import exceptions as obstore_errors

from ecluse.errors import (
    CannotSign,
    ObjectChanged,
    ObjectExists,
    ObjectNotFound,
    StorageError,
    StoreUnavailable,
)
from ecluse.pauses import growing_pauses
from ecluse.sentences import _, num
from ecluse.storage.backend import CHUNK, Capabilities, Method, ObjectInfo, StaleUploads
from ecluse.storage.bucket import Bucket
from ecluse.storage.chunks import ArrivingChunks, CountedChunks, from_another_thread
from ecluse.storage.explaining import Attempt, explain
from ecluse.storage.failures import ANSWERS, Failure, read_failure
from ecluse.storage.to_the_end import to_the_end

T = TypeVar("T")

#: The attribute by which a writer knows its own object again. Azure takes no hyphen in such a name, and some
#: proxies drop headers with an underscore.
NONCE: Final = "eclusenonce"
#: Parts of 8 MiB that wait in memory, of all uploads together; each has at least two.
_PARTS_IN_FLIGHT: Final = 12
#: Uploads up to this size go through the client with the short timeout: any store takes them within its patience.
_QUICK: Final = 64 * 1024
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 10.0
#: S3 copies no larger object in one request.
_LARGEST_COPY: Final = 5 * 1024**3


class RemoteBackend:
    """A bucket, a container, or memory, behind an obstore store.

    `sending` is the same store, for bodies that may take their time.
    """

    def __init__(self, store: Any, sending: Any, bucket: Bucket) -> None:
        self.url = bucket.url
        self._bucket = bucket
        self._store = store
        self._sending = sending
        self._patience = bucket.patience.total_seconds()
        self._uploads = 0
        self._lock = threading.Lock()
        #: Whether the bucket has answered: until then, what is not there may be the bucket.
        self._met = False

    # Write

    def put(self, path: str, data: bytes, *, create_only: bool, attributes: Mapping[str, str]) -> None:
        nonce = uuid.uuid4().hex
        begun = time.monotonic()
        for pause in _pauses():
            try:
                self._put(path, data, nonce, attributes, create_only=create_only)
            except ANSWERS as error:
                if self._is_stored(path, nonce, error, begun, create_only=create_only):
                    return
                self._wait(pause, "PUT", path, error, begun)
            else:
                self._met = True
                return

    def put_stream(
        self,
        path: str,
        source: Callable[[], Iterable[bytes]],
        *,
        repeatable: bool,
        attributes: Mapping[str, str],
    ) -> None:
        nonce = uuid.uuid4().hex
        begun = time.monotonic()
        for pause in _pauses():
            chunks = CountedChunks(source())
            first = chunks.take(CHUNK)
            if chunks.ended:  # one request instead of three, and it can be repeated
                self.put(path, first, create_only=False, attributes=attributes)
                return
            try:
                self._put_parts(path, itertools.chain([first], chunks), nonce, attributes)
            except ANSWERS as error:
                chunks.raise_own()
                if not self._is_stored(path, nonce, error, begun):
                    if not repeatable:
                        raise self._explained("PUT", path, read_failure(error), begun) from error
                    self._wait(pause, "PUT", path, error, begun)
                    continue
            self._check_size(path, nonce, chunks.size)
            return

    async def put_stream_async(
        self, path: str, chunks: AsyncIterator[bytes], *, attributes: Mapping[str, str]
    ) -> None:
        nonce = uuid.uuid4().hex
        arriving = ArrivingChunks(chunks)
        first = await arriving.take(CHUNK)
        if arriving.ended and len(first) <= _QUICK:
            put = partial(self.put, create_only=False, attributes=attributes)
            await to_the_end(put, path, first)
            return
        begun = time.monotonic()
        with self._parts() as count:
            sending = obstore.put_async(
                self._sending,
                path,
                first if arriving.ended else arriving.after(first),
                attributes={**attributes, NONCE: nonce},
                chunk_size=CHUNK,
                max_concurrency=count,
                use_multipart=not arriving.ended,
            )
            try:
                await self._attended(sending, lambda: arriving.size, path, begun)
            except StorageError:
                raise
            except ANSWERS as error:
                arriving.raise_own()
                if not await asyncio.to_thread(self._is_stored, path, nonce, error, begun):
                    raise self._explained("PUT", path, read_failure(error), begun) from error
        await asyncio.to_thread(self._check_size, path, nonce, arriving.size)

    async def _attended(
        self, sending: Coroutine[Any, Any, object], bytes_taken: Callable[[], int], path: str, begun: float
    ) -> None:
        """Wait for a write as long as its bytes move, or the store answers at all: it may be slow, and not away."""
        task = asyncio.ensure_future(sending)
        try:
            while not task.done():
                before = bytes_taken()
                await asyncio.wait({task}, timeout=self._patience)
                if not task.done() and bytes_taken() == before:
                    await asyncio.to_thread(self._expect_answer, path, begun)
            await task
        finally:
            task.cancel()

    def _expect_answer(self, path: str, begun: float) -> None:
        """Raise `StoreUnavailable` where the store says nothing when it is asked for something small."""
        try:
            obstore.head(self._store, path)
        except ANSWERS as error:
            failure = read_failure(error)
            if failure.status is None:
                raise self._explained("PUT", path, failure, begun) from error

    def copy(self, source: str, destination: str) -> None:
        try:
            self._insist("COPY", source, lambda: obstore.copy(self._store, source, destination))
        except ObjectNotFound:
            raise
        except StorageError:
            if self.head(source).size <= _LARGEST_COPY:
                raise
            self.put_stream(
                destination,
                lambda: self.stream(source, chunk_size=CHUNK, start=0, end=None),
                repeatable=True,
                attributes=self.attributes(source),
            )

    def delete(self, paths: Sequence[str]) -> None:
        for some in _batched(paths, self._bucket.deleted_at_once):
            with suppress(ObjectNotFound):  # a backend may say so of what is gone already
                self._insist("DELETE", some[0], partial(obstore.delete, self._store, some))

    def stale_uploads(self, prefix: str, older_than: timedelta, *, remove: bool) -> StaleUploads:
        """Count or end uploads in parts whose writer is gone. Nothing of them was ever visible."""
        if self._bucket.administration is None:
            return StaleUploads(0, 0)
        return self._bucket.administration.unfinished(prefix, datetime.now(UTC) - older_than, remove=remove)

    # Read

    def get(self, path: str) -> bytes:
        return self._insist("GET", path, lambda: bytes(obstore.get(self._store, path).bytes()))

    def stream(self, path: str, *, chunk_size: int, start: int, end: int | None) -> Iterator[bytes]:
        if end is not None and end <= start:
            self.head(path)
            return iter(())
        opened = self._open(path, start, end, e_tag=None)
        return iter(()) if opened is None else self._chunks(path, opened, chunk_size)

    def head(self, path: str) -> ObjectInfo:
        return _info(self._insist("HEAD", path, lambda: obstore.head(self._store, path)))

    def attributes(self, path: str) -> dict[str, str]:
        _rest, attributes = self._inspect(path)
        return {name: value for name, value in attributes.items() if name != NONCE}

    def list(self, prefix: str, *, after: str | None) -> Iterator[ObjectInfo]:
        begun, pauses = time.monotonic(), _pauses()
        while True:
            try:
                for page in obstore.list(self._store, prefix or None, offset=after):
                    begun, pauses, self._met = time.monotonic(), _pauses(), True
                    for meta in page:
                        if self._bucket.from_start and after is not None and meta["path"] <= after:
                            continue
                        after = meta["path"]
                        yield _info(meta)
            except ANSWERS as error:  # go on behind the last key
                self._wait(next(pauses), "LIST", prefix, error, begun)
            else:
                return

    def local_path(self, path: str) -> Path | None:
        return None

    def list_names(self, prefix: str) -> builtins.list[str]:
        listing = self._insist(
            "LIST", prefix, lambda: obstore.list_with_delimiter(self._store, prefix or None)
        )
        return [path.rstrip("/").rsplit("/", 1)[-1] for path in listing["common_prefixes"]]

    # The place itself

    def sign(self, path: str, method: Method, expires: timedelta) -> str:
        if self._bucket.unsigned is not None:
            raise CannotSign(self._bucket.unsigned)
        signed = self._bucket.administration and self._bucket.administration.sign(path, method, expires)
        return signed or self._insist("SIGN", path, lambda: obstore.sign(self._store, method, path, expires))

    def ensure_bucket(self) -> bool:
        if self._bucket.administration is None or self._is_there():
            return False
        return self._bucket.administration.make_bucket()

    def probe(self, staging: str) -> Capabilities:
        path = f"{staging}/probe-{uuid.uuid4().hex}"
        self.put(path, b"1", create_only=True, attributes={})
        try:
            self.put(path, b"2", create_only=True, attributes={})
        except ObjectExists:
            holds = True
        else:
            holds = False
        self.delete([path])
        return Capabilities(conditional_writes=holds, signed_urls=self._bucket.unsigned is None)

    # Writing

    def _put(
        self, path: str, data: bytes, nonce: str, attributes: Mapping[str, str], *, create_only: bool = False
    ) -> None:
        obstore.put(
            self._store,
            path,
            data,
            attributes={**attributes, NONCE: nonce},
            mode="create" if create_only else "overwrite",
            use_multipart=False,
        )

    def _put_parts(
        self, path: str, chunks: Iterable[bytes], nonce: str, attributes: Mapping[str, str]
    ) -> None:
        with self._parts() as count:
            obstore.put(
                self._store,
                path,
                from_another_thread(iter(chunks)),
                attributes={**attributes, NONCE: nonce},
                chunk_size=CHUNK,
                max_concurrency=count,
            )

    @contextmanager
    def _parts(self) -> Iterator[int]:
        """Yield how many parts an upload that begins now may have in flight."""
        with self._lock:
            self._uploads += 1
            share = max(_PARTS_IN_FLIGHT // self._uploads, 2)
        try:
            yield share
        finally:
            with self._lock:
                self._uploads -= 1

    def _is_stored(
        self, path: str, nonce: str, error: BaseException, begun: float, *, create_only: bool = False
    ) -> bool:
        """Return whether a write that failed was carried out all the same; raises where trying again cannot help.

        A create-only write that was repeated after its acknowledgement was lost meets its own object.
        """
        failure = read_failure(error)
        refused = isinstance(error, obstore_errors.AlreadyExistsError | obstore_errors.PreconditionError)
        if failure.no_bucket or not (refused or failure.may_pass or failure.missing):
            raise self._explained("PUT", path, failure, begun) from error
        try:
            _rest, attributes = self._inspect(path, begun)
        except ObjectNotFound:
            return False
        except StoreUnavailable:
            raise self._explained("PUT", path, failure, begun) from error
        if attributes.get(NONCE) == nonce:
            return True
        if create_only:
            raise ObjectExists(
                _("%(key)s is already stored in %(store)s.", key=repr(path), store=self.url)
            ) from error
        return False

    def _check_size(self, path: str, nonce: str, size: int) -> None:
        """Remove an object that arrived in another size than it was sent, unless another writer has replaced it."""
        self._met = True
        info, attributes = self._inspect(path)
        if info.size != size and attributes.get(NONCE) == nonce:
            self.delete([path])
            raise StorageError(
                _(
                    "%(key)s arrived in %(store)s with %(count)s of %(number)s bytes and was removed. "
                    "Send it again.",
                    key=repr(path),
                    store=self.url,
                    count=num(info.size, ","),
                    number=num(size, ","),
                )
            )

    def _inspect(self, path: str, begun: float | None = None) -> tuple[ObjectInfo, dict[str, str]]:
        """Return an object's size and time, and all its attributes, in one request; patience counts from `begun`."""

        def ask() -> Any:
            return obstore.get(self._store, path, options={"head": True})

        answer = self._insist("HEAD", path, ask, begun)
        return _info(answer.meta), dict(answer.attributes)

    # Reading

    def _open(self, path: str, start: int, end: int | None, *, e_tag: str | None) -> Any:
        """Return an object's answer from `start`; None where it has no byte there."""
        options: Any = {} if e_tag is None else {"if_match": e_tag}
        if start or end is not None:
            options["range"] = {"offset": start} if end is None else (start, end)

        def ask() -> Any:
            try:
                return obstore.get(self._store, path, options=options)
            except ANSWERS as error:
                if read_failure(error).out_of_range:
                    return None
                if isinstance(error, obstore_errors.PreconditionError):
                    raise self._changed(path) from error
                raise

        return self._insist("GET", path, ask)

    def _chunks(self, path: str, opened: Any, size: int) -> Iterator[bytes]:
        """Yield the bytes of an answer; where it breaks, the rest from another one for the same object."""
        e_tag = opened.meta["e_tag"]
        at, end = opened.range
        body = iter(opened.stream(min_chunk_size=size))
        begun = time.monotonic()
        pauses = _pauses()
        while True:
            error: BaseException | None = None
            try:
                chunk = next(body, None)
            except ANSWERS as broken:
                chunk, error = None, broken
            if chunk is not None:
                yield bytes(chunk)
                at += len(chunk)
                begun, pauses = time.monotonic(), _pauses()
            elif at >= end:
                return
            else:
                self._wait(next(pauses), "GET", path, error or EOFError("closed before its end"), begun)
                opened = self._open(path, at, end, e_tag=e_tag)
                if opened is None:
                    raise self._changed(path)
                body = iter(opened.stream(min_chunk_size=size))

    def _changed(self, path: str) -> ObjectChanged:
        return ObjectChanged(
            _(
                "%(key)s in %(store)s was replaced while it was read. Read it again.",
                key=repr(path),
                store=self.url,
            )
        )

    # Insisting

    def _insist(self, verb: str, path: str, ask: Callable[[], T], begun: float | None = None) -> T:
        """Send a request that may be repeated, again and again while that may help, and return its answer."""
        begun = time.monotonic() if begun is None else begun
        for pause in _pauses():
            try:
                answer = ask()
            except StorageError:
                raise
            except ANSWERS as error:
                self._wait(pause, verb, path, error, begun)
            else:
                self._met = True
                return answer
        raise AssertionError("pauses never end")

    def _wait(self, pause: float, verb: str, path: str, error: BaseException, begun: float) -> None:
        """Sleep before another attempt; raise if it cannot help, or the patience is used up.

        The last attempt begins when half of the patience is spent, as obstore repeats requests too and may take the
        other half.
        """
        failure = read_failure(error)
        spent = time.monotonic() - begun
        if not failure.may_pass or spent + pause > self._patience / 2:
            raise self._explained(verb, path, failure, begun) from error
        time.sleep(pause)

    def _explained(self, verb: str, path: str, failure: Failure, begun: float) -> StorageError:
        no_bucket = failure.no_bucket or (failure.missing and self._bucket_is_missing())
        return explain(self._bucket, failure, Attempt(verb, path, begun), no_bucket=no_bucket)

    def _is_there(self) -> bool:
        """Return whether the bucket can be listed."""
        try:
            self._insist("LIST", "/", lambda: next(iter(obstore.list(self._store)), None))
        except StoreUnavailable as error:
            failure = read_failure(error.__cause__ or error)
            if failure.no_bucket or failure.forbidden:  # one who may only make it may not look
                return False
            raise
        return True

    def _bucket_is_missing(self) -> bool:
        """Return whether the bucket itself is missing, which the answer to a HEAD request does not say."""
        if self._met:
            return False
        try:
            next(iter(obstore.list(self._store)), None)
        except ANSWERS as error:
            return read_failure(error).no_bucket
        self._met = True
        return False


def _batched(paths: Sequence[str], size: int) -> Iterator[list[str]]:
    for at in range(0, len(paths), size):
        yield list(paths[at : at + size])


def _pauses() -> Iterator[float]:
    return growing_pauses(_FIRST_PAUSE, _LONGEST_PAUSE)


def _info(meta: Any) -> ObjectInfo:
    e_tag = meta["e_tag"]  # quoted in some answers of one store and not in others
    return ObjectInfo(meta["path"], meta["size"], meta["last_modified"], e_tag and e_tag.strip('"'))
