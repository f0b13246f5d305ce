"""Say what is in a table before anything is trained on it: its columns, their likely roles, what to check.

`profile_table` counts rows and missing values exactly at any size. Up to 200,000 rows everything is exact;
beyond, distinct counts are estimates (HyperLogLog, measured within 15 %) and histograms and most frequent values
come from rows spread evenly over the table. Every guess carries its reason in words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Literal

import numpy as np
import polars as pl

from ecluse.fraud.columns import ColumnKind, ColumnSpec, infer_columns, name_words
from ecluse.fraud.dataset import Table

Role = Literal["feature", "identifier", "customer", "timestamp", "target", "leave_out"]
Progress = Callable[[float, str], None]

WHOLE_ROWS = 200_000
WHOLE_CELLS = 20_000_000
LEAK_AUC = 0.995
FEW_POSITIVES = 20
BINS = 12


@dataclass(frozen=True)
class ColumnProfile:
    """One column. Shares are of all rows for `missing_share`, of the values present for `top`.

    `minimum`, `maximum` and `mean` are numbers for numbers, ISO 8601 text for dates, None otherwise.
    `histogram` has 12 bins of equal width between the 0.5 % and 99.5 % quantiles, the outer ones with what
    lies beyond; for categories it counts the most frequent values.
    """

    name: str
    kind: ColumnKind
    missing_share: float
    distinct: int
    minimum: float | str | None
    maximum: float | str | None
    mean: float | str | None
    top: tuple[tuple[str, float], ...]
    histogram: tuple[int, ...]
    guess_role: Role = "feature"
    reason: str = ""


@dataclass(frozen=True)
class Guess:
    column: str
    reason: str
    score: float


@dataclass(frozen=True)
class Guesses:
    """`fraud_rate` is the share of `positive_value` among the target's values, in [0, 1]."""

    target: Guess | None = None
    identifiers: tuple[Guess, ...] = ()
    customer: Guess | None = None
    timestamp: Guess | None = None
    positive_value: str | None = None
    fraud_rate: float | None = None


@dataclass(frozen=True)
class TableProfile:
    rows: int
    columns: tuple[ColumnProfile, ...]
    guesses: Guesses
    warnings: tuple[str, ...]
    specs: tuple[ColumnSpec, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` gives the same profile back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TableProfile:
        return cls(
            rows=int(data["rows"]),
            columns=tuple(_column_from_dict(column) for column in data["columns"]),
            guesses=_guesses_from_dict(data["guesses"]),
            warnings=tuple(data["warnings"]),
            specs=tuple(ColumnSpec.from_dict(spec) for spec in data["specs"]),
        )


def profile_table(
    table: Table, *, sample_rows: int = 20_000, progress: Progress | None = None
) -> TableProfile:
    """Profile an open table. `progress` hears (fraction in [0, 1], message) and may raise to stop the work.

    Raises UnreadableTable where the table is malformed.
    """
    report = progress or (lambda fraction, message: None)
    report(0.0, "Counting rows")
    rows = table.row_count()
    report(0.1, f"{rows:,} rows")
    raw = table.sample(sample_rows)
    specs = infer_columns(raw, decimal_comma=table.format.decimal_comma)
    if rows <= WHOLE_ROWS and rows * len(specs) <= WHOLE_CELLS:
        raw = table.sample(rows)
        specs = _with_rare_values(specs, {s.name: raw[s.name] for s in specs if s.kind == "constant"})
        parsed = _parsed(raw, specs)
        totals = _totals_of(parsed)
    else:
        specs = _with_rare_values(specs, _values_beyond_sample(table, specs))
        parsed = _parsed(raw, specs)
        totals = _stream_totals(table, specs, rows, report)
    report(0.8, "Looking at each column")
    columns = []
    for done, spec in enumerate(specs):
        columns.append(_describe(spec, parsed[spec.name], totals[spec.name], rows))
        if done % 100 == 99:
            report(0.8 + 0.1 * done / len(specs), f"{done + 1:,} of {len(specs):,} columns")
    guesses = _guess(columns, parsed, totals, rows)
    report(0.9, "Looking for what to check")
    warnings = _warnings(columns, guesses, parsed.head(WHOLE_ROWS), rows)
    report(1.0, "Profiled")
    return TableProfile(rows, _with_roles(columns, guesses), guesses, (*table.notes, *warnings), specs)


# Counting


@dataclass(frozen=True)
class _Totals:
    """What is known of the whole column; `levels` only of columns with at most three values."""

    missing: int
    distinct: int
    minimum: Any
    maximum: Any
    mean: Any
    levels: Mapping[str, int]


def _parsed(raw: pl.DataFrame, specs: Sequence[ColumnSpec]) -> pl.DataFrame:
    return pl.DataFrame([spec.read(raw[spec.name]).alias(spec.name) for spec in specs])


def _with_rare_values(specs: Sequence[ColumnSpec], values: Mapping[str, pl.Series]) -> tuple[ColumnSpec, ...]:
    """Infer again, from all its values, a column that looked constant in the sample."""
    again = {name: infer_columns(series.to_frame())[0] for name, series in values.items()}
    return tuple(again.get(spec.name, spec) for spec in specs)


def _values_beyond_sample(table: Table, specs: Sequence[ColumnSpec]) -> dict[str, pl.Series]:
    """The distinct raw values, missing included, of the columns that look constant."""
    constant = [spec.name for spec in specs if spec.kind == "constant"]
    if not constant:
        return {}
    found = {name: pl.Series(name, [], dtype=table.head(1).schema[name]) for name in constant}
    for batch in table.batches():
        for name in constant:
            found[name] = pl.concat([found[name], batch[name]]).unique(maintain_order=True).head(2_000)
    return found


def _totals_of(parsed: pl.DataFrame) -> dict[str, _Totals]:
    totals = {}
    for series in parsed.iter_columns():
        present = series.drop_nulls()
        distinct = present.n_unique()
        measured = series.dtype != pl.String and len(present) > 0
        totals[series.name] = _Totals(
            series.null_count(),
            distinct,
            present.min() if measured else None,
            present.max() if measured else None,
            present.mean() if measured else None,
            _levels(present) if distinct <= 3 else {},
        )
    return totals


def _levels(present: pl.Series) -> dict[str, int]:
    counts = _as_text(present).value_counts(sort=True, name="rows")
    return {str(value): int(count) for value, count in counts.iter_rows()}


def _as_text(values: pl.Series) -> pl.Series:
    """Values as `ColumnSpec.parse` writes categories: 1.0 is "1"."""
    if values.dtype == pl.String:
        return values
    return ColumnSpec(values.name, "category").read(values)


def _stream_totals(
    table: Table, specs: Sequence[ColumnSpec], rows: int, report: Progress
) -> dict[str, _Totals]:
    distinct = table.scan().select(pl.all().approx_n_unique()).collect(engine="streaming").row(0, named=True)
    few = {name for name, count in distinct.items() if count <= 4}
    running = {spec.name: _Running() for spec in specs}
    done = 0
    for batch in table.batches():
        for series in _parsed(batch, specs).iter_columns():
            running[series.name].add(series, count_levels=series.name in few)
        done += batch.height
        report(0.1 + 0.7 * done / max(rows, 1), f"{done:,} of {rows:,} rows")
    # An estimate may lie a little above the number of rows.
    return {name: one.totals(min(int(distinct[name]), rows)) for name, one in running.items()}


class _Running:
    """Totals of a column that come batch by batch."""

    def __init__(self) -> None:
        self.missing = 0
        self.present = 0
        self.sum = 0.0
        self.extremes: list[Any] = []
        self.levels: dict[str, int] = {}
        self.dates = False

    def add(self, series: pl.Series, *, count_levels: bool) -> None:
        present = series.drop_nulls()
        self.missing += series.null_count()
        if count_levels:
            for value, count in _levels(present).items():
                self.levels[value] = self.levels.get(value, 0) + count
        if series.dtype == pl.String or present.is_empty():
            return
        self.dates = series.dtype != pl.Float64
        self.extremes = [min([*self.extremes, present.min()]), max([*self.extremes, present.max()])]
        numbers = present.to_physical().cast(pl.Float64)
        self.sum += float(numbers.sum())
        self.present += len(present)

    def totals(self, distinct: int) -> _Totals:
        low, high = self.extremes or (None, None)
        mean: Any = self.sum / self.present if self.present else None
        if mean is not None and self.dates:
            mean = pl.Series([int(mean)]).cast(pl.Datetime("us")).item()
        # The estimate counts "missing" as a value, and "1" beside "1.0".
        known = len(self.levels) or max(0, distinct - (self.missing > 0))
        return _Totals(self.missing, known, low, high, mean, self.levels)


# Describing


def _describe(spec: ColumnSpec, values: pl.Series, totals: _Totals, rows: int) -> ColumnProfile:
    present = values.drop_nulls()
    return ColumnProfile(
        name=spec.name,
        kind=spec.kind,
        missing_share=totals.missing / max(rows, 1),
        distinct=totals.distinct,
        minimum=_plain(totals.minimum),
        maximum=_plain(totals.maximum),
        mean=_plain(totals.mean),
        top=_top(present, totals),
        histogram=_histogram(present),
    )


def _plain(value: Any) -> float | str | None:
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    # JSON has no infinity, which the sum of amounts of 1e308 reaches.
    return float(value) if value is not None and np.isfinite(value) else None


def _top(present: pl.Series, totals: _Totals) -> tuple[tuple[str, float], ...]:
    if totals.levels:
        total = sum(totals.levels.values())
        ranked = sorted(totals.levels.items(), key=lambda item: (-item[1], item[0]))
        return tuple((value, count / total) for value, count in ranked)
    if isinstance(present.dtype, pl.Datetime) or present.is_empty():
        return ()
    counts = _counts(present).head(8)
    return tuple((str(value)[:200], count / len(present)) for value, count in counts.iter_rows())


def _counts(present: pl.Series) -> pl.DataFrame:
    """Values and their counts, the most frequent first, ties by value."""
    counts = _as_text(present).alias("value").value_counts(name="rows")
    return counts.sort(["rows", "value"], descending=[True, False])


def _histogram(present: pl.Series) -> tuple[int, ...]:
    if present.is_empty():
        return ()
    if present.dtype == pl.String:
        return tuple(_counts(present)["rows"].head(BINS).to_list())
    numbers = present.to_physical().cast(pl.Float64).to_numpy()
    with np.errstate(over="ignore", invalid="ignore"):  # amounts of 1e308 make the width infinite
        low, high = np.quantile(numbers, [0.005, 0.995], method="nearest")
        if low == high:
            low, high = numbers.min(), numbers.max()
        places = (np.clip(numbers, low, high) - low) / (high - low) * BINS
    if not np.isfinite(places).all():
        return (len(numbers),) + (0,) * (BINS - 1)
    counts = np.bincount(np.minimum(places.astype(np.int64), BINS - 1), minlength=BINS)
    return tuple(int(count) for count in counts)


# Guessing roles


_FRAUD = re.compile(r"fraud|fradul|fraudul|scam|chargedback|illicit")
_TARGETS = frozenset(
    [
        "class",
        "label",
        "target",
        "y",
        "outcome",
        "flag",
        "bad",
        "default",
        "response",
        "cible",
        "etiquette",
        "anomaly",
        "outlier",
        "loanstatus",
        "isbad",
        "isdefault",
        "isanomaly",
        "isoutlier",
        "isscam",
        "ischargeback",
        "suspicious",
        "abuse",
        "churn",
    ]
)
_TARGET_WORDS = frozenset(
    [
        "label",
        "target",
        "class",
        "default",
        "defaulted",
        "anomaly",
        "outlier",
        "suspicious",
        "chargeback",
        "abuse",
    ]
)
_HINTS_ONLY = frozenset(
    ["flagged", "predicted", "prediction", "score", "suspected", "rule", "previous", "past"]
)


def _guess(
    columns: Sequence[ColumnProfile], parsed: pl.DataFrame, totals: Mapping[str, _Totals], rows: int
) -> Guesses:
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
    positive, rate = _rarer(totals[target.column].levels)
    return Guesses(target, identifiers, customer, timestamp, positive, rate)


def _best(guesses: Iterable[Guess | None]) -> Guess | None:
    """The highest score, the first of equals."""
    return max((guess for guess in guesses if guess is not None), key=lambda guess: guess.score, default=None)


def _rarer(levels: Mapping[str, int]) -> tuple[str, float]:
    value = min(levels, key=lambda level: (levels[level], _says_no(level), level))
    return value, levels[value] / sum(levels.values())


def _says_no(level: str) -> bool:
    return level.lower() in {"0", "no", "n", "false", "f", "non", "legit", "good", "normal", "genuine"}


def _target_guess(column: ColumnProfile, totals: _Totals, last: bool) -> Guess | None:
    if len(totals.levels) != 2 or column.missing_share > 0.5:
        return None
    words = name_words(column.name)
    joined = "".join(words)
    found = _FRAUD.search(joined)
    if found:
        score, why = 0.95, f'the name contains "{found[0]}"'
    elif joined in _TARGETS:
        score, why = 0.85, "the name is usual for a label"
    elif _TARGET_WORDS & set(words):
        score, why = 0.65, f'the name contains "{min(_TARGET_WORDS & set(words))}"'
    else:
        return None
    if _HINTS_ONLY & set(words):
        score -= 0.4
    value, rate = _rarer(totals.levels)
    return Guess(column.name, f'two values, {_percent(rate)} "{value}"; {why}', round(score + 0.04 * last, 2))


def _percent(share: float) -> str:
    percent = 100 * share
    return f"{percent:.2f} %" if percent < 1 else f"{percent:.1f} %"


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
    return Guess(column.name, f'values repeat; the name contains "{min(people)}"', round(score, 2))


def _are_codes(values: pl.Series) -> bool:
    """Whole, positive numbers, or text: what amounts with cents are not."""
    if values.dtype == pl.String:
        return True
    present = values.drop_nulls()
    return bool(((present == present.round(0)) & (present > 0)).all())


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
        return Guess(column.name, f"dates {_span(column)}", round(score, 2))
    if column.kind != "number" or column.missing_share > 0.01:
        return None
    if "".join(words) in _NUMERIC_TIMES and column.distinct > 5 and float(column.minimum or 0) >= 0:
        return Guess(column.name, f'a number that counts time; it is called "{column.name}"', 0.5)
    if words == ("year",) and _within(column, 1900, 2100):
        return Guess(column.name, f"years {column.minimum:.0f} to {column.maximum:.0f} only: coarse", 0.4)
    return None


def _within(column: ColumnProfile, low: float, high: float) -> bool:
    return float(column.minimum or 0) >= low and float(column.maximum or 0) <= high


def _span(column: ColumnProfile) -> str:
    first = datetime.fromisoformat(str(column.minimum))
    last = datetime.fromisoformat(str(column.maximum))
    days = (last - first).days
    return f"over {days:,} days" if days >= 2 else f"over {(last - first).total_seconds() / 3600:.0f} hours"


def _identifier_guess(column: ColumnProfile, values: pl.Series, rows: int) -> Guess | None:
    if column.kind != "identifier":
        return None
    present = values.drop_nulls()
    every = "every" if present.n_unique() == len(present) else "nearly every"
    where = "" if len(values) == rows else f" in {len(values):,} rows"
    return Guess(column.name, f"{every} value is different{where}", 0.9)


def _with_roles(columns: Sequence[ColumnProfile], guesses: Guesses) -> tuple[ColumnProfile, ...]:
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


def _plain_role(column: ColumnProfile) -> tuple[Role, str]:
    if column.kind == "constant":
        return "leave_out", "no value" if column.distinct == 0 else "one value only"
    if column.missing_share > 0.99:
        return "leave_out", "more than 99 % missing"
    return "feature", ""


# What to check


def _warnings(
    columns: Sequence[ColumnProfile], guesses: Guesses, parsed: pl.DataFrame, rows: int
) -> list[str]:
    warnings = []
    repeated = parsed.height - parsed.n_unique() if parsed.width <= 2_000 else 0
    if repeated:
        whose = "" if parsed.height == rows else f" of {parsed.height:,} sampled"
        warnings.append(f"Exact duplicates of another row: {repeated:,}{whose}.")
    constant = [column.name for column in columns if column.kind == "constant"]
    if constant:
        warnings.append(f"{_listed(constant)}: one value only, or none; it tells nothing.")
    if guesses.target is None:
        return warnings
    rate = guesses.fraud_rate or 0.0
    positives = round(rate * rows * (1 - _missing(columns, guesses.target.column)))
    if positives < FEW_POSITIVES:
        warnings.append(
            f"Positive rows: {positives}, fewer than {FEW_POSITIVES}; the figures of any model will be uncertain."
        )
    return [*warnings, *_leaks(columns, guesses.target.column, guesses, parsed)]


def _missing(columns: Sequence[ColumnProfile], name: str) -> float:
    return next(column.missing_share for column in columns if column.name == name)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


def _leaks(
    columns: Sequence[ColumnProfile], target: str, guesses: Guesses, parsed: pl.DataFrame
) -> list[str]:
    """Columns that give the label away alone, on at most 20,000 rows with at least 20 of each class."""
    step = max(1, parsed.height // 20_000)
    known = parsed.gather_every(step).filter(pl.col(target).is_not_null())
    label = (_as_text(known[target]) == guesses.positive_value).to_numpy()
    if min(label.sum(), (~label).sum()) < FEW_POSITIVES:
        return []
    skipped = {target, *(guess.column for guess in guesses.identifiers)}
    found = []
    for column in columns:
        if column.name in skipped or column.kind in ("constant", "text"):
            continue
        warning = _leak(column, known[column.name], label)
        if warning:
            found.append(warning)
    return found


def _leak(column: ColumnProfile, values: pl.Series, label: np.ndarray) -> str | None:
    present = values.is_not_null().to_numpy()
    filled = present[label].mean(), present[~label].mean()
    if min(filled) == 0 and max(filled) > 0.2:
        which = "positive" if filled[0] > 0 else "negative"
        return f"{column.name} is filled for {which} rows only: check that it is known before the outcome."
    auc = _single_auc(values, label)
    if auc <= LEAK_AUC:
        return None
    return (
        f"{column.name} alone separates the two classes (ROC AUC {auc:.3f}): "
        "check that it is known before the outcome, or leave it out."
    )


def _single_auc(values: pl.Series, label: np.ndarray) -> float:
    """ROC AUC of one column, in the better direction; levels count as the mean label they carry.

    Missing values rank lowest. Categories of more than 50 levels give 0.5: their means repeat the label.
    """
    if values.dtype == pl.String:
        if values.n_unique() > 50:
            return 0.5
        frame = pl.DataFrame({"level": values, "label": label.astype(np.float64)})
        scores = frame.select(pl.col("label").mean().over("level")).to_series()
    else:
        scores = values.to_physical().cast(pl.Float64).fill_null(float("-inf"))
    ranks = scores.rank("average").to_numpy()
    positives = int(label.sum())
    negatives = len(label) - positives
    auc = (ranks[label].sum() - positives * (positives + 1) / 2) / (positives * negatives)
    return float(max(auc, 1 - auc))


# From JSON


def _column_from_dict(data: Mapping[str, Any]) -> ColumnProfile:
    values = dict(data)
    values["top"] = tuple((value, share) for value, share in data["top"])
    values["histogram"] = tuple(data["histogram"])
    return ColumnProfile(**values)


def _guesses_from_dict(data: Mapping[str, Any]) -> Guesses:
    def one(guess: Mapping[str, Any] | None) -> Guess | None:
        return None if guess is None else Guess(**guess)

    return Guesses(
        one(data["target"]),
        tuple(Guess(**guess) for guess in data["identifiers"]),
        one(data["customer"]),
        one(data["timestamp"]),
        data["positive_value"],
        data["fraud_rate"],
    )
