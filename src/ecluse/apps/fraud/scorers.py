"""Load what scores a table from a version's folder: a trained model, or an ensemble for tables without labels."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.fraud.ensembles import scoring as ensemble_scoring
from ecluse.apps.fraud.ensembles.ensemble import KIND, MODEL_FILE, Ensemble, load_ensemble
from ecluse.apps.fraud.labelling.scoring import with_learned
from ecluse.apps.fraud.scoring import model as models
from ecluse.apps.fraud.scoring import scoring
from ecluse.apps.fraud.scoring.columns import PROBABILITY
from ecluse.apps.fraud.scoring.kept_scores import KeptScores
from ecluse.apps.fraud.scoring.model import ColumnCheck, FraudModel
from ecluse.apps.fraud.scoring.scorer import Scorer
from ecluse.apps.fraud.scoring.scoring import ReasonsFor
from ecluse.errors import InvalidInput, ModelUnreadable
from ecluse.sentences import _
from ecluse.tabular.dataset import Table

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ModelScorer:
    """Scores with a trained model."""

    model: FraudModel

    @property
    def required_columns(self) -> tuple[str, ...]:
        return self.model.required_columns

    def check(self, columns: Sequence[str]) -> ColumnCheck:
        return models.check_columns(self.model, columns)

    def score_frame(self, raw: pl.DataFrame, reasons_for: ReasonsFor | None = "risky") -> pl.DataFrame:
        return scoring.score_frame(self.model, raw, reasons_for=reasons_for)

    def scores_of(self, scored: pl.DataFrame) -> Floats:
        return floats_of(scored, PROBABILITY.score)

    def stated_of(self, scored: pl.DataFrame) -> Floats:
        return self.scores_of(scored)

    def opinions_of(self, raw: pl.DataFrame) -> Floats | None:
        return None

    def score_table(
        self,
        table: Table,
        *,
        reasons_for: ReasonsFor | None = "risky",
        columns: Mapping[str, str] | None = None,
        progress: Callable[[int], None] | None = None,
        kept: KeptScores | None = None,
    ) -> Iterator[pl.DataFrame]:
        return scoring.score_table(
            self.model,
            table,
            reasons_for=reasons_for,
            columns=columns,
            progress=progress,
            kept=kept,
        )


@dataclass(frozen=True)
class EnsembleScorer:
    """Scores with an ensemble of reference models, or by anomaly alone."""

    ensemble: Ensemble

    @property
    def required_columns(self) -> tuple[str, ...]:
        return self.ensemble.required_columns

    def check(self, columns: Sequence[str]) -> ColumnCheck:
        return ensemble_scoring.check_ensemble(self.ensemble, columns)

    def score_frame(self, raw: pl.DataFrame, reasons_for: ReasonsFor | None = "risky") -> pl.DataFrame:
        return ensemble_scoring.score_frame(self.ensemble, raw, reasons_for=reasons_for)

    def scores_of(self, scored: pl.DataFrame) -> Floats:
        # The threshold of a version of before is on the scale of the stated rate.
        own = "score" in self.ensemble.info
        return floats_of(scored, self.ensemble.names.score) if own else self.stated_of(scored)

    def stated_of(self, scored: pl.DataFrame) -> Floats:
        scores = floats_of(scored, self.ensemble.names.score)
        return scores if self.ensemble.members else self.ensemble.stated(scores)

    def opinions_of(self, raw: pl.DataFrame) -> Floats | None:
        members = self.ensemble.members
        if len(members) < 2:
            return None
        return (
            np.column_stack([member.margins(raw) for member in members])
            if raw.height
            else np.zeros((0, len(members)))
        )

    def score_table(
        self,
        table: Table,
        *,
        reasons_for: ReasonsFor | None = "risky",
        columns: Mapping[str, str] | None = None,
        progress: Callable[[int], None] | None = None,
        kept: KeptScores | None = None,
    ) -> Iterator[pl.DataFrame]:
        if columns:
            raise InvalidInput(
                _(
                    "An ensemble reads the columns of the table it was made for. Make an ensemble for "
                    "this table."
                )
            )
        return ensemble_scoring.score_table(
            self.ensemble, table, reasons_for=reasons_for, progress=progress, kept=kept
        )


def floats_of(scored: pl.DataFrame, column: str) -> Floats:
    """(rows,) float64 of a column that a scoring added."""
    return scored[column].to_numpy().astype(np.float64)


def load_scorer(directory: Path) -> Scorer:
    """Load what a version's files score with. Raises ModelUnreadable for damaged or foreign files."""
    return with_learned(base_scorer(directory), directory)


def base_scorer(directory: Path) -> Scorer:
    """Return what a version's files score with, but for what was learned from labels."""
    if kind_of(directory) == KIND:
        return EnsembleScorer(load_ensemble(directory))
    return ModelScorer(models.load_model(directory))


def kind_of(directory: Path) -> str:
    """ "ensemble", or "supervised" for a trained model. Raises ModelUnreadable."""
    try:
        model = json.loads((directory / MODEL_FILE).read_text(encoding="utf-8"))
        return str(model.get("kind", "supervised"))
    except FileNotFoundError as error:
        raise ModelUnreadable(
            _(
                "This version is no model of transactions: it has no %(file)s. Choose another.",
                file=MODEL_FILE,
            )
        ) from error
    except (OSError, ValueError, AttributeError) as error:
        raise ModelUnreadable(
            _(
                "%(file)s is missing or damaged: %(error)s. Fetch the version again.",
                file=MODEL_FILE,
                error=getattr(error, "strerror", None) or error,  # no path of the server
            )
        ) from error
