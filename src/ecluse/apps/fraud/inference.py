"""Score transactions while one waits, with reasons: the same code, and so the same scores, as a table's.

What is known of customers is what the training saw of them: a request teaches the model nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import polars as pl

from ecluse.apps.fraud.labelling.scoring import LearnedScorer
from ecluse.apps.fraud.scorers import EnsembleScorer, ModelScorer, load_scorer
from ecluse.apps.fraud.scoring.scorer import Scorer
from ecluse.apps.fraud.tables.columns import ColumnSpec
from ecluse.catalog.tables import ModelVersion
from ecluse.errors import InvalidInput
from ecluse.inference import fetch_files
from ecluse.runtime import Runtime
from ecluse.sentences import _

#: Kinds of columns that are numbers; the values of any other are sent as they are written in the table.
_NUMBER: Final = "number"


@dataclass(frozen=True)
class FraudScorer:
    """A loaded version that scores transactions, each with its reasons."""

    scorer: Scorer

    @property
    def kind(self) -> str:
        return "fraud"

    @cached_property
    def schema(self) -> Mapping[str, Any]:
        required = self.scorer.required_columns
        specs = self._specs
        columns: list[dict[str, Any]] = [
            {"name": name, "type": "number" if _is_number(specs.get(name)) else "any", "missing": True}
            for name in required
        ]
        # What a table of scores has beside the scores, such as the number of a transaction, need not be sent.
        beside = [name for name in _passed_on(self.scorer) if name not in required]
        columns += [{"name": name, "type": "any", "missing": True, "optional": True} for name in beside]
        return {"form": "polars", "rows_seen": 0, "columns": columns}

    @cached_property
    def dtypes(self) -> Mapping[str, pl.DataType]:
        return {
            column["name"]: pl.Float64() if column["type"] == "number" else pl.String()
            for column in self.schema["columns"]
        }

    @cached_property
    def _specs(self) -> Mapping[str, ColumnSpec]:
        return {spec.name: spec for spec in reversed(list(_specs_of(self.scorer)))}

    def answer(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the columns of a scored table; every row is explained."""
        for name, spec in self._specs.items():
            if spec.kind == "datetime" and name in rows.columns:
                _expect_moments(rows[name], spec)
        return self.scorer.score_frame(rows, "all")

    def sample(self) -> pl.DataFrame | None:
        """Return rows without meaning: no row of a training is kept with a version as it came."""
        numbers, texts = [None, 0.0, 1.5, -3.0, 1e6], [None, "a", "0", "b", "a"]
        return pl.DataFrame(
            {
                name: pl.Series(numbers if dtype == pl.Float64 else self._texts(name, texts), dtype=dtype)
                for name, dtype in self.dtypes.items()
            }
        )

    def _texts(self, name: str, texts: list[str | None]) -> list[str | None]:
        spec = self._specs.get(name)
        return [None] * len(texts) if spec is not None and spec.kind == "datetime" else texts

    def close(self) -> None:
        """Leave it to the memory: nothing else is held."""


def _is_number(spec: ColumnSpec | None) -> bool:
    return spec is not None and spec.kind == _NUMBER


def _specs_of(scorer: Scorer) -> Iterator[ColumnSpec]:
    """List how the columns of a scorer are read."""
    if isinstance(scorer, LearnedScorer):
        yield from _specs_of(scorer.base)
        yield from scorer.learned.specs
    elif isinstance(scorer, ModelScorer):
        yield from scorer.model.specs
    elif isinstance(scorer, EnsembleScorer):
        yield from scorer.ensemble.anomaly.specs


def _passed_on(scorer: Scorer) -> tuple[str, ...]:
    if isinstance(scorer, LearnedScorer):
        return _passed_on(scorer.base)
    if isinstance(scorer, ModelScorer):
        return scorer.model.passed_on
    return scorer.ensemble.passed_on if isinstance(scorer, EnsembleScorer) else ()


def _expect_moments(raw: pl.Series, spec: ColumnSpec) -> None:
    """Refuse what is written and is no date as the training table wrote them; in a table it would count as missing."""
    read = spec.read(raw)
    if read.null_count() == raw.null_count():
        return
    written = ColumnSpec(spec.name, "category").read(raw)
    unread = (written.is_not_null() & read.is_null()).arg_true()
    if len(unread):
        raise InvalidInput(
            _(
                "Row %(number)s, column %(column)s: %(value)s is no date as the training table wrote them "
                "(%(format)s). Send one, or null where it is missing.",
                number=unread[0] + 1,
                column=spec.name,
                value=repr(raw[unread[0]]),
                format=spec.datetime_format or "ISO 8601",
            )
        )


def open_scorer(runtime: Runtime, row: ModelVersion) -> FraudScorer:
    """Return a version ready to score, its files verified.

    Raises:
        ModelUnreadable: they are damaged.
    """
    with runtime.scratch() as folder:
        fetch_files(runtime, row, folder)
        return scorer_in(folder)


def scorer_in(folder: Path) -> FraudScorer:
    """Return the version whose files lie below a folder."""
    return FraudScorer(load_scorer(folder))
