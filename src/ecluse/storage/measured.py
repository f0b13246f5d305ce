"""Ask a store, and say how long it took to answer and why it did not."""

from __future__ import annotations

import builtins
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from ecluse import telemetry, tracing
from ecluse.errors import CannotSign, ObjectExists, ObjectNotFound
from ecluse.storage.backend import Backend, Capabilities, Method, ObjectInfo, StaleUploads

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
#: What a store says that works: something is not there, is there already, or is not offered.
_ANSWERS: Final = (ObjectNotFound, ObjectExists, CannotSign)


@dataclass(frozen=True)
class _Answer:
    """Pieces that the store gave in so many seconds, until nobody asked for more (nanoseconds since 1970)."""

    verb: str
    span: tracing.Span
    seconds: float
    ended_ns: int


class MeasuredBackend:
    """A backend of which each request is timed, with what it repeats by itself.

    Of what is read piece by piece, the time that the store took for the pieces counts, not that of who reads them; of
    a stream that is written, also the time that its source took. Pieces that nobody asks for any more are said with
    the next request: they may be let go by the collection of garbage, in a thread that holds a lock of what counts.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.url = backend.url
        self._scheme = backend.url.partition("://")[0]
        self._abandoned: deque[_Answer] = deque()

    def put(self, path: str, data: bytes, *, create_only: bool, attributes: Mapping[str, str]) -> None:
        return self._timed("put", self.backend.put)(
            path, data, create_only=create_only, attributes=attributes
        )

    def put_stream(
        self,
        path: str,
        source: Callable[[], Iterable[bytes]],
        *,
        repeatable: bool,
        attributes: Mapping[str, str],
    ) -> None:
        return self._timed("put_stream", self.backend.put_stream)(
            path, source, repeatable=repeatable, attributes=attributes
        )

    async def put_stream_async(
        self, path: str, chunks: AsyncIterator[bytes], *, attributes: Mapping[str, str]
    ) -> None:
        began, span = time.perf_counter(), self._begin("put_stream")
        try:
            await self.backend.put_stream_async(path, chunks, attributes=attributes)
        except Exception as error:
            self._say("put_stream", span, time.perf_counter() - began, error)
            raise
        self._say("put_stream", span, time.perf_counter() - began)

    def get(self, path: str) -> bytes:
        return self._timed("get", self.backend.get)(path)

    def stream(self, path: str, *, chunk_size: int, start: int, end: int | None) -> Iterator[bytes]:
        began, span = time.perf_counter(), self._begin("stream")
        try:
            chunks = self.backend.stream(path, chunk_size=chunk_size, start=start, end=end)
        except Exception as error:
            self._say("stream", span, time.perf_counter() - began, error)
            raise
        return self._pieces("stream", span, chunks, time.perf_counter() - began)

    def head(self, path: str) -> ObjectInfo:
        return self._timed("head", self.backend.head)(path)

    def attributes(self, path: str) -> dict[str, str]:
        return self._timed("head", self.backend.attributes)(path)

    def list(self, prefix: str, *, after: str | None) -> Iterator[ObjectInfo]:
        return self._pieces("list", self._begin("list"), self.backend.list(prefix, after=after))

    def local_path(self, path: str) -> Path | None:
        return self.backend.local_path(path)

    def list_names(self, prefix: str) -> builtins.list[str]:
        return self._timed("list", self.backend.list_names)(prefix)

    def delete(self, paths: Sequence[str]) -> None:
        return self._timed("delete", self.backend.delete)(paths)

    def copy(self, source: str, destination: str) -> None:
        return self._timed("copy", self.backend.copy)(source, destination)

    def sign(self, path: str, method: Method, expires: timedelta) -> str:
        return self._timed("sign", self.backend.sign)(path, method, expires)

    def ensure_bucket(self) -> bool:
        return self._timed("ensure_bucket", self.backend.ensure_bucket)()

    def probe(self, staging: str) -> Capabilities:
        return self._timed("probe", self.backend.probe)(staging)

    def stale_uploads(self, prefix: str, older_than: timedelta, *, remove: bool) -> StaleUploads:
        return self._timed("stale_uploads", self.backend.stale_uploads)(prefix, older_than, remove=remove)

    def _timed(self, verb: str, function: Callable[P, R]) -> Callable[P, R]:
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            began, span = time.perf_counter(), self._begin(verb)
            try:
                answer = function(*args, **kwargs)
            except Exception as error:
                self._say(verb, span, time.perf_counter() - began, error)
                raise
            self._say(verb, span, time.perf_counter() - began)
            return answer

        return call

    def _pieces(
        self, verb: str, span: tracing.Span, pieces: Iterator[T], seconds: float = 0.0
    ) -> Iterator[T]:
        """Pass pieces on; say how long the store took for all that were asked for."""
        while True:
            began = time.perf_counter()
            try:
                piece = next(pieces)
            except StopIteration:
                self._say(verb, span, seconds + time.perf_counter() - began)
                return
            except Exception as error:
                self._say(verb, span, seconds + time.perf_counter() - began, error)
                raise
            seconds += time.perf_counter() - began
            try:
                yield piece
            except GeneratorExit:
                self._abandoned.append(_Answer(verb, span, seconds, time.time_ns()))
                raise

    def _begin(self, verb: str) -> tracing.Span:
        return tracing.begin_part(f"store {verb}", {"ecluse.store.scheme": self._scheme})

    def _say(self, verb: str, span: tracing.Span, seconds: float, error: Exception | None = None) -> None:
        for answer in self._let_go():
            answer.span.end(at=answer.ended_ns)
            telemetry.listener().store_answered(self._scheme, answer.verb, answer.seconds, "")
        reason = "" if error is None or isinstance(error, _ANSWERS) else telemetry.reason_of(error)
        span.end(reason)
        telemetry.listener().store_answered(self._scheme, verb, seconds, reason)

    def _let_go(self) -> Iterator[_Answer]:
        """Take what was abandoned since; several threads may."""
        while True:
            try:
                answer = self._abandoned.popleft()
            except IndexError:  # nothing is left
                return
            yield answer


def measured(backend: Backend) -> Backend:
    """Return a backend whose requests are timed, unless they are already."""
    return backend if isinstance(backend, MeasuredBackend) else MeasuredBackend(backend)
