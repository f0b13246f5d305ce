"""List plans, change what they allow, and give one to a person."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from ecluse.catalog import plans as plan_rows
from ecluse.catalog import quotas
from ecluse.catalog.plan_tables import LIMITS, Plan
from ecluse.cli.groups import Group
from ecluse.cli.output import Record, Rows, reports
from ecluse.cli.session import home_option, opened
from ecluse.cli.storage import Size

#: What takes a limit away.
NONE = "none"


class Limit(click.ParamType[int | str]):
    """A number, or `none` for no limit; of bytes also `500MB`, `2GB`."""

    def __init__(self, *, of_bytes: bool = False) -> None:
        self.name = "size|none" if of_bytes else "number|none"
        self._number: click.ParamType[int] = Size() if of_bytes else click.IntRange(min=0)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        return NONE if value == NONE else self._number.convert(value, param, ctx)


_number, _bytes = Limit(), Limit(of_bytes=True)


@click.group(cls=Group)
def plans() -> None:
    """List plans and change what they allow. To give one to a person: ecluse users plan EMAIL PLAN."""


@plans.command("list")
@home_option
@reports
def list_plans(home: Path | None) -> Rows:
    """List the plans, what each allows, and how many people and organisations have it."""
    with opened(home, reads=True) as runtime, runtime.catalog.read() as transaction:
        holders = plan_rows.count_by_plan(transaction)
        rows = [
            plan_row(plan) | asdict(holders.get(plan.name, plan_rows.Holders()))
            for plan in plan_rows.list_plans(transaction)
        ]
    return Rows(rows, ("name", *LIMITS, "people", "organisations"))


@plans.command("set")
@click.argument("name")
@click.option("--days", type=_number, help="How long it lasts from the day it is given.")
@click.option("--models", type=_number, help="Names of models.")
@click.option("--upload", "upload_bytes", type=_bytes, help="One upload.")
@click.option("--storage", "storage_bytes", type=_bytes, help="All that is stored.")
@click.option("--jobs", type=_number, help="Jobs that wait or run at a time.")
@click.option("--images", type=_number, help="Images, in all sets together.")
@home_option
@reports
def set_plan(name: str, home: Path | None, **limits: int | str | None) -> Record:
    """Change what a plan allows, for everyone who has it; `none` takes a limit away. Nothing is ever deleted by it."""
    chosen = {
        limit: None if isinstance(value, str) else value
        for limit, value in limits.items()
        if value is not None
    }
    with opened(home) as runtime, runtime.catalog.write() as transaction:
        return Record(plan_row(plan_rows.set_plan(transaction, name, chosen, by=None)))


@click.command("plan")
@click.argument("email")
@click.argument("plan", required=False)
@click.option(
    "--until", type=click.DateTime(["%Y-%m-%d"]), help="Its last day (UTC); else as long as the plan lasts."
)
@home_option
@reports
def user_plan(email: str, plan: str | None, until: datetime | None, home: Path | None) -> Record:
    """Show the plan of a person with what is used of it; with PLAN give that, with `none` take every limit away.

    EMAIL is that of a person, or the handle of an organisation, @acme.
    """
    end = None if until is None else until.replace(hour=23, minute=59, second=59, tzinfo=UTC)
    with opened(home) as runtime:
        user = runtime.accounts.owner_called(email)
        if plan is not None:
            with runtime.catalog.write() as transaction:
                plan_rows.give(transaction, user, None if plan == NONE else plan, by=None, until=end)
        with runtime.catalog.read() as transaction:
            allowance, used = quotas.allowance_of(transaction, user.id), quotas.used_by(transaction, user.id)
    facts = {
        "email": user.email,
        "plan": None if allowance is None else allowance.plan.name,
        "ends_at": None if allowance is None else allowance.ends_at,
        "has_ended": allowance is not None and allowance.has_ended,
    }
    limits = {} if allowance is None else plan_row(allowance.plan)
    return Record(
        facts
        | {
            "models": used.models,
            "models_most": limits.get("models"),
            "stored_bytes": used.stored_bytes + used.reserved_bytes,
            "stored_bytes_most": limits.get("storage_bytes"),
            "jobs": used.jobs,
            "jobs_most": limits.get("jobs"),
            "images": used.images,
            "images_most": limits.get("images"),
            "upload_bytes_most": limits.get("upload_bytes"),
        }
    )


def plan_row(plan: Plan) -> dict[str, Any]:
    """Return what a plan allows, by the names of its limits."""
    return {"name": plan.name} | {limit: getattr(plan, limit) for limit in LIMITS}
