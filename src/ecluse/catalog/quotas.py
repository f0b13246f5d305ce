"""Hold people to their plans: the one place where a limit is looked at, before work begins.

Limits are those of an account that an administrator gave a plan; who has none, such as the one person of a home on a
laptop, has no limits. What is refused says the limit, what is used of it, and the way out.

**The end of a plan** is the moment `ends_at`. From then on everything that is there stays, and is read, downloaded,
asked for predictions and deleted as before; new uploads, new models and versions, and new jobs are refused. What was
begun before goes on to its end: jobs run and keep what they make, uploads are sent and committed. Nothing is ever
deleted because a plan ended or became smaller.

**At the same time.** Whoever asks for something new locks the row of the plan of the person, reads what is used and
what is reserved in one statement, and reserves in the same transaction. An upload keeps its reservation until its rows
are there, so that at every moment each byte is counted, for a moment twice, but never not at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    and_,
    cast,
    delete,
    false,
    func,
    literal,
    or_,
    select,
    union,
    update,
)
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog import sharing
from ecluse.catalog.fences import is_asked_for
from ecluse.catalog.of_work import Work
from ecluse.catalog.plan_tables import Plan, Reservation, Stored, UserPlan
from ecluse.catalog.tables import JobRow, ModelUpload, ModelVersion, Publication, Run, new_id, now
from ecluse.errors import EcluseError, LimitReached, PlanEnded, UploadTooLarge
from ecluse.sentences import _, num

#: After this long an upload counts as abandoned whose process died, and its room is free again.
ABANDONED: Final = timedelta(hours=24)
#: The kind of files that are images.
IMAGES: Final = "images"
_ACTIVE: Final = ("queued", "running")
#: The reservation of the upload that is being kept.
_room: ContextVar[str | None] = ContextVar("room", default=None)


@dataclass(frozen=True)
class Used:
    """What a person has of what plans limit. `reserved`: bytes of uploads that are on their way."""

    models: int
    stored_bytes: int
    reserved_bytes: int
    jobs: int
    images: int


@dataclass(frozen=True)
class Allowance:
    """The plan of a person, with what is used of it."""

    plan: Plan
    started_at: datetime
    ends_at: datetime | None
    used: Used

    @property
    def has_ended(self) -> bool:
        return self.ends_at is not None and self.ends_at <= now()


@dataclass(frozen=True)
class Room:
    """The room of one upload: the most bytes that it may have (None: no limit of the plan), and what is said beyond.

    `id`: of the reservation, None for a person without limits.
    """

    id: str | None = None
    most: int | None = None
    refusal: EcluseError | None = None


# Read


def is_limited(transaction: Transaction, user_id: str) -> bool:
    """Return whether a person has a plan."""
    return _plan_of(transaction, user_id) is not None


def used_by(transaction: Transaction, user_id: str) -> Used:
    """Return what a person has, whether or not there is a plan."""
    stored, reserved, images = transaction.execute(_sums(user_id)).one()
    return Used(
        models=_count_models(transaction, user_id),
        stored_bytes=stored,
        reserved_bytes=reserved,
        jobs=_count_jobs(transaction, user_id),
        images=images,
    )


def allowance_of(transaction: Transaction, user_id: str) -> Allowance | None:
    """Return the plan of a person with what is used of it; None for who has no limits."""
    row = _plan_of(transaction, user_id)
    if row is None:
        return None
    plan, mine = row
    return Allowance(plan, mine.started_at, mine.ends_at, used_by(transaction, user_id))


# Uploads


def reserve(
    transaction: Transaction,
    user_id: str,
    announced: int | None,
    *,
    beside: int = 0,
    images: bool = False,
    upload_id: str | None = None,
    model: str | None = None,
) -> Room:
    """Keep room for an upload until `give_back`.

    `announced`: its bytes, of which `beside` may be other things than files; None where it does not say, and takes
    what room there is. `images`: it brings images. `upload_id`: the row whose upload it is, which ends it.
    `model`: the name of the model that a version of it is to be.

    Raises:
        PlanEnded: the time of the plan is over.
        UploadTooLarge: the plan allows no upload of this size.
        LimitReached: there is no room for so many bytes, or for one more image.
    """
    row = _held(transaction, user_id)
    if row is None:
        return Room()
    plan, _mine = row
    stored, reserved, count = transaction.execute(_sums(user_id)).one()
    if images:
        _expect_images(plan, _called(transaction, user_id), count, 1)
    if model is not None:
        _expect_name(transaction, plan, user_id, model)
    least = 1 if announced is None else max(announced - beside, 0)
    if plan.upload_bytes is not None and least > plan.upload_bytes:
        raise _too_large(plan, _called(transaction, user_id))
    free = None if plan.storage_bytes is None else plan.storage_bytes - stored - reserved
    if free is not None and least > free:
        raise _no_room(
            plan, _called(transaction, user_id), stored + reserved, None if announced is None else least
        )
    bounds = [bound for bound in (announced, plan.upload_bytes, free) if bound is not None]
    if not bounds and model is None:
        return Room()
    most = min(bounds, default=0)
    room = Reservation(
        id=upload_id or new_id(),
        user_id=user_id,
        size_bytes=most,
        model=model,
        expires_at=None if upload_id else now() + ABANDONED,
    )
    transaction.add(room)
    transaction.flush()
    is_full = free is not None and most == free
    owner = _called(transaction, user_id)
    refusal = _no_room(plan, owner, stored + reserved, None) if is_full else _too_large(plan, owner)
    return Room(room.id, most if bounds else None, refusal)


def give_back(transaction: Transaction, reservation_id: str) -> None:
    """End the room of an upload: its rows are there, or it was given up. One that a job imports keeps its own."""
    transaction.execute(
        delete(Reservation).where(Reservation.id == reservation_id, Reservation.job_id.is_(None))
    )


def give_to_job(transaction: Transaction, reservation_id: str, job_id: str) -> None:
    """Let the room of an upload end with the job that imports it."""
    mine = (Reservation.id == reservation_id,)
    transaction.execute(update(Reservation).where(*mine).values(job_id=job_id, expires_at=None))


@contextmanager
def held_room(reservation_id: str | None) -> Iterator[None]:
    """Let what a block keeps take the place of what this reservation holds."""
    token = _room.set(reservation_id)
    try:
        yield
    finally:
        _room.reset(token)


def expect_to_keep(transaction: Transaction, user_id: str, size: int) -> None:
    """Make sure that an upload may keep so many bytes, which may be more than were sent, as its row is written.

    Raises:
        LimitReached: the plan of its owner allows fewer.
        NotSignedIn, NotFound, Forbidden: as `sharing.expect_maker`.
    """
    if is_asked_for():
        sharing.expect_maker(transaction, user_id)
        _expect_to_keep(transaction, user_id, size, 0, Reservation.id == _room.get())


def expect_to_import(transaction: Transaction, user_id: str, job_id: str, size: int, images: int) -> None:
    """Make sure that a job may keep so many more bytes and images, beside what other uploads have reserved.

    Raises:
        LimitReached: the plan of its owner allows fewer.
    """
    _expect_to_keep(transaction, user_id, size, images, Reservation.job_id == job_id)


def _expect_to_keep(
    transaction: Transaction, user_id: str, size: int, images: int, own: ColumnElement[bool]
) -> None:
    row = _plan_of(transaction, user_id, lock=True)
    if row is None:
        return
    plan, _mine = row
    stored, reserved, count = transaction.execute(_sums(user_id, but=own)).one()
    if images:
        _expect_images(plan, _called(transaction, user_id), count, images)
    if plan.storage_bytes is not None and stored + reserved + size > plan.storage_bytes:
        raise _no_room(plan, _called(transaction, user_id), stored + reserved, size)


def prune(transaction: Transaction) -> int:
    """Remove reservations whose upload was abandoned, or whose job has ended; how many those were."""
    over = select(Reservation.id).where(~_is_open())
    return len(
        transaction.execute(
            delete(Reservation).where(Reservation.id.in_(over)).returning(Reservation.id)
        ).all()
    )


# Models and jobs


def expect_model(transaction: Transaction, user_id: str, name: str) -> None:
    """Make sure that a person may make a version of a model of this name, which is counted where it is new.

    Raises:
        PlanEnded: the time of the plan is over.
        LimitReached: the name is new, and the plan allows no more.
    """
    row = _held(transaction, user_id)
    if row is not None:
        _expect_name(transaction, row[0], user_id, name)


def hold_model(transaction: Transaction, user_id: str, name: str, job_id: str) -> None:
    """Keep the name of a model for the job that makes a version of it, to its end. Raises as `expect_model`."""
    expect_model(transaction, user_id, name)
    if is_asked_for() and is_limited(transaction, user_id):
        transaction.add(Reservation(user_id=user_id, size_bytes=0, model=name, job_id=job_id))
        transaction.flush()


def expect_not_ended(transaction: Transaction, user_id: str) -> None:
    """Make sure that the time of the plan of a person, where there is one, is not over.

    Raises:
        PlanEnded: it is.
    """
    _held(transaction, user_id)


def _expect_name(transaction: Transaction, plan: Plan, user_id: str, name: str) -> None:
    if plan.models is None:
        return
    names = _names_of_models(user_id)
    if transaction.scalar(
        select(literal(1)).where(select(names.c.name).where(names.c.name == name).exists())
    ):
        return
    count = _count_models(transaction, user_id)
    if count >= plan.models:
        raise LimitReached(
            _(
                "%(owner)s has %(used)s of the %(most)s models that the plan %(plan)s allows; %(name)s would be one "
                "more. Delete a model that is no longer needed, publish under a name that is there, or ask an "
                "administrator for a larger plan.",
                owner=_called(transaction, user_id),
                used=num(count),
                plan=plan.name,
                most=num(plan.models),
                name=name,
            )
        )


def expect_job(transaction: Transaction, user_id: str) -> None:
    """Make sure that a person may queue one more job.

    Raises:
        PlanEnded: the time of the plan is over.
        LimitReached: as many wait or run as the plan allows, or all of its storage is taken.
    """
    row = _held(transaction, user_id)
    if row is None:
        return
    plan, _mine = row
    if plan.jobs is not None and (active := _count_jobs(transaction, user_id)) >= plan.jobs:
        raise LimitReached(
            _(
                "%(used)s jobs of %(owner)s wait or run; the plan %(plan)s allows %(most)s at a time. Wait for one to "
                "end, cancel one, or ask an administrator for a larger plan.",
                owner=_called(transaction, user_id),
                used=num(active),
                plan=plan.name,
                most=num(plan.jobs),
            )
        )
    if plan.storage_bytes is not None:
        stored, reserved, _images = transaction.execute(_sums(user_id)).one()
        if stored + reserved >= plan.storage_bytes:
            raise _no_room(plan, _called(transaction, user_id), stored + reserved, None)


# What is counted


def _plan_of(transaction: Transaction, user_id: str, *, lock: bool = False) -> tuple[Plan, UserPlan] | None:
    """Return the plan of a person, locked up to the end of the transaction if asked; None where there is none."""
    query = select(UserPlan).where(UserPlan.user_id == user_id)
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    mine = transaction.scalar(query)
    return None if mine is None else (transaction.get_one(Plan, mine.plan), mine)


def _held(transaction: Transaction, user_id: str) -> tuple[Plan, UserPlan] | None:
    """Lock the plan of who asks for something new; None where nobody does, or there are no limits.

    Raises:
        PlanEnded: the time of the plan is over.
        NotSignedIn, NotFound, Forbidden: as `sharing.expect_maker`.
    """
    if not is_asked_for():
        return None
    sharing.expect_maker(transaction, user_id)
    row = _plan_of(transaction, user_id, lock=True)
    if row is not None and row[1].ends_at is not None and row[1].ends_at <= now():
        raise PlanEnded(
            _(
                "The plan %(plan)s of %(owner)s ended on %(date)s. What is there stays, and can be read, downloaded "
                "and deleted; to make something new, ask an administrator for a plan.",
                owner=_called(transaction, user_id),
                plan=row[0].name,
                date=row[1].ends_at.date().isoformat(),
            )
        )
    return row


def _is_open() -> ColumnElement[bool]:
    """Return the condition of a reservation that is to be counted."""
    goes_on = select(JobRow.id).where(JobRow.id == Reservation.job_id, JobRow.status.in_(_ACTIVE)).exists()
    in_time = or_(Reservation.expires_at.is_(None), Reservation.expires_at > now())
    return or_(and_(Reservation.job_id.is_(None), in_time), and_(Reservation.job_id.is_not(None), goes_on))


def _sums(user_id: str, *, but: ColumnElement[bool] | None = None) -> Any:
    """Query what a person stores (bytes), what is reserved (bytes), and images: in one statement, so of one moment."""
    stored = select(func.coalesce(func.sum(Stored.size_bytes), 0)).where(Stored.user_id == user_id)
    images = select(func.coalesce(func.sum(Stored.files), 0)).where(
        Stored.user_id == user_id, Stored.kind == IMAGES
    )
    reserved = select(func.coalesce(func.sum(Reservation.size_bytes), 0)).where(
        Reservation.user_id == user_id, _is_open()
    )
    if but is not None:
        reserved = reserved.where(~func.coalesce(but, false()))
    return select(*(cast(each.scalar_subquery(), BigInteger) for each in (stored, reserved, images)))


def _names_of_models(user_id: str) -> Any:
    """Query the names of models that a person has, is publishing or is training; each once."""
    trained = (
        select(Run.name)
        .join(Work, Work.id == Run.id)
        .where(Run.user_id == user_id, Run.nonce.is_(None), Work.user_id == user_id, Work.status.in_(_ACTIVE))
    )
    return union(
        select(ModelVersion.name).where(ModelVersion.user_id == user_id),
        select(Publication.name).where(Publication.user_id == user_id),
        select(ModelUpload.name).where(ModelUpload.user_id == user_id, ModelUpload.committed_at.is_(None)),
        select(Reservation.model).where(
            Reservation.user_id == user_id, Reservation.model.is_not(None), _is_open()
        ),
        trained,
    ).subquery()


def _count_models(transaction: Transaction, user_id: str) -> int:
    return transaction.scalar(select(func.count()).select_from(_names_of_models(user_id))) or 0


def _count_jobs(transaction: Transaction, user_id: str) -> int:
    mine = (JobRow.user_id == user_id, JobRow.status.in_(_ACTIVE), ~JobRow.part)
    return transaction.scalar(select(func.count()).select_from(JobRow).where(*mine)) or 0


# What is said


def _called(transaction: Transaction, user_id: str) -> str:
    """Return what whose limit it is is called: the person, or an organisation for which someone else asks."""
    return f"@{sharing.handle_of(transaction, user_id)}"


def _expect_images(plan: Plan, owner: str, count: int, more: int) -> None:
    if plan.images is not None and count + more > plan.images:
        raise LimitReached(
            _(
                "%(owner)s has %(used)s images; the plan %(plan)s allows %(most)s. Delete images that are no longer "
                "needed, or ask an administrator for a larger plan.",
                owner=owner,
                used=num(count),
                plan=plan.name,
                most=num(plan.images),
            )
        )


def _too_large(plan: Plan, owner: str) -> UploadTooLarge:
    return UploadTooLarge(
        _(
            "The plan %(plan)s of %(owner)s allows uploads of up to %(most)s. Nothing was kept. Split it, or ask an "
            "administrator for a larger plan.",
            owner=owner,
            plan=plan.name,
            most=size_words(plan.upload_bytes or 0),
        )
    )


def _no_room(plan: Plan, owner: str, used: int, more: int | None) -> LimitReached:
    facts = {"used": size_words(used), "plan": plan.name, "most": size_words(plan.storage_bytes or 0)}
    facts["owner"] = owner
    if more is None:
        return LimitReached(
            _(
                "%(owner)s stores %(used)s, with uploads on their way; the plan %(plan)s allows %(most)s. Nothing was "
                "kept. Delete what is no longer needed, or ask an administrator for a larger plan.",
                **facts,
            )
        )
    return LimitReached(
        _(
            "%(owner)s stores %(used)s, with uploads on their way; the plan %(plan)s allows %(most)s, and this has "
            "%(more)s. Nothing was kept. Delete what is no longer needed, or ask an administrator for a larger plan.",
            more=size_words(more),
            **facts,
        )
    )


def size_words(size: int) -> str:
    """Say a number of bytes in decimal units."""
    if size >= 1_000_000_000:
        return _("%(count)s GB", count=num(size / 1e9, ",.2f"))
    if size >= 1_000_000:
        return _("%(count)s MB", count=num(size / 1e6, ",.1f"))
    return _("%(count)s kB", count=num(size / 1e3, ",.1f"))
