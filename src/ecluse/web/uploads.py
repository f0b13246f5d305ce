"""Read a file out of a multipart request as it arrives, without a temporary copy.

The parser hands over the bytes of the part named `file` chunk by chunk; what the request carries beside
it is passed over but counted. Reading ends in an error, and so the upload in nothing, when the request is
cut short, is larger than allowed, or carries no file.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

from fastapi import Request
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from ecluse.errors import InvalidInput, UploadTooLarge

FIELD: Final = "file"
#: Bytes gathered before they are handed on; a request arrives in pieces of about 64 KiB.
PIECE: Final = 1024 * 1024
#: What boundaries, headers and other fields may take beside the file.
BESIDE: Final = 64 * 1024
#: Bytes of a boundary; RFC 2046 has 70 at most, the parser fails beyond 256.
LONGEST_BOUNDARY: Final = 200


@dataclass
class Upload:
    """A file on its way: its name, and its bytes, to be read once."""

    filename: str
    chunks: AsyncIterator[bytes]


async def open_upload(request: Request, max_bytes: int) -> Upload:
    """The file of a multipart request, read up to where its bytes begin.

    Raises:
        InvalidInput: the request is not multipart, or has no part `file` with a file name.
        UploadTooLarge: the request says or turns out to be larger than `max_bytes` and what may be beside.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > max_bytes + BESIDE:
        raise _too_large(max_bytes)
    reader = _Reader(_boundary(request))
    body = _bounded(request.stream(), max_bytes)
    while reader.filename is None:
        if not await _feed(reader, body):
            raise InvalidInput("The request carries no file. Send it as: curl -F file=@transactions.csv …")
    return Upload(reader.filename, _chunks(reader, body, max_bytes))


async def _bounded(body: AsyncIterator[bytes], max_bytes: int) -> AsyncIterator[bytes]:
    """The body, whatever part its bytes belong to, up to `max_bytes` and what may be beside the file."""
    received = 0
    async for piece in body:
        received += len(piece)
        if received > max_bytes + BESIDE:
            raise _too_large(max_bytes)
        yield piece


async def _chunks(reader: _Reader, body: AsyncIterator[bytes], max_bytes: int) -> AsyncIterator[bytes]:
    total = 0
    alive = True
    while alive:
        alive = await _feed(reader, body)
        if reader.waiting >= PIECE or not alive:
            piece = reader.take()
            total += len(piece)
            if total > max_bytes:
                raise _too_large(max_bytes)
            if piece:
                yield piece
    if not reader.complete:
        raise InvalidInput("The upload ended before the file did. Nothing was kept; send it again.")
    if total == 0:
        raise InvalidInput("The file is empty. Nothing was kept.")


async def _feed(reader: _Reader, body: AsyncIterator[bytes]) -> bool:
    """Parse the next piece of the body; False at its end."""
    try:
        piece = await anext(body, b"")
        reader.feed(piece)
    except ClientDisconnect as error:
        raise InvalidInput(
            "The connection was closed before the upload was complete. Nothing was kept."
        ) from error
    except MultipartParseError as error:
        raise InvalidInput(f"The request is not well-formed multipart/form-data: {error}.") from error
    return bool(piece)


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 1 <= len(boundary) <= LONGEST_BOUNDARY:
        raise InvalidInput("Send the file as multipart/form-data, such as: curl -F file=@transactions.csv …")
    return boundary


def _too_large(max_bytes: int) -> UploadTooLarge:
    return UploadTooLarge(
        f"The upload is larger than {max_bytes / 1e6:,.0f} MB, the most this server accepts. "
        "Split it, or raise ECLUSE_UPLOAD_MAX_BYTES."
    )


@dataclass
class _Reader:
    """The parser's state: the file name once known, the bytes not yet taken, and whether the file ended."""

    boundary: bytes
    filename: str | None = None
    complete: bool = False
    waiting: int = 0
    _pieces: list[bytes] = field(default_factory=list)
    _header: list[bytes] = field(default_factory=lambda: [b"", b""])
    _headers: dict[bytes, bytes] = field(default_factory=dict)
    _in_file: bool = False

    def __post_init__(self) -> None:
        self._parser = MultipartParser(
            self.boundary,
            {
                "on_part_begin": self._headers.clear,
                "on_header_field": lambda data, start, end: self._add(0, data[start:end]),
                "on_header_value": lambda data, start, end: self._add(1, data[start:end]),
                "on_header_end": self._end_header,
                "on_headers_finished": self._begin_part,
                "on_part_data": lambda data, start, end: self._take_in(data[start:end]),
                "on_part_end": self._end_part,
            },
        )

    def feed(self, piece: bytes) -> None:
        if piece:
            self._parser.write(piece)

    def take(self) -> bytes:
        gathered = b"".join(self._pieces)
        self._pieces.clear()
        self.waiting = 0
        return gathered

    def _add(self, part: int, data: bytes) -> None:
        self._header[part] += data

    def _end_header(self) -> None:
        self._headers[self._header[0].lower()] = self._header[1]
        self._header = [b"", b""]

    def _begin_part(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        named = options.get(b"filename")
        if options.get(b"name") == FIELD.encode() and named and self.filename is None:
            self.filename = named.decode("utf-8", "replace")
            self._in_file = True

    def _take_in(self, data: bytes) -> None:
        if self._in_file:
            self._pieces.append(bytes(data))
            self.waiting += len(data)

    def _end_part(self) -> None:
        if self._in_file:
            self.complete = True
        self._in_file = False
