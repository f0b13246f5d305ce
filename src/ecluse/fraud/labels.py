"""Read what labels say, one way wherever they stand: in a table, beside its scores, or among outcomes."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.fraud.columns import ColumnSpec

YES: Final = frozenset({"yes", "y", "true", "t", "1", "oui", "o", "vrai", "v"})
NO: Final = frozenset({"no", "n", "false", "f", "0", "non", "faux"})
#: What says fraud, or legitimate, whatever a label is called.
FRAUD: Final = YES | {"fraud", "fraudulent", "fraude", "frauduleux"}
LEGITIMATE: Final = NO | {"legitimate", "legit", "genuine", "légitime", "legitime"}
UNKNOWN: Final = np.int8(-1)


def read_labels(values: pl.Series, positive: str | None) -> NDArray[np.int8]:
    """(rows,) int8: fraud 1, legitimate 0, unknown -1; spelt in any case.

    Of a `positive` value that says fraud of itself, such as 1 or yes, every spelling means it, and any other value
    is legitimate. Without one, values count that say fraud or legitimate of themselves; others are unknown.
    """
    text = plain_text(values).str.to_lowercase()
    meant = (positive or "1").lower()
    fraud = text.is_in(list(FRAUD)) if meant in FRAUD else text == meant
    known = text.is_not_null()
    if positive is None:
        known &= text.is_in(list(FRAUD | LEGITIMATE))
    found = np.where(fraud.fill_null(False).to_numpy(), np.int8(1), np.int8(0)).astype(np.int8)
    found[~known.to_numpy()] = UNKNOWN
    return found


def plain_text(values: pl.Series) -> pl.Series:
    """Raw values as text, null where there is none."""
    return ColumnSpec(values.name, "category").read(values)
