"""Hold a migration while it runs or rolls back, and record how that ended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ecluse.catalog import Catalog
from ecluse.errors import (
    EcluseError,
    JobCancelled,
    MigrationConflict,
    MigrationHeld,
    MigrationStopped,
)
from ecluse.migration.hold import Hold
from ecluse.migration.summaries import find
from ecluse.sentences import _


@contextmanager
def held(catalog: Catalog, migration_id: str, at_work: str, done: str, stopped: str) -> Iterator[Hold]:
    """Hold a migration while the block runs, and record how it ended."""
    hold = Hold(catalog, migration_id).take(at_work)
    verb = "run" if at_work == "running" else "rollback"
    of_a_move = find(catalog, migration_id).move_id is not None
    on = (
        _("Go on: ecluse move %(word)s", word=verb)
        if of_a_move
        else _("Go on: ecluse migrate %(word)s %(value)s", word=verb, value=migration_id)
    )
    try:
        yield hold
    except (MigrationHeld, MigrationConflict, JobCancelled) as error:
        hold.release(stopped, str(error))
        raise
    except EcluseError as error:
        message = _(
            "Migration %(value)s stopped: %(error)s What is done is kept. %(onward)s",
            value=migration_id,
            error=error,
            onward=on,
        )
        hold.release(stopped, message)
        raise MigrationStopped(message) from error
    except Exception:
        hold.release(stopped, _("A fault of ours stopped this. %(onward)s", onward=on))
        raise
    except BaseException:
        hold.release(stopped, _("It was interrupted. %(onward)s", onward=on))
        raise
    else:
        hold.release(done, None)
