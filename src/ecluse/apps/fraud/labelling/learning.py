"""Learn from a few labelled rows: a scale on which scores are probabilities, and a better order where one is sure.

The order of the model at hand is kept unless a correction of it ranks labelled rows it has not seen better: other
weights of an ensemble's members, a strongly shrunk linear model over the main columns, or both. Its state is plain
JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.fraud.labelling.figures import weighted_average_precision
from ecluse.apps.fraud.tables.columns import ColumnSpec
from ecluse.errors import InvalidInput, ModelUnreadable
from ecluse.sentences import _

Floats = NDArray[np.float64]
Labels = NDArray[np.int8]

FORMAT: Final = 1
#: Of each class so many labels, before anything is learned.
LEAST: Final = 3
#: Of each class so many, before the order of rows may change.
LEAST_TO_REORDER: Final = 5
#: How much the correction is held back; the strongest that does nearly as well as the best is taken.
PENALTIES: Final = (300.0, 100.0, 30.0, 10.0, 3.0)
FOLDS: Final = 5
REPEATS: Final = 8
#: The correction must win this share of resampled labels where it gains much on average, and more where it gains
#: little: of 24 simulated tables one lost a third of its average precision to a correction won in 0.925 by .07.
SURE, SURER = 0.9, 0.95
MUCH, LEAST_GAIN = 0.1, 0.01
#: Power of the number of rows that a label stands for, when ways are compared.
TEMPER: Final = 0.5
MOST_COLUMNS: Final = 60
LEVELS: Final = 8
COMMON: Final = 0.02
#: The prior of the slope of the model's log-odds: around 1, a factor of e is two deviations.
SLOPE_DEVIATION: Final = 0.3
#: The prior of the log-odds of the fraud rate, in deviations: a factor of two where nobody estimated it, and a
#: factor of 1.4 where a person stated it or references that match suggest it.
RATE_DEVIATION, KNOWN_DEVIATION = 0.7, 0.35
#: Fewer drawn at random among fewer labels teach no scale: the model's own is kept.
LEAST_DRAWN, LEAST_LABELS = 6, 30
#: Power of the number of rows that a label stands for, when a scale is learned.
LEVEL_TEMPER: Final = 0.25
#: The posterior is summed over so many values of slope and rate, so many times, each time so many deviations wide.
GRID, PASSES, REACH = 25, 3, 3.5
BINS: Final = 300
SMALLEST: Final = 1e-6
#: The stated fraud rate counts as so many labelled rows.
PRIOR_ROWS: Final = 4.0


@dataclass(frozen=True)
class Column:
    """One number made of a raw column: its rank among the table's rows, an hour, a level, or that it is missing."""

    column: str
    kind: Literal["number", "hour", "level", "missing"]
    quantiles: tuple[float, ...] = ()
    level: str = ""
    mean: float = 0.0
    deviation: float = 1.0


@dataclass(frozen=True)
class Voice:
    """The log-odds of one member of an ensemble: their mean and deviation over the table, and what is added for
    each deviation."""

    mean: float
    deviation: float
    weight: float = 0.0


@dataclass(frozen=True)
class Learned:
    """What labels taught about a model: `log-odds = slope * margin + intercept`, and a correction of the order.

    `margin` is the model's log-odds. With `columns`, `weights` (columns + 1,) are added for each and for the
    anomaly score last; with `voices`, what each member of the ensemble says is added by its weight. `report` says how
    the ways compared on labels they had not seen.
    """

    slope: float
    intercept: float
    anomaly_mean: float = 0.0
    anomaly_deviation: float = 1.0
    columns: tuple[Column, ...] = ()
    weights: tuple[float, ...] = ()
    specs: tuple[ColumnSpec, ...] = ()
    report: dict[str, Any] = field(default_factory=dict)
    voices: tuple[Voice, ...] = ()

    @property
    def reorders(self) -> bool:
        """Tell whether rows come in another order than by the model alone."""
        return bool(self.weights)

    def margins(
        self,
        margins: Floats,
        parsed: pl.DataFrame,
        anomaly: Floats | None = None,
        opinions: Floats | None = None,
    ) -> Floats:
        """(rows,) log-odds from the model's; a row's value does not depend on the other rows.

        `opinions` (rows, voices) are the members' log-odds, wanted where there are voices.
        """
        adjusted = self.slope * margins + self.intercept
        if not self.weights:
            return adjusted
        matrix = _matrix(parsed, self.columns)
        result: Floats = adjusted + matrix @ np.array(self.weights[:-1])
        if anomaly is not None:
            result = result + self.weights[-1] * self._anomaly(anomaly)
        if self.voices and opinions is not None:
            # One after the other: the same sum whatever the batch.
            for at, voice in enumerate(self.voices):
                result = result + voice.weight * (opinions[:, at] - voice.mean) / voice.deviation
        return result

    @property
    def keeps(self) -> bool:
        """Tell whether all stays as the model has it."""
        return not self.weights and (self.slope, self.intercept) == (1.0, 0.0)

    def rescaled(self, slope: float, intercept: float) -> Learned:
        """Return the same order on another scale of its log-odds."""
        return replace(
            self,
            slope=slope * self.slope,
            intercept=slope * self.intercept + intercept,
            weights=tuple(slope * weight for weight in self.weights),
            voices=tuple(replace(voice, weight=slope * voice.weight) for voice in self.voices),
        )

    def _anomaly(self, anomaly: Floats) -> Floats:
        return (anomaly - self.anomaly_mean) / self.anomaly_deviation

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` gives the same back."""
        return {
            "format": FORMAT,
            **asdict(self),
            "columns": [asdict(column) for column in self.columns],
            "specs": [spec.to_dict() for spec in self.specs],
            "voices": [asdict(voice) for voice in self.voices],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Learned:
        """Raise ModelUnreadable for what was not written by `to_dict`."""
        if data.get("format") != FORMAT:
            raise ModelUnreadable(
                _(
                    "%(file)s has format %(value)s; this version reads %(word)s.",
                    file="learned.json",
                    value=repr(data.get("format")),
                    word=FORMAT,
                )
            )
        try:
            columns = tuple(Column(**{**c, "quantiles": tuple(c["quantiles"])}) for c in data["columns"])
            rest = {name: data[name] for name in ("slope", "intercept", "anomaly_mean", "anomaly_deviation")}
            return cls(
                **rest,
                columns=columns,
                weights=tuple(float(weight) for weight in data["weights"]),
                specs=tuple(ColumnSpec.from_dict(spec) for spec in data["specs"]),
                report=dict(data["report"]),
                # Those of before know none.
                voices=tuple(Voice(**voice) for voice in data.get("voices", ())),
            )
        except (KeyError, TypeError, InvalidInput) as error:
            raise ModelUnreadable(
                _(
                    "%(file)s is damaged: %(error)s. Fetch the version again.",
                    file="learned.json",
                    error=repr(error),
                )
            ) from error


@dataclass(frozen=True)
class LabelledRows:
    """Rows with a label, in one order: `labels`, `margins` (the model's log-odds) and `anomaly` are (labels,).

    `parsed` (labels, columns) are their values, `opinions` (labels, members) the log-odds of an ensemble's members.
    `weights` say how many rows each label stands for: they count for the level of the probabilities, not for the
    order.
    """

    labels: Labels
    margins: Floats
    parsed: pl.DataFrame
    anomaly: Floats | None = None
    opinions: Floats | None = None
    weights: Floats | None = None

    def represented(self) -> Floats:
        """(labels,) how many rows each label stands for; itself alone where that is not known."""
        return np.ones(len(self.labels)) if self.weights is None else self.weights


@dataclass(frozen=True)
class SampledRows:
    """Any rows of the same table, which say what is usual: values, and the log-odds of an ensemble's members."""

    parsed: pl.DataFrame
    opinions: Floats | None = None


def learn_from_labels(
    rows: LabelledRows,
    specs: Sequence[ColumnSpec],
    sample: SampledRows,
    *,
    fraud_rate: float | None = None,
    seed: int = 0,
) -> Learned:
    """Learn from labelled rows; `specs` are the columns to learn from, `fraud_rate` is held to be true beforehand.

    Raises InvalidInput with fewer than three labels of either class.
    """
    labels, represented = rows.labels, rows.represented()
    frauds = check_kinds(labels)
    slope, intercept = recalibrate(labels, rows.margins, represented, fraud_rate)
    report: dict[str, Any] = {"labels": len(labels), "frauds": frauds}
    if min(frauds, len(labels) - frauds) < LEAST_TO_REORDER:
        return Learned(slope, intercept, report=report | {"way": "recalibrated"})
    inputs = _inputs(rows, specs, sample)
    ways = inputs.ways()
    chosen, compared = _compare(labels, rows.margins, inputs.matrix, ways, represented, seed)
    report |= compared
    if chosen is None:
        return Learned(slope, intercept, report=report | {"way": "recalibrated"})
    by, penalty = chosen
    correction = np.zeros(inputs.matrix.shape[1])
    correction[ways[by]] = _correct(labels, slope * rows.margins, inputs.matrix[:, ways[by]], penalty)[:-1]
    adjusted = slope * rows.margins + inputs.matrix @ correction
    again, level = recalibrate(labels, adjusted, represented, fraud_rate)
    correction *= again
    columns = inputs.columns
    if by == "members":
        columns, correction = (), correction[inputs.of_columns :]
    of_columns, of_voices = correction[: len(columns) + 1], correction[len(columns) + 1 :]
    voices = () if by == "columns" else zip(inputs.voices, of_voices, strict=True)
    return Learned(
        slope=slope * again,
        intercept=level,
        anomaly_mean=inputs.anomaly_mean,
        anomaly_deviation=inputs.anomaly_deviation,
        columns=columns,
        weights=tuple(float(weight) for weight in of_columns),
        specs=tuple(spec for spec in specs if spec.name in {column.column for column in columns}),
        report=report | {"way": "corrected", "by": by, "penalty": penalty},
        voices=tuple(replace(voice, weight=float(weight)) for voice, weight in voices),
    )


@dataclass(frozen=True)
class _Inputs:
    """What a correction may be made of, (labels, …): columns first, then the anomaly score, then the members."""

    matrix: Floats
    columns: tuple[Column, ...]
    of_columns: int
    anomaly_mean: float
    anomaly_deviation: float
    voices: tuple[Voice, ...]

    def ways(self) -> dict[str, NDArray[np.int64]]:
        """Return which of them each way of correcting uses; the fewest first: of ways that do about as well the
        simplest is taken.
        """
        total = self.matrix.shape[1]
        columns = {"columns": np.arange(total - len(self.voices))}
        if not self.voices:
            return columns
        return {"members": np.arange(self.of_columns, total), **columns, "both": np.arange(total)}


def _inputs(rows: LabelledRows, specs: Sequence[ColumnSpec], sample: SampledRows) -> _Inputs:
    columns = _columns(sample.parsed, specs)
    matrix = _matrix(rows.parsed, columns)
    mean, deviation = 0.0, 1.0
    if rows.anomaly is not None:
        mean, deviation = float(rows.anomaly.mean()), float(rows.anomaly.std()) or 1.0
    anomaly = np.zeros(len(rows.labels)) if rows.anomaly is None else (rows.anomaly - mean) / deviation
    opinions = rows.opinions
    voices = _voices(opinions if sample.opinions is None else sample.opinions)
    standardised = np.zeros((len(rows.labels), 0))
    if opinions is not None and voices:
        standardised = np.column_stack(
            [(opinions[:, at] - voice.mean) / voice.deviation for at, voice in enumerate(voices)]
        )
    whole = np.column_stack([matrix, anomaly, standardised])
    return _Inputs(whole, columns, matrix.shape[1], mean, deviation, voices)


def check_kinds(labels: Labels) -> int:
    """Return the number of frauds; `InvalidInput` for labels too few of a kind to learn from."""
    frauds = int(labels.sum())
    if min(frauds, len(labels) - frauds) < LEAST:
        raise InvalidInput(
            _(
                "%(done)s of %(count)s labels are fraud; at least %(least)s of each kind are needed "
                "to learn. Label more rows.",
                done=frauds,
                count=len(labels),
                least=LEAST,
            )
        )
    return frauds


def recalibrate(
    labels: Labels,
    margins: Floats,
    weights: Floats,
    fraud_rate: float | None,
    *,
    everyone: Floats | None = None,
    within: tuple[float, float] = (0.0, 1.0),
    deviation: float = RATE_DEVIATION,
) -> tuple[float, float]:
    """Platt scaling, `log-odds = slope * margin + intercept`, held near a slope of 1 and the rate known beforehand.

    `everyone` (rows,) are the margins of the whole table, whose expected share of frauds is kept `within` bounds;
    without it, the labels stand for `weights` rows each. The rate held beforehand is `fraud_rate`, else what the
    margins themselves say, give or take `deviation` in log-odds. Both numbers are the means of their posterior
    under normal priors of the logarithm of the slope and the log-odds of the rate: few labels move them little.
    """
    places, mass = _summary(margins, weights) if everyone is None else _summary(everyone)
    rate = float(mass @ _sigmoid(places)) if fraud_rate is None else fraud_rate
    prior = _log_odds(rate)
    # Labels count for more the more rows they stand for, yet a few heavy ones must not decide alone.
    weight = weights**LEVEL_TEMPER
    weight = weight / weight.sum() * len(labels)
    signs = 1.0 - 2.0 * labels.astype(np.float64)
    center, wide = np.array([0.0, prior]), np.array([SLOPE_DEVIATION, deviation])
    # Each pass looks closer at where the last one found the labels to point.
    for _turn in range(PASSES):
        thetas = center[0] + REACH * wide[0] * np.linspace(-1, 1, GRID)
        levels = center[1] + REACH * wide[1] * np.linspace(-1, 1, GRID)
        likelihood = np.empty((GRID, GRID))
        for at, theta in enumerate(thetas):
            scaled = np.exp(theta) * margins
            shifts = _shifts(np.exp(theta) * places, mass, levels)
            likelihood[at] = -np.logaddexp(0.0, signs * (scaled + shifts[:, None])) @ weight
        likelihood -= ((thetas / SLOPE_DEVIATION) ** 2 / 2)[:, None]
        likelihood -= ((levels - prior) / deviation) ** 2 / 2
        chance = np.exp(likelihood - likelihood.max())
        chance /= chance.sum()
        of_theta, of_level = chance.sum(axis=1), chance.sum(axis=0)
        center = np.array([of_theta @ thetas, of_level @ levels])
        spread = [of_theta @ (thetas - center[0]) ** 2, of_level @ (levels - center[1]) ** 2]
        wide = np.maximum(np.sqrt(spread), REACH * wide / GRID)
    slope = float(np.exp(center[0]))
    low, high = (_log_odds(share) for share in within)
    level = np.clip(center[1:], low, high)
    return slope, float(_shifts(slope * places, mass, level)[0])


def _summary(margins: Floats, weights: Floats | None = None) -> tuple[Floats, Floats]:
    """Margins of many rows as at most `BINS`, and the share of rows at each; the highest are kept apart."""
    order = np.argsort(margins, kind="stable")
    ranked = margins[order]
    share = np.full(len(ranked), 1.0) if weights is None else weights[order]
    top = max(len(ranked) - BINS // 2, 0)
    lower = np.linspace(0, top, BINS // 2, endpoint=False).astype(np.int64)
    starts = np.unique(np.r_[lower, np.arange(top, len(ranked))])
    mass = np.add.reduceat(share, starts)
    return np.add.reduceat(ranked * share, starts) / mass, mass / mass.sum()


def _shifts(places: Floats, mass: Floats, levels: Floats) -> Floats:
    """Return what to add to margins so that the mean probability has the log-odds `levels` (levels,)."""
    ends = float(places.min()), float(places.max())
    tried = np.linspace(levels.min() - ends[1] - 1e-6, levels.max() - ends[0] + 1e-6, 160)
    rates = _sigmoid(places + tried[:, None]) @ mass
    shifts: Floats = np.interp(levels, np.log(rates / (1 - rates)), tried)
    return shifts


def _log_odds(share: float) -> float:
    kept = min(max(share, SMALLEST), 1 - SMALLEST)
    return float(np.log(kept / (1 - kept)))


def _slope(labels: Labels, margins: Floats) -> float:
    """Return the slope alone, of labels as they are: quick, for models that are tried and left."""
    weight = np.ones(len(labels))
    target = labels.astype(np.float64)
    rate = float(target.mean())
    prior = np.log(rate / (1 - rate)) if 0 < rate < 1 else 0.0
    center = float(np.average(margins, weights=weight))
    # Theta is the logarithm of the slope, so that the order of rows is never turned round.
    theta, level = 0.0, prior
    for _turn in range(100):
        slope = float(np.exp(theta))
        x = slope * (margins - center)
        p = _sigmoid(x + level)
        error, spread = weight * (target - p), weight * np.maximum(p * (1 - p), 1e-9)
        pull = PRIOR_ROWS * rate * (1 - rate) if 0 < rate < 1 else 0.1
        gradient = np.array(
            [np.sum(error * x) - theta / SLOPE_DEVIATION**2, np.sum(error) - pull * (level - prior)]
        )
        cross = np.sum(spread * x)
        hessian = np.array(
            [[np.sum(spread * x * x) + 1 / SLOPE_DEVIATION**2, cross], [cross, np.sum(spread) + pull]]
        )
        step = np.clip(np.linalg.solve(hessian, gradient), -0.5, 0.5)
        theta, level = float(np.clip(theta + step[0], -3.0, 2.0)), float(level + step[1])
        if np.abs(step).max() < 1e-9:
            break
    return float(np.exp(theta))


def _voices(opinions: Floats | None) -> tuple[Voice, ...]:
    """Return how the members of an ensemble speak of a table: `opinions` (rows, members); none where fewer than two
    vary.
    """
    if opinions is None:
        return ()
    spread = [(float(column.mean()), float(column.std())) for column in opinions.T]
    return tuple(Voice(mean, deviation or 1.0) for mean, deviation in spread) if len(spread) > 1 else ()


def _compare(
    labels: Labels,
    margins: Floats,
    matrix: Floats,
    ways: Mapping[str, NDArray[np.int64]],
    represented: Floats,
    seed: int,
) -> tuple[tuple[str, float] | None, dict[str, Any]]:
    """Return the way (columns of the matrix) and penalty of a correction that beats the model on unseen labels, or
    None; and the figures of both.
    """
    rng = np.random.default_rng(seed)
    folds = [_folds(labels, rng) for _ in range(REPEATS)]
    # Rows were chosen by the model's own score, among which it tells less apart than among all rows: the others
    # must count for more than one, though not for so many that a few of them decide alone.
    tempered = represented**TEMPER
    alone = weighted_average_precision(labels, margins, tempered)
    tried = [(by, penalty) for by in ways for penalty in PENALTIES]
    unseen = {
        setting: _unseen(labels, margins, matrix[:, ways[setting[0]]], setting[1], folds) for setting in tried
    }
    figures = {
        setting: [weighted_average_precision(labels, scores, tempered) for scores in unseen[setting]]
        for setting in tried
    }
    means = {setting: float(np.mean(values)) for setting, values in figures.items()}
    best = max(tried, key=lambda setting: means[setting])
    slack = float(np.std(figures[best])) / np.sqrt(REPEATS)
    chosen = next(setting for setting in tried if means[setting] >= means[best] - slack)
    wins = _wins(labels, margins, unseen[chosen], tempered, rng)
    # Of the whole table, as far as is known what each label stands for.
    whole = float(
        np.mean([weighted_average_precision(labels, setting, represented) for setting in unseen[chosen]])
    )
    report = {"model": alone, "corrected": means[chosen], "sure": wins, "unseen": whole}
    gain = means[chosen] - alone
    won = gain >= LEAST_GAIN and wins >= (SURE if gain >= MUCH else SURER)
    return (chosen if won else None), {"average_precision": report}


def _folds(labels: Labels, rng: np.random.Generator) -> NDArray[np.int64]:
    fold = np.empty(len(labels), dtype=np.int64)
    for kind in (0, 1):
        rows = rng.permutation(np.flatnonzero(labels == kind))
        fold[rows] = np.arange(len(rows)) % FOLDS
    return fold


def _unseen(
    labels: Labels, margins: Floats, matrix: Floats, penalty: float, folds: Sequence[NDArray[np.int64]]
) -> list[Floats]:
    """Return the corrected log-odds of each label by a model that has not seen it, once for each way to divide them."""
    margins_by_fold = []
    for fold in folds:
        scores = np.empty(len(labels))
        for number in range(FOLDS):
            out = fold == number
            if not out.any():
                continue
            slope = _slope(labels[~out], margins[~out])
            weights = _correct(labels[~out], slope * margins[~out], matrix[~out], penalty)
            scores[out] = slope * margins[out] + matrix[out] @ weights[:-1] + weights[-1]
        margins_by_fold.append(scores)
    return margins_by_fold


def _wins(
    labels: Labels, margins: Floats, unseen: Sequence[Floats], weights: Floats, rng: np.random.Generator
) -> float:
    """Return the share of resampled labels on which the correction has the higher average precision."""
    corrected = np.mean(unseen, axis=0)
    won = drawn = 0
    for _turn in range(200):
        rows = rng.integers(0, len(labels), len(labels))
        if 0 < labels[rows].sum() < len(rows):
            drawn += 1
            of_both = (
                weighted_average_precision(labels[rows], scores[rows], weights[rows])
                for scores in (corrected, margins)
            )
            won += next(of_both) > next(of_both)
    return won / max(drawn, 1)


def _correct(labels: Labels, offset: Floats, matrix: Floats, penalty: float) -> Floats:
    """(columns + 1,) weights of a logistic regression around `offset`, shrunk but for the intercept, which is last."""
    x = np.column_stack([matrix, np.ones(len(labels))])
    ridge = np.full(x.shape[1], penalty)
    ridge[-1] = 1e-3
    weights = np.zeros(x.shape[1])
    for _turn in range(30):
        p = _sigmoid(offset + x @ weights)
        gradient = x.T @ (labels - p) - ridge * weights
        hessian = (x.T * np.maximum(p * (1 - p), 1e-9)) @ x + np.diag(ridge)
        step = np.linalg.solve(hessian, gradient)
        step *= min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-12))
        weights = weights + step
        if np.abs(step).max() < 1e-7:
            break
    return weights


def _columns(sample: pl.DataFrame, specs: Sequence[ColumnSpec]) -> tuple[Column, ...]:
    """Return the numbers to learn from: what varies in the sample, in the order of the columns, at most 60."""
    columns: list[Column] = []
    for spec in specs:
        if spec.name not in sample.columns:
            continue
        values = sample[spec.name]
        gone = values.null_count() / max(len(values), 1)
        if spec.kind == "number" and values.n_unique() > 1:
            known = values.drop_nulls().fill_nan(None).drop_nulls().to_numpy()
            marks = np.unique(np.quantile(known, np.linspace(0, 1, 41))) if len(known) else np.zeros(1)
            if len(marks) > 1:
                columns.append(Column(spec.name, "number", quantiles=tuple(map(float, marks))))
        elif spec.kind == "datetime" and values.dt.hour().n_unique() > 2:
            columns.append(Column(spec.name, "hour"))
        elif spec.kind == "category":
            shares = values.drop_nulls().value_counts(sort=True).head(LEVELS)
            for level, count in shares.iter_rows():
                if COMMON <= count / len(values) <= 1 - COMMON:
                    columns.append(Column(spec.name, "level", level=str(level)))
        if COMMON < gone < 1 - COMMON:
            columns.append(Column(spec.name, "missing"))
    scaled = []
    for column in columns[:MOST_COLUMNS]:
        made = _raw(sample[column.column], column)
        mean, deviation = float(made.mean()), float(made.std())
        if deviation > 1e-9:
            scaled.append(Column(**{**column.__dict__, "mean": mean, "deviation": deviation}))
    return tuple(scaled)


def _matrix(parsed: pl.DataFrame, columns: Sequence[Column]) -> Floats:
    """(rows, columns) float64, each with mean 0 and deviation 1 over the sample that it was made for."""
    if not columns:
        return np.zeros((parsed.height, 0))
    return np.column_stack([(_raw(parsed[c.column], c) - c.mean) / c.deviation for c in columns])


def _raw(values: pl.Series, column: Column) -> Floats:
    if column.kind == "missing":
        return values.is_null().to_numpy().astype(np.float64)
    if column.kind == "level":
        return (values == column.level).fill_null(False).to_numpy().astype(np.float64)
    if column.kind == "hour":
        # Night against day: the hour's distance from noon.
        hour = values.dt.hour().cast(pl.Float64).fill_null(12.0).to_numpy()
        return np.abs(hour - 12.0)
    marks = np.array(column.quantiles)
    known = values.cast(pl.Float64).fill_nan(None).fill_null(float(np.median(marks)))
    ranks: Floats = np.interp(known.to_numpy(), marks, np.linspace(0, 1, len(marks)))
    return ranks


def _sigmoid(x: Floats) -> Floats:
    result: Floats = 1.0 / (1.0 + np.exp(-np.clip(x, -500, 500)))
    return result
