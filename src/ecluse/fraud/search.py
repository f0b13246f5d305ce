"""Find the model that ranks the validation rows best, within a time budget."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ecluse.fraud.evaluation import average_precision
from ecluse.fraud.models import FAMILIES, FitData, FittedModel, Params, family

Report = Callable[[str], None]

MAX_VARIATIONS = 16
# Among many variations the best on few validation rows is partly luck: a variation must win by a margin.
MARGIN = 0.002
# A fit that starts later would be cut short.
LAST_START = 0.85


@dataclass(frozen=True)
class Candidate:
    """One fitted model and how it ranks the validation rows."""

    name: str
    family: str
    params: Params
    model: FittedModel
    validation_average_precision: float
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """A row of the leaderboard."""
        return {
            "name": self.name,
            "family": self.family,
            "params": dict(self.params),
            "validation_average_precision": self.validation_average_precision,
            "seconds": round(self.seconds, 2),
        }


@dataclass(frozen=True)
class SearchResult:
    """The best candidate, and a leaderboard row for each, best first."""

    best: Candidate
    leaderboard: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class _Trial:
    """Settings to fit."""

    name: str
    family: str
    params: Params


def search_models(
    data: FitData,
    *,
    seed: int,
    deadline: float,
    report: Report,
    longest_fit: float | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> SearchResult:
    """Fit the starts of every family and then seeded variations until `deadline` (time.monotonic seconds).

    No fit takes more than `longest_fit` seconds, nor more than 60 % of what is left for another to follow.
    At least one model is fitted. `report` is called at every round of every fit and may raise to cancel.
    Which variations are reached depends on the machine's speed; each fit itself depends on the seed only.
    """
    started = time.monotonic()
    rng = np.random.default_rng(seed)
    best: Candidate | None = None
    rows: list[dict[str, Any]] = []
    starts, variations = _trials(data, rng)
    total = len(starts) + len(variations)
    for number, trial in enumerate([*starts, *variations]):
        if best is not None and (stop() or _too_late(started, deadline, [row["seconds"] for row in rows])):
            break
        line = f"{trial.name}, {number + 1} of up to {total}. {_so_far(best)}"
        report(line)
        candidate = _fit(trial, data, seed, _fit_deadline(deadline, longest_fit), _teller(report, line))
        rows.append(candidate.to_dict())
        margin = MARGIN if number >= len(starts) else 0.0
        if best is None or _score(candidate) > _score(best) + margin:
            best = candidate
    if best is None:
        raise AssertionError("no family has a start")
    rows.sort(key=lambda row: -float(row["validation_average_precision"]))
    return SearchResult(best, tuple(rows))


def _score(candidate: Candidate) -> float:
    return candidate.validation_average_precision


def _so_far(best: Candidate | None) -> str:
    return f"Best so far: average precision {_score(best):.3f}" if best else "First fit"


def _teller(report: Report, line: str) -> Callable[[], None]:
    return lambda: report(line)


def _fit(trial: _Trial, data: FitData, seed: int, deadline: float, tick: Callable[[], None]) -> Candidate:
    begun = time.monotonic()
    model = family(trial.family).fit(data, trial.params, seed=seed, deadline=deadline, tick=tick)
    found = average_precision(data.valid_labels, model.predict_margin(data.valid))
    return Candidate(trial.name, trial.family, trial.params, model, found, time.monotonic() - begun)


def _fit_deadline(deadline: float, longest: float | None) -> float:
    now = time.monotonic()
    share = 0.6 * max(deadline - now, 0.0)
    return now + (share if longest is None else min(share, longest))


def _too_late(started: float, deadline: float, seconds: list[float]) -> bool:
    now = time.monotonic()
    used = (now - started) / max(deadline - started, 1e-9)
    return used >= LAST_START or now + 0.5 * float(np.median(seconds)) > deadline


def _trials(data: FitData, rng: np.random.Generator) -> tuple[list[_Trial], list[_Trial]]:
    """The starts of all families in their turns, and the variations in rounds that go through the families."""
    families = {kind: family(kind) for kind in FAMILIES}
    starts = sorted(
        ((start, kind) for kind, module in families.items() for start in module.STARTS),
        key=lambda item: item[0].turn,
    )
    first = [_Trial(start.name, kind, start.params) for start, kind in starts]
    variations: list[_Trial] = []
    for _ in range(MAX_VARIATIONS):
        for kind, module in families.items():
            for params in module.vary(rng):
                name = f"{FAMILIES[kind].shown_name}, variation {len(variations) + 1}"
                variations.append(_Trial(name, kind, params))
    usable = [trial for trial in first if data.categorical or not trial.params.get("native_categories")]
    return usable, variations[:MAX_VARIATIONS]
