"""Divide scores into levels of risk, from one table: `LEVELS`.

One of the levels is that of the flagged rows; its threshold serves the goal of the training. The threshold of each
other level is set so that `alerts` times as many rows reach it as are flagged. To add a level, add it to `LEVELS`:
thresholds, scores, counts, reports, pages, API and cards have it from there. Its French stands in `fraud.po`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ecluse.sentences import N_

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RiskLevel:
    """A level of risk: `name` stands in tables of scores, `title` is what pages call it, `meaning` what it says.

    `alerts` times as many rows as are flagged reach this level or a higher one: 1 for the level of the flagged rows,
    None for the lowest, which every row reaches. `colour` is a class of app.css: r-low, r-medium, r-high, r-severe.
    """

    name: str
    title: str
    meaning: str
    colour: str
    alerts: float | None

    @property
    def key(self) -> str:
        """Return what summaries and reports call the level."""
        return self.name.lower()

    def share(self, flagged: float) -> float:
        """Return the share of rows that reach the level where this share is flagged."""
        return 1.0 if self.alerts is None else min(1.0, self.alerts * flagged)


#: From the least risk to the greatest.
LEVELS: Final[tuple[RiskLevel, ...]] = (
    RiskLevel("LOW", N_("LOW"), N_("Not to be looked at before the others."), "r-low", None),
    RiskLevel("MEDIUM", N_("MEDIUM"), N_("Next to look at, where time allows."), "r-medium", 3),
    RiskLevel("HIGH", N_("HIGH"), N_("Flagged: the threshold is reached."), "r-high", 1),
)


def raised_levels() -> tuple[RiskLevel, ...]:
    """List the levels that a score has to reach: all but the lowest."""
    return LEVELS[1:]


def flagged_level() -> RiskLevel:
    """Return the level from which rows are flagged."""
    return next(level for level in LEVELS if level.alerts == 1)


def level_named(name: str) -> RiskLevel | None:
    """Return the level that a table of scores names; None where a release with other levels wrote it."""
    return next((level for level in LEVELS if level.name == name), None)


@dataclass(frozen=True)
class Thresholds:
    """The least score of each level but the lowest, by the key of the level.

    A version of before a level was added has no score for it, and gives no row that level.
    """

    least: Mapping[str, float]

    @classmethod
    def around(cls, flagged: float, alerts: float, cut: Callable[[float], float]) -> Thresholds:
        """Set all levels where rows are flagged from `flagged` on, which are so many `alerts`.

        `cut` finds the score that so many rows reach, or fewer.
        """
        least = {flagged_level().key: float(flagged)}
        for level in raised_levels():
            if level.alerts is not None and level.alerts != 1:
                bound = min if level.alerts > 1 else max
                least[level.key] = float(bound(cut(level.alerts * alerts), flagged))
        return cls(least)

    @classmethod
    def of_shares(cls, flagged: float) -> Thresholds:
        """Set the levels of a score that is the share of rows ranking lower, where this share of rows is flagged."""
        return cls({level.key: 1 - level.share(flagged) for level in raised_levels()})

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> Thresholds:
        """Read what `to_dict` wrote, or a release that knew three levels. Raises KeyError where a threshold lacks."""
        stored = content.get("level_thresholds")
        if stored is None:
            stored = {"medium": content["medium_threshold"], "high": content["threshold"]}
        least = {str(key): float(value) for key, value in stored.items()}
        return cls({flagged_level().key: float(content["threshold"])} | least)

    @property
    def flagged(self) -> float:
        """Return the score from which rows are flagged."""
        return self.least[flagged_level().key]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, with the two names that releases of before read."""
        return {
            "threshold": self.flagged,
            "medium_threshold": self.least["medium"],
            "level_thresholds": dict(self.least),
        }

    def places(self, scores: Floats) -> NDArray[np.intp]:
        """Find the place in `LEVELS` of each score (rows,)."""
        import numpy as np

        places = np.zeros(len(scores), dtype=np.intp)
        for place, level in enumerate(LEVELS):
            if level.key in self.least:
                places[scores >= self.least[level.key]] = place
        return places

    def counts(self, scores: Floats) -> dict[str, int]:
        """Count the rows that reach each level but the lowest, by its key."""
        return {key: int((scores >= least).sum()) for key, least in self.least.items()}

    def mark(self, scores: Floats, level: str, flag: str) -> list[pl.Series]:
        """Make two columns of scores (rows,): the name of the level, and 1 where a row is flagged, else 0."""
        import numpy as np
        import polars as pl

        names = pl.Series(level, [each.name for each in LEVELS], dtype=pl.String)
        return [names[self.places(scores)], pl.Series(flag, (scores >= self.flagged).astype(np.int8))]
