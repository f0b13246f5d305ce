"""Fit, save and load one model of a family: LightGBM, CatBoost, XGBoost or a linear model.

A family is a module beside this one (see `Family`) and its line in `FAMILIES`. The module is imported when
first used, because the libraries behind take a second to load. Files are the libraries' own formats, never
pickles.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module  # noqa: TID251 (names in this package)
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

from ecluse.errors import ModelUnreadable
from ecluse.later import Later
from ecluse.sentences import _

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
else:
    np = Later("numpy")

Matrix: TypeAlias = "NDArray[np.float32]"
Floats: TypeAlias = "NDArray[np.float64]"
Params = Mapping[str, Any]
Scores = Sequence[tuple[int, float]]
OWN_PARAMS = frozenset({"rounds", "patience", "fixed_rounds"})
#: A round is judged by the mean of its score and of those of so many rounds before and after it.
SMOOTHED = 10
# A fit has settled when the last rounds, of so many, raised its best score by less than this.
SETTLED_ROUNDS = 60
SETTLED_LAST = 30
SETTLED_GAIN = 2e-3
STEM = "best_model"
"""What the file of a model that stands alone is called, before its suffix."""
BLEND = "ecluse.apps.fraud.families.blend"

#: Called after every round; may raise to cancel.
Tick = Callable[[], None]
#: Tells whether a fit has to end after so many rounds.
IsTimeUp = Callable[[int], bool]


class Until:
    """Ends a fit whose time is up, even where more rounds would still help.

    `is_time_up` is asked after each round. With `settle` the fit goes on until its score has settled, whatever that
    says: less is no model of its family. Afterwards `rounds` is how many there were, and `was_cut` tells whether
    this ended the fit.
    """

    def __init__(self, is_time_up: IsTimeUp = lambda rounds: False, *, settle: bool = False) -> None:
        self.rounds = 0
        self.was_cut = False
        self._is_time_up = is_time_up
        self._settle = settle

    def ends(self, rounds: int, scores: Callable[[], Scores]) -> bool:
        """Tell whether to end after so many rounds; `scores` are those so far as (round, score), higher is better."""
        self.rounds = rounds
        self.was_cut = self._is_time_up(rounds) and (not self._settle or has_settled(scores()))
        return self.was_cut


def has_settled(scores: Scores) -> bool:
    """Tell whether the last `SETTLED_LAST` of at least `SETTLED_ROUNDS` rounds gained next to nothing."""
    if not scores or scores[-1][0] < SETTLED_ROUNDS:
        return False
    earlier = [score for number, score in scores if number <= scores[-1][0] - SETTLED_LAST]
    return bool(earlier) and max(score for _, score in scores) - max(earlier) < SETTLED_GAIN


@dataclass(frozen=True)
class FamilyFacts:
    """What is told of a family without loading it: its module, what to call it, and the packages behind it.

    The library of a family that is `alone` is not safe in several threads: its module fits and explains within
    `one_at_a_time`, and a search gives its other workers fits of other families meanwhile.
    """

    module: str
    shown_name: str
    packages: tuple[str, ...]
    alone: bool = False

    @property
    def requires(self) -> str:
        """Return the module to import."""
        return self.packages[0]


FAMILIES: dict[str, FamilyFacts] = {
    "lightgbm": FamilyFacts("ecluse.apps.fraud.families.lightgbm", "LightGBM", ("lightgbm",)),
    "catboost": FamilyFacts("ecluse.apps.fraud.families.catboost", "CatBoost", ("catboost",), alone=True),
    "xgboost": FamilyFacts("ecluse.apps.fraud.families.xgboost", "XGBoost", ("xgboost", "xgboost-cpu")),
    "linear": FamilyFacts("ecluse.apps.fraud.families.linear", "Logistic regression", ("scipy",)),
}


_LOCKS: dict[str, threading.Lock] = {
    name: threading.Lock() for name, facts in FAMILIES.items() if facts.alone
}
_ASK_S = 0.2


@contextmanager
def one_at_a_time(name: str, tick: Tick = lambda: None) -> Iterator[None]:
    """Wait until no other thread of this process is within this for the family; `tick` is called and may raise."""
    lock = _LOCKS[name]
    while not lock.acquire(timeout=_ASK_S):
        tick()
    try:
        yield
    finally:
        lock.release()


@dataclass(frozen=True)
class Start:
    """Settings that did well over many tables. The starts of all families are fitted in the order of `turn`."""

    turn: int
    name: str
    params: Params


@dataclass(frozen=True)
class FitData:
    """Matrices (rows, features) float32 with NaN where missing, and labels (rows,) of 0 and 1.

    `categorical` are the positions of features whose values are level codes. A fit uses `threads` cores.
    `prepared` keeps what a family has built from the matrices (binned data) for its next fit. `ages` (rows,) are the
    shares of the rows of `train` that are later than each; None where nothing tells.
    """

    train: Matrix
    train_labels: NDArray[np.int8]
    valid: Matrix
    valid_labels: NDArray[np.int8]
    categorical: tuple[int, ...] = ()
    threads: int = 1
    prepared: dict[str, Any] = field(default_factory=dict)
    ages: Floats | None = None

    def weights(self, params: Params) -> Floats | None:
        """Return what each row of `train` counts, (rows,): half with each `half_life` of age; None: all count 1."""
        if self.ages is None or "half_life" not in params:
            return None
        return np.asarray(0.5 ** (self.ages / params["half_life"]), dtype=np.float64)


class FittedModel(Protocol):
    """A fitted model of any family."""

    @property
    def family(self) -> str: ...

    @property
    def rounds(self) -> int:
        """Boosting rounds kept; 0 where there are none."""
        ...

    def predict_margin(self, matrix: Matrix) -> Floats:
        """(rows,) raw log-odds; a row's value does not depend on the other rows."""
        ...

    def contributions(self, matrix: Matrix) -> Floats:
        """(rows, features + 1) log-odds that sum to the margin; the last column is the base."""
        ...

    def importances(self) -> Floats:
        """(features,) share of each feature in what the model has learned; sums to 1 (or to 0)."""
        ...

    def save(self, directory: Path, stem: str = STEM) -> tuple[str, ...]:
        """Write the model in its native format; returns the files' names, first the one to load."""
        ...


class Family(Protocol):
    """What a family's module offers."""

    STARTS: tuple[Start, ...]

    def vary(self, rng: np.random.Generator) -> tuple[Params, ...]:
        """Return the settings to try in one round of variations; none where settings hardly matter."""
        ...

    def fit(self, data: FitData, params: Params, *, seed: int, until: Until, tick: Tick) -> FittedModel:
        """Fit until validation stops improving, or `until` says so; at least one round.

        With `fixed_rounds` in `params`: exactly so many rounds, without looking at validation rows or `until`.
        """
        ...

    def load(self, path: Path) -> FittedModel:
        """Read a saved model. Raises ModelUnreadable."""
        ...


class Loader(Protocol):
    """What reads a saved model: a family, or the blend of several."""

    def load(self, path: Path) -> FittedModel:
        """Read a saved model. Raises ModelUnreadable."""
        ...


def loader(name: str) -> Loader:
    """Return what reads a model whose `family` is `name`. Raises ModelUnreadable for a name we do not know."""
    return cast("Loader", import_module(BLEND)) if name == "blend" else family(name)


def family(name: str) -> Family:
    """Return the family called `name`. Raises ModelUnreadable for a name we do not know."""
    if name not in FAMILIES:
        raise ModelUnreadable(
            _(
                'Models of the family "%(value)s" cannot be read here. Known: %(values)s.',
                value=name,
                values=", ".join(FAMILIES),
            )
        )
    return cast("Family", import_module(FAMILIES[name].module))


def boost(
    step: Callable[[int], None],
    score: Callable[[], float],
    *,
    params: Params,
    every: int,
    until: Until,
    tick: Tick,
) -> int:
    """Add rounds until `score` (higher is better) has not risen for `patience` rounds, or `until` says so.

    Returns the count of rounds about which scores are best: a single one is often luck. At least one round is
    fitted. With `fixed_rounds`, adds so many and asks for no score.
    """
    fixed = int(params.get("fixed_rounds", 0))
    rounds, patience = fixed or int(params.get("rounds", 1500)), int(params.get("patience", 60))
    best, best_rounds = -np.inf, 1
    scored: list[tuple[int, float]] = []
    for number in range(1, rounds + 1):
        step(number - 1)
        tick()
        if fixed:
            continue
        late = until.ends(number, lambda: scored)
        if number % every == 0 or late or number == rounds:
            now = score()
            scored.append((number, now))
            if now > best + 1e-6:
                best, best_rounds = now, number
        if late or number - best_rounds >= patience:
            break
    return fixed or _best_stretch(scored)


def _best_stretch(scored: Scores) -> int:
    """Return the round in the middle of the rounds that score best together."""
    numbers, scores = np.array([number for number, _ in scored]), np.array([value for _, value in scored])
    sums = np.concatenate([[0.0], np.cumsum(scores)])
    first = np.searchsorted(numbers, numbers - SMOOTHED)
    after = np.searchsorted(numbers, numbers + SMOOTHED, side="right")
    means = (sums[after] - sums[first]) / (after - first)
    return int(numbers[np.argmax(np.round(means, 9))])
