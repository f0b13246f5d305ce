"""Find and keep uploaded tables. Every query names the owner, or asks what a reader may see."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session as Transaction

from ecluse.apps.fraud.rows.tables import Dataset, FraudTraining, Inspection, Label, Prediction
from ecluse.catalog import files, sharing, work
from ecluse.catalog.behind import behind
from ecluse.catalog.tables import File, MigrationRow, now
from ecluse.errors import NotFound
from ecluse.sentences import _
from ecluse.tabular.layout import Layout

#: The kind of a table among what is shared (see `apps.fraud.sharing`).
TABLES: Final = "fraud_tables"


def add_dataset(transaction: Transaction, dataset: Dataset) -> Dataset:
    transaction.add(dataset)
    transaction.flush()
    return dataset


def layout_of(dataset: Dataset) -> Layout:
    """Return how a stored table is read."""
    return Layout.from_dict(dataset.layout)


def dataset_of(transaction: Transaction, user_id: str, dataset_id: str) -> Dataset:
    """Return a table of the user.

    Raises:
        NotFound: there is none, or the user may not see it.
        Forbidden: it is someone else's, and shared with the user to be read.
    """
    dataset = transaction.scalar(select(Dataset).where(Dataset.id == dataset_id, Dataset.user_id == user_id))
    if dataset is None:
        other = readable_dataset(transaction, user_id, dataset_id)
        raise sharing.refusal(transaction, other.user_id, other.filename)
    return dataset


def readable_dataset(transaction: Transaction, reader_id: str, dataset_id: str) -> Dataset:
    """Return a table that this person may see: theirs, or one that is shared with them.

    Raises:
        NotFound: there is none, or it is not for them.
    """
    row = sharing.readable_row(transaction, TABLES, Dataset, reader_id, dataset_id)
    if row is None:
        raise NotFound(no_dataset(dataset_id))
    return row


def no_dataset(dataset_id: str) -> str:
    """Return what is said of a table that is not there."""
    return _("No dataset %(value)s. See your datasets: GET /api/datasets", value=dataset_id)


def dataset_by_url(transaction: Transaction, user_id: str, url: str) -> Dataset:
    """Find the user's dataset whose upload returned this address, also if it was migrated since."""
    mine = select(Dataset).where(Dataset.user_id == user_id)
    there = select(File.row_id).where(File.table_name == "datasets", File.url == url)
    moved = select(MigrationRow.row_id).where(MigrationRow.table_name == "datasets", MigrationRow.url == url)
    dataset = transaction.scalar(mine.where(Dataset.id.in_(there))) or transaction.scalar(
        mine.where(Dataset.id.in_(moved))
    )
    if dataset is None:
        raise NotFound(
            _("No dataset of yours is stored at %(value)s. See your datasets: GET /api/datasets", value=url)
        )
    return dataset


def list_datasets(
    transaction: Transaction, user_id: str, *, limit: int = 200, offset: int = 0, after: str | None = None
) -> list[Dataset]:
    """List the user's tables, the newest first; `after`: those behind the one of this id. Raises InvalidInput."""
    later = () if after is None else behind(transaction, Dataset, user_id, after)
    return list(
        transaction.scalars(
            select(Dataset)
            .where(Dataset.user_id == user_id, *later)
            .order_by(Dataset.created_at.desc(), Dataset.id)
            .limit(limit)
            .offset(offset)
        )
    )


def count_datasets(transaction: Transaction, user_id: str) -> int:
    return transaction.scalar(select(func.count()).where(Dataset.user_id == user_id)) or 0


def readable_datasets(transaction: Transaction, user_id: str, *, limit: int) -> tuple[list[Dataset], int]:
    """Return the user's newest datasets that could be read or are being read, and how many there are in all."""
    conditions = (Dataset.user_id == user_id, Dataset.state != "failed")
    total = transaction.scalar(select(func.count()).where(*conditions)) or 0
    newest = select(Dataset).where(*conditions).order_by(Dataset.created_at.desc(), Dataset.id).limit(limit)
    return list(transaction.scalars(newest)), total


def filenames(transaction: Transaction, user_id: str, dataset_ids: Collection[str | None]) -> dict[str, str]:
    """File name by id of those of these datasets that the user may see and that are still there."""
    ids = {dataset_id for dataset_id in dataset_ids if dataset_id is not None}
    if not ids:
        return {}
    visible = sharing.visible_rows(TABLES, Dataset, user_id)
    rows = transaction.execute(select(Dataset.id, Dataset.filename).where(Dataset.id.in_(ids), visible))
    return {row.id: row.filename for row in rows}


def set_profile(
    transaction: Transaction,
    dataset_id: str,
    profile: dict[str, Any],
    rows: int,
    layout: dict[str, Any] | None = None,
) -> bool:
    """Keep what was found in a table, and how it was read to find it (`fraud.layout`); false where that was stopped."""
    if not work.finish(transaction, dataset_id):
        return False
    values = {"profile": profile, "rows": rows, "layout": layout}
    transaction.execute(update(Dataset).where(Dataset.id == dataset_id).values(**values))
    return True


def is_used(transaction: Transaction, dataset_id: str) -> bool:
    """Tell whether its owner made a training, scores, labels or a check from a table.

    What others scored of it keeps nobody from reading it otherwise: their scores have the columns of then.
    """
    made = (FraudTraining.dataset_id, Label.dataset_id, Inspection.dataset_id)
    scored = (
        select(func.count())
        .select_from(Prediction)
        .join(Dataset, Dataset.id == Prediction.dataset_id)
        .where(Dataset.id == dataset_id, Prediction.user_id == Dataset.user_id)
    )
    return bool(transaction.scalar(scored)) or any(
        transaction.scalar(select(func.count()).where(column == dataset_id)) for column in made
    )


def ready_datasets(transaction: Transaction, user_id: str, filename: str, sha256: str) -> list[Dataset]:
    """Return the user's tables with this name and content that were read, newest first."""
    return list(
        transaction.scalars(
            select(Dataset)
            .where(Dataset.user_id == user_id, Dataset.filename == filename, Dataset.sha256 == sha256)
            .where(Dataset.state == "ready")
            .order_by(Dataset.created_at.desc())
        )
    )


def touch_dataset(transaction: Transaction, dataset_id: str) -> None:
    transaction.execute(update(Dataset).where(Dataset.id == dataset_id).values(last_used_at=now()))


def remove_dataset(transaction: Transaction, user_id: str, dataset_id: str) -> str | None:
    """Forget a table and with whom it was shared, and return where it lies at this moment; None where there is none."""
    mine = (Dataset.id == dataset_id, Dataset.user_id == user_id)
    if transaction.scalar(delete(Dataset).where(*mine).returning(Dataset.id)) is None:
        return None
    sharing.remove_of(transaction, user_id, TABLES, dataset_id)
    work.forget(transaction, [dataset_id])
    return next(iter(files.remove(transaction, "datasets", [dataset_id])), None)


def digest_of(transaction: Transaction, user_id: str, dataset_id: str | None) -> str | None:
    """Return the SHA-256 of one of the user's tables; None once it is removed."""
    query = select(Dataset.sha256).where(Dataset.id == dataset_id, Dataset.user_id == user_id)
    return transaction.scalar(query)
