"""Say what the trainings of this application are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ecluse.apps.fraud.actions.main import start_repeat
from ecluse.apps.fraud.rows import datasets
from ecluse.catalog import Transaction
from ecluse.catalog.tables import Run
from ecluse.sentences import N_, _
from ecluse.tracking.kinds import Fact, TrackedRuns


def _facts(transaction: Transaction, run: Run) -> Sequence[Fact]:
    dataset_id = run.subject.get("dataset_id")
    if dataset_id is None:
        return ()
    name = datasets.filenames(transaction, run.user_id, [dataset_id]).get(dataset_id)
    if name is None:
        return (Fact(N_("Table"), _("a removed table")),)
    return (Fact(N_("Table"), name, f"/fraud/d/{dataset_id}"),)


def _may_repeat(run: Run) -> bool:
    return run.kind == "search"


RUNS: Final = TrackedRuns(
    kinds={
        "search": N_("Search"),
        "ensemble": N_("Ensemble of references"),
        "retraining": N_("Trained again"),
        "learning": N_("Learned from labels"),
    },
    step=N_("trial"),
    main=("average_precision", "best_validation_average_precision", "roc_auc"),
    facts=_facts,
    may_repeat=_may_repeat,
    repeat=start_repeat,
    repeat_words=N_(
        "A repeat trains again by what this run recorded, without a clock, and publishes only where every file comes "
        "out the same."
    ),
    repeat_command="ecluse.apps.fraud.commands.main:repeated",
)
