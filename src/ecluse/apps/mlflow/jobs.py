"""Queue and do the exports of runs to MLflow: each run that is done, and again when its aliases have moved.

MLflow away fails an export and never a training: it is tried again, later each time, until it is done.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from ecluse.apps.mlflow.exporting import MLFLOW, checked_server, export_run
from ecluse.apps.mlflow.settings import MlflowSettings
from ecluse.catalog import Transaction, exports, runs
from ecluse.catalog.exports import Exported
from ecluse.catalog.tables import new_id, now
from ecluse.errors import EcluseError
from ecluse.jobs import Job, JobKind, Link, Task
from ecluse.runtime import Runtime
from ecluse.sentences import N_

KIND: Final = "mlflow_export"
QUEUE: Final = "upkeep"
#: How long after a failed export it is tried again; twice that after the next, up to the longest.
FIRST_PAUSE: Final = timedelta(minutes=4)
LONGEST_PAUSE: Final = timedelta(hours=6)
logger = logging.getLogger(__name__)


def start_export(runtime: Runtime, user_id: str, run_ids: Sequence[str]) -> list[str]:
    """Queue the exports of these runs of the user; the ids of their jobs, each that which is under way where one is.

    Raises:
        NotFound: the user has no such run.
        SettingsError: no server is named; MlflowMissing where the library is not installed.
    """
    checked_server(runtime)
    with runtime.catalog.read() as transaction:
        runs_to_export = [
            exports.exported(row, MLFLOW) for row in runs.runs_of(transaction, user_id, run_ids)
        ]
    jobs = _jobs_of(runtime, runs_to_export)
    return [
        job.id if (job := jobs.get(run.job_id or "")) is not None and job.active else _queue(runtime, run)
        for run in runs_to_export
    ]


def queue_due(runtime: Runtime) -> int:
    """Queue the export of every run, of anyone, that is done and not as the MLflow server knows it; how many."""
    server = runtime.settings.of(MlflowSettings).url
    if server is None:
        return 0
    with runtime.catalog.read() as transaction:
        not_there = [run for run in exports.done_runs(transaction, MLFLOW) if is_due(run, server, now())]
    jobs = _jobs_of(runtime, not_there)
    due = [run for run in not_there if _is_free(runtime, run, jobs.get(run.job_id or ""))]
    for run in due:
        _queue(runtime, run)
    return len(due)


def is_due(run: Exported, server: str, moment: datetime) -> bool:
    """Say whether a run that is done is to be exported now."""
    if run.what.get("state") == "failed" and moment < _again_at(run.what):
        return False
    is_there = run.what.get("state") == "done" and run.what.get("server") == server
    return not is_there or (run.what.get("model") is not None and set(run.aliases) != set(run.seen_aliases))


def after_job(runtime: Runtime, task: Task) -> None:
    """Queue the export of what a job has finished, at its end."""
    if runtime.settings.of(MlflowSettings).url is not None:
        task.step("mlflow", _queue_quietly, runtime)


def run_export(runtime: Runtime, task: Task, run_id: str) -> None:
    task.step("export", _export, runtime, task, run_id)


def _export(runtime: Runtime, task: Task, run_id: str) -> None:
    task.report("export", 0.0)
    export_run(runtime, task.user_id, run_id, lambda fraction: task.report("export", 0.999 * fraction))


def _queue_quietly(runtime: Runtime) -> None:
    try:
        queue_due(runtime)
    except EcluseError as error:  # the training is done; the next look of a worker queues what is due
        logger.warning("Exports to MLflow are queued later: %s", error)


def _is_free(runtime: Runtime, run: Exported, job: Job | None) -> bool:
    """Say whether no job exports a run, nor is about to be queued. What a person cancelled is left to that person."""
    if job is not None:
        return job.status in ("done", "failed")
    if run.job_id is None or run.what.get("state") != "queued":
        return True
    return not runtime.jobs.goes_on(run.job_id)


def _queue(runtime: Runtime, run: Exported) -> str:
    """Queue an export; the id of its job, which is another's where that was quicker."""
    job_id = new_id()
    with runtime.catalog.write() as transaction:
        holder = exports.begin_export(transaction, run.run_id, MLFLOW, job_id, after=run.job_id)
        if holder == job_id:
            runtime.jobs.enqueue(
                KIND,
                QUEUE,
                run.user_id,
                run.title,
                {"run_id": run.run_id},
                job_id=job_id,
                transaction=transaction,
            )
    return holder


def _jobs_of(runtime: Runtime, exported: Sequence[Exported]) -> dict[str, Job]:
    return runtime.jobs.get_many(None, [run.job_id for run in exported if run.job_id is not None])


def _again_at(what: dict[str, Any]) -> datetime:
    attempts = int(what.get("attempts", 1))
    pause = min(LONGEST_PAUSE, FIRST_PAUSE * (1 << min(attempts - 1, 20)))
    return datetime.fromisoformat(what["tried_at"]) + pause


def _failed(runtime: Runtime, task: Task, message: str, run_id: str) -> None:
    with runtime.catalog.write() as transaction:
        held = exports.exports_of(transaction, run_id).get(MLFLOW, {})
        failed = {"state": "failed", "error": message, "tried_at": now().isoformat()}
        attempts = {"attempts": int(held.get("attempts", 0)) + 1}
        exports.set_export(transaction, run_id, MLFLOW, held | failed | attempts)


def _open_run(transaction: Transaction, job: Job) -> Link:
    return Link(f"/runs/{job.subject['run_id']}", N_("Open the run"))


def _runs_again(transaction: Transaction, job: Job) -> tuple[Link, ...]:
    return (_open_run(transaction, job),)


KINDS: Final[dict[str, JobKind]] = {
    KIND: JobKind(
        run=run_export,
        failed=_failed,
        queue=QUEUE,
        verb=N_("Export"),
        stages={"export": N_("Export")},
        result=_open_run,
        ways=_runs_again,
    )
}
