"""Show models and their versions, score with one, check and delete its files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from ecluse import models as published
from ecluse.catalog import datasets, models
from ecluse.catalog.tables import Dataset, ModelVersion
from ecluse.errors import DigestMismatch, EcluseError, InvalidInput
from ecluse.fraud import workflows
from ecluse.fraud.models import FAMILIES
from ecluse.registry import Manifest
from ecluse.runtime import Runtime
from ecluse.web import charts
from ecluse.web.api.models import download_file
from ecluse.web.i18n import Words
from ecluse.web.pages.datasets import can_score, default_reasons
from ecluse.web.pages.paging import PAGE_ROWS, PageNumber, page_of
from ecluse.web.phrases import N_, translated
from ecluse.web.security import CurrentUser, RuntimeDep
from ecluse.web.templating import render, words_of

router = APIRouter()
CARD: Final = "model_card.md"
VERSIONS_SHOWN: Final = 6
#: Tables the scoring form lets one choose from: the newest. Any other is scored from its own page.
TABLES_OFFERED: Final = 200


@router.get("/models")
def list_models(request: Request, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """The newest version of each model."""
    with runtime.catalog.read() as transaction:
        latest = models.list_latest(transaction, user.user.id)
    return render(request, "models.html", {"latest": latest})


@router.get("/models/{name}")
def show_versions(
    request: Request, name: str, runtime: RuntimeDep, user: CurrentUser, page: PageNumber = 1
) -> Response:
    """The versions of one model, newest first, a page at a time."""
    with runtime.catalog.read() as transaction:
        pager = page_of(models.count_versions(transaction, user.user.id, name), page)
        versions = models.versions_page(transaction, user.user.id, name, limit=PAGE_ROWS, offset=pager.offset)
        latest = models.versions_page(transaction, user.user.id, name, limit=1)[0]
        names = datasets.filenames(transaction, user.user.id, [row.dataset_id for row in versions])
    context = {"name": name, "versions": versions, "latest": latest, "names": names, "pager": pager}
    return render(request, "model_versions.html", context)


@router.get("/models/{name}/{version}")
def show_model(request: Request, name: str, version: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """One version: what it was measured to do, on what, and its files."""
    return _model_page(request, runtime, _version(runtime, user.user.id, name, version))


@router.post("/models/{name}/{version}/score")
def score(
    request: Request,
    name: str,
    version: str,
    runtime: RuntimeDep,
    user: CurrentUser,
    dataset: Annotated[str, Form()],
    result_format: Annotated[workflows.ResultFormat, Form()] = "csv",
    reasons: Annotated[workflows.Reasons, Form()] = "all",
) -> Response:
    """Queue the scoring of a table with this very version, and show where its result will be."""
    row = _version(runtime, user.user.id, name, version)
    try:
        scored = workflows.start_prediction(
            runtime, user.user.id, dataset, row.name, row.version, result_format, reasons
        )
    except InvalidInput as error:
        return _model_page(request, runtime, row, error=error)
    return RedirectResponse(f"/fraud/p/{scored.id}", 303)


@router.post("/models/{name}/{version}/verify")
def verify(request: Request, name: str, version: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Read every stored file again and say whether it is what its manifest says."""
    row = _version(runtime, user.user.id, name, version)
    say = words_of(request)
    try:
        manifest = published.verify(runtime, row)
    except DigestMismatch as error:
        return _model_page(request, runtime, row, error=error)
    verified = say.ngettext(
        "%(count)s file, %(size)s.",
        "%(count)s files, %(size)s.",
        len(manifest.files),
        size=say.bytes(manifest.size),
    )
    return _model_page(request, runtime, row, verified=verified)


@router.post("/models/{name}/{version}/delete")
def delete(name: str, version: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Delete one version; what was scored with it stays."""
    published.remove(runtime, user.user.id, name, version)
    return RedirectResponse("/models", 303)


router.add_api_route("/models/{name}/{version}/files/{path:path}", download_file)


def suitable_first(tables: list[Dataset], version: ModelVersion) -> list[Dataset]:
    """The tables, those that have every column the model needs before the others, each kind as it came."""
    return sorted(tables, key=lambda row: not can_score(version, row))


def suggested_table(tables: list[Dataset], version: ModelVersion) -> Dataset | None:
    """The table most likely to be scored next: it has the columns, was not trained on, best without a label."""
    fit = [row for row in tables if row.id != version.dataset_id and can_score(version, row)]
    return next((row for row in fit if not _labelled(row)), fit[0] if fit else None)


def goal_text(report: Mapping[str, Any], say: Words) -> str | None:
    """What the threshold was chosen for, in a few words; None when the report does not say."""
    goal = report.get("goal") or {}
    value = goal.get("value")
    if goal.get("kind") == "f1":
        return say._("the best F1")
    if goal.get("kind") == "recall" and value is not None:
        return say._("at least %(share)s of fraud found", share=say.percent(value))
    if goal.get("kind") == "alerts_per_day" and value is not None:
        digits = 0 if value == round(value) else 1
        return say.ngettext(
            "%(number)s alert a day",
            "%(number)s alerts a day",
            math.ceil(value),
            number=say.num(value, digits),
        )
    return None


def family_names(say: Words) -> dict[str, str]:
    """What to call each family of models."""
    N_("Logistic regression")  # the one name that is words and not a product's, and so is translated
    return {name: say._(facts.shown_name) for name, facts in FAMILIES.items()}


def fitted_rows(report: Mapping[str, Any]) -> int | None:
    """How many rows the saved model was fitted on; None when the report does not say."""
    rows: Mapping[str, int] = report.get("rows") or {}
    counts = [rows[part] for part in report.get("fitted_on", ["train"]) if part in rows]
    return sum(counts) if counts else None


def split_text(report: Mapping[str, Any], say: Words) -> str | None:
    """How the rows were split, in a few words."""
    split = report.get("split") or {}
    if split.get("kind") == "time" and len(split.get("cuts") or []) == 2:
        try:
            return say._(
                "by time, test from %(day)s", day=say.day(datetime.fromisoformat(str(split["cuts"][1])))
            )
        except ValueError:  # a time that is a number, such as an hour count
            return translated(str(split["description"]), say)
    return translated(str(split["description"]), say) if split.get("description") else None


def _model_page(
    request: Request,
    runtime: Runtime,
    version: ModelVersion,
    *,
    error: EcluseError | None = None,
    verified: str | None = None,
) -> Response:
    say, user_id = words_of(request), version.user_id
    with runtime.catalog.read() as transaction:
        versions = models.versions_page(transaction, user_id, version.name, limit=VERSIONS_SHOWN)
        versions_total = models.count_versions(transaction, user_id, version.name)
        tables, tables_total = datasets.readable_datasets(transaction, user_id, limit=TABLES_OFFERED)
        names = datasets.filenames(transaction, user_id, [version.dataset_id])
    manifest = published.manifest_of(runtime, version)
    suggested = suggested_table(tables, version)
    context = {
        "version": version,
        "report": version.report,
        "figures": charts.model_charts(version.report, say),
        "families": family_names(say),
        "split": split_text(version.report, say),
        "fitted_rows": fitted_rows(version.report),
        "goal": goal_text(version.report, say),
        "versions": versions,
        "versions_total": versions_total,
        "names": names,
        "datasets": suitable_first(tables, version),
        "datasets_total": tables_total,
        "suggested": suggested.id if suggested else None,
        "suggested_labelled": suggested is not None and _labelled(suggested),
        "reasons": default_reasons(suggested.rows if suggested else None),
        "files": manifest.files,
        "card": _card(runtime, version, manifest),
        "verified": verified,
        "error": str(error) if error else None,
    }
    return render(request, "model.html", context, status=error.status if error else 200)


def _labelled(row: Dataset) -> bool:
    return bool(((row.profile or {}).get("guesses") or {}).get("target"))


def _card(runtime: Runtime, version: ModelVersion, manifest: Manifest) -> str | None:
    """The text of the model card, where the version has one and it is intact."""
    if not any(file.path == CARD for file in manifest.files):
        return None
    try:
        with runtime.scratch() as folder:
            runtime.registry_of(version).fetch_file(manifest, CARD, folder / CARD)
            return (folder / CARD).read_text(encoding="utf-8")
    except DigestMismatch:  # the page must open all the same: it is where the files are verified
        return None


def _version(runtime: Runtime, user_id: str, name: str, version: str) -> ModelVersion:
    with runtime.catalog.read() as transaction:
        return models.version_of(transaction, user_id, name, version)
