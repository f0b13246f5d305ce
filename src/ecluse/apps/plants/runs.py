"""Say what the trainings of this application are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ecluse.apps.plants import rows
from ecluse.apps.plants.training import repeat_training
from ecluse.catalog import Transaction
from ecluse.catalog.tables import Run
from ecluse.errors import NotFound
from ecluse.sentences import N_, _
from ecluse.tracking.kinds import Fact, TrackedRuns


def _facts(transaction: Transaction, run: Run) -> Sequence[Fact]:
    set_id = run.subject.get("set_id")
    if set_id is None:
        return ()
    try:
        image_set = rows.readable_set(transaction, run.user_id, set_id)
    except NotFound:
        return (Fact(N_("Images"), _("a removed set")),)
    return (Fact(N_("Images"), image_set.name, f"/plants/{image_set.id}"),)


def _may_repeat(run: Run) -> bool:
    return True


RUNS: Final = TrackedRuns(
    kinds={"features": N_("Features of a known network"), "finetune": N_("Fine-tuning")},
    step=N_("epoch"),
    main=(
        "served_accuracy",
        "test_accuracy",
        "accuracy",
        "validation_accuracy",
        "log_loss",
        "validation_loss",
    ),
    facts=_facts,
    may_repeat=_may_repeat,
    repeat=repeat_training,
    repeat_words=N_(
        "A repeat trains again on the same split with the same settings, and says which files come out the same."
    ),
    repeat_command="ecluse.apps.plants.commands.training:repeated",
)
