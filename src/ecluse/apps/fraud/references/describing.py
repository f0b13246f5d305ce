"""Say what a reference's table was like: sketches of its columns, what its model looks at, a sample of its rows."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.fraud.performance.parts import Importance
from ecluse.apps.fraud.references.library import SAMPLE_FILE, SAMPLE_LABEL
from ecluse.apps.fraud.tables.columns import ColumnSpec, parse_columns
from ecluse.apps.fraud.tables.labels import UNKNOWN, read_labels
from ecluse.apps.fraud.tables.sketches import sketch_columns
from ecluse.errors import InvalidInput
from ecluse.sentences import _
from ecluse.tabular.dataset import Table

#: Rows from which columns are sketched and the sample is drawn, spread evenly over the table.
LOOKED_AT: Final = 20_000
SAMPLE_ROWS: Final = 2_000
#: A sample holds so many frauds where the table has them, else a transfer could not be measured on it.
LEAST_FRAUDS: Final = 100
#: A table is recognised by its most important columns; the sketches of the others are left out.
MOST_SKETCHES: Final = 500
_PERSONAL: Final = frozenset({"identifier", "text"})

Labels = NDArray[np.int8]


@dataclass(frozen=True)
class TableDescription:
    """`sketches`: plain objects with `importance`, the most important first. `fraud_rate` is that of the rows
    looked at, of which `sample` gives some with their label."""

    rows: int
    fraud_rate: float
    sketches: list[dict[str, Any]]
    sample: pl.DataFrame


def describe(
    table: Table,
    specs: Sequence[ColumnSpec],
    target: str,
    positive_value: str,
    importances: Sequence[Importance],
    *,
    personal: Sequence[str] = (),
    seed: int = 0,
) -> TableDescription:
    """Describe the columns that a model needs, `specs`; `importances` are those of its report.

    Raises InvalidInput where a column bears the name that the label has in a sample.
    """
    if any(spec.name == SAMPLE_LABEL for spec in specs):
        raise InvalidInput(
            _("A column is called %(name)s, which is the sample's own. Rename it.", name=repr(SAMPLE_LABEL))
        )
    looked_at = table.sample(LOOKED_AT)
    labels = read_labels(looked_at[target], positive_value)
    looked_at, known = looked_at.filter(labels != UNKNOWN), labels[labels != UNKNOWN]
    raw = looked_at.select([spec.name for spec in specs])
    weights = column_importances(importances, [spec.name for spec in specs])
    sketches = sketch_columns(parse_columns(raw, specs), specs)
    ranked = sorted(sketches, key=lambda sketch: -weights[sketch.name])[:MOST_SKETCHES]
    return TableDescription(
        rows=table.row_count(),
        fraud_rate=float(known.mean()),
        sketches=[sketch.to_dict() | {"importance": round(weights[sketch.name], 6)} for sketch in ranked],
        sample=_sample(
            raw, known, [s.name for s in specs if s.kind in _PERSONAL or s.name in personal], seed
        ),
    )


def column_importances(importances: Sequence[Importance], columns: Sequence[str]) -> dict[str, float]:
    """Return the share of each raw column in a model's decisions, from the shares of its features; 1 in all."""
    totals = dict.fromkeys(columns, 0.0)
    for item in importances:
        if item.column in totals:
            totals[item.column] += item.share
    whole = sum(totals.values())
    return {name: total / whole for name, total in totals.items()} if whole > 0 else totals


def write_sample(description: TableDescription, folder: Path) -> Path:
    """Write the sample as Parquet into the folder of the version."""
    path = folder / SAMPLE_FILE
    description.sample.write_parquet(path)
    return path


def _sample(raw: pl.DataFrame, labels: Labels, personal: Sequence[str], seed: int) -> pl.DataFrame:
    """At most 2,000 rows in their order; with the table's share of frauds, or more to have a hundred of them.

    What names a person, an account or a device is replaced: the same value by the same word, which cannot be
    traced back.
    """
    rng = np.random.default_rng(seed)
    kept = _kept_rows(rng, labels)
    sample = raw[kept]
    key = secrets.token_bytes(16)
    veiled = [_veiled(sample[name], key) for name in personal]
    return sample.with_columns(veiled).with_columns(pl.Series(SAMPLE_LABEL, labels[kept], dtype=pl.Int8))


def _kept_rows(rng: np.random.Generator, labels: Labels) -> NDArray[np.int64]:
    frauds, honest = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    if len(labels) <= SAMPLE_ROWS:
        return np.arange(len(labels))
    size = min(
        len(frauds), SAMPLE_ROWS // 2, max(LEAST_FRAUDS, round(SAMPLE_ROWS * len(frauds) / len(labels)))
    )
    rest = min(len(honest), SAMPLE_ROWS - size)
    return np.sort(
        np.concatenate([rng.choice(frauds, size, replace=False), rng.choice(honest, rest, replace=False)])
    )


def _veiled(values: pl.Series, key: bytes) -> pl.Series:
    text = values.cast(pl.String)
    words = {
        value: blake2b(value.encode(), key=key, digest_size=8).hexdigest()
        for value in text.drop_nulls().unique().to_list()
    }
    return text.replace_strict(list(words), list(words.values()), default=None, return_dtype=pl.String)
