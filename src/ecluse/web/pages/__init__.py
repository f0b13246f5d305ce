"""Offer the applications to people, as pages. One file per noun."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request

from ecluse.apps.city.pages import arcs as city_arcs
from ecluse.apps.city.pages import days as city
from ecluse.apps.city.pages import periods as city_periods
from ecluse.apps.city.pages import subjects as city_subjects
from ecluse.apps.fraud.pages import (
    comparisons,
    datasets,
    labelling,
    matches,
    monitoring,
    predictions,
    references,
)
from ecluse.apps.fraud.pages import overview as fraud
from ecluse.apps.plants.pages import classify as plants_classify
from ecluse.apps.plants.pages import files as plants_files
from ecluse.apps.plants.pages import images as plants_images
from ecluse.apps.plants.pages import overview as plants
from ecluse.apps.plants.pages import sets as plants_sets
from ecluse.web.pages import account, home, jobs, migrations, models, runs, storage, users
from ecluse.web.security import Visitor, sessions_alone


def remember_visitor(request: Request, visitor: Visitor) -> None:
    """Let the frame of the page know who looks at it."""
    request.state.me = visitor.user if visitor else None


router = APIRouter(dependencies=[Depends(sessions_alone), Depends(remember_visitor)])
for part in (
    home,
    account,
    fraud,
    datasets,
    references,
    matches,
    predictions,
    labelling,
    models,
    monitoring,
    comparisons,
    runs,
    jobs,
    storage,
    migrations,
    users,
    city_periods,
    city_arcs,
    city,
    city_subjects,
    plants_classify,
    plants_files,
    plants,
    plants_images,
    plants_sets,
):
    router.include_router(part.router)
