"""Estimate what a month of storage costs at each provider, from the dated list prices in `prices.json`.

The one file holds every price, its date and the page it stands on. An estimate leaves out taxes, volume
discounts and what a contract says; each provider's free share is taken off as if nothing else used it.
"""

from __future__ import annotations

import json
from dataclasses import astuple, dataclass, field
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

from ecluse.errors import InvalidInput
from ecluse.sentences import Sentence, _
from ecluse.settings import Access, scheme_of

#: What is rented: an object store, a disk of one service, a database's storage, a registry of images.
Kind = Literal["objects", "volume", "database", "registry"]
SOURCE: Final = Path(__file__).with_name("prices.json")


@dataclass(frozen=True)
class FreeShare:
    """What a month has for nothing: gigabytes stored, requests, gigabytes sent out, or those as a multiple of what
    is stored.
    """

    storage_gb: float = 0
    puts: int = 0
    gets: int = 0
    egress_gb: float = 0
    egress_times_stored: float = 0

    @property
    def any(self) -> bool:
        return self != FreeShare()


@dataclass(frozen=True)
class Offer:
    """One provider's storage class and its prices; `gigabyte` in bytes, as this provider counts.

    An object smaller than `smallest_object` bytes is charged as one of that size, and one deleted before
    `minimum_days` as if it had stayed.
    """

    id: str
    provider: str
    storage_class: str
    kind: Kind
    region: str
    gigabyte: int
    storage_per_gb: float
    puts_per_1000: float
    gets_per_1000: float
    egress_per_gb: float
    source: str
    source_url: str
    note: str
    retrieval_per_gb: float = 0
    smallest_object: int = 0
    minimum_days: int = 0
    free: FreeShare = field(default_factory=FreeShare)

    @property
    def title(self) -> str:
        return f"{self.provider}, {self.storage_class}"


@dataclass(frozen=True)
class Prices:
    """Every offer, the day its prices were taken, and what has to be known of all of them."""

    date: date
    currency: str
    about: str
    offers: tuple[Offer, ...]


@dataclass(frozen=True)
class _Month:
    """What is stored and done in a month: bytes and objects that lie there, requests, bytes sent out and read."""

    stored_bytes: int
    objects: int
    gets: int
    puts: int
    egress_bytes: int
    read_bytes: int


@dataclass(frozen=True)
class Cost:
    """An estimate for one month at one offer, and the parts it is the sum of; all in `currency`."""

    offer: Offer
    currency: str
    storage: float
    requests: float
    egress: float
    retrieval: float

    @property
    def monthly(self) -> float:
        return self.storage + self.requests + self.egress + self.retrieval

    @property
    def provider(self) -> str:
        return self.offer.provider

    @property
    def storage_class(self) -> str:
        return self.offer.storage_class

    @property
    def kind(self) -> Kind:
        return self.offer.kind

    @property
    def note(self) -> str:
        return self.offer.note


@cache
def load_prices() -> Prices:
    """Return the table in `prices.json`."""
    raw: dict[str, Any] = json.loads(SOURCE.read_text(encoding="utf-8"))
    offers = tuple(
        Offer(**offer | {"free": FreeShare(**offer["free"]), "note": Sentence(offer["note"], {})})
        for offer in raw["offers"]
    )
    return Prices(date.fromisoformat(raw["date"]), raw["currency"], Sentence(raw["about"], {}), offers)


def monthly_costs(
    stored_bytes: int,
    *,
    objects: int = 0,
    gets: int = 0,
    puts: int = 0,
    egress_bytes: int = 0,
    read_bytes: int | None = None,
    prices: Prices | None = None,
) -> list[Cost]:
    """Return what a month costs at every offer, the cheapest first.

    `stored_bytes` in `objects` lie there all month; `puts` and `gets` are requests a month, `egress_bytes` what
    leaves the provider and `read_bytes` what is read there (default: what leaves). Where only the mean size of the
    objects is known, the charge for small ones is the least it can be.

    Raises:
        InvalidInput: a quantity is negative.
    """
    read = egress_bytes if read_bytes is None else read_bytes
    month = _Month(stored_bytes, objects, gets, puts, egress_bytes, read)
    if (least := min(astuple(month))) < 0:
        raise InvalidInput(
            _("A quantity to estimate the cost of was %(number)s; use 0 or more.", number=least)
        )
    table = prices or load_prices()
    costs = [_cost(offer, table.currency, month) for offer in table.offers]
    return sorted(costs, key=lambda cost: (cost.monthly, cost.offer.title))


def offer_of(url: str, access: Access) -> Offer | None:
    """Return the offer whose list price applies to the store at `url`; None if there is none, as for a disk."""
    scheme = scheme_of(url)
    name = None if scheme is None else scheme.offer(url, access)
    return next((offer for offer in load_prices().offers if offer.id == name), None)


def _cost(offer: Offer, currency: str, month: _Month) -> Cost:
    gigabytes = max(month.stored_bytes, month.objects * offer.smallest_object) / offer.gigabyte
    free = offer.free
    free_egress = max(free.egress_gb, free.egress_times_stored * gigabytes)
    puts, gets = _above(month.puts, free.puts), _above(month.gets, free.gets)
    return Cost(
        offer=offer,
        currency=currency,
        storage=_above(gigabytes, free.storage_gb) * offer.storage_per_gb,
        requests=(puts * offer.puts_per_1000 + gets * offer.gets_per_1000) / 1000,
        egress=_above(month.egress_bytes / offer.gigabyte, free_egress) * offer.egress_per_gb,
        retrieval=month.read_bytes / offer.gigabyte * offer.retrieval_per_gb,
    )


def _above(quantity: float, free: float) -> float:
    return max(0.0, quantity - free)
