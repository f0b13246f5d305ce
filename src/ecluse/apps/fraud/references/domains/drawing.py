"""Describe a simulated domain, and draw who commits fraud in it and how far one institution drifts from another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

#: Institutions of a domain: five of the library, and one more to try it with.
PER_DOMAIN: Final = 6
#: How often a fraud, and an honest row that resembles one, shows one mark of its typology.
SHOWN: Final = 0.88
RESEMBLES: Final = 0.42
START: Final = np.datetime64("2025-02-03T00:00:00")


@dataclass(frozen=True)
class Column:
    """How each of the six institutions names a column (None: it has none), in which unit, with which values.

    A value is multiplied by the unit. `values` gives the six spellings of a category; `missing` is the share
    of rows without a value.
    """

    names: tuple[str | None, ...]
    units: tuple[float, ...] = (1.0,) * PER_DOMAIN
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    decimals: int = 0
    missing: float = 0.0


@dataclass(frozen=True)
class Drift:
    """What differs between institutions of one domain, beside names: drawn once for each.

    `level` and `spread` move and widen amounts (logarithms), `later` shifts the day (hours), `pace` multiplies
    counts, `tilt` skews categories.
    """

    level: float
    spread: float
    later: float
    pace: float
    tilt: float


@dataclass(frozen=True)
class Domain:
    """A kind of business: its institutions' names, the columns their tables have, and how rows come about.

    `simulate(rng, rows, cast, drift)` gives every column by its own name as (rows,) values, dates as
    datetime64, ordered by time; `typologies` counts the kinds of fraud it knows.
    """

    name: str
    institutions: tuple[str, ...]
    columns: Mapping[str, Column]
    typologies: int
    simulate: Callable[[np.random.Generator, int, Cast, Drift], dict[str, Array]]


class Cast:
    """Who commits which fraud, and which honest rows resemble it. `fraud` is (rows,) bool."""

    def __init__(
        self, rng: np.random.Generator, rows: int, rate: float, mix: Floats, look_alikes: float
    ) -> None:
        self._rng = rng
        frauds = max(round(rows * rate), 4 * len(mix))
        alike = round(frauds * look_alikes)
        chosen = rng.choice(rows, frauds + alike, replace=False)
        self.fraud = np.zeros(rows, dtype=np.bool_)
        self.fraud[chosen[:frauds]] = True
        self._kind = np.zeros(rows, dtype=np.int64)
        self._kind[chosen] = 1 + rng.choice(len(mix), frauds + alike, p=mix)

    def shows(self, typology: int) -> Bools:
        """Return the rows that bear one mark of a typology; drawn anew for each mark."""
        chance = np.where(self.fraud, SHOWN, RESEMBLES)
        shown: Bools = (self._kind == typology) & (self._rng.random(len(chance)) < chance)
        return shown


def column(
    names: str,
    *,
    units: tuple[float, ...] = (1.0,) * PER_DOMAIN,
    values: Mapping[str, str] | None = None,
    decimals: int = 0,
    missing: float = 0.0,
) -> Column:
    """Return a column from its six names in one string, parted by `|`; "-" where an institution has none."""
    named = _parted(names)
    spelt = {value: _parted(spellings) for value, spellings in (values or {}).items()}
    return Column(
        tuple(None if name == "-" else name for name in named), tuple(units), spelt, decimals, missing
    )


def draw_drift(rng: np.random.Generator) -> Drift:
    """Draw a modest difference: relatives resemble each other, and none is a copy."""
    return Drift(
        level=rng.normal(0, 0.25),
        spread=rng.uniform(0.85, 1.2),
        later=rng.normal(0, 0.7),
        pace=float(np.exp(rng.normal(0, 0.2))),
        tilt=rng.uniform(0.7, 1.4),
    )


def moments(rng: np.random.Generator, rows: int, days: int, drift: Drift, night: Bools) -> Array:
    """(rows,) datetime64[s] over some days, by day for most and between midnight and five for `night`."""
    hour = rng.normal(14.0 + drift.later, 3.8, rows) % 24
    hour = np.where(night, rng.uniform(0, 5, rows), hour)
    seconds = rng.integers(0, days, rows) * 86_400 + (hour * 3600).astype(np.int64)
    return START + seconds.astype("timedelta64[s]")


def dates(rng: np.random.Generator, rows: int, days: int) -> Array:
    """(rows,) days without an hour."""
    return (START + (rng.integers(0, days, rows) * 86_400).astype("timedelta64[s]")).astype("datetime64[s]")


def money(rng: np.random.Generator, rows: int, median: float, sigma: float, drift: Drift) -> Floats:
    """(rows,) log-normal amounts."""
    drawn: Floats = np.exp(rng.normal(np.log(median) + drift.level, sigma * drift.spread, rows))
    return drawn


def skewed(rng: np.random.Generator, rows: int, median: float, sigma: float) -> Floats:
    """(rows,) log-normal values that are no money, such as ages of accounts."""
    drawn: Floats = np.exp(rng.normal(np.log(median), sigma, rows))
    return drawn


def picked(rng: np.random.Generator, rows: int, weights: Mapping[str, float], drift: Drift) -> Array:
    """(rows,) categories, the frequent ones more or less so by the institution's tilt."""
    share = np.array(list(weights.values())) ** drift.tilt
    return rng.choice(np.array(list(weights), dtype=object), rows, p=share / share.sum())


def put(values: Array, where: Bools, other: Array | float | str) -> Array:
    """`values` with `other` in the rows of `where`."""
    return np.where(where, np.asarray(other, dtype=values.dtype), values)


def flag(rng: np.random.Generator, rows: int, share: float) -> Array:
    """(rows,) 0 or 1."""
    return (rng.random(rows) < share).astype(np.int64)


def actors(rng: np.random.Generator, rows: int, each: float, letter: str) -> Array:
    """(rows,) identifiers of people or shops that come `each` times on average, some far more often."""
    count = max(20, round(rows / each))
    share = rng.gamma(1.4, 1.0, count) + 0.05
    numbers = rng.permutation(count * 7)[:count] + 10_000
    return np.array([f"{letter}{number}" for number in numbers], dtype=object)[
        rng.choice(count, rows, p=share / share.sum())
    ]


def numbered(rng: np.random.Generator, rows: int, letter: str) -> Array:
    """(rows,) identifiers, each once."""
    first = int(rng.integers(100_000, 900_000))
    return np.array([f"{letter}{first + 3 * row}" for row in range(rows)], dtype=object)


def ordered(columns: dict[str, Array], by: str) -> dict[str, Array]:
    """Return the rows in the order of one column."""
    order = np.argsort(columns[by], kind="stable")
    return {name: values[order] for name, values in columns.items()}


def _parted(text: str) -> tuple[str, ...]:
    parts = tuple(part.strip() for part in text.split("|"))
    if len(parts) != PER_DOMAIN:
        raise ValueError(f"{text!r} has {len(parts)} names instead of {PER_DOMAIN}")
    return parts
