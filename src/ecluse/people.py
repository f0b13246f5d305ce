"""Disable and remove people, with their jobs and with what they stored.

Who is disabled keeps what is theirs and cannot reach it: sessions, links and tokens end, and jobs are cancelled, as
they would go on in that person's name. What belongs to the installation, such as work that
an application does every day, is handed to an administrator who stays.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from ecluse.application import guarded, parts
from ecluse.catalog import files, jobs, organisations, users
from ecluse.catalog.tables import User
from ecluse.errors import InvalidInput
from ecluse.runtime import Runtime
from ecluse.storage import ObjectStore, is_within
from ecluse.work import cancel_job, kind_of, kinds

#: Folders of each store in which what a user has lies, below the user's id.
OWNED: Final = ("user_data", "user_models")
#: Seconds that the removal of a user waits for cancelled jobs to end.
PATIENCE: Final = 60.0
MANY: Final = 1000


@dataclass(frozen=True)
class Belongings:
    """What a user has: rows by kind, and the bytes of the objects that rows tell of."""

    rows: dict[str, int] = field(default_factory=dict)
    size: int = 0

    def __bool__(self) -> bool:
        return any(self.rows.values())

    @property
    def words(self) -> str:
        """Return the kinds with how many of each."""
        return ", ".join(f"{kind.replace('_', ' ')}: {number}" for kind, number in self.rows.items())


def belongings(runtime: Runtime, user: User) -> Belongings:
    """Count what would be removed with an account."""
    with runtime.catalog.read() as transaction:
        return Belongings(users.count_owned(transaction, user.id), users.size_owned(transaction, user.id))


def disable(runtime: Runtime, email: str, by: str | None = None, *, keep_jobs: bool = False) -> int:
    """Let nobody sign in to an account, and cancel its jobs; how many those were.

    Raises:
        NotFound: no account has this address.
        LastAdministrator: without it none would administer.
    """
    user = runtime.accounts.disable(email, by)
    _hand_over(runtime, user)
    return 0 if keep_jobs else cancel_jobs(runtime, user.id)


def demote(runtime: Runtime, email: str, by: str | None = None) -> User:
    """Make an administrator a member. Raises as `disable`."""
    user = runtime.accounts.set_role(email, "member", by)
    _hand_over(runtime, user)
    return user


def remove(runtime: Runtime, email: str, by: str | None = None, *, everything: bool = False) -> None:
    """Remove an account; with `everything` what it has goes too: objects first, so that none is left without a row.

    Broken off, it leaves a disabled account; begun again, it goes on.

    Raises:
        NotFound: no account has this address.
        LastAdministrator: without it none would administer.
        LastOwner: without it nobody would own an organisation.
        InvalidInput: something is the account's and not to be removed, or a job does not end.
    """
    user = runtime.accounts.by_email(email)
    with runtime.catalog.read() as transaction:  # before anything is gone; it is asked again when the row is
        organisations.expect_last_owner_of_none(transaction, user, held=False)
    if not everything:
        _expect_nothing(runtime, user)
    disable(runtime, email, by)
    _wait_for_jobs(runtime, user)
    if not everything:  # until it was disabled, something could still come
        _expect_nothing(runtime, user)
    emptied = []
    for store in _stores(runtime, user.id):
        for folder in OWNED:
            store.delete_prefix(f"{folder}/{user.id}")
            emptied.append(store.url_of(f"{folder}/{user.id}"))
    _remove_files(runtime, user, emptied)
    runtime.accounts.remove(email, by)


def _remove_files(runtime: Runtime, user: User, emptied: Sequence[str]) -> None:
    """Remove what lies elsewhere for the user's rows, where applications have put it."""
    with runtime.catalog.read() as transaction:
        owned = files.files_of(transaction, user.id)
    for file in owned:
        if any(is_within(file.url, folder) for folder in emptied):
            continue
        located = runtime.stores.locate(file.url)
        if file.form == "object":
            located.store.delete(located.key)
        elif located.key:
            located.store.delete_prefix(located.key)


def cancel_jobs(runtime: Runtime, user_id: str) -> int:
    """Cancel what waits or runs in a person's name; how many jobs. Those of the installation go on."""
    cancelled = 0
    for job in runtime.jobs.list(user_id, limit=MANY, active=True):
        if not kind_of(job.kind).is_of_installation:
            cancel_job(runtime, user_id, job.id)
            cancelled += 1
    return cancelled


def _expect_nothing(runtime: Runtime, user: User) -> None:
    if there := belongings(runtime, user):
        raise InvalidInput(
            f"{user.email} has {there.words}. Remove these first, or with the account: "
            f"ecluse users remove {user.email} --with-everything. To keep them: ecluse users disable {user.email}"
        )


def _wait_for_jobs(runtime: Runtime, user: User) -> None:
    """Wait until no job writes what is removed; a running one ends at its next report."""
    deadline = time.monotonic() + PATIENCE
    while active := [
        j
        for j in runtime.jobs.list(user.id, limit=MANY, active=True)
        if not kind_of(j.kind).is_of_installation
    ]:
        if time.monotonic() > deadline:
            raise InvalidInput(
                f"{len(active)} jobs of {user.email} have not ended yet; the account is disabled, and nothing else "
                "is removed. Run the same command again in a minute."
            )
        time.sleep(0.5)


def _hand_over(runtime: Runtime, user: User) -> None:
    """Give what belongs to the installation and runs in this user's name to the first administrator who stays."""
    with runtime.catalog.write() as transaction:
        heir = users.first_administrator(transaction)
        if heir is not None and heir.id != user.id:
            of_installation = [name for name, kind in kinds().items() if kind.is_of_installation]
            jobs.give_to(transaction, user.id, heir.id, of_installation)
            for application, hand_over in parts("hand_over"):
                with guarded(application, "hand_over"), transaction.begin_nested():
                    hand_over(transaction, user.id, heir.id)


def _stores(runtime: Runtime, user_id: str) -> list[ObjectStore]:
    """Return every store with things of a user: those of today, and those that rows still point at."""
    stores = {store.url.rstrip("/"): store for store in runtime.stores.distinct()}
    marks = [f"/{folder}/{user_id}/" for folder in OWNED]
    with runtime.catalog.read() as transaction:
        roots = {
            url[: url.index(mark)]
            for url in files.addresses_of(transaction, user_id)
            for mark in marks
            if mark in url
        }
    return [*stores.values(), *(runtime.stores.open(root) for root in sorted(roots - set(stores)))]
