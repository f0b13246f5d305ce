"""Find the models that rank best the rows they were not fitted on, and how to blend them, within a time budget."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecluse.fraud.blending import MOST_MEMBERS, choose_weights, mean_precision
from ecluse.fraud.models import FitData, FittedModel, Floats, Params, family
from ecluse.fraud.models.blend import Member
from ecluse.fraud.portfolio import Trial, portfolio

Report = Callable[[str], None]
#: Told the number of a candidate, from 1, and its average precision on the rows held out.
Tried = Callable[[int, float], None]

POLL_S = 0.25
# The first settings must leave time for others, whatever they cost.
FIRST_SHARE = 0.6
NEVER: Callable[[], bool] = lambda: False  # noqa: E731 - a default for `stop`
UNHEARD: Tried = lambda number, average_precision: None  # noqa: E731 - a default for `tried`


@dataclass(frozen=True)
class FoldData:
    """Rows to fit on and rows held out, as matrices; scores are compared within one `panel`."""

    data: FitData
    panel: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)


@dataclass(frozen=True)
class Candidate:
    """Settings fitted on every fold. `margins` (held rows of all folds,) are log-odds; `seconds` of one fit."""

    name: str
    family: str
    params: Params
    seed: int
    models: tuple[FittedModel, ...] = field(repr=False)
    margins: Floats = field(repr=False)
    average_precision: float
    seconds: float

    @property
    def rounds(self) -> int:
        """Boosting rounds that served best, over the folds."""
        return round(float(np.mean([model.rounds for model in self.models])))

    def to_dict(self) -> dict[str, Any]:
        """A row of the leaderboard."""
        return {
            "name": self.name,
            "family": self.family,
            "params": dict(self.params),
            "validation_average_precision": self.average_precision,
            "seconds": round(self.seconds * len(self.models), 2),
        }


@dataclass(frozen=True)
class SearchResult:
    """What was fitted, best first, and the held rows of the first `folds` folds, in their order."""

    candidates: tuple[Candidate, ...]
    labels: NDArray[np.int8] = field(repr=False)
    panels: NDArray[np.int64] = field(repr=False)
    folds: int

    @property
    def best(self) -> Candidate:
        return self.candidates[0]

    @property
    def leaderboard(self) -> tuple[dict[str, Any], ...]:
        return tuple(candidate.to_dict() for candidate in self.candidates)


@dataclass(frozen=True)
class Blend:
    """The chosen candidates with their weights, heaviest first, and what they say together of the held rows."""

    members: tuple[tuple[Candidate, float], ...]
    margins: Floats = field(repr=False)
    average_precision: float


def search_models(
    folds: Sequence[FoldData],
    *,
    seed: int,
    deadline: float,
    report: Report,
    last_start: float | None = None,
    workers: int = 1,
    refits: float = 0.0,
    stop: Callable[[], bool] = NEVER,
    tried: Tried = UNHEARD,
) -> SearchResult:
    """Fit the portfolio on the folds until `deadline` (time.monotonic seconds), `workers` fits side by side.

    No settings are begun after `last_start`, nor when they would end too late to fit the best again, which takes
    `refits` times the seconds of one of their fits. At least one fold is fitted, whatever the deadline. `report`
    is called four times a second and may raise to cancel; once `stop` is true, what is complete is returned.
    `tried` is told each candidate once it is fitted on every fold.
    Which settings are reached depends on the machine's speed; each fit itself depends on the seed only.
    """
    trials = portfolio(seed=seed, categorical=any(fold.data.categorical for fold in folds))
    race = _Race(folds, trials, deadline, last_start or deadline, workers, refits)
    with ThreadPoolExecutor(workers, "fit") as pool:
        try:
            _run(race, pool, report, stop, tried)
        finally:
            race.over.set()
    found = race.result()
    if not race.complete:
        tried(1, found.best.average_precision)
    return found


def blend_of(found: SearchResult, *, most_members: int = MOST_MEMBERS) -> Blend:
    """The candidates that rank the held rows best together."""
    margins = [candidate.margins for candidate in found.candidates]
    weights = choose_weights(margins, found.labels, found.panels, most_members=most_members)
    ranked = sorted(weights, key=lambda at: (-weights[at], at))
    together: Floats = np.sum([weights[at] * margins[at] for at in ranked], axis=0)
    score = mean_precision(found.labels, together, found.panels)
    return Blend(tuple((found.candidates[at], weights[at]) for at in ranked), together, score)


def fit_on_all(
    members: Sequence[tuple[Candidate, float]],
    data: FitData,
    *,
    growth: float,
    workers: int,
    tick: Callable[[], None],
) -> list[Member]:
    """The members fitted on rows `growth` times as many, and with as many more rounds than served on the folds.

    `tick` is called four times a second and may raise to cancel.
    """
    over = threading.Event()

    def heed() -> None:
        if over.is_set():
            raise _Abandoned

    def fit(candidate: Candidate) -> FittedModel:
        rounds = max(1, round(growth * candidate.rounds))
        params = {**candidate.params, "fixed_rounds": rounds}
        own = replace(data, prepared={})
        return family(candidate.family).fit(
            own, params, seed=candidate.seed, deadline=float("inf"), tick=heed
        )

    with ThreadPoolExecutor(workers, "fit") as pool:
        try:
            fits = [pool.submit(fit, candidate) for candidate, _ in members]
            while wait(fits, timeout=POLL_S).not_done:
                tick()
        finally:
            over.set()
    return [Member(fit.result(), weight) for fit, (_, weight) in zip(fits, members, strict=True)]


class _Abandoned(Exception):
    """Ends a fit that is no longer wanted."""


@dataclass(frozen=True)
class _Fit:
    model: FittedModel
    margins: Floats
    seconds: float


class _Race:
    """The trials on their way: what is waiting, what is fitted, and what there is time for."""

    def __init__(
        self,
        folds: Sequence[FoldData],
        trials: Sequence[Trial],
        deadline: float,
        last_start: float,
        workers: int,
        refits: float,
    ) -> None:
        self.folds = folds
        self.trials = trials
        self.workers = workers
        self.over = threading.Event()
        self.candidates: list[Candidate] = []
        #: How many candidates were fitted on every fold.
        self.complete = 0
        self.waiting: deque[tuple[int, int]] = deque()
        self._begun = 0
        self._fits: dict[int, dict[int, _Fit]] = {}
        self._deadline = deadline
        self._last_start = last_start
        self.refits = refits
        turns = -(-len(folds) // workers)
        self._first_seconds = FIRST_SHARE * max(deadline - time.monotonic(), 0.0) / turns

    def end(self) -> float:
        """When the search must end (time.monotonic seconds), so that the best can still be fitted again."""
        slowest = sorted((c.seconds for c in self.candidates), reverse=True)[:MOST_MEMBERS]
        return self._deadline - self.refits * sum(slowest) / self.workers

    def next_trial(self) -> bool:
        """Put the next trial in line; False when none is left or it would come too late."""
        now = time.monotonic()
        if self._begun and (now >= self._last_start or now + self._expected() > self.end()):
            return False
        if self._begun == len(self.trials):
            return False
        self.waiting.extend((self._begun, fold) for fold in range(len(self.folds)))
        self._begun += 1
        return True

    def fit(self, trial: int, fold: int) -> _Fit:
        """Runs in a thread of its own."""
        settings, data = self.trials[trial], self.folds[fold].data
        with self.folds[fold].lock:
            begun = time.monotonic()
            deadline = begun + self._first_seconds if trial == 0 else self._deadline
            model = family(settings.family).fit(
                data, settings.params, seed=settings.seed, deadline=deadline, tick=self._tick
            )
            margins = model.predict_margin(data.valid)
        return _Fit(model, margins, time.monotonic() - begun)

    def add(self, trial: int, fold: int, fit: _Fit) -> None:
        fits = self._fits.setdefault(trial, {})
        fits[fold] = fit
        if len(fits) == len(self.folds):
            self.candidates.append(self._candidate(trial, tuple(range(len(self.folds)))))
            del self._fits[trial]

    def enough(self) -> bool:
        """Whether there is anything to return: at least what the first settings say of the first fold's rows."""
        return bool(self.candidates) or 0 in self._fits.get(0, {})

    def line(self) -> str:
        """What is being fitted, and the best so far."""
        name = self.trials[max(self._begun - 1, 0)].name
        best = max((c.average_precision for c in self.candidates), default=None)
        so_far = f"Best so far: average precision {best:.3f}" if best is not None else "First fit"
        return f"{name}, {self._begun} of up to {len(self.trials)}. {so_far}"

    def result(self) -> SearchResult:
        used = tuple(range(len(self.folds)))
        if not self.candidates:
            fitted = self._fits[0]
            used = tuple(takewhile(lambda fold: fold in fitted, used))
            self.candidates.append(self._candidate(0, used))
        ranked = sorted(self.candidates, key=lambda c: -c.average_precision)
        return SearchResult(tuple(ranked), *self._truth(used), len(used))

    def _candidate(self, trial: int, used: tuple[int, ...]) -> Candidate:
        settings, fits = self.trials[trial], [self._fits[trial][fold] for fold in used]
        margins = np.concatenate([fit.margins for fit in fits])
        labels, panels = self._truth(used)
        return Candidate(
            settings.name,
            settings.family,
            settings.params,
            settings.seed,
            tuple(fit.model for fit in fits),
            margins,
            mean_precision(labels, margins, panels),
            float(np.mean([fit.seconds for fit in fits])),
        )

    def _truth(self, used: tuple[int, ...]) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
        folds = [self.folds[at] for at in used]
        labels = np.concatenate([fold.data.valid_labels for fold in folds])
        return labels, np.concatenate([np.full(len(f.data.valid), f.panel, dtype=np.int64) for f in folds])

    def _expected(self) -> float:
        """Seconds the next trial may take, by what others took."""
        if not self.candidates:
            return 0.0
        return float(np.median([c.seconds for c in self.candidates])) * len(self.folds) / self.workers

    def _tick(self) -> None:
        if self.over.is_set():
            raise _Abandoned


def _run(
    race: _Race, pool: ThreadPoolExecutor, report: Report, stop: Callable[[], bool], tried: Tried
) -> None:
    running: dict[Future[_Fit], tuple[int, int]] = {}
    while True:
        while len(running) < race.workers and (race.waiting or race.next_trial()):
            at = race.waiting.popleft()
            running[pool.submit(race.fit, *at)] = at
        if not running:
            return
        report(race.line())
        done, _ = wait(running, timeout=POLL_S, return_when=FIRST_COMPLETED)
        for future in done:
            race.add(*running.pop(future), future.result())
            if len(race.candidates) > race.complete:
                race.complete += 1
                tried(race.complete, race.candidates[-1].average_precision)
        late = time.monotonic() >= race.end()
        if race.enough() and (stop() or (late and race.refits)):
            race.over.set()
            return
        if late:
            # What is being fitted ends at the deadline by itself, and without another fit is used as it is.
            race.waiting.clear()
