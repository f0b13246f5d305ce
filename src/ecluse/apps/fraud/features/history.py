"""Remember each customer's past, and describe a new row against it.

The memory is frozen: it never learns from the rows being scored, so a row's features depend on nothing
but the row and the state. While a model is trained, rows are taken in blocks of time and see only the
blocks before theirs, as rows to score will see only what happened before the model was made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

Keys = NDArray[np.uint64]
Floats = NDArray[np.float64]
Column = NDArray[np.float32]

BLOCKS = 8
HASH_BYTES = 128
NO_KEY = np.uint64(0)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class KeyedTable:
    """Numbers by hashed key: `keys` (n,) sorted uint64, `values` {name: (n,) float64}."""

    keys: Keys
    values: dict[str, Floats]

    def find(self, keys: Keys) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Find the position of each key, and whether it is there (else the position means nothing)."""
        if not len(self.keys):
            return np.zeros(len(keys), dtype=np.int64), np.zeros(len(keys), dtype=np.bool_)
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return at, (self.keys[at] == keys) & (keys != NO_KEY)

    def emptied(self) -> KeyedTable:
        """Return the same columns without a row: no key is known to it."""
        return KeyedTable(self.keys[:0], {name: values[:0] for name, values in self.values.items()})

    def to_frame(self) -> pl.DataFrame:
        return pl.DataFrame({"key": self.keys, **self.values})

    @classmethod
    def from_frame(cls, frame: pl.DataFrame) -> KeyedTable:
        names = [name for name in frame.columns if name != "key"]
        return cls(
            frame["key"].to_numpy(), {name: frame[name].to_numpy().astype(np.float64) for name in names}
        )


@dataclass(frozen=True)
class CustomerHistory:
    """What is known of each customer at the moment the state was frozen.

    `customers` holds rows, the last time and mean and deviation of each of `amounts`; `seen` the hashed
    pairs of a customer and a value of one of `entities`.
    """

    customer: str
    time: str
    amounts: tuple[str, ...]
    entities: tuple[str, ...]
    salt: int
    customers: KeyedTable
    seen: Keys = field(repr=False)

    def feature_details(self) -> list[tuple[str, str]]:
        """(kind, raw column) of each feature, in the order of `describe`."""
        details = [("history_rows", self.customer), ("history_since", self.time)]
        for amount in self.amounts:
            details += [("history_ratio", amount), ("history_deviation", amount)]
        return details + [("history_new", entity) for entity in self.entities]

    def columns(self) -> tuple[str, ...]:
        """Return the raw columns that `describe` reads."""
        return (self.customer, self.time, *self.amounts, *self.entities)

    def describe(self, frame: pl.DataFrame) -> list[Column]:
        """One float32 column (rows,) per feature; NaN where the customer is not known."""
        keys = hash_keys(frame[self.customer], self.salt)
        at, known = self.customers.find(keys)
        rows = np.where(known, self._value("rows", at), 0.0)
        since = times_of(frame[self.time]) - self._value("last", at)
        columns = [rows, np.where(known, np.maximum(since, 0.0), np.nan)]
        for amount in self.amounts:
            columns += self._against_usual(frame[amount], amount, at, known)
        for position, entity in enumerate(self.entities):
            pairs = pair_keys(keys, hash_keys(frame[entity], self.salt), position)
            columns.append(np.where(known, ~_contains(self.seen, pairs), np.nan))
        return [column.astype(np.float32) for column in columns]

    def to_dict(self) -> dict[str, Any]:
        """Return the small part of the state; the tables are saved beside it."""
        return {
            "customer": self.customer,
            "time": self.time,
            "amounts": list(self.amounts),
            "entities": list(self.entities),
            "salt": self.salt,
        }

    def _value(self, name: str, at: NDArray[np.int64]) -> Floats:
        values = self.customers.values[name]
        return values[at] if len(values) else np.full(len(at), np.nan)

    def _against_usual(
        self, column: pl.Series, amount: str, at: NDArray[np.int64], known: NDArray[np.bool_]
    ) -> list[Floats]:
        values = column.cast(pl.Float64).to_numpy()
        mean, deviation = self._value(f"mean {amount}", at), self._value(f"deviation {amount}", at)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(known & (mean > 0), values / mean, np.nan)
            # A tenth of the mean as the least deviation: two equal payments do not make the third infinite.
            spread = np.maximum(deviation, 0.1 * np.abs(mean) + 1e-9)
            distance = np.where(known, (values - mean) / spread, np.nan)
        return [np.minimum(ratio, 1e6), np.clip(distance, -1e6, 1e6)]


def freeze_history(
    frame: pl.DataFrame,
    *,
    customer: str,
    time: str,
    amounts: tuple[str, ...],
    entities: tuple[str, ...],
    salt: int,
) -> CustomerHistory:
    """Return the state after all rows of `frame`; rows without a customer or a time are not remembered."""
    keys, times = hash_keys(frame[customer], salt), times_of(frame[time])
    kept = (keys != NO_KEY) & ~np.isnan(times)
    columns = {amount: frame[amount].cast(pl.Float64).to_numpy()[kept] for amount in amounts}
    rows = pl.DataFrame({"key": keys[kept], "time": times[kept], **columns})
    measured = [pl.len().cast(pl.Float64).alias("rows"), pl.col("time").max().alias("last")]
    for amount in amounts:
        value = pl.col(amount).fill_nan(None)
        measured.append(value.mean().alias(f"mean {amount}"))
        measured.append(value.std(ddof=0).fill_null(0.0).alias(f"deviation {amount}"))
    table = KeyedTable.from_frame(rows.group_by("key").agg(measured).sort("key"))
    pairs = [
        np.unique(pair_keys(keys[kept], hash_keys(frame[entity], salt)[kept], position))
        for position, entity in enumerate(entities)
    ]
    seen = np.unique(np.concatenate(pairs)) if pairs else np.zeros(0, dtype=np.uint64)
    return CustomerHistory(customer, time, amounts, entities, salt, table, seen)


def describe_forward(
    frame: pl.DataFrame, frozen: CustomerHistory, tick: Callable[[], None] = lambda: None
) -> list[Column]:
    """Return the features of the rows the state was made from, each seen from before its own block of time.

    Cuts the period into eight blocks of about the same number of rows; equal times share a block.
    """
    times = times_of(frame[frozen.time])
    block = time_blocks(times)
    columns = [np.full(frame.height, np.nan, dtype=np.float32) for _ in frozen.feature_details()]
    for number in range(BLOCKS):
        tick()
        chosen = np.flatnonzero(block == number)
        if not len(chosen):
            continue
        before = freeze_history(
            frame.filter(pl.Series(block < number)),
            customer=frozen.customer,
            time=frozen.time,
            amounts=frozen.amounts,
            entities=frozen.entities,
            salt=frozen.salt,
        )
        for column, values in zip(columns, before.describe(frame[chosen]), strict=True):
            # Before the first block nobody is known: "0 earlier rows" would be a fact about the file.
            column[chosen] = values if number else np.nan
    return columns


def times_of(column: pl.Series) -> Floats:
    """Seconds since 1970 of dates, or numbers as they are; (rows,) float64, NaN where missing."""
    if column.dtype == pl.Datetime("us"):
        return column.cast(pl.Int64).cast(pl.Float64).to_numpy() / 1e6
    return column.cast(pl.Float64).to_numpy()


def hash_keys(column: pl.Series, salt: int) -> Keys:
    """(rows,) uint64 by value, 0 where missing; the same in every process and version.

    Numbers hash by their bits, text by its length and first 128 bytes (splitmix64, Steele et al. 2014).
    """
    seed = np.array([salt & 0xFFFFFFFFFFFFFFFF], dtype=np.uint64)  # arrays wrap around without a warning
    if column.dtype.is_numeric() or isinstance(column.dtype, pl.Datetime):
        numbers = (
            column.cast(pl.Float64) if column.dtype.is_numeric() else column.cast(pl.Int64).cast(pl.Float64)
        )
        hashed = _mix((numbers.to_numpy() + 0.0).view(np.uint64) ^ seed)
    else:
        written = column.cast(pl.String).cast(pl.Binary).fill_null(b"")
        hashed = _hash_text(written.to_list(), seed)
    hashed[column.is_null().to_numpy()] = NO_KEY
    return hashed


def _hash_text(texts: list[bytes], seed: Keys) -> Keys:
    if not texts:
        return np.zeros(0, dtype=np.uint64)
    lengths = np.fromiter(map(len, texts), np.uint64, len(texts))
    raw = np.array(texts, dtype=f"S{HASH_BYTES}")
    width = max(8, -(-int(lengths.max(initial=0)) // 8) * 8)
    words = raw.astype(f"S{min(width, HASH_BYTES)}").view(np.uint64).reshape(len(texts), -1)
    total = lengths ^ seed
    for position in range(words.shape[1]):
        # Words beyond the end add nothing, so that a row's hash does not depend on the longest of its batch.
        inside = lengths > np.uint64(8 * position)
        total = total + np.where(inside, _mix(words[:, position] ^ (seed + _step(position))), np.uint64(0))
    return np.maximum(_mix(total), np.uint64(1))


def _mix(values: Keys) -> Keys:
    z = values + _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def pair_keys(keys: Keys, values: Keys, position: int = 0) -> Keys:
    """(rows,) uint64 of two keys taken together; `position` tells the columns of the second apart."""
    return _mix(keys + _mix(values + _step(position)))


def _step(position: int) -> Keys:
    return np.array([position + 1], dtype=np.uint64) * _GOLDEN


def _contains(ordered: Keys, keys: Keys) -> NDArray[np.bool_]:
    return KeyedTable(ordered, {}).find(keys)[1]


def time_blocks(times: Floats) -> NDArray[np.int64]:
    """Return the block (0 to 7) of each row by its time; equal times share one, rows without a time are
    in the first.
    """
    known = times[~np.isnan(times)]
    if not len(known):
        return np.zeros(len(times), dtype=np.int64)
    edges = np.unique(np.quantile(known, np.arange(1, BLOCKS) / BLOCKS, method="lower"))
    block = np.searchsorted(edges, times, side="left")
    return np.where(np.isnan(times), 0, block).astype(np.int64)
