"""Keep the trainings of every application as runs: their parameters, metrics by step, tags and artifacts.

What a person asks for goes by their id; what a job writes of its own run goes by the run's alone. Every name is
flat. How a run stands is written by `work`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    delete,
    func,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog import quotas, run_lists, sums, work
from ecluse.catalog.behind import behind
from ecluse.catalog.reach import run_to_change
from ecluse.catalog.run_lists import RunFilter as RunFilter
from ecluse.catalog.tables import Run, RunMetric, Work, now
from ecluse.errors import InvalidInput, NotFound, RunClosed
from ecluse.run_values import Direction, checked_name, checked_values
from ecluse.sentences import _

ACTIVE: Final = work.ACTIVE
#: Runs that are compared side by side.
MOST_COMPARED: Final = 5
#: A tag says so where a metric was no finite number: {name}.not_finite, with the first such step.
NOT_FINITE: Final = "not_finite"
#: The tag that names what a run goes on from when its worker dies.
CHECKPOINT: Final = "checkpoint"
_APPLICATION: Final = re.compile(r"\w[\w.\-]{0,15}")
#: What a column of whole numbers holds.
_LAST_STEP: Final = 2**31 - 1
#: Points that one statement writes.
_AT_ONCE: Final = 500


@dataclass(frozen=True)
class Point:
    """A metric at a step (an epoch, a trial), and when it was written."""

    step: int
    value: float
    at: datetime


@dataclass(frozen=True)
class Logged:
    """Metrics of a step, and when they were measured; None: when they are written."""

    step: int
    metrics: Mapping[str, float]
    at: datetime | None = None


#: Of one run: its metrics by name, each by step.
Curves = dict[str, list[Point]]


#: What every run has, of `SORTED_BY`.
_ALWAYS_THERE: Final = frozenset({"created", "name", "application", "kind", "status"})


def add_run(transaction: Transaction, run: Run) -> Run:
    """Begin to track a training.

    Raises:
        InvalidInput: a name or a value is not flat, or the application has no name that can be kept.
        PlanEnded, LimitReached: the plan of its owner allows no model of this name.
    """
    if run.nonce is None:
        quotas.expect_model(transaction, run.user_id, run.name)
    if run.nonce is None and _APPLICATION.fullmatch(run.application) is None:
        raise InvalidInput(
            _(
                "%(value)s cannot name an application: use 1 to 16 letters, digits, dots, hyphens or "
                "underscores.",
                value=repr(run.application[:200]),
            )
        )
    run.parameters, run.tags = checked_values(run.parameters or {}), checked_values(run.tags or {})
    transaction.add(run)
    transaction.flush()
    return run


def begin_by_nonce(transaction: Transaction, run: Run) -> bool:
    """Begin to track a training of a program of its owner; False where its nonce has begun one. Raises as `add_run`."""
    try:
        with transaction.begin_nested():
            add_run(transaction, run)
            work.start(transaction, run.id)
    except IntegrityError:
        return False
    return True


def run_by_nonce(transaction: Transaction, user_id: str, nonce: str) -> Run | None:
    """Return the run that a program of this user has begun by a nonce; None where there is none."""
    return transaction.scalar(select(Run).where(Run.user_id == user_id, Run.nonce == nonce))


def run_to_write(transaction: Transaction, user_id: str, run_id: str) -> Run:
    """Return a run of a program that this person may change, which nobody else changes until the transaction ends.

    Raises:
        NotFound, Forbidden: there is none, it is someone else's, or it may be read alone.
        RunClosed: code of ours writes it.
    """
    run_to_change(transaction, user_id, run_id)
    run = row_to_change(transaction, run_id)
    if run is None or run.nonce is None:
        raise RunClosed(
            _(
                "Run %(name)s was begun by an application, which alone writes it. Begin one of your own: POST "
                "/api/runs",
                name=run_id,
            )
        )
    return run


def expect_active(run: Run) -> Run:
    """Return a run that has not ended; `RunClosed` otherwise."""
    if run.status not in ACTIVE:
        raise RunClosed(
            _(
                "Run %(name)s has ended (%(value)s), and stays as it is. Begin another: POST /api/runs",
                name=run.id,
                value=run.status,
            )
        )
    return run


def end_by_program(
    transaction: Transaction,
    run: Run,
    status: str,
    metrics: Mapping[str, Any],
    error: str | None,
    at: datetime | None = None,
) -> None:
    """Record how a run ended, now or `at` a moment, with its last figures; what it has published stays with it."""
    _note_metrics(run, metrics)
    transaction.flush()
    if status == "done":
        work.finish(transaction, run.id, at=at)
    else:
        work.end(transaction, run.id, status, error, at)


def link_version(
    transaction: Transaction, run_id: str, version: str, url: str, artifacts: Sequence[Mapping[str, Any]]
) -> None:
    """Say of a run which version its program has published; the first one stays."""
    run = row_to_change(transaction, run_id)
    if run is not None and run.version is None:
        run.version, run.url = version, url
        run.artifacts = artifacts
        transaction.flush()


def run_of(transaction: Transaction, user_id: str, run_id: str) -> Run:
    """Return a run of this user.

    Raises:
        NotFound: there is none, or it is someone else's.
    """
    run = transaction.scalar(select(Run).where(Run.id == run_id, Run.user_id == user_id))
    if run is None:
        raise NotFound(_("No run %(name)s. See: ecluse runs list", name=run_id))
    return run


def find_run(transaction: Transaction, run_id: str) -> Run | None:
    """Return a run of anyone; None where there is none."""
    return transaction.get(Run, run_id)


def runs_of(transaction: Transaction, user_id: str, run_ids: Sequence[str]) -> list[Run]:
    """Several runs of this user, in the order asked for.

    Raises:
        NotFound: one of them is not there, or someone else's.
    """
    return [run_of(transaction, user_id, run_id) for run_id in run_ids]


def run_by_job(transaction: Transaction, job_id: str) -> Run | None:
    """Return the run of a job; the newest, where it has several."""
    newest = work.of_job(Run, job_id).order_by(Run.created_at.desc(), Run.id)
    return transaction.scalar(newest.limit(1))


def run_of_version(transaction: Transaction, user_id: str, name: str, version: str) -> Run | None:
    """Return the run that made a version; None for one that was published otherwise."""
    conditions = (Run.user_id == user_id, Run.name == name, Run.version == version)
    return transaction.scalar(select(Run).where(*conditions).order_by(Run.created_at).limit(1))


def list_runs(
    transaction: Transaction,
    user_id: str,
    conditions: RunFilter | None = None,
    *,
    sort: str = "created",
    direction: Direction = "descending",
    limit: int = 50,
    offset: int = 0,
) -> tuple[list[Run], int]:
    """One page of the user's runs, and how many there are in all.

    `sort` is one of `SORTED_BY`, or the name of a metric; runs without a value come last.

    Raises:
        InvalidInput: a name that no tag, parameter or metric can have.
    """
    conditions = conditions or RunFilter()
    matching = run_lists.matching(user_id, conditions)
    total = _count(transaction, user_id, conditions)
    by = run_lists.sorted_by(sort)
    order: list[ColumnElement[Any]] = [by.asc() if direction == "ascending" else by.desc()]
    if sort not in _ALWAYS_THERE:  # an index has its order, and none has that of what is missing
        order.insert(0, by.is_(None))
    if sort != "created":
        order.append(Run.created_at.desc())
    order.append(Run.id.asc())
    # Of the rows before the page, nothing but what it is sorted by is read.
    page = matching.with_only_columns(Run.id).order_by(*order).limit(limit).offset(offset).subquery()
    rows = select(Run).join(page, page.c.id == Run.id).order_by(*order)
    return list(transaction.scalars(rows)), total


def _count(transaction: Transaction, user_id: str, conditions: RunFilter) -> int:
    """Count the runs that a filter lets through; the number of all is kept."""

    def count() -> sums.Sum[int]:
        every = run_lists.matching(user_id, conditions).with_only_columns(func.count())
        total = transaction.scalar(every) or 0
        return sums.Sum(total, rows=total)

    if conditions == RunFilter():
        return sums.kept(transaction, ("runs", user_id), count)
    return count().value


def runs_behind(
    transaction: Transaction, user_id: str, after: str, conditions: RunFilter, *, limit: int
) -> list[Run]:
    """List the user's runs behind the one of this id, the newest first. Raises InvalidInput as `list_runs`, too."""
    matching = run_lists.matching(user_id, conditions).where(*behind(transaction, Run, user_id, after))
    return list(transaction.scalars(matching.order_by(Run.created_at.desc(), Run.id.asc()).limit(limit)))


def names_of(transaction: Transaction, user_id: str) -> list[tuple[str, str]]:
    """Return each (application, model) that the user has runs of."""
    applications = transaction.scalars(run_lists.distinct(Run.application, Run.user_id == user_id)).all()
    return [
        (application, name)
        for application in applications
        for name in transaction.scalars(
            run_lists.distinct(Run.name, Run.user_id == user_id, Run.application == application)
        )
    ]


def set_running(transaction: Transaction, run_id: str) -> None:
    """Record that the work on a run began; begun again after a crash, it keeps its first moment."""
    work.start(transaction, run_id)


def begin_publishing(
    transaction: Transaction,
    run_id: str,
    version: str,
    *,
    metrics: Mapping[str, Any] | None = None,
    tags: Mapping[str, Any] | None = None,
) -> bool:
    """Return whether this version may be published: the run was not cancelled and has no other version.

    From then on it cannot be cancelled. `metrics` and `tags` are what the version was measured at and made of; the run
    is done when `models.record` gives the version its row.
    """
    run = row_to_change(transaction, run_id)
    if run is None or run.version not in (None, version) or not work.begin_publishing(transaction, run_id):
        return False
    run.version, run.tags = version, run.tags | checked_values(tags or {})
    _note_metrics(run, metrics or {})
    transaction.flush()
    return True


def publishing_run(transaction: Transaction, user_id: str, name: str, version: str) -> Run | None:
    """Return the run that is publishing a version; None for one that is published otherwise."""
    mine = (Run.user_id == user_id, Run.name == name, Run.version == version)
    query = select(Run).join(Work, Work.id == Run.id).where(*mine, Work.status.in_(ACTIVE), Work.final)
    return transaction.scalar(query.limit(1))


def set_done(
    transaction: Transaction,
    run_id: str,
    *,
    version: str | None = None,
    url: str | None = None,
    metrics: Mapping[str, Any] | None = None,
    artifacts: Sequence[Mapping[str, Any]] = (),
    final: bool = False,
) -> bool:
    """Record that a run ended well; false where it has failed or was cancelled.

    `metrics` are its last figures, beside those that were logged by step.
    `version` and `url` are those of what it published, if anything. An artifact is {name, sha256, size}; it lies
    under its name in the folder at `url`. `final`: nothing is left to be done for its job.
    """
    run = row_to_change(transaction, run_id)
    if run is None or not work.finish(transaction, run_id, final=final):
        return False
    run.version, run.url = version or run.version, url or run.url
    if artifacts:
        run.artifacts = artifacts
    _note_metrics(run, metrics or {})
    transaction.flush()
    return True


def set_ended(transaction: Transaction, run_id: str, status: str, error: str | None) -> None:
    """Record that a run failed or was cancelled; one that is done stays done."""
    if work.end(transaction, run_id, status, error):
        transaction.execute(update(Run).where(Run.id == run_id).values(version=None))


def withdraw_version(transaction: Transaction, run_id: str) -> None:
    """Record that a run has not published the version that it was about to."""
    work.withdraw(transaction, run_id)
    transaction.execute(update(Run).where(Run.id == run_id).values(version=None))


def ask_to_finish(transaction: Transaction, job_id: str) -> bool:
    """Record that the run of a job is to end with the best so far; False once it publishes or has ended."""
    going_on = work.ids_of_job(job_id, Work.status.in_(ACTIVE), ~Work.final)
    updated = transaction.execute(
        update(Run)
        .where(Run.id.in_(going_on))
        .values(finish_early_at=func.coalesce(Run.finish_early_at, now()))
        .returning(Run.id)
    )
    return updated.first() is not None


def is_to_finish(transaction: Transaction, run_id: str) -> bool:
    return transaction.scalar(select(Run.finish_early_at).where(Run.id == run_id)) is not None


# Parameters, tags, metrics


def set_parameters(
    transaction: Transaction, run_id: str, parameters: Mapping[str, Any], *, anew: bool = False
) -> None:
    """Note parameters of a run; one that is named again is replaced, and with `anew` no other stays.

    Raises:
        InvalidInput: a name or a value is not flat.
    """
    given = checked_values(parameters)
    if (run := row_to_change(transaction, run_id)) is not None:
        run.parameters = given if anew else run.parameters | given


def set_tags(transaction: Transaction, run_id: str, tags: Mapping[str, Any]) -> None:
    """Note tags of a run; one that is named again is replaced, and one that is None goes.

    Raises:
        InvalidInput: a name or a value is not flat.
    """
    given = checked_values(tags)
    if (run := row_to_change(transaction, run_id)) is not None:
        kept = run.tags | given
        run.tags = {name: value for name, value in kept.items() if value is not None}


def set_checkpoint(transaction: Transaction, run_id: str, key: str) -> str | None:
    """Name the newest checkpoint of a run; the key of one that is of no use then, which is this where it has ended."""
    run = row_to_change(transaction, run_id)
    if run is None or run.status not in ACTIVE:
        return key
    before = run.tags.get(CHECKPOINT)
    run.tags = run.tags | {CHECKPOINT: key}
    return None if before == key else before


def ended_runs(transaction: Transaction, user_id: str) -> list[str]:
    """Return the ids of the user's runs that have ended, oldest first."""
    query = select(Run.id).join(Work, Work.id == Run.id)
    ended = query.where(Run.user_id == user_id, Work.status.not_in(ACTIVE))
    return list(transaction.scalars(ended.order_by(Work.finished_at, Run.id)))


def ended_with_checkpoint(transaction: Transaction) -> list[Run]:
    """Return every run, of anyone, that has ended and still names a checkpoint."""
    named = Run.tags[CHECKPOINT].as_string().is_not(None)
    ended = select(Run).join(Work, Work.id == Run.id).where(Work.status.not_in(ACTIVE), named)
    return list(transaction.scalars(ended))


def set_subject(transaction: Transaction, run_id: str, subject: Mapping[str, Any]) -> None:
    """Say what a run learns from, where that was not known when it was asked for."""
    transaction.execute(update(Run).where(Run.id == run_id).values(subject=dict(subject)))


def log_metrics(transaction: Transaction, run_id: str, step: int, metrics: Mapping[str, float]) -> None:
    """Keep metrics of a step; the same step told again replaces what it said before. See `log_points`."""
    log_points(transaction, run_id, [Logged(step, metrics)])


def log_points(transaction: Transaction, run_id: str, points: Sequence[Logged]) -> None:
    """Keep metrics of several steps; a step told again replaces what it said before, the same again changes nothing.

    A value that is no finite number (a loss that diverged) is no point of a curve: a tag {name}.not_finite holds the
    first step at which it was none.

    Raises:
        InvalidInput: a name that is not flat, a value that is no number, or a negative step.
        NotFound: there is no such run.
    """
    for point in points:
        _expect_step(point.step)
    run = row_to_change(transaction, run_id)
    if run is None:
        raise NotFound(_("No run %(name)s. See: ecluse runs list", name=run_id))
    moment = now()
    values: dict[tuple[str, int], dict[str, Any]] = {}
    for point in points:
        for name, value in _checked_metrics(run, point.metrics, point.step).items():
            at = point.at or moment
            values[name, point.step] = {
                "run_id": run_id,
                "name": name,
                "step": point.step,
                "value": value,
                "at": at,
            }
    if not values:
        return
    names = {name for name, _step in values}
    newest = dict(
        transaction.execute(
            select(RunMetric.name, func.max(RunMetric.step))
            .where(RunMetric.run_id == run_id, RunMetric.name.in_(names))
            .group_by(RunMetric.name)
        ).all()
    )
    _write_points(transaction, list(values.values()))
    last: dict[str, Any] = {}
    for (name, step), row in sorted(values.items()):
        if step >= newest.get(name, step):
            last[name] = row["value"]
    run.metrics = run.metrics | last
    transaction.flush()


def _expect_step(step: int) -> None:
    if isinstance(step, bool) or not isinstance(step, int) or not 0 <= step <= _LAST_STEP:
        raise InvalidInput(_("A metric's step is a whole number from 0, not %(value)s.", value=repr(step)))


def _write_points(transaction: Transaction, rows: list[dict[str, Any]]) -> None:
    insert = postgresql.insert if transaction.get_bind().dialect.name == "postgresql" else sqlite.insert
    for start in range(0, len(rows), _AT_ONCE):
        statement = insert(RunMetric).values(rows[start : start + _AT_ONCE])
        transaction.execute(
            statement.on_conflict_do_update(
                index_elements=["run_id", "name", "step"],
                set_={"value": statement.excluded.value, "at": statement.excluded.at},
                where=RunMetric.value != statement.excluded.value,
            )
        )


def forget_metrics(transaction: Transaction, run_id: str, *, after: int = -1) -> None:
    """Drop every metric of the steps `after` one, as before the same work is done anew."""
    run = row_to_change(transaction, run_id)
    if run is None:
        return
    dropped = (RunMetric.run_id == run_id, RunMetric.step > after)
    names = set(transaction.scalars(select(RunMetric.name).where(*dropped).distinct()))
    transaction.execute(delete(RunMetric).where(*dropped))
    left = select(RunMetric.name, RunMetric.value).where(RunMetric.run_id == run_id)
    latest = {row.name: row.value for row in transaction.execute(left.order_by(RunMetric.step))}
    run.metrics = {name: value for name, value in run.metrics.items() if name not in names} | {
        name: latest[name] for name in names & latest.keys()
    }


def curves_of(transaction: Transaction, run_id: str) -> Curves:
    """Return the metrics of a run by name, each by step. Whose it is was asked before."""
    return curves_of_all(transaction, [run_id])[run_id]


def curves_of_all(
    transaction: Transaction, run_ids: Collection[str], names: Collection[str] | None = None
) -> dict[str, Curves]:
    """Return the metrics of several runs; of each, by name and step. Whose they are was asked before."""
    columns = (RunMetric.run_id, RunMetric.name, RunMetric.step, RunMetric.value, RunMetric.at)
    query = select(*columns).where(RunMetric.run_id.in_(list(run_ids)))
    if names is not None:
        query = query.where(RunMetric.name.in_(list(names)))
    curves: dict[str, Curves] = {run_id: {} for run_id in run_ids}
    for run_id, name, step, value, at in transaction.execute(query.order_by(RunMetric.name, RunMetric.step)):
        curves[run_id].setdefault(name, []).append(Point(step, value, at))
    return curves


def _checked_metrics(run: Run, metrics: Mapping[str, Any], step: int | None) -> dict[str, float]:
    """Return those with a finite value; a tag of the run tells of each other."""
    finite: dict[str, float] = {}
    for name, value in metrics.items():
        checked_name(name)
        if isinstance(value, bool) or not hasattr(value, "__float__"):
            raise InvalidInput(
                _(
                    "The metric %(name)s is %(value)s, which is no number. Keep it as a tag.",
                    name=name,
                    value=repr(value),
                )
            )
        number = float(value)
        if math.isfinite(number):
            finite[name] = number
        else:
            run.tags = {f"{name}.{NOT_FINITE}": str(number) if step is None else step} | run.tags
    return finite


def _note_metrics(run: Run, metrics: Mapping[str, Any]) -> None:
    """Return the last figures of a run; one that is None was not measured."""
    measured = {name: value for name, value in metrics.items() if value is not None}
    run.metrics = run.metrics | _checked_metrics(run, measured, None)


def row_to_change(transaction: Transaction, run_id: str) -> Run | None:
    """Lock a run, as it is now, until the transaction ends: what is merged into it is lost to no other writer."""
    query = (
        select(Run).where(Run.id == run_id).with_for_update(of=Run).execution_options(populate_existing=True)
    )
    return transaction.scalar(query)
