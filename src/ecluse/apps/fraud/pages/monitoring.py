"""Monitor a version at work: drift, alerts and outcomes on a later table, and the way to train it again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Final, Literal

from fastapi import Form, Request
from pydantic import BaseModel
from starlette.responses import RedirectResponse, Response

from ecluse.apps.fraud.actions import monitoring as actions
from ecluse.apps.fraud.metrics import METRICS, FraudMetric
from ecluse.apps.fraud.monitoring.report import MonitoringReport, read_monitoring
from ecluse.apps.fraud.pages import charts as model_figures
from ecluse.apps.fraud.pages.datasets import BUDGETS, Stripped, can_score
from ecluse.apps.fraud.pages.model import (
    TABLES_OFFERED,
    lacking,
    may_be_scored,
    suggested_table,
    suitable_first,
)
from ecluse.apps.fraud.performance.reports import AnyReport, read_report, read_trained_report
from ecluse.apps.fraud.performance.trained import TrainedReport
from ecluse.apps.fraud.rows import datasets, inspections
from ecluse.apps.fraud.rows.tables import Dataset, Inspection
from ecluse.apps.fraud.training.plan import plan_of
from ecluse.catalog import models
from ecluse.catalog.tables import ModelVersion
from ecluse.errors import EcluseError, InvalidInput, JobNotFound, NotFound
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.web.declarations import Declarations
from ecluse.web.i18n import Words
from ecluse.web.pages.jobs import Progress, progress_of
from ecluse.web.pages.models import figure_names
from ecluse.web.security import CurrentUser, RuntimeDep
from ecluse.web.templating import render, words_of

router = Declarations()
CHECKS_SHOWN: Final = 20
#: Columns named in a finding, and rows of the drift table before the rest is folded away.
NAMED: Final = 4
COLUMNS_SHOWN: Final = 12
#: A rate of alerts so many times the usual one, or less than its inverse, is worth a word; from the second factor on
#: where chance does not explain it: so many standard errors.
FAR_RATE: Final = 2.0
OFF_RATE: Final = 1.3
ERRORS: Final = 3.0
Tone = Literal["ok", "warn", "bad"]


@dataclass(frozen=True)
class Finding:
    """State what a check on a table says first: the fact, and what it means."""

    tone: Tone
    title: str
    text: str = ""


@dataclass(frozen=True)
class Judged:
    """A figure where outcomes are known, beside that of the test; `apart` where the intervals do not meet."""

    metric: FraudMetric
    now: float
    interval: tuple[float, float] | None
    tested: float | None
    tested_interval: tuple[float, float] | None

    @property
    def name(self) -> str:
        return self.metric.name

    @property
    def apart(self) -> Literal["worse", "better"] | None:
        if not self.interval or not self.tested_interval:
            return None
        if self.interval[1] < self.tested_interval[0]:
            return "better" if self.metric.better == "lower" else "worse"
        if self.interval[0] > self.tested_interval[1]:
            return "worse" if self.metric.better == "lower" else "better"
        return None


@router.get("/models/{name}/{version}/monitor")
def show_monitoring(
    request: Request, name: str, version: str, runtime: RuntimeDep, user: CurrentUser, look: str = ""
) -> Response:
    """Show the latest check of a version on a table, or the one that `?look=` names."""
    row = _monitored(runtime, user.user.id, name, version)
    return _monitor_page(request, runtime, row, check=look)


class MonitoringForm(BaseModel):
    """The form that monitors a version on a table, as it was sent."""

    dataset: str
    outcomes: str = ""
    identifier: Stripped = ""
    label: Stripped = ""
    positive: Stripped = ""
    time: Stripped = ""

    def choices(self) -> actions.MonitoringChoices:
        return actions.MonitoringChoices(
            outcomes=self.outcomes or None,
            identifier=self.identifier or None,
            label=self.label or None,
            positive=self.positive or None,
            time_column=self.time or None,
        )


@router.post("/models/{name}/{version}/monitor")
def start_monitoring(
    request: Request,
    name: str,
    version: str,
    runtime: RuntimeDep,
    user: CurrentUser,
    form: Annotated[MonitoringForm, Form()],
) -> Response:
    """Queue the monitoring of a version on a table, and show it."""
    row = _monitored(runtime, user.user.id, name, version)
    try:
        inspection = actions.start_monitoring(
            runtime, user.user.id, f"{row.name}@{row.version}", form.dataset, form.choices()
        )
    except InvalidInput as error:
        return _monitor_page(request, runtime, row, error=error, sent=form.model_dump())
    return RedirectResponse(f"/models/{row.name}/{row.version}/monitor?look={inspection.id}", 303)


@router.post("/models/{name}/{version}/retrain")
def retrain(
    request: Request,
    name: str,
    version: str,
    runtime: RuntimeDep,
    user: CurrentUser,
    dataset: Annotated[str, Form()],
    budget: Annotated[str, Form()] = "",
) -> Response:
    """Queue a new version by the plan of this one, and show how both compare once that is known."""
    row = _monitored(runtime, user.user.id, name, version)
    seconds = next((float(offered) for offered in BUDGETS if str(offered) == budget), None)
    try:
        _rest, comparison = actions.start_retraining(
            runtime, user.user.id, f"{row.name}@{row.version}", dataset, budget_s=seconds
        )
    except InvalidInput as error:
        return _monitor_page(request, runtime, row, error=error, sent={"again": dataset, "budget": budget})
    return RedirectResponse(f"/models/{row.name}/compare/{comparison.id}", 303)


def findings(monitored: MonitoringReport, report: AnyReport, say: Words) -> list[Finding]:
    """Say what monitoring says, worst first; one calm sentence where nothing is out of the usual."""
    facts = [*_columns(monitored, say), *_drift(monitored, say), *_alert_rate(monitored, say)]
    facts += _outcomes(monitored, report, say)
    # Rows a model learned from are as usual as can be: that says nothing of its work.
    if not facts and monitored.drift and not monitored.seen:
        facts = [Finding("ok", say._("Nothing is far from the usual."))]
    return sorted(facts, key=lambda fact: ("bad", "warn", "ok").index(fact.tone))


def judged(monitored: MonitoringReport, report: AnyReport) -> list[Judged]:
    """List the metrics over the rows whose outcome is known, each beside that of the test."""
    if monitored.outcomes is None or monitored.outcomes.metrics is None:
        return []
    metrics, intervals = monitored.outcomes.metrics, monitored.outcomes.intervals or {}
    before = (report.intervals or {}) if isinstance(report, TrainedReport) else {}
    return [
        Judged(
            metric, metrics[metric.name], intervals.get(metric.name), report.metrics.get(metric.name),
            before.get(metric.name),
        )
        for metric in METRICS
        if metric.is_watched and metric.name in metrics
    ]  # fmt: skip


def check_progress(runtime: Runtime, row: Inspection, say: Words) -> Progress | None:
    """Find the job of a check or a comparison, while it waits or runs."""
    if row.status not in inspections.ACTIVE or row.job_id is None:
        return None
    try:
        return progress_of(runtime, runtime.jobs.get(row.user_id, row.job_id), say)
    except JobNotFound:  # the next pass over such rows ends it
        return None


def can_train_again(version: ModelVersion) -> bool:
    """Tell whether a version came of labels, so that there is a plan to train it by again."""
    return plan_of(version.details) is not None


def target_of(version: ModelVersion) -> str | None:
    """Return the label column that a version has learned; None of one that has learned none."""
    plan = plan_of(version.details)
    return read_trained_report(version.report).target or (plan.target if plan else None)


def _columns(monitored: MonitoringReport, say: Words) -> list[Finding]:
    missing = monitored.columns.missing
    if not missing:
        return []
    title = say.ngettext(
        "%(count)s column that the model needs is missing.",
        "%(count)s columns that the model needs are missing.",
        len(missing),
    )
    return [Finding("bad", title, _named(missing, say))]


def _drift(monitored: MonitoringReport, say: Words) -> list[Finding]:
    facts = []
    far = [drift.column for drift in monitored.drift if drift.verdict == "far"]
    if far:
        title = say.ngettext(
            "%(count)s column is far from what the model learned.",
            "%(count)s columns are far from what the model learned.",
            len(far),
        )
        facts.append(Finding("warn", title, _named(far, say)))
    score = monitored.score
    if score is not None and score.verdict != "same":
        title = say._("The scores are spread otherwise than before.")
        text = say._("Population stability index %(index)s.", index=say.num(score.index, 2))
        facts.append(Finding("warn", title, text))
    return facts


def _alert_rate(monitored: MonitoringReport, say: Words) -> list[Finding]:
    if monitored.alerts is None or monitored.alerts.usual_rate is None:
        return []
    usual, rate = monitored.alerts.usual_rate, monitored.alerts.rate
    if rate == usual:
        return []
    if not usual / FAR_RATE < rate < usual * FAR_RATE:
        title = (
            say._("Many more alerts than usual.") if rate > usual else say._("Far fewer alerts than usual.")
        )
    elif not usual / OFF_RATE < rate < usual * OFF_RATE and not _by_chance(rate, usual, monitored.rows):
        title = say._("More alerts than usual.") if rate > usual else say._("Fewer alerts than usual.")
    else:
        return []
    text = say._("%(rate)s of rows, usually %(usual)s.", rate=say.percent(rate), usual=say.percent(usual))
    return [Finding("warn", title, text)]


def _by_chance(rate: float, usual: float, rows: int) -> bool:
    """Tell whether so many rows of the usual rate may well have this one."""
    return abs(rate - usual) <= ERRORS * math.sqrt(usual * (1 - usual) / max(rows, 1))


def _outcomes(monitored: MonitoringReport, report: AnyReport, say: Words) -> list[Finding]:
    names = figure_names(say)
    return [
        Finding(
            "bad",
            say._("%(figure)s is worse than it was tested to be.", figure=names[figure.name]),
            say._(
                "%(now)s (%(interval)s), at the test %(tested)s (%(before)s).",
                now=say.num(figure.now, 2),
                interval=say.interval(figure.interval),
                tested=say.num(figure.tested, 2),
                before=say.interval(figure.tested_interval),
            ),
        )
        for figure in judged(monitored, report)
        if figure.apart == "worse"
    ]


def _named(columns: Sequence[str], say: Words) -> str:
    names = ", ".join(columns[:NAMED])
    more = len(columns) - NAMED
    return (
        f"{names}." if more <= 0 else say._("%(names)s and %(count)s more.", names=names, count=say.num(more))
    )


def _monitor_page(
    request: Request,
    runtime: Runtime,
    version: ModelVersion,
    *,
    check: str = "",
    error: EcluseError | None = None,
    sent: Mapping[str, str] | None = None,
) -> Response:
    say = words_of(request)
    plan = plan_of(version.details)
    context = {
        "version": version,
        **_shown_check(runtime, version, check, say),
        **_offered_tables(runtime, version),
        "learned_from": actions.learned_counts(read_report(version.report)),
        "again": can_train_again(version),
        "budgets": BUDGETS,
        "planned": plan.budget_s if plan else None,
        "figure_names": figure_names(say),
        "sent": dict(sent or {}),
        "error": str(error) if error else None,
    }
    return render(request, "fraud/monitor.html", context, status=error.status if error else 200)


def _shown_check(runtime: Runtime, version: ModelVersion, check: str, say: Words) -> dict[str, Any]:
    """Gather the latest checks of a version, and what one of them says: the newest where none is asked for."""
    user_id = version.user_id
    with runtime.catalog.read() as transaction:
        checks = inspections.list_inspections(
            transaction,
            user_id,
            inspections.InspectionFilter(kind="monitor", model_name=version.name, version=version.version),
            limit=CHECKS_SHOWN,
        )
        shown = inspections.inspection_of(transaction, user_id, check) if check else next(iter(checks), None)
        named = [row.dataset_id for row in (*checks, *([shown] if shown else []))]
        names = datasets.filenames(transaction, user_id, named)
    ours = ("monitor", version.name, version.version)
    if shown and (shown.kind, shown.model_name, shown.version) != ours:
        raise NotFound(
            _("No check or comparison %(value)s. See: GET /api/models/NAME/VERSION/monitor", value=check)
        )
    result = shown.result if shown and shown.status == "done" else None
    monitored = read_monitoring(result) if result is not None else None
    report = read_report(version.report)
    return {
        "shown": shown,
        "result": monitored,
        "findings": findings(monitored, report, say) if monitored else [],
        "judged": judged(monitored, report) if monitored else [],
        "figures": model_figures.monitoring_charts(monitored, say) if monitored else [],
        "columns_shown": COLUMNS_SHOWN,
        "as_day": date.fromisoformat,
        "progress": check_progress(runtime, shown, say) if shown else None,
        "checks": checks,
        "names": names,
    }


def _offered_tables(runtime: Runtime, version: ModelVersion) -> dict[str, Any]:
    """Gather the tables that a version may be checked on, and those that may train the next one."""
    with runtime.catalog.read() as transaction:
        tables, total = datasets.readable_datasets(transaction, version.user_id, limit=TABLES_OFFERED)
    counts = _counts(tables, version)
    labelled = [
        table
        for table in tables
        if table.id != version.dataset_id and _has_target(table, version) and can_score(version, table)
    ]
    return {
        "tables": [table for table in suitable_first(tables, version) if may_be_scored(table, version)],
        "lacking": lacking(tables, version),
        "others": tables,
        "tables_total": total,
        "suggested": _chosen(_unlearned_table(tables, version)),
        "labelled": suitable_first(labelled, version),
        "counts": counts,
        "poorer": [table for table, held in counts.items() if held.poorer],
    }


@dataclass(frozen=True)
class Counts:
    """Rows and frauds of a table that a version may be trained on; `poorer` with under half of its frauds so far."""

    rows: int
    frauds: int
    poorer: bool


def _counts(tables: Sequence[Dataset], version: ModelVersion) -> dict[str, Counts]:
    """Return what each table that has the label holds to learn from, by its id."""
    report = read_trained_report(version.report)
    target = target_of(version) or ""
    before = actions.learned_counts(report)
    counts = {}
    for table in tables:
        held = actions.labelled_counts(table, target, report.positive_value)
        if held is not None:
            counts[table.id] = Counts(*held, before is not None and actions.is_poorer(held[1], before[1]))
    return counts


def _unlearned_table(tables: Sequence[Dataset], version: ModelVersion) -> Dataset | None:
    """Choose the table to check next: not one that a version was made of or labelled on, nor a copy of it."""
    learned = read_report(version.report).learned
    labelled = None if learned is None else learned.dataset
    seen = {table.sha256 for table in tables if table.id in (version.dataset_id, labelled)}
    return suggested_table([table for table in tables if table.sha256 not in seen], version)


def _chosen(table: Dataset | None) -> str | None:
    return table.id if table else None


def _has_target(table: Dataset, version: ModelVersion) -> bool:
    """Tell whether a table that was read has the column that a version was trained to tell."""
    target = target_of(version)
    return target in {column["name"] for column in (table.profile or {}).get("columns", ())}


def _monitored(runtime: Runtime, user_id: str, name: str, version: str) -> ModelVersion:
    """Return a version that scores rows. Raises NotFound for one of files alone."""
    with runtime.catalog.read() as transaction:
        row = models.version_of(transaction, user_id, name, version)
    if row.report.get("threshold") is None:
        raise NotFound(
            _(
                "%(model)s scores no rows, so there is nothing to watch. See: GET /api/models",
                model=f"{row.name}@{row.version}",
            )
        )
    return row
