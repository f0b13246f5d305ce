"""Track trainings of every application: parameters, metrics by step, tags, artifacts; read and compare them.

    with tracking.start(catalog, user_id, "birds", "wings", kind="features", parameters={"epochs": 20}) as run:
        run.log(1, train_loss=0.61, validation_accuracy=0.84)

A name is flat: letters, digits, `_`, `-`, `.`. A metric is a finite number; one that is not becomes the tag
`{name}.not_finite`, which holds the first such step. A run is seen by its owner, and by whom it is shared with.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

from ecluse.application import known_metrics
from ecluse.catalog import Catalog, Transaction, runs
from ecluse.catalog import aliases as alias_rows
from ecluse.catalog.reach import readable_run, readable_runs
from ecluse.catalog.runs import Curves, Point
from ecluse.catalog.tables import Run
from ecluse.errors import EcluseError, InvalidInput, JobCancelled
from ecluse.run_values import flat_values
from ecluse.sentences import _
from ecluse.tracking.kinds import tracked_runs

__all__ = [
    "Compared",
    "Curves",
    "Figure",
    "Point",
    "RunContext",
    "Setting",
    "Tracked",
    "Tracker",
    "aliases_of",
    "better_way",
    "compare",
    "figures_of",
    "main_metric",
    "main_name",
    "read",
    "start",
]

_LOWER: Final = ("loss", "error", "brier")
#: What names of metrics begin with that are measured while a model learns.
ON_THE_WAY: Final = ("train_", "validation_", "val_")
_HIGHER: Final = ("accuracy", "precision", "recall", "f1", "auc")


@dataclass(frozen=True)
class Tracker:
    """Writes what code that trains has to say of its run. `id` is the run's."""

    catalog: Catalog
    id: str

    def log(self, step: int, /, **metrics: float) -> None:
        """Keep metrics of a step (an epoch, a trial); the same step logged again replaces them."""
        with self.catalog.write() as transaction:
            runs.log_metrics(transaction, self.id, step, metrics)

    def parameters(self, **parameters: Any) -> None:
        """Note the settings of the training; nested values get flat names, as `goal.kind`."""
        with self.catalog.write() as transaction:
            runs.set_parameters(transaction, self.id, flat_values(parameters))

    def tags(self, **tags: Any) -> None:
        """Note words about the training; None takes one away."""
        with self.catalog.write() as transaction:
            runs.set_tags(transaction, self.id, tags)

    def done(
        self,
        *,
        version: str | None = None,
        url: str | None = None,
        metrics: Mapping[str, Any] | None = None,
        artifacts: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Record that it ended well; an artifact is {name, url, sha256, size}, of a file that lies elsewhere."""
        with self.catalog.write() as transaction:
            runs.set_done(
                transaction, self.id, version=version, url=url, metrics=metrics, artifacts=artifacts
            )

    def ended(self, status: Literal["failed", "cancelled"], error: str | None = None) -> None:
        """Record that it failed or was cancelled; one that is done stays done."""
        with self.catalog.write() as transaction:
            runs.set_ended(transaction, self.id, status, error)


@dataclass(frozen=True)
class RunContext:
    """What a run belongs to: what it learns from (`subject`), its job, the version that it goes on from, its tags.

    `began` is for work that is known to be a training only once it has begun.
    """

    subject: Mapping[str, Any] = field(default_factory=dict)
    job_id: str | None = None
    parent_version: str | None = None
    tags: Mapping[str, Any] = field(default_factory=dict)
    began: datetime | None = None


@contextmanager
def start(
    catalog: Catalog,
    user_id: str,
    application: str,
    name: str,
    *,
    kind: str,
    parameters: Mapping[str, Any] | None = None,
    context: RunContext | None = None,
) -> Iterator[Tracker]:
    """Track the training that the block does: it is done when the block ends, and failed when it raises.

    Of a job, what is raised says that the work stops here, not that the job does: it may wait for a store that is away,
    and another worker may go on with it. So its run is left as it is, and ends as the job does; without a job it is
    failed, or by a `JobCancelled` cancelled. A job that runs again goes on with its run, whose metrics are written
    anew; one that is done by then stays so, as the worker may have died between that and the end of its step.
    """
    context = context or RunContext()
    job_id = context.job_id
    with catalog.write() as transaction:
        row = None if job_id is None else runs.run_by_job(transaction, job_id)
        is_done = (
            row is not None
            and row.status == "done"
            and (row.name, row.subject) == (name, dict(context.subject))
        )
        if row is None or (row.status not in runs.ACTIVE and not is_done):
            row = runs.add_run(
                transaction,
                Run(
                    user_id=user_id,
                    application=application,
                    kind=kind,
                    name=name,
                    parameters=flat_values(parameters or {}),
                    tags=dict(context.tags),
                    subject=dict(context.subject),
                    job_id=job_id,
                    parent_version=context.parent_version,
                    started_at=context.began,
                ),
            )
        elif not is_done:
            runs.forget_metrics(transaction, row.id)
        if not is_done:
            runs.set_running(transaction, row.id)
    run = Tracker(catalog, row.id)
    try:
        yield run
    except JobCancelled:
        if job_id is None:
            run.ended("cancelled")
        raise
    except Exception as error:
        if job_id is not None:
            raise
        run.ended("failed", str(error) if isinstance(error, EcluseError) else type(error).__name__)
        raise
    run.done()


# Read and compare


@dataclass(frozen=True)
class Figure:
    """A metric with its value; `better` says which way it gets better, where that is known."""

    name: str
    value: float
    better: Literal["higher", "lower"] | None


@dataclass(frozen=True)
class Tracked:
    """All that is known of a run: its row, its metrics by step, and what else points at its version."""

    run: Run
    curves: Curves
    aliases: tuple[str, ...]

    @property
    def main(self) -> Figure | None:
        return main_metric(self.run)


@dataclass(frozen=True)
class Setting:
    """A parameter of several runs, in their order; None where one has it not."""

    name: str
    values: tuple[Any, ...]

    @property
    def differs(self) -> bool:
        return any(
            type(value) is not type(self.values[0]) or value != self.values[0] for value in self.values
        )


@dataclass(frozen=True)
class Compared:
    """Runs beside each other. `parameters`: those that differ first; `metrics`: the last figure of each.

    `curves`: by metric, of the runs that have it, {run id: points}.
    """

    runs: tuple[Run, ...]
    parameters: tuple[Setting, ...]
    metrics: tuple[Setting, ...]
    curves: Mapping[str, Mapping[str, list[Point]]]


def read(transaction: Transaction, user_id: str, run_id: str) -> Tracked:
    """Return a run that this person may see, with all that is known of it.

    Raises:
        NotFound: there is none, or it is not for them.
    """
    run = readable_run(transaction, user_id, run_id)
    return Tracked(run, runs.curves_of(transaction, run.id), aliases_of(transaction, run))


def aliases_of(transaction: Transaction, run: Run) -> tuple[str, ...]:
    """Return the aliases that point at the version a run published."""
    if run.version is None:
        return ()
    rows = alias_rows.list_aliases(transaction, run.user_id, run.name)
    return tuple(row.alias for row in rows if row.version == run.version)


def compare(transaction: Transaction, user_id: str, run_ids: Sequence[str]) -> Compared:
    """Up to five runs that this person may see beside each other, in the order asked for; each once.

    Raises:
        InvalidInput: none or too many are named.
        NotFound: one of them is not there, or not for this person to see.
    """
    ids = list(dict.fromkeys(run_ids))
    if not 1 <= len(ids) <= runs.MOST_COMPARED:
        raise InvalidInput(
            _(
                "%(count)s runs cannot be compared. Name 1 to %(most)s.",
                count=len(ids),
                most=runs.MOST_COMPARED,
            )
        )
    rows = readable_runs(transaction, user_id, ids)
    by_run = runs.curves_of_all(transaction, ids)
    names = sorted({name for curves in by_run.values() for name in curves})
    settings = _side_by_side([row.parameters for row in rows])
    return Compared(
        runs=tuple(rows),
        parameters=tuple(sorted(settings, key=lambda setting: (not setting.differs, setting.name))),
        metrics=tuple(_side_by_side([row.metrics for row in rows])),
        curves={
            name: {run: curves[name] for run, curves in by_run.items() if name in curves} for name in names
        },
    )


def figures_of(run: Run) -> tuple[Figure, ...]:
    """Return the last figure of each metric, that which the run is judged by first."""
    main = main_metric(run)
    first = main.name if main else None
    names = sorted(run.metrics, key=lambda name: (name != first, name))
    return tuple(Figure(name, run.metrics[name], better_way(name)) for name in names)


def main_metric(run: Run) -> Figure | None:
    """Return the figure a run is judged by; None while it has none."""
    name = main_name(run.application, run.metrics)
    return None if name is None else Figure(name, run.metrics[name], better_way(name))


def main_name(application: str, metrics: Collection[str]) -> str | None:
    """Choose the metric that a run or a version is judged by, of those given in the order of their author.

    It is the application's choice. Else it is the first: of those of which more is better, such as an accuracy before a
    loss, and of those that were not measured on the way.
    """
    preferred = [name for name in tracked_runs(application).main if name in metrics]
    others = sorted(metrics, key=lambda name: (better_way(name) != "higher", name.startswith(ON_THE_WAY)))
    return next(iter([*preferred, *others]), None)


def better_way(name: str) -> Literal["higher", "lower"] | None:
    """Return which way a metric gets better: as its application says, else by its name; None where not known."""
    if (metric := known_metrics().get(name)) is not None:
        return metric.better
    if any(word in name for word in _LOWER):
        return "lower"
    return "higher" if any(word in name for word in _HIGHER) else None


def _side_by_side(values: Sequence[Mapping[str, Any]]) -> list[Setting]:
    names = sorted({name for each in values for name in each})
    return [Setting(name, tuple(each.get(name) for each in values)) for name in names]
