"""Read the images that a request brings, as they arrive and within bounds: files of a form, or its raw body."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from ecluse.errors import InvalidInput, UploadTooLarge
from ecluse.web.image_work import Holding
from ecluse.web.uploads import BESIDE, FIELD

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

#: Images of one request, the bytes of one and of all of them.
MOST_IMAGES: Final = 64
IMAGE_BYTES: Final = 25_000_000
ALL_BYTES: Final = 100_000_000
#: Fields of a form beside its files, and the bytes of one.
MOST_FIELDS: Final = 20
FIELD_BYTES: Final = 1_000
_NAME: Final = 255


@dataclass(frozen=True)
class Sent:
    """A file as it arrived. `data` is None where it had more than `IMAGE_BYTES`, and `size` says how many."""

    name: str
    size: int
    data: bytes | None


@dataclass(frozen=True)
class Form:
    """What a request carried: its text fields, and its files in their order."""

    fields: dict[str, str]
    files: list[Sent]


async def read_image(request: Request, holding: Holding) -> Sent:
    """The one image of a request: its raw body, or the part `file` of its form.

    Raises:
        InvalidInput: there is none, there are several, or the request is cut short or not well-formed.
        UploadTooLarge: it has more than `IMAGE_BYTES`; said as soon as that is known.
        Overloaded: other requests hold too much.
    """
    _expect_size(request, IMAGE_BYTES)
    if _kind(request)[0] != b"multipart/form-data":
        return await _raw_image(request, holding)
    form = await _read(request, holding, IMAGE_BYTES)
    if len(form.files) != 1:
        raise InvalidInput(
            f"The request carries {len(form.files)} files; send one, as: curl -F file=@leaf.jpg … "
            "Several go to /api/plants/predict/batch."
        )
    return form.files[0]


async def read_form(request: Request, holding: Holding) -> Form:
    """The fields and the files named `file` of a form; an input that was left empty is no file.

    A file larger than an image may be is counted and not kept, so that the others can be answered.

    Raises:
        InvalidInput: the request is no form, is cut short, not well-formed, or has too many parts.
        UploadTooLarge: all together have more than `ALL_BYTES`; said as soon as that is known.
        Overloaded: other requests hold too much.
    """
    if _kind(request)[0] != b"multipart/form-data":
        raise InvalidInput(
            "Send the images as multipart/form-data, such as: curl -F file=@a.jpg -F file=@b.jpg …"
        )
    _expect_size(request, ALL_BYTES)
    return await _read(request, holding, ALL_BYTES)


async def _raw_image(request: Request, holding: Holding) -> Sent:
    pieces, size = [], 0
    async for piece in _pieces(request):
        size += len(piece)
        if size > IMAGE_BYTES:
            raise _too_large(IMAGE_BYTES)
        holding.take(len(piece))
        pieces.append(piece)
    if not size:
        raise InvalidInput("The request is empty. Send an image as its body, or as: curl -F file=@leaf.jpg …")
    return Sent("", size, b"".join(pieces))


async def _read(request: Request, holding: Holding, most: int) -> Form:
    _, options = _kind(request)
    if not options.get(b"boundary"):
        raise _not_well_formed("it names no boundary")
    reader, received = _FormReader(options[b"boundary"], holding), 0
    async for piece in _pieces(request):
        received += len(piece)
        if received > most + BESIDE:
            raise _too_large(most)
        reader.feed(piece)
    if not reader.ended:
        raise InvalidInput("The upload ended before the file did. Nothing was kept; send it again.")
    return Form(reader.fields, reader.files)


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    try:
        async for piece in request.stream():
            if piece:
                yield piece
    except ClientDisconnect as error:
        raise InvalidInput(
            "The connection was closed before the upload was complete. Nothing was kept."
        ) from error


def _kind(request: Request) -> tuple[bytes, dict[bytes, bytes]]:
    return parse_options_header(request.headers.get("content-type", ""))


def _expect_size(request: Request, most: int) -> None:
    """`UploadTooLarge` for a request that says it is larger, before any of it is read."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > most + BESIDE:
        raise _too_large(most)


def _too_large(most: int) -> UploadTooLarge:
    what = "an image may have" if most == IMAGE_BYTES else "the images of one request may have together"
    return UploadTooLarge(
        f"The upload is larger than {most // 1_000_000} MB, the most that {what}. Send less."
    )


def _not_well_formed(reason: object) -> InvalidInput:
    return InvalidInput(f"The request is not well-formed multipart/form-data: {reason}.")


@dataclass
class _FormReader:
    """The parser's state: the part that is being read, and the fields and files that ended."""

    boundary: bytes
    holding: Holding
    fields: dict[str, str] = field(default_factory=dict)
    files: list[Sent] = field(default_factory=list)
    ended: bool = False
    _header: list[bytes] = field(default_factory=lambda: [b"", b""])
    _headers: dict[bytes, bytes] = field(default_factory=dict)
    _name: str = ""
    _filename: str | None = None
    _pieces: list[bytes] = field(default_factory=list)
    _size: int = 0

    def __post_init__(self) -> None:
        try:
            self._parser = MultipartParser(self.boundary, self._callbacks())
        except FormParserError as error:  # a boundary may be too long
            raise _not_well_formed(error) from error

    def _callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._headers.clear,
            "on_header_field": lambda data, start, end: self._add(0, data[start:end]),
            "on_header_value": lambda data, start, end: self._add(1, data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._begin_part,
            "on_part_data": lambda data, start, end: self._take_in(data[start:end]),
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    def feed(self, piece: bytes) -> None:
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise _not_well_formed(error) from error

    def _add(self, part: int, data: bytes) -> None:
        self._header[part] += data

    def _end_header(self) -> None:
        self._headers[self._header[0].lower()] = self._header[1]
        self._header = [b"", b""]

    def _begin_part(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        named = options.get(b"filename")
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        self._filename = None if named is None else named.decode("utf-8", "replace")[:_NAME]
        self._pieces, self._size = [], 0
        if self._filename is None and len(self.fields) >= MOST_FIELDS:
            raise InvalidInput(f"The form has more than {MOST_FIELDS} fields.")
        if self._filename is not None and len(self.files) >= MOST_IMAGES:
            raise InvalidInput(f"The request carries more than {MOST_IMAGES} files. Send them in several.")

    def _take_in(self, data: bytes) -> None:
        self._size += len(data)
        if self._filename is not None and self._name != FIELD:
            return
        if self._size <= (IMAGE_BYTES if self._filename is not None else FIELD_BYTES):
            self.holding.take(len(data))
            self._pieces.append(bytes(data))

    def _end_part(self) -> None:
        data = b"".join(self._pieces)
        whole = len(data) == self._size
        if self._filename is None:
            if not whole:
                raise InvalidInput(f"The field {self._name!r:.40} is longer than {FIELD_BYTES} bytes.")
            self.fields[self._name] = data.decode("utf-8", "replace")
        elif self._name == FIELD and (self._filename or self._size):
            self.files.append(Sent(self._filename, self._size, data if whole else None))
        self._pieces = []

    def _end(self) -> None:
        self.ended = True
