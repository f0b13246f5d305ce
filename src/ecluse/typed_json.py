"""Read stored JSON into frozen dataclasses, with every type checked, and write them back.

    report = read(TrainingReport, json.loads(text), "performance.json")
    text = json.dumps(write(report))

A key that the type does not know is left out: a later release wrote it. A key that is missing takes the default of its
field; a field without a default is required. A field made with `optional()` is left out of the JSON while it has its
default; any other None is written as null. A whole number is accepted for a `float`; a bool is no number.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Hashable, Mapping
from dataclasses import MISSING, Field, field, fields, is_dataclass
from functools import cache
from typing import Any, Final, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from ecluse.errors import UnreadableRecord
from ecluse.sentences import _

T = TypeVar("T")
#: Converts the JSON value at a path ("performance.json.rows.test") to its typed form, or raises UnreadableRecord.
_Reader = Callable[[Any, str], Any]
_OMIT: Final = "left out while it has its default"
_KEY: Final = "key in the JSON"
#: Characters of a wrong value that its error quotes.
_QUOTED: Final = 60


def optional(default: Any = None, *, key: str | None = None) -> Any:
    """Declare a field that is left out of the JSON while it has its default: what older releases did not write, and
    what only some files say. `key` is its name in the JSON where that is no name in Python.
    """
    return field(default=default, metadata={_OMIT: True} | ({_KEY: key} if key else {}))


def read(kind: type[T], data: Mapping[str, Any], name: str) -> T:
    """Convert JSON values to the dataclass `kind`; `name` is what errors call the file or column that held them.

    Raises:
        UnreadableRecord: a required key is missing, or a value has another type than its field.
    """
    value: T = _reader_of(cast(Hashable, kind))(data, name)
    return value


def write(value: Any) -> Any:
    """Convert a dataclass, and what it holds, to plain JSON values; `read` gives the same back."""
    if is_dataclass(value) and not isinstance(value, type):
        members = ((item, getattr(value, item.name)) for item in fields(value))
        return {
            _key_of(item): write(inner)
            for item, inner in members
            if not (_OMIT in item.metadata and inner == item.default)
        }
    if isinstance(value, Mapping):
        return {key: write(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [write(inner) for inner in value]
    return value


@cache
def _reader_of(kind: Any) -> _Reader:
    """Build the converter of a type, once: a report holds hundreds of points of curves."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return lambda value, path: value
    if origin in (Union, types.UnionType):
        return _union_reader(arguments)
    if origin is Literal:
        return _literal_reader(arguments)
    if origin is tuple:
        return _list_reader(arguments[0]) if arguments[1:] == (...,) else _row_reader(arguments)
    if origin is not None and issubclass(origin, Mapping):
        return _mapping_reader(arguments[1])
    if is_dataclass(kind) and isinstance(kind, type):
        return _dataclass_reader(kind)
    return _plain_reader(kind)


def _plain_reader(kind: type) -> _Reader:
    accepted = (int, float) if kind is float else kind

    def convert(value: Any, path: str) -> Any:
        if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
            raise _unexpected(path, value, kind.__name__)
        return value

    return convert


def _literal_reader(choices: tuple[Any, ...]) -> _Reader:
    def convert(value: Any, path: str) -> Any:
        if value not in choices:
            raise _unexpected(path, value, "one of " + ", ".join(map(repr, choices)))
        return value

    return convert


def _union_reader(kinds: tuple[Any, ...]) -> _Reader:
    """Try the alternatives in order; the error is that of the last one."""
    *others, last = [_reader_of(kind) for kind in kinds if kind is not types.NoneType]
    accepts_none = types.NoneType in kinds

    def convert(value: Any, path: str) -> Any:
        if value is None and accepts_none:
            return None
        for reader in others:
            try:
                return reader(value, path)
            except UnreadableRecord:
                continue  # the next alternative may fit, and the last one says what is wrong
        return last(value, path)

    return convert


def _list_reader(kind: Any) -> _Reader:
    reader = _reader_of(kind)

    def convert(value: Any, path: str) -> Any:
        if not isinstance(value, list | tuple):
            raise _unexpected(path, value, "a list")
        return tuple([reader(item, path) for item in value])

    return convert


def _row_reader(kinds: tuple[Any, ...]) -> _Reader:
    """Read a list of a fixed length, such as the two ends of an interval."""
    readers = [_reader_of(kind) for kind in kinds]

    def convert(value: Any, path: str) -> Any:
        if not isinstance(value, list | tuple) or len(value) != len(readers):
            raise _unexpected(path, value, f"a list of {len(readers)}")
        return tuple([reader(item, path) for reader, item in zip(readers, value, strict=True)])

    return convert


def _mapping_reader(kind: Any) -> _Reader:
    reader = _reader_of(kind)

    def convert(value: Any, path: str) -> Any:
        if not isinstance(value, Mapping):
            raise _unexpected(path, value, "an object")
        return {str(key): reader(item, f"{path}.{key}") for key, item in value.items()}

    return convert


def _dataclass_reader(kind: type) -> _Reader:
    hints = get_type_hints(kind)
    members = [(item, _key_of(item), _reader_of(hints[item.name])) for item in fields(kind)]

    def convert(value: Any, path: str) -> Any:
        if not isinstance(value, Mapping):
            raise _unexpected(path, value, "an object")
        given = {}
        for item, key, reader in members:
            if key in value:
                given[item.name] = reader(value[key], f"{path}.{key}")
            elif item.default is MISSING and item.default_factory is MISSING:
                raise UnreadableRecord(_("%(place)s has no %(key)s.", place=path, key=repr(key)))
        return kind(**given)

    return convert


def _key_of(item: Field[Any]) -> str:
    key: str = item.metadata.get(_KEY, item.name)
    return key


def _unexpected(path: str, value: Any, expected: str) -> UnreadableRecord:
    shown = repr(str(value)[:_QUOTED])
    return UnreadableRecord(
        _("%(place)s is %(value)s, not %(expected)s.", place=path, value=shown, expected=expected)
    )
