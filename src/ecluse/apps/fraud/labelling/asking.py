"""Choose questions about a table and learn from the answers, reading it batch by batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.fraud.errors import ColumnsMissing
from ecluse.apps.fraud.evaluation.metrics import alert_cut
from ecluse.apps.fraud.labelling.figures import (
    LabelFigures,
    answers_to,
    figures_elsewhere,
    figures_of,
    figures_of_all,
)
from ecluse.apps.fraud.labelling.learning import (
    KNOWN_DEVIATION,
    LEAST_DRAWN,
    LEAST_LABELS,
    RATE_DEVIATION,
    LabelledRows,
    Learned,
    SampledRows,
    check_kinds,
    learn_from_labels,
    recalibrate,
)
from ecluse.apps.fraud.labelling.questions import QUESTIONS, OtherScores, QuestionSet, choose_questions
from ecluse.apps.fraud.labelling.scoring import margins_of, probabilities
from ecluse.apps.fraud.risk import Thresholds
from ecluse.apps.fraud.scoring.columns import REASONS
from ecluse.apps.fraud.scoring.model import missing_message
from ecluse.apps.fraud.scoring.reasons import kept_sentences
from ecluse.apps.fraud.scoring.scorer import AlertingScorer, Scorer
from ecluse.apps.fraud.tables.columns import ColumnSpec, infer_columns, parse_columns
from ecluse.sentences import _
from ecluse.tabular.dataset import Table

Floats = NDArray[np.float64]
Positions = NDArray[np.int64]

BATCH_ROWS: Final = 50_000
SAMPLE_ROWS: Final = 20_000
LEARNABLE: Final = ("number", "category", "datetime")
#: Values of a row that a person sees when asked; the rest is left out.
SHOWN_COLUMNS: Final = 60
SHOWN_LETTERS: Final = 200


@dataclass(frozen=True)
class Scores:
    """What a model says of each row of a table: (rows,) float64 each; None where it does not say it.

    `score` orders the rows and meets the threshold; `stated` has the same order on the scale of a rate of fraud.
    """

    score: Floats
    stated: Floats
    anomaly: Floats | None
    disagreement: Floats | None
    calibrated: Floats | None = None

    @property
    def likely(self) -> Floats:
        """(rows,) the probability of fraud: calibrated, where the model can say it so."""
        return self.stated if self.calibrated is None else self.calibrated


@dataclass(frozen=True)
class Made:
    """What was learned, from where on it alerts, and what to tell of it as plain JSON values.

    `scores` (rows,) are those of the table by what was learned.
    """

    learned: Learned
    thresholds: Thresholds
    result: dict[str, Any]
    scores: Floats = field(repr=False)


def score_all(table: Table, scorer: Scorer, progress: Callable[[int], None] | None = None) -> Scores:
    """Return the scores of every row in the order of the table; 40 bytes a row at most.

    Raises ColumnsMissing where the table lacks columns of the model.
    """
    check = scorer.check(table.columns)
    if check.missing:
        raise ColumnsMissing(missing_message(table.filename, check))
    names = ("anomaly_score", "prediction_variance", "fraud_probability_calibrated")
    parts: dict[str, list[Floats]] = {name: [] for name in ("score", "stated", *names)}
    done = 0
    for batch in table.batches(BATCH_ROWS):
        scored = scorer.score_frame(batch, reasons_for=None)
        parts["score"].append(scorer.scores_of(scored))
        parts["stated"].append(scorer.stated_of(scored))
        for name in names:
            if name in scored.columns and scored[name].null_count() == 0:
                parts[name].append(scored[name].to_numpy().astype(np.float64))
        done += batch.height
        if progress is not None:
            progress(done)
    whole = {name: np.concatenate(batches) for name, batches in parts.items() if batches}
    rows = len(whole["score"])
    others = (whole.get(name) for name in names)
    anomaly, variance, calibrated = (
        values if values is not None and len(values) == rows else None for values in others
    )
    return Scores(whole["score"], whole["stated"], anomaly, variance, calibrated)


def ask_about(
    table: Table,
    version: AlertingScorer,
    *,
    known: Collection[int] = (),
    left_out: Collection[str] = (),
    count: int = QUESTIONS,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Choose questions, as `QuestionSet.to_dict` with the values of each row to ask about under `shown`.

    `reasons` holds for each the (text, effect) pairs of what moves its score most. Columns `left_out` say the
    outcome and are neither shown nor looked at.
    """
    scores = score_all(table, version.scorer, progress)
    specs = _learnable(table, left_out)

    def look_up(positions: Positions) -> pl.DataFrame:
        return parse_columns(rows_at(table, positions), specs)

    asked = choose_questions(
        scores.score,
        threshold=version.threshold,
        others=OtherScores(scores.stated, scores.anomaly, scores.disagreement),
        look_up=look_up if specs else None,
        known=list(known),
        count=count,
        seed=seed,
    )
    rows = rows_at(table, np.array([question.row - 1 for question in asked.questions], dtype=np.int64))
    columns = [name for name in table.columns if name not in left_out][:SHOWN_COLUMNS]
    shown = [{name: _shown(value) for name, value in row.items()} for row in rows.select(columns).to_dicts()]
    return asked.to_dict() | {"shown": shown, "reasons": _reasons(version.scorer, rows)}


@dataclass(frozen=True)
class LabelledTable:
    """A table with the labels {row from 1: 1 fraud, 0 legitimate}, and how the labelled rows were chosen.

    `asked` are the questions that were answered, None where there were none; `asked_elsewhere`: those of another
    version. Columns `left_out` say the outcome: nothing is learned from them.
    """

    table: Table
    labels: Mapping[int, int]
    asked: QuestionSet | None = None
    asked_elsewhere: bool = False
    left_out: Collection[str] = ()

    @property
    def rows(self) -> Positions:
        """(labels,) the labelled rows, from 1."""
        return np.array(sorted(self.labels), dtype=np.int64)

    @property
    def truth(self) -> NDArray[np.int8]:
        """(labels,) their labels."""
        return np.array([self.labels[row] for row in self.rows.tolist()], dtype=np.int8)

    @property
    def teaches_scale(self) -> bool:
        """Tell whether enough rows of chance were answered, or enough rows at all, to change the probabilities."""
        if self.asked is None or len(self.labels) >= LEAST_LABELS:
            return True
        drawn = sum(
            question.stratum is not None and question.row in self.labels for question in self.asked.questions
        )
        return drawn >= LEAST_DRAWN

    def rates(self, seed: int) -> tuple[float, float]:
        """Return the fraud rates that the answers allow; any where nobody knows how the rows were chosen."""
        rate = None if self.asked is None else figures_of(self.asked, self.labels, seed=seed).fraud_rate
        return (0.0, 1.0) if rate is None else (rate.low, rate.high)

    def weights(self) -> Floats | None:
        """(labels,) how many rows each label stands for; labels that were not asked for stand for themselves."""
        if self.asked is None:
            return None
        answered = answers_to(self.asked, self.labels)
        counts = np.bincount(answered.groups, minlength=len(answered.population))
        each = answered.population / np.maximum(counts, 1)
        weight = dict(zip(answered.rows.tolist(), each[answered.groups].tolist(), strict=True))
        return np.array([weight.get(row, 1.0) for row in self.rows.tolist()])

    def figures(self, scores: Floats, threshold: float, seed: int) -> LabelFigures:
        """Measure what the labels tell of a version by its scores of all rows."""
        if self.asked is None:
            return figures_of_all(scores[self.rows - 1], self.truth, threshold, seed=seed)
        if self.asked_elsewhere:
            return figures_elsewhere(self.asked, self.labels, scores, threshold, seed=seed)
        return figures_of(self.asked, self.labels, seed=seed)


def learn_about(
    labelled: LabelledTable,
    version: AlertingScorer,
    base: Scorer | None = None,
    *,
    fraud_rate: float | None = None,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
    tell: Callable[[float, str], None] = lambda fraction, message: None,
) -> Made:
    """Learn from the labels of a table; the new version alerts on as many of its rows as `version` did.

    `base` is the scorer of before any learning, where `version` learned from labels itself: what it learned is
    replaced. The figures are those of `version`. `fraud_rate` is what is held to be true beforehand.

    Raises InvalidInput with too few labels.
    """
    first = version.scorer if base is None else base
    scores = score_all(labelled.table, first, progress)
    old = scores.score if base is None else score_all(labelled.table, version.scorer).score
    tell(0.5, _("Learning from the labels"))
    if labelled.teaches_scale:
        learned, again = _learn(labelled, first, scores, fraud_rate=fraud_rate, seed=seed, tell=tell)
        expected = float(again.mean())
    else:
        truth = labelled.truth
        check_kinds(truth)
        learned = Learned(1.0, 0.0, report={"labels": len(truth), "frauds": int(truth.sum()), "way": "kept"})
        again, expected = scores.score, float(scores.likely.mean())
    alerts = int(np.sum(old >= version.threshold))
    high = alert_cut(again, alerts) if alerts else 1.0
    thresholds = Thresholds.around(high, max(alerts, 1), partial(alert_cut, again))
    result = {
        "way": learned.report["way"],
        "labels": len(labelled.labels),
        "frauds": int(labelled.truth.sum()),
        "report": learned.report,
        "figures": labelled.figures(old, version.threshold, seed).to_dict(),
        "alerts": int(np.sum(again >= high)),
        "rows": len(again),
        "mean_before": float(scores.likely.mean() if base is None else old.mean()),
        "mean_after": expected,
    }
    return Made(learned, thresholds, result, again)


def _learn(
    labelled: LabelledTable,
    base: Scorer,
    scores: Scores,
    *,
    fraud_rate: float | None,
    seed: int,
    tell: Callable[[float, str], None],
) -> tuple[Learned, Floats]:
    """Learn scale and order; return them with the probability of each row of the table by them."""
    table, truth, at = labelled.table, labelled.truth, labelled.rows - 1
    specs = _learnable(table, labelled.left_out)
    margins = margins_of(scores.stated)
    raw, sample = rows_at(table, at), table.sample(SAMPLE_ROWS)
    rows = LabelledRows(
        truth,
        margins[at],
        parse_columns(raw, specs),
        anomaly=None if scores.anomaly is None else scores.anomaly[at],
        opinions=base.opinions_of(raw),
        weights=labelled.weights(),
    )
    usual = SampledRows(parse_columns(sample, specs), base.opinions_of(sample))
    learned = learn_from_labels(rows, specs, usual, fraud_rate=fraud_rate, seed=seed)
    tell(0.6, _("Scoring the table with what was learned"))
    ordered = _margins(table, base, learned, scores, tell) if learned.reorders else margins
    is_suggested = fraud_rate is not None or scores.calibrated is not None
    slope, intercept = recalibrate(
        truth,
        ordered[at],
        rows.represented(),
        float(scores.likely.mean()) if fraud_rate is None else fraud_rate,
        everyone=ordered,
        within=labelled.rates(seed),
        deviation=KNOWN_DEVIATION if is_suggested else RATE_DEVIATION,
    )
    if learned.reorders:
        learned = learned.rescaled(slope, intercept)
    else:
        learned = replace(learned, slope=slope, intercept=intercept)
    return learned, probabilities(slope * ordered + intercept)


def rows_at(table: Table, positions: Positions) -> pl.DataFrame:
    """Return the raw rows at these positions (from 0), in the order of the positions."""
    order = np.argsort(positions, kind="stable")
    ascending = positions[order]
    parts: list[pl.DataFrame] = []
    done = 0
    for batch in table.batches(BATCH_ROWS):
        low, high = np.searchsorted(ascending, [done, done + batch.height])
        if high > low or not parts:
            parts.append(batch[ascending[low:high] - done])
        done += batch.height
    back = np.empty(len(order), dtype=np.int64)
    back[order] = np.arange(len(order))
    return pl.concat(parts)[back]


def _margins(
    table: Table, base: Scorer, learned: Learned, scores: Scores, tell: Callable[[float, str], None]
) -> Floats:
    """(rows,) log-odds of the table in the order learned."""
    margins, parts, done = margins_of(scores.stated), [], 0
    for batch in table.batches(BATCH_ROWS):
        part = slice(done, done + batch.height)
        anomaly = None if scores.anomaly is None else scores.anomaly[part]
        opinions = base.opinions_of(batch) if learned.voices else None
        parts.append(learned.margins(margins[part], parse_columns(batch, learned.specs), anomaly, opinions))
        done += batch.height
        tell(0.6 + 0.35 * done / len(margins), _("Scoring the table with what was learned"))
    return np.concatenate(parts)


def _learnable(table: Table, left_out: Collection[str]) -> tuple[ColumnSpec, ...]:
    """Return how the columns read from which something can be learned."""
    specs = infer_columns(table.sample(SAMPLE_ROWS), decimal_comma=table.format.decimal_comma)
    return tuple(spec for spec in specs if spec.kind in LEARNABLE and spec.name not in left_out)


def _reasons(scorer: Scorer, rows: pl.DataFrame) -> list[list[tuple[str, float]]]:
    """Per row, the reasons of its score and their effects, the strongest first."""
    if not rows.height:
        return []
    with kept_sentences() as sentences:
        scored = scorer.score_frame(rows, reasons_for="all").to_dicts()
    return [
        [
            (sentences[row[f"reason_{rank}"]], float(row[f"reason_{rank}_effect"]))
            for rank in range(1, REASONS + 1)
            if row[f"reason_{rank}"] is not None and row[f"reason_{rank}_effect"] is not None
        ]
        for row in scored
    ]


def _shown(value: Any) -> str | int | float | bool | None:
    """Return a value as JSON can hold it: what is no number is none."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float):
        return value
    text = str(value)
    return text if len(text) <= SHOWN_LETTERS else text[: SHOWN_LETTERS - 1] + "…"
