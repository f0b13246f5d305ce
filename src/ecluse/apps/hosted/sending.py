"""Read what a request gives a function of an application: fields, and files, sent along or named by their id."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from ecluse.app.signature import Parameter, checked_all
from ecluse.apps.hosted import files
from ecluse.apps.hosted.snapshot import Snapshot, Verb
from ecluse.catalog.tables import new_id
from ecluse.errors import EcluseError, InvalidInput, UploadTooLarge
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.storage.to_the_end import to_the_end
from ecluse.web.admission import admission_of
from ecluse.web.multipart import BESIDE, Event, Head, is_form, read_parts
from ecluse.web.receiving import receiving
from ecluse.web.security import MAX_BODY
from ecluse.web.uploads import gathered, too_large

#: Fields of a form, and the bytes of their texts together.
MOST_FIELDS: Final = 500
FIELDS_BYTES: Final = 256 * 1024
#: Keeps a file, given the name of its field, its own, and its bytes.
Keep = Callable[[str, str, AsyncIterator[bytes]], Awaitable[Any]]


@dataclass(frozen=True)
class Brought:
    """A file that came with a request, where it lies until the answer. No body of JSON can name one."""

    path: Path
    name: str


async def read_sent(
    request: Request, runtime: Runtime, user_id: str, keep: Keep, *, is_stored: bool = False
) -> dict[str, Any]:
    """Return the fields of a form by their names; in place of a file stands what `keep` made of it.

    `is_stored`: `keep` stores it as the person's, for which the person's plan has to have room.

    Raises:
        InvalidInput: the form is cut short, not well-formed, or has too many fields.
        UploadTooLarge: it is larger than an upload may be.
    """
    if not is_form(request):
        content = (await bounded_body(request)).decode("utf-8", "replace")
        try:
            return dict(parse_qsl(content, keep_blank_values=True, max_num_fields=MOST_FIELDS))
        except ValueError as error:
            raise InvalidInput(_("The form has more than %(count)s fields.", count=MOST_FIELDS)) from error
    if not is_stored:
        most = runtime.settings.upload_max_bytes
        async with admission_of(request).arriving(request, user_id) as admitted:
            return await _read_parts(admitted, most, too_large(most), keep)
    async with receiving(request, runtime, user_id) as arrival:
        return await _read_parts(arrival.request, arrival.most, arrival.refusal, keep)


async def _read_parts(request: Request, most: int, refusal: EcluseError, keep: Keep) -> dict[str, Any]:
    texts: dict[str, str] = {}
    kept: dict[str, Any] = {}
    parts = read_parts(request, most + BESIDE + FIELDS_BYTES, refusal)
    async for event in parts:
        if not isinstance(event, Head):
            continue
        if event.filename:
            kept[event.name] = await keep(event.name, event.filename, _bounded(parts, most, refusal))
            continue
        text = b"".join([piece async for piece in gathered(parts)])
        if event.filename is None:
            texts[event.name] = text.decode("utf-8", "replace")
        if len(texts) > MOST_FIELDS or sum(map(len, texts.values())) > FIELDS_BYTES:
            raise InvalidInput(_("The form has more than %(count)s fields.", count=MOST_FIELDS))
    return texts | kept


async def _bounded(parts: AsyncIterator[Event], most: int, refusal: EcluseError) -> AsyncIterator[bytes]:
    """Yield the bytes of the file that has begun; raises `refusal` where it has more than `most`."""
    total = 0
    async for piece in gathered(parts):
        total += len(piece)
        if total > most:
            raise refusal
        yield piece


async def bounded_body(request: Request) -> bytes:
    """Read a body without files. At addresses that take files, no more than this bounds it.

    Raises:
        UploadTooLarge: it is larger than fields or a document of JSON need.
    """
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY:
            raise UploadTooLarge(
                _("This request is larger than 1 MB. Send its files as a form: multipart/form-data.")
            )
    return bytes(body)


def into_folder(folder: Path) -> Keep:
    """Return what keeps the files of a request in a folder of this machine."""

    async def keep(field: str, name: str, chunks: AsyncIterator[bytes]) -> Brought:
        path = folder / new_id()
        with path.open("wb") as file:
            async for piece in chunks:
                await run_in_threadpool(file.write, piece)
        return Brought(path, files.checked_name(name))

    return keep


def into_store(runtime: Runtime, user_id: str, application: str, brought: Sequence[Parameter]) -> Keep:
    """Return what stores the files of a request as this person's, and stands for them by their ids. A table is read to
    its end first: one that cannot be is not kept.
    """
    tables = {each.name for each in brought if each.kind == "table"}

    async def keep(field: str, name: str, chunks: AsyncIterator[bytes]) -> str:
        store = files.receive_table if field in tables else files.receive
        return (await store(runtime, user_id, application, name, chunks)).id

    return keep


@asynccontextmanager
async def storing(
    runtime: Runtime, user_id: str, application: str, brought: Sequence[Parameter]
) -> AsyncIterator[Keep]:
    """Yield what `into_store` returns. Where the block ends in an error, or is cancelled, none of the files is kept."""
    stored: list[str] = []
    store = into_store(runtime, user_id, application, brought)

    async def keep(field: str, name: str, chunks: AsyncIterator[bytes]) -> Any:
        stored.append(await store(field, name, chunks))
        return stored[-1]

    try:
        yield keep
    except BaseException:
        for file_id in stored:
            await to_the_end(files.remove, runtime, user_id, application, file_id)
        raise


def values_for(
    runtime: Runtime, user_id: str, snapshot: Snapshot, verb: Verb, sent: Mapping[str, Any], folder: Path
) -> dict[str, Any]:
    """Return the values that a function is called with; files lie in `folder`, or are fetched there by their ids.

    Raises:
        InvalidInput: a value is missing or of another kind.
        NotFound: a file is not this person's.
    """
    brought = {name: value for name, value in sent.items() if isinstance(value, Brought)}
    values = checked_all(
        list(verb.parameters), {**sent, **{name: value.name for name, value in brought.items()}}
    )
    for each in verb.files:
        if each.name in brought:
            file = brought[each.name]
            values[each.name] = {"file": str(file.path), "name": file.name}
        elif each.newest is not None or values.get(each.name):
            file_id = str(
                values.get(each.name)
                or files.newest(runtime, user_id, snapshot.name, each.newest or "")["id"]
            )
            values[each.name] = files.given(runtime, user_id, snapshot.name, file_id, folder)
    return values
