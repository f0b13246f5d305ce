"""Draw the folds of a training and make their features: as many as its rows and seconds allow."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from ecluse.apps.fraud.clock import Clock
from ecluse.apps.fraud.evaluation.calibration import Calibration
from ecluse.apps.fraud.evaluation.split import FOLDS, Fold, Rows, Split, draw_folds
from ecluse.apps.fraud.features.features import Groups, new_salt
from ecluse.apps.fraud.performance.parts import Refit
from ecluse.apps.fraud.risk import Thresholds
from ecluse.apps.fraud.training.kept import Kept
from ecluse.apps.fraud.training.labelled import LabelledRows
from ecluse.apps.fraud.training.plan import TrainingPlan
from ecluse.apps.fraud.training.preparation import FeatureMaker, Prepared
from ecluse.apps.fraud.training.record import Course, TrainingRecord
from ecluse.apps.fraud.training.search import Blend, SearchResult
from ecluse.sentences import _

# Which columns to take together is looked for until then, as a share of the budget.
TOGETHER_UNTIL = 0.15
FEATURE_SHARE = 0.4
MORE_TIME = 1.4
# Small data is fitted on several folds side by side and then once whole; large data once.
SIDE_BY_SIDE_ROWS = 200_000
REFIT_ROWS = 200_000
MANY_ROWS = 60_000
# With so few frauds one draw of folds is partly luck.
FEW_FRAUDS = 100
REPEATS = 2


@dataclass(frozen=True)
class Training:
    """What every step of one training works with: its rows and parts, its plan, its clock and what was done before.

    `digest` is that of the table; `repeat` the record of the training that is made again, if it is.
    """

    digest: str
    rows: LabelledRows
    split: Split
    plan: TrainingPlan
    clock: Clock
    kept: Kept
    repeat: TrainingRecord | None


@dataclass(frozen=True)
class Chosen:
    """What a search ended with: the folds it was made on, the blend, its scale and its thresholds."""

    course: PreparedFolds
    search: SearchResult
    blend: Blend
    calibration: Calibration
    thresholds: Thresholds


@dataclass(frozen=True)
class PreparedFolds:
    """The folds with their features, and whether the chosen settings are fitted again on all of their rows.

    `workers` fits run side by side. `fits` is how often they are fitted again: for the measurement, and for use;
    `for_use` says what is known of the latter by now. `groups` are those of features that helped.
    """

    maker: FeatureMaker
    folds: tuple[Fold, ...]
    prepared: tuple[Prepared, ...]
    refit: bool
    workers: int
    fits: int
    for_use: Refit
    groups: frozenset[str] | None

    def held(self, folds: int) -> Rows:
        """Return the rows that the first panel of so many folds held out, in the order of their margins."""
        return np.concatenate([fold.held for fold in self.folds[:folds] if fold.panel == 0])

    @property
    def growth(self) -> float:
        """Return how many times the rows of a fold the last fit has."""
        fold = self.folds[0]
        return (len(fold.fit) + len(fold.held)) / len(fold.fit) if self.refit else 0.0


def prepare_folds(training: Training) -> PreparedFolds:
    """Make the features of as many folds as the size and the seconds allow, or as it was decided before."""
    rows, split, plan, clock = training.rows, training.split, training.plan, training.clock
    clock.say("features", 0.05, _("Making features"))
    tick = clock.tick("features", 0.06, _("Making features"))
    cores, size = os.cpu_count() or 1, len(split.learning)
    side_by_side = size <= SIDE_BY_SIDE_ROWS
    before = training.kept.course() if training.repeat is None else training.repeat.course
    threads = before.threads if before is not None else 1 if side_by_side else cores
    salt = before.salt if before is not None else new_salt()
    groups = Groups(lambda: clock.watch.seconds() > TOGETHER_UNTIL * plan.budget_s, seconds=clock.seconds)
    if before is not None and before.groups is not None:
        groups = Groups(chosen=frozenset(before.groups))
    count = _fold_count(rows, split) if training.repeat is None else training.repeat.folds
    folds = draw_folds(split, rows.labels, count=count, seed=plan.seed)
    maker = FeatureMaker(rows, split, plan, clock.watch, threads, salt)
    first = maker.prepare(folds[0].fit, folds[0].held, tick=tick, groups=groups)
    prepared = [first]
    for fold in folds[1:]:
        # Features are made once more for the last fit, and must leave most of the time to models.
        late = clock.seconds() + 2 * prepared[-1].seconds > FEATURE_SHARE * plan.budget_s
        if late if before is None else len(prepared) == before.folds:
            break
        prepared.append(maker.prepare(fold.fit, fold.held, tick=tick, together=first.engineer.plan))
    left = plan.budget_s - clock.seconds()
    refit = size <= REFIT_ROWS and MORE_TIME * prepared[-1].seconds < FEATURE_SHARE * left
    refit = refit if before is None else before.refit
    prepared = prepared if refit else [first]
    chosen = None if groups.chosen is None else tuple(sorted(groups.chosen))
    training.kept.keep_course(Course(threads, salt, chosen, len(prepared), refit))
    for_use = _for_use(plan, split, refit)
    return PreparedFolds(
        maker,
        folds[: len(prepared)],
        tuple(prepared),
        refit,
        cores if side_by_side else 1,
        (1 + (for_use == "done")) if refit else 0,
        for_use,
        groups.chosen,
    )


def _for_use(plan: TrainingPlan, split: Split, refit: bool) -> Refit:
    """Tell whether the measured settings are to be fitted on all rows, or why not."""
    if not plan.refit:
        return "unwanted"
    if not refit:
        return "many_rows" if len(split.learning) > REFIT_ROWS else "slow_features"
    return "done" if len(split.test) else "all_learned"


def _fold_count(rows: LabelledRows, split: Split) -> int:
    size, frauds = len(split.learning), rows.distinct_frauds(split.learning)
    if size > REFIT_ROWS:
        return 1
    if size > MANY_ROWS:
        return FOLDS // 2
    return FOLDS * REPEATS if frauds < FEW_FRAUDS else FOLDS
