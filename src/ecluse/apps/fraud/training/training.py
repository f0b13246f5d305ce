"""Train a fraud model from a labelled table, and measure it on rows it has never seen."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from ecluse.apps.fraud.clock import Clock, Effort, Progress, with_heartbeat
from ecluse.apps.fraud.evaluation.calibration import Calibration, fit_calibration
from ecluse.apps.fraud.evaluation.drift import TrainingSketch, sketch_training
from ecluse.apps.fraud.evaluation.metrics import Goal, alert_cut, choose_threshold
from ecluse.apps.fraud.evaluation.plots import write_plots
from ecluse.apps.fraud.evaluation.split import FOLDS, Fold, Rows, Split, draw_folds
from ecluse.apps.fraud.families import FittedModel
from ecluse.apps.fraud.families.blend import Member, blend
from ecluse.apps.fraud.features.features import Groups, new_salt
from ecluse.apps.fraud.features.history import times_of
from ecluse.apps.fraud.sample import SIMULATED, is_sample
from ecluse.apps.fraud.tables.dataset import Table
from ecluse.apps.fraud.training.blending import MOST_MEMBERS
from ecluse.apps.fraud.training.card import write_card
from ecluse.apps.fraud.training.kept import Kept, identity
from ecluse.apps.fraud.training.labelled import (
    LabelledRows,
    days_between,
    read_labelled,
    split_labelled,
    without_giveaways,
)
from ecluse.apps.fraud.training.plan import TrainingPlan
from ecluse.apps.fraud.training.preparation import Prepared, measured, prepare
from ecluse.apps.fraud.training.record import Course, Refit, TrainingRecord
from ecluse.apps.fraud.training.report import (
    FORMAT,
    FinalModel,
    MeasuredRows,
    TrainingReport,
    report_of,
    say_doubt,
)
from ecluse.apps.fraud.training.search import (
    UNHEARD,
    Blend,
    FoldData,
    Further,
    SearchResult,
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
REPORT_FILE = "performance.json"

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
MEDIUM_ALERTS = 3
SKETCH_ROWS = 20_000


def train(
    table: Table,
    plan: TrainingPlan,
    destination: Path,
    progress: Progress,
    *,
    stop: Callable[[], bool] = lambda: False,
    tried: Tried = UNHEARD,
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

    `stop` is asked between fits and rounds; once it is true the search ends, and the best so far is calibrated,
    measured and saved. `progress` may raise to cancel instead. `tried` is told the average precision of each
    candidate on the rows its folds held out.

    With `repeat` the training is made again as its record says, by no clock: the files come out the same.

    With `checkpoints` it goes on where a worker before this one was stopped, with the budget that was left: what was
    fitted is not fitted again, `tried` is told the candidates of before first, and the record is of the whole.

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
        return _train(table, digest, plan, destination, clock, stop, tried, repeat, kept)


def _train(
    table: Table,
    digest: str,
    plan: TrainingPlan,
    destination: Path,
    clock: Clock,
    stop: Callable[[], bool],
    tried: Tried,
    repeat: TrainingRecord | None,
    kept: Kept,
) -> TrainingReport:
    rows = read_labelled(table, plan, clock)
    split, warnings = split_labelled(rows, plan)
    rows = with_heartbeat(
        lambda: without_giveaways(rows, split, plan),
        clock.tick("read", 0.04, _("Looking for columns that give the label away")),
    )
    simulated = [SIMULATED] if is_sample(table.head(_LOOKED_AT)) else []
    warnings = [*simulated, *rows.warnings, *warnings]
    course = _prepare(rows, split, plan, clock, repeat, kept)
    found = _search(rows, split, course, plan, clock, stop, tried, repeat, kept)
    chosen = _choose(course, found, clock)
    calibration, cuts = _calibrate(rows, course, found, chosen, split, plan, clock)
    begun = clock.seconds()
    final = _fit_final(rows, split, course, chosen, plan, clock, kept)
    # The fit for use is the same on more rows, so that what the measured one took tells what it will.
    again = (clock.seconds() - begun) * len(rows.labels) / len(split.learning)
    return _finish(
        rows,
        split,
        course,
        final,
        found,
        chosen,
        calibration,
        cuts,
        warnings,
        plan,
        destination,
        clock,
        again,
        digest,
        repeat,
        kept,
    )


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class _Course:
    """The folds with their features, and whether the chosen settings are fitted again on all of their rows;
    `fits` is how often: for the measurement, and for use. `for_use` says what is known of the latter by now."""

    folds: tuple[Fold, ...]
    prepared: tuple[Prepared, ...]
    refit: bool
    workers: int
    threads: int
    fits: int
    for_use: Refit
    salt: int
    groups: frozenset[str] | None

    def held(self, folds: int) -> Rows:
        """The rows that the first panel of so many folds held out, in the order of their margins."""
        return np.concatenate([fold.held for fold in self.folds[:folds] if fold.panel == 0])

    @property
    def growth(self) -> float:
        """How many times the rows of a fold the last fit has."""
        fold = self.folds[0]
        return (len(fold.fit) + len(fold.held)) / len(fold.fit) if self.refit else 0.0


def _prepare(
    rows: LabelledRows,
    split: Split,
    plan: TrainingPlan,
    clock: Clock,
    repeat: TrainingRecord | None,
    kept: Kept,
) -> _Course:
    """The features of as many folds as the size and the seconds allow, or as it was decided before."""
    clock.say("features", 0.05, _("Making features"))
    tick = clock.tick("features", 0.06, _("Making features"))
    cores, size = os.cpu_count() or 1, len(split.learning)
    side_by_side = size <= SIDE_BY_SIDE_ROWS
    before = kept.course() if repeat is None else repeat.course
    threads = before.threads if before is not None else 1 if side_by_side else cores
    salt = before.salt if before is not None else new_salt()
    groups = Groups(lambda: clock.watch.seconds() > TOGETHER_UNTIL * plan.budget_s, seconds=clock.seconds)
    if before is not None and before.groups is not None:
        groups = Groups(chosen=frozenset(before.groups))
    count = _fold_count(rows, split) if repeat is None else repeat.folds
    folds = draw_folds(split, rows.labels, count=count, seed=plan.seed)
    first = prepare(
        rows,
        split,
        plan,
        folds[0].fit,
        folds[0].held,
        threads=threads,
        tick=tick,
        watch=clock.watch,
        salt=salt,
        groups=groups,
    )
    prepared = [first]
    together = first.engineer.plan
    for fold in folds[1:]:
        # Features are made once more for the last fit, and must leave most of the time to models.
        late = clock.seconds() + 2 * prepared[-1].seconds > FEATURE_SHARE * plan.budget_s
        if late if before is None else len(prepared) == before.folds:
            break
        prepared.append(
            prepare(
                rows,
                split,
                plan,
                fold.fit,
                fold.held,
                threads=threads,
                tick=tick,
                watch=clock.watch,
                salt=salt,
                together=together,
            )
        )
    left = plan.budget_s - clock.seconds()
    refit = size <= REFIT_ROWS and MORE_TIME * prepared[-1].seconds < FEATURE_SHARE * left
    refit = refit if before is None else before.refit
    prepared = prepared if refit else [first]
    chosen = None if groups.chosen is None else tuple(sorted(groups.chosen))
    kept.keep_course(Course(threads, salt, chosen, len(prepared), refit))
    for_use = _for_use(plan, split, refit)
    return _Course(
        folds[: len(prepared)],
        tuple(prepared),
        refit,
        cores if side_by_side else 1,
        threads,
        (1 + (for_use == "done")) if refit else 0,
        for_use,
        salt,
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


def _search(
    rows: LabelledRows,
    split: Split,
    course: _Course,
    plan: TrainingPlan,
    clock: Clock,
    stop: Callable[[], bool],
    tried: Tried,
    repeat: TrainingRecord | None,
    kept: Kept,
) -> SearchResult:
    begun = clock.seconds()
    again = course.fits * MORE_TIME * course.prepared[-1].seconds
    left = max(SEARCH_UNTIL * plan.budget_s - _reserve(course) - again - begun, 0.0)

    def report(message: str) -> None:
        share = (clock.seconds() - begun) / max(plan.budget_s - begun, 1e-9)
        clock.say("search", 0.1 + 0.8 * min(share, 1.0), message, always=False)

    folds = [FoldData(p.data, fold.panel) for p, fold in zip(course.prepared, course.folds, strict=True)]
    if repeat is not None:
        return repeat_models(
            folds, repeat, watch=clock.watch, workers=course.workers, report=report, tried=tried, kept=kept
        )
    clock.watch.wanted = course.workers if course.workers > 1 else course.prepared[0].data.threads
    found = search_models(
        folds,
        seed=plan.seed,
        deadline=begun + left,
        watch=clock.watch,
        last_start=LAST_START * plan.budget_s,
        workers=course.workers,
        refits=course.fits * MORE_TIME * course.growth,
        report=report,
        stop=stop,
        tried=tried,
        more=_further(
            rows, split, course, plan, clock, lambda: report(_("Fitting the best on further folds"))
        ),
        kept=kept,
    )
    clock.watch.wanted = 1
    return found


def _further(
    rows: LabelledRows,
    split: Split,
    course: _Course,
    plan: TrainingPlan,
    clock: Clock,
    tick: Callable[[], None],
) -> Further | None:
    """Another draw of folds for a small table; none by time, where there is no other."""
    if split.times is not None or not course.refit or len(course.folds) != FOLDS:
        return None
    drawn = draw_folds(split, rows.labels, count=FOLDS * REPEATS, seed=plan.seed)[FOLDS:]

    def prepared() -> list[FoldData]:
        together = course.prepared[0].engineer.plan
        return [
            FoldData(
                prepare(
                    rows,
                    split,
                    plan,
                    fold.fit,
                    fold.held,
                    threads=course.threads,
                    tick=tick,
                    watch=clock.watch,
                    salt=course.salt,
                    together=together,
                ).data,
                fold.panel,
            )
            for fold in drawn
        ]

    seconds = len(drawn) * MORE_TIME * course.prepared[-1].seconds
    return Further(len(drawn), seconds, prepared) if drawn else None


def _reserve(course: _Course) -> float:
    """Seconds for blending and for the measurement at the end, which grow with the rows."""
    return 0.2 + 3e-5 * sum(len(fold.held) for fold in course.folds)


def _choose(course: _Course, found: SearchResult, clock: Clock) -> Blend:
    tick = clock.tick("calibrate", 0.9, _("Choosing the blend"))
    most = MOST_MEMBERS if course.refit else MOST_MEMBERS_LARGE
    return with_heartbeat(lambda: blend_of(found, most_members=most), tick)


@dataclass(frozen=True)
class _Cuts:
    """Probabilities from which the risk is HIGH and MEDIUM."""

    high: float
    medium: float


def _calibrate(
    rows: LabelledRows,
    course: _Course,
    found: SearchResult,
    chosen: Blend,
    split: Split,
    plan: TrainingPlan,
    clock: Clock,
) -> tuple[Calibration, _Cuts]:
    """From the held rows of the first panel: every row once, or by time the latest."""
    clock.say("calibrate", 0.9, _("Calibrating on the rows held out"))
    at = found.panels == 0
    labels, margins = found.labels[at], chosen.margins[at]
    held = course.held(found.folds)
    calibration = fit_calibration(labels, margins)
    valid = calibration.probabilities(margins)
    days = days_between(rows, held, plan)
    if days is not None and split.kind != "time":
        # Held rows drawn from the whole period are only a share of what each day brings.
        days *= len(held) / len(rows.labels)
    chosen_on = np.ones(len(held), dtype=np.bool_)
    if split.kind != "time" and plan.goal.kind in ("f1", "recall", "precision"):
        # A fraud that stands there a thousand times would set the threshold for all others.
        chosen_on = rows.told_apart(held)
    high = choose_threshold(labels[chosen_on], valid[chosen_on], plan.goal, days=days)
    medium = alert_cut(valid, MEDIUM_ALERTS * float(np.sum(valid >= high)))
    return calibration, _Cuts(high, min(medium, high))


def _fit_final(
    rows: LabelledRows,
    split: Split,
    course: _Course,
    chosen: Blend,
    plan: TrainingPlan,
    clock: Clock,
    kept: Kept,
) -> FinalModel:
    """The chosen settings fitted on training and validation rows together; of large tables the models as they are."""
    tick = clock.tick("calibrate", 0.92, _("Fitting the best settings on training and validation rows"))
    if course.refit:
        prepared, model = _fit_on(
            split.learning, rows, split, course, chosen, plan, clock, tick, kept, "measured"
        )
        return FinalModel(measured(prepared, rows, split, tick=tick), model, refitted=True)
    members = [Member(candidate.models[0], weight) for candidate, weight in chosen.members]
    return FinalModel(measured(course.prepared[0], rows, split, tick=tick), blend(members), refitted=False)


def _fit_for_use(
    rows: LabelledRows,
    split: Split,
    course: _Course,
    chosen: Blend,
    plan: TrainingPlan,
    clock: Clock,
    seconds: float,
    repeat: TrainingRecord | None,
    kept: Kept,
) -> tuple[Refit, tuple[Prepared, FittedModel] | None]:
    """The settings that were measured, fitted on all rows; or why they are not."""
    late = clock.seconds() + seconds > OVERRUN * plan.budget_s
    if course.for_use == "done" and (late if repeat is None else repeat.for_use == "budget"):
        return "budget", None
    if course.for_use != "done":
        return course.for_use, None
    tick = clock.tick("save", 0.96, _("Fitting the measured settings on all rows"))
    everything = np.concatenate([split.learning, split.test])
    where = everything if split.kind == "time" else np.sort(everything)
    return "done", _fit_on(where, rows, split, course, chosen, plan, clock, tick, kept, "for_use")


def _fit_on(
    where: Rows,
    rows: LabelledRows,
    split: Split,
    course: _Course,
    chosen: Blend,
    plan: TrainingPlan,
    clock: Clock,
    tick: Callable[[], None],
    kept: Kept,
    name: str,
) -> tuple[Prepared, FittedModel]:
    together = course.prepared[0].engineer.plan
    prepared = prepare(
        rows,
        split,
        plan,
        where,
        NO_ROWS,
        threads=course.threads,
        tick=tick,
        watch=clock.watch,
        salt=course.salt,
        together=together,
    )
    members = fit_on_all(
        chosen.members,
        prepared.data,
        growth=course.growth,
        workers=course.workers,
        tick=tick,
        kept=kept,
        name=name,
    )
    return prepared, blend(members)


def _finish(
    rows: LabelledRows,
    split: Split,
    course: _Course,
    final: FinalModel,
    found: SearchResult,
    chosen: Blend,
    calibration: Calibration,
    cuts: _Cuts,
    warnings: list[str],
    plan: TrainingPlan,
    destination: Path,
    clock: Clock,
    again: float,
    digest: str,
    repeat: TrainingRecord | None,
    kept: Kept,
) -> TrainingReport:
    clock.say("test", 0.94, _("Measuring on the test rows"))
    test = _measured_rows(rows, split, course, final, found, chosen, calibration)
    tick = clock.tick("test", 0.95, _("Measuring on the test rows"))
    content = with_heartbeat(
        lambda: report_of(rows, split, final, found, chosen, plan, test, cuts.high), tick
    )
    content["warnings"] = [*say_doubt(content), *warnings, *content["warnings"]]
    content["simulated"] = SIMULATED in warnings
    content |= {"medium_threshold": cuts.medium, "calibration": calibration.method}
    why, for_use = _fit_for_use(rows, split, course, chosen, plan, clock, again, repeat, kept)
    content["refitted"], content["refit"] = for_use is not None, why
    content["tested_rows"] = _tested_digest(digest, rows, plan, test)
    prepared, model = for_use or (final.prepared, final.model)
    clock.say("save", 0.97, _("Saving the model"))
    spent = clock.watch.effort() if repeat is None else Effort(**repeat.spent)
    content["seconds"] = round(spent.wall, 2)
    content["effort"] = _effort(found, plan, spent)
    content["warnings"] += _slowness(plan, spent)
    sketch = _sketch(rows, split, prepared, test.probabilities, content, plan)
    record = TrainingRecord(
        table=digest,
        plan=plan.to_dict(),
        versions=content["versions"],
        threads=course.threads,
        salt=course.salt,
        groups=None if course.groups is None else tuple(sorted(course.groups)),
        folds=found.folds,
        refit=course.refit,
        trials=found.trials,
        planned=found.planned,
        begun=found.begun,
        ended=found.ended,
        for_use=why,
        spent=asdict(spent),
    )
    _save(rows, prepared, model, calibration, content, sketch, record, plan, destination)
    clock.say("save", 1.0, "Saved")
    return TrainingReport(content)


def _effort(found: SearchResult, plan: TrainingPlan, spent: Effort) -> dict[str, Any]:
    """How much was tried, and with how much time and processor."""
    return {
        "budget_s": plan.budget_s,
        **spent.to_dict(),
        "folds": found.folds,
        "candidates": len(found.trials),
        "candidates_begun": found.begun,
        "candidates_planned": found.planned,
        "rounds": sum(fit.rounds for trial in found.trials for fit in trial.fits),
        "cut_short": [one["name"] for one in found.leaderboard if one["cut_short"]],
        "ended": found.ended,
    }


def _slowness(plan: TrainingPlan, spent: Effort) -> list[str]:
    """Why the training took longer than its budget, if it did."""
    told = []
    if spent.work > OVERRUN * plan.budget_s:
        told.append(
            _(
                "Training took %(count)s s of work instead of %(budget)s s: so many values take "
                "longer to read, describe and learn once. Leave columns out, or give it more time.",
                count=num(spent.work, ".0f"),
                budget=num(plan.budget_s, "g"),
            )
        )
    if spent.is_busy and spent.wall > OVERRUN * max(plan.budget_s, spent.work):
        told.append(
            _(
                "Other programs had the processor: %(work)s s of work took %(count)s s. As much was "
                "tried as on a quiet machine.",
                work=num(spent.work, ".0f"),
                count=num(spent.wall, ".0f"),
            )
        )
    return told


def _tested_digest(table: str, rows: LabelledRows, plan: TrainingPlan, measured: MeasuredRows) -> str:
    """SHA-256 that is the same for the same rows and labels, of whichever upload: content of the table, and rows."""
    what = json.dumps([table, plan.target, rows.meaning.fraud, measured.part])
    digest = hashlib.sha256(what.encode())
    digest.update(np.sort(measured.at).astype("<i8").tobytes())
    return digest.hexdigest()


def _measured_rows(
    rows: LabelledRows,
    split: Split,
    course: _Course,
    final: FinalModel,
    found: SearchResult,
    chosen: Blend,
    calibration: Calibration,
) -> MeasuredRows:
    """The test rows with their probabilities; without a test part, what the folds said of rows they held out.

    Where frauds repeat, each distinct one is there once; by time all are, as they will be in use.
    """
    prepared = final.prepared
    if len(prepared.test):
        probabilities = calibration.probabilities(final.model.predict_margin(prepared.test))
        measured = MeasuredRows("test", split.test, prepared.test_labels, probabilities)
    else:
        at = found.panels == 0
        probabilities = calibration.probabilities(chosen.margins[at])
        measured = MeasuredRows("folds", course.held(found.folds), found.labels[at], probabilities)
    return measured if split.kind == "time" else measured.only(rows.told_apart(measured.at))


def _sketch(
    rows: LabelledRows,
    split: Split,
    prepared: Prepared,
    unseen: NDArray[np.float64],
    content: dict[str, Any],
    plan: TrainingPlan,
) -> TrainingSketch:
    """What later rows are compared with: a sample of the training rows, and scores of rows not learned from."""
    specs = {spec.name: spec for spec in rows.specs}
    sample = rows.frame[split.train[:: max(1, -(-len(split.train) // SKETCH_ROWS))]]
    importance: dict[str, float] = {}
    for item in content["importances"]:
        importance[item["column"]] = importance.get(item["column"], 0.0) + item["share"]
    until = None
    if plan.time_column is not None:
        parts = [split.learning, split.test] if content["refitted"] else [split.learning]
        learned = rows.frame[plan.time_column][np.concatenate(parts)]
        times = times_of(learned) if learned.dtype != pl.String else np.array([np.nan])
        until = None if np.isnan(times).all() else float(np.nanmax(times))
    return sketch_training(
        sample,
        [specs[name] for name in prepared.engineer.columns],
        importance=importance,
        scores=unseen,
        threshold=content["threshold"],
        until=until,
        time=specs[plan.time_column] if plan.time_column is not None else None,
    )


def _save(
    rows: LabelledRows,
    prepared: Prepared,
    model: FittedModel,
    calibration: Calibration,
    content: dict[str, Any],
    sketch: TrainingSketch,
    record: TrainingRecord,
    plan: TrainingPlan,
    destination: Path,
) -> None:
    destination.mkdir(parents=True, exist_ok=True)
    model_files = model.save(destination)
    files = [*model_files, prepared.selector.save(destination), *prepared.engineer.save(destination)]
    files += [sketch.save(destination), record.save(destination)]
    specs = {spec.name: spec for spec in rows.specs}
    columns = [specs[name].to_dict() for name in prepared.engineer.columns]
    _write_json(
        destination / FEATURES_FILE, {"columns": columns, "features": list(prepared.selector.features)}
    )
    _write_json(destination / REPORT_FILE, content)
    write_card(destination, content)
    passed_on = dict.fromkeys([*plan.identifier_columns, plan.customer_column, plan.time_column])
    description = {
        "format": FORMAT,
        "family": model.family,
        "model_file": model_files[0],
        "files": [*files, FEATURES_FILE, REPORT_FILE, "model_card.md", *write_plots(destination, content)],
        "target": plan.target,
        "positive_value": content["positive_value"],
        "threshold": content["threshold"],
        "medium_threshold": content["medium_threshold"],
        "calibration": calibration.to_dict(),
        "passed_on": [name for name in passed_on if name is not None],
        "customer_column": plan.customer_column,
        "time_column": plan.time_column,
        "usual_fraud_rate": content["fraud_rate"]["train"],
        "simulated": content["simulated"],
    }
    _write_json(destination / MODEL_FILE, description)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(
        json.dumps(pack(content), indent=1, ensure_ascii=False, allow_nan=False), encoding="utf-8"
    )
