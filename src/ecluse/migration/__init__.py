"""Move objects from one store to another, and the rows that point at them: plan, run, verify, roll back.

A migration copies and never moves: the source stays as it is. Each object is hashed while it is copied,
compared with the digest that a row or a manifest has for it, and read again at the destination. What became
of it stands in the journal, a table of the catalog, so that a run that was killed goes on where it was. Rows
switch in one transaction, once everything they point at is at the destination; until then, and after a
rollback, they point at the source.
"""

from ecluse.migration.copying import Progress, Stage
from ecluse.migration.ends import check_places
from ecluse.migration.estimating import estimate, estimate_rest
from ecluse.migration.planning import Request, plan
from ecluse.migration.results import (
    Estimate,
    Group,
    Outcome,
    Part,
    Plan,
    Report,
    RolledBack,
    Summary,
    Verification,
)
from ecluse.migration.running import run
from ecluse.migration.summaries import find, list_migrations, summary
from ecluse.migration.undoing import rollback
from ecluse.migration.verifying import findings, verify

__all__ = [
    "Estimate",
    "Group",
    "Outcome",
    "Part",
    "Plan",
    "Progress",
    "Report",
    "Request",
    "RolledBack",
    "Stage",
    "Summary",
    "Verification",
    "check_places",
    "estimate",
    "estimate_rest",
    "find",
    "findings",
    "list_migrations",
    "plan",
    "rollback",
    "run",
    "summary",
    "verify",
]
