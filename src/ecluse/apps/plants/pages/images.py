"""Show one image of a set: what is known of it, what looks like it; relabel or exclude it."""

from __future__ import annotations

import logging
from typing import Annotated, Literal

from fastapi import Form, Request
from starlette.responses import RedirectResponse, Response

from ecluse.apps.plants import rows as images
from ecluse.apps.plants.pages.pictures import shown
from ecluse.apps.plants.pages.sets import Field, change, part_names
from ecluse.apps.plants.rows import Filter
from ecluse.apps.plants.splits import manifest_of
from ecluse.apps.plants.tables import Image
from ecluse.errors import (
    DigestMismatch,
    EcluseError,
    InvalidInput,
    NotFound,
    ObjectNotFound,
    SettingsError,
)
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.web.declarations import Declarations
from ecluse.web.security import CurrentUser, RuntimeDep
from ecluse.web.templating import render, words_of

router = Declarations()
logger = logging.getLogger(__name__)
#: The longer side of the picture on its page, in pixels.
SIDE = 640
ALIKE_SHOWN = 24


@router.get("/plants/{set_id}/images/{image_id}")
def show_image(
    request: Request, set_id: str, image_id: str, runtime: RuntimeDep, user: CurrentUser
) -> Response:
    """One image."""
    with runtime.catalog.read() as transaction:
        row = images.readable_image(transaction, user.user.id, image_id)
    _expect_in(row, set_id)
    return _image_page(request, runtime, row, is_own=row.user_id == user.user.id)


@router.post("/plants/{set_id}/images/{image_id}")
def decide(
    request: Request,
    set_id: str,
    image_id: str,
    runtime: RuntimeDep,
    user: CurrentUser,
    do: Annotated[Literal["exclude", "include", "relabel"], Form()],
    label: Field = "",
) -> Response:
    """Exclude, include or relabel the image, then show it."""
    row = _image(runtime, user.user.id, set_id, image_id)
    try:
        change(runtime, user.user.id, set_id, [row.id], do, label)
    except InvalidInput as error:
        return _image_page(request, runtime, row, error=error, label=label)
    return RedirectResponse(f"/plants/{set_id}/images/{row.id}", 303)


def _image(runtime: Runtime, user_id: str, set_id: str, image_id: str) -> Image:
    with runtime.catalog.read() as transaction:
        row = images.image_of(transaction, user_id, image_id)
    _expect_in(row, set_id)
    return row


def _expect_in(row: Image, set_id: str) -> None:
    if row.set_id != set_id:
        raise NotFound(_("The set has no image %(name)s. See: ecluse plants show SET", name=row.id))


def _part(runtime: Runtime, row: Image) -> str | None:
    """Return the part of the newest split that an image is in; None where there is none, or its manifest cannot be
    read.
    """
    with runtime.catalog.read() as transaction:
        split = images.newest_split(transaction, row.user_id, row.set_id)
    if split is None:
        return None
    try:
        part = manifest_of(runtime, split)["parts"].get(row.sha256)
    except (DigestMismatch, ObjectNotFound, SettingsError) as error:  # the page must open all the same
        logger.warning("The part of image %s is not shown: %s", row.id, error)
        return None
    return None if part is None else str(part)


def _image_page(
    request: Request,
    runtime: Runtime,
    row: Image,
    *,
    is_own: bool = True,
    error: EcluseError | None = None,
    label: str = "",
) -> Response:
    with runtime.catalog.read() as transaction:
        home = images.set_of(transaction, row.user_id, row.set_id)
        labels = images.counts(transaction, row.user_id, [row.set_id])[row.set_id].labels
        alike = (
            images.list_images(
                transaction, row.user_id, row.set_id, Filter(group=row.group), limit=ALIKE_SHOWN
            )
            if row.group
            else []
        )
    context = {
        "image_set": home,
        "is_own": is_own,
        "picture": shown(row, side=SIDE),
        "alike": [shown(row_alike) for row_alike in alike if row_alike.id != row.id],
        "labels": labels,
        "part": _part(runtime, row),
        "parts": part_names(words_of(request)),
        "label": label,
        "error": str(error) if error else None,
    }
    return render(request, "plants/image.html", context, status=error.status if error else 200)
