"""Join the jobs of every application: what a worker runs, and what it brings up to date now and then."""

from __future__ import annotations

from typing import Final

from ecluse import upkeep
from ecluse.city import work as city
from ecluse.fraud import work as fraud
from ecluse.fraud.ensembles import jobs as ensembles
from ecluse.fraud.monitoring import jobs as watching
from ecluse.fraud.references import building, evaluation
from ecluse.jobs import JobKind
from ecluse.runtime import Runtime

KINDS: Final[dict[str, JobKind]] = (
    fraud.KINDS
    | ensembles.KINDS
    | watching.KINDS
    | building.KINDS
    | evaluation.KINDS
    | city.KINDS
    | upkeep.KINDS
)


def reconcile(runtime: Runtime) -> int:
    """End the rows whose job or process ended without saying so; how many that were."""
    return fraud.reconcile(runtime) + watching.reconcile(runtime) + upkeep.reconcile(runtime)
