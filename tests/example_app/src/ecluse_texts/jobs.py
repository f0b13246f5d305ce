"""Train in a worker: count the words of the texts, some at a time, so that a worker that dies costs one batch."""

from __future__ import annotations

import threading
from typing import Any, Final

from ecluse.catalog import Transaction
from ecluse.jobs import Job, JobKind, Link, Task
from ecluse.runtime import Runtime
from ecluse.sentences import N_
from ecluse_texts import bayes, rows

KIND: Final = "texts_train"
QUEUE: Final = "texts"
BATCH: Final = 2


def run_training(runtime: Runtime, task: Task, set_id: str, pause: float) -> None:
    with runtime.catalog.read() as transaction:
        examples = rows.set_of(transaction, task.user_id, set_id).examples
    batches = [examples[at : at + BATCH] for at in range(0, len(examples), BATCH)]
    counts = []
    for number, batch in enumerate(batches):
        counts.append(task.step("count", _count, batch, pause))
        task.report("count", (number + 1) / (len(batches) + 1))
    task.report("save", 0.99)
    task.step("save", _save, runtime, task.user_id, set_id, bayes.add_counts(counts))


def _count(batch: list[Any], pause: float) -> bayes.Counts:
    threading.Event().wait(pause)
    return bayes.count_words(batch)


def _save(runtime: Runtime, user_id: str, set_id: str, model: bayes.Counts) -> None:
    with runtime.catalog.write() as transaction:
        rows.set_of(transaction, user_id, set_id).model = model


def _open_set(transaction: Transaction, job: Job) -> Link:
    return Link(f"/texts/{job.subject['set_id']}", N_("Open the texts"))


KINDS: Final[dict[str, JobKind]] = {
    KIND: JobKind(
        run=run_training,
        queue=QUEUE,
        verb=N_("Train"),
        stages={"count": N_("Count words"), "save": N_("Save")},
        result=_open_set,
    )
}
