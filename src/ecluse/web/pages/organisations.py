"""Show the organisations of a person, and let them invite, join, change roles, leave, hand over and end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Form, Request
from starlette.responses import RedirectResponse, Response

from ecluse import people
from ecluse.accounts import Member, SignedIn
from ecluse.accounts.organisations import INVITATION_DAYS
from ecluse.catalog import holdings, quotas
from ecluse.errors import EcluseError, InvalidInput, NotFound
from ecluse.roles import ROLES
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.web import letters
from ecluse.web.declarations import Declarations
from ecluse.web.security import CurrentUser, RuntimeDep, address_of
from ecluse.web.templating import render, words_of

router = Declarations()
Field = Annotated[str, Form()]
#: Models, tables and runs that the page of an organisation lists, each; their own lists have the rest.
LISTED: Final = 10
#: What is done to a member after a question alone.
ASKED: Final = ("remove", "hand_over")


@dataclass(frozen=True)
class _Invited:
    """Who was invited a moment ago: whoever gets a link, or the address that it was sent to."""

    link: str | None = None
    sent_to: str | None = None


_NOBODY: Final = _Invited()


@router.get("/organisations")
def list_organisations(request: Request, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Show the organisations of a person, and the form that makes one."""
    return _list_page(request, runtime, user)


@router.post("/organisations")
def add_organisation(
    request: Request, runtime: RuntimeDep, user: CurrentUser, handle: Field = "", name: Field = ""
) -> Response:
    """Make an organisation, whose owner is who asks."""
    handle = handle.strip().removeprefix("@")
    try:
        runtime.accounts.add_organisation(user.user.id, handle, name)
    except EcluseError as error:
        return _list_page(request, runtime, user, typed=(handle, name), error=to_correct(error))
    return RedirectResponse(f"/organisations/{handle}", 303)


@router.get("/organisations/join/{secret}")
def show_invitation(request: Request, secret: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Ask before an invitation is used up, as programs that preview links would use it up."""
    organisation, role = runtime.accounts.invitation(secret)
    context = {"organisation": organisation, "role": role, "secret": secret}
    return render(request, "organisation_join.html", context)


@router.post("/organisations/join/{secret}")
def accept_invitation(secret: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Join an organisation; the link is used up."""
    return RedirectResponse(f"/organisations/{runtime.accounts.accept_invitation(user.user.id, secret)}", 303)


@router.get("/organisations/{handle}")
def show_organisation(request: Request, handle: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Show who belongs to an organisation."""
    return organisation_page(request, runtime, user, handle)


@router.post("/organisations/{handle}/invite")
def invite(
    request: Request,
    handle: str,
    runtime: RuntimeDep,
    user: CurrentUser,
    role: Field = "member",
    days: Annotated[int, Form()] = INVITATION_DAYS,
    email: Annotated[str, Form(max_length=320)] = "",
) -> Response:
    """Make a link by which one person joins, and show it, this once; or send it to an address, and show it nobody."""
    try:
        if email.strip():
            text = letters.invitation(words_of(request), user.user, handle)
            runtime.accounts.invite_by_mail(user.user.id, handle, role, days, email, text)
            return organisation_page(request, runtime, user, handle, invited=_Invited(sent_to=email.strip()))
        secret, _rest = runtime.accounts.invite(user.user.id, handle, role, days)
    except EcluseError as error:
        return organisation_page(request, runtime, user, handle, error=to_correct(error))
    link = f"{address_of(request)}/organisations/join/{secret}"
    return organisation_page(request, runtime, user, handle, invited=_Invited(link=link))


@router.post("/organisations/{handle}/invitations/{invitation}/withdraw")
def withdraw_invitation(handle: str, invitation: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Take an invitation back."""
    runtime.accounts.withdraw_invitation(user.user.id, handle, invitation)
    return RedirectResponse(f"/organisations/{handle}", 303)


@router.post("/organisations/{handle}/members/{member}")
def change_member(
    request: Request,
    handle: str,
    member: str,
    runtime: RuntimeDep,
    user: CurrentUser,
    action: Field = "",
    is_sure: Annotated[bool, Form()] = False,
) -> Response:
    """Change the role of a member, hand the organisation over to them, or remove them: these two after a question."""
    try:
        if action in ASKED and not is_sure:
            runtime.accounts.owned_organisation(user.user.id, handle)
            return organisation_page(request, runtime, user, handle, asked=(action, member))
        if action == "remove":
            runtime.accounts.remove_member(user.user.id, handle, member)
        elif action == "hand_over":
            runtime.accounts.hand_over(user.user.id, handle, member)
        elif action in ROLES:
            runtime.accounts.set_member_role(user.user.id, handle, member, action)
        else:
            raise InvalidInput(_("Choose what is to be done with the member."))
    except EcluseError as error:
        return organisation_page(request, runtime, user, handle, error=to_correct(error))
    return RedirectResponse(f"/organisations/{handle}", 303)


@router.post("/organisations/{handle}/leave")
def leave(request: Request, handle: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Belong to an organisation no longer."""
    try:
        runtime.accounts.remove_member(user.user.id, handle, user.user.id)
    except EcluseError as error:
        return organisation_page(request, runtime, user, handle, error=to_correct(error))
    return RedirectResponse("/organisations", 303)


@router.post("/organisations/{handle}/end")
def end_organisation(request: Request, handle: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """End an organisation."""
    try:
        people.end_organisation(runtime, user.user.id, handle, patience=0)
    except EcluseError as error:
        return organisation_page(request, runtime, user, handle, error=to_correct(error))
    return RedirectResponse("/organisations", 303)


def to_correct(error: EcluseError) -> EcluseError:
    """Return an error that a form can be corrected after; what is not there, or a fault, is answered as anywhere."""
    if error.status not in (403, 409, 422, 429):
        raise error
    return error


def _list_page(
    request: Request,
    runtime: Runtime,
    user: SignedIn,
    *,
    typed: tuple[str, str] = ("", ""),
    error: EcluseError | None = None,
) -> Response:
    context = {
        "organisations": runtime.accounts.organisations(user.user.id),
        "handle": typed[0],
        "name": typed[1],
        "error": str(error) if error else None,
    }
    return render(request, "organisations.html", context, status=error.status if error else 200)


def organisation_page(
    request: Request,
    runtime: Runtime,
    user: SignedIn,
    handle: str,
    *,
    invited: _Invited = _NOBODY,
    asked: tuple[str, str] | None = None,
    error: EcluseError | None = None,
) -> Response:
    """Return the page of an organisation, with what has just become of it."""
    organisation, members = runtime.accounts.organisation(user.user.id, handle)
    is_owner = organisation.role == "owner"
    with runtime.catalog.read() as transaction:
        things = holdings.holdings_of(transaction, organisation.id, most=LISTED)
        allowance = quotas.allowance_of(transaction, organisation.id)
        used = quotas.used_by(transaction, organisation.id) if allowance is None else allowance.used
    context = {
        "organisation": organisation,
        "members": members,
        "services": runtime.accounts.services(user.user.id, handle),
        "things": things,
        "allowance": allowance,
        "used": used,
        "asked": None if asked is None else _question(*asked, members),
        "is_owner": is_owner,
        "invitations": runtime.accounts.invitations(user.user.id, handle) if is_owner else [],
        "my_id": user.user.id,
        "days": INVITATION_DAYS,
        "link": invited.link,
        "sent_to": invited.sent_to,
        "sends_mail": runtime.accounts.sends_mail,
        "error": str(error) if error else None,
    }
    return render(request, "organisation.html", context, status=error.status if error else 200)


def _question(action: str, member_id: str, members: list[Member]) -> tuple[str, Member]:
    """Return what is to be done with which member. Raises NotFound where there is none."""
    for member in members:
        if member.id == member_id:
            return action, member
    raise NotFound(_("No member %(value)s of this organisation.", value=member_id))
