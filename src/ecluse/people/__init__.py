"""Disable and remove people, with their jobs and with what they stored.

Who is disabled keeps what is theirs and cannot reach it: sessions, links and tokens end, and jobs are cancelled, as
they would go on in that person's name. What belongs to the installation, such as work that
an application does every day, is handed to an administrator who stays.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from ecluse.application import guarded, parts
from ecluse.catalog import jobs, owned, users
from ecluse.catalog.of_organisations import ORGANISATION
from ecluse.catalog.tables import File, User
from ecluse.errors import InvalidInput, NotAllRemoved
from ecluse.people.places import files_elsewhere, folders_of
from ecluse.runtime import Runtime
from ecluse.sentences import _, num
from ecluse.storage import ObjectStore
from ecluse.work import cancel_job, kind_of, kinds

Folders = Sequence[tuple[ObjectStore, str]]
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


@dataclass(frozen=True)
class Removed:
    """What went with an owner: rows of each table, and how many objects. `places` were listed afterwards, and are
    empty; no table has a row of the owner but the log of who did what.
    """

    rows: dict[str, int]
    objects: int
    places: tuple[str, ...]


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
    return finish_closing(runtime, user, keep_jobs=keep_jobs)


def finish_closing(runtime: Runtime, user: User, *, keep_jobs: bool = False) -> int:
    """Hand over what is the installation's of an account that was disabled, and cancel its jobs; how many."""
    _hand_over(runtime, user)
    return 0 if keep_jobs else cancel_jobs(runtime, user.id)


def demote(runtime: Runtime, email: str, by: str | None = None) -> User:
    """Make an administrator a member. Raises as `disable`."""
    user = runtime.accounts.set_role(email, "member", by)
    _hand_over(runtime, user)
    return user


def remove(runtime: Runtime, email: str, by: str | None = None, *, everything: bool = False) -> Removed:
    """Remove an account; with `everything` what it has goes too: objects first, so that none is left without a row.

    Broken off, it leaves a disabled account; begun again, it goes on. Afterwards every folder of the account is listed
    and every table is counted.

    Raises:
        NotFound: no account has this address.
        LastAdministrator: without it none would administer.
        LastOwner: without it nobody would own an organisation.
        InvalidInput: something is the account's and not to be removed, or a job does not end.
        NotAllRemoved: something of it is still there.
    """
    user = runtime.accounts.by_email(email)
    if not everything:
        _expect_nothing(runtime, user)
    user = runtime.accounts.close(email, by)
    finish_closing(runtime, user)
    _wait_for_jobs(runtime, user)
    if not everything:  # until it was disabled, something could still come
        _expect_nothing(runtime, user)
    return _remove_all(runtime, user, lambda: runtime.accounts.remove(email, by))


def end_organisation(
    runtime: Runtime, user_id: str, handle: str, *, everything: bool = False, patience: float = PATIENCE
) -> Removed:
    """End an organisation, as one of its owners; with `everything` what it has goes too. Verified as `remove`.

    It is closed first: nothing of it is changed any more, and no more comes to it. Broken off once something is gone,
    it stays closed; begun again, it goes on. `patience`: seconds to wait for its jobs.

    Raises:
        NotFound, Forbidden: the person does not belong to it, or does not own it.
        InvalidInput: something is the organisation's and not to be removed, or a job does not end.
        NotAllRemoved: something of it is still there.
    """
    organisation = runtime.accounts.owned_organisation(user_id, handle)
    if not everything:
        _expect_no_more(runtime, organisation)
    is_closed_here = runtime.accounts.close_organisation(user_id, handle)
    try:
        cancel_jobs(runtime, organisation.id)  # of its service accounts
        _wait_for_jobs(runtime, organisation, patience)
        if not everything:  # until it was closed, something could still come
            _expect_no_more(runtime, organisation)
    except InvalidInput:
        if is_closed_here:  # nothing is gone
            runtime.accounts.reopen_organisation(user_id, handle)
        raise
    return _remove_all(
        runtime,
        organisation,
        lambda: runtime.accounts.end_organisation(user_id, handle, everything=everything),
    )


def _expect_no_more(runtime: Runtime, organisation: User) -> None:
    """Make sure that an organisation has nothing. Raises InvalidInput."""
    if there := belongings(runtime, organisation):
        raise InvalidInput(
            _(
                "@%(handle)s has %(values)s. Remove these first, or with it: ecluse orgs end %(handle)s "
                "--with-everything",
                handle=organisation.handle,
                values=there.words,
            )
        )


def _remove_all(runtime: Runtime, owner: User, remove_rows: Callable[[], None]) -> Removed:
    """Remove the objects of an owner, then the rows, and look everywhere whether something is left."""
    with runtime.catalog.read() as transaction:
        rows = owned.remaining(transaction, owner.id)
    folders, others = list(folders_of(runtime, owner.id)), files_elsewhere(runtime, owner.id)
    objects = _empty(runtime, folders, others)
    _expect_empty(runtime, owner, folders, others)
    remove_rows()
    objects += _empty(runtime, folders, [])  # what an upload that was under way brought meanwhile
    _expect_empty(runtime, owner, folders, others)
    return Removed(rows, objects, tuple(store.url_of(key) for store, key in folders))


def _empty(runtime: Runtime, folders: Folders, others: Sequence[File]) -> int:
    """Remove what lies in these folders, and these files; how many objects those were."""
    objects = sum(store.delete_prefix(key) for store, key in folders)
    for file in others:
        is_object = file.form == "object"
        objects += runtime.stores.remove(file.url) if is_object else runtime.stores.remove_below(file.url)
    return objects


def _expect_empty(runtime: Runtime, owner: User, folders: Folders, others: Sequence[File]) -> None:
    """List the folders of an owner, and look for the files elsewhere.

    Raises:
        NotAllRemoved: something is there.
    """
    places = [*folders]
    for file in others:
        if not runtime.stores.is_own(file.url):
            continue
        located = runtime.stores.locate(file.url)
        places.append((located.store, located.key))
    left = [
        store.url_of(key)
        for store, key in places
        if next(iter(store.list(key)), None) is not None or store.exists(key)
    ]
    if left:
        raise NotAllRemoved(_left_over(owner, ", ".join(left)))


def _left_over(owner: User, places: str) -> str:
    """Say that something of an owner is still in these places."""
    if owner.kind == ORGANISATION:
        return _(
            "Of %(name)s something is still in %(place)s, and the organisation stays closed. Run the same command "
            "again: it goes on.",
            name=owner.email,
            place=places,
        )
    return _(
        "Of %(email)s something is still in %(place)s, and the account stays closed. Run the same command again: it "
        "goes on.",
        email=owner.email,
        place=places,
    )


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


def _wait_for_jobs(runtime: Runtime, owner: User, patience: float = PATIENCE) -> None:
    """Wait until no job writes what is removed; a running one ends at its next report."""
    deadline = time.monotonic() + patience
    while active := [
        j
        for j in runtime.jobs.list(owner.id, limit=MANY, active=True)
        if not kind_of(j.kind).is_of_installation
    ]:
        if time.monotonic() > deadline:
            raise InvalidInput(_still_working(owner, len(active)))
        time.sleep(0.5)


def _still_working(owner: User, count: int) -> str:
    """Say that jobs of an owner go on though they were cancelled."""
    if owner.kind == ORGANISATION:
        return _(
            "%(count)s jobs of %(name)s were cancelled and have not ended yet; nothing is removed. End it again in a "
            "minute.",
            count=num(count),
            name=owner.email,
        )
    return _(
        "%(count)s jobs of %(email)s have not ended yet; the account is disabled, and nothing else is removed. Run the "
        "same command again in a minute.",
        count=num(count),
        email=owner.email,
    )


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
