"""Make service accounts of organisations, list and end them and their tokens. Tokens are made on the page, which asks
for the password: who holds a token makes no other.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from ecluse.accounts import Scope
from ecluse.accounts.scopes import scopes_of
from ecluse.roles import ServiceRole
from ecluse.web.api.organisations import Handle
from ecluse.web.declarations import Declarations
from ecluse.web.errors import answers
from ecluse.web.security import MayManage, MayRead, RuntimeDep

router = Declarations(prefix="/organisations/{handle}/service-accounts", tags=["organisations"])
Service = Annotated[str, Path(max_length=100, description="Its id")]


class ServiceRequest(BaseModel):
    """What a service account is called, and may."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=40, description="Small letters, digits and hyphens", examples=["nightly"])
    role: ServiceRole = "viewer"


class ServiceRoleRequest(BaseModel):
    """What a service account may: make and change things of the organisation, or read them and ask its models."""

    model_config = ConfigDict(extra="forbid")

    role: ServiceRole


class ServiceBody(BaseModel):
    """A program that acts for an organisation. It is no member; `id` is its client_id at /oauth/token."""

    id: str
    name: str
    role: ServiceRole
    created_at: datetime


class ServiceTokenBody(BaseModel):
    """A token of a service account, without its secret."""

    id: str
    name: str
    prefix: str
    scopes: list[Scope]
    model: str | None
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime | None


@router.get("", responses=answers(404))
def list_services(handle: Handle, runtime: RuntimeDep, user: MayRead) -> list[ServiceBody]:
    """List the service accounts of an organisation that you belong to."""
    return [
        ServiceBody.model_validate(row, from_attributes=True)
        for row in runtime.accounts.services(user.user.id, handle)
    ]


@router.post("", status_code=201, responses=answers(404, 409))
def add_service(handle: Handle, body: ServiceRequest, runtime: RuntimeDep, user: MayManage) -> ServiceBody:
    """Make a service account of an organisation that you own. Its tokens are made on its page."""
    row = runtime.accounts.add_service(user.user.id, handle, body.name, body.role)
    return ServiceBody.model_validate(row, from_attributes=True)


@router.put("/{service}", responses=answers(404))
def set_service_role(
    handle: Handle, service: Service, body: ServiceRoleRequest, runtime: RuntimeDep, user: MayManage
) -> ServiceBody:
    """Change the role of a service account; it counts from its next request on."""
    row = runtime.accounts.set_service_role(user.user.id, handle, service, body.role)
    return ServiceBody.model_validate(row, from_attributes=True)


@router.delete("/{service}", status_code=204, responses=answers(404))
def remove_service(handle: Handle, service: Service, runtime: RuntimeDep, user: MayManage) -> None:
    """Remove a service account; its tokens end at once, and what it made stays."""
    runtime.accounts.remove_service(user.user.id, handle, service)


@router.get("/{service}/tokens", responses=answers(404))
def list_service_tokens(
    handle: Handle, service: Service, runtime: RuntimeDep, user: MayRead
) -> list[ServiceTokenBody]:
    """List the tokens of a service account of an organisation that you own."""
    _row, tokens = runtime.accounts.service(user.user.id, handle, service)
    return [
        ServiceTokenBody(
            id=token.id,
            name=token.name,
            prefix=token.prefix,
            scopes=sorted(scopes_of(token)),
            model=token.model,
            created_at=token.created_at,
            last_used_at=token.last_used_at,
            expires_at=token.expires_at,
        )
        for token in tokens
    ]


@router.delete("/{service}/tokens/{token_id}", status_code=204, responses=answers(404))
def end_service_token(
    handle: Handle, service: Service, token_id: str, runtime: RuntimeDep, user: MayManage
) -> None:
    """End a token of a service account, and those that it was exchanged for."""
    runtime.accounts.revoke_service_token(user.user.id, handle, service, token_id)
