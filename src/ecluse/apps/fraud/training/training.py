"""Train a fraud model from a labelled table, and measure it on rows it has never seen."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from ecluse.apps.fraud.clock import Clock, Effort, Progress, with_heartbeat
from ecluse.apps.fraud.evaluation.calibration import Calibration, fit_calibration
from ecluse.apps.fraud.evaluation.drift import TrainingSketch, sketch_training
from ecluse.apps.fraud.evaluation.metrics import alert_cut, choose_threshold
from ecluse.apps.fraud.evaluation.plots import write_plots
from ecluse.apps.fraud.evaluation.split import FOLDS, Fold, Rows, Split, draw_folds
from ecluse.apps.fraud.families import FittedModel
from ecluse.apps.fraud.families.blend import Member, blend
from ecluse.apps.fraud.features.features import Groups, new_salt
from ecluse.apps.fraud.features.history import times_of
from ecluse.apps.fraud.goal import Goal
from ecluse.apps.fraud.performance.parts import FORMAT, REPORT_FILE, Refit, TrainingEffort
from ecluse.apps.fraud.performance.reports import write_report
from ecluse.apps.fraud.performance.trained import TrainingReport
from ecluse.apps.fraud.risk import Thresholds, medium_alerts
from ecluse.apps.fraud.sample import SIMULATED, is_sample
from ecluse.apps.fraud.tables.dataset import Table
from ecluse.apps.fraud.training.blending import MOST_MEMBERS
from ecluse.apps.fraud.training.card import CARD_FILE, write_card
from ecluse.apps.fraud.training.kept import Kept, identity
from ecluse.apps.fraud.training.labelled import (
    LabelledRows,
    days_between,
    read_labelled,
    split_labelled,
    without_giveaways,
)
from ecluse.apps.fraud.training.plan import TrainingPlan
from ecluse.apps.fraud.training.preparation import FeatureMaker, Prepared, measured
from ecluse.apps.fraud.training.record import Course, TrainingRecord
from ecluse.apps.fraud.training.report import (
    Conduct,
    FinalModel,
    MeasuredRows,
    TrainedModel,
    column_shares,
    report_of,
)
from ecluse.apps.fraud.training.search import (
    UNHEARD,
    Blend,
    FoldData,
    Further,
    SearchResult,
    SearchSetting,
    Tried,
    blend_of,
    fit_on_all,
    repeat_models,
    search_models,
)
from ecluse.checkpoints import Checkpoints
from ecluse.sentences import _, num, pack

__all__ = ["Goal", "Progress", "TrainingPlan", "TrainingReport", "train"]

MODEL_FILE = "model.json"
FEATURES_FILE = "features.json"

SEARCH_UNTIL = 0.97
# A model that starts later would not be ready in time, whatever others took.
LAST_START = 0.9
# Which columns to take together is looked for until then, as a share of the budget.
TOGETHER_UNTIL = 0.15
FEATURE_SHARE = 0.4
OVERRUN = 1.1
MORE_TIME = 1.4
# Small data is fitted on several folds side by side and then once whole; large data once.
SIDE_BY_SIDE_ROWS = 200_000
REFIT_ROWS = 200_000
MANY_ROWS = 60_000
# With so few frauds one draw of folds is partly luck.
FEW_FRAUDS = 100
REPEATS = 2
MOST_MEMBERS_LARGE = 2
#: Rows that are looked at to tell whether a table is the sample.
_LOOKED_AT = 500
NO_ROWS = np.zeros(0, dtype=np.int64)
SKETCH_ROWS = 20_000


@dataclass(frozen=True)
class SearchControl:
    """What may end a search, and who hears of it.

    `stop` is asked between fits and rounds; once it is true the search ends, and the best so far is calibrated,
    measured and saved. `tried` hears the average precision of each candidate on the rows its folds held out.
    """

    stop: Callable[[], bool] = lambda: False
    tried: Tried = UNHEARD


@dataclass(frozen=True)
class _Training:
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
class _Chosen:
    """What a search ended with: the folds it was made on, the blend, its scale and its thresholds."""

    course: _Course
    search: SearchResult
    blend: Blend
    calibration: Calibration
    thresholds: Thresholds


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
        training = _Training(digest, rows, split, plan, clock, kept, repeat)
        return _train(training, control, destination, warnings, simulated)


def _train(
    training: _Training, control: SearchControl, destination: Path, warnings: tuple[str, ...], simulated: bool
) -> TrainingReport:
    clock, rows = training.clock, training.rows
    course = _prepare(training)
    search = _search(training, course, control)
    blend = _choose(course, search, clock)
    calibration, thresholds = _calibrate(training, course, search, blend)
    chosen = _Chosen(course, search, blend, calibration, thresholds)
    begun = clock.seconds()
    final = _fit_final(training, chosen)
    # The fit for use is the same on more rows, so that what the measured one took tells what it will.
    again = (clock.seconds() - begun) * len(rows.labels) / len(training.split.learning)
    clock.say("test", 0.94, _("Measuring on the test rows"))
    measured = _measured_rows(training, chosen, final)
    trained = TrainedModel(
        rows, training.split, training.plan, search, blend, final, calibration.method, thresholds,
        warnings, simulated,
    )  # fmt: skip
    measured_by_now = Conduct(_effort(training, search), course.for_use, _tested_digest(training, measured))
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
        effort=_effort(training, search, spent),
        warnings=(*report.warnings, *_slowness(training.plan, spent)),
    )
    prepared, model = for_use or (final.prepared, final.model)
    sketch = _sketch(training, prepared, measured.probabilities, report)
    record = _record(training, chosen, report, spent)
    saved = _Saved(training, prepared, model, calibration, report, sketch, record)
    _save(saved, destination)
    clock.say("save", 1.0, _("Saved"))
    return report


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class _Course:
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


def _prepare(training: _Training) -> _Course:
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
    return _Course(
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
    """Whether the measured settings are to be fitted on all rows, or why not."""
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


def _search(training: _Training, course: _Course, control: SearchControl) -> SearchResult:
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
        deadline=begun + left,
        last_start=LAST_START * plan.budget_s,
        refits=course.fits * MORE_TIME * course.growth,
        more=_further(training, course, lambda: report(_("Fitting the best on further folds"))),
    )
    clock.watch.wanted = 1
    return result


def _further(training: _Training, course: _Course, tick: Callable[[], None]) -> Further | None:
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


def _reserve(course: _Course) -> float:
    """Seconds for blending and for the measurement at the end, which grow with the rows."""
    return 0.2 + 3e-5 * sum(len(fold.held) for fold in course.folds)


def _choose(course: _Course, search: SearchResult, clock: Clock) -> Blend:
    tick = clock.tick("calibrate", 0.9, _("Choosing the blend"))
    most = MOST_MEMBERS if course.refit else MOST_MEMBERS_LARGE
    return with_heartbeat(lambda: blend_of(search, most_members=most), tick)


def _calibrate(
    training: _Training, course: _Course, search: SearchResult, blend: Blend
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
    medium = alert_cut(probabilities, medium_alerts(float(np.sum(probabilities >= high))))
    return calibration, Thresholds(high, min(medium, high))


def _fit_final(training: _Training, chosen: _Chosen) -> FinalModel:
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
    training: _Training, chosen: _Chosen, seconds: float
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
    where: Rows, chosen: _Chosen, tick: Callable[[], None], kept: Kept, name: str
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


def _record(training: _Training, chosen: _Chosen, report: TrainingReport, spent: Effort) -> TrainingRecord:
    course, search = chosen.course, chosen.search
    return TrainingRecord(
        table=training.digest,
        plan=training.plan.to_dict(),
        versions=report.versions,
        threads=course.maker.threads,
        salt=course.maker.salt,
        groups=None if course.groups is None else tuple(sorted(course.groups)),
        folds=search.folds,
        refit=course.refit,
        trials=search.trials,
        planned=search.planned,
        begun=search.begun,
        ended=search.ended,
        for_use=report.refit,
        spent=asdict(spent),
    )


def _effort(training: _Training, search: SearchResult, spent: Effort | None = None) -> TrainingEffort:
    """Tell how much was tried, and with how much time and processor; by now where no effort is given."""
    spent = training.clock.watch.effort() if spent is None else spent
    return TrainingEffort(
        budget_s=training.plan.budget_s,
        wall_s=round(spent.wall, 2),
        work_s=round(spent.work, 2),
        processor_s=round(spent.processor, 2),
        processor_share=round(spent.share, 3),
        folds=search.folds,
        candidates=len(search.trials),
        candidates_begun=search.begun,
        candidates_planned=search.planned,
        rounds=sum(fit.rounds for trial in search.trials for fit in trial.fits),
        cut_short=tuple(candidate.name for candidate in search.ranked if candidate.was_cut),
        ended=search.ended,
    )


def _slowness(plan: TrainingPlan, spent: Effort) -> list[str]:
    """Say why the training took longer than its budget, if it did."""
    warnings = []
    if spent.work > OVERRUN * plan.budget_s:
        warnings.append(
            _(
                "Training took %(count)s s of work instead of %(budget)s s: so many values take "
                "longer to read, describe and learn once. Leave columns out, or give it more time.",
                count=num(spent.work, ".0f"),
                budget=num(plan.budget_s, "g"),
            )
        )
    if spent.is_busy and spent.wall > OVERRUN * max(plan.budget_s, spent.work):
        warnings.append(
            _(
                "Other programs had the processor: %(work)s s of work took %(count)s s. As much was "
                "tried as on a quiet machine.",
                work=num(spent.work, ".0f"),
                count=num(spent.wall, ".0f"),
            )
        )
    return warnings


def _tested_digest(training: _Training, measured: MeasuredRows) -> str:
    """Digest which rows were measured: the same for the same rows and labels, of whichever upload of the table."""
    rows, plan = training.rows, training.plan
    subject = json.dumps([training.digest, plan.target, rows.meaning.fraud, measured.part])
    digest = hashlib.sha256(subject.encode())
    digest.update(np.sort(measured.at).astype("<i8").tobytes())
    return digest.hexdigest()


def _measured_rows(training: _Training, chosen: _Chosen, final: FinalModel) -> MeasuredRows:
    """Take the test rows with their probabilities; without a test part, what the folds said of rows they held out.

    Where frauds repeat, each distinct one is there once; by time all are, as they will be in use.
    """
    split, prepared, calibration, search = training.split, final.prepared, chosen.calibration, chosen.search
    if len(prepared.test):
        probabilities = calibration.probabilities(final.model.predict_margin(prepared.test))
        rows = MeasuredRows("test", split.test, prepared.test_labels, probabilities)
    else:
        at = search.panels == 0
        probabilities = calibration.probabilities(chosen.blend.margins[at])
        rows = MeasuredRows("folds", chosen.course.held(search.folds), search.labels[at], probabilities)
    return rows if split.kind == "time" else rows.only(training.rows.told_apart(rows.at))


def _sketch(
    training: _Training, prepared: Prepared, unseen: NDArray[np.float64], report: TrainingReport
) -> TrainingSketch:
    """Keep what later rows are compared with: a sample of the training rows, and scores of rows not learned from."""
    rows, split, plan = training.rows, training.split, training.plan
    specs = {spec.name: spec for spec in rows.specs}
    sample = rows.frame[split.train[:: max(1, -(-len(split.train) // SKETCH_ROWS))]]
    until = None
    if plan.time_column is not None:
        parts = [split.learning, split.test] if report.refitted else [split.learning]
        learned = rows.frame[plan.time_column][np.concatenate(parts)]
        times = times_of(learned) if learned.dtype != pl.String else np.array([np.nan])
        until = None if np.isnan(times).all() else float(np.nanmax(times))
    return sketch_training(
        sample,
        [specs[name] for name in prepared.engineer.columns],
        importance=column_shares(report.importances),
        scores=unseen,
        threshold=report.threshold,
        until=until,
        time=specs[plan.time_column] if plan.time_column is not None else None,
    )


@dataclass(frozen=True)
class _Saved:
    """What is written of a training."""

    training: _Training
    prepared: Prepared
    model: FittedModel
    calibration: Calibration
    report: TrainingReport
    sketch: TrainingSketch
    record: TrainingRecord


def _save(made: _Saved, destination: Path) -> None:
    plan, prepared, report = made.training.plan, made.prepared, made.report
    destination.mkdir(parents=True, exist_ok=True)
    model_files = made.model.save(destination)
    files = [*model_files, prepared.selector.save(destination), *prepared.engineer.save(destination)]
    files += [made.sketch.save(destination), made.record.save(destination)]
    specs = {spec.name: spec for spec in made.training.rows.specs}
    columns = [specs[name].to_dict() for name in prepared.engineer.columns]
    _write_json(
        destination / FEATURES_FILE, {"columns": columns, "features": list(prepared.selector.features)}
    )
    write_report(destination, report)
    write_card(destination, report)
    passed_on = dict.fromkeys([*plan.identifier_columns, plan.customer_column, plan.time_column])
    description = {
        "format": FORMAT,
        "family": made.model.family,
        "model_file": model_files[0],
        "files": [*files, FEATURES_FILE, REPORT_FILE, CARD_FILE, *write_plots(destination, report)],
        "target": plan.target,
        "positive_value": report.positive_value,
        "threshold": report.threshold,
        "medium_threshold": report.medium_threshold,
        "calibration": made.calibration.to_dict(),
        "passed_on": [name for name in passed_on if name is not None],
        "customer_column": plan.customer_column,
        "time_column": plan.time_column,
        "usual_fraud_rate": report.fraud_rate["train"],
        "simulated": report.simulated,
    }
    _write_json(destination / MODEL_FILE, description)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(
        json.dumps(pack(content), indent=1, ensure_ascii=False, allow_nan=False), encoding="utf-8"
    )
