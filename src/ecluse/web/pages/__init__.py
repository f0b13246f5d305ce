"""Offer the applications to people, as pages. One file per noun; an application brings its own."""

from __future__ import annotations

from fastapi import Depends, Request

from ecluse.web.declarations import Declarations
from ecluse.web.pages import (
    account,
    account_data,
    administration,
    home,
    inference,
    jobs,
    letters,
    migrations,
    models,
    organisations,
    providers,
    runs,
    second_factor,
    service_accounts,
    sharing,
    storage,
    tables,
    users,
)
from ecluse.web.routes import include_parts
from ecluse.web.security import Visitor, sessions_alone


async def remember_visitor(request: Request, visitor: Visitor) -> None:
    """Let the frame of the page know who looks at it."""
    request.state.me = visitor.user if visitor else None


def make_router() -> Declarations:
    """Join all pages: those of the shell, then those of each application, ours first."""
    dependencies = [Depends(sessions_alone), Depends(remember_visitor)]
    router = Declarations(dependencies=dependencies, include_in_schema=False)
    for page in (
        home,
        second_factor,  # before the account: one of its addresses is /sign-in/NAME
        account,
        providers,
        letters,
        account_data,
        organisations,
        service_accounts,
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
        router.take_in(page.router)
    include_parts(router, "pages", ours=True)
    include_parts(router, "pages", ours=False)
    return router
