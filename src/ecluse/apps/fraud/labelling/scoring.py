"""Score with a version that learned from labels: the version it came from, on the scale and in the order learned."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.fraud.errors import ColumnsMissing
from ecluse.apps.fraud.labelling.learning import Learned
from ecluse.apps.fraud.risk import Thresholds
from ecluse.apps.fraud.scoring.columns import ANOMALY, PROBABILITY, ScoreNames, names_of
from ecluse.apps.fraud.scoring.kept_scores import KeptScores
from ecluse.apps.fraud.scoring.model import ColumnCheck, missing_message, near_columns
from ecluse.apps.fraud.scoring.scoring import ReasonsFor
from ecluse.apps.fraud.tables.columns import parse_columns
from ecluse.errors import InvalidInput, ModelUnreadable
from ecluse.sentences import _
from ecluse.tabular.dataset import Table

if TYPE_CHECKING:
    from ecluse.apps.fraud.scoring.scorer import Scorer

Floats = NDArray[np.float64]

LEARNED_FILE: Final = "learned.json"
#: Probabilities are kept to six decimals: beyond that margin no two are told apart.
LEAST: Final = 5e-7


@dataclass(frozen=True)
class LearnedScorer:
    """A scorer with what labels taught, and the thresholds of its levels of risk."""

    base: Scorer
    learned: Learned
    thresholds: Thresholds

    @property
    def required_columns(self) -> tuple[str, ...]:
        own = (spec.name for spec in self.learned.specs)
        return tuple(dict.fromkeys([*self.base.required_columns, *own]))

    def check(self, columns: Sequence[str]) -> ColumnCheck:
        of_base = self.base.check(columns)
        missing = tuple(s.name for s in self.learned.specs if s.name not in (*columns, *of_base.missing))
        used = {spec.name for spec in self.learned.specs}
        extra = tuple(name for name in of_base.extra if name not in used)
        return ColumnCheck((*of_base.missing, *missing), extra, of_base.near | near_columns(missing, extra))

    def score_frame(self, raw: pl.DataFrame, reasons_for: ReasonsFor | None = "risky") -> pl.DataFrame:
        check = self.check(raw.columns)
        if check.missing:
            raise ColumnsMissing(missing_message(_("The table"), check))
        return self.apply(self.base.score_frame(raw, reasons_for=reasons_for), raw)

    def score_table(
        self,
        table: Table,
        *,
        reasons_for: ReasonsFor | None = "risky",
        columns: Mapping[str, str] | None = None,
        progress: Callable[[int], None] | None = None,
        kept: KeptScores | None = None,
    ) -> Iterator[pl.DataFrame]:
        named = {ours: theirs for ours, theirs in (columns or {}).items() if ours in self.learned_columns}
        alone = self.learned_columns - set(self.base.required_columns)
        # The version it came from knows nothing of the columns that only the correction reads.
        theirs = {ours: name for ours, name in (columns or {}).items() if ours not in alone}
        self._require(table, named, theirs)
        scored = self.base.score_table(
            table, reasons_for=reasons_for, columns=theirs or None, progress=progress, kept=kept
        )
        return self._apply_each(scored, table, named)

    def _require(self, table: Table, named: Mapping[str, str], theirs: Mapping[str, str]) -> None:
        """`ColumnsMissing` where the table lacks a column, `InvalidInput` where it lacks one that was named."""
        for ours, name in named.items():
            if name not in table.columns:
                raise InvalidInput(
                    _(
                        'The table has no column "%(column)s" to read as "%(name)s". Correct the mapping.',
                        column=name,
                        name=ours,
                    )
                )
        check = self.check(table.columns)
        missing = tuple(name for name in check.missing if name not in named and name not in theirs)
        if missing:
            raise ColumnsMissing(
                missing_message(table.filename, ColumnCheck(missing, check.extra, check.near))
            )

    @property
    def learned_columns(self) -> frozenset[str]:
        return frozenset(spec.name for spec in self.learned.specs)

    def apply(self, scored: pl.DataFrame, raw: pl.DataFrame) -> pl.DataFrame:
        """Scores of the version this one came from, brought to the scale and order that were learned."""
        anomaly = scored["anomaly_score"].to_numpy() if "anomaly_score" in scored.columns else None
        parsed = parse_columns(raw, self.learned.specs)
        names = names_of(scored.columns)
        if self.learned.keeps:
            return scored.with_columns(self._picked(self.base.scores_of(scored), names))
        margins = margins_of(self.base.stated_of(scored))
        opinions = self.base.opinions_of(raw) if self.learned.voices else None
        probability = probabilities(self.learned.margins(margins, parsed, anomaly, opinions))
        score = pl.Series(PROBABILITY.score, probability)
        renamed = {names.level: PROBABILITY.level, names.flag: PROBABILITY.flag}
        if names == ANOMALY:
            # How unusual a row is stays what it was, beside the probability that labels made of it.
            scored = scored.insert_column(scored.get_column_index(names.score), score)
        else:
            renamed[names.score] = PROBABILITY.score
        changed = [score, *self._picked(probability, PROBABILITY)]
        if "fraud_probability_calibrated" in scored.columns:
            changed.append(pl.Series("fraud_probability_calibrated", probability))
        return scored.rename(renamed).with_columns(changed)

    def scores_of(self, scored: pl.DataFrame) -> Floats:
        if self.learned.keeps:
            return self.base.scores_of(scored)
        return scored[PROBABILITY.score].to_numpy().astype(np.float64)

    def stated_of(self, scored: pl.DataFrame) -> Floats:
        return self.base.stated_of(scored) if self.learned.keeps else self.scores_of(scored)

    def opinions_of(self, raw: pl.DataFrame) -> Floats | None:
        return self.base.opinions_of(raw)

    def _picked(self, scores: Floats, names: ScoreNames) -> list[pl.Series]:
        return self.thresholds.mark(scores, names.level, names.flag)

    def _apply_each(
        self, scored: Iterator[pl.DataFrame], table: Table, named: Mapping[str, str]
    ) -> Iterator[pl.DataFrame]:
        """Apply what was learned to each; the raw rows are read beside the scores, as many at a time."""
        theirs = {theirs: ours for ours, theirs in named.items()}
        batches = table.batches()
        waiting = next(batches)
        for frame in scored:
            parts = []
            lacking = frame.height
            while lacking:
                if not waiting.height:
                    waiting = next(batches)
                head = waiting.head(lacking)
                parts.append(head)
                waiting = waiting.slice(head.height)
                lacking -= head.height
            raw = pl.concat(parts)
            if theirs:
                raw = raw.drop([ours for ours in named if ours in raw.columns]).rename(theirs)
            yield self.apply(frame, raw)


def with_learned(base: Scorer, folder: Path) -> Scorer:
    """Return a version's scorer with what was learned from labels, where its files hold that; else the scorer itself.

    Raises ModelUnreadable for a damaged file.
    """
    path = folder / LEARNED_FILE
    if not path.exists():
        return base
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return LearnedScorer(base, Learned.from_dict(content), Thresholds.read(content))
    except (ValueError, KeyError, TypeError) as error:
        raise ModelUnreadable(
            _(
                "%(file)s is damaged: %(error)s. Fetch the version again.",
                file=LEARNED_FILE,
                error=repr(error),
            )
        ) from error


def save_learned(folder: Path, learned: Learned, thresholds: Thresholds) -> None:
    """Write what was learned beside the files of the version it was learned for."""
    content = learned.to_dict() | thresholds.to_dict()
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    (folder / LEARNED_FILE).write_text(text, encoding="utf-8")


def margins_of(probability: Floats) -> Floats:
    """(rows,) log-odds of probabilities of six decimals."""
    kept = np.clip(probability.astype(np.float64), LEAST, 1 - LEAST)
    result: Floats = np.log(kept / (1 - kept))
    return result


def probabilities(margins: Floats) -> Floats:
    """(rows,) in [0, 1], six decimals."""
    result: Floats = np.round(1 / (1 + np.exp(-np.clip(margins, -500, 500))), 6)
    return result
