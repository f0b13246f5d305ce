"""Turn labelled rows into the matrices that models are fitted, chosen and measured on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.errors import UnusableTarget
from ecluse.fraud.clock import Clock, with_heartbeat
from ecluse.fraud.columns import ColumnSpec
from ecluse.fraud.features import FeatureEngineer, Matrix, Roles, fit_features
from ecluse.fraud.labelled import LabelledRows, kind_of
from ecluse.fraud.models import FitData
from ecluse.fraud.plan import TrainingPlan
from ecluse.fraud.selection import Dropped, FeatureSelector, choose_columns, choose_features, leak_warnings
from ecluse.fraud.split import Split


@dataclass(frozen=True)
class Prepared:
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


def prepare(
    rows: LabelledRows, split: Split, plan: TrainingPlan, clock: Clock, warnings: list[str]
) -> Prepared:
    """Features fitted on the training part and made for the others. Raises UnusableTarget when none is left."""
    clock.say("features", 0.05, "Making features")
    begun = clock.seconds()
    specs, dropped = _feature_columns(rows, split, plan)
    train = rows.frame[split.train]
    labels = rows.labels[split.train]
    tick = clock.tick("features", 0.06, "Making features")
    specs, useless = choose_columns(train, specs, labels, tick)
    if not specs:
        raise UnusableTarget("No column is left to learn from: all are constant, all distinct or left out.")
    roles = Roles(plan.customer_column, plan.time_column if split.kind == "time" else None)
    engineer, matrix = fit_features(train, specs, roles, labels, seed=plan.seed, tick=tick)
    del train
    positions, repeated = choose_features(matrix, engineer.features)
    if not len(positions):
        raise UnusableTarget("No feature varies over the training rows; there is nothing to learn from.")
    names = tuple(engineer.features[position].name for position in positions)
    warnings += leak_warnings(matrix, engineer.features, labels, tick)
    matrix = np.ascontiguousarray(matrix[:, positions])
    engineer = engineer.keeping(frozenset(names))
    selector = FeatureSelector(names, (*rows.dropped, *dropped, *useless, *repeated))
    where = selector.positions(engineer.features)
    valid, test = with_heartbeat(
        lambda: [_matrix(engineer, rows.frame[part], where) for part in (split.validation, split.test)], tick
    )
    categorical = _categorical(engineer, where)
    data = FitData(matrix, labels, valid, rows.labels[split.validation], categorical)
    truth = rows.labels[split.test]
    seconds = clock.seconds() - begun
    return Prepared(specs, roles, engineer, selector, data, test, truth, tuple(warnings), seconds)


def prepare_again(
    rows: LabelledRows, split: Split, prepared: Prepared, seed: int, tick: Callable[[], None]
) -> Prepared:
    """The same features fitted on training and validation rows together, without rows to validate on."""
    both = np.sort(np.concatenate([split.train, split.validation]))
    labels = rows.labels[both]
    engineer, matrix = fit_features(
        rows.frame[both], prepared.specs, prepared.roles, labels, seed=seed, tick=tick
    )
    names = {feature.name for feature in engineer.features}
    chosen = tuple(name for name in prepared.selector.features if name in names)
    selector = replace(prepared.selector, features=chosen)
    matrix = np.ascontiguousarray(matrix[:, selector.positions(engineer.features)])
    engineer = engineer.keeping(frozenset(chosen))
    where = selector.positions(engineer.features)
    test = with_heartbeat(lambda: _matrix(engineer, rows.frame[split.test], where), tick)
    data = FitData(matrix, labels, matrix[:1], labels[:1], _categorical(engineer, where))
    return replace(prepared, engineer=engineer, selector=selector, data=data, test=test)


def _matrix(engineer: FeatureEngineer, frame: pl.DataFrame, where: NDArray[np.int64]) -> Matrix:
    return np.ascontiguousarray(engineer.transform(frame)[:, where])


def _categorical(engineer: FeatureEngineer, where: NDArray[np.int64]) -> tuple[int, ...]:
    features = engineer.features
    return tuple(at for at, position in enumerate(where) if features[position].kind == "level")


def _feature_columns(
    rows: LabelledRows, split: Split, plan: TrainingPlan
) -> tuple[tuple[ColumnSpec, ...], list[Dropped]]:
    left_out: dict[str, str] = {}
    if plan.time_column and kind_of(rows, plan.time_column) != "datetime":
        left_out[plan.time_column] = "orders the rows: its values do not come back"
    if plan.customer_column and split.kind != "time":
        left_out[plan.customer_column] = "tells customers apart: those of the test rows are new"
    kept = tuple(spec for spec in rows.columns if spec.name not in left_out)
    return kept, [Dropped(name, reason) for name, reason in left_out.items()]
