"""Read the parameters of a function once, for the form, the flags of the command, and the body of the API."""

from __future__ import annotations

import inspect
import math
import types
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from ecluse.app.images import Image, Images
from ecluse.app.values import File, Model, Newest, Table, Task
from ecluse.errors import InvalidInput
from ecluse.sentences import _

#: What a value of a parameter is. `rows` are given with a request to predict; `model` and `task` nobody fills in.
Kind = Literal[
    "text",
    "integer",
    "number",
    "boolean",
    "choice",
    "table",
    "file",
    "image",
    "images",
    "rows",
    "model",
    "task",
]
#: Kinds that a person fills in.
FILLED: Final = ("text", "integer", "number", "boolean", "choice", "table", "file", "image", "images")
#: Of these, the ones that are files: a form lets them be chosen, a body names them by their id.
FILES: Final = ("table", "file", "image", "images")
#: And those that are one value, which may stand in a cell of a table.
PLAIN: Final = ("text", "integer", "number", "boolean", "choice")
_PLAIN: Final[Mapping[Any, Kind]] = {str: "text", int: "integer", float: "number", bool: "boolean"}
_LONGEST_TEXT: Final = 10_000


@dataclass(frozen=True)
class Parameter:
    """One parameter of a function, as a person is asked for it."""

    name: str
    kind: Kind
    required: bool
    default: Any = None
    choices: tuple[str, ...] = ()
    #: Of a table that nobody gives, the newest of this name is taken ("": of any); None: none is.
    newest: str | None = None

    @property
    def label(self) -> str:
        """Return its name as words: `learning_rate` is "Learning rate"."""
        return self.name.replace("_", " ").capitalize()

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def parameter_from(value: Mapping[str, Any]) -> Parameter:
    """Make a parameter of what `as_json` returned."""
    return Parameter(**{**value, "choices": tuple(value["choices"])})


def parameters_of(function: Callable[..., Any]) -> list[Parameter]:
    """Read the parameters of a function: names, annotations, defaults.

    Raises:
        InvalidInput: one has no annotation, or one that no form can ask for.
    """
    try:
        hints = get_type_hints(function)
    except Exception as error:
        raise InvalidInput(
            _(
                "The annotations of %(name)s cannot be read: %(reason)s",
                name=function.__name__,
                reason=f"{type(error).__name__}: {error}",
            )
        ) from error
    every = inspect.signature(function).parameters.values()
    return [_parameter(function, each, hints.get(each.name, inspect.Parameter.empty)) for each in every]


def _parameter(function: Callable[..., Any], each: inspect.Parameter, hint: Any) -> Parameter:
    if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD, each.POSITIONAL_ONLY):
        raise _unfit(
            function, each.name, _("It stands for any number of values, or has no name to give it by")
        )
    has_default = each.default is not each.empty
    default = each.default if has_default else None
    if hint is each.empty:
        if each.name == "model":
            return Parameter(each.name, "model", not has_default)
        if type(default) not in _PLAIN:
            raise _unfit(function, each.name, _("It has no annotation"))
        hint = type(default)
    kind, choices, may_lack = _kind_of(hint)
    if kind is None:
        raise _unfit(function, each.name, _("No form asks for a %(what)s", what=_name_of(hint)))
    parameter = Parameter(each.name, kind, not (has_default or may_lack), None, choices)
    if kind == "table" and isinstance(default, Newest):
        return Parameter(each.name, kind, False, newest=default.name)
    if default is not None:
        if kind not in FILLED or kind in FILES:
            raise _unfit(function, each.name, _("A %(what)s has no default but None", what=kind))
        parameter = Parameter(each.name, kind, False, checked(parameter, default), choices)
    return parameter


def _kind_of(hint: Any) -> tuple[Kind | None, tuple[str, ...], bool]:
    """Return what a value of a type is, the texts it may be, and whether it may be None."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        others = [each for each in inner if each is not types.NoneType]
        if len(others) != 1:
            return None, (), False
        kind, choices, _rest = _kind_of(others[0])
        return kind, choices, len(others) < len(inner)
    if origin is Literal and all(isinstance(choice, str) for choice in inner):
        return "choice", tuple(inner), False
    if hint in _PLAIN:
        return _PLAIN[hint], (), False
    of_class: dict[Any, Kind] = {
        Table: "table",
        File: "file",
        Image: "image",
        Images: "images",
        Task: "task",
        Model: "model",
    }
    if hint in of_class:
        return of_class[hint], (), False
    name, package = getattr(hint, "__name__", ""), str(getattr(hint, "__module__", "")).partition(".")[0]
    is_frame = name == "DataFrame" and package in ("polars", "pandas")
    return ("rows", (), False) if is_frame else (None, (), False)


def _name_of(hint: Any) -> str:
    return getattr(hint, "__name__", None) or str(hint)


def _unfit(function: Callable[..., Any], name: str, reason: str) -> InvalidInput:
    return InvalidInput(
        _(
            "The parameter %(name)s of %(what)s cannot be asked for. %(reason)s. Annotate it as str, int, float, bool, "
            'Literal["a", "b"], Table, File, Image, Images, or a data frame.',
            name=name,
            what=function.__name__,
            reason=reason,
        )
    )


def checked(parameter: Parameter, value: Any) -> Any:
    """Return a value of a parameter as its kind has it: of a form or a command it comes as text.

    Raises:
        InvalidInput: it is of another kind, or lacks.
    """
    if value is None or (value == "" and parameter.kind != "text"):
        if parameter.required:
            raise InvalidInput(_("%(name)s is missing.", name=parameter.name))
        return parameter.default
    kept = _CHECKS[parameter.kind](value)
    if kept is None or (parameter.kind == "choice" and kept not in parameter.choices):
        expected = ", ".join(parameter.choices) if parameter.kind == "choice" else parameter.kind
        raise InvalidInput(
            _(
                "%(name)s is %(value)s; expected: %(what)s.",
                name=parameter.name,
                value=repr(value)[:100],
                what=expected,
            )
        )
    return kept


def checked_all(parameters: list[Parameter], values: Mapping[str, Any]) -> dict[str, Any]:
    """Check the values of all parameters that a person fills in, and complete them by their defaults.

    Raises:
        InvalidInput: one is missing or of another kind, or there is no parameter of a name.
    """
    filled = {each.name: each for each in parameters if each.kind in FILLED}
    for name in values:
        if name not in filled:
            raise InvalidInput(
                _("There is no parameter %(name)s. Known: %(values)s.", name=repr(name)[:100],
                  values=", ".join(filled) or "-")
            )  # fmt: skip
    return {name: checked(each, values.get(name)) for name, each in filled.items()}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and len(value) <= _LONGEST_TEXT else None


def _integer(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    try:
        whole = int(value)
    except (TypeError, ValueError, OverflowError):  # it is no number
        return None
    return whole if isinstance(value, str) or whole == value else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):  # it is no number
        return None
    return number if math.isfinite(number) else None


def _boolean(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    words = {
        "true": True,
        "yes": True,
        "on": True,
        "1": True,
        "false": False,
        "no": False,
        "off": False,
        "0": False,
    }
    return words.get(value.lower()) if isinstance(value, str) else None


_CHECKS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "text": _text, "integer": _integer, "number": _number, "boolean": _boolean, "choice": _text, "table": _text,
    "file": _text, "image": _text, "images": _text,
}  # fmt: skip
