"""Draw the sample of leaves as a job, straight into a set of the user's."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from ecluse.apps.plants import links
from ecluse.apps.plants.actions import QUEUE, find_set, make_set
from ecluse.apps.plants.audit import queue_audit
from ecluse.apps.plants.sources import File, folder_label
from ecluse.apps.plants.tables import ImageSet
from ecluse.catalog import audit
from ecluse.catalog.tables import new_id
from ecluse.checkpoints import checkpoints_of
from ecluse.jobs import JobKind, Task
from ecluse.runtime import Runtime
from ecluse.sentences import N_

KIND: Final = "plants_demo"
NAME: Final = "leaves"
#: Images of each of the two labels.
EACH: Final = 150


def start_sample(runtime: Runtime, user_id: str, *, each: int = EACH) -> ImageSet:
    """Queue the drawing of the sample; the set it goes to. While it goes on it is not begun a second time."""
    row = make_set(runtime, user_id, NAME)
    for job in runtime.jobs.list(user_id, limit=1000, active=True):
        if job.kind == KIND and job.subject.get("set_id") == row.id:
            return row
    subject = {"set_id": row.id, "each": each}
    with runtime.catalog.write() as transaction:
        audit.record(transaction, user_id, "images.sample", row.name)
        runtime.jobs.enqueue(
            KIND, QUEUE, user_id, row.name, subject, job_id=new_id(), transaction=transaction
        )
    return row


def run_sample(runtime: Runtime, task: Task, set_id: str, each: int) -> None:
    """Draw and import; what is there already is passed over. The set is looked through afterwards."""
    task.step("draw", _draw, runtime, task, set_id, each)
    task.step("audit", _queue_audit, runtime, task, set_id)


def _draw(runtime: Runtime, task: Task, set_id: str, each: int) -> int:
    from ecluse.apps.plants.importing import import_images

    done = import_images(
        runtime,
        task.user_id,
        set_id,
        _drawn(each),
        report=lambda fraction, message: task.report("draw", min(fraction, 0.999), message),
        checkpoints=checkpoints_of(runtime, task),
    )
    return done.files


def _drawn(each: int) -> Iterator[File]:
    from ecluse.apps.plants.demo import draw_sample

    for number, leaf in enumerate(draw_sample(each=each)):
        yield File(leaf.path, folder_label(leaf.path), partial(bytes, leaf.data), number / (2 * each + 8))


def _queue_audit(runtime: Runtime, task: Task, set_id: str) -> None:
    queue_audit(runtime, find_set(runtime, task.user_id, set_id))


def _failed(runtime: Runtime, task: Task, message: str, set_id: str, **_: Any) -> None:
    with runtime.catalog.write() as transaction:
        audit.record(transaction, task.user_id, "images.sample_failed", set_id, found=message)


KINDS: Final[dict[str, JobKind]] = {
    KIND: JobKind(
        run=run_sample,
        failed=_failed,
        queue=QUEUE,
        verb=N_("Draw"),
        stages={"draw": N_("Draw and import")},
        result=links.image_set,
        ways=links.image_set_again,
    )
}
