"""Show what is stored, how it grew, what is largest and what a month of it costs where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

from fastapi import Query, Request
from starlette.responses import Response

from ecluse.accounts import SignedIn
from ecluse.application import StoredKind, leave_out, ours_first
from ecluse.catalog import daily, quotas, usage, users
from ecluse.catalog.usage import DayUsage, KindUsage, LargeItem
from ecluse.errors import InvalidInput
from ecluse.runtime import Runtime
from ecluse.sentences import N_, _, num
from ecluse.settings import Area
from ecluse.storage.prices import Cost, Offer, load_prices, monthly_costs, offer_of
from ecluse.web.api.storage import LARGEST, growth_start
from ecluse.web.declarations import Declarations
from ecluse.web.i18n import Words
from ecluse.web.pages.paging import PAGE_ROWS, PageNumber, page_of
from ecluse.web.security import CurrentUser, RuntimeDep, administrator
from ecluse.web.storage_charts import storage_costs, stored_growth
from ecluse.web.templating import render, words_of
from ecluse.web.use_chart import use_by_day

router = Declarations()
GB: Final = 10**9
#: Guesses of the estimate's form: reads a month for each stored thing.
READS_EACH: Final = 10
MOST_GB: Final = 10**9
MOST_READS: Final = 10**12
RECENT: Final = timedelta(days=30)
Quantity = Annotated[str, Query(max_length=40)]


@dataclass(frozen=True)
class Assumed:
    """What the estimate is for: gigabytes stored and sent out, requests a month; `guessed` names the guesses."""

    stored_gb: float
    egress_gb: float
    gets: int
    puts: int
    guessed: frozenset[str]

    @property
    def stored(self) -> int:
        return round(self.stored_gb * GB)

    @property
    def egress(self) -> int:
        return round(self.egress_gb * GB)


@dataclass(frozen=True)
class Place:
    """A store and the areas in it; `offer` is what its list price is, if there is one."""

    url: str
    areas: tuple[Area, ...]
    offer: Offer | None


@router.get("/storage")
def show_storage(
    request: Request,
    runtime: RuntimeDep,
    user: CurrentUser,
    everyone: Annotated[bool, Query(alias="all")] = False,
    stored: Quantity = "",
    egress: Quantity = "",
    reads: Quantity = "",
    page: PageNumber = 1,
) -> Response:
    """Show the user's own use, or with `?all=1`, for administrators, everyone's, with an estimate from the form."""
    if everyone:
        administrator(user)
    say = words_of(request)
    known_kinds = stored_kinds()
    titles = {kind: say._(words.title) for kind, words in known_kinds.items()}
    context = _everyones(runtime, page) if everyone else _own(runtime, user)
    kinds: list[KindUsage] = context["kinds"]
    points: list[DayUsage] = context["points"]
    count, size = sum(kind.count for kind in kinds), sum(kind.size for kind in kinds)
    error = None
    try:
        assumed = assumptions(size, count, stored, egress, reads)
    except InvalidInput as wrong:
        assumed, error = assumptions(size, count), str(wrong)
    places = where_stored(runtime)
    costs = monthly_costs(
        assumed.stored, objects=count, gets=assumed.gets, puts=assumed.puts, egress_bytes=assumed.egress
    )
    offers_now = {offer.id for offer in _offers(places) if offer}
    today = datetime.now(UTC).date()
    recent = [point for point in points if point.day <= today - RECENT]
    context |= {
        "everyone": everyone,
        "allowance": _allowance(runtime, user),
        "administers": user.user.role == "admin",
        "size": size,
        "count": count,
        "recent": size - (recent[-1].size if recent else 0),
        "kind_names": titles,
        "kind_pages": {kind: words.page for kind, words in known_kinds.items()},
        "item_names": {kind: say._(words.item) for kind, words in known_kinds.items()},
        "item_page": item_page,
        "figures": [
            *([stored_growth(points, today, titles, say)] if points else []),
            *([use_by_day(context["used"], say)] if context["used"] else []),
            *([storage_costs(costs, offers_now, say)] if size or not assumed.guessed else []),
        ],
        "places": places,
        "costs": costs,
        "offers_now": offers_now,
        "now": cost_now(places, costs),
        "prices": load_prices(),
        "terms": {cost.offer.id: offer_terms(cost.offer, say) for cost in costs},
        "assumed": assumed,
        "given": {"stored": stored, "egress": egress, "reads": reads},
        "error": error,
        "cached": runtime.cache.used_bytes,
        "cache_max": runtime.cache.max_bytes,
    }
    return render(request, "storage.html", context, status=422 if error else 200)


def _allowance(runtime: Runtime, user: SignedIn) -> quotas.Allowance | None:
    with runtime.catalog.read() as transaction:
        return quotas.allowance_of(transaction, user.user.id)


def assumptions(size: int, count: int, stored: str = "", egress: str = "", reads: str = "") -> Assumed:
    """Read what the form says, and where it is silent guess from what is stored.

    Raises:
        InvalidInput: a field is not a quantity.
    """
    fields = {"stored": stored, "egress": egress, "reads": reads}
    stored_gb = _quantity(stored, MOST_GB) if stored.strip() else size / GB
    return Assumed(
        stored_gb=stored_gb,
        egress_gb=_quantity(egress, MOST_GB) if egress.strip() else stored_gb,
        gets=int(_quantity(reads, MOST_READS)) if reads.strip() else READS_EACH * count,
        puts=count,
        guessed=frozenset(name for name, text in fields.items() if not text.strip()),
    )


def where_stored(runtime: Runtime) -> list[Place]:
    """List the stores of all areas, each once."""
    areas: dict[str, list[Area]] = {}
    for area, store in runtime.stores.areas().items():
        areas.setdefault(store.url, []).append(area)
    access = runtime.settings.access
    return [Place(url, tuple(names), offer_of(url, access)) for url, names in areas.items()]


def cost_now(places: Sequence[Place], costs: Sequence[Cost]) -> Cost | None:
    """Estimate what it costs where it is; None where that has no list price, or there are several."""
    offers = {offer.id if offer else None for offer in _offers(places)}
    return next((cost for cost in costs if offers == {cost.offer.id}), None)


def stored_kinds() -> dict[str, StoredKind]:
    """Say what each kind of files is to a person: those of the core, then those of each application, ours first."""
    kinds = {
        "models": StoredKind(
            N_("Model versions"), N_("Model version"), "/models", "/models/{name}/{version}"
        ),
        "tables": StoredKind(N_("Tables for any model"), N_("Table"), "/tables", "/tables/{id}"),
    }
    for application in ours_first():
        for name, kind in application.stored.items():
            if kinds.setdefault(name, kind) is not kind:
                leave_out(application, f"stored {name}", f'There are files of the kind "{name}" already.')
    return kinds


def item_page(item: LargeItem) -> str:
    """Return the page of a stored thing; empty where it has none."""
    kind = stored_kinds().get(item.kind)
    return kind.item_page.format(id=item.id, name=item.name, version=item.version) if kind else ""


def offer_terms(offer: Offer, say: Words) -> list[str]:
    """Say what is free each month at an offer and what its bill adds, in a few words each."""
    free, terms = offer.free, []
    if free.storage_gb:
        terms.append(say._("%(size)s stored are free.", size=_gigabytes(free.storage_gb, say)))
    if free.egress_gb:
        terms.append(say._("%(size)s sent out are free.", size=_gigabytes(free.egress_gb, say)))
    if free.egress_times_stored:
        terms.append(
            say._("%(times)s times what is stored is sent out free.", times=say.num(free.egress_times_stored))
        )
    if free.puts or free.gets:
        terms.append(
            say._(
                "%(puts)s writes and %(gets)s reads are free.",
                puts=say.num(free.puts),
                gets=say.num(free.gets),
            )
        )
    if offer.minimum_days:
        terms.append(say._("Charged for %(days)s days at least.", days=say.num(offer.minimum_days)))
    if offer.smallest_object:
        terms.append(say._("An object counts as %(size)s at least.", size=say.bytes(offer.smallest_object)))
    return terms


def _offers(places: Sequence[Place]) -> list[Offer | None]:
    """List the offers of the areas in which users have something stored."""
    return [place.offer for place in places if set(place.areas) & set(usage.standing_kinds().values())]


def _gigabytes(amount: float, say: Words) -> str:
    unit = say._("GB")
    return say.qty(amount, unit)


def _own(runtime: Runtime, user: SignedIn) -> dict[str, Any]:
    who = user.user.id
    with runtime.catalog.read() as transaction:
        return {
            "kinds": usage.usage_by_kind(transaction, who),
            "points": usage.growth(transaction, since=growth_start(), user_id=who),
            "used": daily.days_of(transaction, who, since=growth_start()),
            "largest": usage.largest(transaction, who, limit=LARGEST),
            "people": [],
            "pager": None,
        }


def _everyones(runtime: Runtime, page: int) -> dict[str, Any]:
    with runtime.catalog.read() as transaction:
        pager = page_of(users.count_users(transaction), page)
        return {
            "kinds": usage.usage_by_kind(transaction),
            "points": usage.growth(transaction, since=growth_start()),
            "used": daily.days_of(transaction, None, since=growth_start()),
            "largest": [],
            "people": usage.usage_by_user(transaction, limit=PAGE_ROWS, offset=pager.offset),
            "pager": pager,
        }


def _quantity(text: str, most: float) -> float:
    """Read the number in a field of the form; a comma may stand for the point."""
    try:
        value = float(text.strip().replace(",", ".").replace("\N{NO-BREAK SPACE}", ""))
    except ValueError:
        value = -1
    if not 0 <= value <= most:
        raise InvalidInput(
            _(
                '"%(value)s" is not a quantity. Use a number from 0 to %(number)s.',
                value=text,
                number=num(most, ","),
            )
        )
    return value
