"""Plan, run, roll back and verify migrations, and verify models: the jobs that belong to no application."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

from ecluse import migration, models
from ecluse.catalog import Transaction, attempts, audit, daily, journal, quotas, users
from ecluse.catalog.fences import not_counted
from ecluse.catalog.tables import new_id
from ecluse.catalog.workers import LEASE
from ecluse.errors import DigestMismatch, Forbidden, MigrationHeld
from ecluse.jobs import Job, JobKind, Link, Task
from ecluse.migration import Progress, Stage
from ecluse.runtime import Runtime
from ecluse.sentences import N_, _, num

T = TypeVar("T")
QUEUE: Final = "upkeep"
#: Seconds that a job waits for another process to release its migration, which may have died a moment ago.
WAIT: Final = LEASE + 30.0
#: The fractions of a job at which each stage begins and ends.
_SHARES: Final[dict[str, dict[Stage, tuple[float, float]]]] = {
    "migrate": {"compare": (0.0, 0.05), "copy": (0.05, 0.97), "switch": (0.97, 0.999)},
    "rollback": {"verify": (0.0, 0.6), "remove": (0.6, 0.999)},
    "verify_migration": {"verify": (0.0, 0.999)},
    "plan_migration": {"compare": (0.0, 0.999)},
}


def start_migration(runtime: Runtime, user_id: str, migration_id: str) -> str:
    """Queue the run of a planned or stopped migration; the job's id.

    Raises:
        NotFound: there is no such migration.
        MigrationHeld: it has a job already.
    """
    return _start(runtime, user_id, migration_id, "migrate")


def start_rollback(runtime: Runtime, user_id: str, migration_id: str) -> str:
    """Queue the rollback of a migration; the job's id. Raises as `start_migration` does."""
    return _start(runtime, user_id, migration_id, "rollback")


def start_verification(runtime: Runtime, user_id: str, migration_id: str) -> str:
    """Queue reading everything again; the job fails where something is not right. Raises as `start_migration`."""
    return _start(runtime, user_id, migration_id, "verify_migration")


def start_plan(
    runtime: Runtime, user_id: str, source: str, destination: str, prefix: str, switch_rows: bool
) -> str:
    """Queue the comparison of two places, which records a migration; the job's id. Nothing is copied.

    Raises:
        InvalidInput: an address cannot be used, carries a key, is a folder of no area, or one lies within the other.
    """
    migration.check_places(runtime.stores, source, destination, prefix)
    subject = {"source": source, "destination": destination, "prefix": prefix, "switch_rows": switch_rows}
    return runtime.jobs.enqueue(
        "plan_migration", "upkeep", user_id, f"{source} → {destination}", subject, job_id=new_id()
    )


def start_model_verification(runtime: Runtime, user_id: str, name: str, version: str) -> str:
    """Queue reading every file of a version again; the id of the job, or of the one that does so already.

    `name`: as the person calls the model, @ORGANISATION/NAME where it is an organisation's.
    """
    running = verification_of(runtime, user_id, name, version)
    if running is not None:
        return running.id
    subject = {"name": name, "version": version}
    with not_counted():  # it makes nothing
        return runtime.jobs.enqueue("verify_model", "upkeep", user_id, f"{name} {version}", subject)


def verification_of(runtime: Runtime, user_id: str, name: str, version: str) -> Job | None:
    """Return the waiting or running job that verifies a version, if there is one."""
    subject = {"name": name, "version": version}
    active = runtime.jobs.list(user_id, limit=1000, active=True)
    return next((job for job in active if job.kind == "verify_model" and job.subject == subject), None)


def prune_counts(runtime: Runtime) -> int:
    """Remove counts of attempts, and of what quotas allow, whose time is over. They end no work: 0."""
    with runtime.catalog.write(closed=True) as transaction:
        attempts.prune(transaction)
        quotas.prune(transaction)
    return 0


def count_day(runtime: Runtime) -> int:
    """Count what everyone keeps and did, by day. It ends no work: 0."""
    with runtime.catalog.write() as transaction:
        daily.count(transaction)
    return 0


def end_migrations(runtime: Runtime) -> int:
    """Say of migrations whose process ended without a word, and whose job does not go on, that they stopped."""
    with runtime.catalog.read() as transaction:
        unfinished = journal.unfinished_migrations(transaction)
    ended = 0
    for row in unfinished:
        if not runtime.jobs.goes_on(row.job_id):
            with runtime.catalog.write() as transaction:
                ended += journal.expire(transaction, row.id)
    return ended


def _start(runtime: Runtime, user_id: str, migration_id: str, kind: str) -> str:
    row = migration.find(runtime.catalog, migration_id)
    if runtime.jobs.goes_on(row.job_id):
        raise MigrationHeld(
            _(
                "Migration %(value)s has a job already. Follow it: ecluse jobs show %(word)s",
                value=migration_id,
                word=row.job_id,
            )
        )
    job_id = new_id()
    with runtime.catalog.write() as transaction:
        journal.set_job(transaction, migration_id, user_id, job_id)
        audit.record(transaction, user_id, f"migration.{kind}", migration_id)
        title, subject = f"{row.source} → {row.destination}", {"migration_id": migration_id}
        return runtime.jobs.enqueue(
            kind, "upkeep", user_id, title, subject, job_id=job_id, transaction=transaction
        )


def run_migration(runtime: Runtime, task: Task, migration_id: str) -> None:
    _expect_administrator(runtime, task)
    task.step("migrate", _migrate, runtime, task, migration_id)


def run_rollback(runtime: Runtime, task: Task, migration_id: str) -> None:
    _expect_administrator(runtime, task)
    task.step("rollback", _rollback, runtime, task, migration_id)


def run_verification(runtime: Runtime, task: Task, migration_id: str) -> None:
    _expect_administrator(runtime, task)
    task.step("verify", _verify, runtime, task, migration_id)


def run_plan(
    runtime: Runtime, task: Task, source: str, destination: str, prefix: str, switch_rows: bool
) -> None:
    _expect_administrator(runtime, task)
    task.step("plan", _plan, runtime, task, source, destination, prefix, switch_rows)


def _expect_administrator(runtime: Runtime, task: Task) -> None:
    """Raise unless the owner of the job is still an administrator: a migration reads and writes what others own."""
    with runtime.catalog.read() as transaction:
        if not users.is_administrator(transaction, task.user_id):
            raise Forbidden(_("Only administrators migrate what is stored. Ask one of yours."))


def run_model_verification(runtime: Runtime, task: Task, name: str, version: str) -> None:
    task.step("verify", _verify_model, runtime, task, name, version)


def _plan(
    runtime: Runtime, task: Task, source: str, destination: str, prefix: str, switch_rows: bool
) -> None:
    with runtime.catalog.read() as transaction:
        if journal.migration_by_job(transaction, task.job_id):
            return  # a worker that died afterwards had made it
    migration.plan(
        runtime.catalog,
        runtime.stores,
        migration.Request(
            source=source,
            destination=destination,
            prefix=prefix,
            switch_rows=switch_rows,
            user_id=task.user_id,
            job_id=task.job_id,
        ),
        progress=_progress_of(task, "plan_migration"),
    )


def _verify_model(runtime: Runtime, task: Task, name: str, version: str) -> None:
    row = models.resolve_changeable(runtime, task.user_id, f"{name}@{version}")
    lock, done = threading.Lock(), 0

    def tell(size: int) -> None:
        nonlocal done
        with lock:
            done += size
            task.report(
                "verify", min(0.999, done / max(row.size_bytes, 1)), _size_words(done, row.size_bytes)
            )

    models.verify(runtime, row, tell)


def _migrate(runtime: Runtime, task: Task, migration_id: str) -> None:
    report = _progress_of(task, "migrate")
    _patiently(
        task, "compare", lambda: migration.run(runtime.catalog, runtime.stores, migration_id, progress=report)
    )


def _rollback(runtime: Runtime, task: Task, migration_id: str) -> None:
    report = _progress_of(task, "rollback")
    _patiently(
        task,
        "verify",
        lambda: migration.rollback(runtime.catalog, runtime.stores, migration_id, progress=report),
    )


def _verify(runtime: Runtime, task: Task, migration_id: str) -> None:
    report = _progress_of(task, "verify_migration")
    verification = migration.verify(runtime.catalog, runtime.stores, migration_id, progress=report)
    if not verification.passed:
        raise DigestMismatch(migration.findings(verification))


def _patiently(task: Task, first: Stage, work: Callable[[], T]) -> T:
    """Call `work` again while another process holds the migration; return its result. `first`: the first stage."""
    deadline = time.monotonic() + WAIT
    while True:
        try:
            return work()
        except MigrationHeld:
            if time.monotonic() > deadline:
                raise
        task.report(first, 0.0, _("Waiting for the process that was at work on it"))
        time.sleep(1.0)


def _progress_of(task: Task, kind: str) -> Callable[[Progress], None]:
    """Return a callback that reports a migration's progress to its job. The figure never goes back, although a run
    reads its source more than once.
    """
    highest = 0.0

    def tell(now: Progress) -> None:
        nonlocal highest
        begin, end = _SHARES[kind].get(now.stage, (highest, highest))
        highest = max(highest, begin + (end - begin) * now.fraction)
        task.report(
            now.stage,
            highest,
            _("%(done)s / %(total)s", done=now.objects, total=now.objects_total) if now.objects_total else "",
        )

    return tell


def _failed(runtime: Runtime, task: Task, message: str, migration_id: str) -> None:
    with runtime.catalog.write() as transaction:
        journal.set_stopped(transaction, migration_id, message)


def _size_words(done: int, total: int) -> str:
    return _(
        "%(done)s of %(total)s MB", done=num(done / 1000000.0, ",.0f"), total=num(total / 1000000.0, ",.0f")
    )


def _verification_failed(runtime: Runtime, task: Task, message: str, migration_id: str) -> None:
    with runtime.catalog.write() as transaction:
        audit.record(transaction, task.user_id, "migration.verification_failed", migration_id, found=message)


def _open_migration(transaction: Transaction, job: Job) -> Link:
    return Link(f"/migrations/{job.subject['migration_id']}", N_("Open the migration"))


def _migration_again(transaction: Transaction, job: Job) -> tuple[Link, ...]:
    return (_open_migration(transaction, job),)


def _open_plan(transaction: Transaction, job: Job) -> Link | None:
    made = journal.migration_by_job(transaction, job.id)
    return Link(f"/migrations/{made.id}", N_("Open the migration")) if made else None


def _open_model(transaction: Transaction, job: Job) -> Link:
    return Link(models.page_of(job.subject["name"], job.subject["version"]), N_("Open the model"))


def _model_again(transaction: Transaction, job: Job) -> tuple[Link, ...]:
    return (_open_model(transaction, job),)


def plan_answer(runtime: Runtime, transaction: Transaction, job: Job) -> dict[str, object] | None:
    made = journal.migration_by_job(transaction, job.id)
    return {"migration_id": made.id} if made else None


#: Every kind of job that belongs to no application; a worker is started with them.
KINDS: Final[dict[str, JobKind]] = {
    "migrate": JobKind(
        run=run_migration,
        failed=_failed,
        queue=QUEUE,
        verb=N_("Migrate"),
        stages={"compare": N_("Compare"), "copy": N_("Copy"), "switch": N_("Switch the rows")},
        keeps_what_is_done=True,
        result=_open_migration,
        ways=_migration_again,
    ),
    "rollback": JobKind(
        run=run_rollback,
        failed=_failed,
        queue=QUEUE,
        verb=N_("Roll back"),
        stages={"verify": N_("Read again"), "remove": N_("Remove")},
        keeps_what_is_done=True,
        result=_open_migration,
        ways=_migration_again,
    ),
    "verify_migration": JobKind(
        run=run_verification,
        failed=_verification_failed,
        queue=QUEUE,
        verb=N_("Verify"),
        stages={"verify": N_("Read again")},
        result=_open_migration,
        ways=_migration_again,
    ),
    "plan_migration": JobKind(
        run=run_plan,
        queue=QUEUE,
        verb=N_("Plan"),
        stages={"compare": N_("Compare")},
        result=_open_plan,
        answer="ecluse.upkeep:plan_answer",
    ),
    "verify_model": JobKind(
        run=run_model_verification,
        queue=QUEUE,
        verb=N_("Verify"),
        stages={"verify": N_("Read again")},
        result=_open_model,
        ways=_model_again,
    ),
}
