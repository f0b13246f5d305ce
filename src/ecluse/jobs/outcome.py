"""Say how a job ended, and what an error means for it."""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass
from typing import Final

from ecluse.catalog.jobs import Claim
from ecluse.disks import is_full, what_is_wrong
from ecluse.errors import (
    CatalogTooSlow,
    CatalogUnavailable,
    DiskFull,
    DiskUnusable,
    DocumentsUnavailable,
    EcluseError,
    JobCancelled,
    JobWaits,
    StoreSilent,
)
from ecluse.sentences import _, without_cells
from ecluse.telemetry import FAULT
from ecluse.telemetry import reason_of as reason_of_error

logger = logging.getLogger(__name__)
#: What is no fault of a job, and passes. A store that refuses something is asked for it in vain.
_AWAY: Final = (CatalogUnavailable, DocumentsUnavailable, StoreSilent)


@dataclass(frozen=True)
class Done:
    """The job did what it was asked for."""


@dataclass(frozen=True)
class Failed:
    message: str
    #: The code of the error, by which such jobs are counted.
    code: str = FAULT


@dataclass(frozen=True)
class Stopped:
    """The job itself says that there is nothing more to do for it."""

    reason: str
    code: str = JobCancelled.code


@dataclass(frozen=True)
class PutOff:
    """Something is in the way that is no fault of the job, and that passes."""

    reason: str
    code: str = FAULT


@dataclass(frozen=True)
class Waits:
    """The job waits for others, and holds no place meanwhile."""

    reason: str
    seconds: int
    #: How many parts of its own it waits for.
    parts: int = 0


@dataclass(frozen=True)
class Taken:
    """The job is another worker's by now, or was cancelled."""


@dataclass(frozen=True)
class Left:
    """The job was handed back, for the next worker: nothing is to be recorded."""


Outcome = Done | Failed | Stopped | PutOff | Waits | Taken | Left


#: How a job left its worker, in the log.
LEFT_WORKER: Final[dict[type[Outcome], str]] = {
    Done: "is done",
    Failed: "failed",
    Stopped: "was cancelled",
    PutOff: "is put off",
    Waits: "waits",
    Taken: "is another worker's by now, or was cancelled",
    Left: "is handed back",
}


def reason_of(outcome: Outcome) -> str:
    """Return why a job left its worker as it did; empty where there is nothing to say."""
    match outcome:
        case Failed(reason) | Stopped(reason) | PutOff(reason) | Waits(reason):
            return f": {without_cells(reason)}"
    return ""


def why(claim: Claim, error: BaseException) -> Outcome:
    """Say what an error means for its job."""
    if isinstance(error, JobWaits):
        return Waits(str(error), error.seconds, error.parts)
    if isinstance(error, DiskFull) or is_full(error):
        reason = what_is_wrong(error) or str(error)
        logger.warning("Job %s (%s) waits for room: %s", claim.job_id, claim.kind, reason)
        return PutOff(reason, DiskFull.code)
    if isinstance(error, _AWAY) and not isinstance(error, CatalogTooSlow):
        return PutOff(str(error), reason_of_error(error))
    if isinstance(error, EcluseError):
        return Failed(str(error), reason_of_error(error))
    if (wrong := what_is_wrong(error)) is not None:
        logger.warning("Job %s (%s) failed: %s", claim.job_id, claim.kind, wrong)
        return Failed(wrong, DiskUnusable.code)
    reference = uuid.uuid4().hex[:8]
    logger.error("Job %s (%s) failed; reference %s", claim.job_id, claim.kind, reference, exc_info=error)
    return Failed(
        _(
            "The job was stopped by a fault of ours. The worker's log has it under reference %(reference)s.",
            reference=reference,
        )
    )
