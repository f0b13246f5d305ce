"""Read the files of a feed: by partition around a local day, each once, with bad files and records set aside."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from ecluse.apps.city.calendar import HOUR, LocalDay
from ecluse.apps.city.curated import LAYOUT, QUOTED, Curated, Part, RejectedRecord
from ecluse.apps.city.errors import BadRaw
from ecluse.apps.city.raw import Raw, RawFile, fingerprint_of
from ecluse.apps.city.tables import LARGEST
from ecluse.sentences import _
from ecluse.storage.side_by_side import side_by_side

BROKEN_FILE: Final = _("the file is broken")
NO_RECORDS: Final = _("the file holds no such records")
_DAY_FOLDER: Final = re.compile(r"/dt=(\d{4}-\d{2}-\d{2})/")
_HOUR_FOLDER: Final = re.compile(r"/hour=(\d{1,2})/")
#: Control characters but for tabs and line breaks, what turns the direction of writing, and halves of characters,
#: which JSON can escape.
_UNKEPT: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_HIGHEST: Final = 2**31 - 1
#: Zeros in front included.
_MOST_DIGITS: Final = 20
#: No identifier is larger, and thousands of digits cannot be written.
_HIGHEST_ID: Final = 10**30
#: Names and titles are far shorter; a day's documents quote hundreds of them.
LONGEST_TEXT: Final = 500
#: How much of a bad value is quoted.
_LONGEST_VALUE: Final = 80


@dataclass(frozen=True)
class FeedFile:
    """One file of a feed, in the partition of `day` (UTC); `hour`: None outside the folders of hours."""

    raw: RawFile
    day: date
    hour: int | None

    @property
    def begin(self) -> datetime:
        """When the time begins that its partition stands for."""
        return datetime(self.day.year, self.day.month, self.day.day, tzinfo=UTC) + (self.hour or 0) * HOUR


@dataclass
class Rejections:
    """The records that were not taken: how many for which reason, and the first of them in full."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: list[RejectedRecord] = field(default_factory=list)

    def add(
        self,
        file: str,
        reason: str,
        *,
        line: int | None = None,
        column: str | None = None,
        value: object = "",
    ) -> None:
        self.counts[reason] += 1
        if len(self.examples) < QUOTED:
            self.examples.append(
                RejectedRecord(file, line, column, reason, text_of(str(value)[:_LONGEST_VALUE]) or "")
            )

    def extend(self, other: Rejections) -> None:
        self.counts.update(other.counts)
        self.examples.extend(other.examples[: QUOTED - len(self.examples)])


@dataclass(frozen=True)
class Document:
    """What one file of a feed says; `content` is None where the file is broken, and `aside` says how."""

    file: FeedFile
    content: Any
    rejections: Rejections


class Feed:
    """The files of one feed for local days, listed at once; each is read once while the days go by in order."""

    def __init__(self, raw: Raw, name: str, days: Sequence[LocalDay]) -> None:
        dates = {day.date + timedelta(days=n) for day in days for n in (-1, 0, 1)}
        available = [day for day in raw.days(name) if day in dates]
        files_of_days = side_by_side(lambda day, _: _in_order(day, raw.partition(name, day)), available)
        self._listed: dict[date, list[FeedFile]] = dict(zip(available, files_of_days, strict=True))
        self._read: dict[str, Document] = {}

    def around(self, day: LocalDay) -> list[FeedFile]:
        """Return the files that may tell of a local day, oldest partition first: those of three partitions.

        Partitions are days in UTC, so a local day lies in two of them; the third holds what was told late.
        """
        days = [day.date + timedelta(days=n) for n in (-1, 0, 1)]
        files = [file for date_ in days for file in self._listed.get(date_, ())]
        urls = {file.raw.url for file in files}
        self._read = {url: read for url, read in self._read.items() if url in urls}
        return files

    def documents(self, files: Sequence[FeedFile]) -> list[Document]:
        """Return what `files` say, in their order. A file that is broken is set aside whole, with its reason."""
        missing = [file for file in files if file.raw.url not in self._read]
        for document in side_by_side(lambda file, _: _document(file), missing):
            self._read[document.file.raw.url] = document
        return [self._read[file.raw.url] for file in files]


def read_file(file: RawFile) -> Document:
    """Return what one file of a feed says; its day is that of its folder."""
    day = _DAY_FOLDER.search(file.key)
    return _document(FeedFile(file, date.fromisoformat(day[1]) if day else date.min, _hour(file.key)))


def parsed(file: RawFile) -> Any:
    """Return what a JSON file says.

    Raises:
        BadRaw: it is damaged; the message names file, line and column.
    """
    try:
        return json.loads(file.read().decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise BadRaw(
            _(
                "%(file)s, line %(number)s, column %(column)s: no whole JSON: %(error)s. Fetch it again.",
                file=file.url,
                number=error.lineno,
                column=error.colno,
                error=error.msg,
            )
        ) from error
    except UnicodeDecodeError as error:
        raise BadRaw(
            _("%(file)s is no UTF-8 text: %(error)s. Fetch it again.", file=file.url, error=error.reason)
        ) from error
    except ValueError as error:  # a number of thousands of digits
        raise BadRaw(
            _("%(file)s holds what cannot be read: %(error)s. Fetch it again.", file=file.url, error=error)
        ) from error
    except RecursionError as error:
        raise BadRaw(_("%(file)s is nested too deeply to be read.", file=file.url)) from error


def newest(files: Iterable[RawFile]) -> str:
    """Return when the youngest of `files` was written, in ISO 8601."""
    return max(file.last_modified.astimezone(UTC) for file in files).isoformat()


def is_current(curated: Curated, table: str, day: date, origin: str, fingerprint: str) -> bool:
    """Return whether the rows of `origin` on `day` were made from just these files."""
    return is_among(curated.parts(table, day), origin, fingerprint)


def is_among(parts: Iterable[Part], origin: str, fingerprint: str) -> bool:
    """Return whether one of the parts of a day was made from just these files."""
    return any(
        part.origin == origin and part.fingerprint == fingerprint and part.layout == LAYOUT for part in parts
    )


def parts_of(curated: Curated, table: str, days: Sequence[date]) -> dict[date, list[Part]]:
    """Return what each day of a table was made of, asked side by side."""
    return dict(zip(days, side_by_side(lambda day, _: curated.parts(table, day), days), strict=True))


def facts_of(files: Sequence[RawFile], rejected: Rejections, records: int) -> dict[str, Any]:
    """Return what a part says of the files that it was made from: the arguments of `Curated.write`."""
    return {
        "fingerprint": fingerprint_of(files),
        "modified": newest(files),
        "records": records,
        "files": [file.url for file in files],
        "fallback": [file.url for file in files if file.is_fallback],
        "rejected": dict(rejected.counts),
        "examples": rejected.examples,
    }


def origin_of(file: RawFile) -> str:
    """Return the name of a batch file as an origin: small letters, digits and hyphens, at most 64."""
    name = file.key.rpartition("/")[2]
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if len(slug) <= 64 and slug == re.sub(r"[._]", "-", name):
        return slug
    return f"{slug[:55].strip('-')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def text_of(value: object, longest: int = LONGEST_TEXT) -> str | None:
    """Return text without blanks around it and what no database keeps, at most so long; None where nothing is left."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    if isinstance(value, int) and abs(value) > _HIGHEST_ID:
        return None
    return _UNKEPT.sub("", str(value)).strip()[:longest].rstrip() or None


def whole_of(text: str) -> int | None:
    """Return a whole number of 32 bits and no sign, as ids are written; None for what is none."""
    if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS):
        return None
    number_ = int(text)
    return number_ if number_ <= _HIGHEST else None


def number(value: object) -> float | None:
    """Return a number, also written as text; None for what is none, or larger than any measurement."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number_ = float(value)
    except (ValueError, OverflowError):
        return None
    return number_ if abs(number_) <= LARGEST else None


def _in_order(day: date, files: Iterable[RawFile]) -> list[FeedFile]:
    ordered = [FeedFile(file, day, _hour(file.key)) for file in files]
    return sorted(ordered, key=lambda file: (-1 if file.hour is None else file.hour, file.raw.key))


def _hour(key: str) -> int | None:
    match = _HOUR_FOLDER.search(key)
    return int(match[1]) if match else None


def _document(file: FeedFile) -> Document:
    rejected = Rejections()
    content = None
    try:
        content = parsed(file.raw)
    except BadRaw as error:
        cause = error.__cause__
        line, column = (
            (cause.lineno, str(cause.colno)) if isinstance(cause, json.JSONDecodeError) else (None, None)
        )
        rejected.add(file.raw.url, BROKEN_FILE, line=line, column=column, value=cause or error)
    return Document(file, content, rejected)
