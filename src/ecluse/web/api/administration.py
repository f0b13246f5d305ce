"""Let administrators find and change people, see organisations, jobs and the log of everyone, and settings in force.

Lists are cut by key: `next` of a page is the `after` of the one behind it, however many rows come and go meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from ecluse import people
from ecluse.catalog import audit, organisations, plans, users
from ecluse.catalog.jobs_of_everyone import failures, jobs_of_everyone
from ecluse.catalog.tables import AuditEntry, JobRow, User
from ecluse.errors import InvalidInput
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.settings import in_force
from ecluse.web.declarations import Declarations
from ecluse.web.errors import answers
from ecluse.web.log_export import log_as_csv
from ecluse.web.security import Administrator, RuntimeDep

router = Declarations(tags=["administration"])
T = TypeVar("T")
Row = TypeVar("Row")
Search = Annotated[str, Query(max_length=200)]
After = Annotated[str, Query(max_length=64, description="`next` of the page before; empty: the first page")]
Limit = Annotated[int, Query(ge=1, le=200)]
Email = Annotated[str, Path(max_length=320)]


class PersonBody(BaseModel):
    """A person with an account here."""

    id: str
    email: str
    name: str
    handle: str | None
    role: Literal["admin", "member"]
    plan: str | None
    created_at: datetime
    disabled_at: datetime | None = Field(description="Since when nobody may sign in to it")


class ChangedPerson(PersonBody):
    """A person, and what follows from the change."""

    organisations_without_owner: list[str] = Field(
        description="Handles of those of the person's organisations that nobody owns who may sign in"
    )


class ChangePerson(BaseModel):
    """What is to change of an account; what is not sent stays."""

    model_config = ConfigDict(extra="forbid")

    role: Literal["admin", "member"] | None = None
    disabled: bool | None = Field(None, description="True: nobody signs in to it, and its jobs are cancelled")


class EndSessions(BaseModel):
    """What ends besides the sessions and the unused links of an account."""

    model_config = ConfigDict(extra="forbid")

    tokens: bool = False


class EndedBody(BaseModel):
    """How many ended."""

    sessions: int
    tokens: int


class OrganisationOfAll(BaseModel):
    """An organisation, as administrators see it."""

    id: str
    handle: str | None
    name: str
    members: int
    owners: list[str] = Field(description="Addresses of its owners")
    service_accounts: int = Field(description="Programs that act for it; they are no members")
    created_at: datetime


class JobOfAll(BaseModel):
    """A job of anyone. `user`: the address of its owner; null where there is none any more."""

    id: str
    kind: str
    status: Literal["queued", "running", "done", "failed", "cancelled"]
    title: str
    user: str | None
    error: str | None
    created_at: datetime
    finished_at: datetime | None


class FailuresBody(BaseModel):
    """Jobs of a kind that failed in the last 30 days for one reason, of which `example` is the latest."""

    kind: str
    example: str | None
    count: int
    people: int


class EntryBody(BaseModel):
    """Who did what to what. `by`: the address of who did it; null for a terminal, or who is gone."""

    id: str
    at: datetime
    action: str
    subject: str
    by: str | None
    detail: dict[str, Any]


class SettingBody(BaseModel):
    """A setting in force, and where it comes from; of one that may be a secret no value."""

    name: str
    value: str
    source: str


class PageOf(BaseModel, Generic[T]):
    """Some rows of a list. `next`: the `after` of the page behind; null on the last."""

    items: list[T]
    next: str | None


@router.get("/users")
def list_people(
    runtime: RuntimeDep, user: Administrator, search: Search = "", after: After = "", limit: Limit = 50
) -> PageOf[PersonBody]:
    """List people, the oldest account first; `search`: what an address or a name holds. For administrators."""
    with runtime.catalog.read() as transaction:
        rows = users.list_users(transaction, search.strip(), limit=limit + 1, after=after or None)
        given = plans.plans_of(transaction, [row.id for row in rows])

    def body(row: User) -> PersonBody:
        return _person(row, given[row.id].plan if row.id in given else None)

    return _page(rows, limit, lambda row: row.id, body)


@router.get("/users/{email}", responses=answers(404))
def show_person(email: Email, runtime: RuntimeDep, user: Administrator) -> PersonBody:
    """Show a person. For administrators."""
    return _shown(runtime, email)


@router.patch("/users/{email}", responses=answers(404))
def change_person(
    email: Email, body: ChangePerson, runtime: RuntimeDep, user: Administrator
) -> ChangedPerson:
    """Let a person administer or no longer, close an account or open it again. For administrators.

    409: nobody else would administer.
    """
    by = user.user.id
    if body.role == "admin":
        runtime.accounts.set_role(email, "admin", by)
    elif body.role == "member":
        people.demote(runtime, email, by)
    if body.disabled is True:
        people.disable(runtime, email, by)
    elif body.disabled is False:
        runtime.accounts.enable(email, by)
    left = runtime.accounts.without_owner(email)
    return ChangedPerson(**_shown(runtime, email).model_dump(), organisations_without_owner=left)


@router.post("/users/{email}/end-sessions", responses=answers(404))
def end_sessions(email: Email, body: EndSessions, runtime: RuntimeDep, user: Administrator) -> EndedBody:
    """Sign a person out everywhere: sessions, unused links and, if asked for, tokens end. For administrators."""
    _rest, sessions, tokens = runtime.accounts.end_all_sessions(email, tokens=body.tokens, by=user.user.id)
    return EndedBody(sessions=sessions, tokens=tokens)


@router.get("/administration/organisations")
def list_organisations(
    runtime: RuntimeDep, user: Administrator, search: Search = "", after: After = "", limit: Limit = 50
) -> PageOf[OrganisationOfAll]:
    """List every organisation by its handle; `search`: what a handle or a name holds. For administrators."""
    with runtime.catalog.read() as transaction:
        rows = organisations.list_all(transaction, search.strip(), limit=limit + 1, after=after)
    return _page(
        rows,
        limit,
        lambda row: row.organisation.handle or "",
        lambda row: OrganisationOfAll(
            id=row.organisation.id,
            handle=row.organisation.handle,
            name=row.organisation.name,
            members=row.members,
            owners=row.owners,
            service_accounts=row.services,
            created_at=row.organisation.created_at,
        ),
    )


@router.get("/administration/jobs")
def list_jobs_of_all(
    runtime: RuntimeDep,
    user: Administrator,
    status: Literal["", "queued", "running", "done", "failed", "cancelled"] = "",
    after: After = "",
    limit: Limit = 50,
) -> PageOf[JobOfAll]:
    """List the jobs of everyone, the newest first. For administrators."""
    before = _number(after) if after else None
    with runtime.catalog.read() as transaction:
        rows = jobs_of_everyone(transaction, status, limit=limit + 1, before=before)
    return _page(rows, limit, lambda row: str(row[0].number), lambda row: _job(*row))


@router.get("/administration/failures")
def list_failures(runtime: RuntimeDep, user: Administrator) -> list[FailuresBody]:
    """List why jobs of the last 30 days failed, the most frequent reason first. For administrators."""
    with runtime.catalog.read() as transaction:
        return [
            FailuresBody(kind=each.kind, example=each.example, count=each.count, people=each.people)
            for each in failures(transaction)
        ]


@router.get("/administration/log")
def list_log(
    runtime: RuntimeDep, user: Administrator, search: Search = "", after: After = "", limit: Limit = 50
) -> PageOf[EntryBody]:
    """List who did what, the newest first; `search`: what an action, its subject or who did it holds."""
    with runtime.catalog.read() as transaction:
        rows = audit.entries(transaction, search=search.strip(), limit=limit + 1, after=after or None)
    return _page(rows, limit, lambda row: row[0].id, lambda row: _entry(*row))


@router.get("/administration/log.csv", response_class=Response)
def export_log(runtime: RuntimeDep, user: Administrator, search: Search = "") -> Response:
    """Send the log, or what of it holds a text, as CSV; no text of it is run as a formula. For administrators."""
    return log_as_csv(runtime, search.strip())


@router.get("/administration/settings")
def list_settings(runtime: RuntimeDep, user: Administrator) -> list[SettingBody]:
    """List the settings in force and where each comes from; of secrets nothing. For administrators."""
    return [
        SettingBody(name=each.name, value=each.value, source=str(each.reason))
        for each in in_force(runtime.settings)
    ]


def _page(rows: Sequence[Row], limit: int, key: Callable[[Row], str], body: Callable[[Row], T]) -> PageOf[T]:
    """Return the first `limit` of these rows, and where to go on if there are more."""
    shown = rows[:limit]
    return PageOf(items=[body(row) for row in shown], next=key(shown[-1]) if len(rows) > limit else None)


def _number(after: str) -> int:
    if not after.isascii() or not after.isdigit() or len(after) > 18:
        raise InvalidInput(
            _("%(value)s is no `next` of a page before. Leave it out for the first.", value=repr(after))
        )
    return int(after)


def _shown(runtime: Runtime, email: str) -> PersonBody:
    person = runtime.accounts.by_email(email)
    with runtime.catalog.read() as transaction:
        given = plans.plans_of(transaction, [person.id])
    return _person(person, given[person.id].plan if person.id in given else None)


def _person(row: User, plan: str | None) -> PersonBody:
    return PersonBody.model_validate(
        {
            "id": row.id,
            "email": row.email,
            "name": row.name,
            "handle": row.handle,
            "role": row.role,
            "plan": plan,
            "created_at": row.created_at,
            "disabled_at": row.disabled_at,
        }
    )


def _job(row: JobRow, email: str | None) -> JobOfAll:
    return JobOfAll.model_validate(
        {
            "id": row.id,
            "kind": row.kind,
            "status": row.status,
            "title": row.title,
            "user": email,
            "error": row.error,
            "created_at": row.created_at,
            "finished_at": row.finished_at,
        }
    )


def _entry(row: AuditEntry, by: str | None) -> EntryBody:
    return EntryBody(
        id=row.id, at=row.created_at, action=row.action, subject=row.subject, by=by, detail=row.detail
    )
