"""Tell what was used day by day: bytes stored, jobs begun, rows that models answered."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Annotated

from fastapi import Path, Query
from pydantic import BaseModel, Field

from ecluse.catalog import daily
from ecluse.runtime import Runtime
from ecluse.web.api.inference import InferenceDep
from ecluse.web.declarations import Declarations
from ecluse.web.errors import answers
from ecluse.web.security import Administrator, MayRead, RuntimeDep

router = Declarations(tags=["storage"])
Days = Annotated[int, Query(ge=1, le=1_000, description="So many days up to today (UTC)")]


class UseBody(BaseModel):
    """What was used on one day of UTC."""

    day: date
    stored_bytes: int | None = Field(
        description="At the last count of the day; null where it was not counted"
    )
    files: int | None
    jobs: int = Field(description="Begun on the day, without parts of others")
    predictions: int = Field(description="Rows that models of the owner answered online, whoever asked")


@router.get("/usage")
def show_usage(runtime: RuntimeDep, user: MayRead, served: InferenceDep, days: Days = 90) -> list[UseBody]:
    """Show what you used, day by day, the oldest first; days of which nothing is known are left out."""
    served.answered.keep()
    return _bodies(runtime, user.user.id, days)


@router.get("/administration/usage")
def show_usage_of_all(
    runtime: RuntimeDep, user: Administrator, served: InferenceDep, days: Days = 90
) -> list[UseBody]:
    """Show what all used together, day by day. For administrators."""
    served.answered.keep()
    return _bodies(runtime, None, days)


@router.get("/users/{email}/usage", responses=answers(404))
def show_usage_of(
    email: Annotated[str, Path(max_length=320)],
    runtime: RuntimeDep,
    user: Administrator,
    served: InferenceDep,
    days: Days = 90,
) -> list[UseBody]:
    """Show what a person, or an organisation (@HANDLE), used, day by day. For administrators."""
    served.answered.keep()
    return _bodies(runtime, runtime.accounts.owner_called(email).id, days)


def _bodies(runtime: Runtime, owner_id: str | None, days: int) -> list[UseBody]:
    since = datetime.now(UTC).date() - timedelta(days=days - 1)
    with runtime.catalog.read() as transaction:
        used = daily.days_of(transaction, owner_id, since=since)
    return [
        UseBody(
            day=each.day,
            stored_bytes=each.stored_bytes,
            files=each.files,
            jobs=each.jobs,
            predictions=each.predictions,
        )
        for each in used
    ]
