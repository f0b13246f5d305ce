"""Say what to check in a table before training: repeated rows, empty columns, few positives, giveaways."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from ecluse.fraud.description import ColumnProfile, as_categories
from ecluse.fraud.guesses import Guesses
from ecluse.fraud.parts import contradictions, drifts, warn_of_contradictions, warn_of_drift

# From this ROC AUC a single column is suspected to be filled in after the outcome.
LEAK_AUC = 0.995
# Below this number of frauds, one more or less changes every figure.
FEW_POSITIVES = 20


def what_to_check(
    columns: Sequence[ColumnProfile], guesses: Guesses, parsed: pl.DataFrame, rows: int
) -> list[str]:
    """One sentence per thing to check; `parsed` may be a sample of the `rows` rows."""
    warnings = []
    repeated = parsed.height - parsed.n_unique() if parsed.width <= 2_000 else 0
    if repeated:
        whose = "" if parsed.height == rows else f" of {parsed.height:,} sampled"
        warnings.append(f"Exact duplicates of another row: {repeated:,}{whose}.")
    constant = [column.name for column in columns if column.kind == "constant"]
    if constant:
        warnings.append(f"{_listed(constant)}: one value only, or none; it tells nothing.")
    if guesses.target is None or guesses.positive_value is None:
        return warnings
    rate = guesses.fraud_rate or 0.0
    positives = round(rate * rows * (1 - _missing(columns, guesses.target.column)))
    if positives < FEW_POSITIVES:
        warnings.append(
            f"Positive rows: {positives}, fewer than {FEW_POSITIVES}; the figures of any model will be uncertain."
        )
    return [
        *warnings,
        *_leaks(columns, guesses.target.column, guesses, parsed),
        *_twins(columns, guesses.target.column, guesses, parsed),
        *_drift(columns, guesses.target.column, guesses, parsed),
    ]


def _twins(
    columns: Sequence[ColumnProfile], target: str, guesses: Guesses, parsed: pl.DataFrame
) -> list[str]:
    """Frauds that equal a legitimate row but for identifiers and time."""
    if parsed.width > 2_000:
        return []
    names = list(_lasting(columns, target, guesses, parsed))
    known = parsed.filter(pl.col(target).is_not_null())
    labels = (as_categories(known[target]) == guesses.positive_value).cast(pl.Int8).to_numpy()
    return warn_of_contradictions(contradictions(known, names, labels), int(labels.sum()))


def _drift(
    columns: Sequence[ColumnProfile], target: str, guesses: Guesses, parsed: pl.DataFrame
) -> list[str]:
    """Columns that moved from the first 60 % of the rows by time to the last 20 %, as a training would split them."""
    time = guesses.timestamp.column if guesses.timestamp else None
    if time is None or parsed.width > 2_000:
        return []
    step = max(1, parsed.height // 20_000)
    ordered = parsed.gather_every(step).drop_nulls(time).sort(time)
    early, late = ordered.head(int(0.6 * ordered.height)), ordered.tail(int(0.2 * ordered.height))
    if not late.height:
        return []
    return warn_of_drift(drifts(early, late, _lasting(columns, target, guesses, parsed)))


def _lasting(
    columns: Sequence[ColumnProfile], target: str, guesses: Guesses, parsed: pl.DataFrame
) -> dict[str, str]:
    """Columns and their kinds, without the label, identifiers, time, and whole numbers that are all distinct."""
    left_out = {target, *(guess.column for guess in guesses.identifiers)}
    if guesses.timestamp:
        left_out.add(guesses.timestamp.column)
    return {
        column.name: column.kind
        for column in columns
        if column.name not in left_out
        and column.kind not in ("identifier", "constant")
        and not _counts(parsed[column.name])
    }


def _counts(values: pl.Series) -> bool:
    """Whether a column holds a different whole number in nearly every row, as one that numbers them does."""
    if not values.dtype.is_numeric() or values.null_count():
        return False
    return values.n_unique() >= 0.99 * len(values) and bool((values == values.floor()).all())


def _missing(columns: Sequence[ColumnProfile], name: str) -> float:
    return next(column.missing_share for column in columns if column.name == name)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


def _leaks(
    columns: Sequence[ColumnProfile], target: str, guesses: Guesses, parsed: pl.DataFrame
) -> list[str]:
    """Columns that give the label away alone, on at most 20,000 rows with at least 20 of each class."""
    step = max(1, parsed.height // 20_000)
    known = parsed.gather_every(step).filter(pl.col(target).is_not_null())
    label = (as_categories(known[target]) == guesses.positive_value).to_numpy()
    if min(label.sum(), (~label).sum()) < FEW_POSITIVES:
        return []
    skipped = {target, *(guess.column for guess in guesses.identifiers)}
    found = []
    for column in columns:
        if column.name in skipped or column.kind in ("constant", "text"):
            continue
        warning = _leak(column, known[column.name], label)
        if warning:
            found.append(warning)
    return found


def _leak(column: ColumnProfile, values: pl.Series, label: np.ndarray) -> str | None:
    present = values.is_not_null().to_numpy()
    filled = present[label].mean(), present[~label].mean()
    if min(filled) == 0 and max(filled) > 0.2:
        which = "positive" if filled[0] > 0 else "negative"
        return f"{column.name} is filled for {which} rows only: check that it is known before the outcome."
    auc = _single_auc(values, label)
    if auc < LEAK_AUC:
        return None
    return (
        f"{column.name} alone separates the two classes (ROC AUC {auc:.3f}): "
        "check that it is known before the outcome, or leave it out."
    )


def _single_auc(values: pl.Series, label: np.ndarray) -> float:
    """ROC AUC of one column, in the better direction; levels count as the mean label they carry.

    Missing values rank lowest. Categories of more than 50 levels give 0.5: their means repeat the label.
    """
    if values.dtype == pl.String:
        if values.n_unique() > 50:
            return 0.5
        frame = pl.DataFrame({"level": values, "label": label.astype(np.float64)})
        scores = frame.select(pl.col("label").mean().over("level")).to_series()
    else:
        scores = values.to_physical().cast(pl.Float64).fill_null(float("-inf"))
    ranks = scores.rank("average").to_numpy()
    positives = int(label.sum())
    negatives = len(label) - positives
    auc = (ranks[label].sum() - positives * (positives + 1) / 2) / (positives * negatives)
    return float(max(auc, 1 - auc))
