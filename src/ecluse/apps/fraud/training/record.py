"""Write down all that a training decided while it ran, so that it can be made again without a clock, to the byte.

What is fitted depends on the table, the plan and the seed alone. What the clock decides besides is kept here: the
features looked for in time, the folds, the settings tried and the rounds each fit had, and how often the chosen were
fitted again. The numbers drawn at random and the count of threads belong to it, too, and so do the libraries.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np

from ecluse.apps.fraud.clock import Effort
from ecluse.apps.fraud.families import FAMILIES, OWN_PARAMS, family
from ecluse.apps.fraud.performance.parts import Refit
from ecluse.apps.fraud.training.plan import TrainingPlan
from ecluse.errors import CannotRepeat
from ecluse.sentences import _, pack, unpack
from ecluse.typed_json import write

RECORD_FILE = "training_record.json"
FORMAT = 1
#: What no training of ours comes near, and a file that asks for more was not written by one.
MOST_THREADS: Final = 1024
MOST_FOLDS: Final = 64
MOST_TRIALS: Final = 100_000
MOST_ROUNDS: Final = 1_000_000
MOST_SECONDS: Final = 1e9
MOST_SETTING: Final = 1e9
LONGEST_TEXT: Final = 500
#: Variations that are drawn to see which settings a family is ever given.
DRAWS: Final = 64
PACKAGES = ("ecluse", "numpy", "polars", "scikit-learn")
#: All was tried, the budget was spent, or somebody asked for the best so far.
Ending = Literal["complete", "budget", "asked"]


@dataclass(frozen=True)
class FitFacts:
    """How many rounds one fit had, and whether the end of the budget cut it short."""

    rounds: int
    was_cut: bool


@dataclass(frozen=True)
class TrialRecord:
    """Settings that were fitted on every fold, with the seconds of work that one fit took."""

    name: str
    family: str
    params: dict[str, Any]
    seed: int
    fits: tuple[FitFacts, ...]
    seconds: float


@dataclass(frozen=True)
class Course:
    """What chance and the clock decided before the search; `groups` are those of features that helped."""

    threads: int
    salt: int
    groups: tuple[str, ...] | None
    folds: int
    refit: bool


@dataclass(frozen=True)
class TrainingRecord:
    """What a training decided; `groups` are those of features that helped, None where none were looked for.

    `spent` is its effort (`Effort`), `table` the SHA-256 of the file that was read.
    """

    table: str
    plan: dict[str, Any]
    versions: dict[str, str]
    threads: int
    salt: int
    groups: tuple[str, ...] | None
    folds: int
    refit: bool
    trials: tuple[TrialRecord, ...]
    planned: int
    begun: int
    ended: Ending
    for_use: Refit
    spent: dict[str, float]

    @property
    def course(self) -> Course:
        return Course(self.threads, self.salt, self.groups, self.folds, self.refit)

    def save(self, directory: Path) -> str:
        """Write `training_record.json`; its name."""
        # Names of settings are sentences, and the report of a repeat has them as the first one did.
        content = pack({"format": FORMAT, **write(self)})
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
        (directory / RECORD_FILE).write_text(text, encoding="utf-8")
        return RECORD_FILE

    @classmethod
    def load(cls, directory: Path) -> TrainingRecord:
        """Read what `save` wrote; types, ranges and names of settings are checked, as anyone may have written the file.

        Raises:
            CannotRepeat: there is none, or it says what no training decides.
        """
        try:
            content = unpack(json.loads((directory / RECORD_FILE).read_text(encoding="utf-8")))
            if content.pop("format") != FORMAT:
                raise CannotRepeat(_("%(file)s is of another format. Train anew.", file=RECORD_FILE))
            trials = tuple(
                TrialRecord(**{**trial, "fits": tuple(FitFacts(**fit) for fit in trial["fits"])})
                for trial in content["trials"]
            )
            groups = None if content["groups"] is None else tuple(content["groups"])
            record = cls(**{**content, "trials": trials, "groups": groups})
            _check(record)
            _check_plan(record.plan)
            return record
        except FileNotFoundError as error:
            raise CannotRepeat(
                _(
                    "This version was trained before trainings were recorded and cannot be made again. "
                    "Train anew."
                )
            ) from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            if isinstance(error, CannotRepeat):
                raise
            raise CannotRepeat(
                _("%(file)s is damaged: %(reason)s. Train anew.", file=RECORD_FILE, reason=repr(error))
            ) from error

    def expect(self, table: str) -> None:
        """Raise CannotRepeat where the table or a library is another than it was."""
        if table != self.table:
            raise CannotRepeat(
                _(
                    "The table is not the one that was trained on: its SHA-256 is %(sha256)s…, not "
                    "%(other)s…. Upload that one, or train anew.",
                    sha256=table[:12],
                    other=self.table[:12],
                )
            )
        here = library_versions()
        names = sorted(here.keys() | self.versions.keys())
        for name in names:
            was, now = self.versions.get(name, "none"), here.get(name, "none")
            if was != now:
                raise CannotRepeat(
                    _(
                        "The training was made with %(package)s %(version)s, and here is %(other)s: its files "
                        "would not be the same. Install %(name)s, or train anew.",
                        package=name,
                        version=was,
                        other=now,
                        name=f"{name} {was}",
                    )
                )


def _check_plan(plan: Mapping[str, Any]) -> None:
    """Raise ValueError where it is no plan, or has a field that no plan has."""
    if unknown := plan.keys() - {part.name for part in fields(TrainingPlan)}:
        raise ValueError(f"plan.{min(unknown)}")
    TrainingPlan.from_dict(plan)


def _check(record: TrainingRecord) -> None:
    """Raise CannotRepeat for the first value that no training of ours decides."""
    _expect("table", re.fullmatch(r"[0-9a-f]{64}", _text("table", record.table)) is not None, record.table)
    _expect("plan", isinstance(record.plan, dict), record.plan)
    _expect("versions", isinstance(record.versions, dict), record.versions)
    for package, package_version in record.versions.items():
        _text(f"versions.{package}", package_version)
    for group in record.groups or ():
        _text("groups", group)
    _whole("threads", record.threads, 1, MOST_THREADS)
    _whole("salt", record.salt, 0, 2**63 - 1)
    _whole("folds", record.folds, 1, MOST_FOLDS)
    _whole("planned", record.planned, 0, MOST_TRIALS)
    _whole("begun", record.begun, 0, MOST_TRIALS)
    _expect("refit", isinstance(record.refit, bool), record.refit)
    _expect("ended", record.ended in get_args(Ending), record.ended)
    _expect("for_use", record.for_use in get_args(Refit), record.for_use)
    _expect("spent", set(record.spent) == {each.name for each in fields(Effort)}, sorted(record.spent))
    for name, seconds in record.spent.items():
        _number(f"spent.{name}", seconds)
    _expect("trials", 1 <= len(record.trials) <= MOST_TRIALS, len(record.trials))
    for trial in record.trials:
        _check_trial(trial)


def _check_trial(trial: TrialRecord) -> None:
    _text("trials.name", trial.name)
    _expect("trials.family", isinstance(trial.family, str) and trial.family in FAMILIES, trial.family)
    _whole("trials.seed", trial.seed, 0, 2**63 - 1)
    _number("trials.seconds", trial.seconds)
    _expect("trials.fits", 1 <= len(trial.fits) <= MOST_FOLDS, len(trial.fits))
    for fit in trial.fits:
        _whole("trials.fits.rounds", fit.rounds, 0, MOST_ROUNDS)
        _expect("trials.fits.was_cut", isinstance(fit.was_cut, bool), fit.was_cut)
    known = _settings(trial.family)
    for name, value in trial.params.items():
        _expect("trials.params", name in known, name)
        if not isinstance(value, bool):
            _number(f"trials.params.{name}", value, least=-MOST_SETTING, most=MOST_SETTING)


@cache
def _settings(name: str) -> frozenset[str]:
    """Return the settings that our search gives a family. Its library knows others, which name files and machines."""
    facts = family(name)
    drawn = [params for seed in range(DRAWS) for params in facts.vary(np.random.default_rng(seed))]
    return frozenset(OWN_PARAMS.union(*(start.params for start in facts.STARTS), *drawn))


def _whole(name: str, value: object, least: int, most: int) -> None:
    _expect(name, isinstance(value, int) and not isinstance(value, bool) and least <= value <= most, value)


def _number(name: str, value: object, *, least: float = 0.0, most: float = MOST_SECONDS) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    _expect(name, is_number and least <= float(value) <= most, value)  # type: ignore[arg-type]


def _text(name: str, value: object) -> str:
    _expect(name, isinstance(value, str) and 0 < len(value) <= LONGEST_TEXT, value)
    return str(value)


def _expect(name: str, holds: bool, value: object) -> None:
    if not holds:
        raise CannotRepeat(
            _(
                "%(file)s says %(value)s for %(key)s, which no training decides. Train anew.",
                file=RECORD_FILE,
                value=repr(str(value)[:60]),
                key=name,
            )
        )


def library_versions() -> dict[str, str]:
    """Return the packages that a model depends on, as they are installed here."""
    versions: dict[str, str] = {}
    for package in sorted({*PACKAGES, *(name for facts in FAMILIES.values() for name in facts.packages)}):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue  # a family whose library is not here is not used; `expect` calls it "none"
    return versions


def differing(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return the names of files that are not the same in both, {name: SHA-256}."""
    return sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
