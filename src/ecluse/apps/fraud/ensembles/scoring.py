"""Score a table with an ensemble, with reasons by the table's own column names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.fraud.clock import with_heartbeat
from ecluse.apps.fraud.ensembles import transfer as transferring
from ecluse.apps.fraud.ensembles.ensemble import Ensemble, Floats, Judgement
from ecluse.apps.fraud.errors import ColumnsMissing
from ecluse.apps.fraud.risk import Thresholds
from ecluse.apps.fraud.scoring.columns import ANOMALY, REASONS, REFERENCES, kept_names
from ecluse.apps.fraud.scoring.kept_scores import KeptScores, scored_in_order
from ecluse.apps.fraud.scoring.model import ColumnCheck, missing_message, near_columns
from ecluse.apps.fraud.scoring.reasons import as_written, reason_columns
from ecluse.apps.fraud.scoring.scoring import ReasonsFor
from ecluse.apps.fraud.tables.columns import parse_columns
from ecluse.sentences import _
from ecluse.tabular.dataset import Table

BATCH_ROWS = 20_000
EXPLAINED_ROWS = 5_000
#: A log-odds so small moves nothing.
LEAST_EFFECT = 0.005


def check_ensemble(ensemble: Ensemble, columns: Sequence[str]) -> ColumnCheck:
    """Compare a table's columns with those the ensemble reads, by exact name."""
    present = set(columns)
    missing = tuple(name for name in ensemble.required_columns if name not in present)
    known = {*ensemble.required_columns, *ensemble.passed_on}
    extra = tuple(name for name in columns if name not in known)
    return ColumnCheck(missing, extra, near_columns(missing, extra))


def score_table(
    ensemble: Ensemble,
    table: Table,
    *,
    batch_rows: int = BATCH_ROWS,
    reasons_for: ReasonsFor | None = "risky",
    progress: Callable[[int], None] | None = None,
    kept: KeptScores | None = None,
) -> Iterator[pl.DataFrame]:
    """Return the scores of a table, batch by batch in its order; the same whatever the batches. What is `kept` is not
    made again.

    Raises ColumnsMissing before the first batch when columns lack.
    """
    check = check_ensemble(ensemble, table.columns)
    if check.missing:
        raise ColumnsMissing(missing_message(table.filename, check))
    rows = min(batch_rows, EXPLAINED_ROWS) if reasons_for == "all" else batch_rows
    return _batches(ensemble, table, rows, reasons_for, progress, kept)


def score_frame(
    ensemble: Ensemble, raw: pl.DataFrame, *, reasons_for: ReasonsFor | None = "risky"
) -> pl.DataFrame:
    """Return the scores of raw rows: what was passed on, then what the members and the anomaly part say
    (`score_columns`).

    Without members nothing but the anomaly part speaks, and no column speaks of fraud.
    Raises ColumnsMissing when columns lack.
    """
    check = check_ensemble(ensemble, raw.columns)
    if check.missing:
        raise ColumnsMissing(missing_message(_("The table"), check))
    parsed = parse_columns(raw, ensemble.anomaly.specs)
    matrix = ensemble.anomaly.description.read(parsed)
    rows = [member.transfer.read(raw) for member in ensemble.members]
    margins = [
        np.round(transferring.margins(member.model, read), 9)
        for member, read in zip(ensemble.members, rows, strict=True)
    ]
    judged = ensemble.judge_read(margins, ensemble.anomaly.detector_scores(matrix))
    thresholds, names = Thresholds.of_shares(ensemble.fraud_rate), ensemble.names
    columns = [*_passed_on(ensemble, raw).get_columns(), *_opinions(ensemble, judged)]
    scored = pl.DataFrame([*columns, *thresholds.mark(judged.combined, names.level, names.flag)])
    if reasons_for is None:
        return scored
    raised = np.flatnonzero(thresholds.places(judged.combined))
    explained = np.arange(raw.height) if reasons_for == "all" else raised
    return scored.hstack(_reasons(ensemble, raw, parsed, rows, matrix, explained))


def _batches(
    ensemble: Ensemble,
    table: Table,
    batch_rows: int,
    reasons_for: ReasonsFor | None,
    progress: Callable[[int], None] | None,
    kept: KeptScores | None,
) -> Iterator[pl.DataFrame]:
    done = 0
    if progress is not None:
        with_heartbeat(table.validate, partial(progress, 0))
    roles = {ensemble.info.get("customer_column"), ensemble.info.get("time_column")}
    named = any(name in table.columns for name in ensemble.passed_on if name not in roles)
    score = partial(score_frame, ensemble, reasons_for=reasons_for)
    for scores in scored_in_order(table.batches(batch_rows), score, 1, kept):
        yield scores if named or "row" in scores.columns else scores.with_row_index("row", done + 1)
        done += scores.height
        if progress is not None:
            progress(done)


def _passed_on(ensemble: Ensemble, raw: pl.DataFrame) -> pl.DataFrame:
    """Return the columns that come back as they were; one named like a score gets `_input` behind its name."""
    kept = raw.select([name for name in ensemble.passed_on if name in raw.columns])
    return kept.rename(kept_names(kept.columns))


def _opinions(ensemble: Ensemble, judged: Judgement) -> list[pl.Series]:
    variance = _without_nan("prediction_variance", judged.variance)
    stability = _without_nan("prediction_stability", judged.stability)
    if not ensemble.members:
        return [pl.Series(ANOMALY.score, judged.anomaly), variance, stability]
    return [
        pl.Series(REFERENCES.score, judged.probability),
        variance,
        stability,
        pl.Series("anomaly_score", judged.anomaly),
        pl.Series("is_anomaly", (judged.anomaly >= 1 - ensemble.fraud_rate).astype(np.int8)),
        pl.Series("combined_score", judged.combined),
        _without_nan("fraud_probability_calibrated", judged.calibrated),
    ]


def _without_nan(name: str, values: Floats) -> pl.Series:
    return pl.Series(name, values).fill_nan(None)


# Reasons


def _reasons(
    ensemble: Ensemble,
    raw: pl.DataFrame,
    parsed: pl.DataFrame,
    rows: Sequence[pl.DataFrame],
    matrix: Floats,
    explained: NDArray[np.int64],
) -> pl.DataFrame:
    """Three columns of each wanted row: those that move the members' log-odds most, else the most unusual."""
    words = np.full((raw.height, REASONS), None, dtype=object)
    effects = np.full((raw.height, REASONS), np.nan)
    if len(explained) and ensemble.members:
        some = [read[explained] for read in rows]
        words[explained], effects[explained] = _member_reasons(ensemble, raw[explained], some)
    elif len(explained):
        words[explained], effects[explained] = ensemble.anomaly.reasons(parsed[explained], matrix[explained])
    return reason_columns(words, [_without_nan("effect", effects[:, rank]) for rank in range(REASONS)])


def _member_reasons(
    ensemble: Ensemble, raw: pl.DataFrame, rows: Sequence[pl.DataFrame]
) -> tuple[NDArray[np.object_], Floats]:
    """In the person's own column names and values, with the weighted log-odds over the members."""
    total: dict[str, Floats] = {}
    for member, read in zip(ensemble.members, rows, strict=True):
        for ours, effect in transferring.contributions(member.model, read).items():
            theirs = member.transfer.mapping.get(ours)
            if theirs is not None:
                before = total.get(theirs, np.zeros(raw.height))
                total[theirs] = before + member.weight * effect
    names = list(total)
    words = np.full((raw.height, REASONS), None, dtype=object)
    strongest = np.full((raw.height, REASONS), np.nan)
    if not names:
        return words, strongest
    effects = np.round(np.column_stack([total[name] for name in names]), 2) + 0.0
    order = np.argsort(-np.abs(effects), axis=1, kind="stable")[:, :REASONS]
    shown = {name: [_shown(name, value) for value in raw[name].to_list()] for name in names}
    for row in range(raw.height):
        for rank, at in enumerate(order[row].tolist()):
            if abs(effects[row, at]) >= LEAST_EFFECT:
                words[row, rank] = shown[names[at]][row]
                strongest[row, rank] = effects[row, at]
    return words, strongest


def _shown(name: str, value: object) -> str:
    text = "" if value is None else str(value).strip()
    if not text:
        return _("%(name)s missing", name=name)
    shown = text if len(text) <= 60 else text[:59] + "…"
    return _("%(name)s %(number)s", name=name, number=as_written(shown))
