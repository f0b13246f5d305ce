"""Read one file out of a form as it arrives, without a temporary copy.

The bytes of the part named `file` are handed on in pieces; what the request carries beside it is passed over but
counted. Reading ends in an error, and so the upload in nothing, when the request is cut short, is larger than
allowed, or carries no file.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from fastapi import Request

from ecluse.errors import EcluseError, InvalidInput, UploadTooLarge
from ecluse.sentences import _, num
from ecluse.web.multipart import BESIDE, End, Event, Head, is_form, read_parts

#: Bytes gathered before they are handed on; a request arrives in pieces of about 64 KiB.
PIECE: Final = 1024 * 1024


@dataclass
class Upload:
    """A file on its way: its name, and its bytes, to be read once."""

    filename: str
    chunks: AsyncIterator[bytes]


async def open_upload(request: Request, max_bytes: int, refusal: EcluseError | None = None) -> Upload:
    """Open the file of a form, read up to where its bytes begin.

    `refusal`: what is raised beyond `max_bytes`; None: that the server takes no more.

    Raises:
        InvalidInput: the request is no form, or has no part `file` with a file name.
        UploadTooLarge: the request says or turns out to be larger than `max_bytes` and what may be beside.
    """
    refusal = refusal or too_large(max_bytes)
    if not is_form(request):
        raise InvalidInput("Send the file as multipart/form-data, such as: curl -F file=@transactions.csv …")
    parts = read_parts(request, max_bytes + BESIDE, refusal)
    async for event in parts:
        if isinstance(event, Head) and event.is_file:
            return Upload(event.filename or "", _chunks(parts, max_bytes, event.filename or "", refusal))
    raise InvalidInput("The request carries no file. Send it as: curl -F file=@transactions.csv …")


async def gathered(parts: AsyncIterator[Event]) -> AsyncIterator[bytes]:
    """Yield the bytes of the part that has begun, up to its end, in pieces of about a mebibyte."""
    held = bytearray()
    async for event in parts:
        if isinstance(event, End):
            break
        if isinstance(event, bytes):
            held += event
        if len(held) >= PIECE:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)


def too_large(max_bytes: int) -> UploadTooLarge:
    return UploadTooLarge(
        _(
            "The upload is larger than %(count)s MB, the most this server accepts. Split it, or "
            "raise ECLUSE_UPLOAD_MAX_BYTES.",
            count=num(max_bytes / 1000000.0, ",.0f"),
        )
    )


async def _chunks(
    parts: AsyncIterator[Event], max_bytes: int, name: str, refusal: EcluseError
) -> AsyncIterator[bytes]:
    total = 0
    async for piece in gathered(parts):
        total += len(piece)
        if total > max_bytes:
            raise refusal
        yield piece
    async for _turn in parts:
        pass  # what follows the file counts as well
    if total == 0:
        raise InvalidInput(_("%(file)s: The file is empty. Nothing was kept.", file=name[:200]))
