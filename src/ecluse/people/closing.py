"""Remove an account as a job: it is closed at once, and what it has goes in the background, whatever is interrupted."""

from __future__ import annotations

from typing import Any, Final

from ecluse import people
from ecluse.accounts.people import close_account
from ecluse.catalog import Transaction, users
from ecluse.catalog.fences import not_counted
from ecluse.catalog.tables import User
from ecluse.errors import NotFound
from ecluse.jobs import Job, Task
from ecluse.runtime import Runtime

#: The kind of the job; `ecluse.work` joins it to the others.
KIND: Final = "remove_account"


def start_removal(runtime: Runtime, email: str, by: User) -> str:
    """Close an account, and queue the removal of everything that it has; the job's id.

    The job runs in the name of `by` where that is an administrator who stays, else of the first one.

    Raises:
        NotFound: no account has this address.
        LastAdministrator: without it none would administer.
        LastOwner: without it nobody would own an organisation.
    """
    with runtime.catalog.write() as transaction:
        user = close_account(transaction, email, by.id)
        runs_for = by if by.role == "admin" and by.id != user.id else _administrator_but(transaction, user)
        with not_counted():
            job_id = runtime.jobs.enqueue(
                KIND,
                "upkeep",
                runs_for.id,
                user.email,
                {"user": user.id, "by": by.id},
                transaction=transaction,
            )
    people.finish_closing(runtime, user)
    return job_id


def run_removal(runtime: Runtime, task: Task, user: str, by: str | None) -> None:
    """Remove an account with everything; what an interrupted run has removed is not missed."""
    task.report("remove", 0.0)
    task.step("remove", _remove, runtime, user, by)


def answer(runtime: Runtime, transaction: Transaction, job: Job) -> dict[str, Any] | None:
    """Return for the API what a removal was of; what it found is in the log."""
    return {"user": job.subject["user"]}


def _remove(runtime: Runtime, user_id: str, by: str | None) -> dict[str, Any]:
    with runtime.catalog.read() as transaction:
        try:
            email = users.user_by_id(transaction, user_id).email
        except NotFound:  # a worker that died afterwards had removed it
            return {}
    removed = people.remove(runtime, email, by, everything=True)
    return {"rows": removed.rows, "objects": removed.objects, "places": list(removed.places)}


def _administrator_but(transaction: Transaction, user: User) -> User:
    administrators = users.list_administrators(transaction)
    return next(each for each in administrators if each.id != user.id)
