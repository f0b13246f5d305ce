"""A store that writes down which paths are touched, and by what."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from ecluse.storage import ObjectStore

#: Methods of a backend by which a path is reached, with the places of the paths among what they are given.
REACHING: Final = {
    "put": (0,),
    "put_stream": (0,),
    "get": (0,),
    "stream": (0,),
    "head": (0,),
    "attributes": (0,),
    "list": (0,),
    "list_names": (0,),
    "local_path": (0,),
    "copy": (0, 1),
    "sign": (0,),
    "stale_uploads": (0,),
}


class Watched:
    """A real backend; `touched` has each path that was asked of it, with the method."""

    def __init__(self, backend: Any, prefix: str) -> None:
        self._backend = backend
        self.prefix = prefix
        self.touched: list[tuple[str, str]] = []

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._backend, name)
        if name == "delete":
            return self._noting_all(method)
        places = REACHING.get(name)
        return method if places is None else self._noting(name, places, method)

    async def put_stream_async(self, path: str, chunks: AsyncIterator[bytes], **options: Any) -> None:
        self.touched.append(("put_stream_async", path))
        await self._backend.put_stream_async(path, chunks, **options)

    def _noting(self, name: str, places: tuple[int, ...], method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **options: Any) -> Any:
            self.touched += [(name, given[place]) for place in places]
            return method(*given, **options)

        return call

    def _noting_all(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(paths: Any) -> Any:
            paths = list(paths)
            self.touched += [("delete", path) for path in paths]
            return method(paths)

        return call


def watch(store: ObjectStore) -> Watched:
    """Watch an opened store and all parts of it that are taken from now on."""
    watched = Watched(store._backend, store.prefix)
    store._backend = watched
    return watched
