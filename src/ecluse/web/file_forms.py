"""Read a form with any number of files as it arrives: its fields, then file after file, without a temporary copy.

Fields are known once the first file begins, so a form names them before its files.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

from fastapi import Request
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from ecluse.errors import InvalidInput, UploadTooLarge
from ecluse.web.uploads import BESIDE, FIELD, LONGEST_BOUNDARY, PIECE, Upload

#: What all fields of a form may take, in bytes, and how many there may be.
FIELDS_BYTES: Final = 16_000
MOST_FIELDS: Final = 40
#: What the heads of a file's part take at most.
HEAD_BYTES: Final = 4_000


async def open_file_form(request: Request, max_bytes: int, most_files: int) -> FileForm:
    """A form, read up to where its first file begins.

    Raises:
        InvalidInput: the request is no form, or its fields are too many or too long.
        UploadTooLarge: it says or turns out to be larger than `max_bytes` and what may be beside.
    """
    most = max_bytes + BESIDE
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > most + most_files * HEAD_BYTES:
        raise _too_large(max_bytes)
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 1 <= len(boundary) <= LONGEST_BOUNDARY:
        raise InvalidInput("Send the file as multipart/form-data, such as: curl -F file=@images.zip …")
    form = FileForm(_Parts(boundary), request.stream(), max_bytes, most_files)
    await form.begin()
    return form


class FileForm:
    """A form on its way. `fields` are those before the first file; `files` gives each file in turn, once."""

    def __init__(self, parts: _Parts, body: AsyncIterator[bytes], max_bytes: int, most_files: int) -> None:
        self._parts, self._body = parts, body
        self._max_bytes, self._most_files = max_bytes, most_files
        self._received = 0

    @property
    def fields(self) -> dict[str, str]:
        return self._parts.fields

    async def begin(self) -> None:
        """Read until the first file begins, or the form ends."""
        while not self._parts.names and await self._feed():
            pass

    async def files(self) -> AsyncIterator[Upload]:
        """Each file named `file`; its chunks are read before the next is asked for. An empty input is no file.

        Raises:
            InvalidInput: the request was cut short, or carries too many files.
            UploadTooLarge: it is larger than `max_bytes`.
        """
        count = 0
        while True:
            while not self._parts.names:
                if not await self._feed():
                    if not self._parts.ended:
                        raise InvalidInput(
                            "The upload ended before the file did. Nothing was kept; send it again."
                        )
                    return
            name = self._parts.names.popleft()
            count += 1
            if count > self._most_files:
                raise InvalidInput(
                    f"The form has more than {self._most_files} files. Put them into an archive."
                )
            yield Upload(name, self._chunks())

    async def _chunks(self) -> AsyncIterator[bytes]:
        gathered = bytearray()
        while True:
            while not self._parts.pieces:
                if not await self._feed():
                    raise InvalidInput(
                        "The upload ended before the file did. Nothing was kept; send it again."
                    )
            piece = self._parts.pieces.popleft()
            if piece is None:
                break
            gathered += piece
            if len(gathered) >= PIECE:
                yield bytes(gathered)
                gathered.clear()
        if gathered:
            yield bytes(gathered)

    async def _feed(self) -> bool:
        """Parse the next piece of the body; False at its end."""
        try:
            piece = await anext(self._body, b"")
            self._received += len(piece)
            if self._received > self._max_bytes + BESIDE + self._parts.begun * HEAD_BYTES:
                raise _too_large(self._max_bytes)
            if piece:
                self._parts.feed(piece)
        except ClientDisconnect as error:
            raise InvalidInput(
                "The connection was closed before the upload was complete. Nothing was kept."
            ) from error
        except MultipartParseError as error:
            raise InvalidInput(f"The request is not well-formed multipart/form-data: {error}.") from error
        return bool(piece)


def _too_large(max_bytes: int) -> UploadTooLarge:
    return UploadTooLarge(
        f"The upload is larger than {max_bytes / 1e6:,.0f} MB, the most this server accepts. "
        "Split it, or raise ECLUSE_UPLOAD_MAX_BYTES."
    )


@dataclass
class _Parts:
    """The parser's state: files that began (`names`), their bytes (`pieces`, None at the end of each), the fields."""

    boundary: bytes
    fields: dict[str, str] = field(default_factory=dict)
    names: deque[str] = field(default_factory=deque)
    pieces: deque[bytes | None] = field(default_factory=deque)
    begun: int = 0
    ended: bool = False
    _header: list[bytes] = field(default_factory=lambda: [b"", b""])
    _headers: dict[bytes, bytes] = field(default_factory=dict)
    _name: str = ""
    _is_file: bool = False
    _is_field: bool = False
    _text: bytearray = field(default_factory=bytearray)
    _texts: int = 0

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
                "on_end": self._end,
            },
        )

    def feed(self, piece: bytes) -> None:
        self._parser.write(piece)

    def _add(self, part: int, data: bytes) -> None:
        self._header[part] += data

    def _end_header(self) -> None:
        self._headers[self._header[0].lower()] = self._header[1]
        self._header = [b"", b""]

    def _begin_part(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        named = options.get(b"filename")
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        self._is_file = bool(named) and self._name == FIELD
        self._is_field = named is None
        self._text.clear()
        if self._is_file and named:
            self.begun += 1
            self.names.append(named.decode("utf-8", "replace"))
        elif self._is_field and len(self.fields) >= MOST_FIELDS:
            raise InvalidInput(f"The form has more than {MOST_FIELDS} fields.")

    def _take_in(self, data: bytes) -> None:
        if self._is_file:
            self.pieces.append(bytes(data))
        elif self._is_field:
            self._texts += len(data)
            if self._texts > FIELDS_BYTES:
                raise InvalidInput(f"The fields of the form are longer than {FIELDS_BYTES} bytes.")
            self._text += data

    def _end_part(self) -> None:
        if self._is_file:
            self.pieces.append(None)
        elif self._is_field:
            self.fields[self._name] = self._text.decode("utf-8", "replace")
        self._is_file = self._is_field = False

    def _end(self) -> None:
        self.ended = True
