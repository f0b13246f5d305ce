"""Match a table with the library, correct the mapping of its columns, and ask for an ensemble.

Quick checks, a row and a queued job; nothing heavy is imported before a table is matched. The job is in `jobs`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from ecluse.apps.fraud.actions.main import add_table, find_dataset, find_same_table
from ecluse.apps.fraud.references import library
from ecluse.apps.fraud.rows import datasets, mappings, training
from ecluse.apps.fraud.rows import references as references_rows
from ecluse.apps.fraud.rows.tables import Dataset
from ecluse.apps.fraud.rows.training import TrainingRun
from ecluse.catalog import audit
from ecluse.catalog.tables import new_id
from ecluse.errors import InvalidInput
from ecluse.jobs import title_of
from ecluse.registry import checked_name
from ecluse.runtime import Runtime
from ecluse.sentences import _, num
from ecluse.storage import read_chunks

if TYPE_CHECKING:
    from ecluse.apps.fraud.references.facts import MatchResult

#: By reference, {ours: theirs, or None for "no column"}: a column of the reference and the table's that stands for it.
Corrections = Mapping[str, Mapping[str, str | None]]

KIND: Final = "ensemble"
FRAUD_RATE: Final = 0.01
RATES: Final = (0.0001, 0.5)
MOST: Final = 3
#: References that may be named for one table.
MOST_NAMED: Final = 20


def match_dataset(
    runtime: Runtime, dataset: Dataset, *, references: Sequence[str] | None = None
) -> MatchResult:
    """Find the references that a stored table means the same as, its corrected mappings counted; best first.

    `references` compares only those of these names; with none of them nothing is matched.

    Raises:
        InvalidInput: the table is not read yet, or could not be, or too many references are named.
        NotFound: there is no reference of a name.
    """
    named = _checked_names(runtime, references)
    with runtime.catalog.read() as transaction:
        corrections = mappings.mappings_of(transaction, dataset.id)
    return _matched(runtime, dataset, corrections, named)


def keep_corrections(
    runtime: Runtime, user_id: str, dataset_id: str, reference: str, columns: Mapping[str, str | None]
) -> MatchResult:
    """Keep a person's corrections of the mapping to one reference, and match again. No corrections forget them.

    Those to a reference that was removed since can be forgotten, too.

    Raises:
        NotFound: the user has no such table, or there is no such reference.
        InvalidInput: a column is not the reference's, or not the table's.
    """
    dataset = find_dataset(runtime, user_id, dataset_id)
    with runtime.catalog.read() as transaction:
        kept = mappings.mappings_of(transaction, dataset.id)
    if columns or reference not in kept:
        _check_corrections(runtime, dataset, {reference: columns})
    with runtime.catalog.write() as transaction:
        mappings.keep_mapping(transaction, dataset.id, reference, columns)
        audit.record(transaction, user_id, "dataset.map", dataset.filename, reference=reference)
    return match_dataset(runtime, dataset)


def start_ensemble(
    runtime: Runtime,
    user_id: str,
    dataset_id: str,
    model_name: str,
    *,
    fraud_rate: float = FRAUD_RATE,
    references: Sequence[str] | None = None,
    corrections: Corrections | None = None,
) -> TrainingRun:
    """Queue the making of an ensemble for a table without labels. `corrections` are kept for the table.

    Raises:
        InvalidInput: the rate is out of range, the table could not be read, too many references are named, or a
            correction names no column.
        NotFound: the user has no such table, or there is no such reference.
    """
    low, high = RATES
    if not low <= fraud_rate <= high:
        raise InvalidInput(
            _(
                "A fraud rate of %(number)s is out of range; use %(count)s to %(total)s, such as 0.01.",
                number=num(fraud_rate, "g"),
                count=num(low, "g"),
                total=num(high, "g"),
            )
        )
    dataset = find_dataset(runtime, user_id, dataset_id)
    if dataset.state == "failed":
        raise InvalidInput(
            _("%(file)s could not be read: %(error)s", file=dataset.filename, error=dataset.error)
        )
    named = _checked_names(runtime, references)
    _check_corrections(runtime, dataset, corrections or {})
    plan: dict[str, Any] = {
        "kind": KIND,
        "reference_names": named,
        "fraud_rate": fraud_rate,
        "seed": 0,
        "target": "",
    }
    job_id = new_id()
    checked_name(model_name)
    with runtime.catalog.write() as transaction:
        for reference, columns in (corrections or {}).items():
            mappings.keep_mapping(transaction, dataset.id, reference, columns)
        run = training.add_run(
            transaction,
            training.NewTraining(
                user_id=user_id,
                job_id=job_id,
                dataset_id=dataset.id,
                model_name=model_name,
                target_column="",
                plan=plan,
            ),
        )
        datasets.touch_dataset(transaction, dataset.id)
        audit.record(transaction, user_id, "model.ensemble", model_name, dataset=dataset.filename)
        title, subject = title_of(model_name, dataset.filename), {"run_id": run.id}
        runtime.jobs.enqueue(KIND, "train", user_id, title, subject, job_id=job_id, transaction=transaction)
    return run


def add_unlabelled_sample(runtime: Runtime, user_id: str) -> Dataset:
    """Put a simulated table without labels among the user's, unless it is there already; of an institution that is
    in no library, of a domain that the library knows."""
    from ecluse.apps.fraud.references import institutions

    with runtime.catalog.read() as transaction:
        built = references_rows.domains(transaction)
    outsiders = institutions.outsiders()
    institution = next(
        (institution for institution in outsiders if institution.domain in built), outsiders[0]
    )
    with runtime.scratch() as folder:
        table = institutions.write_unlabelled(institution, folder).table
        known = find_same_table(runtime, user_id, table.name, hashlib.sha256(table.read_bytes()).hexdigest())
        return known or add_table(runtime, user_id, table.name, read_chunks(table))


def settled_by_theirs(corrections: Corrections) -> dict[str, dict[str, str | None]]:
    """Corrections turned round for the matcher: {theirs: ours}, of those that name a column."""
    return {
        reference: {theirs: ours for ours, theirs in columns.items() if theirs is not None}
        for reference, columns in corrections.items()
    }


def refused_of(corrections: Corrections) -> dict[str, frozenset[str]]:
    """By reference, its columns that nothing stands for, as a person said."""
    return {
        reference: frozenset(ours for ours, theirs in columns.items() if theirs is None)
        for reference, columns in corrections.items()
    }


def _matched(
    runtime: Runtime, dataset: Dataset, corrections: Corrections, references: Sequence[str] | None
) -> MatchResult:
    from ecluse.apps.fraud.references.facts import MatchResult

    if references is not None and not references:
        return MatchResult(True, _("No reference was chosen to judge this table."), ())
    result = library.match_dataset(
        runtime,
        dataset,
        corrections=settled_by_theirs(corrections),
        refused=refused_of(corrections),
        only=references,
        limit=MOST,
    )
    if references is None or not result.abstain:
        return result
    reason = _("None of %(values)s means the same as this table.", values=", ".join(references))
    return MatchResult(True, reason, result.matches, result.below)


def _checked_names(runtime: Runtime, references: Sequence[str] | None) -> list[str] | None:
    """Return the names of references, each once; NotFound for one that there is not, InvalidInput for too many."""
    if references is None:
        return None
    names = list(dict.fromkeys(references))
    if len(names) > MOST_NAMED:
        raise InvalidInput(
            _(
                "%(count)s references are more than %(most)s, which may be named for a table. Name fewer.",
                count=len(names),
                most=MOST_NAMED,
            )
        )
    with runtime.catalog.read() as transaction:
        known = {row.name for row in references_rows.references_named(transaction, names)}
        for name in names:
            if name not in known:
                references_rows.reference_of(transaction, name)
    return names


def _check_corrections(runtime: Runtime, dataset: Dataset, corrections: Corrections) -> None:
    for reference, columns in corrections.items():
        row = library.find(runtime, reference)
        ours = {str(column["name"]) for column in row.sketches}
        theirs = {str(column["name"]) for column in (dataset.profile or {"columns": []})["columns"]}
        for our, their in columns.items():
            if our not in ours:
                raise InvalidInput(
                    _(
                        "%(file)s has no column %(column)s. It has: %(columns)s.",
                        file=reference,
                        column=f'"{our}"',
                        columns=", ".join(sorted(ours)[:30]),
                    )
                )
            if their is not None and dataset.profile is not None and their not in theirs:
                raise InvalidInput(
                    _(
                        "%(file)s has no column %(column)s. It has: %(columns)s.",
                        file=dataset.filename,
                        column=f'"{their}"',
                        columns=", ".join(sorted(theirs)[:30]),
                    )
                )
        named = [their for their in columns.values() if their is not None]
        twice = next((name for name in named if named.count(name) > 1), None)
        if twice is not None:
            raise InvalidInput(
                _(
                    '"%(value)s" cannot stand for two columns of %(name)s. Correct the mapping.',
                    value=twice,
                    name=reference,
                )
            )
