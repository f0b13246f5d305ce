"""Keep the rows of a table on which an old and a new version are compared, and write either part as a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.fraud.clock import Clock
from ecluse.apps.fraud.scoring.results import write_parquet
from ecluse.apps.fraud.tables.columns import ColumnSpec
from ecluse.apps.fraud.training.labelled import read_labelled, split_labelled
from ecluse.apps.fraud.training.plan import TrainingPlan
from ecluse.errors import InvalidInput
from ecluse.sentences import _
from ecluse.tabular.dataset import Table

Mask = NDArray[np.bool_]


def hold_out(table: Table, plan: TrainingPlan) -> Mask:
    """(rows,) true for the rows to compare on: the test part of a training by this plan on the whole table.

    Of a table that a version was trained on by the same plan they are the rows it was tested on, so that it has
    not learned from them either. Raises as a training does.
    """
    held = tested_rows(table, plan if plan.test_share else replace(plan, test_share=TrainingPlan.test_share))
    if not held.any():
        raise InvalidInput(
            _(
                "%(file)s holds too few frauds to keep some for a comparison. Label more rows.",
                file=table.filename,
            )
        )
    return held


def tested_rows(table: Table, plan: TrainingPlan) -> Mask:
    """(rows,) true for the rows that a training by this plan keeps back to measure on; none of few frauds."""
    rows = read_labelled(table, plan, Clock(plan.budget_s, lambda *said: None))
    split, _rest = split_labelled(rows, plan)
    del rows
    target = ColumnSpec(plan.target, "category")
    labelled = np.concatenate(
        [target.read(batch[target.name]).is_not_null().to_numpy() for batch in table.batches()]
    )
    held = np.zeros(len(labelled), dtype=np.bool_)
    held[np.flatnonzero(labelled)[split.test]] = True
    return held


def write_rows(table: Table, chosen: Mask, path: Path) -> None:
    """Write the chosen rows as a Parquet file, values as they were."""
    write_parquet(_chosen(table, chosen), path)


def _chosen(table: Table, chosen: Mask) -> Iterator[pl.DataFrame]:
    done = 0
    for batch in table.batches():
        part = batch.filter(pl.Series(chosen[done : done + batch.height]))
        done += batch.height
        if part.height:
            yield part
