"""Read the images that a request brings, as they arrive and within bounds: files of a form, or its raw body."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from fastapi import Request

from ecluse.apps.plants.formats import MAX_BYTES
from ecluse.apps.plants.http.image_work import Holding
from ecluse.errors import InvalidInput, UploadTooLarge
from ecluse.sentences import _
from ecluse.web.multipart import BESIDE, FIELD, Head, is_form, read_body, read_parts

#: Images of one request, the bytes of one and of all of them.
MOST_IMAGES: Final = 64
IMAGE_BYTES: Final = MAX_BYTES
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
    """Return the one image of a request: its raw body, or the part `file` of its form.

    Raises:
        InvalidInput: there is none, there are several, or the request is cut short or not well-formed.
        UploadTooLarge: it has more than `IMAGE_BYTES`; said as soon as that is known.
        Overloaded: other requests hold too much.
    """
    if not _is_multipart(request):
        return await _raw_image(request, holding)
    _expect_form(request)
    form = await _read(request, holding, IMAGE_BYTES)
    if len(form.files) != 1:
        raise InvalidInput(
            f"The request carries {len(form.files)} files; send one, as: curl -F file=@leaf.jpg … "
            "Several go to /api/plants/predict/batch."
        )
    return form.files[0]


async def read_form(request: Request, holding: Holding) -> Form:
    """Return the fields and the files named `file` of a form; an input that was left empty is no file.

    A file larger than an image may be is counted and not kept, so that the others can be answered.

    Raises:
        InvalidInput: the request is no form, is cut short, not well-formed, or has too many parts.
        UploadTooLarge: all together have more than `ALL_BYTES`; said as soon as that is known.
        Overloaded: other requests hold too much.
    """
    _expect_form(request)
    return await _read(request, holding, ALL_BYTES)


async def _raw_image(request: Request, holding: Holding) -> Sent:
    pieces = []
    async for piece in read_body(request, IMAGE_BYTES, _too_large(IMAGE_BYTES)):
        holding.take(len(piece))
        pieces.append(piece)
    if not pieces:
        raise InvalidInput("The request is empty. Send an image as its body, or as: curl -F file=@leaf.jpg …")
    data = b"".join(pieces)
    return Sent("", len(data), data)


async def _read(request: Request, holding: Holding, most: int) -> Form:
    form, part = _Reading(holding), None
    async for event in read_parts(request, most + BESIDE, _too_large(most)):
        if isinstance(event, Head):
            part = form.begun(event)
        elif part is not None and isinstance(event, bytes):
            form.take_in(part, event)
        elif part is not None:
            form.end(part)
    return Form(form.fields, form.files)


def _is_multipart(request: Request) -> bool:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == "multipart/form-data"


def _expect_form(request: Request) -> None:
    if not is_form(request):
        raise InvalidInput(
            "Send the images as multipart/form-data, such as: curl -F file=@a.jpg -F file=@b.jpg …"
        )


def _too_large(most: int) -> UploadTooLarge:
    count = most // 1_000_000
    if most == IMAGE_BYTES:
        return UploadTooLarge(
            _(
                "The upload is larger than %(count)s MB, the most that an image may have. Send less.",
                count=count,
            )
        )
    return UploadTooLarge(
        _(
            "The upload is larger than %(count)s MB, the most that the images of one request may have together. "
            "Send less.",
            count=count,
        )
    )


@dataclass
class _Part:
    """A part that is being read: its pieces as far as they are kept, and all its bytes counted."""

    head: Head
    pieces: list[bytes] = field(default_factory=list)
    size: int = 0

    @property
    def most(self) -> int:
        """Return how many of its bytes are kept."""
        if self.head.filename is None:
            return FIELD_BYTES
        return IMAGE_BYTES if self.head.name == FIELD else 0


@dataclass
class _Reading:
    """The fields and files of a form that ended."""

    holding: Holding
    fields: dict[str, str] = field(default_factory=dict)
    files: list[Sent] = field(default_factory=list)

    def begun(self, head: Head) -> _Part:
        if head.filename is None and len(self.fields) >= MOST_FIELDS:
            raise InvalidInput(_("The form has more than %(count)s fields.", count=MOST_FIELDS))
        if head.filename is not None and len(self.files) >= MOST_IMAGES:
            raise InvalidInput(
                _("The request carries more than %(count)s files. Send them in several.", count=MOST_IMAGES)
            )
        return _Part(head)

    def take_in(self, part: _Part, data: bytes) -> None:
        part.size += len(data)
        if part.size <= part.most:
            self.holding.take(len(data))
            part.pieces.append(data)

    def end(self, part: _Part) -> None:
        name, filename = part.head.name, part.head.filename
        data = b"".join(part.pieces)
        whole = len(data) == part.size
        if filename is None:
            if not whole:
                raise InvalidInput(f"The field {name!r:.40} is longer than {FIELD_BYTES} bytes.")
            self.fields[name] = data.decode("utf-8", "replace")
        elif name == FIELD and (filename or part.size):
            self.files.append(Sent(filename[:_NAME], part.size, data if whole else None))
