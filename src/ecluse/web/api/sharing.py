"""Share models and all that is shared by ids, see and take back what is shared, and list what others share."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ecluse import models as published
from ecluse import shares
from ecluse.catalog import sharing
from ecluse.web.api.bodies import model_body
from ecluse.web.api.organisations import secret_of
from ecluse.web.api.runs import RunPage, run_body
from ecluse.web.api.schemas import ModelBody
from ecluse.web.api.tables import TablePage, table_body
from ecluse.web.declarations import Declarations
from ecluse.web.errors import answers
from ecluse.web.security import MayManage, MayRead, RuntimeDep, address_of

router = Declarations(tags=["sharing"])


class ShareRequest(BaseModel):
    """With whom a thing is shared: one of `email`, `organisation` and `link`."""

    model_config = ConfigDict(extra="forbid")

    email: str | None = Field(
        None, max_length=320, description="Address of a person, who has an account by now"
    )
    organisation: str | None = Field(None, max_length=100, description="Handle of one that you belong to")
    link: bool = Field(False, description="Whoever opens the link, signed in, sees it until it ends")
    days: int | None = Field(
        None, ge=1, le=365, description="How long; a link lasts 7 days unless it is said"
    )

    @model_validator(mode="after")
    def _names_one(self) -> ShareRequest:
        if bool(self.email) + bool(self.organisation) + self.link != 1:
            raise ValueError("Name one of email, organisation and link.")
        return self


class ShareBody(BaseModel):
    """A share of a thing of yours, or of an organisation of yours."""

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
    """What a link leads to."""

    kind: str = Field(description="models, tables, runs, or a kind of an application", examples=["tables"])
    name: str = Field(
        description="By which you ask for it: of a model its name, else an id", examples=["@anna/churn"]
    )


class ThingBody(BaseModel):
    """A thing of an organisation of yours, or one that is shared with you or one."""

    kind: str
    id: str
    name: str
    owner: str = Field(description="Handle of its owner")
    page: str = Field(description="Where it is shown, on this server")
    created_at: datetime


class ThingPage(BaseModel):
    items: list[ThingBody]
    total: int
    page: int
    per_page: int


ThingKind = Annotated[
    str,
    Path(
        pattern="^[a-z][a-z0-9_]{0,15}$",
        description="What it is: tables, runs, or a kind that an application declares",
    ),
]


@router.get("/shared/models")
def list_shared(
    runtime: RuntimeDep,
    user: MayRead,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    per_page: Annotated[int, Query(ge=1, le=200)] = 50,
) -> SharedPage:
    """List the models of your organisations, and those that others share with you or one, at their latest versions."""
    items, total = published.list_shared(runtime, user.user.id, limit=per_page, offset=(page - 1) * per_page)
    return SharedPage(
        items=[model_body(each.row, each.aliases, each.place) for each in items],
        total=total,
        page=page,
        per_page=per_page,
    )


@router.post("/shared/open", responses=answers(404))
def open_link(request: OpenRequest, runtime: RuntimeDep, user: MayManage) -> OpenedBody:
    """Open a link by which something is shared: you see it until the link ends."""
    opened = shares.open_link(runtime.catalog, user.user.id, secret_of(request.link))
    return OpenedBody(kind=opened.kind, name=opened.address)


@router.get("/shared/tables")
def list_shared_tables(
    runtime: RuntimeDep,
    user: MayRead,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    per_page: Annotated[int, Query(ge=1, le=200)] = 50,
) -> TablePage:
    """List the tables of your organisations, and those that others share with you or one, the newest first."""
    with runtime.catalog.read() as transaction:
        rows, total = sharing.tables_of_others(
            transaction, user.user.id, limit=per_page, offset=(page - 1) * per_page
        )
        making = sharing.makers_of(transaction, user.user.id)
    items = [table_body(row, owner.handle, may_change=owner.id in making) for row, owner in rows]
    return TablePage(items=items, total=total, page=page, per_page=per_page)


@router.get("/shared/runs")
def list_shared_runs(
    runtime: RuntimeDep,
    user: MayRead,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    per_page: Annotated[int, Query(ge=1, le=200)] = 50,
) -> RunPage:
    """List the runs of your organisations, and those that others share with you or one, the newest first."""
    with runtime.catalog.read() as transaction:
        rows, total = sharing.runs_of_others(
            transaction, user.user.id, limit=per_page, offset=(page - 1) * per_page
        )
        making = sharing.makers_of(transaction, user.user.id)
    items = [run_body(row, owner.handle, may_change=owner.id in making) for row, owner in rows]
    return RunPage(items=items, total=total, page=page, per_page=per_page)


@router.get("/shared/{kind}", responses=answers(404))
def list_shared_things(
    kind: ThingKind,
    runtime: RuntimeDep,
    user: MayRead,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    per_page: Annotated[int, Query(ge=1, le=200)] = 50,
) -> ThingPage:
    """List what of a kind your organisations have and others share with you or one, the newest first."""
    listed, total = shares.of_others(
        runtime.catalog, user.user.id, kind, limit=per_page, offset=(page - 1) * per_page
    )
    items = [
        ThingBody(
            kind=each.kind,
            id=each.id,
            name=each.called,
            owner=each.owner,
            page=each.page,
            created_at=each.created_at,
        )
        for each in listed
    ]
    return ThingPage(items=items, total=total, page=page, per_page=per_page)


@router.get("/shares/{kind}/{thing}", responses=answers(404))
def list_shares_of(kind: ThingKind, thing: str, runtime: RuntimeDep, user: MayRead) -> list[ShareBody]:
    """List with whom a thing of yours, or of an organisation of yours, is shared."""
    _thing, listed = shares.shares_by_id(runtime.catalog, user.user.id, kind, thing)
    return [_share_body(each) for each in listed]


@router.post("/shares/{kind}/{thing}", status_code=201, responses=answers(404))
def share_thing(
    request: Request, kind: ThingKind, thing: str, body: ShareRequest, runtime: RuntimeDep, user: MayManage
) -> NewShare:
    """Share a thing, to be read: with a person, an organisation, or by a link.

    The answer is the same whether the address has an account or not.
    """
    reader = shares.Reader(body.email or "", body.organisation or "")
    shown, secret = shares.share_by_id(runtime.catalog, user.user.id, kind, thing, reader, body.days)
    url = None if secret is None else f"{address_of(request)}/shared/{secret}"
    return NewShare(**_share_body(shown).model_dump(), url=url)


@router.delete("/shares/{kind}/{thing}/{share}", status_code=204, responses=answers(404))
def take_thing_back(kind: ThingKind, thing: str, share: str, runtime: RuntimeDep, user: MayManage) -> None:
    """Take a share of a thing back, from the next request on; of a link, from all who came by it."""
    shares.unshare_by_id(runtime.catalog, user.user.id, kind, thing, share)


@router.get("/models/{name}/shares", responses=answers(404))
def list_shares(name: str, runtime: RuntimeDep, user: MayRead) -> list[ShareBody]:
    """List with whom a model of yours, or of an organisation of yours (@OWNER~NAME), is shared."""
    return [_share_body(each) for each in published.shares(runtime, user.user.id, name)]


@router.post("/models/{name}/shares", status_code=201, responses=answers(404))
def share(request: Request, name: str, body: ShareRequest, runtime: RuntimeDep, user: MayManage) -> NewShare:
    """Share a model of yours, all its versions, to be read: with a person, an organisation, or by a link.

    The answer is the same whether the address has an account or not.
    """
    reader = published.Reader(body.email or "", body.organisation or "")
    shown, secret = published.share(runtime, user.user.id, name, reader, body.days)
    url = None if secret is None else f"{address_of(request)}/shared/{secret}"
    return NewShare(**_share_body(shown).model_dump(), url=url)


@router.delete("/models/{name}/shares/{share}", status_code=204, responses=answers(404))
def take_back(name: str, share: str, runtime: RuntimeDep, user: MayManage) -> None:
    """Take a share back, from the next request on; of a link, from all who came by it."""
    published.unshare(runtime, user.user.id, name, share)


def _share_body(shown: published.Shown) -> ShareBody:
    return ShareBody.model_validate(shown, from_attributes=True)
