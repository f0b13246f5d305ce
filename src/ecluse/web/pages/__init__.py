"""Offer the applications to people, as pages. One file per noun."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request

from ecluse.web.pages import (
    account,
    city,
    city_arcs,
    city_periods,
    city_subjects,
    comparisons,
    datasets,
    fraud,
    home,
    jobs,
    labelling,
    matches,
    migrations,
    models,
    monitoring,
    plants,
    plants_classify,
    plants_files,
    plants_images,
    plants_sets,
    predictions,
    references,
    runs,
    storage,
    users,
)
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
