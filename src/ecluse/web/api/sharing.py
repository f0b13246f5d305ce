"""Share models, see and take back what is shared, and list what others share."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ecluse import models as published
from ecluse.web.api.bodies import model_body
from ecluse.web.api.organisations import secret_of
from ecluse.web.api.schemas import ModelBody
from ecluse.web.errors import answers
from ecluse.web.security import MayManage, MayRead, RuntimeDep, address_of

router = APIRouter(tags=["sharing"])


class ShareRequest(BaseModel):
    """With whom a model is shared: one of `email`, `organisation` and `link`."""

    model_config = ConfigDict(extra="forbid")

    email: str | None = Field(
        None, max_length=320, description="Address of a person, who has an account by now"
    )
    organisation: str | None = Field(None, max_length=100, description="Handle of one that you belong to")
    link: bool = Field(False, description="Whoever opens the link, signed in, sees the model until it ends")
    days: int | None = Field(
        None, ge=1, le=365, description="How long; a link lasts 7 days unless it is said"
    )

    @model_validator(mode="after")
    def _names_one(self) -> ShareRequest:
        if bool(self.email) + bool(self.organisation) + self.link != 1:
            raise ValueError("Name one of email, organisation and link.")
        return self


class ShareBody(BaseModel):
    """A share of a model of yours."""

    id: str
    kind: Literal["person", "organisation", "link", "opened"] = Field(
        description="opened: by someone who came by a link"
    )
    with_whom: str = Field(description="An address as you gave it, or a handle; empty of a link")
    created_at: datetime
    expires_at: datetime | None


class NewShare(ShareBody):
    url: str | None = Field(None, description="The link, shown this once")


class SharedPage(BaseModel):
    items: list[ModelBody]
    total: int
    page: int
    per_page: int


class OpenRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    link: str = Field(max_length=1000, description="The link, or its last part")


class OpenedBody(BaseModel):
    """The model that a link leads to."""

    name: str = Field(description="By which you ask for it", examples=["@anna/churn"])


@router.get("/shared/models")
def list_shared(
    runtime: RuntimeDep,
    user: MayRead,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    per_page: Annotated[int, Query(ge=1, le=200)] = 50,
) -> SharedPage:
    """List the models that others share with you or an organisation of yours, each at its latest version."""
    items = published.list_shared(runtime, user.user.id, limit=per_page, offset=(page - 1) * per_page)
    return SharedPage(
        items=[model_body(each.row, each.aliases, each.place) for each in items],
        total=published.count_shared(runtime, user.user.id),
        page=page,
        per_page=per_page,
    )


@router.post("/shared/open", responses=answers(404))
def open_link(request: OpenRequest, runtime: RuntimeDep, user: MayManage) -> OpenedBody:
    """Open a link by which a model is shared: you see the model until the link ends."""
    return OpenedBody(name=published.open_link(runtime, user.user.id, secret_of(request.link)).address)


@router.get("/models/{name}/shares", responses=answers(404))
def list_shares(name: str, runtime: RuntimeDep, user: MayRead) -> list[ShareBody]:
    """List with whom a model of yours is shared."""
    own = published.own_name(runtime, user.user.id, name)
    return [_share_body(each) for each in published.shares(runtime, user.user.id, own)]


@router.post("/models/{name}/shares", status_code=201, responses=answers(404))
def share(request: Request, name: str, body: ShareRequest, runtime: RuntimeDep, user: MayManage) -> NewShare:
    """Share a model of yours, all its versions, to be read: with a person, an organisation, or by a link.

    The answer is the same whether the address has an account or not.
    """
    own = published.own_name(runtime, user.user.id, name)
    reader = published.Reader(body.email or "", body.organisation or "")
    shown, secret = published.share(runtime, user.user.id, own, reader, body.days)
    url = None if secret is None else f"{address_of(request)}/shared/{secret}"
    return NewShare(**_share_body(shown).model_dump(), url=url)


@router.delete("/models/{name}/shares/{share}", status_code=204, responses=answers(404))
def take_back(name: str, share: str, runtime: RuntimeDep, user: MayManage) -> None:
    """Take a share back, from the next request on; of a link, from all who came by it."""
    published.unshare(runtime, user.user.id, published.own_name(runtime, user.user.id, name), share)


def _share_body(shown: published.Shown) -> ShareBody:
    return ShareBody.model_validate(shown, from_attributes=True)
