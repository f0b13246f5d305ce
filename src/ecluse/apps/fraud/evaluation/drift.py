"""Measure how far the rows of today are from those that a model learned from.

The model keeps a sketch of its training rows (`reference_sketch.json`): for every column and for the score, the
share of rows in each of a few bins. Drift is the population stability index between those shares and today's,
counted batch by batch.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.fraud.performance.parts import FAR, MOVED, ColumnDrift, Verdict
from ecluse.apps.fraud.tables.columns import ColumnSpec
from ecluse.errors import InvalidInput, ModelUnreadable
from ecluse.sentences import _

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

FORMAT: Final = 1
SKETCH_FILE: Final = "reference_sketch.json"
#: Bins of a number: its tenths; levels of a category that are told apart.
BINS: Final = 10
LEVELS: Final = 50
NEW_LEVELS: Final = 5
#: New values counted per column before the rarest are forgotten.
COUNTED: Final = 1_000
#: Where fewer rows of a date hold a time of day, its weekday is looked at instead of its hour.
TIMED: Final = 0.05
HOURS: Final = ("00-04", "04-08", "08-12", "12-16", "16-20", "20-24")
DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True)
class Reference:
    """How one column (or the score) was spread over `rows` training rows.

    Numbers fall between `edges`, `e[i-1] < value <= e[i]`; categories at one of `levels`, or among the others;
    dates by hour or weekday. `counts` has one number for each of these, and last that of missing values.
    `closed`: no other level was seen.
    """

    column: str
    kind: Literal["number", "level", "hour", "weekday"]
    counts: tuple[float, ...]
    edges: tuple[float, ...] = ()
    levels: tuple[str, ...] = ()
    closed: bool = False
    importance: float | None = None

    @property
    def rows(self) -> float:
        return float(sum(self.counts))

    def bins(self, values: pl.Series) -> NDArray[np.int64]:
        """(rows,) the bin of each value, as `counts` orders them."""
        last = len(self.counts) - 1
        if self.kind == "number":
            known = values.cast(pl.Float64).fill_nan(None)
            places_of = np.searchsorted(self.edges, known.fill_null(0.0).to_numpy(), side="left")
        elif self.kind == "level":
            known = values
            places = {level: place for place, level in enumerate(self.levels)}
            places_of = known.replace_strict(
                places, default=len(self.levels), return_dtype=pl.Int64
            ).to_numpy()
        else:
            known = values
            part = (known.dt.hour() // 4) if self.kind == "hour" else (known.dt.weekday() - 1)
            places_of = part.cast(pl.Int64).fill_null(0).to_numpy()
        return np.where(known.is_null().to_numpy(), last, places_of).astype(np.int64)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Reference:
        lists = {name: tuple(data[name]) for name in ("counts", "edges", "levels")}
        return cls(**{**data, **lists})


@dataclass(frozen=True)
class TrainingSketch:
    """What a model keeps of the rows it learned from: its columns, its score, and how many rows it flagged.

    `specs` say how the columns are read, `time` how the time column is. `score` and `alert_rate` are of rows that
    the model had not learned from. `until` is the latest time among the rows it learned from, in the unit of its
    time column (dates: seconds since 1970); None without times.
    """

    columns: tuple[Reference, ...]
    specs: tuple[ColumnSpec, ...]
    score: Reference | None = None
    alert_rate: float | None = None
    until: float | None = None
    time: ColumnSpec | None = None

    def save(self, folder: Path) -> str:
        """Write the sketch beside a model; the file's name."""
        content = {
            "format": FORMAT,
            "columns": [column.to_dict() for column in self.columns],
            "specs": [spec.to_dict() for spec in self.specs],
            "score": self.score.to_dict() if self.score else None,
            "alert_rate": self.alert_rate,
            "until": self.until,
            "time": self.time.to_dict() if self.time else None,
        }
        text = json.dumps(content, ensure_ascii=False, allow_nan=False)
        (folder / SKETCH_FILE).write_text(text, encoding="utf-8")
        return SKETCH_FILE

    @classmethod
    def load(cls, folder: Path) -> TrainingSketch | None:
        """Load the sketch beside a model, None for one that was trained before there were any.

        Raises ModelUnreadable for a damaged one.
        """
        path = folder / SKETCH_FILE
        if not path.exists():
            return None
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if data["format"] != FORMAT:
                raise ModelUnreadable(
                    _(
                        "%(file)s has format %(value)s; this version reads %(word)s.",
                        file=SKETCH_FILE,
                        value=repr(data["format"]),
                        word=FORMAT,
                    )
                )
            return cls(
                tuple(Reference.from_dict(column) for column in data["columns"]),
                tuple(ColumnSpec.from_dict(spec) for spec in data["specs"]),
                Reference.from_dict(data["score"]) if data["score"] else None,
                data["alert_rate"],
                data["until"],
                ColumnSpec.from_dict(data["time"]) if data["time"] else None,
            )
        except (ValueError, KeyError, TypeError, InvalidInput) as error:
            raise ModelUnreadable(
                _(
                    "%(file)s is damaged: %(error)s. Fetch the version again.",
                    file=SKETCH_FILE,
                    error=repr(error),
                )
            ) from error


class DriftCounter:
    """Counts rows by the bins of some references, batch by batch; what is kept does not grow with the rows."""

    def __init__(self, references: Iterable[Reference]) -> None:
        self.references = tuple(references)
        self.counts = [np.zeros(len(r.counts), dtype=np.int64) for r in self.references]
        self._new: list[Counter[str]] = [Counter() for _ in self.references]

    def add(self, parsed: pl.DataFrame) -> list[NDArray[np.int64]]:
        """Count these parsed rows; the bins they fall in, one (rows,) per reference."""
        binned = []
        for place, reference in enumerate(self.references):
            values = parsed[reference.column]
            bins = reference.bins(values)
            self.counts[place] += np.bincount(bins, minlength=len(reference.counts))
            if reference.closed:
                self._count_new(place, values.filter(bins == len(reference.levels)))
            binned.append(bins)
        return binned

    def drifts(self) -> tuple[ColumnDrift, ...]:
        """Return how far each column has moved, the farthest first."""
        measured = [
            drift_of(reference, counts, self._new[place])
            for place, (reference, counts) in enumerate(zip(self.references, self.counts, strict=True))
        ]
        return tuple(sorted(measured, key=lambda drift: -drift.index))

    def _count_new(self, place: int, values: pl.Series) -> None:
        counter = self._new[place]
        for value, count in values.drop_nulls().value_counts().iter_rows():
            counter[value] += count
        if len(counter) > 2 * COUNTED:
            self._new[place] = Counter(dict(counter.most_common(COUNTED)))


def drift_of(reference: Reference, counts: Counts, new: Mapping[str, int] | None = None) -> ColumnDrift:
    """Return how far counted rows are from a reference."""
    now = max(float(counts.sum()), 1.0)
    index, noise = stability_index(reference.counts, counts), usual_noise(reference.counts, counts)
    verdict: Verdict = "same" if index < MOVED or index <= noise else "moved" if index < FAR else "far"
    top = Counter(dict(new or {})).most_common(NEW_LEVELS)
    return ColumnDrift(
        column=reference.column,
        kind=reference.kind,
        index=round(index, 6),
        noise=round(noise, 6),
        verdict=verdict,
        missing_before=reference.counts[-1] / max(reference.rows, 1.0),
        missing_now=float(counts[-1]) / now,
        new_levels=tuple((level, count / now) for level, count in top),
        importance=reference.importance,
    )


def stability_index(before: Sequence[float] | Floats, now: Sequence[float] | Counts) -> float:
    """Return the population stability index of two counts over the same bins: 0 where their shares are equal.

    Half a row is added to every bin that either fills, so that one that was empty gives no infinity.
    """
    first, second = np.asarray(before, dtype=np.float64), np.asarray(now, dtype=np.float64)
    used = (first + second) > 0
    if first.sum() == 0 or second.sum() == 0:
        return 0.0
    p, q = (_smoothed(counts[used]) for counts in (first, second))
    if np.allclose(first * second.sum(), second * first.sum(), rtol=1e-12, atol=0):
        return 0.0
    return float(max(np.sum((q - p) * np.log(q / p)), 0.0))


def usual_noise(before: Sequence[float] | Floats, now: Sequence[float] | Counts) -> float:
    """Return the index that two draws from one spread stay below 19 times of 20, by their numbers of rows.

    (1/rows + 1/rows) times the 95 % point of chi-squared (Yurdakul, 2018), in the form of Wilson and Hilferty.
    """
    first, second = np.asarray(before, dtype=np.float64), np.asarray(now, dtype=np.float64)
    free = int(np.sum((first + second) > 0)) - 1
    if free < 1 or first.sum() == 0 or second.sum() == 0:
        return 0.0
    point = free * (1 - 2 / (9 * free) + 1.644854 * math.sqrt(2 / (9 * free))) ** 3
    return float(point * (1 / first.sum() + 1 / second.sum()))


def reference_of(values: pl.Series, kind: str, *, importance: float | None = None) -> Reference | None:
    """Return the reference of one parsed column; None for kinds whose spread says nothing (texts, identifiers)."""
    name = values.name
    if kind == "number":
        known = values.cast(pl.Float64).fill_nan(None).drop_nulls()
        marks = known.to_numpy()
        inner = np.quantile(marks, np.linspace(0, 1, BINS + 1)[1:-1], method="higher") if len(marks) else []
        empty = Reference(
            name, "number", (0.0,) * (len(np.unique(inner)) + 2), tuple(map(float, np.unique(inner)))
        )
        return _counted(empty, values, importance)
    if kind == "datetime":
        hourly = _has_time(values) > TIMED
        bins = len(HOURS if hourly else DAYS)
        empty = Reference(name, "hour" if hourly else "weekday", (0.0,) * (bins + 1))
        return _counted(empty, values, importance)
    if kind in ("category", "constant"):
        ranked = values.drop_nulls().value_counts(sort=True)
        levels = tuple(sorted(ranked[name].head(LEVELS).to_list()))
        closed = ranked.height <= LEVELS
        empty = Reference(name, "level", (0.0,) * (len(levels) + 2), levels=levels, closed=closed)
        return _counted(empty, values, importance)
    return None


def score_reference(scores: Floats) -> Reference:
    """Return the reference of scores (rows,) in [0, 1]: their tenths, and the highest 5 and 1 % apart."""
    marks = np.quantile(scores, [*np.linspace(0, 1, BINS + 1)[1:-1], 0.95, 0.99], method="higher")
    edges = tuple(float(mark) for mark in np.unique(marks))
    empty = Reference("score", "number", (0.0,) * (len(edges) + 2), edges)
    return _counted(empty, pl.Series("score", scores), None)


def sketch_training(
    sample: pl.DataFrame,
    specs: Sequence[ColumnSpec],
    *,
    importance: Mapping[str, float] | None = None,
    scores: Floats | None = None,
    threshold: float | None = None,
    until: float | None = None,
    time: ColumnSpec | None = None,
) -> TrainingSketch:
    """Return the sketch of a model: parsed training rows, and scores (rows,) of rows it has not learned from."""
    weights = importance or {}
    references = (
        reference_of(sample[spec.name], spec.kind, importance=weights.get(spec.name))
        for spec in specs
        if spec.name in sample.columns
    )
    flagged = None if scores is None or threshold is None else float(np.mean(scores >= threshold))
    score = None if scores is None or not len(scores) else score_reference(scores)
    columns = tuple(r for r in references if r is not None)
    return TrainingSketch(columns, tuple(specs), score, flagged, until, time)


def _counted(empty: Reference, values: pl.Series, importance: float | None) -> Reference:
    counts = np.bincount(empty.bins(values), minlength=len(empty.counts))
    filled = {"counts": tuple(float(count) for count in counts), "importance": importance}
    return Reference(**{**empty.__dict__, **filled})


def _has_time(values: pl.Series) -> float:
    """Return the share of dates that hold a time of day."""
    known = values.drop_nulls()
    return int((known != known.dt.truncate("1d")).sum()) / max(len(known), 1)


def _smoothed(counts: Floats) -> Floats:
    result: Floats = (counts + 0.5) / (counts.sum() + 0.5 * len(counts))
    return result
