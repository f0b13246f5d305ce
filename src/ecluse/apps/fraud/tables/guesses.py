"""Guess which columns are the target, the customer, the moment and the identifiers, each with its reason.

The words looked for in names are English and French; the values of a column must agree with the role.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import polars as pl

from ecluse.apps.fraud.tables.columns import name_words
from ecluse.apps.fraud.tables.description import ColumnProfile, Role, Totals
from ecluse.apps.fraud.tables.meaning import (
    LEAST_NAMED,
    VALUES_SAY,
    are_opposites,
    meaning_of,
    named_like_a_label,
)
from ecluse.sentences import _, num


@dataclass(frozen=True)
class Guess:
    column: str
    reason: str
    score: float


@dataclass(frozen=True)
class Guesses:
    """`positive_value` of the target means fraud, or is thought to: `meaning` decides, and says whether
    it is sure. `fraud_rate` is its share among the target's values, in [0, 1].
    """

    target: Guess | None = None
    identifiers: tuple[Guess, ...] = ()
    customer: Guess | None = None
    timestamp: Guess | None = None
    positive_value: str | None = None
    fraud_rate: float | None = None


def guess_roles(
    columns: Sequence[ColumnProfile], parsed: pl.DataFrame, totals: Mapping[str, Totals], rows: int
) -> Guesses:
    """Return the roles of a table's columns; `parsed` may be a sample of the `rows` rows, `totals` counts them all."""
    target = _best(_target_guess(c, totals[c.name], c is columns[-1]) for c in columns)
    others = [c for c in columns if target is None or c.name != target.column]
    timestamp = _best(_timestamp_guess(c, parsed[c.name]) for c in others)
    others = [c for c in others if timestamp is None or c.name != timestamp.column]
    customer = _best(_customer_guess(c, parsed[c.name], rows) for c in others)
    others = [c for c in others if customer is None or c.name != customer.column]
    identifiers = tuple(
        guess for c in others if (guess := _identifier_guess(c, parsed[c.name], rows)) is not None
    )
    if target is None:
        return Guesses(None, identifiers, customer, timestamp)
    meaning = meaning_of(totals[target.column].levels, target.column)
    return Guesses(target, identifiers, customer, timestamp, meaning.value, meaning.share)


def with_roles(columns: Sequence[ColumnProfile], guesses: Guesses) -> tuple[ColumnProfile, ...]:
    """Return the columns in the same order, each with its guessed role and the reason."""
    chosen: dict[str, tuple[Role, str]] = {g.column: ("identifier", g.reason) for g in guesses.identifiers}
    singles: tuple[tuple[Role, Guess | None], ...] = (
        ("target", guesses.target),
        ("customer", guesses.customer),
        ("timestamp", guesses.timestamp),
    )
    chosen |= {guess.column: (role, guess.reason) for role, guess in singles if guess is not None}
    roled = []
    for column in columns:
        role, reason = chosen.get(column.name) or _plain_role(column)
        roled.append(replace(column, guess_role=role, reason=reason))
    return tuple(roled)


def guesses_from_dict(data: Mapping[str, Any]) -> Guesses:
    """Return the guesses whose plain JSON values `data` is."""

    def optional_guess(guess: Mapping[str, Any] | None) -> Guess | None:
        return None if guess is None else Guess(**guess)

    return Guesses(
        optional_guess(data["target"]),
        tuple(Guess(**guess) for guess in data["identifiers"]),
        optional_guess(data["customer"]),
        optional_guess(data["timestamp"]),
        data["positive_value"],
        data["fraud_rate"],
    )


def _best(guesses: Iterable[Guess | None]) -> Guess | None:
    """Return the highest score, the first of equals."""
    return max((guess for guess in guesses if guess is not None), key=lambda guess: guess.score, default=None)


def _plain_role(column: ColumnProfile) -> tuple[Role, str]:
    if column.kind == "constant":
        return "leave_out", _("no value") if column.distinct == 0 else _("one value only")
    if column.missing_share > 0.99:
        return "leave_out", _("more than 99 %% missing")
    return "feature", ""


# The target


def _target_guess(column: ColumnProfile, totals: Totals, last: bool) -> Guess | None:
    if len(totals.levels) != 2 or column.missing_share > 0.5:
        return None
    meaning = meaning_of(totals.levels, column.name)
    score, why = named_like_a_label(column.name)
    if score < LEAST_NAMED and are_opposites(list(totals.levels)):
        score, why = VALUES_SAY, _("the values say fraud and not fraud")
    if score < LEAST_NAMED:
        return None
    value, rate = (meaning.value, meaning.share or 0.0) if meaning.value else meaning.values[-1]
    return Guess(
        column.name,
        _('two values, %(share)s "%(value)s"; %(why)s', share=_percent(rate), value=value, why=why),
        round(score + 0.04 * last, 2),
    )


def _percent(share: float) -> str:
    percent = 100 * share
    return num(percent, ".2f %" if percent < 1 else ".1f %")


# The customer


_PEOPLE = frozenset(
    [
        "customer",
        "client",
        "cust",
        "card",
        "cc",
        "account",
        "acct",
        "user",
        "member",
        "holder",
        "cardholder",
        "iban",
        "payer",
        "sender",
        "subscriber",
        "wallet",
        "bidder",
        "patient",
        "policyholder",
        "employee",
        "titulaire",
        "compte",
        "carte",
        "utilisateur",
        "orig",
    ]
)
_MEASURES = frozenset(
    [
        "months",
        "days",
        "years",
        "age",
        "count",
        "amount",
        "avg",
        "mean",
        "balance",
        "total",
        "time",
        "type",
        "limit",
        "income",
        "country",
        "city",
        "state",
        "status",
        "tendency",
        "ratio",
        "score",
        "rate",
        "number",
        "freq",
        "category",
        "segment",
        "since",
        "tenure",
        "hour",
        "currency",
        "brand",
    ]
)


def _customer_guess(column: ColumnProfile, values: pl.Series, rows: int) -> Guess | None:
    words = set(name_words(column.name))
    people = _PEOPLE & words
    if (
        not people
        or _MEASURES & words - {"number"}
        or column.kind not in ("category", "number", "identifier")
    ):
        return None
    if column.distinct < 20 or not _are_codes(values):
        return None
    repeats = rows * (1 - column.missing_share) / column.distinct
    if repeats < 1.25:  # the count of distinct values may be an estimate
        return None
    score = 0.6 + 0.2 * bool({"id", "num", "number", "key", "hash"} & words) + 0.1 * (column.kind != "number")
    return Guess(
        column.name, _('values repeat; the name contains "%(word)s"', word=min(people)), round(score, 2)
    )


def _are_codes(values: pl.Series) -> bool:
    """Whole, positive numbers, or text: what amounts with cents are not."""
    if values.dtype == pl.String:
        return True
    present = values.drop_nulls()
    return bool(((present == present.round(0)) & (present > 0)).all())


# The moment


_EVENT_WORDS = frozenset(
    [
        "timestamp",
        "transaction",
        "trans",
        "tx",
        "event",
        "purchase",
        "payment",
        "incident",
        "accident",
        "claim",
        "order",
        "occurred",
        "operation",
    ]
)
_OTHER_DATES = frozenset(
    [
        "birth",
        "dob",
        "birthday",
        "naissance",
        "expiry",
        "expiration",
        "expires",
        "signup",
        "registration",
        "bind",
        "open",
        "opened",
        "start",
        "created",
        "issued",
        "joined",
        "reported",
        "updated",
        "end",
    ]
)
_NUMERIC_TIMES = frozenset(["time", "step", "timestamp", "transactiondt", "seconds", "elapsed", "tick"])


def _timestamp_guess(column: ColumnProfile, values: pl.Series) -> Guess | None:
    words = name_words(column.name)
    if column.distinct < 2:
        return None
    if column.kind == "datetime":
        score = 0.7 + 0.2 * bool(_EVENT_WORDS & set(words)) - 0.3 * bool(_OTHER_DATES & set(words))
        return Guess(column.name, _span(column), round(score, 2))
    if column.kind != "number" or column.missing_share > 0.01:
        return None
    if "".join(words) in _NUMERIC_TIMES and column.distinct > 5 and float(column.minimum or 0) >= 0:
        return Guess(
            column.name, _('a number that counts time; it is called "%(name)s"', name=column.name), 0.5
        )
    if words == ("year",) and _within(column, 1900, 2100):
        return Guess(
            column.name,
            _(
                "years %(first)s to %(last)s only: coarse",
                first=_year(column.minimum),
                last=_year(column.maximum),
            ),
            0.4,
        )
    return None


def _year(value: float | str | None) -> str:
    return f"{value:.0f}"


def _within(column: ColumnProfile, low: float, high: float) -> bool:
    return float(column.minimum or 0) >= low and float(column.maximum or 0) <= high


def _span(column: ColumnProfile) -> str:
    first = datetime.fromisoformat(str(column.minimum))
    last = datetime.fromisoformat(str(column.maximum))
    days = (last - first).days
    if days >= 2:
        return _("dates over %(days)s days", days=num(days))
    return _("dates over %(hours)s hours", hours=num((last - first).total_seconds() / 3600, ".0f"))


# Identifiers


def _identifier_guess(column: ColumnProfile, values: pl.Series, rows: int) -> Guess | None:
    if column.kind != "identifier":
        return None
    present = values.drop_nulls()
    every, seen = present.n_unique() == len(present), num(len(values))
    if len(values) == rows:
        why = _("every value is different") if every else _("nearly every value is different")
    elif every:
        why = _("every value is different in %(rows)s rows", rows=seen)
    else:
        why = _("nearly every value is different in %(rows)s rows", rows=seen)
    return Guess(column.name, why, 0.9)
