"""Say things in the reader's language: sentences, numbers, dates, durations and sizes.

`Words` holds one language and time zone; templates reach it through `_()` and the filters of `templating`.
Translations are read from the `.po` files under `locale/` when first needed.
"""

from __future__ import annotations

import gettext
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Final, Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from babel.dates import format_date, format_datetime
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

Language = Literal["en", "fr"]
LANGUAGES: Final[dict[Language, str]] = {"en": "English", "fr": "Français"}
LOCALE: Final = Path(__file__).parent / "locale"
NBSP: Final = "\N{NO-BREAK SPACE}"
MINUS: Final = "\N{MINUS SIGN}"
ABSENT: Final = "–"


#: Marks that turn the direction of what follows, and those that isolate what stands between them.
_TURNS: Final = re.compile("[\u202a-\u202e\u2066-\u2069]")
_ISOLATE: Final = "\N{FIRST STRONG ISOLATE}", "\N{POP DIRECTIONAL ISOLATE}"


def _isolated(values: Mapping[str, object]) -> dict[str, object]:
    """Text that turns the direction of writing, as a name of a file may, does not turn the sentence around it."""
    return {
        # A pop of its own would end the isolation before the text does.
        name: _ISOLATE[0] + value.replace(_ISOLATE[1], "") + _ISOLATE[1]
        if isinstance(value, str) and _TURNS.search(value)
        else value
        for name, value in values.items()
    }


@dataclass(frozen=True)
class Words:
    """How to say things in one language, with moments told in one time zone (None: UTC, and said so)."""

    language: Language = "en"
    zone: ZoneInfo | None = None

    def _(self, message: str, **values: object) -> str:
        """The sentence in this language, its `%(name)s` places filled; a literal percent sign is `%%`."""
        return _catalogue(self.language).gettext(message) % _isolated(values)

    def ngettext(self, one: str, many: str, count: int, **values: object) -> str:
        """The sentence for this count; `%(count)s` is the count, grouped."""
        chosen = _catalogue(self.language).ngettext(one, many, count)
        return chosen % {"count": self.num(count), **_isolated(values)}

    def num(self, value: float | None, digits: int = 0) -> str:
        """`4 920.50`: no-break spaces between thousands, a true minus, a comma in French; `–` when absent."""
        if value is None or not math.isfinite(value):
            return ABSENT
        text = f"{abs(value):,.{digits}f}".replace(",", NBSP)
        sign = MINUS if value < 0 and any(c in "123456789" for c in text) else ""
        return sign + (text.replace(".", ",") if self.language == "fr" else text)

    def signed(self, value: float | None, digits: int = 2) -> str:
        """A number that always carries its sign."""
        text = self.num(value, digits)
        return f"+{text}" if value is not None and value > 0 and text != ABSENT else text

    def as_given(self, value: float) -> str:
        """A number with the digits that it was given, six at most: `0.0003`, `20`, `1e-07`."""
        text = f"{value:.6g}"
        if "e" in text or not math.isfinite(value):
            return text.replace(".", ",") if self.language == "fr" else text
        return self.num(value, len(text.partition(".")[2]))

    def qty(self, value: float | None, unit: str, digits: int = 0) -> str:
        """A number and its unit, which never part at a line's end."""
        return f"{self.num(value, digits)}{NBSP}{unit}"

    def percent(self, share: float | None, digits: int | None = None) -> str:
        """A share in [0, 1] as per cent. Without `digits`: two within 1 % of an end, one below 10 %, else none."""
        if share is None or not math.isfinite(share):
            return ABSENT
        if digits is None:
            size = abs(share)
            digits = 0 if size in (0, 1) else 2 if size < 0.01 or 0.99 < size < 1 else 1 if size < 0.1 else 0
        return self.qty(share * 100, "%", digits)

    def threshold(self, score: float | None) -> str:
        """A score in [0, 1] with three decimals, or as many (six at most) as tell it from 0 and 1: `0.9996`."""
        if score is None or not math.isfinite(score):
            return ABSENT
        gap = min(abs(score), abs(1 - score))
        return self.num(score, min(6, max(3, math.ceil(-math.log10(gap)))) if gap else 3)

    def interval(self, bounds: tuple[float, float] | list[float] | None, digits: int = 2) -> str:
        """`0.70 to 0.77`; empty when there is none."""
        if not bounds:
            return ""
        return self._(
            "%(low)s to %(high)s", low=self.num(bounds[0], digits), high=self.num(bounds[1], digits)
        )

    def day(self, moment: datetime | None) -> str:
        """`14 October 2025`."""
        return ABSENT if moment is None else self._moment(moment, "d MMMM y")

    def brief_day(self, moment: datetime | None) -> str:
        """`21 Nov 2025` / `21 nov. 2025`, in the reader's zone."""
        return ABSENT if moment is None else self._moment(moment, "d MMM y")

    def calendar_day(self, day: date) -> str:
        """`21 Nov 2025` / `21 nov. 2025`: a day of a calendar, the same in every zone."""
        return format_date(day, "d MMM y", locale=self.language)

    def weekday_day(self, day: date) -> str:
        """`Tuesday 14 October 2025` / `mardi 14 octobre 2025`: a day of a calendar."""
        return format_date(day, "EEEE d MMMM y", locale=self.language)

    def short_day(self, day: date) -> str:
        """`14 Oct` / `14 oct.`: a day beside others of its year."""
        return format_date(day, "d MMM", locale=self.language)

    def weekday(self, day: date) -> str:
        """`Tue` / `mar.`"""
        return format_date(day, "EEE", locale=self.language)

    def hour(self, label: str) -> str:
        """`18:00` / `18 h`: an hour of a day by its label; that of a day that has it twice keeps its offset."""
        clock, _, offset = label.partition(" ")
        if self.language != "fr" or not clock.endswith(":00"):
            return label.replace(" ", NBSP)
        text = f"{int(clock[:2])}{NBSP}h"
        return f"{text}{NBSP}({offset})" if offset else text

    def when(self, moment: datetime | None) -> str:
        """`21 Nov 2025, 04:10` / `21 nov. 2025, 4 h 10`, with "UTC" when the reader's zone is not known."""
        if moment is None:
            return ABSENT
        pattern = "d MMM y, H 'h' mm" if self.language == "fr" else "d MMM y, HH:mm"
        text = self._moment(moment, pattern).replace(" h ", f"{NBSP}h{NBSP}")
        return text if self.zone else f"{text}{NBSP}UTC"

    def duration(self, seconds: float | None) -> str:
        """`0.4 s`, `23 s`, `3 min 20 s`, `2 h 05 min`; a clock that counts whole seconds gives `<1 s`, `6 s`."""
        if seconds is None:
            return ABSENT
        if seconds == 0:
            return f"<{self.qty(1, 's')}"
        if seconds < 59.5:
            return self.qty(seconds, "s", 1 if seconds < 9.95 and seconds % 1 else 0)
        whole = round(seconds)
        if whole < 3600:
            rest = f" {whole % 60}{NBSP}s" if whole % 60 else ""
            return f"{whole // 60}{NBSP}min{rest}"
        return f"{self.num(whole // 3600)}{NBSP}h {whole % 3600 // 60:02d}{NBSP}min"

    def bytes(self, size: int | None) -> str:
        """A size in decimal units: `128.7 MB` / `128,7 Mo`."""
        if size is None:
            return ABSENT
        units = ("o", "ko", "Mo", "Go", "To") if self.language == "fr" else ("B", "kB", "MB", "GB", "TB")
        power = min(len(units) - 1, max(0, (len(str(size)) - 1) // 3))
        scaled = size / 1000**power
        return self.qty(scaled, units[power], 1 if power >= 2 or (0 < scaled < 10 and power) else 0)

    def money(self, amount: float | None, currency: str = "USD") -> str:
        """`$12.30` / `12,30 $`; what rounds to nothing and is not is `<$0.01`. Other currencies by their code."""
        if amount is None or not math.isfinite(amount):
            return ABSENT
        tiny = 0 < amount < 0.01
        number = self.num(0.01 if tiny else amount, 2)
        if currency != "USD":
            text = f"{number}{NBSP}{currency}"
        else:
            text = f"{number}{NBSP}$" if self.language == "fr" else f"${number}"
        return f"<{text}" if tiny else text

    def _moment(self, moment: datetime, pattern: str) -> str:
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return format_datetime(aware.astimezone(self.zone or UTC), pattern, locale=self.language)


def choose_language(asked: str | None, remembered: str | None, accept: str) -> Language:
    """The language asked for by the address, else the one remembered, else the browser's, else English."""
    for choice in (asked, remembered, *_preferences(accept)):
        for language in get_args(Language):
            if choice is not None and choice.partition("-")[0] == language:
                return language  # type: ignore[no-any-return]
    return "en"


def zone_named(name: str | None) -> ZoneInfo | None:
    """The time zone a browser names; None when it names none we know."""
    if not name:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # a folder or a path out of the database, too
        return None


def _preferences(accept: str) -> list[str]:
    """The languages of an Accept-Language header, most wanted first; those refused with q=0 left out."""
    weighted = []
    for part in accept.split(","):
        name, _, weight = part.strip().lower().partition(";q=")
        try:
            quality = float(weight) if weight else 1.0
        except ValueError:
            continue
        if quality > 0:
            weighted.append((quality, name))
    return [name for _, name in sorted(weighted, key=lambda pair: -pair[0])]


@cache
def _catalogue(language: Language) -> gettext.NullTranslations:
    path = LOCALE / language / "LC_MESSAGES" / "messages.po"
    if not path.exists():
        return gettext.NullTranslations()  # the sentences in the code are English
    with path.open("rb") as file:
        catalogue = read_po(file, locale=language)
    compiled = BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)
