"""Two versions of a model on the same rows: start it, show what it found, and put the better one to use."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from fastapi import Form, Request
from pydantic import BaseModel
from starlette.responses import RedirectResponse, Response

from ecluse import models as published
from ecluse.apps.fraud.actions import monitoring as actions
from ecluse.apps.fraud.monitoring.compared import ComparisonReport, read_comparison
from ecluse.apps.fraud.pages import charts as model_figures
from ecluse.apps.fraud.pages.datasets import Stripped
from ecluse.apps.fraud.pages.monitoring import check_progress
from ecluse.apps.fraud.pages.predictions import to_the_minute
from ecluse.apps.fraud.performance.parts import Curves
from ecluse.apps.fraud.performance.trained import TrainedReport
from ecluse.apps.fraud.rows import datasets, inspections, training
from ecluse.apps.fraud.rows.tables import Inspection
from ecluse.catalog import models
from ecluse.errors import DigestMismatch, EcluseError, InvalidInput, NotFound, VersionNotFound
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.web.declarations import Declarations
from ecluse.web.pages.models import compare_page, figure_names, listed
from ecluse.web.security import CurrentUser, RuntimeDep
from ecluse.web.templating import render, words_of

router = Declarations()
#: What the next version is most often called by.
USUAL_ALIAS: Final = "production"
#: Rows flagged by one version alone that are shown before the rest is folded away.
ROWS_SHOWN: Final = 12


class CompareForm(BaseModel):
    """The form that compares two versions on a table; `label` is the column of the outcomes."""

    a: str
    b: str
    dataset: str
    label: Stripped = ""


@router.post("/models/{name}/compare")
def start_comparison(
    request: Request, name: str, runtime: RuntimeDep, user: CurrentUser, form: Annotated[CompareForm, Form()]
) -> Response:
    """Queue the comparison of two versions on one table, and show it."""
    try:
        row = actions.start_comparison(
            runtime, user.user.id, name, (form.a, form.b), form.dataset, label=form.label or None
        )
    except InvalidInput as error:
        return compare_page(
            request, runtime, user.user.id, name, (form.a, form.b), error=error, dataset=form.dataset
        )
    return RedirectResponse(f"/models/{row.model_name}/compare/{row.id}", 303)


@router.get("/models/{name}/compare/{inspection}")
def show_comparison(
    request: Request, name: str, inspection: str, runtime: RuntimeDep, user: CurrentUser
) -> Response:
    """Show what two versions do on the same rows, and how to use the second."""
    return _comparison_page(request, runtime, _comparison(runtime, user.user.id, name, inspection))


@router.post("/models/{name}/compare/{inspection}/use")
def use(
    request: Request,
    name: str,
    inspection: str,
    runtime: RuntimeDep,
    user: CurrentUser,
    alias: Annotated[str, Form()] = "",
) -> Response:
    """Move an alias to the second version, or set it there."""
    row = _comparison(runtime, user.user.id, name, inspection)
    try:
        published.set_alias(runtime, user.user.id, name, alias.strip(), row.other_version or "")
    except (InvalidInput, DigestMismatch, VersionNotFound) as error:
        return _comparison_page(request, runtime, row, error=error, alias=alias)
    return RedirectResponse(f"/models/{name}/compare/{row.id}#use", 303)


def curves_of(report: ComparisonReport, letter: Literal["a", "b"]) -> TrainedReport:
    """Return one side of a comparison as a report, for the chart that lays two curves over each other."""
    figures, curves = report.figures or {}, report.curves or {}
    return TrainedReport(
        metrics={name: figure.a if letter == "a" else figure.b for name, figure in figures.items()},
        curves=Curves(pr=curves.get(letter, ())),
    )


def _comparison_page(
    request: Request,
    runtime: Runtime,
    row: Inspection,
    *,
    error: EcluseError | None = None,
    alias: str = USUAL_ALIAS,
) -> Response:
    say, user_id = words_of(request), row.user_id
    report = read_comparison(row.result or {}) if row.status == "done" else None
    with runtime.catalog.read() as transaction:
        named = [
            models.find_version(transaction, user_id, row.model_name, version) if version else None
            for version in (row.version, row.other_version)
        ]
        names = datasets.filenames(transaction, user_id, [row.dataset_id])
        run = training.run_by_job(transaction, row.job_id) if row.job_id else None
        latest = models.versions_page(transaction, user_id, row.model_name, limit=1)
    made = run.version if run and run.status == "done" else None
    known = published.aliases(runtime, user_id, row.model_name)
    there = [version for version in named if version is not None]
    figures = []
    if report:
        a, b = curves_of(report, "a"), curves_of(report, "b")
        figures = model_figures.compared_on_rows(a, b, (report.a.version, report.b.version), say)
    changed = report.changed if report else ()
    context = {
        "row": row,
        "name": row.model_name,
        "report": report,
        "sides": [
            next(iter(listed(runtime, user_id, [row_of])), None) if row_of else None for row_of in named
        ],
        "names": names,
        "retraining": bool(row.request.get("retraining")),
        "progress": check_progress(runtime, row, say),
        "seen": report is not None and any((report.seen or {}).values()),
        "newest": any(row_of.version in (row.other_version, made) for row_of in latest),
        "known_aliases": bool(known),
        "made": made,
        "figures": figures,
        "figure_names": figure_names(say),
        "turned": [each for each in changed if each.turned],
        "moved": [each for each in changed if not each.turned],
        "rows_shown": ROWS_SHOWN,
        "to_the_minute": to_the_minute,
        "usable": len(there) == 2 and named[1] is not None and not named[1].damaged_at,
        "pointing": [row_of.alias for row_of in known if row_of.version == row.other_version],
        "elsewhere": [row_of for row_of in known if row_of.version != row.other_version],
        "alias": alias,
        "error": str(error) if error else None,
    }
    return render(request, "fraud/comparison.html", context, status=error.status if error else 200)


def _comparison(runtime: Runtime, user_id: str, name: str, inspection_id: str) -> Inspection:
    with runtime.catalog.read() as transaction:
        row = inspections.inspection_of(transaction, user_id, inspection_id)
    if (row.kind, row.model_name) != ("comparison", name):
        raise NotFound(
            _(
                "No check or comparison %(value)s. See: GET /api/models/NAME/VERSION/monitor",
                value=inspection_id,
            )
        )
    return row
