"""Queue the jobs of applications that have a schedule, in the name of the first administrator.

A job is due at its moments (UTC) since the application was installed, and begins within some minutes of them: a
worker looks about every five. Of moments that passed while no worker ran, the last is made up for. Its id is made
of its moment, so that several workers queue it once.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

from ecluse.app.schedules import last_due
from ecluse.apps.hosted.jobs import queue_verb
from ecluse.apps.hosted.snapshot import installed
from ecluse.catalog import users
from ecluse.runtime import Runtime


def queue_due(runtime: Runtime, now: datetime | None = None) -> int:
    """Queue what is due; how many jobs that were."""
    moment = now or datetime.now(UTC)
    snapshots = [
        each
        for each in installed(runtime.settings.home)
        if any(verb.schedule for verb in each.verbs.values())
    ]
    if not snapshots:
        return 0
    with runtime.catalog.read() as transaction:
        user = users.first_administrator(transaction)
    if user is None:
        return 0
    queued = 0
    for snapshot in snapshots:
        for verb in snapshot.verbs.values():
            due = last_due(verb.schedule, moment) if verb.schedule else None
            if due is None or due < snapshot.installed_at:
                continue
            job_id = uuid.uuid5(uuid.NAMESPACE_URL, f"{snapshot.name} {verb.name} {due.isoformat()}").hex
            if not runtime.jobs.get_many(None, [job_id]):
                queue_verb(runtime, user.id, snapshot, verb, {}, job_id)
                queued += 1
    return queued
