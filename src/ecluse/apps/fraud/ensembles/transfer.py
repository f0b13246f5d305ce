"""Apply a reference's model to a table that means the same under other names, units and words.

`fit_transfer` decides once, column by column, how the person's values become the reference's; `Transfer.read` then
does it to any rows, each on its own. A number is taken as it is where both distributions agree, times a factor
where one explains the difference (cents, minutes, another currency), and else by its place among the quantiles.
A category's words are those of the reference that mean the same. What nothing stands for is missing: only here
may a column lack, and `Transfer.lacking` says how much of what the reference looks at that is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.fraud.features.encoders import floats
from ecluse.apps.fraud.scoring.model import FraudModel, load_model
from ecluse.apps.fraud.tables.columns import ColumnSpec
from ecluse.apps.fraud.tables.meaning import NO, YES
from ecluse.apps.fraud.tables.names import name_similarity, normalised
from ecluse.apps.fraud.tables.sketches import QUANTILES, ColumnSketch

Floats = NDArray[np.float64]
How = Literal["same", "factor", "ranks", "words", "missing"]

#: Mean gap of the quantiles' signed logarithms, in mean deviations from the median, up to which they agree.
AGREE: Final = 0.25
#: A factor this near to one of units is that of units.
UNITS: Final = (
    10.0,
    100.0,
    1_000.0,
    1e4,
    1e5,
    1e6,
    60.0,
    3_600.0,
    86_400.0,
    24.0,
    7.0,
    12.0,
    365.25,
    1_440.0,
)
NEAR_UNIT: Final = 0.2
#: Numbers of so few values are codes, counts or flags: a place among quantiles means nothing for them.
FEW_VALUES: Final = 30
MAX_LEVELS: Final = 200
ALIKE: Final = 0.6
#: A feature made of so few columns is lost with any of them.
JOINED: Final = 2
#: The outer quantiles of a sketch stand at 0.5 % and 99.5 % (see `sketches`).
_LEVELS: Final = np.linspace(0.0, 1.0, QUANTILES).clip(0.005, 0.995)


@dataclass(frozen=True)
class ColumnTransfer:
    """How one column of the reference is read from the table: `theirs` is the person's column, None for none.

    `factor` for "factor"; `knots` and `places` (theirs to ours, both rising) for "ranks"; `words` {theirs: ours}
    for "words".
    """

    ours: str
    theirs: str | None
    how: How
    factor: float = 1.0
    knots: tuple[float, ...] = ()
    places: tuple[float, ...] = ()
    words: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Transfer:
    """The columns of a reference's model, read from another table. `lacking` is the share of what the model
    has learned that is lost with those that are missing, in [0, 1]."""

    columns: tuple[ColumnTransfer, ...]
    kinds: tuple[str, ...]
    specs: tuple[ColumnSpec | None, ...]
    lacking: float

    @property
    def required(self) -> tuple[str, ...]:
        """Return the person's columns that are read, each once."""
        return tuple(dict.fromkeys(column.theirs for column in self.columns if column.theirs is not None))

    @property
    def mapping(self) -> dict[str, str | None]:
        """{ours: theirs}"""
        return {column.ours: column.theirs for column in self.columns}

    def read(self, raw: pl.DataFrame) -> pl.DataFrame:
        """Raw rows of the table as parsed rows of the reference."""
        return pl.DataFrame(
            [
                _read(raw, column, kind, spec).alias(column.ours)
                for column, kind, spec in zip(self.columns, self.kinds, self.specs, strict=True)
            ]
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` gives the same transfer back."""
        return {
            "columns": [asdict(column) for column in self.columns],
            "kinds": list(self.kinds),
            "specs": [None if spec is None else spec.to_dict() for spec in self.specs],
            "lacking": self.lacking,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Transfer:
        """Raise KeyError or TypeError for what `to_dict` did not write."""
        columns = tuple(
            ColumnTransfer(
                **{
                    **column,
                    "knots": tuple(column["knots"]),
                    "places": tuple(column["places"]),
                    "words": tuple((str(theirs), str(ours)) for theirs, ours in column["words"]),
                }
            )
            for column in data["columns"]
        )
        specs = tuple(None if spec is None else ColumnSpec.from_dict(spec) for spec in data["specs"])
        return cls(columns, tuple(data["kinds"]), specs, float(data["lacking"]))


def load_reference(folder: Path) -> FraudModel:
    """Load a reference's model as others are given it: customers and values of its own table are not known to it.

    Raises ModelUnreadable for damaged or foreign files.
    """
    model = load_model(folder)
    return replace(model, engineer=model.engineer.forgetting())


def fit_transfer(
    sample: pl.DataFrame,
    specs: Sequence[ColumnSpec],
    mapping: Mapping[str, str | None],
    model: FraudModel,
    reference: Sequence[ColumnSketch],
) -> Transfer:
    """Find how the columns that a reference's model wants are read from a table of which `sample` holds raw rows.

    `mapping` is {ours: theirs}, `reference` are the sketches of the table that the model was trained on.
    """
    by_name, sketches = {spec.name: spec for spec in specs}, {sketch.name: sketch for sketch in reference}
    columns, kinds, readings = [], [], []
    for spec in model.specs:
        theirs = mapping.get(spec.name)
        reading = None if theirs is None else _reading(by_name[theirs], spec.kind)
        column = ColumnTransfer(spec.name, None, "missing")
        if theirs is not None and reading is not None:
            column = _fit_column(spec, theirs, reading.read(sample[theirs]), sketches.get(spec.name))
        columns.append(column)
        kinds.append(spec.kind)
        readings.append(None if column.theirs is None else reading)
    gone = frozenset(column.ours for column in columns if column.theirs is None)
    return Transfer(tuple(columns), tuple(kinds), tuple(readings), round(_lacking(model, gone), 4))


def _lacking(model: FraudModel, gone: frozenset[str]) -> float:
    """Share of what the model has learned that is lost without these columns.

    A time between two dates is lost with either. Features of many columns, such as a customer's history, are
    lost with the one they are about.
    """
    lost: set[str] = set()
    for encoder in model.engineer.encoders:
        pair = len(encoder.columns()) <= JOINED and not gone.isdisjoint(encoder.columns())
        lost |= {feature.name for feature in encoder.features() if pair or feature.column in gone}
    shares = model.fitted.importances()
    total = float(shares.sum())
    if total == 0:
        return len(gone) / max(len(model.specs), 1)
    return (
        sum(
            float(share)
            for feature, share in zip(model.features, shares, strict=True)
            if feature.name in lost
        )
        / total
    )


def margins(model: FraudModel, rows: pl.DataFrame) -> Floats:
    """(rows,) calibrated log-odds of a reference's model for rows that `Transfer.read` has read."""
    return model.calibration.slope * model.fitted.predict_margin(_matrix(model, rows)) + (
        model.calibration.intercept
    )


def contributions(model: FraudModel, rows: pl.DataFrame) -> dict[str, Floats]:
    """{ours: (rows,) log-odds} that each raw column of the reference adds to the margin."""
    shares = model.fitted.contributions(_matrix(model, rows))[:, :-1]
    by_column: dict[str, Floats] = {}
    for position, feature in enumerate(model.features):
        part = shares[:, position] * model.calibration.slope
        by_column[feature.column] = by_column[feature.column] + part if feature.column in by_column else part
    return by_column


def _matrix(model: FraudModel, rows: pl.DataFrame) -> NDArray[np.float32]:
    return np.ascontiguousarray(model.engineer.transform(rows)[:, model.positions])


def _reading(theirs: ColumnSpec, kind: str) -> ColumnSpec | None:
    """Return how the person's column is read to stand for one of the kind `wanted`; None where it cannot."""
    if kind == "datetime":
        return theirs if theirs.kind == "datetime" else None
    if kind == "number":
        if theirs.kind == "datetime":
            return None
        # Words for yes and no become 1 and 0 in `_read`; everything else that is no number is missing.
        return theirs if theirs.kind == "number" else ColumnSpec(theirs.name, "category")
    return ColumnSpec(theirs.name, "category")


def _fit_column(
    spec: ColumnSpec, theirs: str, values: pl.Series, ours: ColumnSketch | None
) -> ColumnTransfer:
    if spec.kind == "datetime":
        return ColumnTransfer(spec.name, theirs, "same")
    if spec.kind == "number":
        return _fit_number(spec.name, theirs, floats(_as_number(values)), ours)
    known = {} if ours is None else dict(ours.top)
    words = _fit_words(values, known)
    return ColumnTransfer(spec.name, theirs, "words" if words else "same", words=words)


# Numbers


def _fit_number(name: str, theirs: str, values: Floats, ours: ColumnSketch | None) -> ColumnTransfer:
    same = ColumnTransfer(name, theirs, "same")
    known = np.sort(values[np.isfinite(values)])
    if ours is None or not ours.quantiles or not len(known):
        return same
    our_quantiles = np.array(ours.quantiles)
    quantiles = known[np.rint(_LEVELS * (len(known) - 1)).astype(np.int64)]
    few = len(np.unique(known)) <= FEW_VALUES
    if few and our_quantiles[0] <= known[0] and known[-1] <= our_quantiles[-1]:
        return same
    if _gap(quantiles, our_quantiles) <= AGREE:
        return same
    factor = _factor(quantiles, our_quantiles)
    if factor is not None and _gap(quantiles * factor, our_quantiles) <= AGREE:
        return ColumnTransfer(name, theirs, "factor", factor=factor)
    if few:
        return same if factor is None else ColumnTransfer(name, theirs, "factor", factor=factor)
    knots, places = _rising(quantiles, our_quantiles)
    if len(knots) < 2:
        return same
    return ColumnTransfer(name, theirs, "ranks", knots=tuple(knots.tolist()), places=tuple(places.tolist()))


def _gap(first: Floats, other: Floats) -> float:
    """Mean gap of signed logarithms, in mean deviations of both from their medians."""
    scale = float(np.abs(other).mean()) or 1.0
    a, b = _signed_log(10 * first / scale), _signed_log(10 * other / scale)
    spread = np.abs(a - np.median(a)).mean() + np.abs(b - np.median(b)).mean()
    return float(np.abs(a - b).mean() / (spread / 2 + 0.02))


def _signed_log(values: Floats) -> Floats:
    logarithms: Floats = np.sign(values) * np.log1p(np.abs(values))
    return logarithms


def _factor(theirs: Floats, ours: Floats) -> float | None:
    """Return what theirs is multiplied by to be of ours' size; that of units where one is near."""
    both = (theirs != 0) & (ours != 0) & (np.sign(theirs) == np.sign(ours))
    if both.sum() < QUANTILES // 3:
        return None
    ratio = float(np.exp(np.median(np.log(np.abs(ours[both]) / np.abs(theirs[both])))))
    for unit in (*UNITS, *(1 / unit for unit in UNITS)):
        if abs(np.log(ratio / unit)) < NEAR_UNIT and _gap(theirs * unit, ours) <= AGREE:
            return unit
    return ratio


def _rising(theirs: Floats, ours: Floats) -> tuple[Floats, Floats]:
    """Knots that rise strictly: where theirs stands still, the middle of ours over that stretch."""
    knots, member = np.unique(theirs, return_inverse=True)
    places = np.array([np.median(ours[member == at]) for at in range(len(knots))])
    return knots, places


def _placed(values: Floats, column: ColumnTransfer) -> Floats:
    """By place among the quantiles; beyond the outer ones, in proportion to the whole width."""
    knots, places = np.array(column.knots), np.array(column.places)
    slope = (places[-1] - places[0]) / (knots[-1] - knots[0])
    beyond = np.maximum(values - knots[-1], 0.0) + np.minimum(values - knots[0], 0.0)
    placed: Floats = np.interp(values, knots, places) + slope * beyond
    return placed


# Words


def _fit_words(values: pl.Series, ours: Mapping[str, float]) -> tuple[tuple[str, str], ...]:
    """Find the words of theirs that stand for other words of ours, by meaning, then by how frequent they are."""
    from scipy.optimize import linear_sum_assignment

    counted = values.drop_nulls().value_counts(sort=True, name="rows").head(MAX_LEVELS)
    if not ours or not counted.height:
        return ()
    theirs = {str(word): rows / counted["rows"].sum() for word, rows in counted.iter_rows()}
    left, right = [word for word in theirs if word not in ours], [word for word in ours if word not in theirs]
    if not left or not right:
        return ()
    alike = np.array([[_alike(level, other) for other in right] for level in left])
    pairs = [
        (left[at], right[to])
        for at, to in zip(*linear_sum_assignment(alike, maximize=True), strict=True)
        if alike[at, to] >= ALIKE
    ]
    used = {word for pair in pairs for word in pair}
    pairs += _by_frequency(
        {word: theirs[word] for word in left if word not in used},
        {word: ours[word] for word in right if word not in used},
    )
    return tuple(sorted(pairs))


def _alike(word: str, other: str) -> float:
    a, b = word.strip().lower(), other.strip().lower()
    if a == b or {a, b} <= YES or {a, b} <= NO or (normalised(word) or a) == (normalised(other) or b):
        return 1.0
    return name_similarity(word, other)


def _by_frequency(theirs: Mapping[str, float], ours: Mapping[str, float]) -> list[tuple[str, str]]:
    """Pairs of words with like shares, where no other share is nearly as like."""
    pairs = []
    for word, share in theirs.items():
        near = sorted((abs(np.log(share / other)), name) for name, other in ours.items())
        if near and near[0][0] < 0.15 and (len(near) == 1 or near[1][0] > 3 * near[0][0] + 0.1):
            pairs.append((word, near[0][1]))
    chosen = [name for _, name in pairs]
    return [(word, name) for word, name in pairs if chosen.count(name) == 1]


# Reading


def _read(raw: pl.DataFrame, column: ColumnTransfer, kind: str, spec: ColumnSpec | None) -> pl.Series:
    if column.theirs is None or spec is None:
        dtype: pl.DataType = {"number": pl.Float64(), "datetime": pl.Datetime("us")}.get(kind, pl.String())
        return pl.Series(column.ours, [None] * raw.height, dtype=dtype)
    values = spec.read(raw[column.theirs])
    if kind == "datetime":
        return values
    if kind != "number":
        return values.replace(dict(column.words)) if column.words else values
    numbers = _as_number(values)
    if column.how == "factor":
        return numbers * column.factor
    if column.how == "ranks":
        return pl.Series(column.ours, _placed(floats(numbers), column)).fill_nan(None)
    return numbers


def _as_number(values: pl.Series) -> pl.Series:
    if values.dtype != pl.String:
        return values
    small = values.str.to_lowercase()
    flags = pl.select(
        pl.when(small.is_in(list(YES))).then(1.0).when(small.is_in(list(NO))).then(0.0)
    ).to_series()
    return values.cast(pl.Float64, strict=False).fill_null(flags)
