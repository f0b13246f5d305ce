"""Bring kinds, keys and bodies into the one form that every database keeps and gives back unchanged.

A body is JSON that SQL, MongoDB and DynamoDB agree on. The keys of an object are in the order of their characters;
a float without a fraction is an int; what one of the three would refuse or change is refused here.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from json.encoder import encode_basestring
from typing import Any, Final

from ecluse.errors import InvalidDocument
from ecluse.sentences import SENTENCES, _, pack

Body = dict[str, Any]

#: A body's JSON text, in bytes. DynamoDB keeps items of 400 KiB, by a measure of its own (`_weight`): in a list, a
#: number of one digit weighs 3 bytes where JSON writes 2 with its comma, and a list within a list 4 where JSON writes
#: 2; everything else weighs less. So a text weighs 1.5 times its bytes at most, but for lists of lists: twice.
TEXT_LIMIT: Final = 250_000
#: The same by DynamoDB's measure, with room below 409,600 for kind, key and the names of the attributes.
WEIGHT_LIMIT: Final = 400_000
#: Levels of nesting in a body. DynamoDB allows 32.
DEPTH_LIMIT: Final = 20
#: Beyond, a float no longer tells neighbours apart, and what reads JSON with floats would change an int.
LARGEST_INT: Final = 2**53
#: Range of the absolute values that DynamoDB can store, besides zero.
SMALLEST_FLOAT: Final = 1e-130
LARGEST_FLOAT: Final = 9.9e125

KIND_LIMIT: Final = 255
KEY_LIMIT: Final = 512
_KIND: Final = re.compile(r"[a-z0-9_.:-]+(/[a-z0-9_.:-]+)*")
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
#: Of the lists that hold nothing else, all items are looked at together.
_NUMBERS: Final = frozenset({float, int, type(None)})
_TEXTS: Final = frozenset({str, type(None)})
#: Objects of at most so many names share what is made of these; a day has thousands of objects of a few forms.
_NAMES_SHARED: Final = 100


@dataclass(frozen=True)
class Entry:
    """A document as it is to be written: its body in the common form, as JSON text."""

    kind: str
    key: str
    text: str

    @cached_property
    def body(self) -> Body:
        """Return what the text says, for databases that keep no text."""
        body: Body = json.loads(self.text)
        return body


def entry(kind: str, key: str, body: Mapping[str, Any]) -> Entry:
    """Check a document and bring it into the common form; what its sentences are made of comes beside them.

    Raises:
        InvalidDocument: not every database could keep it; the message names the value and the way out.
    """
    name = f"{checked_kind(kind)} {checked_key(key)}"
    made = Entry(kind, key, _common_text(name, body))
    size = len(made.text.encode())
    if size > TEXT_LIMIT:
        raise _too_large(name, _("%(count)s bytes of JSON", count=size), TEXT_LIMIT)
    if 2 * size > WEIGHT_LIMIT and (weight := _weight(made.body)) > WEIGHT_LIMIT:
        raise _too_large(name, _("%(count)s bytes as DynamoDB counts them", count=weight), WEIGHT_LIMIT)
    return made


def checked_kind(kind: str) -> str:
    """Return a kind: names of small letters, digits and `_ . : -`, joined by slashes."""
    if not isinstance(kind, str) or len(kind) > KIND_LIMIT or not _KIND.fullmatch(kind):
        raise InvalidDocument(
            _(
                "%(value)s is no kind of documents. A kind is names of small letters, digits and _ . "
                ": - joined by slashes, %(count)s characters at most: metrics/zones.",
                value=repr(kind),
                count=KIND_LIMIT,
            )
        )
    return kind


def checked_key(key: str) -> str:
    """Return a key: 1 to 512 bytes of text without control characters."""
    if not isinstance(key, str) or not key or not _is_bound(key):
        raise InvalidDocument(
            _(
                "%(value)s is no key of a document. A key is text of 1 to %(count)s bytes in UTF-8, "
                "without control characters: 2025-10-14.",
                value=repr(key),
                count=KEY_LIMIT,
            )
        )
    return key


def checked_bound(bound: str) -> str:
    """Return the start or the end of a range: what a key may be, or nothing."""
    return bound if bound == "" else checked_key(bound)


def _is_bound(text: str) -> bool:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return False
    return size <= KEY_LIMIT and not any(unicodedata.category(character) == "Cc" for character in text)


def _too_large(name: str, size: str, limit: int) -> InvalidDocument:
    return InvalidDocument(
        _(
            "The document %(name)s is too large: %(what)s, where %(count)s fit into every "
            "database. Shorten its lists, or split it over several keys.",
            name=name,
            what=size,
            count=limit,
        )
    )


def _common_text(name: str, body: Mapping[str, Any]) -> str:
    """Return a body in the common form as JSON: at once where it is of JSON's own types, else value by value."""
    try:
        return _plain_body(body)
    except _UnusualError:
        return _ENCODER.encode(_checked_body(name, pack(body)))


# Nearly every body, at once


class _UnusualError(Exception):
    """A value to be looked at one by one: it may be refused, or is of a subclass of what JSON has."""


def _plain_body(body: Mapping[str, Any]) -> str:
    """Return a body without sentences as JSON, in the common form.

    Raises:
        _UnusualError: it is no such body, or may not be kept.
    """
    if not isinstance(body, Mapping) or SENTENCES in body:
        raise _UnusualError
    return _plain_object(body, 1)


def _plain_object(value: Mapping[Any, Any], depth: int) -> str:
    if depth > DEPTH_LIMIT:
        raise _UnusualError
    names = tuple(value)
    ordered = _shared_names(names) if len(names) <= _NAMES_SHARED else _names(names)
    return "{" + ",".join([begin + _plain_value(value[name], depth) for name, begin in ordered]) + "}"


def _names(names: tuple[Any, ...]) -> list[tuple[str, str]]:
    """Return the names of an object in the order of their characters, each with what JSON has before its value."""
    if not set(map(type, names)) <= {str} or not all(map(_is_name, names)):
        raise _UnusualError
    return [(name, encode_basestring(name) + ":") for name in sorted(names)]


_shared_names = lru_cache(maxsize=256)(_names)


def _plain_value(value: Any, depth: int) -> str:
    kind = type(value)
    if kind is float and (value == 0 or SMALLEST_FLOAT <= abs(value) <= LARGEST_INT):
        return repr(value) if value % 1 else repr(int(value))
    if kind is str and _is_storable(value):
        return encode_basestring(value)
    if kind is list:
        return _plain_list(value, depth + 1)
    if kind is dict:
        return _plain_object(value, depth + 1)
    if value is None:
        return "null"
    if kind is bool:
        return "true" if value else "false"
    if kind is int and -LARGEST_INT <= value <= LARGEST_INT:
        return repr(value)
    raise _UnusualError


def _plain_list(values: list[Any], depth: int) -> str:
    if depth > DEPTH_LIMIT:
        raise _UnusualError
    kinds = set(map(type, values))
    if kinds <= _NUMBERS:
        return _plain_numbers(values)
    if kinds <= _TEXTS:
        return _plain_texts(values)
    return "[" + ",".join([_plain_value(value, depth) for value in values]) + "]"


def _plain_numbers(values: list[Any]) -> str:
    """Return a list of numbers as JSON, from how Python writes it: of all types, `None` and ", " alone differ."""
    text = repr(values)
    present = values if "N" not in text else [value for value in values if value is not None]
    if "a" in text or "f" in text:  # nan, inf
        raise _UnusualError
    if present and not (min(present) >= -LARGEST_INT and max(present) <= LARGEST_INT):
        raise _UnusualError
    if "e-" in text and any(0 < abs(value) < SMALLEST_FLOAT for value in present):
        raise _UnusualError
    text = text.replace(", ", ",").replace(".0,", ",").replace(".0]", "]").replace("None", "null")
    return text.replace("-0,", "0,").replace("-0]", "0]") if "-0" in text else text


def _plain_texts(values: list[Any]) -> str:
    if not _is_storable("".join(filter(None, values))):
        raise _UnusualError
    if None in values:
        return "[" + ",".join(["null" if text is None else encode_basestring(text) for text in values]) + "]"
    return "[" + ",".join(map(encode_basestring, values)) + "]"


def _is_name(key: str) -> bool:
    """Return whether every database keeps a name; identifiers, as nearly all are, need no closer look."""
    return key.isidentifier() or (
        bool(key) and not key.startswith("$") and "." not in key and _is_storable(key)
    )


# Value by value, to name what is refused


def _checked_body(name: str, body: Any) -> Body:
    if not isinstance(body, Mapping):
        raise InvalidDocument(
            _(
                "The document %(name)s is of the type %(word)s. Give an object: a dict.",
                name=name,
                word=type(body).__name__,
            )
        )
    return _object(name, "", body, 1)


def _value(name: str, path: str, value: Any, depth: int) -> Any:
    """Return a value at `path` in the common form."""
    match value:
        case None | bool():
            return value
        case str():
            return _text(name, path, value)
        case int():
            return _int(name, path, value)
        case float():
            return _float(name, path, value)
        case Mapping():
            return _object(name, path, value, depth + 1)
        case list() | tuple():
            _check_depth(name, path, depth + 1)
            return [_value(name, f"{path}[{at}]", item, depth + 1) for at, item in enumerate(value)]
    raise _invalid(
        name,
        path,
        _(
            "is of the type %(word)s, which is not JSON. Give text, a number, true, false, null, "
            "a list or an object.",
            word=type(value).__name__,
        ),
    )


def _object(name: str, path: str, value: Mapping[Any, Any], depth: int) -> Body:
    _check_depth(name, path, depth)
    for key in value:
        if not isinstance(key, str):
            raise _invalid(
                name,
                path,
                _("has the name %(name)s, which is not text. Write names as text.", name=repr(key)),
            )
        if not _is_name(key):
            raise _invalid(
                name,
                path,
                _(
                    "has the name %(name)s, which not every database keeps. A name is not empty, does not "
                    "begin with $ and holds no dot and no NUL.",
                    name=repr(key),
                ),
            )
    return {key: _value(name, f"{path}.{key}" if path else key, value[key], depth) for key in sorted(value)}


def _check_depth(name: str, path: str, depth: int) -> None:
    if depth > DEPTH_LIMIT:
        raise _invalid(
            name,
            path,
            _(
                "lies deeper than %(count)s levels. Put fewer lists and objects into one another.",
                count=DEPTH_LIMIT,
            ),
        )


def _text(name: str, path: str, value: str) -> str:
    if not _is_storable(value):
        raise _invalid(
            name, path, _("holds a NUL or half of a character. Remove it, or keep bytes in the object store.")
        )
    return str(value)


def _is_storable(text: str) -> bool:
    if text.isprintable():  # as nearly all is: neither a NUL nor half of a character
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in text


def _int(name: str, path: str, value: int) -> int:
    if abs(value) > LARGEST_INT:
        raise _invalid(name, path, _("is beyond 2^53, where numbers lose digits. Write it as text."))
    return int(value)


def _float(name: str, path: str, value: float) -> float | int:
    if not math.isfinite(value):
        raise _invalid(
            name, path, _("is %(value)s, which is no number. What is missing is null.", value=value)
        )
    if value.is_integer() and abs(value) <= LARGEST_INT:
        return int(value)
    if not SMALLEST_FLOAT <= abs(value) <= LARGEST_FLOAT:
        raise _invalid(
            name,
            path,
            _(
                "is %(value)s, outside %(number)s to %(total)s. Choose another unit, or write 0.",
                value=repr(value),
                number=SMALLEST_FLOAT,
                total=LARGEST_FLOAT,
            ),
        )
    return float(value)


def _invalid(name: str, path: str, reason: str) -> InvalidDocument:
    return InvalidDocument(
        _(
            "In the document %(name)s, %(part)s %(reason)s",
            name=name,
            part=path or _("the body"),
            reason=reason,
        )
    )


def _weight(value: Any) -> int:
    """Return the bytes of a value as DynamoDB counts them, rounded up.

    Source: Amazon DynamoDB Developer Guide, "DynamoDB item sizes and formats".
    """
    match value:
        case None | bool():
            return 1
        case str():
            return len(value.encode())
        case int() | float():
            digits = sum(character.isdigit() for character in repr(value).partition("e")[0])
            return 2 + digits // 2 + (value < 0)
        case dict():
            return 3 + sum(1 + len(key.encode()) + _weight(item) for key, item in value.items())
    return 3 + sum(1 + _weight(item) for item in value)
