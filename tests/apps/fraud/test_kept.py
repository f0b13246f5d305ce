"""A training that was stopped goes on where it was: later, and no other. Nothing is fitted twice, and it can be repeated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from ecluse import checkpoints as checkpoints_module
from ecluse.apps.fraud.clock import Clock, Stopwatch
from ecluse.apps.fraud.families import FAMILIES, FitData, FittedModel, Until, family
from ecluse.apps.fraud.training import kept as kept_module
from ecluse.apps.fraud.training.kept import At, Fit, Kept
from ecluse.apps.fraud.training.record import TrainingRecord
from ecluse.apps.fraud.training.search import Limits, SearchSetting, search_models
from ecluse.apps.fraud.training.training import SearchControl, TrainingPlan, TrainingReport, train
from ecluse.checkpoints import Checkpoints
from ecluse.errors import JobCancelled
from ecluse.runtime import Runtime
from ecluse.tabular.dataset import open_table
from tests.apps.fraud.test_search import folds, part
from tests.apps.fraud.test_training import digests, small

PLAN = TrainingPlan("label", budget_s=1.5)
Stop = Callable[["Attempt", str], bool]


class Attempt:
    """What one worker has done of a training."""

    def __init__(self) -> None:
        self.fits: list[At] = []
        self.members: list[str] = []
        self.tried: list[tuple[int, float]] = []


class Workers:
    """Trains on one table, with one worker after the other; `attempts` are what each of them did."""

    def __init__(self, runtime: Runtime, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.runtime, self.folder = runtime, folder
        self.attempts: list[Attempt] = []
        monkeypatch.setattr(checkpoints_module, "SAVED_EVERY", 0.0)
        # Some settings that are fitted in no time.
        monkeypatch.setattr("ecluse.apps.fraud.training.portfolio.MAX_VARIATIONS", 3)
        monkeypatch.setattr(
            "ecluse.apps.fraud.training.portfolio.FAMILIES",
            {name: FAMILIES[name] for name in ("linear", "xgboost")},
        )
        # Two fits at a time, and each report is heard: where a worker stops does not depend on the machine.
        monkeypatch.setattr("os.cpu_count", lambda: 2)
        say = Clock.say
        monkeypatch.setattr(Clock, "say", lambda clock, *words, always=True: say(clock, *words))
        add, keep_model = Kept.add, Kept.keep_model

        def counted(kept: Kept, at: At, fit: Fit) -> None:
            self.attempts[-1].fits.append(at)
            add(kept, at, fit)

        def counted_member(kept: Kept, name: str, of: list[object], model: FittedModel) -> None:
            self.attempts[-1].members.append(name)
            keep_model(kept, name, of, model)

        monkeypatch.setattr(Kept, "add", counted)
        monkeypatch.setattr(Kept, "keep_model", counted_member)

    def train(
        self, stop: Stop | None = None, plan: TrainingPlan = PLAN, repeat: TrainingRecord | None = None
    ) -> TrainingReport | None:
        """The report; None where the worker was stopped on the way."""
        self.attempts.append(attempt := Attempt())

        def progress(stage: str, fraction: float, message: str) -> None:
            if stop is not None and stop(attempt, stage):
                raise JobCancelled("The worker stops; the next one takes the job up.")

        with open_table(self.folder / "table.csv") as table:
            try:
                return train(
                    table,
                    plan,
                    self.folder / ("repeated" if repeat else "model"),
                    progress,
                    control=SearchControl(tried=lambda number, score: attempt.tried.append((number, score))),
                    repeat=repeat,
                    checkpoints=Checkpoints(self.runtime, "user1", "repeat1" if repeat else "job1"),
                )
            except JobCancelled:
                return None

    @property
    def fits(self) -> list[At]:
        return [at for attempt in self.attempts for at in attempt.fits]

    @property
    def members(self) -> list[str]:
        return [name for attempt in self.attempts for name in attempt.members]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints_module, "SAVED_EVERY", 0.0)
    monkeypatch.setattr(checkpoints_module, "TIMES_LONGER", 0.0)


@pytest.fixture
def workers(runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workers:
    small().write_csv(tmp_path / "table.csv")
    return Workers(runtime, tmp_path, monkeypatch)


def after(fits: int, stage: str = "search") -> Stop:
    """Stops a worker in a stage, once it has done so many fits."""
    return lambda attempt, now: now == stage and len(attempt.fits) >= fits


def repeated(workers: Workers) -> None:
    """Make the model again by its record: the same files to the byte."""
    record = TrainingRecord.load(workers.folder / "model")
    assert workers.train(repeat=record) is not None
    assert digests(workers.folder / "repeated") == digests(workers.folder / "model")


@pytest.mark.nightly
def test_six_interruptions_in_the_life_of_a_training_end_with_a_model(workers: Workers) -> None:
    at_last: Stop = lambda attempt, stage: stage == "save" and bool(attempt.members)  # noqa: E731
    ways = [after(0, "features"), after(3), after(3), after(0, "calibrate"), after(0, "test"), at_last]
    for stop in ways:
        assert workers.train(stop) is None
        assert not (workers.folder / "model").exists()
    report = workers.train()
    assert report is not None
    assert len(workers.fits) == len(set(workers.fits)) > 6
    assert len(workers.members) == len(set(workers.members)) >= 2
    assert not workers.attempts[-1].fits
    told = [attempt.tried for attempt in workers.attempts if attempt.tried]
    for earlier, later in pairwise(told):
        assert later[: len(earlier)] == earlier
    record = TrainingRecord.load(workers.folder / "model")
    assert len(record.trials) == len(told[-1]) == report.effort.candidates
    assert {"model.json", "performance.json", "model_card.md"} <= digests(workers.folder / "model").keys()
    repeated(workers)


def test_models_that_may_be_published_as_they_are_are_kept_as_they_are(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of large tables nothing is fitted again after the search."""
    monkeypatch.setattr("ecluse.apps.fraud.training.folds.REFIT_ROWS", 0)
    small(1_500).write_csv(workers.folder / "table.csv")
    for fits in (2, 1):
        assert workers.train(after(fits)) is None
    assert workers.train(after(0, "calibrate")) is None
    report = workers.train()
    assert report is not None
    assert report.refit == "many_rows"
    assert len(workers.fits) == len(set(workers.fits))
    assert not workers.attempts[-1].fits
    repeated(workers)


@pytest.mark.nightly
def test_the_best_are_judged_on_the_further_folds_they_were_begun_on(workers: Workers) -> None:
    plan = replace(PLAN, budget_s=120.0)
    is_final: Stop = lambda attempt, stage: max((fold for _, fold in attempt.fits), default=0) >= 4  # noqa: E731
    assert workers.train(is_final, plan) is None
    report = workers.train(plan=plan)
    assert report is not None
    assert report.effort.folds == 8
    assert len(workers.fits) == len(set(workers.fits))
    finalists = {trial for trial, fold in workers.fits if fold >= 4}
    assert len([trial for trial, fold in workers.fits if fold >= 4]) == 4 * len(finalists)
    repeated(workers)


def test_a_repeat_that_was_stopped_goes_on_too(workers: Workers) -> None:
    assert workers.train() is not None
    record = TrainingRecord.load(workers.folder / "model")
    done = len(workers.attempts)
    assert workers.train(after(3), repeat=record) is None
    repeated(workers)
    again = [at for attempt in workers.attempts[done:] for at in attempt.fits]
    assert len(again) == len(set(again))


@pytest.mark.parametrize("other", ["table", "plan", "code", "libraries", "damage"])
def test_what_was_done_of_another_training_is_not_used(
    other: str, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert workers.train(after(3)) is None
    plan = PLAN
    match other:
        case "table":
            small(seed=1).write_csv(workers.folder / "table.csv")
        case "plan":
            plan = replace(PLAN, seed=1)
        case "code":
            monkeypatch.setattr(kept_module, "LAYOUT", 2)
        case "libraries":
            monkeypatch.setattr(kept_module, "library_versions", lambda: {"lightgbm": "1.0"})
        case "damage":
            for info in [*workers.runtime.data.list("user_data/user1/checkpoints")]:
                workers.runtime.data.put(info.key, workers.runtime.data.get(info.key)[:-1])
    assert workers.train(after(1), plan) is None
    assert workers.attempts[1].fits[0] in {(0, 0), (0, 1)}


def test_the_budget_is_not_restarted(runtime: Runtime, tmp_path: Path) -> None:
    """What was spent is on the watch again, so that a search whose time is up begins nothing."""
    spent, data = Stopwatch(), folds(450)

    def run(watch: Stopwatch, deadline: float, tried: list[int], fits: int) -> Kept:
        kept = Kept(Checkpoints(runtime, "user1", "job1"), "the same", watch, tmp_path)

        def report(message: str) -> None:
            if len(tried) >= fits:
                raise JobCancelled("The worker stops; the next one takes the job up.")

        found = search_models(
            data,
            SearchSetting(watch, report, 2, tried=lambda number, _: tried.append(number), kept=kept),
            seed=0,
            limits=Limits(deadline, refits=1.0),
        )
        assert found.ended == "budget"
        assert [len(one.fits) for one in found.candidates] == [3] * len(tried)
        assert np.isfinite(found.best.margins).all()
        return kept

    first: list[int] = []
    with pytest.raises(JobCancelled):
        run(spent, 10_000.0, first, 2)
    watch, second = Stopwatch(), list[int]()
    run(watch, 0.0, second, 100)
    assert second == first == [1, 2]
    assert watch.spent().work > 0.0


@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_that_was_kept_says_the_same_and_is_the_same_file(
    name: str, runtime: Runtime, tmp_path: Path
) -> None:
    matrix, labels = part(4, 200)
    data = FitData(matrix, labels, matrix[:50], labels[:50])
    fitted = family(name).fit(data, {"fixed_rounds": 5}, seed=0, until=Until(), tick=lambda: None)
    kept = Kept(Checkpoints(runtime, "user1", "job1"), "the same", Stopwatch(), tmp_path)
    kept.keep_model("measured_0", ["settings"], fitted)
    assert kept.model("measured_0", ["other settings"]) is None
    model = kept.model("measured_0", ["settings"])
    assert model is not None
    assert np.array_equal(model.predict_margin(matrix), fitted.predict_margin(matrix))
    assert np.array_equal(model.contributions(matrix), fitted.contributions(matrix))
    assert np.array_equal(model.importances(), fitted.importances())
    assert model.rounds == fitted.rounds
    for folder, one in (("before", fitted), ("after", model)):
        (tmp_path / folder).mkdir()
        one.save(tmp_path / folder, "member_2")
    assert digests(tmp_path / "after") == digests(tmp_path / "before")


def test_what_is_too_large_to_be_kept_is_not_and_the_training_ends(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints_module, "MOST_BYTES", 0)
    assert workers.train() is not None
    assert not [*workers.runtime.data.list("user_data/user1/checkpoints")]
