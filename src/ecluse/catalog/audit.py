"""Write down who did what, in the transaction that does it, and read it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog.of_organisations import ORGANISATION
from ecluse.catalog.tables import AuditEntry, User

#: Of what is written down, what is about accounts: who entered or tried to, and what was changed about it.
OF_ACCOUNTS: Final = ("user.", "session.", "token.", "link.", "organisation.")


#: Who asks for what is done here; what is done to an organisation's things is theirs to answer for.
_person: ContextVar[str | None] = ContextVar("person", default=None)


#: The name of the service account that asks for what is done here, in the name of its organisation.
_service: ContextVar[str | None] = ContextVar("service", default=None)
#: Where an entry has the name of the service account that did it.
SERVICE_ACCOUNT: Final = "service_account"


def speak_for(person_id: str, service: str | None = None) -> None:
    """Let what is done from here on, within this request, be done by this person; or by a program, in its name."""
    _person.set(person_id)
    _service.set(service)


@contextmanager
def done_by(person_id: str) -> Iterator[None]:
    """Let what a block does be done by this person."""
    token = _person.set(person_id)
    try:
        yield
    finally:
        _person.reset(token)


def who_asks() -> str | None:
    """Return the id of who asks for what is done here; None where nobody is known to."""
    return _person.get()


def record(transaction: Transaction, user_id: str | None, action: str, subject: str, **detail: Any) -> None:
    """Note an action in the transaction that does it, so that neither is kept without the other.

    `user_id`: who did it, or whose the thing is: of what an organisation has, the person who asks is noted instead.
    """
    person = _person.get()
    if user_id is not None and person not in (None, user_id):
        whose = select(User.handle).where(User.id == user_id, User.kind == ORGANISATION)
        if (handle := transaction.scalar(whose)) is not None:
            user_id, detail = person, detail | {"organisation": f"@{handle}"}
    if user_id is not None and (service := _service.get()) is not None:
        detail = {SERVICE_ACCOUNT: service} | detail
    transaction.add(AuditEntry(user_id=user_id, action=action, subject=subject[:300], detail=detail))


def was_done_by(transaction: Transaction, user_id: str, action: str) -> bool:
    """Return whether a person ever did this."""
    query = select(AuditEntry.id).where(AuditEntry.user_id == user_id, AuditEntry.action == action)
    return transaction.scalar(query.limit(1)) is not None


def entries(
    transaction: Transaction,
    *,
    user: User | None = None,
    actions: Sequence[str] = (),
    search: str = "",
    limit: int = 100,
    offset: int = 0,
    after: str | None = None,
) -> list[tuple[AuditEntry, str | None]]:
    """List the entries, the newest first, each with the e-mail address of who did it (None: the terminal, or nobody).

    A service account is called as its organisation and itself are: @acme/nightly.

    `user`: what this one did, and what was done to the account. `actions`: how those that are wanted begin.
    `search`: what an action, a subject or the address of who did it holds, whatever the case. `after`: the id of an
    entry, behind which they begin.
    """
    query = select(AuditEntry, User.email).outerjoin(User, User.id == AuditEntry.user_id)
    if user is not None:
        query = query.where(or_(AuditEntry.user_id == user.id, AuditEntry.subject == user.email))
    if actions:
        query = query.where(
            or_(*(AuditEntry.action.startswith(action, autoescape=True) for action in actions))
        )
    if search:
        places = (AuditEntry.action, AuditEntry.subject, User.email)
        query = query.where(or_(*(place.icontains(search, autoescape=True) for place in places)))
    if after is not None:
        last = select(AuditEntry.created_at).where(AuditEntry.id == after).scalar_subquery()
        same = and_(AuditEntry.created_at == last, AuditEntry.id > after)
        query = query.where(or_(AuditEntry.created_at < last, same))
    query = query.order_by(AuditEntry.created_at.desc(), AuditEntry.id)
    rows = transaction.execute(query.limit(limit).offset(offset))
    return [(entry, _called(entry, email)) for entry, email in rows]


def _called(entry: AuditEntry, email: str | None) -> str | None:
    service = entry.detail.get(SERVICE_ACCOUNT)
    return email if email is None or service is None else f"{email}/{service}"
