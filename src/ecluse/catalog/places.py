"""Keep the full addresses of what rows point at."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import select
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog.tables import ModelVersion, Prediction


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
