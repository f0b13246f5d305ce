"""Offer everything the pages do to programs, under /api. One file per noun."""

from fastapi import APIRouter

from ecluse.apps.city import api as city
from ecluse.apps.fraud.api import datasets, labels, monitoring, predictions, references, training, unlabelled
from ecluse.apps.plants.api import answers as plants
from ecluse.apps.plants.api import sets as plants_sets
from ecluse.web.api import jobs, migrations, models, runs, storage
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
