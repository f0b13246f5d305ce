"""Keep the full addresses of what rows point at, and point rows elsewhere once what they need is there."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from sqlalchemy import select
from sqlalchemy.orm import Session as Transaction
from sqlalchemy.orm.attributes import flag_modified

from ecluse.catalog.pointers import POINTING, Pointer
from ecluse.catalog.tables import (
    Dataset,
    Image,
    ImageSet,
    ImageSplit,
    Migration,
    MigrationRow,
    ModelVersion,
    Prediction,
    Publication,
    ReferenceModel,
    Run,
    TrainingRun,
)

_AT_ONCE: Final = 500
R = TypeVar(
    "R", Dataset, Image, ImageSplit, ModelVersion, Prediction, Publication, ReferenceModel, Run, TrainingRun
)


@dataclass(frozen=True)
class Move:
    """A row that is to point at `url`, which lies at `key` below the root of its store."""

    pointer: Pointer
    url: str
    key: str


#: How `reference_models.storage_type` names the scheme of an address, where it is not the scheme itself.
_STORAGE_TYPES: Final = {"file": "local"}


def switch(transaction: Transaction, migration_id: str, moves: Sequence[Move]) -> int:
    """Point rows at their new addresses, and keep the old ones; how many rows that were.

    A row that points elsewhere by now, or at another content, stays as it is.
    """
    switched = 0
    migration = transaction.get_one(Migration, migration_id)
    for table, columns in POINTING.items():
        kind, column, digest = columns.kind, columns.address, columns.digest
        wanted = {move.pointer.row_id: move for move in moves if move.pointer.table == table}
        for row in _locked(transaction, kind, list(wanted)):
            pointer = wanted[row.id].pointer
            if getattr(row, column) != pointer.url or (digest and getattr(row, digest) != pointer.sha256):
                continue
            before = {name: getattr(row, name) for name in _described(kind, column)}
            transaction.merge(
                MigrationRow(migration_id=migration_id, table_name=table, row_id=row.id, before=before)
            )
            _point(row, column, wanted[row.id])
            if migration.move_id is not None and isinstance(row, ReferenceModel):
                flag_modified(row, "updated_at")  # a row that was brought keeps the time of its last change
            switched += 1
    migration.rows_switched += switched
    return switched


def switched(transaction: Transaction, migration_id: str) -> list[MigrationRow]:
    """The rows that a migration switched, with what stood in them before."""
    return list(
        transaction.scalars(
            select(MigrationRow)
            .where(MigrationRow.migration_id == migration_id)
            .order_by(MigrationRow.table_name, MigrationRow.row_id)
        )
    )


def switch_back(
    transaction: Transaction, migration_id: str, moves: Sequence[tuple[MigrationRow, str]]
) -> int:
    """Give rows back what stood in them before the migration; how many rows that were.

    Each comes with the address it was given. A row that points elsewhere by now stays as it is.
    """
    back = 0
    for table, columns in POINTING.items():
        kind, column = columns.kind, columns.address
        wanted = {row.row_id: (row.before, url) for row, url in moves if row.table_name == table}
        for row in _locked(transaction, kind, list(wanted)):
            before, url = wanted[row.id]
            if getattr(row, column) == url:
                for name, value in before.items():
                    setattr(row, name, value)
                back += 1
    for record, _ in moves:
        found = transaction.get(MigrationRow, (migration_id, record.table_name, record.row_id))
        if found is not None:
            transaction.delete(found)
    migration = transaction.get_one(Migration, migration_id)
    migration.rows_switched -= back
    return back


def point_staged(transaction: Transaction, moved: Callable[[str], str]) -> None:
    """Point at their new place what an import that never ended left behind; `moved` gives an address for another."""
    for row in transaction.scalars(select(ImageSet).where(ImageSet.staged_url.is_not(None))):
        row.staged_url = moved(row.staged_url or "")


def as_moved(table: str, row: Mapping[str, Any], moved: Callable[[str], str]) -> dict[str, Any]:
    """A row of this table, read as text, as it is to stand in a home whose objects are where `moved` says.

    What a reference says of its address besides is left out: it follows from that.
    """
    changed = dict(row)
    column = POINTING[table].address if table in POINTING else _STAGED.get(table)
    if column is not None and changed[column]:
        changed[column] = moved(changed[column])
    if table == "runs" and changed["artifacts"]:
        changed["artifacts"] = json.dumps(artifacts_at(json.loads(changed["artifacts"]), moved))
    if table == "reference_models" and changed["url"]:
        changed |= dict.fromkeys(DESCRIBING[ReferenceModel])
    return changed


#: Tables with the address of something that is not kept, and its column.
_STAGED: Final = {"image_sets": "staged_url"}


def address_column(table: str) -> str:
    """The column of a table that holds an address."""
    return POINTING[table].address


def address_of(transaction: Transaction, table: str, row_id: str) -> str | None:
    """Where a row points now; None when it is gone, or points nowhere."""
    columns = POINTING[table]
    address = getattr(columns.kind, columns.address)
    found: str | None = transaction.scalar(select(address).where(columns.kind.id == row_id))
    return found


def lacks_addresses(transaction: Transaction) -> bool:
    """Whether a row is from before addresses were kept."""
    found = (
        select(ModelVersion.id)
        .where(ModelVersion.url == "")
        .union_all(select(Prediction.id).where(Prediction.url.is_(None), Prediction.key.is_not(None)))
    )
    return transaction.execute(found.limit(1)).first() is not None


def fill_addresses(
    transaction: Transaction, data_url_of: Callable[[str], str], models_url_of: Callable[[str], str]
) -> None:
    """Give rows from before addresses were kept the one they have had all along: in the configured stores."""
    for version in transaction.scalars(select(ModelVersion).where(ModelVersion.url == "")):
        version.url = models_url_of(version.prefix)
    unplaced = select(Prediction).where(Prediction.url.is_(None), Prediction.key.is_not(None))
    for prediction in transaction.scalars(unplaced):
        prediction.url = data_url_of(prediction.key or "")


def _locked(transaction: Transaction, kind: type[R], ids: Sequence[str]) -> list[R]:
    """These rows as they are now, held until the transaction ends."""
    rows: list[R] = []
    for start in range(0, len(ids), _AT_ONCE):
        wanted = select(kind).where(kind.id.in_(ids[start : start + _AT_ONCE])).with_for_update()
        rows += transaction.scalars(wanted)
    return rows


#: What else a row says of its address; it changes with that.
DESCRIBING: Final[dict[type[Any], tuple[str, ...]]] = {
    ReferenceModel: ("storage_type", "bucket", "prefix"),
    Run: ("artifacts",),
}


def _described(kind: type[Any], column: str) -> tuple[str, ...]:
    return (column, *DESCRIBING.get(kind, ()))


def _point(row: Any, column: str, move: Move) -> None:
    """Write an address into a row, and what else the row says of it."""
    setattr(row, column, move.url)
    if isinstance(row, ReferenceModel):
        parts = urlsplit(move.url)
        row.storage_type = _STORAGE_TYPES.get(parts.scheme, parts.scheme)
        row.bucket = parts.netloc or None
        row.prefix = parts.path.strip("/") if row.bucket else move.key
    if isinstance(row, Run):
        former = move.pointer.url
        row.artifacts = artifacts_at(
            row.artifacts,
            lambda url: move.url + url.removeprefix(former) if url.startswith(f"{former}/") else url,
        )


def artifacts_at(artifacts: Sequence[Any], moved: Callable[[str], str]) -> list[Any]:
    """The files that a run refers to, at the addresses that `moved` gives for theirs."""
    return [
        {**one, "url": moved(one["url"])}
        if isinstance(one, dict) and isinstance(one.get("url"), str)
        else one
        for one in artifacts
    ]
