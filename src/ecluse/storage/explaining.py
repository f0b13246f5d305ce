"""Say what went wrong with a store in the network: the place, the time spent and the way out."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ecluse.errors import BucketNotFound, ObjectNotFound, StorageError, StoreSilent, StoreUnavailable
from ecluse.sentences import _
from ecluse.storage.bucket import Bucket
from ecluse.storage.failures import Failure


@dataclass(frozen=True)
class Attempt:
    """A request that failed: its verb, its path, and when the first attempt began (`time.monotonic`)."""

    verb: str
    path: str
    begun: float


def explain(bucket: Bucket, failure: Failure, attempt: Attempt, *, no_bucket: bool) -> StorageError:
    """Return the error that says what failed and what to do."""
    where = f"{bucket.url} at {bucket.place}"
    if no_bucket:
        return BucketNotFound(
            _("The store %(store)s has no such bucket. Make it: ecluse servers prepare", store=where)
        )
    if failure.missing and attempt.verb != "PUT":
        return ObjectNotFound(
            _("Nothing is stored at %(key)s in %(store)s.", key=repr(attempt.path), store=bucket.url)
        )
    if (refusal := _refusal(bucket, failure, attempt, where)) is not None:
        return StoreUnavailable(refusal)
    return StoreSilent(_silence(failure, attempt, where))


def _refusal(bucket: Bucket, failure: Failure, attempt: Attempt, where: str) -> str | None:
    """Say what the store does not accept; None where it refused nothing."""
    if failure.no_keys:
        return _(
            "No keys are set for the store %(store)s, and this machine has none of its own. %(way_out)s",
            store=bucket.url,
            way_out=bucket.how_to_set_keys,
        )
    if failure.wrong_keys:
        return _(
            "The store %(store)s does not accept the keys: %(value)s. Check the access key and "
            "the secret key: ecluse doctor",
            store=where,
            value=failure.code,
        )
    if failure.wrong_clock:
        return _(
            "The store %(store)s says the clock of this machine is wrong: %(value)s. Set the "
            "clock, then try again.",
            store=where,
            value=failure.code,
        )
    if failure.forbidden and attempt.path:
        return _(
            "The store %(store)s refused access to %(key)s. Check keys and rights: ecluse doctor",
            store=bucket.url,
            key=repr(attempt.path),
        )
    if failure.forbidden:
        return _(
            "The store %(store)s refused access. Check that its bucket exists, and the keys and "
            "their rights: ecluse doctor",
            store=where,
        )
    return None


def _silence(failure: Failure, attempt: Attempt, where: str) -> str:
    """Say that the store does not answer as it should, and for how long it was tried."""
    seconds = max(round(time.monotonic() - attempt.begun), 1)
    return _(
        "The store %(store)s does not answer: %(word)s of %(key)s was tried for %(time)s, and "
        "%(error)s. Check that it runs and can be reached: ecluse doctor",
        store=where,
        word=attempt.verb,
        key=repr(attempt.path),
        time=f"{seconds} s",
        error=failure.reason,
    )
