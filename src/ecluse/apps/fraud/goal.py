"""State what the threshold of a model must serve."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from ecluse.errors import InvalidInput
from ecluse.sentences import N_, _
from ecluse.typed_json import optional, read, write

GoalKind = Literal["f1", "recall", "precision", "alerts_per_day", "cost"]


#: What forms offer, by the name that `Goal.parse` reads.
OFFERED: Final = {
    "f1": N_("the best balance (F1)"),
    "recall": N_("a share of fraud found"),
    "precision": N_("a share of alerts that are right"),
    "alerts": N_("a number of alerts a day"),
    "cost": N_("the least cost"),
}


@dataclass(frozen=True)
class Goal:
    """What the threshold must serve.

    The best F1; a recall or a precision to reach (`value`, a share); a number of alerts a day (`value`); or the
    least cost, where each fraud missed costs `missed` and each false alarm `false_alarm`, in any one currency.
    """

    kind: GoalKind = "f1"
    value: float | None = None
    missed: float | None = optional()
    false_alarm: float | None = optional()

    @classmethod
    def parse(cls, text: str) -> Goal:
        """`f1`, `recall=0.8`, `precision=0.9` (shares in (0, 1]), `alerts=50` (a day) or `cost=500:10`, what a fraud
        missed costs and what a false alarm does. Raises InvalidInput.
        """
        name, _rest, number = text.strip().partition("=")
        if name == "f1" and not number:
            return cls("f1")
        if name == "cost":
            missed, false_alarm = (_positive_number(part) for part in (*number.split(":"), "")[:2])
            if missed is not None and false_alarm is not None and number.count(":") == 1:
                return cls("cost", missed=missed, false_alarm=false_alarm)
        value = _positive_number(number)
        if name in ("recall", "precision") and value is not None and value <= 1:
            return cls("recall" if name == "recall" else "precision", value)
        if name in ("alerts", "alerts_per_day") and value is not None:
            return cls("alerts_per_day", value)
        raise InvalidInput(
            _(
                '"%(value)s" is not a goal. Use f1, recall=0.8, precision=0.9, alerts=50 (alerts a '
                "day), or cost=500:10 (of a missed fraud, and of a false alarm).",
                value=text,
            )
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` gives the same goal back."""
        values: dict[str, Any] = write(self)
        return values

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Goal:
        return read(cls, data, "goal")


def _positive_number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None  # the caller refuses what is no number
    return value if math.isfinite(value) and value > 0 else None
