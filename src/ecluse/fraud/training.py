"""Train a fraud model from a labelled table, and measure it on rows it has never seen."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.errors import InvalidInput, UnusableTarget
from ecluse.fraud.calibration import Calibration, fit_calibration
from ecluse.fraud.card import write_card
from ecluse.fraud.checks import FEW_POSITIVES
from ecluse.fraud.columns import ColumnSpec, infer_columns
from ecluse.fraud.dataset import Table
from ecluse.fraud.evaluation import (
    Goal,
    alert_cut,
    average_precision,
    bootstrap_intervals,
    calibration_curve,
    choose_threshold,
    confusion,
    measure,
    precision_recall_curve,
    roc_curve,
    score_histogram,
)
from ecluse.fraud.features import FeatureEngineer, Matrix, Roles, fit_features
from ecluse.fraud.history import times_of
from ecluse.fraud.models import FAMILIES, FitData, FittedModel, family
from ecluse.fraud.search import Candidate, SearchResult, search_models
from ecluse.fraud.selection import (
    Dropped,
    FeatureSelector,
    best_single,
    choose_columns,
    choose_features,
    leak_warnings,
)
from ecluse.fraud.split import Split, check_labels, split_rows

__all__ = ["Goal", "Progress", "TrainingPlan", "TrainingReport", "train"]

Progress = Callable[[str, float, str], None]
"""(stage, share of the whole done in [0, 1], message); may raise to cancel.

Stages: "read", "features", "search", "calibrate", "test", "save".
"""

FORMAT = 1
MODEL_FILE = "model.json"
FEATURES_FILE = "features.json"
REPORT_FILE = "performance.json"

SEARCH_UNTIL = 0.97
# The best settings are fitted again on a third more rows: for that, time is kept for features and the fit.
REFIT_ROWS = 200_000
REFIT_SHARE = 0.25
MORE_TIME = 1.4
# More rows carry a few more rounds before the fit learns noise.
MORE_ROUNDS = 1.1
MEDIUM_ALERTS = 3
BATCH_ROWS = 50_000
HEARTBEAT_S = 0.5
PACKAGES = ("ecluse", "numpy", "polars", "scikit-learn")


@dataclass(frozen=True)
class TrainingPlan:
    """What to learn and how: the target, the columns with a role, the seconds, the goal of the threshold.

    `positive_value` is the target's value that means fraud, as text; the rarer of two when None.
    `identifier_columns` and `excluded` are not learned from.
    """

    target: str
    positive_value: str | None = None
    time_column: str | None = None
    customer_column: str | None = None
    identifier_columns: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    budget_s: float = 60.0
    goal: Goal = Goal()  # noqa: RUF009 - frozen, so one value can serve all plans
    seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` gives the same plan back."""
        lists = {"identifier_columns": list(self.identifier_columns), "excluded": list(self.excluded)}
        return asdict(self) | lists | {"goal": self.goal.to_dict()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> TrainingPlan:
        lists = {name: tuple(data.get(name, ())) for name in ("identifier_columns", "excluded")}
        goal = Goal.from_dict(data["goal"]) if "goal" in data else Goal()
        return cls(**{**data, **lists, "goal": goal})


@dataclass(frozen=True)
class TrainingReport:
    """The content of `performance.json`: `content` holds plain JSON values."""

    content: dict[str, Any]

    @property
    def metrics(self) -> dict[str, float]:
        """Figures on the untouched test rows."""
        metrics: dict[str, float] = self.content["metrics"]
        return metrics

    @property
    def threshold(self) -> float:
        return float(self.content["threshold"])

    def to_dict(self) -> dict[str, Any]:
        return self.content

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> TrainingReport:
        return cls(data)


def train(table: Table, plan: TrainingPlan, destination: Path, progress: Progress) -> TrainingReport:
    """Read the table, train within `plan.budget_s` seconds, and write the model's files into `destination`.

    Models are fitted on the training part, and chosen, calibrated and given a threshold on the validation
    part. The chosen settings are then fitted on both parts, when time is left, and measured on the test part:
    the model that was measured is the one that is written.

    Raises:
        UnusableTarget: the target is missing, or has not two usable classes.
        InvalidInput: another named column is missing or does not fit its role.
    """
    clock = _Clock(time.monotonic(), plan.budget_s, progress)
    rows = _read(table, plan, clock)
    split, warnings = _split(rows, plan)
    prepared = _prepare(rows, split, plan, clock, warnings)
    found = _search(prepared, plan, clock)
    calibration, cuts = _calibrate(rows, split, prepared, found.best, plan, clock)
    final = _refit(rows, split, prepared, found.best, plan, clock)
    return _finish(rows, split, final, found, calibration, cuts, plan, destination, clock)


# Reading


@dataclass(frozen=True)
class _Rows:
    """The labelled rows of a table, parsed. `columns` are the specs that may become features."""

    frame: pl.DataFrame
    labels: NDArray[np.int8]
    columns: tuple[ColumnSpec, ...]
    specs: tuple[ColumnSpec, ...]
    positive_value: str
    dropped: tuple[Dropped, ...]
    warnings: tuple[str, ...]


class _Clock:
    """The time used, and a progress report at most twice a second."""

    def __init__(self, started: float, budget_s: float, progress: Progress) -> None:
        self.started = started
        self.budget_s = budget_s
        self._progress = progress
        self._last = -np.inf
        self._stage = ""

    def seconds(self) -> float:
        return time.monotonic() - self.started

    def say(self, stage: str, fraction: float, message: str, *, always: bool = True) -> None:
        now = time.monotonic()
        if always or stage != self._stage or now - self._last >= HEARTBEAT_S:
            self._last, self._stage = now, stage
            self._progress(stage, float(min(fraction, 1.0)), message)


def _read(table: Table, plan: TrainingPlan, clock: _Clock) -> _Rows:
    clock.say("read", 0.0, "Reading the table")
    _check_columns(table, plan)
    sample = table.sample()
    specs = infer_columns(sample, decimal_comma=table.format.decimal_comma)
    as_text = (plan.target, plan.customer_column)
    specs = tuple(ColumnSpec(s.name, "category") if s.name in as_text else s for s in specs)
    unused = set(plan.identifier_columns) | set(plan.excluded)
    needed = {plan.target, plan.time_column, plan.customer_column}
    wanted = [s for s in specs if s.name not in unused or s.name in needed]
    parts = []
    done = 0
    for batch in table.batches(BATCH_ROWS):
        parts.append(batch.select([spec.parse() for spec in wanted]))
        done += batch.height
        clock.say("read", 0.02, f"{done:,} rows read", always=False)
    frame = pl.concat(parts)
    del parts
    frame, labels, positive, warnings = _labelled(frame, plan)
    roles = {plan.target, *unused}
    columns = tuple(s for s in wanted if s.name not in roles)
    dropped = tuple(Dropped(name, _why_unused(name, plan)) for name in table.columns if name in unused)
    return _Rows(frame, labels, columns, specs, positive, dropped, warnings)


def _why_unused(name: str, plan: TrainingPlan) -> str:
    return "an identifier" if name in plan.identifier_columns else "left out on request"


def _check_columns(table: Table, plan: TrainingPlan) -> None:
    known = ", ".join(table.columns[:20]) + (", …" if len(table.columns) > 20 else "")
    if plan.target not in table.columns:
        raise UnusableTarget(f'{table.filename} has no column "{plan.target}". Its columns: {known}.')
    named = (plan.time_column, plan.customer_column, *plan.identifier_columns, *plan.excluded)
    for name in named:
        if name is not None and name not in table.columns:
            raise InvalidInput(f'{table.filename} has no column "{name}". Its columns: {known}.')
        if name == plan.target:
            raise InvalidInput(f'"{name}" is the target and cannot have another role. Choose another column.')


def _labelled(
    frame: pl.DataFrame, plan: TrainingPlan
) -> tuple[pl.DataFrame, NDArray[np.int8], str, tuple[str, ...]]:
    known = frame.filter(pl.col(plan.target).is_not_null())
    unlabelled = frame.height - known.height
    target = known[plan.target]
    counts = target.value_counts(sort=True)
    values = counts[plan.target].to_list()
    positive = _positive_value(plan, values)
    labels = (target == positive).cast(pl.Int8).to_numpy()
    check_labels(labels)
    warnings = []
    if unlabelled:
        warnings.append(f"{unlabelled:,} rows without a value of {plan.target} were left out.")
    if len(values) > 2:
        warnings.append(
            f'{plan.target} has {len(values)} values; "{positive}" was learned against all others.'
        )
    if labels.sum() < FEW_POSITIVES:
        warnings.append(f"Only {labels.sum()} rows are fraud: every figure is uncertain, see the intervals.")
    return known.drop(plan.target), labels, positive, tuple(warnings)


def _positive_value(plan: TrainingPlan, values: list[str]) -> str:
    """`values` come most frequent first."""
    shown = ", ".join(f'"{value}"' for value in values[:6]) + (", …" if len(values) > 6 else "")
    if len(values) < 2:
        raise UnusableTarget(
            f"{plan.target} holds {shown or 'no value'} only; two values are needed to learn."
        )
    if plan.positive_value is None:
        if len(values) > 2:
            raise UnusableTarget(
                f"{plan.target} has {len(values)} values ({shown}). Name the one that means fraud."
            )
        return values[-1]
    wanted = ColumnSpec("value", "category").parse()
    parsed = str(pl.DataFrame({"value": [plan.positive_value]}).select(wanted).item())
    for candidate in (plan.positive_value, parsed):
        if candidate in values:
            return candidate
    raise UnusableTarget(f'{plan.target} never holds "{plan.positive_value}". Its values: {shown}.')


# Splitting


def _split(rows: _Rows, plan: TrainingPlan) -> tuple[Split, list[str]]:
    times = _times(rows, plan)
    groups, grouped_by = _groups(rows, plan)
    split = split_rows(rows.labels, times=times, groups=groups, grouped_by=grouped_by, seed=plan.seed)
    return split, [*rows.warnings, *split.warnings]


def _times(rows: _Rows, plan: TrainingPlan) -> NDArray[np.float64] | None:
    if plan.time_column is None:
        return None
    kind = _kind_of(rows, plan.time_column)
    if kind not in ("number", "datetime", "identifier"):
        raise InvalidInput(
            f'"{plan.time_column}" reads as {kind}, not as a date or a number. Choose another column.'
        )
    column = rows.frame[plan.time_column]
    times = times_of(column.cast(pl.Float64, strict=False) if column.dtype == pl.String else column)
    if np.isnan(times).all():
        raise InvalidInput(
            f'No value of "{plan.time_column}" reads as a date or a number. Choose another column.'
        )
    return times


def _kind_of(rows: _Rows, name: str) -> str:
    return next(spec.kind for spec in rows.specs if spec.name == name)


def _groups(rows: _Rows, plan: TrainingPlan) -> tuple[NDArray[np.uint64], str | None]:
    """What must stay together: rows of one customer, or rows that are identical but for identifiers."""
    names = [spec.name for spec in rows.columns]
    if not names:
        raise UnusableTarget(
            "No column is left to learn from: the table holds the target and identifiers only."
        )
    identical = rows.frame.select(names).hash_rows(seed=1).to_numpy()
    if plan.customer_column is None:
        return identical, None
    customer = rows.frame[plan.customer_column]
    if customer.drop_nulls().n_unique() >= customer.len() - customer.null_count():
        return identical, None
    by_customer = customer.hash(seed=2).to_numpy()
    return np.where(customer.is_null().to_numpy(), identical, by_customer), plan.customer_column


# Features


@dataclass(frozen=True)
class _Prepared:
    """Matrices of the three parts over the chosen features."""

    specs: tuple[ColumnSpec, ...]
    roles: Roles
    engineer: FeatureEngineer
    selector: FeatureSelector
    data: FitData
    test: Matrix
    test_labels: NDArray[np.int8]
    warnings: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class _Final:
    """The model that is measured and saved, with its own features."""

    prepared: _Prepared
    model: FittedModel
    refitted: bool


def _prepare(rows: _Rows, split: Split, plan: TrainingPlan, clock: _Clock, warnings: list[str]) -> _Prepared:
    clock.say("features", 0.05, "Making features")
    begun = clock.seconds()
    specs, dropped = _feature_columns(rows, split, plan)
    train = rows.frame[split.train]
    labels = rows.labels[split.train]
    specs, useless = choose_columns(train, specs, labels)
    if not specs:
        raise UnusableTarget("No column is left to learn from: all are constant, all distinct or left out.")
    roles = Roles(plan.customer_column, plan.time_column if split.kind == "time" else None)
    tick = _beat(clock, "features", 0.06, "Making features")
    engineer, matrix = fit_features(train, specs, roles, labels, seed=plan.seed, tick=tick)
    del train
    positions, repeated = choose_features(matrix, engineer.features)
    if not len(positions):
        raise UnusableTarget("No feature varies over the training rows; there is nothing to learn from.")
    names = tuple(engineer.features[position].name for position in positions)
    warnings += leak_warnings(matrix, engineer.features, labels)
    matrix = np.ascontiguousarray(matrix[:, positions])
    engineer = engineer.keeping(frozenset(names))
    selector = FeatureSelector(names, (*rows.dropped, *dropped, *useless, *repeated))
    where = selector.positions(engineer.features)
    valid, test = (
        np.ascontiguousarray(engineer.transform(rows.frame[part])[:, where])
        for part in (split.validation, split.test)
    )
    categorical = _categorical(engineer, where)
    data = FitData(matrix, labels, valid, rows.labels[split.validation], categorical)
    truth = rows.labels[split.test]
    seconds = clock.seconds() - begun
    return _Prepared(specs, roles, engineer, selector, data, test, truth, tuple(warnings), seconds)


def _categorical(engineer: FeatureEngineer, where: NDArray[np.int64]) -> tuple[int, ...]:
    features = engineer.features
    return tuple(at for at, position in enumerate(where) if features[position].kind == "level")


def _feature_columns(
    rows: _Rows, split: Split, plan: TrainingPlan
) -> tuple[tuple[ColumnSpec, ...], list[Dropped]]:
    left_out: dict[str, str] = {}
    if plan.time_column and _kind_of(rows, plan.time_column) != "datetime":
        left_out[plan.time_column] = "orders the rows: its values do not come back"
    if plan.customer_column and split.kind != "time":
        left_out[plan.customer_column] = "tells customers apart: those of the test rows are new"
    kept = tuple(spec for spec in rows.columns if spec.name not in left_out)
    return kept, [Dropped(name, reason) for name, reason in left_out.items()]


def _beat(clock: _Clock, stage: str, fraction: float, message: str) -> Callable[[], None]:
    return lambda: clock.say(stage, fraction, message, always=False)


# Search, calibration, test


def _search(prepared: _Prepared, plan: TrainingPlan, clock: _Clock) -> SearchResult:
    begun = clock.seconds()
    left = max(SEARCH_UNTIL * plan.budget_s - _reserve(prepared) - begun, 0.0)
    refit = _affords_refit(prepared, left)
    end = left * (1 - MORE_TIME * REFIT_SHARE) - MORE_TIME * prepared.seconds if refit else left
    longest = REFIT_SHARE * left if refit else None

    def report(message: str) -> None:
        share = (clock.seconds() - begun) / max(plan.budget_s - begun, 1e-9)
        clock.say("search", 0.1 + 0.8 * min(share, 1.0), message, always=False)

    deadline = clock.started + begun + end
    return search_models(prepared.data, seed=plan.seed, deadline=deadline, longest_fit=longest, report=report)


def _affords_refit(prepared: _Prepared, left: float) -> bool:
    """Whether to keep time for a second fit: it helps small data, and large data needs the time to be fitted once."""
    return len(prepared.data.train) <= REFIT_ROWS and MORE_TIME * prepared.seconds <= 0.3 * left


def _reserve(prepared: _Prepared) -> float:
    """Seconds for the measurement at the end, which grows with the test rows: 200 resamples of each."""
    return 0.2 + 2e-5 * len(prepared.test_labels)


@dataclass(frozen=True)
class _Cuts:
    """Probabilities from which the risk is HIGH and MEDIUM."""

    high: float
    medium: float


def _calibrate(
    rows: _Rows, split: Split, prepared: _Prepared, best: Candidate, plan: TrainingPlan, clock: _Clock
) -> tuple[Calibration, _Cuts]:
    clock.say("calibrate", 0.9, "Calibrating on the validation rows")
    labels, margins = prepared.data.valid_labels, best.model.predict_margin(prepared.data.valid)
    calibration = fit_calibration(labels, margins)
    valid = calibration.probabilities(margins)
    high = choose_threshold(labels, valid, plan.goal, days=_days(rows, split.validation, plan))
    medium = alert_cut(valid, MEDIUM_ALERTS * float(np.sum(valid >= high)))
    return calibration, _Cuts(high, min(medium, high))


def _refit(
    rows: _Rows, split: Split, prepared: _Prepared, best: Candidate, plan: TrainingPlan, clock: _Clock
) -> _Final:
    """The best settings fitted on training and validation rows together, when the budget allows it."""
    expected = MORE_TIME * (prepared.seconds + best.seconds)
    too_late = clock.seconds() + expected + _reserve(prepared) > SEARCH_UNTIL * plan.budget_s
    if too_late or len(prepared.data.train) > REFIT_ROWS:
        return _Final(prepared, best.model, refitted=False)
    tick = _beat(clock, "calibrate", 0.92, "Fitting the best settings on training and validation rows")
    both = np.sort(np.concatenate([split.train, split.validation]))
    labels = rows.labels[both]
    engineer, matrix = fit_features(
        rows.frame[both], prepared.specs, prepared.roles, labels, seed=plan.seed, tick=tick
    )
    names = {feature.name for feature in engineer.features}
    chosen = tuple(name for name in prepared.selector.features if name in names)
    selector = replace(prepared.selector, features=chosen)
    matrix = np.ascontiguousarray(matrix[:, selector.positions(engineer.features)])
    engineer = engineer.keeping(frozenset(chosen))
    where = selector.positions(engineer.features)
    test = np.ascontiguousarray(engineer.transform(rows.frame[split.test])[:, where])
    data = FitData(matrix, labels, matrix[:1], labels[:1], _categorical(engineer, where))
    params = {**best.params, "fixed_rounds": round(MORE_ROUNDS * best.model.rounds)}
    model = family(best.family).fit(
        data, params, seed=plan.seed, deadline=clock.started + SEARCH_UNTIL * plan.budget_s, tick=tick
    )
    again = replace(prepared, engineer=engineer, selector=selector, data=data, test=test)
    return _Final(again, model, refitted=True)


def _finish(
    rows: _Rows,
    split: Split,
    final: _Final,
    found: SearchResult,
    calibration: Calibration,
    cuts: _Cuts,
    plan: TrainingPlan,
    destination: Path,
    clock: _Clock,
) -> TrainingReport:
    clock.say("test", 0.94, "Measuring on the test rows")
    test = calibration.probabilities(final.model.predict_margin(final.prepared.test))
    content = _report(rows, split, final, found, plan, test, cuts.high)
    content |= {"medium_threshold": cuts.medium, "calibration": calibration.method}
    clock.say("save", 0.97, "Saving the model")
    content["seconds"] = round(clock.seconds(), 2)
    _save(rows, final, calibration, content, plan, destination)
    clock.say("save", 1.0, "Saved")
    return TrainingReport(content)


def _days(rows: _Rows, part: NDArray[np.int64], plan: TrainingPlan) -> float | None:
    """Days from the first to the last row of a part; None without dates."""
    if plan.time_column is None or rows.frame[plan.time_column].dtype != pl.Datetime("us"):
        return None
    times = times_of(rows.frame[plan.time_column])[part]
    return max(float(np.nanmax(times) - np.nanmin(times)) / 86_400, 1 / 24)


def _report(
    rows: _Rows,
    split: Split,
    final: _Final,
    found: SearchResult,
    plan: TrainingPlan,
    test: NDArray[np.float64],
    threshold: float,
) -> dict[str, Any]:
    prepared = final.prepared
    labels = prepared.test_labels
    intervals = bootstrap_intervals(labels, test, threshold, seed=plan.seed)
    parts = split.parts()
    return {
        "format": FORMAT,
        "target": plan.target,
        "positive_value": rows.positive_value,
        "family": found.best.family,
        "params": dict(found.best.params),
        "fitted_on": ["train", "validation"] if final.refitted else ["train"],
        "metrics": measure(labels, test, threshold),
        "intervals": {name: list(bounds) for name, bounds in intervals.items()},
        "threshold": threshold,
        "goal": plan.goal.to_dict(),
        "confusion": confusion(labels, test, threshold),
        "curves": {
            "pr": precision_recall_curve(labels, test),
            "roc": roc_curve(labels, test),
            "calibration": calibration_curve(labels, test),
        },
        "histogram": score_histogram(labels, test),
        "baseline": _baseline(prepared),
        "importances": _importances(final),
        "leaderboard": list(found.leaderboard),
        "dropped": [asdict(item) for item in prepared.selector.dropped],
        "warnings": [*prepared.warnings, *_warnings(test, labels)],
        "rows": {name: len(part) for name, part in parts.items()},
        "fraud_rate": {name: float(rows.labels[part].mean()) for name, part in parts.items()},
        "split": split.to_dict() | {"cuts": _shown_cuts(rows, split, plan)},
        "features": len(prepared.selector.features),
        "budget_s": plan.budget_s,
        "seed": plan.seed,
        "versions": _versions(),
    }


def _baseline(prepared: _Prepared) -> dict[str, Any]:
    data = prepared.data
    at, found = best_single(data.train, data.train_labels, prepared.test, prepared.test_labels)
    return {
        "fraud_rate": float(prepared.test_labels.mean()),
        "best_feature": prepared.selector.features[at],
        "best_feature_average_precision": found,
    }


def _importances(final: _Final) -> list[dict[str, Any]]:
    by_name = {feature.name: feature for feature in final.prepared.engineer.features}
    names, shares = final.prepared.selector.features, final.model.importances()
    ranked = sorted(zip(names, shares, strict=True), key=lambda item: -item[1])
    return [
        {"column": by_name[name].column, "feature": name, "share": round(float(share), 6)}
        for name, share in ranked
    ]


def _warnings(test: NDArray[np.float64], labels: NDArray[np.int8]) -> list[str]:
    warnings = []
    if average_precision(labels, test) < 1.5 * float(labels.mean()):
        warnings.append("The model ranks the test rows little better than chance; do not rely on its scores.")
    if int(labels.sum()) < FEW_POSITIVES:
        warnings.append(f"The test part holds only {int(labels.sum())} frauds; see the intervals.")
    return warnings


def _shown_cuts(rows: _Rows, split: Split, plan: TrainingPlan) -> list[str] | None:
    """The first time of the validation and of the test part, as ISO 8601 or as the number it is."""
    if split.cuts is None or plan.time_column is None:
        return None
    if rows.frame[plan.time_column].dtype != pl.Datetime("us"):
        return [f"{cut:.15g}" for cut in split.cuts]
    zone = datetime.UTC
    return [datetime.datetime.fromtimestamp(cut, zone).replace(tzinfo=None).isoformat() for cut in split.cuts]


def _versions() -> dict[str, str]:
    found = {}
    for package in sorted({*PACKAGES, *(name for facts in FAMILIES.values() for name in facts.packages)}):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


# Saving


def _save(
    rows: _Rows,
    final: _Final,
    calibration: Calibration,
    content: dict[str, Any],
    plan: TrainingPlan,
    destination: Path,
) -> None:
    destination.mkdir(parents=True, exist_ok=True)
    prepared, model_file = final.prepared, final.model.save(destination)
    files = [model_file, prepared.selector.save(destination), *prepared.engineer.save(destination)]
    specs = {spec.name: spec for spec in rows.specs}
    columns = [specs[name].to_dict() for name in prepared.engineer.columns]
    _write_json(
        destination / FEATURES_FILE, {"columns": columns, "features": list(prepared.selector.features)}
    )
    _write_json(destination / REPORT_FILE, content)
    write_card(destination, content)
    passed_on = dict.fromkeys([*plan.identifier_columns, plan.customer_column, plan.time_column])
    model = {
        "format": FORMAT,
        "family": final.model.family,
        "model_file": model_file,
        "files": [*files, FEATURES_FILE, REPORT_FILE, "model_card.md"],
        "target": plan.target,
        "positive_value": content["positive_value"],
        "threshold": content["threshold"],
        "medium_threshold": content["medium_threshold"],
        "calibration": calibration.to_dict(),
        "passed_on": [name for name in passed_on if name is not None],
        "customer_column": plan.customer_column,
        "time_column": plan.time_column,
        "usual_fraud_rate": content["fraud_rate"]["train"],
    }
    _write_json(destination / MODEL_FILE, model)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False), encoding="utf-8")
