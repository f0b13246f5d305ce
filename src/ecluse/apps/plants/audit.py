"""Look a set of images over: ask for its audit, and read what was found.

The audit itself is a job (`jobs/audit.py`); asking and reading are quick and import nothing heavy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ecluse.apps.plants import rows as images
from ecluse.apps.plants.actions import QUEUE, find_set, is_importing
from ecluse.apps.plants.rows import Filter
from ecluse.apps.plants.tables import ImageSet
from ecluse.catalog import audit as record
from ecluse.catalog.tables import new_id
from ecluse.errors import InvalidInput
from ecluse.runtime import Runtime
from ecluse.sentences import _, ngettext

AUDIT: Final = "plants_audit"
#: A label with fewer images than this is learned badly, whatever the others have.
FEW: Final = 20
#: How many times the images of the smallest label the largest may have.
UNEVEN: Final = 3.0


@dataclass(frozen=True)
class Findings:
    """What an audit found of the images in use.

    `near_duplicates`: images that others look nearly like. `contested`: of those and of exact duplicates, with
    different labels. `suspects`: images for which another label is suggested. `warnings`: sentences on the balance.
    """

    near_duplicates: int
    contested: int
    suspects: int
    warnings: tuple[str, ...]


def start_audit(runtime: Runtime, user_id: str, set_id: str) -> str:
    """Queue the audit of a set; the job's id. One that waits, or that began since images came, is not queued again.

    Raises:
        NotFound: the user has no such set.
        InvalidInput: images are being imported into it, or it has none.
    """
    row = find_set(runtime, user_id, set_id)
    if is_importing(runtime, row):
        raise InvalidInput(
            _("Images are being imported into %(name)s. Cancel that first, or wait.", name=row.name)
        )
    with runtime.catalog.read() as transaction:
        if not images.counts(transaction, user_id, [row.id])[row.id].total:
            raise InvalidInput(
                _("%(name)s has no images yet. Import some: ecluse plants import DIR", name=row.name)
            )
    for job in runtime.jobs.list(user_id, limit=1000, active=True):
        is_current = row.imported_at is None or (
            job.started_at is not None and job.started_at > row.imported_at
        )
        if (
            job.kind == AUDIT
            and job.subject.get("set_id") == row.id
            and job.status == "running"
            and is_current
        ):
            return job.id
    return queue_audit(runtime, row)


def queue_audit(runtime: Runtime, row: ImageSet) -> str:
    """Queue the audit of a set that images were imported into; see `start_audit`."""
    for job in runtime.jobs.list(row.user_id, limit=1000, active=True):
        if job.kind == AUDIT and job.subject.get("set_id") == row.id and job.status == "queued":
            return job.id
    job_id = new_id()
    with runtime.catalog.write() as transaction:
        images.set_job(transaction, row.id, job_id, staged=row.staged_url)
        record.record(transaction, row.user_id, "images.audit", row.name)
        return runtime.jobs.enqueue(
            AUDIT, QUEUE, row.user_id, row.name, {"set_id": row.id}, job_id=job_id, transaction=transaction
        )


def findings_of(runtime: Runtime, user_id: str, set_id: str) -> Findings:
    """Return what is known of a set now; relabelled and excluded images count no more for what they were."""
    with runtime.catalog.read() as transaction:
        near, contested, suspects = (
            images.count_images(transaction, user_id, set_id, filter_)
            for filter_ in (
                Filter(states=("valid",), duplicates=True),
                Filter(states=("valid",), contested=True),
                Filter(states=("valid",), suspects=True),
            )
        )
        counts = images.counts(transaction, user_id, [set_id])[set_id]
    return Findings(near, contested, suspects, balance_warnings(counts.valid))


def balance_warnings(counts: Mapping[str, int]) -> tuple[str, ...]:
    """Return what is doubtful in the numbers of images of each label, as sentences."""
    if len(counts) < 2:
        return (
            _(
                "A classifier tells labels apart, and the set has %(count)s. Import images of another label.",
                count=len(counts),
            ),
        )
    warnings = [
        ngettext(
            "Label %(name)s has only %(count)s image; from fewer than %(total)s little is learned.",
            "Label %(name)s has only %(count)s images; from fewer than %(total)s little is learned.",
            count,
            name=label,
            total=FEW,
        )
        for label, count in sorted(counts.items())
        if count < FEW
    ]
    largest, smallest = (
        max(counts, key=lambda label: (counts[label], label)),
        min(counts, key=lambda label: (counts[label], label)),
    )
    if counts[largest] > UNEVEN * counts[smallest]:
        warnings.append(
            _(
                "Label %(name)s has %(count)s images and label %(word)s %(number)s: a classifier may "
                "favour the first. Import more of the second.",
                name=largest,
                count=counts[largest],
                word=smallest,
                number=counts[smallest],
            )
        )
    return tuple(warnings)
