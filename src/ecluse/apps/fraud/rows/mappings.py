"""Keep how a person has corrected the mapping of a table's columns to a reference's."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import delete, select
from sqlalchemy.orm import Session as Transaction

from ecluse.apps.fraud.rows.tables import ColumnMapping
from ecluse.catalog.tables import now


def keep_mapping(
    transaction: Transaction, dataset_id: str, reference: str, columns: Mapping[str, str | None]
) -> None:
    """Keep {ours: theirs, or None for "no column"} in place of what was kept before; none forgets it."""
    if not columns:
        conditions = (ColumnMapping.dataset_id == dataset_id, ColumnMapping.reference == reference)
        transaction.execute(delete(ColumnMapping).where(*conditions))
        return
    transaction.merge(
        ColumnMapping(dataset_id=dataset_id, reference=reference, columns=dict(columns), updated_at=now())
    )


def mappings_of(transaction: Transaction, dataset_id: str) -> dict[str, dict[str, str | None]]:
    """Return what was corrected for a table, by reference: {ours: theirs or None}."""
    rows = transaction.scalars(select(ColumnMapping).where(ColumnMapping.dataset_id == dataset_id))
    return {row.reference: dict(row.columns) for row in rows}
