"""Keep what a training has done so far, and go on from it after its worker was stopped.

Kept are what chance and the clock decided before the search (the course), what each fit said of the rows it held out,
and the models that are fitted for good. With them goes the work that was spent: a training that is taken up has the
budget that was left, and what it must do again (reading the table, making features) is not charged twice. All of it
is of one table, plan, code and set of libraries; of others nothing is used.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from ecluse.apps.fraud.clock import Spent, Stopwatch
from ecluse.apps.fraud.families import STEM, FittedModel, Floats, Matrix, family
from ecluse.apps.fraud.training.plan import TrainingPlan
from ecluse.apps.fraud.training.record import Course, Ending, FitFacts, TrainingRecord, library_versions
from ecluse.checkpoints import Checkpoints, from_bytes, to_bytes
from ecluse.errors import ModelUnreadable

#: Raised where the meaning of what is kept changes.
LAYOUT: Final = 1
COURSE: Final = "course"
SEARCH: Final = "search"
#: Fits in the order in which they were done, in batches with a number.
_FITS: Final = re.compile(r"fits_(\d{5})")
#: A fit, by the number of its settings and that of its fold.
At = tuple[int, int]


@dataclass(frozen=True)
class Fit:
    """One fit of settings on a fold: what it says of the held rows (log-odds), with how many rounds (`rounds` served
    best), in how many seconds of work. The `model` is there where it was fitted here, or may be published itself.
    """

    model: FittedModel | None
    rounds: int
    margins: Floats = field(repr=False)
    seconds: float
    facts: FitFacts


@dataclass(frozen=True)
class SearchEnd:
    """How a search ended, how many settings it began, and which fits it was left with."""

    ended: Ending
    begun: int
    fits: frozenset[At]


def identity(table: str, plan: TrainingPlan, repeat: TrainingRecord | None) -> str:
    """SHA-256 of all that decides what a training does, chance and the clock left out."""
    deciding = [
        LAYOUT,
        code_digest(
            "", "tables", "evaluation", "features", "profiling", "performance", "training", "families"
        ),
        platform.machine(),
        table,
        plan.to_dict(),
        library_versions(),
        None if repeat is None else asdict(repeat),
    ]
    return digest_of_values(deciding)


class Kept:
    """What a training keeps in `store`, and what of it is there `of` the same work; without a store nothing is.

    `watch` is set to the work that was spent when what is loaded was kept. `folder` is for files on the way.
    """

    def __init__(self, store: Checkpoints | None, of: str, watch: Stopwatch, folder: Path) -> None:
        self.finalists: tuple[int, ...] = ()
        self._store, self._of, self._watch, self._folder = store, of, watch, folder
        self._with_models = False
        self._course_spent: Spent | None = None
        self._unsaved_course: tuple[str, bytes] | None = None
        self._unsaved: dict[At, Fit] = {}
        self._batches = 0

    def course(self) -> Course | None:
        """Return the course of a worker before this one."""
        content = self._load(COURSE)
        if content is None:
            return None
        self._course_spent = self._watch.spent()
        groups = content[0]["course"]["groups"]
        return Course(**content[0]["course"] | {"groups": None if groups is None else tuple(groups)})

    def keep_course(self, course: Course) -> None:
        """Begin this course: what follows is of it alone. One that was taken up has cost its work already.

        Where no last fit on all rows follows, what a fit makes may be published: models themselves are kept.
        """
        if self._course_spent is not None:
            self._watch.go_on_from(self._course_spent)
        else:
            self._unsaved_course = self._of, self._bytes({"course": asdict(course)})
            if self._is_worthwhile():
                self._save_course()
        self._of = digest_of_values([self._of, asdict(course)])
        self._with_models = not course.refit

    def fits(self) -> dict[At, Fit]:
        """List the fits of workers before this one, in the order in which they were done."""
        fits: dict[At, Fit] = {}
        for name in [] if self._store is None else self._store.names():
            batch = _FITS.fullmatch(name)
            if batch is None:
                continue
            self._batches = 1 + int(batch[1])
            if (content := self._load(name)) is not None:
                self.finalists = tuple(content[0]["finalists"])
                fits |= self._fits_of(*content)
        return fits

    def add(self, at: At, fit: Fit) -> None:
        """Keep a fit: at once, or with the next when the store was asked a moment ago."""
        self._unsaved[at] = fit
        if self._store is not None and self._store.is_due():
            self.flush()

    def flush(self) -> None:
        """Keep the fits that are not kept yet, behind their course."""
        if self._store is None or not self._unsaved or not self._save_course():
            return
        listed: list[dict[str, Any]] = []
        arrays: dict[str, Any] = {}
        for number, (at, fit) in enumerate(self._unsaved.items()):
            facts = {"at": at, "rounds": fit.rounds, "seconds": fit.seconds, "facts": asdict(fit.facts)}
            arrays[f"margins_{number}"] = fit.margins
            if self._with_models and fit.model is not None:
                suffix, data = self._file_of(fit.model)
                facts |= {"family": fit.model.family, "suffix": suffix}
                arrays[f"model_{number}"] = np.frombuffer(data, np.uint8)
            listed.append(facts)
        figures = {"fits": listed, "finalists": list(self.finalists)}
        if self._save(f"fits_{self._batches:05}", figures, arrays):
            self._batches += 1
            self._unsaved.clear()

    def search_end(self) -> SearchEnd | None:
        """Return how the search ended, where a worker before this one was through with it."""
        content = self._load(SEARCH)
        if content is None:
            return None
        figures = content[0]
        return SearchEnd(figures["ended"], figures["begun"], frozenset((a, b) for a, b in figures["fits"]))

    def keep_search_end(self, end: SearchEnd) -> None:
        if self._is_worthwhile():
            self.flush()
            self._save(SEARCH, asdict(end) | {"fits": sorted(end.fits)})

    def model(self, name: str, of: Sequence[Any]) -> FittedModel | None:
        """Return the model that was fitted for good under this name, `of` these settings."""
        content = self._load(name, of)
        return None if content is None else self._model(content[0], content[1]["model"].tobytes())

    def keep_model(self, name: str, of: Sequence[Any], model: FittedModel) -> None:
        if not self._is_worthwhile():
            return
        suffix, data = self._file_of(model)
        figures = {"family": model.family, "suffix": suffix}
        self._save(name, figures, {"model": np.frombuffer(data, np.uint8)}, of)

    def _fits_of(self, figures: dict[str, Any], arrays: dict[str, Any]) -> dict[At, Fit]:
        fits: dict[At, Fit] = {}
        for number, stored in enumerate(figures["fits"]):
            model = None
            if f"model_{number}" in arrays:
                model = self._model(stored, arrays[f"model_{number}"].tobytes())
            if model is None and self._with_models:
                continue
            trial, fold = stored["at"]
            facts = FitFacts(**stored["facts"])
            fits[trial, fold] = Fit(
                model, stored["rounds"], arrays[f"margins_{number}"], stored["seconds"], facts
            )
        return fits

    def _file_of(self, model: FittedModel) -> tuple[str, bytes]:
        """Return the suffix and the bytes of the one file that a model of any family is."""
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            (name,) = model.save(Path(folder), STEM)
            return name.removeprefix(STEM), (Path(folder) / name).read_bytes()

    def _model(self, facts: dict[str, Any], data: bytes) -> FittedModel | None:
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            path = Path(folder) / f"{STEM}{facts['suffix']}"
            path.write_bytes(data)
            try:
                return _AsItWas(family(facts["family"]).load(path), facts["suffix"], data)
            except ModelUnreadable:  # its bytes are as they were kept: another library reads no such model
                return None

    def _load(self, name: str, of: Sequence[Any] = ()) -> tuple[dict[str, Any], dict[str, Any]] | None:
        if self._store is None:
            return None
        content = from_bytes(self._store.load(name, of=self._identity(of)))
        if content is not None:
            self._watch.go_on_from(Spent(**content[0]["spent"]))
        return content

    def _save(
        self,
        name: str,
        figures: dict[str, Any],
        arrays: dict[str, Any] | None = None,
        of: Sequence[Any] = (),
    ) -> bool:
        if self._store is None:
            return False
        return self._store.save(name, self._bytes(figures, arrays), of=self._identity(of), force=True)

    def _bytes(self, figures: dict[str, Any], arrays: dict[str, Any] | None = None) -> bytes:
        return to_bytes(figures | {"spent": asdict(self._watch.spent())}, arrays or {})

    def _save_course(self) -> bool:
        """Save the course, and tell whether it is kept."""
        if self._unsaved_course is not None and self._store is not None:
            of, data = self._unsaved_course
            if not self._store.save(COURSE, data, of=of, force=True):
                return False
            self._unsaved_course = None
        return True

    def _is_worthwhile(self) -> bool:
        return self._store is not None and self._store.is_worthwhile()

    def _identity(self, of: Sequence[Any]) -> str:
        return digest_of_values([self._of, *of]) if of else self._of


class _AsItWas:
    """A model that was kept: it is published as the very file that was written when it was fitted."""

    def __init__(self, model: FittedModel, suffix: str, data: bytes) -> None:
        self.family, self.rounds = model.family, model.rounds
        self._model, self._suffix, self._data = model, suffix, data

    def predict_margin(self, matrix: Matrix) -> Floats:
        return self._model.predict_margin(matrix)

    def contributions(self, matrix: Matrix) -> Floats:
        return self._model.contributions(matrix)

    def importances(self) -> Floats:
        return self._model.importances()

    def save(self, directory: Path, stem: str = STEM) -> tuple[str, ...]:
        (directory / f"{stem}{self._suffix}").write_bytes(self._data)
        return (f"{stem}{self._suffix}",)


def code_digest(*folders: str) -> str:
    """SHA-256 of the code in folders of the application: another may do something else under the same settings."""
    here, digest = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(path for folder in folders for path in (here / folder).glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def digest_of_values(deciding: Sequence[Any]) -> str:
    """SHA-256 of plain JSON values."""
    return hashlib.sha256(json.dumps(list(deciding), sort_keys=True).encode()).hexdigest()
