"""Say how sure a share is that was counted: of so many looked at, so many were it.

All applications take their intervals of shares from here. At 0 and at 1, where the spread of what was seen is
nothing, an interval stays open: 17 of 17 says that the share is 82 % or more, not that it is 100 %.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Final

LEVEL: Final = 0.95

#: An interval of a share that is wider than this is told, and no single number: it says too little.
TOO_WIDE: Final = 0.5

Interval = tuple[float, float]


def is_telling(low: float, high: float) -> bool:
    """Return whether an interval of a share is narrow enough to name one number within it."""
    return bool(high - low <= TOO_WIDE)


def wilson(count: float, of: float, level: float = LEVEL) -> Interval:
    """Return the interval of Wilson (1927) for a share of which `found` of `of` were seen; (0, 1) where nothing was.

    Over many shares it holds the true one about as often as `level` says, at the edges too (Brown, Cai & DasGupta,
    "Interval estimation for a binomial proportion", Statistical Science 2001).
    """
    if of <= 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share, slack = count / of, z * z / of
    middle = (share + slack / 2) / (1 + slack)
    half = z * math.sqrt(share * (1 - share) / of + slack / (4 * of)) / (1 + slack)
    # Rounding must not put the ends a hair beyond what they are exactly, or beyond what was seen.
    low = 0.0 if count <= 0 else min(middle - half, share)
    return low, (1.0 if count >= of else max(middle + half, share))


def exact(count: float, of: float, level: float = LEVEL) -> Interval:
    """Return the interval of Clopper and Pearson (1934): it holds the true share at least as often as `level` says.

    For few looks that stand for many rows, where Wilson's holds a rare share less often than it says.
    """
    if of <= 0:
        return 0.0, 1.0
    from scipy.special import betaincinv

    tail = (1 - level) / 2
    low = float(betaincinv(count, of - count + 1, tail)) if count > 0 else 0.0
    high = float(betaincinv(count + 1, of - count, 1 - tail)) if count < of else 1.0
    return low, high


def matched_difference(first: float, second: float, of: float, level: float = LEVEL) -> Interval:
    """Return the interval of the difference of two shares of the same `of`: `first` were it for the first alone,
    `second` so.

    Half a case is added to each of the four cells (Agresti & Min, "Simple improved confidence intervals for
    comparing matched proportions", 2005): where no case was it for one alone, the next may be.
    """
    if of <= 0:
        return -1.0, 1.0
    z, total = NormalDist().inv_cdf(0.5 + level / 2), of + 2
    gap = first - second
    half = z * math.sqrt(max(first + second + 1 - gap**2 / total, 0.0)) / total
    return max(min(gap / total - half, gap / of), -1.0), min(max(gap / total + half, gap / of), 1.0)


def expected_among(expected: float, of: int, doubt: float, level: float = LEVEL) -> Interval:
    """Return how many of `of` cases there may be where probabilities add up to `expected`, each wrong by one common
    shift.

    `doubt` is the standard deviation of that shift in log-odds; the chance of so many draws is added to it on the
    same scale (as of a logistic-normal binomial). Half a case is added to each side, so that neither end is shut by
    the sum alone. The ends are whole cases, outwards.
    """
    if of <= 0:
        return 0.0, 0.0
    share = (expected + 0.5) / (of + 1)
    spread = math.sqrt(doubt**2 + 1 / (of * share * (1 - share)))
    middle, half = math.log(share / (1 - share)), NormalDist().inv_cdf(0.5 + level / 2) * spread
    low, high = (1 / (1 + math.exp(-min(max(end, -500.0), 500.0))) for end in (middle - half, middle + half))
    return float(math.floor(of * low)), float(min(math.ceil(of * high), of))
