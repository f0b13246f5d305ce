"""Choose questions about a table and learn from the answers, reading it batch by batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

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
    Learned,
    check_kinds,
    learn_from_labels,
    recalibrate,
)
from ecluse.apps.fraud.labelling.questions import QUESTIONS, QuestionSet, choose_questions
from ecluse.apps.fraud.labelling.scoring import margins_of, probabilities
from ecluse.apps.fraud.risk import medium_alerts
from ecluse.apps.fraud.scoring.columns import REASONS
from ecluse.apps.fraud.scoring.model import missing_message
from ecluse.apps.fraud.scoring.reasons import kept_sentences
from ecluse.apps.fraud.scoring.scorer import Scorer
from ecluse.apps.fraud.tables.columns import ColumnSpec, infer_columns, parse_columns
from ecluse.apps.fraud.tables.dataset import Table
from ecluse.errors import ColumnsMissing
from ecluse.sentences import _

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


@dataclass(frozen=True)
class Made:
    """What was learned, from where on it alerts, and what to tell of it as plain JSON values.

    `scores` (rows,) are those of the table by what was learned.
    """

    learned: Learned
    threshold: float
    medium_threshold: float
    result: dict[str, Any]
    scores: Floats = field(repr=False)


def score_all(table: Table, scorer: Scorer, progress: Callable[[int], None] | None = None) -> Scores:
    """The scores of every row in the order of the table; 40 bytes a row at most.

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
    whole = {name: np.concatenate(found) for name, found in parts.items() if found}
    rows = len(whole["score"])
    others = (whole.get(name) for name in names)
    anomaly, variance, calibrated = (one if one is not None and len(one) == rows else None for one in others)
    return Scores(whole["score"], whole["stated"], anomaly, variance, calibrated)


def ask_about(
    table: Table,
    scorer: Scorer,
    *,
    threshold: float,
    known: Collection[int] = (),
    left_out: Collection[str] = (),
    count: int = QUESTIONS,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """The questions as `QuestionSet.to_dict`, with the values of each row to ask about under `shown`.

    `reasons` holds for each the (text, effect) pairs of what moves its score most. Columns `left_out` say the
    outcome and are neither shown nor looked at.
    """
    scores = score_all(table, scorer, progress)
    specs = _learnable(table, left_out)

    def look_up(positions: Positions) -> pl.DataFrame:
        return parse_columns(rows_at(table, positions), specs)

    asked = choose_questions(
        scores.score,
        threshold=threshold,
        likely=scores.stated,
        anomaly=scores.anomaly,
        disagreement=scores.disagreement,
        look_up=look_up if specs else None,
        known=list(known),
        count=count,
        seed=seed,
    )
    rows = rows_at(table, np.array([question.row - 1 for question in asked.questions], dtype=np.int64))
    columns = [name for name in table.columns if name not in left_out][:SHOWN_COLUMNS]
    shown = [{name: _shown(value) for name, value in row.items()} for row in rows.select(columns).to_dicts()]
    return asked.to_dict() | {"shown": shown, "reasons": _reasons(scorer, rows)}


def learn_about(
    table: Table,
    base: Scorer,
    labels: Mapping[int, int],
    *,
    threshold: float,
    asked: QuestionSet | None,
    fraud_rate: float | None,
    before: Scorer | None = None,
    asked_elsewhere: bool = False,
    left_out: Collection[str] = (),
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
    tell: Callable[[float, str], None] = lambda fraction, message: None,
) -> Made:
    """Learn from the labels of a table; the new version alerts on as many of its rows as the old did at `threshold`.

    `before` is the old version's scorer where it learned from labels itself: what it learned is replaced, and
    `base` is what both go back to. The figures told are the old version's. `asked` are its questions;
    `asked_elsewhere`: those of another version, by which the rows were chosen.

    Raises InvalidInput with too few labels.
    """
    scores = score_all(table, base, progress)
    old = scores.score if before is None else score_all(table, before).score
    tell(0.5, _("Learning from the labels"))
    rows = np.array(sorted(labels), dtype=np.int64)
    truth = np.array([labels[row] for row in rows.tolist()], dtype=np.int8)
    at = rows - 1
    specs = _learnable(table, left_out)
    margins = margins_of(scores.stated)
    weights = _weights(asked, labels, rows)
    likely = scores.stated if scores.calibrated is None else scores.calibrated
    if _teaches_scale(asked, labels):
        sample = table.sample(SAMPLE_ROWS)
        learned = learn_from_labels(
            truth,
            margins[at],
            parse_columns(rows_at(table, at), specs),
            specs,
            sample=parse_columns(sample, specs),
            anomaly=None if scores.anomaly is None else scores.anomaly[at],
            opinions=base.opinions_of(rows_at(table, at)),
            everyone=base.opinions_of(sample),
            weights=weights,
            fraud_rate=fraud_rate,
            seed=seed,
        )
        tell(0.6, _("Scoring the table with what was learned"))
        ordered = _margins(table, base, learned, scores, tell) if learned.reorders else margins
        suggested = fraud_rate is not None or scores.calibrated is not None
        slope, intercept = recalibrate(
            truth,
            ordered[at],
            np.ones(len(truth)) if weights is None else weights,
            float(likely.mean()) if fraud_rate is None else fraud_rate,
            everyone=ordered,
            within=_rate_within(asked, labels, seed),
            deviation=KNOWN_DEVIATION if suggested else RATE_DEVIATION,
        )
        if learned.reorders:
            learned = learned.rescaled(slope, intercept)
        else:
            learned = replace(learned, slope=slope, intercept=intercept)
        again = probabilities(slope * ordered + intercept)
        expected = float(again.mean())
    else:
        check_kinds(truth)
        learned = Learned(1.0, 0.0, report={"labels": len(truth), "frauds": int(truth.sum()), "way": "kept"})
        again, expected = scores.score, float(likely.mean())
    alerts = int(np.sum(old >= threshold))
    high = alert_cut(again, alerts) if alerts else 1.0
    medium = min(alert_cut(again, medium_alerts(max(alerts, 1))), high)
    figures: LabelFigures
    if asked is None:
        figures = figures_of_all(old[at], truth, threshold, seed=seed)
    elif asked_elsewhere:
        figures = figures_elsewhere(asked, labels, old, threshold, seed=seed)
    else:
        figures = figures_of(asked, labels, seed=seed)
    result = {
        "way": learned.report["way"],
        "labels": len(truth),
        "frauds": int(truth.sum()),
        "report": learned.report,
        "figures": figures.to_dict(),
        "alerts": int(np.sum(again >= high)),
        "rows": len(again),
        "mean_before": float(likely.mean() if before is None else old.mean()),
        "mean_after": expected,
    }
    return Made(learned, float(high), float(medium), result, again)


def rows_at(table: Table, positions: Positions) -> pl.DataFrame:
    """The raw rows at these positions (from 0), in the order of the positions."""
    order = np.argsort(positions, kind="stable")
    wanted = positions[order]
    parts: list[pl.DataFrame] = []
    done = 0
    for batch in table.batches(BATCH_ROWS):
        low, high = np.searchsorted(wanted, [done, done + batch.height])
        if high > low or not parts:
            parts.append(batch[wanted[low:high] - done])
        done += batch.height
    found = pl.concat(parts)
    back = np.empty(len(order), dtype=np.int64)
    back[order] = np.arange(len(order))
    return found[back]


def _teaches_scale(asked: QuestionSet | None, labels: Mapping[int, int]) -> bool:
    """Whether enough rows of chance were answered, or enough rows at all, to change the probabilities."""
    if asked is None or len(labels) >= LEAST_LABELS:
        return True
    return sum(one.stratum is not None and one.row in labels for one in asked.questions) >= LEAST_DRAWN


def _rate_within(asked: QuestionSet | None, labels: Mapping[int, int], seed: int) -> tuple[float, float]:
    """The fraud rates that the answers allow; any where nobody knows how the labelled rows were chosen."""
    rate = None if asked is None else figures_of(asked, labels, seed=seed).fraud_rate
    return (0.0, 1.0) if rate is None else (rate.low, rate.high)


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


def _weights(asked: QuestionSet | None, labels: Mapping[int, int], rows: Positions) -> Floats | None:
    """(labels,) how many rows each label stands for; labels that were not asked for stand for themselves."""
    if asked is None:
        return None
    answered = answers_to(asked, labels)
    counts = np.bincount(answered.groups, minlength=len(answered.population))
    each = answered.population / np.maximum(counts, 1)
    weight = dict(zip(answered.rows.tolist(), each[answered.groups].tolist(), strict=True))
    return np.array([weight.get(row, 1.0) for row in rows.tolist()])


def _learnable(table: Table, left_out: Collection[str]) -> tuple[ColumnSpec, ...]:
    """How the columns read from which something can be learned."""
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
    """A value as JSON can hold it: what is no number is none."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float):
        return value
    text = str(value)
    return text if len(text) <= SHOWN_LETTERS else text[: SHOWN_LETTERS - 1] + "…"
