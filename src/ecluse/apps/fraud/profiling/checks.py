"""Say what to check in a table before training: repeated rows, empty columns, few positives, giveaways."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from ecluse.apps.fraud.features.giveaways import Giveaway, find_giveaways
from ecluse.apps.fraud.profiling.parts import contradictions, drifts, warn_of_contradictions, warn_of_drift
from ecluse.apps.fraud.tables.description import ColumnProfile, as_categories
from ecluse.apps.fraud.tables.guesses import Guesses
from ecluse.sentences import _, num

# Below this number of frauds, one more or less changes every figure.
FEW_POSITIVES = 20
# Of wider tables rows are not compared with each other, nor columns with the label.
MOST_COLUMNS = 2_000

#: Columns that a warning names.
NAMED = 5


def what_to_check(
    columns: Sequence[ColumnProfile],
    guesses: Guesses,
    parsed: pl.DataFrame,
    rows: int,
    giveaways: Sequence[Giveaway] = (),
) -> list[str]:
    """One sentence per thing to check; `parsed` may be a sample of the `rows` rows."""
    warnings = []
    repeated = parsed.height - parsed.n_unique() if parsed.width <= MOST_COLUMNS else 0
    if repeated:
        warnings.append(
            _("Exact duplicates of another row: %(count)s.", count=num(repeated))
            if parsed.height == rows
            else _(
                "Exact duplicates of another row: %(count)s of %(rows)s sampled.",
                count=num(repeated),
                rows=num(parsed.height),
            )
        )
    constant = [column.name for column in columns if column.kind == "constant"]
    if constant:
        warnings.append(
            _("%(columns)s: one value only, or none; it tells nothing.", columns=", ".join(constant))
            if len(constant) <= NAMED
            else _(
                "%(columns)s and %(count)s more: one value only, or none; it tells nothing.",
                columns=", ".join(constant[:NAMED]),
                count=len(constant) - NAMED,
            )
        )
    if guesses.target is None or guesses.positive_value is None:
        return warnings
    rate = guesses.fraud_rate or 0.0
    positives = round(rate * rows * (1 - _missing(columns, guesses.target.column)))
    if positives < FEW_POSITIVES:
        warnings.append(
            _(
                "Positive rows: %(count)s, fewer than %(few)s; the figures of any model will be uncertain.",
                count=positives,
                few=FEW_POSITIVES,
            )
        )
    return [
        *warnings,
        *_say_found(giveaways),
        *_twins(columns, guesses.target.column, guesses, parsed),
        *_drift(columns, guesses.target.column, guesses, parsed),
    ]


def giveaways_of(
    columns: Sequence[ColumnProfile], guesses: Guesses, parsed: pl.DataFrame
) -> tuple[Giveaway, ...]:
    """Return the columns that give the guessed label away; `parsed` may be a sample of the rows."""
    if guesses.target is None or guesses.positive_value is None or parsed.width > MOST_COLUMNS:
        return ()
    roles = (guesses.target, guesses.timestamp, guesses.customer, *guesses.identifiers)
    with_role = {guess.column for guess in roles if guess is not None}
    kinds = {column.name: column.kind for column in columns if column.name not in with_role}
    known = parsed.filter(pl.col(guesses.target.column).is_not_null())
    labels = as_categories(known[guesses.target.column]) == guesses.positive_value
    return find_giveaways(known, kinds, labels.cast(pl.Int8).to_numpy())


def _say_found(giveaways: Sequence[Giveaway]) -> list[str]:
    return [
        _(
            "%(column)s gives the label away and is left out unless you keep it: %(why)s.",
            column=giveaway.column,
            why=giveaway.reason,
        )
        for giveaway in giveaways
    ]


def _twins(
    columns: Sequence[ColumnProfile], target: str, guesses: Guesses, parsed: pl.DataFrame
) -> list[str]:
    """Frauds that equal a legitimate row but for identifiers and time."""
    if parsed.width > MOST_COLUMNS:
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
    if time is None or parsed.width > MOST_COLUMNS:
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
        and not numbers_rows(parsed[column.name])
    }


def numbers_rows(values: pl.Series) -> bool:
    """Tell whether a column holds a different whole number in nearly every row, as one that numbers them does."""
    if not values.dtype.is_numeric() or values.null_count():
        return False
    return values.n_unique() >= 0.99 * len(values) and bool((values == values.floor()).all())


def _missing(columns: Sequence[ColumnProfile], name: str) -> float:
    return next(column.missing_share for column in columns if column.name == name)
