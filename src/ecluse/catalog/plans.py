"""Keep plans, and who has which; `catalog.quotas` holds people to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Select, delete, func, select, update
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog import audit, users
from ecluse.catalog.of_organisations import ORGANISATION
from ecluse.catalog.plan_tables import LIMITS, Plan, UserPlan
from ecluse.catalog.tables import Membership, User, now
from ecluse.errors import InvalidInput, LimitReached, NotFound
from ecluse.moments import expect_ahead
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
    """Give a person or an organisation a plan from now on, or (None) no limits. It lasts as long as plans of its name,
    or up to `until`.

    Organisations that follow a person's plan have the new one too. With their first plan, those that they own and that
    have none begin to follow. One that is given a plan itself follows nobody any more. `by`: who does it, None at a
    terminal.

    Raises:
        NotFound: there is no plan of this name.
        InvalidInput: `until` without a plan, past, or none that is kept.
    """
    if name is None and until is not None:
        raise InvalidInput(_("Without a plan there is no end. Name a plan, or leave the end out."))
    until = None if until is None else expect_ahead(until)
    users.hold_accounts(transaction)  # nobody makes an organisation meanwhile
    mine = transaction.scalar(select(UserPlan).where(UserPlan.user_id == user.id).with_for_update())
    before = None if mine is None else mine.plan
    if name is None:
        if mine is not None:
            transaction.delete(mine)
            transaction.execute(delete(UserPlan).where(UserPlan.follows == user.id))
            audit.record(transaction, by, "user.plan", user.email, before=before, plan=None)
            transaction.flush()
        return None
    plan, start = plan_named(transaction, name), now()
    ends_at = until or (None if plan.days is None else start + timedelta(days=plan.days))
    if mine is None:
        mine = UserPlan(user_id=user.id)
        transaction.add(mine)
    mine.plan, mine.started_at, mine.ends_at, mine.follows = plan.name, start, ends_at, None
    transaction.flush()
    if before is None:
        _follow(transaction, mine)
    values = {"plan": plan.name, "started_at": start, "ends_at": ends_at}
    transaction.execute(update(UserPlan).where(UserPlan.follows == user.id).values(values))
    end = None if ends_at is None else ends_at.isoformat()
    audit.record(transaction, by, "user.plan", user.email, before=before, plan=plan.name, until=end)
    transaction.flush()
    return mine


def pass_on(transaction: Transaction, person_id: str, organisation_id: str) -> None:
    """Hold an organisation to the plan of who makes it, which it follows; without one it has no limits.

    To hand an organisation over gives no room for another: the plan of who made it allows one, whoever owns it by now.

    Raises:
        LimitReached: a plan allows one organisation, and the person owns one, or made one that follows the plan.
    """
    mine = transaction.scalar(select(UserPlan).where(UserPlan.user_id == person_id).with_for_update())
    if mine is None:
        return
    if transaction.scalar(_owned_by(person_id).where(Membership.organisation_id != organisation_id).limit(1)):
        raise LimitReached(
            _(
                "Your plan %(plan)s allows one organisation, which has its own room. Use the one that you own, or ask "
                "an administrator to take the plan's limits away.",
                plan=mine.plan,
            )
        )
    made = (
        select(User.handle).join(UserPlan, UserPlan.user_id == User.id).where(UserPlan.follows == person_id)
    )
    if (handle := transaction.scalar(made.limit(1))) is not None:
        raise LimitReached(
            _(
                "Your plan %(plan)s allows one organisation. @%(handle)s, which you made, still lives by it. Have its "
                "owner end it, or ask an administrator to give it a plan of its own.",
                plan=mine.plan,
                handle=handle,
            )
        )
    _add_following(transaction, mine, organisation_id)
    transaction.flush()


def _owned_by(person_id: str) -> Select[str]:
    return select(Membership.organisation_id).where(
        Membership.user_id == person_id, Membership.role == "owner"
    )


def _follow(transaction: Transaction, mine: UserPlan) -> None:
    """Let the organisations of a person that have no plan follow the first one that the person is given."""
    without = _owned_by(mine.user_id).where(Membership.organisation_id.not_in(select(UserPlan.user_id)))
    for organisation_id in transaction.scalars(without).all():
        _add_following(transaction, mine, organisation_id)
    transaction.flush()


def _add_following(transaction: Transaction, mine: UserPlan, organisation_id: str) -> None:
    transaction.add(
        UserPlan(
            user_id=organisation_id,
            plan=mine.plan,
            started_at=mine.started_at,
            ends_at=mine.ends_at,
            follows=mine.user_id,
        )
    )


@dataclass(frozen=True)
class Holders:
    """How many people and how many organisations have a plan."""

    people: int = 0
    organisations: int = 0


def count_by_plan(transaction: Transaction) -> dict[str, Holders]:
    """Count who has each plan that someone has."""
    query = (
        select(UserPlan.plan, User.kind, func.count())
        .join(User, User.id == UserPlan.user_id)
        .group_by(UserPlan.plan, User.kind)
    )
    counts: dict[str, dict[bool, int]] = {}
    for plan, kind, count in transaction.execute(query):
        counts.setdefault(plan, {})[kind == ORGANISATION] = count
    return {plan: Holders(of.get(False, 0), of.get(True, 0)) for plan, of in counts.items()}


def plans_of(transaction: Transaction, user_ids: list[str]) -> dict[str, UserPlan]:
    """Return the plans of those of these people who have one, by their ids."""
    rows = transaction.scalars(select(UserPlan).where(UserPlan.user_id.in_(user_ids)))
    return {row.user_id: row for row in rows}
