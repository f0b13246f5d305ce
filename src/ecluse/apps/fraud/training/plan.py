"""Write down what to learn from a table, and how: the target, the roles of columns, the seconds, the goal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ecluse.apps.fraud.goal import Goal
from ecluse.typed_json import read, write

SPLIT_RULE: Final = 2


@dataclass(frozen=True)
class TrainingPlan:
    """What to learn and how: the target, the columns with a role, the seconds, the goal of the threshold.

    `positive_value` is the target's value that means fraud, as text; None where the values say it of themselves.
    `identifier_columns` and `excluded` are not learned from, nor are columns that give the label away, but for
    those to `keep`. `test_share` of the rows, in [0, 0.5], are kept back
    to measure on; with 0 all rows are learned from, and the figures are those of the rows each fold held out.
    `split_rule` says how rows are divided, so that the rows a version was tested on are found again: 2 spreads
    distinct frauds, 1 did not and is that of plans which do not say. With `refit` the settings that were measured are
    fitted once more on all rows, if the seconds suffice.
    """

    target: str
    positive_value: str | None = None
    time_column: str | None = None
    customer_column: str | None = None
    identifier_columns: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    budget_s: float = 60.0
    goal: Goal = Goal()  # noqa: RUF009 - frozen, so one value can serve all plans
    seed: int = 0
    test_share: float = 0.2
    refit: bool = True
    split_rule: int = SPLIT_RULE

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain JSON values; `from_dict` gives the same plan back."""
        content: dict[str, Any] = write(self)
        return content

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TrainingPlan:
        """Read what `to_dict` wrote, of any release.

        Raises:
            UnreadableRecord: it has no target, or a value of another type.
        """
        return read(cls, {"split_rule": 1, **data}, "plan")


def plan_of(details: Mapping[str, Any]) -> TrainingPlan | None:
    """Return the plan a version was trained by, from what its manifest says; None of one that was made otherwise."""
    plan = details.get("plan") or {}
    return TrainingPlan.from_dict(plan) if plan.get("target") else None
