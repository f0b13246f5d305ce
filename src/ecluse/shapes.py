"""Check that values are of the types that their fields say: packages of others write them, and nobody else checks."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Annotated, Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

#: Said of a value besides its type: a function that returns what is wrong with it, or nothing.
Check = Callable[[Any], str]


def fault(value: object, hint: Any) -> str:
    """Say why a value is not of a type; nothing where it is. Of a dataclass every field is checked too.

    Known are plain classes, `Annotated` with a check, unions, `Literal`, `Callable`, mappings, sequences and tuples.
    """
    origin, inner = get_origin(hint), get_args(hint)
    if hint in (Any, object) or isinstance(hint, TypeVar):
        return ""
    if origin is Annotated:
        return fault(value, inner[0]) or next(filter(None, (check(value) for check in inner[1:])), "")
    if origin in (Union, types.UnionType):
        return "" if any(not fault(value, choice) for choice in inner) else _is_not(value, hint)
    if origin is Literal:
        return "" if value in inner else _is_not(value, hint)
    if origin in _CONTAINERS:
        return _CONTAINERS[origin](value, hint)
    return _of_class(value, hint if origin is None else origin)


def faults(value: Any) -> dict[str, str]:
    """Say which fields of a dataclass hold what they must not, and why."""
    return {
        name: reason
        for name, hint in _hints(value.__class__).items()
        if (reason := fault(getattr(value, name), hint))
    }


def _of_class(value: object, kind: Any) -> str:
    if kind is None:
        kind = types.NoneType
    # A bool is an int to Python, and never one that was meant.
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        return _is_not(value, kind)
    if is_dataclass(kind):
        return "; ".join(f"{name}: {reason}" for name, reason in faults(value).items())
    return ""


def _callable(value: object, hint: Any) -> str:
    return "" if callable(value) else _is_not(value, hint)


def _mapping(value: object, hint: Any) -> str:
    if not isinstance(value, Mapping):
        return _is_not(value, hint)
    of_key, of_value = get_args(hint)
    wrong = ((key, fault(key, of_key) or fault(item, of_value)) for key, item in value.items())
    return next((f"{key}: {reason}" for key, reason in wrong if reason), "")


def _sequence(value: object, hint: Any) -> str:
    if isinstance(value, str) or not isinstance(value, get_origin(hint)):
        return _is_not(value, hint)
    items: Sequence[object] = value  # type: ignore[assignment]
    inner = get_args(hint)
    if inner[-1] is Ellipsis or get_origin(hint) is not tuple:
        inner = (inner[0],) * len(items)
    if len(inner) != len(items):
        return _is_not(value, hint)
    return next((reason for item, of in zip(items, inner, strict=True) if (reason := fault(item, of))), "")


_CONTAINERS: Final[Mapping[Any, Callable[[object, Any], str]]] = {
    Callable: _callable,
    Mapping: _mapping,
    Sequence: _sequence,
    tuple: _sequence,
}


def _is_not(value: object, hint: Any) -> str:
    return f"{value!r:.100} is of type {type(value).__name__} and not {_name(hint)}"


def _name(hint: Any) -> str:
    """Write a type as a person reads it."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _name(inner[0])
    if origin in (Union, types.UnionType):
        return " | ".join(map(_name, inner))
    if origin is Callable:
        return "function"
    if origin is None or origin is Literal:
        return "..." if hint is Ellipsis else getattr(hint, "__name__", str(hint))
    return f"{origin.__name__}[{', '.join(map(_name, inner))}]"


@cache
def _hints(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return {each.name: hints[each.name] for each in fields(kind)}


def fills(**values: object) -> Check:
    """Return a check that a message can be filled in with these values, as `message % values`."""

    def check(message: str) -> str:
        try:
            message % values
        except (KeyError, TypeError, ValueError) as error:
            return f'"{message}" cannot be filled in ({error}). A percent sign is written %%'
        return ""

    return check


def formats(**values: object) -> Check:
    """Return a check that a pattern can be filled in with these values, as `pattern.format(**values)`."""

    def check(pattern: str) -> str:
        try:
            pattern.format(**values)
        except (AttributeError, IndexError, KeyError, ValueError) as error:
            return f'"{pattern}" cannot be filled in ({type(error).__name__}: {error})'
        return ""

    return check


def is_address(text: str) -> str:
    """Say why a text is no address of this site; nothing where it is one, or empty."""
    return (
        "" if not text or text.startswith("/") else f'"{text}" is no address of this site: it begins with /'
    )


#: English that is translated for the reader and filled in, without values.
Message = Annotated[str, fills()]
#: The same, with a count.
CountMessage = Annotated[str, fills(count=2)]
#: An address of this site.
Address = Annotated[str, is_address]
