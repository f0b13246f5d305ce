"""Offer the applications to people, as pages. One file per noun; an application brings its own."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request

from ecluse.web.pages import (
    account,
    administration,
    home,
    inference,
    jobs,
    migrations,
    models,
    organisations,
    runs,
    sharing,
    storage,
    tables,
    users,
)
from ecluse.web.routes import include_parts
from ecluse.web.security import Visitor, sessions_alone


def remember_visitor(request: Request, visitor: Visitor) -> None:
    """Let the frame of the page know who looks at it."""
    request.state.me = visitor.user if visitor else None


def make_router() -> APIRouter:
    """Join all pages: those of the shell, then those of each application, ours first."""
    router = APIRouter(dependencies=[Depends(sessions_alone), Depends(remember_visitor)])
    for page in (
        home,
        account,
        organisations,
        sharing,
        models,
        inference,
        tables,
        runs,
        jobs,
        storage,
        migrations,
        users,
        administration,
    ):
        router.include_router(page.router)
    include_parts(router, "pages", ours=True)
    include_parts(router, "pages", ours=False)
    return router
