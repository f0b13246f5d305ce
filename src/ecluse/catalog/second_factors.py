"""Keep second factors and recovery codes, and let each code count once, whoever else tries it at the moment."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog.tables import RecoveryCode, SecondFactor, now


def find(transaction: Transaction, user_id: str) -> SecondFactor | None:
    """Return the second factor of a person, set up or being set up."""
    return transaction.get(SecondFactor, user_id)


def is_asked_of(transaction: Transaction, user_id: str) -> bool:
    """Return whether a person has a second factor that is set up."""
    return bool(holders(transaction, [user_id]))


def holders(transaction: Transaction, user_ids: Iterable[str]) -> frozenset[str]:
    """Return those of these people who have a second factor that is set up."""
    query = select(SecondFactor.user_id).where(
        SecondFactor.user_id.in_(list(user_ids)), SecondFactor.confirmed_at.is_not(None)
    )
    return frozenset(transaction.scalars(query))


def secrets(transaction: Transaction) -> list[tuple[str, str]]:
    """List whose second factors there are, and their secrets as they are encrypted."""
    return [
        (row.user_id, row.secret)
        for row in transaction.execute(select(SecondFactor.user_id, SecondFactor.secret))
    ]


def replace_secret(transaction: Transaction, user_id: str, before: str, secret: str) -> bool:
    """Encrypt a secret otherwise, unless it is another by now; whether that was done."""
    changed = transaction.execute(
        update(SecondFactor)
        .where(SecondFactor.user_id == user_id, SecondFactor.secret == before)
        .values(secret=secret)
        .returning(SecondFactor.user_id)
    )
    return changed.first() is not None


def begin(transaction: Transaction, user_id: str, secret: str, session_id: str | None) -> None:
    """Begin to set up a second factor in a session; one that was begun before is forgotten."""
    transaction.execute(
        delete(SecondFactor).where(SecondFactor.user_id == user_id, SecondFactor.confirmed_at.is_(None))
    )
    transaction.add(SecondFactor(user_id=user_id, secret=secret, session_id=session_id))
    transaction.flush()


def confirm(transaction: Transaction, user_id: str, secret: str, step: int) -> bool:
    """Ask for a second factor from now on, which a code of `step` has proved; False where another has come between."""
    confirmed = transaction.execute(
        update(SecondFactor)
        .where(
            SecondFactor.user_id == user_id,
            SecondFactor.secret == secret,
            SecondFactor.confirmed_at.is_(None),
        )
        .values(confirmed_at=now(), last_step=step, session_id=None)
        .returning(SecondFactor.user_id)
    )
    return confirmed.first() is not None


def use_step(transaction: Transaction, user_id: str, step: int) -> bool:
    """Use the code of a step up; False where it, or a later one, was used before."""
    used = transaction.execute(
        update(SecondFactor)
        .where(SecondFactor.user_id == user_id, SecondFactor.last_step < step)
        .values(last_step=step)
        .returning(SecondFactor.user_id)
    )
    return used.first() is not None


def add_recovery_codes(transaction: Transaction, user_id: str, hashes: Iterable[str]) -> None:
    """Keep recovery codes in place of those of before."""
    transaction.execute(delete(RecoveryCode).where(RecoveryCode.user_id == user_id))
    transaction.add_all([RecoveryCode(user_id=user_id, secret_hash=each) for each in hashes])
    transaction.flush()


def use_recovery_code(transaction: Transaction, user_id: str, secret_hash: str) -> bool:
    """Use a recovery code up; False where the person has no such code."""
    used = transaction.execute(
        delete(RecoveryCode)
        .where(RecoveryCode.user_id == user_id, RecoveryCode.secret_hash == secret_hash)
        .returning(RecoveryCode.id)
    )
    return used.first() is not None


def count_recovery_codes(transaction: Transaction, user_id: str) -> int:
    """Count the recovery codes of a person that are left."""
    query = select(func.count()).select_from(RecoveryCode).where(RecoveryCode.user_id == user_id)
    return transaction.scalar(query) or 0


def remove(transaction: Transaction, user_id: str) -> datetime | None:
    """Remove the second factor and the recovery codes of a person; since when it was asked for, None if it was not."""
    transaction.execute(delete(RecoveryCode).where(RecoveryCode.user_id == user_id))
    removed = transaction.execute(
        delete(SecondFactor).where(SecondFactor.user_id == user_id).returning(SecondFactor.confirmed_at)
    ).first()
    return None if removed is None else removed[0]
