"""Give a table to an organisation: its file goes below the organisation's prefix first, and then its row, as a job.

A job that is killed goes on: the copy is made under a key of the job, compared with the digest, and the row is switched
in one transaction with what it was shared by. The file of before is removed last. One that fails removes its copy; of
one that ended while no worker had it, the upkeep of any does.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final
from weakref import WeakKeyDictionary

from ecluse import tables, unclaimed
from ecluse.catalog import Catalog, Transaction, audit, ended_jobs, jobs, quotas, sharing, user_tables
from ecluse.catalog.tables import UserTable, now
from ecluse.errors import DigestMismatch, Forbidden, InvalidInput, JobCancelled, NotFound
from ecluse.jobs import Job, JobKind, Link, Task
from ecluse.runtime import Runtime
from ecluse.sentences import N_, _
from ecluse.storage import join_key

#: The kind of the job, and its queue.
KIND: Final = "hand_over"
QUEUE: Final = "upkeep"
#: How long after its end the copy of a job is removed, as a worker that was taken for lost may store it late; and for
#: how long it is looked for.
SETTLED: Final = timedelta(minutes=10)
LOOKED_FOR: Final = timedelta(days=2)
#: Jobs whose copies this process has looked for, of each catalog.
_seen: WeakKeyDictionary[Catalog, set[str]] = WeakKeyDictionary()


def start(runtime: Runtime, person_id: str, table_id: str, handle: str) -> str:
    """Queue that a table of one's own becomes one of an organisation in which one makes things; the id of the job.

    Raises:
        NotFound: there is no such table, or the person belongs to no such organisation.
        Forbidden: the table is someone else's, or the person only reads what the organisation has.
        InvalidInput: no organisation is named.
        PlanEnded, LimitReached: the plan of the organisation is over, or has no room for it.
    """
    if not handle.strip().removeprefix("@"):
        raise InvalidInput(_("Name the organisation whose it is to be, such as @acme."))
    row = tables.table_of(runtime, person_id, table_id)
    if row.user_id != person_id:
        raise Forbidden(_("%(name)s is not yours. Ask its owner to hand it over.", name=row.name))
    owner_id = tables.maker_called(runtime, person_id, handle.strip())
    if owner_id == person_id:
        raise InvalidInput(_("It is yours already. Name someone else."))
    with runtime.catalog.write() as transaction:
        quotas.expect_not_ended(transaction, owner_id)
        quotas.expect_to_keep(transaction, owner_id, row.size_bytes)
        subject = {"table": row.id, "owner": owner_id}
        return runtime.jobs.enqueue(KIND, QUEUE, person_id, row.name, subject, transaction=transaction)


def run_hand_over(runtime: Runtime, task: Task, table: str, owner: str) -> None:
    """Copy, then switch and remove; what was done before a kill is not done again."""
    try:
        task.report("copy", 0.0)
        old_url = task.step("copy", _copy, runtime, task, table, owner)
        task.step("switch", _switch_and_remove, runtime, task, table, owner, old_url)
    except JobCancelled:
        _forget_copy(runtime, task.job_id, table, owner)
        raise


def _copy(runtime: Runtime, task: Task, table: str, owner: str) -> str:
    """Copy the file below the prefix of the new owner, verified; the address of the one that is there."""
    row = _own(runtime, task.user_id, table)
    located, key = runtime.stores.locate(row.url), _key(task.job_id, owner)
    with runtime.scratch() as folder:
        located.store.download(located.key, folder / "table.parquet", sha256=row.sha256)
        unclaimed.expect(runtime, key)
        stored = runtime.data.upload(folder / "table.parquet", key)
    if stored.sha256 != row.sha256:
        raise DigestMismatch(
            _(
                "The table %(value)s is not what its digest says. It was not kept; fetch it again.",
                value=row.name,
            )
        )
    return row.url


def _switch(runtime: Runtime, task: Task, table: str, owner: str) -> None:
    """Give the row, its file and its shares to the new owner, in one transaction."""
    key = _key(task.job_id, owner)
    with runtime.catalog.write() as transaction:
        if user_tables.is_at(transaction, table, owner, key):
            return  # a worker that died afterwards had done it
        # The fence holds the job as it stands: what is not cancelled here is switched before it can be.
        if jobs.status_of(transaction, task.job_id) == "cancelled":
            raise JobCancelled(_("The hand-over was cancelled. The table is still yours."))
        if owner not in sharing.makers_of(transaction, task.user_id):
            raise NotFound(_("You make nothing for this organisation any more. The table is still yours."))
        row = user_tables.hand_over(transaction, task.user_id, table, owner)
        quotas.expect_to_import(transaction, owner, task.job_id, row.size_bytes, 0)
        row.key, row.url = key, runtime.data.url_of(key)
        handle = sharing.handle_of(transaction, owner)
        audit.record(transaction, task.user_id, "table.hand_over", row.name, owner=f"@{handle}")


def _switch_and_remove(runtime: Runtime, task: Task, table: str, owner: str, old_url: str) -> None:
    """Switch the row, then remove the file that it pointed at: no cancellation comes between the two."""
    _switch(runtime, task, table, owner)
    runtime.stores.remove(old_url)


def reconcile(runtime: Runtime) -> int:
    """Remove the copies of jobs that were cancelled, or given up, while no worker had them; how many jobs."""
    seen = _seen.setdefault(runtime.catalog, set())
    with runtime.catalog.read() as transaction:
        ended = ended_jobs.came_to_nothing(
            transaction, KIND, QUEUE, after=now() - LOOKED_FOR, before=now() - SETTLED
        )
    unseen = [job for job in ended if job.id not in seen]
    for job in unseen:
        _forget_copy(runtime, job.id, job.subject["table"], job.subject["owner"])
        seen.add(job.id)
    return len(unseen)


def _forget_copy(runtime: Runtime, job_id: str, table: str, owner: str) -> None:
    """Remove the copy of a job that came to nothing."""
    key = _key(job_id, owner)
    with runtime.catalog.read() as transaction:
        is_done = user_tables.is_at(transaction, table, owner, key)
    if not is_done:
        runtime.data.delete(key)


def _hand_over_failed(runtime: Runtime, task: Task, message: str, table: str, owner: str) -> None:
    _forget_copy(runtime, task.job_id, table, owner)


def _own(runtime: Runtime, person_id: str, table: str) -> UserTable:
    with runtime.catalog.read() as transaction:
        row = user_tables.find(transaction, person_id, table)
    if row is None:
        raise NotFound(_("No table %(value)s. See your tables: GET /api/tables", value=repr(table)[:100]))
    return row


def _key(job_id: str, owner: str) -> str:
    return join_key("user_data", owner, "tables", f"{job_id}.parquet")


def _open_table(transaction: Transaction, job: Job) -> Link | None:
    return Link(f"/tables/{job.subject['table']}", N_("Open the table"))


def answer(runtime: Runtime, transaction: Transaction, job: Job) -> dict[str, Any] | None:
    """Return for the API which table is whose now."""
    return {"table": job.subject["table"], "owner": sharing.handle_of(transaction, job.subject["owner"])}


#: The kinds of jobs that hand over.
KINDS: Final[dict[str, JobKind]] = {
    KIND: JobKind(
        run=run_hand_over,
        failed=_hand_over_failed,
        queue=QUEUE,
        verb=N_("Hand over"),
        stages={"copy": N_("Copy")},
        result=_open_table,
        answer="ecluse.handovers:answer",
    )
}
