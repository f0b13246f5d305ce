"""Keep plans, and who has which; `catalog.quotas` holds people to them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog import audit
from ecluse.catalog.plan_tables import LIMITS, Plan, UserPlan
from ecluse.catalog.tables import User, now
from ecluse.errors import InvalidInput, NotFound
from ecluse.sentences import _

#: Beyond it a limit is a slip: an exabyte.
MOST = 10**18
#: Days of a plan: beyond a hundred years it is without end.
MOST_DAYS = 36_500


def list_plans(transaction: Transaction) -> list[Plan]:
    """List the plans in their order."""
    return list(transaction.scalars(select(Plan).order_by(Plan.position, Plan.name)))


def plan_named(transaction: Transaction, name: str) -> Plan:
    """Return a plan.

    Raises:
        NotFound: there is none of this name.
    """
    plan = transaction.get(Plan, name)
    if plan is None:
        names = ", ".join(transaction.scalars(select(Plan.name).order_by(Plan.position, Plan.name)))
        raise NotFound(_("No plan %(value)s. There are: %(names)s.", value=name, names=names))
    return plan


def set_plan(transaction: Transaction, name: str, limits: Mapping[str, int | None], by: str | None) -> Plan:
    """Change limits of a plan; None: no limit. They hold at once for everyone who has it.

    `days` counts for who is given the plan from now on. `by`: who does it, None at a terminal.

    Raises:
        NotFound: there is no plan of this name.
        InvalidInput: a limit is not known, negative, or beyond what can be meant.
    """
    plan = plan_named(transaction, name)
    for limit, value in limits.items():
        if limit not in LIMITS:
            raise InvalidInput(
                _("There is no limit %(value)s. Known: %(names)s.", value=limit, names=", ".join(LIMITS))
            )
        most = MOST_DAYS if limit == "days" else MOST
        if value is not None and not 0 <= value <= most:
            raise InvalidInput(
                _(
                    "%(name)s cannot be %(value)s. Write 0 to %(most)s, or none for no limit.",
                    name=limit,
                    value=value,
                    most=most,
                )
            )
    before = {limit: getattr(plan, limit) for limit in limits}
    if changed := {limit: value for limit, value in limits.items() if before[limit] != value}:
        for limit, value in changed.items():
            setattr(plan, limit, value)
        plan.updated_at = now()
        audit.record(
            transaction, by, "plan.set", name, before={each: before[each] for each in changed}, now=changed
        )
        transaction.flush()
    return plan


def give(
    transaction: Transaction, user: User, name: str | None, *, by: str | None, until: datetime | None = None
) -> UserPlan | None:
    """Give a person a plan from now on, or (None) no limits. It lasts as long as plans of its name, or up to `until`.

    `by`: who does it, None at a terminal.

    Raises:
        NotFound: there is no plan of this name.
        InvalidInput: `until` without a plan.
    """
    if name is None and until is not None:
        raise InvalidInput(_("Without a plan there is no end. Name a plan, or leave the end out."))
    mine = transaction.scalar(select(UserPlan).where(UserPlan.user_id == user.id).with_for_update())
    before = None if mine is None else mine.plan
    if name is None:
        if mine is not None:
            transaction.delete(mine)
            audit.record(transaction, by, "user.plan", user.email, before=before, plan=None)
            transaction.flush()
        return None
    plan, start = plan_named(transaction, name), now()
    ends_at = until or (None if plan.days is None else start + timedelta(days=plan.days))
    if mine is None:
        mine = UserPlan(user_id=user.id)
        transaction.add(mine)
    mine.plan, mine.started_at, mine.ends_at = plan.name, start, ends_at
    end = None if ends_at is None else ends_at.isoformat()
    audit.record(transaction, by, "user.plan", user.email, before=before, plan=plan.name, until=end)
    transaction.flush()
    return mine


def count_by_plan(transaction: Transaction) -> dict[str, int]:
    """Count the people of each plan that someone has."""
    rows = transaction.execute(select(UserPlan.plan, func.count()).group_by(UserPlan.plan))
    return {row[0]: row[1] for row in rows}


def plans_of(transaction: Transaction, user_ids: list[str]) -> dict[str, UserPlan]:
    """Return the plans of those of these people who have one, by their ids."""
    rows = transaction.scalars(select(UserPlan).where(UserPlan.user_id.in_(user_ids)))
    return {row.user_id: row for row in rows}
