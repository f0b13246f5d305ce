"""Say which settings to fit, and in which order: first those that do well on most tables, then others."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from ecluse.apps.fraud.families import FAMILIES, Params, family
from ecluse.sentences import _

MAX_VARIATIONS = 24


@dataclass(frozen=True)
class Trial:
    """Settings to fit."""

    name: str
    family: str
    params: Params
    seed: int


def portfolio(*, seed: int, categorical: bool, timed: bool = False) -> tuple[Trial, ...]:
    """Return the starts of all installed families in their turns, then rounds of variations of each, drawn with `seed`.

    The last round is the one that reaches `MAX_VARIATIONS`; there is none where no family varies. Settings for
    level sets count, and are left out when no feature is `categorical`; so do those that weigh recent rows more, where
    the rows are not `timed`.
    """
    rng = np.random.default_rng(seed)
    families = {kind: family(kind) for kind in FAMILIES if is_installed(kind)}
    starts = sorted(
        ((start, kind) for kind, module in families.items() for start in module.STARTS),
        key=lambda item: item[0].turn,
    )
    trials = [Trial(start.name, kind, start.params, seed) for start, kind in starts]
    number = 0
    while number < MAX_VARIATIONS:
        drawn = [(kind, params) for kind, module in families.items() for params in module.vary(rng)]
        if not drawn:
            break
        for kind, params in drawn:
            number += 1
            name = _("%(model)s, variation %(number)s", model=FAMILIES[kind].shown_name, number=number)
            trials.append(Trial(name, kind, params, seed + number))
    lacking = {
        setting
        for setting, is_there in (("native_categories", categorical), ("half_life", timed))
        if not is_there
    }
    return tuple(trial for trial in trials if not any(trial.params.get(setting) for setting in lacking))


def is_installed(kind: str) -> bool:
    """Tell whether the library behind a family is here; only some families come with every installation."""
    return find_spec(FAMILIES[kind].requires) is not None
