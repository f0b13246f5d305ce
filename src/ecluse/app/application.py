"""Collect what the functions of an application are, by decorators."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ecluse.app.schedules import checked_schedule
from ecluse.app.signature import FILLED, Parameter, parameters_of
from ecluse.application import Application
from ecluse.application import load as load_reference
from ecluse.errors import ApplicationBroken, InvalidInput
from ecluse.sentences import _

if TYPE_CHECKING:
    from typing import Literal

    Role = Literal["train", "load", "predict", "job", "page", "sample"]

#: The edition of `ecluse.app` that this Écluse offers.
API: Final = 1
F = TypeVar("F", bound=Callable[..., Any])
#: Parameters that nobody fills in, and the functions that are given them.
ROLES: Final[Mapping[str, tuple[str, ...]]] = {
    "rows": ("predict",),
    "model": ("predict", "job", "page"),
    "task": ("train", "job"),
}
#: Beginnings of variables that are ours or the stores', and of the system's: no application is given one.
OURS: Final = ("ECLUSE_", "DATABASE", "AWS_", "S3_", "MONGODB", "DYNAMODB", "USE_", "STORAGE_")
RESERVED: Final = (*OURS, "PYTHON", "LD_", "DYLD_", "PATH", "HOME", "TMPDIR")
_VARIABLE: Final = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,15}")
#: Names of verbs stand in addresses and commands beside these.
_TAKEN: Final = frozenset({"predict", "score", "files", "train", "load", "sample", "reports"})


@dataclass(frozen=True)
class Verb:
    """A function of an application, and what it is."""

    name: str
    role: str
    function: Callable[..., Any]
    parameters: tuple[Parameter, ...]
    schedule: str = ""

    @property
    def summary(self) -> str:
        """Return the first line of its docstring."""
        return (inspect.getdoc(self.function) or "").strip().partition("\n")[0]


class App:
    """An application in one file. `name` is a word of addresses, commands and models; `api` the edition it is for.

    `variables`: names of variables of the environment that its functions read, such as an address or a password of
    another system. No others of Écluse's environment reach them.

    Raises:
        ApplicationBroken: it was written for another edition.
        InvalidInput: its name cannot be one, or one of its variables.
    """

    def __init__(
        self, name: str, *, title: str = "", description: str = "", variables: Sequence[str] = (), api: int
    ) -> None:
        if api != API:
            raise ApplicationBroken(
                _(
                    "The application %(name)s is written for api=%(value)s of ecluse.app; this Écluse offers "
                    "api=%(number)s. "
                    "Install the Écluse it was written for, or change the application.",
                    name=str(name),
                    value=repr(api),
                    number=API,
                )
            )
        if not isinstance(name, str) or _NAME.fullmatch(name) is None:
            raise InvalidInput(
                _(
                    "%(value)s cannot be the name of an application: small letters, digits and _, 16 at most.",
                    value=repr(name)[:100],
                )
            )
        for variable in variables:
            if _VARIABLE.fullmatch(variable) is None or variable.startswith(RESERVED):
                raise InvalidInput(
                    _(
                        "%(value)s cannot be a variable of an application: capital letters, digits and _, and none of "
                        "ours or of the system's.",
                        value=repr(variable)[:100],
                    )
                )
        self.name = name
        self.variables = tuple(variables)
        self.title = title or name.replace("_", " ").capitalize()
        self.description = description
        self.verbs: dict[str, Verb] = {}

    def train(self, function: F) -> F:
        """Make a function the training: a job with a run, whose `Model` becomes a version."""
        return self._add("train", "train", function)

    def load(self, function: F) -> F:
        """Make a function read the files of a version, given their folder; what it returns is asked by `predict`."""
        if len(inspect.signature(function).parameters) != 1:
            raise InvalidInput(_("A function for @app.load takes one value: the folder of the files."))
        self.verbs["load"] = Verb("load", "load", self._once("load", function), ())
        return function

    def predict(self, function: F) -> F:
        """Make a function answer: rows as a data frame, or single values."""
        return self._add("predict", "predict", function)

    def page(self, function: F) -> F:
        """Make a function draw a page: it returns Markdown, data frames, figures, or a list of these."""
        return self._add(function.__name__, "page", function)

    def sample(self, function: F) -> F:
        """Make a function give values to try the others with, by the names of their parameters: `{"text": "…"}`.
        `ecluse apps check` uses them.
        """
        return self._add("sample", "sample", function)

    def job(self, function: Any = None, /, *, schedule: str = "") -> Any:
        """Make a function a job, run when a person asks, or by a schedule: "hourly", "daily 06:00", "monday 07:30"."""
        if function is not None:
            return self._add(function.__name__, "job", function)
        kept = checked_schedule(schedule)
        return lambda given: self._add(given.__name__, "job", given, kept)

    def application(self) -> Application:
        """Return what the core knows an application by, made of this one."""
        made: Application = load_reference("ecluse.apps.hosted.value:application_of")(self.snapshot())
        return made

    def snapshot(self) -> dict[str, Any]:
        """Describe this application as plain JSON: all that menus, forms, commands and the API need to know of it."""
        return {
            "format": 1,
            "api": API,
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "variables": list(self.variables),
            "verbs": [
                {
                    "name": verb.name,
                    "role": verb.role,
                    "summary": verb.summary,
                    "schedule": verb.schedule,
                    "parameters": [parameter.as_json() for parameter in verb.parameters],
                }
                for verb in self.verbs.values()
            ],
        }

    def _add(self, name: str, role: str, function: F, schedule: str = "") -> F:
        parameters = tuple(parameters_of(self._once(name, function)))
        if role in ("job", "page") and (
            name in _TAKEN or re.fullmatch(r"[a-z][a-z0-9_]{0,30}", name) is None
        ):
            raise InvalidInput(
                _(
                    "%(value)s cannot be the name of a job or a page. Call the function otherwise.",
                    value=repr(name),
                )
            )
        if schedule and any(each.required for each in parameters if each.kind in FILLED):
            raise InvalidInput(
                _(
                    "%(name)s has a schedule, and a parameter without a default: nobody would fill it in.",
                    name=name,
                )
            )
        for each in parameters:
            if each.kind in ROLES and role not in ROLES[each.kind]:
                raise InvalidInput(
                    _(
                        "%(name)s takes %(what)s as %(value)s, which only these do: %(values)s. Annotate a table as "
                        "Table.",
                        name=name,
                        what=each.name,
                        value=each.kind,
                        values=", ".join(f"@app.{role}" for role in ROLES[each.kind]),
                    )
                )
        self.verbs[name] = Verb(name, role, function, parameters, schedule)
        return function

    def _once(self, name: str, function: F) -> F:
        if name in self.verbs:
            raise InvalidInput(
                _(
                    "The application %(what)s has two functions for %(name)s. Leave one out.",
                    what=self.name,
                    name=name,
                )
            )
        return function
