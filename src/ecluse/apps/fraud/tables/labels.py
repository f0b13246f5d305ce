"""Read what labels say, one way wherever they stand: in a table, beside its scores, or among outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.fraud.tables.columns import ColumnSpec
from ecluse.apps.fraud.tables.meaning import (
    FRAUD,
    FRAUD_WORDS,
    LEGITIMATE,
    LEGITIMATE_WORDS,
    NO,
    answers,
    are_numbers,
    are_words,
    meaning_of,
    plain,
    shown,
    speaks_for,
)
from ecluse.errors import InvalidInput
from ecluse.sentences import Cell, _

UNKNOWN: Final = np.int8(-1)
_BETWEEN_WORDS: Final = r"([^\W\d_])[\s_-]+([^\W\d_])"  # as `plain` leaves out


@dataclass(frozen=True)
class LabelReading:
    """How the values of one label read: plainly written those that mean fraud, and those that mean legitimate.

    Without `legitimate`, every other value does.
    """

    fraud: frozenset[str]
    legitimate: frozenset[str] | None = None

    def read(self, values: pl.Series) -> NDArray[np.int8]:
        """(rows,) int8: fraud 1, legitimate 0, unknown -1; spelt in any case."""
        text = plain_text(values).str.to_lowercase().str.replace_all(_BETWEEN_WORDS, "${1}${2}")
        fraud = text.is_in(list(self.fraud))
        known = text.is_not_null()
        if self.legitimate is not None:
            known &= text.is_in(list(self.fraud | self.legitimate))
        labels = np.where(fraud.fill_null(False).to_numpy(), np.int8(1), np.int8(0)).astype(np.int8)
        labels[~known.to_numpy()] = UNKNOWN
        return labels


def reading_of(positive: str | None) -> LabelReading:
    """Return how a label reads of which `positive` means fraud.

    Of a value that says yes or no, such as 1 or oui, every spelling means it, and any other value is legitimate.
    Without one, values count that say fraud or legitimate of themselves; others are unknown.
    """
    if positive is None:
        return LabelReading(FRAUD | FRAUD_WORDS, LEGITIMATE | LEGITIMATE_WORDS)
    meant = plain(positive)
    return LabelReading(next((same for same in (FRAUD, NO) if meant in same), frozenset({meant})))


def reading_of_outcomes(
    levels: Sequence[str],
    column: str,
    positive: str | None,
    *,
    target: str | None = None,
    named: str | None = None,
) -> LabelReading:
    """Return how a column of outcomes with these values reads.

    `positive` of the column `target` is what a model has learned as fraud, None of a model without a label. A
    column that is not the target may say it in other words: 0 and 1 for attack and normal. What a person `named`
    counts before all.

    Raises InvalidInput where nothing says which value means fraud, or none is the one that was named.
    """
    lower = {plain(level) for level in levels}
    yes, no = answers(levels)
    if named is not None:
        reading = reading_of(named)
        if lower & reading.fraud or len(no) == len(levels):
            return reading
        raise InvalidInput(
            _(
                '%(column)s never holds "%(value)s". Its values: %(values)s.',
                column=column,
                value=Cell(named),
                values=shown(levels),
            )
        )
    if positive is not None:
        learned, own = reading_of(positive), target in (None, column)
        number = are_numbers([positive]) and positive.strip() not in FRAUD
        if (own or len(learned.fraud) == 1) and lower & learned.fraud:
            return learned
        # Outcomes in which nothing is fraud yet, in the words of the model.
        if own and (not yes or (number and not no)):
            return learned
    in_words = not speaks_for(column) or are_words(levels)
    if in_words and len(yes) + len(no) == len(levels):
        return reading_of(None)
    meaning = meaning_of(dict.fromkeys(levels, 1.0), column)
    if meaning.sure and meaning.value is not None:
        return LabelReading(frozenset({plain(meaning.value)}))
    if in_words and (yes or no) and not are_numbers(levels):
        return reading_of(None)
    raise InvalidInput(
        _(
            "%(column)s holds %(values)s: which value means fraud is not clear. Name it "
            "(positive), or write 1 or fraud, 0 or legitimate.",
            column=column,
            values=shown(levels),
        )
    )


def read_labels(values: pl.Series, positive: str | None) -> NDArray[np.int8]:
    """(rows,) int8: fraud 1, legitimate 0, unknown -1, as `reading_of` says."""
    return reading_of(positive).read(values)


def plain_text(values: pl.Series) -> pl.Series:
    """Raw values as text, null where there is none."""
    return ColumnSpec(values.name, "category").read(values)
