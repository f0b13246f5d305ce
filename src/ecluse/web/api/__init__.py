"""Offer everything the pages do to programs, under /api. One file per noun."""

from fastapi import APIRouter

from ecluse.web.api import datasets, jobs, models, predictions, training

router = APIRouter(prefix="/api")
for part in (datasets, training, models, predictions, jobs):
    router.include_router(part.router)
