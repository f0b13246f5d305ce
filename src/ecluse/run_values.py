"""Say what a run may be and how runs are sorted; make parameters, tags and names of metrics flat, and check them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final, Literal

from ecluse.errors import InvalidInput
from ecluse.sentences import _

#: What a run, or a job, is.
STATUSES: Final = ("queued", "running", "done", "failed", "cancelled")
#: What runs are sorted by that is no metric.
SORTED_BY: Final = ("name", "application", "kind", "status", "version", "created", "started", "duration")
Direction = Literal["ascending", "descending"]
_NAME: Final = re.compile(r"\w[\w.\- ]{0,79}")
_LONGEST_VALUE: Final = 500
#: The tag of a run that was taken over from elsewhere, and says from where; see `client.mlflow`.
TAKEN_FROM: Final = "taken_from"


def flat_values(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values with flat names: {"goal": {"kind": "f1"}} is {"goal.kind": "f1"}.

    A list is its words; what is empty or None is left out.
    """
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flat_values(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple | set | frozenset):
            flat |= {f"{prefix}{name}": ", ".join(map(str, value))[:_LONGEST_VALUE]} if value else {}
        elif value is not None:
            flat[f"{prefix}{name}"] = value[:_LONGEST_VALUE] if isinstance(value, str) else value
    return flat


def checked_name(name: str) -> str:
    """Return the name of a parameter, tag or metric.

    Raises:
        InvalidInput: it has other characters than letters, digits, `_`, `-`, `.` and spaces, or more than 80.
    """
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise InvalidInput(
            _(
                "%(name)s cannot name a parameter, tag or metric. Use up to 80 letters, digits, dots, "
                "hyphens and underscores.",
                name=repr(name),
            )
        )
    return name


def checked_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters or tags: text, numbers and truth values by flat names; a number that is not finite is its word.

    Raises:
        InvalidInput: a name or a value is not flat.
    """
    checked: dict[str, Any] = {}
    for name, value in values.items():
        if value is not None and not isinstance(value, str | int | float):
            raise InvalidInput(
                _(
                    "%(name)s is %(what)s; a parameter or tag is text, a number or a truth value.",
                    name=name,
                    what=type(value).__name__,
                )
            )
        finite = not isinstance(value, float) or math.isfinite(value)
        checked[checked_name(name)] = value if finite else str(value)
    return checked
