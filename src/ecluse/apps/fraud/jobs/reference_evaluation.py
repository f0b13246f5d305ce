"""Measure how well each reference scores the tables of the others: one job for each, in parts on all workers.

A table of the library is matched as if it were unlabelled and its own reference were not there; the references
that it matches score its sample, whose labels then tell how much the scores are worth. What a reference achieved
on the others is kept in its row, and decides how much it counts in an ensemble.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ecluse.apps.fraud import links
from ecluse.apps.fraud.jobs.references import Started
from ecluse.apps.fraud.references import library
from ecluse.apps.fraud.rows import references
from ecluse.apps.fraud.rows.tables import ReferenceModel
from ecluse.catalog.tables import User, new_id, now
from ecluse.errors import InvalidInput, JobCancelled, NotFound
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
#: Tables that are scored in one part of a job: a part costs some hundredths of a second of its own.
TABLES_AT_ONCE: Final = 8


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
    """Score the tables of the others in parts, on all workers, and keep what it came to in the row."""
    begun = task.step("begin", _begin, runtime, name)
    tables = begun["tables"]
    items = [
        {"name": name, "digest": begun["digest"], "tables": tables[start : start + TABLES_AT_ONCE]}
        for start in range(0, len(tables), TABLES_AT_ONCE)
    ]
    measured = task.map("tables", items, score_tables)
    task.step("keep", _keep, runtime, name, begun["digest"], [each for part in measured for each in part])


def _begin(runtime: Runtime, name: str) -> dict[str, Any]:
    """Return which version is measured, by its digest, and on whose tables: what is decided once."""
    row = library.find(runtime, name)
    others = [
        reference.name
        for reference in library.find_all(runtime)
        if reference.sketches and library.is_readable(reference) and reference.name != name
    ]
    return {"digest": row.manifest_digest, "tables": others}


def score_tables(runtime: Runtime, task: Task, item: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Score those of some tables that match the reference; what `Transfer` says of each, in order.

    Nothing is said of a table that is gone by now, nor where the reference was replaced.
    """
    row = library.find(runtime, item["name"])
    transfers: list[Transfer] = []
    if row.manifest_digest != item["digest"]:
        return []
    with runtime.scratch() as folder:
        library.checkout(runtime, row, folder / "model")
        for done, name in enumerate(item["tables"]):
            task.report("score", done / len(item["tables"]), name)
            other = _find_there(runtime, name)
            match = None if other is None else _match(runtime, other, row.name)
            if other is not None and match and (measured := _measure(runtime, row, other, match, folder)):
                transfers.append(measured)
    return [asdict(transfer) for transfer in transfers]


def _find_there(runtime: Runtime, name: str) -> ReferenceModel | None:
    try:
        return library.find(runtime, name)
    except NotFound:  # it was removed while others were measured
        return None


def _keep(runtime: Runtime, name: str, digest: str | None, measured: Sequence[Mapping[str, Any]]) -> None:
    """Keep what a reference achieved. Raises JobCancelled where it is another one by now."""
    row = _find_there(runtime, name)
    transfers = [Transfer(**each) for each in measured]
    with runtime.catalog.write() as transaction:
        is_same = row is not None and row.manifest_digest == digest
        if row is None or not is_same or not references.set_transfer(transaction, row, _summary(transfers)):
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
        stages={"score": N_("Score")},
        parts={"tables": score_tables},
        result=links.reference,
    ),
}
