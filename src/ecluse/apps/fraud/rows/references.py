"""Find and keep the reference models that unlabelled tables are matched against; they belong to everyone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, func, select, update
from sqlalchemy.orm import Session as Transaction

from ecluse.apps.fraud.rows.tables import ReferenceModel
from ecluse.catalog.tables import File, now
from ecluse.errors import NotFound
from ecluse.sentences import _

#: What a new version of a reference replaces.
_REPLACED: Final = (
    "domain",
    "columns",
    "performance",
    "prefix",
    "url",
    "version",
    "manifest_digest",
    "size_bytes",
    "target",
    "rows",
    "fraud_rate",
    "sketches",
    "created_by",
)
_AT_ONCE: Final = 500
_CHANGED: Final = func.coalesce(ReferenceModel.updated_at, ReferenceModel.created_at)


def keep_reference(transaction: Transaction, reference: ReferenceModel) -> ReferenceModel:
    """Record a reference model, in place of the one that had its name; the row that is kept.

    What was measured of the transfer of another version is forgotten.
    """
    kept = transaction.scalar(_named(reference.name).with_for_update(of=ReferenceModel))
    if kept is None:
        transaction.add(reference)
        transaction.flush()
        return reference
    if kept.manifest_digest != reference.manifest_digest:
        kept.transfer = {}
    for column in _REPLACED:
        setattr(kept, column, getattr(reference, column))
    kept.updated_at = now()
    return kept


def list_references(
    transaction: Transaction, *, domain: str | None = None, limit: int | None = None, offset: int = 0
) -> list[ReferenceModel]:
    """Return the reference models, or those of one domain, by name."""
    query = select(ReferenceModel).where(*_of(domain)).order_by(ReferenceModel.name)
    return list(transaction.scalars(query.limit(limit).offset(offset)))


def count_references(transaction: Transaction, *, domain: str | None = None) -> int:
    """Count the reference models of one domain, or all."""
    return transaction.scalar(select(func.count()).select_from(ReferenceModel).where(*_of(domain))) or 0


def domains(transaction: Transaction) -> dict[str, int]:
    """Return each domain with the number of its reference models, by name."""
    counted = select(ReferenceModel.domain, func.count()).group_by(ReferenceModel.domain)
    return {row.domain: row[1] for row in transaction.execute(counted.order_by(ReferenceModel.domain))}


def find_reference(transaction: Transaction, name: str) -> ReferenceModel | None:
    """Return the reference model of this name; None where there is none."""
    return transaction.scalar(_named(name))


def reference_of(transaction: Transaction, name: str) -> ReferenceModel:
    """Return the reference model of this name.

    Raises:
        NotFound: there is none.
    """
    row = find_reference(transaction, name)
    if row is None:
        raise NotFound(_('No reference model "%(name)s". See: ecluse fraud references list', name=name))
    return row


def references_named(transaction: Transaction, names: Iterable[str]) -> list[ReferenceModel]:
    """Return the reference models of these names, by name; those that do not exist are left out."""
    chosen = sorted(set(names))
    rows: list[ReferenceModel] = []
    for start in range(0, len(chosen), _AT_ONCE):
        query = select(ReferenceModel).where(ReferenceModel.name.in_(chosen[start : start + _AT_ONCE]))
        rows += transaction.scalars(query.order_by(ReferenceModel.name))
    return rows


def revision(transaction: Transaction) -> tuple[object, ...]:
    """Return what changes whenever a reference is added, replaced, measured or removed; an index holds all it reads.

    Beside their number and the latest change, their size: a change may be committed after one that came later.
    """
    sizes = select(func.sum(File.size_bytes)).where(File.table_name == ReferenceModel.FILE.table)
    query = select(func.count(ReferenceModel.name), func.max(_CHANGED), sizes.scalar_subquery())
    return tuple(transaction.execute(query).one())


def changes(transaction: Transaction) -> dict[str, datetime]:
    """Return each reference model by name with the moment of its last change."""
    return {row.name: row[1] for row in transaction.execute(select(ReferenceModel.name, _CHANGED))}


def set_transfer(transaction: Transaction, row: ReferenceModel, transfer: Mapping[str, Any]) -> bool:
    """Note how well a reference scored the others; False where it was replaced or removed meanwhile."""
    changed = (
        update(ReferenceModel)
        .where(
            ReferenceModel.id == row.id,
            ReferenceModel.version == row.version,
            ReferenceModel.manifest_digest == row.manifest_digest,
        )
        .values(transfer=dict(transfer), updated_at=now())
        .returning(ReferenceModel.id)
    )
    return transaction.execute(changed).first() is not None


def withdraw_reference(transaction: Transaction, name: str) -> None:
    """Let no table be matched with a reference any more: it is about to be removed."""
    row = reference_of(transaction, name)
    row.sketches, row.updated_at = [], now()


def remove_reference(transaction: Transaction, row: ReferenceModel) -> ReferenceModel | None:
    """Forget a reference that points where `row` does. One that points elsewhere by now stays, and is returned."""
    there = transaction.scalar(
        select(ReferenceModel).where(ReferenceModel.id == row.id).with_for_update(of=ReferenceModel)
    )
    if there is None or there.url != row.url:
        return there
    transaction.delete(there)
    transaction.flush()
    return None


def _named(name: str) -> Select[ReferenceModel]:
    return select(ReferenceModel).where(ReferenceModel.name == name)


def _of(domain: str | None) -> tuple[ColumnElement[bool], ...]:
    return () if domain is None else (ReferenceModel.domain == domain,)
