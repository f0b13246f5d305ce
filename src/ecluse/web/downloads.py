"""Send a stored object to a browser or a program in chunks, under a name that is safe to save."""

from __future__ import annotations

from urllib.parse import quote

from starlette.responses import StreamingResponse

from ecluse.runtime import Runtime
from ecluse.storage import safe_filename


def send_object(
    runtime: Runtime, key: str, filename: str, media_type: str, *, sha256: str | None = None
) -> StreamingResponse:
    """Stream an object as an attachment; its SHA-256, where known, as the ETag.

    Raises:
        ObjectNotFound, StoreUnavailable: before anything is sent.
    """
    size = runtime.store.head(key).size
    headers = {
        "content-length": str(size),
        "content-disposition": (
            f"attachment; filename=\"{safe_filename(filename)}\"; filename*=UTF-8''{quote(filename)}"
        ),
    }
    if sha256:
        headers["etag"] = f'"sha256:{sha256}"'
    return StreamingResponse(runtime.store.stream(key), media_type=media_type, headers=headers)
