"""Read what became of rows: from a column of their own table, or from a table of identifiers and outcomes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.errors import InvalidInput
from ecluse.fraud.dataset import Table
from ecluse.fraud.labels import UNKNOWN, plain_text, read_labels

Labels = NDArray[np.int8]
_SEED = 17
_LOOKED_AT = 20_000


@dataclass(frozen=True)
class Outcomes:
    """Outcomes by column: `label` of the table itself, or joined by `identifier` from a table read before."""

    label: str
    positive: str | None
    identifier: str | None = None
    keys: NDArray[np.uint64] | None = None
    labels: Labels | None = None

    def of(self, raw: pl.DataFrame) -> Labels:
        """(rows,) int8: fraud 1, legitimate 0, unknown -1."""
        if self.identifier is None or self.keys is None or self.labels is None:
            return read_labels(raw[self.label], self.positive)
        found = np.full(raw.height, UNKNOWN, dtype=np.int8)
        if len(self.keys):
            wanted = _keys(raw[self.identifier])
            at = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
            hit = (self.keys[at] == wanted) & plain_text(raw[self.identifier]).is_not_null().to_numpy()
            found[hit] = self.labels[at[hit]]
        return found


def outcomes_within(table: Table, label: str, positive: str | None) -> Outcomes:
    """Outcomes that stand in the table itself.

    Raises InvalidInput where it has no such column, or without a `positive` value, where no value says what it is.
    """
    _require(table, label)
    if positive is None:
        _expect_meaning(table, label, table.sample(_LOOKED_AT)[label])
    return Outcomes(label, positive)


def read_outcomes(table: Table, identifier: str, label: str, positive: str | None) -> Outcomes:
    """Outcomes of a table of their own, to be joined by `identifier`; nine bytes a row are kept.

    Raises InvalidInput where a column is absent, an identifier has two outcomes, or, without a `positive` value,
    no value says what it is.
    """
    for column in (identifier, label):
        _require(table, column)
    if positive is None:
        _expect_meaning(table, label, table.sample(_LOOKED_AT)[label])
    keys, labels = [], []
    for batch in table.batches():
        known = batch.select(identifier, label).filter(plain_text(batch[identifier]).is_not_null())
        keys.append(_keys(known[identifier]))
        labels.append(read_labels(known[label], positive))
    hashed, truth = np.concatenate(keys), np.concatenate(labels)
    hashed, truth = hashed[truth != UNKNOWN], truth[truth != UNKNOWN]
    order = np.argsort(hashed, kind="stable")
    hashed, truth = hashed[order], truth[order]
    same = hashed[1:] == hashed[:-1]
    if (same & (truth[1:] != truth[:-1])).any():
        raise InvalidInput(
            f'{table.filename} gives two outcomes for one "{identifier}". Keep one row of each.'
        )
    first = np.append(True, ~same) if len(hashed) else np.zeros(0, dtype=np.bool_)
    return Outcomes(label, positive, identifier, hashed[first], truth[first])


def label_column(columns: tuple[str, ...], identifier: str, target: str) -> str:
    """The column of outcomes in a table of identifiers and outcomes: named like the target, or the only other one.

    `target` is empty for a model that predicts no column, such as an ensemble.

    Raises InvalidInput where neither is there.
    """
    if target and target in columns:
        return target
    others = [column for column in columns if column != identifier]
    if len(others) == 1:
        return others[0]
    if not target:
        raise InvalidInput(
            f"The model predicts no column: name that of the outcomes (label). Theirs: {', '.join(columns[:30])}."
        )
    raise InvalidInput(
        f'The outcomes need the columns "{identifier}" and "{target}". Theirs: {", ".join(columns[:30])}.'
    )


def _expect_meaning(table: Table, label: str, values: pl.Series) -> None:
    """InvalidInput where not one of these values says fraud or legitimate of itself."""
    text = plain_text(values).drop_nulls()
    if len(text) and (read_labels(text, None) == UNKNOWN).all():
        shown = ", ".join(f'"{value}"' for value in text.unique(maintain_order=True)[:6])
        raise InvalidInput(
            f'"{label}" of {table.filename} holds {shown}: none says fraud or legitimate. '
            "Write 1 or fraud, 0 or legitimate."
        )


def _keys(values: pl.Series) -> NDArray[np.uint64]:
    return plain_text(values).hash(seed=_SEED).to_numpy()


def _require(table: Table, column: str) -> None:
    if column not in table.columns:
        known = ", ".join(table.columns[:30])
        raise InvalidInput(f'{table.filename} has no column "{column}". Its columns: {known}.')
