"""Show a signed-in person their latest results, what runs and where to start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from fastapi import Request
from markupsafe import Markup
from starlette.responses import RedirectResponse, Response

from ecluse.application import applications, guarded, part
from ecluse.catalog import homes, models
from ecluse.catalog.tables import ModelVersion, User
from ecluse.runtime import Runtime
from ecluse.shapes import fault
from ecluse.web.comparison import headline
from ecluse.web.declarations import Declarations
from ecluse.web.i18n import Words
from ecluse.web.pages.jobs import running_jobs
from ecluse.web.security import RuntimeDep, Visitor
from ecluse.web.templating import draw, render, words_of

router = Declarations()
SHOWN = 5


@dataclass(frozen=True)
class Result:
    """A model, or what was made with one, in the list of latest results."""

    href: str
    title: str
    source: str
    figure: str
    at: datetime


@router.get("/")
def home(request: Request, runtime: RuntimeDep, visitor: Visitor) -> Response:
    """Show the home page; a visitor is sent to sign in."""
    if visitor is None:
        return RedirectResponse("/sign-in", 303)
    say, user = words_of(request), visitor.user
    with runtime.catalog.read() as transaction:
        closed = homes.why_closed(transaction)
    results = latest_results(runtime, user.id, say)
    running = running_jobs(runtime, user.id, say)
    context = {
        "running": running.jobs,
        "groups": running.groups,
        "results": results,
        "cards": _cards(request, runtime, user, results),
        "closed": closed,
        "exposed": request.app.state.exposed and user.role == "admin",
    }
    return render(request, "home.html", context)


def latest_results(runtime: Runtime, user_id: str, say: Words) -> list[Result]:
    """List the newest models, and what applications made with them, newest first."""
    results = []
    with runtime.catalog.read() as transaction:
        versions = models.list_latest(transaction, user_id, limit=SHOWN)
        for application in applications():
            latest = part(application, "latest")
            if latest is None:
                continue
            own = [row for row in versions if row.application == application.name]
            with guarded(application, "latest"), transaction.begin_nested():
                brought = latest(transaction, user_id, own, SHOWN, say)
                if reason := fault(brought, Sequence[Result]):
                    raise TypeError(reason)
                results += brought
                versions = [row for row in versions if row.application != application.name]
    results += [_model(row, say) for row in versions]
    return sorted(results, key=lambda result: result.at, reverse=True)[:SHOWN]


def _cards(request: Request, runtime: Runtime, user: User, results: Sequence[Result]) -> list[Markup]:
    """Draw what each application shows of itself."""
    cards = []
    with runtime.catalog.read() as transaction:
        for application in applications():
            card = part(application, "card")
            if card is None:
                continue
            with guarded(application, "card"), transaction.begin_nested():
                context = {"results": results, "card": card(transaction, user)}
                cards.append(draw(request, f"{application.name}/_home.html", context))
    return cards


def _model(row: ModelVersion, say: Words) -> Result:
    """Show a model of an application that says nothing of its results, or of none."""
    figure = headline(row)
    return Result(
        href=f"/models/{row.name}/{row.version}",
        title=say._("Model %(name)s", name=row.name),
        source=row.application or say._("published files"),
        figure="–" if figure is None or figure.b is None else f"{figure.name} {say.num(figure.b, 3)}",
        at=row.created_at,
    )
