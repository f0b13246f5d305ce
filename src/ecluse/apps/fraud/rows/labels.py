"""Keep what people say of single rows of their tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session as Transaction

from ecluse.apps.fraud.rows.tables import Label
from ecluse.catalog.tables import now

#: Rows in one statement.
_AT_ONCE = 500


def put_labels(transaction: Transaction, user_id: str, dataset_id: str, labels: Mapping[int, int]) -> None:
    """Note labels {row from 1: 0 or 1} of a table; what was said of a row before is replaced."""
    remove_labels(transaction, dataset_id, labels)
    moment = now()
    transaction.add_all(
        Label(dataset_id=dataset_id, row=row, user_id=user_id, label=label, created_at=moment)
        for row, label in labels.items()
    )


def remove_labels(transaction: Transaction, dataset_id: str, rows: Iterable[int]) -> None:
    """Forget what was said of these rows."""
    numbers = list(rows)
    for start in range(0, len(numbers), _AT_ONCE):
        some = numbers[start : start + _AT_ONCE]
        transaction.execute(delete(Label).where(Label.dataset_id == dataset_id, Label.row.in_(some)))
    transaction.flush()


def labels_of(transaction: Transaction, user_id: str, dataset_id: str) -> dict[int, int]:
    """{row from 1: 0 or 1} of a table of the user, by row."""
    query = (
        select(Label.row, Label.label)
        .where(Label.dataset_id == dataset_id, Label.user_id == user_id)
        .order_by(Label.row)
    )
    return {int(row): int(label) for row, label in transaction.execute(query)}


def count_labels(transaction: Transaction, user_id: str, dataset_id: str) -> tuple[int, int]:
    """Return how many rows of a table have a label, and how many of them are fraud."""
    query = select(func.count(), func.coalesce(func.sum(Label.label), 0)).where(
        Label.dataset_id == dataset_id, Label.user_id == user_id
    )
    rows, frauds = transaction.execute(query).one()
    return int(rows), int(frauds)
