"""Tell what an owner has: its newest models, tables and runs with how many there are, and what several owners store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog import models, runs, user_tables
from ecluse.catalog.plan_tables import Stored
from ecluse.catalog.tables import ModelVersion, Run, UserTable


@dataclass(frozen=True)
class Holdings:
    """The newest things of an owner, each model at its newest version, and how many it has of each kind."""

    models: Sequence[ModelVersion]
    model_count: int
    tables: Sequence[UserTable]
    table_count: int
    runs: Sequence[Run]
    run_count: int

    @property
    def is_empty(self) -> bool:
        return not (self.model_count or self.table_count or self.run_count)


def holdings_of(transaction: Transaction, owner_id: str, *, most: int) -> Holdings:
    """Return the newest things of an owner, up to `most` of each kind. Whoever asks has to belong to the owner."""
    tables, table_count = user_tables.list_tables(transaction, owner_id, limit=most, offset=0)
    newest, run_count = runs.list_runs(transaction, owner_id, limit=most)
    return Holdings(
        models=models.list_latest(transaction, owner_id, limit=most),
        model_count=models.count_models(transaction, owner_id),
        tables=tables,
        table_count=table_count,
        runs=newest,
        run_count=run_count,
    )


def stored_by(transaction: Transaction, owner_ids: Sequence[str]) -> dict[str, int]:
    """Return the bytes that each of these owners stores, by its id; those that store nothing are left out."""
    query = (
        select(Stored.user_id, func.sum(Stored.size_bytes))
        .where(Stored.user_id.in_(owner_ids))
        .group_by(Stored.user_id)
    )
    return {owner_id: int(size) for owner_id, size in transaction.execute(query)}
