"""Tell which rows of a table a version has learned from: its figures on them would promise too much."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ecluse.apps.fraud.jobs.tables import open_stored, table_of
from ecluse.apps.fraud.performance.reports import read_report, read_trained_report
from ecluse.apps.fraud.performance.trained import TrainedReport
from ecluse.apps.fraud.rows import labels
from ecluse.apps.fraud.rows.tables import Dataset
from ecluse.apps.fraud.training.plan import plan_of
from ecluse.catalog import models as model_rows
from ecluse.catalog.tables import ModelVersion
from ecluse.errors import NotFound
from ecluse.runtime import Runtime

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ecluse.tabular.dataset import Table

    Mask = NDArray[np.bool_]

#: Made without labels: it has learned from no row's outcome, unless from labels given later.


@dataclass(frozen=True)
class Seen:
    """`rows` (rows,) are true where the version learned from them; `gone`: from a table that is not there any more."""

    rows: Mask
    gone: bool

    @property
    def count(self) -> int:
        return int(self.rows.sum())


def rows_learned(
    runtime: Runtime, version: ModelVersion, dataset: Dataset, table: Table, folder: Path
) -> Seen:
    """Return the rows of an open table that a version, or one that it came of, has learned from.

    They are found by what they hold, in another copy or a part of the table too; where the columns do not tell
    rows apart, in a table of the same content alone. Files are put into `folder`, which is made.
    """
    import numpy as np

    folder.mkdir()
    rows = np.zeros(table.row_count(), dtype=np.bool_)
    gone = False
    lineage = _lineage(runtime, version)
    first = lineage[-1]
    if isinstance(read_report(first.report), TrainedReport):
        trained_on = _table_of(runtime, first.user_id, first.dataset_id)
        gone = _is_hidden(first)
        if trained_on is None:
            gone = True
        else:
            rows |= _alike(runtime, dataset, table, trained_on, folder / "trained", _Trained(first))
    for ancestor in lineage:
        learned = read_report(ancestor.report).learned
        if learned is None or learned.dataset is None:
            continue
        asked_of = _table_of(runtime, ancestor.user_id, learned.dataset)
        if asked_of is None:
            gone = True
            continue
        with runtime.catalog.read() as transaction:
            given = labels.labels_of(transaction, ancestor.user_id, learned.dataset)
        place = folder / f"labelled-{ancestor.version}"
        rows |= _alike(runtime, dataset, table, asked_of, place, _Labelled(first, tuple(given)))
    return Seen(rows, gone)


@dataclass(frozen=True)
class _Trained:
    """The rows of its table that a version was trained on."""

    version: ModelVersion

    @property
    def but(self) -> tuple[str, ...]:
        # What became of a row may be known better by now: it is the same row all the same.
        report, plan = read_trained_report(self.version.report), plan_of(self.version.details)
        target = report.target or (plan.target if plan else None)
        return (target,) if target else ()

    def among(self, table: Table) -> Mask:
        """(rows,) all but those that were kept back to measure on, unless it was fitted on them afterwards."""
        import numpy as np

        from ecluse.apps.fraud.monitoring.holding import hold_out, tested_rows

        report, plan = read_trained_report(self.version.report), plan_of(self.version.details)
        if report.learned or plan is None or (report.refitted and not report.held_out):
            return np.ones(table.row_count(), dtype=np.bool_)
        # What meant fraud to the version, in plans that left it to be found out.
        plan = replace(plan, positive_value=plan.positive_value or report.positive_value)
        return ~(hold_out if report.held_out else tested_rows)(table, plan)


@dataclass(frozen=True)
class _Labelled:
    """The rows of a table that were labelled for a version to learn from."""

    version: ModelVersion
    given: tuple[int, ...]

    @property
    def but(self) -> tuple[str, ...]:
        return _Trained(self.version).but

    def among(self, table: Table) -> Mask:
        import numpy as np

        rows = np.zeros(table.row_count(), dtype=np.bool_)
        rows[np.array(self.given, dtype=np.int64) - 1] = True
        return rows


def _alike(
    runtime: Runtime,
    dataset: Dataset,
    table: Table,
    older: Dataset,
    folder: Path,
    learned: _Trained | _Labelled,
) -> Mask:
    import numpy as np

    from ecluse.apps.fraud.profiling.alike import rows_of

    if older.sha256 == dataset.sha256:
        return learned.among(table)
    folder.mkdir()
    with open_stored(runtime, older, folder) as there:
        alike = rows_of(table, there, learned.among(there), but=learned.but)
    return np.zeros(table.row_count(), dtype=np.bool_) if alike is None else alike


def _lineage(runtime: Runtime, version: ModelVersion) -> list[ModelVersion]:
    """Return a version that learned from labels, and those that it came of as far as they are still there."""
    lineage = [version]
    with runtime.catalog.read() as transaction:
        while (learned := read_report(lineage[-1].report).learned) and learned.source:
            before = model_rows.find_version(transaction, version.user_id, version.name, learned.source)
            if before is None or before.version in {later.version for later in lineage}:
                break
            lineage.append(before)
    return lineage


def _is_hidden(version: ModelVersion) -> bool:
    """Tell whether a version names only the table whose labels it learned from, and what it came of was removed."""
    learned = read_report(version.report).learned
    return learned is not None and learned.dataset is not None and learned.dataset == version.dataset_id


def _table_of(runtime: Runtime, user_id: str, dataset_id: str | None) -> Dataset | None:
    try:
        return table_of(runtime, user_id, dataset_id)
    except NotFound:
        return None  # the table was removed; the result says that rows of it may be among these
