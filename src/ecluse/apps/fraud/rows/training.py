"""Keep the trainings of fraud: each is a run, and a row with its table and its plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any, Final

from sqlalchemy import Select, func, select, update
from sqlalchemy.orm import Session as Transaction

from ecluse.apps.fraud import metrics
from ecluse.apps.fraud.rows.tables import FraudTraining
from ecluse.catalog import runs, sums
from ecluse.catalog.tables import Run, Work, new_id
from ecluse.errors import NotFound
from ecluse.run_values import flat_values
from ecluse.sentences import _

#: The figures of a run that a list of trainings shows.
SUMMARY: Final = (*metrics.SUMMARY, "threshold")


@dataclass(frozen=True)
class TrainingRun:
    """A training of fraud, from the moment it was asked for: its run, and what is kept of it besides.

    A `plan` of kind "ensemble" makes an ensemble of reference models for a table without labels.
    """

    run: Run
    dataset_id: str | None
    target_column: str
    plan: dict[str, Any]

    @property
    def id(self) -> str:
        return self.run.id

    @property
    def user_id(self) -> str:
        return self.run.user_id

    @property
    def job_id(self) -> str | None:
        return self.run.job_id

    @property
    def model_name(self) -> str:
        return self.run.name

    @property
    def version(self) -> str | None:
        return self.run.version

    @property
    def status(self) -> str:
        return self.run.status

    @property
    def metrics(self) -> dict[str, Any] | None:
        """Return the figures of the version; None as long as there is none."""
        measured = self.run.metrics
        if self.status != "done" or not any(name in measured for name in SUMMARY):
            return None
        return {name: measured.get(name) for name in SUMMARY}

    @property
    def model_path(self) -> str | None:
        """Return where the version was published."""
        return self.run.url

    @property
    def finish_early_at(self) -> datetime | None:
        """When its person asked to stop with the best so far."""
        return self.run.finish_early_at

    @property
    def error(self) -> str | None:
        return self.run.error

    @property
    def created_at(self) -> datetime:
        return self.run.created_at

    @property
    def finished_at(self) -> datetime | None:
        return self.run.finished_at


@dataclass(frozen=True)
class NewTraining:
    """A training as it is asked for; `parent_version` is the one it trains again."""

    user_id: str
    model_name: str
    plan: Mapping[str, Any]
    job_id: str | None = None
    dataset_id: str | None = None
    target_column: str = ""
    parent_version: str | None = None
    tags: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        if self.plan.get("kind") == "ensemble":
            return "ensemble"
        return "retraining" if self.parent_version else "search"


def add_run(transaction: Transaction, new: NewTraining) -> TrainingRun:
    """Begin a training."""
    run = runs.add_run(
        transaction,
        Run(
            id=new_id(),
            user_id=new.user_id,
            application="fraud",
            kind=new.kind,
            name=new.model_name,
            parameters=_parameters(new.plan),
            tags=dict(new.tags),
            subject={"dataset_id": new.dataset_id},
            job_id=new.job_id,
            parent_version=new.parent_version,
        ),
    )
    row = FraudTraining(
        run_id=run.id, dataset_id=new.dataset_id, target_column=new.target_column, plan=dict(new.plan)
    )
    transaction.add(row)
    transaction.flush()
    return _training(run, row)


def run_of(transaction: Transaction, user_id: str, run_id: str) -> TrainingRun:
    """Return a training of this user.

    Raises:
        NotFound: there is none, or it is someone else's.
    """
    run = _first(transaction, _trainings().where(Run.id == run_id, Run.user_id == user_id))
    if run is None:
        raise NotFound(_("No training %(value)s. See: GET /api/history", value=run_id))
    return run


def run_by_job(transaction: Transaction, job_id: str) -> TrainingRun | None:
    return _first(transaction, _trainings().join(Work, Work.id == Run.id).where(Work.job_id == job_id))


def run_of_version(transaction: Transaction, user_id: str, name: str, version: str) -> TrainingRun | None:
    """Return the run that made a version; None for one that was published otherwise."""
    mine = (Run.user_id == user_id, Run.name == name, Run.version == version)
    return _first(transaction, _trainings().where(*mine))


def list_runs(
    transaction: Transaction,
    user_id: str,
    *,
    dataset_id: str | None = None,
    status: str | None = None,
    limit: int = 50,
    offset: int = 0,
) -> tuple[list[TrainingRun], int]:
    """One page of the user's trainings, newest first, and how many there are in all."""
    chosen = _trainings().where(Run.user_id == user_id)
    if dataset_id is not None:
        chosen = chosen.where(FraudTraining.dataset_id == dataset_id)
    if status is not None:
        chosen = chosen.join(Work, Work.id == Run.id).where(Work.status == status)
    key = ("trainings", user_id, dataset_id, status)
    total = sums.kept(transaction, key, lambda: _count(transaction, chosen))
    page = chosen.order_by(Run.created_at.desc(), Run.id).limit(limit).offset(offset)
    return [_training(*row) for row in transaction.execute(page)], total


def set_plan(transaction: Transaction, run_id: str, plan: dict[str, Any]) -> None:
    """Record what a training does, where that could not be known when it was asked for."""
    values = {"plan": plan, "target_column": plan["target"]}
    transaction.execute(update(FraudTraining).where(FraudTraining.run_id == run_id).values(**values))
    runs.set_parameters(transaction, run_id, _parameters(plan), anew=True)


@cache  # to put it together takes longer than what it is asked for
def _trainings() -> Select[Run, FraudTraining]:
    return select(Run, FraudTraining).join(FraudTraining, FraudTraining.run_id == Run.id)


def _count(transaction: Transaction, query: Select[Run, FraudTraining]) -> sums.Sum[int]:
    rows = query.with_only_columns(Run.id).subquery()
    count = transaction.scalar(select(func.count()).select_from(rows)) or 0
    return sums.Sum(count, rows=count)


def _first(transaction: Transaction, query: Select[Run, FraudTraining]) -> TrainingRun | None:
    row = transaction.execute(query.limit(1)).first()
    return None if row is None else _training(*row)


def _training(run: Run, kept: FraudTraining) -> TrainingRun:
    return TrainingRun(run, kept.dataset_id, kept.target_column, kept.plan)


def _parameters(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return a plan as parameters; one that waits for its table's profile is what was asked for so far."""
    return flat_values(plan.get("request") or plan)
