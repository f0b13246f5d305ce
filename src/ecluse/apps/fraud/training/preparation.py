"""Turn labelled rows into the matrices that models are fitted, chosen and measured on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.fraud.clock import Stopwatch, with_heartbeat
from ecluse.apps.fraud.errors import UnusableTarget
from ecluse.apps.fraud.evaluation.split import Rows, Split, shares_later
from ecluse.apps.fraud.families import FitData
from ecluse.apps.fraud.features.features import (
    FeatureEngineer,
    FeaturePlan,
    FittingContext,
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


@dataclass(frozen=True)
class FeatureMaker:
    """Makes the features of one training, on whichever rows: the same columns, roles, seed and `salt` each time.

    `watch` counts the seconds, values are remembered under `salt`, and models may use so many `threads`.
    """

    rows: LabelledRows
    split: Split
    plan: TrainingPlan
    watch: Stopwatch
    threads: int
    salt: int

    def prepare(
        self,
        fit: Rows,
        held: Rows,
        *,
        tick: Tick,
        together: FeaturePlan | None = None,
        groups: Groups | None = None,
    ) -> Prepared:
        """Fit features on the rows `fit` and make them for the rows `held`, which may be none.

        `together` are the columns to take together, as found on other rows of the table; else they are looked for
        as `groups` says, which `seconds` leaves out. Raises UnusableTarget when no feature is left.
        """
        begun = self.watch.seconds(exact=True)
        specs, dropped = _feature_columns(self.rows, self.split, self.plan)
        frame, labels = self.rows.frame[fit], self.rows.labels[fit]
        specs, useless = choose_columns(frame, specs, labels, tick)
        if not specs:
            raise UnusableTarget(
                _("No column is left to learn from: all are constant, all distinct or left out.")
            )
        engineer, matrix = fit_features(
            frame, specs, self._roles(), labels, seed=self.plan.seed, plan=together,
            context=FittingContext(tick, self.salt, groups),
        )  # fmt: skip
        del frame
        positions, repeated = choose_features(matrix, engineer.features)
        if not len(positions):
            raise UnusableTarget(
                _("No feature varies over the training rows; there is nothing to learn from.")
            )
        names = tuple(engineer.features[position].name for position in positions)
        matrix = np.ascontiguousarray(matrix[:, positions])
        engineer = engineer.keeping(frozenset(names))
        selector = FeatureSelector(names, (*self.rows.dropped, *dropped, *useless, *repeated))
        data = self._data(engineer, selector, matrix, (fit, held), tick)
        empty = np.zeros((0, len(names)), dtype=np.float32)
        seconds = self.watch.seconds(exact=True) - begun - (groups.spent if groups is not None else 0.0)
        return Prepared(engineer, selector, data, seconds, empty, self.rows.labels[:0])

    def _roles(self) -> Roles:
        return Roles(self.plan.customer_column, self.plan.time_column if self.split.kind == "time" else None)

    def _data(
        self,
        engineer: FeatureEngineer,
        selector: FeatureSelector,
        matrix: Matrix,
        parts: tuple[Rows, Rows],
        tick: Tick,
    ) -> FitData:
        """Pair the matrix of the rows fitted on with that of the rows held out."""
        fit, held = parts
        labels, where = self.rows.labels[fit], selector.positions(engineer.features)
        if not len(held):
            # A family still wants some rows to look at; they are then of those it fits.
            other, other_labels = matrix[:1], labels[:1]
        else:
            other = with_heartbeat(lambda: _matrix(engineer, self.rows.frame[held], where), tick)
            other_labels = self.rows.labels[held]
        ages = None if self.split.times is None else shares_later(self.split.times[fit])
        categorical = _categorical(engineer, where)
        return FitData(matrix, labels, other, other_labels, categorical, self.threads, ages=ages)


def measured(prepared: Prepared, rows: LabelledRows, split: Split, *, tick: Tick) -> Prepared:
    """Add the matrix of the test rows, and what there is to warn of in the rows fitted on."""
    test = prepared.test
    if len(split.test):
        test = with_heartbeat(lambda: prepared.transform(rows.frame[split.test]), tick)
    by_name = {feature.name: feature for feature in prepared.engineer.features}
    features = tuple(by_name[name] for name in prepared.selector.features)
    warnings = leak_warnings(prepared.data.train, features, prepared.data.train_labels, tick)
    return replace(prepared, test=test, test_labels=rows.labels[split.test], warnings=tuple(warnings))


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
