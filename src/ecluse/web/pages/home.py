"""Show a signed-in person their latest results, what runs and where to start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from ecluse.application import applications, part
from ecluse.catalog import Transaction, homes, models
from ecluse.catalog.tables import ModelVersion, User
from ecluse.runtime import Runtime
from ecluse.web.comparison import headline
from ecluse.web.i18n import Words
from ecluse.web.pages.jobs import running_jobs
from ecluse.web.security import RuntimeDep, Visitor
from ecluse.web.templating import render, words_of

router = APIRouter()
SHOWN = 5


@dataclass(frozen=True)
class Result:
    """A model, or what was made with one, in the list of latest results."""

    href: str
    title: str
    source: str
    figure: str
    at: datetime


@dataclass(frozen=True)
class Card:
    """What an application shows of itself: a template, and what that needs."""

    template: str
    context: Mapping[str, Any]


@router.get("/")
def home(request: Request, runtime: RuntimeDep, visitor: Visitor) -> Response:
    """The home page; a visitor is sent to sign in."""
    if visitor is None:
        return RedirectResponse("/sign-in", 303)
    say, user = words_of(request), visitor.user
    with runtime.catalog.read() as transaction:
        closed = homes.why_closed(transaction)
        cards = _cards(transaction, user)
    running = running_jobs(runtime, user.id, say)
    context = {
        "running": running.jobs,
        "groups": running.groups,
        "results": latest_results(runtime, user.id, say),
        "cards": cards,
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
            latest = part(application, application.latest) if application.latest else None
            if latest is None:
                continue
            own = [row for row in versions if row.application == application.name]
            versions = [row for row in versions if row.application != application.name]
            results += latest(transaction, user_id, own, SHOWN, say)
    results += [_model(row, say) for row in versions]
    return sorted(results, key=lambda result: result.at, reverse=True)[:SHOWN]


def _cards(transaction: Transaction, user: User) -> list[Card]:
    cards = []
    for application in applications():
        made = part(application, application.card) if application.card else None
        if made is not None:
            cards.append(Card(f"{application.name}/_home.html", made(transaction, user)))
    return cards


def _model(row: ModelVersion, say: Words) -> Result:
    """A model of an application that says nothing of its results, or of none."""
    figure = headline(row)
    return Result(
        href=f"/models/{row.name}/{row.version}",
        title=say._("Model %(name)s", name=row.name),
        source=row.application or say._("published files"),
        figure="–" if figure is None or figure.b is None else f"{figure.name} {say.num(figure.b, 3)}",
        at=row.created_at,
    )
