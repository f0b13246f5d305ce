"""Show what the first page says of the application, and write its sample."""

from __future__ import annotations

from typing import Any

from starlette.responses import RedirectResponse, Response

from ecluse.apps.city.sample import ARCS, DAYS, start_sample
from ecluse.catalog import Transaction
from ecluse.catalog.tables import User
from ecluse.web.declarations import Declarations
from ecluse.web.security import CurrentUser, RuntimeDep

router = Declarations()


def card(transaction: Transaction, user: User) -> dict[str, Any]:
    """Return what `_home.html` needs."""
    return {"arcs": ARCS, "days": DAYS, "administers": user.role == "admin"}


@router.post("/city/sample")
def add_sample(runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Write the city's sample and compute its days, and show how far that is."""
    return RedirectResponse(f"/jobs/{start_sample(runtime, user.user)}", 303)
