"""Estimates are what one gets by hand from the table of prices."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecluse.errors import InvalidInput
from ecluse.settings import Access
from ecluse.storage.access import S3Settings
from ecluse.storage.prices import Cost, load_prices, monthly_costs, offer_of

GIB, GB = 2**30, 10**9
AMOUNTS = st.integers(0, 10**13)


def cost_at(offer: str, stored: int, **use: int) -> Cost:
    return next(cost for cost in monthly_costs(stored, **use) if cost.offer.id == offer)


def test_the_table_says_its_day_its_currency_and_the_page_of_every_price() -> None:
    prices = load_prices()
    assert prices.date <= date.today()
    assert prices.currency == "USD"
    assert len({offer.id for offer in prices.offers}) == len(prices.offers) == 10
    for offer in prices.offers:
        assert offer.source
        assert offer.source_url.startswith("https://")
        assert offer.storage_per_gb > 0
        assert offer.gigabyte in (GIB, GB)


def test_a_terabyte_in_s3_standard_with_its_requests_and_egress() -> None:
    # 1,000 GiB × 0.023 = 23.00; 200,000 puts × 0.005 / 1,000 = 1.00; 1,000,000 gets × 0.0004 / 1,000 = 0.40;
    # 300 GiB out, 100 of them free: 200 × 0.09 = 18.00.
    cost = cost_at("s3-standard", 1000 * GIB, puts=200_000, gets=1_000_000, egress_bytes=300 * GIB)
    assert cost.storage == pytest.approx(23)
    assert cost.requests == pytest.approx(1.4)
    assert cost.egress == pytest.approx(18)
    assert cost.retrieval == 0
    assert cost.monthly == pytest.approx(42.4)


def test_small_objects_are_charged_as_128_kib_where_the_class_says_so() -> None:
    # 1,000,000 objects of 1 KiB: charged as 1,000,000 × 128 KiB = 122.0703125 GiB × 0.0125.
    stored = 1_000_000 * 1024
    assert cost_at("s3-standard-ia", stored, objects=1_000_000).storage == pytest.approx(122.0703125 * 0.0125)
    assert cost_at("s3-standard", stored, objects=1_000_000).storage == pytest.approx(stored / GIB * 0.023)


def test_what_is_read_from_an_archive_is_charged_even_where_nothing_leaves_the_provider() -> None:
    # 50 GiB × 0.03 = 1.50
    cost = cost_at("s3-glacier-ir", 100 * GIB, read_bytes=50 * GIB)
    assert (cost.retrieval, cost.egress) == (pytest.approx(1.5), 0)
    assert cost_at("s3-glacier-ir", 100 * GIB, egress_bytes=50 * GIB).retrieval == pytest.approx(1.5)


def test_the_example_of_the_provider_of_r2_comes_out_at_its_price() -> None:
    # The provider's page: 1,000 objects of 1 GB, each read 1,000 times a month: 14.85.
    cost = cost_at("cloudflare-r2", 1000 * GB, objects=1000, puts=1000, gets=1_000_000)
    assert cost.monthly == pytest.approx(14.85)
    assert cost_at("cloudflare-r2", 10 * GB, egress_bytes=10**15).monthly == 0


def test_the_example_of_the_provider_of_gcs_comes_out_at_its_price_less_the_free_share() -> None:
    # The provider's page, before the free share: 50 GB 1.00, 10,000 adds 0.05, 50,000 gets 0.02, 1 GB out 0.12.
    # The free share takes off 5 GB, 5,000 adds, all gets and the egress: 0.90 + 0.025.
    cost = cost_at("gcs-standard", 50 * GIB, puts=10_000, gets=50_000, egress_bytes=GIB)
    assert cost.monthly == pytest.approx(0.925)


def test_three_times_what_is_stored_leaves_b2_for_nothing() -> None:
    # 100 GB: 90 beyond the free 10 × 0.00695; 310 GB out, 300 free: 10 × 0.01.
    cost = cost_at("backblaze-b2", 100 * GB, egress_bytes=310 * GB, gets=10**9)
    assert cost.storage == pytest.approx(0.6255)
    assert cost.egress == pytest.approx(0.1)
    assert cost.requests == 0


def test_a_volume_a_database_and_a_registry_are_priced_beside_the_object_stores() -> None:
    kinds = {cost.kind: cost for cost in monthly_costs(100 * GIB)}
    assert kinds.keys() == {"objects", "volume", "database", "registry"}
    assert kinds["database"].monthly == pytest.approx(11.5)
    assert kinds["registry"].monthly == pytest.approx(10)
    assert cost_at("railway-volume", 100 * GB).monthly == pytest.approx(15)


@given(AMOUNTS, AMOUNTS, st.integers(0, 10**9), st.integers(0, 10**9))
def test_costs_are_sorted_and_the_sum_of_their_parts(stored: int, egress: int, gets: int, puts: int) -> None:
    costs = monthly_costs(stored, gets=gets, puts=puts, egress_bytes=egress)
    assert [cost.monthly for cost in costs] == sorted(cost.monthly for cost in costs)
    assert len(costs) == len(load_prices().offers)
    assert all(min(cost.storage, cost.requests, cost.egress, cost.retrieval) >= 0 for cost in costs)


@given(AMOUNTS, AMOUNTS)
def test_more_never_costs_less(one: int, another: int) -> None:
    less, more = sorted((one, another))
    dearer = {cost.offer.id: cost.monthly for cost in monthly_costs(more, objects=3)}
    assert all(cost.monthly <= dearer[cost.offer.id] + 1e-9 for cost in monthly_costs(less, objects=3))


def test_nothing_costs_nothing_and_less_than_nothing_is_refused() -> None:
    assert {cost.monthly for cost in monthly_costs(0)} == {0}
    with pytest.raises(InvalidInput, match="was -1; use 0 or more"):
        monthly_costs(0, egress_bytes=-1)


@pytest.mark.parametrize(
    ("url", "endpoint", "offer"),
    [
        ("s3://models/prefix", None, "s3-standard"),
        ("s3://models", "https://s3.eu-west-3.amazonaws.com", "s3-standard"),
        ("s3://models", "https://abc.r2.cloudflarestorage.com", "cloudflare-r2"),
        ("s3://models", "https://s3.us-west-004.backblazeb2.com", "backblaze-b2"),
        ("s3://models", "http://127.0.0.1:8333", None),
        ("s3://models", "https://not-amazonaws.com", None),
        ("gs://models", None, "gcs-standard"),
        ("az://models", None, "azure-hot"),
        ("file:///srv/store", None, None),
        ("memory://", None, None),
    ],
)
def test_a_store_is_priced_by_its_provider_or_not_at_all(
    url: str, endpoint: str | None, offer: str | None
) -> None:
    found = offer_of(url, Access.having(S3Settings(endpoint=endpoint)))
    assert (found.id if found else None) == offer
