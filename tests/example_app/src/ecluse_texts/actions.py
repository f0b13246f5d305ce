"""Do what pages, API and commands ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ecluse.errors import InvalidInput
from ecluse.runtime import Runtime
from ecluse_texts import bayes, rows
from ecluse_texts.jobs import KIND, QUEUE

LARGEST = 10_000


def add_set(
    runtime: Runtime, user_id: str, name: str, examples: Sequence[Mapping[str, str]], pause: float = 0.0
) -> tuple[str, str]:
    """Keep labelled texts and queue the training on them; the ids of the set and of the job.

    `pause`: seconds to wait after each part of the texts, to look at the progress.

    Raises:
        InvalidInput: there are no two labels, or too many texts.
    """
    if len({example["label"] for example in examples}) < 2 or len(examples) > LARGEST:
        raise InvalidInput(f"Texts of two labels at least are needed, and {LARGEST} texts at most.")
    with runtime.catalog.write() as transaction:
        row = rows.TextSet(user_id=user_id, name=name, examples=[dict(example) for example in examples])
        transaction.add(row)
        transaction.flush()
        subject = {"set_id": row.id, "pause": pause}
        job = runtime.jobs.enqueue(KIND, QUEUE, user_id, name, subject, transaction=transaction)
        return row.id, job


def classify(runtime: Runtime, user_id: str, set_id: str, text: str) -> dict[str, float]:
    """Return the probability of each label for a text, the most probable first.

    Raises:
        NotFound: the user has no such set; InvalidInput: it is not trained on yet.
    """
    with runtime.catalog.read() as transaction:
        row = rows.set_of(transaction, user_id, set_id)
    if row.model is None:
        raise InvalidInput("These texts are not trained on yet. Wait for the job.")
    return bayes.classify(row.model, text)
