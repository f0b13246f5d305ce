"""Find, move and remove the aliases of model versions."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog.tables import ModelAlias, now
from ecluse.errors import AliasNotFound
from ecluse.sentences import _


def alias_of(transaction: Transaction, user_id: str, name: str, alias: str) -> ModelAlias:
    """Return where an alias of a model points.

    Raises:
        AliasNotFound: the model has no such alias.
    """
    pointer = transaction.get(ModelAlias, (user_id, name, alias))
    if pointer is None:
        existing = ", ".join(row.alias for row in list_aliases(transaction, user_id, name))
        if existing:
            raise AliasNotFound(
                _(
                    '"%(name)s" has no alias "%(value)s"; its aliases: %(values)s. Set it: ecluse models '
                    "alias %(model)s",
                    name=name,
                    value=alias,
                    values=existing,
                    model=f"{name}@VERSION {alias}",
                )
            )
        raise AliasNotFound(
            _(
                '"%(name)s" has no alias "%(value)s"; it has none. Set it: ecluse models alias %(model)s',
                name=name,
                value=alias,
                model=f"{name}@VERSION {alias}",
            )
        )
    return pointer


def list_aliases(transaction: Transaction, user_id: str, name: str | None = None) -> list[ModelAlias]:
    """List the aliases of a model, or of all models of the user, by name."""
    query = select(ModelAlias).where(ModelAlias.user_id == user_id)
    if name is not None:
        query = query.where(ModelAlias.name == name)
    return list(transaction.scalars(query.order_by(ModelAlias.name, ModelAlias.alias)))


def point_alias(transaction: Transaction, user_id: str, name: str, alias: str, version: str) -> ModelAlias:
    """Make an alias, or move it. Hold the model with `hold_versions` first, so that no one else does meanwhile."""
    row = transaction.merge(
        ModelAlias(user_id=user_id, name=name, alias=alias, version=version, updated_at=now())
    )
    transaction.flush()
    return row


def remove_alias(transaction: Transaction, user_id: str, name: str, alias: str) -> None:
    """Forget an alias; the version it pointed at stays.

    Raises:
        AliasNotFound: the model has no such alias.
    """
    transaction.delete(alias_of(transaction, user_id, name, alias))
