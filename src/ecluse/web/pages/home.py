"""Show a signed-in person their latest results, what runs and where to start."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from ecluse.apps.city.sample import ARCS, DAYS, start_sample
from ecluse.apps.fraud.rows import datasets, predictions
from ecluse.apps.fraud.sample import FRAUD_SHARE, write_sample
from ecluse.apps.plants import rows as images
from ecluse.catalog import homes, models
from ecluse.catalog.tables import ModelVersion, Prediction
from ecluse.runtime import Runtime
from ecluse.web.i18n import Words
from ecluse.web.pages.jobs import running_jobs
from ecluse.web.security import CurrentUser, RuntimeDep, Visitor
from ecluse.web.templating import render, words_of

router = APIRouter()
SHOWN = 5
#: How many rows the sample's two tables have: what `write_sample` writes unless told otherwise.
SAMPLE: Final = {
    name: int(inspect.signature(write_sample).parameters[name].default) for name in ("rows", "score_rows")
}


@dataclass(frozen=True)
class Result:
    """A model or a scored table in the list of latest results."""

    href: str
    title: str
    source: str
    figure: str
    at: datetime


@router.get("/")
def home(request: Request, runtime: RuntimeDep, visitor: Visitor) -> Response:
    """The home page; a visitor is sent to sign in."""
    if visitor is None:
        return RedirectResponse("/sign-in", 303)
    say, user_id = words_of(request), visitor.user.id
    with runtime.catalog.read() as transaction:
        tables = datasets.count_datasets(transaction, user_id)
        image_sets = images.count_sets(transaction, user_id)
        closed = homes.why_closed(transaction)
    running = running_jobs(runtime, user_id, say)
    context = {
        "running": running.jobs,
        "groups": running.groups,
        "results": latest_results(runtime, user_id, say),
        "datasets": tables,
        "image_sets": image_sets,
        "sample": SAMPLE | {"fraud_share": FRAUD_SHARE},
        "city_sample": {"arcs": ARCS, "days": DAYS},
        "administers": visitor.user.role == "admin",
        "closed": closed,
        "exposed": request.app.state.exposed and visitor.user.role == "admin",
    }
    return render(request, "home.html", context)


@router.post("/city/sample")
def add_city_sample(runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Write the city's sample and compute its days, and show how far that is."""
    return RedirectResponse(f"/jobs/{start_sample(runtime, user.user)}", 303)


def latest_results(runtime: Runtime, user_id: str, say: Words) -> list[Result]:
    """The newest models and scored tables together, newest first."""
    with runtime.catalog.read() as transaction:
        versions = models.list_latest(transaction, user_id, limit=SHOWN)
        scored = predictions.list_predictions(transaction, user_id, status="done", limit=SHOWN)
        sources = [row.dataset_id for row in versions] + [row.dataset_id for row in scored]
        names = datasets.filenames(transaction, user_id, sources)
    results = [_model(row, say, names) for row in versions]
    results += [_scores(row, say, names) for row in scored]
    return sorted(results, key=lambda result: result.at, reverse=True)[:SHOWN]


def _model(row: ModelVersion, say: Words, names: dict[str, str]) -> Result:
    figures = row.report.get("metrics") or {}
    if row.application == "plants":
        source = say._("images")
        figure = say._("accuracy %(value)s", value=say.percent(figures.get("accuracy"), 0))
    else:
        source = names.get(row.dataset_id or "", say._("a removed table"))
        figure = say._("average precision %(value)s", value=say.num(figures.get("average_precision"), 2))
    return Result(
        href=f"/models/{row.name}/{row.version}",
        title=say._("Model %(name)s", name=row.name),
        source=source,
        figure=figure,
        at=row.created_at,
    )


def _scores(row: Prediction, say: Words, names: dict[str, str]) -> Result:
    return Result(
        href=f"/fraud/p/{row.id}",
        title=say._("Scores of %(file)s", file=names.get(row.dataset_id or "", say._("a removed table"))),
        source=row.model_name,
        figure=say.ngettext("%(count)s flagged", "%(count)s flagged", row.flagged or 0),
        at=row.finished_at or row.created_at,
    )
