"""The search keeps the best models it has met, within its deadline, and blends them."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ecluse.apps.fraud.clock import Stopwatch
from ecluse.apps.fraud.families import FAMILIES, FitData, FittedModel, Params, family
from ecluse.apps.fraud.families.blend import blend
from ecluse.apps.fraud.measures import average_precision
from ecluse.apps.fraud.training.blending import choose_weights, mean_precision
from ecluse.apps.fraud.training.portfolio import portfolio
from ecluse.apps.fraud.training.search import (
    FoldData,
    Further,
    Limits,
    SearchResult,
    SearchSetting,
    blend_of,
    fit_on_all,
    search_models,
)


def part(seed: int, rows: int = 900) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(rows, 4)).astype(np.float32)
    labels = (matrix[:, 0] * matrix[:, 1] + rng.normal(size=rows) > 1.2).astype(np.int8)
    return matrix, labels


def folds(rows: int = 900) -> list[FoldData]:
    """Three folds of one panel."""
    matrix, labels = part(2, rows)
    held = np.arange(rows) % 3
    return [
        FoldData(FitData(matrix[held != k], labels[held != k], matrix[held == k], labels[held == k]))
        for k in range(3)
    ]


def search(data: list[FoldData], seconds: float = 60.0, workers: int = 2) -> SearchResult:
    setting = SearchSetting(Stopwatch(), lambda message: None, workers)
    return search_models(data, setting, seed=0, limits=Limits(seconds))


@pytest.fixture(scope="module")
def found() -> SearchResult:
    return search(folds())


@pytest.mark.nightly
def test_settings_of_all_families_are_fitted_on_every_fold(found: SearchResult) -> None:
    assert {candidate.family for candidate in found.ranked} == set(FAMILIES)
    scores = [candidate.average_precision for candidate in found.ranked]
    assert scores == sorted(scores, reverse=True)
    assert found.folds == 3
    assert all(len(candidate.models) == 3 for candidate in found.candidates)


def test_families_that_do_not_vary_are_tried_at_their_starts_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecluse.apps.fraud.training.portfolio.FAMILIES", {"linear": FAMILIES["linear"]})
    trials = portfolio(seed=0, categorical=False)
    assert {trial.family for trial in trials} == {"linear"}
    assert not [trial.name for trial in trials if "variation" in trial.name]


def test_a_candidate_is_scored_on_rows_its_models_were_not_fitted_on(found: SearchResult) -> None:
    best = found.best
    margins = [
        model.predict_margin(fold.data.valid) for model, fold in zip(best.models, folds(), strict=True)
    ]
    labels = np.concatenate([fold.data.valid_labels for fold in folds()])
    assert best.average_precision == average_precision(labels, np.concatenate(margins))


def test_the_blend_ranks_the_held_rows_about_as_well_as_the_best_alone(found: SearchResult) -> None:
    chosen = blend_of(found)
    assert chosen.average_precision >= found.best.average_precision - 0.01
    assert 1 <= len(chosen.members) <= 4
    assert sum(weight for _, weight in chosen.members) == pytest.approx(1.0)


def test_members_fitted_on_all_rows_rank_new_rows_like_the_folds_said(found: SearchResult) -> None:
    chosen, (matrix, labels) = blend_of(found), part(2)
    data = FitData(matrix, labels, matrix[:1], labels[:1])
    members = fit_on_all(chosen.members, data, growth=1.5, workers=2, tick=lambda: None)
    new, truth = part(3, 3_000)
    assert average_precision(truth, blend(members).predict_margin(new)) > chosen.average_precision - 0.1
    for member, (candidate, weight) in zip(members, chosen.members, strict=True):
        assert member.weight == weight
        assert member.model.rounds == round(1.5 * candidate.rounds)


@pytest.mark.nightly
def test_the_number_of_fits_side_by_side_changes_nothing() -> None:
    first, second = (search(folds(450), workers=workers) for workers in (1, 2))
    alike = {c.name: c.margins for c in first.candidates}.keys() & {c.name for c in second.candidates}
    assert len(alike) >= len(FAMILIES)
    margins = {c.name: c.margins for c in second.candidates}
    for candidate in first.candidates:
        if candidate.name in alike:
            assert np.array_equal(candidate.margins, margins[candidate.name])


def test_the_same_members_are_fitted_alike_however_many_at_once(found: SearchResult) -> None:
    matrix, labels = part(2)
    data = FitData(matrix, labels, matrix[:1], labels[:1])
    members = [(candidate, 0.25) for candidate in found.candidates[:4]]
    alone, beside = (
        blend(fit_on_all(members, data, growth=1.5, workers=workers, tick=lambda: None)) for workers in (1, 2)
    )
    assert np.array_equal(alone.predict_margin(matrix), beside.predict_margin(matrix))


def test_whatever_the_deadline_the_first_family_settles_on_every_fold(found: SearchResult) -> None:
    result = search(folds(), seconds=-1)
    first = next(candidate for candidate in found.candidates if candidate.name == result.best.name)
    assert len(result.candidates) == 1
    assert result.folds == len(result.best.models) == 3
    assert len(result.best.margins) == len(result.labels) == len(result.panels)
    assert result.best.average_precision > first.average_precision - 0.03
    assert result.ended == "budget"
    assert found.ended == "complete"


def test_a_stop_ends_the_search_with_what_is_complete() -> None:
    told: list[str] = []
    setting = SearchSetting(Stopwatch(), told.append, 2, stop=lambda: "Best so far" in told[-1])
    result = search_models(folds(), setting, seed=0, limits=Limits(600))
    assert 1 <= len(result.candidates) <= 4


@pytest.mark.nightly
def test_messages_say_what_is_fitted_and_the_best_so_far() -> None:
    told: list[str] = []
    search_models(folds(), SearchSetting(Stopwatch(), told.append), seed=0, limits=Limits(60))
    assert told[0].startswith("LightGBM, 1 of up to ")
    assert "Best so far: average precision 0." in told[-1]


def test_a_report_that_raises_stops_the_search() -> None:
    class Stopped(Exception):
        pass

    def report(message: str) -> None:
        if "Best so far" in message:
            raise Stopped

    with pytest.raises(Stopped):
        search_models(folds(), SearchSetting(Stopwatch(), report, 2), seed=0, limits=Limits(600))


def test_a_tick_that_raises_stops_the_last_fits(found: SearchResult) -> None:
    class Stopped(Exception):
        pass

    def tick() -> None:
        raise Stopped

    matrix, labels = part(2, 20_000)
    data = FitData(matrix, labels, matrix[:1], labels[:1])
    with pytest.raises(Stopped):
        fit_on_all([(found.best, 1.0)], data, growth=1e6, workers=1, tick=tick)


def test_panels_are_scored_each_on_its_own() -> None:
    labels = np.array([0, 1, 0, 1], dtype=np.int8)
    margins, panels = np.array([0.0, 1.0, 10.0, 11.0]), np.array([0, 0, 1, 1])
    assert mean_precision(labels, margins, panels) == 1.0
    assert average_precision(labels, margins) < 1.0


def test_two_halves_of_the_truth_are_blended_and_noise_is_left_out() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(4_000) < 0.1).astype(np.int8)
    halves = [labels + rng.normal(0, 0.7, 4_000) for _ in range(2)]
    weights = choose_weights([*halves, rng.normal(size=4_000)], labels, np.zeros(4_000, dtype=np.int64))
    assert set(weights) == {0, 1}
    assert weights[0] == pytest.approx(0.5, abs=0.15)


def test_candidates_far_below_the_best_help_for_sure_or_leave_the_blend() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(2_000) < 0.04).astype(np.int8)
    one_panel = np.zeros(2_000, dtype=np.int64)
    strong = 1.6 * labels + rng.normal(size=2_000)
    # Each knows less than the strong one and nothing else; of twenty some agree with it where it is right.
    worse = [strong + rng.normal(size=2_000) for _ in range(20)]
    assert all(average_precision(labels, poor) < 0.9 * average_precision(labels, strong) for poor in worse)
    assert choose_weights([strong, *worse], labels, one_panel) == {0: 1.0}


def test_one_that_is_far_below_the_best_stays_for_what_it_alone_knows() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(6_000) < 0.08).astype(np.int8)
    strong, other = 1.8 * labels + rng.normal(size=6_000), 1.3 * labels + rng.normal(size=6_000)
    weights = choose_weights([strong, other], labels, np.zeros(6_000, dtype=np.int64))
    assert weights[0] > weights[1] > 0.2


def test_with_time_left_the_best_are_judged_on_further_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecluse.apps.fraud.training.portfolio.MAX_VARIATIONS", 0)
    once, further = folds(450), [replace(fold, panel=1) for fold in folds(450)]
    drawn: list[int] = []

    def prepare() -> list[FoldData]:
        drawn.append(len(further))
        return further

    def found_with(deadline: float) -> SearchResult:
        return search_models(
            once,
            SearchSetting(Stopwatch(), lambda message: None, 2),
            seed=0,
            limits=Limits(deadline, refits=1.0),
            more=Further(len(further), 0.0, prepare),
        )

    found = found_with(10_000)
    assert (drawn, found.folds, found.ended) == ([3], 6, "complete")
    assert {len(candidate.models) for candidate in found.candidates} == {6}
    assert set(np.unique(found.panels)) == {0, 1}
    assert len(found.labels) == len(found.best.margins) == 900
    assert found_with(-1).folds == 3
    assert drawn == [3]


def test_both_workers_fit_where_there_is_one_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    together, real = threading.Barrier(2, timeout=120), family
    fits: list[str] = []

    class Meeting:
        """A family whose first two fits wait for each other."""

        def __init__(self, name: str) -> None:
            self.name = name

        def fit(self, data: FitData, params: Params, **told: Any) -> FittedModel:
            fits.append(self.name)
            if len(fits) <= 2:
                together.wait()
            return real(self.name).fit(data, params, **told)

    monkeypatch.setattr("ecluse.apps.fraud.training.portfolio.MAX_VARIATIONS", 0)
    monkeypatch.setattr("ecluse.apps.fraud.training.search.family", Meeting)
    assert len(search(folds(300)[:1]).candidates) == len(fits)


def test_two_workers_never_fit_what_must_be_fitted_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    beside: list[tuple[str, ...]] = []
    now: list[str] = []
    lock = threading.Lock()

    def watched(name: str) -> Any:
        library = family(name)

        class Watched:
            def fit(self, *args: Any, **options: Any) -> FittedModel:
                with lock:
                    now.append(name)
                    beside.append(tuple(now))
                try:
                    return library.fit(*args, **options)
                finally:
                    with lock:
                        now.remove(name)

        return Watched()

    monkeypatch.setattr("ecluse.apps.fraud.training.portfolio.MAX_VARIATIONS", 1)
    monkeypatch.setattr("ecluse.apps.fraud.training.search.family", watched)
    result = search(folds(450))
    assert not [names for names in beside if names.count("catboost") > 1]
    assert [names for names in beside if len(names) == 2 and "catboost" in names], "others go on meanwhile"
    assert result.begun == result.planned, "whoever waited was fitted"


def test_settings_that_are_through_too_late_to_be_fitted_again_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ecluse.apps.fraud.training.portfolio.MAX_VARIATIONS", 0)
    told: list[int] = []
    setting = SearchSetting(Stopwatch(), lambda message: None, 2, tried=lambda number, _: told.append(number))
    result = search_models(folds(300), setting, seed=0, limits=Limits(600, refit=1.0, latest=0.0))
    assert [candidate.name for candidate in result.ranked] == ["LightGBM"], "something has to be there"
    assert [trial.name for trial in result.trials] == ["LightGBM"], "a repeat does not fit the others either"
    assert (result.ended, told) == ("budget", [1])
    assert result.begun > 1


def test_plain_settings_are_among_the_first_that_are_tried() -> None:
    numbers, levels = (
        [trial.name for trial in portfolio(seed=0, categorical=categorical)] for categorical in (False, True)
    )
    assert numbers[:3] == ["LightGBM", "CatBoost", "LightGBM, plain"]
    assert "LightGBM, plain" in levels[:4]


def test_recent_rows_are_weighed_more_where_rows_have_a_time_alone() -> None:
    timed, untimed = (portfolio(seed=0, categorical=True, timed=timed) for timed in (True, False))
    recent = [trial for trial in timed if "half_life" in trial.params]
    assert {trial.family for trial in recent} == {"catboost", "lightgbm"}
    assert [trial for trial in timed if trial not in recent] == list(untimed)
    assert max(timed.index(trial) for trial in recent) < 6, "short budgets reach them"


def test_the_first_settings_are_waited_for_where_others_are_through_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    through, real = threading.Event(), family

    class Turned:
        """A family whose first settings begin once the second are through."""

        def __init__(self, name: str) -> None:
            self.name = name

        def fit(self, data: FitData, params: Params, **told: Any) -> FittedModel:
            if self.name == "lightgbm":
                through.wait(120)
            fitted = real(self.name).fit(data, params, **told)
            through.set()
            return fitted

    monkeypatch.setattr("ecluse.apps.fraud.training.search.family", Turned)
    setting = SearchSetting(Stopwatch(), lambda message: None, 2)
    result = search_models(folds(300)[:1], setting, seed=0, limits=Limits(0.1, refits=1.0))
    assert "LightGBM" in [candidate.name for candidate in result.ranked]
