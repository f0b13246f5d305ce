"""Keep the scorings each user asked for and where their results are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, func, select, update
from sqlalchemy.orm import Session as Transaction

from ecluse.apps.fraud.rows.tables import Prediction
from ecluse.catalog import sharing, work
from ecluse.catalog.behind import behind
from ecluse.catalog.tables import File
from ecluse.errors import NotFound
from ecluse.sentences import _

#: The kind of a scoring among what is shared (see `apps.fraud.sharing`).
RESULTS: Final = "fraud_results"


def add_prediction(transaction: Transaction, prediction: Prediction) -> Prediction:
    transaction.add(prediction)
    transaction.flush()
    return prediction


def prediction_of(transaction: Transaction, user_id: str, prediction_id: str) -> Prediction:
    prediction = transaction.scalar(
        select(Prediction).where(Prediction.id == prediction_id, Prediction.user_id == user_id)
    )
    if prediction is None:
        raise NotFound(no_prediction(prediction_id))
    return prediction


def no_prediction(prediction_id: str) -> str:
    """Return what is said of a scoring that is not there."""
    return _("No prediction %(value)s. See: GET /api/predictions", value=prediction_id)


def readable_prediction(transaction: Transaction, reader_id: str, prediction_id: str) -> Prediction:
    """Return a scoring that this person may see: theirs, or one that is shared with them.

    Raises:
        NotFound: there is none, or it is not for them.
    """
    row = sharing.readable_row(transaction, RESULTS, Prediction, reader_id, prediction_id)
    if row is None:
        raise NotFound(no_prediction(prediction_id))
    return row


def ranking_of(transaction: Transaction, prediction_id: str) -> bytes | None:
    """Return the ranking of a scored table; None of one scored before rankings were kept."""
    return transaction.scalar(select(Prediction.ranking).where(Prediction.id == prediction_id))


def prediction_by_key(transaction: Transaction, user_id: str, key: str) -> Prediction:
    """Find the user's prediction stored under exactly this key."""
    prediction = transaction.scalar(
        select(Prediction).where(Prediction.id.in_(_with_key(user_id, key)), Prediction.user_id == user_id)
    )
    if prediction is None:
        raise NotFound(
            _("No prediction of yours is stored at %(value)s. See: GET /api/predictions", value=key)
        )
    return prediction


def prediction_by_job(transaction: Transaction, job_id: str) -> Prediction | None:
    return transaction.scalar(work.of_job(Prediction, job_id))


def list_predictions(
    transaction: Transaction,
    user_id: str,
    *,
    dataset_id: str | None = None,
    status: str | None = None,
    limit: int = 50,
    offset: int = 0,
    after: str | None = None,
) -> list[Prediction]:
    """List the user's predictions, newest first; those of one dataset or status where one is named.

    `after`: those behind the one of this id. Raises InvalidInput.
    """
    later = () if after is None else behind(transaction, Prediction, user_id, after)
    return list(
        transaction.scalars(
            select(Prediction)
            .where(*_conditions(user_id, dataset_id, status), *later)
            .order_by(Prediction.created_at.desc(), Prediction.id)
            .limit(limit)
            .offset(offset)
        )
    )


def count_predictions(transaction: Transaction, user_id: str, *, dataset_id: str | None = None) -> int:
    return transaction.scalar(select(func.count()).where(*_conditions(user_id, dataset_id, None))) or 0


@dataclass(frozen=True)
class StoredScores:
    """A finished scoring: where its result lies, and what it says of the table. `ranking` is of a small table."""

    key: str
    url: str
    size_bytes: int
    sha256: str
    rows: int
    flagged: int
    summary: dict[str, Any]
    ranking: bytes | None = None


def set_done(transaction: Transaction, prediction_id: str, scores: StoredScores) -> bool:
    """Record a finished scoring; False when it was cancelled meanwhile."""
    if not work.finish(transaction, prediction_id):
        return False
    columns = {name: getattr(scores, name) for name in ("rows", "flagged", "summary", "ranking")}
    transaction.execute(update(Prediction).where(Prediction.id == prediction_id).values(columns))
    row = transaction.get_one(Prediction, prediction_id)
    row.key, row.url = scores.key, scores.url
    row.size_bytes, row.sha256 = scores.size_bytes, scores.sha256
    transaction.flush()
    return True


def _with_key(user_id: str, key: str) -> Select[str]:
    """Return the predictions of a user whose result was stored under a key."""
    return select(File.row_id).where(
        File.user_id == user_id, File.table_name == "predictions", File.key == key
    )


def _conditions(user_id: str, dataset_id: str | None, status: str | None) -> list[ColumnElement[bool]]:
    conditions = [Prediction.user_id == user_id]
    if dataset_id is not None:
        conditions.append(Prediction.dataset_id == dataset_id)
    if status is not None:
        conditions.append(Prediction.status == status)
    return conditions
