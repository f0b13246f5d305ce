"""The client: what `import ecluse` offers to a notebook or a program.

    import ecluse

    with ecluse.run("churn", rounds=300) as run:
        for step in range(300):
            run.log(step, loss=…)
        run.publish(model, example=X.head(), metrics={"auc": 0.87}, alias="staging")
    ecluse.load("churn@staging")

Without a server all of it lies in the folder `.ecluse` of this machine. Nothing is pickled, and nothing that is loaded
names code.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecluse.client.backend import JobState, TrackedRun, Version
from ecluse.client.session import Client, default_client, log, login, use
from ecluse.client.tracked import Run

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "Client",
    "JobState",
    "Run",
    "TrackedRun",
    "Version",
    "job",
    "load",
    "log",
    "login",
    "models",
    "predict",
    "publish",
    "run",
    "runs",
    "table",
    "tables",
    "upload",
    "use",
]


def run(name: str, /, *, tags: Mapping[str, Any] | None = None, **parameters: Any) -> Run:
    """Begin a run of your own; see `Client.run`."""
    return default_client().run(name, tags=tags, **parameters)


def publish(
    model: Any,
    name: str,
    *,
    example: Any = None,
    metrics: Mapping[str, float] | None = None,
    alias: str | None = None,
) -> Version:
    """Publish a model as a new version of `name`; see `Client.publish`."""
    return default_client().publish(model, name, example=example, metrics=metrics, alias=alias)


def load(reference: str, *, to: Path | str | None = None) -> Any:
    """Return the model of a version, every file verified; see `Client.load`."""
    return default_client().load(reference, to=to)


def predict(reference: str, rows: Any) -> "pl.DataFrame":
    """Return what a version answers to rows; see `Client.predict`."""
    return default_client().predict(reference, rows)


def upload(rows: Any, name: str | None = None, *, owner: str | None = None) -> str:
    """Upload a table for any model; see `Client.upload`."""
    return default_client().upload(rows, name, owner=owner)


def table(table: str) -> "pl.DataFrame":
    """Return a table of yours by its id; see `Client.table`."""
    return default_client().table(table)


def tables() -> "pl.DataFrame":
    """List the tables that you may read; see `Client.tables`."""
    return default_client().tables()


def models(where: str | Sequence[str] = (), *, name: str | None = None) -> "pl.DataFrame":
    """List your models; see `Client.models`."""
    return default_client().models(where, name=name)


def runs(where: str | None = None, *, name: str | None = None, status: str | None = None) -> "pl.DataFrame":
    """List your runs; see `Client.runs`."""
    return default_client().runs(where, name=name, status=status)


def job(job: str, *, wait: bool = False) -> JobState:
    """Return how far a job is; see `Client.job`."""
    return default_client().job(job, wait=wait)


for _function in (run, publish, load, predict, upload, table, tables, models, runs, job):
    _function.__doc__ = getattr(Client, _function.__name__).__doc__  # a notebook shows it
