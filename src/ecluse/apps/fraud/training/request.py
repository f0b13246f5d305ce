"""State what a person may choose of a training: each choice with its default, limits and words, once.

The body of the API, the options of the command and the words of the form are made from `choices()`. Whatever the
door, a choice that cannot be used is refused by `TrainingRequest.check` with the same sentence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Final, Literal, get_type_hints

from ecluse.apps.fraud.goal import Goal
from ecluse.errors import InvalidInput
from ecluse.registry import checked_name
from ecluse.sentences import N_, _, num
from ecluse.typed_json import read, write

_CHOICE: Final = "choice"
#: Seconds of work that a training may take.
MIN_BUDGET: Final = 2.0
MAX_BUDGET: Final = 24 * 3600.0
#: A role of a column that may be chosen to be none, although the profile guesses one.
Role = Literal["time", "customer"]


@dataclass(frozen=True)
class Choice:
    """One choice, as forms, options and bodies need it.

    `name` is that of the field and of the body, `flag` that of the command, `field` that of the form, with its
    `title`; each is empty where there is none. `kind` is its type, `default` MISSING where one has to choose. `low`
    and `high` are limits, both allowed.
    """

    name: str
    kind: Any
    default: Any
    help: str
    flag: str = ""
    field: str = ""
    title: str = ""
    low: float | None = None
    high: float | None = None

    @property
    def is_required(self) -> bool:
        return self.default is MISSING

    def allows(self, value: float) -> bool:
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)


def choice(help: str, default: Any = MISSING, **more: Any) -> Any:
    """Declare a field of `TrainingRequest` that a person chooses; `more` are fields of `Choice`."""
    return field(default=default, metadata={_CHOICE: {"help": help, **more}})


@dataclass(frozen=True)
class TrainingRequest:
    """What a person chose; what is left out is guessed from the table's profile.

    `without` are roles that are to be played by no column, although the profile guesses one.
    """

    model_name: str = choice("Name of the model.", flag="--name", field="name", title=N_("Name of the model"))
    target_column: str | None = choice(
        "Label column. Default: guessed.", None, flag="--target", field="target", title=N_("Label column")
    )
    positive_value: str | None = choice(
        "The label's value that means fraud. Default: the one that says so of itself, such as 1 or yes.",
        None,
        flag="--positive",
        field="positive",
        title=N_("Value that means fraud"),
    )
    time_column: str | None = choice(
        'Time column. Default: guessed; "" for none.',
        None,
        flag="--time-column",
        field="time",
        title=N_("Hold out for testing"),
    )
    customer_column: str | None = choice(
        'Customer column. Default: guessed; "" for none.',
        None,
        flag="--customer-column",
        field="customer",
        title=N_("Customer column"),
    )
    identifier_columns: tuple[str, ...] | None = choice(
        "Columns that tell rows apart and are not learned from. Default: guessed.", None
    )
    excluded: tuple[str, ...] = choice(
        "Columns to leave out.", (), flag="--exclude", field="leave_out", title=N_("Leave out")
    )
    keep: tuple[str, ...] = choice(
        "Columns to learn from though they give the label away.",
        (),
        flag="--keep",
        field="gives_away",
        title=N_("Left out, as they give the label away"),
    )
    budget_s: float = choice(
        "Seconds of work that the training may take: those of a machine with nothing else to do. Beside other "
        "programs it takes longer and tries as much.",
        60.0,
        flag="--budget",
        field="budget",
        title=N_("Time to search"),
        low=MIN_BUDGET,
        high=MAX_BUDGET,
    )
    goal: str = choice(
        "Threshold goal: f1, recall=0.8, precision=0.9, alerts=50 (per day) or cost=500:10 (of a missed fraud, and of "
        "a false alarm).",
        "f1",
        flag="--goal",
        field="goal",
        title=N_("Threshold that gives"),
    )
    seed: int = choice("Seed of all that is drawn at random.", 0, flag="--seed", low=0, high=2**31 - 1)
    refit: bool = choice(
        "Fit the measured settings once more on all rows, for use; else the measured model is kept.",
        True,
        flag="--refit/--no-refit",
    )
    without: tuple[Role, ...] = ()

    @classmethod
    def chosen(cls, values: Mapping[str, Any]) -> TrainingRequest:
        """Take the choices of a body or of options by name: "" for a column of a role means that there is none."""
        roles: dict[Role, Any] = {
            "time": values.get("time_column"),
            "customer": values.get("customer_column"),
        }
        names = ("target_column", "time_column", "customer_column")
        empty = {name: None for name in names if values.get(name) == ""}
        lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list | tuple)}
        without = tuple(role for role, column in sorted(roles.items()) if column == "")
        return cls(**{**values, **empty, **lists}, without=without)

    def check(self) -> None:
        """Raise InvalidInput for a choice that can be used with no table."""
        checked_name(self.model_name)
        limits = {each.name: each for each in choices()}
        if not limits["budget_s"].allows(self.budget_s):
            raise InvalidInput(
                _(
                    "A budget of %(number)s s is out of range; use 2 s to 24 h.",
                    number=num(self.budget_s, "g"),
                )
            )
        if not limits["seed"].allows(self.seed):
            raise InvalidInput(
                _(
                    "A seed of %(number)s is out of range; use 0 to %(most)s.",
                    number=self.seed,
                    most=int(limits["seed"].high or 0),
                )
            )
        Goal.parse(self.goal)

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain JSON values; `from_dict` gives the same request back."""
        content: dict[str, Any] = write(self)
        return content

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TrainingRequest:
        return read(cls, data, "training request")


def choices() -> tuple[Choice, ...]:
    """List what may be chosen, in the order of forms and help."""
    kinds = get_type_hints(TrainingRequest)
    return tuple(
        Choice(each.name, kinds[each.name], each.default, **each.metadata[_CHOICE])
        for each in fields(TrainingRequest)
        if _CHOICE in each.metadata
    )


def form_titles() -> dict[str, str]:
    """Return what the form calls each of its fields, by their names in the form."""
    return {each.field: each.title for each in choices() if each.field}
