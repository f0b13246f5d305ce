"""Monitor a model, compare two versions, and train one again: what a page, the API or a command does.

Each function checks, writes rows and queues a job; it is quick and imports nothing heavy. None of them moves an
alias: that is an act of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ecluse import models
from ecluse.apps.fraud.actions.labelling import queue_inspection
from ecluse.apps.fraud.actions.main import find_dataset
from ecluse.apps.fraud.actions.versions import expect_may_score
from ecluse.apps.fraud.performance.reports import AnyReport, read_trained_report
from ecluse.apps.fraud.performance.trained import TrainedReport
from ecluse.apps.fraud.rows import datasets, inspections, training
from ecluse.apps.fraud.rows.tables import Dataset, Inspection
from ecluse.apps.fraud.rows.training import TrainingRun
from ecluse.apps.fraud.tables.meaning import meaning_in_profile
from ecluse.apps.fraud.training.plan import TrainingPlan, plan_of
from ecluse.catalog import audit
from ecluse.catalog.tables import ModelVersion, new_id
from ecluse.errors import InvalidInput
from ecluse.jobs import title_of
from ecluse.runtime import Runtime
from ecluse.sentences import _


@dataclass(frozen=True)
class MonitoringChoices:
    """Where the outcomes of a table's rows stand, and its time.

    Outcomes are in the column `label` of the table (by default the model's target, where the table has it), or in
    another table `outcomes`, joined by the column `identifier` of both. `positive` is their value that means fraud,
    where it is not that of the model and does not say so of itself.
    """

    outcomes: str | None = None
    identifier: str | None = None
    label: str | None = None
    positive: str | None = None
    time_column: str | None = None


def start_monitoring(
    runtime: Runtime,
    user_id: str,
    model: str,
    dataset_id: str,
    choices: MonitoringChoices = MonitoringChoices(),
) -> Inspection:
    """Queue the monitoring of a model (NAME, NAME@VERSION, NAME@ALIAS) on a table.

    Raises:
        NotFound, ModelNotFound, VersionNotFound: not the user's, or not there.
        InvalidInput: a column is not there, or outcomes are to be joined and no identifier is named or guessed.
    """
    dataset = find_dataset(runtime, user_id, dataset_id)
    label, time_column = choices.label, choices.time_column
    _require(dataset, label if choices.outcomes is None else None, time_column)
    request: dict[str, Any] = {"label": label, "positive": choices.positive, "time_column": time_column}
    if choices.outcomes is not None:
        other = find_dataset(runtime, user_id, choices.outcomes)
        if other.state == "failed":
            raise InvalidInput(
                _("%(file)s could not be read: %(error)s", file=other.filename, error=other.error)
            )
        joined = choices.identifier or _identifier(dataset, other)
        _require(dataset, joined)
        _require(other, joined, label)
        request |= {"outcomes": other.id, "identifier": joined}
    return queue_inspection(runtime, user_id, "monitor", dataset.id, model, request)


def start_comparison(
    runtime: Runtime,
    user_id: str,
    model_name: str,
    versions: tuple[str, str],
    dataset_id: str,
    *,
    label: str | None = None,
    positive: str | None = None,
) -> Inspection:
    """Queue the comparison of two versions (or aliases) of a model on one table; b is measured against a.

    Raises:
        NotFound, ModelNotFound, VersionNotFound: not the user's, or not there.
        InvalidInput: both are the same version.
    """
    first, second = (models.resolve(runtime, user_id, f"{model_name}@{version}") for version in versions)
    if first.version == second.version:
        raise InvalidInput(_("Both are %(model)s. Name two versions.", model=f"{first.name}@{first.version}"))
    dataset = find_dataset(runtime, user_id, dataset_id)
    _require(dataset, label)
    return queue_inspection(
        runtime,
        user_id,
        "comparison",
        dataset.id,
        f"{first.name}@{first.version}",
        {"label": label, "positive": positive},
        other_version=second.version,
    )


def start_retraining(
    runtime: Runtime, user_id: str, model: str, dataset_id: str, *, budget_s: float | None = None
) -> tuple[TrainingRun, Inspection]:
    """Queue a new version by the plan of an old one, and the comparison of both on rows that neither learned from.

    The latest rows of the table (of a plan without a time column: some drawn at random) are kept for comparing.
    No alias moves.

    Raises:
        NotFound, ModelNotFound, VersionNotFound: not the user's, or not there.
        InvalidInput: the version was not trained on labels, or the table lacks a column of its plan.
    """
    old = expect_may_score(models.resolve(runtime, user_id, model))
    plan = _plan_of_next(old, budget_s)
    dataset = find_dataset(runtime, user_id, dataset_id)
    _check_next(old, plan, dataset)
    job_id = new_id()
    inspection = Inspection(
        user_id=user_id,
        kind="comparison",
        job_id=job_id,
        dataset_id=dataset.id,
        model_name=old.name,
        version=old.version,
        request={"retraining": True, "trained_on": old.dataset_id},
    )
    with runtime.catalog.write() as transaction:
        run = training.add_run(
            transaction,
            training.NewTraining(
                user_id=user_id,
                job_id=job_id,
                dataset_id=dataset.id,
                model_name=old.name,
                target_column=plan.target,
                plan=_of_table(dataset, plan).to_dict(),
                parent_version=f"{old.name}@{old.version}",
            ),
        )
        inspections.add_inspection(transaction, inspection)
        datasets.touch_dataset(transaction, dataset.id)
        audit.record(transaction, user_id, "model.retrain", old.name, dataset=dataset.filename)
        title, subject = (
            title_of(old.name, dataset.filename),
            {"run_id": run.id, "inspection_id": inspection.id},
        )
        runtime.jobs.enqueue(
            "retrain", "train", user_id, title, subject, job_id=job_id, transaction=transaction
        )
    return run, inspection


def _plan_of_next(old: ModelVersion, budget_s: float | None) -> TrainingPlan:
    """Take the plan of a version for the next one. Raises InvalidInput where it has none."""
    plan = plan_of(old.details)
    if plan is None:
        raise InvalidInput(
            _(
                "%(model)s was not trained on a labelled table, so there is no plan to train it by again.",
                model=f"{old.name}@{old.version}",
            )
        )
    # What meant fraud to the old version means it to the new one, however frequent it has become.
    return replace(
        plan,
        positive_value=plan.positive_value or read_trained_report(old.report).positive_value,
        budget_s=plan.budget_s if budget_s is None else budget_s,
    )


def _check_next(old: ModelVersion, plan: TrainingPlan, dataset: Dataset) -> None:
    """Raise InvalidInput where a table cannot train the next version, or leaves no row to compare both on."""
    if dataset.state == "failed":
        raise InvalidInput(
            _("%(file)s could not be read: %(error)s", file=dataset.filename, error=dataset.error)
        )
    if old.dataset_id == dataset.id and (plan.test_share == 0 or read_trained_report(old.report).refitted):
        raise InvalidInput(
            _("The old version learned from every row that was kept for the comparison. Use later rows.")
        )
    _require(dataset, plan.target, plan.time_column, plan.customer_column)


def learned_counts(report: AnyReport) -> tuple[int, int] | None:
    """Count the rows a version learned from, and frauds among them; None where its report does not say."""
    if not isinstance(report, TrainedReport):
        return None
    rates = {part: rate for part, rate in report.fraud_rate.items() if rate is not None}
    parts = [part for part in report.rows if part in rates and (part != "test" or report.refitted)]
    if not parts:
        return None
    rows = report.rows
    return sum(rows[part] for part in parts), round(sum(rows[part] * rates[part] for part in parts))


def labelled_counts(dataset: Dataset, target: str, positive: str | None) -> tuple[int, int] | None:
    """Return how many rows a table has, and frauds among them by its profile; None where that does not say."""
    profile = dataset.profile or {}
    column = next((column for column in profile.get("columns", ()) if column["name"] == target), None)
    if column is None or dataset.rows is None:
        return None
    known = dataset.rows * (1 - column["missing_share"])
    try:
        meaning = meaning_in_profile(profile, target, positive)
    except InvalidInput:  # this table does not hold the value that the model has learned
        return None
    return None if meaning is None or meaning.share is None else (dataset.rows, round(known * meaning.share))


def is_poorer(frauds: int, before: int) -> bool:
    """Tell whether so few frauds are under half of those that an older version learned from."""
    return 2 * frauds < before


def _of_table(dataset: Dataset, plan: TrainingPlan) -> TrainingPlan:
    """Return the plan without the identifiers and left-out columns that this table does not have."""
    names = _names(dataset)
    if names is None:
        return plan
    return replace(
        plan,
        identifier_columns=tuple(name for name in plan.identifier_columns if name in names),
        excluded=tuple(name for name in plan.excluded if name in names),
        keep=tuple(name for name in plan.keep if name in names),
    )


def _names(dataset: Dataset) -> frozenset[str] | None:
    if dataset.profile is None:
        return None
    return frozenset(column["name"] for column in dataset.profile["columns"])


def _identifier(dataset: Dataset, other: Dataset) -> str:
    """Return the guessed identifier of a table that the other table has too."""
    guesses = (dataset.profile or {}).get("guesses", {})
    theirs = _names(other)
    for guess in guesses.get("identifiers", []):
        if theirs is None or guess["column"] in theirs:
            return str(guess["column"])
    raise InvalidInput(
        _(
            "No identifier of %(file)s is a column of %(value)s. Name the column of both: identifier",
            file=dataset.filename,
            value=other.filename,
        )
    )


def _require(dataset: Dataset, *columns: str | None) -> None:
    names = _names(dataset)
    missing = [c for c in columns if c is not None and names is not None and c not in names]
    if missing and names is not None:
        raise InvalidInput(
            _(
                "%(file)s has no column %(column)s. It has: %(columns)s.",
                file=dataset.filename,
                column=", ".join(map(repr, missing)),
                columns=", ".join(sorted(names)[:30]),
            )
        )
