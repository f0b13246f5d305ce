"""Write down all that a training decided while it ran, so that it can be made again without a clock, to the byte.

What is fitted depends on the table, the plan and the seed alone. What the clock decides besides is kept here: the
features looked for in time, the folds, the settings tried and the rounds each fit had, and how often the chosen were
fitted again. The numbers drawn at random and the count of threads belong to it, too, and so do the libraries.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from ecluse.errors import CannotRepeat
from ecluse.fraud.models import FAMILIES

RECORD_FILE = "training_record.json"
FORMAT = 1
PACKAGES = ("ecluse", "numpy", "polars", "scikit-learn")
#: All was tried, the budget was spent, or somebody asked for the best so far.
Ending = Literal["complete", "budget", "asked"]
#: Why the model in use was, or was not, fitted on all rows after it was measured.
Refit = Literal["done", "unwanted", "all_learned", "many_rows", "slow_features", "budget"]


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

    def save(self, directory: Path) -> str:
        """Write `training_record.json`; its name."""
        content = {"format": FORMAT, **asdict(self)}
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
        (directory / RECORD_FILE).write_text(text, encoding="utf-8")
        return RECORD_FILE

    @classmethod
    def load(cls, directory: Path) -> TrainingRecord:
        """Raises CannotRepeat when there is none, or it cannot be read."""
        try:
            content = json.loads((directory / RECORD_FILE).read_text(encoding="utf-8"))
            if content.pop("format") != FORMAT:
                raise CannotRepeat(f"{RECORD_FILE} is of another format. Train anew.")
            trials = tuple(
                TrialRecord(**{**one, "fits": tuple(FitFacts(**fit) for fit in one["fits"])})
                for one in content["trials"]
            )
            groups = None if content["groups"] is None else tuple(content["groups"])
            return cls(**{**content, "trials": trials, "groups": groups})
        except FileNotFoundError as error:
            raise CannotRepeat(
                "This version was trained before trainings were recorded and cannot be made again. Train anew."
            ) from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CannotRepeat(f"{RECORD_FILE} is damaged: {error!r}. Train anew.") from error

    def expect(self, table: str) -> None:
        """Raises CannotRepeat where the table or a library is another than it was."""
        if table != self.table:
            raise CannotRepeat(
                f"The table is not the one that was trained on: its SHA-256 is {table[:12]}…, not {self.table[:12]}…. "
                "Upload that one, or train anew."
            )
        here = library_versions()
        names = sorted(here.keys() | self.versions.keys())
        for name in names:
            was, now = self.versions.get(name, "none"), here.get(name, "none")
            if was != now:
                raise CannotRepeat(
                    f"The training was made with {name} {was}, and here is {now}: its files would not be the same. "
                    f"Install {name} {was}, or train anew."
                )


def library_versions() -> dict[str, str]:
    """The packages that a model depends on, as they are installed here."""
    found: dict[str, str] = {}
    for package in sorted({*PACKAGES, *(name for facts in FAMILIES.values() for name in facts.packages)}):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def differing(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The names of files that are not the same in both, {name: SHA-256}."""
    return sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
