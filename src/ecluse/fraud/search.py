"""Find the models that rank best the rows they were not fitted on, and how to blend them, within a time budget."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecluse.fraud.blending import CONSIDERED, MOST_MEMBERS, choose_weights, mean_precision
from ecluse.fraud.clock import Stopwatch
from ecluse.fraud.models import FitData, FittedModel, Floats, Params, Until, family
from ecluse.fraud.models.blend import Member
from ecluse.fraud.portfolio import Trial, portfolio
from ecluse.fraud.record import Ending, FitFacts, TrainingRecord, TrialRecord

Report = Callable[[str], None]
#: Told the number of a candidate, from 1, and its average precision on the rows held out.
Tried = Callable[[int, float], None]

POLL_S = 0.25
# The first settings must leave time for others, whatever they cost.
FIRST_SHARE = 0.6
# Fewer are no choice to judge again; a further fold may take so many times the seconds of one before.
LEAST_FINALISTS = 4
MORE_TIME = 1.2
NEVER: Callable[[], bool] = lambda: False  # noqa: E731 - a default for `stop`
UNHEARD: Tried = lambda number, average_precision: None  # noqa: E731 - a default for `tried`


@dataclass(frozen=True)
class FoldData:
    """Rows to fit on and rows held out, as matrices; scores are compared within one `panel`."""

    data: FitData
    panel: int = 0


@dataclass(frozen=True)
class Further:
    """So many more folds, drawn anew, that can be prepared in so many seconds of work."""

    count: int
    seconds: float
    prepare: Callable[[], list[FoldData]]


@dataclass(frozen=True)
class Candidate:
    """Settings fitted on every fold. `margins` (held rows of all folds,) are log-odds; `seconds` of work of one fit."""

    name: str
    family: str
    params: Params
    seed: int
    models: tuple[FittedModel, ...] = field(repr=False)
    margins: Floats = field(repr=False)
    average_precision: float
    seconds: float
    fits: tuple[FitFacts, ...]

    @property
    def rounds(self) -> int:
        """Boosting rounds that served best, over the folds."""
        return round(float(np.mean([model.rounds for model in self.models])))

    def record(self) -> TrialRecord:
        return TrialRecord(self.name, self.family, dict(self.params), self.seed, self.fits, self.seconds)

    def to_dict(self) -> dict[str, Any]:
        """A row of the leaderboard."""
        return {
            "name": self.name,
            "family": self.family,
            "params": dict(self.params),
            "validation_average_precision": self.average_precision,
            "seconds": round(self.seconds * len(self.models), 2),
            "rounds": [fit.rounds for fit in self.fits],
            "cut_short": any(fit.was_cut for fit in self.fits),
        }


@dataclass(frozen=True)
class SearchResult:
    """What was fitted, best first, and the held rows of the folds, in their order.

    Where the best were fitted on further folds, they alone are `candidates`, and the `others` are told of only.
    `planned` settings would have been tried with time enough, `begun` were; `ended` says what ended the search.
    `trials` are the candidates in the order of the portfolio, to fit them again by.
    """

    candidates: tuple[Candidate, ...]
    others: tuple[Candidate, ...]
    labels: NDArray[np.int8] = field(repr=False)
    panels: NDArray[np.int64] = field(repr=False)
    folds: int
    planned: int
    begun: int
    ended: Ending
    trials: tuple[TrialRecord, ...]

    @property
    def best(self) -> Candidate:
        return self.candidates[0]

    @property
    def leaderboard(self) -> tuple[dict[str, Any], ...]:
        return tuple(candidate.to_dict() for candidate in (*self.candidates, *self.others))


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
    watch: Stopwatch,
    report: Report,
    last_start: float | None = None,
    workers: int = 1,
    refits: float = 0.0,
    stop: Callable[[], bool] = NEVER,
    tried: Tried = UNHEARD,
    more: Further | None = None,
) -> SearchResult:
    """Fit the portfolio on the folds until `watch` is at `deadline` (seconds of work), `workers` fits side by side.

    No settings are begun after `last_start`, nor when they would end too late to fit the best again, which takes
    `refits` times the seconds of one of their fits. The first settings are fitted on every fold until they have
    settled, whatever the deadline: nothing less may be published. `report` is called four times a second and may
    raise to cancel; once `stop` is true, what is complete is returned. `tried` is told each candidate once it is
    fitted on every fold. Where all is tried early, the best are fitted on `more` folds, too, and judged by all.
    Which settings are reached depends on the machine's speed; each fit itself depends on the seed only.
    """
    trials = portfolio(seed=seed, categorical=any(fold.data.categorical for fold in folds))
    race = _Race(folds, trials, watch, deadline, last_start or deadline, workers, refits, more=more)
    with ThreadPoolExecutor(workers, "fit") as pool:
        try:
            _run(race, pool, report, stop, tried)
        finally:
            race.over.set()
    return race.result()


def repeat_models(
    folds: Sequence[FoldData],
    record: TrainingRecord,
    *,
    watch: Stopwatch,
    workers: int,
    report: Report,
    tried: Tried = UNHEARD,
) -> SearchResult:
    """Fit what a search fitted, each as many rounds, without a clock: what it returned."""
    trials = [Trial(one.name, one.family, one.params, one.seed) for one in record.trials]
    race = _Race(folds, trials, watch, float("inf"), float("inf"), workers, 0.0, record.trials)
    with ThreadPoolExecutor(workers, "fit") as pool:
        try:
            _run(race, pool, report, NEVER, tried)
        finally:
            race.over.set()
    return replace(race.result(), planned=record.planned, begun=record.begun, ended=record.ended)


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
        return family(candidate.family).fit(own, params, seed=candidate.seed, until=Until(), tick=heed)

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
    facts: FitFacts


def _lanes(data: FitData, count: int) -> SimpleQueue[FitData]:
    """The same rows for so many fits side by side."""
    lanes: SimpleQueue[FitData] = SimpleQueue()
    for _ in range(count):
        lanes.put(replace(data, prepared={}))
    return lanes


def _as_before(fit: FitFacts) -> Until:
    """Ends a fit where it was cut; one that validation ended is ended by it again."""
    return Until(lambda rounds: fit.was_cut and rounds >= fit.rounds)


class _Race:
    """The trials on their way: what is waiting, what is fitted, and what there is time for."""

    def __init__(
        self,
        folds: Sequence[FoldData],
        trials: Sequence[Trial],
        watch: Stopwatch,
        deadline: float,
        last_start: float,
        workers: int,
        refits: float,
        before: Sequence[TrialRecord] = (),
        more: Further | None = None,
    ) -> None:
        self.before = before
        self.folds = [*folds]
        self.trials = trials
        self.workers = workers
        # What a family builds of a fold's rows serves one fit at a time; fewer folds than workers have several.
        self._lanes = [_lanes(fold.data, -(-workers // len(folds))) for fold in folds]
        self._base = len(folds)
        self._more = more
        self._finalists: frozenset[int] = frozenset()
        self._finals: dict[int, Candidate] = {}
        self.over = threading.Event()
        self.ended: Ending = "complete"
        self._by_trial: dict[int, Candidate] = {}
        self.waiting: deque[tuple[int, int]] = deque()
        self._watch = watch
        self._begun = 0
        self._closed = False
        self._fits: dict[int, dict[int, _Fit]] = {}
        self._deadline = deadline
        self._last_start = last_start
        self.refits = refits
        turns = -(-len(folds) // workers)
        self._first_seconds = FIRST_SHARE * max(deadline - watch.seconds(exact=True), 0.0) / turns

    @property
    def candidates(self) -> list[Candidate]:
        """What was fitted on every fold, in the order of the trials."""
        return [self._by_trial[trial] for trial in sorted(self._by_trial)]

    def is_late(self) -> bool:
        return self._watch.seconds() >= self.end()

    def end(self) -> float:
        """When the search must end (seconds of work), so that the best can still be fitted again."""
        slowest = sorted((c.seconds for c in self.candidates), reverse=True)[:MOST_MEMBERS]
        return self._deadline - self.refits * sum(slowest) / self.workers

    def next_trial(self) -> bool:
        """Put the next trial in line; False when none is left or it would come too late."""
        if self._begun == len(self.trials) or self._closed:
            return False
        now = self._watch.seconds()
        if self._begun and (now >= self._last_start or now + self._expected() > self.end()):
            self.ended = "budget"
            return False
        folds = len(self.before[self._begun].fits) if self.before else len(self.folds)
        self.waiting.extend((self._begun, fold) for fold in range(folds))
        self._begun += 1
        return True

    def extend(self) -> bool:
        """Once all is tried, fit the best on further folds, if the seconds suffice: luck in one draw weighs less."""
        if self._more is None or self.ended != "complete":
            return False
        left = self.end() - self._watch.seconds(exact=True) - self._more.seconds
        ranked = sorted(self._by_trial, key=lambda at: -self._by_trial[at].average_precision)
        costs = np.cumsum([self._by_trial[at].seconds for at in ranked[:CONSIDERED]])
        count = int(np.sum(MORE_TIME * costs * self._more.count / self.workers <= left))
        further = self._more.prepare() if count >= LEAST_FINALISTS else []
        self._more = None
        if not further:
            return False
        self._finalists = frozenset(ranked[:count])
        self.folds += further
        self._lanes += [_lanes(fold.data, -(-self.workers // len(self.folds))) for fold in further]
        self.waiting.extend(
            (trial, fold) for trial in ranked[:count] for fold in range(self._base, len(self.folds))
        )
        return True

    def fit(self, trial: int, fold: int) -> _Fit:
        """Runs in a thread of its own."""
        settings, lanes = self.trials[trial], self._lanes[fold]
        data = lanes.get()
        try:
            begun = self._watch.seconds(exact=True)
            deadline = begun + self._first_seconds if trial == 0 else self._deadline
            until = Until(lambda _: self._watch.seconds() >= deadline, settle=trial == 0)
            if self.before:
                until = _as_before(self.before[trial].fits[fold])
            model = family(settings.family).fit(
                data, settings.params, seed=settings.seed, until=until, tick=self._tick
            )
            margins = model.predict_margin(data.valid)
        finally:
            lanes.put(data)
        seconds = self.before[trial].seconds if self.before else self._watch.seconds(exact=True) - begun
        return _Fit(model, margins, seconds, FitFacts(until.rounds, until.was_cut))

    def add(self, trial: int, fold: int, fit: _Fit) -> Candidate | None:
        """Keep a fit; the candidate, where this was its last."""
        fits = self._fits.setdefault(trial, {})
        fits[fold] = fit
        if trial in self._finalists:
            if len(fits) == len(self.folds):
                self._finals[trial] = self._candidate(trial)
            return None
        if len(fits) == (len(self.before[trial].fits) if self.before else self._base):
            self._by_trial[trial] = self._candidate(trial)
        return self._by_trial.get(trial)

    def enough(self) -> bool:
        """Whether there is anything to return: the first settings, settled on every fold."""
        return bool(self.candidates)

    def close(self, ended: Ending) -> None:
        """Begin nothing more than what must be there."""
        self.waiting = deque(at for at in self.waiting if at[0] == 0)
        self.ended, self._closed = ended, True

    def line(self) -> str:
        """What is being fitted, and the best so far."""
        name = self.trials[max(self._begun - 1, 0)].name
        best = max((c.average_precision for c in self.candidates), default=None)
        so_far = f"Best so far: average precision {best:.3f}" if best is not None else "First fit"
        return f"{name}, {self._begun} of up to {len(self.trials)}. {so_far}"

    def result(self) -> SearchResult:
        found, folds = self._by_trial, self._base
        if self._finalists and len(self._finals) == len(self._finalists):
            found, folds = self._by_trial | self._finals, len(self.folds)
        candidates = [found[trial] for trial in sorted(found)]
        ranked = sorted(candidates, key=lambda c: (-len(c.fits), -c.average_precision))
        return SearchResult(
            tuple(c for c in ranked if len(c.fits) == folds),
            tuple(c for c in ranked if len(c.fits) < folds),
            *self._truth(folds),
            folds,
            len(self.trials),
            self._begun,
            self.ended,
            tuple(candidate.record() for candidate in candidates),
        )

    def _candidate(self, trial: int) -> Candidate:
        settings, fits = self.trials[trial], [fit for _, fit in sorted(self._fits[trial].items())]
        margins = np.concatenate([fit.margins for fit in fits])
        labels, panels = self._truth(len(fits))
        return Candidate(
            settings.name,
            settings.family,
            settings.params,
            settings.seed,
            tuple(fit.model for fit in fits),
            margins,
            mean_precision(labels, margins, panels),
            # Rounded as it is recorded, so that a repeat tells the same.
            round(float(np.mean([fit.seconds for fit in fits])), 4),
            tuple(fit.facts for fit in fits),
        )

    def _truth(self, count: int) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
        folds = self.folds[:count]
        labels = np.concatenate([fold.data.valid_labels for fold in folds])
        panels = [np.full(len(fold.data.valid), fold.panel, dtype=np.int64) for fold in folds]
        return labels, np.concatenate(panels)

    def _expected(self) -> float:
        """Seconds of work the next trial may take, by what others took."""
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
        while len(running) < race.workers and (
            race.waiting or race.next_trial() or (not running and race.extend())
        ):
            at = race.waiting.popleft()
            running[pool.submit(race.fit, *at)] = at
        if not running:
            return
        report(race.line())
        done, _ = wait(running, timeout=POLL_S, return_when=FIRST_COMPLETED)
        for future in done:
            complete = race.add(*running.pop(future), future.result())
            if complete is not None:
                tried(len(race.candidates), complete.average_precision)
        late, asked = race.is_late(), stop()
        if late or asked:
            race.close("asked" if asked else "budget")
        if race.enough() and (asked or (late and race.refits)):
            # Without another fit, what is being fitted ends at the deadline by itself and is used as it is.
            race.over.set()
            return
