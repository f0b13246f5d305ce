"""Measure how well each reference scores the tables of the others: one durable job for each reference.

A table of the library is matched as if it were unlabelled and its own reference were not there; the references
that it matches score its sample, whose labels then tell how much the scores are worth. What a reference achieved
on the others is kept in its row, and decides how much it counts in an ensemble.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ecluse.apps.fraud import links
from ecluse.apps.fraud.jobs.references import Started
from ecluse.apps.fraud.references import library
from ecluse.apps.fraud.rows import references
from ecluse.apps.fraud.rows.tables import ReferenceModel
from ecluse.catalog.tables import User, new_id, now
from ecluse.errors import InvalidInput, JobCancelled
from ecluse.jobs import JobKind, Task
from ecluse.runtime import Runtime
from ecluse.sentences import N_, _

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from ecluse.apps.fraud.references.facts import Match

KIND: Final = "evaluate_reference"
#: A table is scored by the best so many that it matches, as an ensemble would be.
MATCHES: Final = 3


@dataclass(frozen=True)
class Transfer:
    """How well one reference scored the sample of another's table. `similarity` is that of their match."""

    table: str
    similarity: float
    roc_auc: float
    average_precision: float
    fraud_rate: float


def start_evaluation(runtime: Runtime, user: User, names: Sequence[str] = ()) -> list[Started]:
    """Queue the measurement of some references, or of all that can be matched; one job each.

    Raises:
        Forbidden: the user is no administrator.
        NotFound: there is no reference of such a name.
        InvalidInput: one of those named has no sketches, or there is none to measure.
    """
    library.expect_administrator(user)
    rows = [library.find(runtime, name) for name in names] or library.find_all(runtime)
    chosen = [row for row in rows if row.sketches and library.is_readable(row)]
    if not chosen or (names and len(chosen) < len(rows)):
        raise InvalidInput(
            _(
                "There is no reference to measure: only one built from a table can be. Build some: "
                "ecluse fraud references demo"
            )
        )
    running = {
        job.title: job.id for job in runtime.jobs.list(user.id, limit=1000, active=True) if job.kind == KIND
    }
    return [
        Started(row.name, running.get(row.name) or _enqueue(runtime, user.id, row.name)) for row in chosen
    ]


def _enqueue(runtime: Runtime, user_id: str, name: str) -> str:
    return runtime.jobs.enqueue(KIND, "predict", user_id, name, {"name": name}, job_id=new_id())


def run_evaluation(runtime: Runtime, task: Task, name: str) -> None:
    task.step("evaluate", _evaluate, runtime, task, name)


def _evaluate(runtime: Runtime, task: Task, name: str) -> None:
    row = library.find(runtime, name)
    transfers: list[Transfer] = []
    with runtime.scratch() as folder:
        task.report("read", 0.0)
        library.checkout(runtime, row, folder / "model")
        others = [
            reference
            for reference in library.find_all(runtime)
            if reference.sketches and library.is_readable(reference)
        ]
        others = [reference for reference in others if reference.name != name]
        for done, other in enumerate(others):
            task.report("score", done / len(others), other.name)
            match = _match(runtime, other, name)
            if match is not None and (measured := _measure(runtime, row, other, match, folder)):
                transfers.append(measured)
    with runtime.catalog.write() as transaction:
        if not references.set_transfer(transaction, row, _summary(transfers)):
            raise JobCancelled(_("%(name)s was replaced or removed while it was measured.", name=name))


def _match(runtime: Runtime, table: ReferenceModel, name: str) -> Match | None:
    """Find how the table of one reference matches another, were its own not in the library; None where it does not."""
    from ecluse.apps.fraud.references.matching import match_table

    index = library.reference_index(runtime)
    result = match_table(library.facts(table).columns, index, limit=MATCHES + 1)
    if result.abstain:
        return None
    others = [match for match in result.matches if match.reference != table.name][:MATCHES]
    return next((match for match in others if match.reference == name), None)


def _measure(
    runtime: Runtime, row: ReferenceModel, table: ReferenceModel, match: Match, folder: Path
) -> Transfer | None:
    """None where the table's reference was kept without a sample."""
    import polars as pl

    from ecluse.apps.fraud.measures import average_precision, roc_auc

    manifest = library.manifest_of(runtime, table)
    if all(file.path != library.SAMPLE_FILE for file in manifest.files):
        return None
    path = folder / f"{table.name}.parquet"
    runtime.registry_at(table.url).fetch_file(manifest, library.SAMPLE_FILE, path, link=True)
    sample = pl.read_parquet(path)
    labels = sample[library.SAMPLE_LABEL].to_numpy()
    scores = _scores(row, match, folder / "model", sample.drop(library.SAMPLE_LABEL))
    return Transfer(
        table.name,
        round(match.similarity, 4),
        round(roc_auc(labels, scores), 4),
        round(average_precision(labels, scores), 4),
        round(float(labels.mean()), 4),
    )


def _scores(row: ReferenceModel, match: Match, model_folder: Path, rows: pl.DataFrame) -> NDArray[np.float64]:
    """(rows,) what the reference says of the rows of another table, read as an ensemble would read them."""
    from ecluse.apps.fraud.ensembles.transfer import fit_transfer, load_reference, margins
    from ecluse.apps.fraud.tables.columns import infer_columns

    model, known = load_reference(model_folder), library.facts(row)
    mapping: dict[str, str | None] = {pair.ours: pair.theirs for pair in match.columns}
    transfer = fit_transfer(rows, infer_columns(rows), mapping, model, known.columns)
    return margins(model, transfer.read(rows))


def _summary(transfers: Sequence[Transfer]) -> dict[str, Any]:
    """Return what a row keeps: each table with its figures, and their means; None where no other table matches."""

    def mean(values: Sequence[float]) -> float | None:
        return round(math.fsum(values) / len(values), 4) if values else None

    return {
        "tables": {
            transfer.table: {
                "similarity": transfer.similarity,
                "roc_auc": transfer.roc_auc,
                "average_precision": transfer.average_precision,
                "fraud_rate": transfer.fraud_rate,
            }
            for transfer in transfers
        },
        "count": len(transfers),
        "roc_auc": mean([transfer.roc_auc for transfer in transfers]),
        "average_precision": mean([transfer.average_precision for transfer in transfers]),
        "fraud_rate": mean([transfer.fraud_rate for transfer in transfers]),
        "measured_at": now().isoformat(timespec="seconds"),
    }


KINDS: Final[dict[str, JobKind]] = {
    KIND: JobKind(
        run=run_evaluation,
        queue="predict",
        verb=N_("Measure"),
        stages={"read": N_("Read"), "score": N_("Score")},
        result=links.reference,
    ),
}
