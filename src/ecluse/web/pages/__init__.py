"""Offer the applications to people, as pages. One file per noun; an application brings its own."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request

from ecluse.application import parts
from ecluse.web.pages import account, home, jobs, migrations, models, runs, storage, users
from ecluse.web.security import Visitor, sessions_alone


def remember_visitor(request: Request, visitor: Visitor) -> None:
    """Let the frame of the page know who looks at it."""
    request.state.me = visitor.user if visitor else None


def make_router() -> APIRouter:
    """All pages: those of the shell, then those of each application."""
    router = APIRouter(dependencies=[Depends(sessions_alone), Depends(remember_visitor)])
    for page in (home, account, models, runs, jobs, storage, migrations, users):
        router.include_router(page.router)
    for _, pages in parts("pages"):
        router.include_router(pages)
    return router
