"""Sentences that know what they say: a message and its values, with the English as their text.

    raise ModelNotFound(_("No model %(name)s. See: ecluse models list", name=name))
    report(0.2, _("Reading line %(line)s of %(count)s", line=num(line), count=num(count)))
    warnings.append(ngettext("%(count)s row is empty.", "%(count)s rows are empty.", empty))

A `Sentence` is a `str`, its English, so it can be printed, compared, logged and sent like any text. A page says it in
the reader's language with `Words.phrase` (`|phrase` in a template): the French of its message, its numbers with French
marks, and sentences within it in French as well. A name that a person wrote, such as that of a file, is a plain `str`
and is shown as it is.

Columns of the type `SentenceText` and JSON columns of the catalog keep sentences. A document that goes elsewhere is
passed through `pack` before, and through `unpack` after it was read: its texts stay English, and a table beside them
says which message each was made of.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping
from numbers import Integral, Real
from typing import Any, Final, Self

#: The key under which a packed document keeps what its sentences are made of.
SENTENCES: Final = "__sentences__"
#: Where the message has the place of a value, and the sign that a literal percent sign is doubled for.
_PLACE: Final = re.compile(r"%(?:\((\w+)\)s|%)")
#: What holds no sentence, whatever its value.
_WITHOUT: Final = frozenset({str, int, float, bool, type(None)})

Value = str | int | float


class Sentence(str):
    """A message with values, as English text. `message` is what the translations are listed by.

    One that depends on a count has the message for several as `plural`, and the count as `number`.
    """

    __slots__ = ("message", "number", "plural", "values")

    message: str
    values: Mapping[str, Value]
    plural: str
    number: int

    def __new__(cls, message: str, values: Mapping[str, object], plural: str = "", count: int = 1) -> Self:
        """Fill the places of an English message. Raises KeyError where a place has no value."""
        kept = {name: _kept(value) for name, value in values.items()}
        sentence = super().__new__(cls, fill(plural if plural and count != 1 else message, kept))
        sentence.message = message
        sentence.values = kept
        sentence.plural = plural
        sentence.number = count
        return sentence

    def __str__(self) -> str:
        return self  # so that the text of an error is still its sentence

    def __reduce__(self) -> tuple[Any, ...]:
        return Sentence, (self.message, dict(self.values), self.plural, self.number)


class Number(str):
    """A number as English text: `value` formatted by `form`, a format of Python such as `,.2f`, `.1%` or `,`.

    `.1f %` writes a percent sign behind it.
    """

    __slots__ = ("form", "value")

    form: str
    value: int | float

    def __new__(cls, value: int | float, form: str) -> Self:
        number = super().__new__(cls, _formatted(value, form))
        number.value = value
        number.form = form
        return number

    def __str__(self) -> str:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Number, (self.value, self.form)


class Listing(str):
    """Several sentences or texts with the same mark between them, as English text."""

    __slots__ = ("between", "parts")

    between: str
    parts: tuple[Value, ...]

    def __new__(cls, parts: Iterable[object], between: str) -> Self:
        kept = tuple(_kept(part) for part in parts)
        listing = super().__new__(cls, between.join(map(str, kept)))
        listing.parts = kept
        listing.between = between
        return listing

    def __str__(self) -> str:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Listing, (self.parts, self.between)


class Cell(str):
    """A text out of somebody's table, for its owner alone: `without_cells` leaves it out for logs and for others."""

    __slots__ = ()

    def __str__(self) -> str:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Cell, (str.__str__(self),)


#: What stands in the place of a cell.
LEFT_OUT: Final = "…"


def without_cells(text: str) -> str:
    """Return a sentence with `…` in the place of each text out of a table; any other text as it is."""
    if isinstance(text, Cell):
        return LEFT_OUT
    if isinstance(text, Sentence):
        values = {name: _without_cells(value) for name, value in text.values.items()}
        return Sentence(text.message, values, text.plural, text.number)
    if isinstance(text, Listing):
        return Listing((_without_cells(part) for part in text.parts), text.between)
    return text


def _without_cells(value: Value) -> Value:
    return without_cells(value) if isinstance(value, str) else value


def _(message: str, /, **values: object) -> str:
    """Make a sentence of an English message; each place `%(name)s` takes the value of its name, `%%` is a percent sign.

    Text is shown as it is, a sentence in the language of the reader, an `int` by its digits, a `float` by those that
    Python writes; `num` formats them otherwise.
    """
    return Sentence(message, values)


def ngettext(singular: str, plural: str, count: int, /, **values: object) -> str:
    """Make a sentence for a count of which each language has its own forms; `%(count)s` is the count, grouped."""
    return Sentence(singular, {"count": num(int(count)), **values}, plural, int(count))


def N_(message: str) -> str:  # noqa: N802 (the name gettext tools look for)
    """Mark a message for translation without making a sentence of it yet."""
    return message


def num(value: float, form: str = ",") -> str:
    """Format a number as Python does; readers of other languages see their own marks. Not-a-number is plain text."""
    value = _kept(value)  # type: ignore[assignment]
    return Number(value, form) if math.isfinite(value) else _formatted(value, form)


def listing(parts: Iterable[object], between: str = ", ") -> str:
    """Join sentences or texts, each of which is then said in the language of the reader."""
    return Listing(parts, between)


def fill(message: str, values: Mapping[str, object]) -> str:
    """Put values into the places of a message. Raises KeyError where one is missing."""
    return _PLACE.sub(lambda place: str(values[place[1]]) if place[1] else "%", message)


def to_json(text: str) -> Any:
    """Return a text as JSON: what it is made of for a sentence, the text itself for any other."""
    if isinstance(text, Sentence):
        values = {name: _value_to_json(value) for name, value in text.values.items()}
        forms = {"plural": text.plural, "count": text.number} if text.plural else {}
        return {"message": text.message, "values": values, **forms}
    if isinstance(text, Number):
        return {"number": text.value, "form": text.form}
    if isinstance(text, Listing):
        return {"parts": [_value_to_json(part) for part in text.parts], "between": text.between}
    if isinstance(text, Cell):
        return {"cell": str.__str__(text)}
    return text


def from_json(value: Any) -> str:
    """Return what `to_json` was given. Raises ValueError for anything else, so that what strangers send is safe."""
    try:
        return _text_from_json(value)
    except (KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"not a sentence: {error!r}") from error


def pack(document: Any) -> Any:
    """Return a JSON document with what its sentences are made of beside them; without any it is the same document.

    All texts stay English where they are, so that other readers of the document need not know of this.
    """
    table: dict[str, Any] = {}
    _gather(document, table)
    if not table and not (isinstance(document, Mapping) and SENTENCES in document):
        return document
    # A person's own key of that name, or a document of the wrapped form, is never taken for what is written here.
    takes_a_key = (
        isinstance(document, Mapping) and SENTENCES not in document and document.keys() != {"document"}
    )
    made = [[text, value] for text, value in table.items()]
    if takes_a_key:
        return {**document, SENTENCES: made}
    return {SENTENCES: made, "document": document}


def unpack(document: Any) -> Any:
    """Return a document as it was packed, its sentences again knowing what they are made of.

    Raises ValueError where what is beside it is not what `pack` writes.
    """
    if not isinstance(document, Mapping) or SENTENCES not in document:
        return document
    try:
        table = {text: from_json(value) for text, value in document[SENTENCES]}
    except (TypeError, ValueError) as error:
        raise ValueError(f"not a packed document: {error!r}") from error
    if document.keys() == {SENTENCES, "document"}:
        return _revived(document["document"], table)
    return _revived({name: part for name, part in document.items() if name != SENTENCES}, table)


def _formatted(value: float, form: str) -> str:
    plain = form.removesuffix(" %")
    return format(value, plain) + form[len(plain) :]


def _kept(value: object) -> Value:
    if isinstance(value, str | bool):
        return value if isinstance(value, str) else str(value)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    return str(value)


def _value_to_json(value: Value) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return to_json(value) if isinstance(value, str) else value


def _text_from_json(value: Any) -> str:
    if isinstance(value, str):
        return value
    if "message" in value:
        values = {str(name): _value_from_json(part) for name, part in value["values"].items()}
        plural, count = _checked(value.get("plural", "")), value.get("count", 1)
        if not isinstance(count, int):
            raise TypeError(f"{count!r} is no count")
        return Sentence(_checked(value["message"]), values, plural, count)
    if "number" in value:
        return _number_from_json(value["number"], _checked(value["form"]))
    if "cell" in value:
        return Cell(_checked(value["cell"]))
    return Listing([_value_from_json(part) for part in value["parts"]], _checked(value["between"]))


def _value_from_json(value: Any) -> Value:
    return value if isinstance(value, int | float) else _text_from_json(value)


#: Formats of numbers. A stranger's could ask for a million digits.
_FORM: Final = re.compile(r"[+]?,?(\.\d{1,2})?[fgde%]?( %)?")


def _number_from_json(value: Any, form: str) -> str:
    if not isinstance(value, int | float) or not _FORM.fullmatch(form):
        raise TypeError(f"{value!r} is not formatted by {form!r}")
    return Number(value, form)


def _checked(text: Any) -> str:
    if not isinstance(text, str):
        raise TypeError(f"{text!r} is not text")
    return text


def _gather(part: Any, table: dict[str, Any]) -> None:
    if isinstance(part, Sentence | Number | Listing):
        table[part] = to_json(part)
    elif isinstance(part, Mapping):
        _gather_all(part.values(), table)
    elif isinstance(part, list | tuple):
        _gather_all(part, table)


def _gather_all(parts: Collection[Any], table: dict[str, Any]) -> None:
    if not set(map(type, parts)) <= _WITHOUT:
        for part in parts:
            if type(part) not in _WITHOUT:
                _gather(part, table)


def _revived(part: Any, table: Mapping[str, str]) -> Any:
    if isinstance(part, str):
        return table.get(part, part)
    if isinstance(part, Mapping):
        return {name: _revived(inner, table) for name, inner in part.items()}
    if isinstance(part, list):
        return [_revived(inner, table) for inner in part]
    return part
