"""Tell what is stored, by kind and by user, and what it would cost a month at each provider."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Final

from fastapi import Query

from ecluse.catalog import usage, users
from ecluse.catalog.usage import KindUsage, LargeItem, UserUsage
from ecluse.storage.prices import Cost, load_prices, monthly_costs
from ecluse.web.api.schemas import (
    CostBody,
    CostsBody,
    GrowthBody,
    LargeItemBody,
    StorageBody,
    StoredKindBody,
    UsersStoragePage,
    UserStorageBody,
)
from ecluse.web.declarations import Declarations
from ecluse.web.security import Administrator, MayRead, RuntimeDep

router = Declarations(tags=["storage"])
#: How far back growth goes.
GROWTH: Final = timedelta(days=365)
LARGEST: Final = 10
#: An exabyte, or 10^18 requests: beyond, a number is a slip.
MOST: Final = 10**18
Amount = Annotated[int, Query(ge=0, le=MOST)]


@router.get("/storage")
def show_storage(runtime: RuntimeDep, user: MayRead) -> StorageBody:
    """Show what you have stored: by kind, by day, and the largest things."""
    with runtime.catalog.look() as transaction:
        own = usage.own_usage(transaction, user.user.id, since=growth_start(), limit=LARGEST)
    return StorageBody(
        size_bytes=sum(kind.size for kind in own.kinds),
        kinds=[_kind_body(kind) for kind in own.kinds],
        growth=[
            GrowthBody(day=point.day, **_standing(point.sizes), kinds=point.sizes) for point in own.points
        ],
        largest=[_item_body(item) for item in own.largest],
    )


@router.get("/storage/users")
def list_users(
    runtime: RuntimeDep,
    user: Administrator,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    per_page: Annotated[int, Query(ge=1, le=200)] = 50,
) -> UsersStoragePage:
    """List what each user has stored, the most first. For administrators."""
    with runtime.catalog.read() as transaction:
        rows = usage.usage_by_user(transaction, limit=per_page, offset=(page - 1) * per_page)
        total = users.count_users(transaction)
    return UsersStoragePage(
        items=[_user_body(row) for row in rows], total=total, page=page, per_page=per_page
    )


@router.get("/storage/costs")
def list_costs(
    user: MayRead,
    size: Annotated[int, Query(alias="bytes", ge=0, le=MOST, description="Bytes stored all month")],
    objects: Amount = 0,
    gets: Annotated[int, Query(ge=0, le=MOST, description="Read requests a month")] = 0,
    puts: Annotated[int, Query(ge=0, le=MOST, description="Write requests a month")] = 0,
    egress_bytes: Annotated[int, Query(ge=0, le=MOST, description="Bytes that leave the provider")] = 0,
) -> CostsBody:
    """Estimate what a month would cost at each provider, from dated list prices; the cheapest first."""
    prices = load_prices()
    costs = monthly_costs(size, objects=objects, gets=gets, puts=puts, egress_bytes=egress_bytes)
    return CostsBody(
        date=prices.date,
        currency=prices.currency,
        about=prices.about,
        size_bytes=size,
        costs=[_cost_body(cost) for cost in costs],
    )


def growth_start() -> date:
    """Return the first day that growth tells apart."""
    return datetime.now(UTC).date() - GROWTH


def _standing(sizes: Mapping[str, int]) -> dict[str, int]:
    """Return the sizes of the kinds that have had a field of their own from the beginning."""
    return {kind: sizes.get(kind, 0) for kind in ("uploads", "results", "models", "images")}


def _kind_body(kind: KindUsage) -> StoredKindBody:
    return StoredKindBody(kind=kind.kind, area=kind.area, size_bytes=kind.size, count=kind.count)


def _item_body(item: LargeItem) -> LargeItemBody:
    return LargeItemBody(
        kind=item.kind,
        id=item.id,
        name=item.name,
        version=item.version,
        size_bytes=item.size,
        created_at=item.created_at,
    )


def _user_body(row: UserUsage) -> UserStorageBody:
    return UserStorageBody(
        user=row.user_id,
        email=row.email,
        name=row.name,
        size_bytes=row.size,
        **_standing(row.sizes),
        kinds=row.sizes,
        count=row.count,
    )


def _cost_body(cost: Cost) -> CostBody:
    offer = cost.offer
    return CostBody(
        offer=offer.id,
        provider=offer.provider,
        storage_class=offer.storage_class,
        kind=offer.kind,
        region=offer.region,
        monthly=round(cost.monthly, 4),
        storage=round(cost.storage, 4),
        requests=round(cost.requests, 4),
        egress=round(cost.egress, 4),
        retrieval=round(cost.retrieval, 4),
        currency=cost.currency,
        minimum_days=offer.minimum_days,
        source=offer.source,
        source_url=offer.source_url,
        note=offer.note,
    )
