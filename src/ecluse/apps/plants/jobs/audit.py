"""Do the job of an audit: see every image of a set once, group those that look alike, judge the labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from ecluse.apps.plants import links
from ecluse.apps.plants import rows as images
from ecluse.apps.plants.actions import QUEUE
from ecluse.apps.plants.audit import AUDIT
from ecluse.apps.plants.tables import Image
from ecluse.catalog import audit
from ecluse.checkpoints import Checkpoints, checkpoints_of
from ecluse.jobs import JobKind, Task
from ecluse.runtime import Runtime
from ecluse.sentences import N_, _

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Which share of the job has passed when the network has seen the images, and when they are compared.
_SEEN: Final = 0.45
_COMPARED: Final = 0.92


def run_audit(runtime: Runtime, task: Task, set_id: str) -> None:
    """Audit a set. A job that is taken up again goes on from its checkpoints; what it writes is the same."""
    task.step("audit", _audit, runtime, task, set_id)


def _audit(runtime: Runtime, task: Task, set_id: str) -> dict[str, int]:
    from ecluse.apps.plants.looks import features_of, group_copies, usable

    rows, checkpoints = usable(runtime, task.user_id, set_id), checkpoints_of(runtime, task)
    features = features_of(
        runtime, rows, lambda done, text: task.report("read", _SEEN * done, text), checkpoints
    )

    def compared(done: float, text: str) -> None:
        stage = "compare" if text == "comparing" else "read"
        task.report(stage, _SEEN + (_COMPARED - _SEEN) * done, text)

    groups = group_copies(runtime, set_id, rows, compared, checkpoints)
    judged = _judged(task, rows, groups, features, checkpoints)
    with runtime.catalog.write() as transaction:
        images.set_suspicions(transaction, set_id, judged)
        images.set_audited(transaction, set_id)
        done = {
            "images": len(rows),
            "near_duplicates": sum(group is not None for group in groups),
            "suspects": sum(suggested is not None for *_, suggested in judged),
        }
        audit.record(transaction, task.user_id, "images.audited", set_id, **done)
    task.report(
        "judge",
        1.0,
        _(
            "%(count)s near duplicates, %(number)s suspects",
            count=done["near_duplicates"],
            number=done["suspects"],
        ),
    )
    return done


def _judged(
    task: Task,
    rows: Sequence[Image],
    groups: Sequence[str | None],
    features: NDArray[np.float32],
    checkpoints: Checkpoints,
) -> list[tuple[str, str, float | None, str | None]]:
    """Id, label, suspicion and suggested label of each image; those out of use are not judged.

    Their order and the names of their groups decide the folds. Both are taken from the content of the images: by ids
    and by the database's order of names, the same images would be judged otherwise after each import.
    """
    from ecluse.apps.plants.suspects import judge_labels

    valid = (number for number, row in enumerate(rows) if row.state == "valid")
    used, named = sorted(valid, key=lambda number: rows[number].sha256), dict[str, str]()
    task.report("judge", _COMPARED, _("judging the labels"))
    judged = judge_labels(
        features[used],
        [rows[index].label for index in used],
        [named.setdefault(groups[index] or rows[index].id, rows[index].sha256) for index in used],
        report=lambda fraction: task.report(
            "judge", min(_COMPARED + (1 - _COMPARED) * fraction, 0.999), _("judging the labels")
        ),
        checkpoints=checkpoints,
    )
    judgement_of = dict(zip(used, judged, strict=True))
    return [
        (
            row.id,
            row.label,
            None if (judgement := judgement_of.get(number)) is None else judgement.suspicion,
            None if judgement is None else judgement.suggested,
        )
        for number, row in enumerate(rows)
    ]


def _failed(runtime: Runtime, task: Task, message: str, set_id: str, **_: Any) -> None:
    with runtime.catalog.write() as transaction:
        audit.record(transaction, task.user_id, "images.audit_failed", set_id, found=message)


KINDS: Final[dict[str, JobKind]] = {
    AUDIT: JobKind(
        run=run_audit,
        failed=_failed,
        queue=QUEUE,
        verb=N_("Look through"),
        stages={"read": N_("Read"), "compare": N_("Compare"), "judge": N_("Judge the labels")},
        result=links.image_set,
        ways=links.image_set_again,
    )
}
