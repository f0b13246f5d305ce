"""Send a stored object to a browser or a program, verified, under a name that is safe to save."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse

from ecluse.errors import DigestMismatch
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.storage import Digest, safe_filename

#: RFC 9110: one range of bytes. What asks for several is answered with everything.
_RANGE: Final = re.compile(r"bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})", re.IGNORECASE)


def send_object(
    runtime: Runtime,
    url: str,
    filename: str,
    media_type: str,
    *,
    sha256: str,
    size: int,
    asked: Mapping[str, str] | None = None,
) -> StreamingResponse:
    """Stream the object at the full address `url` as an attachment; `sha256`, its digest, is the ETag too.

    The last chunk is held back until the digest of all is right: a damaged object never arrives complete,
    and one that fits into a chunk is refused before anything is sent. Of a part that `asked`, the headers of the
    request, names by `Range`, the receiver compares the digest, once all parts are there: the ETag says it.

    Raises:
        DigestMismatch: the object is not the one recorded.
        ObjectNotFound, StoreUnavailable: before anything is sent.
        HTTPException: 416, the object ends before the part that is asked for.
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
    tag = f'"sha256:{sha256}"'
    headers = {"content-disposition": saved_as(filename), "etag": tag, "accept-ranges": "bytes"}
    part = asked_range(asked or {}, tag, size)
    if part is not None:
        start, end = part
        headers |= {"content-length": str(end - start), "content-range": f"bytes {start}-{end - 1}/{size}"}
        some = located.store.stream(located.key, start=start, end=end)
        return StreamingResponse(joined(next(some, b""), some), 206, media_type=media_type, headers=headers)
    chunks = _verified(located.store.stream(located.key), sha256, filename)
    first = next(chunks, b"")
    headers["content-length"] = str(size)
    return StreamingResponse(joined(first, chunks), media_type=media_type, headers=headers)


def asked_range(asked: Mapping[str, str], tag: str, size: int) -> tuple[int, int] | None:
    """Return the bytes (from, to and without) that a request asks for; None: all of them.

    That is so too where it asks for a part of another object than the one with this ETag, by `If-Range`.

    Raises:
        HTTPException: 416, there are no such bytes.
    """
    match = _RANGE.fullmatch(asked.get("range", "").strip())
    if match is None or asked.get("if-range", tag).strip() != tag:
        return None
    first, last = match.groups()
    if not first and not last:
        return None
    if first and last and int(last) < int(first):
        return None  # no range at all, which is passed over
    start = int(first) if first else max(size - int(last), 0)
    end = min(int(last) + 1, size) if first and last else size
    if start >= end:
        raise HTTPException(
            416,
            _(
                "The file has %(count)s bytes; there are none at %(value)s. Ask for others, or for all of it.",
                count=size,
                value=asked["range"].strip()[:60],
            ),
            headers={"content-range": f"bytes */{size}"},
        )
    return start, end


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
    return f"attachment; filename=\"{safe_filename(filename)}\"; filename*=UTF-8''{quote(filename, errors='replace')}"


def joined(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    """Yield a chunk that was asked for before the answer began, and those that follow it."""
    yield first
    yield from rest
