"""Count a caller's chunks on their way into the client of a store, and keep an error of their own apart."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context


class CountedChunks:
    """A caller's chunks on their way into obstore: counted, and an error of their own kept apart."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._error: BaseException | None = None
        self.size = 0
        self.ended = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            chunk = next(self._chunks)
        except StopIteration:
            self.ended = True
            raise
        except BaseException as error:
            self._error = error
            raise
        self.size += len(chunk)
        return chunk

    def take(self, size: int) -> bytes:
        """Return the first chunks, at least `size` bytes unless they end before."""
        pieces: list[bytes] = []
        while self.size < size and (piece := next(self, None)) is not None:
            pieces.append(piece)
        return b"".join(pieces)

    def raise_own(self) -> None:
        """Raise what the caller's chunks raised, if that is what stopped them."""
        if self._error is not None:
            raise self._error


class ArrivingChunks:
    """`CountedChunks` for chunks that arrive asynchronously."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._error: BaseException | None = None
        self.size = 0
        self.ended = False

    async def take(self, size: int) -> bytes:
        pieces: list[bytes] = []
        while self.size < size and (piece := await self._next()) is not None:
            pieces.append(piece)
        return b"".join(pieces)

    async def after(self, first: bytes) -> AsyncIterator[bytes]:
        yield first
        while (chunk := await self._next()) is not None:
            yield chunk

    def raise_own(self) -> None:
        if self._error is not None:
            raise self._error

    async def _next(self) -> bytes | None:
        try:
            chunk = await anext(self._chunks, None)
        except BaseException as error:
            self._error = error
            raise
        if chunk is None:
            self.ended = True
        else:
            self.size += len(chunk)
        return chunk


def from_another_thread(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield chunks that another thread takes, one ahead.

    Within a write the client can be asked for nothing else by its own thread: an object that is written from another
    one of a store would not be read.
    """
    context = copy_context()  # a job's fence holds there too

    def take() -> bytes | None:
        return context.run(lambda: next(chunks, None))

    with ThreadPoolExecutor(1, thread_name_prefix="chunks") as pool:
        coming = pool.submit(take)
        while (chunk := coming.result()) is not None:
            coming = pool.submit(take)
            yield chunk
