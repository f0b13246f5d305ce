"""Turn parsed rows into a matrix of numbers, the same way at training and ever after.

`fit_features` looks at the training rows only and returns a `FeatureEngineer` with their matrix; `transform`
gives any other rows the same features, each row on its own.
"""

from __future__ import annotations

import itertools
import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.fraud.clock import with_heartbeat
from ecluse.apps.fraud.features.encoders import (
    CUSTOMER_FILE,
    ENTITY_FILE,
    SEEN_FILE,
    DateEncoder,
    Encoder,
    EntityEncoder,
    Feature,
    FlagEncoder,
    GapEncoder,
    HistoryEncoder,
    LevelEncoder,
    MissingEncoder,
    NumberEncoder,
    RatioEncoder,
    SumEncoder,
    TextEncoder,
    entity_keys,
    floats,
    gap_seconds,
    load_encoder,
    quotient,
    signed_sum,
)
from ecluse.apps.fraud.features.history import (
    Column,
    KeyedTable,
    describe_forward,
    freeze_history,
    time_blocks,
    times_of,
)
from ecluse.apps.fraud.features.interactions import FeaturePlan, helpful, propose
from ecluse.apps.fraud.tables.columns import ColumnSpec
from ecluse.errors import ModelUnreadable
from ecluse.sentences import _

__all__ = ["Feature", "FeatureEngineer", "FeaturePlan", "Matrix", "Roles", "Tick", "fit_features"]

Labels = NDArray[np.int8]
Matrix = NDArray[np.float32]
Fitted = tuple[Encoder, list[Column]]  # an encoder and the columns it makes of the training rows
Tick = Callable[[], None]  # called between columns; may raise to cancel

STATE_FILE = "feature_engineer.json"
FORMAT = 2

MAX_LEVELS = 40
RARE = 5
# The order of so few levels tells as much as their rates.
FEW_LEVELS = 4
FOLDS = 5
SMOOTHING = 10.0
LEAST_REPEATS = 0.02
LEAST_DISTINCT = 8
MAX_DATES = 6
MAX_AMOUNTS = 3
MAX_ENTITIES = 6
AMOUNT_WORDS = ("amount", "amt", "montant", "value", "price", "sum", "total", "spend", "payment")
DAY = 86_400.0


@dataclass(frozen=True)
class Roles:
    """The columns that are more than features. `customer` and `time` together give a history."""

    customer: str | None = None
    time: str | None = None


@dataclass(frozen=True)
class FeatureEngineer:
    """The fitted encoders, in the order of the matrix's columns."""

    encoders: tuple[Encoder, ...]

    @property
    def features(self) -> tuple[Feature, ...]:
        return tuple(feature for encoder in self.encoders for feature in encoder.features())

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the raw columns the features are made from, each once."""
        return tuple(dict.fromkeys(name for encoder in self.encoders for name in encoder.columns()))

    @property
    def plan(self) -> FeaturePlan:
        """Return what was found to help beyond single columns: give it to `fit_features` for rows of the same table."""
        pairs = [e for e in self.encoders if isinstance(e, EntityEncoder)]
        numbers = {e.column for e in self.encoders if isinstance(e, NumberEncoder | FlagEncoder)}
        return FeaturePlan(
            sums=tuple(e.terms for e in self.encoders if isinstance(e, SumEncoder)),
            ratios=tuple((e.column, e.over) for e in self.encoders if isinstance(e, RatioEncoder)),
            pairs=tuple((e.column, e.beside) for e in pairs if e.beside is not None),
            values=any(e.beside is None and e.column in numbers for e in pairs),
            levels=any(isinstance(e, LevelEncoder) and e.rates for e in self.encoders),
        )

    def transform(self, frame: pl.DataFrame) -> Matrix:
        """(rows, features) float32, NaN where unknown; a row's values do not depend on the other rows."""
        return _stack(
            [column for encoder in self.encoders for column in encoder.transform(frame)], frame.height
        )

    def keeping(self, names: frozenset[str]) -> FeatureEngineer:
        """Without the encoders none of whose features is named: what they read is no longer required."""
        kept = [e for e in self.encoders if any(feature.name in names for feature in e.features())]
        return replace(self, encoders=tuple(kept))

    def forgetting(self) -> FeatureEngineer:
        """Return the same features without a customer's history or any value that was met: what others may be given.

        Whoever holds the tables can try identifiers until one is found in them, with its rows and fraud rate.
        """
        return FeatureEngineer(
            tuple(
                e.forgetting() if isinstance(e, EntityEncoder | HistoryEncoder) else e for e in self.encoders
            )
        )

    def save(self, directory: Path) -> list[str]:
        """Write the state as JSON and its tables as Parquet; returns the files' names."""
        state = {"format": FORMAT, "encoders": [encoder.to_dict() for encoder in self.encoders]}
        (directory / STATE_FILE).write_text(json.dumps(state, indent=1, ensure_ascii=False), encoding="utf-8")
        entities = [e for e in self.encoders if isinstance(e, EntityEncoder)]
        tables = [
            e.table.to_frame().with_columns(column=pl.lit(e.column), beside=pl.lit(e.beside, dtype=pl.String))
            for e in entities
        ]
        histories = [e.history for e in self.encoders if isinstance(e, HistoryEncoder)]
        files = [STATE_FILE]
        if tables:
            pl.concat(tables).write_parquet(directory / ENTITY_FILE)
            files.append(ENTITY_FILE)
        for history in histories:
            history.customers.to_frame().write_parquet(directory / CUSTOMER_FILE)
            pl.DataFrame({"pair": history.seen}).write_parquet(directory / SEEN_FILE)
            files += [CUSTOMER_FILE, SEEN_FILE]
        return files

    @classmethod
    def load(cls, directory: Path) -> FeatureEngineer:
        """Raise ModelUnreadable when a file is missing, damaged or of another format."""
        try:
            state = json.loads((directory / STATE_FILE).read_text(encoding="utf-8"))
            if state["format"] != FORMAT:
                raise ModelUnreadable(
                    _(
                        "%(file)s has format %(value)s; this version reads %(word)s.",
                        file=STATE_FILE,
                        value=state["format"],
                        word=FORMAT,
                    )
                )
            return cls(tuple(load_encoder(item, directory) for item in state["encoders"]))
        except (OSError, KeyError, TypeError, ValueError, pl.exceptions.PolarsError) as error:
            if isinstance(error, ModelUnreadable):
                raise
            raise ModelUnreadable(
                _(
                    "%(file)s or a table beside it is damaged: %(error)s. Train again.",
                    file=STATE_FILE,
                    error=repr(error),
                )
            ) from error


@dataclass
class Groups:
    """Which groups of features make predictions better: looked for until it is `late`, unless they are `chosen`.

    `seconds` is a clock, and `spent` what the search took by it: once for a table, not once for each fold.
    """

    late: Callable[[], bool] | None = None
    chosen: frozenset[str] | None = None
    seconds: Callable[[], float] = lambda: 0.0
    spent: float = 0.0

    @contextmanager
    def searching(self) -> Iterator[None]:
        """Count what is done within as part of the search."""
        begun = self.seconds()
        yield
        self.spent += self.seconds() - begun


def new_salt() -> int:
    """Make a salt for the hashes of one training."""
    return secrets.randbits(63)


@dataclass(frozen=True)
class FittingContext:
    """What features of one training share: `tick` is called between columns and may raise to cancel, values are
    remembered under hashes of `salt` (drawn where it is None), and `groups` says how long helpful ones are sought.
    """

    tick: Tick = lambda: None
    salt: int | None = None
    groups: Groups | None = None


def fit_features(
    frame: pl.DataFrame,
    specs: tuple[ColumnSpec, ...],
    roles: Roles,
    labels: Labels,
    *,
    seed: int,
    plan: FeaturePlan | None = None,
    context: FittingContext = FittingContext(),
) -> tuple[FeatureEngineer, Matrix]:
    """Fit an engineer on parsed training rows, and return it with those rows' own matrix.

    `plan` says which columns to take together, as an engineer fitted on rows of the same table found it;
    without one it is looked for, by fits of a small booster.

    None of the training rows sees its own label. Without a time role, their fraud rates come from random
    folds they are not in, and their counts leave the row itself out. With one, rates, counts and history of
    a row end before its block of time: fraud comes in bursts, and a rate from random folds would know of the
    rest of the burst, which no row to score does.

    No feature depends on the salt; with one of its own a model tells nothing of another's values.
    """
    tick, salt = context.tick, new_salt() if context.salt is None else context.salt
    folds = _Folds(np.random.default_rng(seed).integers(0, FOLDS, frame.height), forward=False)
    if roles.time:
        folds = _Folds(time_blocks(times_of(frame[roles.time])), forward=True)
    groups = context.groups or Groups()
    together = plan
    if together is None:
        with groups.searching():
            together = with_heartbeat(partial(propose, frame, specs, labels, seed=seed), tick)
    fitted: list[Fitted] = []
    for spec in specs:
        tick()
        fitted += with_heartbeat(partial(_fit_column, frame, spec, labels, folds, salt, together), tick)
    fitted += _fit_gaps(frame, [spec.name for spec in specs if spec.kind == "datetime"])
    fitted += with_heartbeat(partial(_fit_together, frame, specs, labels, folds, salt, together), tick)
    gappy = tuple(s.name for s in specs if 0 < frame[s.name].null_count() < frame.height)
    if len(gappy) > 1:
        missing = MissingEncoder(gappy)
        fitted.append((missing, missing.transform(frame)))
    if roles.customer and roles.time:
        tick()
        fitted.append(_fit_history(frame, specs, roles.customer, roles.time, salt, tick))
    if plan is None:
        fitted = _helpful(fitted, specs, labels, folds, seed, groups, tick)
    engineer = FeatureEngineer(tuple(encoder for encoder, _ in fitted))
    return engineer, _stack([column for _, columns in fitted for column in columns], frame.height)


def _helpful(
    fitted: list[Fitted],
    specs: tuple[ColumnSpec, ...],
    labels: Labels,
    folds: _Folds,
    seed: int,
    asked_groups: Groups,
    tick: Tick,
) -> list[Fitted]:
    """Without the groups of features that make no prediction better."""
    numbers = frozenset(spec.name for spec in specs if spec.kind == "number")
    group = [
        "levels" if isinstance(encoder, LevelEncoder) and number else _group_of(encoder, numbers)
        for encoder, columns in fitted
        for number in range(len(columns))
    ]
    groups = {
        name: np.flatnonzero([other == name for other in group])
        for name in ("levels", "sums", "ratios", "values", "pairs")
    }
    matrix = _stack([column for _, columns in fitted for column in columns], len(labels))
    forward = folds.of_row if folds.forward else None
    if asked_groups.chosen is None:
        with asked_groups.searching():
            asked_groups.chosen = helpful(
                matrix, groups, labels, seed=seed, forward=forward, late=asked_groups.late, tick=tick
            )
    chosen = asked_groups.chosen
    if "levels" not in chosen:
        fitted = [
            (replace(encoder, rates=()), columns[:1])
            if isinstance(encoder, LevelEncoder)
            else (encoder, columns)
            for encoder, columns in fitted
        ]
    return [item for item in fitted if _group_of(item[0], numbers) in (None, *chosen)]


def _group_of(encoder: Encoder, numbers: frozenset[str]) -> str | None:
    if isinstance(encoder, SumEncoder):
        return "sums"
    if isinstance(encoder, RatioEncoder):
        return "ratios"
    if isinstance(encoder, EntityEncoder):
        if encoder.beside is not None:
            return "pairs"
        return "values" if encoder.column in numbers else None
    return None


@dataclass(frozen=True)
class _Folds:
    """The part (rows,) each training row belongs to. `forward`: a row learns from earlier parts only."""

    of_row: NDArray[np.int64]
    forward: bool


def _fit_column(
    frame: pl.DataFrame,
    spec: ColumnSpec,
    labels: Labels,
    folds: _Folds,
    salt: int,
    plan: FeaturePlan,
) -> list[Fitted]:
    column = frame[spec.name]
    encoders: list[Encoder] = []
    distinct = column.drop_nulls().n_unique()
    if distinct == 0:
        return []
    if spec.kind == "number":
        encoders.append(_fit_number(column, distinct))
    elif spec.kind == "datetime":
        encoders.append(DateEncoder(spec.name, _date_parts(column)))
    elif spec.kind == "text":
        encoders.append(TextEncoder(spec.name))
    fitted = [(encoder, encoder.transform(frame)) for encoder in encoders]
    if spec.kind not in ("number", "datetime") and distinct <= MAX_LEVELS:
        fitted.append(_fit_levels(column, labels, folds, rates=plan.levels and distinct > FEW_LEVELS))
    readable = spec.kind not in ("datetime", "number") or (spec.kind == "number" and plan.values)
    if readable and _is_entity(column, distinct, spec.kind):
        fitted.append(_fit_entity(frame, spec.name, None, labels, folds, salt))
    return fitted


def _fit_number(column: pl.Series, distinct: int) -> NumberEncoder | FlagEncoder:
    if distinct != 2:
        return NumberEncoder(column.name, _low(column), _high(column))
    # Of two equally frequent values the smaller counts as the usual one.
    counted = column.drop_nulls().sort().value_counts(sort=True)[column.name].cast(pl.Float64).to_list()
    return FlagEncoder(column.name, counted[0], counted[1])


def _fit_together(
    frame: pl.DataFrame,
    specs: tuple[ColumnSpec, ...],
    labels: Labels,
    folds: _Folds,
    salt: int,
    plan: FeaturePlan,
) -> list[Fitted]:
    """Fit the features of several columns together, of those that are still there."""
    there = {spec.name for spec in specs}
    encoders: list[Encoder] = []
    for terms in plan.sums:
        if there.issuperset(column for column, _ in terms):
            total = signed_sum(frame, terms)
            if not np.isnan(total).all():
                encoders.append(SumEncoder(terms, float(np.nanmin(total)), float(np.nanmax(total))))
    for column, over in plan.ratios:
        if there.issuperset((column, over)):
            values = quotient(frame, column, over)
            if not np.isnan(values).all():
                encoders.append(
                    RatioEncoder(column, over, float(np.nanmin(values)), float(np.nanmax(values)))
                )
    fitted = [(encoder, encoder.transform(frame)) for encoder in encoders]
    pairs = [pair for pair in plan.pairs if there.issuperset(pair)]
    return fitted + [_fit_entity(frame, column, beside, labels, folds, salt) for column, beside in pairs]


def _is_entity(column: pl.Series, distinct: int, kind: str) -> bool:
    known = len(column) - column.null_count()
    repeats = 1 - distinct / max(known, 1)
    least = LEAST_DISTINCT if kind == "number" else MAX_LEVELS
    return distinct > least and repeats >= LEAST_REPEATS


def _fit_levels(column: pl.Series, labels: Labels, folds: _Folds, *, rates: bool) -> Fitted:
    counted = (
        pl.DataFrame({"level": column, "label": labels})
        .drop_nulls("level")
        .group_by("level")
        .agg(pl.len().alias("rows"), pl.col("label").cast(pl.Float64).sum().alias("frauds"))
        .sort("level")
    )
    common = counted.filter(pl.col("rows") >= RARE)
    rare = counted.filter(pl.col("rows") < RARE)
    prior = float(labels.mean())
    of_common = _smoothed(common["frauds"].to_numpy(), common["rows"].to_numpy(), prior)
    of_rare = float(
        _smoothed(np.array([float(rare["frauds"].sum())]), np.array([float(rare["rows"].sum())]), prior)[0]
    )
    sums = np.append(of_common, of_rare)
    order = np.argsort(sums, kind="stable")
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    encoder = LevelEncoder(
        column.name, tuple(common["level"].to_list()), tuple(int(p) for p in place[:-1]), int(place[-1])
    )
    (places,) = encoder.transform(column.to_frame())
    if not rates:
        return encoder, [places]
    missing = np.isnan(places)
    member = np.where(missing, len(order), places).astype(np.int64)
    _rest, held = _held_out(member, len(order) + 1, labels, folds)
    own = np.where(missing, np.nan, held).astype(np.float32)
    return replace(encoder, rates=tuple(float(rate) for rate in sums[order])), [places, own]


def _fit_entity(
    frame: pl.DataFrame, column: str, beside: str | None, labels: Labels, folds: _Folds, salt: int
) -> Fitted:
    keys = entity_keys(frame, column, beside, salt)
    unique, member = np.unique(keys, return_inverse=True)
    rows = np.bincount(member).astype(np.float64)
    frauds = np.bincount(member, weights=labels).astype(np.float64)
    prior = float(labels.mean())
    seen, rate = _held_out(member, len(unique), labels, folds)
    missing = keys == 0
    kept = unique != 0
    table = KeyedTable(unique[kept], {"count": rows[kept], "rate": _smoothed(frauds, rows, prior)[kept]})
    columns = [np.where(missing, np.nan, values).astype(np.float32) for values in (seen, rate)]
    return EntityEncoder(column, salt, prior, table, beside), columns


def _held_out(
    member: NDArray[np.int64], groups: int, labels: Labels, folds: _Folds
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Other rows of each row's group, and their fraud rate (rows,); the rate is of rows in other folds."""
    rows = np.bincount(member, minlength=groups).astype(np.float64)
    seen, rate = np.full(len(member), np.nan), np.full(len(member), np.nan)
    prior = float(labels.mean())
    for fold in np.unique(folds.of_row):
        held = folds.of_row == fold
        known = folds.of_row < fold if folds.forward else ~held
        if not known.any():
            continue
        known_rows = np.bincount(member[known], minlength=groups).astype(np.float64)
        known_frauds = np.bincount(member[known], weights=labels[known], minlength=groups).astype(np.float64)
        rate[held] = _smoothed(known_frauds, known_rows, prior)[member[held]]
        seen[held] = known_rows[member[held]] if folds.forward else rows[member[held]] - 1
    return seen, rate


def _smoothed(frauds: NDArray[np.float64], rows: NDArray[Any], prior: float) -> NDArray[np.float64]:
    """Fraud rates drawn towards the prior as by ten more rows (m-estimate, Micci-Barreca 2001)."""
    rates: NDArray[np.float64] = (frauds + SMOOTHING * prior) / (rows + SMOOTHING)
    return rates


def _fit_gaps(frame: pl.DataFrame, dates: list[str]) -> list[Fitted]:
    fitted: list[Fitted] = []
    for earlier, later in itertools.combinations(dates[:MAX_DATES], 2):
        gap = gap_seconds(frame, earlier, later)
        known = gap[~np.isnan(gap)]
        if len(known):
            encoder = GapEncoder(earlier, later, float(known.min()), float(known.max()))
            fitted.append((encoder, encoder.transform(frame)))
    return fitted


def _fit_history(
    frame: pl.DataFrame, specs: tuple[ColumnSpec, ...], customer: str, time: str, salt: int, tick: Tick
) -> tuple[Encoder, list[Column]]:
    others = [spec for spec in specs if spec.name not in (customer, time)]
    history = freeze_history(
        frame,
        customer=customer,
        time=time,
        amounts=_main_amounts(frame, others),
        entities=_main_entities(frame, others),
        salt=salt,
    )
    return HistoryEncoder(history), describe_forward(frame, history, tick)


def _main_amounts(frame: pl.DataFrame, specs: list[ColumnSpec]) -> tuple[str, ...]:
    """Up to three numbers: those named like amounts, else those with the most distinct values."""
    numbers = [
        spec.name for spec in specs if spec.kind == "number" and frame[spec.name].n_unique() > MAX_LEVELS
    ]
    named = [name for name in numbers if any(word in name.lower() for word in AMOUNT_WORDS)]
    by_spread = sorted(numbers, key=lambda name: -frame[name].n_unique())
    return tuple((named or by_spread)[:MAX_AMOUNTS])


def _main_entities(frame: pl.DataFrame, specs: list[ColumnSpec]) -> tuple[str, ...]:
    """Up to six categories with the most values: what can be new for a customer."""
    sizes = {s.name: frame[s.name].n_unique() for s in specs if s.kind in ("category", "identifier")}
    return tuple(sorted(sizes, key=lambda name: -sizes[name])[:MAX_ENTITIES])


def _date_parts(column: pl.Series) -> tuple[str, ...]:
    """Return the parts whose cycle the training rows cover at least twice."""
    low, high = column.drop_nulls().cast(pl.Int64).min(), column.drop_nulls().cast(pl.Int64).max()
    days = (float(str(high)) - float(str(low))) / 1e6 / DAY
    cycles = {"hour": 1, "weekday": 7, "day": 31, "month": 366}
    return tuple(part for part, length in cycles.items() if days >= 2 * length) or ("hour",)


def _low(column: pl.Series) -> float:
    return float(np.nanmin(floats(column)))


def _high(column: pl.Series) -> float:
    return float(np.nanmax(floats(column)))


def _stack(columns: list[Column], rows: int) -> Matrix:
    matrix = np.empty((rows, len(columns)), dtype=np.float32)
    for position, column in enumerate(columns):
        matrix[:, position] = column
    return matrix
