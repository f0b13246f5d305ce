"""Read what became of rows: from a column of their own table, or from a table of identifiers and outcomes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.fraud.tables.labels import UNKNOWN, LabelReading, plain_text, reading_of_outcomes
from ecluse.apps.fraud.tables.meaning import fraud_means
from ecluse.errors import InvalidInput
from ecluse.sentences import _
from ecluse.tabular.dataset import Table

Labels = NDArray[np.int8]
_SEED = 17
#: Values of a label that are looked at to say what they mean; a label has few.
_VALUES = 1_000


@dataclass(frozen=True)
class Outcomes:
    """Outcomes by column: `label` of the table itself, or joined by `identifier` from a table read before.

    `reading` says which values of the label mean fraud; `fraud` are those of them that it holds.
    """

    label: str
    reading: LabelReading
    fraud: tuple[str, ...] = ()
    identifier: str | None = None
    keys: NDArray[np.uint64] | None = None
    labels: Labels | None = None

    def says(self) -> str:
        """Return which value of the label counted as fraud."""
        if not self.fraud:
            return _("No value of %(column)s means fraud here.", column=self.label)
        return fraud_means(self.label, " or ".join(self.fraud), None)

    def of(self, raw: pl.DataFrame) -> Labels:
        """(rows,) int8: fraud 1, legitimate 0, unknown -1."""
        if self.identifier is None or self.keys is None or self.labels is None:
            return self.reading.read(raw[self.label])
        labels = np.full(raw.height, UNKNOWN, dtype=np.int8)
        if len(self.keys):
            keys = _keys(raw[self.identifier])
            at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
            hit = (self.keys[at] == keys) & plain_text(raw[self.identifier]).is_not_null().to_numpy()
            labels[hit] = self.labels[at[hit]]
        return labels


def outcomes_within(
    table: Table, label: str, positive: str | None, *, target: str | None = None, named: str | None = None
) -> Outcomes:
    """Outcomes that stand in the table itself.

    `positive` of the column `target` is what the model has learned as fraud, None of a model without a label;
    `named` is the value of `label` that a person said means fraud.

    Raises InvalidInput where the table has no such column, or nothing says which of its values means fraud.
    """
    _require(table, label)
    return Outcomes(label, *_reading(table, label, positive, target, named))


def read_outcomes(
    table: Table,
    identifier: str,
    label: str,
    positive: str | None,
    *,
    target: str | None = None,
    named: str | None = None,
) -> Outcomes:
    """Outcomes of a table of their own, to be joined by `identifier`; nine bytes a row are kept.

    `positive`, `target` and `named` as of `outcomes_within`.

    Raises InvalidInput where a column is absent, an identifier has two outcomes, or nothing says which value means
    fraud.
    """
    for column in (identifier, label):
        _require(table, column)
    reading, fraud = _reading(table, label, positive, target, named)
    keys, labels = [], []
    for batch in table.batches():
        known = batch.select(identifier, label).filter(plain_text(batch[identifier]).is_not_null())
        keys.append(_keys(known[identifier]))
        labels.append(reading.read(known[label]))
    hashed, truth = np.concatenate(keys), np.concatenate(labels)
    hashed, truth = hashed[truth != UNKNOWN], truth[truth != UNKNOWN]
    order = np.argsort(hashed, kind="stable")
    hashed, truth = hashed[order], truth[order]
    same = hashed[1:] == hashed[:-1]
    if (same & (truth[1:] != truth[:-1])).any():
        raise InvalidInput(
            _(
                '%(file)s gives two outcomes for one "%(column)s". Keep one row of each.',
                file=table.filename,
                column=identifier,
            )
        )
    first = np.append(True, ~same) if len(hashed) else np.zeros(0, dtype=np.bool_)
    return Outcomes(label, reading, fraud, identifier, hashed[first], truth[first])


def label_column(columns: tuple[str, ...], identifier: str, target: str) -> str:
    """Return the column of outcomes in a table of identifiers and outcomes: named like the target, or the only other
    one.

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
            _(
                "The model predicts no column: name that of the outcomes (label). Theirs: %(columns)s.",
                columns=", ".join(columns[:30]),
            )
        )
    raise InvalidInput(
        _(
            'The outcomes need the columns "%(column)s" and "%(value)s". Theirs: %(columns)s.',
            column=identifier,
            value=target,
            columns=", ".join(columns[:30]),
        )
    )


def _reading(
    table: Table, label: str, positive: str | None, target: str | None, named: str | None
) -> tuple[LabelReading, tuple[str, ...]]:
    """Return how the column reads, by its different values in the whole table, and those that mean fraud."""
    values = table.scan().select(pl.col(label).unique()).head(_VALUES).collect(engine="streaming")[label]
    levels = sorted(plain_text(values).drop_nulls().unique().to_list())
    if not levels:
        return LabelReading(frozenset()), ()
    try:
        reading = reading_of_outcomes(levels, label, positive, target=target, named=named)
    except InvalidInput as error:
        raise InvalidInput(f"{table.filename}: {error}") from None
    meant = reading.read(pl.Series(levels)) == 1
    return reading, tuple(level for level, fraud in zip(levels, meant, strict=True) if fraud)


def _keys(values: pl.Series) -> NDArray[np.uint64]:
    return plain_text(values).hash(seed=_SEED).to_numpy()


def _require(table: Table, column: str) -> None:
    if column not in table.columns:
        known = ", ".join(table.columns[:30])
        raise InvalidInput(
            _(
                '%(file)s has no column "%(column)s". Its columns: %(columns)s.',
                file=table.filename,
                column=column,
                columns=known,
            )
        )
