"""Move a whole home to another database and other stores, and back: plan, run, verify, roll back.

A home is everything one installation keeps: the rows of its catalog, its objects, its documents, and the jobs that
people see. A move copies: the source stays as it is, closed to changes from the moment the move begins. At the
destination nobody is let in before all is there and compared, sessions and tokens last. Ids stay, and so do the
secrets of sessions, tokens and links, of which the rows hold digests.

The destination keeps the journal. A run that was killed goes on where it was, by the same command.
"""

from ecluse.moving.bringing import run
from ecluse.moving.comparing import verify
from ecluse.moving.opening import Homes, list_moves, opened
from ecluse.moving.planning import plan
from ecluse.moving.results import Outcome, Plan, Report, Undone, Verification
from ecluse.moving.routes import described
from ecluse.moving.undoing import release, rollback

__all__ = [
    "Homes",
    "Outcome",
    "Plan",
    "Report",
    "Undone",
    "Verification",
    "described",
    "list_moves",
    "opened",
    "plan",
    "release",
    "rollback",
    "run",
    "verify",
]
