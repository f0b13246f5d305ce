"""Give tests that name a person by an id the account that whoever asks for work has to have."""

from __future__ import annotations

from ecluse.catalog import Catalog
from ecluse.catalog.tables import User


def account(catalog: Catalog, user_id: str) -> str:
    """Make sure that there is an account of this id; the id."""
    with catalog.write() as transaction:
        if transaction.get(User, user_id) is None:
            transaction.add(User(id=user_id, email=f"{user_id}@example.org", name="", role="member"))
    return user_id
