"""Tell people what their plan allows and what they use of it; let administrators change plans and give them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from fastapi import Path
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from ecluse.catalog import plans, quotas
from ecluse.catalog.plan_tables import LIMITS, Plan
from ecluse.catalog.tables import User
from ecluse.runtime import Runtime
from ecluse.web.declarations import Declarations
from ecluse.web.errors import answers
from ecluse.web.security import Administrator, MayRead, RuntimeDep

router = Declarations(tags=["plans"])
Limit = Annotated[int | None, Field(ge=0, le=plans.MOST)]


class LimitsBody(BaseModel):
    """What a plan allows; null: no limit."""

    model_config = ConfigDict(extra="forbid")

    days: Annotated[int | None, Field(ge=0, le=plans.MOST_DAYS, description="From the day it is given")] = (
        None
    )
    models: Annotated[Limit, Field(description="Names of models")] = None
    upload_bytes: Annotated[Limit, Field(description="One upload")] = None
    storage_bytes: Annotated[Limit, Field(description="All that is stored")] = None
    jobs: Annotated[Limit, Field(description="Jobs that wait or run at a time")] = None
    images: Annotated[Limit, Field(description="In all sets together")] = None


class PlanBody(LimitsBody):
    name: str
    people: int = Field(description="How many people have it")
    organisations: int = Field(description="How many organisations have it")


class UsedBody(BaseModel):
    """What a person has of what plans limit."""

    models: int
    stored_bytes: int
    reserved_bytes: int = Field(description="Of uploads that are on their way")
    jobs: int
    images: int


class UserPlanBody(BaseModel):
    """The plan of a person, with what is used of it. Without a plan there are no limits."""

    plan: str | None
    started_at: datetime | None
    ends_at: datetime | None = Field(description="From then on nothing new is made; what is there stays")
    has_ended: bool
    limits: LimitsBody
    used: UsedBody


class GivePlan(BaseModel):
    """Which plan a person gets; null: none, and so no limits."""

    model_config = ConfigDict(extra="forbid")

    plan: str | None = Field(max_length=32)
    until: AwareDatetime | None = Field(
        None, description="When it ends, to come; else as long as the plan lasts"
    )


@router.get("/plan")
def show_plan(runtime: RuntimeDep, user: MayRead) -> UserPlanBody:
    """Show what your plan allows, and what you use of it."""
    return _body(runtime, user.user)


@router.get("/plans")
def list_plans(runtime: RuntimeDep, user: Administrator) -> list[PlanBody]:
    """List the plans. For administrators."""
    with runtime.catalog.read() as transaction:
        holders = plans.count_by_plan(transaction)
        return [_plan_body(plan, holders) for plan in plans.list_plans(transaction)]


@router.patch("/plans/{name}", responses=answers(404))
def set_plan(
    name: Annotated[str, Path(max_length=32)], body: LimitsBody, runtime: RuntimeDep, user: Administrator
) -> PlanBody:
    """Change the limits that are sent, for everyone who has the plan; null takes one away. For administrators."""
    limits = {limit: getattr(body, limit) for limit in body.model_fields_set}
    with runtime.catalog.write() as transaction:
        plan = plans.set_plan(transaction, name, limits, by=user.user.id)
        return _plan_body(plan, plans.count_by_plan(transaction))


@router.get("/users/{email}/plan", responses=answers(404))
def show_plan_of(
    email: Annotated[str, Path(max_length=320)], runtime: RuntimeDep, user: Administrator
) -> UserPlanBody:
    """Show the plan of a person, or of an organisation (@HANDLE), and what is used of it. For administrators."""
    return _body(runtime, runtime.accounts.owner_called(email))


@router.put("/users/{email}/plan", responses=answers(404))
def give_plan(
    email: Annotated[str, Path(max_length=320)], body: GivePlan, runtime: RuntimeDep, user: Administrator
) -> UserPlanBody:
    """Give a person or an organisation (@HANDLE) a plan from now on, or take all limits away. For administrators."""
    person = runtime.accounts.owner_called(email)
    with runtime.catalog.write() as transaction:
        plans.give(transaction, person, body.plan, by=user.user.id, until=body.until)
    return _body(runtime, person)


def _body(runtime: Runtime, user: User) -> UserPlanBody:
    with runtime.catalog.read() as transaction:
        allowance = quotas.allowance_of(transaction, user.id)
        used = quotas.used_by(transaction, user.id) if allowance is None else allowance.used
    return UserPlanBody(
        plan=None if allowance is None else allowance.plan.name,
        started_at=None if allowance is None else allowance.started_at,
        ends_at=None if allowance is None else allowance.ends_at,
        has_ended=allowance is not None and allowance.has_ended,
        limits=LimitsBody() if allowance is None else LimitsBody(**_limits(allowance.plan)),
        used=UsedBody(
            models=used.models,
            stored_bytes=used.stored_bytes,
            reserved_bytes=used.reserved_bytes,
            jobs=used.jobs,
            images=used.images,
        ),
    )


def _plan_body(plan: Plan, holders: Mapping[str, plans.Holders]) -> PlanBody:
    of = holders.get(plan.name, plans.Holders())
    return PlanBody(name=plan.name, people=of.people, organisations=of.organisations, **_limits(plan))


def _limits(plan: Plan) -> dict[str, int | None]:
    return {limit: getattr(plan, limit) for limit in LIMITS}
