"""Show a model of a table: what it was measured to do, how it compares with another, the form to score with it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Final

from fastapi import Form, Request
from pydantic import BaseModel
from starlette.responses import RedirectResponse, Response

from ecluse.apps.fraud.actions import main as workflows
from ecluse.apps.fraud.families import FAMILIES
from ecluse.apps.fraud.metrics import METRICS, tiles
from ecluse.apps.fraud.pages import charts
from ecluse.apps.fraud.pages.datasets import can_score, default_reasons, needed_columns
from ecluse.apps.fraud.pages.ensembles import ensemble_context
from ecluse.apps.fraud.performance.ensemble import EnsembleReport
from ecluse.apps.fraud.performance.parts import Period
from ecluse.apps.fraud.performance.reports import AnyReport, read_report, read_trained_report
from ecluse.apps.fraud.performance.trained import TrainedReport
from ecluse.apps.fraud.rows import datasets, inspections, training
from ecluse.apps.fraud.rows.tables import Dataset
from ecluse.apps.fraud.scoring.formats import DEFAULT, ResultName
from ecluse.catalog import Transaction
from ecluse.catalog.tables import ModelVersion
from ecluse.errors import InvalidInput
from ecluse.jobs import Link
from ecluse.registry import Manifest
from ecluse.runtime import Runtime
from ecluse.sentences import N_, _
from ecluse.web.declarations import Declarations
from ecluse.web.i18n import Words
from ecluse.web.pages.models import FormOutcome, ModelPage, model_page, version_of
from ecluse.web.security import CurrentUser, RuntimeDep

router = Declarations()
DRAWING: Final = re.compile(r"plots/[a-z_]+\.svg")
COMPARISONS_SHOWN: Final = 8
#: Tables the scoring form lets one choose from: the newest. Any other is scored from its own page.
TABLES_OFFERED: Final = 200


class ScoreForm(BaseModel):
    """The form that scores a table with a version."""

    dataset: str
    result_format: ResultName = DEFAULT
    reasons: workflows.Reasons = "risky"


@router.post("/models/{name}/{version}/score")
def score(
    request: Request,
    name: str,
    version: str,
    runtime: RuntimeDep,
    user: CurrentUser,
    form: Annotated[ScoreForm, Form()],
) -> Response:
    """Queue the scoring of a table with this very version, and show where its result will be."""
    row = version_of(runtime, user.user.id, name, version)
    try:
        chosen = workflows.ScoringRequest(row.name, row.version, form.result_format, form.reasons)
        scored = workflows.start_prediction(runtime, user.user.id, form.dataset, chosen)
    except InvalidInput as error:
        return model_page(request, runtime, row, FormOutcome(error))
    return RedirectResponse(f"/fraud/p/{scored.id}", 303)


def page(runtime: Runtime, version: ModelVersion, manifest: Manifest | None, say: Words) -> ModelPage:
    """Return how a version of this application is shown."""
    with runtime.catalog.read() as transaction:
        names = datasets.filenames(transaction, version.user_id, [version.dataset_id])
    context = {"names": names} | _scoring(runtime, version)
    if isinstance(fraud_report(version), EnsembleReport):
        return ModelPage("fraud/model_ensemble.html", context | ensemble_context(runtime, version, say))
    return ModelPage("fraud/model.html", context | _measured(runtime, version, manifest, say))


def comparison(
    runtime: Runtime, user_id: str, versions: Sequence[ModelVersion], dataset: str, say: Words
) -> dict[str, Any]:
    """Return what the page of two versions shows beside what it does of any: their curves, and the way to try both."""
    first, second = versions
    with runtime.catalog.read() as transaction:
        tried = inspections.list_inspections(
            transaction,
            user_id,
            inspections.InspectionFilter(kind="comparison", model_name=second.name),
            limit=COMPARISONS_SHOWN,
        )
        tables, tables_total = datasets.readable_datasets(transaction, user_id, limit=TABLES_OFFERED)
        names = datasets.filenames(transaction, user_id, [row.dataset_id for row in tried])
    reports = [fraud_report(row) for row in versions]
    both_score = all(report.threshold is not None for report in reports)
    suggested = suggested_table(tables, second) if both_score else None
    return {
        "names": names,
        "splits": [split_text(report, say) for report in reports],
        "figures": charts.compared_curves(reports[0], reports[1], (first.version, second.version), say),
        "families": family_names(say),
        "tried": tried,
        "tables": suitable_first(tables, second) if both_score and first.version != second.version else [],
        "lacking": lacking(tables, second),
        "tables_total": tables_total,
        "suggested": dataset or (suggested.id if suggested else None),
    }


def sources(transaction: Transaction, versions: Sequence[ModelVersion]) -> Mapping[str, Link]:
    """Find the table that each version was trained on."""
    names = {
        user_id: datasets.filenames(
            transaction, user_id, [row.dataset_id for row in versions if row.user_id == user_id]
        )
        for user_id in {row.user_id for row in versions}
    }
    return {row.id: _source(row, names[row.user_id]) for row in versions}


def _source(row: ModelVersion, names: Mapping[str, str]) -> Link:
    if row.dataset_id is None or row.dataset_id not in names:
        return Link("", _("a removed table"))
    return Link(f"/fraud/d/{row.dataset_id}", names[row.dataset_id])


def suitable_first(tables: list[Dataset], version: ModelVersion) -> list[Dataset]:
    """Return the tables, those that have every column the model needs before the others, each kind as it came."""
    return sorted(tables, key=lambda row: not can_score(version, row))


def may_be_scored(table: Dataset, version: ModelVersion) -> bool:
    """Tell whether a table is worth offering: it is being read, or has at least half of the columns that are needed."""
    needed = needed_columns(version)
    names = {column["name"] for column in (table.profile or {}).get("columns", ())}
    return table.state != "ready" or 2 * len(needed & names) >= len(needed)


def lacking(tables: list[Dataset], version: ModelVersion) -> frozenset[str]:
    """Return the ids of those tables that were read and lack columns of the model."""
    return frozenset(row.id for row in tables if row.state == "ready" and not can_score(version, row))


def suggested_table(tables: list[Dataset], version: ModelVersion) -> Dataset | None:
    """Return the table most likely to be scored next: it has the columns, was not trained on, best without a label.

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
    """Return what to call each family of models."""
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


def _measured(
    runtime: Runtime, version: ModelVersion, manifest: Manifest | None, say: Words
) -> dict[str, Any]:
    """Gather what the page of a trained fraud model shows beyond that of any model."""
    report = read_trained_report(version.report)
    return {
        "report": report,
        "details": [(metric, report.metrics.get(metric.name)) for metric in METRICS if metric.is_detail],
        "tiles": tiles(),
        "figures": charts.model_charts(report, say),
        "families": family_names(say),
        "split": split_text(report, say),
        "fitted_rows": fitted_rows(report),
        "goal": goal_text(report, say),
        "period_of": partial(period_text, say=say),
        "plots": [file.path for file in manifest.files if DRAWING.fullmatch(file.path)] if manifest else [],
        "finished_early": _finished_early(runtime, version),
    }


def _scoring(runtime: Runtime, version: ModelVersion) -> dict[str, Any]:
    """Return what the scoring form of a fraud model offers."""
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
    """Tell whether the person who trained it ended the search before its time."""
    with runtime.catalog.read() as transaction:
        run = training.run_of_version(transaction, version.user_id, version.name, version.version)
    return run is not None and run.finish_early_at is not None


def _labelled(row: Dataset) -> bool:
    return bool(((row.profile or {}).get("guesses") or {}).get("target"))
