"""Show models and their versions, compare two, score with one, verify, name, hand out and delete them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import RedirectResponse, Response

from ecluse import models as published
from ecluse import upkeep
from ecluse.apps.fraud.actions import main as workflows
from ecluse.apps.fraud.families import FAMILIES
from ecluse.apps.fraud.metrics import METRICS
from ecluse.apps.fraud.pages import charts as model_figures
from ecluse.apps.fraud.pages.datasets import can_score, default_reasons, needed_columns
from ecluse.apps.fraud.pages.ensembles import ensemble_context
from ecluse.apps.fraud.performance import (
    AnyReport,
    EnsembleReport,
    Period,
    TrainedReport,
    read_report,
    read_trained_report,
)
from ecluse.apps.fraud.rows import datasets, inspections, training
from ecluse.apps.plants.pages.models import classifier_context
from ecluse.catalog import models
from ecluse.catalog.tables import Dataset, ModelVersion
from ecluse.errors import (
    CannotSign,
    DigestMismatch,
    EcluseError,
    InvalidInput,
    ManifestInvalid,
    RegistryError,
    SettingsError,
    StorageError,
    VersionInUse,
    VersionNotFound,
)
from ecluse.registry import Manifest
from ecluse.runtime import Runtime
from ecluse.sentences import N_
from ecluse.web.api.models import download_file
from ecluse.web.comparison import Figure, compare, figures_of, headline, settings_of
from ecluse.web.i18n import Words
from ecluse.web.pages.jobs import progress_of
from ecluse.web.pages.paging import PAGE_ROWS, PageNumber, page_of
from ecluse.web.security import CurrentUser, RuntimeDep
from ecluse.web.templating import render, words_of

router = APIRouter()
#: Files of a version that its page lists; the rest is in the API.
FILES_SHOWN: Final = 100
#: Bytes that are read again while the page waits: well under a second on a disk.
AT_ONCE: Final = 32_000_000
#: Conditions a search takes at most.
CONDITIONS: Final = 20
CARD: Final = "model_card.md"
DRAWING: Final = re.compile(r"plots/[a-z_]+\.svg")
VERSIONS_SHOWN: Final = 6
COMPARISONS_SHOWN: Final = 8
#: Tables the scoring form lets one choose from: the newest. Any other is scored from its own page.
TABLES_OFFERED: Final = 200


@router.get("/models")
def list_models(
    request: Request,
    runtime: RuntimeDep,
    user: CurrentUser,
    where: Annotated[list[str] | None, Query()] = None,
    page: PageNumber = 1,
) -> Response:
    """The newest version of each model, or every version that fulfils all conditions; a page at a time."""
    asked = [text.strip() for text in where or () if text.strip()][:CONDITIONS]
    conditions, wrong, error = list[published.Query](), "", None
    for text in asked:
        try:
            conditions.append(published.parse_condition(text))
        except InvalidInput as refused:
            wrong, error = text, refused
    if conditions:
        found = published.search(runtime, user.user.id, conditions)
        pager = page_of(len(found), page)
        shown = found[pager.offset : pager.offset + pager.rows]
    else:
        with runtime.catalog.read() as transaction:
            pager = page_of(models.count_models(transaction, user.user.id), page)
            shown = models.list_latest(transaction, user.user.id, limit=PAGE_ROWS, offset=pager.offset)
    kept = [text for text in asked if text != wrong]
    context = {
        "listed": listed(runtime, user.user.id, shown),
        "pager": pager,
        "conditions": [(text, _models_url([other for other in kept if other != text])) for text in kept],
        "path_here": _models_url(kept),
        "typed": wrong,
        "error": str(error) if error else None,
        "figure_names": figure_names(words_of(request)),
    }
    return render(request, "models.html", context, status=error.status if error else 200)


@router.get("/models/{name}/compare")
def compare_versions(
    request: Request, name: str, runtime: RuntimeDep, user: CurrentUser, a: str = "", b: str = ""
) -> Response:
    """Two versions of one model beside each other: by default the newest, and the one before it."""
    return compare_page(request, runtime, user.user.id, name, a, b)


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
    context = {
        "name": name,
        "listed": listed(runtime, user.user.id, versions),
        "latest": latest,
        "names": names,
        "pager": pager,
        "aliases": published.aliases(runtime, user.user.id, name),
        "figure_names": figure_names(words_of(request)),
    }
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
    reasons: Annotated[workflows.Reasons, Form()] = "risky",
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
    """Read every stored file again and say whether it is what its manifest says; large ones in the background."""
    row = _version(runtime, user.user.id, name, version)
    say = words_of(request)
    if row.size_bytes > AT_ONCE:
        upkeep.start_model_verification(runtime, user.user.id, row.name, row.version)
        return RedirectResponse(f"/models/{row.name}/{row.version}", 303)
    try:
        manifest = published.verify(runtime, row)
    except RegistryError as error:
        return _model_page(request, runtime, _version(runtime, user.user.id, name, version), error=error)
    verified = say.ngettext(
        "%(count)s file, %(size)s.",
        "%(count)s files, %(size)s.",
        len(manifest.files),
        size=say.bytes(manifest.size),
    )
    return _model_page(request, runtime, _version(runtime, user.user.id, name, version), verified=verified)


@router.post("/models/{name}/{version}/alias")
def set_alias(
    request: Request,
    name: str,
    version: str,
    runtime: RuntimeDep,
    user: CurrentUser,
    alias: Annotated[str, Form()] = "",
) -> Response:
    """Make an alias of this version, or move it here."""
    row = _version(runtime, user.user.id, name, version)
    try:
        published.set_alias(runtime, user.user.id, name, alias.strip(), version)
    except (InvalidInput, DigestMismatch) as error:
        return _model_page(request, runtime, row, error=error, alias=alias)
    return RedirectResponse(f"/models/{row.name}/{row.version}#aliases", 303)


@router.post("/models/{name}/{version}/alias/{alias}/remove")
def remove_alias(name: str, version: str, alias: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Forget an alias; the version it pointed at stays."""
    row = _version(runtime, user.user.id, name, version)
    published.remove_alias(runtime, user.user.id, name, alias)
    return RedirectResponse(f"/models/{row.name}/{row.version}#aliases", 303)


@router.post("/models/{name}/{version}/link")
def make_link(
    request: Request,
    name: str,
    version: str,
    runtime: RuntimeDep,
    user: CurrentUser,
    path: Annotated[str, Form()],
    hours: Annotated[int, Form(ge=1, le=168)] = 1,
) -> Response:
    """An address by which anyone may download one file for some hours, or why there is none."""
    row = _version(runtime, user.user.id, name, version)
    try:
        link = published.signed_link(runtime, row, path, timedelta(hours=hours))
    except (CannotSign, DigestMismatch) as error:
        return _model_page(request, runtime, row, error=error, unsigned=path)
    return _model_page(request, runtime, row, link=link)


@router.post("/models/{name}/{version}/delete")
def delete(request: Request, name: str, version: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Delete one version; what was scored with it stays."""
    row = _version(runtime, user.user.id, name, version)
    try:
        published.remove(runtime, user.user.id, name, version)
    except VersionInUse as error:
        return _model_page(request, runtime, row, error=error)
    return RedirectResponse("/models", 303)


router.add_api_route("/models/{name}/{version}/files/{path:path}", download_file)


@dataclass(frozen=True)
class Listed:
    """A version in a list, the aliases that point at it, and the figure that stands for it."""

    version: ModelVersion
    aliases: tuple[str, ...]
    figure: Figure | None


def compare_page(
    request: Request,
    runtime: Runtime,
    user_id: str,
    name: str,
    a: str,
    b: str,
    *,
    error: EcluseError | None = None,
    dataset: str = "",
) -> Response:
    """What is known of two versions of a model, and the way to try both on the same rows."""
    say = words_of(request)
    with runtime.catalog.read() as transaction:
        versions = models.list_versions(transaction, user_id, name)
        second = b or versions[0].version
        first = a or next((v.version for v in versions if v.version != second), second)
        rows = [models.version_of(transaction, user_id, name, version) for version in (first, second)]
        tried = inspections.list_inspections(
            transaction, user_id, kind="comparison", model_name=name, limit=COMPARISONS_SHOWN
        )
        tables, tables_total = datasets.readable_datasets(transaction, user_id, limit=TABLES_OFFERED)
        told = [*(row.dataset_id for row in rows), *(row.dataset_id for row in tried)]
        names = datasets.filenames(transaction, user_id, told)
    pair = [_manifest(runtime, row)[0] for row in rows]
    found = compare(rows[0], rows[1], *pair)
    reports = [fraud_report(row) for row in rows]
    both_score = all(report.threshold is not None for report in reports)
    suggested = suggested_table(tables, rows[1]) if both_score else None
    context = {
        "name": name,
        "found": found,
        "versions": versions,
        "sides": listed(runtime, user_id, rows),
        "names": names,
        "splits": [split_text(report, say) for report in reports],
        "figures": model_figures.compared_curves(reports[0], reports[1], (first, second), say),
        "figure_names": figure_names(say),
        "families": family_names(say),
        "tried": tried,
        "tables": suitable_first(tables, rows[1]) if both_score and first != second else [],
        "lacking": lacking(tables, rows[1]),
        "tables_total": tables_total,
        "suggested": dataset or (suggested.id if suggested else None),
        "error": str(error) if error else None,
    }
    return render(request, "model_compare.html", context, status=error.status if error else 200)


def suitable_first(tables: list[Dataset], version: ModelVersion) -> list[Dataset]:
    """The tables, those that have every column the model needs before the others, each kind as it came."""
    return sorted(tables, key=lambda row: not can_score(version, row))


def may_be_scored(table: Dataset, version: ModelVersion) -> bool:
    """Whether a table is worth offering: it is being read, or has at least half of the columns that are needed."""
    needed = needed_columns(version)
    names = {column["name"] for column in (table.profile or {}).get("columns", ())}
    return table.state != "ready" or 2 * len(needed & names) >= len(needed)


def lacking(tables: list[Dataset], version: ModelVersion) -> frozenset[str]:
    """The ids of those tables that were read and lack columns of the model."""
    return frozenset(row.id for row in tables if row.state == "ready" and not can_score(version, row))


def suggested_table(tables: list[Dataset], version: ModelVersion) -> Dataset | None:
    """The table most likely to be scored next: it has the columns, was not trained on, best without a label.

    For an ensemble that is the very table it was made for.
    """
    fit = [row for row in tables if can_score(version, row)]
    if isinstance(fraud_report(version), EnsembleReport):
        return next((row for row in fit if row.id == version.dataset_id), fit[0] if fit else None)
    fit = [row for row in fit if row.id != version.dataset_id]
    return next((row for row in fit if not _labelled(row)), fit[0] if fit else None)


def fraud_report(version: ModelVersion) -> AnyReport:
    """Read the report of a fraud model; an empty one of any other version."""
    return read_report(version.report) if version.application == "fraud" else TrainedReport()


def goal_text(report: TrainedReport, say: Words) -> str | None:
    """Say what the threshold was chosen for, in a few words; None when the report does not say."""
    goal = report.goal
    if goal is None:
        return None
    value = goal.value
    if goal.kind == "f1":
        return say._("the best F1")
    if goal.kind == "recall" and value is not None:
        return say._("at least %(share)s of fraud found", share=say.percent(value))
    if goal.kind == "precision" and value is not None:
        return say._("at least %(share)s of alerts right", share=say.percent(value))
    if goal.kind == "cost" and goal.missed is not None and goal.false_alarm is not None:
        missed, alarm = (
            say.num(cost, 0 if cost == round(cost) else 2) for cost in (goal.missed, goal.false_alarm)
        )
        return say._(
            "the least cost, at %(missed)s a missed fraud and %(alarm)s a false alarm",
            missed=missed,
            alarm=alarm,
        )
    if goal.kind == "alerts_per_day" and value is not None:
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


def fitted_rows(report: TrainedReport) -> int | None:
    """Count the rows the saved model was fitted on; None when the report does not say."""
    if report.refitted:
        return sum(report.rows.values())
    fitted_on = report.fitted_on if report.fitted_on is not None else ("train",)
    counts = [report.rows[part] for part in fitted_on if part in report.rows]
    return sum(counts) if counts else None


def split_text(report: AnyReport, say: Words) -> str | None:
    """Say how the rows were split, in a few words."""
    split = report.split if isinstance(report, TrainedReport) else None
    if split is None:
        return None
    if split.kind == "time" and split.cuts is not None and len(split.cuts) == 2:
        try:
            return say._("by time, test from %(day)s", day=say.day(datetime.fromisoformat(split.cuts[1])))
        except ValueError:  # a time that is a number, such as an hour count
            return say.phrase(split.description)
    return say.phrase(split.description) if split.description else None


def period_text(period: Period, say: Words) -> str:
    """Say when a period of a report begins: to the hour where it is one, else the day."""
    start = datetime.fromisoformat(period.start)
    if period.period == "1h":
        return f"{say.calendar_day(start)} {start:%H:%M}"
    return say.calendar_day(start)


def listed(runtime: Runtime, user_id: str, versions: Sequence[ModelVersion]) -> list[Listed]:
    """Versions as a list shows them: with the aliases that point at them, and the figure that stands for each."""
    pointing: dict[tuple[str, str], list[str]] = {}
    for one in published.aliases(runtime, user_id) if versions else ():
        pointing.setdefault((one.name, one.version), []).append(one.alias)
    return [Listed(row, tuple(pointing.get((row.name, row.version), ())), headline(row)) for row in versions]


def figure_names(say: Words) -> dict[str, str]:
    """What to call the figures we know; any other is called by its own name."""
    return {
        "average_precision": say._("Average precision"),
        "roc_auc": say._("ROC AUC"),
        "precision": say._("Precision"),
        "recall": say._("Recall"),
        "f1": say._("F1"),
        "recall_top_1_percent": say._("Fraud in the top 1 %%"),
        "recall_top_5_percent": say._("Fraud in the top 5 %%"),
        "brier": say._("Brier score, 0 is best"),
        "log_loss": say._("Log loss, 0 is best"),
        "calibration_error": say._("Calibration error"),
        "served_accuracy": say._("Right as served"),
        "accuracy": say._("Accuracy"),
        "macro_f1": say._("Mean F1 of the labels"),
        "expected_calibration_error": say._("Calibration error"),
    }


def _model_page(
    request: Request,
    runtime: Runtime,
    version: ModelVersion,
    *,
    error: EcluseError | None = None,
    verified: str | None = None,
    alias: str = "",
    link: published.SignedLink | None = None,
    unsigned: str | None = None,
) -> Response:
    """The page of one version: with a report that of a fraud model, else what its metadata say."""
    say, user_id = words_of(request), version.user_id
    manifest, unreadable = _manifest(runtime, version)
    with runtime.catalog.read() as transaction:
        versions = models.versions_page(transaction, user_id, version.name, limit=VERSIONS_SHOWN)
        versions_total = models.count_versions(transaction, user_id, version.name)
        names = datasets.filenames(transaction, user_id, [version.dataset_id])
    known = published.aliases(runtime, user_id, version.name)
    job = upkeep.verification_of(runtime, user_id, version.name, version.version)
    files = manifest.files if manifest else ()
    context = {
        "version": version,
        "versions": listed(runtime, user_id, versions),
        "versions_total": versions_total,
        "names": names,
        "aliases": [one.alias for one in known if one.version == version.version],
        "elsewhere": [one for one in known if one.version != version.version],
        "alias": alias,
        "files": files[:FILES_SHOWN],
        "files_total": len(files),
        "unreadable": unreadable,
        "figure_names": figure_names(say),
        "verified": verified,
        "verifying": progress_of(runtime, job, say) if job else None,
        "link": link,
        "unsigned": unsigned,
        "error": str(error) if error else None,
        "blocked": isinstance(error, VersionInUse),
    }
    status = error.status if error else 200
    if version.application == "plants" and version.report.get("recipe"):
        context |= classifier_context(runtime, version, say)
        context["card"] = _card(runtime, version, manifest) if manifest else None
        return render(request, "plants/model.html", context, status=status)
    if version.application != "fraud":
        return render(request, "model_plain.html", context | _plain(version), status=status)
    context |= _scoring(runtime, version)
    context["card"] = _card(runtime, version, manifest) if manifest else None
    if isinstance(fraud_report(version), EnsembleReport):
        made = ensemble_context(runtime, version, say)
        return render(request, "fraud/model_ensemble.html", context | made, status=status)
    return render(request, "model.html", context | _measured(runtime, version, manifest, say), status=status)


def _measured(
    runtime: Runtime, version: ModelVersion, manifest: Manifest | None, say: Words
) -> dict[str, Any]:
    """Gather what the page of a trained fraud model shows beyond that of any model."""
    report = read_trained_report(version.report)
    return {
        "report": report,
        "details": [(metric, report.metrics.get(metric.name)) for metric in METRICS if metric.is_detail],
        "figures": model_figures.model_charts(report, say),
        "families": family_names(say),
        "split": split_text(report, say),
        "fitted_rows": fitted_rows(report),
        "goal": goal_text(report, say),
        "period_of": partial(period_text, say=say),
        "plots": [file.path for file in manifest.files if DRAWING.fullmatch(file.path)] if manifest else [],
        "finished_early": _finished_early(runtime, version),
    }


def _scoring(runtime: Runtime, version: ModelVersion) -> dict[str, Any]:
    """What the scoring form of a fraud model offers."""
    with runtime.catalog.read() as transaction:
        tables, tables_total = datasets.readable_datasets(transaction, version.user_id, limit=TABLES_OFFERED)
    suggested = suggested_table(tables, version)
    return {
        "datasets": suitable_first(tables, version),
        "lacking": lacking(tables, version),
        "datasets_total": tables_total,
        "suggested": suggested.id if suggested else None,
        "suggested_labelled": suggested is not None and _labelled(suggested),
        "reasons": default_reasons(suggested.rows if suggested else None),
    }


def _finished_early(runtime: Runtime, version: ModelVersion) -> bool:
    """Whether the person who trained it ended the search before its time."""
    with runtime.catalog.read() as transaction:
        run = training.run_of_version(transaction, version.user_id, version.name, version.version)
    return run is not None and run.finish_early_at is not None


def _plain(version: ModelVersion) -> dict[str, Any]:
    """What is known of a model of no application: the figures and settings its publisher gave with it."""
    return {"given": figures_of(version), "settings": settings_of(version)}


def _manifest(runtime: Runtime, version: ModelVersion) -> tuple[Manifest | None, str | None]:
    """What a version holds; where that cannot be read, why. Its page opens all the same."""
    try:
        return published.manifest_of(runtime, version), None
    except (ManifestInvalid, VersionNotFound, StorageError, SettingsError) as error:
        return None, str(error)


def _models_url(conditions: Sequence[str]) -> str:
    return "/models" + (f"?{urlencode([('where', text) for text in conditions])}" if conditions else "")


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
    except (
        DigestMismatch,
        StorageError,
        SettingsError,
    ):  # the page must open: it is where the files are verified
        return None


def _version(runtime: Runtime, user_id: str, name: str, version: str) -> ModelVersion:
    with runtime.catalog.read() as transaction:
        return models.version_of(transaction, user_id, name, version)
