"""Count and hash bytes as they pass, if need be in a thread of its own, and compare them with what was recorded."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from ecluse.errors import DigestMismatch
from ecluse.sentences import _

#: Bytes that are hashed at once, by whoever takes them: below that a thread of its own costs more than it saves.
ALONE: Final = 2 * 1024 * 1024
#: Chunks that wait to be hashed while more come.
AHEAD: Final = 8


@dataclass(frozen=True)
class Stored:
    """What was written: size in bytes and SHA-256 of the bytes, as lower-case hexadecimal."""

    key: str
    size: int
    sha256: str


class Digest:
    """Count and hash the bytes that pass."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self._hash = hashlib.sha256()
        self.size = 0

    def through(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._take(chunk)
            yield chunk

    def beside(
        self, chunks: Iterable[bytes], write: Callable[[bytes], object] | None = None
    ) -> Iterator[bytes]:
        """Yield chunks while another thread hashes those before; all are hashed when the last was taken.

        For whoever waits for a store or a disk between two chunks: the hash takes a third of a download's time.
        `write` is called with each chunk in its order, by who hashes it.
        """

        def take(chunk: bytes) -> None:
            self._hash.update(chunk)
            if write is not None:
                write(chunk)

        coming = iter(chunks)
        for chunk in coming:
            self.size += len(chunk)
            take(chunk)
            yield chunk
            if self.size >= ALONE:
                yield from self._in_another_thread(coming, take)

    async def through_async(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            self._take(chunk)
            yield chunk

    def stored(self, key: str) -> Stored:
        return Stored(key, self.size, self._hash.hexdigest())

    def expect(self, sha256: str, title: str) -> None:
        """Raise `DigestMismatch` unless the bytes so far are those of `sha256`."""
        if (actual := self._hash.hexdigest()) != sha256:
            raise DigestMismatch(
                _(
                    "%(file)s is damaged: its SHA-256 is %(value)s…, %(word)s… was recorded. Make or "
                    "publish it again.",
                    file=title,
                    value=actual[:12],
                    word=sha256[:12],
                )
            )

    def _in_another_thread(self, chunks: Iterator[bytes], take: Callable[[bytes], None]) -> Iterator[bytes]:
        waiting: deque[Future[None]] = deque()
        with ThreadPoolExecutor(1, thread_name_prefix="digest") as others:
            for chunk in chunks:
                self.size += len(chunk)
                waiting.append(others.submit(take, chunk))
                if len(waiting) > AHEAD:
                    waiting.popleft().result()
                yield chunk
            for update in waiting:
                update.result()

    def _take(self, chunk: bytes) -> None:
        self._hash.update(chunk)
        self.size += len(chunk)
