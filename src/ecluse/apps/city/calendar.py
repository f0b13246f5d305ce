"""Know the hours of a local day: 24 of them, 23 or 25 where the clocks change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

from ecluse.errors import InvalidInput
from ecluse.sentences import _

HOUR = timedelta(hours=1)
#: A city has no days outside: sensors tell of none, and the weeks before and after them are days too.
FIRST_DAY, LAST_DAY = date(1971, 1, 1), date(2147, 12, 31)


@dataclass(frozen=True)
class LocalDay:
    """One day of a city's clocks."""

    date: date
    zone: ZoneInfo

    @cached_property
    def begin(self) -> datetime:
        """Its first moment, in UTC."""
        return datetime.combine(self.date, time(), self.zone).astimezone(UTC)

    @cached_property
    def end(self) -> datetime:
        """Return the first moment of the next day, in UTC."""
        return LocalDay(self.date + timedelta(days=1), self.zone).begin

    @cached_property
    def starts(self) -> tuple[datetime, ...]:
        """Return the start of each of its hours, in UTC, in order."""
        return tuple(self.begin + n * HOUR for n in range(round((self.end - self.begin) / HOUR)))

    @property
    def hours(self) -> int:
        """Count its hours: 23, 24 or 25."""
        return len(self.starts)

    @cached_property
    def clock_hours(self) -> tuple[int, ...]:
        """Return what the city's clocks show at each start, 0 to 23; on the long day one hour comes twice."""
        return tuple(start.astimezone(self.zone).hour for start in self.starts)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Name each hour as people call it, such as "18:00"; the hour that comes twice carries its offset."""
        clock = self.clock_hours
        return tuple(
            f"{hour:02d}:00" if clock.count(hour) == 1 else f"{hour:02d}:00 {_offset(start, self.zone)}"
            for hour, start in zip(clock, self.starts, strict=True)
        )

    def stamp(self, hour: int | None) -> str | None:
        """Return the begin of one of its hours, counted from 0, on the city's clocks with their offset: one moment
        alone.
        """
        return None if hour is None else self.starts[hour].astimezone(self.zone).isoformat()


def place_of(labels: Sequence[str], stamp: str | None) -> int | None:
    """Return which hour of a day with these labels begins at a `LocalDay.stamp`, from 0; None where that is none of
    them.
    """
    if stamp is None:
        return None
    at = datetime.fromisoformat(stamp)
    clock = f"{at:%H:%M}"
    return next((n for n, label in enumerate(labels) if label in (clock, f"{clock} {stamp[-6:]}")), None)


def expect_days(first: date, last: date) -> None:
    """Refuse a period that is none, or that a city cannot have.

    Raises:
        InvalidInput: the last day is before the first, or one is far away.
    """
    if last < first:
        raise InvalidInput(
            _("The last day, %(last)s, is before the first, %(first)s.", last=last, first=first)
        )
    for day in (first, last):
        if not FIRST_DAY <= day <= LAST_DAY:
            raise InvalidInput(
                _(
                    "%(day)s is no day of a city; ask for one from %(first)s to %(last)s.",
                    day=day,
                    first=FIRST_DAY,
                    last=LAST_DAY,
                )
            )


def days_between(first: date, last: date) -> Iterator[date]:
    """Yield every date from `first` to `last`, both included."""
    for n in range((last - first).days + 1):
        yield first + timedelta(days=n)


def _offset(moment: datetime, zone: ZoneInfo) -> str:
    return moment.astimezone(zone).strftime("%z")[:3] + ":00"
