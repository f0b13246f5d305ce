"""Write down what to learn from a table, and how: the target, the roles of columns, the seconds, the goal."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from ecluse.apps.fraud.goal import Goal

SPLIT_RULE: Final = 2
_LISTS = ("identifier_columns", "excluded", "keep")


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
        """Plain JSON values; `from_dict` gives the same plan back."""
        lists = {name: list(getattr(self, name)) for name in _LISTS}
        return asdict(self) | lists | {"goal": self.goal.to_dict()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> TrainingPlan:
        lists = {name: tuple(data.get(name, ())) for name in _LISTS}
        goal = Goal.from_dict(data["goal"]) if "goal" in data else Goal()
        return cls(**{"split_rule": 1, **data, **lists, "goal": goal})
