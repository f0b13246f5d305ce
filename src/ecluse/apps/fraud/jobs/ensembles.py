"""Do the job of making an ensemble: match, fetch the references, build, and publish like a training."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from ecluse.apps.fraud import links
from ecluse.apps.fraud.actions.ensembles import KIND, match_dataset
from ecluse.apps.fraud.jobs import main as work
from ecluse.apps.fraud.jobs.tables import open_stored, table_of
from ecluse.apps.fraud.performance.reports import report_content
from ecluse.apps.fraud.references import library
from ecluse.apps.fraud.rows.tables import Dataset
from ecluse.jobs import JobKind, Task, patiently
from ecluse.runtime import Runtime
from ecluse.sentences import N_, _

if TYPE_CHECKING:
    from ecluse.apps.fraud.ensembles.building import EnsemblePlan


def run_ensemble(runtime: Runtime, task: Task, run_id: str) -> None:
    built = task.step("build", _build, runtime, task, run_id)
    task.step("publish", work.publish, runtime, task, run_id, built)


def _build(runtime: Runtime, task: Task, run_id: str) -> dict[str, Any]:
    """Build and upload under a version claimed by this attempt; what `publish` needs to make it visible."""
    from ecluse.apps.fraud.ensembles.building import Reference, build_ensemble
    from ecluse.apps.fraud.tables.columns import ColumnSpec

    run = work.run_of(runtime, task, run_id)
    dataset = _read(runtime, task, run.dataset_id)
    task.report("match", 0.02)
    result = match_dataset(runtime, dataset, references=run.plan["reference_names"])
    profile = dataset.profile or {}
    specs = tuple(ColumnSpec.from_dict(spec) for spec in profile["specs"])
    with runtime.scratch() as folder:
        references = []
        for match in () if result.abstain else result.matches:
            row = library.find(runtime, match.reference)
            files = folder / "references" / row.name
            library.checkout(runtime, row, files)
            references.append(Reference(match, library.facts(row), row.version, files))
        destination = folder / "model"
        with open_stored(runtime, dataset, folder, task) as table:
            report = build_ensemble(
                table,
                specs,
                ensemble_plan(profile, float(run.plan["fraud_rate"]), int(run.plan["seed"])),
                result,
                references,
                destination,
                task.report,
            )
        task.report("save", 0.95)
        uploaded = patiently(lambda: work.upload(runtime, task, run.model_name, destination))
    return uploaded | {"report": report_content(report)}


def ensemble_plan(profile: dict[str, Any], fraud_rate: float, seed: int = 0) -> EnsemblePlan:
    """Return the plan for a table, with the roles that its profile guesses. A column that reads as a
    label is left out.
    """
    from ecluse.apps.fraud.ensembles.building import EnsemblePlan

    guesses = profile["guesses"]
    columns = {role: (guesses.get(role) or {}).get("column") for role in ("target", "customer", "timestamp")}
    return EnsemblePlan(
        fraud_rate=fraud_rate,
        identifier_columns=tuple(guess["column"] for guess in guesses["identifiers"]),
        customer_column=columns["customer"],
        time_column=columns["timestamp"],
        left_out=() if columns["target"] is None else (columns["target"],),
        seed=seed,
    )


def _read(runtime: Runtime, task: Task, dataset_id: str | None) -> Dataset:
    """Return the table, once its profile is there."""
    while (dataset := table_of(runtime, task.user_id, dataset_id)).state == "profiling":
        task.report("read", 0.0, _("Waiting for the table to be read"))
        time.sleep(0.5)
    return dataset


#: The kinds of job of ensembles; a worker is started with them.
KINDS: Final[dict[str, JobKind]] = {
    KIND: JobKind(
        run=run_ensemble,
        queue="train",
        verb=N_("Make"),
        stages={
            "read": N_("Read"),
            "match": N_("Match"),
            "anomaly": N_("Learn what is usual"),
            "calibrate": N_("Calibrate"),
            "save": N_("Save"),
        },
        result=links.trained_model,
        ways=links.match_again,
        answer="ecluse.apps.fraud.api.bodies:made_ensemble",
    ),
}
