"""Let administrators see accounts, invite people, change what an account may, and read who signed in."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import Response

from ecluse import people
from ecluse.accounts import SignedIn, ways
from ecluse.catalog import plans, users
from ecluse.catalog.tables import User
from ecluse.errors import EcluseError, InvalidInput
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.web.pages.paging import PAGE_ROWS, PageNumber, Pager
from ecluse.web.security import Administrator, RuntimeDep, address_of, is_from_here
from ecluse.web.templating import render, words_of

router = APIRouter()
Field = Annotated[str, Form()]
#: Entries of the log on the page; a terminal shows more.
LOGGED: Final = 50
#: What is done to an account here. Its removal is left to the terminal, which asks what is to go with it.
ACTIONS: Final = ("administrator", "member", "disable", "enable", "link", "end_sessions")
#: How the giving of a plan begins; its name follows, or none.
PLAN: Final = "plan:"


@router.get("/users")
def show_users(
    request: Request,
    runtime: RuntimeDep,
    user: Administrator,
    search: Annotated[str, Query(max_length=200)] = "",
    page: PageNumber = 1,
) -> Response:
    """Show accounts, those whose address or name holds what is searched."""
    return _page(request, runtime, search=search.strip(), page=page)


@router.post("/users")
def invite(
    request: Request,
    runtime: RuntimeDep,
    user: Administrator,
    email: Field = "",
    role: Field = "member",
    current: Field = "",
) -> Response:
    """Make an account, and show the link with which its owner signs in once and sets a password."""
    try:
        runtime.accounts.prove(user, current, here=is_from_here(request))
        made = runtime.accounts.add(email, admin=role == "administrator", by=user.user.id)
    except EcluseError as error:
        return _page(request, runtime, error=_to_correct(error))
    return _page(request, runtime, link=_link(request, runtime, made, user))


@router.post("/users/change")
def change(
    request: Request,
    runtime: RuntimeDep,
    user: Administrator,
    email: Field = "",
    action: Field = "",
    current: Field = "",
) -> Response:
    """Change the role of an account, disable or enable it, or make a link that signs its owner in."""
    by = user.user.id
    try:
        if action not in ACTIONS and not action.startswith(PLAN):
            raise InvalidInput(_("Choose what is to be done with the account."))
        runtime.accounts.prove(user, current, here=is_from_here(request))
        if action == "link":
            return _page(
                request, runtime, link=_link(request, runtime, runtime.accounts.by_email(email), user)
            )
        if action == "administrator":
            runtime.accounts.set_role(email, "admin", by)
        elif action == "member":
            people.demote(runtime, email, by)
        elif action.startswith(PLAN):
            _give_plan(runtime, email, action.removeprefix(PLAN), by)
        elif action == "end_sessions":
            runtime.accounts.end_all_sessions(email, tokens=False, by=by)
        elif action == "disable":
            people.disable(runtime, email, by)
        else:
            runtime.accounts.enable(email, by)
    except EcluseError as error:
        return _page(request, runtime, error=_to_correct(error))
    return _page(request, runtime, changed=words_of(request)._("%(email)s: done.", email=email))


def _give_plan(runtime: Runtime, email: str, plan: str, by: str) -> None:
    person = runtime.accounts.by_email(email)
    with runtime.catalog.write() as transaction:
        plans.give(transaction, person, plan or None, by=by)


def _to_correct(error: EcluseError) -> EcluseError:
    """Return the error, if the form can be corrected; a fault goes on to where faults are answered."""
    if error.status >= 500:
        raise error
    return error


def _link(request: Request, runtime: Runtime, owner: User, by: SignedIn) -> str:
    return f"{address_of(request)}/sign-in/link/{runtime.accounts.sign_in_link(owner.id, by.user.id)}"


def _page(
    request: Request,
    runtime: Runtime,
    *,
    error: EcluseError | None = None,
    link: str | None = None,
    changed: str | None = None,
    search: str = "",
    page: int = 1,
) -> Response:
    shown = runtime.accounts.everyone(search, limit=PAGE_ROWS + 1, offset=(page - 1) * PAGE_ROWS)
    with runtime.catalog.read() as transaction:
        given = plans.plans_of(transaction, [user.id for user in shown])
        known = plans.list_plans(transaction)
        total = users.count_users(transaction)
    context = {
        "users": shown[:PAGE_ROWS],
        "total": total,
        "search": search,
        "pager": Pager(page, min(len(shown), PAGE_ROWS), None, len(shown) > PAGE_ROWS),
        "given": given,
        "plans": known,
        "log": runtime.accounts.log(limit=LOGGED),
        "entered": {way.action: words_of(request)._(way.logged) for way in ways.WAYS if way.action},
        "link": link,
        "changed": changed,
        "error": str(error) if error else None,
    }
    status = 200 if error is None else error.status if error.status in (403, 409, 429) else 422
    return render(request, "users.html", context, status=status)
