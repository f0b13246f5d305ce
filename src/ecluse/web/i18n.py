"""Say things in the reader's language: sentences, numbers, dates, durations and sizes.

A language is a folder in `ecluse/locale`: a file of translations for the core and one for each of our applications in
`LC_MESSAGES`, and `formats.toml` where it is written otherwise than the data of Babel says. An application that is
installed beside ours brings the translations of its own messages in a folder `locale` beside its code.
`Words` holds one language and time zone; templates reach it through `_()` and the filters of `templating`.
"""

from __future__ import annotations

import gettext
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import cache, cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from babel import Locale
from babel.dates import format_date, format_datetime, format_time
from babel.messages.catalog import Message
from babel.messages.mofile import write_mo
from babel.messages.pofile import PoFileError, read_po
from babel.units import format_unit

from ecluse.application import applications, folder_of, leave_out, remembered
from ecluse.metrics import Metric
from ecluse.moments import local_to
from ecluse.sentences import Listing, Number, Sentence

#: The language of the sentences in the code, which needs no translations.
ENGLISH: Final = "en"
#: Each folder in it is a language.
FOLDER: Final = Path(__file__).parents[1] / "locale"
NBSP: Final = "\N{NO-BREAK SPACE}"
MINUS: Final = "\N{MINUS SIGN}"
ABSENT: Final = "–"
#: Units of size, each a thousand of the one before, by their names in Babel's data.
_SIZES: Final = tuple(f"digital-{unit}" for unit in ("byte", "kilobyte", "megabyte", "gigabyte", "terabyte"))


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
class Formats:
    """How one language writes numbers and dates: Babel's data, but for what its `formats.toml` says."""

    language: str
    own: Mapping[str, str]

    @cached_property
    def locale(self) -> Locale:
        return Locale.parse(self.own.get("locale", self.language))

    @cached_property
    def name(self) -> str:
        """Return what the language is called in itself."""
        if "name" in self.own:
            return self.own["name"]
        return (Locale.parse(self.language).display_name or self.language).capitalize()

    @cached_property
    def group(self) -> str:
        """Return what stands between thousands."""
        return self.own.get("group") or str(self.locale.number_symbols["latn"]["group"])

    @cached_property
    def decimal(self) -> str:
        return str(self.locale.number_symbols["latn"]["decimal"])

    @cached_property
    def percent(self) -> str:
        """Return what stands behind a number of per cent."""
        return self.own.get("percent") or str(self.locale.percent_formats[None].suffix[0])

    @cached_property
    def marks(self) -> dict[int, str]:
        """Return the marks of this language for those of a number as Python formats it."""
        return str.maketrans({",": self.group, ".": self.decimal})

    @cached_property
    def sizes(self) -> tuple[str, ...]:
        """Return the units of size, from the byte to the terabyte."""
        return tuple(
            format_unit(1, unit, "narrow", locale=self.locale).replace("1", "").strip() for unit in _SIZES
        )

    def currency(self, number: str, symbol: str) -> str:
        """Return an amount with its symbol before or behind it."""
        pattern = self.locale.currency_formats["standard"]
        return f"{pattern.prefix[0]}{number}{pattern.suffix[0]}".replace("¤", symbol)

    def pattern(self, name: str, day: int) -> str:
        """Return the pattern of a kind of date: `day`, `brief_day`, `weekday_day`, `short_day` or `moment`.

        The first day of a month has its own number where the language says so, as in « 1er mai ».
        """
        pattern = self._pattern(name)
        first = self.own.get("first_of_month")
        return re.sub(r"\bd\b", f"'{first}'", pattern) if first and day == 1 else pattern

    def _pattern(self, name: str) -> str:
        if name in self.own:
            return self.own[name]
        if name == "moment":
            return f"{self._pattern('brief_day')}, {self.locale.time_formats['short'].pattern}"
        dates = {"day": "long", "weekday_day": "full"}
        if name in dates:
            return str(self.locale.date_formats[dates[name]].pattern)
        return str(self.locale.datetime_skeletons[{"brief_day": "yMMMd", "short_day": "MMMd"}[name]].pattern)


@dataclass(frozen=True)
class Words:
    """How to say things in one language, with moments told in one time zone (None: UTC, and said so)."""

    language: str = ENGLISH
    zone: ZoneInfo | None = None

    def _(self, message: str, **values: object) -> str:
        """Return the sentence in this language, its `%(name)s` places filled; a literal percent sign is `%%`."""
        return (_catalogue(self.language).gettext(message) or message) % _isolated(values)

    def phrase(self, text: str) -> str:
        """Say a sentence in this language, with its numbers and the sentences within it; other text stays as it is.

        Where this language lacks the message, the whole sentence is English.
        """
        if self.language == ENGLISH:
            return str(text)
        if isinstance(text, Sentence):
            catalogue = _catalogue(self.language)
            message = (
                catalogue.ngettext(text.message, text.plural, text.number)
                if text.plural
                else catalogue.gettext(text.message)
            )
            values = {name: self._value(value) for name, value in text.values.items()}
            return message % _isolated(values) if message else str(text)
        if isinstance(text, Number | Listing):
            return self._value(text)
        return text

    def _value(self, value: str | float) -> str:
        """Write a value of a sentence in this language."""
        if isinstance(value, Listing):
            return self.between(value.between).join(self._value(part) for part in value.parts)
        if isinstance(value, Number | float):
            text = str(value).translate(self._formats.marks)
            return re.sub(" ?%$", self._formats.percent, text)
        return self.phrase(value) if isinstance(value, str) else str(value)

    def ngettext(self, singular: str, plural: str, count: int, **values: object) -> str:
        """Return the sentence for this count; `%(count)s` is the count, grouped."""
        chosen = _catalogue(self.language).ngettext(singular, plural, count) or (
            singular if count == 1 else plural
        )
        return chosen % {"count": self.num(count), **_isolated(values)}

    def between(self, mark: str) -> str:
        """Return what stands between the parts of a list, `"; "`, as this language writes it."""
        return self._("; ") if mark == "; " else mark

    def num(self, value: float | None, digits: int = 0) -> str:
        """`4 920.50`: no-break spaces between thousands, a true minus, a comma in French; `–` when absent."""
        if value is None or not math.isfinite(value):
            return ABSENT
        text = f"{abs(value):,.{digits}f}".translate(self._formats.marks)
        sign = MINUS if value < 0 and any(c in "123456789" for c in text) else ""
        return sign + text

    def signed(self, value: float | None, digits: int = 2) -> str:
        """Write a number with its sign, which what is rounded to zero has not."""
        text = self.num(value, digits)
        is_more = value is not None and value > 0 and any(c in "123456789" for c in text)
        return f"+{text}" if is_more else text

    def as_given(self, value: float) -> str:
        """Write a number with the digits that it was given, six at most: `0.0003`, `20`, `1e-07`."""
        text = f"{value:.6g}"
        if "e" in text or not math.isfinite(value):
            return text.translate(self._formats.marks)
        return self.num(value, len(text.partition(".")[2]))

    def qty(self, value: float | None, unit: str, digits: int = 0) -> str:
        """Write a number and its unit, which never part at a line's end."""
        return f"{self.num(value, digits)}{NBSP}{unit}"

    def metric(self, value: float | None, metric: Metric) -> str:
        """Write the value of a metric as it is read: a share as per cent, or a number."""
        return (
            self.percent(value, metric.digits) if metric.style == "share" else self.num(value, metric.digits)
        )

    def percent(self, share: float | None, digits: int | None = None) -> str:
        """Write a share in [0, 1] as per cent. Without `digits`: two near an end (1 %), one below 10 %, else none."""
        if share is None or not math.isfinite(share):
            return ABSENT
        if digits is None:
            size = abs(share)
            digits = 0 if size in (0, 1) else 2 if size < 0.01 or 0.99 < size < 1 else 1 if size < 0.1 else 0
        return self.num(share * 100, digits) + self._formats.percent

    def threshold(self, score: float | None) -> str:
        """Write a score in [0, 1] with three decimals, or as many (six at most) as tell it from 0 and 1: `0.9996`."""
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
        return ABSENT if moment is None else self._moment(moment, "day")

    def brief_day(self, moment: datetime | None) -> str:
        """`21 Nov 2025` / `21 nov. 2025`, in the reader's zone."""
        return ABSENT if moment is None else self._moment(moment, "brief_day")

    def calendar_day(self, day: date) -> str:
        """`21 Nov 2025` / `21 nov. 2025`: a day of a calendar, the same in every zone."""
        return self._date(day, "brief_day")

    def dated(self, text: str) -> str:
        """Write a title that is a date, or two, as `2025-10-14 – 2025-10-21`; any other stays as it is."""
        parts = text.split(" – ")
        if not all(re.fullmatch(r"\d{4}-\d\d-\d\d", part) for part in parts):
            return text
        try:
            return " – ".join(self.calendar_day(date.fromisoformat(part)) for part in parts)
        except ValueError:  # 2025-02-30 is the name of something else
            return text

    def weekday_day(self, day: date) -> str:
        """`Tuesday 14 October 2025` / `mardi 14 octobre 2025`: a day of a calendar."""
        return self._date(day, "weekday_day")

    def short_day(self, day: date) -> str:
        """`14 Oct` / `14 oct.`: a day beside others of its year."""
        return self._date(day, "short_day")

    def weekday(self, day: date) -> str:
        """`Tue` / `mar.`"""
        return format_date(day, "EEE", locale=self._formats.locale)

    def hour(self, label: str) -> str:
        """`18:00` / `18 h`: an hour of a day by its label; that of a day that has it twice keeps its offset."""
        clock, _, offset = label.partition(" ")
        pattern = self._formats.own.get("hour")
        if pattern is None or not clock.endswith(":00"):
            return label.replace(" ", NBSP)
        # A day ends at 24:00, which no clock shows: it is said as 23:00 is, with its own number.
        number = int(clock[:2])
        text = format_time(time(min(number, 23)), pattern, locale=self._formats.locale)
        text = text.replace("23", str(number)).replace(" ", NBSP) if number > 23 else text.replace(" ", NBSP)
        return f"{text}{NBSP}({offset})" if offset else text

    def when(self, moment: datetime | None) -> str:
        """`21 Nov 2025, 04:10` / `21 nov. 2025, 4 h 10`, with "UTC" when the reader's zone is not known."""
        if moment is None:
            return ABSENT
        text = self._moment(moment, "moment").replace(" h ", f"{NBSP}h{NBSP}")
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
        """Write a size in decimal units: `128.7 MB` / `128,7 Mo`."""
        if size is None:
            return ABSENT
        units = self._formats.sizes
        power = min(len(units) - 1, max(0, (len(str(size)) - 1) // 3))
        scaled = size / 1000**power
        return self.qty(scaled, units[power], 1 if power >= 2 or (0 < scaled < 10 and power) else 0)

    def money(self, amount: float | None, currency: str = "USD") -> str:
        """`$12.30` / `12,30 $`; what rounds to nothing and is not is `<$0.01`. Other currencies by their code."""
        if amount is None or not math.isfinite(amount):
            return ABSENT
        tiny = 0 < amount < 0.01
        number = self.num(0.01 if tiny else amount, 2)
        text = self._formats.currency(number, "$") if currency == "USD" else f"{number}{NBSP}{currency}"
        return f"<{text}" if tiny else text

    @property
    def _formats(self) -> Formats:
        return _formats(self.language)

    def _date(self, day: date, kind: str) -> str:
        return format_date(day, self._formats.pattern(kind, day.day), locale=self._formats.locale)

    def _moment(self, moment: datetime, kind: str) -> str:
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        local = local_to(aware, self.zone or UTC)
        return format_datetime(local, self._formats.pattern(kind, local.day), locale=self._formats.locale)


@cache
def languages() -> Mapping[str, str]:
    """Return the languages that there are by their codes, English first, each with its name in itself."""
    codes = sorted(
        (path.name for path in FOLDER.iterdir() if path.is_dir()),
        key=lambda code: (code != ENGLISH, code),
    )
    return {code: _formats(code).name for code in codes}


def choose_language(asked: str | None, remembered: str | None, accept: str) -> str:
    """Choose the language asked for by the address, else the one remembered, else the browser's, else English."""
    for choice in (asked, remembered, *_preferences(accept)):
        if choice is not None and (language := choice.partition("-")[0]) in languages():
            return language
    return ENGLISH


def zone_named(name: str | None) -> ZoneInfo | None:
    """Return the time zone a browser names; None when it names none we know."""
    if not name:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # a folder or a path out of the database, too
        return None


def _preferences(accept: str) -> list[str]:
    """List the languages of an Accept-Language header, most wanted first; those refused with q=0 left out."""
    weighted = []
    for part in accept.split(","):
        name, _, weight = part.strip().lower().partition(";q=")
        try:
            quality = float(weight) if weight else 1.0
        except ValueError:
            continue  # a part that no browser sends: the others still say what is wanted
        if quality > 0:
            weighted.append((quality, name))
    return [name for _, name in sorted(weighted, key=lambda pair: -pair[0])]


class _Untranslated(gettext.NullTranslations):
    """Says nothing of a message that the language lacks, which then is English as a whole."""

    def gettext(self, message: str) -> str:
        return ""

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        return ""


@remembered
def _catalogue(language: str) -> gettext.NullTranslations:
    """Return the translations of a language: ours, then what installed applications bring."""
    catalogue: gettext.NullTranslations = _Untranslated()
    for translations in reversed([*_ours(language), *_brought(language)]):
        rest, catalogue = catalogue, translations
        catalogue.add_fallback(rest)
    return catalogue


def _ours(language: str) -> list[gettext.NullTranslations]:
    return [_read(path, language) for path in _files(FOLDER / language)]


def _brought(language: str) -> list[gettext.NullTranslations]:
    """Read the translations that installed applications bring; those that cannot be read are left out, and said so."""
    read = []
    for application in applications():
        folder = folder_of(application, "locale")
        for path in _files(folder / language) if folder else ():
            try:
                read.append(_read(path, language))
            except (OSError, ValueError, LookupError, PoFileError) as error:
                leave_out(application, "locale", f"{path} cannot be read: {error}")
    return read


def _files(language: Path) -> list[Path]:
    return sorted(language.glob("LC_MESSAGES/*.po"))


def _read(path: Path, language: str) -> gettext.NullTranslations:
    """Read the translations in a file.

    Raises:
        ValueError: one cannot be filled in with the values of its message.
    """
    with path.open("rb") as file:
        messages = read_po(file, abort_invalid=True)
    for message in list(messages):
        _expect_same_places(message)
        if isinstance(message.id, tuple) and message.id[1] not in messages:
            # What was stored before a sentence had forms for a count has the message of the plural alone.
            messages.add(message.id[1], list(message.string or ("",))[-1])
    compiled = BytesIO()
    write_mo(compiled, messages)
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


def _expect_same_places(message: Message) -> None:
    """Make sure that a translation names no value that its message lacks, and no broken place for one."""
    originals = message.id if isinstance(message.id, tuple | list) else (message.id,)
    translations = message.string if isinstance(message.string, tuple | list) else (message.string,)
    if not message.id or not any("%" in text for text in translations if text):
        return
    expected = _Places()
    for text in originals:
        expected.fill(text)
    for text in filter(None, translations):
        places = _Places()
        places.fill(text)
        if lacking := places.names - expected.names - {"count"}:
            raise ValueError(f'"{text}" names {", ".join(sorted(lacking))}, which "{originals[0]}" does not.')


class _Places(dict[str, int]):
    """What a message is filled in with, to see which values it names."""

    def __init__(self) -> None:
        super().__init__()
        self.names = set[str]()

    def __missing__(self, name: str) -> int:
        self.names.add(name)
        return 1

    def fill(self, text: str) -> None:
        try:
            text % self
        except (TypeError, ValueError) as error:
            raise ValueError(f'"{text}" cannot be filled in: {error}.') from error


@cache
def _formats(language: str) -> Formats:
    path = FOLDER / language / "formats.toml"
    own: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return Formats(language, own)
