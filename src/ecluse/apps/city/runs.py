"""Say what the trainings of this application are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ecluse.catalog import Transaction
from ecluse.catalog.tables import Run
from ecluse.sentences import N_
from ecluse.tracking.kinds import Fact, TrackedRuns


def _facts(transaction: Transaction, run: Run) -> Sequence[Fact]:
    day = run.subject.get("day")
    return () if day is None else (Fact(N_("Day"), str(day)),)


RUNS: Final = TrackedRuns(
    kinds={"forecast": N_("Forecast")},
    step=N_("number of trees"),
    main=("flow.absolute_error", "bikes.absolute_error"),
    facts=_facts,
)
