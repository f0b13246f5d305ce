"""Search model versions by what their metadata, metrics and parameters say, such as `val_accuracy>0.9`."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ecluse.catalog import models as rows
from ecluse.catalog.tables import ModelVersion
from ecluse.errors import InvalidInput
from ecluse.runtime import Runtime

#: The longest key of a condition (characters, and parts between dots), and the longest value (characters).
KEY, PARTS, VALUE = 200, 20, 1_000
#: Conditions of one search.
CONDITIONS: Final = 20
_COMPARED: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
_CONDITION: Final = re.compile(
    r"\s*(?P<key>[^\s=!<>]+)\s*(?P<operator>>=|<=|!=|==|=|>|<)\s*(?P<value>.*\S)\s*"
)


@dataclass(frozen=True)
class Condition:
    """`key` compared with `value`: as a number where a number is stored, as text where a text is.

    A text is neither above nor below a number.
    """

    key: str
    operator: str
    value: str

    def holds(self, row: ModelVersion) -> bool:
        """Whether a version fulfils it; one that lacks the key does not, whatever the comparison."""
        return any(self._compare(found) for found in _values(row, self.key))

    def _compare(self, found: Any) -> bool:
        compare, number = _COMPARED[self.operator], _number(self.value)
        is_order = self.operator not in ("=", "!=")
        if isinstance(found, bool):
            return not is_order and compare(str(found).lower(), self.value.lower())
        if isinstance(found, str):
            return not (is_order and number is not None) and compare(found, self.value)
        if isinstance(found, int | float) and number is not None:
            return compare(found, number)
        return self.operator == "!=" and isinstance(found, int | float)


def parse_condition(text: str) -> Condition:
    """A condition as a person writes it.

    Raises:
        InvalidInput: it is none, or too long: a key is tried in all its parts, on every version.
    """
    if len(text) > KEY + VALUE:
        raise _too_long()
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise InvalidInput(
            f"{text!r} is not a condition. Write a key, one of = != > >= < <=, and a value: val_accuracy>0.9"
        )
    value = match["value"]
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        value = value[1:-1]
    if len(match["key"]) > KEY or match["key"].count(".") >= PARTS or len(value) > VALUE:
        raise _too_long()
    return Condition(match["key"], match["operator"].replace("==", "="), value)


def search(
    runtime: Runtime, user_id: str, conditions: Sequence[Condition] = (), name: str | None = None
) -> list[ModelVersion]:
    """The user's versions, of one model or of all, that fulfil every condition; newest first.

    A key is looked for in the metadata of a version, in their `metrics` and `parameters`, and in the metrics
    of its report. Dots lead into what is nested.

    Raises:
        ModelNotFound: the user has no model of this name.
        InvalidInput: there are more than `CONDITIONS`.
    """
    if len(conditions) > CONDITIONS:
        raise InvalidInput(
            f"{len(conditions)} conditions are too many: a search takes at most {CONDITIONS}. Leave some out."
        )
    with runtime.catalog.read() as transaction:
        if name is not None:
            rows.count_versions(transaction, user_id, name)
        found = rows.list_all(transaction, user_id, name)
    return [row for row in found if all(condition.holds(row) for condition in conditions)]


def _values(row: ModelVersion, key: str) -> Iterator[Any]:
    details, report = row.details or {}, row.report or {}
    for where in (details, details.get("metrics"), details.get("parameters"), report.get("metrics")):
        yield from _within(where, key)


def _within(where: Any, key: str) -> Iterator[Any]:
    """What stands at a key; `a.b` is the key itself, or `b` within `a`."""
    if not isinstance(where, Mapping):
        return
    if key in where:
        yield where[key]
    parts = key.split(".")
    for cut in range(1, len(parts)):
        yield from _within(where.get(".".join(parts[:cut])), ".".join(parts[cut:]))


def _too_long() -> InvalidInput:
    return InvalidInput(
        f"This condition is too long: a key has at most {KEY} characters and {PARTS} parts between dots, "
        f"a value at most {VALUE:,} characters. Shorten it, such as val_accuracy>0.9"
    )


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
