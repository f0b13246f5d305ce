"""Say where the results of this application's jobs are, and where to go on from one that came to nothing."""

from __future__ import annotations

from ecluse.catalog import Transaction, runs
from ecluse.jobs import Job, Link
from ecluse.sentences import N_


def image_set(transaction: Transaction, job: Job) -> Link | None:
    return _images(job.subject["set_id"])


def image_set_again(transaction: Transaction, job: Job) -> tuple[Link, ...]:
    return (_images(job.subject["set_id"]),)


def trained_model(transaction: Transaction, job: Job) -> Link | None:
    run = runs.run_by_job(transaction, job.id)
    if run is None or run.version is None:
        return None
    return Link(f"/models/{run.name}/{run.version}", N_("Open the model"))


def train_again(transaction: Transaction, job: Job) -> tuple[Link, ...]:
    run = runs.run_by_job(transaction, job.id)
    if run is None:
        return ()
    return _images(run.subject["set_id"]), Link(f"/runs/{run.id}", N_("Open the run"))


def _images(set_id: str) -> Link:
    return Link(f"/plants/{set_id}", N_("Open the images"))
