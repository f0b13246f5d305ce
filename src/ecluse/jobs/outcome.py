"""Say how a job ended, and what an error means for it."""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass

from ecluse.catalog.jobs import Claim
from ecluse.disks import is_full, what_is_wrong
from ecluse.errors import (
    CatalogTooSlow,
    CatalogUnavailable,
    DiskFull,
    EcluseError,
    JobWaits,
)
from ecluse.sentences import _

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Done:
    """The job did what it was asked for."""


@dataclass(frozen=True)
class Failed:
    message: str


@dataclass(frozen=True)
class Stopped:
    """The job itself says that there is nothing more to do for it."""

    reason: str


@dataclass(frozen=True)
class PutOff:
    """Something is in the way that is no fault of the job, and that passes."""

    reason: str


@dataclass(frozen=True)
class Waits:
    """The job waits for others, and holds no place meanwhile."""

    reason: str
    seconds: int


@dataclass(frozen=True)
class Taken:
    """The job is another worker's by now, or was cancelled."""


@dataclass(frozen=True)
class Left:
    """The job was handed back, for the next worker: nothing is to be recorded."""


Outcome = Done | Failed | Stopped | PutOff | Waits | Taken | Left


def why(claim: Claim, error: BaseException) -> Outcome:
    """Say what an error means for its job."""
    if isinstance(error, JobWaits):
        return Waits(str(error), error.seconds)
    if isinstance(error, DiskFull) or is_full(error):
        reason = what_is_wrong(error) or str(error)
        logger.warning("Job %s (%s) waits for room: %s", claim.job_id, claim.kind, reason)
        return PutOff(reason)
    if isinstance(error, CatalogUnavailable) and not isinstance(error, CatalogTooSlow):
        return PutOff(str(error))
    if isinstance(error, EcluseError):
        return Failed(str(error))
    if (wrong := what_is_wrong(error)) is not None:
        logger.warning("Job %s (%s) failed: %s", claim.job_id, claim.kind, wrong)
        return Failed(wrong)
    reference = uuid.uuid4().hex[:8]
    logger.error("Job %s (%s) failed; reference %s", claim.job_id, claim.kind, reference, exc_info=error)
    return Failed(
        _(
            "The job was stopped by a fault of ours. The worker's log has it under reference %(reference)s.",
            reference=reference,
        )
    )
