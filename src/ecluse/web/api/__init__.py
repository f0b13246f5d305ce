"""Offer everything the pages do to programs, under /api. One file per noun."""

from fastapi import APIRouter

from ecluse.web.api import (
    city,
    datasets,
    jobs,
    labels,
    migrations,
    models,
    monitoring,
    plants,
    plants_sets,
    predictions,
    references,
    runs,
    storage,
    training,
    unlabelled,
)
from ecluse.web.errors import answers

#: What any operation may answer; each adds its own.
router = APIRouter(prefix="/api", responses=answers(401, 403, 422, 503))
PARTS = (
    datasets,
    training,
    models,
    predictions,
    references,
    unlabelled,
    labels,
    monitoring,
    runs,
    jobs,
    storage,
    migrations,
    city,
    plants,
    plants_sets,
)
for part in PARTS:
    router.include_router(part.router)
