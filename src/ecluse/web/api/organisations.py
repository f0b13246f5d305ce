"""Make organisations, invite people to them, change what members may, leave, hand over and end them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from ecluse import people
from ecluse.accounts import Belonging, Member, SignedIn
from ecluse.accounts.organisations import INVITATION_DAYS, MOST_INVITATION_DAYS
from ecluse.errors import Forbidden
from ecluse.roles import MemberRole
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.web.declarations import Declarations
from ecluse.web.errors import answers
from ecluse.web.security import MayManage, MayRead, RuntimeDep, address_of

router = Declarations(tags=["organisations"])
Handle = Annotated[str, Path(max_length=100, description="Without the @", examples=["acme"])]


class OrganisationRequest(BaseModel):
    """What an organisation is called."""

    model_config = ConfigDict(extra="forbid")

    handle: str = Field(
        max_length=100, description="Small letters, digits and hyphens; it stays", examples=["acme"]
    )
    name: str = Field("", max_length=200)


class OrganisationBody(BaseModel):
    """An organisation, and what you may in it."""

    handle: str
    name: str
    role: MemberRole
    members: int
    created_at: datetime


class MemberBody(BaseModel):
    id: str
    email: str
    name: str
    role: MemberRole
    joined_at: datetime


class OrganisationDetail(OrganisationBody):
    people: list[MemberBody] = Field(description="Its members, by their addresses")


class RoleRequest(BaseModel):
    """What a member may: own it, make and change things, or read, download and ask for predictions."""

    model_config = ConfigDict(extra="forbid")

    role: MemberRole


class InvitationRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    role: MemberRole = "member"
    days: int = Field(INVITATION_DAYS, ge=1, le=MOST_INVITATION_DAYS)


class InvitationBody(BaseModel):
    id: str
    role: MemberRole
    created_at: datetime
    expires_at: datetime


class NewInvitation(InvitationBody):
    link: str = Field(description="One person joins by it, once. It is shown this once")


class AcceptRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    link: str = Field(max_length=1000, description="The link, or its last part")


class HandOverRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    member: str = Field(max_length=100, description="Id of the member who is to own it")


@router.get("/organisations")
def list_organisations(runtime: RuntimeDep, user: MayRead) -> list[OrganisationBody]:
    """List the organisations that you belong to."""
    return [organisation_body(each) for each in runtime.accounts.organisations(user.user.id)]


@router.post("/organisations", status_code=201, responses=answers(409))
def add_organisation(request: OrganisationRequest, runtime: RuntimeDep, user: MayManage) -> OrganisationBody:
    """Make an organisation, which you own."""
    return organisation_body(runtime.accounts.add_organisation(user.user.id, request.handle, request.name))


@router.post("/organisations/join", responses=answers(404))
def accept_invitation(request: AcceptRequest, runtime: RuntimeDep, user: MayManage) -> OrganisationDetail:
    """Join an organisation by the link of an invitation, which is used up."""
    handle = runtime.accounts.accept_invitation(user.user.id, secret_of(request.link))
    return _detail(runtime.accounts.organisation(user.user.id, handle))


@router.get("/organisations/{handle}", responses=answers(404))
def show_organisation(handle: Handle, runtime: RuntimeDep, user: MayRead) -> OrganisationDetail:
    """Show an organisation that you belong to, with its members."""
    return _detail(runtime.accounts.organisation(user.user.id, handle))


@router.delete("/organisations/{handle}", status_code=204, responses=answers(404))
def end_organisation(
    handle: Handle,
    runtime: RuntimeDep,
    user: MayManage,
    everything: Annotated[
        bool, Query(description="Remove what it has, too; else one that has something stays")
    ] = False,
) -> None:
    """End an organisation that you own; what is shared with it is no longer. Nothing of it is left in any table."""
    people.end_organisation(runtime, user.user.id, handle, everything=everything, patience=0)


@router.put("/organisations/{handle}/members/{member}", responses=answers(404, 409))
def set_role(
    handle: Handle, member: str, request: RoleRequest, runtime: RuntimeDep, user: MayManage
) -> OrganisationDetail:
    """Change the role of a member; 409 where nobody would own the organisation. A token makes nobody an owner."""
    if request.role == "owner":
        _expect_no_token(runtime, user, handle)
    runtime.accounts.set_member_role(user.user.id, handle, member, request.role)
    return _detail(runtime.accounts.organisation(user.user.id, handle))


@router.delete("/organisations/{handle}/members/{member}", status_code=204, responses=answers(404, 409))
def remove_member(handle: Handle, member: str, runtime: RuntimeDep, user: MayManage) -> None:
    """Remove a member, or leave, where it is you; 409 where nobody would own the organisation."""
    runtime.accounts.remove_member(user.user.id, handle, member)


@router.post("/organisations/{handle}/hand-over", responses=answers(404))
def hand_over(
    handle: Handle, request: HandOverRequest, runtime: RuntimeDep, user: MayManage
) -> OrganisationDetail:
    """Make another member an owner, and yourself a member. A token does not."""
    _expect_no_token(runtime, user, handle)
    runtime.accounts.hand_over(user.user.id, handle, request.member)
    return _detail(runtime.accounts.organisation(user.user.id, handle))


@router.get("/organisations/{handle}/invitations", responses=answers(404))
def list_invitations(handle: Handle, runtime: RuntimeDep, user: MayRead) -> list[InvitationBody]:
    """List the invitations that nobody has used yet."""
    return [
        InvitationBody.model_validate(row, from_attributes=True)
        for row in runtime.accounts.invitations(user.user.id, handle)
    ]


@router.post("/organisations/{handle}/invitations", status_code=201, responses=answers(404))
def invite(
    request: Request, handle: Handle, body: InvitationRequest, runtime: RuntimeDep, user: MayManage
) -> NewInvitation:
    """Make a link by which one person joins, once. A token invites no owner."""
    if body.role == "owner":
        _expect_no_token(runtime, user, handle)
    secret, row = runtime.accounts.invite(user.user.id, handle, body.role, body.days)
    plain = InvitationBody.model_validate(row, from_attributes=True)
    return NewInvitation(**plain.model_dump(), link=f"{address_of(request)}/organisations/join/{secret}")


@router.delete("/organisations/{handle}/invitations/{invitation}", status_code=204, responses=answers(404))
def withdraw_invitation(handle: Handle, invitation: str, runtime: RuntimeDep, user: MayManage) -> None:
    """Take an invitation back."""
    runtime.accounts.withdraw_invitation(user.user.id, handle, invitation)


def _expect_no_token(runtime: Runtime, user: SignedIn, handle: str) -> None:
    """Make sure that a person makes someone an owner, who would outlive the token of a program.

    Raises:
        NotFound, Forbidden: a token asks, or the person does not own the organisation.
    """
    runtime.accounts.owned_organisation(user.user.id, handle)
    if user.token is not None:
        raise Forbidden(
            _("A token makes nobody an owner. Do it on the page of @%(handle)s, signed in.", handle=handle)
        )


def secret_of(link: str) -> str:
    """Return the secret of a link, which is its last part."""
    return link.strip().rstrip("/").rpartition("/")[2]


def organisation_body(row: Belonging) -> OrganisationBody:
    return OrganisationBody.model_validate(row, from_attributes=True)


def _detail(shown: tuple[Belonging, list[Member]]) -> OrganisationDetail:
    organisation, members = shown
    people = [MemberBody.model_validate(each, from_attributes=True) for each in members]
    return OrganisationDetail(**organisation_body(organisation).model_dump(), people=people)
