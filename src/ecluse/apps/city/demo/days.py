"""Say what kind of day each day of the invented city is: its weather, its holidays, its matches and its strikes.

Everything follows from the seed and the date alone, so that a day is the same however many days are written.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, timedelta
from enum import IntEnum
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from ecluse.apps.city.calendar import LocalDay
from ecluse.apps.city.demo.base_map import Floats

ZONE: Final = ZoneInfo("Europe/Paris")
#: Chance draws are grouped into blocks of so many days where something lasts or happens now and then.
BLOCK: Final = 28


class Draw(IntEnum):
    """What a stream of chance is for; a stream of its own each, so that one feed does not disturb another."""

    WEATHER = 1
    ROADS = 2
    BIKES = 3
    DISRUPTIONS = 4
    WORKS = 5
    MATCHES = 6
    FAULTS = 7
    CITY = 8
    STRIKES = 9


@dataclass(frozen=True)
class Weather:
    """Temperatures in °C, rain in mm, highest wind in km/h; `rain_hours`: the clock hours in which it rains."""

    temperature: float
    temperature_min: float
    temperature_max: float
    rain: float
    wind: float
    rain_hours: tuple[int, ...]


@dataclass(frozen=True)
class Day:
    """What is known of one day before any feed is written."""

    local: LocalDay
    seed: int
    weather: Weather
    #: 0 on a working day, 1 on a Saturday, 2 on a Sunday or a public holiday.
    rest: int
    #: Of an ordinary working day's traffic.
    level: float
    #: The clock hour at which a match begins; None on a day without one.
    match: int | None
    strike: bool

    @property
    def date(self) -> date:
        return self.local.date

    @property
    def ordinal(self) -> int:
        return self.local.date.toordinal()

    def chance(self, draw: Draw) -> np.random.Generator:
        """Yield the day's own stream of chance for one feed."""
        return np.random.default_rng([self.seed, draw, self.ordinal])


@lru_cache(maxsize=512)
def day_of(when: date, seed: int) -> Day:
    """Return what kind of day a date is."""
    rest = 2 if when.weekday() == 6 or _is_holiday(when) else int(when.weekday() == 5)
    block, within = divmod(when.toordinal(), BLOCK)
    return Day(
        local=LocalDay(when, ZONE),
        seed=seed,
        weather=_weather(when, seed),
        rest=rest,
        level=_season(when),
        match=_match(when, seed),
        strike=within == _strike(block, seed),
    )


def block_of(when: date) -> int:
    """Return the number of the block of days that holds a date."""
    return when.toordinal() // BLOCK


def block_start(block: int) -> date:
    """Return the first day of a block."""
    return date.fromordinal(block * BLOCK)


def bump(hours: Floats, middle: float, width: float) -> Floats:
    """Return a bell around a clock hour, around midnight too."""
    away = (hours - middle + 12) % 24 - 12
    bell: Floats = np.exp(-0.5 * (away / width) ** 2)
    return bell


def _season(when: date) -> float:
    """Return the level of the year: the summer is empty, the weeks before Christmas are full."""
    level = 1 + 0.03 * math.cos(2 * math.pi * (when.timetuple().tm_yday - 330) / 365.25)
    if when.month == 8:
        level *= 0.74
    elif (when.month, when.day) >= (7, 14) and when.month == 7:
        level *= 0.88
    elif _in_school_holidays(when):
        level *= 0.90
    return level


def _in_school_holidays(when: date) -> bool:
    month_day = (when.month, when.day)
    return (10, 18) <= month_day <= (11, 2) or month_day >= (12, 20) or month_day <= (1, 4)


def _is_holiday(when: date) -> bool:
    fixed = {(1, 1), (5, 1), (5, 8), (7, 14), (8, 15), (11, 1), (11, 11), (12, 25)}
    return (when.month, when.day) in fixed or when - _easter(when.year) in (
        timedelta(days=1), timedelta(days=39), timedelta(days=50),
    )  # fmt: skip


def _easter(year: int) -> date:
    """Easter Sunday of the Gregorian calendar, after Meeus, Astronomical Algorithms, chapter 8."""
    a, (b, c) = year % 19, divmod(year, 100)
    d, e = divmod(b, 4)
    g = (8 * b + 13) // 25
    h = (19 * a + b - d - g + 15) % 30
    i, k = divmod(c, 4)
    li = (32 + 2 * e + 2 * i - h - k) % 7
    m = (a + 11 * h + 19 * li) // 433
    month, day = divmod(h + li - 7 * m + 114, 31)
    return date(year, month, day + 1)


def _weather(when: date, seed: int) -> Weather:
    year = math.cos(2 * math.pi * (when.timetuple().tm_yday - 201) / 365.25)
    # Weather lasts: what is drawn for the days before weighs on the day, less the longer ago it was.
    weights = (1.0, 0.75, 0.55, 0.4, 0.28)
    drawn = [
        np.random.default_rng([seed, Draw.WEATHER, when.toordinal() - back]).normal(size=4)
        for back in range(len(weights))
    ]
    scale = math.sqrt(sum(weight**2 for weight in weights))
    warm, wet, windy = (
        sum(weight * float(draw[n]) for weight, draw in zip(weights, drawn, strict=True)) / scale
        for n in range(3)
    )
    wet = 0.6 * wet + 0.8 * float(drawn[0][3])
    rain = round(max(0.0, (wet - 0.45) * 9.0), 1)
    mean = 12.5 + 8.5 * year + 3.2 * warm - (1.2 if rain > 2 else 0.0)
    swing = 4.2 + 1.6 * year - (1.5 if rain > 2 else 0.0)
    hours: tuple[int, ...] = ()
    if rain > 0:
        rng = np.random.default_rng([seed, Draw.WEATHER, when.toordinal(), 1])
        begin, length = int(rng.integers(0, 20)), min(20, 2 + int(rain))
        hours = tuple((begin + n) % 24 for n in range(length))
    return Weather(
        temperature=round(mean, 1),
        temperature_min=round(mean - swing, 1),
        temperature_max=round(mean + swing, 1),
        rain=rain,
        wind=round(max(4.0, 17 + 7.5 * windy + (4 if rain > 5 else 0)), 1),
        rain_hours=hours,
    )


def _match(when: date, seed: int) -> int | None:
    """Return two matches in a block: one on a Saturday or Sunday at 20:45 or so, one on a Wednesday at 21:00."""
    rng = np.random.default_rng([seed, Draw.MATCHES, block_of(when)])
    weekend, weekday = int(rng.integers(0, 4)), int(rng.integers(0, 4))
    week = (when.toordinal() % BLOCK) // 7
    if week == weekend and when.weekday() == 6:
        return 20
    return 21 if week == weekday and when.weekday() == 2 else None


def _strike(block: int, seed: int) -> int:
    """Return which day of a block has a strike: a Thursday, in about two blocks of three; -1: none."""
    rng = np.random.default_rng([seed, Draw.STRIKES, block])
    if rng.random() > 0.67:
        return -1
    first = block_start(block)
    return 7 * int(rng.integers(0, 4)) + (3 - first.weekday()) % 7
