"""Send an image of a set to a browser or a program: a small one made here, or the file as it was imported."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Header
from starlette.responses import Response

from ecluse.catalog import images
from ecluse.catalog.tables import Image
from ecluse.errors import NotFound
from ecluse.runtime import Runtime
from ecluse.storage import Digest
from ecluse.web.downloads import send_object
from ecluse.web.image_work import ImageWork

#: An image never changes under its id; what others may not see is kept by the browser alone.
KEPT: Final = "private, max-age=604800"
#: By Pillow's name of the format: no more than what an import takes, and nothing that a browser runs.
_MEDIA: Final = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
_ENDINGS: Final = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}
#: What a browser has already.
IfNoneMatch = Annotated[str, Header()]


def stored_image(runtime: Runtime, user_id: str, image_id: str) -> Image:
    """The row of an image whose file there is.

    Raises:
        NotFound: there is none, it was rejected, or it is someone else's.
    """
    with runtime.catalog.read() as transaction:
        row = images.image_of(transaction, user_id, image_id)
    if not row.url:
        raise NotFound(f"Image {image_id} was rejected, so nothing of it is stored.")
    return row


async def send_thumbnail(runtime: Runtime, work: ImageWork, row: Image, if_none_match: str = "") -> Response:
    """A JPEG of at most 256 × 256 pixels, made here, without what the file said beside."""
    headers = {"etag": f'"thumbnail-{row.sha256}"', "cache-control": KEPT}
    if headers["etag"] in if_none_match:
        return Response(status_code=304, headers=headers)
    made = await work.run(lambda: _thumbnail(runtime, row))
    return Response(made, media_type="image/jpeg", headers=headers)


def send_image(runtime: Runtime, row: Image, if_none_match: str = "") -> Response:
    """The file as it was imported, to be saved: never a page, whatever its bytes are."""
    headers = {"etag": f'"sha256:{row.sha256}"', "cache-control": KEPT}
    if headers["etag"] in if_none_match:
        return Response(status_code=304, headers=headers)
    answer = send_object(
        runtime,
        row.url,
        f"{row.label}_{row.sha256[:12]}.{_ENDINGS.get(row.format, 'bin')}",
        _MEDIA.get(row.format, "application/octet-stream"),
        sha256=row.sha256,
        size=row.size_bytes,
    )
    answer.headers["cache-control"] = KEPT
    return answer


def _thumbnail(runtime: Runtime, row: Image) -> bytes:
    from ecluse.web.pictures import thumbnail

    located, digest = runtime.stores.locate(row.url), Digest()
    data = b"".join(digest.through(located.store.stream(located.key)))
    digest.expect(row.sha256, f"Image {row.id}")
    return thumbnail(data)
