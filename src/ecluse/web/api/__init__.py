"""Offer everything the pages do to programs, under /api. One file per noun; an application brings its own."""

from fastapi import APIRouter

from ecluse.application import parts
from ecluse.web.api import jobs, migrations, models, runs, storage
from ecluse.web.errors import answers


def make_router() -> APIRouter:
    """All operations: those of each application, then those of the shell."""
    # What any operation may answer; each adds its own.
    router = APIRouter(prefix="/api", responses=answers(401, 403, 422, 503))
    for _, operations in parts("api"):
        router.include_router(operations)
    for part in (models, runs, jobs, storage, migrations):
        router.include_router(part.router)
    return router
