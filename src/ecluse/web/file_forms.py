"""Read a form with any number of files as it arrives: its fields, then file after file, without a temporary copy.

Fields are known once the first file begins, so a form names them before its files.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from fastapi import Request

from ecluse.errors import EcluseError, InvalidInput
from ecluse.sentences import _
from ecluse.web.multipart import BESIDE, End, Event, Head, is_form, read_parts
from ecluse.web.uploads import Upload, gathered, too_large

#: What all fields of a form may take, in bytes, and how many there may be.
FIELDS_BYTES: Final = 16_000
MOST_FIELDS: Final = 40
#: What the heads of a file's part take at most.
HEAD_BYTES: Final = 4_000


async def open_file_form(
    request: Request, max_bytes: int, most_files: int, refusal: EcluseError | None = None
) -> FileForm:
    """Open a form, read up to where its first file begins; `refusal` as of `open_upload`.

    Raises:
        InvalidInput: the request is no form, or its fields are too many or too long.
        UploadTooLarge: it says or turns out to be larger than `max_bytes` and what may be beside.
    """
    if not is_form(request):
        raise InvalidInput("Send the file as multipart/form-data, such as: curl -F file=@images.zip …")
    most = max_bytes + BESIDE + most_files * HEAD_BYTES
    refusal = refusal or too_large(max_bytes)
    form = FileForm(read_parts(request, most, refusal), max_bytes, most_files, refusal)
    await form.begin()
    return form


class FileForm:
    """A form on its way. `fields` are those that were read, all of them after the last file; `files` gives each
    file in turn, once."""

    def __init__(
        self, parts: AsyncIterator[Event], max_bytes: int, most_files: int, refusal: EcluseError
    ) -> None:
        self.fields: dict[str, str] = {}
        self._parts, self._max_bytes, self._most_files = parts, max_bytes, most_files
        self._refusal = refusal
        self._waiting: str | None = None
        self._field_bytes = self._file_bytes = 0

    async def begin(self) -> None:
        """Read until the first file begins, or the form ends."""
        self._waiting = await self._next_file()

    def bound(self, max_bytes: int, refusal: EcluseError) -> None:
        """Let the files have no more bytes together, once the fields have said whose they are to be."""
        self._max_bytes, self._refusal = max_bytes, refusal

    async def files(self) -> AsyncIterator[Upload]:
        """Yield each file named `file`; its chunks are read before the next is asked for. An empty input is no file.

        Raises:
            InvalidInput: the request was cut short, or carries too many files.
            UploadTooLarge: the files have more than `max_bytes` together.
        """
        count = 0
        while self._waiting is not None:
            count += 1
            if count > self._most_files:
                raise InvalidInput(
                    _(
                        "The form has more than %(count)s files. Put them into an archive.",
                        count=self._most_files,
                    )
                )
            yield Upload(self._waiting, self._chunks())
            self._waiting = await self._next_file()

    async def _chunks(self) -> AsyncIterator[bytes]:
        async for piece in gathered(self._parts):
            self._file_bytes += len(piece)
            if self._file_bytes > self._max_bytes:
                raise self._refusal
            yield piece

    async def _next_file(self) -> str | None:
        """Return the name of the file that begins next; None where none does. The fields before it are read."""
        name, text = None, bytearray()
        async for event in self._parts:
            match event:
                case Head() if event.is_file:
                    return event.filename
                case Head():
                    name = event.name if event.filename is None else None
                    text.clear()
                    if name is not None and len(self.fields) >= MOST_FIELDS:
                        raise InvalidInput(_("The form has more than %(count)s fields.", count=MOST_FIELDS))
                case End() if name is not None:
                    self.fields[name] = text.decode("utf-8", "replace")
                case bytes() if name is not None:
                    self._field_bytes += len(event)
                    if self._field_bytes > FIELDS_BYTES:
                        raise InvalidInput(
                            _("The fields of the form are longer than %(count)s bytes.", count=FIELDS_BYTES)
                        )
                    text += event
        return None
