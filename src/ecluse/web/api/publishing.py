"""Publish versions over HTTP: begin an upload, send the parts of its files, commit it, or give it up."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Annotated, Any, Final

from fastapi import Header, Path, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from ecluse import models as published
from ecluse.accounts import Scope, expect_scope
from ecluse.errors import DigestMismatch, InvalidInput, UploadTooLarge
from ecluse.models import Place, uploads
from ecluse.models.uploads import AnnouncedFile, Part, UploadState
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.web.admission import admission_of
from ecluse.web.api.bodies import model_body
from ecluse.web.api.schemas import FileBody, ModelBody
from ecluse.web.declarations import Declarations
from ecluse.web.errors import answers
from ecluse.web.multipart import read_body
from ecluse.web.security import MayPublish, RuntimeDep

router = Declarations(tags=["models"])
#: RFC 9530: the digest of the bytes that are sent, as they are sent.
_SHA256: Final = re.compile(r"(?:^|[,\s])sha-256=:([A-Za-z0-9+/]{43}=):")
#: The largest number that an address may name a file or a part by.
_HIGHEST: Final = 10_000_000
_RAW: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
UploadId = Annotated[str, Path(max_length=32, description="As the upload was answered with")]


class AnnouncedBody(BaseModel):
    """A file that is to come, by its path within the version."""

    model_config = ConfigDict(extra="forbid")

    path: str = Field(min_length=1, max_length=uploads.LONGEST_PATH, examples=["weights/model.onnx"])
    size: int = Field(ge=0, lt=2**63, description="Bytes")
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class UploadRequestBody(BaseModel):
    """What is to be published. The same `nonce` sent again goes on with the same upload."""

    model_config = ConfigDict(extra="forbid")

    nonce: str = Field(
        min_length=1, max_length=200, description="Of your own making, such as a UUID; one for each version"
    )
    files: list[AnnouncedBody] = Field(min_length=1, max_length=uploads.MOST_FILES)
    metadata: dict[str, Any] = Field({}, description="What you say of the version")
    run: str | None = Field(
        None, max_length=32, description="The run of yours that made it; it gets the version"
    )
    alias: str | None = Field(None, max_length=64, description="An alias that is to point at it")


class IncomingFileBody(FileBody):
    parts: int = Field(description="How many parts it has, counted from 1; an empty file has none")
    received: list[int] = Field(description="Numbers of the parts that have arrived")


class UploadStateBody(BaseModel):
    """An upload. Parts have `part_bytes` bytes, but the last of a file. `version` is visible once it is committed."""

    id: str
    name: str
    version: str
    part_bytes: int
    committed: bool
    files: list[IncomingFileBody] = Field(description="As they were announced; the first has the index 0")


@router.post("/models/{name}/uploads", status_code=201, responses=answers(404, 409, 413))
def begin_upload(
    name: str, request: UploadRequestBody, runtime: RuntimeDep, user: MayPublish
) -> UploadStateBody:
    """Begin to publish a version, or go on with what its nonce has begun: the answer says which parts are there.

    NAME is a model of yours, @ORGANISATION~NAME one of an organisation in which you are owner or member.
    Nobody sees the version before it is committed. An upload to which nothing comes for a day is removed.
    """
    if request.run is not None:
        expect_scope(user, Scope.PUBLISH, None)  # the run is not the model's
    upload_request = uploads.UploadRequest(
        nonce=request.nonce,
        files=tuple(AnnouncedFile(file.path, file.size, file.sha256) for file in request.files),
        metadata=request.metadata,
        run_id=request.run,
        alias=request.alias,
    )
    place = published.place_to_make(runtime, user.user.id, name)
    return _state_body(uploads.begin(runtime, place.owner_id, place.name, upload_request), place)


@router.get("/models/{name}/uploads/{upload}", responses=answers(404))
def show_model_upload(name: str, upload: UploadId, runtime: RuntimeDep, user: MayPublish) -> UploadStateBody:
    """Show what of an upload has arrived."""
    place = published.place_to_make(runtime, user.user.id, name)
    return _state_body(uploads.show(runtime, place.owner_id, place.name, upload), place)


@router.put(
    "/models/{name}/uploads/{upload}/files/{index}/parts/{number}",
    status_code=204,
    responses=answers(404, 409, 413),
    openapi_extra=_RAW,
)
async def send_part(
    request: Request,
    name: str,
    upload: UploadId,
    index: Annotated[int, Path(ge=0, le=_HIGHEST, description="Place of the file, from 0")],
    number: Annotated[int, Path(ge=0, le=_HIGHEST, description="Number of the part, from 1")],
    runtime: RuntimeDep,
    user: MayPublish,
    content_digest: Annotated[
        str,
        Header(max_length=500, description="SHA-256 of the part: sha-256=:BASE64:", examples=["sha-256=:…:"]),
    ],
) -> None:
    """Send one part of a file, its bytes as they are; 409 where they are not those of `Content-Digest`.

    Parts may come in any order and several at a time; one that is sent again replaces itself. A few are received at a
    time; the others wait and are not refused, so give your program's writes the time.
    """
    digest = _digest_of(content_digest)
    part = await run_in_threadpool(_part_of, runtime, user.user.id, name, upload, (index, number))
    async with admission_of(request).arriving(request, user.user.id) as admitted:
        data = await _read(admitted, part, digest)
        await run_in_threadpool(uploads.keep_part, runtime, part, data)


@router.post("/models/{name}/uploads/{upload}/commit", status_code=201, responses=answers(404, 409))
async def commit_upload(
    request: Request, name: str, upload: UploadId, runtime: RuntimeDep, user: MayPublish
) -> ModelBody:
    """Make an upload a version, visible whole; 409 names the file that lacks a part, or is not what was announced.

    Sent again it goes on where it was, and answers the same once the version is there.
    """
    place = await run_in_threadpool(published.place_to_make, runtime, user.user.id, name)
    async with admission_of(request).arriving(request, user.user.id) as admitted:
        await admitted.body()  # it is its turn: putting files together takes as much memory as an upload
        row = await run_in_threadpool(uploads.commit_upload, runtime, place.owner_id, place.name, upload)
    aliases = await run_in_threadpool(published.aliases, runtime, place.owner_id, place.name)
    return model_body(row, aliases, place)


@router.delete("/models/{name}/uploads/{upload}", status_code=204, responses=answers(404, 409))
def give_up_upload(name: str, upload: UploadId, runtime: RuntimeDep, user: MayPublish) -> None:
    """Give an upload up: what has arrived is removed. 409 where it is committed."""
    place = published.place_to_make(runtime, user.user.id, name)
    uploads.give_up(runtime, place.owner_id, place.name, upload)


def _part_of(runtime: Runtime, user_id: str, name: str, upload: str, which: tuple[int, int]) -> Part:
    """Return what part of a file is to be sent: `which` are the place of the file and the number of the part."""
    place = published.place_to_make(runtime, user_id, name)
    return uploads.part_of(runtime, place.owner_id, place.name, upload, *which)


async def _read(request: Request, part: Part, digest: bytes) -> bytes:
    """Return the bytes of a part, whole and as their sender meant them.

    Raises:
        UploadTooLarge: they are more than the part has.
        InvalidInput: they are fewer.
        DigestMismatch: they are others than those of the digest, or of the file.
    """
    path = part.upload.files[part.index]["path"]
    words = {"file": path, "number": part.number}
    too_large = UploadTooLarge(
        _(
            "Part %(number)s of %(file)s has %(count)s bytes as announced; more were sent.",
            **words,
            count=part.size,
        )
    )
    received = bytearray()
    async for piece in read_body(request, part.size, too_large):
        received += piece
    if len(received) < part.size:
        raise InvalidInput(
            _(
                "Part %(number)s of %(file)s has %(count)s bytes as announced; %(received)s were sent.",
                **words,
                count=part.size,
                received=len(received),
            )
        )
    data = bytes(received)
    actual = await run_in_threadpool(lambda: hashlib.sha256(data).digest())
    if actual != digest:
        raise DigestMismatch(
            _("Part %(number)s of %(file)s is not what its Content-Digest says. Send it again.", **words)
        )
    if part.sha256 is not None and actual.hex() != part.sha256:
        raise DigestMismatch(
            _(
                "%(file)s is not the file that was announced: its SHA-256 is %(value)s…. Give the upload up and begin "
                "again.",
                file=path,
                value=actual.hex()[:12],
            )
        )
    return data


def _digest_of(header: str) -> bytes:
    match = _SHA256.search(header)
    if match is None:
        raise InvalidInput(
            _(
                "%(value)s is no digest of the part. Send: Content-Digest: sha-256=:BASE64:",
                value=repr(header[:100]),
            )
        )
    return base64.b64decode(match[1])


def _state_body(state: UploadState, place: Place) -> UploadStateBody:
    return UploadStateBody(
        id=state.id,
        name=place.address,
        version=state.version,
        part_bytes=state.part_bytes,
        committed=state.committed,
        files=[
            IncomingFileBody(
                path=each.file.path,
                size=each.file.size,
                sha256=each.file.sha256,
                parts=each.parts,
                received=list(each.received),
            )
            for each in state.files
        ],
    )
