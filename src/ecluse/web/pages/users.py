"""Let administrators see accounts, invite people, change what an account may, and read who signed in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Form, Query, Request
from starlette.responses import RedirectResponse, Response

from ecluse import people
from ecluse.accounts import SignedIn
from ecluse.accounts.organisations import INVITATION_DAYS
from ecluse.catalog import plans, users
from ecluse.catalog.tables import User
from ecluse.errors import EcluseError, InvalidInput
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.web import letters
from ecluse.web.declarations import Declarations
from ecluse.web.log_words import said_of
from ecluse.web.pages.paging import PAGE_ROWS, PageNumber, Pager
from ecluse.web.security import Administrator, RuntimeDep, address_of, is_from_here
from ecluse.web.templating import render, words_of

router = Declarations()
Field = Annotated[str, Form()]
Search = Annotated[str, Form(max_length=200)]
#: Entries of the log on the page; a terminal shows more.
LOGGED: Final = 50
#: What is done to an account here. Its removal is left to the terminal, which asks what is to go with it.
ACTIONS: Final = ("administrator", "member", "disable", "enable", "link", "end_sessions", "remove_factor")
#: How the giving of a plan begins; its name follows, or none.
PLAN: Final = "plan:"


@dataclass(frozen=True)
class _Part:
    """Which accounts a page lists: those whose address or name holds `search`, from this page on."""

    search: str = ""
    page: int = 1


@dataclass(frozen=True)
class _Done:
    """What was just done: a link that signs in, one that makes an account, where one was sent, or other words."""

    link: str | None = None
    invitation: str | None = None
    sent_to: str | None = None
    changed: str | None = None


@router.get("/users")
def show_users(
    request: Request,
    runtime: RuntimeDep,
    user: Administrator,
    search: Annotated[str, Query(max_length=200)] = "",
    page: PageNumber = 1,
) -> Response:
    """Show accounts, those whose address or name holds what is searched."""
    return _page(request, runtime, part=_Part(search.strip(), page))


@router.post("/users")
def invite(
    request: Request,
    runtime: RuntimeDep,
    user: Administrator,
    email: Field = "",
    role: Field = "member",
    current: Field = "",
    search: Search = "",
) -> Response:
    """Make an account, and show the link with which its owner signs in once and sets a password."""
    try:
        runtime.accounts.prove(user, current, here=is_from_here(request))
        made = runtime.accounts.add(email, admin=role == "administrator", by=user.user.id)
    except EcluseError as error:
        typed = {"invited": email, "role": role}
        return _page(request, runtime, part=_Part(search), typed=typed, error=_to_correct(error))
    return _page(request, runtime, part=_Part(search), done=_Done(_link(request, runtime, made, user)))


@router.post("/users/invite")
def invite_person(
    request: Request,
    runtime: RuntimeDep,
    user: Administrator,
    email: Annotated[str, Form(max_length=320)] = "",
    days: Annotated[int, Form()] = INVITATION_DAYS,
    current: Field = "",
) -> Response:
    """Make a link by which one person makes an account, and show it, this once; or send it, and show it nobody."""
    accounts = runtime.accounts
    try:
        accounts.prove(user, current, here=is_from_here(request))
        if email.strip():
            text = letters.sign_up(words_of(request), user.user)
            accounts.invite_person_by_mail(user.user.id, days, email, text)
            return _page(request, runtime, done=_Done(sent_to=email.strip()))
        secret, _rest = accounts.invite_person(user.user.id, days)
    except EcluseError as error:
        return _page(request, runtime, error=_to_correct(error))
    return _page(request, runtime, done=_Done(invitation=f"{address_of(request)}/sign-up/{secret}"))


@router.post("/users/invitations/{invitation}/withdraw")
def withdraw_invitation(
    request: Request, invitation: str, runtime: RuntimeDep, user: Administrator
) -> Response:
    """Take an invitation to make an account back."""
    runtime.accounts.withdraw_person(invitation, user.user.id)
    return RedirectResponse("/users", 303)


@router.post("/users/change")
def change(
    request: Request,
    runtime: RuntimeDep,
    user: Administrator,
    email: Field = "",
    action: Field = "",
    current: Field = "",
    search: Search = "",
) -> Response:
    """Change the role of an account, disable or enable it, or make a link that signs its owner in."""
    by = user.user.id
    try:
        if action not in ACTIONS and not action.startswith(PLAN):
            raise InvalidInput(_("Choose what is to be done with the account."))
        runtime.accounts.prove(user, current, here=is_from_here(request))
        if action == "link":
            link = _link(request, runtime, runtime.accounts.by_email(email), user)
            return _page(request, runtime, part=_Part(search), done=_Done(link))
        if action == "administrator":
            runtime.accounts.set_role(email, "admin", by)
        elif action == "member":
            people.demote(runtime, email, by)
        elif action.startswith(PLAN):
            _give_plan(runtime, email, action.removeprefix(PLAN), by)
        elif action == "end_sessions":
            runtime.accounts.end_all_sessions(email, tokens=False, by=by)
        elif action == "remove_factor":
            runtime.accounts.remove_second_factor(email, by)
        elif action == "disable":
            people.disable(runtime, email, by)
        else:
            runtime.accounts.enable(email, by)
    except EcluseError as error:
        typed = {"email": email, "action": action}
        return _page(request, runtime, part=_Part(search), typed=typed, error=_to_correct(error))
    say = words_of(request)
    changed = say._("%(email)s: done.", email=email)
    if action == "disable" and (left := runtime.accounts.without_owner(email)):
        changed += " " + say._(
            "Nobody who may sign in owns %(handles)s by now.", handles=", ".join(f"@{each}" for each in left)
        )
    done = _Done(changed=changed)
    return _page(request, runtime, part=_Part(search), typed={"email": email}, done=done)


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
    done: _Done = _Done(),
    typed: Mapping[str, str] | None = None,
    part: _Part = _Part(),
) -> Response:
    offset = (part.page - 1) * PAGE_ROWS
    shown = runtime.accounts.everyone(part.search, limit=PAGE_ROWS + 1, offset=offset)
    with runtime.catalog.read() as transaction:
        given = plans.plans_of(transaction, [user.id for user in shown])
        known = plans.list_plans(transaction)
        total = users.count_users(transaction)
    log = runtime.accounts.log(limit=LOGGED)
    context = {
        "users": shown[:PAGE_ROWS],
        "total": total,
        "search": part.search,
        "pager": Pager(part.page, min(len(shown), PAGE_ROWS), None, len(shown) > PAGE_ROWS),
        "given": given,
        "plans": known,
        "with_factor": runtime.accounts.has_second_factor([user.id for user in shown]),
        "log": log,
        "said": said_of((entry for entry, _by in log), words_of(request)),
        "link": done.link,
        "invitation": done.invitation,
        "sent_to": done.sent_to,
        "sign_up": runtime.settings.accounts.sign_up,
        "takes_invitations": runtime.accounts.takes_invitations,
        "invitations": runtime.accounts.people_invited(),
        "sends_mail": runtime.accounts.sends_mail,
        "days": INVITATION_DAYS,
        "typed": typed or {},
        "changed": done.changed,
        "error": str(error) if error else None,
    }
    status = 200 if error is None else error.status if error.status in (403, 409, 429) else 422
    return render(request, "users.html", context, status=status)
