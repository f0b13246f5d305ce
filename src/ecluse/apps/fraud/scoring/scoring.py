"""Score a table of any size with a saved model, with reasons a person can read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
import polars as pl

from ecluse.apps.fraud.clock import with_heartbeat
from ecluse.apps.fraud.errors import ColumnsMissing
from ecluse.apps.fraud.scoring.columns import PROBABILITY, kept_names
from ecluse.apps.fraud.scoring.explaining import explain
from ecluse.apps.fraud.scoring.kept_scores import KeptScores, scored_in_order
from ecluse.apps.fraud.scoring.model import (
    FraudModel,
    check_columns,
    missing_message,
    named_as_ours,
    refuse_other_kinds,
)
from ecluse.apps.fraud.tables.columns import parse_columns
from ecluse.sentences import _
from ecluse.tabular.dataset import Table

ReasonsFor = Literal["risky", "all"]

EXPLAINED_ROWS = 5_000
RISKY_ROWS = 20_000
# Batches that are scored side by side; more would hold more rows in memory than two cores can use.
THREADS = min(2, os.cpu_count() or 1)


@dataclass(frozen=True)
class Batching:
    """How many rows are scored at a time, and how many such batches side by side; scores do not depend on it."""

    rows: int = 50_000
    threads: int = THREADS


def score_table(
    model: FraudModel,
    table: Table,
    *,
    batching: Batching = Batching(),
    reasons_for: ReasonsFor | None = "risky",
    columns: Mapping[str, str] | None = None,
    progress: Callable[[int], None] | None = None,
    kept: KeptScores | None = None,
) -> Iterator[pl.DataFrame]:
    """Score a table, batch by batch in its order; the same whatever the batches and the threads.

    Each frame holds the identifiers, customer and time of the input as they were (and the number of each `row`
    from 1, where the input has no identifier), then `fraud_probability`
    (six decimals), `risk_level`, `is_fraud` (0 or 1), and unless `reasons_for` is None `reason_1` to `reason_3` in
    words with `reason_1_effect`… in log-odds. A column of the input with one of these names comes back as name_input.
    `reasons_for="risky"` explains the rows above the lowest level only: it costs tens of times the score.
    `columns` {ours: theirs} says under which name the table has a column of the model.
    `progress` is given the number of rows done, and may raise to cancel. What is `kept` is not scored again.

    Raises ColumnsMissing before the first batch when columns lack, or mostly hold another kind of value;
    InvalidInput for a mapping of columns that do not exist.
    """
    mapping = dict(columns or {})
    check = check_columns(model, table.columns, mapping)
    if check.missing:
        raise ColumnsMissing(missing_message(table.filename, check))
    refuse_other_kinds(model, table, mapping)
    score = partial(score_frame, model, reasons_for=reasons_for, columns=mapping)
    batching = replace(batching, rows=_batch_rows(batching.rows, reasons_for))
    has_identifier = _has_identifier(model, table.columns, mapping)
    return _score_batches(table, score, batching, has_identifier, progress, kept)


def score_frame(
    model: FraudModel,
    raw: pl.DataFrame,
    *,
    reasons_for: ReasonsFor | None = "risky",
    columns: Mapping[str, str] | None = None,
) -> pl.DataFrame:
    """Return the scores of raw rows (strings or native values), in the columns of `score_table`."""
    mapping = columns or {}
    check = check_columns(model, raw.columns, mapping)
    if check.missing:
        raise ColumnsMissing(missing_message(_("The table"), check))
    parsed = parse_columns(named_as_ours(raw, mapping), model.specs)
    matrix = model.engineer.transform(parsed)
    if len(model.positions) != matrix.shape[1] or (np.diff(model.positions) != 1).any():
        matrix = np.ascontiguousarray(matrix[:, model.positions])
    probability = model.calibration.probabilities(model.fitted.predict_margin(matrix))
    kept = _passed_on(model, raw, mapping)
    scores = [
        pl.Series(PROBABILITY.score, probability),
        *model.thresholds.mark(probability, PROBABILITY.level, PROBABILITY.flag),
    ]
    scored = pl.DataFrame([*kept.get_columns(), *scores])
    if reasons_for is None:
        return scored
    raised = model.thresholds.places(probability) > 0
    explained = np.ones(len(raw), dtype=np.bool_) if reasons_for == "all" else raised
    return scored.hstack(explain(model, parsed, matrix, explained))


# Scoring


def _score_batches(
    table: Table,
    score: Callable[[pl.DataFrame], pl.DataFrame],
    batching: Batching,
    has_identifier: bool,
    progress: Callable[[int], None] | None,
    kept: KeptScores | None,
) -> Iterator[pl.DataFrame]:
    done = 0
    if progress is not None:
        with_heartbeat(table.validate, partial(progress, 0))
    for scores in scored_in_order(table.batches(batching.rows), score, batching.threads, kept):
        yield scores if has_identifier else _numbered(scores, done)
        done += scores.height
        if progress is not None:
            progress(done)


def _batch_rows(batch_rows: int, reasons_for: ReasonsFor | None) -> int:
    """Explaining takes a hundred times longer than scoring: smaller batches keep the progress moving."""
    most = {"all": EXPLAINED_ROWS, "risky": RISKY_ROWS, None: batch_rows}
    return min(batch_rows, most[reasons_for])


def _passed_on(model: FraudModel, raw: pl.DataFrame, mapping: Mapping[str, str]) -> pl.DataFrame:
    """Return the columns that come back as they were; one named like a score is renamed, such as risk_level_input."""
    names = dict.fromkeys(mapping.get(name, name) for name in model.passed_on)
    kept = raw.select([name for name in names if name in raw.columns])
    return kept.rename(kept_names(kept.columns))


def _has_identifier(model: FraudModel, columns: Iterable[str], mapping: Mapping[str, str]) -> bool:
    roles = {model.info.get("customer_column"), model.info.get("time_column")}
    return any(mapping.get(name, name) in columns for name in model.passed_on if name not in roles)


def _numbered(scores: pl.DataFrame, before: int) -> pl.DataFrame:
    """Scores with the number of each row in its table, from 1, where no column says which row it is."""
    return scores if "row" in scores.columns else scores.with_row_index("row", before + 1)


# Reasons
