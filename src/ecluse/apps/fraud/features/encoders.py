"""Encode raw columns as numbers: each encoder is fitted once, saved as plain values, and reads any rows alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.fraud.features.history import (
    NO_KEY,
    Column,
    CustomerHistory,
    KeyedTable,
    hash_keys,
    pair_keys,
)
from ecluse.errors import ModelUnreadable
from ecluse.sentences import N_, _

#: So many rows are encoded one by one: to prepare for all levels takes longer.
FEW_ROWS: Final = 64
ENTITY_FILE = "entities.parquet"
CUSTOMER_FILE = "history_customers.parquet"
SEEN_FILE = "history_seen.parquet"

HISTORY_NAMES = {
    "history_rows": N_("%(name)s: earlier rows"),
    "history_since": N_("%(name)s: since the customer's last row"),
    "history_ratio": N_("%(name)s: times the customer's usual"),
    "history_deviation": N_("%(name)s: distance from the customer's usual"),
    "history_new": N_("%(name)s: new for the customer"),
}
DATE_NAMES = {
    "hour": N_("%(name)s: hour"),
    "weekday": N_("%(name)s: weekday"),
    "day": N_("%(name)s: day"),
    "month": N_("%(name)s: month"),
}
TEXT_NAMES = {
    "characters": N_("%(name)s: characters"),
    "words": N_("%(name)s: words"),
    "digit share": N_("%(name)s: digit share"),
}


@dataclass(frozen=True)
class Feature:
    """One column of the matrix: its name, the raw column it reads, and what it tells of it."""

    name: str
    column: str
    kind: str
    detail: str = ""


class Encoder(Protocol):
    """Part of the engineer: reads some raw columns, gives some features."""

    def features(self) -> list[Feature]: ...

    def columns(self) -> tuple[str, ...]: ...

    def transform(self, frame: pl.DataFrame) -> list[Column]: ...

    def to_dict(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class NumberEncoder:
    """A number held within the range of the training rows: beyond it, a tree can only guess."""

    column: str
    low: float
    high: float

    def features(self) -> list[Feature]:
        return [Feature(self.column, self.column, "number")]

    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def transform(self, frame: pl.DataFrame) -> list[Column]:
        return [np.clip(floats(frame[self.column]), self.low, self.high).astype(np.float32)]

    def to_dict(self) -> dict[str, Any]:
        return {"type": "number", "column": self.column, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class FlagEncoder:
    """A number that took two values in training; any other counts as the more usual of the two.

    A tree cuts between the two, and would take every value beyond one of them for that one: a year after
    the last would be a second last year.
    """

    column: str
    usual: float
    other: float

    def features(self) -> list[Feature]:
        return [Feature(self.column, self.column, "number")]

    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def transform(self, frame: pl.DataFrame) -> list[Column]:
        values = floats(frame[self.column])
        odd = ~np.isnan(values) & (values != self.other)
        return [np.where(odd, self.usual, values).astype(np.float32)]

    def to_dict(self) -> dict[str, Any]:
        return {"type": "flag", "column": self.column, "usual": self.usual, "other": self.other}


@dataclass(frozen=True)
class SumEncoder:
    """Columns added up with their signs, held within the range of the training rows.

    `terms` are (column, 1 or -1). What is left by rounding counts as nothing: a balance is even or it is not.
    """

    terms: tuple[tuple[str, int], ...]
    low: float
    high: float

    @property
    def name(self) -> str:
        (first, _rest), *rest = self.terms
        return first + "".join(f" {'+' if sign > 0 else '−'} {column}" for column, sign in rest)

    def features(self) -> list[Feature]:
        return [Feature(self.name, self.terms[0][0], "sum")]

    def columns(self) -> tuple[str, ...]:
        return tuple(column for column, _ in self.terms)

    def transform(self, frame: pl.DataFrame) -> list[Column]:
        return [np.clip(signed_sum(frame, self.terms), self.low, self.high).astype(np.float32)]

    def to_dict(self) -> dict[str, Any]:
        return {
            "type": "sum",
            "terms": [list(term) for term in self.terms],
            "low": self.low,
            "high": self.high,
        }


@dataclass(frozen=True)
class RatioEncoder:
    """One number as a multiple of another, held within the range of the training rows; NaN over nothing."""

    column: str
    over: str
    low: float
    high: float

    def features(self) -> list[Feature]:
        return [Feature(f"{self.column} ÷ {self.over}", self.column, "ratio", self.over)]

    def columns(self) -> tuple[str, ...]:
        return (self.column, self.over)

    def transform(self, frame: pl.DataFrame) -> list[Column]:
        return [np.clip(quotient(frame, self.column, self.over), self.low, self.high).astype(np.float32)]

    def to_dict(self) -> dict[str, Any]:
        return {"type": "ratio", "column": self.column, "over": self.over, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class LevelEncoder:
    """A category as the place of its level when levels are ordered by their training fraud rate.

    Levels unseen or rare in training share a place of their own in that order. With `rates`, the fraud rate by
    place, a second feature: training rows get theirs from rows they are not among, so that it promises no more
    than it keeps, which the order, known to those rows, does.
    """

    column: str
    levels: tuple[str, ...]
    codes: tuple[int, ...]
    unseen: int
    rates: tuple[float, ...] = ()

    def features(self) -> list[Feature]:
        place = Feature(self.column, self.column, "level")
        return (
            [place, Feature(_("%(name)s: fraud rate", name=self.column), self.column, "rate")]
            if self.rates
            else [place]
        )

    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def transform(self, frame: pl.DataFrame) -> list[Column]:
        text = frame[self.column].cast(pl.String)
        places = self._places_of_few(text) if len(text) <= FEW_ROWS else self._places(text)
        if not self.rates:
            return [places]
        missing = np.isnan(places)
        rates = np.array(self.rates, dtype=np.float32)[np.where(missing, 0, places).astype(np.int64)]
        return [places, np.where(missing, np.float32(np.nan), rates)]

    def _places(self, text: pl.Series) -> Column:
        if not self.levels:
            codes = pl.Series(np.full(len(text), float(self.unseen), dtype=np.float32))
        else:
            codes = text.replace_strict(
                list(self.levels), list(self.codes), default=self.unseen, return_dtype=pl.Float32
            )
        # replace_strict gives missing values the default too.
        codes = codes.set(text.is_null(), None)
        return codes.to_numpy().astype(np.float32)

    def _places_of_few(self, text: pl.Series) -> Column:
        """Return what `_places` does, sooner: no mapping of all levels is made for a few rows."""
        code_of = self._code_of
        codes = [None if value is None else code_of.get(value, self.unseen) for value in text]
        return np.array(codes, dtype=np.float32)

    @cached_property
    def _code_of(self) -> Mapping[str, int]:
        return dict(zip(self.levels, self.codes, strict=True))

    def to_dict(self) -> dict[str, Any]:
        return {
            "type": "level",
            "column": self.column,
            "levels": list(self.levels),
            "codes": list(self.codes),
            "unseen": self.unseen,
            "rates": list(self.rates),
        }


@dataclass(frozen=True)
class EntityEncoder:
    """A value met many times (device, address, merchant): rows seen in training, and their fraud rate.

    With `beside`, the values of two columns together.
    """

    column: str
    salt: int
    prior: float
    table: KeyedTable
    beside: str | None = None

    @property
    def name(self) -> str:
        return self.column if self.beside is None else f"{self.column} × {self.beside}"

    def features(self) -> list[Feature]:
        return [
            Feature(_("%(name)s: seen", name=self.name), self.column, "count", self.beside or ""),
            Feature(_("%(name)s: fraud rate", name=self.name), self.column, "rate", self.beside or ""),
        ]

    def columns(self) -> tuple[str, ...]:
        return (self.column,) if self.beside is None else (self.column, self.beside)

    def transform(self, frame: pl.DataFrame) -> list[Column]:
        keys = entity_keys(frame, self.column, self.beside, self.salt)
        at, known = self.table.find(keys)
        count, rate = self.table.values["count"], self.table.values["rate"]
        if not len(count):
            count, rate = np.zeros(1), np.full(1, self.prior)
        missing = keys == 0
        seen = np.where(known, count[at], np.where(missing, np.nan, 0.0))
        return [
            seen.astype(np.float32),
            np.where(known, rate[at], np.where(missing, np.nan, self.prior)).astype(np.float32),
        ]

    def forgetting(self) -> EntityEncoder:
        """Return the same features of values of which none has been seen."""
        return replace(self, salt=0, table=self.table.emptied())

    def to_dict(self) -> dict[str, Any]:
        return {
            "type": "entity",
            "column": self.column,
            "salt": self.salt,
            "prior": self.prior,
            "beside": self.beside,
        }


@dataclass(frozen=True)
class DateEncoder:
    """The parts of a date that come back: hour, weekday, day, month. Never the date, which does not."""

    column: str
    parts: tuple[str, ...]

    def features(self) -> list[Feature]:
        return [
            Feature(_(DATE_NAMES[part], name=self.column), self.column, "date", part) for part in self.parts
        ]

    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def transform(self, frame: pl.DataFrame) -> list[Column]:
        date = frame[self.column].dt
        parts = {"hour": date.hour, "weekday": date.weekday, "day": date.day, "month": date.month}
        return [floats(parts[part]().cast(pl.Float64)).astype(np.float32) for part in self.parts]

    def to_dict(self) -> dict[str, Any]:
        return {"type": "date", "column": self.column, "parts": list(self.parts)}


@dataclass(frozen=True)
class GapEncoder:
    """Seconds from one date to another of the same row, held within the training range."""

    earlier: str
    later: str
    low: float
    high: float

    def features(self) -> list[Feature]:
        return [Feature(f"{self.later} − {self.earlier}", self.later, "gap", self.earlier)]

    def columns(self) -> tuple[str, ...]:
        return (self.earlier, self.later)

    def transform(self, frame: pl.DataFrame) -> list[Column]:
        return [np.clip(gap_seconds(frame, self.earlier, self.later), self.low, self.high).astype(np.float32)]

    def to_dict(self) -> dict[str, Any]:
        return {
            "type": "gap",
            "earlier": self.earlier,
            "later": self.later,
            "low": self.low,
            "high": self.high,
        }


@dataclass(frozen=True)
class TextEncoder:
    """The shape of a text: characters, words, share of digits."""

    column: str

    def features(self) -> list[Feature]:
        return [
            Feature(_(name, name=self.column), self.column, "text", detail)
            for detail, name in TEXT_NAMES.items()
        ]

    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def transform(self, frame: pl.DataFrame) -> list[Column]:
        text = frame[self.column].cast(pl.String).str
        length = floats(text.len_chars().cast(pl.Float64))
        words = floats(text.count_matches(r"\S+").cast(pl.Float64))
        digits = floats(text.count_matches(r"\d").cast(pl.Float64)) / np.maximum(length, 1.0)
        return [column.astype(np.float32) for column in (length, words, digits)]

    def to_dict(self) -> dict[str, Any]:
        return {"type": "text", "column": self.column}


@dataclass(frozen=True)
class MissingEncoder:
    """How many of the columns that had gaps in training are missing from a row."""

    watched: tuple[str, ...]

    def features(self) -> list[Feature]:
        return [Feature(_("missing values"), self.watched[0], "missing")]

    def columns(self) -> tuple[str, ...]:
        return self.watched

    def transform(self, frame: pl.DataFrame) -> list[Column]:
        total = np.zeros(frame.height, dtype=np.float32)
        for name in self.watched:
            total += frame[name].is_null().to_numpy()
        return [total]

    def to_dict(self) -> dict[str, Any]:
        return {"type": "missing", "watched": list(self.watched)}


@dataclass(frozen=True)
class HistoryEncoder:
    """A row against its customer's frozen past."""

    history: CustomerHistory

    def features(self) -> list[Feature]:
        return [
            Feature(_(HISTORY_NAMES[kind], name=column), column, kind)
            for kind, column in self.history.feature_details()
        ]

    def columns(self) -> tuple[str, ...]:
        return self.history.columns()

    def transform(self, frame: pl.DataFrame) -> list[Column]:
        return self.history.describe(frame)

    def forgetting(self) -> HistoryEncoder:
        """Return the same features of customers of whom none is known."""
        known = self.history
        return HistoryEncoder(
            replace(known, salt=0, customers=known.customers.emptied(), seen=known.seen[:0])
        )

    def to_dict(self) -> dict[str, Any]:
        return {"type": "history", **self.history.to_dict()}


def load_encoder(state: dict[str, Any], directory: Path) -> Encoder:
    """Load the encoder of a saved state; `directory` holds the tables beside it. Raises ModelUnreadable."""
    kind, values = state["type"], {name: value for name, value in state.items() if name != "type"}
    if kind == "number":
        return NumberEncoder(**values)
    if kind == "flag":
        return FlagEncoder(**values)
    if kind == "sum":
        terms = tuple((str(column), int(sign)) for column, sign in values["terms"])
        return SumEncoder(terms, values["low"], values["high"])
    if kind == "ratio":
        return RatioEncoder(**values)
    if kind == "level":
        levels, codes = tuple(values["levels"]), tuple(values["codes"])
        return LevelEncoder(values["column"], levels, codes, values["unseen"], tuple(values.get("rates", ())))
    if kind == "entity":
        of_this = (pl.col("column") == values["column"]) & pl.col("beside").eq_missing(values["beside"])
        rows = pl.scan_parquet(directory / ENTITY_FILE).filter(of_this).drop("column", "beside")
        return EntityEncoder(**values, table=KeyedTable.from_frame(rows.collect()))
    if kind == "date":
        return DateEncoder(values["column"], tuple(values["parts"]))
    if kind == "gap":
        return GapEncoder(**values)
    if kind == "text":
        return TextEncoder(**values)
    if kind == "missing":
        return MissingEncoder(tuple(values["watched"]))
    if kind == "history":
        return _load_history(values, directory)
    raise ModelUnreadable(
        _(
            '%(file)s holds an encoder "%(value)s" that this version does not know.',
            file="feature_engineer.json",
            value=kind,
        )
    )


def _load_history(values: dict[str, Any], directory: Path) -> Encoder:
    history = CustomerHistory(
        customer=values["customer"],
        time=values["time"],
        amounts=tuple(values["amounts"]),
        entities=tuple(values["entities"]),
        salt=values["salt"],
        customers=KeyedTable.from_frame(pl.read_parquet(directory / CUSTOMER_FILE)),
        seen=pl.read_parquet(directory / SEEN_FILE)["pair"].to_numpy(),
    )
    return HistoryEncoder(history)


def floats(column: pl.Series) -> NDArray[np.float64]:
    """(rows,) float64, NaN where missing."""
    return column.cast(pl.Float64).to_numpy()


def signed_sum(frame: pl.DataFrame, terms: tuple[tuple[str, int], ...]) -> NDArray[np.float64]:
    """(rows,) float64, NaN where a term is missing, 0 where the terms cancel but for rounding."""
    total, size = np.zeros(frame.height), np.zeros(frame.height)
    for column, sign in terms:
        values = floats(frame[column])
        total, size = total + sign * values, size + np.abs(values)
    return np.where(np.abs(total) <= 1e-9 * size, 0.0, total)


def quotient(frame: pl.DataFrame, column: str, over: str) -> NDArray[np.float64]:
    """(rows,) float64, NaN where either is missing or the divisor is 0."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        values = floats(frame[column]) / floats(frame[over])
    return np.where(np.isfinite(values), values, np.nan)


def entity_keys(frame: pl.DataFrame, column: str, beside: str | None, salt: int) -> NDArray[np.uint64]:
    """(rows,) uint64 by the value of a column, or of two together; 0 where one is missing."""
    keys = hash_keys(frame[column], salt)
    if beside is None:
        return keys
    others = hash_keys(frame[beside], salt)
    return np.where((keys == NO_KEY) | (others == NO_KEY), NO_KEY, pair_keys(keys, others))


def gap_seconds(frame: pl.DataFrame, earlier: str, later: str) -> NDArray[np.float64]:
    """(rows,) float64 seconds from one date to the other, NaN where either is missing."""
    microseconds = frame[later].cast(pl.Int64) - frame[earlier].cast(pl.Int64)
    return floats(microseconds.cast(pl.Float64)) / 1e6
