"""Say what the jobs of an application are, and queue them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from ecluse.app.signature import checked_all
from ecluse.apps.hosted import files, working
from ecluse.apps.hosted.snapshot import Snapshot, Verb
from ecluse.catalog import Transaction, quotas
from ecluse.catalog import runs as run_rows
from ecluse.catalog.tables import new_id
from ecluse.errors import InvalidInput
from ecluse.jobs import Job, JobKind, JobKinds, Link
from ecluse.runtime import Runtime
from ecluse.sentences import N_, _
from ecluse.tracking.kinds import TrackedRuns

SCORE: Final = "score"


def kind_named(app: str, verb: str) -> str:
    return f"{app}_{verb}"


def kinds_of(snapshot: Snapshot) -> JobKinds:
    """Return the kinds of jobs of an application: its training, its jobs, and to score a table."""
    kinds = {
        kind_named(snapshot.name, verb.name): JobKind(
            run=partial(_run_verb, snapshot.name),
            queue=f"app_{snapshot.name}",
            verb=N_("Train") if verb.role == "train" else "",
            stages={"run": N_("At work"), "check": N_("Check the version"), "keep": N_("Save")}
            if verb.role == "train"
            else {"run": N_("At work"), "keep": N_("Save")},
            result=_result,
            ways=partial(_ways, snapshot.name),
            answer="ecluse.apps.hosted.jobs:answer_of",
        )
        for verb in (*snapshot.of_role("train"), *snapshot.of_role("job"))
    }
    if snapshot.score is not None:
        kinds[kind_named(snapshot.name, SCORE)] = JobKind(
            run=partial(_run_score, snapshot.name),
            queue=f"app_{snapshot.name}",
            verb=N_("Score"),
            stages={"run": N_("At work"), "keep": N_("Save")},
            result=_result,
            ways=partial(_ways, snapshot.name),
            answer="ecluse.apps.hosted.jobs:answer_of",
        )
    return kinds


def runs_of(snapshot: Snapshot) -> TrackedRuns:
    return TrackedRuns(kinds={"train": N_("Training")}, step=N_("step"))


def _run_verb(app: str, runtime: Runtime, task: Any, verb: str, values: dict[str, Any]) -> None:
    working.run_verb(runtime, task, app, verb, values)


def _run_score(app: str, runtime: Runtime, task: Any, model: str, table: str, values: dict[str, Any]) -> None:
    working.run_score(runtime, task, app, model, table, values)


def _result(transaction: Transaction, job: Job) -> Link | None:
    run = run_rows.run_by_job(transaction, job.id)
    if run is not None and run.version is not None:
        return Link(f"/models/{run.name}/{run.version}", N_("Open the model"))
    made = files.of_job(transaction, job.user_id, job.id)
    report = next((row for row in made if row.purpose == "report"), None)
    if report is not None:
        return Link(f"/{report.application}/reports/{report.id}", N_("Open the report"))
    return Link(f"/{made[0].application}/files/{made[0].id}", N_("Download the result")) if made else None


def _ways(app: str, transaction: Transaction, job: Job) -> tuple[Link, ...]:
    return (Link(f"/{app}", N_("Ask for it again")),)


def answer_of(runtime: Runtime, transaction: Transaction, job: Job) -> dict[str, Any] | None:
    """Return what a job made, for the API: its version, its run, its files."""
    run = run_rows.run_by_job(transaction, job.id)
    made = files.of_job(transaction, job.user_id, job.id)
    answer: dict[str, Any] = {
        "files": [{"id": row.id, "name": row.name, "purpose": row.purpose} for row in made]
    }
    if run is not None:
        answer |= {"run": run.id, "model": run.name, "version": run.version, "metrics": run.metrics}
    return answer


def queue_verb(
    runtime: Runtime,
    user_id: str,
    snapshot: Snapshot,
    verb: Verb,
    values: Mapping[str, Any],
    job_id: str | None = None,
) -> str:
    """Queue a training or a job with these values; the id of the job.

    Raises:
        InvalidInput: a value is missing or of another kind.
        NotFound: a file is not this person's.
        PlanEnded, LimitReached: this person's plan allows no more.
    """
    checked = checked_all(list(verb.parameters), values)
    given = [each.name for each in verb.files if checked.get(each.name)]
    files.expect(runtime, user_id, snapshot.name, [str(checked[name]) for name in given])
    kind = kind_named(snapshot.name, verb.name)
    title = snapshot.title if verb.role == "train" else f"{snapshot.title}: {verb.title}"
    subject = {"verb": verb.name, "values": checked}
    queue = f"app_{snapshot.name}"
    chosen = job_id or new_id()
    with runtime.catalog.write() as transaction:
        if verb.role == "train":
            quotas.hold_model(transaction, user_id, snapshot.name, chosen)
        return runtime.jobs.enqueue(
            kind, queue, user_id, title, subject, job_id=chosen, transaction=transaction
        )


def queue_score(
    runtime: Runtime, user_id: str, snapshot: Snapshot, model: str, table: str, values: Mapping[str, Any]
) -> str:
    """Queue the scoring of a table; the id of the job. Raises as `queue_verb`."""
    verb = snapshot.score
    if verb is None:
        raise InvalidInput(_("The application %(name)s scores no tables.", name=snapshot.name))
    checked = checked_all(list(verb.parameters), values)
    given = [str(checked[each.name]) for each in verb.files if checked.get(each.name)]
    files.expect(runtime, user_id, snapshot.name, [table, *given])
    subject = {"model": model, "table": table, "values": checked}
    kind = kind_named(snapshot.name, SCORE)
    return runtime.jobs.enqueue(kind, f"app_{snapshot.name}", user_id, snapshot.title, subject)
