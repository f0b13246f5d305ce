"""Back this installation up when that is due: the workers keep one schedule, whichever of them live.

What is due is queued once, in the transaction that moves the schedule on. A time that passed while no worker lived is
made up for once. A backup never begins while another of the schedule waits or runs.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from ecluse.backups.creating import OBJECTS_READ, ROWS_READ, create
from ecluse.backups.ownership import owner_of
from ecluse.backups.places import Keys, Place, check_address, open_place
from ecluse.backups.pruning import prune
from ecluse.catalog import Transaction, audit, users
from ecluse.catalog import backup_schedules as rows
from ecluse.catalog.of_backups import BackupMade, BackupSchedule
from ecluse.catalog.tables import new_id
from ecluse.errors import EcluseError, JobCancelled
from ecluse.jobs import Job, JobKind, Link, Task
from ecluse.runtime import Runtime
from ecluse.sentences import N_, _, num

logger = logging.getLogger(__name__)
KIND: Final = "back_up"
#: Of its own, as a backup may take hours and what else is done for the installation is not to wait for it.
QUEUE: Final = "backup"
State = Literal["off", "waiting", "ok", "damaged", "failed", "late"]


@dataclass(frozen=True)
class Plan:
    """When and where to backups are to be made. `every` in seconds; `at` in minutes of the day, UTC.

    `keep` backups stay, and all of `keep_days`; where both are None, every backup does.
    """

    url: str
    every: int
    at: int | None = None
    keep: int | None = None
    keep_days: int | None = None
    recipient: str | None = None
    contents: bool = False


@dataclass(frozen=True)
class Standing:
    """How it stands with backups. `words` say what is wrong and what to do, or that all is well.

    `newest`: of those that lie where the schedule says; without one, of all.
    """

    schedule: BackupSchedule | None
    newest: BackupMade | None
    state: State
    words: str

    @property
    def is_trouble(self) -> bool:
        return self.state in ("damaged", "failed", "late")


def set_schedule(runtime: Runtime, plan: Plan) -> BackupSchedule:
    """Have the workers back this installation up from now on, once the place was written to.

    Raises:
        BackupError: the address carries a key, lies in what is backed up, or the recipient is no public key.
        SettingsError, StoreUnavailable, AccessDenied: the place cannot be used.
    """
    check_address(plan.url)
    with open_place(runtime, plan.url, Keys(recipient=plan.recipient), make=True) as place:
        _prove(place)
        url = place.store.url
    with runtime.catalog.write() as transaction:
        values = {
            "url": url,
            "every": plan.every,
            "at": plan.at,
            "keep": plan.keep,
            "keep_days": plan.keep_days,
            "recipient": plan.recipient,
            "contents": plan.contents,
        }
        audit.record(transaction, None, "backup.schedule", url)
        return rows.replace(transaction, values, _first(rows.clock(transaction), plan.at))


def end_schedule(runtime: Runtime) -> bool:
    """Have no more backups made; false where there was no schedule. What was backed up stays."""
    with runtime.catalog.write() as transaction:
        was_there = rows.remove(transaction)
        if was_there:
            audit.record(transaction, None, "backup.schedule_end", "")
    return was_there


def standing(transaction: Transaction) -> Standing:
    """Say how it stands with backups, and what to do."""
    schedule = rows.find(transaction)
    made = rows.newest(transaction, schedule.url if schedule else None)
    if schedule is None:
        return Standing(None, made, "off", _no_schedule(made))
    now = rows.clock(transaction)
    state, words = _state_of(schedule, made, now)
    if state == "waiting" and rows.newest(transaction) is not None:
        words = _(
            "Of this schedule no backup has been made yet; the first one is due. Others were made by hand."
        )
    return Standing(schedule, made, state, words)


def enqueue_due(runtime: Runtime) -> int:
    """Queue the backup that is due, once however many workers ask; how many that were."""
    with runtime.catalog.read() as transaction:
        if not rows.is_due(transaction):
            return 0
    with runtime.catalog.write() as transaction:
        schedule = rows.hold_due(transaction)
        if schedule is None or rows.is_under_way(transaction, KIND):
            return 0
        owner = users.first_administrator(transaction)
        if owner is None:
            logger.warning(
                "A backup is due, and no account administers: sign up for one, or ecluse users role"
            )
            return 0
        job_id = new_id()
        runtime.jobs.enqueue(KIND, QUEUE, owner.id, schedule.url, {}, job_id=job_id, transaction=transaction)
        rows.set_queued(transaction, schedule, job_id)
    return 1


def run_backup(runtime: Runtime, task: Task) -> None:
    """Make the backup that is due, and remove old ones as the schedule says; nothing where it was ended meanwhile."""
    with runtime.catalog.read() as transaction:
        schedule = rows.find(transaction)
    if schedule is None:
        return
    task.step("back_up", _back_up, runtime, task, schedule)
    if schedule.keep is not None or schedule.keep_days is not None:
        task.step("prune", _prune, runtime, task, schedule)


def record_failure(runtime: Runtime, task: Task, message: str) -> None:
    """Note that a backup failed, where the page, the doctor and the log say it, and have it tried again."""
    logger.warning("The backup failed: %s", message)
    with runtime.catalog.write() as transaction:
        rows.set_failed(transaction, task.job_id, message)


def _back_up(runtime: Runtime, task: Task, schedule: BackupSchedule) -> str:
    with runtime.catalog.write() as transaction:
        rows.set_begun(transaction, task.job_id)

    def report(fraction: float, _text: str) -> None:
        stage = "rows" if fraction < ROWS_READ else "objects" if fraction < OBJECTS_READ else "documents"
        task.report(stage, min(fraction, 0.99))

    with open_place(runtime, schedule.url, Keys(recipient=schedule.recipient), make=True) as place:
        return create(runtime, place, contents=schedule.contents, report=report).id


def _prune(runtime: Runtime, task: Task, schedule: BackupSchedule) -> None:
    """Remove old backups; why that cannot be done is kept, as the backup that was made is whole without it."""
    problem = None
    try:
        with open_place(runtime, schedule.url) as place:
            prune(
                place,
                schedule.keep or 1,
                days=schedule.keep_days,
                owner=owner_of(runtime),
                report=lambda *_: task.report("prune", 0.99),
            )
    except JobCancelled:
        raise
    except EcluseError as error:
        problem = str(error)
        logger.warning("Old backups are not removed: %s", error)
    with runtime.catalog.write() as transaction:
        rows.set_pruned(transaction, task.job_id, problem)


def _prove(place: Place) -> None:
    """Write to a place, so that one that cannot be written to is found when it is chosen, and not at night."""
    key = f"checks/{new_id()}"
    place.store.put(key, b"")
    place.store.delete(key)


def _first(now: datetime, at: int | None) -> datetime:
    """Return when the first backup is due: now, or when the time of the day `at` comes next."""
    if at is None:
        return now
    today = now.replace(hour=at // 60, minute=at % 60, second=0, microsecond=0)
    return today if today > now else today + timedelta(days=1)


def _state_of(schedule: BackupSchedule, made: BackupMade | None, now: datetime) -> tuple[State, str]:
    failed_at, last = schedule.failed_at, made.finished_at if made else None
    if failed_at is not None and (last is None or last < failed_at):
        return "failed", _(
            "The last backup failed: %(reason)s It is tried again within the hour; to try now: ecluse backup create "
            "--to %(place)s",
            reason=schedule.error or "",
            place=schedule.url,
        )
    if now > rows.late_after(schedule, last):
        return "late", _(
            "A backup is overdue. See that a worker runs and what it does (ecluse doctor, ecluse jobs list), or make "
            "one now: ecluse backup create --to %(place)s",
            place=schedule.url,
        )
    if made is None:
        return "waiting", _("No backup has been made yet; the first one is due.")
    if made.damaged:
        return "damaged", _(
            "%(count)s objects are damaged and not in the newest backup. To see which: ecluse backup create --to "
            "%(place)s",
            count=num(made.damaged),
            place=schedule.url,
        )
    return "ok", _("Backups are made as they are due.")


def _no_schedule(made: BackupMade | None) -> str:
    if made is None:
        return _(
            "No backup has been made. To have one made every day: ecluse backup schedule set --to URL --every 24h"
        )
    return _("Backups are made by hand. To have them made: ecluse backup schedule set --to URL --every 24h")


def _open_settings(transaction: Transaction, job: Job) -> Link:
    return Link("/administration/settings", N_("See how it stands with backups"))


def _ways(transaction: Transaction, job: Job) -> tuple[Link, ...]:
    return (_open_settings(transaction, job),)


#: The kind of job that makes a backup.
KINDS: Final[dict[str, JobKind]] = {
    KIND: JobKind(
        run=run_backup,
        failed=record_failure,
        queue=QUEUE,
        verb=N_("Back up"),
        stages={
            "rows": N_("Rows"),
            "objects": N_("Objects"),
            "documents": N_("Documents"),
            "prune": N_("Remove old ones"),
        },
        result=_open_settings,
        ways=_ways,
        is_of_installation=True,
    )
}
