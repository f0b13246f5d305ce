"""Take a form apart as it arrives: what each part is called, its bytes, its end. Nothing is gathered or stored here.

`uploads` streams the one file of a form, `file_forms` file after file beside fields, `images` keeps small ones in
memory. All of them end in an error when the request is cut short, not well-formed or larger than allowed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from ecluse.errors import EcluseError, InvalidInput
from ecluse.sentences import _

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

#: The field that files are sent in.
FIELD: Final = "file"
#: What boundaries, headers and other fields may take beside the files, in bytes.
BESIDE: Final = 64 * 1024
#: Bytes of a boundary; RFC 2046 has 70 at most, the parser fails beyond 256.
LONGEST_BOUNDARY: Final = 200


@dataclass(frozen=True)
class Head:
    """The beginning of a part. `filename` is None for a field, and empty for a file that was not chosen."""

    name: str
    filename: str | None

    @property
    def is_file(self) -> bool:
        """Say whether this is a file in the field that files are sent in."""
        return self.name == FIELD and bool(self.filename)


@dataclass(frozen=True)
class End:
    """The end of a part."""


Event = Head | bytes | End


def is_form(request: Request) -> bool:
    """Say whether a request says that it is a form with files, with a boundary that a client may have made."""
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    return kind == b"multipart/form-data" and 1 <= len(options.get(b"boundary", b"")) <= LONGEST_BOUNDARY


async def read_parts(request: Request, most: int, too_large: EcluseError) -> AsyncIterator[Event]:
    """For each part of a form its head, its bytes in pieces as they arrive, and its end. `is_form` has to hold.

    Raises:
        UploadTooLarge: `too_large`, where the request says or turns out to have more than `most` bytes.
        InvalidInput: it is not well-formed, or ends before its last part does.
    """
    _rest, options = parse_options_header(request.headers.get("content-type", ""))
    parser = _Parser(options[b"boundary"])
    async for piece in read_body(request, most, too_large):
        try:
            parser.feed(piece)
        except FormParserError as error:
            raise InvalidInput(
                _("The request is not well-formed multipart/form-data: %(error)s.", error=error)
            ) from error
        for event in parser.take_events():
            yield event
    if not parser.ended:
        raise InvalidInput(_("The upload ended before the file did. Nothing was kept; send it again."))


async def read_body(request: Request, most: int, too_large: EcluseError) -> AsyncIterator[bytes]:
    """Yield the body of a request in pieces, up to `most` bytes; raises as `read_parts` does."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > most:
        raise too_large
    received = 0
    try:
        async for piece in request.stream():
            received += len(piece)
            if received > most:
                raise too_large
            if piece:
                yield piece
    except ClientDisconnect as error:
        raise InvalidInput(
            _("The connection was closed before the upload was complete. Nothing was kept.")
        ) from error


@dataclass
class _Parser:
    """What was parsed and not yet taken, and the headers of the part that begins."""

    boundary: bytes
    ended: bool = False
    _events: list[Event] = field(default_factory=list)
    _header: list[bytes] = field(default_factory=lambda: [b"", b""])
    _headers: dict[bytes, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._parser = MultipartParser(self.boundary, self._callbacks())

    def _callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._headers.clear,
            "on_header_field": lambda data, start, end: self._add(0, data[start:end]),
            "on_header_value": lambda data, start, end: self._add(1, data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._begin_part,
            "on_part_data": lambda data, start, end: self._events.append(bytes(data[start:end])),
            "on_part_end": lambda: self._events.append(End()),
            "on_end": self._end,
        }

    def feed(self, piece: bytes) -> None:
        self._parser.write(piece)

    def take_events(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def _add(self, part: int, data: bytes) -> None:
        self._header[part] += data

    def _end_header(self) -> None:
        self._headers[self._header[0].lower()] = self._header[1]
        self._header = [b"", b""]

    def _begin_part(self) -> None:
        _rest, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        named = options.get(b"filename")
        filename = None if named is None else named.decode("utf-8", "replace")
        self._events.append(Head(options.get(b"name", b"").decode("utf-8", "replace"), filename))

    def _end(self) -> None:
        self.ended = True
