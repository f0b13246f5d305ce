"""Say what the time beside a value means, in its publisher's words: the begin of a period, its end, or a moment.

Each source declares the stamps of its columns beside their names. Curated tables keep the begin of a period, so that
`Stamp.begin_of` is the one place where a stamp becomes the hour that was measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

#: begin, end: of the period that the value is of. moment: the value is of that moment. days: of a whole local day.
Marks = Literal["begin", "end", "moment", "day"]
#: What a stamp is read as that carries no offset of its own. offset: it always carries one. file: as its file says
#: elsewhere, else as the city's clocks.
Clock = Literal["offset", "UTC", "city", "file"]
HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)


@dataclass(frozen=True)
class Stamp:
    """What a stamp means. `length`: of the period, nothing for a moment.

    `words`: what the publisher says, or what is relied on where it says nothing; `address`: where it says so.
    `checked`: what real data showed of it.
    """

    marks: Marks
    length: timedelta
    clock: Clock
    words: str
    address: str
    checked: str = ""

    @property
    def shift(self) -> timedelta:
        """Return how long before the stamp its period begins."""
        return self.length if self.marks == "end" else timedelta(0)

    def begin_of(self, stamp: datetime) -> datetime:
        """Return when the period begins that `stamp` stands for."""
        return stamp - self.shift

    def stamp_of(self, begin: datetime) -> datetime:
        """Return the stamp that the publisher writes for the period that begins then."""
        return begin + self.shift
