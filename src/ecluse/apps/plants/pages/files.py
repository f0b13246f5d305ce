"""Give the pages of plants their pictures, under addresses of their own."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from ecluse.apps.plants.http.image_work import WorkDep
from ecluse.apps.plants.http.stored_images import IfNoneMatch, send_image, send_thumbnail, stored_image
from ecluse.web.declarations import Declarations
from ecluse.web.security import CurrentUser, RuntimeDep

router = Declarations()


@router.get("/plants/images/{image_id}/thumbnail")
async def show_thumbnail(
    image_id: str, runtime: RuntimeDep, work: WorkDep, user: CurrentUser, if_none_match: IfNoneMatch = ""
) -> Response:
    """Send an image that the user may see, small."""
    row = await run_in_threadpool(stored_image, runtime, user.user.id, image_id)
    return await send_thumbnail(runtime, work, row, user.user.id, if_none_match)


@router.get("/plants/images/{image_id}/file")
def download_image(
    image_id: str, runtime: RuntimeDep, user: CurrentUser, if_none_match: IfNoneMatch = ""
) -> Response:
    """Send the file of an image that the user may see."""
    row = stored_image(runtime, user.user.id, image_id)
    return send_image(runtime, row, user.user.id, if_none_match)
