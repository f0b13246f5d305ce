"""Write a realistic table of card payments to try fraud detection on, with its answers kept apart.

Customers have a home, habits and devices; about one payment in a hundred is fraud, of four kinds that each
resemble something honest people do: travelling, buying a phone, buying a gift, paying a parking meter. So no
single column tells, and a good model reaches an average precision of about 0.6 to 0.85.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.errors import InvalidInput
from ecluse.sentences import _

FRAUD_SHARE = 0.01
DAYS = 90
_START = datetime(2025, 1, 6)
_DAY = 86_400
_COUNTRIES = np.array(["FR", "DE", "ES", "IT", "GB", "BE", "CH", "US", "NG", "RO", "BR", "VN"])
_CURRENCIES = np.array(["EUR", "EUR", "EUR", "EUR", "GBP", "EUR", "CHF", "USD", "NGN", "RON", "BRL", "VND"])
_HOME_WEIGHTS = np.array([0.42, 0.14, 0.10, 0.10, 0.08, 0.07, 0.05, 0.04, 0, 0, 0, 0])
_ABROAD_WEIGHTS = np.array([0.14, 0.11, 0.12, 0.12, 0.10, 0.05, 0.05, 0.10, 0.05, 0.06, 0.05, 0.05])
_CATEGORIES = np.array(
    ["groceries", "restaurant", "transport", "fuel", "clothing", "electronics", "travel", "gaming", "gift_cards",
     "pharmacy", "home", "digital"]
)  # fmt: skip
_CATEGORY_WEIGHTS = np.array([0.22, 0.16, 0.12, 0.08, 0.09, 0.06, 0.04, 0.05, 0.02, 0.05, 0.06, 0.05])
_CATEGORY_LEVEL = np.log(np.array([35, 25, 8, 50, 60, 160, 280, 15, 50, 18, 70, 12], dtype=float))
_RISKY = np.array([5, 6, 7, 8, 11])
_DEVICE_TYPES = np.array(["android", "ios", "windows", "mac"])
_CHANNELS = np.array(["in_store", "app", "web"])

#: What a training says of a table that `is_sample`.
SIMULATED: Final = _(
    "The table is the sample: its payments and frauds are invented, so that these figures "
    "say nothing of real ones."
)
#: Numbers of devices are multiplied by this modulo 2^32, one to one: they tell nothing of their owner.
_SCRAMBLING: Final = 2_654_435_761
#: Devices of other tables stand for numbers this small by chance once in 4,000 times each.
_MOST_DEVICES: Final = 1_000_000
_FEWEST_SEEN: Final = 20

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SamplePaths:
    """`labelled` to train on, `unlabelled` (the following days) to score, `truth` its answers by id."""

    labelled: Path
    unlabelled: Path
    truth: Path


def write_sample(
    directory: Path, *, rows: int = 20_000, score_rows: int = 5_000, seed: int = 7
) -> SamplePaths:
    """Write transactions.csv, to_score.csv and to_score_truth.csv into `directory`, made if need be."""
    frame = generate(rows + score_rows, seed)
    directory.mkdir(parents=True, exist_ok=True)
    paths = SamplePaths(
        directory / "transactions.csv", directory / "to_score.csv", directory / "to_score_truth.csv"
    )
    later = frame.slice(rows)
    frame.head(rows).write_csv(paths.labelled, datetime_format="%Y-%m-%d %H:%M:%S")
    later.drop("is_fraud").write_csv(paths.unlabelled, datetime_format="%Y-%m-%d %H:%M:%S")
    score_truth(later).write_csv(paths.truth)
    return paths


def is_sample(rows: pl.DataFrame) -> bool:
    """Tell whether the first rows of a table, as text, are those of a sample: its numbers of devices are told by how
    they were made, whatever columns are left and wherever the file has been.
    """
    if "device_id" not in rows.columns:
        return False
    named = rows["device_id"].cast(pl.String).drop_nulls().str.extract(r"^D(\d{10})$")
    if len(named) < _FEWEST_SEEN or named.null_count():
        return False
    inverse = pow(_SCRAMBLING, -1, 2**32)
    return all(int(number) * inverse % 2**32 < _MOST_DEVICES for number in named)


def generate(rows: int = 20_000, seed: int = 7, *, fraud_share: float = FRAUD_SHARE) -> pl.DataFrame:
    """(rows, 14) payments of 90 days in order of time, `is_fraud` (0 or 1) last; the same for the same seed.

    Raises InvalidInput for fewer than 500 rows, too few to hold a fraud of each kind.
    """
    if rows < 500:
        raise InvalidInput(
            _("A sample of %(rows)s rows holds too few frauds; ask for at least 500.", rows=rows)
        )
    rng = np.random.default_rng(seed)
    world = _world(rng, rows)
    frauds = max(8, round(rows * fraud_share))
    events = _joined([_honest(rng, world, rows - frauds), *_frauds(rng, world, frauds)])
    return _as_frame(events, world)


def score_truth(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the answers of generated rows: transaction_id and is_fraud."""
    return frame.select("transaction_id", "is_fraud")


# The people, shops and devices


@dataclass(frozen=True)
class _World:
    home: Ints  # (customers,) index into _COUNTRIES
    level: Floats  # (customers,) logarithm of the usual amount's factor
    hour: Floats  # (customers,) the hour around which one pays
    opened: Ints  # (customers,) age of the card in days at the start
    shops: Ints  # (customers, 8) usual merchants
    activity: Floats  # (customers,) shares of all payments
    new_phone: Floats  # (customers,) day on which a new device replaces the old; beyond the end for most
    trip: Floats  # (customers,) first day of a week abroad; beyond the end for most
    trip_to: Ints
    category: Ints  # (merchants,)
    country: Ints  # (merchants,)
    popularity: Floats  # (merchants,) shares


def _world(rng: np.random.Generator, rows: int) -> _World:
    customers, merchants = max(40, rows // 35), max(150, min(20_000, rows // 40))
    popularity = rng.pareto(1.2, merchants) + 0.05
    popularity /= popularity.sum()
    activity = rng.gamma(1.5, 1.0, customers) + 0.05
    never = DAYS * 10.0
    return _World(
        home=rng.choice(len(_COUNTRIES), customers, p=_HOME_WEIGHTS),
        level=rng.normal(0, 0.45, customers),
        hour=rng.normal(14.5, 2.5, customers),
        opened=rng.integers(5, 3_000, customers),
        shops=rng.choice(merchants, (customers, 8), p=popularity),
        activity=activity / activity.sum(),
        new_phone=np.where(rng.random(customers) < 0.3, rng.uniform(0, DAYS, customers), never),
        trip=np.where(rng.random(customers) < 0.25, rng.uniform(0, DAYS, customers), never),
        trip_to=rng.choice(len(_COUNTRIES), customers, p=_ABROAD_WEIGHTS),
        category=rng.choice(len(_CATEGORIES), merchants, p=_CATEGORY_WEIGHTS),
        country=rng.choice(len(_COUNTRIES), merchants, p=0.7 * _HOME_WEIGHTS + 0.3 * _ABROAD_WEIGHTS),
        popularity=popularity,
    )


# The payments, as columns of equal length


@dataclass(frozen=True)
class _Events:
    second: Floats  # since the start
    customer: Ints
    merchant: Ints
    amount: Floats
    device: Ints  # number of the device; unique to its owner, or to one thief
    channel: Ints  # index into _CHANNELS
    ip: Ints  # index into _COUNTRIES
    fraud: Ints


def _honest(rng: np.random.Generator, world: _World, rows: int) -> _Events:
    customer = rng.choice(len(world.home), rows, p=world.activity)
    day = rng.integers(0, DAYS, rows)
    hour = rng.normal(world.hour[customer], 3.2) % 24
    usual = rng.random(rows) < 0.72
    merchant = np.where(
        usual,
        world.shops[customer, rng.integers(0, 8, rows)],
        rng.choice(len(world.popularity), rows, p=world.popularity),
    )
    away = (day >= world.trip[customer]) & (day < world.trip[customer] + 7)
    return _Events(
        second=(day + hour / 24) * _DAY,
        customer=customer,
        merchant=merchant,
        amount=_usual_amount(rng, world, customer, merchant) * np.where(rng.random(rows) < 0.015, 4.5, 1.0),
        device=_own_device(rng, world, customer, day),
        channel=rng.choice(3, rows, p=[0.5, 0.3, 0.2]),
        ip=np.where(away, world.trip_to[customer], world.home[customer]),
        fraud=np.zeros(rows, np.int64),
    )


def _usual_amount(rng: np.random.Generator, world: _World, customer: Ints, merchant: Ints) -> Floats:
    centre = world.level[customer] + _CATEGORY_LEVEL[world.category[merchant]]
    return np.asarray(np.exp(rng.normal(centre, 0.5)), dtype=np.float64)


def _own_device(rng: np.random.Generator, world: _World, customer: Ints, day: NDArray[np.generic]) -> Ints:
    """Ten numbers per customer: 0 the phone, 1 a computer, 2 the new phone."""
    phone = np.where(np.asarray(day, float) >= world.new_phone[customer], 2, 0)
    return customer * 10 + np.where(rng.random(len(customer)) < 0.2, 1, phone)


def _frauds(rng: np.random.Generator, world: _World, frauds: int) -> list[_Events]:
    """Takeovers, card testing, unusual amounts, first-seen devices, and one in ten that looks honest."""
    counts = np.maximum(1, np.round(frauds * np.array([0.36, 0.24, 0.17, 0.13]))).astype(int)
    makers = (_takeovers, _card_tests, _unusual_amounts, _new_devices)
    groups = [make(rng, world, int(count)) for make, count in zip(makers, counts, strict=True)]
    groups.append(_marked(_honest(rng, world, max(1, frauds - int(counts.sum())))))
    return groups


def _takeovers(rng: np.random.Generator, world: _World, rows: int) -> _Events:
    """Bursts of three to six payments within two hours from a thief's device, mostly from abroad."""
    burst, size = _bursts(rng, rows, 3, 6)
    owner = _any_customer(rng, world, size)
    start = rng.uniform(0, DAYS * _DAY, size)
    abroad = rng.choice(len(_COUNTRIES), size, p=_ABROAD_WEIGHTS)
    ip = np.where(rng.random(size) < 0.7, abroad, world.home[owner])
    customer = owner[burst]
    merchant = _risky_merchant(rng, world, rows)
    amount = _usual_amount(rng, world, customer, merchant) * np.exp(rng.normal(0.7, 0.6, rows))
    second = start[burst] + rng.uniform(0, 7_200, rows)
    device = _thief_device(world, 0, burst)
    return _fraud_events(second, customer, merchant, amount, device, _online(rng, rows), ip[burst])


def _card_tests(rng: np.random.Generator, world: _World, rows: int) -> _Events:
    """Six to twelve tiny payments within minutes at shops new to the customer."""
    burst, size = _bursts(rng, rows, 6, 12)
    customer = _any_customer(rng, world, size)[burst]
    second = rng.uniform(0, DAYS * _DAY, size)[burst] + rng.uniform(0, 900, rows)
    merchant = rng.integers(0, len(world.category), rows)
    amount = rng.uniform(0.5, 6.0, rows)
    device = np.where(
        rng.random(size)[burst] < 0.7,
        _thief_device(world, 1, burst),
        _own_device(rng, world, customer, second / _DAY),
    )
    return _fraud_events(second, customer, merchant, amount, device, _online(rng, rows), world.home[customer])


def _unusual_amounts(rng: np.random.Generator, world: _World, rows: int) -> _Events:
    """Single payments of several times the usual amount, often at night, from the customer's own device."""
    customer = _any_customer(rng, world, rows)
    merchant = _risky_merchant(rng, world, rows)
    amount = _usual_amount(rng, world, customer, merchant) * np.exp(rng.normal(1.6, 0.45, rows))
    hour = np.where(rng.random(rows) < 0.6, rng.uniform(0, 6, rows), rng.uniform(0, 24, rows))
    second = (rng.integers(0, DAYS, rows) + hour / 24) * _DAY
    device = _own_device(rng, world, customer, second / _DAY)
    return _fraud_events(
        second,
        customer,
        merchant,
        amount,
        device,
        rng.choice(3, rows, p=[0.3, 0.3, 0.4]),
        world.home[customer],
    )


def _new_devices(rng: np.random.Generator, world: _World, rows: int) -> _Events:
    """Single payments from a device never seen, at risky shops and otherwise as usual."""
    customer = _any_customer(rng, world, rows)
    merchant = _risky_merchant(rng, world, rows)
    amount = _usual_amount(rng, world, customer, merchant) * np.exp(rng.normal(0.5, 0.5, rows))
    second = rng.uniform(0, DAYS * _DAY, rows)
    device = _thief_device(world, 2, np.arange(rows))
    return _fraud_events(second, customer, merchant, amount, device, _online(rng, rows), world.home[customer])


def _bursts(rng: np.random.Generator, rows: int, least: int, most: int) -> tuple[Ints, int]:
    """(rows,) number of the burst of each row, and how many bursts there are."""
    sizes = rng.integers(least, most + 1, rows // least + 1)
    burst = np.repeat(np.arange(len(sizes)), sizes)[:rows]
    return burst, len(sizes)


def _any_customer(rng: np.random.Generator, world: _World, size: int) -> Ints:
    return rng.choice(len(world.home), size, p=world.activity)


def _risky_merchant(rng: np.random.Generator, world: _World, rows: int) -> Ints:
    """Merchants by popularity, those whose goods resell well eight times as often."""
    weights = world.popularity**0.5 * np.where(np.isin(world.category, _RISKY), 8.0, 1.0)
    return rng.choice(len(weights), rows, p=weights / weights.sum())


def _thief_device(world: _World, kind: int, burst: Ints) -> Ints:
    return len(world.home) * 10 + burst * 3 + kind


def _online(rng: np.random.Generator, rows: int) -> Ints:
    return rng.choice([1, 2], rows, p=[0.4, 0.6])


def _fraud_events(
    second: Floats, customer: Ints, merchant: Ints, amount: Floats, device: Ints, channel: Ints, ip: Ints
) -> _Events:
    return _Events(second, customer, merchant, amount, device, channel, ip, np.ones(len(second), np.int64))


def _marked(events: _Events) -> _Events:
    return _fraud_events(
        events.second,
        events.customer,
        events.merchant,
        events.amount,
        events.device,
        events.channel,
        events.ip,
    )


def _joined(groups: list[_Events]) -> dict[str, NDArray[np.generic]]:
    """Return all groups in order of time, ties in order of generation."""
    names = tuple(_Events.__dataclass_fields__)
    joined = {name: np.concatenate([getattr(group, name) for group in groups]) for name in names}
    order = np.argsort(joined["second"], kind="stable")
    return {name: values[order] for name, values in joined.items()}


def _as_frame(events: dict[str, NDArray[np.generic]], world: _World) -> pl.DataFrame:
    customer, merchant = events["customer"].astype(np.int64), events["merchant"].astype(np.int64)
    second, device = events["second"].astype(np.int64), events["device"].astype(np.int64)
    in_store = pl.Series(events["channel"]) == 0
    scrambled = device * _SCRAMBLING % 2**32
    frame = pl.DataFrame(
        {
            "number": np.arange(1, len(second) + 1),
            "timestamp": np.datetime64(_START, "us") + second * np.timedelta64(1_000_000, "us"),
            "customer": customer,
            "card_age_days": world.opened[customer] + second // _DAY,
            "amount": np.maximum(0.2, events["amount"].astype(float)).round(2),
            "currency": _CURRENCIES[world.home[customer]],
            "merchant": merchant,
            "merchant_category": _CATEGORIES[world.category[merchant]],
            "merchant_country": _COUNTRIES[world.country[merchant]],
            "device": scrambled,
            "device_type": _DEVICE_TYPES[scrambled // 7 % 4],
            "channel": _CHANNELS[events["channel"].astype(np.int64)],
            "ip_country": _COUNTRIES[events["ip"].astype(np.int64)],
            "is_fraud": events["fraud"].astype(np.int64),
        }
    )
    online = [
        pl.when(~in_store).then(name).alias(name) for name in ("device_id", "device_type", "ip_country")
    ]
    return frame.select(
        pl.format("T{}", pl.col("number").cast(pl.String).str.zfill(8)).alias("transaction_id"),
        "timestamp",
        pl.format("C{}", pl.col("customer").cast(pl.String).str.zfill(6)).alias("customer_id"),
        "card_age_days",
        "amount",
        "currency",
        pl.format("M{}", pl.col("merchant").cast(pl.String).str.zfill(5)).alias("merchant_id"),
        "merchant_category",
        "merchant_country",
        pl.format("D{}", pl.col("device").cast(pl.String).str.zfill(10)).alias("device_id"),
        "device_type",
        "channel",
        "ip_country",
        "is_fraud",
    ).with_columns(online)
