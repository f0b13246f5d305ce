"""Show the riskiest rows as their table has them, beside what is usual in each column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from ecluse.apps.fraud.evaluation.drift import Reference, TrainingSketch
from ecluse.tabular.dataset import Table

#: Columns that are kept of each of the riskiest rows, the most important first; characters of a value.
KEPT_COLUMNS: Final = 12
KEPT_LENGTH: Final = 60


@dataclass(frozen=True)
class Usual:
    """What was usual in a column of the rows learned from: the middle half of numbers, or the most common value."""

    low: float | None = None
    high: float | None = None
    value: str | None = None
    share: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, without what is not known."""
        return {name: value for name, value in self.__dict__.items() if value is not None}


def own_values(
    table: Table,
    places: Sequence[int],
    columns: Sequence[str],
    sketch: TrainingSketch | None,
    mapping: Mapping[str, str],
) -> dict[str, Any]:
    """Return the values of the rows at `places` (from 0), and what is usual, as plain JSON.

    `columns` are those of the model, the most important first; `mapping` {ours: theirs} those with another name here.
    """
    names = [name for name in columns if mapping.get(name, name) in table.columns][:KEPT_COLUMNS]
    if not names or not places:
        return {}
    raw = rows_at(table, places, {name: mapping.get(name, name) for name in names})
    by_place = {row[0]: [_shown(value) for value in row[1:]] for row in raw.iter_rows()}
    references = {reference.column: reference for reference in sketch.columns} if sketch else {}
    usual = {
        name: said.to_dict()
        for name in names
        if name in references and (said := usual_in(references[name])) is not None
    }
    return {"columns": names, "rows": [by_place[place] for place in places], "usual": usual}


def rows_at(table: Table, places: Sequence[int], names: Mapping[str, str]) -> pl.DataFrame:
    """Return the rows at some places (from 0), behind their place, with the columns {called so: named so there}."""
    scan = table.scan().select([pl.col(there).alias(name) for name, there in names.items()])
    chosen = scan.with_row_index("ecluse_place").filter(pl.col("ecluse_place").is_in(list(places)))
    return chosen.collect(engine="streaming")


def usual_in(reference: Reference) -> Usual | None:
    """Return what was usual in a column, from the counts that a model keeps of it; None where they do not tell."""
    counts = np.array(reference.counts[:-1])  # the last is of missing values
    if not counts.sum():
        return None
    if reference.kind == "number":
        reached = np.cumsum(counts) / counts.sum()
        low, high = (int(np.searchsorted(reached, share - 1e-9)) for share in (0.25, 0.75))
        if high >= len(reference.edges):
            return None
        return Usual(low=float(reference.edges[low]), high=float(reference.edges[high]))
    if reference.kind != "level" or not reference.levels:
        return None
    best = int(np.argmax(counts[: len(reference.levels)]))
    return Usual(value=reference.levels[best][:KEPT_LENGTH], share=float(counts[best] / counts.sum()))


def _shown(value: object) -> str:
    text = "" if value is None else str(value).strip()
    return text if len(text) <= KEPT_LENGTH else text[: KEPT_LENGTH - 1] + "…"
