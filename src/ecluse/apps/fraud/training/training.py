"""Train a fraud model from a labelled table, and measure it on rows it has never seen."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from ecluse.apps.fraud.clock import Clock, Effort, Progress, with_heartbeat
from ecluse.apps.fraud.evaluation.calibration import Calibration, fit_calibration
from ecluse.apps.fraud.evaluation.metrics import alert_cut, choose_threshold
from ecluse.apps.fraud.evaluation.split import FOLDS, Rows, draw_folds
from ecluse.apps.fraud.families import FittedModel
from ecluse.apps.fraud.families.blend import Member, blend
from ecluse.apps.fraud.goal import Goal
from ecluse.apps.fraud.performance.parts import Refit
from ecluse.apps.fraud.performance.trained import TrainingReport
from ecluse.apps.fraud.risk import Thresholds
from ecluse.apps.fraud.sample import SIMULATED, is_sample
from ecluse.apps.fraud.training.blending import MOST_MEMBERS
from ecluse.apps.fraud.training.folds import (
    MORE_TIME,
    REPEATS,
    Chosen,
    PreparedFolds,
    Training,
    prepare_folds,
)
from ecluse.apps.fraud.training.kept import Kept, identity
from ecluse.apps.fraud.training.labelled import days_between, read_labelled, split_labelled, without_giveaways
from ecluse.apps.fraud.training.plan import TrainingPlan
from ecluse.apps.fraud.training.preparation import Prepared, measured
from ecluse.apps.fraud.training.record import TrainingRecord
from ecluse.apps.fraud.training.report import Conduct, FinalModel, TrainedModel, report_of
from ecluse.apps.fraud.training.saving import (
    OVERRUN,
    FinishedTraining,
    effort_of,
    measured_rows,
    record_of,
    save_training,
    sketch_of,
    slowness_warnings,
    tested_digest,
)
from ecluse.apps.fraud.training.search import (
    UNHEARD,
    Blend,
    FoldData,
    Further,
    Limits,
    SearchResult,
    SearchSetting,
    Tried,
    blend_of,
    fit_on_all,
    repeat_models,
    search_models,
)
from ecluse.checkpoints import Checkpoints
from ecluse.sentences import _
from ecluse.tabular.dataset import Table

__all__ = ["Goal", "Progress", "TrainingPlan", "TrainingReport", "train"]


SEARCH_UNTIL = 0.97
# A model that starts later would not be ready in time, whatever others took.
LAST_START = 0.9
MOST_MEMBERS_LARGE = 2
#: Rows that are looked at to tell whether a table is the sample.
_LOOKED_AT = 500
NO_ROWS = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class SearchControl:
    """What may end a search, and who hears of it.

    `stop` is asked between fits and rounds; once it is true the search ends, and the best so far is calibrated,
    measured and saved. `tried` hears the average precision of each candidate on the rows its folds held out.
    """

    stop: Callable[[], bool] = lambda: False
    tried: Tried = UNHEARD


def train(
    table: Table,
    plan: TrainingPlan,
    destination: Path,
    progress: Progress,
    *,
    control: SearchControl = SearchControl(),
    repeat: TrainingRecord | None = None,
    checkpoints: Checkpoints | None = None,
) -> TrainingReport:
    """Read the table, train with `plan.budget_s` seconds of work, and write the model's files into `destination`.

    Work is what `Stopwatch` counts: on a machine with nothing else to do its seconds are those of the wall clock,
    beside other programs the same work takes longer.

    Models are fitted on folds of the training and validation parts, and chosen, blended, calibrated and given
    a threshold by what they say of the rows each fold held out. The chosen settings are then fitted on both
    parts whole and measured on the test part. With `plan.refit` they are fitted once more, with the same number
    of rounds, on all rows, and that model is written; else it is the one that was measured. Large tables have
    one fold, the split itself, and its models are kept.

    `control` may end the search early; `progress` may raise to cancel instead.

    With `repeat` the training is made again as its record says, by no clock: the files come out the same.

    With `checkpoints` it goes on where a worker before this one was stopped, with the budget that was left: what was
    fitted is not fitted again, `tried` hears the candidates of before first, and the record is of the whole.

    Raises:
        CannotRepeat: the table or a library is another than it was.
        UnusableTarget: the target is missing, or has not two usable classes.
        InvalidInput: another named column is missing or does not fit its role.
        TrainingTooSlow: it has taken many times its budget on the wall clock.
    """
    digest = digest_of(table.path)
    if repeat is not None:
        repeat.expect(digest)
        plan = TrainingPlan.from_dict(repeat.plan)
    clock = Clock(plan.budget_s if repeat is None else float("inf"), progress)
    # Fits run side by side, one on each core: threads below them would only wait for each other.
    with threadpool_limits(1, user_api="blas"):
        kept = Kept(checkpoints, identity(digest, plan, repeat), clock.watch, destination.parent)
        rows = read_labelled(table, plan, clock)
        split, split_warnings = split_labelled(rows, plan)
        rows = with_heartbeat(
            lambda: without_giveaways(rows, split, plan),
            clock.tick("read", 0.04, _("Looking for columns that give the label away")),
        )
        simulated = is_sample(table.head(_LOOKED_AT))
        warnings = (*([SIMULATED] if simulated else []), *rows.warnings, *split_warnings)
        training = Training(digest, rows, split, plan, clock, kept, repeat)
        return _train(training, control, destination, warnings, simulated)


def _train(
    training: Training, control: SearchControl, destination: Path, warnings: tuple[str, ...], simulated: bool
) -> TrainingReport:
    clock, rows = training.clock, training.rows
    course = prepare_folds(training)
    search = _search(training, course, control)
    blend = _choose(course, search, clock)
    calibration, thresholds = _calibrate(training, course, search, blend)
    chosen = Chosen(course, search, blend, calibration, thresholds)
    begun = clock.seconds()
    final = _fit_final(training, chosen)
    # The fit for use is the same on more rows, so that what the measured one took tells what it will.
    again = (clock.seconds() - begun) * len(rows.labels) / len(training.split.learning)
    clock.say("test", 0.94, _("Measuring on the test rows"))
    measured = measured_rows(training, chosen, final)
    trained = TrainedModel(
        rows, training.split, training.plan, search, blend, final, calibration.method, thresholds,
        warnings, simulated,
    )  # fmt: skip
    measured_by_now = Conduct(effort_of(training, search), course.for_use, tested_digest(training, measured))
    report = with_heartbeat(
        lambda: report_of(trained, measured, measured_by_now),
        clock.tick("test", 0.95, _("Measuring on the test rows")),
    )
    refit, for_use = _fit_for_use(training, chosen, again)
    clock.say("save", 0.97, _("Saving the model"))
    spent = clock.watch.effort() if training.repeat is None else Effort(**training.repeat.spent)
    report = replace(
        report,
        refit=refit,
        refitted=for_use is not None,
        seconds=round(spent.wall, 2),
        effort=effort_of(training, search, spent),
        warnings=(*report.warnings, *slowness_warnings(training.plan, spent)),
    )
    prepared, model = for_use or (final.prepared, final.model)
    sketch = sketch_of(training, prepared, measured.probabilities, report)
    record = record_of(training, chosen, report, spent)
    saved = FinishedTraining(training, prepared, model, calibration, report, sketch, record)
    save_training(saved, destination)
    clock.say("save", 1.0, _("Saved"))
    return report


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _search(training: Training, course: PreparedFolds, control: SearchControl) -> SearchResult:
    plan, clock = training.plan, training.clock
    begun = clock.seconds()
    again = course.fits * MORE_TIME * course.prepared[-1].seconds
    left = max(SEARCH_UNTIL * plan.budget_s - _reserve(course) - again - begun, 0.0)

    def report(message: str) -> None:
        share = (clock.seconds() - begun) / max(plan.budget_s - begun, 1e-9)
        clock.say("search", 0.1 + 0.8 * min(share, 1.0), message, always=False)

    folds = [
        FoldData(made.data, fold.panel) for made, fold in zip(course.prepared, course.folds, strict=True)
    ]
    setting = SearchSetting(clock.watch, report, course.workers, control.stop, control.tried, training.kept)
    if training.repeat is not None:
        return repeat_models(folds, training.repeat, setting)
    clock.watch.wanted = course.workers if course.workers > 1 else course.prepared[0].data.threads
    result = search_models(
        folds,
        setting,
        seed=plan.seed,
        limits=Limits(
            begun + left,
            last_start=LAST_START * plan.budget_s,
            refits=course.fits * MORE_TIME * course.growth,
            refit=MORE_TIME * course.growth,
            latest=OVERRUN * plan.budget_s - _reserve(course) - again / max(course.fits, 1),
        ),
        more=_further(training, course, lambda: report(_("Fitting the best on further folds"))),
    )
    clock.watch.wanted = 1
    return result


def _further(training: Training, course: PreparedFolds, tick: Callable[[], None]) -> Further | None:
    """Draw folds once more for a small table; not by time, where there is no other draw."""
    split = training.split
    if split.times is not None or not course.refit or len(course.folds) != FOLDS:
        return None
    count = FOLDS * REPEATS
    drawn = draw_folds(split, training.rows.labels, count=count, seed=training.plan.seed)[FOLDS:]

    def prepared() -> list[FoldData]:
        together = course.prepared[0].engineer.plan
        return [
            FoldData(course.maker.prepare(fold.fit, fold.held, tick=tick, together=together).data, fold.panel)
            for fold in drawn
        ]

    seconds = len(drawn) * MORE_TIME * course.prepared[-1].seconds
    return Further(len(drawn), seconds, prepared) if drawn else None


def _reserve(course: PreparedFolds) -> float:
    """Seconds for blending, measuring and saving at the end, which grow with the rows and with the features."""
    features = len(course.prepared[0].selector.features)
    return 0.2 + 1e-3 * features + 3e-5 * sum(len(fold.held) for fold in course.folds)


def _choose(course: PreparedFolds, search: SearchResult, clock: Clock) -> Blend:
    tick = clock.tick("calibrate", 0.9, _("Choosing the blend"))
    most = MOST_MEMBERS if course.refit else MOST_MEMBERS_LARGE
    return with_heartbeat(lambda: blend_of(search, most_members=most), tick)


def _calibrate(
    training: Training, course: PreparedFolds, search: SearchResult, blend: Blend
) -> tuple[Calibration, Thresholds]:
    """Calibrate on the held rows of the first panel: every row once, or by time the latest."""
    rows, split, plan = training.rows, training.split, training.plan
    training.clock.say("calibrate", 0.9, _("Calibrating on the rows held out"))
    at = search.panels == 0
    labels, margins = search.labels[at], blend.margins[at]
    held = course.held(search.folds)
    calibration = fit_calibration(labels, margins)
    probabilities = calibration.probabilities(margins)
    days = days_between(rows, held, plan)
    if days is not None and split.kind != "time":
        # Held rows drawn from the whole period are only a share of what each day brings.
        days *= len(held) / len(rows.labels)
    chosen_on = np.ones(len(held), dtype=np.bool_)
    if split.kind != "time" and plan.goal.kind in ("f1", "recall", "precision"):
        # A fraud that stands there a thousand times would set the threshold for all others.
        chosen_on = rows.told_apart(held)
    high = choose_threshold(labels[chosen_on], probabilities[chosen_on], plan.goal, days=days)
    alerts = float(np.sum(probabilities >= high))
    return calibration, Thresholds.around(high, alerts, partial(alert_cut, probabilities))


def _fit_final(training: Training, chosen: Chosen) -> FinalModel:
    """Fit the chosen settings on training and validation rows together; of large tables take the models as they are."""
    rows, split, course = training.rows, training.split, chosen.course
    tick = training.clock.tick(
        "calibrate", 0.92, _("Fitting the best settings on training and validation rows")
    )
    if course.refit:
        prepared, model = _fit_on(split.learning, chosen, tick, training.kept, "measured")
        return FinalModel(measured(prepared, rows, split, tick=tick), model, refitted=True)
    members = [Member(candidate.models[0], weight) for candidate, weight in chosen.blend.members]
    return FinalModel(measured(course.prepared[0], rows, split, tick=tick), blend(members), refitted=False)


def _fit_for_use(
    training: Training, chosen: Chosen, seconds: float
) -> tuple[Refit, tuple[Prepared, FittedModel] | None]:
    """Fit the settings that were measured on all rows; or say why they are not."""
    split, clock, why = training.split, training.clock, chosen.course.for_use
    if why != "done":
        return why, None
    late = clock.seconds() + seconds > OVERRUN * training.plan.budget_s
    if late if training.repeat is None else training.repeat.for_use == "budget":
        return "budget", None
    tick = clock.tick("save", 0.96, _("Fitting the measured settings on all rows"))
    everything = np.concatenate([split.learning, split.test])
    where = everything if split.kind == "time" else np.sort(everything)
    return "done", _fit_on(where, chosen, tick, training.kept, "for_use")


def _fit_on(
    where: Rows, chosen: Chosen, tick: Callable[[], None], kept: Kept, name: str
) -> tuple[Prepared, FittedModel]:
    """Fit the chosen settings on the rows `where`; each model is kept under `name`."""
    course = chosen.course
    together = course.prepared[0].engineer.plan
    prepared = course.maker.prepare(where, NO_ROWS, tick=tick, together=together)
    members = fit_on_all(
        chosen.blend.members,
        prepared.data,
        growth=course.growth,
        workers=course.workers,
        tick=tick,
        kept=kept,
        name=name,
    )
    return prepared, blend(members)
