"""List the models that a person sees and does not own: of how many owners and under how many names does not matter.

Counted are the names of each owner, from an index; of which owners a page is, the database says by adding these up. So
the names of the owners of the page alone are sorted.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    CompoundSelect,
    Select,
    and_,
    bindparam,
    cast,
    func,
    null,
    or_,
    select,
    union,
    union_all,
)
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog.columns import UtcDateTime
from ecluse.catalog.models import highest_version
from ecluse.catalog.sharing import MODELS
from ecluse.catalog.sums import Sum, kept
from ecluse.catalog.tables import Membership, ModelVersion, Share, User, now

Pair = tuple[ModelVersion, User]


def list_shared_models(
    transaction: Transaction,
    reader_id: str,
    *,
    limit: int,
    offset: int = 0,
    applications: Collection[str] | None = None,
) -> tuple[list[Pair], int]:
    """List the models of a person's organisations, and those that others share with the person or one of these.

    By the handle of the owner and the name; each at its newest version, with its owner; of a page those of some
    `applications`, where these are named. And how many there are in all, of any.
    """
    organisations = transaction.scalars(
        select(Membership.organisation_id).where(Membership.user_id == reader_id)
    ).all()
    people = {"readers": [reader_id, *organisations], "organisations": organisations, "moment": now()}
    place = {"first": offset, "behind": offset + limit}
    key = ("shared_models", reader_id, *sorted(organisations), offset, limit)
    rows = kept(transaction, key, lambda: _counted(transaction, people | place))
    owners = [owner for owner, _models, _until, is_on_page, _ends in rows if is_on_page]
    if not owners:
        return [], int(rows[-1][2]) if rows else 0
    before = int(rows[0][2] - rows[0][1])
    page = _newest_of_page()
    if applications is not None:
        page = page.where(ModelVersion.application.in_(applications))
    values = people | {"owners": owners, "rows": limit, "before": offset - before}
    return [(row[0], row[1]) for row in transaction.execute(page, values)], int(rows[-1][2])


def _counted(transaction: Transaction, values: Mapping[str, Any]) -> Sum[list[tuple[Any, ...]]]:
    rows = [tuple(row) for row in transaction.execute(_places(), values)]
    return Sum(rows, rows=int(rows[-1][2]) if rows else 0, until=rows[-1][4] if rows else None)


# To put such a query together takes longer than what it is asked for: each is made once, for values with names. These
# are the ids of `readers`, their `organisations` among them, and the `moment` at which a share has to last.


@cache
def _places() -> Select[*tuple[Any, ...]]:
    """Select of each owner on a page the id, its models, those up to it, true, and when the first of all shares ends.

    And so of the last owner of all.

    A page is what is behind the `first` models and not `behind` them all.
    """
    counted = union_all(_counted_shares(), _counted_models()).subquery()
    until = func.sum(counted.c.models).over(order_by=(User.handle, User.id))
    places = (
        select(
            User.id,
            counted.c.models,
            until.label("until"),
            func.sum(counted.c.models).over().label("total"),
            func.min(counted.c.ends_at).over().label("ends_at"),
        )
        .join(counted, counted.c.owner_id == User.id)
        .subquery()
    )
    on_page = and_(
        places.c.until > bindparam("first"), places.c.until - places.c.models < bindparam("behind")
    )
    is_last = places.c.until == places.c.total  # whatever the page, it says how many there are
    return (
        select(places.c.id, places.c.models, places.c.until, on_page, places.c.ends_at)
        .where(or_(on_page, is_last))
        .order_by(places.c.until)
    )


def _several(name: str) -> BindParameter[list[str]]:
    return bindparam(name, expanding=True)


def _counted_shares() -> Select[*tuple[object, ...]]:
    """Count the names that each owner shares with one of the readers, whose own are not counted; and the first end."""
    models = func.count(Share.name.distinct()).label("models")
    columns = (Share.owner_id.label("owner_id"), models, func.min(Share.expires_at).label("ends_at"))
    return select(*columns).where(*_shared()).group_by(Share.owner_id)


def _counted_models() -> Select[*tuple[object, ...]]:
    """Count the names of the models of each of the organisations."""
    models = func.count(ModelVersion.name.distinct()).label("models")
    return (
        select(ModelVersion.user_id, models, cast(null(), UtcDateTime))
        .where(ModelVersion.user_id.in_(_several("organisations")))
        .group_by(ModelVersion.user_id)
    )


def _shared() -> tuple[ColumnElement[bool], ...]:
    """Hold of a share of a model that is with a reader by now (`sharing.is_for`), and of someone else's model."""
    lasts = or_(Share.expires_at.is_(None), Share.expires_at > bindparam("moment"))
    is_with = Share.reader_id.in_(_several("readers"))
    return Share.kind == MODELS, is_with, Share.owner_id.not_in(_several("readers")), lasts


def _names() -> CompoundSelect[str, str]:
    """Select `owner_id` and `name` of each model of the `owners` that is counted, each once."""
    shared = select(Share.owner_id.label("owner_id"), Share.name.label("name")).where(*_shared())
    theirs = select(ModelVersion.user_id, ModelVersion.name)
    theirs = theirs.where(ModelVersion.user_id.in_(_several("organisations")))
    return union(
        shared.where(Share.owner_id.in_(_several("owners"))),
        theirs.where(ModelVersion.user_id.in_(_several("owners"))),
    )


@cache
def _newest_of_page() -> Select[ModelVersion, User]:
    """Select `rows` models by the handles of their owners and their names, at their newest versions, behind those
    `before`.
    """
    models = _names().subquery()
    page = (
        select(User.id, models.c.name)
        .join(User, User.id == models.c.owner_id)
        .order_by(User.handle, User.id, models.c.name)
        .limit(bindparam("rows"))
        .offset(bindparam("before"))
        .subquery()
    )
    return (
        select(ModelVersion, User)
        .join(page, and_(ModelVersion.user_id == page.c.id, ModelVersion.name == page.c.name))
        .join(User, User.id == ModelVersion.user_id)
        .where(ModelVersion.version == highest_version(page.c.id, page.c.name))
        .order_by(User.handle, User.id, ModelVersion.name)
    )
