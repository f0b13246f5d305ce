"""Find the models that rank best the rows they were not fitted on, and how to blend them, within a time budget."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from ecluse.apps.fraud.clock import Stopwatch
from ecluse.apps.fraud.families import FAMILIES, FitData, FittedModel, Floats, Params, Until, family
from ecluse.apps.fraud.families.blend import Member
from ecluse.apps.fraud.performance.parts import TriedModel
from ecluse.apps.fraud.training.blending import CONSIDERED, MOST_MEMBERS, choose_weights, mean_precision
from ecluse.apps.fraud.training.kept import At, Fit, Kept, SearchEnd
from ecluse.apps.fraud.training.portfolio import Trial, portfolio
from ecluse.apps.fraud.training.record import Ending, FitFacts, TrainingRecord, TrialRecord
from ecluse.sentences import _, num

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
    """Settings fitted on every fold. `margins` (held rows of all folds,) are log-odds; `seconds` of work of one fit.

    `models` are those that are at hand, and `best_rounds` of each fit those that served best.
    """

    name: str
    family: str
    params: Params
    seed: int
    models: tuple[FittedModel, ...] = field(repr=False)
    best_rounds: tuple[int, ...]
    margins: Floats = field(repr=False)
    average_precision: float
    seconds: float
    fits: tuple[FitFacts, ...]

    @property
    def rounds(self) -> int:
        """Boosting rounds that served best, over the folds."""
        return round(float(np.mean(self.best_rounds)))

    def record(self) -> TrialRecord:
        return TrialRecord(self.name, self.family, dict(self.params), self.seed, self.fits, self.seconds)

    @property
    def was_cut(self) -> bool:
        """Tell whether the end of the budget cut a fit short."""
        return any(fit.was_cut for fit in self.fits)

    def as_tried(self) -> TriedModel:
        """Return its row of the leaderboard."""
        return TriedModel(
            name=self.name,
            family=self.family,
            params=dict(self.params),
            validation_average_precision=self.average_precision,
            seconds=round(self.seconds * len(self.fits), 2),
            rounds=tuple(fit.rounds for fit in self.fits),
            cut_short=self.was_cut,
        )


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
    def ranked(self) -> tuple[Candidate, ...]:
        """Return all that was fitted on every fold, best first."""
        return (*self.candidates, *self.others)


@dataclass(frozen=True)
class Blend:
    """The chosen candidates with their weights, heaviest first, and what they say together of the held rows."""

    members: tuple[tuple[Candidate, float], ...]
    margins: Floats = field(repr=False)
    average_precision: float


@dataclass(frozen=True)
class SearchSetting:
    """What a search runs on, and who hears of it.

    `watch` counts seconds of work, and `workers` fits run side by side. `report` is called four times a second and
    may raise to cancel; once `stop` is true, what is complete is returned. `tried` hears of each candidate once it
    is fitted on every fold. What is fitted is `kept`, and what was kept before is not fitted again.
    """

    watch: Stopwatch
    report: Report
    workers: int = 1
    stop: Callable[[], bool] = NEVER
    tried: Tried = UNHEARD
    kept: Kept | None = None


@dataclass(frozen=True)
class Limits:
    """Seconds of work at which a search ends and last begins settings, and what fitting the best again takes.

    That is `refits` times the seconds of one of their fits, and `refit` times for the first such fit alone, which has
    to be through at `latest`.
    """

    deadline: float = float("inf")
    last_start: float = float("inf")
    refits: float = 0.0
    refit: float = 0.0
    latest: float = float("inf")


def search_models(
    folds: Sequence[FoldData],
    setting: SearchSetting,
    *,
    seed: int,
    limits: Limits,
    more: Further | None = None,
) -> SearchResult:
    """Fit the portfolio on the folds until the watch is at the deadline of `limits`.

    No settings are begun after the last start, nor when they would end too late to fit the best again. Those that are
    through too late to be fitted again, as they took longer than others, are left out. The first settings are fitted
    on every fold until they have settled, whatever the limits: nothing less may be published. Where all is tried
    early, the best are fitted on `more` folds, too, and judged by all. Which settings are reached depends on the
    machine's speed; each fit itself depends on the seed only.
    """
    trials = portfolio(
        seed=seed,
        categorical=any(fold.data.categorical for fold in folds),
        timed=any(fold.data.ages is not None for fold in folds),
    )
    return _result_of(_Race(folds, trials, setting, limits, more=more))


def repeat_models(folds: Sequence[FoldData], record: TrainingRecord, setting: SearchSetting) -> SearchResult:
    """Fit what a search fitted, each as many rounds, without a clock, and return the same; nothing stops it."""
    trials = [Trial(trial.name, trial.family, trial.params, trial.seed) for trial in record.trials]
    race = _Race(folds, trials, replace(setting, stop=NEVER), Limits(), record.trials)
    result = _result_of(race)
    return replace(result, planned=record.planned, begun=record.begun, ended=record.ended)


def blend_of(result: SearchResult, *, most_members: int = MOST_MEMBERS) -> Blend:
    """Return the candidates that rank the held rows best together."""
    margins = [candidate.margins for candidate in result.candidates]
    weights = choose_weights(margins, result.labels, result.panels, most_members=most_members)
    ranked = sorted(weights, key=lambda at: (-weights[at], at))
    together: Floats = np.sum([weights[at] * margins[at] for at in ranked], axis=0)
    score = mean_precision(result.labels, together, result.panels)
    return Blend(tuple((result.candidates[at], weights[at]) for at in ranked), together, score)


def fit_on_all(
    members: Sequence[tuple[Candidate, float]],
    data: FitData,
    *,
    growth: float,
    workers: int,
    tick: Callable[[], None],
    kept: Kept | None = None,
    name: str = "member",
) -> list[Member]:
    """Fit the members on rows `growth` times as many, and with as many more rounds than served on the folds.

    `tick` is called four times a second and may raise to cancel. Each is `kept` under `name` once it is fitted.
    """
    over = threading.Event()

    def heed() -> None:
        if over.is_set():
            raise _Abandoned

    rounds = [max(1, round(growth * candidate.rounds)) for candidate, _ in members]
    models: dict[int, FittedModel] = {}

    def fit(at: int) -> FittedModel:
        candidate = members[at][0]
        params = {**candidate.params, "fixed_rounds": rounds[at]}
        own = replace(data, prepared={})
        return family(candidate.family).fit(own, params, seed=candidate.seed, until=Until(), tick=heed)

    for at, (candidate, _score) in enumerate(members):
        before = None if kept is None else kept.model(f"{name}_{at}", [candidate.name, rounds[at]])
        if before is not None:
            models[at] = before
    with ThreadPoolExecutor(workers, "fit") as pool:
        try:
            running = {pool.submit(fit, at): at for at in range(len(members)) if at not in models}
            while running:
                done, _rest = wait(running, timeout=POLL_S, return_when=FIRST_COMPLETED)
                for future in done:
                    at = running.pop(future)
                    models[at] = future.result()
                    if kept is not None:
                        kept.keep_model(f"{name}_{at}", [members[at][0].name, rounds[at]], models[at])
                tick()
        finally:
            over.set()
    return [Member(models[at], weight) for at, (_, weight) in enumerate(members)]


class _Abandoned(Exception):
    """Ends a fit that is no longer wanted."""


def _lanes(data: FitData, count: int) -> SimpleQueue[FitData]:
    """Return the same rows for so many fits side by side."""
    lanes: SimpleQueue[FitData] = SimpleQueue()
    for _turn in range(count):
        lanes.put(replace(data, prepared={}))
    return lanes


def _as_before(fit: FitFacts) -> Until:
    """End a fit where it was cut; one that validation ended is ended by it again."""
    return Until(lambda rounds: fit.was_cut and rounds >= fit.rounds)


class _Race:
    """The trials on their way: what is waiting, what is fitted, and what there is time for."""

    def __init__(
        self,
        folds: Sequence[FoldData],
        trials: Sequence[Trial],
        setting: SearchSetting,
        limits: Limits,
        before: Sequence[TrialRecord] = (),
        more: Further | None = None,
    ) -> None:
        watch, workers, deadline = setting.watch, setting.workers, limits.deadline
        self.setting = setting
        self.before = before
        self.kept = setting.kept or Kept(None, "", watch, Path())
        # The work that it took is on the watch from here on.
        self._taken_up, self._end = self.kept.fits(), self.kept.search_end()
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
        self.waiting: deque[At] = deque()
        self._watch = watch
        # Drawn from the portfolio, and of those the settings of which a fit was begun.
        self._drawn = 0
        self._begun: set[int] = set()
        self._closed = False
        self._fits: dict[int, dict[int, Fit]] = {}
        self._deadline = deadline
        self._limits = limits
        self.refits = limits.refits
        turns = -(-len(folds) // workers)
        self._first_seconds = FIRST_SHARE * max(deadline - watch.seconds(exact=True), 0.0) / turns

    @property
    def candidates(self) -> list[Candidate]:
        """Return what was fitted on every fold, in the order of the trials."""
        return [self._by_trial[trial] for trial in sorted(self._by_trial)]

    def is_late(self) -> bool:
        return self._watch.seconds() >= self.end()

    def end(self) -> float:
        """When the search must end (seconds of work), so that the best can still be fitted again."""
        return self._deadline - self._seconds_again(self.refits)

    def _seconds_again(self, times: float) -> float:
        """Seconds of work to fit the costliest members of a blend, so many times the seconds of their fits."""
        slowest = sorted((c.seconds for c in self.candidates), reverse=True)[:MOST_MEMBERS]
        return times * sum(slowest) / self.workers

    def leave_out_late(self, trial: int) -> bool:
        """Leave out settings, but the first, that are through too late to be fitted again; tell whether."""
        again = self._seconds_again(self._limits.refit)
        if trial == 0 or self._watch.seconds(exact=True) + again <= self._limits.latest:
            return False
        del self._by_trial[trial], self._fits[trial]
        self.ended = "budget"
        return True

    def next_trial(self) -> bool:
        """Put the next trial in line; False when none is left or it would come too late."""
        if self._drawn == len(self.trials) or self._closed:
            return False
        now = self._watch.seconds()
        if self._drawn and (now >= self._limits.last_start or now + self._expected() > self.end()):
            self.ended = "budget"
            return False
        self.waiting.extend((self._drawn, fold) for fold in range(self._folds_of(self._drawn)))
        self._drawn += 1
        return True

    def next_fit(self, running: Collection[At]) -> At | None:
        """Take from the line the first fit that can go on beside those that are `running`; None where there is none."""
        fitted_now = {self.trials[trial].family for trial, _ in running}
        while True:
            for at in self.waiting:
                name = self.trials[at[0]].family
                if name not in fitted_now or not FAMILIES[name].alone:
                    self.waiting.remove(at)
                    self._begun.add(at[0])
                    return at
            if not self.next_trial() and (running or not self.extend()):
                return None

    def take_up(self) -> Iterator[Candidate]:
        """Go on where a worker before this one was stopped; the candidates it was through with, in their order."""
        fits = {at: fit for at, fit in self._taken_up.items() if self._is_of_ours(at, fit)}
        if self._end is not None and self._end.fits <= fits.keys():
            # Fits that came later than the end were not used.
            fits = {at: fit for at, fit in fits.items() if at in self._end.fits}
            self._drawn, self.ended, self._closed = self._end.begun, self._end.ended, True
            self._begun = set(range(self._drawn))
        else:
            self._end = None
            self._begun = {trial for trial, _ in fits}
            self._drawn = 1 + max(self._begun, default=-1)
        first = {at: fit for at, fit in fits.items() if at[1] < self._folds_of(at[0])}
        for at, fit in first.items():
            if (complete := self.add(*at, fit)) is not None:
                yield complete
        if self._end is None:
            self.waiting.extend(
                (trial, fold)
                for trial in range(self._drawn)
                for fold in range(self._folds_of(trial))
                if (trial, fold) not in first
            )
            if self._drawn and self.is_late():
                self.close("budget")
        finalists = [at for at in self.kept.finalists if at in self._by_trial]
        if self._more is not None and finalists and not self.waiting:
            self._draw_further(finalists, fits)

    def _draw_further(self, finalists: Sequence[int], fits: Mapping[At, Fit]) -> None:
        """Fit these on further folds, but for what is fitted."""
        more, self._more = self._more, None
        further = more.prepare() if more is not None else []
        self._finalists = frozenset(finalists)
        self.folds += further
        self._lanes += [_lanes(fold.data, -(-self.workers // len(self.folds))) for fold in further]
        for trial in finalists:
            for fold in range(self._base, len(self.folds)):
                fit = fits.get((trial, fold))
                if fit is not None and len(fit.margins) == len(self.folds[fold].data.valid):
                    self.add(trial, fold, fit)
                elif self._end is None:
                    self.waiting.append((trial, fold))

    def keep_end(self) -> None:
        """Keep that the search is over, for a worker that may have to go on from there."""
        if self._end is None:
            fits = frozenset((trial, fold) for trial, some in self._fits.items() for fold in some)
            self.kept.keep_search_end(SearchEnd(self.ended, len(self._begun), fits))

    def _folds_of(self, trial: int) -> int:
        return len(self.before[trial].fits) if self.before else self._base

    def _is_of_ours(self, at: At, fit: Fit) -> bool:
        """Tell whether a fit that was kept is one of these settings, of a fold as long as this."""
        trial, fold = at
        if not 0 <= trial < len(self.trials):
            return False
        if fold >= self._base:
            return trial in self.kept.finalists
        return len(fit.margins) == len(self.folds[fold].data.valid)

    def extend(self) -> bool:
        """Once all is tried, fit the best on further folds, if the seconds suffice: luck in one draw weighs less."""
        if self._more is None or self._closed or self.ended != "complete":
            return False
        left = self.end() - self._watch.seconds(exact=True) - self._more.seconds
        ranked = sorted(self._by_trial, key=lambda at: -self._by_trial[at].average_precision)
        costs = np.cumsum([self._by_trial[at].seconds for at in ranked[:CONSIDERED]])
        count = int(np.sum(MORE_TIME * costs * self._more.count / self.workers <= left))
        if count < LEAST_FINALISTS:
            self._more = None
            return False
        self.kept.finalists = tuple(ranked[:count])
        self._draw_further(ranked[:count], {})
        return bool(self.waiting)

    def fit(self, trial: int, fold: int) -> Fit:
        """Fit one fold, in a thread of its own."""
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
        return Fit(model, model.rounds, margins, seconds, FitFacts(until.rounds, until.was_cut))

    def add(self, trial: int, fold: int, fit: Fit) -> Candidate | None:
        """Keep a fit; the candidate, where this was its last."""
        fits = self._fits.setdefault(trial, {})
        fits[fold] = fit
        if trial in self._finalists:
            if len(fits) == len(self.folds):
                self._finals[trial] = self._candidate(trial)
            return None
        if len(fits) == self._folds_of(trial):
            self._by_trial[trial] = self._candidate(trial)
        return self._by_trial.get(trial)

    def enough(self) -> bool:
        """Tell whether there is anything to return: the first settings, settled on every fold."""
        return 0 in self._by_trial

    def close(self, ended: Ending) -> None:
        """Begin nothing more than what must be there."""
        self.waiting = deque(at for at in self.waiting if at[0] == 0)
        self.ended, self._closed = ended, True

    def line(self) -> str:
        """Return what is being fitted, and the best so far."""
        name = self.trials[max(self._begun, default=0)].name
        best = max((c.average_precision for c in self.candidates), default=None)
        so_far = (
            _("Best so far: average precision %(figure)s", figure=num(best, ".3f"))
            if best is not None
            else _("First fit")
        )
        return _(
            "%(trial)s, %(number)s of up to %(total)s. %(so_far)s",
            trial=name,
            number=len(self._begun),
            total=len(self.trials),
            so_far=so_far,
        )

    def result(self) -> SearchResult:
        by_trial, folds = self._by_trial, self._base
        if self._finalists and len(self._finals) == len(self._finalists):
            by_trial, folds = self._by_trial | self._finals, len(self.folds)
        candidates = [by_trial[trial] for trial in sorted(by_trial)]
        ranked = sorted(candidates, key=lambda c: (-len(c.fits), -c.average_precision))
        return SearchResult(
            tuple(c for c in ranked if len(c.fits) == folds),
            tuple(c for c in ranked if len(c.fits) < folds),
            *self._truth(folds),
            folds,
            len(self.trials),
            len(self._begun),
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
            tuple(fit.model for fit in fits if fit.model is not None),
            tuple(fit.rounds for fit in fits),
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


def _result_of(race: _Race) -> SearchResult:
    """Run the race to its end; where it is stopped, what was done is kept."""
    with ThreadPoolExecutor(race.workers, "fit") as pool:
        try:
            _run(race, pool)
            race.keep_end()
        finally:
            race.over.set()
            race.kept.flush()
    return race.result()


def _run(race: _Race, pool: ThreadPoolExecutor) -> None:
    running: dict[Future[Fit], At] = {}
    tried = race.setting.tried
    for candidate in race.take_up():
        tried(len(race.candidates), candidate.average_precision)
    while True:
        while len(running) < race.workers and (at := race.next_fit(running.values())) is not None:
            running[pool.submit(race.fit, *at)] = at
        if not running:
            return
        race.setting.report(race.line())
        done, _rest = wait(running, timeout=POLL_S, return_when=FIRST_COMPLETED)
        for future in done:
            at, fit = running.pop(future), future.result()
            complete = race.add(*at, fit)
            race.kept.add(at, fit)
            if complete is not None and not race.leave_out_late(at[0]):
                tried(len(race.candidates), complete.average_precision)
        late, asked = race.is_late(), race.setting.stop()
        if late or asked:
            race.close("asked" if asked else "budget")
        if race.enough() and (asked or (late and race.refits)):
            # Without another fit, what is being fitted ends at the deadline by itself and is used as it is.
            race.over.set()
            return
