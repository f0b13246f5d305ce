"""Send what is stored of sets of images: one image small or as it was imported, or those of a set as a zip."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Header
from starlette.responses import Response, StreamingResponse

from ecluse.apps.plants import rows as images
from ecluse.apps.plants.exporting import zip_chunks
from ecluse.apps.plants.formats import FORMATS
from ecluse.apps.plants.http.image_work import ImageWork
from ecluse.apps.plants.tables import Image, ImageSet
from ecluse.errors import NotFound
from ecluse.runtime import Runtime
from ecluse.storage import Digest
from ecluse.web.downloads import joined, saved_as, send_object

#: An image never changes under its id; what others may not see is kept by the browser alone.
KEPT: Final = "private, max-age=604800"
#: How what is someone else's is kept: the browser asks each time, so that a share that was taken back has ended.
ASKED_FOR: Final = "private, no-cache"
#: How a file of a format that is no longer known is sent: to be saved, and never shown.
UNKNOWN: Final = ("bin", "application/octet-stream")
#: What a browser has already.
IfNoneMatch = Annotated[str, Header()]


def stored_image(runtime: Runtime, user_id: str, image_id: str) -> Image:
    """Return the row of an image whose file there is.

    Raises:
        NotFound: there is none, it was rejected, or the user may not see it.
    """
    with runtime.catalog.read() as transaction:
        row = images.readable_image(transaction, user_id, image_id)
    if not row.url:
        raise NotFound(f"Image {image_id} was rejected, so nothing of it is stored.")
    return row


async def send_thumbnail(
    runtime: Runtime, work: ImageWork, row: Image, reader_id: str, if_none_match: str = ""
) -> Response:
    """Return a JPEG of at most 256 × 256 pixels, made here, without what the file said beside."""
    headers = {"etag": f'"thumbnail-{row.sha256}"', "cache-control": _kept(row, reader_id)}
    if headers["etag"] in if_none_match:
        return Response(status_code=304, headers=headers)
    thumbnail = await work.run(lambda: _thumbnail(runtime, row))
    return Response(thumbnail, media_type="image/jpeg", headers=headers)


def send_image(runtime: Runtime, row: Image, reader_id: str, if_none_match: str = "") -> Response:
    """Return the file as it was imported, to be saved: never a page, whatever its bytes are."""
    headers = {"etag": f'"sha256:{row.sha256}"', "cache-control": _kept(row, reader_id)}
    if headers["etag"] in if_none_match:
        return Response(status_code=304, headers=headers)
    ending, media_type = FORMATS.get(row.format, UNKNOWN)
    answer = send_object(
        runtime,
        row.url,
        f"{row.label}_{row.sha256[:12]}.{ending}",
        media_type,
        sha256=row.sha256,
        size=row.size_bytes,
    )
    answer.headers["cache-control"] = headers["cache-control"]
    return answer


def send_set(runtime: Runtime, row: ImageSet, reader_id: str) -> StreamingResponse:
    """Return the images of a set that are in use, as a zip: a folder for each label, and a table of all.

    To who only reads the set the table tells no more of where the images came from than the names of their files.

    Raises:
        NotFound: none is in use.
        DigestMismatch: the first image was changed in the store; of a later one, the zip stays incomplete.
    """
    chunks = zip_chunks(runtime, row.user_id, row.id, with_origins=row.user_id == reader_id)
    first = next(chunks)  # before the answer begins, so that an error is one
    headers = {"content-disposition": saved_as(f"{row.name}.zip")}
    return StreamingResponse(joined(first, chunks), media_type="application/zip", headers=headers)


def _kept(row: Image, reader_id: str) -> str:
    return KEPT if row.user_id == reader_id else ASKED_FOR


def _thumbnail(runtime: Runtime, row: Image) -> bytes:
    from ecluse.apps.plants.http.pictures import thumbnail

    located, digest = runtime.stores.locate(row.url), Digest()
    data = b"".join(digest.through(located.store.stream(located.key)))
    digest.expect(row.sha256, f"Image {row.id}")
    return thumbnail(data)
