"""Send a stored object to a browser or a program, verified, under a name that is safe to save."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

from starlette.responses import StreamingResponse

from ecluse.errors import DigestMismatch
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.storage import Digest, safe_filename


def send_object(
    runtime: Runtime, url: str, filename: str, media_type: str, *, sha256: str, size: int
) -> StreamingResponse:
    """Stream the object at the full address `url` as an attachment; `sha256`, its digest, is the ETag too.

    The last chunk is held back until the digest of all is right: a damaged object never arrives complete,
    and one that fits into a chunk is refused before anything is sent.

    Raises:
        DigestMismatch: the object is not the one recorded.
        ObjectNotFound, StoreUnavailable: before anything is sent.
    """
    located = runtime.stores.locate(url)
    stored = located.store.head(located.key).size
    if stored != size:
        raise DigestMismatch(
            _(
                "%(file)s is damaged: it has %(count)s bytes, %(number)s were recorded. Make it again.",
                file=filename,
                count=stored,
                number=size,
            )
        )
    chunks = _verified(located.store.stream(located.key), sha256, filename)
    first = next(chunks, b"")
    headers = {
        "content-length": str(size),
        "content-disposition": saved_as(filename),
        "etag": f'"sha256:{sha256}"',
    }
    return StreamingResponse(joined(first, chunks), media_type=media_type, headers=headers)


def _verified(chunks: Iterator[bytes], sha256: str, filename: str) -> Iterator[bytes]:
    digest, held = Digest(), b""
    for chunk in digest.through(chunks):
        if held:
            yield held
        held = chunk
    digest.expect(sha256, filename)
    yield held


def saved_as(filename: str) -> str:
    """Return the header that has an answer saved as a file, under a name that is safe for every system, or its own."""
    return f"attachment; filename=\"{safe_filename(filename)}\"; filename*=UTF-8''{quote(filename)}"


def joined(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    """Yield a chunk that was asked for before the answer began, and those that follow it."""
    yield first
    yield from rest
