"""Offer everything the pages do to programs, under /api. One file per noun; an application brings its own."""

from ecluse.web.api import (
    account,
    administration,
    inference,
    jobs,
    migrations,
    models,
    organisations,
    plans,
    publishing,
    runs,
    service_accounts,
    sharing,
    storage,
    tables,
    usage,
)
from ecluse.web.declarations import Declarations
from ecluse.web.errors import answers
from ecluse.web.routes import include_parts


def make_router() -> Declarations:
    """Join all operations: those of our applications, of the shell, then of other applications."""
    # What any operation may answer; each adds its own.
    router = Declarations(prefix="/api", responses=answers(401, 402, 403, 422, 503))
    include_parts(router, "api", ours=True)
    for part in (
        sharing,
        models,
        inference,
        tables,
        publishing,
        runs,
        jobs,
        storage,
        plans,
        migrations,
        organisations,
        service_accounts,
        account,
        administration,
        usage,
    ):
        router.take_in(part.router)
    include_parts(router, "api", ours=False)
    return router
