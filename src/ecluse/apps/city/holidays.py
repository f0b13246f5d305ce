"""Know the French public holidays of any year."""

from __future__ import annotations

from datetime import date, timedelta
from functools import lru_cache
from typing import Final

#: Month and day of those that never move: Code du travail, article L3133-1.
FIXED: Final = ((1, 1), (5, 1), (5, 8), (7, 14), (8, 15), (11, 1), (11, 11), (12, 25))
#: Days after Easter Sunday: Easter Monday, Ascension, Whit Monday.
MOVING: Final = (1, 39, 50)


def is_public_holiday(day: date) -> bool:
    """Return whether a day is one of the eleven public holidays of France."""
    return day in public_holidays(day.year)


@lru_cache(maxsize=256)
def public_holidays(year: int) -> frozenset[date]:
    """Return the public holidays of a year."""
    easter = easter_sunday(year)
    return frozenset(
        [date(year, month, day) for month, day in FIXED] + [easter + timedelta(days=n) for n in MOVING]
    )


def easter_sunday(year: int) -> date:
    """Easter in the Gregorian calendar, by the rule of Butcher (Meeus, Astronomical Algorithms, chapter 8)."""
    a, (b, c) = year % 19, divmod(year, 100)
    d, e = divmod(b, 4)
    g = (8 * b + 13) // 25
    h = (19 * a + b - d - g + 15) % 30
    i, k = divmod(c, 4)
    m = (a + 11 * h) // 319
    n = (2 * e + 2 * i - k - h + m + 32) % 7
    month = (h - m + n + 90) // 25
    return date(year, month, (h - m + n + month + 19) % 32)
