"""Turn labelled rows into the matrices that models are fitted, chosen and measured on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.fraud.clock import Stopwatch, with_heartbeat
from ecluse.apps.fraud.evaluation.split import Rows, Split
from ecluse.apps.fraud.families import FitData
from ecluse.apps.fraud.features.features import (
    FeatureEngineer,
    FeaturePlan,
    Groups,
    Matrix,
    Roles,
    fit_features,
)
from ecluse.apps.fraud.features.selection import (
    Dropped,
    FeatureSelector,
    choose_columns,
    choose_features,
    leak_warnings,
)
from ecluse.apps.fraud.tables.columns import ColumnSpec
from ecluse.apps.fraud.training.labelled import LabelledRows, kind_of
from ecluse.apps.fraud.training.plan import TrainingPlan
from ecluse.errors import UnusableTarget
from ecluse.sentences import _

Tick = Callable[[], None]  # called between columns; may raise to cancel


@dataclass(frozen=True)
class Prepared:
    """Features fitted on some rows, with their matrix in `data.train` and that of other rows in `data.valid`."""

    engineer: FeatureEngineer
    selector: FeatureSelector
    data: FitData
    seconds: float
    test: Matrix
    test_labels: NDArray[np.int8]
    warnings: tuple[str, ...] = ()

    def transform(self, frame: pl.DataFrame) -> Matrix:
        """(rows, features) float32 of the features the model sees."""
        return _matrix(self.engineer, frame, self.selector.positions(self.engineer.features))


def prepare(
    rows: LabelledRows,
    split: Split,
    plan: TrainingPlan,
    fit: Rows,
    held: Rows,
    *,
    threads: int,
    tick: Tick,
    watch: Stopwatch,
    salt: int,
    together: FeaturePlan | None = None,
    groups: Groups | None = None,
) -> Prepared:
    """Features fitted on the rows `fit` and made for the rows `held`, which may be none.

    `together` are the columns to take together, as found on other rows of the table; else they are looked for
    as `groups` says, which `seconds` leaves out. `watch` counts the seconds, and values are remembered under `salt`.
    Raises UnusableTarget when no feature is left.
    """
    begun = watch.seconds(exact=True)
    specs, dropped = _feature_columns(rows, split, plan)
    frame, labels = rows.frame[fit], rows.labels[fit]
    specs, useless = choose_columns(frame, specs, labels, tick)
    if not specs:
        raise UnusableTarget(
            _("No column is left to learn from: all are constant, all distinct or left out.")
        )
    roles = Roles(plan.customer_column, plan.time_column if split.kind == "time" else None)
    engineer, matrix = fit_features(
        frame, specs, roles, labels, seed=plan.seed, tick=tick, plan=together, salt=salt, groups=groups
    )
    del frame
    positions, repeated = choose_features(matrix, engineer.features)
    if not len(positions):
        raise UnusableTarget(_("No feature varies over the training rows; there is nothing to learn from."))
    names = tuple(engineer.features[position].name for position in positions)
    matrix = np.ascontiguousarray(matrix[:, positions])
    engineer = engineer.keeping(frozenset(names))
    selector = FeatureSelector(names, (*rows.dropped, *dropped, *useless, *repeated))
    where = selector.positions(engineer.features)
    # Without rows to hold out a family still wants some to look at; they are then those it fits.
    other = (
        with_heartbeat(lambda: _matrix(engineer, rows.frame[held], where), tick) if len(held) else matrix[:1]
    )
    truth = rows.labels[held] if len(held) else labels[:1]
    data = FitData(matrix, labels, other, truth, _categorical(engineer, where), threads)
    empty = np.zeros((0, len(names)), dtype=np.float32)
    seconds = watch.seconds(exact=True) - begun - (groups.spent if groups is not None else 0.0)
    return Prepared(engineer, selector, data, seconds, empty, rows.labels[:0])


def measured(prepared: Prepared, rows: LabelledRows, split: Split, *, tick: Tick) -> Prepared:
    """With the matrix of the test rows, and what there is to warn of in the rows fitted on."""
    test = prepared.test
    if len(split.test):
        test = with_heartbeat(lambda: prepared.transform(rows.frame[split.test]), tick)
    known = {feature.name: feature for feature in prepared.engineer.features}
    features = tuple(known[name] for name in prepared.selector.features)
    told = leak_warnings(prepared.data.train, features, prepared.data.train_labels, tick)
    return replace(prepared, test=test, test_labels=rows.labels[split.test], warnings=tuple(told))


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
        left_out[plan.time_column] = _("orders the rows: its values do not come back")
    if plan.customer_column and split.kind != "time":
        left_out[plan.customer_column] = _("tells customers apart: those of the test rows are new")
    kept = tuple(spec for spec in rows.columns if spec.name not in left_out)
    return kept, [Dropped(name, reason) for name, reason in left_out.items()]
