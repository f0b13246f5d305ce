"""Read what a search for model versions asks, such as `name=leaves and (val_accuracy>0.9 or alias=production)`.

A condition is a key, one of `= != > >= < <=`, and a value; `and`, `or` and parentheses join several, and `and` binds
closer. A key is a field of the version (`FIELDS`), or what its metadata, metrics or parameters call it. A value that
holds ` and `, ` or ` or a closing parenthesis stands between quotes.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final, Literal

from ecluse.errors import InvalidInput
from ecluse.sentences import _, num

#: The longest key of a condition (characters, and parts between dots), and the longest value (characters).
KEY, PARTS, VALUE = 200, 20, 1_000
#: Conditions of one search, parentheses within each other, and characters of what is asked at once.
CONDITIONS: Final = 20
DEPTH: Final = 20
LONGEST: Final = 4_000
#: When a version was published, verified, or first found damaged; a date alone means the whole day (UTC).
TIMES: Final = ("created_at", "verified_at", "damaged_at")
#: Keys that are fields of the version itself; any other is looked for in its metadata, metrics and parameters.
FIELDS: Final = ("name", "version", "alias", "application", "size_bytes", "damaged", *TIMES)
#: The syntax of a search, as help and pages show it.
GRAMMAR: Final = (
    "A condition is KEY, one of = != > >= < <=, and VALUE; several are joined by and, or and parentheses. KEY is "
    f"{', '.join(FIELDS)}, or what the metadata or metrics call it. A date (2026-11-01) means that day, a time is "
    "2026-11-01T12:30 (UTC). A value that holds 'and' or 'or' stands between quotes."
)
_COMPARED: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
#: What an operator begins with.
_SIGNS: Final = frozenset("=!<>")
_BEGIN: Final = re.compile(r"\s*(?P<key>[^\s=!<>()][^\s=!<>]*)\s*(?P<operator>>=|<=|!=|==|=|>|<)\s*")
_QUOTED: Final = re.compile(r"""(?P<mark>["'])(?P<value>.*?)(?P=mark)(?=\s|\)|$)""", re.DOTALL)
# One space before the word, as a search for several takes the square of their number.
_WORD: Final = re.compile(r"\s(?:and|or)(?=[\s(]|$)", re.IGNORECASE)
_JOIN: Final = re.compile(r"\s*(and|or)(?=[\s(]|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Condition:
    """`key` compared with `value`: as a number where a number is stored, as text where a text is.

    A text is neither above nor below a number. A time is compared to the precision that the value has: a day, a
    minute, a second. A version is its row in the catalog.
    """

    key: str
    operator: str
    value: str

    def holds(self, row: Any, aliases: Sequence[str] = ()) -> bool:
        """Return whether a version fulfils it; one that lacks the key does not, whatever the comparison."""
        if self.key == "alias":
            if self.operator == "!=":
                return self.value not in aliases
            return any(self._compare(alias) for alias in aliases)
        if self.key in TIMES:
            moment = getattr(row, self.key)
            return moment is not None and self._compare_time(moment)
        if self.key == "damaged":
            return self._compare(row.damaged_at is not None)
        if self.key in FIELDS:
            return self._compare(getattr(row, self.key))
        return any(self._compare(value) for value in values_of(row, self.key))

    def conditions(self) -> Iterator[Condition]:
        yield self

    def _compare(self, value: Any) -> bool:
        compare, number = _COMPARED[self.operator], _number(self.value)
        is_order = self.operator not in ("=", "!=")
        if isinstance(value, bool):
            return not is_order and compare(str(value).lower(), self.value.lower())
        if isinstance(value, str):
            return not (is_order and number is not None) and compare(value, self.value)
        if isinstance(value, int | float) and number is not None:
            return compare(value, number)
        return self.operator == "!=" and isinstance(value, int | float)

    def _compare_time(self, actual: datetime) -> bool:
        bound = _time(self.key, self.value)
        moment = actual.replace(tzinfo=actual.tzinfo or UTC).astimezone(UTC)
        if not isinstance(bound, datetime):
            return _COMPARED[self.operator](moment.date(), bound)
        if bound.microsecond == 0:
            moment = moment.replace(microsecond=0)
            if bound.second == 0:
                moment = moment.replace(second=0)
        return _COMPARED[self.operator](moment, bound)


@dataclass(frozen=True)
class Joined:
    """Several conditions of which all (`and`) or one (`or`) must hold."""

    word: Literal["and", "or"]
    parts: tuple[Query, ...]

    def holds(self, row: Any, aliases: Sequence[str] = ()) -> bool:
        met = (part.holds(row, aliases) for part in self.parts)
        return all(met) if self.word == "and" else any(met)

    def conditions(self) -> Iterator[Condition]:
        for part in self.parts:
            yield from part.conditions()


Query = Condition | Joined


def parse_condition(text: str) -> Query:
    """Return what is asked, as a person writes it: one condition, or several joined by `and`, `or` and parentheses.

    Raises:
        InvalidInput: it is none, or too long: a key is tried in all its parts, on every version.
    """
    if len(text) > LONGEST:
        raise _too_long()
    return _Reader(text).read()


class _Reader:
    """Reads what is asked from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def read(self) -> Query:
        query = self._either()
        if self._rest():
            raise self._refused()
        return query

    def _either(self) -> Query:
        return self._joined("or", self._every)

    def _every(self) -> Query:
        return self._joined("and", self._single)

    def _joined(self, operator: Literal["and", "or"], part: Callable[[], Query]) -> Query:
        parts = [part()]
        while (match := _JOIN.match(self._text, self._at)) and match[1].lower() == operator:
            self._at = match.end()
            parts.append(part())
        return parts[0] if len(parts) == 1 else Joined(operator, tuple(parts))

    def _single(self) -> Query:
        if self._rest().startswith("("):
            return self._within_parentheses()
        begin = _BEGIN.match(self._text, self._at)
        if begin is None:
            raise self._refused()
        self._at = begin.end()
        key, value = begin["key"], self._value()
        if not value and not self._text[: self._at].endswith(("''", '""')):
            raise self._refused()
        if len(key) > KEY or key.count(".") >= PARTS or len(value) > VALUE:
            raise _too_long()
        if key in TIMES:
            _time(key, value)
        return Condition(key, begin["operator"].replace("==", "="), value)

    def _within_parentheses(self) -> Query:
        self._depth += 1
        if self._depth > DEPTH:
            raise _too_long()
        self._at = self._text.index("(", self._at) + 1
        query = self._either()
        if not self._rest().startswith(")"):
            raise self._refused()
        self._at = self._text.index(")", self._at) + 1
        self._depth -= 1
        return query

    def _value(self) -> str:
        """Up to the quote that closes it; else to the next `and`, `or`, closing parenthesis, or the end."""
        quoted = _QUOTED.match(self._text, self._at)
        if quoted:
            self._at = quoted.end()
            return quoted["value"]
        match = _WORD.search(self._text, self._at)
        end = match.start() if match else len(self._text)
        if self._depth:
            end = _closing(self._text, self._at, end)
        value = self._text[self._at : end].strip()
        if value[:1] in _SIGNS:  # such as auc>>0.8: a text that begins so stands between quotes
            raise self._refused()
        self._at = end
        return value

    def _rest(self) -> str:
        return self._text[self._at :].lstrip()

    def _refused(self) -> InvalidInput:
        where = self._rest()[:KEY] or self._text[:KEY]
        return InvalidInput(
            _(
                "%(value)s is not a condition. Write a key, one of = != > >= < <=, and a value: "
                "val_accuracy>0.9. Join several by and, or and parentheses; a value that holds such a "
                "word stands between quotes. Keys are %(values)s, and what metadata and metrics call "
                "them.",
                value=repr(where),
                values=", ".join(FIELDS),
            )
        )


def _closing(text: str, begin: int, end: int) -> int:
    """Return where the parenthesis stands that closes one opened before `begin`; `end` where none does."""
    open_ = 0
    for at in range(begin, end):
        open_ += {"(": 1, ")": -1}.get(text[at], 0)
        if open_ < 0:
            return at
    return end


def _time(key: str, value: str) -> date | datetime:
    """Return a date, which means the whole day, or a time, in UTC."""
    for read in (date.fromisoformat, _utc):
        try:
            return read(value)
        except (ValueError, OverflowError):  # another form, or an offset out of the years that there are
            continue
    raise InvalidInput(
        _(
            "%(key)s takes a date or a time (UTC), not %(value)s. Write %(word)s or %(file)s",
            key=key,
            value=repr(value[:KEY]),
            word=f"{key}>=2026-11-01",
            file=f"{key}>2026-11-01T12:30",
        )
    )


def _utc(value: str) -> datetime:
    at = datetime.fromisoformat(value)
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def values_of(row: Any, key: str) -> Iterator[Any]:
    """Yield what stands at a key in the metadata of a version, in their `metrics` and `parameters`, and in the metrics
    of its report. Dots lead into what is nested.
    """
    details, report = row.details or {}, row.report or {}
    key = key.removeprefix("metadata.")
    for where in (details, details.get("metrics"), details.get("parameters"), report.get("metrics")):
        yield from _within(where, key)


def _within(where: Any, key: str) -> Iterator[Any]:
    """Yield what stands at a key; `a.b` is the key itself, or `b` within `a`."""
    if not isinstance(where, Mapping):
        return
    if key in where:
        yield where[key]
    parts = key.split(".")
    for cut in range(1, len(parts)):
        yield from _within(where.get(".".join(parts[:cut])), ".".join(parts[cut:]))


def _too_long() -> InvalidInput:
    return InvalidInput(
        _(
            "This condition is too long: a key has at most %(count)s characters and %(number)s "
            "parts between dots, a value at most %(total)s characters. Shorten it, such as "
            "val_accuracy>0.9",
            count=KEY,
            number=PARTS,
            total=num(VALUE, ","),
        )
    )


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:  # a word, which is compared as text
        return None
    return number if math.isfinite(number) else None
